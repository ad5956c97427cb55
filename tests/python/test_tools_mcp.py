"""Tools of MCP servers made with the official SDK, 2.x in both generations and 1.x: what our clients make of them."""

import asyncio
import base64
import hashlib
import json
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import pytest

from mcpgateway_rust import Document, Limits, Payload, Timeouts
from mcpgateway_rust.exceptions import (
    ConnectionLost,
    GatewayTimeout,
    IncompleteBody,
    InvalidReply,
    InvalidRequest,
    JsonError,
    LimitExceeded,
    RpcError,
    SessionExpired,
)
from mcpgateway_rust.services.tool_service import (
    AsyncToolClient,
    ProtocolVersion,
    ToolClient,
    invoke_tool,
    invoke_tool_async,
)
from support.hostile import HostileServer, answer
from support.mcp_peer import McpPeer, Served
from support.mcp_server import TOOLS, rows, sample
from support.process import run_python
from support.waiting import wait_until

BRIEF = Timeouts(connect=10, first_byte=20, idle=20, total=40)
"""So that a mistake is a failure and not a hang."""
TEXTS = ["", "é", 'quote " backslash \\ newline \n tab \t nul \x00', "𝄞 \u2028 \u2029", "x" * 70_000]


def protocol_of(served: Served) -> ProtocolVersion:
    return cast("ProtocolVersion", served.protocol)


def client_of(served: Served, **options: Any) -> AsyncToolClient:
    return AsyncToolClient(served.url, protocol=protocol_of(served), timeouts=BRIEF, **options)


@pytest.fixture
async def tools(mcp: Served) -> AsyncIterator[AsyncToolClient]:
    async with client_of(mcp) as client:
        yield client


@pytest.fixture
def blocking_tools(mcp: Served) -> Iterator[ToolClient]:
    with ToolClient(mcp.url, protocol=protocol_of(mcp), timeouts=BRIEF) as client:
        yield client


@pytest.fixture(params=["2.x", "1.x"])
def older(request: pytest.FixtureRequest) -> Served:
    """The generation with sessions, by each SDK."""
    return Served(request.getfixturevalue("mcp_2" if request.param == "2.x" else "mcp_1"), "2025-11-25")


@pytest.fixture(scope="module", params=["2.x", "1.x"])
def resumable(request: pytest.FixtureRequest) -> Iterator[McpPeer]:
    """Servers whose streams can be taken up again."""
    with McpPeer(request.param, "resumable") as peer:
        yield peer


# ---- What a call gives


async def test_the_tools_of_all_pages_are_listed_with_their_schemas(tools: AsyncToolClient) -> None:
    listed = await tools.list_tools()
    assert [tool.name for tool in listed] == list(TOOLS)
    schemas = {tool.name: tool.input_schema.value() for tool in listed if tool.input_schema is not None}
    assert schemas == {name: wire["inputSchema"] for name, (wire, _) in TOOLS.items()}


@pytest.mark.parametrize("text", TEXTS)
async def test_a_text_comes_back_as_it_was_sent(tools: AsyncToolClient, text: str) -> None:
    result = await tools.call("echo", {"text": text})
    assert (result.content[0].text, result.text, result.is_error) == (text, text, False)
    assert bytes(result.content[0].payload()) == text.encode()


async def test_a_text_of_megabytes_is_received_whole(tools: AsyncToolClient) -> None:
    result = await tools.call("text", {"length": 3_000_000})
    assert bytes(await result.content[0].payload_async()) == sample(3_000_000)


async def test_a_structured_result_is_looked_into_without_being_built(tools: AsyncToolClient) -> None:
    result = await tools.call("structured", {"length": 300_000, "repeat": True})
    assert result.structured is not None
    assert result.structured["rows"][7]["text"].value() == rows(8 << 10)[7]["text"]
    assert json.loads(bytes(result.structured.raw())) == {"rows": rows(300_000)}
    assert result.text == str({"rows": rows(300_000)})


async def test_arguments_of_every_kind_arrive_whole(tools: AsyncToolClient) -> None:
    data = sample(2_000_000)
    expected = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    whole = b'{"data":"' + data + b'"}'
    kinds = [
        {"data": data.decode()},
        whole,
        bytearray(whole),
        Payload.join([b'{"data":"', data, b'"}']),
        Document(b'{"arguments":' + whole + b"}")["arguments"],
    ]
    for arguments in kinds:
        result = await tools.call("checksum", arguments)
        assert result.structured is not None, result.text
        assert result.structured.value() == expected, type(arguments)


