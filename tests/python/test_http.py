"""HTTP against a server that lies, stalls, floods and hangs up: the right bytes or an error that says which."""

import asyncio
import base64
import itertools
import json
import logging
import random
import threading
import traceback
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from mcpgateway_rust import (
    AsyncClient,
    Client,
    Guard,
    Limits,
    Payload,
    Progress,
    Response,
    Retry,
    Timeouts,
    exports_live,
)
from mcpgateway_rust.exceptions import (
    AddressRefused,
    ClientClosed,
    ConnectError,
    ConnectionLost,
    FileError,
    GatewayError,
    GatewayTimeout,
    HTTPStatusError,
    IncompleteBody,
    InvalidRequest,
    LimitExceeded,
    ProtocolError,
    TlsError,
    UnsupportedBuffer,
)
from support.hostile import (
    Close,
    Connection,
    Drain,
    HalfClose,
    HostileProxy,
    HostileServer,
    ReadBytes,
    ReadHead,
    ReadRequest,
    Repeat,
    Reset,
    Scenario,
    Send,
    SendForever,
    Stall,
    Step,
    Wait,
    answer,
    closed_port,
    echo,
    full_backlog,
    response,
)
from support.native_server import NativeServer
from support.process import run_python
from support.source import source_array, source_bytes
from support.waiting import wait_until

MIB = 1 << 20
SHORT = Timeouts(connect=5, first_byte=5, idle=5, total=5)
HEAD = b"HTTP/1.1 200 OK\r\n"
MAY_HAVE_ACTED = {"yes", "unknown"}  # "yes": it answered; "unknown": bytes left, and no answer came


def then_close(*replies: bytes) -> Scenario:
    """Read one request, send exactly `replies`, close."""
    return [ReadRequest(), *map(Send, replies), Close()]


def error_of(scenario: Scenario, client: Client, **options: Any) -> GatewayError:
    """The error that a POST to a server with `scenario` raises."""
    with HostileServer(scenario) as server, pytest.raises(GatewayError) as caught:
        client.post(server.url, b"body", **{"timeouts": SHORT, **options})
    return caught.value


def body_of(scenario: Scenario, client: Client, **options: Any) -> bytes:
    """The body of the reply of a server with `scenario`."""
    with HostileServer(scenario) as server:
        return bytes(client.post(server.url, b"body", **{"timeouts": SHORT, **options}).body)


# ---- what a good exchange looks like


@pytest.mark.parametrize("size", [0, 1, 1_000, 65_536, MIB + 1, 12 * MIB])
async def test_a_body_comes_back_as_it_went(size: int, agent: NativeServer, client: AsyncClient) -> None:
    reply = await client.post(f"{agent.url}/echo", source_array(size), headers={"content-type": "x/y"})
    described = (reply.status, reply.is_success, reply.http_version, reply.url, reply.headers["Content-Type"])
    assert described == (200, True, "HTTP/1.1", f"{agent.url}/echo", "x/y")
    assert bytes(reply.body) == source_bytes(size)


@pytest.mark.parametrize("size", [0, 1, 1_048_573, 1_048_574, 30 * MIB])
def test_the_source_is_the_one_the_oracle_computes(size: int, agent: NativeServer, blocking: Client) -> None:
    assert bytes(blocking.get(f"{agent.url}/source/{size}").body) == source_bytes(size)


@pytest.mark.parametrize("method", ["get", "post", "put", "patch", "delete", "options"])
async def test_every_shortcut_sends_its_method(method: str) -> None:
    async with AsyncClient() as client:
        with HostileServer(answer(b"ok")) as server:
            reply = await getattr(client, method)(f"{server.url}/path?q=1")
            assert (bytes(reply.body), server.heads[0].method, server.heads[0].target) == (
                b"ok",
                method.upper(),
                "/path?q=1",
            )


def test_the_head_is_what_was_asked_for_and_nothing_that_was_not(blocking: Client) -> None:
    with HostileServer(answer()) as server:
        blocking.post(server.url, b"abc", headers=[("X-One", "1"), ("x-two", "a"), ("x-two", "b")])
        head = dict(server.heads[0].headers)
        names = [name for name, _ in server.heads[0].headers]
    assert (head["x-one"], names.count("x-two"), head["content-length"], head["host"]) == (
        "1",
        2,
        "3",
        f"127.0.0.1:{server.port}",
    )
    assert set(names) <= {"x-one", "x-two", "content-length", "host", "accept", "accept-encoding", "user-agent"}


def test_a_request_header_beats_that_of_the_client() -> None:
    with HostileServer(answer()) as server, Client(headers={"x-a": "client", "x-b": "client"}) as client:
        client.get(server.url, headers={"X-A": "request"})
        assert [server.heads[0].header(name) for name in ("x-a", "x-b")] == ["request", "client"]


def test_repeated_reply_headers_are_all_there(blocking: Client) -> None:
    with HostileServer(answer(headers=[("Set-Cookie", "a=1"), ("set-cookie", "b=2"), ("X-Y", "z")])) as server:
        headers = blocking.get(server.url).headers
    assert (headers.get_list("SET-COOKIE"), headers["x-y"], "X-y" in headers, "missing" in headers) == (
        ["a=1", "b=2"],
        "z",
        True,
        False,
    )
    cookies = [(name, value) for name, value in headers.multi_items() if name.lower() == "set-cookie"]
    assert [value for _, value in cookies] == ["a=1", "b=2"]


def test_connections_are_used_again(blocking: Client) -> None:
    with HostileServer(echo) as server:
        assert [bytes(blocking.post(server.url, bytes([n])).body) for n in range(20)] == [bytes([n]) for n in range(20)]
        assert len(server.connections) == 1


def test_a_status_that_is_no_success_is_a_reply_until_asked(blocking: Client) -> None:
    with HostileServer(answer(b"why", status="503 Busy")) as server:
        reply = blocking.get(server.url)
        assert (reply.status, reply.is_success, reply.text) == (503, False, "why")
        with pytest.raises(HTTPStatusError, match="503") as caught:
            reply.raise_for_status()
    assert (caught.value.response.status, bytes(caught.value.response.body)) == (503, b"why")


def test_success_has_no_status_to_raise(agent: NativeServer, blocking: Client) -> None:
    blocking.get(f"{agent.url}/source/1").raise_for_status()


@pytest.mark.parametrize(
    ("method", "reply"),
    [
        ("HEAD", HEAD + b"content-length: 1000\r\n\r\n"),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET", b"HTTP/1.1 304 Not Modified\r\ncontent-length: 1000\r\n\r\n"),
    ],
)
def test_a_reply_that_has_no_body_is_not_waited_for(method: str, reply: bytes, blocking: Client) -> None:
    with HostileServer([Repeat([ReadRequest(), Send(reply)])]) as server:
        assert bytes(blocking.request(method, server.url, timeouts=SHORT).body) == b""
        assert bytes(blocking.request(method, server.url, timeouts=SHORT).body) == b""
        assert len(server.connections) == 1


def test_a_body_without_a_length_ends_with_the_connection(blocking: Client) -> None:
    assert body_of(then_close(HEAD + b"\r\n" + source_bytes(300_000)), blocking) == source_bytes(300_000)


def test_a_head_and_a_body_may_come_byte_by_byte(blocking: Client) -> None:
    assert body_of([ReadRequest(), Send(response(b"slowly"), piece=1)], blocking) == b"slowly"


def test_chunks_of_one_byte_are_a_body_like_any_other(blocking: Client) -> None:
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in source_bytes(20_000))
    scenario = then_close(HEAD + b"transfer-encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n")
    assert body_of(scenario, blocking) == source_bytes(20_000)


def test_chunk_extensions_and_trailers_are_no_part_of_the_body(blocking: Client) -> None:
    reply = HEAD + b"transfer-encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\nx-late: 1\r\n\r\n"
    assert body_of(then_close(reply), blocking) == b"abc"


def test_interim_replies_are_passed_over(blocking: Client) -> None:
    interim = b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" * 3
    assert body_of(then_close(interim + response(b"final")), blocking) == b"final"


# ---- lengths that lie

SHORT_BODIES = {
    "length too large": HEAD + b"content-length: 9\r\n\r\nshort",
    "length far too large": HEAD + b"content-length: 4000000000\r\n\r\nshort",
    "no body at all": HEAD + b"content-length: 9\r\n\r\n",
    "chunk cut": HEAD + b"transfer-encoding: chunked\r\n\r\nA\r\nshort",
    "no last chunk": HEAD + b"transfer-encoding: chunked\r\n\r\n5\r\nshort\r\n",
    "chunk size cut": HEAD + b"transfer-encoding: chunked\r\n\r\n5\r\nshort\r\n1",
    "last chunk cut": HEAD + b"transfer-encoding: chunked\r\n\r\n5\r\nshort\r\n0\r\n",
}


@pytest.mark.parametrize("end", [Close(), Reset()], ids=["closed", "reset"])
@pytest.mark.parametrize("name", SHORT_BODIES)
def test_a_short_body_is_never_a_success(name: str, end: Step, blocking: Client) -> None:
    error = error_of([ReadRequest(), Send(SHORT_BODIES[name]), end], blocking)
    assert isinstance(error, IncompleteBody if end == Close() else ConnectionLost)
    assert error.retryable is False
    assert (error.phase, error.sent) in {("receive", "yes"), *([("first_byte", "unknown")] if end == Reset() else [])}


