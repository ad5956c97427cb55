"""Parts of messages, judged by an agent of the official SDK: it says what it received, and we compare what we get."""

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mcpgateway_rust import AsyncClient, Document, Payload
from mcpgateway_rust.exceptions import GatewayError, InvalidRequest, WrongKind
from mcpgateway_rust.services.a2a_service import AsyncA2AClient, Message, Part
from support.a2a_calls import HOW, Caller
from support.a2a_peer import BINDINGS, A2APeer, raw_of, sha256, text_of
from support.hostile import Connection, HostileServer

MIB = 1 << 20
both_ways = pytest.mark.parametrize("how", HOW)
every_binding = pytest.mark.parametrize("binding", BINDINGS)


def envelope(*parts: bytes | Payload) -> Payload:
    """A JSON-RPC request of A2A 1.0 around parts that are JSON already."""
    head = b'{"jsonrpc":"2.0","id":1,"method":"SendMessage","params":{"message":'
    return Payload.join([head, b'{"messageId":"1","role":"ROLE_USER","parts":[', *parts, b"]}}}"])


async def digest(caller: Caller, *parts: Part) -> Any:
    """What the agent says of the parts that it received."""
    reply = await caller.send(Message([Part.text("digest"), *parts]))
    return reply.parts[0].data.value()["parts"]


# ---- ropes and documents, by hand


async def test_a_rope_around_a_raw_part_of_64_mib_is_what_the_agent_receives(a2a: A2APeer) -> None:
    raw = raw_of(64 * MIB)
    async with AsyncA2AClient(a2a.endpoint("jsonrpc-1.0")) as agent:
        body = envelope(b'{"text":"digest"},{"raw":"', Payload.base64(raw), b'"}')
        reply = await agent.invoke(body, headers={"content-type": "application/json", "a2a-version": "1.0"})
        document = await reply.document()
    received = document.at("/result/message/parts/0/data/parts").value()
    assert received == [{"kind": "raw", "mediaType": "", "filename": "", "bytes": len(raw), "sha256": sha256(raw)}]


async def test_a_raw_part_of_64_mib_is_decoded_from_where_it_was_received(a2a: A2APeer) -> None:
    async with AsyncClient() as client:
        reply = await client.post(
            a2a.endpoint("jsonrpc-1.0"),
            envelope(b'{"text":"produce raw %d"}' % (64 * MIB)),
            headers={"content-type": "application/json", "a2a-version": "1.0"},
        )
        document = await reply.document()
    assert sha256(bytes(document.at("/result/message/parts/0/raw").base64())) == sha256(raw_of(64 * MIB))


# ---- large ones


@both_ways
@pytest.mark.parametrize(("kind", "mib"), [("raw", 64), ("text", 8)])
async def test_a_large_part_arrives_as_it_was_sent(kind: str, mib: int, how: str, a2a: A2APeer) -> None:
    body = raw_of(mib * MIB) if kind == "raw" else text_of(mib * MIB).encode()
    part = Part.raw(body) if kind == "raw" else Part.text(body)
    async with Caller(how, a2a.url("jsonrpc-1.0")) as caller:
        (told,) = await digest(caller, part)
    assert (told["kind"], told["bytes"], told["sha256"]) == (kind, len(body), sha256(body))


@both_ways
@pytest.mark.parametrize(("kind", "mib"), [("raw", 64), ("text", 8)])
async def test_a_large_part_is_received_as_it_is(kind: str, mib: int, how: str, a2a: A2APeer) -> None:
    async with Caller(how, a2a.url("jsonrpc-1.0")) as caller:
        reply = await caller.send(f"produce {kind} {mib * MIB}")
        payload = reply.parts[0].payload()
    expected = raw_of(mib * MIB) if kind == "raw" else text_of(mib * MIB).encode()
    assert isinstance(payload, Payload)
    assert memoryview(payload) == expected


@both_ways
async def test_a_file_is_sent_from_where_it_is(how: str, a2a: A2APeer, tmp_path: Path) -> None:
    path = tmp_path / "report.pdf"
    path.write_bytes(raw_of(5 * MIB + 1))
    async with Caller(how, a2a.url("jsonrpc-1.0")) as caller:
        (told,) = await digest(caller, Part.file(path, media_type="application/pdf"))
    assert (told["kind"], told["bytes"], told["sha256"]) == ("raw", 5 * MIB + 1, sha256(path.read_bytes()))
    assert (told["filename"], told["mediaType"]) == ("report.pdf", "application/pdf")


# ---- of what they are made

