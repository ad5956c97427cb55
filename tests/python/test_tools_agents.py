"""A2A agents as tools, by agents of the official SDK; and what the links of tools and agents lead to."""

import asyncio
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mcpgateway_rust import Document, Guard, Timeouts
from mcpgateway_rust.exceptions import (
    AddressRefused,
    Denied,
    GatewayTimeout,
    HTTPStatusError,
    InvalidRequest,
    PointerError,
    RpcError,
    WrongKind,
)
from mcpgateway_rust.services.a2a_service import AsyncA2AClient, Part
from mcpgateway_rust.services.resource_service import AsyncResourceClient, ResourceClient
from mcpgateway_rust.services.tool_service import AgentTool, AsyncAgentTool, AsyncToolClient, Content, ToolResult
from support.a2a_calls import HOW
from support.a2a_peer import BINDINGS, A2APeer, raw_of, sha256, text_of
from support.hostile import Connection, HostileServer, answer, response
from support.mcp_peer import McpPeer

BRIEF = Timeouts(connect=10, first_byte=20, idle=20, total=40)
"""So that a mistake is a failure and not a hang."""
LOOPBACK = Guard(allow=["127.0.0.1"])
every_binding = pytest.mark.parametrize("binding", BINDINGS)
both_ways = pytest.mark.parametrize("how", HOW)


async def call(url: str, arguments: Mapping[str, Any], how: str = "async", **options: Any) -> ToolResult:
    """One call of the agent at `url`."""
    if how == "async":
        async with AsyncAgentTool(url, timeouts=BRIEF) as tool:
            return await tool.call(arguments, **options)
    with AgentTool(url, timeouts=BRIEF) as tool_for_threads:
        return await asyncio.to_thread(tool_for_threads.call, arguments, **options)


def described(kind: str, filename: str, media_type: str, body: bytes) -> dict[str, Any]:
    """What the agent says of a part that it received."""
    about = {"kind": kind, "mediaType": media_type, "filename": filename}
    return about | {"bytes": len(body), "sha256": sha256(body)}


# ---- Arguments


@both_ways
@every_binding
async def test_arguments_are_the_parts_of_one_message(binding: str, how: str, a2a: A2APeer) -> None:
    scan, table = raw_of(300_000), np.arange(50_000, dtype="u4")
    arguments = {
        "command": "digest",
        "limit": 3,
        "scan": scan,
        "note": Part.raw(b"mine", filename="own.bin", media_type="a/b"),
        "table": table,
        "options": {"deep": [1, None, "ü"]},
        "node": Document(b'{"x": 12345}')["x"],
    }
    result = await call(a2a.url(binding), arguments, how)
    assert result.structured is not None
    *files, data = result.structured["parts"].value()
    assert files == [
        described("raw", "scan", "", scan),
        described("raw", "own.bin", "a/b", b"mine"),
        described("raw", "table", "", table.tobytes()),
    ]
    assert data["value"] == {"limit": 3, "options": {"deep": [1, None, "ü"]}, "node": 12345}


async def test_a_call_without_arguments_is_refused(a2a: A2APeer) -> None:
    with pytest.raises(InvalidRequest):
        await call(a2a.url("jsonrpc-1.0"), {})


@pytest.mark.parametrize("wrong", [{"a": object()}, {1: "a"}, ["a"], None])
async def test_what_is_no_mapping_of_arguments_is_refused(wrong: Any, a2a: A2APeer) -> None:
    with pytest.raises(TypeError):
        await call(a2a.url("jsonrpc-1.0"), wrong)


async def test_options_that_have_no_place_are_refused(a2a: A2APeer) -> None:
    for options in ({"body": b"x"}, {"nothing": 1}, {"finish": 1}):
        with pytest.raises(TypeError):
            await call(a2a.url("jsonrpc-1.0"), {"a": "b"}, **options)


# ---- Results


@both_ways
@every_binding
async def test_parts_are_pieces_of_content(binding: str, how: str, a2a: A2APeer) -> None:
    result = await call(a2a.url(binding), {"command": "parts"}, how)
    text, raw, link, data = result.content
    assert [piece.type for piece in result.content] == ["text", "resource", "resource_link", "data"]
    assert (text.text, bytes(await text.payload_async()), result.text) == (
        text_of(100),
        text_of(100).encode(),
        text_of(100),
    )
    assert (raw.mime_type, raw.name, raw.text) == ("application/octet-stream", "raw.bin", None)
    assert bytes(raw.payload()) == raw_of(100)
    assert (link.uri, link.link, link.mime_type, link.name) == (
        "https://example.com/a.bin", "https://example.com/a.bin", "image/png", "a.png",
    )  # fmt: skip
    with pytest.raises(WrongKind):
        link.payload()
    assert result.structured is not None
    assert result.structured.value() == {"rows": [1.5, None, "x"]}
    assert (data.node is not None, result.status, result.is_error) == (True, 200, False)
    assert result.reply is not None
    assert (result.reply.kind, result.node is not None) == ("message", True)


