"""Which cells a sweep has, and in which order they are measured."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mcpgateway_rust.sweep.backends import BACKENDS, OURS, PEERS
from mcpgateway_rust.sweep.cells import Cell, Direction, cell_name
from mcpgateway_rust.sweep.sizes import GIB, KIB, MIB, SIZES

QUICK_BACKENDS = ("ours", "httpx", "aiohttp", "pyreqwest", "wreq")
FULL_BACKENDS = (*OURS, *PEERS, "raw")
QUICK_SECONDS = 110.0
"""A quick sweep begins no further cell after this, so that it is done within two minutes."""
BODIES_IN_FLIGHT = 4
"""The most bodies that a client was seen to hold for one call."""
_LARGE = 256 * MIB


@dataclass(frozen=True)
class Plan:
    """The cells of a sweep, each once for each of its backends."""

    title: str
    cells: tuple[Cell, ...]
    repeats: int
    """How often each is measured."""
    budget: float | None = None
    """Seconds after which no further cell begins."""


@dataclass(frozen=True)
class Grid:
    """Every combination of these that makes sense."""

    sizes: Sequence[int] = (KIB, 64 * KIB, MIB, 16 * MIB)
    directions: Sequence[Direction] = ("up", "down")
    shapes: Sequence[str] = ("opaque",)
    exporters: Sequence[str] = ("bytes",)
    concurrencies: Sequence[int] = (1,)

    def cells(self, backends: Sequence[str], seconds: float, loop: str = "asyncio") -> Iterator[Cell]:
        """The cells, those that differ only in their backend side by side."""
        dimensions = (self.directions, self.shapes, self.exporters, self.concurrencies, self.sizes)
        for direction, shape, exporter, concurrency, size in itertools.product(*dimensions):
            if direction == "down" and exporter != self.exporters[0]:
                continue  # nothing is sent, so that would be the same cell again
            sent = "bytes" if direction == "down" else exporter
            for backend in backends:
                if _makes_sense(backend, direction, shape, concurrency):
                    yield Cell(
                        cell_name(size, direction, shape, sent, concurrency),
                        "exchanges",
                        backend,
                        size,
                        direction,
                        shape,
                        sent,
                        concurrency,
                        seconds=seconds,
                        least=1 if size >= _LARGE else 3,
                        gap_seconds=seconds / 2,
                        loop=loop,
                    )


def _makes_sense(backend: str, direction: str, shape: str, concurrency: int) -> bool:
    kind = BACKENDS[backend]
    if direction not in kind.directions or (kind.blocking and concurrency > 1):
        return False
    return shape == "opaque" or backend not in {"empty", "raw"}


EMPTY_GRID = Grid(sizes=(KIB,), concurrencies=(1, 64))
"""Where measuring itself would show most."""

FULL_GRIDS = (
    Grid(sizes=SIZES, directions=("up", "down", "echo")),
    Grid(sizes=(KIB, 64 * KIB, MIB), concurrencies=(4, 16, 64, 256)),
    Grid(sizes=(MIB, 64 * MIB), directions=("up",), exporters=("bytearray", "ndarray", "mmap", "shared")),
    Grid(
        sizes=(64 * KIB, MIB, 16 * MIB, 64 * MIB),
        directions=("down",),
        shapes=("text", "messages", "embeddings", "table"),
    ),
)


def quick_plan(backends: Sequence[str], *, repeats: int = 4, seconds: float = 0.15, loop: str = "asyncio") -> Plan:
    """A first impression in two minutes."""
    cells = [*Grid().cells(backends, seconds, loop), *Grid(sizes=(KIB,)).cells(["empty"], seconds, loop)]
    return Plan("quick", tuple(cells), repeats, QUICK_SECONDS)


def full_plan(backends: Sequence[str], *, repeats: int = 5, seconds: float = 1.0, loop: str = "asyncio") -> Plan:
    """Everything: hours."""
    cells = [cell for grid in FULL_GRIDS for cell in grid.cells(backends, seconds, loop)]
    return Plan("full", (*cells, *EMPTY_GRID.cells(["empty"], seconds, loop)), repeats)


def own_plan(
    grid: Grid, backends: Sequence[str], *, repeats: int = 4, seconds: float = 0.5, loop: str = "asyncio"
) -> Plan:
    """What somebody asked for."""
    return Plan("own", tuple(grid.cells(backends, seconds, loop)), repeats)


def in_turn(cells: Sequence[Cell], repeat: int) -> Iterator[Cell]:
    """The cells in order, the backends of each rotated by `repeat`, so that none is always first."""
    by_name: dict[str, list[Cell]] = defaultdict(list)
    for cell in cells:
        by_name[cell.name].append(cell)
    for group in by_name.values():
        start = repeat % len(group)
        yield from group[start:] + group[:start]


def memory_needed(cell: Cell) -> int:
    """Bytes that a cell may need, with a client that is not careful with them."""
    return cell.size * (1 + BODIES_IN_FLIGHT * cell.concurrency)


def expected_seconds(cell: Cell) -> float:
    """A rough guess, for the time left: process start, the timed part, and transfers at half a GB/s around it."""
    return 0.5 + 1.8 * cell.seconds + 2 * cell.gap_seconds + 6 * cell.size / (GIB / 2)
