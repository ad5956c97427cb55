"""Awaitables of asyncio: cancelled anywhere, on any loop, in bursts; never a stray exception, never a blocked loop."""

import asyncio
import gc
import hashlib
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import Any

import pytest
import uvloop

from mcpgateway_rust import AsyncClient, Progress, Response, Timeouts, exports_live
from mcpgateway_rust.exceptions import ClientClosed, GatewayError, GatewayTimeout
from support.hostile import (
    Connection,
    Drain,
    HostileServer,
    ReadBytes,
    ReadHead,
    ReadRequest,
    Scenario,
    Send,
    Stall,
    answer,
    full_backlog,
    response,
)
from support.native_server import NativeServer
from support.source import source_bytes
from support.waiting import wait_until

MIB = 1 << 20
NOTICED_WITHIN_SECONDS = 1.0  # the aim is 0.1: the bench reports the real figure
PATIENT = Timeouts(connect=30, first_byte=30, idle=30, total=60)


@pytest.fixture
async def complaints() -> AsyncIterator[list[dict[str, Any]]]:
    """What the loop's exception handler was told ("never retrieved", …) and must not be."""
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: told.append(context))
    yield told
    gc.collect()
    await asyncio.sleep(0)
    assert told == []


# ---- cancellation, at each phase


def cut_head(connection: Connection) -> None:
    connection.read_head()
    connection.read_body()
    connection.send(b"HTTP/1.1 200 O")
    connection.stall()


HALF = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf"
PHASES: dict[str, Scenario] = {
    "while sending": [ReadHead(), ReadBytes(1000), Stall(), Drain()],
    "before the first byte": [ReadRequest(), Stall()],
    "within the head": cut_head,
    "within the body": [ReadRequest(), Send(HALF), Stall()],
}


@pytest.mark.usefixtures("complaints")
@pytest.mark.parametrize("times", [5, pytest.param(1000, marks=pytest.mark.soak)])
@pytest.mark.parametrize("phase", PHASES)
async def test_a_cancel_ends_the_connection_and_lets_the_buffer_go(phase: str, times: int, client: AsyncClient) -> None:
    for _ in range(times):
        data = bytearray(8 * MIB)
        with HostileServer(PHASES[phase]) as server:
            call = asyncio.create_task(client.post(server.url, data, timeouts=PATIENT))
            await asyncio.to_thread(server.wait_for, "stalled")
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            if phase == "while sending":
                server.release()  # a peer that does not read does not see the end either
            await asyncio.to_thread(server.wait_for_the_end, timeout=NOTICED_WITHIN_SECONDS)
        wait_until(lambda: exports_live() == 0, timeout=NOTICED_WITHIN_SECONDS, what="exports_live() == 0")
        data.extend(b"mine again")


