"""Measures every figure of the "First light" issue and says which are reached.

Each cell runs in a fresh client process against one `serve` process; within a repeat the backends take turns, in an
order that moves on with each repeat. Reported are medians over the repeats, with the smallest and largest beside them.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from mcpgateway_rust.sweep.backends import BACKENDS
from mcpgateway_rust.sweep.bodies import Bodies
from mcpgateway_rust.sweep.cells import Cell, Direction, Sample
from mcpgateway_rust.sweep.machine import machine
from mcpgateway_rust.sweep.processes import measure, server
from mcpgateway_rust.sweep.sizes import MIB, named

RESULTS = Path(__file__).parent.parent / "results"
PROCEDURES = (str(Path(__file__).with_name("first_light_procedures.py")),)
EXPORTERS = ("bytes", "ndarray", "memoryview", "mmap")
LIBRARIES = ("httpx", "httpx2", "aiohttp", "pyreqwest", "wreq", "obstore")
BY_HAND = ("aiohttp-slices", "httpx-slices")
"""The same libraries when the caller cuts an upload into views, as no manual tells them to."""
LOADS: tuple[tuple[int, int, Direction], ...] = (
    (1024, 64, "up"), (1024, 64, "down"), (1024, 1, "up"), (1024, 1, "down"), (256 << 10, 1, "up"), (MIB, 1, "up"),
)  # fmt: skip
"""Bytes, calls at a time, direction."""
BOTH_WAYS: tuple[Direction, ...] = ("up", "down")
UNITS = {
    "gb_per_s": "GB/s",
    "cpu_s_per_gb": "CPU s/GB",
    "beyond_mib": "MiB beyond the body",
    "faults_per_mib": "faults/MiB",
    "first_ms": "ms, the first",
    "gap_ms": "ms loop gap",
    "idle_gap_ms": "ms loop gap, idle",
    "per_s": "requests/s",
    "cpu_us": "CPU us/request",
    "many_per_s": "invoke_many/s",
    "awaits_per_s": "awaits/s",
    "many_ratio": "x the awaits",
    "construct_us": "us to construct",
    "raised_ms": "ms to KeyboardInterrupt",
    "writable_ms": "ms to writable",
    "server_end_ms": "ms to the server's end",
}
EPILOG = """
examples:
  first_light.py                                  everything, five repeats: about an hour on two cores
  first_light.py --quick --only 'download/64*'    a first impression in a minute
  first_light.py --peers httpx,pyreqwest,raw      ours against three others
  first_light.py --json-lines | jq .figures       every sample as it is measured

