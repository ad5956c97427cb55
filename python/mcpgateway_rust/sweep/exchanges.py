"""What happens in the process of a cell: calls, one after another in each of `concurrency` tasks.

The first call is verified by its sha256, the last ones too; between them every reply's length is. The figures:

    gb_per_s             10^9 bytes of body a second: the median of single calls, or of all together when many are in
                         flight; an echo counts once
    per_s                replies a second, over the whole of the timed part
    p50_ms, p90_ms, p99_ms   quantiles of the time that one call takes
    calls                calls in the timed part
    cpu_s_per_gb         user + system seconds of the client process for 10^9 bytes of body
    cpu_us               the same in microseconds for one call
    faults_per_mib       minor page faults of the client process for one MiB of body
    first_ms             the first reply with a body of this size, on a connection that is already open; not for
                         uploads, where the server's sha256 would be in it
    beyond_mib           peak resident memory beyond what was there with the request body made and one small call
                         done; the replies in flight are taken off as well
    gap_ms, idle_gap_ms  the longest time the event loop was late for a tick due each millisecond, during calls and as
                         long without any

Run as `python -m mcpgateway_rust.sweep.exchanges JOB`, by `processes.measure`.
"""

from __future__ import annotations

import array
import asyncio
import hashlib
import inspect
import json
import os
import sys
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from mcpgateway_rust._types import Buffer
from mcpgateway_rust.sweep.backends import BACKENDS, Backend
from mcpgateway_rust.sweep.bodies import body_for, source_path
from mcpgateway_rust.sweep.cells import Cell, Figures
from mcpgateway_rust.sweep.instruments import LoopWatch, cpu_seconds, memory_baseline, minor_faults, resident_kib
from mcpgateway_rust.sweep.sizes import MIB

SMALL_BODY = 1024


@dataclass
class Job:
    """A cell in its own process: what it needs, and what it found."""

    cell: Cell
    url: str
    body_path: str
    digest: str
    figures: Figures = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)

    def backend(self) -> Backend:
        """A new client of the backend, not set up."""
        return BACKENDS[self.cell.backend]()


Call = Callable[[], Awaitable[Buffer]]


class Exchange:
    """The calls of one cell: made, verified, timed."""

    def __init__(self, job: Job, backend: Backend) -> None:
        self._cell, self._digest, self._backend = job.cell, job.digest, backend
        self.sends = job.cell.direction != "down"
        self.body = body_for(job.cell.exporter, job.body_path) if self.sends else None
        self.latencies = array.array("d")
        self._reply_length = 0

    def call(self, *, verified: bool = False) -> Call:
        """One call; `verified` asks the server for the digest of what it received."""
        backend, cell, body = self._backend, self._cell, self.body
        if cell.direction == "down":
            path = source_path(cell.shape, cell.size)
            return lambda: (backend.download if cell.shape == "opaque" else backend.download_json)(path)
        path = "/echo" if cell.direction == "echo" else "/sink" if verified else "/sink?digest=none"
        return lambda: backend.upload(path, body)

    async def warm_up(self) -> None:
        """Open the connections, with small bodies, so that none of that is measured."""
        backend, count = self._backend, self._cell.concurrency
        if self.sends:
            for path in ("/sink", "/sink?digest=none"):
                replies = await asyncio.gather(*(backend.upload(path, bytes(SMALL_BODY)) for _ in range(count)))
                check_reply(replies[0], SMALL_BODY)
        else:
            replies = await asyncio.gather(*(backend.download(f"/source/{SMALL_BODY}") for _ in range(count)))
            check_body(replies[0], SMALL_BODY)

    async def verify(self) -> float:
        """One call whose bytes are compared; returns the seconds that it took."""
        start = perf_counter()
        reply = await self.call(verified=True)()
        took = perf_counter() - start
        (check_reply if self._cell.direction == "up" else check_body)(reply, self._cell.size, self._digest)
        return took

    async def time(self, seconds: float, least: int) -> float:
        """Calls for `seconds`, `least` of them at the least, in all tasks; returns the seconds that they took."""
        call, latencies, length = self.call(), self.latencies, self._reply_length

        async def work() -> None:
            nonlocal length
            begun = perf_counter()
            while True:
                reply = await call()
                ended = perf_counter()
                latencies.append(ended - begun)
                if len(reply) != length:
                    length = self._expect(len(reply))
                del reply  # or it would be in memory beside the next one
                if ended >= until and len(latencies) >= least:
                    return
                begun = ended

        start = perf_counter()
        until = start + seconds
        await asyncio.gather(*(work() for _ in range(self._cell.concurrency)))
        return perf_counter() - start

    def _expect(self, length: int) -> int:
        """All replies are as long as the first."""
        if self._reply_length not in {0, length}:
            raise AssertionError(f"a reply of {length} bytes, where others have {self._reply_length}")
        self._reply_length = length
        return length


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


