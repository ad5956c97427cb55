"""Measures every figure of JSON off the GIL beside orjson, msgspec, pysimdjson, jiter and polars.

Each cell is one backend doing one thing with one input, in a process of its own; within a repeat the backends take
turns, in an order that moves on with each repeat. The answer is compared first. Reported are medians over the repeats:

    cpu_ms          user + system milliseconds of the process for one call, all its threads
    all_in_ms       that and a full run of Python's cyclic collector over what came out
    wall_ms         milliseconds until the call returned; gb_per_s is the text's bytes over it
    gap_ms          the longest time a second thread was late for a tick due each millisecond, during a call; the
                    least of three calls where one takes less than half a second, as the machine is late at times too
    held_ms         all such lateness of more than half a millisecond together: how long the GIL was kept from it
    collect_ms      a full run of the cyclic collector with the result alive; it holds the GIL throughout
    free_gap_ms     as gap_ms, while the result is dropped
    idle_gap_ms     as gap_ms, while nothing else runs
    peak_x          the most memory beyond what was there with the text, during the first call, in lengths of the text
    kept_x          what a further open document adds to the resident memory, in lengths of the text
"""

from __future__ import annotations

import argparse
import contextlib
import fnmatch
import gc
import json
import os
import statistics
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from time import perf_counter
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

import json_inputs
from first_light import RESULTS, Collected, collected, in_turn, markdown, number, spread
from json_peers import CONTENDERS, PACKAGES, WITHOUT_COLLECTOR, Call, check, library, version
from mcpgateway_rust.sweep.cells import Cell, Figures, Sample
from mcpgateway_rust.sweep.instruments import TICK, cpu_seconds, memory_baseline, resident_kib
from mcpgateway_rust.sweep.machine import machine
from mcpgateway_rust.sweep.processes import in_a_process

UNITS = {
    "cpu_ms": "CPU ms",
    "all_in_ms": "CPU ms, collected",
    "wall_ms": "ms",
    "gb_per_s": "GB/s",
    "gap_ms": "ms longest gap",
    "held_ms": "ms held",
    "collect_ms": "ms to collect",
    "free_gap_ms": "ms gap when freed",
    "idle_gap_ms": "ms gap, idle",
    "peak_x": "x the text, peak",
    "kept_x": "x the text, kept",
}
LARGE = ("messages-100MB", "embeddings", "table")
LONG = 0.02
"""Seconds from which on one call is enough to be timed."""
SMALL = ("messages-1KB", "messages-16KB", "messages-64KB")
WORLD = ("twitter", "citm_catalog", "canada")
INPUTS = {
    "open": ("messages-100MB", "messages-10MB", "embeddings", "table", *WORLD),
    "open_async": ("messages-100MB",),
    "pointer": ("messages-100MB",),
    "lookup": ("messages-100MB",),
    "float64": ("embeddings",),
    "float64-open": ("embeddings",),
    "float32": ("embeddings",),
    "float32-open": ("embeddings",),
    "columns": ("table",),
    "columns-open": ("table",),
    "texts": ("table",),
    "texts-open": ("table",),
    "base64": ("base64",),
    "base64-open": ("base64",),
    "splice": ("messages-100MB",),
    "splice-open": ("messages-100MB",),
    "loads": (*LARGE, "messages-10MB", *WORLD, *SMALL),
    "loads_async": LARGE,
}
"""What is done, to the inputs it is done with."""
COLLECTOR_MATTERS = ("open", "pointer", "float64", "columns", "loads")
"""Where orjson is measured with the collector off as well."""
EPILOG = """
examples:
  json_cases.py                                   everything, five repeats: about forty minutes on two cores
  json_cases.py --quick --only 'open/*'           a first impression
  json_cases.py --peers orjson,msgspec            ours against two others
  json_cases.py --samples s --only 'open/*'       a part now; other parts, with the same file, whenever there is time
  json_cases.py --samples s --only none --output .    the report on what is in it

Cell names are OPERATION/INPUT, such as open/messages-100MB, float64/embeddings or loads/twitter. A peer that is not
installed is named and skipped. A complete run writes json-DATE.json (every sample, machine facts) and json.md; a
partial one writes only with --output.
"""


