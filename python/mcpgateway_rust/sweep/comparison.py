"""Two sweeps beside each other: what got better, what got worse, and what shows no difference."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from rich import box
from rich.console import Group as Lines
from rich.console import RenderableType
from rich.table import Table

from mcpgateway_rust.sweep.findings import MORE_IS_BETTER, Findings
from mcpgateway_rust.sweep.intervals import Difference, compare, number
from mcpgateway_rust.sweep.results import Results

COMPARED = {
    "gb_per_s": "GB/s",
    "cpu_us": "CPU us/call",
    "p99_ms": "ms, 99 %",
    "first_ms": "ms, the first",
    "gap_ms": "ms loop gap",
}


@dataclass(frozen=True)
class Change:
    """One figure of one backend in one cell, then and now."""

    cell: str
    backend: str
    figure: str
    before: float
    after: float
    difference: Difference
    under_load: bool

    @property
    def verdict(self) -> str:
        """`better`, `worse`, or `no difference shown`."""
        if not self.difference.shown:
            return "no difference shown"
        return "better" if (self.difference.ratio > 1) == (self.figure in MORE_IS_BETTER) else "worse"


def changes(before: Results, after: Results) -> list[Change]:
    """Every figure that both have, in the order of `after`."""
    then, now = Findings(before), Findings(after)
    found = []
    for group in now.groups:
        for size in now.sizes(group):
            names = {cell.name for cell in after.plan.cells if cell.size == size and group == group.of(cell)}
            for backend in now.backends(group):
                for figure in COMPARED:
                    old = then.values(group, size, backend, figure)
                    new = now.values(group, size, backend, figure)
                    if old and new:
                        was, is_now = statistics.median(old), statistics.median(new)
                        loaded = then.under_load(group, size, backend) or now.under_load(group, size, backend)
                        difference = compare(new, old)
                        found.append(Change(min(names), backend, figure, was, is_now, difference, loaded))
    return found


def shown(all_changes: list[Change]) -> RenderableType:
    """The differences as a table, and how many there are none of."""
    different = [change for change in all_changes if change.difference.shown]
    same = len(all_changes) - len(different)
    closing = f"{same} of {len(all_changes)} figures: no difference shown."
    if not all_changes:
        return "The two have no cell in common."
    table = Table(box=box.SIMPLE_HEAD)
    for column in ("cell", "backend", "figure"):
        table.add_column(column, no_wrap=True)
    for column in ("before", "after", "ratio", "at least"):
        table.add_column(column, justify="right")
    table.add_column("")
    for change in sorted(different, key=lambda change: (change.verdict, change.cell)):
        ratio = change.difference
        nearest = ratio.low if ratio.ratio > 1 else ratio.high
        table.add_row(
            change.cell, change.backend, COMPARED[change.figure], number(change.before), number(change.after),
            f"{number(ratio.ratio)}x", f"{number(nearest)}x",
            f"[{'green' if change.verdict == 'better' else 'red'}]{change.verdict}[/]"
            + (" [dim](under load)[/]" if change.under_load else ""),
        )  # fmt: skip
    return Lines(table, closing) if different else closing