async def exchanges(job: Job) -> None:
    """The cell: verified, warm, timed, and (with `gap_seconds`) under the event-loop watch."""
    cell, backend = job.cell, job.backend()
    await backend.setup(job.url, cell.concurrency)
    exchange = Exchange(job, backend)
    await exchange.warm_up()
    baseline = memory_baseline()
    first = await exchange.verify()
    await exchange.time(cell.seconds / 4, 1)
    del exchange.latencies[:]
    faults, cpu = minor_faults(), cpu_seconds()
    took = await exchange.time(cell.seconds, cell.least)
    cpu, faults = cpu_seconds() - cpu, minor_faults() - faults
    calls = len(exchange.latencies)
    replies = 0 if cell.direction == "up" else cell.size * cell.concurrency
    p50, p90, p99 = (_quantile(exchange.latencies, q) for q in (0.5, 0.9, 0.99))
    each = p50 if cell.concurrency == 1 else took / calls
    job.figures |= {
        "gb_per_s": cell.size / each / 1e9,
        "per_s": calls / took,
        "p50_ms": p50 * 1e3,
        "p90_ms": p90 * 1e3,
        "p99_ms": p99 * 1e3,
        "calls": calls,
        "cpu_s_per_gb": cpu / calls / cell.size * 1e9,
        "cpu_us": cpu / calls * 1e6,
        "faults_per_mib": faults / calls / cell.size * MIB,
        "beyond_mib": (resident_kib("VmHWM") - baseline) / 1024 - replies / MIB,
    }
    if cell.direction != "up":
        job.figures["first_ms"] = first * 1e3
    backend.noting = True
    await exchange.verify()
    job.notes |= backend.notes
    if cell.gap_seconds and not backend.blocking:
        await _watch(job, exchange)
    await backend.close()


def _quantile(values: Sequence[float], quantile: float) -> float:
    return sorted(values)[min(len(values) - 1, int(quantile * len(values)))]


async def _watch(job: Job, exchange: Exchange) -> None:
    """Calls for `gap_seconds` under the event-loop watch, then the same time (at most 1.2 s) without any."""
    start = perf_counter()
    async with LoopWatch() as busy:
        await exchange.time(job.cell.gap_seconds, 1)
    async with LoopWatch() as idle:
        await asyncio.sleep(min(perf_counter() - start, 1.2))
    job.figures |= {"gap_ms": busy.longest * 1e3, "idle_gap_ms": idle.longest * 1e3}


Procedure = Callable[[Job], Any]
PROCEDURES: dict[str, Procedure] = {"exchanges": exchanges}


def run(job: Job, procedures: Mapping[str, Procedure]) -> None:
    """Fill in the figures of `job`, on the event loop its cell names."""
    outcome = procedures[job.cell.procedure](job)
    if not inspect.iscoroutine(outcome):
        return
    factory = None
    if job.cell.loop == "uvloop":
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(outcome)


def main(procedures: Mapping[str, Procedure] = PROCEDURES) -> None:
    """The process of a cell: one job in argv, one line of JSON out."""
    cell, *rest = json.loads(sys.argv[1])
    job = Job(Cell(**cell), *rest)
    status = 0
    try:
        run(job, procedures)
        print(json.dumps([job.figures, job.notes]), flush=True)
    except Exception as error:
        traceback.print_exc()
        print(f"{type(error).__name__}: {str(error).partition(chr(10))[0]}", file=sys.stderr, flush=True)
        status = 1
    os._exit(status)  # some peers abort at interpreter exit; how ours ends is the tests' business


if __name__ == "__main__":
    main()
