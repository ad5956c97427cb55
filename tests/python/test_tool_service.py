"""Tools: filters, schemas, many calls at once, and plain HTTP endpoints. MCP itself: test_tools_mcp.py."""

import asyncio
import base64
import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mcpgateway_rust import Document, Payload
from mcpgateway_rust.exceptions import GatewayTimeout, InvalidReply, InvalidRequest, LimitExceeded, PointerError
from mcpgateway_rust.services.tool_service import AsyncRestTool, AsyncToolClient, RestTool, ToolClient, invoke_tool
from support.mcp_peer import McpPeer
from support.process import environment
from support.rest_peer import RestPeer
from support.waiting import wait_until


async def test_arguments_of_an_endpoint_go_where_they_belong(rest: RestPeer) -> None:
    url, headers = f"{rest.url}/items/{{item}}", {"X-Token": "token"}
    async with AsyncRestTool(url, query=["tag", "q"], header_arguments=headers) as tool:
        result = await tool.call({"item": 7, "q": "a&b c", "tag": ["x", "ü"], "token": "t"})
        assert result.structured is not None
        assert result.structured.value() == {"item": 7, "q": "a&b c", "tags": ["x", "ü"], "token": "t"}
        assert (result.status, result.is_error, result.content[0].type) == (200, False, "text")
        with pytest.raises(InvalidRequest, match="item"):
            await tool.call({"q": "no item"})


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
def test_an_endpoint_is_called_by_any_method(rest: RestPeer, method: str) -> None:
    with RestTool(f"{rest.url}/seen/a/{{b}}", method=method) as tool:
        seen = tool.call({"b": "c/d", "n": 1}).structured
        assert seen is not None
    expected = ("n=1", "") if method in ("GET", "DELETE") else ("", '{"n":1}')
    assert (seen["method"].value(), seen["path"].value()) == (method, "/seen/a/c%2Fd")
    assert (seen["query"].value(), seen["body"].value()) == expected


def test_no_argument_leads_out_of_the_path(rest: RestPeer) -> None:
    with RestTool(f"{rest.url}/seen/{{a}}/x") as tool, pytest.raises(InvalidRequest):
        tool.call({"a": ".."})
    with pytest.raises(InvalidRequest):
        RestTool("http://{host}/x")


async def test_forms_and_files_are_sent_as_such(rest: RestPeer) -> None:
    async with AsyncRestTool(f"{rest.url}/form", method="POST", body="form") as tool:
        form = await tool.call({"name": "a b&c", "count": 3})
        assert form.structured is not None
        assert form.structured.value() == {"name": "a b&c", "count": 3}
    document = np.arange(1 << 20, dtype="u4")
    async with AsyncRestTool(f"{rest.url}/upload", method="POST", body="multipart") as tool:
        upload = await tool.call({"title": "ü", "document": document})
        assert upload.structured is not None
        found = upload.structured.value()
    assert (found["title"], found["bytes"]) == ("ü", document.nbytes)
    assert found["sha256"] == hashlib.sha256(document.tobytes()).hexdigest()


async def test_what_is_no_json_comes_as_it_is(rest: RestPeer) -> None:
    async with AsyncRestTool(f"{rest.url}/binary/{{length}}") as tool:
        result = await tool.call({"length": 1 << 20})
        content = result.content[0]
        assert (result.structured, content.type, content.mime_type) == (None, "resource", "application/octet-stream")
        assert bytes(await content.payload_async()) == bytes(number % 251 for number in range(1 << 20))
    async with AsyncRestTool(f"{rest.url}/image") as tool:
        assert (await tool.call()).content[0].type == "image"
    async with AsyncRestTool(f"{rest.url}/text") as tool:
        assert (await tool.call()).text == "naïve text"
    async with AsyncRestTool(f"{rest.url}/fail/{{status}}") as tool:
        failed = await tool.call({"status": 503}, pointer="/no/such/place")
        assert (failed.is_error, failed.status, failed.selected) == (True, 503, None)


async def test_a_result_is_selected_from_off_the_gil(rest: RestPeer) -> None:
    async with AsyncRestTool(f"{rest.url}/numbers/{{count}}") as tool:
        by_pointer = await tool.call({"count": 5}, pointer="/numbers/3")
        by_filter = await tool.call({"count": 5}, jq="[.numbers[] | select(. > 2)]")
        several = await tool.call({"count": 3}, jq=".numbers[]")
        assert [result.selected and result.selected.value() for result in (by_pointer, by_filter, several)] == [
            3,
            [3, 4],
            [0, 1, 2],
        ]
        with pytest.raises(PointerError):
            await tool.call({"count": 5}, pointer="/numbers/9")
        with pytest.raises(InvalidRequest, match="jq"):
            await tool.call({"count": 5}, jq=".numbers[")