LYING_HEADS = {
    "negative length": b"content-length: -1\r\n",
    "length with a plus": b"content-length: +5\r\n",
    "length in hex": b"content-length: 0x5\r\n",
    "length that is no number": b"content-length: five\r\n",
    "empty length": b"content-length: \r\n",
    "length beyond 64 bits": b"content-length: 18446744073709551621\r\n",
    "two lengths": b"content-length: 5\r\ncontent-length: 6\r\n",
    "two lengths in a line": b"content-length: 5, 6\r\n",
    "length and chunks": b"content-length: 5\r\ntransfer-encoding: chunked\r\n",
    "chunks and length": b"transfer-encoding: chunked\r\ncontent-length: 5\r\n",
}


@pytest.mark.parametrize("name", LYING_HEADS)
def test_a_length_that_makes_no_sense_is_an_error(name: str, blocking: Client) -> None:
    error = error_of(then_close(HEAD + LYING_HEADS[name] + b"\r\n5\r\nhello\r\n0\r\n\r\n"), blocking)
    assert isinstance(error, ProtocolError | LimitExceeded)
    assert (error.sent in MAY_HAVE_ACTED, error.retryable) == (True, False)


@pytest.mark.parametrize(
    "chunks",
    [
        b"zz\r\nhello\r\n0\r\n\r\n",
        b"-5\r\nhello\r\n0\r\n\r\n",
        b"\r\nhello\r\n0\r\n\r\n",
        b"0x5\r\nhello\r\n0\r\n\r\n",
        b"5\r\nhelloXX0\r\n\r\n",
        b"10000000000000005\r\nhello\r\n0\r\n\r\n",
    ],
)
def test_a_chunk_that_makes_no_sense_is_an_error(chunks: bytes, blocking: Client) -> None:
    error = error_of(then_close(HEAD + b"transfer-encoding: chunked\r\n\r\n" + chunks), blocking)
    assert isinstance(error, ProtocolError | IncompleteBody)


def test_bytes_past_the_end_are_no_part_of_any_reply(blocking: Client) -> None:
    """The connection that sent them is not used again: they would be the next request's reply."""
    forged = response(b"hello") + response(b"forged")
    with HostileServer([ReadRequest(), Send(forged), Drain()]) as server:
        replies = [bytes(blocking.post(server.url, b"x", timeouts=SHORT).body) for _ in range(3)]
        server.wait_for_the_end(count=2)
    assert (replies, len(server.connections)) == ([b"hello"] * 3, 3)


def test_an_absurd_length_allocates_nothing(blocking: Client) -> None:
    vast = Limits(max_response_bytes=(1 << 63) - 1)
    error = error_of(then_close(HEAD + b"content-length: 4611686018427387904\r\n\r\nabc"), blocking, limits=vast)
    assert isinstance(error, IncompleteBody | LimitExceeded | MemoryError)


def test_an_absurd_chunk_allocates_nothing(blocking: Client) -> None:
    vast = Limits(max_response_bytes=(1 << 63) - 1)
    reply = HEAD + b"transfer-encoding: chunked\r\n\r\n3fffffffffffffff\r\nabc"
    error = error_of(then_close(reply), blocking, limits=vast)
    assert isinstance(error, IncompleteBody | LimitExceeded | ProtocolError | MemoryError)


NOT_HTTP = {
    "nothing": b"",
    "another protocol": b"SSH-2.0-OpenSSH_9.6\r\n",
    "a page without a head": b"<html>hello</html>",
    "binary": bytes(range(256)) * 4,
    "HTTP/2 frames": b"\0\0\x12\x04\0\0\0\0\0",
    "a status of letters": b"HTTP/1.1 abc OK\r\n\r\n",
    "a status of two digits": b"HTTP/1.1 99 OK\r\n\r\n",
    "a header without a colon": HEAD + b"nonsense\r\ncontent-length: 0\r\n\r\n",
    "a space before the colon": HEAD + b"content-length : 0\r\n\r\n",
    "NUL in a header": HEAD + b"x: a\0b\r\ncontent-length: 0\r\n\r\n",
    "CR in a header": HEAD + b"x: a\rb\r\ncontent-length: 0\r\n\r\n",
    "a head cut short": HEAD + b"content-le",
}


@pytest.mark.parametrize("name", NOT_HTTP)
def test_what_is_not_http_is_an_error(name: str, blocking: Client) -> None:
    error = error_of(then_close(NOT_HTTP[name]), blocking)
    assert isinstance(error, ProtocolError | ConnectionLost)
    assert (error.sent in MAY_HAVE_ACTED, error.retryable) == (True, False)


# ---- more than was allowed

CHUNKED_HEAD = HEAD + b"transfer-encoding: chunked\r\n\r\n"
OVERSIZE: dict[str, Scenario] = {
    "announced": [ReadRequest(), Send(response(bytes(MIB + 1))), Drain()],
    "announced and never sent": [ReadRequest(), Send(HEAD + b"content-length: 1048577\r\n\r\n"), Stall()],
    "until the end": [ReadRequest(), Send(HEAD + b"\r\n"), SendForever(bytes(65_536))],
    "endless chunks": [ReadRequest(), Send(CHUNKED_HEAD), SendForever(b"1000\r\n" + bytes(4096) + b"\r\n")],
    "endless tiny chunks": [ReadRequest(), Send(CHUNKED_HEAD), SendForever(b"1\r\nx\r\n" * 10_000)],
    "error body": [ReadRequest(), Send(response(bytes(MIB + 1), status="500 Broken")), Drain()],
}


@pytest.mark.parametrize("name", OVERSIZE)
def test_a_reply_over_the_limit_is_refused_while_it_comes(name: str, blocking: Client) -> None:
    with HostileServer(OVERSIZE[name]) as server:
        with pytest.raises(LimitExceeded, match="max_response_bytes") as caught:
            blocking.post(server.url, b"x", limits=Limits(max_response_bytes=MIB), timeouts=SHORT)
        server.wait_for_the_end()
        assert server.connections[0].sent_bytes < 100 * MIB
    assert (caught.value.limit, caught.value.value, caught.value.sent) == ("max_response_bytes", MIB, "yes")
    assert caught.value.got > MIB


@pytest.mark.parametrize("chunked", [False, True])
def test_a_reply_of_exactly_the_limit_is_allowed(chunked: bool, blocking: Client) -> None:
    body = source_bytes(10_000)
    reply = CHUNKED_HEAD + b"2710\r\n" + body + b"\r\n0\r\n\r\n" if chunked else response(body)
    assert body_of(then_close(reply), blocking, limits=Limits(max_response_bytes=10_000)) == body


def test_the_limit_of_the_client_holds_for_its_calls() -> None:
    with Client(limits=Limits(max_response_bytes=10)) as client:
        assert isinstance(error_of(answer(b"x" * 11), client), LimitExceeded)
        assert body_of(answer(b"x" * 10), client) == b"x" * 10


HEADER_FLOODS: dict[str, tuple[Scenario, set[str]]] = {
    "one long header": (then_close(HEAD + b"x: " + b"y" * MIB + b"\r\n\r\n"), {"max_header_bytes"}),
    "a header without an end": (
        [ReadRequest(), Send(HEAD + b"x: "), SendForever(b"y" * 10_000)],
        {"max_header_bytes"},
    ),
    "many headers": (
        then_close(HEAD + b"".join(b"x-%d: y\r\n" % n for n in range(2_000)) + b"\r\n"),
        {"max_header_bytes", "max_headers"},
    ),
    "headers without an end": (
        [ReadRequest(), Send(HEAD), SendForever(b"x-name: value\r\n" * 100)],
        {"max_header_bytes", "max_headers"},
    ),
    "a reason without an end": (
        [ReadRequest(), Send(b"HTTP/1.1 200 "), SendForever(b"OK" * 1_000)],
        {"max_header_bytes"},
    ),
}


@pytest.mark.parametrize("name", HEADER_FLOODS)
def test_a_flood_of_headers_is_refused(name: str, blocking: Client) -> None:
    scenario, limits = HEADER_FLOODS[name]
    error = error_of(scenario, blocking)
    assert isinstance(error, LimitExceeded)
    assert error.limit in limits


def test_a_flood_of_trailers_is_refused(blocking: Client) -> None:
    flood: Scenario = [ReadRequest(), Send(CHUNKED_HEAD + b"0\r\n"), SendForever(b"x-name: value\r\n" * 100)]
    assert isinstance(error_of(flood, blocking), ProtocolError)


def test_as_many_headers_as_are_allowed_arrive(blocking: Client) -> None:
    headers = [(f"x-{n}", "v" * 100) for n in range(250)]
    with HostileServer(answer(headers=headers)) as server:
        got = blocking.get(server.url).headers
    assert [(name, value) for name, value in got.multi_items() if name.startswith("x-")] == headers


def test_endless_interim_replies_end_in_an_error(blocking: Client) -> None:
    flood: Scenario = [ReadRequest(), SendForever(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 10)]
    limits = Timeouts(connect=5, first_byte=2, idle=2, total=3)
    assert isinstance(error_of(flood, blocking, timeouts=limits), LimitExceeded | ProtocolError | GatewayTimeout)


# ---- timeouts, each by its name

