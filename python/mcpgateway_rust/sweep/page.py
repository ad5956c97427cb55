"""A sweep as one HTML page that needs no network: charts, ratios, what was measured on what."""

from __future__ import annotations

import base64
import gzip
import html
import json
from functools import cache
from importlib import metadata, resources
from importlib.util import find_spec
from pathlib import Path
from string import Template
from typing import Any

from mcpgateway_rust.sweep.backends import OURS, PEERS
from mcpgateway_rust.sweep.findings import Findings, Group
from mcpgateway_rust.sweep.intervals import number
from mcpgateway_rust.sweep.machine import described
from mcpgateway_rust.sweep.sizes import GIB, KIB, MIB, named
from mcpgateway_rust.sweep.tables import remarks

CHARTED = ("gb_per_s", "cpu_s_per_gb", "beyond_mib", "gap_ms", "p99_ms", "first_ms")
"""The figures that have a chart."""
TABLED = {
    "gb_per_s": "GB/s",
    "per_s": "calls/s",
    "p50_ms": "ms, median",
    "p99_ms": "ms, 99 %",
    "cpu_s_per_gb": "CPU s/GB",
    "beyond_mib": "MiB beyond the body",
    "faults_per_mib": "faults/MiB",
    "gap_ms": "ms loop gap",
    "idle_gap_ms": "ms gap, idle",
}


class ChartsMissingError(ImportError):
    """What draws is not installed; the message says how to get it."""


def page(findings: Findings) -> str:
    """The whole page.

    Raises:
        ChartsMissingError: plotly is not installed.
    """
    results = findings.results
    packages = ", ".join(f"{name} {version}" for name, version in results.machine["packages"].items() if version)
    data = {"groups": [_group(findings, group) for group in findings.groups if findings.backends(group)]}
    files = resources.files("mcpgateway_rust.sweep")
    return Template(files.joinpath("page.html").read_text()).substitute(
        style=files.joinpath("page.css").read_text(),
        script=files.joinpath("page.js").read_text(),
        plotly=_plotly(),
        data=json.dumps(data).replace("<", "\\u003c"),
        date=html.escape(str(results.machine["date"])[:10]),
        machine=html.escape(described(results.machine)),
        packages=html.escape(packages),
        remarks="\n".join(f"<li>{html.escape(remark)}</li>" for remark in remarks(findings)),
        verdicts="\n".join(f"<li>{verdict}</li>" for verdict in verdicts(findings)),
    )


def write(findings: Findings, path: Path) -> None:
    """The page, as a file.

    Raises:
        ChartsMissingError: plotly is not installed.
        OSError: It cannot be written.
    """
    path.write_text(page(findings), encoding="utf-8")


@cache
def _plotly() -> str:
    """plotly.js as its package has it, packed: the page unpacks it."""
    if find_spec("plotly") is None:
        raise ChartsMissingError("plotly is not installed: pip install mcpgateway_rust[bench]")
    file = resources.files("plotly").joinpath("package_data/plotly.min.js")
    return base64.b64encode(gzip.compress(file.read_bytes(), mtime=0)).decode()


def plotly_version() -> str:
    """Of the library that the page has in it."""
    return metadata.version("plotly")


def verdicts(findings: Findings) -> list[str]:
    """A sentence for each group, as HTML: over which sizes ours is ahead of every peer, and where it is not."""
    said = []
    for group in findings.groups:
        beside = [(size, _beside_best(findings, group, size)) for size in findings.sizes(group)]
        sides = {side: [size for size, found in beside if found == side] for side in ("ahead", "behind", "even")}
        parts = [
            f"{words} {_spans(findings.sizes(group), sides[side])}"
            for side, words in (
                ("ahead", "ahead of every peer at"),
                ("behind", "<b>behind the best peer</b> at"),
                ("even", "no difference shown to the best peer at"),
            )
            if sides[side]
        ]
        if parts:
            said.append(f"{html.escape(group.title)}: {'; '.join(parts)}.")
    return said


def _beside_best(findings: Findings, group: Group, size: int) -> str:
    best = findings.best_peer(group, size, "gb_per_s")
    found = findings.difference(group, size, "ours", best, "gb_per_s") if best else None
    if found is None:
        return ""
    return "even" if not found.shown else "ahead" if found.ratio > 1 else "behind"


def _spans(sizes: list[int], chosen: list[int]) -> str:
    """Such as `1KiB, 64KiB to 16MiB`: neighbours in the table are one span."""
    spans: list[list[int]] = []
    for size in chosen:
        if spans and sizes.index(size) == sizes.index(spans[-1][-1]) + 1:
            spans[-1].append(size)
        else:
            spans.append([size])
    return ", ".join(named(span[0]) + (f" to {named(span[-1])}" if len(span) > 1 else "") for span in spans)


def _group(findings: Findings, group: Group) -> dict[str, Any]:
    sizes = findings.sizes(group)
    backends = findings.backends(group)
    return {
        "title": group.title,
        "sizes": sizes,
        "names": [named(size) for size in sizes],
        "backends": [_backend(findings, group, name) for name in backends],
        "ratios": [_ratios(findings, group, name) for name in backends if name in PEERS],
        "crossings": _crossings(findings, group, backends),
        "units": TABLED,
    }


def _backend(findings: Findings, group: Group, name: str) -> dict[str, Any]:
    sizes = findings.sizes(group)
    figures: dict[str, list[Any]] = {}
    for figure in dict.fromkeys((*CHARTED, *TABLED)):
        found = [findings.estimate(group, size, name, figure) for size in sizes]
        if any(found):
            figures[figure] = [
                [each.median, each.low, each.high, each.count] if each is not None else None for each in found
            ]
    loaded = [findings.under_load(group, size, name) for size in sizes]
    return {"name": name, "ours": name in OURS, "figures": figures, "loaded": loaded}


def _ratios(findings: Findings, group: Group, peer: str) -> dict[str, Any]:
    cells: list[dict[str, Any] | None] = []
    for size in findings.sizes(group):
        found = findings.difference(group, size, "ours", peer, "gb_per_s")
        if found is None:
            cells.append(None)
        else:
            between = f"{number(found.low)}x to {number(found.high)}x"
            cells.append({
                "ratio": found.ratio, "text": f"{number(found.ratio)}x", "shown": found.shown,
                "why": between if found.shown else f"no difference shown: {found.why} ({between})",
            })  # fmt: skip
    return {"peer": peer, "cells": cells}


def _crossings(findings: Findings, group: Group, backends: list[str]) -> list[dict[str, Any]]:
    pairs = [("ours", name) for name in backends if name in PEERS]
    pairs += [("ours-borrow", "ours-copy"), ("ours-map", "ours-copy")]
    return [
        {"size": crossing.size, "named": _about(crossing.size), "ahead": crossing.ahead, "behind": crossing.behind}
        for pair in pairs
        for crossing in findings.crossings(group, *pair)
    ]


def _about(size: float) -> str:
    """Two significant digits, as it lies between two sizes that were measured."""
    unit, name = (GIB, "GiB") if size >= GIB else (MIB, "MiB") if size >= MIB else (KIB, "KiB")
    return f"{float(f'{size / unit:.2g}'):g} {name}"
