"""Measures our tool and resource clients beside the official one, against servers of the official SDK, and a bare
socket as floor.

Each cell is one client doing one thing at one size, in a process of its own; within a repeat the clients take turns,
in an order that moves on with each repeat. What is received is known beforehand, the tool says what it was sent: both
are compared. Reported are medians over the repeats:

    wall_ms         milliseconds from the call until its answer is in hand: the text, the rows of the structured result,
                    the decoded blob, the digest of what was sent. At 256 MiB one call, below it the median of 3
    gap_ms          the longest time the event loop was late for a tick due each millisecond, during all these calls
    idle_gap_ms     the same while nothing else runs
    beyond_mib      the peak of resident memory beyond what was there with the argument made and a small call done; for
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
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path
from time import perf_counter
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from a2a_cases import Goal, client_rows, earlier
from first_light import RESULTS, collected, in_turn, markdown
from mcp_peers import CLIENTS, LEGACY, MODERN, PATIENCE, SUPPORT, Canned, Client, serving, support
from mcpgateway_rust.sweep.cells import Cell, Figures, Sample
from mcpgateway_rust.sweep.instruments import LoopWatch, cpu_seconds, memory_baseline, resident_kib
from mcpgateway_rust.sweep.machine import machine
from mcpgateway_rust.sweep.processes import in_a_process, server
from mcpgateway_rust.sweep.sizes import GIB, MIB

LADDER = (1, 16, 64, 256)
"""MiB."""
KINDS = ("text", "argument", "structured", "blob")
IN_FLIGHT = 64
RANGES = 4
ONE_CALL_FROM = 256 * MIB
EPILOG = """
examples:
  mcp_cases.py                                   everything, five repeats: about forty minutes on two cores
  mcp_cases.py --quick                           up to 16 MiB, 2 repeats: about two minutes
  mcp_cases.py --samples s --only 'text/*'       a part now; other parts, with the same file, whenever there is time
  mcp_cases.py --samples s --only none --output .    the report on what is in it

