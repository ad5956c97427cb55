"""Calling agents: the ADR's function, its awaitable, thousands in one crossing, the clients and the wrapper."""

import asyncio
import gc
import inspect
import json
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from mcpgateway_rust import Payload, Response, Retry, Timeouts, exports_live
from mcpgateway_rust.exceptions import (
    Cancelled,
    ClientClosed,
    ConnectError,
    ConnectionLost,
    GatewayError,
    GatewayTimeout,
    HTTPStatusError,
    InvalidReply,
    InvalidRequest,
    UnsupportedBuffer,
)
from mcpgateway_rust.services.a2a_service import (
    A2AClient,
    A2AService,
    AsyncA2AClient,
    invoke_agent,
    invoke_agent_async,
    invoke_many,
)
from support.hostile import (
    Connection,
    HostileServer,
    ReadRequest,
    Reset,
    Send,
    Stall,
    answer,
    closed_port,
    echo,
    response,
)
from support.native_server import NativeServer
from support.source import source_array, source_bytes

MIB = 1 << 20
SHORT = Timeouts(connect=5, first_byte=5, idle=5, total=10)
JSON_HEADERS = {"content-type": "application/json"}


def message(text: str, *, number: int = 7, **metadata: Any) -> bytes:
    """A JSON-RPC request of A2A with one text part."""
    params = {"message": {"role": "user", "parts": [{"kind": "text", "text": text}], "metadata": metadata}}
    return json.dumps({"jsonrpc": "2.0", "id": number, "method": "message/send", "params": params}).encode()


def texts(reply: Any) -> list[str]:
    return [part["text"] for part in reply["result"]["parts"]]


# ---- invoke_agent, as the ADR wrote it


def test_invoke_agent_has_the_signature_of_the_adr() -> None:
    parameters = inspect.signature(invoke_agent).parameters
    assert list(parameters) == ["url", "method", "headers_json", "body"]


def test_invoke_agent_takes_text_and_bytes_and_gives_text(agent: NativeServer) -> None:
    reply = invoke_agent(f"{agent.url}/a2a", "POST", json.dumps(JSON_HEADERS), message("hello"))
    assert isinstance(reply, str)
    read = json.loads(reply)
    assert (read["jsonrpc"], read["id"], texts(read)) == ("2.0", 7, ["hello"])


def test_invoke_agent_gives_the_reply_as_it_came(agent: NativeServer) -> None:
    text = '{ "a" : [1, 2.50, 18446744073709551617] }\n'
    assert invoke_agent(f"{agent.url}/echo", "POST", "{}", text.encode()) == text


def test_invoke_agent_without_a_body(agent: NativeServer) -> None:
    reply = json.loads(invoke_agent(f"{agent.url}/json/messages/10000", "GET", "{}", None))
    assert reply


def test_invoke_agent_sends_the_headers_it_was_given() -> None:
    with HostileServer(answer(b"{}")) as server:
        assert invoke_agent(server.url, "PUT", '{"X-One": "1", "x-two": "zwei"}', b"body") == "{}"
        head = server.heads[0]
        assert (head.method, head.header("x-one"), head.header("x-two"), server.bodies) == (
            "PUT",
            "1",
            "zwei",
            [b"body"],
        )


@pytest.mark.parametrize(
    "headers", ["", "not json", "[]", '"x"', "null", "1", '{"x": 1}', '{"x": null}', '{"x": ["1"]}']
)
def test_headers_that_are_no_json_object_of_text_are_refused(headers: str) -> None:
    with HostileServer(answer(b"{}")) as server:
        with pytest.raises(InvalidRequest, match="header"):
            invoke_agent(server.url, "POST", headers, b"body")
        assert server.connections == []


@pytest.mark.parametrize("status", ["302 Found", "400 Bad", "404 Missing", "500 Broken", "503 Busy"])
def test_a_status_that_is_no_success_is_an_error_with_its_reply(status: str) -> None:
    with HostileServer(answer(b'{"why": 1}', status=status)) as server, pytest.raises(HTTPStatusError) as caught:
        invoke_agent(server.url, "POST", "{}", b"body")
    reply = caught.value.response
    assert (reply.status, bytes(reply.body), caught.value.sent) == (int(status[:3]), b'{"why": 1}', "yes")


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"a":', b"\xff\xfe", b"{'a': 1}", b"NaN"])
def test_a_reply_that_is_no_json_is_an_invalid_reply(body: bytes) -> None:
    with HostileServer(answer(body)) as server, pytest.raises(InvalidReply) as caught:
        invoke_agent(server.url, "POST", "{}", b"body")
    assert (caught.value.phase, caught.value.sent, caught.value.retryable) == ("parse", "yes", False)


