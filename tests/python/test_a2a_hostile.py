"""Agents that lie, stop in the middle, or answer another call: a typed error, the same from sync and async."""

import asyncio
import base64
import gc
import json
import logging
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mcpgateway_rust import AsyncClient, Limits, Retry, Timeouts, shm
from mcpgateway_rust.exceptions import (
    AddressRefused,
    ConnectionLost,
    Denied,
    GatewayError,
    GatewayTimeout,
    HTTPStatusError,
    IncompleteBody,
    InvalidReply,
    InvalidRequest,
    LimitExceeded,
    RpcError,
)
from support.a2a_calls import HOW, Caller
from support.hostile import Connection, HostileServer, PeerGoneError, RequestHead, response
from support.waiting import wait_until

MIB = 1 << 20
CARD_PATH = "/.well-known/agent-card.json"
JSON = [("content-type", "application/json")]
SSE = [("content-type", "text/event-stream")]
DIRECT = {"binding": "JSONRPC", "version": "1.0"}
MESSAGE = {"messageId": "m", "role": "ROLE_AGENT", "parts": [{"text": "hello"}]}
TASK = {"id": "t", "contextId": "c", "status": {"state": "TASK_STATE_WORKING"}}
DONE = {"statusUpdate": {"taskId": "t", "contextId": "c", "status": {"state": "TASK_STATE_COMPLETED"}}}

Answer = Callable[[Connection, dict[str, Any]], None]


@pytest.fixture(autouse=True)
def _no_memory_is_left_behind() -> Iterator[None]:
    """After any test, whatever its calls came to, no part of any reply is held."""
    gc.collect()
    before = shm.stats()["live_bytes"]
    yield
    gc.collect()
    wait_until(lambda: shm.stats()["live_bytes"] <= before, what="no memory of a reply is left")


def agent(answer: Answer, *, card: Callable[[str], bytes] | None = None) -> Callable[[Connection], None]:
    """A scenario: each POST is a JSON-RPC call, which `answer` is given; each GET gets the card, or 404."""

    def scenario(connection: Connection) -> None:
        while True:
            head = connection.read_head()
            body = connection.read_body()
            if head.method == "GET":
                host = head.header("host") or ""
                connection.send(response(card(host), headers=JSON) if card else response(status="404 Not Found"))
            else:
                answer(connection, json.loads(body))

    return scenario


def replies(text: Callable[[Any], bytes], *, status: str = "200 OK", headers: Any = JSON) -> Answer:
    """Answer each call with what `text` makes of its id."""
    return lambda connection, call: connection.send(response(text(call["id"]), status=status, headers=headers))


def rpc(**fields: Any) -> Callable[[Any], bytes]:
    """A JSON-RPC message under the id of the call, with `fields` instead of, or beside, what it should have."""
    return lambda call: json.dumps({"jsonrpc": "2.0", "id": call, **fields}).encode()


def result(**fields: Any) -> Callable[[Any], bytes]:
    """A JSON-RPC reply with that result."""
    return rpc(result=fields)


def sse(*events: bytes, end: bytes = b"") -> Callable[[Connection, dict[str, Any]], None]:
    """Answer a call with a stream that is over when the connection is; `%ID` in an event is the id of the call."""

    def answer(connection: Connection, call: dict[str, Any]) -> None:
        mark = json.dumps(call["id"]).encode()
        connection.send(response(headers=SSE, length=False))
        for event in events:
            connection.send(event.replace(b"%ID", mark))
        connection.send(end)
        connection.close()
        raise PeerGoneError

    return answer


def event(**fields: Any) -> bytes:
    """A JSON-RPC reply as an event, under the id of the call."""
    text = json.dumps({"jsonrpc": "2.0", "id": "%ID", "result": fields}).encode()
    return b"data: " + text.replace(b'"%ID"', b"%ID") + b"\n\n"