@pytest.mark.parametrize(("media_type", "kind"), [("image/png", "image"), ("audio/wav", "audio"), (None, "resource")])
async def test_bytes_are_of_the_kind_that_their_media_type_says(media_type: Any, kind: str, a2a: A2APeer) -> None:
    result = await call(a2a.url("jsonrpc-1.0"), {"picture": Part.raw(b"\0\1\2", media_type=media_type)})
    (piece,) = result.content
    assert (piece.type, piece.mime_type, bytes(piece.payload())) == (kind, media_type, b"\0\1\2")


@pytest.mark.parametrize("kind", ["text", "raw"])
async def test_a_large_answer_is_not_a_str(kind: str, a2a: A2APeer) -> None:
    result = await call(a2a.url("jsonrpc-1.0"), {"command": f"task {kind} 20000000"})
    (piece,) = result.content
    expected = text_of(20_000_000).encode() if kind == "text" else raw_of(20_000_000)
    assert bytes(await piece.payload_async()) == expected
    assert result.reply is not None
    assert (result.reply.state, result.transfer.len > 20_000_000) == ("completed", True)


@both_ways
@every_binding
async def test_a_task_that_asks_is_continued_by_its_ids(binding: str, how: str, a2a: A2APeer) -> None:
    asked = await call(a2a.url(binding), {"command": "ask"}, how)
    assert asked.reply is not None
    assert (asked.reply.state, asked.is_error) == ("input-required", False)
    ids = {"task_id": asked.reply.task_id, "context_id": asked.reply.context_id}
    done = await call(a2a.url(binding), {"answer": "blue"}, how, **ids)
    assert done.reply is not None
    assert (done.reply.state, done.reply.task_id) == ("completed", asked.reply.task_id)


@both_ways
async def test_an_error_of_the_agent_is_the_one_that_it_is(how: str, a2a: A2APeer) -> None:
    with pytest.raises(RpcError) as raised:
        await call(a2a.url("jsonrpc-1.0"), {"command": "fail -32004"}, how)
    assert (type(raised.value).__name__, raised.value.code, raised.value.sent) == (
        "UnsupportedOperation",
        -32004,
        "yes",
    )


async def test_an_answer_is_filtered_and_checked(a2a: A2APeer) -> None:
    url, arguments = a2a.url("jsonrpc-1.0"), {"command": "parts"}
    pointed = await call(url, arguments, pointer="/rows/0")
    filtered = await call(url, arguments, jq=".rows | length")
    assert (pointed.selected, filtered.selected) != (None, None)
    assert pointed.selected is not None
    assert filtered.selected is not None
    assert (pointed.selected.value(), filtered.selected.value()) == (1.5, 3)
    with pytest.raises(PointerError):
        await call(url, arguments, pointer="/columns")
    with pytest.raises(GatewayTimeout):
        await call(url, arguments, jq="def f: f; f", filter_seconds=0.2)


async def test_credentials_and_the_guard_are_those_of_the_client(a2a: A2APeer) -> None:
    async with AsyncAgentTool(a2a.url("secured"), token="wrong", timeouts=BRIEF) as tool:
        with pytest.raises(HTTPStatusError) as raised:
            await tool.call({"text": "hello"})
    assert raised.value.response.status == 401
    async with AsyncAgentTool(a2a.url("bare"), guard=Guard(), timeouts=BRIEF) as tool:
        with pytest.raises(AddressRefused):
            await tool.call({"text": "hello"})


# ---- Links


async def link_of_an_agent(url: str, a2a: A2APeer) -> Content:
    """A link in what an agent answered."""
    (link,) = (await call(a2a.url("jsonrpc-1.0"), {"link": Part.url(url)})).content
    return link


async def link_of_a_tool(url: str, mcp_2: McpPeer) -> Content:
    """A link in what a tool answered."""
    async with AsyncToolClient(mcp_2.url, timeouts=BRIEF) as tools:
        (link,) = (await tools.call("link", {"uri": url})).content
    return link


async def part_of_an_agent(url: str, a2a: A2APeer) -> Any:
    """A part of what an agent said."""
    async with AsyncA2AClient(a2a.url("http-1.0"), timeouts=BRIEF) as agent:
        (part,) = (await agent.send([Part.url(url)])).parts
    return part


@pytest.fixture(params=[link_of_an_agent, link_of_a_tool, part_of_an_agent])
def linked(request: pytest.FixtureRequest) -> Callable[[str], Any]:
    """Makes a peer say a link to a URL, in each way in which one can."""
    (name,) = [name for name in inspect.signature(request.param).parameters if name != "url"]
    peer = request.getfixturevalue(name)
    return lambda url: request.param(url, peer)


