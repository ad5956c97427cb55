"""Measures one cell (one backend doing one thing at one size) in a fresh client process.

`measure(cell)` starts that process; `Server` is the process it talks to. In the child, the function named by
`cell.procedure` returns the figures, a flat dict whose keys carry their unit:

    gb_per_s             10^9 bytes of body a second until the reply is in hand, median over the timed transfers
    cpu_s_per_gb         user + system seconds of the client process for 10^9 bytes
    faults_per_mib       minor page faults of the client process for one MiB of body
    first_ms             the first download at this size, on a connection that is already open
    beyond_mib           peak resident memory beyond what was there with the request body made and one small call
                         done; for a download the length of the reply is taken off as well
    gap_ms, idle_gap_ms  the longest time the event loop was late for a tick due each millisecond, during transfers
                         and as long without any
    per_s, cpu_us        requests a second, and CPU microseconds of the client process for one
    many_per_s, awaits_per_s, many_ratio   the same requests through `invoke_many` and through concurrent awaits
    construct_us         `Payload(object)`, made and dropped
    raised_ms            from SIGINT until the blocking call raised KeyboardInterrupt
    writable_ms          from the cancellation (or SIGINT) until the body can be resized again
    server_end_ms        from the cancellation (or SIGINT) until the server saw the connection end
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import hashlib
import inspect
import json
import math
import os
import platform
import re
import resource
import select
import signal
import socket
import statistics
import subprocess
import sys
import threading
import timeit
import traceback
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from peers import MIB, PEERS, Peer, body_for

if TYPE_CHECKING:
    from typing_extensions import Buffer

Figures = dict[str, float]

TICK = 0.001
"""Seconds between two ticks of the event-loop watch."""
PATTERN_BYTES = 1_048_573
GIVE_UP = 5.0
"""Seconds after which a cancelled call that still holds its body is left alone and reported as this long."""


@dataclass(frozen=True)
class Cell:
    """What one client process does. Sizes in bytes, times in seconds."""

    name: str
    procedure: str
    backend: str
    size: int
    kind: str = "bytes"
    direction: str = "up"
    workers: int = 1
    seconds: float = 1.2
    """How long the timed part should last."""
    least: int = 3
    """Timed transfers at the least, however long they take."""
    gap_transfers: int = 0
    """Further transfers under the event-loop watch."""
    loop: str = "asyncio"


@dataclass(frozen=True)
class Sample:
    """One measured cell: its figures, or why there are none."""

    cell: Cell
    load: float
    """Load average of the last minute, before the cell."""
    figures: Figures = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    error: str = ""

    def as_json(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self))


# --- the parent: server, bodies, one process a cell -------------------------------------------------------------------


def pattern() -> bytes:
    """What `GET /source/n` repeats: a little-endian splitmix64 stream from seed 41, cut at a prime length."""
    mask, state, words = (1 << 64) - 1, 41, bytearray()
    while len(words) < PATTERN_BYTES:
        state = (state + 0x9E3779B97F4A7C15) & mask
        word = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
        word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & mask
        words += (word ^ (word >> 31)).to_bytes(8, "little")
    return bytes(words[:PATTERN_BYTES])


class Bodies:
    """The bodies sent and expected, one file and one sha256 for each size, made when first asked for."""

    def __init__(self, directory: str) -> None:
        self._directory = Path(directory)
        self._pattern = pattern()
        self._digests: dict[int, str] = {}

    def path(self, size: int) -> Path:
        """The file that holds `size` bytes of the pattern."""
        return self._directory / str(size)

    def digest(self, size: int) -> str:
        """The sha256 of `size` bytes of the pattern; the file is there afterwards."""
        if size not in self._digests:
            digest, left = hashlib.sha256(), size
            with self.path(size).open("wb") as file:
                while left:
                    piece = self._pattern[:left]
                    file.write(piece)
                    digest.update(piece)
                    left -= len(piece)
            self._digests[size] = digest.hexdigest()
        return self._digests[size]


@contextlib.contextmanager
def server(url: str | None = None) -> Iterator[str]:
    """The URL of a `serve` process that lives as long as the context; `url` names one that is running already."""
    if url is not None:
        yield url.rstrip("/")
        return
    command = [sys.executable, "-m", "mcpgateway_rust.cli", "serve", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            assert process.stdout is not None
            ready, _, _ = select.select([process.stdout], [], [], 30)
            line = process.stdout.readline().strip() if ready else ""
            if not line:
                raise RuntimeError(f"no URL within 30 s from {' '.join(command)}")
            yield line
        finally:
            process.terminate()


def measure(cell: Cell, url: str, bodies: Bodies, *, patience: float = 300.0) -> Sample:
    """Run `cell` in a process of its own against the server at `url`; give up after `patience` seconds."""
    job = [asdict(cell), url, str(bodies.path(cell.size)), bodies.digest(cell.size)]
    return in_a_process(__file__, job, cell, patience=patience)


def in_a_process(script: str, job: list[Any], cell: Cell, *, patience: float = 300.0) -> Sample:
    """The figures and notes that `script` prints for `job`, as a process of its own; none after `patience` seconds."""
    load = os.getloadavg()[0]
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    command = [sys.executable, script, json.dumps(job)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=patience, env=environment, check=False)
    except subprocess.TimeoutExpired:
        return Sample(cell, load, error=f"not done after {patience:.0f} s")
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()
        return Sample(cell, load, error=lines[-1] if lines else f"exit status {done.returncode}")
    figures, notes = json.loads(done.stdout)
    return Sample(cell, load, figures, notes)


def machine(packages: dict[str, str | None] | None = None) -> dict[str, Any]:
    """The facts a figure means little without; `packages` are the versions measured, the HTTP peers' if not given."""
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    huge_pages = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    return {
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "cpu": cpu[1] if cpu else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": platform.release(),
        "transparent_hugepage": huge_pages.read_text().strip() if huge_pages.exists() else "none",
        "python": platform.python_version(),
        "packages": packages or {peer.name: peer.version() for peer in PEERS.values()},
        "load": os.getloadavg(),
    }


