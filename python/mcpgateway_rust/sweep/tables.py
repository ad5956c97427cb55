"""What a sweep says on a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich import box
from rich.console import Group as Lines
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from mcpgateway_rust.sweep.findings import Findings, Group, loaded
from mcpgateway_rust.sweep.intervals import estimate, number
from mcpgateway_rust.sweep.machine import described
from mcpgateway_rust.sweep.sizes import KIB, named

CALLS_BELOW = 64 * KIB
"""Smaller bodies are counted, larger ones weighed."""


def summary(findings: Findings) -> RenderableType:
    """Machine, a table of speeds for each group, and what a reader should know about them."""
    tables = [_speeds(findings, group) for group in findings.groups if findings.backends(group)]
    return Lines(
        Text(described(findings.results.machine), style="dim"),
        *tables,
        Text("The best peer of a size is in bold.", style="dim"),
        *map(Text, remarks(findings)),
    )


def speed(findings: Findings, group: Group, size: int, backend: str) -> str:
    """Median speed in the unit of its size; `-` where there is none."""
    found = findings.estimate(group, size, backend, "gb_per_s")
    if found is None:
        return "-"
    return number(found.median * 1e9 / size) if size < CALLS_BELOW else number(found.median)


def _speeds(findings: Findings, group: Group) -> Table:
    """A row for each backend, a column for each size; the best peer of a size in bold."""
    sizes = findings.sizes(group)
    table = Table(
        title=group.title, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold", padding=(0, 1, 0, 0)
    )
    table.add_column("backend", no_wrap=True)
    for size in sizes:
        table.add_column(f"{named(size)}\n{'calls/s' if size < CALLS_BELOW else 'GB/s'}", justify="right", no_wrap=True)
    best = {size: findings.best_peer(group, size, "gb_per_s") for size in sizes}
    for backend in findings.backends(group):
        cells = []
        for size in sizes:
            mark = "*" if findings.under_load(group, size, backend) else " "
            cells.append(Text(speed(findings, group, size, backend) + mark, "bold" if best[size] == backend else ""))
        table.add_row(backend, *cells, style="cyan" if backend.startswith("ours") else None)
    if any(best.values()) and "ours" in findings.backends(group):
        table.add_row("ours / best peer", *(_beside(findings, group, size, best[size]) for size in sizes))
    return table


def _beside(findings: Findings, group: Group, size: int, best: str | None) -> Text:
    """Ours in units of the best peer."""
    found = findings.difference(group, size, "ours", best, "gb_per_s") if best else None
    if found is None:
        return Text("- ", style="dim")
    if not found.shown:
        return Text("~ ", style="dim")
    return Text(f"{number(found.ratio)}x ", style="green" if found.ratio > 1 else "red")


def remarks(findings: Findings) -> Iterator[str]:
    """What figures were measured how, and which are missing."""
    samples = findings.results.samples
    cells = [
        (group, size, backend)
        for group in findings.groups
        for size in findings.sizes(group)
        for backend in findings.backends(group)
    ]
    counts = [count for cell in cells if (count := len(findings.values(*cell, "gb_per_s")))]
    if counts:
        covered = estimate([0.0] * min(counts)).coverage
        yield (
            f"Medians of {_range(counts)} processes; intervals between order statistics, "
            f"which cover the median in {covered:.0%} of cases or more. ~: no difference shown, as the intervals "
            f"overlap or the processes are too few."
        )
    if count := loaded(samples):
        yield (
            f"* {count} of {len(samples)} samples were measured while others used the machine: "
            f"trust neither the speeds nor small ratios."
        )
    if text := own_cost(findings):
        yield text
    for (name, backend), error in findings.failed.items():
        yield f"No figures of {backend} in {name}: {error}"


def own_cost(findings: Findings) -> str:
    """What measuring costs, in a sentence; nothing if no call was made to nobody."""
    cost = findings.own_cost()
    if cost is None:
        return ""
    seconds, part, cell = cost
    return f"Measuring itself takes {seconds * 1e6:.2f} us a call: {part:.2%} of the smallest cell ({cell})."


def _range(counts: list[int]) -> str:
    return f"{min(counts)}" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"
