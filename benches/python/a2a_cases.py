"""Measures our A2A client beside the official one, both against agents of the official SDK, and a bare socket as floor.

The agent says what it received, and what it sends is known beforehand: both are compared. An answer is a digest (up),
the content of a part (down), or that of an artifact whose chunks were streamed (stream). What the figures mean:
`ladder.py`.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from a2a_peers import CLIENTS, Canned, Client, canned
from ladder import LADDER, Bench, Goal, calls_of, child, is_child, large_calls, small_calls, support
from mcpgateway_rust.sweep.cells import Cell, Figures, Sample
from mcpgateway_rust.sweep.processes import in_a_process
from mcpgateway_rust.sweep.sizes import GIB, MIB

AGENT = "jsonrpc-1.0"
KINDS = ("text", "raw")
CHUNKS = 64
WORKERS = 64
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
        peer = support("a2a_peer")
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
    received = 0 if up or job.cell.procedure == "file" or client.name == "bare" else size
    result, figures = await large_calls(once, size, calls=calls_of(size), received=received, blocking=client.blocking)
    if up:
        check_described(result, job, expected)
    elif job.cell.procedure == "file":
        assert int(result["bytes"]) == size, result
    else:
        check_content(result, job, expected)
    return figures


async def small(job: Job) -> Figures:
    """Small messages; each reply is compared."""
    client, text = job.client, "x" * job.cell.size
    await client.setup(job.base, job.endpoint)
    expected = Canned.TEXT if "/canned/" in job.cell.name else text

    async def call() -> None:
        if await client.small(text) != expected:
            raise AssertionError("a reply differs from what the agent should have said")

    return await small_calls(call, job.cell)


PROCEDURES: dict[str, Callable[[Job], Coroutine[Any, Any, Figures]]] = {
    "up": large,
    "down": large,
    "stream": large,
    "file": large,
    "small": small,
}


async def measure(cell: Cell, base: str, endpoint: str, file: str) -> Figures:
    """The figures of one cell."""
    return await PROCEDURES[cell.procedure](Job(cell, base, endpoint, file))


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
    per_mib = 0.06 if cell.shape == "text" else 0.02
    return 2 + cell.seconds * (cell.procedure == "small") + calls_of(cell.size) * per_mib * cell.size / MIB


@contextmanager
def servers() -> Iterator[Callable[[Cell], Sample]]:
    """Agents of the official SDK and the canned one."""
    with support("a2a_peer").A2APeer() as peer, canned() as quick_origin, tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "part"

        def measured(cell: Cell) -> Sample:
            if cell.procedure == "file" and not file.exists():
                write_file(file, cell.size)
            base, endpoint = peer.url(AGENT), peer.endpoint(AGENT)
            if "/canned/" in cell.name:
                base, endpoint = quick_origin, f"{quick_origin}/rpc"
            sample = in_a_process([__file__], [asdict(cell), base, endpoint, str(file)], cell, server_pid=peer.pid)
            urlopen(Request(f"{peer.origin}/_tasks", method="DELETE")).close()
            return sample

        yield measured


def write_file(path: Path, size: int) -> None:
    """A file of `size` bytes, which is a multiple of 64 MiB."""
    block = support("a2a_peer").raw_of(64 * MIB)
    with path.open("wb") as file:
        for _ in range(size // len(block)):
            file.write(block)


BENCH = Bench("a2a", "A2A", __doc__, EPILOG, CLIENTS, all_cells, smaller, expected_seconds, GOALS, servers)

if __name__ == "__main__":
    child(measure) if is_child() else BENCH.main()
