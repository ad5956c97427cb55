"""The cells of a plan in turn: progress with the time left, interruption, a server that dies, a disk that is full."""

from __future__ import annotations

import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import FrameType

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from mcpgateway_rust.sweep.bodies import Bodies
from mcpgateway_rust.sweep.cells import Cell, Sample
from mcpgateway_rust.sweep.machine import memory_limit
from mcpgateway_rust.sweep.plans import expected_seconds, in_turn, memory_needed
from mcpgateway_rust.sweep.processes import Server, ServerError, measure
from mcpgateway_rust.sweep.results import Results, ResultsFile
from mcpgateway_rust.sweep.sizes import named

KEEP_FREE = 0.5
"""The part of the free memory that no cell may take."""


@dataclass
class Outcome:
    """What a sweep came to."""

    results: Results
    interrupted: bool = False
    problem: str = ""
    """What ended it before its time, such as a full disk."""
    out_of_time: bool = False

    @property
    def status(self) -> int:
        """The exit status: 130 after Ctrl-C, 1 where a cell has no figures or a problem came up, else 0."""
        if self.interrupted:
            return 130
        return 1 if self.problem or any(sample.error for sample in self.results.samples) else 0


class Sweep:
    """One run through what a plan still lacks."""

    def __init__(self, results: Results, file: ResultsFile, server: Server, *, console: Console) -> None:
        self._results, self._file, self._server, self._console = results, file, server, console
        self._samples = list(results.samples)
        self._took: dict[tuple[str, str], float] = {}

    def run(self) -> Outcome:
        """Measure until all is done, the time is up, somebody interrupts, or something else ends it."""
        outcome = Outcome(self._results)
        try:
            with _terminated_as_interrupted(), tempfile.TemporaryDirectory(prefix="mcpgateway-sweep-") as directory:
                outcome.out_of_time = self._measure_all(Bodies(directory))
        except KeyboardInterrupt:
            outcome.interrupted = True
        except (OSError, ServerError) as error:
            outcome.problem = str(error)
        outcome.results = self._results.with_samples(self._samples)
        return outcome

    def _measure_all(self, bodies: Bodies) -> bool:
        """Returns whether the time was up before all was done."""
        todo, budget, started = self._todo(), self._results.plan.budget, time.monotonic()
        columns = (BarColumn(20), MofNCompleteColumn(), TextColumn("{task.fields[left]} left"), TimeElapsedColumn())
        with Progress(*columns, TextColumn("{task.description}"), console=self._console, transient=True) as progress:
            task = progress.add_task("", total=len(todo), left=_clock(sum(map(self._expected, todo))))
            for position, (repeat, cell) in enumerate(todo):
                if budget is not None and time.monotonic() - started + self._expected((repeat, cell)) > budget:
                    return True
                self._show(progress, task, todo[position:])
                sample = self._measure(cell, bodies, repeat)
                self._samples.append(sample)
                self._file.add(sample)
                if sample.error:
                    progress.console.print(
                        f"[red]{cell.name} {cell.backend}:[/] {escape(sample.error)}", soft_wrap=True
                    )
                progress.advance(task)
        return False

    def _todo(self) -> list[tuple[int, Cell]]:
        plan = self._results.plan
        done = {(sample.repeat, sample.cell.name, sample.cell.backend) for sample in self._samples}
        return [
            (repeat, cell)
            for repeat in range(plan.repeats)
            for cell in in_turn(plan.cells, repeat)
            if (repeat, cell.name, cell.backend) not in done
        ]

    def _expected(self, item: tuple[int, Cell]) -> float:
        """As long as it took the last time, else a guess."""
        _, cell = item
        return self._took.get((cell.name, cell.backend)) or expected_seconds(cell)

    def _show(self, progress: Progress, task: TaskID, left: Sequence[tuple[int, Cell]]) -> None:
        repeat, cell = left[0]
        about = f"{repeat + 1}/{self._results.plan.repeats} {cell.name} [bold]{cell.backend}[/]"
        progress.update(task, description=about, left=_clock(sum(map(self._expected, left))))

    def _measure(self, cell: Cell, bodies: Bodies, repeat: int) -> Sample:
        """One sample; with a new server and a second try, if the server died of it."""
        needed, free = memory_needed(cell), round(memory_limit() * (1 - KEEP_FREE))
        if needed > free:
            error = (
                f"over memory: up to {named(needed >> 20 << 20)} for {cell.concurrency} bodies of {named(cell.size)}, "
            )
            return Sample(cell, 0.0, repeat=repeat, error=f"{error}{named(free >> 20 << 20)} may be used")
        started = time.monotonic()
        sample = self._attempt(cell, bodies)
        if death := self._server.death():
            self._console.print(f"[yellow]{death}[/]; it is started again")
            self._server.stop()
            self._server.start()
            sample = self._attempt(cell, bodies)
            if death := self._server.death():
                sample = replace(sample, error=f"{death} twice", figures={})
                self._server.stop()
                self._server.start()
        self._took[cell.name, cell.backend] = time.monotonic() - started
        return replace(sample, repeat=repeat)

    def _attempt(self, cell: Cell, bodies: Bodies) -> Sample:
        try:
            return measure(cell, self._server.url, bodies, server_pid=self._server.pid)
        except OSError as error:
            if self._server.death():
                return Sample(cell, 0.0, error=str(error))
            return Sample(cell, 0.0, error=f"no body of {named(cell.size)} for it: {error}")


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM is the same request as Ctrl-C."""

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
