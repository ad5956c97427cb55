"""Replies as documents: parsed off the GIL, never on the thread of an event loop."""

import asyncio
import gc
import json
from typing import Any

import pytest

from mcpgateway_rust import AsyncClient, Client, Document, Payload
from mcpgateway_rust.exceptions import EventLoopError, GatewayError, InvalidReply, JsonError
from mcpgateway_rust.services.a2a_service import AgentReply, AsyncA2AClient
from support.hostile import HostileServer, answer
from support.native_server import NativeServer

SMALL = {"jsonrpc": "2.0", "id": 7, "result": {"parts": [{"kind": "text", "text": "é"}]}}
LARGE = {**SMALL, "result": {"rows": [[number, number / 8, f"n°{number}"] for number in range(20_000)]}}


def text_of(value: Any) -> bytes:
    return json.dumps(value).encode()


@pytest.fixture
async def large_reply(agent: NativeServer, client: AsyncClient) -> Any:
    """A reply of more than is parsed in place."""
    return await client.post(f"{agent.url}/echo", text_of(LARGE))


@pytest.mark.parametrize("value", [SMALL, LARGE, [], "text", None])
def test_a_reply_in_a_thread_is_a_document(value: Any, agent: NativeServer, blocking: Client) -> None:
    reply = blocking.post(f"{agent.url}/echo", text_of(value))
    document = reply.json()
    assert isinstance(document, Document)
    assert document.value() == value
    assert reply.json().value() == value


async def test_a_small_reply_on_a_loop_is_a_document_at_once(agent: NativeServer, client: AsyncClient) -> None:
    reply = await client.post(f"{agent.url}/echo", text_of(SMALL))
    assert reply.json()["result"]["parts"][0]["text"] == "é"
    assert (await reply.document()).value() == SMALL


async def test_a_large_reply_is_not_parsed_on_the_thread_of_a_loop(large_reply: Any) -> None:
    with pytest.raises(EventLoopError, match=r"document\(\)"):
        large_reply.json()
    document = await large_reply.document()
    assert document.value() == LARGE
    assert large_reply.json().value() == LARGE
    assert (await large_reply.document())["id"] == 7


async def test_a_large_reply_may_be_parsed_by_another_thread(large_reply: Any) -> None:
    assert (await asyncio.to_thread(large_reply.json)).value() == LARGE


async def test_a_document_is_asked_for_many_times_at_once(large_reply: Any) -> None:
    documents = await asyncio.gather(*(large_reply.document() for _ in range(20)))
    assert all(document.at("/result/rows/19999/0") == 19_999 for document in documents)


async def test_a_document_outlives_its_reply_and_a_hundred_others(agent: NativeServer, client: AsyncClient) -> None:
    document = await (await client.post(f"{agent.url}/echo", text_of(LARGE))).document()
    raw = document["result"]["rows"][7].raw()
    gc.collect()
    for number in range(100):
        await client.post(f"{agent.url}/echo", text_of([number] * 100_000))
    assert (document.value(), bytes(raw)) == (LARGE, b'[7, 0.875, "n\\u00b07"]')


@pytest.mark.parametrize("body", [b"<html>", b"", b'{"a": 1', b"\xff\xfe1\x00"])
async def test_a_reply_that_is_no_json_is_an_error_that_says_where(body: bytes, client: AsyncClient) -> None:
    with HostileServer(answer(body)) as server:
        reply = await client.get(server.url)
    for read in (reply.json, lambda: Document(reply.body)):
        with pytest.raises(JsonError) as caught:
            read()
        assert (caught.value.phase, isinstance(caught.value, ValueError)) == ("parse", True)
    with pytest.raises(JsonError):
        await reply.document()
    assert bytes(reply.body) == body


async def test_a_reply_that_went_elsewhere_has_no_document(agent: NativeServer, client: AsyncClient) -> None:
    text = text_of(SMALL)
    room = bytearray(len(text))
    reply = await client.post(f"{agent.url}/echo", text, into=room)
    with pytest.raises(GatewayError):
        reply.json()
    assert Document(room).value() == SMALL


