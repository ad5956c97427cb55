"""That the servers which judge our clients are what the tests take them for: asked by clients that are not ours."""

import base64
from typing import Literal

import httpx
import mcp_types as types
import pytest
from mcp import Client, MCPError
from mcp.client import ClientRequestContext

from support.mcp_peer import McpPeer, Served
from support.mcp_server import RESOURCES, TOOLS, rows, sample
from support.nginx import Nginx
from support.rest_peer import RestPeer


def official(served: Served) -> Client:
    """The official client, pinned to the generation that is asked for."""

    async def elicited(context: ClientRequestContext, params: types.ElicitRequestParams) -> types.ElicitResult:  # noqa: ARG001
        return types.ElicitResult(action="accept", content={"name": "Ada", "age": 36})

    mode: Literal["auto", "legacy"] = "auto" if served.modern else "legacy"
    return Client(served.url, mode=mode, elicitation_callback=elicited)


async def test_the_official_client_finds_both_generations_and_every_page(mcp: Served) -> None:
    async with official(mcp) as client:
        assert client.protocol_version == mcp.protocol
        names, cursor = [], None
        while True:
            page = await client.list_tools(cursor=cursor)
            names += [tool.name for tool in page.tools]
            cursor = page.next_cursor
            if cursor is None:
                break
        assert names == list(TOOLS)
        assert len((await client.list_resources()).resources) < len(RESOURCES)


async def test_the_official_client_reads_what_the_tools_promise(mcp: Served) -> None:
    async with official(mcp) as client:
        text = await client.call_tool("text", {"length": 100_000})
        assert [part.text for part in text.content if isinstance(part, types.TextContent)] == [sample(100_000).decode()]
        structured = await client.call_tool("structured", {"length": 2500})
        assert structured.structured_content == {"rows": rows(2500)}
        assert (await client.call_tool("confirm")).content == [types.TextContent(text="accept")]
        assert (await client.call_tool("fail", {"message": "no"})).is_error
        with pytest.raises(MCPError):
            await client.call_tool("no such tool")
        blob = (await client.read_resource("peer://blob/1000")).contents[0]
        assert isinstance(blob, types.BlobResourceContents)
        assert base64.b64decode(blob.blob) == sample(1000)


async def test_sessions_of_the_older_generation_end_when_they_are_told_to(mcp_1: McpPeer) -> None:
    async with official(Served(mcp_1, "2025-11-25")) as client:
        await client.call_tool("echo", {"text": "a"})
        assert mcp_1.expire() >= 1
        with pytest.raises(MCPError):
            await client.call_tool("echo", {"text": "a"})


def test_nginx_serves_ranges_and_servers_that_do_without_them(nginx: Nginx) -> None:
    (nginx.files / "peers.bin").write_bytes(sample(1000))
    part = {"range": "bytes=10-19"}
    replies = {place: httpx.get(f"{nginx.url}/{place}/peers.bin", headers=part) for place in ("files", "no-ranges")}
    assert (replies["files"].status_code, replies["files"].content) == (206, sample(1000)[10:20])
    assert (replies["no-ranges"].status_code, replies["no-ranges"].content) == (200, sample(1000))
    assert replies["files"].headers["etag"] == replies["no-ranges"].headers["etag"]
    bare = httpx.get(f"{nginx.url}/no-etag/peers.bin").headers
    assert "etag" not in bare
    assert "last-modified" not in bare


def test_the_rest_service_reports_what_arrived(rest: RestPeer) -> None:
    found = httpx.patch(f"{rest.url}/seen/a%2Fb?x=%20", content=b"body", headers={"x-token": "t"}).json()
    assert (found["method"], found["path"], found["query"], found["body"]) == ("PATCH", "/seen/a%2Fb", "x=%20", "body")
    assert ["x-token", "t"] in found["headers"]