def chunk(text: str, *, append: bool = True, last: bool = False, artifact: str = "a") -> bytes:
    """A chunk of an artifact as an event."""
    about = {"artifactId": artifact, "parts": [{"text": text}]}
    update = {"taskId": "t", "contextId": "c", "artifact": about, "append": append, "lastChunk": last}
    return event(artifactUpdate=update)


# ---- replies that are none

BAD_REPLIES: dict[str, Answer] = {
    "no id": replies(lambda _: json.dumps({"jsonrpc": "2.0", "result": {"message": MESSAGE}}).encode()),
    "the id of another": replies(lambda _: rpc(result={"message": MESSAGE})("another")),
    "a null id": replies(lambda _: rpc(result={"message": MESSAGE})(None)),
    "result and error": replies(rpc(result={"message": MESSAGE}, error={"code": 1, "message": "?"})),
    "neither result nor error": replies(rpc()),
    "an array": replies(lambda call: b"[" + result(message=MESSAGE)(call) + b"]"),
    "another version": replies(rpc(jsonrpc="1.0", result={"message": MESSAGE})),
    "no version": replies(lambda call: json.dumps({"id": call, "result": {"message": MESSAGE}}).encode()),
    "the id twice": replies(lambda call: b'{"id":1,' + result(message=MESSAGE)(call)[1:]),
    "no JSON": replies(lambda _: b"<html>It works!</html>"),
    "half of it": replies(lambda call: result(message=MESSAGE)(call)[:-5]),
    "nothing": replies(lambda _: b""),
    "no UTF-8": replies(lambda call: result(message=MESSAGE)(call).replace(b"hello", b"h\xffllo")),
    "a text as the result": replies(rpc(result="hello")),
    "a result that is neither task nor message": replies(result(something={})),
    "an error without a code": replies(rpc(error={"message": "?"})),
    "an error that is a text": replies(rpc(error="?")),
}


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("name", BAD_REPLIES)
async def test_what_is_no_reply_to_the_call_is_an_invalid_reply(name: str, how: str) -> None:
    with HostileServer(agent(BAD_REPLIES[name])) as server:
        async with Caller(how, server.url, **DIRECT) as caller:
            with pytest.raises(InvalidReply) as caught:
                await caller.send("hello")
    assert (caught.value.sent, caught.value.retryable) == ("yes", False)


@pytest.mark.parametrize("how", HOW)
async def test_a_reply_that_is_in_order_is_taken_from_the_same_server(how: str) -> None:
    with HostileServer(agent(replies(result(message=MESSAGE)))) as server:
        async with Caller(how, server.url, **DIRECT) as caller:
            reply = await caller.send("hello")
    assert reply.text == "hello"


@pytest.mark.parametrize("how", HOW)
async def test_a_status_of_failure_without_an_error_of_the_protocol_is_its_own_error(how: str) -> None:
    broken = replies(
        lambda _: b"<h1>Bad Gateway</h1>", status="502 Bad Gateway", headers=[("content-type", "text/html")]
    )
    with HostileServer(agent(broken)) as server:
        async with Caller(how, server.url, **DIRECT) as caller:
            with pytest.raises(HTTPStatusError) as caught:
                await caller.send("hello")
    assert caught.value.response.status == 502


@pytest.mark.parametrize("how", HOW)
async def test_an_error_of_the_protocol_is_taken_from_a_status_of_failure(how: str) -> None:
    failed = replies(rpc(error={"code": -32001, "message": "gone"}), status="404 Not Found")
    with HostileServer(agent(failed)) as server:
        async with Caller(how, server.url, **DIRECT) as caller:
            with pytest.raises(RpcError) as caught:
                await caller.send("hello")
    assert (type(caught.value).__name__, caught.value.code) == ("TaskNotFound", -32001)


# ---- bodies that stop