@pytest.mark.parametrize("body", ["text", 3, {"a": 1}])
def test_a_body_without_bytes_is_refused(body: Any) -> None:
    with HostileServer(answer(b"{}")) as server:
        with pytest.raises(TypeError):
            invoke_agent(server.url, "POST", "{}", body)
        assert server.connections == []


def test_invoke_agent_lets_other_threads_run() -> None:
    with HostileServer([ReadRequest(), Stall(), Reset()]) as server:
        errors: list[BaseException] = []

        def call() -> None:
            try:
                invoke_agent(server.url, "POST", "{}", b"body")
            except GatewayError as error:
                errors.append(error)

        thread = threading.Thread(target=call)
        thread.start()
        server.wait_for("stalled")  # this thread runs, so the call does not hold the GIL
        server.release()
        thread.join(10)
    assert [type(error) for error in errors] == [ConnectionLost]


def test_invoke_agent_from_many_threads_at_once(agent: NativeServer) -> None:
    replies: dict[int, str] = {}

    def call(number: int) -> None:
        replies[number] = invoke_agent(f"{agent.url}/echo", "POST", "{}", str(number).encode())

    threads = [threading.Thread(target=call, args=(number,)) for number in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert replies == {number: str(number) for number in range(50)}


@pytest.mark.parametrize("size", [0, 1, 1_000, 5 * MIB])
def test_an_agent_answers_with_as_much_as_it_is_asked_for(size: int, agent: NativeServer) -> None:
    body = message("hello", replyBytes=size)
    reply = json.loads(invoke_agent(f"{agent.url}/a2a", "POST", json.dumps(JSON_HEADERS), body))
    assert sum(map(len, texts(reply))) == size


# ---- invoke_agent_async


async def test_an_awaited_agent_gives_a_response(agent: NativeServer) -> None:
    reply = await invoke_agent_async(f"{agent.url}/a2a", message("hello"), headers=JSON_HEADERS)
    assert (type(reply), reply.status, texts(json.loads(reply.text))) == (Response, 200, ["hello"])


async def test_an_awaited_agent_takes_any_buffer(agent: NativeServer) -> None:
    body = source_array(3 * MIB)
    reply = await invoke_agent_async(f"{agent.url}/echo", body[::-1])
    assert bytes(reply.body) == source_bytes(3 * MIB)[::-1]


async def test_an_awaited_agent_takes_method_headers_and_timeouts() -> None:
    with HostileServer(answer(b"ok")) as server:
        reply = await invoke_agent_async(server.url, method="GET", headers={"x-a": "1"}, timeouts=SHORT)
        assert (bytes(reply.body), server.heads[0].method, server.heads[0].header("x-a")) == (b"ok", "GET", "1")


async def test_an_awaited_status_is_a_response_and_no_error() -> None:
    with HostileServer(answer(b"why", status="500 Broken")) as server:
        assert (await invoke_agent_async(server.url, b"body")).status == 500


async def test_options_of_an_awaited_agent_are_by_keyword() -> None:
    with pytest.raises(TypeError):
        await invoke_agent_async("http://127.0.0.1:1/", b"", "GET")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="timeout"):
        await invoke_agent_async("http://127.0.0.1:1/", b"", timeout=1)  # type: ignore[call-arg]


async def test_a_timeout_of_an_awaited_agent_is_named() -> None:
    with HostileServer([ReadRequest(), Stall()]) as server, pytest.raises(GatewayTimeout) as caught:
        await invoke_agent_async(server.url, b"body", timeouts=Timeouts(first_byte=0.2))
    assert (caught.value.timeout, caught.value.phase) == ("first_byte", "first_byte")


# ---- invoke_many


def numbered(count: int) -> list[bytes]:
    return [str(number).encode() for number in range(count)]


async def test_ten_thousand_items_come_back_in_their_order(agent: NativeServer) -> None:
    bodies = [source_bytes(1_024 + number % 7) for number in range(10_000)]
    results = await invoke_many(f"{agent.url}/echo", bodies)
    assert [bytes(result.body) for result in responses(results)] == bodies


