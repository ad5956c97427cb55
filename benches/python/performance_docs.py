"""Writes docs/performance.md, its pictures, and the README's table from benches/results/: no figure is typed by hand.

    performance_docs.py            write them: `make performance-docs`
    performance_docs.py --check    only say whether the texts are those that the results give; a test does

What is read: the newest `sweep-*.jsonl`, and of `json-*.json`, `shm-*.json`, `a2a-*.json` and `mcp-*.json`, and for
each cell the newest `first_light-*.json` that has it.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mcpgateway_rust.sweep.backends import PEERS
from mcpgateway_rust.sweep.findings import Findings, Group, loaded
from mcpgateway_rust.sweep.intervals import Difference, compare, number
from mcpgateway_rust.sweep.machine import described
from mcpgateway_rust.sweep.pictures import draw_all
from mcpgateway_rust.sweep.results import read
from mcpgateway_rust.sweep.sizes import named
from mcpgateway_rust.sweep.tables import CALLS_BELOW, own_cost, speed

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benches" / "results"
DOCUMENT = ROOT / "docs" / "performance.md"
PICTURES = ROOT / "docs" / "images"
README = ROOT / "README.md"
BEGIN, END = "<!-- performance:begin -->", "<!-- performance:end -->"
PROMISED = 10
"""The ADR said 10 to 50 times."""
USUAL = {"json": ("json", "orjson"), "a2a": ("official",), "mcp": ("official",)}
"""Of each bench with a client in each cell: what Python programs use."""
COMPARED = {"cpu_ms": False, "wall_ms": False, "per_s": True}
"""The figures of those benches that are compared, the first that there is; whether more is better."""


@dataclass(frozen=True)
class Claim:
    """Ours beside what Python programs use for the same, in one cell: how many times as fast."""

    cell: str
    usual: str
    faster: Difference
    source: str

    @property
    def holds(self) -> str:
        """Whether it is the promised 10 times or more."""
        if not self.faster.shown:
            return "no difference shown"
        return "yes" if self.faster.ratio >= PROMISED else "no"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, all but the first column to the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def newest(pattern: str) -> Path:
    """The last by name, which has the date in it."""
    return max(RESULTS.glob(pattern))


# ---- the sweep


def speeds(findings: Findings, group: Group) -> str:
    """A row for each backend, and ours beside the best peer."""
    sizes, backends = findings.sizes(group), findings.backends(group)
    head = [group.title, *(f"{named(size)}, {'calls/s' if size < CALLS_BELOW else 'GB/s'}" for size in sizes)]
    rows = [[name, *(_marked(findings, group, size, name) for size in sizes)] for name in backends]
    rows.append(["**ours / best peer**", *(beside_best(findings, group, size) for size in sizes)])
    return table(head, rows)


def _marked(findings: Findings, group: Group, size: int, backend: str) -> str:
    best = findings.best_peer(group, size, "gb_per_s") == backend
    text = speed(findings, group, size, backend)
    return f"**{text}**" if best else text


def beside_best(findings: Findings, group: Group, size: int) -> str:
    """Such as `1.9 x wreq`."""
    best = findings.best_peer(group, size, "gb_per_s")
    found = findings.difference(group, size, "ours", best, "gb_per_s") if best else None
    if found is None:
        return "-"
    return f"{number(found.ratio)} x {best}" if found.shown else f"~ {best}"


def figures(findings: Findings, group: Group, figure: str, title: str) -> str:
    """One figure of all backends."""
    sizes = findings.sizes(group)
    rows = []
    for name in findings.backends(group):
        found = [findings.estimate(group, size, name, figure) for size in sizes]
        rows.append([name, *(number(each.median) if each else "-" for each in found)])
    return table([title, *map(named, sizes)], rows)


# ---- 10 to 50 times


def claims(findings: Findings) -> Iterator[Claim]:
    """Every cell in which ours and the usual way of Python were measured in the same run."""
    yield from sweep_claims(findings)
    yield from first_light_claims()
    for bench in USUAL:
        yield from bench_claims(bench)
    yield from shm_claims()


def sweep_claims(findings: Findings) -> Iterator[Claim]:
    """HTTP: ours against httpx."""
    for group in findings.groups:
        for size in findings.sizes(group):
            found = findings.difference(group, size, "ours", "httpx", "gb_per_s")
            if found:
                yield Claim(f"{group.title}, {named(size)}", "httpx", found, "sweep")


def first_light_claims() -> Iterator[Claim]:
    """HTTP, in the cells of the first benches."""
    values: dict[tuple[str, str, str], list[float]] = {}
    for path in sorted(RESULTS.glob("first_light-*.json")):
        of_file: dict[tuple[str, str, str], list[float]] = defaultdict(list)
        for sample in json.loads(path.read_text())["samples"]:
            for figure in ("per_s", "gb_per_s"):
                if figure in sample["figures"]:
                    key = (sample["cell"]["name"], sample["cell"]["backend"], figure)
                    of_file[key].append(sample["figures"][figure])
        values |= {key: found for key, found in of_file.items() if (key[0], "httpx", key[2]) in of_file}
    for cell, backend, figure in values:
        wanted = "gb_per_s" if cell.startswith(("upload", "download")) else "per_s"
        if backend == "ours" and figure == wanted:
            yield Claim(
                cell, "httpx", compare(values[cell, "ours", figure], values[cell, "httpx", figure]), "first light"
            )


def bench_claims(bench: str) -> Iterator[Claim]:
    """Ours beside the usual ways in the newest results of a bench; nothing if it has none."""
    files = sorted(RESULTS.glob(f"{bench}-*.json"))
    values: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for sample in json.loads(files[-1].read_text())["samples"] if files else ():
        for figure in COMPARED.keys() & sample["figures"].keys():
            values[sample["cell"]["name"], sample["cell"]["backend"], figure].append(sample["figures"][figure])
    for cell in dict.fromkeys(cell for cell, _, _ in values):
        for usual in USUAL[bench]:
            for figure, more_is_better in COMPARED.items():
                ours, theirs = values.get((cell, "ours", figure)), values.get((cell, usual, figure))
                if ours and theirs:
                    faster = compare(ours, theirs) if more_is_better else compare(theirs, ours)
                    yield Claim(f"{bench}: {cell}", usual, faster, bench)
                    break


def shm_claims() -> Iterator[Claim]:
    """Between processes: a spooled payload against pickle and shared_memory, until the other has read all of it."""
    values: dict[tuple[str, str], list[float]] = {}
    for sample in json.loads(newest("shm-*.json").read_text())["samples"]:
        values[sample["cell"], sample["way"]] = sample["values"]
    for cell in dict.fromkeys(cell for cell, _ in values if cell.startswith("read/")):
        for usual in ("pickle over a Pipe", "shared_memory"):
            faster = compare(values[cell, usual], values[cell, "spooled"])
            yield Claim(f"between processes: {cell}", usual, faster, "shm")


def claim_rows(found: Sequence[Claim]) -> list[list[str]]:
    """For the table."""
    return [
        [
            claim.cell,
            claim.usual,
            f"{number(claim.faster.ratio)} ({number(claim.faster.low)} to {number(claim.faster.high)})",
            claim.holds,
        ]
        for claim in found
    ]


# ---- the texts


def document(findings: Findings, path: Path) -> str:
    """docs/performance.md."""
    results = findings.results
    found = list(claims(findings))
    held = [claim for claim in found if claim.holds == "yes"]
    beaten = [claim for claim in found if claim.faster.shown and claim.faster.ratio < 1]
    packages = ", ".join(f"{name} {version}" for name, version in results.machine["packages"].items() if version)
    parts = [
        "# Performance\n",
        "What payloads cost by their size, beside other clients. `make performance-docs` writes this file from\n"
        "[benches/results](../benches/results); no figure in it is typed by hand. To measure a machine of your own:\n"
        "`mcpgateway-rust sweep`, and `mcpgateway-rust calibrate` for the thresholds of `TransferPolicy`.\n",
        f"The sweep: {results.machine['date'][:10]}, {described(results.machine)}; {len(results.samples)} samples, "
        f"{results.plan.repeats} processes for each cell, backends in turn, medians; "
        f"[{path.name}](../benches/results/{path.name}). {_load(findings)} "
        f"Trust the ratios, not the absolute figures. `~`: no difference shown.\n",
        *([f"{cost}\n"] if (cost := own_cost(findings)) else ()),
        f"Versions: {packages}.\n",
        "## Speed\n",
        "![Speed by size, ours and peers](images/sweep-gb-per-s.png)\n",
        *(speeds(findings, group) for group in findings.groups),
        "## What it takes\n",
        "Processor seconds of the client process for 10^9 bytes; peak resident memory beyond the body; the longest\n"
        "time for which the event loop could do nothing else. An idle loop of the same machine is late too: by\n"
        f"{_idle(findings)} ms in the median.\n",
        *(
            figures(findings, group, figure, f"{group.title}: {title}")
            for group in findings.groups
            if group.shape == "opaque" and group.exporter == "bytes" and group.concurrency == 1
            for figure, title in (
                ("cpu_s_per_gb", "CPU s/GB"),
                ("beyond_mib", "MiB beyond the body"),
                ("gap_ms", "ms loop gap"),
            )
        ),
        "![Memory beyond the body](images/sweep-beyond-mib.png)\n",
        '## "10 to 50 times"\n',
        "So the decision record that this package began with put it, without a measurement. Here is each cell in\n"
        "which ours and what Python programs use today ran side by side: how many times as fast ours is, and its\n"
        "interval.\n",
        f"It holds in {len(held)} of {len(found)} cells ({_by_source(found)}); in {len(beaten)} ours is the slower\n"
        "one. Beside clients that are native themselves, see the ratios above.\n",
        table(["cell", "beside", "times as fast", f"{PROMISED} or more"], claim_rows(found)),
        "## More\n",
        "- JSON beside orjson and others: [json.md](../benches/results/json.md)\n"
        "- Between processes: [shm.md](../benches/results/shm.md)\n"
        f"{_ladders()}"
        "- The goals of the clients, one by one: [first_light.md](../benches/results/first_light.md)\n"
        "- Where the time goes: [profiling.md](profiling.md)\n",
    ]
    return "\n".join(parts)


def _ladders() -> str:
    there = {
        "a2a": "Agents beside the official A2A client",
        "mcp": "Tools and resources beside the official MCP client",
    }
    return "".join(
        f"- {title}: [{name}.md](../benches/results/{name}.md)\n"
        for name, title in there.items()
        if (RESULTS / f"{name}.md").exists()
    )


def _by_source(found: Sequence[Claim]) -> str:
    sources = dict.fromkeys(claim.source for claim in found)
    counts = {source: [claim.holds == "yes" for claim in found if claim.source == source] for source in sources}
    return ", ".join(f"{source}: {sum(holding)} of {len(holding)}" for source, holding in counts.items())


def _idle(findings: Findings) -> str:
    gaps = [sample.figures["idle_gap_ms"] for sample in findings.results.samples if "idle_gap_ms" in sample.figures]
    return number(statistics.median(gaps)) if gaps else "-"


def _load(findings: Findings) -> str:
    samples = findings.results.samples
    count = loaded(samples)
    if not count:
        return "None was measured while others used the machine."
    return f"{count} of the samples were measured while others used the machine."


def readme_block(findings: Findings) -> str:
    """The README's part between its marks: a picture, and ours beside httpx and the best peer."""
    head = ["body", "ours", "httpx", "ours / httpx", "best peer", "ours / best peer"]
    parts = ["![Speed by size, ours and peers](docs/images/sweep-gb-per-s.png)\n"]
    for group in findings.groups[:2]:
        rows = []
        for size in findings.sizes(group):
            beside = findings.difference(group, size, "ours", "httpx", "gb_per_s")
            best = findings.best_peer(group, size, "gb_per_s") or ""
            unit = "calls/s" if size < CALLS_BELOW else "GB/s"
            rows.append([
                named(size),
                f"{speed(findings, group, size, 'ours')} {unit}",
                speed(findings, group, size, "httpx"),
                "-" if beside is None else f"{number(beside.ratio)} x" if beside.shown else "~",
                f"{speed(findings, group, size, best)} ({best})" if best in PEERS else "-",
                beside_best(findings, group, size).rpartition(" ")[0],
            ])  # fmt: skip
        parts.append(table([f"{group.title}: {head[0]}", *head[1:]], rows))
    machine = findings.results.machine
    parts.append(
        f"Medians of {findings.results.plan.repeats} processes each, {described(machine)}, {machine['date'][:10]}; "
        f"~: no difference shown. {_load(findings)}\n\n"
        "Every backend, memory, event loop, and where the 10 to 50 times of the first plan hold and where not:\n"
        "[docs/performance.md](docs/performance.md)."
    )
    return "\n".join(parts)


def texts() -> dict[Path, str]:
    """What each file should have in it."""
    path = newest("sweep-*.jsonl")
    findings = Findings(read(path))
    readme = README.read_text()
    before, _, rest = readme.partition(BEGIN)
    _, _, after = rest.partition(END)
    return {
        DOCUMENT: document(findings, path),
        README: f"{before}{BEGIN}\n{readme_block(findings)}\n{END}{after}",
    }


def main() -> None:
    """Write, or check."""
    wanted: dict[Path, Any] = texts()
    if "--check" in sys.argv:
        stale = [
            path.relative_to(ROOT) for path, text in wanted.items() if not path.exists() or path.read_text() != text
        ]
        missing = [name for name in ("sweep-gb-per-s.png", "sweep-beyond-mib.png") if not (PICTURES / name).exists()]
        if stale or missing:
            sys.exit(f"not as benches/results has it: {', '.join(map(str, [*stale, *missing]))}: make performance-docs")
        return
    for path, text in wanted.items():
        path.write_text(text)
    PICTURES.mkdir(exist_ok=True)
    for picture in draw_all(Findings(read(newest("sweep-*.jsonl"))), PICTURES):
        print(picture.relative_to(ROOT))


if __name__ == "__main__":
    main()