RAW_SOURCES: dict[str, Callable[[bytes], Any]] = {
    "bytes": bytes,
    "bytearray": bytearray,
    "memoryview": memoryview,
    "every other byte": lambda data: memoryview(bytes(2 * len(data)))[::2],
    "backwards": lambda data: memoryview(data)[::-1],
    "ndarray": lambda data: np.frombuffer(data, "u1"),
    "matrix": lambda data: np.frombuffer(data[: len(data) // 8 * 8], "f8").reshape(2, -1).T,
    "Payload": Payload,
    "rope": lambda data: Payload.join([data[:7], data[7:]]),
}


@both_ways
@pytest.mark.parametrize("source", RAW_SOURCES)
async def test_a_raw_part_may_be_any_buffer(source: str, how: str, a2a: A2APeer) -> None:
    buffer = RAW_SOURCES[source](raw_of(100_000))
    expected = buffer.tobytes() if isinstance(buffer, memoryview | np.ndarray) else bytes(buffer)
    async with Caller(how, a2a.url("jsonrpc-1.0")) as caller:
        (told,) = await digest(caller, Part.raw(buffer))
    assert (told["bytes"], told["sha256"]) == (len(expected), sha256(expected))


TEXTS = {
    "all of ASCII": "".join(map(chr, range(128))),
    "separators": "\u2028\u2029\x85",
    "of four bytes": "\U0001f600" * 1000,
    "only quotes": '"' * 70_000,
    "only controls": "\x01" * 70_000,
    "nothing": "",
}


@both_ways
@every_binding
@pytest.mark.parametrize("text", TEXTS.values(), ids=list(TEXTS))
async def test_a_text_arrives_whatever_is_in_it(text: str, binding: str, how: str, a2a: A2APeer) -> None:
    async with Caller(how, a2a.url(binding)) as caller:
        told = await digest(caller, Part.text(text), Part.text(text.encode()))
    assert [each["sha256"] for each in told] == [sha256(text.encode())] * 2


@both_ways
async def test_a_text_that_is_no_text_is_refused_before_anything_is_sent(how: str, a2a: A2APeer) -> None:
    async with Caller(how, a2a.url("jsonrpc-1.0")) as caller:
        for text in (b"a\xff", b"\xed\xa0\x80", "\ud800"):
            with pytest.raises((InvalidRequest, UnicodeEncodeError)) as caught:
                await caller.send(Message([Part.text(text)]))
            assert getattr(caught.value, "sent", "no") == "no"


DATA: dict[str, Any] = {
    "an object": {"a": [1.5, None, True], "b": {"c": "d"}},
    "a key named data": {"data": {"x": 1.5}},
    "only a key named data with a text": {"data": "x"},
    "keys of parts": {"text": "a", "raw": "b", "file": {"bytes": "c"}},
    "a list": [1.5, "x"],
    "a text": "x",
    "a number": 1.5,
    "nothing": None,
}


@both_ways
@every_binding
@pytest.mark.parametrize("name", DATA)
async def test_data_go_and_come_back_as_they_are(name: str, binding: str, how: str, a2a: A2APeer) -> None:
    value = DATA[name]
    async with Caller(how, a2a.url(binding)) as caller:
        reply = await caller.send(Message([Part.data(value)]))
        assert reply.parts[0].kind == "data"
        assert reply.parts[0].data.value() == value


@both_ways
async def test_data_may_be_a_document_or_a_node(how: str, a2a: A2APeer) -> None:
    document = Document(b'{"rows": [{"x": 1.5}, {"x": 2.5}]}')
    async with Caller(how, a2a.url("jsonrpc-1.0")) as caller:
        told = await digest(caller, Part.data(document), Part.data(document["rows"][1]))
    assert [each["value"] for each in told] == [document.value(), {"x": 2.5}]


@both_ways
async def test_the_content_of_a_url_is_not_made_up(how: str, a2a: A2APeer) -> None:
    async with Caller(how, a2a.url("jsonrpc-1.0")) as caller:
        reply = await caller.send("parts")
        with pytest.raises(WrongKind):
            reply.parts[2].payload()


# ---- buffers that change


@both_ways
async def test_a_text_that_is_written_to_while_it_is_sent_ends_in_an_answer_or_an_error(how: str) -> None:
    text = bytearray(b"x" * (64 * MIB))
    writing = threading.Event()

    def slow(connection: Connection) -> None:
        connection.read_head()
        connection.event("begun")
        connection.wait(0.1)
        connection.read_body()
        connection.close()

    def write() -> None:
        server.log.wait_for("begun")
        view = memoryview(text)
        while not writing.is_set():
            view[32 * MIB :] = b'"' * (32 * MIB)

    with HostileServer(slow) as server:
        writer = threading.Thread(target=write)
        writer.start()
        try:
            async with Caller(how, server.url, binding="JSONRPC", version="1.0") as caller:
                with pytest.raises(GatewayError):
                    await caller.send(Message([Part.text(text)]))
        finally:
            writing.set()
            writer.join()
    for body in server.bodies:
        json.loads(body)