def half_a_part(connection: Connection, call: dict[str, Any]) -> None:
    """A raw part of 8 MiB, of which half comes."""
    raw = base64.b64encode(bytes(8 * MIB)).decode()
    reply = response(result(message=MESSAGE | {"parts": [{"raw": raw}]})(call["id"]), headers=JSON)
    connection.send(reply[: len(reply) // 2])
    connection.close()
    raise PeerGoneError


@pytest.mark.parametrize("how", HOW)
async def test_a_server_that_stops_in_half_a_part_gives_an_incomplete_body(how: str) -> None:
    with HostileServer(agent(half_a_part)) as server:
        async with Caller(how, server.url, **DIRECT) as caller:
            with pytest.raises(IncompleteBody) as caught:
                await caller.send("hello")
    assert (caught.value.phase, caught.value.sent) == ("receive", "yes")


@pytest.mark.parametrize("how", HOW)
async def test_a_stream_that_stops_in_half_an_event_gives_what_came_before_and_an_incomplete_body(how: str) -> None:
    whole = chunk("first", append=False)
    seen: list[str] = []
    with HostileServer(agent(sse(event(task=TASK), whole, end=whole[: len(whole) // 2]))) as server:
        async with Caller(how, server.url, **DIRECT) as caller:
            with pytest.raises(IncompleteBody) as caught:
                await caller.watch(seen, "stream", "hello", reattach=0)
    assert (seen, caught.value.sent) == (["task", "artifact-update"], "yes")


@pytest.mark.parametrize("how", HOW)
async def test_a_stream_that_ends_before_its_task_does_is_not_taken_for_whole(how: str) -> None:
    seen: list[str] = []
    with HostileServer(agent(sse(event(task=TASK), chunk("first", append=False)))) as server:
        async with Caller(how, server.url, **DIRECT) as caller:
            with pytest.raises(ConnectionLost):
                await caller.watch(seen, "stream", "hello", reattach=0)
    assert seen == ["task", "artifact-update"]


# ---- never sent twice


class Closing:
    """Reads a whole request, or only its head, and closes; the first `kept` requests of a connection are answered."""

    def __init__(self, *, kept: int = 0, body: bool = True) -> None:
        self.kept, self.body = kept, body

    def __call__(self, connection: Connection) -> None:
        for _ in range(self.kept):
            connection.read_head()
            call = json.loads(connection.read_body())
            connection.send(response(result(message=MESSAGE)(call["id"]), headers=JSON))
        connection.read_head()
        if self.body:
            connection.read_body()
        connection.close()


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("retry", [Retry(), Retry(attempts=3)], ids=["no retries", "three retries"])
@pytest.mark.parametrize("kept", [0, 1])
async def test_a_send_that_the_agent_closes_on_is_never_sent_twice(how: str, retry: Retry, kept: int) -> None:
    with HostileServer(Closing(kept=kept)) as server:
        async with Caller(how, server.url, retry=retry, **DIRECT) as caller:
            for _ in range(kept):
                await caller.send("answered")
            with pytest.raises(ConnectionLost) as caught:
                await caller.send("canary-of-this-send")
        assert server.received.count(b"canary-of-this-send") == 1
    assert caught.value.sent == "unknown"


@pytest.mark.parametrize("how", HOW)
async def test_a_large_send_that_is_cut_off_is_never_sent_twice(how: str) -> None:
    with HostileServer(Closing(body=False), receive_buffer=1 << 16) as server:
        async with Caller(how, server.url, retry=Retry(attempts=3), **DIRECT) as caller:
            with pytest.raises(ConnectionLost) as caught:
                await caller.send("x" * (32 * MIB))
        assert len(server.log.named("request_head")) == 1
    assert caught.value.sent == "unknown"


@pytest.mark.parametrize("how", HOW)
async def test_asking_for_a_task_is_tried_again_where_retries_are_allowed(how: str) -> None:
    def first_closed(connection: Connection) -> None:
        if connection.index == 0:
            connection.read_head()
            connection.read_body()
            connection.close()
            return
        agent(replies(result(**TASK)))(connection)

    with HostileServer(first_closed) as server:
        async with Caller(how, server.url, retry=Retry(attempts=1), **DIRECT) as caller:
            task = await caller.call("get_task", "t")
    assert task.node["id"].value() == "t"


# ---- limits


@pytest.mark.parametrize("how", HOW)
async def test_a_reply_over_the_limit_names_it(how: str) -> None:
    large = replies(result(message=MESSAGE | {"parts": [{"text": "x" * 2000}]}))
    with HostileServer(agent(large)) as server:
        async with Caller(how, server.url, limits=Limits(max_response_bytes=1000), **DIRECT) as caller:
            with pytest.raises(LimitExceeded) as caught:
                await caller.send("hello")
    assert (caught.value.limit, caught.value.value) == ("max_response_bytes", 1000)


@pytest.mark.parametrize("how", HOW)
async def test_an_event_over_the_limit_names_it_and_those_before_it_are_given(how: str) -> None:
    seen: list[str] = []
    with HostileServer(agent(sse(event(task=TASK), chunk("x" * 2000, append=False)))) as server:
        async with Caller(how, server.url, limits=Limits(max_event_bytes=1000), **DIRECT) as caller:
            with pytest.raises(LimitExceeded) as caught:
                await caller.watch(seen, "stream", "hello", reattach=0)
    assert (caught.value.limit, caught.value.value, seen) == ("max_event_bytes", 1000, ["task"])


# ---- events

TERMINAL = event(**DONE)
BAD_EVENTS: dict[str, bytes] = {
    "no JSON": b"data: hello\n\n",
    "half of it": event(task=TASK)[:-10] + b"\n\n",
    "an array": b"data: [" + event(task=TASK)[6:-2] + b"]\n\n",
    "no id": b'data: {"jsonrpc":"2.0","result":{"task":{}}}\n\n',
    "the id of another": event(task=TASK).replace(b"%ID", b'"another"'),
    "result and error": b'data: {"jsonrpc":"2.0","id":%ID,"result":{"task":{}},"error":{"code":1}}\n\n',
    "neither": b'data: {"jsonrpc":"2.0","id":%ID}\n\n',
    "another version": event(task=TASK).replace(b"2.0", b"3.0"),
    "a text as the result": b'data: {"jsonrpc":"2.0","id":%ID,"result":"hello"}\n\n',
    "nothing that is known": event(something={}),
    "no UTF-8": b'data: {"jsonrpc":"2.0","id":%ID,"result":{"task":{"id":"\xff"}}}\n\n',
}


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("name", BAD_EVENTS)
async def test_what_is_no_event_of_the_call_is_an_invalid_reply(name: str, how: str) -> None:
    seen: list[str] = []
    with HostileServer(agent(sse(event(task=TASK), BAD_EVENTS[name], TERMINAL))) as server:
        async with Caller(how, server.url, **DIRECT) as caller:
            with pytest.raises(InvalidReply) as caught:
                await caller.watch(seen, "stream", "hello")
    assert (seen, caught.value.sent) == (["task"], "yes")


FORMS: dict[str, Callable[[bytes], bytes]] = {
    "LF": lambda text: text,
    "CRLF": lambda text: text.replace(b"\n", b"\r\n"),
    "CR": lambda text: text.replace(b"\n", b"\r"),
    "a byte order mark": lambda text: b"\xef\xbb\xbf" + text,
    "comments": lambda text: b": ping\n\n:\n" + text.replace(b"data: ", b": a comment\ndata: "),
    "many lines": lambda text: text.replace(b', "', b',\ndata: "'),
    "no space": lambda text: text.replace(b"data: ", b"data:"),
    "ids and times to wait": lambda text: text.replace(b"data: ", b"id: 7\nretry: 10\nevent: message\ndata: "),
    "unknown fields": lambda text: text.replace(b"data: ", b"colour: blue\nfoo\ndata: "),
}


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("piece", [None, 7], ids=["whole", "in pieces"])
@pytest.mark.parametrize("form", FORMS)
async def test_a_stream_is_read_in_each_form_that_the_standard_allows(form: str, piece: int | None, how: str) -> None:
    text = event(task=TASK) + chunk("one", append=False) + chunk("two", last=True) + TERMINAL

    def answer(connection: Connection, call: dict[str, Any]) -> None:
        connection.send(response(headers=SSE, length=False))
        connection.send(FORMS[form](text.replace(b"%ID", json.dumps(call["id"]).encode())), piece=piece)
        connection.close()
        raise PeerGoneError

    seen: list[str] = []
    with HostileServer(agent(answer)) as server:
        async with Caller(how, server.url, **DIRECT) as caller:
            await caller.watch(seen, "stream", "hello")
    assert seen == ["task", "artifact-update", "artifact-update", "status-update"]


@pytest.mark.parametrize("how", HOW)
async def test_an_error_in_the_middle_of_a_stream_is_that_error(how: str) -> None:
    failed = b'event: error\ndata: {"jsonrpc":"2.0","id":%ID,"error":{"code":-32006,"message":"oh","data":[1]}}\n\n'
    seen: list[str] = []
    with HostileServer(agent(sse(event(task=TASK), failed))) as server:
        async with Caller(how, server.url, **DIRECT) as caller:
            with pytest.raises(RpcError) as caught:
                await caller.watch(seen, "stream", "hello")
    error = caught.value
    assert error.data is not None
    assert (type(error).__name__, error.code, error.peer_message, error.data.value(), seen) == (
        "InvalidAgentResponse", -32006, "oh", [1], ["task"],
    )  # fmt: skip


@pytest.mark.parametrize("how", HOW)
async def test_an_error_instead_of_a_stream_is_that_error(how: str) -> None:
    with HostileServer(agent(replies(rpc(error={"code": -32004, "message": "no streams"})))) as server:
        async with Caller(how, server.url, **DIRECT) as caller:
            with pytest.raises(RpcError) as caught:
                async for _ in caller.events("stream", "hello"):
                    pass
    assert (type(caught.value).__name__, caught.value.code) == ("UnsupportedOperation", -32004)


@pytest.mark.parametrize("how", HOW)
async def test_a_stream_that_falls_silent_is_an_idle_timeout(how: str) -> None:
    def silent(connection: Connection, call: dict[str, Any]) -> None:
        connection.send(response(headers=SSE, length=False))
        connection.send(event(task=TASK).replace(b"%ID", json.dumps(call["id"]).encode()))
        connection.stall()

    seen: list[str] = []
    with HostileServer(agent(silent)) as server:
        async with Caller(how, server.url, timeouts=Timeouts(idle=0.3, total=20), **DIRECT) as caller:
            with pytest.raises(GatewayTimeout) as caught:
                await caller.watch(seen, "stream", "hello", reattach=0)
        server.log.wait_for("peer_closed", "peer_reset")
    assert (caught.value.timeout, caught.value.sent, seen) == ("idle", "yes", ["task"])


# ---- attaching again

RUNNING = event(task=TASK)


def breaking(connection: Connection, call: dict[str, Any]) -> None:
    """Every stream says that the task goes on, and ends."""
    sse(RUNNING)(connection, call)


def not_to_be_joined(connection: Connection, call: dict[str, Any]) -> None:
    """The stream breaks, there is no other, and the task goes on for ever."""
    if call["method"] == "SendStreamingMessage":
        sse(RUNNING)(connection, call)
    unsupported = {"code": -32004, "message": "no"}
    text = rpc(error=unsupported) if call["method"] == "SubscribeToTask" else result(**TASK)
    connection.send(response(text(call["id"]), headers=JSON))


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize(("answer", "most"), [(breaking, 3), (not_to_be_joined, 5)])
async def test_a_task_that_never_goes_on_is_not_attached_to_for_ever(answer: Answer, most: int, how: str) -> None:
    with HostileServer(agent(answer)) as server:
        async with Caller(how, server.url, **DIRECT) as caller:
            with pytest.raises(IncompleteBody):
                await caller.collect("stream", "hello", reattach=2)
        assert len(server.log.named("request_head")) <= most


@pytest.mark.parametrize("how", HOW)
async def test_a_reset_after_the_last_event_loses_nothing(how: str) -> None:
    def answer(connection: Connection, call: dict[str, Any]) -> None:
        connection.send(response(headers=[*SSE, ("transfer-encoding", "chunked")], length=False))
        text = (event(task=TASK) + TERMINAL).replace(b"%ID", json.dumps(call["id"]).encode())
        connection.send(b"%x\r\n%b\r\n" % (len(text), text))
        connection.close()
        raise PeerGoneError

    seen: list[str] = []
    with HostileServer(agent(answer)) as server:
        async with Caller(how, server.url, **DIRECT) as caller:
            await caller.watch(seen, "stream", "hello")
    assert seen == ["task", "status-update"]


# ---- ids


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("binding", ["JSONRPC", "HTTP+JSON"])
@pytest.mark.parametrize("task", ["", ".", ".."])
async def test_an_id_that_would_be_another_path_is_refused(task: str, binding: str, how: str) -> None:
    with HostileServer(agent(replies(result(**TASK)))) as server:
        async with Caller(how, f"{server.url}/a/b", binding=binding, version="1.0") as caller:
            for operation in ("get_task", "cancel_task"):
                with pytest.raises(InvalidRequest) as caught:
                    await caller.call(operation, task)
                assert caught.value.sent == "no"
        assert server.connections == []


# ---- parts


async def test_a_part_that_points_to_an_internal_address_leads_nowhere() -> None:
    with HostileServer(agent(replies(result(message=MESSAGE)))) as inside:
        message = MESSAGE | {"parts": [{"url": f"{inside.url}/part"}]}
        with HostileServer(agent(replies(result(message=message)))) as server:
            async with Caller("async", server.url, **DIRECT) as caller, AsyncClient() as client:
                url = (await caller.send("hello")).parts[0].url
                with pytest.raises(AddressRefused) as caught:
                    await client.get(url, from_peer=True)
        assert (caught.value.sent, inside.connections) == ("no", [])


BAD_BASE64 = ["!!!!", "aGVsb", "aGVsbG8=x", "aGVs bG8=", "=aGVsbG8", "aGVsbG8\u00e9"]


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("raw", BAD_BASE64)
async def test_base64_that_is_none_is_an_error_and_no_bytes(raw: str, how: str) -> None:
    with HostileServer(agent(replies(result(message=MESSAGE | {"parts": [{"raw": raw}]})))) as server:
        async with Caller(how, server.url, **DIRECT) as caller:
            reply = await caller.send("hello")
            with pytest.raises(GatewayError) as caught:
                reply.parts[0].payload()
    assert isinstance(caught.value, ValueError)


# ---- cards


def card(**fields: Any) -> Callable[[str], bytes]:
    """A card of one interface, at the server itself, with `fields` instead of or beside what it should have."""

    def made(host: str) -> bytes:
        interface = {"url": f"http://{host}/rpc", "protocolBinding": "JSONRPC", "protocolVersion": "1.0"}
        about = {"name": "a", "description": "", "version": "1", "capabilities": {"streaming": True}, "skills": []}
        return json.dumps(about | {"supportedInterfaces": [interface]} | fields).encode()

    return made


def interface(url: str, binding: str = "JSONRPC", version: str = "1.0") -> dict[str, Any]:
    """The fields of a card that has only that interface."""
    return {"supportedInterfaces": [{"url": url, "protocolBinding": binding, "protocolVersion": version}]}


BAD_CARDS: dict[str, Callable[[str], bytes]] = {
    "no JSON": lambda _: b"<html>",
    "an array": lambda _: b"[]",
    "no interface": card(supportedInterfaces=[]),
    "interfaces that are none": card(supportedInterfaces="http://x"),
    "only gRPC": card(**interface("http://127.0.0.1:1/", "GRPC")),
    "only a generation to come": card(**interface("http://127.0.0.1:1/", "JSONRPC", "7.0")),
    "a version that is none": card(**interface("http://127.0.0.1:1/", "JSONRPC", "x")),
    "a url that is none": card(**interface("not a url")),
    "a url that is a file": card(**interface("file:///etc/passwd")),
    "a url with a line break": card(**interface("http://127.0.0.1:1/\r\nX: y")),
    "the interfaces twice": lambda host: b'{"supportedInterfaces":[],' + card()(host)[1:],
}


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("name", BAD_CARDS)
async def test_a_card_that_lies_is_an_error_and_nothing_is_sent(name: str, how: str) -> None:
    with HostileServer(agent(replies(result(message=MESSAGE)), card=BAD_CARDS[name])) as server:
        async with Caller(how, server.url) as caller:
            with pytest.raises(GatewayError) as caught:
                await caller.send("hello")
        assert all(head.method == "GET" for connection in server.connections for head in connection.heads)
    assert isinstance(caught.value, ValueError)
    assert caught.value.sent == "no"


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data",
        "http://10.0.0.1/",
        "http://192.168.0.1/",
        "http://[::ffff:10.0.0.1]/",
        "http://0x0a000001/",
        "http://[fd00::1]/",
    ],
)
async def test_a_card_that_points_to_an_internal_address_is_refused_before_a_connection(url: str, how: str) -> None:
    with HostileServer(agent(replies(result(message=MESSAGE)), card=card(**interface(url)))) as server:
        async with Caller(how, server.url) as caller:
            with pytest.raises(AddressRefused) as caught:
                await caller.send("hello")
    assert caught.value.sent == "no"


@pytest.mark.parametrize("how", HOW)
async def test_a_card_without_an_end_is_refused_at_its_limit(how: str) -> None:
    def endless(connection: Connection) -> None:
        connection.read_head()
        connection.send(response(headers=JSON, length=False))
        connection.send_forever(b" " * (1 << 16))

    with HostileServer(endless) as server:
        async with Caller(how, server.url) as caller:
            with pytest.raises(LimitExceeded) as caught:
                await caller.send("hello")
    assert caught.value.sent == "no"


@pytest.mark.parametrize("how", HOW)
async def test_a_card_is_asked_for_again_by_its_tag_and_kept_if_it_is_the_same(how: str) -> None:
    def scenario(connection: Connection) -> None:
        while True:
            head = connection.read_head()
            body = connection.read_body()
            if head.method == "POST":
                connection.send(response(result(message=MESSAGE)(json.loads(body)["id"]), headers=JSON))
            elif head.header("if-none-match") == '"one"':
                connection.send(response(status="304 Not Modified", headers=[("etag", '"one"')]))
            else:
                text = card()(head.header("host") or "")
                connection.send(response(text, headers=[*JSON, ("etag", '"one"'), ("cache-control", "no-cache")]))

    with HostileServer(scenario) as server:
        async with Caller(how, server.url) as caller:
            first = await caller.call("card")
            again = await caller.call("card")
            assert (await caller.send("hello")).text == "hello"
        heads: list[RequestHead] = [head for connection in server.connections for head in connection.heads]
        tags = [head.header("if-none-match") for head in heads if head.method == "GET"]
    assert first.value() == again.value()
    assert tags[:2] == [None, '"one"']


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("options", [{"token": "t"}, {"query": {"k": "v"}}, {"headers": {"authorization": "x"}}])
async def test_a_card_does_not_take_credentials_to_another_origin(options: dict[str, Any], how: str) -> None:
    with HostileServer(agent(replies(result(message=MESSAGE)))) as thief:
        lying = agent(replies(result(message=MESSAGE)), card=card(**interface(f"{thief.url}/rpc")))
        with HostileServer(lying) as server:
            async with Caller(how, server.url, **options) as caller:
                with pytest.raises(Denied) as caught:
                    await caller.send("hello")
        assert (caught.value.sent, thief.received) == ("no", b"")


# ---- tokens


@pytest.mark.parametrize("how", HOW)
async def test_an_error_of_the_token_is_the_callers_own(how: str) -> None:
    def token() -> str:
        raise KeyError("no such vault")

    with HostileServer(agent(replies(result(message=MESSAGE)))) as server:
        async with Caller(how, server.url, token=token, **DIRECT) as caller:
            with pytest.raises(KeyError, match="no such vault"):
                await caller.send("hello")
        assert server.connections == []


class Vault:
    """Never gives a token, and says when somebody wants one and when nobody does any more."""

    def __init__(self) -> None:
        self.asked, self.left = asyncio.Event(), asyncio.Event()

    async def token(self) -> str:
        """Wait for ever."""
        self.asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.left.set()
        return "never"


async def test_a_token_that_never_comes_ends_with_the_time_of_the_call() -> None:
    vault = Vault()
    with HostileServer(agent(replies(result(message=MESSAGE)))) as server:
        async with Caller("async", server.url, token=vault.token, timeouts=Timeouts(total=0.5), **DIRECT) as caller:
            with pytest.raises(GatewayTimeout) as caught:
                await asyncio.wait_for(caller.send("hello"), 20)
            await asyncio.wait_for(vault.left.wait(), 20)
    assert (caught.value.timeout, caught.value.sent) == ("total", "no")


async def test_a_token_that_nobody_waits_for_any_more_is_given_up() -> None:
    vault = Vault()
    with HostileServer(agent(replies(result(message=MESSAGE)))) as server:
        async with Caller("async", server.url, token=vault.token, **DIRECT) as caller:
            sending = asyncio.ensure_future(caller.send("hello"))
            await asyncio.wait_for(vault.asked.wait(), 20)
            sending.cancel()
            await asyncio.wait_for(vault.left.wait(), 20)
        assert (sending.cancelled(), server.connections) == (True, [])


# ---- secrets

CANARY = "canary-8c1f"


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("failing", ["closed", "no JSON", "refused", "an error of the protocol"])
@pytest.mark.parametrize("place", ["url", "query of the url", "query", "header", "token"])
async def test_no_secret_is_in_an_error(place: str, failing: str, how: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    answers: dict[str, Any] = {
        "closed": Closing(),
        "no JSON": agent(replies(lambda _: b"<html>")),
        "refused": agent(replies(lambda _: b"{}", status="401 Unauthorized")),
        "an error of the protocol": agent(replies(rpc(error={"code": -32001, "message": "gone"}))),
    }
    with HostileServer(answers[failing]) as server:
        url = server.url
        by_place: dict[str, dict[str, Any]] = {
            "url": {},
            "query of the url": {},
            "query": {"query": {"key": CANARY}},
            "header": {"headers": {"authorization": f"Bearer {CANARY}"}},
            "token": {"token": lambda: CANARY},
        }
        options = by_place[place]
        if place == "url":
            url = url.replace("http://", f"http://user:{CANARY}@")
        elif place == "query of the url":
            url += f"/?key={CANARY}"
        async with Caller(how, url, **DIRECT, **options) as caller:
            with pytest.raises(GatewayError) as caught:
                await caller.send("hello")
            shown = [repr(caller.client), str(caught.value), repr(caught.value), repr(vars(caught.value))]
        assert CANARY.encode() in server.received or place == "url"  # it was sent, and yet:
    shown += traceback.format_exception(caught.value)
    assert not [text for text in [*shown, caplog.text] if CANARY in text]