@dataclass(frozen=True)
class Goal:
    """A figure to reach in one cell: at most `bound`, times the rival's figure if there is one.

    `relation` is ">=" where more is better.
    """

    cell: str
    figure: str
    bound: float
    rival: str = ""
    backend: str = "ours"
    relation: str = "<="

    def reached(self, value: float) -> bool:
        """Whether `value`, a ratio or a figure, keeps to the bound."""
        return value >= self.bound if self.relation == ">=" else value <= self.bound

    def __str__(self) -> str:
        return f"{self.relation} {self.bound:g}" + (f"x {self.rival}" if self.rival else f" {UNITS[self.figure]}")


def _beside_orjson(cell: str, figure: str, bound: float, backend: str = "ours") -> tuple[Goal, Goal]:
    """The same bound against orjson with the collector on and off."""
    return Goal(cell, figure, bound, "orjson", backend), Goal(cell, figure, bound, "orjson-nogc", backend)


GOALS = (
    *_beside_orjson("open/messages-100MB", "cpu_ms", 0.15),
    Goal("open/messages-100MB", "gb_per_s", 1.2, relation=">="),
    Goal("open/messages-100MB", "kept_x", 0.5),
    Goal("open/messages-100MB", "peak_x", 2.5),
    *_beside_orjson("pointer/messages-100MB", "cpu_ms", 0.16),
    Goal("lookup/messages-100MB", "cpu_ms", 0.01),
    *_beside_orjson("pointer/messages-100MB", "cpu_ms", 0.10, "ours-peek"),
    *_beside_orjson("float64/embeddings", "cpu_ms", 0.20),
    Goal("float64/embeddings", "cpu_ms", 0.5, "pysimdjson"),
    Goal("float32/embeddings", "cpu_ms", 0.15, "orjson"),
    Goal("float32/embeddings", "cpu_ms", 0.5, "pysimdjson"),
    *_beside_orjson("columns/table", "cpu_ms", 0.5),
    Goal("base64/base64", "cpu_ms", 0.2, "orjson"),
    Goal("base64/base64", "cpu_ms", 0.7, "msgspec-typed"),
    Goal("splice-open/messages-100MB", "wall_ms", 1),
    Goal("splice-open/messages-100MB", "peak_x", 0.01),
    *_beside_orjson("loads/messages-100MB", "all_in_ms", 1),
    *_beside_orjson("loads/messages-100MB", "held_ms", 0.3),
    *(Goal(f"loads_async/{name}", figure, 10) for name in LARGE for figure in ("gap_ms", "collect_ms", "free_gap_ms")),
    *(goal for name in SMALL for goal in _beside_orjson(f"loads/{name}", "cpu_ms", 1.1)),
    *(
        Goal(cell, "gap_ms", 2)
        for cell in (
            "open/messages-100MB", "open/embeddings", "open/table", "pointer/messages-100MB", "float64/embeddings",
            "columns/table", "texts/table", "base64/base64", "splice/messages-100MB",
        )
    ),
    Goal("pointer/messages-100MB", "gap_ms", 2, backend="ours-peek"),
)  # fmt: skip


# --- the child: one cell ----------------------------------------------------------------------------------------------


class Ticker:
    """A thread that wants the GIL each millisecond and notes how late it gets it, in seconds."""

    def __init__(self) -> None:
        self.longest = self.held = 0.0
        threading.Thread(target=self._tick, daemon=True).start()

    def _tick(self) -> None:
        last = perf_counter()
        while True:
            time.sleep(TICK)
            now = perf_counter()
            late, last = now - last - TICK, now
            self.longest = max(self.longest, late)
            if late > TICK / 2:
                self.held += late

    @contextlib.contextmanager
    def watch(self) -> Iterator[None]:
        """Forget what was; afterwards `longest` and `held` are about the block."""
        time.sleep(5 * TICK)
        self.longest = self.held = 0.0
        yield
        time.sleep(5 * TICK)  # a stall at the end of the block is only seen by the tick after it


