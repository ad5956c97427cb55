"""A large payload from Python to an agent and back: what `make demo` shows, in under a minute.

Bodies of 1 KiB to 256 MiB go up and come down through `AsyncA2AClient`, against `mcpgateway-rust serve` in a process of
its own, and the same through httpx. Every body is verified by its sha256 before anything is timed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from itertools import pairwise
from math import isnan

from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from first_light import BOTH_WAYS, number
from mcpgateway_rust.sweep.backends import BACKENDS as CLIENTS
from mcpgateway_rust.sweep.bodies import Bodies
from mcpgateway_rust.sweep.cells import Cell, Sample
from mcpgateway_rust.sweep.machine import machine
from mcpgateway_rust.sweep.processes import measure, server
from mcpgateway_rust.sweep.sizes import MIB, named

SIZES = (1024, 64 << 10, MIB, 16 * MIB, 256 * MIB)
BACKENDS = {"ours-a2a": "ours", "httpx": "httpx"}
EPILOG = """
columns:
  decision        how the body crossed: copied, borrowed in place, or mapped
  GB/s            10^9 bytes of body a second, one transfer at a time
  CPU s/GB        processor seconds of the client process for 10^9 bytes
  MiB beyond      peak memory of the client process beyond the body itself
  loop gap ms     the longest time the asyncio event loop could not run anything else

All figures and all peers: benches/python/first_light.py --help
"""
FIGURES = ("gb_per_s", "cpu_s_per_gb", "beyond_mib", "gap_ms")


def cells(backends: Sequence[str]) -> list[Cell]:
    """Each size up and down, the backends side by side."""
    return [
        Cell(
            f"{named(size)}/{direction}", "exchanges", backend, size,
            direction=direction, seconds=0.3, least=1, gap_seconds=0.05,
        )
        for size in SIZES
        for direction in BOTH_WAYS
        for backend in backends
    ]  # fmt: skip


def measure_all(todo: Sequence[Cell], url: str | None) -> Iterable[Sample]:
    """The cells one after another, with a progress bar on stderr."""
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TextColumn("left:"))
    with (
        tempfile.TemporaryDirectory() as directory,
        server(url) as address,
        Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as progress,
    ):
        bodies = Bodies(directory)
        task = progress.add_task("", total=sum(map(weight, todo)))
        for cell in todo:
            progress.update(task, description=f"{cell.name} {BACKENDS[cell.backend]}")
            yield measure(cell, address, bodies, patience=60)
            progress.advance(task, weight(cell))


def weight(cell: Cell) -> float:
    """Seconds a cell is expected to take, roughly."""
    return 1.0 + (5 if cell.backend == "httpx" else 2) * cell.size / 0.5e9


def ratios(ours: Sample, theirs: Sample) -> list[float]:
    """Ours over theirs, in the order of `FIGURES`; nan where theirs is zero or less."""
    pairs = [(ours.figures[name], theirs.figures[name]) for name in FIGURES]
    return [mine / other if other > 0 else float("nan") for mine, other in pairs]


def table(samples: Sequence[Sample]) -> Table:
    """A row for each sample, and one of ratios below each pair."""
    shown = Table(title="ours: mcpgateway_rust, AsyncA2AClient", box=box.SIMPLE_HEAD, title_justify="left")
    for column in ("body", "way", "backend", "decision"):
        shown.add_column(column, no_wrap=True)
    for column in ("GB/s", "CPU s/GB", "MiB beyond", "loop gap ms"):
        shown.add_column(column, justify="right")
    for sample in samples:
        size, way = sample.cell.name.split("/")
        figures = [number(sample.figures[name]) for name in FIGURES] if sample.figures else [sample.error]
        shown.add_row(size, way, BACKENDS[sample.cell.backend], sample.notes.get("decision", ""), *figures)
        pair = [other for other in samples if other.cell.name == sample.cell.name and other.figures]
        if sample.cell.backend == "httpx" and len(pair) == len(BACKENDS):
            ours_over_theirs = ["-" if isnan(ratio) else f"x{ratio:.2g}" for ratio in ratios(*pair)]
            shown.add_row("", "", "ratio", "", *ours_over_theirs, style="dim", end_section=True)
    return shown


def summary(samples: Sequence[Sample]) -> str:
    """The ratio line: ours against httpx over all sizes."""
    pairs = [
        (ours, theirs)
        for ours, theirs in pairwise(samples)
        if ours.cell.name == theirs.cell.name and ours.figures and theirs.figures
    ]
    if not pairs:
        return "No pair was measured in full: no ratio."
    speed, cpu, _, _ = (statistics.median(column) for column in zip(*(ratios(*pair) for pair in pairs), strict=True))
    gap, their_gap = (max(pair[side].figures["gap_ms"] for pair in pairs) for side in (0, 1))
    return (
        f"mcpgateway_rust / httpx, median of {len(pairs)} rows: "
        f"{number(speed)}x the throughput, {number(cpu)}x the CPU; "
        f"longest loop gap {number(gap)} ms against {number(their_gap)} ms."
    )


def main() -> None:
    """Measure, then show."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="machine facts and samples as JSON on stdout")
    parser.add_argument("--url", help="measure against this running server instead of starting one")
    options = parser.parse_args()
    missing = [CLIENTS[name].package for name in BACKENDS if CLIENTS[name].version() is None]
    if missing:
        sys.exit(f"not installed: {', '.join(map(str, missing))}")
    samples = list(measure_all(cells(list(BACKENDS)), options.url))
    if options.json:
        print(json.dumps({"machine": machine(), "samples": [asdict(sample) for sample in samples]}, indent=1))
    else:
        console = Console()
        console.print(table(samples))
        console.print(summary(samples), highlight=False)
    if any(sample.error for sample in samples):
        sys.exit(1)


if __name__ == "__main__":
    main()