def responses(results: list[Any]) -> list[Response]:
    """`results`, all of which must be replies."""
    errors = [result for result in results if not isinstance(result, Response)]
    assert errors == []
    return results


async def test_results_are_iterated_in_the_order_of_the_input(agent: NativeServer) -> None:
    batch = invoke_many(f"{agent.url}/echo", numbered(300), order="input")
    assert len(batch) == 300
    got = [(index, bytes(result.body)) async for index, result in batch if isinstance(result, Response)]
    assert got == list(enumerate(numbered(300)))


async def test_results_are_iterated_as_they_complete() -> None:
    def first_item_last(connection: Connection) -> None:
        while True:
            connection.read_head()
            if (body := connection.read_body()) == b"0":
                connection.stall()
            connection.send(response(body))

    seen: list[int] = []
    with HostileServer(first_item_last) as server:
        batch = invoke_many(server.url, numbered(50), concurrency=4, order="completion", timeouts=SHORT)
        async for index, result in batch:
            assert isinstance(result, Response)
            assert bytes(result.body) == str(index).encode()
            seen.append(index)
            if len(seen) == 49:
                server.release()
    assert (sorted(seen), seen[-1]) == (list(range(50)), 0)


def test_a_batch_is_iterated_without_a_loop(agent: NativeServer) -> None:
    for order in ("input", "completion"):
        got = {
            index: bytes(result.body)
            for index, result in invoke_many(f"{agent.url}/echo", numbered(500), order=order)
            if isinstance(result, Response)
        }
        assert got == dict(enumerate(numbered(500)))


def fail_at(*numbers: int) -> Any:
    """A scenario that resets the connection of some bodies and echoes all others."""

    def scenario(connection: Connection) -> None:
        while True:
            connection.read_head()
            body = connection.read_body()
            if int(body) in numbers:
                connection.reset()
                return
            connection.send(response(body))

    return scenario


async def test_one_failure_does_not_lose_the_others() -> None:
    with HostileServer(fail_at(17)) as server:
        results = await invoke_many(server.url, numbered(200), concurrency=8, timeouts=SHORT)
    assert [index for index, result in enumerate(results) if not isinstance(result, Response)] == [17]
    failure = results.pop(17)
    assert isinstance(failure, ConnectionLost)
    assert (failure.sent, failure.retryable) == ("unknown", False)
    assert [bytes(r.body) for r in responses(results)] == [n for n in numbered(200) if n != b"17"]


async def test_every_failure_is_its_own() -> None:
    results = await invoke_many(f"http://127.0.0.1:{closed_port()}/", numbered(50))
    assert [type(result) for result in results] == [ConnectError] * 50
    assert len({id(result) for result in results}) == 50


async def test_a_status_of_one_item_is_its_reply() -> None:
    def refusing_odd(connection: Connection) -> None:
        while True:
            connection.read_head()
            odd = int(connection.read_body()) % 2
            connection.send(response(status="500 Odd" if odd else "200 OK"))

    with HostileServer(refusing_odd) as server:
        results = await invoke_many(server.url, numbered(20), concurrency=3)
    assert [result.status for result in responses(results)] == [200, 500] * 10


async def test_no_more_items_are_in_flight_than_allowed() -> None:
    in_flight, most, lock = 0, 0, threading.Lock()

    def counting(connection: Connection) -> None:
        nonlocal in_flight, most
        while True:
            connection.read_head()
            body = connection.read_body()
            with lock:
                in_flight += 1
                most = max(most, in_flight)
            connection.wait(0.001)
            with lock:
                in_flight -= 1
            connection.send(response(body))

    with HostileServer(counting) as server:
        results = await invoke_many(server.url, numbered(200), concurrency=5)
    assert (len(responses(results)), most) == (200, 5)


async def test_items_are_any_buffers_and_are_let_go(agent: NativeServer) -> None:
    grown = bytearray(source_bytes(3 * MIB))
    bodies: list[Any] = [b"bytes", grown, memoryview(b"abcdef")[::2], np.arange(3, dtype="u1"), Payload(b"payload")]
    expected = [bytes(memoryview(body).tobytes()) for body in bodies]
    results = await invoke_many(f"{agent.url}/echo", bodies)
    assert [bytes(result.body) for result in responses(results)] == expected
    del bodies
    gc.collect()
    assert exports_live() == 0
    grown.extend(b"mine again")


async def test_a_batch_of_nothing_is_done(agent: NativeServer) -> None:
    assert await invoke_many(f"{agent.url}/echo", []) == []
    assert list(invoke_many(f"{agent.url}/echo", [])) == []