TIMEOUTS: dict[str, tuple[Scenario, Timeouts, str, str, str]] = {
    "no head": (
        [ReadRequest(), Stall()],
        Timeouts(connect=9, first_byte=0.2, idle=9, total=9),
        "first_byte",
        "first_byte",
        "unknown",
    ),
    "half a head": (
        [ReadRequest(), Send(b"HTTP/1.1 200 O"), Stall()],
        Timeouts(connect=9, first_byte=0.2, idle=9, total=9),
        "first_byte",
        "first_byte",
        "unknown",
    ),
    "half a body": (
        [ReadRequest(), Send(HEAD + b"content-length: 9\r\n\r\nhalf"), Stall()],
        Timeouts(connect=9, first_byte=9, idle=0.2, total=9),
        "idle",
        "receive",
        "yes",
    ),
    "half a chunked body": (
        [ReadRequest(), Send(CHUNKED_HEAD + b"4\r\nhalf\r\n"), Stall()],
        Timeouts(connect=9, first_byte=9, idle=0.2, total=9),
        "idle",
        "receive",
        "yes",
    ),
    "a drip": (
        [ReadRequest(), Send(HEAD + b"content-length: 9999\r\n\r\n"), Repeat([Send(b"."), Wait(0.02)])],
        Timeouts(connect=9, first_byte=9, idle=9, total=0.5),
        "total",
        "receive",
        "yes",
    ),
    "nothing, in all": (
        [ReadRequest(), Stall()],
        Timeouts(connect=9, first_byte=9, idle=9, total=0.2),
        "total",
        "first_byte",
        "unknown",
    ),
}


@pytest.mark.parametrize("name", TIMEOUTS)
def test_a_timeout_names_itself_and_its_phase(name: str, blocking: Client) -> None:
    scenario, timeouts, which, phase, sent = TIMEOUTS[name]
    error = error_of(scenario, blocking, timeouts=timeouts)
    assert isinstance(error, GatewayTimeout)
    assert isinstance(error, TimeoutError)
    assert (error.timeout, error.seconds, error.phase, error.sent, error.retryable) == (
        which,
        getattr(timeouts, which),
        phase,
        sent,
        False,
    )
    assert f"{getattr(timeouts, which)}"[:3] in str(error)


@pytest.mark.parametrize("name", TIMEOUTS)
async def test_a_timeout_of_an_await_is_the_same(name: str, client: AsyncClient) -> None:
    scenario, timeouts, which, phase, sent = TIMEOUTS[name]
    with HostileServer(scenario) as server:
        with pytest.raises(GatewayTimeout) as caught:
            await client.post(server.url, b"body", timeouts=timeouts)
        await asyncio.to_thread(server.wait_for_the_end)
    assert (caught.value.timeout, caught.value.phase, caught.value.sent) == (which, phase, sent)


SHORT_CONNECT = Timeouts(connect=0.3, first_byte=9, idle=9, total=9)


def test_a_peer_that_takes_no_connection_is_a_connect_timeout() -> None:
    with full_backlog() as url, Client(timeouts=SHORT_CONNECT) as client, pytest.raises(GatewayTimeout) as caught:
        client.post(url, b"body")
    error = caught.value
    assert (error.timeout, error.seconds, error.phase, error.sent, error.retryable) == (
        "connect",
        0.3,
        "connect",
        "no",
        True,
    )


def test_a_peer_that_does_not_speak_tls_back_is_a_connect_timeout() -> None:
    with (
        HostileServer([Stall()]) as server,
        Client(timeouts=SHORT_CONNECT) as client,
        pytest.raises(GatewayTimeout) as caught,
    ):
        client.post(server.url.replace("http:", "https:"), b"body")
    assert (caught.value.timeout, caught.value.sent, caught.value.retryable) == ("connect", "no", True)
    assert caught.value.phase in {"tls", "connect"}


def test_a_peer_that_never_reads_is_an_idle_timeout(blocking: Client) -> None:
    timeouts = Timeouts(connect=9, first_byte=9, idle=0.3, total=9)
    with HostileServer([ReadHead(), Stall()], receive_buffer=8_192) as server, pytest.raises(GatewayTimeout) as caught:
        blocking.post(server.url, bytes(64 * MIB), timeouts=timeouts)
    assert (caught.value.timeout, caught.value.phase, caught.value.retryable) == ("idle", "send", False)
    assert caught.value.sent == "unknown"


def test_a_peer_that_reads_slowly_but_steadily_is_no_idle_timeout(agent: NativeServer, blocking: Client) -> None:
    timeouts = Timeouts(connect=9, first_byte=9, idle=0.5, total=20)
    with HostileProxy(agent.port, delay=0.02, piece=65_536) as proxy:
        reply = blocking.post(f"{proxy.url}/echo", source_array(3 * MIB), timeouts=timeouts)
    assert bytes(reply.body) == source_bytes(3 * MIB)


@pytest.mark.parametrize("name", ["connect", "first_byte", "idle", "total"])
@pytest.mark.parametrize("value", [0, -1, 0.0, float("nan"), "1"])
def test_a_timeout_that_is_no_time_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises((ValueError, TypeError), match=name):
        Client(timeouts=Timeouts(**{name: value}))


def test_a_total_is_always_set() -> None:
    with pytest.raises((ValueError, TypeError), match="total"):
        Client(timeouts=Timeouts(total=None))  # type: ignore[arg-type]
    assert Timeouts(connect=None, first_byte=None, idle=None).total == 600.0


@pytest.mark.parametrize(
    "name", ["max_response_bytes", "max_header_bytes", "max_headers", "max_decoded_ratio", "max_event_bytes"]
)
@pytest.mark.parametrize("value", [-1, "1", None])
def test_a_limit_that_is_no_number_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises((ValueError, TypeError), match=name):
        Client(limits=Limits(**{name: value}))


# ---- connections that end


def test_nobody_listening_is_a_connect_error_that_may_be_tried_again(blocking: Client) -> None:
    with pytest.raises(ConnectError) as caught:
        blocking.post(f"http://127.0.0.1:{closed_port()}/x", b"body")
    assert isinstance(caught.value, ConnectionError)
    assert (caught.value.phase, caught.value.sent, caught.value.retryable) == ("connect", "no", True)


def test_a_name_that_does_not_exist_is_a_connect_error(blocking: Client) -> None:
    with pytest.raises(ConnectError, match=r"nowhere\.invalid") as caught:
        blocking.post("http://nowhere.invalid/", b"body", timeouts=SHORT)
    assert (caught.value.sent, caught.value.retryable) == ("no", True)
    assert caught.value.phase in {"resolve", "connect"}


def test_plain_http_behind_an_https_url_is_a_tls_error(blocking: Client) -> None:
    with HostileServer([ReadBytes(1), Send(response(b"plain")), Close()]) as server, pytest.raises(TlsError) as caught:
        blocking.post(server.url.replace("http:", "https:"), b"body", timeouts=SHORT)
    assert (caught.value.sent, caught.value.phase) == ("no", "tls")


LARGE = 16 * MIB
ENDS: dict[str, tuple[Scenario, set[str]]] = {
    "reset before the request was read": ([ReadBytes(1), Reset()], {"unknown"}),
    "reset within the request": ([ReadHead(), ReadBytes(MIB), Reset()], {"unknown"}),
    "close within the request": ([ReadHead(), ReadBytes(MIB), Close()], {"unknown"}),
    "reset after the request": ([ReadRequest(), Reset()], {"unknown"}),
    "close after the request": ([ReadRequest(), Close()], {"unknown"}),
    "half-close after the request": ([ReadRequest(), HalfClose(), Drain()], {"unknown"}),
    "reset within the head": ([ReadRequest(), Send(b"HTTP/1.1 2"), Reset()], {"unknown"}),
    "reset within the body": ([ReadRequest(), Send(HEAD + b"content-length: 9\r\n\r\nhalf"), Reset()], MAY_HAVE_ACTED),
    "half-close within the body": (
        [ReadRequest(), Send(HEAD + b"content-length: 9\r\n\r\nhalf"), HalfClose(), Drain()],
        {"yes"},
    ),
    "reset of a body without a length": ([ReadRequest(), Send(HEAD + b"\r\nhalf"), Reset()], MAY_HAVE_ACTED),
}


@pytest.mark.parametrize("retry", [Retry(), Retry(attempts=3)], ids=["no retry", "retry"])
@pytest.mark.parametrize("name", ENDS)
def test_a_post_that_was_cut_off_says_what_was_sent_and_is_not_sent_again(name: str, retry: Retry) -> None:
    scenario, sent = ENDS[name]
    with HostileServer(scenario) as server, Client(retry=retry, timeouts=SHORT) as client:
        with pytest.raises(ConnectionLost) as caught:
            client.post(server.url, source_array(LARGE), headers={"x-nonce": "one"})
        assert len(server.connections) == 1
    assert caught.value.sent in sent
    assert (caught.value.retryable, isinstance(caught.value, ConnectionError)) == (False, True)


def test_a_post_is_sent_again_where_the_caller_allows_it() -> None:
    def second_time_lucky(connection: Connection) -> None:
        connection.read_head()
        connection.read_body()
        if connection.index < 2:
            connection.reset()
        else:
            connection.send(response(b"at last"))

    with (
        HostileServer(second_time_lucky) as server,
        Client(retry=Retry(attempts=2, non_idempotent=True), timeouts=SHORT) as client,
    ):
        assert bytes(client.post(server.url, source_array(LARGE)).body) == b"at last"
        assert server.bodies == [source_bytes(LARGE)] * 3


