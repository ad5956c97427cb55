"""Measures our tool and resource clients beside the official one, against servers of the official SDK, and a bare
socket as floor.

What is received is known beforehand, the tool says what it was sent: both are compared. An answer is the text, the rows
of the structured result, the decoded blob, or the digest of what was sent. What the figures mean: `ladder.py`.
"""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ladder import LADDER, SUPPORT, Bench, Goal, calls_of, child, is_child, large_calls, small_calls, support
from mcp_peers import CLIENTS, LEGACY, MODERN, PATIENCE, Canned, Client, serving
from mcpgateway_rust.sweep.cells import Cell, Figures, Sample
from mcpgateway_rust.sweep.processes import in_a_process, server
from mcpgateway_rust.sweep.sizes import GIB, MIB

KINDS = ("text", "argument", "structured", "blob")
IN_FLIGHT = 64
RANGES = 4
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
    received = 0 if up or client.name == "bare" else size
    result, figures = await large_calls(
        verbs[job.kind], size, calls=calls_of(size), received=received, blocking=client.blocking
    )
    check(result, client, job.kind, expected)
    return figures


async def small(job: Job) -> Figures:
    """Small tool calls; each reply is compared."""
    client, text = CLIENTS[job.cell.backend](), "x" * job.cell.size
    await client.setup(job.url, job.protocol)
    expected = Canned.TEXT if "/canned/" in job.cell.name else text

    async def call() -> None:
        if await client.small(text) != expected:
            raise AssertionError("a reply differs from what the tool should have said")

    return await small_calls(call, job.cell)


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

        return await small_calls(call, job.cell)


async def ranges(job: Job) -> Figures:
    """A large file, by parallel ranges into one region or in one stream; its first transfer counts for the memory."""
    from mcpgateway_rust import Timeouts
    from mcpgateway_rust.services.resource_service import AsyncResourceClient

    size, streams = job.cell.size, RANGES if job.cell.backend == "ours" else 1
    async with AsyncResourceClient(streams=streams, timeouts=Timeouts(total=PATIENCE)) as client:
        await client.fetch(f"{job.url}/files/small")

        async def once() -> Any:
            return (await client.fetch(f"{job.url}/files/large")).body

        body, figures = await large_calls(once, size, calls=3, received=size, blocking=False)
    block = support("mcp_server").sample(MIB)
    view = memoryview(body)
    if len(view) != size or any(view[start : start + MIB] != block for start in range(0, size, MIB)):
        raise AssertionError(f"{len(view)} bytes of {size}, or others than in the file")
    return figures


PROCEDURES: dict[str, Callable[[Job], Coroutine[Any, Any, Figures]]] = {
    "large": large,
    "small": small,
    "rest": rest,
    "ranges": ranges,
}


async def measure(cell: Cell, url: str) -> Figures:
    """The figures of one cell."""
    return await PROCEDURES[cell.procedure](Job(cell, url))


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
    return 2 + calls_of(cell.size) * 0.02 * cell.size / MIB


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


@contextlib.contextmanager
def servers() -> Iterator[Callable[[Cell], Sample]]:
    """The servers of one repeat."""
    with contextlib.ExitStack() as stack:
        started = Servers(stack)
        yield lambda cell: in_a_process([__file__], [asdict(cell), started.url(cell)], cell)


BENCH = Bench(
    "mcp", "Tools and resources", __doc__, EPILOG, CLIENTS, all_cells, smaller, expected_seconds, GOALS, servers
)

if __name__ == "__main__":
    child(measure) if is_child() else BENCH.main()