async def test_events_one_after_the_other_use_the_same_memory(older: Served) -> None:
    program = """
        import asyncio, sys
        from mcpgateway_rust import shm
        from mcpgateway_rust.services.tool_service import AsyncToolClient

        async def main():
            async with AsyncToolClient(sys.argv[1], protocol="2025-11-25") as tools:
                for _ in range(4):
                    await tools.call("text", {"length": 16 << 20})

        asyncio.run(main())
        print(shm.stats()["live_bytes"] + shm.stats()["idle_bytes"])
    """
    ended = run_python(program, older.url)
    assert 16 << 20 <= int(ended.stdout) < 32 << 20, ended.stderr


async def test_large_arguments_are_sent_from_where_they_lie(mcp: Served) -> None:
    program = """
        import asyncio, sys
        from mcpgateway_rust import Payload, shm
        from mcpgateway_rust.services.tool_service import AsyncToolClient

        async def main():
            text = b"0123456789abcdef" * (1 << 20)
            async with AsyncToolClient(sys.argv[1], protocol=sys.argv[2]) as tools:
                for arguments in (Payload.join([b'{"data":"', text, b'"}']), {"data": text.decode()}):
                    told = await tools.call("checksum", arguments)
                    print(told.structured["bytes"].value())

        asyncio.run(main())
        print(shm.stats()["misses"])
    """
    ended = run_python(program, mcp.url, mcp.protocol)
    assert ended.stdout.split() == [str(16 << 20), str(16 << 20), "0"], ended.stderr


async def test_a_buffer_within_arguments_is_sent_as_base64(tools: AsyncToolClient) -> None:
    data = sample(100_000)
    encoded = base64.b64encode(data)
    result = await tools.call("checksum", {"data": memoryview(data)})
    assert result.structured is not None
    assert result.structured.value() == {"bytes": len(encoded), "sha256": hashlib.sha256(encoded).hexdigest()}


async def test_each_kind_of_content_is_told_apart_and_decoded(tools: AsyncToolClient) -> None:
    result = await tools.call("contents", {"length": 5000})
    found = [(part.type, part.mime_type, part.uri) for part in result.content]
    assert found == [
        ("text", None, None),
        ("image", "image/png", None),
        ("audio", "audio/wav", None),
        ("resource_link", "text/plain", "peer://hello"),
        ("resource", "text/plain", "peer://text/3"),
        ("resource", "application/octet-stream", "peer://blob/3"),
    ]
    payloads = [bytes(part.payload()) for part in result.content if part.type != "resource_link"]
    assert payloads == [b"five kinds", sample(5000), sample(5000), b"one", sample(5000)]


async def test_a_tool_that_fails_is_a_result(tools: AsyncToolClient) -> None:
    result = await tools.call("fail", {"message": "no such luck"})
    assert (result.is_error, result.text) == (True, "no such luck")


async def test_an_unknown_tool_is_the_servers_error(tools: AsyncToolClient) -> None:
    with pytest.raises(RpcError, match="Unknown tool") as raised:
        await tools.call("no_such_tool")
    assert (raised.value.code, raised.value.sent) == (-32602, "yes")


@pytest.mark.parametrize("arguments", [b"[1]", b"{", b'{"a":1}{', b'"text"'])
async def test_arguments_that_are_no_object_are_refused_here(tools: AsyncToolClient, arguments: bytes) -> None:
    with pytest.raises((InvalidRequest, JsonError)):
        await tools.call("echo", arguments)


async def test_many_calls_at_once_are_not_mixed_up(tools: AsyncToolClient) -> None:
    texts = [f"{number}: {'x' * (number * 37)}" for number in range(100)]
    results = await asyncio.gather(*(tools.call("echo", {"text": text}) for text in texts))
    assert [result.text for result in results] == texts


# ---- What both sides say meanwhile


async def test_progress_is_reported_in_order(tools: AsyncToolClient) -> None:
    heard: list[tuple[float, float, str]] = []

    def listen(progress: dict[str, Any]) -> None:
        heard.append((progress["progress"], progress["total"], progress["message"]))

    result = await tools.call("progress", {"steps": 5}, on_progress=listen)
    assert (result.text, heard) == ("done", [(step, 5, f"step {step}") for step in range(1, 6)])


