"""Texts of Python on their way to an agent and back: every width, short and long, and what is no text."""

import json
from collections.abc import Iterator

import pytest

from mcpgateway_rust import Document, Payload, exports_live
from mcpgateway_rust.exceptions import InvalidRequest
from mcpgateway_rust.services.a2a_service import A2AClient, AsyncA2AClient, Message, Part
from support.native_server import NativeServer

LONG = 70_000
TEXTS = {
    "ascii": 'plain "quoted" \\ text\n\t\x01',
    "latin-1": "Ärger ÿ",
    "two bytes": "東京 ☃ plain",
    "four bytes": "\U0001f600 naïve ☃ plain",
}


@pytest.fixture
def client(agent: NativeServer) -> Iterator[A2AClient]:
    with A2AClient(agent.url) as made:
        yield made


@pytest.mark.parametrize("times", [1, LONG])
@pytest.mark.parametrize("name", TEXTS)
def test_a_str_of_any_width_comes_back_as_it_was(name: str, times: int, client: A2AClient) -> None:
    text = TEXTS[name] * times
    assert client.send(text).text == text
    part = client.send(Part.text(text.encode())).parts[0]
    assert (part.text == text, bytes(part.payload()) == text.encode()) == (True, True)
    assert exports_live() == 0


@pytest.mark.parametrize("times", [1, LONG])
def test_a_lone_surrogate_is_refused(times: int, client: A2AClient) -> None:
    with pytest.raises((UnicodeEncodeError, InvalidRequest)) as caught:
        client.send("\ud800" * times)
    assert isinstance(caught.value, ValueError)
    assert exports_live() == 0


def test_bytes_that_are_no_text_are_refused_before_anything_is_sent(client: A2AClient) -> None:
    with pytest.raises(InvalidRequest, match="UTF-8") as caught:
        client.send(Part.text(b"\xff"))
    assert caught.value.sent == "no"


def test_a_bytearray_of_text_is_copied_and_free_at_once(client: A2AClient) -> None:
    text = bytearray(b"x" * LONG)
    part = Part.text(text)
    text.clear()
    assert client.send(part).text == "x" * LONG


@pytest.mark.parametrize("message", [7, None, [], [7], b"not json", {"no": "parts"}, Payload(b"[]")])
async def test_what_is_no_message_is_refused(message: object, agent: NativeServer) -> None:
    async with AsyncA2AClient(agent.url) as client:
        with pytest.raises((TypeError, ValueError)):
            await client.send(message)  # what the test is about


async def test_a_message_that_somebody_wrote_is_sent_in_the_shape_of_the_agent(agent: NativeServer) -> None:
    modern = {"role": "ROLE_USER", "messageId": "m", "parts": [{"text": "a"}, {"text": "b"}]}
    parts = [{"kind": "text", "text": "a"}, {"kind": "text", "text": "b"}]
    old = json.dumps({"kind": "message", "role": "user", "messageId": "m", "parts": parts}).encode()
    async with AsyncA2AClient(agent.url) as client:
        for message in (modern, old, Document(old), Message(["a", Part.text("b")]), ["a", "b"]):
            assert [part.text for part in (await client.send(message)).parts] == ["a", "b"]