@pytest.mark.usefixtures("complaints")
async def test_a_cancel_while_connecting_lets_the_buffer_go(client: AsyncClient) -> None:
    data = bytearray(8 * MIB)
    with full_backlog() as url:
        call = asyncio.create_task(client.post(url, data, timeouts=PATIENT))
        await asyncio.to_thread(wait_until, lambda: exports_live() == 1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        wait_until(lambda: exports_live() == 0, timeout=NOTICED_WITHIN_SECONDS, what="exports_live() == 0")
    data.extend(b"mine again")


@pytest.mark.usefixtures("complaints")
async def test_a_cancel_within_the_tls_handshake_ends_the_connection(client: AsyncClient) -> None:
    with HostileServer([ReadBytes(1), Stall()]) as server:
        call = asyncio.create_task(client.post(server.url.replace("http:", "https:"), b"x", timeouts=PATIENT))
        await asyncio.to_thread(server.wait_for, "stalled")
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await asyncio.to_thread(server.wait_for_the_end, timeout=NOTICED_WITHIN_SECONDS)


@pytest.mark.usefixtures("complaints")
async def test_a_cancel_before_the_first_step_sends_nothing(client: AsyncClient) -> None:
    with HostileServer(answer()) as server:
        call = asyncio.create_task(client.post(server.url, bytearray(8 * MIB)))
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert server.connections == []


@pytest.mark.usefixtures("complaints")
async def test_a_cancel_of_a_stream_ends_the_connection(client: AsyncClient) -> None:
    with HostileServer([ReadRequest(), Send(HALF), Stall()]) as server:

        async def read() -> None:
            async with client.stream("POST", server.url, body=b"x", timeouts=PATIENT) as reply:
                async for _ in reply.aiter_bytes():
                    pass

        call = asyncio.create_task(read())
        await asyncio.to_thread(server.wait_for, "stalled")
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await asyncio.to_thread(server.wait_for_the_end, timeout=NOTICED_WITHIN_SECONDS)


@pytest.mark.usefixtures("complaints")
async def test_an_asyncio_timeout_is_a_cancel(client: AsyncClient) -> None:
    with HostileServer([ReadRequest(), Stall()]) as server:
        with pytest.raises(TimeoutError) as caught:
            async with asyncio.timeout(0.2):
                await client.post(server.url, bytearray(8 * MIB), timeouts=PATIENT)
        assert not isinstance(caught.value, GatewayTimeout)
        await asyncio.to_thread(server.wait_for_the_end, timeout=NOTICED_WITHIN_SECONDS)


@pytest.mark.usefixtures("complaints")
async def test_a_cancelled_connection_is_not_used_for_the_next_call(client: AsyncClient) -> None:
    def stalling_first(connection: Connection) -> None:
        connection.read_head()
        connection.read_body()
        if connection.index == 0:
            connection.stall()
        connection.send(response(b"for the second call"))
        connection.drain()

    with HostileServer(stalling_first) as server:
        call = asyncio.create_task(client.post(server.url, b"first", timeouts=PATIENT))
        await asyncio.to_thread(server.wait_for, "stalled")
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        reply = await client.post(server.url, b"second")
        assert (bytes(reply.body), server.bodies) == (b"for the second call", [b"first", b"second"])


@pytest.mark.usefixtures("complaints")
async def test_cancels_at_any_moment_leave_every_other_call_whole(agent: NativeServer, client: AsyncClient) -> None:
    """Every second call is cancelled after as many turns of the loop as its number; some are done by then."""
    expected = hashlib.sha256(source_bytes(100_000)).hexdigest()

    async def get() -> str:
        reply = await client.get(f"{agent.url}/source/100000")
        return hashlib.sha256(reply.body).hexdigest()

    calls = [asyncio.create_task(get()) for _ in range(400)]
    for turn, call in enumerate(calls):
        await asyncio.sleep(0)
        if turn % 2:
            call.cancel()
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert results[::2] == [expected] * 200
    assert {type(result) for result in results[1::2]} <= {str, asyncio.CancelledError}
    assert {result for result in results[1::2] if isinstance(result, str)} <= {expected}
    assert await get() == expected


@pytest.mark.usefixtures("complaints")
async def test_a_reply_that_nobody_waits_for_any_more_is_dropped_in_silence(client: AsyncClient) -> None:
    """The reply is complete in Rust, and not yet in Python, when the call is cancelled."""
    progress = Progress()
    with HostileServer([ReadRequest(), Stall(), Send(response(b"done"))]) as server:
        call = asyncio.create_task(client.post(server.url, bytearray(8 * MIB), progress=progress))
        await asyncio.to_thread(server.wait_for, "stalled")
        server.release()
        wait_until(lambda: progress.received == 4)  # the loop does not turn meanwhile
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call


@pytest.mark.usefixtures("complaints")
async def test_an_error_that_nobody_retrieves_is_no_complaint_of_the_loop(client: AsyncClient) -> None:
    with HostileServer([ReadRequest(), Stall()]) as server:
        call = asyncio.create_task(client.post(server.url, b"x", timeouts=PATIENT))
        await asyncio.to_thread(server.wait_for, "stalled")
        call.cancel()
        await asyncio.wait([call])
        del call
        gc.collect()
        await asyncio.to_thread(server.wait_for_the_end)


@pytest.mark.usefixtures("complaints")
async def test_one_failure_in_a_task_group_cancels_the_others(client: AsyncClient) -> None:
    async def group_of_ten() -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(10):
                group.create_task(client.post(server.url, bytearray(2 * MIB), timeouts=PATIENT))
            group.create_task(failing_after(server, 10))

    with HostileServer([ReadRequest(), Stall()]) as server:
        with pytest.raises(ExceptionGroup) as caught:
            await group_of_ten()
        await asyncio.to_thread(server.wait_for_the_end, count=10, timeout=5)
    assert caught.group_contains(ZeroDivisionError)


async def failing_after(server: HostileServer, connections: int) -> float:
    await asyncio.to_thread(server.wait_for, "stalled", count=connections)
    return 1 / 0


@pytest.mark.usefixtures("complaints")
async def test_a_call_under_way_goes_on_when_its_client_is_closed() -> None:
    client = AsyncClient(timeouts=PATIENT)
    with HostileServer([ReadRequest(), Stall(), Send(response(b"done")), Drain()]) as server:
        call = asyncio.create_task(client.post(server.url, bytearray(2 * MIB)))
        await asyncio.to_thread(server.wait_for, "stalled")
        await client.aclose()
        with pytest.raises(ClientClosed):
            await client.post(server.url, b"too late")
        server.release()
        assert bytes((await call).body) == b"done"


# ---- loops


Main = Callable[[], Coroutine[Any, Any, Any]]


def run_on_asyncio(main: Main) -> Any:
    return asyncio.run(main())


def run_on_uvloop(main: Main) -> Any:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main())