@contextlib.contextmanager
def collector_off() -> Iterator[None]:
    """Within it, Python's cyclic collector does nothing by itself."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@dataclass
class Subject:
    """What is measured: a call that is ready to be made."""

    call: Call
    size: int
    collects: bool
    took: float = 0.0
    """Seconds of the first call."""

    def once(self) -> Any:
        """Make the call."""
        with contextlib.nullcontext() if self.collects else collector_off():
            return self.call()

    def first(self, cell: Cell, text: bytes) -> Figures:
        """The first call of the process: its memory, and whether its answer is right."""
        baseline = memory_baseline()
        start = perf_counter()
        result = self.once()
        self.took = perf_counter() - start
        peak = resident_kib("VmHWM") - baseline
        check(cell.procedure, text, result)
        return {"peak_x": peak * 1024 / self.size}

    def kept(self) -> Figures:
        """What each of two further results adds to the resident memory."""
        results = [self.once()]
        gc.collect()
        before = resident_kib("VmRSS")
        results += [self.once(), self.once()]
        gc.collect()
        return {"kept_x": (resident_kib("VmRSS") - before) / 2 * 1024 / self.size}

    def timed(self) -> Figures:
        """CPU and wall time of one call, of the collector over what came out; of what is short, of many calls."""
        calls = 1 if self.took > LONG else int(4 * LONG / max(self.took, 1e-6))
        times = [self._timed(calls) for _ in range(1 if calls == 1 else 5)]
        cpu, wall, collect = (statistics.median(column) * 1e3 for column in zip(*times, strict=True))
        figures = {"cpu_ms": cpu, "wall_ms": wall}
        if self.took <= LONG:
            return figures
        return figures | {"collect_ms": collect, "all_in_ms": cpu + collect, "gb_per_s": self.size / wall / 1e6}

    def _timed(self, calls: int) -> tuple[float, float, float]:
        """Seconds of CPU and of the clock for one of `calls`, and of the collector after the last."""
        gc.collect()
        start, cpu_start = perf_counter(), cpu_seconds()
        for _ in range(calls - 1):
            self.once()
        result = self.once()
        wall, cpu = perf_counter() - start, cpu_seconds() - cpu_start
        cpu_start = cpu_seconds()
        gc.collect()
        collect = cpu_seconds() - cpu_start
        del result
        return cpu / calls, wall / calls, collect

    def watched(self, times: int) -> Figures:
        """The gaps that a call, and dropping its result, leave to another thread: the least of some tries."""
        ticker = Ticker()
        tries = [self._watched(ticker) for _ in range(times)]
        return {figure: min(one[figure] for one in tries) for figure in tries[0]}

    def _watched(self, ticker: Ticker) -> Figures:
        gc.collect()
        with ticker.watch():
            result = self.once()
        figures = {"gap_ms": ticker.longest * 1e3, "held_ms": ticker.held * 1e3}
        with ticker.watch():
            del result
        figures["free_gap_ms"] = ticker.longest * 1e3
        with ticker.watch():
            time.sleep(min(self.took, 0.3))
        return figures | {"idle_gap_ms": ticker.longest * 1e3}


def run(cell: Cell) -> Figures:
    """All figures of one cell."""
    text = json_inputs.path(cell.shape).read_bytes()
    backend = cell.backend.removesuffix(WITHOUT_COLLECTOR)
    call = CONTENDERS[cell.procedure][backend](text)
    subject = Subject(call, len(text), collects=backend == cell.backend)
    figures = subject.first(cell, text)
    figures |= subject.timed()
    if cell.procedure == "open" and cell.shape in LARGE:
        figures |= subject.kept()
    if cell.shape not in SMALL:
        # What holds the GIL does so each time; what else makes a thread late does not.
        figures |= subject.watched(3 if subject.took < 0.5 or cell.procedure.endswith("_async") else 1)
    return figures


# --- the parent: all cells --------------------------------------------------------------------------------------------


def all_cells(libraries: Sequence[str]) -> list[Cell]:
    """Each operation with each of its inputs by each backend of `libraries`."""
    cells = []
    for operation, inputs in INPUTS.items():
        for name in inputs:
            backends = [backend for backend in CONTENDERS[operation] if library(backend) in libraries]
            if operation in COLLECTOR_MATTERS and "orjson" in backends:
                backends.insert(backends.index("orjson") + 1, f"orjson{WITHOUT_COLLECTOR}")
            size = json_inputs.path(name).stat().st_size
            cells += [Cell(f"{operation}/{name}", operation, backend, size, shape=name) for backend in backends]
    return cells


def expected_seconds(cell: Cell) -> float:
    """A rough guess, for the time left: start, and a few calls at a tenth of a GB/s."""
    return 0.8 + 4 * cell.size / (1e9 if "ours" in cell.backend else 1.5e8)


def measure_all(cells: Sequence[Cell], repeats: int, lines: TextIO | None) -> list[Sample]:
    """Every cell `repeats` times, with a progress bar on stderr; each sample is written to `lines` at once."""
    samples: list[Sample] = []
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TextColumn("left:"))
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=round(repeats * sum(map(expected_seconds, cells))))
        for repeat in range(repeats):
            for cell in in_turn(cells, repeat):
                progress.update(task, description=f"{repeat + 1}/{repeats} {cell.name} {cell.backend}")
                sample = in_a_process([__file__], [asdict(cell)], cell)
                samples.append(sample)
                progress.advance(task, expected_seconds(cell))
                if sample.error:
                    progress.console.print(f"{cell.name} {cell.backend}: {sample.error}", markup=False, soft_wrap=True)
                if lines:
                    print(sample.as_json(), file=lines, flush=True)
    return samples


def goal_rows(figures: Collected) -> list[list[str]]:
    """A row for each goal that was measured: ours, the rival's, the ratio, the goal, whether it is reached."""
    rows = []
    for goal in GOALS:
        ours = figures.get((goal.cell, goal.backend, goal.figure))
        theirs = figures.get((goal.cell, goal.rival, goal.figure))
        if not ours or (goal.rival and not theirs):
            continue
        mine = statistics.median(ours)
        ratio = mine / statistics.median(theirs) if theirs else None
        rows.append([
            goal.cell,
            goal.backend,
            f"{number(mine)} {UNITS[goal.figure]}",
            f"{number(statistics.median(theirs))} ({goal.rival})" if theirs else "-",
            "-" if ratio is None else f"{ratio:.2f}",
            str(goal),
            "yes" if goal.reached(mine if ratio is None else ratio) else "**no**",
        ])  # fmt: skip
    return rows