async def test_a_cancelled_batch_ends_its_calls_and_keeps_what_is_done() -> None:
    def stalling_after_three(connection: Connection) -> None:
        while True:
            connection.read_head()
            if int(body := connection.read_body()) >= 3:
                connection.stall()
            connection.send(response(body))

    with HostileServer(stalling_after_three) as server:
        batch = invoke_many(server.url, numbered(100), concurrency=2)
        await asyncio.to_thread(server.wait_for, "stalled", count=2)
        batch.cancel()
        results = await asyncio.wait_for(aresult(batch), 5)
        await asyncio.to_thread(server.wait_for_the_end, count=2, timeout=5)
        assert len(server.bodies) == 5
    assert [bytes(r.body) for r in responses(results[:3])] == numbered(3)
    assert [type(result) for result in results[3:]] == [Cancelled] * 97


async def aresult(batch: Any) -> list[Any]:
    results: list[Any] = await batch
    return results


async def test_a_cancelled_await_of_a_batch_ends_its_calls() -> None:
    data = bytearray(8 * MIB)
    with HostileServer([ReadRequest(), Stall()]) as server:
        task = asyncio.create_task(aresult(invoke_many(server.url, [data] * 20, concurrency=4)))
        await asyncio.to_thread(server.wait_for, "stalled", count=4)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.to_thread(server.wait_for_the_end, count=4, timeout=5)


async def test_leaving_a_batch_early_ends_its_calls() -> None:
    def stalling_after_one(connection: Connection) -> None:
        connection.read_head()
        if int(body := connection.read_body()) >= 1:
            connection.stall()
        connection.send(response(body))

    with HostileServer(stalling_after_one) as server:
        batch = invoke_many(server.url, numbered(100), concurrency=2, order="completion")
        async for index, _ in batch:
            assert index == 0
            break
        await asyncio.to_thread(server.wait_for, "stalled", count=1)
        del batch
        gc.collect()
        await asyncio.to_thread(server.wait_for_the_end, timeout=5)


@pytest.mark.parametrize("body", ["text", 3, None, {"a": 1}])
def test_an_item_without_bytes_is_refused_before_any_is_sent(body: Any) -> None:
    with HostileServer(echo) as server:
        with pytest.raises((TypeError, UnsupportedBuffer), match="2"):
            list(invoke_many(server.url, [b"0", b"1", body]))
        assert server.connections == []


@pytest.mark.parametrize(
    "options", [{"concurrency": 0}, {"concurrency": -1}, {"order": "random"}, {"order": ""}, {"concurrency": "64"}]
)
def test_an_option_of_a_batch_that_makes_no_sense_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError)):
        invoke_many("http://127.0.0.1:1/", [b"x"], **options)


def test_a_batch_takes_method_and_headers() -> None:
    with HostileServer(echo) as server:
        results = list(invoke_many(server.url, numbered(3), method="PUT", headers={"x-a": "1"}))
        assert {(head.method, head.header("x-a")) for head in server.heads} == {("PUT", "1")}
    assert sorted(index for index, _ in results) == [0, 1, 2]


def test_one_buffer_or_text_is_no_list_of_bodies() -> None:
    for bodies in (b"abc", "abc"):
        with pytest.raises(TypeError):
            invoke_many("http://127.0.0.1:1/", bodies)


# ---- clients


@pytest.fixture
def a2a(agent: NativeServer) -> Iterator[A2AClient]:
    with A2AClient(f"{agent.url}/a2a", headers=JSON_HEADERS, timeouts=SHORT) as client:
        yield client


def test_a_client_invokes_its_agent(a2a: A2AClient) -> None:
    reply = a2a.invoke(message("hello"))
    assert (type(reply), texts(json.loads(reply.text))) == (Response, ["hello"])


def test_a_client_invokes_many(a2a: A2AClient) -> None:
    bodies = [message(f"text {number}", number=number) for number in range(100)]
    got = {index: json.loads(result.text) for index, result in a2a.invoke_many(bodies) if isinstance(result, Response)}
    assert {index: (reply["id"], texts(reply)) for index, reply in got.items()} == {
        number: (number, [f"text {number}"]) for number in range(100)
    }