Cell names: upload/SIZE/KIND, download/SIZE, gap/SIZE/up|down, requests/SIZE/WORKERS/up|down, invoke_many/1KiB,
construct/KIND, cancel, interrupt. A peer that is not installed is named and skipped. A complete run writes
first_light-DATE.json (every sample, machine facts) and first_light.md; a partial one writes only with --output.
"""


@dataclass(frozen=True)
class Target:
    """A figure to reach in the cells that match `cells` (a shell pattern).

    With `rivals` the bound is a ratio to the best of them; without, it is a value in the figure's own unit.
    """

    cells: str
    figure: str
    relation: str
    bound: float
    rivals: tuple[str, ...] = ()
    label: str = ""

    def reached(self, value: float) -> bool:
        """Whether `value`, a ratio or a figure, keeps to the bound."""
        return value >= self.bound if self.relation == ">=" else value <= self.bound

    def __str__(self) -> str:
        if not self.rivals:
            return f"{self.relation} {self.bound:g}"
        return f"{self.relation} {self.bound:g}x {self.label or self.rivals[0]}"


TARGETS = (
    Target("upload/*", "gb_per_s", ">=", 0.95, LIBRARIES, "best peer"),
    Target("upload/*", "gb_per_s", ">=", 0.95, LIBRARIES + BY_HAND, "best peer or slices by hand"),
    Target("upload/*", "gb_per_s", ">=", 5, ("httpx",)),
    Target("upload/*", "beyond_mib", "<=", 4),
    Target("download/*", "gb_per_s", ">=", 1.2, LIBRARIES, "best peer"),
    Target("download/*", "gb_per_s", ">=", 0.75, ("raw",)),
    Target("download/*", "cpu_s_per_gb", "<=", 0.75, LIBRARIES, "best peer"),
    Target("download/*", "beyond_mib", "<=", 4),
    Target("download/*", "first_ms", "<=", 1, LIBRARIES, "best peer"),
    Target("gap/256MiB/*", "gap_ms", "<=", 10),
    Target("gap/1GiB/*", "gap_ms", "<=", 20),
    Target("requests/1KiB/64/*", "per_s", ">=", 1.3, ("wreq",)),
    Target("requests/1KiB/64/*", "per_s", ">=", 50, ("httpx",)),
    Target("requests/1KiB/64/*", "per_s", ">=", 15, ("httpx2",)),
    Target("requests/1KiB/1/*", "per_s", ">=", 1.3, ("pyreqwest", "aiohttp"), "the better of pyreqwest, aiohttp"),
    Target("requests/256KiB/1/up", "per_s", ">=", 1, ("aiohttp", "pyreqwest"), "the better of aiohttp, pyreqwest"),
    Target("requests/1MiB/1/up", "per_s", ">=", 1, ("aiohttp", "pyreqwest"), "the better of aiohttp, pyreqwest"),
    Target("invoke_many/*", "many_ratio", ">=", 1.5),
    Target("construct/*", "construct_us", "<=", 5),
    Target("cancel", "writable_ms", "<=", 100),
    Target("cancel", "server_end_ms", "<=", 100),
    Target("interrupt", "raised_ms", "<=", 100),
    Target("interrupt", "writable_ms", "<=", 100),
)

Collected = dict[tuple[str, str, str], list[float]]
"""(cell, backend, figure) to its samples."""


def all_cells(backends: Sequence[str], seconds: float) -> list[Cell]:
    """The issue's table: each cell once for each backend it makes sense for."""
    whole = [name for name in backends if name not in BY_HAND]
    asynchronous = [name for name in whole if not BACKENDS[name].blocking]
    alone = [name for name in backends if name == "ours"]
    cells = [
        Cell(f"upload/{named(size)}/{kind}", "exchanges", backend, size, exporter=kind, seconds=seconds)
        for size in (64 * MIB, 256 * MIB)
        for kind in EXPORTERS
        for backend in backends
    ]
    cells += [
        Cell(f"download/{named(size)}", "exchanges", backend, size, direction="down", seconds=seconds)
        for size in (64 * MIB, 256 * MIB)
        for backend in whole
    ]
    cells += [
        Cell(
            f"gap/{named(size)}/{direction}", "exchanges", backend, size,
            direction=direction, seconds=seconds, least=1, gap_seconds=seconds,
        )
        for size in (256 * MIB, 1024 * MIB)
        for direction in BOTH_WAYS
        for backend in asynchronous
    ]  # fmt: skip
    cells += [
        Cell(
            f"requests/{named(size)}/{workers}/{direction}", "exchanges", backend, size,
            direction=direction, concurrency=workers, seconds=seconds,
        )
        for size, workers, direction in LOADS
        for backend in (asynchronous if workers > 1 else backends if size > 1024 else whole)
    ]  # fmt: skip
    cells += [Cell("invoke_many/1KiB", "invoke_many", backend, 1024, concurrency=64) for backend in alone]
    cells += [
        Cell(f"construct/{kind}", "construct", backend, 64 * MIB, exporter=kind)
        for kind in EXPORTERS
        for backend in alone
    ]
    cells += [Cell("cancel", "cancel", backend, 64 * MIB) for backend in asynchronous]
    cells += [Cell("interrupt", "interrupt", backend, 64 * MIB) for backend in alone]
    return cells