# --- the child: the instruments ---------------------------------------------------------------------------------------


def resident_kib(name: str) -> int:
    """`VmRSS` (now) or `VmHWM` (peak since the last reset), in KiB."""
    _, _, value = Path("/proc/self/status").read_text().partition(f"{name}:")
    return int(value.split(maxsplit=1)[0])


def memory_baseline() -> int:
    """Forget the peak so far and return the resident KiB of this moment."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    return resident_kib("VmRSS")


def cpu_seconds() -> float:
    """User and system seconds of this process, all threads."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def minor_faults() -> int:
    """Page faults of this process that needed no disk."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


class LoopWatch:
    """Within `async with`, notes how late the event loop is for a tick due each millisecond: `longest`, in seconds."""

    def __init__(self) -> None:
        self.longest = 0.0

    async def _tick(self) -> None:
        last = perf_counter()
        while True:
            await asyncio.sleep(TICK)
            now = perf_counter()
            self.longest = max(self.longest, now - last - TICK)
            last = now

    async def __aenter__(self) -> LoopWatch:
        self._ticker = asyncio.create_task(self._tick())
        await asyncio.sleep(5 * TICK)
        self.longest = 0.0
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.sleep(5 * TICK)  # a stall in the last transfer is only seen by the tick after it
        self._ticker.cancel()


class SilentServer:
    """Accepts one connection and reads nothing until `released`; then reads on and notes when the end comes."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.released = threading.Event()
        self.ended_at = math.inf
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        self.released.wait()
        with connection, contextlib.suppress(ConnectionError):
            while connection.recv(MIB):
                pass
        self.ended_at = perf_counter()

    def end(self) -> float:
        """When the connection ended (on the clock of `perf_counter`), or inf if it is still open."""
        self._thread.join(GIVE_UP)
        return self.ended_at


def resizable_at(body: bytearray, deadline: float) -> float:
    """When nobody held an export of `body` any more (on the clock of `perf_counter`), `deadline` if never."""
    while perf_counter() < deadline:
        with contextlib.suppress(BufferError):
            body.pop()
            return perf_counter()
        threading.Event().wait(0.0005)
    return deadline


def milliseconds(start: float, end: float) -> float:
    """From `start` to `end`, at most `GIVE_UP`."""
    return min(end - start, GIVE_UP) * 1e3


# --- the child: the procedures ----------------------------------------------------------------------------------------


@dataclass
class Job:
    """A cell in its own process: what it needs, and what it found."""

    cell: Cell
    url: str
    body_path: str
    digest: str
    figures: Figures = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)

    def peer(self) -> Peer:
        """A new client of the backend, not set up."""
        return PEERS[self.cell.backend]()


def check_reply(reply: Buffer, size: int, digest: str | None = None) -> None:
    """Raise unless the server says it received `size` bytes (and, if given, `digest`)."""
    answer = json.loads(bytes(reply))
    if answer["bytes"] != size or (digest is not None and answer["sha256"] != digest):
        raise AssertionError(f"sent {size} bytes with sha256 {digest}, the server received {answer}")