Cells are KIND/SIZE with the kinds text, argument, structured, blob; the same as older-KIND/SIZE in the generation
before, which replies by streams; small/sdk/1KiB and small/canned/1KiB: the second against a server that costs next to
nothing; rest/1KiB: a REST tool, with the address guard (ours) and without; ranges/1GiB: a file of nginx by four ranges
at a time (ours), and in one stream. A complete run writes mcp-DATE.json (every sample, machine facts) and mcp.md; a
partial one writes only with --output.
"""


LARGE = ("*/16MiB", "*/64MiB", "*/256MiB")
GOALS = (
    *(Goal(cells, "wall_ms", 1.15, "bare") for cells in LARGE),
    *(Goal(cells, "gap_ms", 10) for cells in LARGE),
    *(Goal(cells, "beyond_x", 1.5) for cells in LARGE),
    Goal("small/*", "per_s", 5, "official", ">="),
    Goal("rest/*", "per_s", 0.9, "unguarded", ">="),
    Goal("ranges/*", "wall_ms", 0.667, "one stream"),
    Goal("ranges/*", "beyond_mib", 32),
)


# --- the child: one cell ----------------------------------------------------------------------------------------------


@dataclass
class Job:
    """A cell in its own process, and where its server is."""

    cell: Cell
    url: str

    @property
    def kind(self) -> str:
        return self.cell.name.partition("/")[0].removeprefix("older-")

    @property
    def protocol(self) -> str:
        return LEGACY if self.cell.name.startswith("older-") else MODERN


def check(result: Any, client: Client, kind: str, expected: bytes) -> None:
    """Raise unless `result` is what was sent, or asked for; the bare socket keeps nothing that it receives."""
    if kind == "argument":
        told = (int(result["bytes"]), result["sha256"])
        if told != (len(expected), hashlib.sha256(expected).hexdigest()):
            raise AssertionError(f"sent {len(expected)} bytes, the tool received {told}")
    elif client.name != "bare":
        if kind == "structured":
            rows = result if isinstance(result, list) else result.value()
            result = "".join(row["text"] for row in rows)
        view = result.encode() if isinstance(result, str) else memoryview(result)
        if len(view) != len(expected) or view != expected:
            raise AssertionError(f"expected {len(expected)} bytes of {kind}, received {len(view)} that differ")


async def large(job: Job) -> Figures:
    """One payload at a time: its first call is compared and counts for the memory."""
    size, client = job.cell.size, CLIENTS[job.cell.backend]()
    expected = support("mcp_server").sample(size)
    up = job.kind == "argument"
    argument = client.argument_for(expected) if up else None
    verbs: dict[str, Callable[[], Awaitable[Any]]] = {
        "argument": lambda: client.argument(argument),
        "text": lambda: client.text(size),
        "structured": lambda: client.structured(size),
        "blob": lambda: client.blob(size),
    }
    await client.setup(job.url, job.protocol)
    await client.small("first")
    baseline = memory_baseline()
    times = []
    async with LoopWatch() as busy:
        for _ in range(1 if size >= ONE_CALL_FROM else 3):
            result = None  # as nobody keeps what came before
            start = perf_counter()
            result = await verbs[job.kind]()
            times.append(perf_counter() - start)
            peak = resident_kib("VmHWM") - baseline
    async with LoopWatch() as idle:
        await asyncio.sleep(min(sum(times), 1.0))
    check(result, client, job.kind, expected)
    beyond = peak * 1024 - (0 if up or client.name == "bare" else size)
    figures = {"wall_ms": statistics.median(times) * 1e3, "beyond_mib": beyond / MIB, "beyond_x": beyond / size}
    if not client.blocking:
        figures |= {"gap_ms": busy.longest * 1e3, "idle_gap_ms": idle.longest * 1e3}
    return figures


async def many(call: Callable[[], Awaitable[None]], cell: Cell) -> Figures:
    """Many small calls, `cell.concurrency` at a time, for `cell.seconds`."""

    async def work(until: float) -> int:
        count = 0
        while perf_counter() < until:
            await call()
            count += 1
        return count

    async def all_workers(seconds: float) -> tuple[int, float]:
        start = perf_counter()
        counts = await asyncio.gather(*(work(start + seconds) for _ in range(cell.concurrency)))
        return sum(counts), perf_counter() - start

    await all_workers(cell.seconds / 4)
    cpu = cpu_seconds()
    count, took = await all_workers(cell.seconds)
    return {"per_s": count / took, "cpu_us": (cpu_seconds() - cpu) / count * 1e6}


async def small(job: Job) -> Figures:
    """Small tool calls; each reply is compared."""
    client, text = CLIENTS[job.cell.backend](), "x" * job.cell.size
    await client.setup(job.url, job.protocol)
    expected = Canned.TEXT if "/canned/" in job.cell.name else text

    async def call() -> None:
        if await client.small(text) != expected:
            raise AssertionError("a reply differs from what the tool should have said")

    return await many(call, job.cell)


async def rest(job: Job) -> Figures:
    """Small REST calls, with and without the guard that looks at every address."""
    from mcpgateway_rust import Guard
    from mcpgateway_rust.services.tool_service import AsyncRestTool

    guard = Guard(allow=["127.0.0.0/8"]) if job.cell.backend == "ours" else None
    async with AsyncRestTool(f"{job.url}/source/{{length}}", guard=guard) as tool:

        async def call() -> None:
            result = await tool.call({"length": job.cell.size})
            if len(result.content[0].payload()) != job.cell.size:
                raise AssertionError("a reply has another length than was asked for")

        return await many(call, job.cell)


async def ranges(job: Job) -> Figures:
    """A large file, by parallel ranges into one region or in one stream; its first transfer counts for the memory."""
    from mcpgateway_rust import Timeouts
    from mcpgateway_rust.services.resource_service import AsyncResourceClient

    size, streams = job.cell.size, RANGES if job.cell.backend == "ours" else 1
    async with AsyncResourceClient(streams=streams, timeouts=Timeouts(total=PATIENCE)) as client:
        await client.fetch(f"{job.url}/files/small")
        baseline = memory_baseline()
        times = []
        async with LoopWatch() as busy:
            for _ in range(3):
                body = None  # as nobody keeps what came before
                start = perf_counter()
                body = (await client.fetch(f"{job.url}/files/large")).body
                times.append(perf_counter() - start)
                peak = resident_kib("VmHWM") - baseline
    block = support("mcp_server").sample(MIB)
    assert body is not None
    view = memoryview(body)
    if len(view) != size or any(view[start : start + MIB] != block for start in range(0, size, MIB)):
        raise AssertionError(f"{len(view)} bytes of {size}, or others than in the file")
    beyond = peak * 1024 - size
    return {
        "wall_ms": statistics.median(times) * 1e3,
        "gap_ms": busy.longest * 1e3,
        "beyond_mib": beyond / MIB,
        "beyond_x": beyond / size,
    }


PROCEDURES: dict[str, Callable[[Job], Coroutine[Any, Any, Figures]]] = {
    "large": large,
    "small": small,
    "rest": rest,
    "ranges": ranges,
}


# --- the parent: all cells --------------------------------------------------------------------------------------------


def all_cells(clients: Sequence[str]) -> list[Cell]:
    """Each thing that is done, by each of `clients`; small calls not by the bare socket, which has one connection."""
    cells = [
        Cell(f"{generation}{kind}/{mib}MiB", "large", client, mib * MIB)
        for generation in ("", "older-")
        for kind in KINDS
        for mib in LADDER
        for client in clients
        if not generation or mib in (1, 64)
    ]
    cells += [
        Cell(f"small/{server}/1KiB", "small", client, 1024, concurrency=IN_FLIGHT, seconds=3.0)
        for server in ("sdk", "canned")
        for client in clients
        if client != "bare"
    ]
    if "ours" in clients:
        cells += [
            Cell("rest/1KiB", "rest", way, 1024, "down", concurrency=IN_FLIGHT, seconds=3.0)
            for way in ("ours", "unguarded")
        ]
        cells += [Cell("ranges/1GiB", "ranges", way, GIB) for way in ("ours", "one stream")]
    return cells


def smaller(cell: Cell) -> Cell | None:
    """The cell as `--quick` has it: a second of small calls, nothing above 16 MiB."""
    return replace(cell, seconds=1.0) if cell.size <= 16 * MIB else None


def expected_seconds(cell: Cell) -> float:
    """A rough guess, for the time left: start, and the server's 20 ms or so for a MiB."""
    if cell.procedure != "large":
        return 10.0 if cell.procedure == "ranges" else 6.0
    return 2 + (1 if cell.size >= ONE_CALL_FROM else 3) * 0.02 * cell.size / MIB


