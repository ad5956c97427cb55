"""Charts of a sweep as PNG files, for documents."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mcpgateway_rust.sweep.findings import Findings, Group
from mcpgateway_rust.sweep.page import ChartsMissingError
from mcpgateway_rust.sweep.sizes import named

COLORS = {
    "ours": "#c2410c", "ours-copy": "#d98a5b", "ours-borrow": "#a05a2c", "ours-map": "#7c2d12", "httpx": "#6b7280",
    "httpx2": "#9b59b6", "aiohttp": "#0072b2", "requests": "#b8860b", "pyreqwest": "#007a5a", "wreq": "#cc4b8d",
    "obstore": "#3b9dd9", "raw": "#1b1f24",
}  # fmt: skip
"""As on the page."""
FIGURES = {
    "gb_per_s": "GB/s",
    "cpu_s_per_gb": "CPU seconds for a GB",
    "beyond_mib": "MiB beyond the body",
    "gap_ms": "ms event-loop delay, longest",
}


LEAST = {"beyond_mib": 0.01, "gap_ms": 0.01}
"""What is less is drawn as this, as the scale has no zero."""
PICTURED = ("ours", "httpx", "aiohttp", "pyreqwest", "wreq", "obstore")
"""Where there are more, they would hide each other."""


def draw_all(findings: Findings, directory: Path) -> Iterator[Path]:
    """A picture of each figure, uploads and downloads side by side; the paths, as they are written.

    Raises:
        ChartsMissingError: matplotlib is not installed.
        OSError: A file cannot be written.
    """
    plain = [Group(direction, "opaque", "bytes", 1) for direction in ("up", "down")]
    groups = [group for group in plain if findings.backends(group)] or findings.groups[:2]
    backends = [name for name in PICTURED if any(name in findings.backends(group) for group in groups)]
    for figure in FIGURES if groups else ():
        path = directory / f"sweep-{figure.replace('_', '-')}.png"
        draw(findings, path, groups, figure, backends)
        yield path


def draw(findings: Findings, path: Path, groups: list[Group], figure: str, backends: list[str]) -> None:
    """One figure of some backends in some groups side by side, by size.

    Raises:
        ChartsMissingError: matplotlib is not installed.
        OSError: The file cannot be written.
    """
    if find_spec("matplotlib") is None:
        raise ChartsMissingError("matplotlib is not installed: pip install mcpgateway_rust[bench]")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    picture = Figure(figsize=(4.9 * len(groups), 3.9), layout="constrained", facecolor="white")
    FigureCanvasAgg(picture)
    axes = picture.subplots(1, len(groups), sharey=True, squeeze=False)[0]
    for axis, group in zip(axes, groups, strict=True):
        _chart(axis, findings, group, figure, backends)
    axes[0].set_ylabel(FIGURES[figure])
    handles, labels = axes[0].get_legend_handles_labels()
    picture.legend(handles, labels, loc="outside lower center", ncols=len(backends), frameon=False, fontsize=9)
    picture.savefig(path, dpi=160)


def _chart(axis: Any, findings: Findings, group: Group, figure: str, backends: list[str]) -> None:
    sizes = findings.sizes(group)
    for name in backends:
        found = [(size, each) for size in sizes if (each := findings.estimate(group, size, name, figure)) is not None]
        if not found:
            continue
        least = LEAST.get(figure, 0.0)
        low, middle, high = (
            [max(value, least) for value in column]
            for column in zip(*((each.low, each.median, each.high) for _, each in found), strict=True)
        )
        below = [value - other for value, other in zip(middle, low, strict=True)]
        above = [other - value for value, other in zip(middle, high, strict=True)]
        axis.errorbar(
            [size for size, _ in found], middle, yerr=[below, above], label=name,
            color=COLORS.get(name), linewidth=2.6 if name == "ours" else 1.3, marker="o", markersize=4,
            capsize=2, elinewidth=0.8, zorder=3 if name == "ours" else 2, linestyle=":" if name == "raw" else "-",
        )  # fmt: skip
    axis.set_xscale("log", base=2)
    axis.set_yscale("log")
    axis.set_xticks(sizes, [named(size) for size in sizes], fontsize=8, rotation=35 if len(sizes) > 6 else 0)
    axis.minorticks_off()
    axis.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set_title(group.title, fontsize=10, loc="left")
    axis.grid(color="#d5dae0", linewidth=0.6)
    axis.spines[["top", "right"]].set_visible(False)