async def test_a_filter_that_loops_or_grows_harms_nobody(rest: RestPeer) -> None:
    async with AsyncRestTool(f"{rest.url}/numbers/{{count}}") as tool:
        with pytest.raises(GatewayTimeout) as late:
            await tool.call({"count": 1}, jq="def f: f; f", filter_seconds=0.2)
        assert late.value.timeout == "filter"
        with pytest.raises(LimitExceeded) as grown:
            await tool.call({"count": 1}, jq="[range(1e12)]", filter_memory=128 << 20, filter_seconds=60)
        assert (grown.value.limit, grown.value.value) == ("filter_memory", 128 << 20)


async def test_an_output_schema_is_kept_to_or_named(rest: RestPeer) -> None:
    def schema(kind: str) -> dict[str, Any]:
        return {"type": "object", "properties": {"numbers": {"type": "array", "items": {"type": kind}}}}

    async with AsyncRestTool(f"{rest.url}/numbers/{{count}}") as tool:
        await tool.call({"count": 3}, output_schema=schema("integer"))
        with pytest.raises(InvalidReply, match="/numbers/0"):
            await tool.call({"count": 3}, output_schema=json.dumps(schema("string")).encode())
        with pytest.raises(InvalidRequest, match="schema"):
            await tool.call({"count": 3}, output_schema={"type": "nothing"})
        with pytest.raises(InvalidRequest, match="schema"):
            await tool.call({"count": 3}, output_schema={"$ref": f"{rest.url}/text"})


async def test_many_calls_cross_at_once_and_one_failure_loses_none(mcp_2: McpPeer) -> None:
    async with AsyncToolClient(mcp_2.url) as client:
        calls: list[tuple[str, Any]] = [("echo", {"text": str(number)}) for number in range(50)]
        calls[7] = ("nothing like it", None)
        results = await client.call_many(calls, concurrency=8)
    texts = [result.text if not isinstance(result, Exception) else type(result).__name__ for result in results]
    assert texts == [str(number) if number != 7 else "InvalidParams" for number in range(50)]


async def test_arguments_are_taken_in_any_form(mcp_2: McpPeer) -> None:
    large = np.arange(1 << 20, dtype="u1")
    async with AsyncToolClient(mcp_2.url) as client:
        for arguments, said in [
            ({"text": 'a"\\\n\x01é'}, 'a"\\\n\x01é'),
            (b'{"text": "bytes"}', "bytes"),
            (Document(b'{"text": "a document"}'), "a document"),
            ({"text": Document(b'["in", "a node"]')[1]}, "a node"),
            (Payload.join([b'{"text":"', b"a rope", b'"}']), "a rope"),
            ({"text": large}, base64.b64encode(large.tobytes()).decode()),
            ({"text": "x" * (1 << 20) + '"\n'}, "x" * (1 << 20) + '"\n'),
        ]:
            assert (await client.call("echo", arguments)).text == said
        for refused in (b'{"text":"x"},"method":"y"', b"[]", ["text"], {"text": float("nan")}, {"text": object()}):
            with pytest.raises((InvalidRequest, ValueError, TypeError)):
                await client.call("echo", refused)


def test_a_filter_of_an_mcp_tool_sees_its_structured_content_or_the_json_of_its_text(mcp_2: McpPeer) -> None:
    with ToolClient(mcp_2.url) as client:
        rows = client.call("structured", {"length": 4096}, jq=".rows | length").selected
        assert rows is not None
        assert rows.value() == 4
        text = client.call("echo", {"text": '{"a": [1, 2]}'}, pointer="/a/1").selected
        assert text is not None
        assert text.value() == 2
        with pytest.raises(InvalidReply, match="not JSON"):
            client.call("echo", {"text": "no"}, pointer="/a")
    selected = invoke_tool(mcp_2.url, "structured", {"length": 1024}, pointer="/rows/0/id").selected
    assert selected is not None
    assert selected.value() == 0


async def test_a_call_that_is_cancelled_while_it_is_filtered_leaves_no_process(rest: RestPeer) -> None:
    async with AsyncRestTool(f"{rest.url}/numbers/{{count}}") as tool:
        before = children()
        call = asyncio.ensure_future(tool.call({"count": 1}, jq="def f: f; f", filter_seconds=600))
        await asyncio.to_thread(wait_until, lambda: children() != before, what="there is a child")
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        wait_until(lambda: children() == before, what="the child is gone")


def children() -> set[str]:
    """The processes that this one has made and that have not ended."""
    return {child for task in Path("/proc/self/task").glob("*/children") for child in task.read_text().split()}


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        ((), 0, "echo\t"),
        (("echo", '{"text": "hello"}'), 0, "hello\n"),
        (("structured", '{"length": 1024}', "--pointer", "/rows/0/id"), 0, "0\n"),
        (("fail", '{"message": "no"}'), 1, "no\n"),
    ],
)
def test_a_tool_is_called_from_the_command_line(
    mcp_2: McpPeer, arguments: tuple[str, ...], status: int, said: str
) -> None:
    command = [sys.executable, "-m", "mcpgateway_rust.cli", "call", mcp_2.url, *arguments]
    finished = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=60, check=False)
    assert finished.returncode == status, finished.stderr
    assert said in finished.stdout