async def test_the_user_is_asked_and_answers(mcp: Served) -> None:
    asked: list[dict[str, Any]] = []

    async def on_elicitation(params: dict[str, Any]) -> dict[str, Any]:
        asked.append(params)
        return {"action": "accept", "content": {"name": "Ada"}}

    async with client_of(mcp, on_elicitation=on_elicitation) as client:
        result = await client.call("confirm")
    assert [params["message"] for params in asked] == ["Who are you?"]
    assert result.structured is not None
    said = result.structured.value()
    # What the answer leaves out is filled in from the schema; the state of a round is given back as it came.
    state = {"state": "round 1"} if mcp.modern else {}
    assert said == {"action": "accept", "content": {"name": "Ada", "age": 30}} | state


async def test_the_user_may_decline(mcp: Served) -> None:
    async with client_of(mcp, on_elicitation=lambda _: {"action": "decline"}) as client:
        result = await client.call("confirm")
    assert result.text == "decline"


async def test_what_the_answer_raises_is_what_the_call_raises(mcp: Served) -> None:
    def on_elicitation(_: dict[str, Any]) -> dict[str, Any]:
        raise LookupError("nobody is there")

    async with client_of(mcp, on_elicitation=on_elicitation) as client:
        with pytest.raises(LookupError, match="nobody is there"):
            await client.call("confirm")


async def test_a_server_asks_again_and_again(mcp_2: McpPeer) -> None:
    asked: list[str] = []

    def on_elicitation(params: dict[str, Any]) -> dict[str, Any]:
        asked.append(params["message"])
        return {"action": "accept", "content": {}}

    async with AsyncToolClient(mcp_2.url, on_elicitation=on_elicitation, timeouts=BRIEF) as client:
        result = await client.call("confirm_twice")
    assert asked == ["First?", "Second?"]
    assert result.structured is not None
    assert result.structured.value() == {"last": ["second"], "state": "2"}


async def test_a_client_that_answers_nothing_says_so(mcp: Served) -> None:
    async with client_of(mcp) as client:
        if mcp.modern:
            with pytest.raises((InvalidReply, RpcError)):
                await client.call("confirm")
        else:
            with pytest.raises(RpcError):
                await client.call("confirm")
        assert (await client.call("echo", {"text": "still here"})).text == "still here"


async def test_a_ping_of_the_server_is_answered(older: Served) -> None:
    async with client_of(older) as client:
        assert (await client.call("ping_back")).text == "answered"


async def test_designated_arguments_are_repeated_in_headers(mcp_2: McpPeer) -> None:
    async with AsyncToolClient(mcp_2.url, timeouts=BRIEF) as client:
        arguments = {"region": " Zürich", "priority": 7, "urgent": False, "note": "not designated" * 10_000}
        result = await client.call("headers", arguments)
    assert result.structured is not None
    found = result.structured.value()
    encoded = base64.b64encode(" Zürich".encode()).decode()
    assert found == {
        "mcp-protocol-version": "2026-07-28",
        "mcp-method": "tools/call",
        "mcp-name": "headers",
        "mcp-param-region": f"=?base64?{encoded}?=",
        "mcp-param-priority": "7",
        "mcp-param-urgent": "false",
    }


async def test_a_designated_argument_that_no_header_can_carry_is_refused_here(mcp_2: McpPeer) -> None:
    async with AsyncToolClient(mcp_2.url, timeouts=BRIEF) as client:
        await client.list_tools()
        with pytest.raises(InvalidRequest, match=r"(?i)mcp-param-region"):
            await client.call("headers", {"region": "x" * 70_000, "priority": 7, "urgent": False, "note": ""})


# ---- Generations and sessions


async def test_the_newest_generation_that_both_speak_is_found_out(mcp_2: McpPeer, mcp_1: McpPeer) -> None:
    for peer, protocol in ((mcp_2, "2026-07-28"), (mcp_1, "2025-11-25")):
        async with AsyncToolClient(peer.url, timeouts=BRIEF) as client:
            assert (await client.call("echo", {"text": "a"})).text == "a"
            assert await client.protocol() == protocol