def check_body(body: Buffer, size: int, digest: str | None = None) -> None:
    """Raise unless `body` has `size` bytes (and, if given, `digest`)."""
    view = memoryview(body)
    if view.nbytes != size or (digest is not None and hashlib.sha256(view).hexdigest() != digest):
        raise AssertionError(f"expected {size} bytes with sha256 {digest}, received {view.nbytes} that differ")


async def transfers(job: Job) -> None:
    """One large body at a time: verified, warm, timed, and (with `gap_transfers`) under the event-loop watch."""
    cell, peer, upload = job.cell, job.peer(), job.cell.direction == "up"
    await peer.setup(job.url)
    body = body_for(cell.kind, job.body_path) if upload else None

    async def once(digest: str | None = None) -> float:
        path = "/sink" if digest is not None else "/sink?digest=none"
        start = perf_counter()
        reply = await (peer.download(f"/source/{cell.size}") if body is None else peer.upload(path, body))
        took = perf_counter() - start
        (check_body if body is None else check_reply)(reply, cell.size, digest)
        return took

    if upload:
        for path in ("/sink", "/sink?digest=none"):
            check_reply(await peer.upload(path, bytes(1024)), 1024)
    else:
        check_body(await peer.download("/source/1024"), 1024)
    baseline = memory_baseline()
    first = await once(job.digest)
    count = max(cell.least, min(1000, round(cell.seconds / await once())))
    faults, cpu = minor_faults(), cpu_seconds()
    times = [await once() for _ in range(count)]
    cpu, faults = cpu_seconds() - cpu, minor_faults() - faults
    beyond = resident_kib("VmHWM") - baseline
    job.figures |= {
        "gb_per_s": cell.size / statistics.median(times) / 1e9,
        "cpu_s_per_gb": cpu / count / cell.size * 1e9,
        "faults_per_mib": faults / count / cell.size * MIB,
        "beyond_mib": beyond / 1024 - (0 if upload else cell.size / MIB),
        "transfers": count,
    }
    if not upload:  # a first upload is verified, so it waits for the server's sha256
        job.figures["first_ms"] = first * 1e3
    if cell.gap_transfers:
        await watched(job, once)
        job.notes["decision"] = await peer.decision("/sink" if upload else f"/source/{cell.size}", body)
    await peer.close()


async def watched(job: Job, once: Callable[[], Awaitable[float]]) -> None:
    """`gap_transfers` transfers under the event-loop watch, then the same time (at most `seconds`) without any."""
    start = perf_counter()
    async with LoopWatch() as busy:
        for _ in range(job.cell.gap_transfers):
            await once()
    async with LoopWatch() as idle:
        await asyncio.sleep(min(perf_counter() - start, job.cell.seconds))
    job.figures |= {"gap_ms": busy.longest * 1e3, "idle_gap_ms": idle.longest * 1e3}


async def requests(job: Job) -> None:
    """`workers` tasks, each sending one request after another for `seconds`; every reply is compared."""
    cell, peer = job.cell, job.peer()
    await peer.setup(job.url)
    content = Path(job.body_path).read_bytes()  # noqa: ASYNC240 - nothing else runs yet
    download = cell.direction == "down"

    def once() -> Awaitable[Buffer]:
        return peer.download(f"/source/{cell.size}") if download else peer.upload("/sink?digest=none", content)

    if download:
        expected = content
    else:
        check_reply(await peer.upload("/sink", content), cell.size, job.digest)
        expected = bytes(await once())
        check_reply(expected, cell.size)

    async def work(until: float) -> int:
        count = 0
        while perf_counter() < until:
            if bytes(await once()) != expected:
                raise AssertionError("a reply differs from what the server should have said")
            count += 1
        return count

    async def all_workers(seconds: float) -> tuple[int, float]:
        start = perf_counter()
        counts = await asyncio.gather(*(work(start + seconds) for _ in range(cell.workers)))
        return sum(counts), perf_counter() - start

    await all_workers(cell.seconds / 4)
    cpu = cpu_seconds()
    count, took = await all_workers(cell.seconds)
    job.figures |= {"per_s": count / took, "cpu_us": (cpu_seconds() - cpu) / count * 1e6, "transfers": count}
    await peer.close()


