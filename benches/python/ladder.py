"""What the benches of services share: how calls are timed, what is a goal, the command line and the report.

Each cell is one client doing one thing at one size, in a process of its own; within a repeat the clients take turns,
in an order that moves on with each repeat. Reported are medians over the repeats:

    wall_ms         milliseconds from the call until its answer is in hand: at 256 MiB and more one call, below it the
                    median of 3
    gap_ms          the longest time the event loop was late for a tick due each millisecond, during all these calls
    idle_gap_ms     the same while nothing else runs
    beyond_mib      the peak of resident memory beyond what was there with the body made and a small call done; for
                    what is received, its length is taken off as well
    beyond_x        that, in lengths of the payload
    per_s, cpu_us   calls a second, and CPU microseconds of the client process for one

The bare socket sends the bytes of the same request and reads those of the reply: no encoding, no JSON, no memory.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fnmatch
import importlib.metadata
import importlib.util
import json
import os
import statistics
import sys
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path
from time import perf_counter
from types import ModuleType
from typing import Any, ClassVar, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from first_light import RESULTS, Collected, collected, in_turn, markdown, number, spread
from mcpgateway_rust.sweep.cells import Cell, Figures, Sample
from mcpgateway_rust.sweep.instruments import LoopWatch, cpu_seconds, memory_baseline, resident_kib
from mcpgateway_rust.sweep.machine import machine
from mcpgateway_rust.sweep.sizes import MIB

LADDER = (1, 16, 64, 256)
"""MiB."""
ONE_CALL_FROM = 256 * MIB
UNITS = {
    "wall_ms": "ms",
    "gap_ms": "ms longest gap",
    "idle_gap_ms": "ms gap, idle",
    "beyond_mib": "MiB beyond the payload",
    "beyond_x": "x the payload, beyond it",
    "per_s": "calls/s",
    "cpu_us": "CPU us",
}


SUPPORT = Path(__file__).parents[2] / "tests" / "support"


def support(name: str) -> ModuleType:
    """A module of `tests/support`, which is not in the path of the benches."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, SUPPORT / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


class MeasuredClient:
    """What there is to know of a client before anything is measured."""

    name: ClassVar[str]
    package: ClassVar[str | None] = None
    """What it is made of; None for the standard library alone."""
    blocking: ClassVar[bool] = False
    """True if a call holds the event loop from its beginning to its end."""

    @classmethod
    def version(cls) -> str | None:
        """The installed version, or None if it is not there."""
        if cls.package is None:
            return sys.version.split()[0]
        try:
            return importlib.metadata.version(cls.package)
        except importlib.metadata.PackageNotFoundError:
            return None


# --- the child: one cell ----------------------------------------------------------------------------------------------


def calls_of(size: int) -> int:
    """How many calls with a payload of `size` bytes are timed."""
    return 1 if size >= ONE_CALL_FROM else 3


async def large_calls(
    once: Callable[[], Awaitable[Any]], size: int, *, calls: int, received: int, blocking: bool
) -> tuple[Any, Figures]:
    """The last result of `calls` calls, one at a time, and their figures; `received` bytes of memory are the result's.

    The event loop of a client that blocks it is not watched.
    """
    baseline = memory_baseline()
    times: list[float] = []
    result: Any = None
    async with LoopWatch() as busy:
        for _ in range(calls):
            result = None  # as nobody keeps what came before
            start = perf_counter()
            result = await once()
            times.append(perf_counter() - start)
            peak = resident_kib("VmHWM") - baseline
    async with LoopWatch() as idle:
        await asyncio.sleep(min(sum(times), 1.0))
    beyond = peak * 1024 - received
    figures = {"wall_ms": statistics.median(times) * 1e3, "beyond_mib": beyond / MIB, "beyond_x": beyond / size}
    if not blocking:
        figures |= {"gap_ms": busy.longest * 1e3, "idle_gap_ms": idle.longest * 1e3}
    return result, figures


async def small_calls(call: Callable[[], Awaitable[None]], cell: Cell) -> Figures:
    """Many small calls, `cell.concurrency` at a time, for `cell.seconds`."""

    async def work(until: float) -> int:
        count = 0
        while perf_counter() < until:
            await call()
            count += 1
        return count

    async def all_workers(seconds: float) -> tuple[int, float]:
        start = perf_counter()
        counts = await asyncio.gather(*(work(start + seconds) for _ in range(cell.concurrency)))
        return sum(counts), perf_counter() - start

    await all_workers(cell.seconds / 4)
    cpu = cpu_seconds()
    count, took = await all_workers(cell.seconds)
    return {"per_s": count / took, "cpu_us": (cpu_seconds() - cpu) / count * 1e6}