def test_the_attempts_end() -> None:
    with (
        HostileServer([ReadRequest(), Reset()]) as server,
        Client(retry=Retry(attempts=2, non_idempotent=True), timeouts=SHORT) as client,
    ):
        with pytest.raises(ConnectionLost):
            client.post(server.url, b"body")
        assert len(server.connections) == 3


def test_the_keep_alive_of_a_reply_cut_off_is_not_used_again(blocking: Client) -> None:
    def cut_then_well(connection: Connection) -> None:
        connection.read_head()
        connection.read_body()
        if connection.index == 0:
            connection.send(HEAD + b"content-length: 2000\r\n\r\nhalf")
            connection.drain()
        connection.send(response(b"well"))

    with HostileServer(cut_then_well) as server:
        with pytest.raises(GatewayTimeout):
            blocking.post(server.url, b"1", timeouts=Timeouts(connect=5, first_byte=5, idle=0.2, total=5))
        assert bytes(blocking.post(server.url, b"2", timeouts=SHORT).body) == b"well"
        server.wait_for_the_end()


@pytest.mark.parametrize("ending", [Drain(), Stall()], ids=["reads on", "reads no more"])
def test_an_early_refusal_is_returned_and_the_upload_stopped(ending: Step, blocking: Client) -> None:
    refusal = response(b"too much", status="413 Content Too Large", headers=[("connection", "close")])
    body = source_array(256 * MIB)
    with HostileServer([ReadHead(), ReadBytes(100_000), Send(refusal), ending, Drain()]) as server:
        reply = blocking.post(server.url, body, timeouts=SHORT)
        server.release()
        server.wait_for_the_end()
        received = len(server.connections[0].received)
    assert (reply.status, bytes(reply.body), received < body.nbytes) == (413, b"too much", True)


# ---- the keep-alive race


def closing_at_idle(connection: Connection) -> None:
    """Answer, then close within the millisecond in which the next request leaves."""
    jitter = random.Random(connection.index)
    while True:
        connection.read_head()
        connection.read_body()
        connection.send(response(b"k"))
        if not connection.idle(jitter.random() * 0.001):
            return


@pytest.mark.parametrize("retry", [Retry(), Retry(attempts=2)], ids=["no retry", "retry"])
@pytest.mark.parametrize("posts", [2_000, pytest.param(100_000, marks=pytest.mark.soak)])
def test_no_post_is_seen_twice_by_a_server_that_closes_as_it_leaves(posts: int, retry: Retry) -> None:
    outcomes: dict[str, str] = {}
    pause = random.Random(41)
    waiting = threading.Event()
    with HostileServer(closing_at_idle) as server, Client(retry=retry, timeouts=SHORT) as client:
        for number in range(posts):
            nonce = str(number)
            try:
                client.post(server.url, b"x", headers={"x-nonce": nonce})
                outcomes[nonce] = "done"
            except ConnectionLost as error:
                outcomes[nonce] = error.sent
            waiting.wait(pause.random() * 0.0008)  # to meet the moment of closing; nothing is waited for here
    seen = Counter(server.nonces)
    assert {nonce for nonce, count in seen.items() if count > 1} == set()
    assert {nonce for nonce, outcome in outcomes.items() if outcome == "done"} <= set(seen)
    assert {nonce for nonce, outcome in outcomes.items() if outcome == "no"} & set(seen) == set()


def test_a_connection_that_was_closed_while_idle_costs_no_error() -> None:
    with (
        HostileServer([ReadRequest(), Send(response(b"once")), Close()]) as server,
        Client(retry=Retry(attempts=1), timeouts=SHORT) as client,
    ):
        for number in range(30):
            assert bytes(client.post(server.url, b"x", headers={"x-nonce": str(number)}).body) == b"once"
            server.wait_for("closed", count=number + 1)
        assert sorted(server.nonces, key=int) == [str(number) for number in range(30)]


# ---- what is refused before anything is sent

INJECTIONS = ["\r\nx-injected: 1", "\n", "\r", "\0", " \r\n\r\nGET / HTTP/1.1\r\n"]
PLACES: dict[str, Callable[[str, str], dict[str, Any]]] = {
    "method": lambda url, bad: {"method": f"PO{bad}ST", "url": url},
    "path": lambda url, bad: {"method": "POST", "url": f"{url}/a{bad}b"},
    "query": lambda url, bad: {"method": "POST", "url": f"{url}/?a{bad}b"},
    "start of the URL": lambda url, bad: {"method": "POST", "url": f"{bad}{url}"},
    "end of the URL": lambda url, bad: {"method": "POST", "url": f"{url}{bad}"},
    "header name": lambda url, bad: {"method": "POST", "url": url, "headers": {f"x{bad}y": "1"}},
    "header value": lambda url, bad: {"method": "POST", "url": url, "headers": {"x": f"1{bad}2"}},
    "end of a header value": lambda url, bad: {"method": "POST", "url": url, "headers": {"x": f"1{bad}"}},
}


@pytest.mark.parametrize("injection", INJECTIONS)
@pytest.mark.parametrize("place", PLACES)
def test_a_line_break_or_nul_is_refused_before_anything_is_sent(place: str, injection: str, blocking: Client) -> None:
    with HostileServer(answer()) as server:
        with pytest.raises(InvalidRequest) as caught:
            blocking.request(**PLACES[place](server.url, injection), body=b"body")
        assert server.connections == []
    assert (caught.value.sent, caught.value.retryable) == ("no", False)


@pytest.mark.parametrize("injection", ["a\r\nb: c", "a\nb", "a\0b"])
def test_a_line_break_in_a_header_of_the_client_is_refused(injection: str) -> None:
    with pytest.raises(InvalidRequest):
        Client(headers={"x": injection})


@pytest.mark.parametrize("name", ["Host", "Content-Length", "Transfer-Encoding", "Connection"])
def test_the_headers_of_the_connection_are_ours(name: str, blocking: Client) -> None:
    with HostileServer(answer()) as server:
        with pytest.raises(InvalidRequest, match=f"(?i){name}"):
            blocking.post(server.url, b"body", headers={name: "4"})
        assert server.connections == []


@pytest.mark.parametrize(
    "url", ["127.0.0.1:80/x", "example.com/x", "example.com", "//example.com/x", "/x", "", "localhost:8000"]
)
def test_a_url_without_a_scheme_is_refused_with_what_to_write(url: str, blocking: Client) -> None:
    with pytest.raises(InvalidRequest, match="http://"):
        blocking.post(url, b"body")


@pytest.mark.parametrize(
    "url",
    [
        "ftp://127.0.0.1/x",
        "file:///etc/passwd",
        "data:text/plain,x",
        "unix:///tmp/socket",
        "http://",
        "http:///x",
        "http://127.0.0.1:99999/",
        "http://127.0.0.1:port/",
        "http://[::1/",
        "http://a b/",
    ],
)
def test_a_url_that_is_not_http_is_refused(url: str, blocking: Client) -> None:
    with pytest.raises(InvalidRequest):
        blocking.post(url, b"body")


@pytest.mark.parametrize("method", ["", "GET POST", "GÉT", "a(b)"])
def test_a_method_that_is_no_token_is_refused(method: str, blocking: Client) -> None:
    with pytest.raises(InvalidRequest, match="method"):
        blocking.request(method, "http://127.0.0.1:1/")


@pytest.mark.parametrize(
    "headers", [{"x": 1}, {"x": None}, {"x": b"bytes"}, {b"x": "1"}, {1: "1"}, [("x",)], 3, "x: 1"]
)
def test_a_header_that_is_not_text_is_refused_with_what_to_pass(headers: Any, blocking: Client) -> None:
    with HostileServer(answer()) as server:
        with pytest.raises((TypeError, InvalidRequest), match="str"):
            blocking.post(server.url, b"body", headers=headers)
        assert server.connections == []


@pytest.mark.parametrize("name", ["", "a b", "a:b", "ä"])
def test_a_header_name_that_is_no_token_is_refused(name: str, blocking: Client) -> None:
    with pytest.raises(InvalidRequest, match="header"):
        blocking.post("http://127.0.0.1:1/", b"", headers={name: "1"})


@pytest.mark.parametrize("url", [None, 3, b"http://127.0.0.1/"])
def test_a_url_that_is_not_text_is_a_type_error(url: Any, blocking: Client) -> None:
    with pytest.raises((TypeError, InvalidRequest)):
        blocking.post(url, b"body")


@pytest.mark.parametrize("option", ["json", "data", "timeout", "params", "content", "allow_redirects"])
async def test_an_option_that_does_not_exist_is_refused_by_name(
    option: str, client: AsyncClient, blocking: Client
) -> None:
    unknown: dict[str, Any] = {option: 1}
    with pytest.raises(TypeError, match=option):
        blocking.post("http://127.0.0.1:1/", b"", **unknown)
    with pytest.raises(TypeError, match=option):
        await client.post("http://127.0.0.1:1/", b"", **unknown)
    with pytest.raises(TypeError, match=option):
        Client(**unknown)
    with pytest.raises(TypeError, match=option):
        AsyncClient(**unknown)


