"""Measures our A2A client beside the official one, both against agents of the official SDK, and a bare socket as floor.

Each cell is one client doing one thing at one size, in a process of its own; within a repeat the clients take turns,
in an order that moves on with each repeat. The agent says what it received, and what it sends is known beforehand:
both are compared. Reported are medians over the repeats:

    wall_ms         milliseconds from the call until its answer is in hand: a digest (up), the content of a part (down),
                    of an artifact whose chunks were streamed (stream). At 256 MiB one call, below it the median of 3
    gap_ms          the longest time the event loop was late for a tick due each millisecond, during all these calls
    idle_gap_ms     the same while nothing else runs
    beyond_mib      the peak of resident memory beyond what was there with the body made and a small call done; for
                    what is received, its length is taken off as well
    beyond_x        that, in lengths of the payload
    per_s, cpu_us   calls a second, and CPU microseconds of the client process for one

The bare socket sends the bytes of the same request and reads those of the reply: no encoding, no JSON, no memory.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fnmatch
import hashlib
import json
import os
import statistics
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path
from time import perf_counter
from typing import Any, TextIO
from urllib.request import Request, urlopen

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from a2a_peers import CLIENTS, Canned, Client, canned, the_peer
from first_light import RESULTS, Collected, collected, in_turn, markdown, number, spread
from mcpgateway_rust.sweep.cells import Cell, Figures, Sample
from mcpgateway_rust.sweep.instruments import LoopWatch, cpu_seconds, memory_baseline, resident_kib
from mcpgateway_rust.sweep.machine import machine
from mcpgateway_rust.sweep.processes import in_a_process
from mcpgateway_rust.sweep.sizes import MIB

AGENT = "jsonrpc-1.0"
GIB = 1 << 30
KINDS = ("text", "raw")
LADDER = (1, 16, 64, 256)
"""MiB."""
CHUNKS = 64
WORKERS = 64
ONE_CALL_FROM = 256 * MIB
UNITS = {
    "wall_ms": "ms",
    "gap_ms": "ms longest gap",
    "idle_gap_ms": "ms gap, idle",
    "beyond_mib": "MiB beyond the payload",
    "beyond_x": "x the payload, beyond it",
    "per_s": "calls/s",
    "cpu_us": "CPU us",
}
EPILOG = """
examples:
  a2a_cases.py                                   everything, five repeats: about an hour on two cores
  a2a_cases.py --quick                           up to 16 MiB, 2 repeats: about two minutes
  a2a_cases.py --samples s --only 'up/raw/*'     a part now; other parts, with the same file, whenever there is time
  a2a_cases.py --samples s --only none --output .    the report on what is in it

Cells are up/KIND/SIZE, down/KIND/SIZE and stream/KIND/64x1MiB with the kinds text and raw, file/raw/1GiB, and
small/sdk/1KB and small/canned/1KB: the second against a server that costs next to nothing. A complete run writes
a2a-DATE.json (every sample, machine facts) and a2a.md; a partial one writes only with --output.
"""


@dataclass(frozen=True)
class Goal:
    """Ours in the cells that match is at most (or with ">=" at least) `bound`, times the rival's figure if any."""

    cells: str
    figure: str
    bound: float
    rival: str = ""
    relation: str = "<="

    def row(self, figures: Collected, cell: str) -> list[str] | None:
        """Ours, the rival's, the ratio, the goal, whether it is reached; None where that was not measured."""
        ours, theirs = figures.get((cell, "ours", self.figure)), figures.get((cell, self.rival, self.figure))
        if not ours or (self.rival and not theirs):
            return None
        mine = statistics.median(ours)
        other = statistics.median(theirs) if theirs else None
        value = mine if other is None else mine / other if other else float("inf")
        reached = value >= self.bound if self.relation == ">=" else value <= self.bound
        unit = f"x {self.rival}" if self.rival else f" {UNITS[self.figure]}"
        return [
            cell,
            f"{number(mine)} {UNITS[self.figure]}",
            "-" if other is None else f"{number(other)} ({self.rival})",
            "-" if other is None else f"{value:.2f}",
            f"{self.relation} {self.bound:g}{unit}",
            "yes" if reached else "**no**",
        ]


LARGE = ("*/16MiB", "*/64MiB", "*/256MiB", "stream/*")
GOALS = (
    *(Goal(cells, "wall_ms", 1.15, "bare") for cells in LARGE),
    *(Goal(cells, "gap_ms", 10) for cells in LARGE),
    *(Goal(cells, "beyond_x", 1.5) for cells in LARGE),
    *(Goal(cells, "beyond_mib", 1, "official") for cells in LARGE),
    Goal("file/raw/1GiB", "beyond_mib", 32),
    Goal("small/*", "per_s", 5, "official", ">="),
)


