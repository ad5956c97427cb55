"""Medians, the intervals that they lie in, and when a difference is one.

Each value is the figure of one process. The interval of a median is between order statistics: the narrowest pair, as
far from either end, that covers the median of all such processes in 95 of 100 cases; with fewer than six values
that is more than there are, so it is all of them, and `coverage` says how sure that is.

A difference is shown when the intervals are apart, and when so few values would come out apart by chance in less than 5
of 100 cases if there were none: it takes four values on each side, or three beside five.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

WANTED = 0.95


@dataclass(frozen=True)
class Estimate:
    """A median and its interval."""

    median: float
    low: float
    high: float
    count: int

    @property
    def coverage(self) -> float:
        """How often, of 1, such an interval has the median in it."""
        return _coverage(self.count, _outside(self.count))


@dataclass(frozen=True)
class Difference:
    """What one side is of the other."""

    ratio: float
    low: float
    high: float
    shown: bool
    why: str
    """Why no difference is shown; empty if one is."""

    def __str__(self) -> str:
        return f"{number(self.ratio)}x" if self.shown else f"no difference shown ({number(self.ratio)}x)"


def estimate(values: Sequence[float]) -> Estimate:
    """The median of at least one value, and its interval."""
    ordered, outside = sorted(values), _outside(len(values))
    return Estimate(statistics.median(ordered), ordered[outside], ordered[-1 - outside], len(ordered))


def compare(mine: Sequence[float], theirs: Sequence[float]) -> Difference:
    """`mine` in units of `theirs`, both at least one value."""
    a, b = estimate(mine), estimate(theirs)
    low, ratio, high = (_ratio(x, y) for x, y in ((a.low, b.high), (a.median, b.median), (a.high, b.low)))
    chance = 2 / math.comb(a.count + b.count, a.count)
    if a.low <= b.high and b.low <= a.high:
        return Difference(ratio, low, high, False, "the intervals overlap")
    if chance > 1 - WANTED:
        return Difference(ratio, low, high, False, f"too few: {a.count} and {b.count} processes")
    return Difference(ratio, low, high, True, "")


def number(value: float) -> str:
    """Three significant digits, no exponent."""
    if math.isinf(value) or math.isnan(value):
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _ratio(a: float, b: float) -> float:
    return a / b if b > 0 else math.inf


def _outside(count: int) -> int:
    """How many of the ordered values at each end an interval leaves out."""
    outside = 0
    while outside + 1 < count / 2 and _coverage(count, outside + 1) >= WANTED:
        outside += 1
    return outside


def _coverage(count: int, outside: int) -> float:
    """Each value is above the median with a chance of one half."""
    return 1 - 2 * sum(math.comb(count, below) for below in range(outside + 1)) / 2**count if count > 1 else 0.0