@pytest.mark.parametrize(
    "options",
    [
        {"timeouts": 3},
        {"limits": 3},
        {"retry": 3},
        {"policy": "copy"},
        {"http2": "sometimes"},
        {"accept_encoding": ("deflate64",)},
        {"verify": "/no/such/bundle.pem"},
        {"cert": "/no/such/cert.pem"},
        {"proxy": "not a url"},
    ],
)
def test_an_option_of_a_client_that_makes_no_sense_is_refused_at_once(options: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError, OSError)):
        Client(**options)


def test_a_closed_client_says_so(agent: NativeServer) -> None:
    client = Client()
    client.get(f"{agent.url}/source/1")
    client.close()
    client.close()
    with pytest.raises(ClientClosed):
        client.get(f"{agent.url}/source/1")


async def test_a_closed_async_client_says_so(agent: NativeServer) -> None:
    client = AsyncClient()
    await client.get(f"{agent.url}/source/1")
    await client.aclose()
    await client.aclose()
    with pytest.raises(ClientClosed):
        await client.get(f"{agent.url}/source/1")


# ---- secrets

CANARY = "canary-7f3a"


def sightings(*things: object) -> list[str]:
    """Whatever of `things` shows the canary: by str, repr, or in a traceback with its chain."""
    shown = []
    for thing in things:
        shown += [str(thing), repr(thing)]
        if isinstance(thing, BaseException):
            shown += traceback.format_exception(thing)
            shown += [str(vars(thing)), str(thing.args)]
    return [text for text in shown if CANARY in text]


def secret_headers() -> dict[str, str]:
    names = ("authorization", "cookie", "x-api-key", "mcp-session-id", "proxy-authorization", "x-anything")
    return dict.fromkeys(names, f"Bearer {CANARY}")


def secret_url(port: int, *, scheme: str = "http", path: str = "/agent") -> str:
    return f"{scheme}://user{CANARY}:{CANARY}@127.0.0.1:{port}{path}?token={CANARY}&b={CANARY}#{CANARY}"


SECRETIVE: dict[str, Scenario] = {
    "reset": [ReadRequest(), Reset()],
    "no reply": [ReadRequest(), Stall()],
    "short reply": then_close(HEAD + b"content-length: 99\r\n\r\n" + CANARY.encode()),
    "not HTTP": then_close(CANARY.encode() * 3 + b"\r\n\r\n"),
    "bad header": then_close(HEAD + f"x-{CANARY}(: {CANARY}\r\n\r\n".encode()),
    "oversize": answer(CANARY.encode() * 200),
}