def in_turn(cells: Sequence[Cell], repeat: int) -> Iterable[Cell]:
    """The cells in order, the backends of each rotated by `repeat`, so that none is always first."""
    by_name: dict[str, list[Cell]] = defaultdict(list)
    for cell in cells:
        by_name[cell.name].append(cell)
    for group in by_name.values():
        start = repeat % len(group)
        yield from group[start:] + group[:start]


def expected_seconds(cell: Cell) -> float:
    """A rough guess, for the time left: process start, the timed part, and transfers at half a GB/s around it."""
    return 0.5 + cell.seconds + (5 if cell.gap_seconds else 3) * cell.size / 0.5e9


def measure_all(cells: Sequence[Cell], repeats: int, url: str | None, json_lines: bool) -> list[Sample]:
    """Every cell `repeats` times, with a progress bar on stderr."""
    samples: list[Sample] = []
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TextColumn("left:"))
    with (
        tempfile.TemporaryDirectory() as directory,
        server(url) as address,
        Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as progress,
    ):
        bodies = Bodies(directory)
        task = progress.add_task("", total=round(repeats * sum(map(expected_seconds, cells))))
        for repeat in range(repeats):
            for cell in in_turn(cells, repeat):
                progress.update(task, description=f"{repeat + 1}/{repeats} {cell.name} {cell.backend}")
                sample = measure(cell, address, bodies, program=PROCEDURES)
                samples.append(sample)
                progress.advance(task, expected_seconds(cell))
                if sample.error:
                    progress.console.print(f"{cell.name} {cell.backend}: {sample.error}", markup=False, soft_wrap=True)
                if json_lines:
                    print(sample.as_json(), flush=True)
    return samples


def collected(samples: Iterable[Sample]) -> Collected:
    """The samples of each figure of each backend in each cell."""
    figures: Collected = defaultdict(list)
    for sample in samples:
        for figure, value in sample.figures.items():
            figures[sample.cell.name, sample.cell.backend, figure].append(value)
    return figures


def number(value: float) -> str:
    """Three significant digits, no exponent."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def spread(values: Sequence[float]) -> str:
    """`median (min..max)`."""
    return f"{number(statistics.median(values))} ({number(min(values))}..{number(max(values))})"


def target_rows(figures: Collected, cells: Sequence[str]) -> list[list[str]]:
    """A row for each cell and target: ours, the rival to beat, the ratio, the target, whether it is reached."""
    rows = []
    for name in cells:
        for target in TARGETS:
            ours = figures.get((name, "ours", target.figure))
            if not fnmatch.fnmatch(name, target.cells) or not ours:
                continue
            mine = statistics.median(ours)
            theirs = [
                (statistics.median(figures[name, rival, target.figure]), rival)
                for rival in target.rivals or LIBRARIES
                if (name, rival, target.figure) in figures
            ]
            best = (max if target.relation == ">=" else min)(theirs, default=None)
            ratio = mine / best[0] if best and best[0] > 0 else None
            value = ratio if target.rivals else mine
            idle = figures.get((name, "ours", "idle_gap_ms"))
            beside = f" (idle {number(statistics.median(idle))})" if idle and target.figure == "gap_ms" else ""
            rows.append([
                name,
                f"{number(mine)} {UNITS[target.figure]}{beside}",
                f"{number(best[0])} ({best[1]})" if best else "-",
                f"{ratio:.2f}" if ratio is not None else "-",
                str(target),
                "-" if value is None else "yes" if target.reached(value) else "**no**",
            ])  # fmt: skip
    return rows


def backend_rows(figures: Collected, samples: Sequence[Sample], group: str) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the table of all backends for one group of cells (the first part of their names)."""
    cells = [sample for sample in samples if sample.cell.name.split("/")[0] == group]
    shown = [figure for figure in UNITS if any(figure in sample.figures for sample in cells)]
    rows = []
    for name, backend in dict.fromkeys((sample.cell.name, sample.cell.backend) for sample in cells):
        values = [figures.get((name, backend, figure)) for figure in shown]
        errors = {s.error for s in cells if s.error and (s.cell.name, s.cell.backend) == (name, backend)}
        rows.append([name, backend, *(spread(v) if v else "n/a" for v in values), "; ".join(sorted(errors))])
    return ["cell", "backend", *(UNITS[figure] for figure in shown), "failed"], rows


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def report(samples: Sequence[Sample], facts: dict[str, object], repeats: int) -> str:
    """Both tables as one Markdown document."""
    figures = collected(samples)
    cells = list(dict.fromkeys(sample.cell.name for sample in samples))
    packages = facts["packages"]
    assert isinstance(packages, dict)
    versions = ", ".join(f"{name} {version}" for name, version in packages.items() if version)
    text = (
        f"# First light\n\n{facts['date']}, {facts['cpu']}, {facts['cores']} cores, Linux {facts['kernel']}, "
        f"Python {facts['python']}. {repeats} repeats, medians. {versions}.\n\n## Targets\n\n"
    )
    head = ["cell", "ours", "best peer", "ratio", "target", "reached"]
    text += markdown(head, target_rows(figures, cells)) + "\n## All backends: median (min..max)\n"
    for group in dict.fromkeys(name.split("/")[0] for name in cells):
        text += f"\n### {group}\n\n" + markdown(*backend_rows(figures, samples, group))
    return text