async def test_the_body_of_a_reply_is_not_written_to(large_reply: Any) -> None:
    before = bytes(large_reply.body)
    await large_reply.document()
    large_reply.json().value()
    assert bytes(large_reply.body) == before == text_of(LARGE)


async def test_a_reply_is_sent_on_with_another_id(large_reply: Any, agent: NativeServer, client: AsyncClient) -> None:
    document = await large_reply.document()
    forwarded = document.splice({"/id": b'"for you"'})
    assert isinstance(forwarded, Payload)
    again = await client.post(f"{agent.url}/echo", forwarded)
    assert bytes(again.body) == text_of(LARGE).replace(b'"id": 7', b'"id": "for you"')


# ---- replies of agents


MESSAGE = {"kind": "message", "parts": [{"kind": "text", "text": "é"}, {"kind": "file", "file": {"bytes": "QUJD"}}]}
TASK = {
    "kind": "task",
    "artifacts": [{"parts": [{"text": "a"}, {"text": "b"}]}, {"parts": []}, {"parts": [{"raw": "QQ"}]}],
}


def reply_of(value: Any) -> AgentReply:
    return AgentReply(Document(text_of(value)))


async def test_what_an_agent_says_is_looked_into_and_passed_on(agent: NativeServer) -> None:
    call = {"jsonrpc": "2.0", "id": 41, "method": "message/send"}
    message = {"kind": "message", "role": "user", "messageId": "m", "parts": [{"kind": "text", "text": "hello"}]}
    async with AsyncA2AClient(f"{agent.url}/a2a") as client:
        response = await client.invoke(text_of({**call, "params": {"message": message}}))
    reply = AgentReply(await response.document())
    assert (reply.id == 41, reply.error, [part.text for part in reply.parts]) == (True, None, ["hello"])
    assert json.loads(bytes(reply.with_id("mine"))) == {**json.loads(response.text), "id": "mine"}


def test_the_parts_of_a_message_and_those_of_a_task_are_found() -> None:
    message, task = reply_of({"id": 1, "result": MESSAGE}), reply_of({"id": "x", "result": TASK})
    assert message.result is not None
    assert (message.result == MESSAGE, message.error, message.artifacts) == (True, None, [])
    assert [part.node.value() for part in message.parts] == MESSAGE["parts"]
    assert bytes(message.parts[1].base64()) == b"ABC"
    assert [artifact.value() for artifact in task.artifacts] == TASK["artifacts"]
    assert [part.node.value() for part in task.parts] == [{"text": "a"}, {"text": "b"}, {"raw": "QQ"}]
    assert bytes(task.parts[2].base64()) == b"A"


def test_a_reply_of_failure_has_an_error_and_no_result() -> None:
    reply = reply_of({"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": "no"}})
    assert reply.error is not None
    assert (reply.result, reply.error["code"] == -32600, reply.parts, reply.artifacts) == (None, True, [], [])


@pytest.mark.parametrize(
    "strange", [{}, {"result": None}, {"result": 7}, {"result": {"parts": 7}}, {"result": {"artifacts": [7]}}]
)
def test_a_reply_of_another_form_has_no_parts(strange: Any) -> None:
    reply = reply_of(strange)
    assert (reply.parts, [node.value() for node in reply.artifacts if node.kind == "object"]) == ([], [])


@pytest.mark.parametrize("text", [b"[]", b"7", b'{"id": 1, "id": 2}', b'{"id": 1, "result": {}, "res\\u0075lt": {}}'])
def test_what_two_readers_could_take_for_two_replies_is_refused(text: bytes) -> None:
    with pytest.raises(InvalidReply):
        AgentReply(Document(text))


def test_another_id_leaves_every_other_byte() -> None:
    text = b' {"id" : 7,\n "result": {"id": 7, "big": [1,  2.50]}} '
    for new, written in ((8, b"8"), ('a"b', b'"a\\"b"'), (None, b"null")):
        assert bytes(AgentReply(Document(text)).with_id(new)) == text.replace(b"7", written, 1)
    without = AgentReply(Document(b'{"result": 1}'))
    assert (without.id, json.loads(bytes(without.with_id(5)))) == (None, {"result": 1, "id": 5})