async def test_a_link_to_an_internal_address_is_refused(linked: Callable[[str], Any]) -> None:
    with HostileServer(answer(b"secret")) as server:
        link = await linked(server.url)
        for guard in (None, Guard(), Guard(only_from_peers=True)):
            async with AsyncResourceClient(guard=guard, timeouts=BRIEF) as resources:
                with pytest.raises(AddressRefused) as refused:
                    await resources.follow(link)
            assert refused.value.sent == "no"
        assert server.connections == []


async def test_a_link_to_an_address_that_is_allowed_is_fetched(linked: Callable[[str], Any]) -> None:
    with HostileServer(answer(b"a document")) as server:
        link = await linked(server.url)
        async with AsyncResourceClient(guard=LOOPBACK, timeouts=BRIEF) as resources:
            assert bytes((await resources.follow(link)).body) == b"a document"
        async with AsyncResourceClient(timeouts=BRIEF) as resources:
            assert bytes((await resources.follow(link, guard=LOOPBACK)).body) == b"a document"
        with ResourceClient(guard=LOOPBACK, timeouts=BRIEF) as blocking:
            resource = await asyncio.to_thread(blocking.follow, link)
    assert (bytes(resource.body), resource.came_from) == (b"a document", "network")


async def test_a_link_that_redirects_to_an_internal_address_is_refused(linked: Callable[[str], Any]) -> None:
    def redirect(connection: Connection) -> None:
        while True:
            connection.read_head()
            connection.send(response(status="302 Found", headers=[("location", inside.url)]))

    with HostileServer(answer(b"inside"), host="127.0.0.2") as inside, HostileServer(redirect) as front:
        link = await linked(front.url)
        async with AsyncResourceClient(guard=LOOPBACK, follow_redirects=True, timeouts=BRIEF) as resources:
            with pytest.raises(AddressRefused) as refused:
                await resources.follow(link)
            assert (refused.value.sent, inside.connections) == ("yes", [])
            allowed = Guard(allow=["127.0.0.0/8"])
            assert bytes((await resources.follow(link, guard=allowed)).body) == b"inside"


async def test_the_headers_of_a_client_are_not_for_whom_a_peer_names(linked: Callable[[str], Any]) -> None:
    secrets = {"authorization": "Bearer canary", "x-tenant": "canary", "user-agent": "gateway"}
    with HostileServer(answer(b"a document")) as server:
        link = await linked(server.url)
        async with AsyncResourceClient(guard=LOOPBACK, headers=secrets, timeouts=BRIEF) as resources:
            await resources.follow(link)
            await resources.follow(link, headers={"x-ticket": "for this link"})
            await resources.fetch(server.url)
        followed, with_its_own, fetched = server.heads
    assert b"canary" not in followed.raw + with_its_own.raw
    assert [followed.header("user-agent"), with_its_own.header("x-ticket")] == ["gateway", "for this link"]
    assert fetched.header("x-tenant") == "canary"


async def test_a_link_never_leads_to_a_file_of_this_host(linked: Callable[[str], Any], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("secret")
    link = await linked((tmp_path / "file").as_uri())
    async with AsyncResourceClient(roots=[tmp_path], guard=LOOPBACK, timeouts=BRIEF) as resources:
        assert (await resources.fetch((tmp_path / "file").as_uri())).text == "secret"
        with pytest.raises(Denied):
            await resources.follow(link)


async def test_a_link_that_is_its_own_data_is_decoded(linked: Callable[[str], Any]) -> None:
    async with AsyncResourceClient(timeouts=BRIEF) as resources:
        resource = await resources.follow(await linked("data:text/plain,a%20b"))
    assert (resource.text, resource.came_from) == ("a b", "data")


async def test_a_link_by_a_scheme_of_the_server_is_for_its_server(mcp_2: McpPeer) -> None:
    link = await link_of_a_tool("peer://hello", mcp_2)
    async with AsyncResourceClient(timeouts=BRIEF) as resources:
        with pytest.raises(InvalidRequest, match="peer"):
            await resources.follow(link)
        assert link.link is not None
        assert (await resources.read(mcp_2.url, link.link))[0].text == "peer://hello"


async def test_what_is_no_link_cannot_be_followed(a2a: A2APeer, mcp_2: McpPeer) -> None:
    async with AsyncToolClient(mcp_2.url, timeouts=BRIEF) as tools:
        contents = (await tools.call("contents", {"length": 3})).content
    pieces = [piece for piece in contents if piece.type != "resource_link"]
    pieces += (await call(a2a.url("jsonrpc-1.0"), {"text": "hello"})).content
    assert len(pieces) == 6
    with ResourceClient(timeouts=BRIEF) as resources:
        for piece in pieces:
            assert piece.link is None
            with pytest.raises(WrongKind) as raised:
                resources.follow(piece)
            assert raised.value.sent == "no"
        text: Any = "http://127.0.0.1/"
        with pytest.raises(TypeError, match="from_peer"):
            resources.follow(text)
        again: Any = {"from_peer": False}
        with pytest.raises(TypeError, match="from_peer"):
            resources.follow(contents[3], **again)