async def test_what_was_found_out_is_remembered_for_the_next_client() -> None:
    with McpPeer("1.x") as peer:
        for _ in range(2):
            async with AsyncToolClient(peer.url, timeouts=BRIEF) as client:
                await client.call("echo", {"text": "a"})
        asked = [request.get("mcp-method") for request in peer.state()["requests"]]
    assert asked.count("server/discover") == 1


async def test_a_session_is_ended_with_its_client(older: Served) -> None:
    older.peer.expire()
    async with client_of(older) as client:
        await client.call("echo", {"text": "a"})
        assert older.peer.state()["sessions"] == 1
    assert older.peer.state()["sessions"] == 0


async def test_a_session_that_expired_between_two_calls_is_begun_anew(older: Served) -> None:
    async with client_of(older) as client:
        await client.call("echo", {"text": "a"})
        before = older.peer.state()["calls"]["echo"]
        assert older.peer.expire() == 1
        assert (await client.call("echo", {"text": "b"})).text == "b"
        assert older.peer.state()["calls"]["echo"] == before + 1


async def test_a_session_that_expires_during_a_call_is_told(resumable: McpPeer) -> None:
    async with AsyncToolClient(resumable.url, protocol="2025-11-25", timeouts=BRIEF) as client:
        await lose_the_session(client, resumable, SessionExpired)


async def test_a_stream_that_ends_with_its_session_is_told(older: Served) -> None:
    """Without ids of events there is nothing that the client could ask the server about."""
    async with client_of(older) as client:
        await lose_the_session(client, older.peer, IncompleteBody)


async def lose_the_session(client: AsyncToolClient, peer: McpPeer, expected: type[ConnectionLost]) -> None:
    """A call during which the server ends all sessions, and another one after it."""
    expired: list[int] = []

    async def end_it(_: dict[str, Any]) -> None:
        expired.append(await asyncio.to_thread(peer.expire))

    with pytest.raises(expected) as raised:
        await client.call("slow", on_progress=end_it)
    assert (expired, type(raised.value), raised.value.sent) == ([1], expected, "yes")
    assert (await client.call("echo", {"text": "again"})).text == "again"


async def test_a_stream_that_ends_early_is_taken_up_again(resumable: McpPeer) -> None:
    async with AsyncToolClient(resumable.url, protocol="2025-11-25", timeouts=BRIEF) as client:
        result = await client.call("reconnect", {"length": 200_000}, on_progress=lambda _: None)
    assert result.text == sample(200_000).decode()
    assert any("last-event-id" in request for request in resumable.state()["requests"])
    assert resumable.state()["calls"]["reconnect"] == 1


@pytest.mark.parametrize("sdk", ["2.x", "1.x"])
async def test_servers_that_reply_without_streams_and_without_sessions(sdk: Any) -> None:
    with McpPeer(sdk, "json", "stateless") as peer:
        async with AsyncToolClient(peer.url, protocol="2025-11-25", timeouts=BRIEF) as client:
            assert (await client.call("text", {"length": 100_000})).text == sample(100_000).decode()
        assert {request.get("mcp-session-id") for request in peer.state()["requests"]} == {None}


# ---- Ends before their time


def was_cancelled(peer: McpPeer, before: int) -> None:
    """Wait until the server has seen one cancellation more than `before`."""
    wait_until(lambda: peer.state()["cancelled"] == before + 1, what="the cancellation at the server")


async def test_a_cancelled_call_is_cancelled_at_the_server_too(mcp: Served) -> None:
    before = mcp.peer.state()["cancelled"]
    async with client_of(mcp) as client:
        began = asyncio.Event()
        call = asyncio.create_task(client.call("slow", on_progress=lambda _: began.set()))
        await began.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await asyncio.to_thread(
            wait_until, lambda: mcp.peer.state()["cancelled"] == before + 1, what="the cancellation"
        )
        assert (await client.call("echo", {"text": "still here"})).text == "still here"


async def test_a_call_that_takes_too_long_is_cancelled_at_the_server_too(mcp: Served) -> None:
    before = mcp.peer.state()["cancelled"]
    async with client_of(mcp) as client:
        await client.call("echo", {"text": "a"})
        with pytest.raises(GatewayTimeout) as raised:
            await client.call("slow", timeouts=Timeouts(total=0.5))
        assert raised.value.timeout == "total"
        await asyncio.to_thread(
            wait_until, lambda: mcp.peer.state()["cancelled"] == before + 1, what="the cancellation"
        )


