"""A sweep that nobody measured, with all that a report has to show: ties, crossings, gaps, load, failures."""

import math
import random

from mcpgateway_rust.sweep.cells import Cell, Sample
from mcpgateway_rust.sweep.plans import Grid, Plan
from mcpgateway_rust.sweep.results import Results
from mcpgateway_rust.sweep.sizes import GIB, KIB, MIB, SIZES

MACHINE = {
    "date": "2026-01-02T03:04:05+00:00", "cpu": "A processor <of tests>", "cores": 2, "memory_gib": 16.0,
    "kernel": "6.0", "python": "3.11.7", "packages": {"mcpgateway_rust": "0.1.0", "httpx": "0.28.1"}, "load": [0, 0, 0],
}  # fmt: skip
CEILINGS = {"ours": 2.9, "ours-copy": 2.1, "ours-borrow": 2.9, "httpx": 0.4, "aiohttp": 0.9, "pyreqwest": 2.0}
"""GB/s that each comes near to with large bodies."""
FIXED = {"ours": 2e-4, "ours-copy": 1.9e-4, "ours-borrow": 2.2e-4, "httpx": 2e-3, "aiohttp": 3e-4, "pyreqwest": 1.6e-4}
"""Seconds that each needs for a call, whatever its size."""


def made_up_sweep(*, repeats: int = 5) -> Results:
    """The same at each call."""
    chance = random.Random(41)
    grids = (
        Grid(sizes=SIZES, directions=("up", "down")),
        Grid(sizes=(KIB, 64 * KIB), directions=("down",), concurrencies=(64,)),
        Grid(sizes=(MIB,), directions=("down",), shapes=("messages",)),
    )
    cells = [cell for grid in grids for cell in grid.cells(list(CEILINGS), 0.1)]
    cells += Grid(sizes=(KIB,)).cells(["empty"], 0.1)
    samples = [sample(cell, repeat, chance) for repeat in range(repeats) for cell in cells]
    return Results(MACHINE, Plan("own", tuple(cells), repeats), tuple(samples))


def sample(cell: Cell, repeat: int, chance: random.Random) -> Sample:
    """One process, a little faster or slower than the others."""
    if cell.size == GIB and cell.backend == "httpx":
        return Sample(cell, 0.0, error="killed by signal 9", repeat=repeat)
    seconds = 1e-6 if cell.backend == "empty" else FIXED[cell.backend] + cell.size / CEILINGS[cell.backend] / 1e9
    seconds *= chance.uniform(0.94, 1.06)
    per_gb = seconds / cell.size * 1e9
    beyond = 0.02 if cell.backend == "ours" else cell.size / MIB
    figures = {
        "gb_per_s": 1 / per_gb, "per_s": cell.concurrency / seconds, "p50_ms": seconds * 1e3, "p90_ms": seconds * 1.2e3,
        "p99_ms": seconds * 2e3, "calls": 10, "cpu_s_per_gb": per_gb / 2, "cpu_us": seconds * 5e5,
        "faults_per_mib": 0 if cell.backend == "ours" else 256, "beyond_mib": beyond,
        "gap_ms": 1 + (0 if cell.backend == "ours" else math.log2(cell.size)), "idle_gap_ms": 1.0,
    }  # fmt: skip
    return Sample(cell, 0.0, figures, {}, "", repeat, 0.5 if cell.size == 256 * MIB else 0.0)