class Servers:
    """Where the server of each cell is; each is started when it is first asked for, and ends with `stack`."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self._stack = stack
        self._urls: dict[str, str] = {}

    def url(self, cell: Cell) -> str:
        """The server of `cell`."""
        others = {"ranges": "nginx", "rest": "serve"}
        name = "canned" if "/canned/" in cell.name else others.get(cell.procedure, "sdk")
        if name not in self._urls:
            self._urls[name] = self._start(name)
        return self._urls[name]

    def _start(self, name: str) -> str:
        if name == "nginx":
            return self._files()
        if name == "serve":
            return self._stack.enter_context(server())
        program = Path(__file__).with_name("mcp_peers.py") if name == "canned" else SUPPORT / "mcp_server.py"
        return self._stack.enter_context(serving(program))

    def _files(self) -> str:
        """nginx, with a file of 1 MiB and one of 1 GiB that repeats it."""
        directory = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
        nginx = self._stack.enter_context(support("nginx").Nginx(directory))
        block = support("mcp_server").sample(MIB)
        (nginx.files / "small").write_bytes(block)
        with (nginx.files / "large").open("wb") as file:
            for _ in range(GIB // MIB):
                file.write(block)
        return str(nginx.url)


def measure_all(cells: Sequence[Cell], repeats: int, lines: TextIO | None) -> list[Sample]:
    """Every cell `repeats` times, with a progress bar on stderr; each sample is written to `lines` at once."""
    samples: list[Sample] = []
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TextColumn("left:"))
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=round(repeats * sum(map(expected_seconds, cells))))
        for repeat in range(repeats):
            with contextlib.ExitStack() as stack:  # servers anew each time: their memory only grows
                servers = Servers(stack)
                for cell in in_turn(cells, repeat):
                    progress.update(task, description=f"{repeat + 1}/{repeats} {cell.name} {cell.backend}")
                    sample = replace(in_a_process([__file__], [asdict(cell), servers.url(cell)], cell), repeat=repeat)
                    samples.append(sample)
                    progress.advance(task, expected_seconds(cell))
                    if sample.error:
                        progress.console.print(f"{cell.name} {cell.backend}: {sample.error}", markup=False)
                    if lines:
                        print(sample.as_json(), file=lines, flush=True)
    return samples


def report(samples: Sequence[Sample], facts: dict[str, Any]) -> str:
    """Both tables as one Markdown document."""
    figures = collected(samples)
    repeats = max(Counter((sample.cell.name, sample.cell.backend) for sample in samples).values())
    versions = ", ".join(f"{name} {version}" for name, version in facts["packages"].items() if version)
    text = (
        f"# Tools and resources\n\n{facts['date']}, {facts['cpu']}, {facts['cores']} cores, Linux {facts['kernel']}, "
        f"Python {facts['python']}. {repeats} repeats, medians. {versions}.\n\n"
        "`make bench-mcp`; what the columns mean: `benches/python/mcp_cases.py`.\n\n## Goals\n\n"
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
    (directory / f"mcp-{date.today()}.json").write_text(json.dumps(raw, indent=1) + "\n")
    (directory / "mcp.md").write_text(text)


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
    cell, url = json.loads(sys.argv[1])
    status = 0
    try:
        job = Job(Cell(**cell), url)
        print(json.dumps([asyncio.run(PROCEDURES[job.cell.procedure](job)), {}]), flush=True)
    except Exception as error:
        traceback.print_exc()
        print(f"{type(error).__name__}: {str(error).partition(chr(10))[0]}", file=sys.stderr, flush=True)
        status = 1
    os._exit(status)  # freeing what is large at exit is nobody's figure


if __name__ == "__main__":
    child() if sys.argv[1:] and sys.argv[1].startswith("[") else main()
