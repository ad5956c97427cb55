"""What `first_light.py` measures beyond the exchanges of the sweep: one job in argv, one line of JSON out.

The figures:

    many_per_s, awaits_per_s, many_ratio   the same requests through `invoke_many` and through concurrent awaits
    construct_us         `Payload(object)`, made and dropped
    raised_ms            from SIGINT until the blocking call raised KeyboardInterrupt
    writable_ms          from the cancellation (or SIGINT) until the body can be resized again
    server_end_ms        from the cancellation (or SIGINT) until the server saw the connection end
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import signal
import socket
import statistics
import threading
import timeit
from collections.abc import Awaitable, Callable
from pathlib import Path
from time import perf_counter
from typing import Any

from mcpgateway_rust.sweep import exchanges
from mcpgateway_rust.sweep.bodies import body_for
from mcpgateway_rust.sweep.exchanges import Job, check_reply
from mcpgateway_rust.sweep.sizes import MIB

GIVE_UP = 5.0
"""Seconds after which a cancelled call that still holds its body is left alone and reported as this long."""


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

            await asyncio.gather(*(work() for _ in range(cell.concurrency)))
            return replies

        async def timed(call: Callable[[], Awaitable[list[Any]]], times: list[float]) -> None:
            start = perf_counter()
            replies = await call()
            times.append(perf_counter() - start)
            for reply in replies:
                check_reply(reply.body, cell.size)

        async def many() -> list[Any]:
            replies: list[Any] = await client.invoke_many(bodies, concurrency=cell.concurrency)
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

    body = body_for(job.cell.exporter, job.body_path)
    blocks = timeit.repeat(lambda: Payload(body), number=500, repeat=20)
    job.figures["construct_us"] = statistics.median(blocks) / 500 * 1e6


async def cancel(job: Job) -> None:
    """Cancel an upload that the server does not read."""
    backend, silent, body = job.backend(), SilentServer(), bytearray(job.cell.size)
    await backend.setup(silent.url)

    async def upload() -> None:
        with contextlib.suppress(asyncio.CancelledError):  # a kept traceback would keep its frames' views of the body
            await backend.upload("/sink", body)

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


PROCEDURES: dict[str, exchanges.Procedure] = exchanges.PROCEDURES | {
    procedure.__name__: procedure for procedure in (invoke_many, construct, cancel, interrupt)
}

if __name__ == "__main__":
    exchanges.main(PROCEDURES)