def write(directory: Path, samples: Sequence[Sample], facts: dict[str, object], text: str) -> None:
    """The raw samples and the report, into `directory`."""
    directory.mkdir(parents=True, exist_ok=True)
    raw = {"machine": facts, "samples": [asdict(sample) for sample in samples]}
    (directory / f"first_light-{date.today()}.json").write_text(json.dumps(raw, indent=1) + "\n")
    (directory / "first_light.md").write_text(text)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, metavar="N", help="client processes for each cell (default 5)")
    parser.add_argument("--only", metavar="PATTERN", help="cells whose name matches, with * as in a shell")
    parser.add_argument("--peers", metavar="A,B", help=f"backends beside ours: {', '.join(BACKENDS)}")
    parser.add_argument("--quick", action="store_true", help="2 repeats of 0.3 s, nothing of 1 GiB")
    parser.add_argument("--loop", choices=("asyncio", "uvloop"), default="asyncio", help="the clients' event loop")
    parser.add_argument("--url", help="measure against this running server instead of starting one")
    parser.add_argument("--json-lines", action="store_true", help="print each sample as JSON instead of the report")
    parser.add_argument("--output", type=Path, metavar="DIR", help="where to write the results")
    options = parser.parse_args()
    asked = options.peers.split(",") if options.peers else [*LIBRARIES, *BY_HAND, "raw"]
    unknown = [name for name in asked if name not in BACKENDS]
    if unknown:
        parser.error(f"no backend named {', '.join(unknown)}: there are {', '.join(BACKENDS)}")
    options.backends = ["ours", *(name for name in asked if name != "ours")]
    partial = any((options.only, options.peers, options.quick, options.url, options.loop == "uvloop"))
    if not partial and BACKENDS["ours"].version():
        options.output = options.output or RESULTS
    options.repeats = options.repeats or (2 if options.quick else 5)
    return options


def main() -> None:
    """Measure, report, write."""
    options = arguments()
    for name in [name for name in options.backends if BACKENDS[name].version() is None]:
        print(f"{name}: not installed, skipped", file=sys.stderr)
        options.backends.remove(name)
    cells = [
        replace(cell, loop=options.loop)
        for cell in all_cells(options.backends, 0.3 if options.quick else 1.2)
        if fnmatch.fnmatch(cell.name, options.only or "*") and not (options.quick and cell.size >= 1 << 30)
    ]
    if not cells:
        sys.exit(f"no cell matches {options.only!r}; --help lists the names")
    facts = machine()
    samples = measure_all(cells, options.repeats, options.url, options.json_lines)
    text = report(samples, facts, options.repeats)
    if not options.json_lines:
        print(text)
    if options.output:
        write(options.output, samples, facts, text)


if __name__ == "__main__":
    main()