LOOPS = pytest.mark.parametrize("run", [run_on_asyncio, run_on_uvloop], ids=["asyncio", "uvloop"])


async def sink_digest(client: AsyncClient, agent: NativeServer, body: Any) -> str:
    reply = await client.post(f"{agent.url}/sink", body)
    digest: str = json.loads(reply.text)["sha256"]
    return digest


@LOOPS
def test_calls_on_any_loop(run: Callable[[Main], Any], agent: NativeServer) -> None:
    data = source_bytes(3 * MIB)

    async def main() -> list[str]:
        async with AsyncClient() as client:
            return await asyncio.gather(*(sink_digest(client, agent, data[n:]) for n in range(20)))

    assert run(main) == [hashlib.sha256(data[n:]).hexdigest() for n in range(20)]


@LOOPS
def test_streams_on_any_loop(run: Callable[[Main], Any], agent: NativeServer) -> None:
    async def main() -> bytes:
        async with AsyncClient() as client, client.stream("GET", f"{agent.url}/source/{20 * MIB}") as reply:
            return b"".join([bytes(chunk) async for chunk in reply.aiter_bytes()])

    assert run(main) == source_bytes(20 * MIB)


@LOOPS
def test_cancels_on_any_loop(run: Callable[[Main], Any]) -> None:
    async def main(server: HostileServer) -> None:
        async with AsyncClient(timeouts=PATIENT) as client:
            call = asyncio.create_task(client.post(server.url, bytearray(8 * MIB)))
            await asyncio.to_thread(server.wait_for, "stalled")
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            await asyncio.to_thread(server.wait_for_the_end, timeout=NOTICED_WITHIN_SECONDS)

    with HostileServer([ReadRequest(), Stall()]) as server:
        run(lambda: main(server))


@LOOPS
def test_one_client_lives_through_many_loops(run: Callable[[Main], Any], agent: NativeServer) -> None:
    client = AsyncClient()

    async def main() -> bytes:
        return bytes((await client.get(f"{agent.url}/source/1000")).body)

    assert [run(main) for _ in range(5)] == [source_bytes(1000)] * 5