def backend_rows(figures: Collected, samples: Sequence[Sample], operation: str) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the table of all backends for one operation; the second column compares CPU with orjson's."""
    cells = [sample for sample in samples if sample.cell.procedure == operation]
    shown = [figure for figure in UNITS if any(figure in sample.figures for sample in cells)]
    rows = []
    for name, backend in dict.fromkeys((sample.cell.name, sample.cell.backend) for sample in cells):
        values = [figures.get((name, backend, figure)) for figure in shown]
        cpu, orjson = figures.get((name, backend, "cpu_ms")), figures.get((name, "orjson", "cpu_ms"))
        ratio = f"{statistics.median(cpu) / statistics.median(orjson):.3f}" if cpu and orjson else "-"
        errors = {s.error for s in cells if s.error and (s.cell.name, s.cell.backend) == (name, backend)}
        rows.append([name, backend, ratio, *(spread(v) if v else "n/a" for v in values), "; ".join(sorted(errors))])
    return ["cell", "backend", "CPU, x orjson", *(UNITS[figure] for figure in shown), "failed"], rows


def earlier(path: Path) -> list[Sample]:
    """The samples in a file; none if it is not there."""
    rows = map(json.loads, path.read_text().splitlines()) if path.exists() else ()
    return [Sample.from_json(row) for row in rows]