async def test_a_result_over_the_limit_is_refused_by_its_name(mcp: Served) -> None:
    async with client_of(mcp) as client:
        await client.call("echo", {"text": "a"})
        with pytest.raises(LimitExceeded) as raised:
            await client.call("text", {"length": 200_000}, limits=Limits(max_response_bytes=100_000))
        assert (raised.value.limit, raised.value.value) == ("max_response_bytes", 100_000)
        assert (await client.call("echo", {"text": "still here"})).text == "still here"


async def test_an_event_over_the_limit_is_refused_by_its_name(older: Served) -> None:
    async with client_of(older, limits=Limits(max_event_bytes=100_000)) as client:
        with pytest.raises(LimitExceeded) as raised:
            await client.call("text", {"length": 200_000})
        assert (raised.value.limit, raised.value.value) == ("max_event_bytes", 100_000)


COMPLETE = b'"resultType":"complete","content":[]'
BAD_REPLIES = {
    "a key twice in the envelope": b'{"jsonrpc":"2.0","id":%d,"result":{%b},"result":{}}',
    "a result and an error": b'{"jsonrpc":"2.0","id":%d,"result":{%b},"error":{"code":1,"message":"a"}}',
    "another id": b'{"jsonrpc":"2.0","id":99%d,"result":{%b}}',
    "no version": b'{"id":%d,"result":{%b}}',
    "no object": b"[%d,{%b}]",
    "no JSON": b'{"jsonrpc":"2.0","id":%d,"result":{%b}',
    "an error without a code": b'{"jsonrpc":"2.0","id":%d,"error":{"message":"a"},"x":{%b}}',
}


@pytest.mark.parametrize("reply", BAD_REPLIES.values(), ids=BAD_REPLIES)
async def test_a_reply_that_is_none_is_refused(reply: bytes) -> None:
    bodies = [reply % (number, COMPLETE) for number in (1, 2)]
    json_type = [("content-type", "application/json")]
    with HostileServer(answer(bodies[0], headers=json_type)) as server:
        client = AsyncToolClient(f"{server.url}/mcp", protocol="2026-07-28", timeouts=BRIEF)
        with pytest.raises((InvalidReply, JsonError)):
            await client.request("ping")
        await client.aclose()


# ---- In threads, and without a client


def test_a_blocking_client_does_the_same(blocking_tools: ToolClient, mcp: Served) -> None:
    assert [tool.name for tool in blocking_tools.list_tools()] == list(TOOLS)
    assert blocking_tools.protocol() == mcp.protocol
    assert blocking_tools.call("echo", {"text": "é"}).text == "é"
    heard: list[float] = []
    result = blocking_tools.call(
        "progress", {"steps": 3}, on_progress=lambda progress: heard.append(progress["progress"])
    )
    assert (result.text, heard) == ("done", [1, 2, 3])
    with pytest.raises(RpcError):
        blocking_tools.call("no_such_tool")


def test_a_blocking_client_asks_its_user(mcp: Served) -> None:
    def on_elicitation(_: dict[str, Any]) -> dict[str, Any]:
        return {"action": "accept", "content": {"name": "Ada"}}

    protocol = protocol_of(mcp)
    with ToolClient(mcp.url, protocol=protocol, timeouts=BRIEF, on_elicitation=on_elicitation) as client:
        result = client.call("confirm")
    assert result.structured is not None
    assert result.structured["content"].value() == {"name": "Ada", "age": 30}


def test_threads_share_a_client(blocking_tools: ToolClient) -> None:
    blocking_tools.list_tools()
    barrier = threading.Barrier(8)

    def call(number: int) -> str:
        barrier.wait(10)
        return blocking_tools.call("echo", {"text": str(number)}).text

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(call, range(8))) == [str(number) for number in range(8)]


async def test_one_call_needs_no_client(mcp: Served) -> None:
    result = await invoke_tool_async(mcp.url, "echo", {"text": "a"}, protocol=protocol_of(mcp))
    assert result.text == "a"
    blocking = await asyncio.to_thread(invoke_tool, mcp.url, "echo", {"text": "b"}, protocol=protocol_of(mcp))
    assert blocking.text == "b"
