"""Resources of MCP servers made with the official SDK: many at a time, over sessions, and those that tools name."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from mcpgateway_rust import Limits, Timeouts
from mcpgateway_rust.exceptions import LimitExceeded, RpcError
from mcpgateway_rust.services.resource_service import AsyncResourceClient, ResourceClient
from mcpgateway_rust.services.tool_service import AsyncToolClient
from support.mcp_peer import McpPeer, Served
from support.mcp_server import RESOURCES, sample

BRIEF = Timeouts(connect=10, first_byte=20, idle=20, total=40)
"""So that a mistake is a failure and not a hang."""


@pytest.fixture
async def resources() -> AsyncIterator[AsyncResourceClient]:
    async with AsyncResourceClient(timeouts=BRIEF) as client:
        yield client


@pytest.fixture(params=["mcp_2", "mcp_1"])
def peer(request: pytest.FixtureRequest) -> Any:
    """The official server by each SDK; with the first the newer generation is spoken, with the second the older."""
    return request.getfixturevalue(request.param)


async def test_reads_at_once_are_not_mixed_up(resources: AsyncResourceClient, peer: McpPeer) -> None:
    kinds = [("text", length) for length in range(40)] + [("blob", length * 1000) for length in range(40)]
    reads = await asyncio.gather(*(resources.read(peer.url, f"peer://{kind}/{length}") for kind, length in kinds))
    assert [bytes(found[0].body) for found in reads] == [sample(length) for _, length in kinds]


async def test_a_blob_of_megabytes_is_decoded_whole(resources: AsyncResourceClient, peer: McpPeer) -> None:
    (found,) = await resources.read(peer.url, "peer://blob/5000001")
    assert (bytes(found.body), found.content_type) == (sample(5_000_001), "application/octet-stream")


async def test_a_resource_that_a_tool_names_is_read_from_its_server(
    resources: AsyncResourceClient, peer: McpPeer
) -> None:
    async with AsyncToolClient(peer.url, timeouts=BRIEF) as tools:
        result = await tools.call("contents", {"length": 3})
    (link,) = [part for part in result.content if part.type == "resource_link"]
    assert link.uri is not None
    (found,) = await resources.read(peer.url, link.uri)
    assert found.text == "peer://hello"


async def test_an_unknown_resource_is_told_by_the_code_of_its_generation(mcp: Served) -> None:
    async with AsyncToolClient(mcp.url, protocol=mcp.protocol, timeouts=BRIEF) as client:  # type: ignore[arg-type]
        with pytest.raises(RpcError) as raised:
            await client.request("resources/read", {"uri": "peer://nothing/"})
    assert raised.value.code == (-32602 if mcp.modern else -32002)


async def test_a_resource_over_the_limit_is_refused_by_its_name(resources: AsyncResourceClient, peer: McpPeer) -> None:
    await resources.read(peer.url, "peer://text/1")
    with pytest.raises(LimitExceeded) as raised:
        await resources.read(peer.url, "peer://blob/300000", limits=Limits(max_response_bytes=100_000))
    assert (raised.value.limit, raised.value.value) == ("max_response_bytes", 100_000)


async def test_a_session_that_expired_between_two_reads_is_begun_anew(
    resources: AsyncResourceClient, mcp_1: McpPeer
) -> None:
    await resources.read(mcp_1.url, "peer://text/1")
    assert mcp_1.expire() >= 1
    (found,) = await resources.read(mcp_1.url, "peer://text/5")
    assert bytes(found.body) == sample(5)


def test_threads_read_and_list_too(peer: McpPeer) -> None:
    with ResourceClient(timeouts=BRIEF) as client:
        assert [item["uri"].value() for item in client.list(peer.url)] == [item["uri"] for item in RESOURCES]
        (found,) = client.read(peer.url, "peer://page/3")
        assert found.text == "peer://page/3"