async def invoke_many(job: Job) -> None:
    """10,000 bodies in one `invoke_many` against the same bodies through `workers` tasks that await one by one."""
    from mcpgateway_rust.services.a2a_service import AsyncA2AClient

    cell, total, rounds = job.cell, 10_000, 3
    bodies = [Path(job.body_path).read_bytes()] * total  # noqa: ASYNC240 - nothing else runs yet
    many_s: list[float] = []
    awaits_s: list[float] = []
    async with AsyncA2AClient(f"{job.url}/sink?digest=none") as client:

        async def awaits() -> list[Any]:
            left, replies = iter(bodies), []

            async def work() -> None:
                replies.extend([await client.invoke(body) for body in left])

            await asyncio.gather(*(work() for _ in range(cell.workers)))
            return replies

        async def timed(call: Callable[[], Awaitable[list[Any]]], times: list[float]) -> None:
            start = perf_counter()
            replies = await call()
            times.append(perf_counter() - start)
            for reply in replies:
                check_reply(reply.body, cell.size)

        async def many() -> list[Any]:
            replies: list[Any] = await client.invoke_many(bodies, concurrency=cell.workers)
            return replies

        await timed(awaits, [])
        for _ in range(rounds):
            await timed(many, many_s)
            await timed(awaits, awaits_s)
    many_median, awaits_median = statistics.median(many_s), statistics.median(awaits_s)
    job.figures |= {
        "many_per_s": total / many_median,
        "awaits_per_s": total / awaits_median,
        "many_ratio": awaits_median / many_median,
    }


def construct(job: Job) -> None:
    """`Payload(object)` made and dropped: the median of 20 blocks of 500."""
    from mcpgateway_rust import Payload

    body = body_for(job.cell.kind, job.body_path)
    blocks = timeit.repeat(lambda: Payload(body), number=500, repeat=20)
    job.figures["construct_us"] = statistics.median(blocks) / 500 * 1e6


async def cancel(job: Job) -> None:
    """Cancel an upload that the server does not read."""
    peer, silent, body = job.peer(), SilentServer(), bytearray(job.cell.size)
    await peer.setup(silent.url)

    async def upload() -> None:
        with contextlib.suppress(asyncio.CancelledError):  # a kept traceback would keep its frames' views of the body
            await peer.upload("/sink", body)

    call = asyncio.create_task(upload())
    await asyncio.sleep(0.3)
    silent.released.set()
    start = perf_counter()
    call.cancel()
    writable, ended, _ = await asyncio.gather(
        asyncio.to_thread(resizable_at, body, start + GIVE_UP),
        asyncio.to_thread(silent.end),
        asyncio.wait([call], timeout=GIVE_UP),
    )
    job.figures |= {"writable_ms": milliseconds(start, writable), "server_end_ms": milliseconds(start, ended)}


def interrupt(job: Job) -> None:
    """SIGINT during a blocking upload that the server does not read."""
    from mcpgateway_rust.services.a2a_service import A2AClient

    silent, body, start = SilentServer(), bytearray(job.cell.size), math.inf

    def fire() -> None:
        nonlocal start
        silent.released.set()
        start = perf_counter()
        os.kill(os.getpid(), signal.SIGINT)

    signal.signal(signal.SIGINT, signal.default_int_handler)
    client = A2AClient(f"{silent.url}/sink")
    threading.Timer(0.3, fire).start()
    try:
        client.invoke(body)
    except KeyboardInterrupt:
        raised = perf_counter()
    else:
        raise AssertionError("the blocking call returned, although the server never answered")
    writable = resizable_at(body, start + GIVE_UP)
    job.figures |= {
        "raised_ms": milliseconds(start, raised),
        "writable_ms": milliseconds(start, writable),
        "server_end_ms": milliseconds(start, silent.end()),
    }


PROCEDURES: dict[str, Callable[[Job], Any]] = {
    procedure.__name__: procedure
    for procedure in (transfers, requests, invoke_many, construct, cancel, interrupt)
}  # fmt: skip


def run(job: Job) -> None:
    """Fill in the figures of `job`, on the event loop its cell names."""
    outcome = PROCEDURES[job.cell.procedure](job)
    if not inspect.iscoroutine(outcome):
        return
    factory = None
    if job.cell.loop == "uvloop":
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(outcome)


def main() -> None:
    """The child: one job in argv, one line of JSON out."""
    cell, *rest = json.loads(sys.argv[1])
    job = Job(Cell(**cell), *rest)
    status = 0
    try:
        run(job)
        print(json.dumps([job.figures, job.notes]), flush=True)
    except Exception as error:
        traceback.print_exc()
        print(f"{type(error).__name__}: {str(error).partition(chr(10))[0]}", file=sys.stderr, flush=True)
        status = 1
    os._exit(status)  # some peers abort at interpreter exit; how ours ends is the tests' business


if __name__ == "__main__":
    main()