def is_child() -> bool:
    """Whether this process was started to measure one cell."""
    return len(sys.argv) > 1 and sys.argv[1].startswith("[")


def child(measure: Callable[..., Coroutine[Any, Any, Figures]]) -> None:
    """One job in argv, one line of JSON out: `measure` is given its cell and the rest of it."""
    cell, *rest = json.loads(sys.argv[1])
    status = 0
    try:
        print(json.dumps([asyncio.run(measure(Cell(**cell), *rest)), {}]), flush=True)
    except Exception as error:
        traceback.print_exc()
        print(f"{type(error).__name__}: {str(error).partition(chr(10))[0]}", file=sys.stderr, flush=True)
        status = 1
    os._exit(status)  # freeing what is large at exit is nobody's figure


# --- the parent: all cells --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Goal:
    """Ours in the cells that match is at most (or with ">=" at least) `bound`, times the rival's figure if any."""

    cells: str
    figure: str
    bound: float
    rival: str = ""
    relation: str = "<="

    def row(self, figures: Collected, cell: str) -> list[str] | None:
        """Ours, the rival's, the ratio, the goal, whether it is reached; None where that was not measured."""
        ours, theirs = figures.get((cell, "ours", self.figure)), figures.get((cell, self.rival, self.figure))
        if not ours or (self.rival and not theirs):
            return None
        mine = statistics.median(ours)
        other = statistics.median(theirs) if theirs else None
        value = mine if other is None else mine / other if other else float("inf")
        reached = value >= self.bound if self.relation == ">=" else value <= self.bound
        unit = f"x {self.rival}" if self.rival else f" {UNITS[self.figure]}"
        return [
            cell,
            f"{number(mine)} {UNITS[self.figure]}",
            "-" if other is None else f"{number(other)} ({self.rival})",
            "-" if other is None else f"{value:.2f}",
            f"{self.relation} {self.bound:g}{unit}",
            "yes" if reached else "**no**",
        ]