async def test_an_async_client_invokes_its_agent_and_many(agent: NativeServer) -> None:
    async with AsyncA2AClient(f"{agent.url}/a2a", headers=JSON_HEADERS, timeouts=SHORT) as client:
        reply = await client.invoke(message("hello"))
        results = await client.invoke_many([message(str(number), number=number) for number in range(50)])
    assert texts(json.loads(reply.text)) == ["hello"]
    assert [json.loads(result.text)["id"] for result in responses(results)] == list(range(50))


async def test_both_method_names_of_the_protocol_are_answered(agent: NativeServer) -> None:
    async with AsyncA2AClient(f"{agent.url}/a2a", headers=JSON_HEADERS) as client:
        older = await client.invoke(message("hello"))
        newer = await client.invoke(message("hello").replace(b"message/send", b"SendMessage"))
    assert [texts(json.loads(reply.text)) for reply in (older, newer)] == [["hello"], ["hello"]]


def test_a_client_sends_its_headers_and_those_of_the_call() -> None:
    with HostileServer(echo) as server, A2AClient(server.url, headers={"x-client": "1"}) as client:
        client.invoke(b"x", method="PUT", headers={"x-call": "2"})
        head = server.heads[0]
        assert (head.method, head.header("x-client"), head.header("x-call")) == ("PUT", "1", "2")


def test_the_options_of_a_client_hold_for_its_calls() -> None:
    timeouts = Timeouts(first_byte=0.2)
    with (
        HostileServer([ReadRequest(), Stall()]) as server,
        A2AClient(server.url, timeouts=timeouts) as client,
        pytest.raises(GatewayTimeout),
    ):
        client.invoke(b"x")
    with HostileServer([ReadRequest(), Reset()]) as server:
        retry = Retry(attempts=2, non_idempotent=True)
        with A2AClient(server.url, retry=retry) as client, pytest.raises(ConnectionLost):
            client.invoke(b"x")
        assert len(server.connections) == 3


@pytest.mark.parametrize("url", ["", "agent.example", "ftp://agent.example"])
async def test_a_client_for_no_url_is_refused_at_its_first_call_at_the_latest(url: str) -> None:
    with pytest.raises(InvalidRequest):
        A2AClient(url).invoke(b"x")
    with pytest.raises(InvalidRequest):
        await AsyncA2AClient(url).invoke(b"x")


async def test_a_closed_client_of_agents_says_so(agent: NativeServer) -> None:
    client = A2AClient(f"{agent.url}/a2a")
    client.close()
    with pytest.raises(ClientClosed):
        client.invoke(message("hello"))
    other = AsyncA2AClient(f"{agent.url}/a2a")
    await other.aclose()
    with pytest.raises(ClientClosed):
        await other.invoke(message("hello"))


# ---- the wrapper of the ADR


async def test_the_service_gives_a_dict(agent: NativeServer) -> None:
    reply = await A2AService().invoke_agent(f"{agent.url}/a2a", "POST", JSON_HEADERS, message("hello"))
    assert (type(reply), reply["id"], texts(reply)) == (dict, 7, ["hello"])


async def test_the_service_does_not_block_the_loop() -> None:
    """The loop turns while the agent thinks: without that, nobody would release it."""
    with HostileServer([ReadRequest(), Stall(), Send(response(b'{"a": 1}'))]) as server:
        calls = [asyncio.create_task(A2AService().invoke_agent(server.url, "POST", {}, b"x")) for _ in range(3)]
        await asyncio.to_thread(server.wait_for, "stalled", count=3)
        for _ in range(1_000):
            await asyncio.sleep(0)
        assert [call.done() for call in calls] == [False] * 3
        server.release()
        assert await asyncio.gather(*calls) == [{"a": 1}] * 3


async def test_the_service_raises_what_invoke_agent_raises() -> None:
    with HostileServer(answer(b"{}", status="500 Broken")) as server, pytest.raises(HTTPStatusError):
        await A2AService().invoke_agent(server.url, "POST", {}, b"x")
    with HostileServer(answer(b"nonsense")) as server, pytest.raises(InvalidReply):
        await A2AService().invoke_agent(server.url, "POST", {})


async def test_a_cancel_of_the_service_ends_the_connection() -> None:
    with HostileServer([ReadRequest(), Stall()]) as server:
        call = asyncio.create_task(A2AService().invoke_agent(server.url, "POST", {}, bytes(8 * MIB)))
        await asyncio.to_thread(server.wait_for, "stalled")
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await asyncio.to_thread(server.wait_for_the_end, timeout=5)
