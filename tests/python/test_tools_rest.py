"""REST endpoints as tools: a service made with FastAPI says what arrived, and replies in each way that there is."""

import asyncio
import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Any

import pytest

from mcpgateway_rust import Guard, Limits, Timeouts
from mcpgateway_rust.exceptions import (
    AddressRefused,
    GatewayTimeout,
    InvalidReply,
    InvalidRequest,
    LimitExceeded,
)
from mcpgateway_rust.services.tool_service import AsyncRestTool, RestTool, ToolResult
from support.mcp_server import sample
from support.rest_peer import RestPeer
from support.rest_server import PNG

BRIEF = Timeouts(connect=10, first_byte=20, idle=20, total=40)
"""So that a mistake is a failure and not a hang."""


async def call(url: str, arguments: Mapping[str, Any] | None = None, **options: Any) -> ToolResult:
    """One call of the endpoint at `url`."""
    async with AsyncRestTool(url, timeouts=BRIEF, **options) as tool:
        return await tool.call(arguments)


async def seen(url: str, arguments: Mapping[str, Any] | None = None, **options: Any) -> Any:
    """What of one call arrived at the service."""
    result = await call(url, arguments, **options)
    assert result.structured is not None
    return result.structured.value()


# ---- Where arguments go


async def test_each_argument_goes_where_it_belongs(rest: RestPeer) -> None:
    arguments = {"item": 3, "q": "a b&c", "tag": ["1", "ü"], "token": "secret"}
    result = await call(
        f"{rest.url}/items/{{item}}", arguments, query=["q", "tag"], header_arguments={"x-token": "token"}
    )
    assert result.structured is not None
    assert result.structured.value() == {"item": 3, "q": "a b&c", "tags": ["1", "ü"], "token": "secret"}
    assert (result.status, result.is_error) == (200, False)


async def test_an_argument_of_the_path_stays_one_step(rest: RestPeer) -> None:
    found = await seen(f"{rest.url}/seen/{{name}}/end", {"name": "a/b ü?#%2F"})
    assert found["path"] == "/seen/a%2Fb%20%C3%BC%3F%23%252F/end"


@pytest.mark.parametrize("name", ["..", ".", "%2e%2e"])
async def test_no_argument_leads_out_of_the_path(rest: RestPeer, name: str) -> None:
    if "%" in name:  # its percent sign is encoded, so that it is a name like any other
        assert (await seen(f"{rest.url}/seen/{{name}}", {"name": name}))["path"] == "/seen/%252e%252e"
    else:
        with pytest.raises(InvalidRequest) as raised:
            await call(f"{rest.url}/seen/{{name}}", {"name": name})
        assert raised.value.sent == "no"


async def test_an_argument_that_the_path_needs_has_to_be_there(rest: RestPeer) -> None:
    with pytest.raises(InvalidRequest, match="name") as raised:
        await call(f"{rest.url}/seen/{{name}}", {"other": 1})
    assert raised.value.sent == "no"


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
async def test_what_is_left_is_a_json_body(rest: RestPeer, method: str) -> None:
    data = sample(300_000)
    arguments = {"id": 7, "text": "é", "nested": {"a": [1, None, True]}, "data": memoryview(data)}
    found = await seen(f"{rest.url}/seen/{{id}}", arguments, method=method)
    assert (found["method"], found["path"]) == (method, "/seen/7")
    assert ["content-type", "application/json"] in found["headers"]
    encoded = base64.b64encode(data).decode()
    assert json.loads(found["body"]) == {"text": "é", "nested": {"a": [1, None, True]}, "data": encoded}


@pytest.mark.parametrize("method", ["GET", "DELETE", "OPTIONS"])
async def test_where_there_is_no_body_what_is_left_goes_into_the_query(rest: RestPeer, method: str) -> None:
    found = await seen(f"{rest.url}/seen/x", {"a": 1, "b": ["y z", True]}, method=method)
    assert (found["method"], found["query"], found["bytes"]) == (method, "a=1&b=y%20z&b=true", 0)


async def test_a_form_is_read_by_the_service(rest: RestPeer) -> None:
    found = await seen(f"{rest.url}/form", {"name": "ä&=+ b", "count": 2}, method="POST", body="form")
    assert found == {"name": "ä&=+ b", "count": 2}


async def test_a_file_of_a_multipart_body_arrives_as_it_is(rest: RestPeer) -> None:
    data = bytes(range(256)) * 4000
    found = await seen(f"{rest.url}/upload", {"title": "ü", "document": data}, method="POST", body="multipart")
    assert (found["title"], found["bytes"]) == ("ü", len(data))
    assert found["sha256"] == hashlib.sha256(data).hexdigest()


# ---- What a reply is


async def test_a_binary_reply_is_bytes_and_no_text(rest: RestPeer) -> None:
    result = await call(f"{rest.url}/binary/{{length}}", {"length": 100_000})
    (part,) = result.content
    assert part.mime_type == "application/octet-stream"
    assert bytes(part.payload()) == bytes(number % 251 for number in range(100_000))
    assert result.structured is None


async def test_an_image_is_an_image(rest: RestPeer) -> None:
    (part,) = (await call(f"{rest.url}/image")).content
    assert (part.mime_type, bytes(part.payload())) == ("image/png", PNG)


