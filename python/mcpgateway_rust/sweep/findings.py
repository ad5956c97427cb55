"""What a sweep's samples say: figures by cell and backend, ours beside the best peer, and where curves cross."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from mcpgateway_rust.sweep.backends import BACKENDS, PEERS
from mcpgateway_rust.sweep.cells import Cell, Sample
from mcpgateway_rust.sweep.intervals import Difference, Estimate, compare, estimate
from mcpgateway_rust.sweep.results import Results

MORE_IS_BETTER = {"gb_per_s", "per_s"}
_TITLES = {"up": "Uploads", "down": "Downloads", "echo": "Echoes"}


@dataclass(frozen=True)
class Group:
    """Cells that differ only in their size and backend: one chart."""

    direction: str
    shape: str
    exporter: str
    concurrency: int

    @classmethod
    def of(cls, cell: Cell) -> Group:
        """The group that a cell is in."""
        return cls(cell.direction, cell.shape, cell.exporter, cell.concurrency)

    @property
    def title(self) -> str:
        """For a reader."""
        title = _TITLES[self.direction]
        title += f" from {self.exporter}" if self.exporter != "bytes" else ""
        if self.shape != "opaque":
            title += f" of {self.shape}" + (", opened as JSON" if self.direction == "down" else "")
        return title + (f", {self.concurrency} at a time" if self.concurrency > 1 else ", one at a time")


@dataclass(frozen=True)
class Crossing:
    """Where one backend overtakes another."""

    size: float
    """In bytes: between the two sizes measured, where straight lines through the medians cross."""
    ahead: str
    behind: str


class Findings:
    """The figures of a sweep, looked up by group, size and backend."""

    def __init__(self, results: Results) -> None:
        self.results = results
        self._values: dict[tuple[Group, int, str, str], list[float]] = defaultdict(list)
        self._loaded: dict[tuple[Group, int, str], bool] = defaultdict(bool)
        for sample in results.samples:
            group, cell = Group.of(sample.cell), sample.cell
            self._loaded[group, cell.size, cell.backend] |= sample.under_load
            for figure, value in sample.figures.items():
                self._values[group, cell.size, cell.backend, figure].append(value)

    @property
    def groups(self) -> list[Group]:
        """In the order of the plan, without that of the empty backend where it is alone."""
        return list(dict.fromkeys(Group.of(cell) for cell in self.results.plan.cells if cell.backend != "empty"))

    def sizes(self, group: Group) -> list[int]:
        """Of a group, ascending."""
        return sorted({cell.size for cell in self.results.plan.cells if Group.of(cell) == group})

    def backends(self, group: Group) -> list[str]:
        """Of a group that have figures, in the order in which they are listed anywhere."""
        there = {backend for (owner, _, backend, _) in self._values if owner == group} - {"empty"}
        return [name for name in BACKENDS if name in there]

    def values(self, group: Group, size: int, backend: str, figure: str) -> list[float]:
        """One for each process; none where nothing was measured."""
        return self._values.get((group, size, backend, figure), [])

    def estimate(self, group: Group, size: int, backend: str, figure: str) -> Estimate | None:
        """Median and interval, if there are any values."""
        values = self.values(group, size, backend, figure)
        return estimate(values) if values else None

    def under_load(self, group: Group, size: int, backend: str) -> bool:
        """Whether others had the machine during any of these samples."""
        return self._loaded.get((group, size, backend), False)

    def difference(self, group: Group, size: int, mine: str, theirs: str, figure: str) -> Difference | None:
        """`mine` in units of `theirs`, if both were measured."""
        a, b = (self.values(group, size, backend, figure) for backend in (mine, theirs))
        return compare(a, b) if a and b else None

    def best_peer(self, group: Group, size: int, figure: str) -> str | None:
        """The library of others with the best median."""
        medians = {
            name: found.median for name in PEERS if (found := self.estimate(group, size, name, figure)) is not None
        }
        best = max if figure in MORE_IS_BETTER else min
        return best(medians, key=lambda name: medians[name]) if medians else None

    def crossings(self, group: Group, a: str, b: str, figure: str = "gb_per_s") -> list[Crossing]:
        """Where `a` and `b` change places; only between sizes at which a difference is shown."""
        shown = [
            (size, found.ratio)
            for size in self.sizes(group)
            if (found := self.difference(group, size, a, b, figure)) is not None and found.shown
        ]
        crossings = []
        for (left, before), (right, after) in pairwise(shown):
            if (before - 1) * (after - 1) < 0:
                part = math.log(before) / (math.log(before) - math.log(after))
                size = math.exp(math.log(left) + part * (math.log(right) - math.log(left)))
                crossings.append(Crossing(size, a if after > 1 else b, b if after > 1 else a))
        return crossings

    def own_cost(self) -> tuple[float, float, str] | None:
        """What measuring costs: seconds for a call to nobody, its part of the smallest cell, and that cell's name."""
        empty = [cell for cell in self.results.plan.cells if cell.backend == "empty"]
        costs = []
        for cell in empty:
            group = Group.of(cell)
            nobody = self.estimate(group, cell.size, "empty", "per_s")
            others = {
                backend: found.median
                for backend in self.backends(group)
                if (found := self.estimate(group, cell.size, backend, "per_s")) is not None
            }
            if nobody is not None and others:
                fastest = max(others, key=lambda name: others[name])
                costs.append((1 / nobody.median, others[fastest] / nobody.median, f"{cell.name} {fastest}"))
        return max(costs, key=lambda cost: cost[1], default=None)

    @property
    def failed(self) -> dict[tuple[str, str], str]:
        """Cell and backend to what went wrong, where something did."""
        return failures(self.results.samples)


def failures(samples: Iterable[Sample]) -> dict[tuple[str, str], str]:
    """Cell and backend to what went wrong."""
    return {(sample.cell.name, sample.cell.backend): sample.error for sample in samples if sample.error}


def loaded(samples: Sequence[Sample]) -> int:
    """How many samples were measured under load."""
    return sum(sample.under_load for sample in samples)