@pytest.mark.parametrize("name", SECRETIVE)
def test_no_secret_is_in_an_error(name: str, blocking: Client, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with HostileServer(SECRETIVE[name]) as server, pytest.raises(GatewayError) as caught:
        blocking.post(
            secret_url(server.port),
            CANARY.encode(),
            headers=secret_headers(),
            limits=Limits(max_response_bytes=1000),
            timeouts=Timeouts(connect=2, first_byte=0.3, idle=0.3, total=2),
        )
    assert f"127.0.0.1:{server.port}" in str(caught.value)
    assert sightings(caught.value, blocking, caplog.text) == []


def test_no_secret_is_in_an_error_of_connecting(blocking: Client, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    port = closed_port()
    for scheme in ("http", "https"):
        with pytest.raises(ConnectError) as caught:
            blocking.post(secret_url(port, scheme=scheme), CANARY.encode(), headers=secret_headers())
        assert sightings(caught.value, caplog.text) == []


@pytest.mark.parametrize(
    "url",
    [
        f"http://user:{CANARY}@127.0.0.1:99999/",
        f"http://user:{CANARY}@[::1/?t={CANARY}",
        f"ftp://user:{CANARY}@127.0.0.1/?t={CANARY}",
        f"user:{CANARY}@127.0.0.1/?t={CANARY}",
        f"http://user:{CANARY}@127.0.0.1/a\n?t={CANARY}",
    ],
)
def test_no_secret_is_in_the_refusal_of_a_url(url: str, blocking: Client) -> None:
    with pytest.raises(InvalidRequest) as caught:
        blocking.post(url, b"body")
    assert sightings(caught.value) == []


def test_no_secret_is_in_the_refusal_of_a_header(blocking: Client) -> None:
    for headers in ({"authorization": f"{CANARY}\n"}, {"x": CANARY.encode()}, {f"{CANARY} name": "1"}):
        with pytest.raises((InvalidRequest, TypeError)) as caught:
            blocking.post("http://127.0.0.1:1/", b"body", headers=headers)  # type: ignore[arg-type]
        assert sightings(caught.value) == []


def test_no_secret_is_in_what_is_printed() -> None:
    headers = secret_headers()
    with (
        HostileServer(answer(CANARY.encode(), status="401 No", headers=[("set-cookie", CANARY)])) as server,
        Client(headers=headers, proxy=f"http://user:{CANARY}@127.0.0.1:{server.port}") as through_proxy,
        Client(headers=headers) as client,
    ):
        reply = client.post(secret_url(server.port), CANARY.encode())
        with pytest.raises(HTTPStatusError) as caught:
            reply.raise_for_status()
        printed = (caught.value, client, through_proxy, reply, reply.headers, reply.body, reply.transfer)
        assert sightings(*printed) == []


def test_no_secret_is_in_an_error_of_a_proxy() -> None:
    proxy = f"http://user:{CANARY}@127.0.0.1:{closed_port()}"
    with Client(proxy=proxy, timeouts=SHORT) as client, pytest.raises(ConnectError) as caught:
        client.post("http://agent.invalid/", b"body")
    assert sightings(caught.value, client) == []


def test_no_secret_is_in_an_error_of_a_redirect() -> None:
    location = f"http://user:{CANARY}@127.0.0.1:{closed_port()}/?token={CANARY}"
    redirect = answer(status="302 Found", headers=[("location", location)])
    with HostileServer(redirect) as server, Client(follow_redirects=True, timeouts=SHORT) as client:
        with pytest.raises(AddressRefused) as refused:
            client.get(server.url)
        with pytest.raises(ConnectError) as failed:
            client.get(server.url, guard=Guard(allow=["127.0.0.1"]))
    assert sightings(refused.value, failed.value) == []


# ---- redirects


def test_a_redirect_is_a_reply_unless_asked_for(blocking: Client) -> None:
    with HostileServer(answer(b"over there", status="302 Found", headers=[("location", "/there")])) as server:
        reply = blocking.get(server.url)
        assert (reply.status, reply.headers["location"], bytes(reply.body)) == (302, "/there", b"over there")
        assert len(server.heads) == 1


def redirecting(status: str) -> Callable[[Connection], None]:
    def scenario(connection: Connection) -> None:
        while True:
            head = connection.read_head()
            connection.read_body()
            if head.target == "/there":
                connection.send(response(b"arrived"))
            else:
                connection.send(response(status=status, headers=[("location", "/there")]))

    return scenario


@pytest.mark.parametrize(
    ("status", "method", "body"),
    [("302 Found", "GET", b""), ("303 See Other", "GET", b""), ("307 T", "POST", b"body"), ("308 P", "POST", b"body")],
)
def test_a_redirect_that_was_asked_for_is_followed_by_its_own_rule(status: str, method: str, body: bytes) -> None:
    with HostileServer(redirecting(status)) as server, Client(follow_redirects=True, timeouts=SHORT) as client:
        reply = client.post(server.url, b"body")
        assert (reply.status, bytes(reply.body), reply.url) == (200, b"arrived", f"{server.url}/there")
        assert ([head.method for head in server.heads], server.bodies[1]) == (["POST", method], body)


def test_redirects_end_after_twenty() -> None:
    loop = answer(status="302 Found", headers=[("location", "/again")])
    with HostileServer(loop) as server, Client(follow_redirects=True, timeouts=SHORT) as client:
        with pytest.raises(GatewayError, match="redirect"):
            client.get(server.url)
        assert len(server.heads) == 21


@pytest.mark.parametrize("location", ["file:///etc/passwd", "ftp://127.0.0.1/", "http://", "http://[", "\x01"])
def test_a_redirect_to_what_is_not_http_is_an_error(location: str) -> None:
    redirect = answer(status="302 Found", headers=[("location", location)])
    with (
        HostileServer(redirect) as server,
        Client(follow_redirects=True, timeouts=SHORT) as client,
        pytest.raises(GatewayError),
    ):
        client.get(server.url)


def test_no_secret_header_crosses_to_another_origin() -> None:
    names = ("authorization", "cookie", "x-api-key", "mcp-session-id", "x-anything")
    with ExitStack() as stack:
        other = stack.enter_context(HostileServer(answer(b"other")))
        first = stack.enter_context(
            HostileServer(answer(status="307 Elsewhere", headers=[("location", f"{other.url}/there")]))
        )
        anywhere_here = Guard(allow=["127.0.0.1"])
        client = stack.enter_context(
            Client(follow_redirects=True, headers={"x-api-key": CANARY}, timeouts=SHORT, guard=anywhere_here)
        )
        reply = client.get(first.url, headers={**dict.fromkeys(names, CANARY), "accept": "x/y"})
        assert (bytes(reply.body), [first.heads[0].header(name) for name in names]) == (b"other", [CANARY] * 5)
        assert CANARY.encode() not in other.received
        assert other.heads[0].header("accept") == "x/y"


def test_every_header_stays_within_its_origin() -> None:
    with HostileServer(redirecting("302 Found")) as server, Client(follow_redirects=True, timeouts=SHORT) as client:
        client.get(server.url, headers={"x-api-key": "k", "mcp-session-id": "s"})
        assert [server.heads[1].header(name) for name in ("x-api-key", "mcp-session-id")] == ["k", "s"]


# ---- encodings

CODECS = {"gzip": "gzip", "br": "brotli", "zstd": "zstd"}


def encoded(data: bytes, coding: str) -> bytes:
    packed: bytes = pa.compress(data, codec=CODECS[coding], asbytes=True)
    return packed


def in_coding(data: bytes, coding: str, *, status: str = "200 OK") -> Scenario:
    return answer(data, status=status, headers=[("content-encoding", coding)])


@pytest.fixture
def decoding() -> Iterator[Client]:
    with Client(accept_encoding=("gzip", "br", "zstd"), timeouts=SHORT) as client:
        yield client


def test_no_coding_is_asked_for_by_default(blocking: Client) -> None:
    with HostileServer(answer()) as server:
        blocking.get(server.url)
        assert server.heads[0].header("accept-encoding") in {None, "identity"}


@pytest.mark.parametrize("coding", CODECS)
def test_a_coding_that_was_not_asked_for_is_left_alone(coding: str, blocking: Client) -> None:
    packed = encoded(source_bytes(10_000), coding)
    with HostileServer(in_coding(packed, coding)) as server:
        reply = blocking.get(server.url)
    assert (bytes(reply.body), reply.headers["content-encoding"]) == (packed, coding)


@pytest.mark.parametrize("coding", CODECS)
@pytest.mark.parametrize("size", [0, 1, 10_000, 5 * MIB])
def test_a_coding_that_was_asked_for_is_decoded(coding: str, size: int, decoding: Client) -> None:
    with HostileServer(in_coding(encoded(source_bytes(size), coding), coding)) as server:
        assert bytes(decoding.get(server.url).body) == source_bytes(size)
        asked = server.heads[0].header("accept-encoding") or ""
    assert {name.strip() for name in asked.split(",")} == {"gzip", "br", "zstd"}


@pytest.mark.parametrize("coding", CODECS)
@pytest.mark.parametrize("status", ["200 OK", "302 Found", "500 Broken"])
def test_a_bomb_stops_at_the_decoded_bytes(coding: str, status: str, decoding: Client) -> None:
    bomb = encoded(bytes(50 * MIB), coding)
    limits = Limits(max_response_bytes=MIB, max_decoded_ratio=1e9)
    error = error_of(in_coding(bomb, coding, status=status), decoding, limits=limits)
    assert isinstance(error, LimitExceeded)
    assert (error.limit, error.value) == ("max_response_bytes", MIB)


@pytest.mark.parametrize("coding", CODECS)
def test_a_bomb_stops_at_the_ratio(coding: str, decoding: Client) -> None:
    bomb = encoded(bytes(50 * MIB), coding)
    error = error_of(in_coding(bomb, coding), decoding, limits=Limits(max_decoded_ratio=20.0))
    assert isinstance(error, LimitExceeded)
    assert (error.limit, error.value) == ("max_decoded_ratio", 20.0)


def test_a_bomb_of_many_members_stops_at_the_limit(decoding: Client) -> None:
    bomb = encoded(bytes(100_000), "gzip") * 1_000
    error = error_of(in_coding(bomb, "gzip"), decoding, limits=Limits(max_response_bytes=MIB, max_decoded_ratio=1e9))
    assert isinstance(error, LimitExceeded)


def test_members_are_never_lost_in_silence(decoding: Client) -> None:
    with HostileServer(in_coding(encoded(b"one", "gzip") + encoded(b"two", "gzip"), "gzip")) as server:
        try:
            body = bytes(decoding.get(server.url).body)
        except GatewayError:
            return
    assert body == b"onetwo"


@pytest.mark.parametrize("codings", ["gzip, gzip", "gzip, br", "br, zstd"])
def test_a_coding_within_a_coding_is_refused(codings: str, decoding: Client) -> None:
    data = b"x" * 1_000
    for coding in codings.split(", "):
        data = encoded(data, coding)
    assert isinstance(error_of(in_coding(data, codings), decoding), ProtocolError | LimitExceeded)


@pytest.mark.parametrize("coding", CODECS)
@pytest.mark.parametrize("damage", ["cut", "noise", "tail"])
def test_damaged_coding_is_never_a_success(coding: str, damage: str, decoding: Client) -> None:
    packed = encoded(source_bytes(100_000), coding)
    damaged = {"cut": packed[: len(packed) // 2], "noise": b"noise" * 100, "tail": packed[:-1]}[damage]
    assert isinstance(error_of(in_coding(damaged, coding), decoding), ProtocolError | IncompleteBody | ConnectionLost)


# ---- proxies


def test_the_environments_proxy_is_not_used_unless_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    with HostileServer(answer(b"proxy")) as proxy, HostileServer(answer(b"direct")) as server:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        with Client() as client, Client(trust_env=True) as trusting:
            assert (bytes(client.get(server.url).body), proxy.connections) == (b"direct", [])
            assert bytes(trusting.get("http://agent.invalid/x").body) == b"proxy"
            assert proxy.heads[0].target == "http://agent.invalid/x"


def test_a_proxy_that_was_given_is_used() -> None:
    with HostileServer(answer(b"proxy")) as proxy, Client(proxy=proxy.url) as client:
        assert bytes(client.get("http://agent.invalid/x").body) == b"proxy"
        assert (proxy.heads[0].method, proxy.heads[0].target) == ("GET", "http://agent.invalid/x")


# ---- into a buffer, into a file


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("room", [100_000, 150_000])
def test_a_reply_is_received_into_the_callers_buffer(room: int, chunked: bool, blocking: Client) -> None:
    body = source_bytes(100_000)
    reply = CHUNKED_HEAD + b"186a0\r\n" + body + b"\r\n0\r\n\r\n" if chunked else response(body)
    buffer = bytearray(b"\xaa" * room)
    with HostileServer(then_close(reply)) as server:
        response_ = blocking.request("GET", server.url, into=buffer, timeouts=SHORT)
    assert (response_.received, bytes(buffer)) == (100_000, body + b"\xaa" * (room - 100_000))
    wait_until(lambda: exports_live() == 0, what="exports_live() == 0")
    buffer.extend(b"mine again")


@pytest.mark.parametrize("kind", ["memoryview slice", "ndarray", "ndarray of doubles"])
def test_any_writable_contiguous_buffer_receives(kind: str, agent: NativeServer, blocking: Client) -> None:
    room = np.zeros(80_000, np.uint8)
    into: Any = {
        "memoryview slice": room.data[8_000:],
        "ndarray": room[8_000:],
        "ndarray of doubles": room.view(np.float64)[1_000:],
    }[kind]
    reply = blocking.get(f"{agent.url}/source/72000", into=into)
    assert (reply.received, room.tobytes()) == (72_000, bytes(8_000) + source_bytes(72_000))


@pytest.mark.parametrize("chunked", [False, True])
def test_a_reply_larger_than_the_buffer_is_refused_and_nothing_written_outside(chunked: bool, blocking: Client) -> None:
    body = source_bytes(100_000)
    reply = CHUNKED_HEAD + b"186a0\r\n" + body + b"\r\n0\r\n\r\n" if chunked else response(body)
    room = np.full(60_000, 0xAA, np.uint8)
    error = error_of(then_close(reply), blocking, into=room[:50_000])
    assert isinstance(error, LimitExceeded)
    assert error.value == 50_000
    assert room[50_000:].tobytes() == b"\xaa" * 10_000


@pytest.mark.parametrize(
    "into",
    [
        pytest.param(b"read-only", id="bytes"),
        pytest.param(memoryview(bytearray(9)).toreadonly(), id="read-only memoryview"),
        pytest.param(np.zeros(9, np.uint8)[::2], id="strided"),
        pytest.param(np.zeros((3, 3), order="F"), id="Fortran order"),
        pytest.param("text", id="text"),
        pytest.param(7, id="number"),
        pytest.param(Payload(b"payload"), id="Payload"),
    ],
)
def test_what_cannot_be_received_into_is_refused_before_anything_is_sent(into: Any, blocking: Client) -> None:
    with HostileServer(answer(b"x")) as server:
        with pytest.raises((UnsupportedBuffer, TypeError)):
            blocking.get(server.url, into=into)
        assert server.connections == []


async def test_a_buffer_being_received_into_cannot_be_resized_and_is_let_go_by_a_cancel(client: AsyncClient) -> None:
    buffer = bytearray(100)
    with HostileServer([ReadRequest(), Send(HEAD + b"content-length: 100\r\n\r\nhalf"), Stall()]) as server:
        call = asyncio.create_task(client.get(server.url, into=buffer))
        await asyncio.to_thread(server.wait_for, "stalled")
        with pytest.raises(BufferError):
            buffer.extend(b"x")
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await asyncio.to_thread(server.wait_for_the_end)
    wait_until(lambda: exports_live() == 0, what="exports_live() == 0")
    buffer.extend(b"mine again")


@pytest.mark.parametrize("size", [0, 1, 100_000, 30 * MIB])
def test_a_reply_is_received_into_a_file(size: int, tmp_path: Path, agent: NativeServer, blocking: Client) -> None:
    path = tmp_path / "reply"
    path.write_bytes(b"what was there before" * 10)
    reply = blocking.get(f"{agent.url}/source/{size}", to_file=path)
    assert (reply.status, reply.received, path.read_bytes()) == (200, size, source_bytes(size))


def test_a_file_that_cannot_be_written_is_a_file_error(tmp_path: Path, agent: NativeServer, blocking: Client) -> None:
    for path in (tmp_path, tmp_path / "missing" / "reply"):
        with pytest.raises(FileError) as caught:
            blocking.get(f"{agent.url}/source/100", to_file=path)
        assert isinstance(caught.value, OSError)


FULL_DISK = """
    import os, resource, sys
    from mcpgateway_rust import Client
    from mcpgateway_rust.exceptions import FileError

    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))     # for a write, this is what a full disk is
    directory = sys.argv[2]
    try:
        Client().get(f"{sys.argv[1]}/source/{4 << 20}", to_file=os.path.join(directory, "reply"))
    except FileError:
        print(os.listdir(directory))
"""


def test_a_disk_that_takes_no_more_is_a_file_error_and_leaves_no_file(tmp_path: Path, agent: NativeServer) -> None:
    finished = run_python(FULL_DISK, agent.url, tmp_path)
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, "[]\n", "")


def test_a_reply_that_was_cut_leaves_the_file_as_it_was(tmp_path: Path, blocking: Client) -> None:
    path = tmp_path / "reply"
    path.write_bytes(b"what was there before")
    error = error_of(then_close(SHORT_BODIES["length too large"]), blocking, to_file=path)
    assert isinstance(error, IncompleteBody)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {"reply": b"what was there before"}


def test_a_reply_goes_to_one_place(tmp_path: Path, blocking: Client) -> None:
    with pytest.raises((TypeError, InvalidRequest), match="into"):
        blocking.get("http://127.0.0.1:1/", into=bytearray(9), to_file=tmp_path / "reply")


# ---- streams, both ways


async def test_a_streamed_reply_is_its_chunks_joined(agent: NativeServer, client: AsyncClient) -> None:
    async with client.stream("GET", f"{agent.url}/source/{20 * MIB}") as reply:
        assert (reply.status, reply.headers["content-length"]) == (200, str(20 * MIB))
        chunks = [bytes(chunk) async for chunk in reply.aiter_bytes()]
    assert (b"".join(chunks), len(chunks) > 1, all(chunks)) == (source_bytes(20 * MIB), True, True)


def test_a_streamed_reply_is_its_chunks_joined_when_blocking(agent: NativeServer, blocking: Client) -> None:
    with blocking.stream("GET", f"{agent.url}/source/{20 * MIB}") as reply:
        assert b"".join(map(bytes, reply.iter_bytes())) == source_bytes(20 * MIB)


async def test_a_stream_can_be_read_whole(agent: NativeServer, client: AsyncClient, blocking: Client) -> None:
    async with client.stream("GET", f"{agent.url}/source/{MIB}") as reply:
        assert bytes(await reply.aread()) == source_bytes(MIB)
    with blocking.stream("GET", f"{agent.url}/source/{MIB}") as reply:
        assert bytes(reply.read()) == source_bytes(MIB)


async def test_a_chunk_outlives_its_stream(agent: NativeServer, client: AsyncClient) -> None:
    async with client.stream("GET", f"{agent.url}/source/{20 * MIB}") as reply:
        chunks = [memoryview(chunk) async for chunk in reply.aiter_bytes()]
    assert b"".join(chunks) == source_bytes(20 * MIB)


async def test_a_chunk_is_handed_over_when_it_comes(client: AsyncClient) -> None:
    scenario: Scenario = [
        ReadRequest(),
        Send(CHUNKED_HEAD + b"5\r\nfirst\r\n"),
        Stall(),
        Send(b"4\r\nlast\r\n0\r\n\r\n"),
    ]
    with HostileServer(scenario) as server:
        async with client.stream("POST", server.url, body=b"x") as reply:
            chunks = reply.aiter_bytes()
            assert bytes(await anext(chunks)) == b"first"
            server.release()
            assert [bytes(chunk) async for chunk in chunks] == [b"last"]


ENDLESS: Scenario = [ReadRequest(), Send(HEAD + b"\r\n"), SendForever(bytes(65_536))]


async def test_a_slow_reader_holds_the_sender_back(client: AsyncClient) -> None:
    with HostileServer(ENDLESS) as server:
        async with client.stream("GET", server.url) as reply:
            first = await anext(aiter(reply.aiter_bytes()))
            await asyncio.to_thread(server.wait_for, "blocked")
            assert (len(first) > 0, server.connections[0].sent_bytes < 64 * MIB) == (True, True)
        await asyncio.to_thread(server.wait_for_the_end)


async def test_leaving_a_stream_early_ends_its_connection(client: AsyncClient, blocking: Client) -> None:
    with HostileServer(ENDLESS) as server:
        async with client.stream("GET", server.url) as reply:
            async for _ in reply.aiter_bytes():
                break
        await asyncio.to_thread(server.wait_for_the_end, timeout=1)
    with HostileServer(ENDLESS) as server:
        with blocking.stream("GET", server.url) as reply:
            next(iter(reply.iter_bytes()))
        server.wait_for_the_end(timeout=1)


async def test_an_error_within_a_stream_block_is_not_changed(agent: NativeServer, client: AsyncClient) -> None:
    async def failing() -> float:
        async with client.stream("GET", f"{agent.url}/source/{20 * MIB}"):
            return 1 / 0

    with pytest.raises(ZeroDivisionError):
        await failing()


async def read_by_chunks(client: AsyncClient, url: str, **options: Any) -> bytes:
    async with client.stream("GET", url, **options) as reply:
        return b"".join([bytes(chunk) async for chunk in reply.aiter_bytes()])


async def test_a_stream_is_subject_to_the_limits(client: AsyncClient) -> None:
    with HostileServer(ENDLESS) as server, pytest.raises(LimitExceeded, match="max_response_bytes"):
        await read_by_chunks(client, server.url, limits=Limits(max_response_bytes=MIB))


@pytest.mark.parametrize("end", [Close(), Reset()], ids=["closed", "reset"])
async def test_a_stream_that_is_cut_is_an_error_and_not_its_end(end: Step, client: AsyncClient) -> None:
    cut: Scenario = [ReadRequest(), Send(SHORT_BODIES["no last chunk"]), end]
    with HostileServer(cut) as server, pytest.raises(ConnectionLost):
        await read_by_chunks(client, server.url)


def pieces() -> Iterator[Any]:
    yield b"bytes"
    yield bytearray(b"bytearray")
    yield memoryview(b"abcdef")[::2]
    yield b""
    yield np.arange(3, dtype=np.uint8)
    yield Payload(b"payload")
    yield source_array(3 * MIB)


PIECES = b"bytesbytearrayace\0\1\2payload" + source_bytes(3 * MIB)


async def asynchronous(items: Iterator[Any]) -> AsyncIterator[Any]:
    for item in items:
        await asyncio.sleep(0)
        yield item


async def test_a_body_may_be_an_iterator(client: AsyncClient, blocking: Client) -> None:
    sources: list[Callable[[], Awaitable[Response]]] = []
    with HostileServer(echo) as server:
        sources = [
            lambda: client.post(server.url, asynchronous(pieces())),
            lambda: client.post(server.url, pieces()),
            lambda: client.post(server.url, list(pieces())),
            lambda: asyncio.to_thread(blocking.post, server.url, pieces()),
            lambda: asyncio.to_thread(blocking.post, server.url, list(pieces())),
        ]
        assert [bytes((await send()).body) == PIECES for send in sources] == [True] * 5
        assert {head.header("transfer-encoding") for head in server.heads} == {"chunked"}


@pytest.mark.parametrize(
    ("userinfo", "credentials"),
    [("user:secret@", b"user:secret"), ("user@", b"user:"), ("m%40e:p%3Aw%C3%BC@", "m@e:p:wü".encode())],
)
def test_userinfo_of_the_url_is_sent_as_basic_authentication(
    userinfo: str, credentials: bytes, blocking: Client
) -> None:
    with HostileServer(answer()) as server:
        url = server.url.replace("http://", f"http://{userinfo}")
        blocking.get(url)
        assert server.heads[0].header("authorization") == f"Basic {base64.b64encode(credentials).decode()}"
        assert server.heads[0].header("host") == f"127.0.0.1:{server.port}"


def test_a_header_of_the_caller_goes_before_userinfo(blocking: Client) -> None:
    with HostileServer(answer()) as server:
        blocking.get(server.url.replace("http://", "http://user:secret@"), headers={"Authorization": "Bearer mine"})
        assert server.heads[0].header("authorization") == "Bearer mine"


async def test_a_blocking_client_refuses_an_asynchronous_iterator(blocking: Client) -> None:
    with HostileServer(echo) as server:
        with pytest.raises(TypeError, match="AsyncClient"):
            blocking.post(server.url, asynchronous(pieces()))
        assert server.connections == []


class OutOfPaperError(Exception):
    """What an iterator of ours raises."""


async def test_an_error_of_the_iterator_is_raised_as_it_is_and_no_end_is_sent(
    client: AsyncClient, blocking: Client
) -> None:
    with HostileServer([ReadHead(), Drain()]) as server:

        def failing(part: bytes) -> Iterator[bytes]:
            yield part
            wait_until(lambda: part in server.received)
            raise OutOfPaperError("in the middle")

        with pytest.raises(OutOfPaperError, match="in the middle"):
            await client.post(server.url, asynchronous(failing(b"first")))
        with pytest.raises(OutOfPaperError, match="in the middle"):
            blocking.post(server.url, failing(b"second"))
        await asyncio.to_thread(server.wait_for_the_end, count=2)
        assert b"0\r\n\r\n" not in server.received


@pytest.mark.parametrize("item", ["text", 3, None])
async def test_an_item_without_bytes_is_a_type_error(item: Any, client: AsyncClient) -> None:
    with HostileServer([ReadHead(), Drain()]) as server, pytest.raises(TypeError):
        await client.post(server.url, asynchronous(iter([b"first", item])))


@pytest.mark.parametrize("kind", ["async", "iterator in an await", "blocking"])
async def test_an_iterator_is_asked_no_faster_than_its_bytes_leave(
    kind: str, client: AsyncClient, blocking: Client
) -> None:
    asked = itertools.count()

    def endless() -> Iterator[bytes]:
        while next(asked) < 1_000:
            yield bytes(MIB)

    timeouts = Timeouts(connect=9, first_byte=9, idle=0.5, total=9)
    with HostileServer([ReadHead(), Stall()], receive_buffer=8_192) as server:
        calls: dict[str, Callable[[], Awaitable[Response]]] = {
            "async": lambda: client.post(server.url, asynchronous(endless()), timeouts=timeouts),
            "iterator in an await": lambda: client.post(server.url, endless(), timeouts=timeouts),
            "blocking": lambda: asyncio.to_thread(blocking.post, server.url, endless(), timeouts=timeouts),
        }
        with pytest.raises(GatewayTimeout) as caught:
            await calls[kind]()
    assert (caught.value.timeout, next(asked) < 64) == ("idle", True)


async def test_a_cancelled_upload_closes_its_iterator(client: AsyncClient) -> None:
    closed = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        try:
            while True:
                yield bytes(65_536)
        finally:
            closed.set()

    with HostileServer([ReadHead(), Stall(), Drain()]) as server:
        call = asyncio.create_task(client.post(server.url, endless()))
        await asyncio.to_thread(server.wait_for, "stalled")
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        server.release()
        await asyncio.to_thread(server.wait_for_the_end)
    await asyncio.wait_for(closed.wait(), 5)


async def test_both_directions_stream_at_once(client: AsyncClient) -> None:
    def answering_early(connection: Connection) -> None:
        connection.read_head()
        connection.send(CHUNKED_HEAD + b"4\r\npong\r\n")
        connection.read_body()
        connection.send(b"4\r\ndone\r\n0\r\n\r\n")

    heard = asyncio.Event()

    async def asking() -> AsyncIterator[bytes]:
        yield b"ping"
        await asyncio.wait_for(heard.wait(), 5)
        yield b"heard"

    with HostileServer(answering_early) as server:
        async with client.stream("POST", server.url, body=asking()) as reply:
            chunks = reply.aiter_bytes()
            assert bytes(await anext(chunks)) == b"pong"
            heard.set()
            assert b"".join([bytes(chunk) async for chunk in chunks]) == b"done"
        assert server.bodies == [b"pingheard"]


# ---- progress


async def test_progress_ends_at_the_totals(agent: NativeServer, client: AsyncClient) -> None:
    progress = Progress()
    await client.post(f"{agent.url}/echo", source_array(5 * MIB), progress=progress)
    read = (progress.sent, progress.total_send, progress.received, progress.total_receive)
    assert read == (5 * MIB, 5 * MIB, 5 * MIB, 5 * MIB)


async def test_progress_is_read_while_the_call_runs(client: AsyncClient) -> None:
    progress = Progress()
    half: Scenario = [ReadRequest(), Send(HEAD + b"content-length: 8\r\n\r\nhalf"), Stall(), Send(b"half")]
    with HostileServer(half) as server:
        call = asyncio.create_task(client.post(server.url, b"request", progress=progress))
        await asyncio.to_thread(server.wait_for, "stalled")
        while progress.received != 4:  # bounded by the client's idle timeout
            assert not call.done()
            await asyncio.sleep(0.001)
        assert (progress.sent, progress.total_send, progress.total_receive) == (7, 7, 8)
        server.release()
        await call
    assert progress.received == 8


async def test_progress_of_a_stream_has_no_total(client: AsyncClient) -> None:
    progress = Progress()
    with HostileServer(echo) as server:
        await client.post(server.url, asynchronous(pieces()), progress=progress)
    assert (progress.sent, progress.total_send, progress.received) == (len(PIECES), None, len(PIECES))


# ---- HTTP/2 and the choice of it


def test_http2_never_is_http_1(agent: NativeServer) -> None:
    with Client(http2="never") as client:
        assert client.get(f"{agent.url}/source/10").http_version == "HTTP/1.1"


@pytest.mark.parametrize("size", [0, 1, 100_000, 20 * MIB])
def test_http2_carries_the_same_bytes_both_ways(size: int, agent: NativeServer) -> None:
    data = bytearray(source_bytes(size))
    with Client(http2="always") as client:
        up = client.post(f"{agent.url}/sink", data)
        down = client.get(f"{agent.url}/source/{size}")
    assert json.loads(up.text) == {"bytes": size, "sha256": sha256(data).hexdigest()}
    assert (bytes(down.body) == data, up.http_version, down.http_version) == (True, "HTTP/2", "HTTP/2")


def test_http2_always_against_a_server_without_it_is_an_error() -> None:
    with (
        HostileServer([ReadHead(), Close()]) as server,
        Client(http2="always", timeouts=SHORT) as client,
        pytest.raises(GatewayError),
    ):
        client.post(server.url, b"x")


# ---- connections that are used again


def test_a_streamed_body_is_not_sent_again_empty() -> None:
    def once() -> Iterator[bytes]:
        yield b"only once"

    retry = Retry(attempts=3, non_idempotent=True)
    with HostileServer([ReadRequest(), Close()]) as server, Client(retry=retry) as client:
        with pytest.raises(ConnectionLost):
            client.post(server.url, once(), timeouts=SHORT)
        assert len(server.heads) == 1


@pytest.mark.parametrize("status", ["307 Temporary Redirect", "308 Permanent Redirect"])
def test_a_streamed_body_is_not_redirected_empty(status: str) -> None:
    headers = [("location", "/elsewhere")]
    with HostileServer(answer(status=status, headers=headers)) as server, Client(follow_redirects=True) as client:
        with pytest.raises(InvalidRequest, match="sent again"):
            client.post(server.url, iter([b"part"]), timeouts=SHORT)
        assert [head.target for head in server.heads] == ["/"]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_body_of_unknown_length_is_refused_where_it_would_be_dropped(method: str, blocking: Client) -> None:
    with HostileServer(answer()) as server:
        with pytest.raises(InvalidRequest, match=f"{method} request cannot have a body of unknown length"):
            blocking.request(method, server.url, body=iter([b"part"]))
        assert server.connections == []


def test_a_reply_that_nobody_asked_for_is_not_the_reply_to_the_next_request(blocking: Client) -> None:
    unsolicited = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n"

    def twice(connection: Connection) -> None:
        connection.read_head()
        connection.send(response(b"mine"))
        connection.send(unsolicited)
        connection.drain()

    with HostileServer(twice) as server:
        for calls in range(1, 21):
            assert blocking.get(server.url).status == 200
            server.wait_for("sent", count=2 * calls)


def test_a_body_of_unknown_length_reaches_a_peer_that_spoke_http_1_0_before(blocking: Client) -> None:
    old = b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nok"
    with HostileServer([Repeat([ReadRequest(), Send(old)])]) as server:
        blocking.get(server.url)
        blocking.post(server.url, iter([b"par", b"ts"]))
        assert server.heads[1].header("transfer-encoding") == "chunked"
        assert b"par" in server.received


@pytest.mark.parametrize(
    ("method", "reply"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 40\r\n\r\n"),
        ("GET", b"HTTP/1.1 304 Not Modified\r\ncontent-encoding: gzip\r\n\r\n"),
        ("GET", b"HTTP/1.1 204 No Content\r\ncontent-encoding: br\r\n\r\n"),
        ("GET", b"HTTP/1.1 200 OK\r\ncontent-encoding: zstd\r\ncontent-length: 0\r\n\r\n"),
    ],
)
def test_a_coding_of_no_body_is_no_error(method: str, reply: bytes) -> None:
    with (
        HostileServer([Repeat([ReadRequest(), Send(reply)])]) as server,
        Client(accept_encoding=("gzip", "br", "zstd"), timeouts=SHORT) as client,
    ):
        assert bytes(client.request(method, server.url).body) == b""


def test_closing_a_client_closes_the_connections_that_wait() -> None:
    with HostileServer(answer()) as server:
        with Client(timeouts=SHORT) as client:
            client.get(server.url)
        server.wait_for_the_end()