@LOOPS
@pytest.mark.parametrize("shared", [False, True], ids=["a client each", "one client"])
def test_two_loops_in_two_threads(shared: bool, run: Callable[[Main], Any], agent: NativeServer) -> None:
    common = AsyncClient()
    results: dict[int, list[str]] = {}
    bodies = {number: source_bytes(3 * MIB)[number:] for number in range(2)}

    def work(number: int) -> None:
        async def main() -> list[str]:
            client = common if shared else AsyncClient()
            return await asyncio.gather(*(sink_digest(client, agent, bodies[number]) for _ in range(30)))

        results[number] = run(main)

    threads = [threading.Thread(target=work, args=(number,)) for number in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert results == {number: [hashlib.sha256(body).hexdigest()] * 30 for number, body in bodies.items()}


@contextmanager
def abandoned_call(server: HostileServer, new_loop: Callable[[], asyncio.AbstractEventLoop]) -> Iterator[bytearray]:
    """A call in flight on a loop that was closed under it."""
    data = bytearray(8 * MIB)
    loop = new_loop()
    loop.set_exception_handler(lambda _loop, _context: None)  # asyncio itself says that a pending task was destroyed
    client = AsyncClient(timeouts=PATIENT)
    task = loop.create_task(client.post(server.url, data))
    loop.run_until_complete(asyncio.to_thread(server.wait_for, "stalled"))
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
    yield data
    del task


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_a_completion_for_a_closed_loop_is_dropped(
    new_loop: Callable[[], asyncio.AbstractEventLoop], agent: NativeServer, capfd: pytest.CaptureFixture[str]
) -> None:
    scenario: Scenario = [ReadRequest(), Stall(), Send(response(b"too late")), Drain()]
    with ExitStack() as stack:
        server = stack.enter_context(HostileServer(scenario))
        data = stack.enter_context(abandoned_call(server, new_loop))
        server.release()
        server.wait_for("sent")
        wait_until(lambda: exports_live() == 0, what="exports_live() == 0")
        data.extend(b"mine again")
        assert "Traceback" not in capfd.readouterr().err

        async def main() -> bytes:
            async with AsyncClient() as client:
                return bytes((await client.get(f"{agent.url}/source/100")).body)

        assert asyncio.run(main()) == source_bytes(100)
    gc.collect()


async def test_an_awaitable_is_of_its_loop_and_may_be_shielded(agent: NativeServer, client: AsyncClient) -> None:
    call = asyncio.ensure_future(client.get(f"{agent.url}/source/100"))
    assert call.get_loop() is asyncio.get_running_loop()
    assert bytes((await asyncio.shield(call)).body) == source_bytes(100)
    assert isinstance(call.result(), Response)


def test_a_call_without_a_loop_says_so(agent: NativeServer) -> None:
    call = AsyncClient().get(f"{agent.url}/source/100")
    with pytest.raises(RuntimeError, match="loop"):
        call.send(None)


async def test_the_context_of_the_caller_is_that_of_its_callbacks(agent: NativeServer, client: AsyncClient) -> None:
    name: ContextVar[str] = ContextVar("name")

    async def call(value: str) -> str:
        name.set(value)
        await client.get(f"{agent.url}/source/100")
        return name.get()

    assert await asyncio.gather(*(call(str(n)) for n in range(50))) == [str(n) for n in range(50)]


# ---- the loop is left alone


async def test_the_loop_turns_while_a_call_waits(client: AsyncClient) -> None:
    with HostileServer([ReadRequest(), Stall(), Send(response(b"done"))]) as server:
        call = asyncio.create_task(client.post(server.url, bytearray(8 * MIB)))
        await asyncio.to_thread(server.wait_for, "stalled")
        turns = 0
        while turns < 1_000:
            await asyncio.sleep(0)
            turns += 1
        assert not call.done()
        server.release()
        assert bytes((await call).body) == b"done"


class CountedSelects:
    """Counts how often the loop went to wait for something."""

    def __init__(self, loop: Any) -> None:
        self.count = 0
        self._select = loop._selector.select
        loop._selector.select = self._counted

    def _counted(self, timeout: float | None = None) -> Any:
        self.count += 1
        return self._select(timeout)


@pytest.mark.usefixtures("complaints")
async def test_a_burst_of_completions_wakes_the_loop_a_few_times_and_not_once_each(client: AsyncClient) -> None:
    calls_at_once = 64
    progresses = [Progress() for _ in range(calls_at_once)]
    scenario: Scenario = [ReadRequest(), Stall(), Send(response(b"done")), Drain()]
    with HostileServer(scenario) as server:
        calls = [asyncio.create_task(client.post(server.url, b"x", progress=p)) for p in progresses]
        await asyncio.to_thread(server.wait_for, "stalled", count=calls_at_once)
        server.release()
        wait_until(lambda: all(progress.received == 4 for progress in progresses))  # the loop does not turn meanwhile
        selects = CountedSelects(asyncio.get_running_loop())
        replies = await asyncio.gather(*calls)
        assert [bytes(reply.body) for reply in replies] == [b"done"] * calls_at_once
    assert selects.count < calls_at_once / 4


@pytest.mark.usefixtures("complaints")
async def test_ten_thousand_calls_at_once_all_come_back(agent: NativeServer) -> None:
    async with AsyncClient(timeouts=Timeouts(total=60)) as client:
        room = asyncio.Semaphore(256)

        async def call(number: int) -> bytes:
            async with room:
                return bytes((await client.post(f"{agent.url}/echo", number.to_bytes(4, "big"))).body)

        replies = await asyncio.gather(*map(call, range(10_000)))
    assert replies == [number.to_bytes(4, "big") for number in range(10_000)]


@pytest.mark.usefixtures("complaints")
async def test_a_mixture_of_success_and_failure_is_told_apart(client: AsyncClient) -> None:
    def every_third_resets(connection: Connection) -> None:
        while True:
            connection.read_head()
            body = connection.read_body()
            if int(body) % 3 == 0:
                connection.reset()
                return
            connection.send(response(body))

    async def call(number: int) -> bytes | str:
        try:
            return bytes((await client.post(server.url, str(number).encode())).body)
        except GatewayError as error:
            return type(error).__name__

    with HostileServer(every_third_resets) as server:
        pending: list[Awaitable[bytes | str]] = [call(number) for number in range(90)]
        results = await asyncio.gather(*pending)
    assert results == [str(n).encode() if n % 3 else "ConnectionLost" for n in range(90)]