# --- the child: one cell ----------------------------------------------------------------------------------------------


@dataclass
class Job:
    """A cell in its own process, and where its server is."""

    cell: Cell
    base: str
    endpoint: str
    file: str

    def __post_init__(self) -> None:
        self.client: Client = CLIENTS[self.cell.backend]()
        peer = the_peer()
        self.chunk = self.cell.size // CHUNKS if self.cell.procedure == "stream" else self.cell.size
        made = peer.raw_of if self.cell.shape == "raw" else lambda size: peer.text_of(size).encode()
        self.made: Callable[[int], bytes] = made


def check_described(told: dict[str, Any], job: Job, body: bytes) -> None:
    """Raise unless the agent received `body` as a part of the cell's kind."""
    got = told["kind"], int(told["bytes"]), told["sha256"]
    if got != (job.cell.shape, len(body), hashlib.sha256(body).hexdigest()):
        raise AssertionError(f"sent {len(body)} bytes of {job.cell.shape}, the agent received {told}")


def check_content(content: Any, job: Job, expected: bytes) -> None:
    """Raise unless `content` is `expected`; the bare socket has none."""
    if job.client.name == "bare":
        return
    view = content.encode() if isinstance(content, str) else memoryview(content)
    if len(view) != len(expected) or view != expected:
        raise AssertionError(f"expected {len(expected)} bytes of {job.cell.shape}, received {len(view)} that differ")