def report(samples: Sequence[Sample], facts: dict[str, Any]) -> str:
    """Both tables as one Markdown document."""
    figures = collected(samples)
    counts = Counter((sample.cell.name, sample.cell.backend) for sample in samples).values()
    versions = ", ".join(f"{name} {version}" for name, version in facts["packages"].items() if version)
    text = (
        f"# JSON off the GIL\n\n{facts['date']}, {facts['cpu']}, {facts['cores']} cores, Linux {facts['kernel']}, "
        f"Python {facts['python']}. {max(counts)} repeats, medians. {versions}.\n\n"
        "Inputs: `benches/python/json_inputs.py`. What the columns mean: `benches/python/json_cases.py`.\n\n"
        "## Goals\n\n"
    )
    head = ["cell", "backend", "figure", "rival", "ratio", "goal", "reached"]
    text += markdown(head, goal_rows(figures)) + "\n## All backends: median (min..max)\n"
    for operation in dict.fromkeys(sample.cell.procedure for sample in samples):
        text += f"\n### {operation}\n\n" + markdown(*backend_rows(figures, samples, operation))
    return text


def write(directory: Path, samples: Sequence[Sample], facts: dict[str, Any], text: str) -> None:
    """The raw samples and the report, into `directory`."""
    directory.mkdir(parents=True, exist_ok=True)
    raw = {"machine": facts, "samples": [asdict(sample) for sample in samples]}
    (directory / f"json-{date.today()}.json").write_text(json.dumps(raw, indent=1) + "\n")
    (directory / "json.md").write_text(text)


def arguments() -> argparse.Namespace:
    """The command line."""
    peers = [name for name in (*PACKAGES, "json") if name != "ours"]
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, metavar="N", help="processes for each cell (default 5)")
    parser.add_argument("--only", metavar="PATTERN", help="cells whose name matches, with * as in a shell")
    parser.add_argument("--peers", metavar="A,B", help=f"libraries beside ours: {', '.join(peers)}")
    parser.add_argument("--quick", action="store_true", help="2 repeats")
    parser.add_argument(
        "--samples", type=Path, metavar="FILE", help="append each sample as a line of JSON, and report on all in it"
    )
    parser.add_argument("--output", type=Path, metavar="DIR", help="where to write the results")
    options = parser.parse_args()
    asked = options.peers.split(",") if options.peers else peers
    unknown = [name for name in asked if name not in peers]
    if unknown:
        parser.error(f"no library named {', '.join(unknown)}: there are {', '.join(peers)}")
    options.libraries = ["ours", *asked]
    if not (options.only or options.peers or options.quick):
        options.output = options.output or RESULTS
    options.repeats = options.repeats or (2 if options.quick else 5)
    return options


def main() -> None:
    """Make the inputs, measure, report, write."""
    options = arguments()
    for name in [name for name in options.libraries if version(name) is None]:
        print(f"{name}: not installed, skipped", file=sys.stderr)
        options.libraries.remove(name)
    cells = [cell for cell in all_cells(options.libraries) if fnmatch.fnmatch(cell.name, options.only or "*")]
    if not cells and not options.samples:
        sys.exit(f"no cell matches {options.only!r}; --help says how they are named")
    facts = machine({name: version(name) for name in options.libraries})
    facts["inputs"] = json_inputs.digests()
    samples = earlier(options.samples) if options.samples else []
    with options.samples.open("a") if options.samples else contextlib.nullcontext() as lines:
        samples += measure_all(cells, options.repeats, lines)
    text = report(samples, facts)
    print(text)
    if options.output:
        write(options.output, samples, facts, text)


def child() -> None:
    """One cell in argv, one line of JSON out."""
    (cell,) = json.loads(sys.argv[1])
    status = 0
    try:
        print(json.dumps([run(Cell(**cell)), {}]), flush=True)
    except Exception as error:
        traceback.print_exc()
        print(f"{type(error).__name__}: {str(error).partition(chr(10))[0]}", file=sys.stderr, flush=True)
        status = 1
    os._exit(status)  # freeing 100 MB of objects at exit is nobody's figure


if __name__ == "__main__":
    child() if sys.argv[1:] and sys.argv[1].startswith("[") else main()