@dataclass(frozen=True)
class Bench:
    """All cells of one service, and what is made of them."""

    name: str
    """Of the files: NAME.md and NAME-DATE.json; of the target: bench-NAME; of the program: NAME_cases.py."""
    title: str
    description: str
    epilog: str
    clients: Mapping[str, type[MeasuredClient]]
    cells: Callable[[Sequence[str]], list[Cell]]
    """The cells, for the names of clients."""
    smaller: Callable[[Cell], Cell | None]
    """A cell as `--quick` has it; None to leave it out."""
    expected_seconds: Callable[[Cell], float]
    goals: Sequence[Goal]
    servers: Callable[[], AbstractContextManager[Callable[[Cell], Sample]]]
    """Servers for one repeat, and what measures a cell with them."""

    def main(self) -> None:
        """Measure, report, write."""
        options = self._arguments()
        cells = [cell for cell in self.cells(options.names) if fnmatch.fnmatch(cell.name, options.only or "*")]
        if options.quick:
            cells = [quick for cell in cells if (quick := self.smaller(cell)) is not None]
        if not cells and not options.samples:
            sys.exit(f"no cell matches {options.only!r}; --help says how they are named")
        clients = [self.clients[name] for name in options.names]
        facts = machine({client.package or "python": client.version() for client in clients})
        samples = _earlier(options.samples) if options.samples else []
        with options.samples.open("a") if options.samples else contextlib.nullcontext() as lines:
            samples += self._measure_all(cells, options.repeats, lines) if cells else []
        text = self._report(samples, facts)
        print(text)
        if options.output:
            self._write(options.output, samples, facts, text)

    def _arguments(self) -> argparse.Namespace:
        parser = argparse.ArgumentParser(
            description=self.description, epilog=self.epilog, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        parser.add_argument("--repeats", type=int, metavar="N", help="processes for each cell (default 5)")
        parser.add_argument("--only", metavar="PATTERN", help="cells whose name matches, with * as in a shell")
        parser.add_argument("--clients", metavar="A,B", help=f"of {', '.join(self.clients)}")
        parser.add_argument("--quick", action="store_true", help="up to 16 MiB, 2 repeats")
        parser.add_argument(
            "--samples", type=Path, metavar="FILE", help="append each sample as a line of JSON, and report on all in it"
        )
        parser.add_argument("--output", type=Path, metavar="DIR", help="where to write the results")
        options = parser.parse_args()
        options.names = options.clients.split(",") if options.clients else list(self.clients)
        if unknown := [name for name in options.names if name not in self.clients]:
            parser.error(f"no client named {', '.join(unknown)}: there are {', '.join(self.clients)}")
        if not (options.only or options.clients or options.quick):
            options.output = options.output or RESULTS
        options.repeats = options.repeats or (2 if options.quick else 5)
        return options

    def _measure_all(self, cells: Sequence[Cell], repeats: int, lines: TextIO | None) -> list[Sample]:
        """Every cell `repeats` times, with a progress bar on stderr; each sample is written to `lines` at once."""
        samples: list[Sample] = []
        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TextColumn("left:"))
        with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as progress:
            task = progress.add_task("", total=round(repeats * sum(map(self.expected_seconds, cells))))
            for repeat in range(repeats):
                with self.servers() as measure:  # anew each time: the memory of servers only grows
                    for cell in in_turn(cells, repeat):
                        progress.update(task, description=f"{repeat + 1}/{repeats} {cell.name} {cell.backend}")
                        sample = replace(measure(cell), repeat=repeat)
                        samples.append(sample)
                        progress.advance(task, self.expected_seconds(cell))
                        if sample.error:
                            progress.console.print(f"{cell.name} {cell.backend}: {sample.error}", markup=False)
                        if lines:
                            print(sample.as_json(), file=lines, flush=True)
        return samples

    def _report(self, samples: Sequence[Sample], facts: dict[str, Any]) -> str:
        """Both tables as one Markdown document."""
        figures = collected(samples)
        repeats = max(Counter((sample.cell.name, sample.cell.backend) for sample in samples).values())
        versions = ", ".join(f"{name} {version}" for name, version in facts["packages"].items() if version)
        text = (
            f"# {self.title}\n\n{facts['date']}, {facts['cpu']}, {facts['cores']} cores, Linux {facts['kernel']}, "
            f"Python {facts['python']}. {repeats} repeats, medians. {versions}.\n\n"
            f"`make bench-{self.name}`; what the columns mean: `benches/python/ladder.py`.\n\n## Goals\n\n"
        )
        cells = dict.fromkeys(sample.cell.name for sample in samples)
        matching = [(goal, cell) for goal in self.goals for cell in cells if fnmatch.fnmatch(cell, goal.cells)]
        rows = [row for goal, cell in matching if (row := goal.row(figures, cell)) is not None]
        text += markdown(["cell", "ours", "rival", "ratio", "goal", "reached"], rows)
        text += "\n## All clients: median (min..max)\n"
        for procedure in dict.fromkeys(sample.cell.procedure for sample in samples):
            text += f"\n### {procedure}\n\n" + markdown(*_client_rows(figures, samples, procedure))
        return text

    def _write(self, directory: Path, samples: Sequence[Sample], facts: dict[str, Any], text: str) -> None:
        """The raw samples and the report, into `directory`."""
        directory.mkdir(parents=True, exist_ok=True)
        raw = {"machine": facts, "samples": [asdict(sample) for sample in samples]}
        (directory / f"{self.name}-{date.today()}.json").write_text(json.dumps(raw, indent=1) + "\n")
        (directory / f"{self.name}.md").write_text(text)


def _client_rows(figures: Collected, samples: Sequence[Sample], procedure: str) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the table of all clients for one procedure."""
    cells = [sample for sample in samples if sample.cell.procedure == procedure]
    shown = [figure for figure in UNITS if any(figure in sample.figures for sample in cells)]
    rows = []
    for name, client in dict.fromkeys((sample.cell.name, sample.cell.backend) for sample in cells):
        values = [figures.get((name, client, figure)) for figure in shown]
        errors = {s.error for s in cells if s.error and (s.cell.name, s.cell.backend) == (name, client)}
        rows.append([name, client, *(spread(v) if v else "n/a" for v in values), "; ".join(sorted(errors))])
    return ["cell", "client", *(UNITS[figure] for figure in shown), "failed"], rows


def _earlier(path: Path) -> list[Sample]:
    """The samples in a file; none if it is not there."""
    rows = map(json.loads, path.read_text().splitlines()) if path.exists() else ()
    return [Sample.from_json(row) for row in rows]