async def test_a_text_is_a_text(rest: RestPeer) -> None:
    result = await call(f"{rest.url}/text")
    assert (result.text, result.content[0].text, result.content[0].mime_type) == (
        "naïve text",
        "naïve text",
        "text/plain",
    )


async def test_a_reply_without_a_body_is_a_result_all_the_same(rest: RestPeer) -> None:
    result = await call(f"{rest.url}/nothing")
    assert (result.status, result.is_error, result.structured, result.text) == (204, False, None, "")


@pytest.mark.parametrize("status", [400, 418, 500])
async def test_a_status_of_failure_is_a_result_that_says_so(rest: RestPeer, status: int) -> None:
    result = await call(f"{rest.url}/fail/{{status}}", {"status": status})
    assert (result.status, result.is_error) == (status, True)
    assert result.structured is not None
    assert result.structured.value() == {"detail": f"as asked: {status}"}


async def test_a_redirect_is_not_followed(rest: RestPeer) -> None:
    result = await call(f"{rest.url}/redirect", {"to": f"{rest.url}/text"})
    assert (result.status, result.is_error) == (307, True)


async def test_a_reply_over_the_limit_is_refused_by_its_name(rest: RestPeer) -> None:
    with pytest.raises(LimitExceeded) as raised:
        await call(f"{rest.url}/text/{{length}}", {"length": 100_000}, limits=Limits(max_response_bytes=1000))
    assert (raised.value.limit, raised.value.value) == ("max_response_bytes", 1000)


# ---- Which addresses may be called


async def test_a_guarded_tool_calls_only_what_it_may(rest: RestPeer) -> None:
    with pytest.raises(AddressRefused) as raised:
        await call(f"{rest.url}/text", guard=Guard())
    assert raised.value.sent == "no"
    assert (await call(f"{rest.url}/text", guard=Guard(allow=["127.0.0.0/8"]))).text == "naïve text"


@pytest.mark.parametrize("option", [{"guard": Guard()}, {"from_peer": True}])
async def test_a_guard_that_would_not_hold_is_refused(rest: RestPeer, option: Any) -> None:
    async with AsyncRestTool(f"{rest.url}/text", timeouts=BRIEF) as tool:
        with pytest.raises(TypeError, match="guard"):
            await tool.call(**option)


async def test_a_redirect_to_an_address_that_is_refused_is_refused(rest: RestPeer) -> None:
    guard = Guard(allow=["127.0.0.1"])
    with pytest.raises(AddressRefused):
        await call(f"{rest.url}/redirect", {"to": "http://127.0.0.2:1/"}, guard=guard, follow_redirects=True)


# ---- What is made of a reply


async def test_a_filter_selects_from_a_reply(rest: RestPeer) -> None:
    async with AsyncRestTool(f"{rest.url}/numbers/{{count}}", timeouts=BRIEF) as tool:
        pointed = await tool.call({"count": 50}, pointer="/numbers/7")
        filtered = await tool.call({"count": 50}, jq="[.numbers[] | select(. % 10 == 0)]")
    assert pointed.selected is not None
    assert filtered.selected is not None
    assert (pointed.selected.value(), filtered.selected.value()) == (7, [0, 10, 20, 30, 40])


async def test_a_filter_that_does_not_end_is_ended(rest: RestPeer) -> None:
    async with AsyncRestTool(f"{rest.url}/numbers/{{count}}", timeouts=BRIEF) as tool:
        with pytest.raises(GatewayTimeout):
            await tool.call({"count": 1}, jq="def f: f; f", filter_seconds=0.2)


async def test_a_filter_that_takes_too_much_memory_is_ended(rest: RestPeer) -> None:
    async with AsyncRestTool(f"{rest.url}/numbers/{{count}}", timeouts=BRIEF) as tool:
        with pytest.raises(LimitExceeded):
            await tool.call({"count": 1}, jq="[limit(1e12; repeat(1))]", filter_memory=64 << 20, filter_seconds=20)


async def test_a_reply_has_to_keep_to_its_schema(rest: RestPeer) -> None:
    strings = {"properties": {"numbers": {"items": {"type": "string"}}}}
    integers = {"properties": {"numbers": {"items": {"type": "integer"}}}}
    async with AsyncRestTool(f"{rest.url}/numbers/{{count}}", timeouts=BRIEF) as tool:
        assert (await tool.call({"count": 3}, output_schema=integers)).structured is not None
        with pytest.raises(InvalidReply):
            await tool.call({"count": 3}, output_schema=strings)
        with pytest.raises(InvalidRequest):
            await tool.call({"count": 3}, output_schema={"type": 7})


# ---- Many, and in threads


async def test_many_calls_at_once_are_not_mixed_up(rest: RestPeer) -> None:
    async with AsyncRestTool(f"{rest.url}/text/{{length}}", timeouts=BRIEF) as tool:
        results = await asyncio.gather(*(tool.call({"length": length}) for length in range(100)))
    lengths = [len(result.structured["text"].value()) for result in results if result.structured is not None]
    assert lengths == list(range(100))


def test_a_blocking_tool_does_the_same(rest: RestPeer) -> None:
    with RestTool(f"{rest.url}/items/{{item}}", query=["q"], timeouts=BRIEF) as tool:
        result = tool.call({"item": 5, "q": "x"})
        assert result.structured is not None
        assert result.structured.value() == {"item": 5, "q": "x", "tags": [], "token": None}
        with pytest.raises(InvalidRequest):
            tool.call({})