async def large(job: Job) -> Figures:
    """One payload at a time, up, down or streamed: its first call is compared and counts for the memory."""
    size, client = job.cell.size, job.client
    expected = b"" if job.cell.procedure == "file" else job.made(job.chunk) * (size // job.chunk)
    up = job.cell.procedure == "up"
    body = client.body_for(job.cell.shape, expected) if up else None

    async def once() -> Any:
        if up:
            return await client.digest(job.cell.shape, body)
        if job.cell.procedure == "file":
            return await client.digest_file(Path(job.file))
        if job.cell.procedure == "stream":
            return await client.stream(job.cell.shape, CHUNKS, job.chunk)
        return await client.produce(job.cell.shape, size)

    await client.setup(job.base, job.endpoint)
    await client.small("first")
    baseline = memory_baseline()
    times: list[float] = []
    result: Any = None
    async with LoopWatch() as busy:
        for _ in range(1 if size >= ONE_CALL_FROM else 3):
            result = None  # as nobody keeps what came before
            start = perf_counter()
            result = await once()
            times.append(perf_counter() - start)
            peak = resident_kib("VmHWM") - baseline
    async with LoopWatch() as idle:
        await asyncio.sleep(min(sum(times), 1.0))
    if up:
        check_described(result, job, expected)
    elif job.cell.procedure == "file":
        assert int(result["bytes"]) == size, result
    else:
        check_content(result, job, expected)
    received = 0 if up or job.cell.procedure == "file" or client.name == "bare" else size
    beyond = peak * 1024 - received
    figures = {"wall_ms": statistics.median(times) * 1e3, "beyond_mib": beyond / MIB, "beyond_x": beyond / size}
    if not client.blocking:
        figures |= {"gap_ms": busy.longest * 1e3, "idle_gap_ms": idle.longest * 1e3}
    return figures


async def small(job: Job) -> Figures:
    """Many small calls, `workers` at a time, for `seconds`; each reply is compared."""
    client, text = job.client, "x" * job.cell.size
    await client.setup(job.base, job.endpoint)
    expected = Canned.TEXT if "/canned/" in job.cell.name else text

    async def work(until: float) -> int:
        count = 0
        while perf_counter() < until:
            if await client.small(text) != expected:
                raise AssertionError("a reply differs from what the agent should have said")
            count += 1
        return count

    async def all_workers(seconds: float) -> tuple[int, float]:
        start = perf_counter()
        counts = await asyncio.gather(*(work(start + seconds) for _ in range(job.cell.concurrency)))
        return sum(counts), perf_counter() - start

    await all_workers(job.cell.seconds / 4)
    cpu = cpu_seconds()
    count, took = await all_workers(job.cell.seconds)
    return {"per_s": count / took, "cpu_us": (cpu_seconds() - cpu) / count * 1e6}


PROCEDURES: dict[str, Callable[[Job], Coroutine[Any, Any, Figures]]] = {
    "up": large,
    "down": large,
    "stream": large,
    "file": large,
    "small": small,
}


# --- the parent: all cells --------------------------------------------------------------------------------------------


def all_cells(clients: Sequence[str]) -> list[Cell]:
    """Each thing that is done, by each of `clients`; small calls not by the bare socket, which has one connection."""
    cells: list[Cell] = []

    def add(name: str, size: int, by: Iterable[str] = clients, workers: int = 1) -> None:
        procedure, middle, _ = name.split("/")
        kind = middle if middle in KINDS else "text"
        cells.extend(
            Cell(name, procedure, client, size, shape=kind, concurrency=workers, seconds=3.0)
            for client in clients
            if client in by
        )

    for procedure in ("up", "down"):
        for kind in KINDS:
            for mib in LADDER:
                add(f"{procedure}/{kind}/{mib}MiB", mib * MIB)
    for kind in KINDS:
        add(f"stream/{kind}/64x1MiB", CHUNKS * MIB)
    add("file/raw/1GiB", GIB)
    for server in ("sdk", "canned"):
        add(f"small/{server}/1KB", 1024, ("ours", "official"), WORKERS)
    return cells


def smaller(cell: Cell) -> Cell | None:
    """The cell as `--quick` has it: a second of small calls, nothing above 16 MiB, but streams of as many chunks."""
    if cell.procedure == "stream":
        return replace(cell, name=cell.name.replace("1MiB", "64KiB"), size=cell.size // 16)
    return replace(cell, seconds=1.0) if cell.size <= 16 * MIB else None


def expected_seconds(cell: Cell) -> float:
    """A rough guess, for the time left: start, and the agent's 50 ms or so for a MiB of text."""
    calls = 1 if cell.size >= ONE_CALL_FROM else 3
    per_mib = 0.06 if cell.shape == "text" else 0.02
    return 2 + cell.seconds * (cell.procedure == "small") + calls * per_mib * cell.size / MIB


def measure_all(cells: Sequence[Cell], repeats: int, lines: TextIO | None) -> list[Sample]:
    """Every cell `repeats` times, with a progress bar on stderr; each sample is written to `lines` at once."""
    samples: list[Sample] = []
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TextColumn("left:"))
    with (
        canned() as quick_origin,
        tempfile.TemporaryDirectory() as directory,
        Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as progress,
    ):
        file = Path(directory) / "part"
        if any(cell.procedure == "file" for cell in cells):
            with file.open("wb") as opened:
                block = the_peer().raw_of(64 * MIB)
                for _ in range(GIB // len(block)):
                    opened.write(block)
        task = progress.add_task("", total=round(repeats * sum(map(expected_seconds, cells))))
        for repeat in range(repeats):
            with the_peer().A2APeer() as peer:  # anew each time: its memory only grows
                for cell in in_turn(cells, repeat):
                    progress.update(task, description=f"{repeat + 1}/{repeats} {cell.name} {cell.backend}")
                    base, endpoint = peer.url(AGENT), peer.endpoint(AGENT)
                    if "/canned/" in cell.name:
                        base, endpoint = quick_origin, f"{quick_origin}/rpc"
                    sample = in_a_process(
                        [__file__], [asdict(cell), base, endpoint, str(file)], cell, server_pid=peer.pid
                    )
                    urlopen(Request(f"{peer.origin}/_tasks", method="DELETE")).close()
                    samples.append(sample)
                    progress.advance(task, expected_seconds(cell))
                    if sample.error:
                        progress.console.print(f"{cell.name} {cell.backend}: {sample.error}", markup=False)
                    if lines:
                        print(sample.as_json(), file=lines, flush=True)
    return samples


def earlier(path: Path) -> list[Sample]:
    """The samples in a file; none if it is not there."""
    rows = map(json.loads, path.read_text().splitlines()) if path.exists() else ()
    return [Sample.from_json(row) for row in rows]


def client_rows(figures: Collected, samples: Sequence[Sample], procedure: str) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the table of all clients for one procedure."""
    cells = [sample for sample in samples if sample.cell.procedure == procedure]
    shown = [figure for figure in UNITS if any(figure in sample.figures for sample in cells)]
    rows = []
    for name, client in dict.fromkeys((sample.cell.name, sample.cell.backend) for sample in cells):
        values = [figures.get((name, client, figure)) for figure in shown]
        errors = {s.error for s in cells if s.error and (s.cell.name, s.cell.backend) == (name, client)}
        rows.append([name, client, *(spread(v) if v else "n/a" for v in values), "; ".join(sorted(errors))])
    return ["cell", "client", *(UNITS[figure] for figure in shown), "failed"], rows


def report(samples: Sequence[Sample], facts: dict[str, Any]) -> str:
    """Both tables as one Markdown document."""
    figures = collected(samples)
    repeats = max(Counter((sample.cell.name, sample.cell.backend) for sample in samples).values())
    versions = ", ".join(f"{name} {version}" for name, version in facts["packages"].items() if version)
    text = (
        f"# A2A\n\n{facts['date']}, {facts['cpu']}, {facts['cores']} cores, Linux {facts['kernel']}, "
        f"Python {facts['python']}. {repeats} repeats, medians. {versions}.\n\n"
        "`make bench-a2a`; what the columns mean: `benches/python/a2a_cases.py`.\n\n## Goals\n\n"
    )
    cells = dict.fromkeys(sample.cell.name for sample in samples)
    matching = [(goal, cell) for goal in GOALS for cell in cells if fnmatch.fnmatch(cell, goal.cells)]
    rows = [row for goal, cell in matching if (row := goal.row(figures, cell)) is not None]
    text += markdown(["cell", "ours", "rival", "ratio", "goal", "reached"], rows)
    text += "\n## All clients: median (min..max)\n"
    for procedure in dict.fromkeys(sample.cell.procedure for sample in samples):
        text += f"\n### {procedure}\n\n" + markdown(*client_rows(figures, samples, procedure))
    return text


def write(directory: Path, samples: Sequence[Sample], facts: dict[str, Any], text: str) -> None:
    """The raw samples and the report, into `directory`."""
    directory.mkdir(parents=True, exist_ok=True)
    raw = {"machine": facts, "samples": [asdict(sample) for sample in samples]}
    (directory / f"a2a-{date.today()}.json").write_text(json.dumps(raw, indent=1) + "\n")
    (directory / "a2a.md").write_text(text)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, metavar="N", help="processes for each cell (default 5)")
    parser.add_argument("--only", metavar="PATTERN", help="cells whose name matches, with * as in a shell")
    parser.add_argument("--clients", metavar="A,B", help=f"of {', '.join(CLIENTS)}")
    parser.add_argument("--quick", action="store_true", help="up to 16 MiB, 2 repeats")
    parser.add_argument(
        "--samples", type=Path, metavar="FILE", help="append each sample as a line of JSON, and report on all in it"
    )
    parser.add_argument("--output", type=Path, metavar="DIR", help="where to write the results")
    options = parser.parse_args()
    options.names = options.clients.split(",") if options.clients else list(CLIENTS)
    if unknown := [name for name in options.names if name not in CLIENTS]:
        parser.error(f"no client named {', '.join(unknown)}: there are {', '.join(CLIENTS)}")
    if not (options.only or options.clients or options.quick):
        options.output = options.output or RESULTS
    options.repeats = options.repeats or (2 if options.quick else 5)
    return options


def main() -> None:
    """Measure, report, write."""
    options = arguments()
    cells = [cell for cell in all_cells(options.names) if fnmatch.fnmatch(cell.name, options.only or "*")]
    if options.quick:
        cells = [quick for cell in cells if (quick := smaller(cell)) is not None]
    if not cells and not options.samples:
        sys.exit(f"no cell matches {options.only!r}; --help says how they are named")
    facts = machine({CLIENTS[name].package or "python": CLIENTS[name].version() for name in options.names})
    samples = earlier(options.samples) if options.samples else []
    with options.samples.open("a") if options.samples else contextlib.nullcontext() as lines:
        samples += measure_all(cells, options.repeats, lines) if cells else []
    text = report(samples, facts)
    print(text)
    if options.output:
        write(options.output, samples, facts, text)


def child() -> None:
    """One job in argv, one line of JSON out."""
    cell, *rest = json.loads(sys.argv[1])
    status = 0
    try:
        job = Job(Cell(**cell), *rest)
        print(json.dumps([asyncio.run(PROCEDURES[job.cell.procedure](job)), {}]), flush=True)
    except Exception as error:
        traceback.print_exc()
        print(f"{type(error).__name__}: {str(error).partition(chr(10))[0]}", file=sys.stderr, flush=True)
        status = 1
    os._exit(status)  # freeing what is large at exit is nobody's figure


if __name__ == "__main__":
    child() if sys.argv[1:] and sys.argv[1].startswith("[") else main()
