"""Streams of agents of the official SDK: in order, whole, one at a time, and taken up again where they broke."""

import asyncio
import json
from typing import Any
from uuid import uuid4

import pytest

from mcpgateway_rust import AsyncClient
from mcpgateway_rust.exceptions import RpcError
from support.a2a_calls import HOW, SHORT, Caller
from support.a2a_peer import BINDINGS, A2APeer, raw_of, sha256, text_of
from support.hostile import Connection, HostileProxy, HostileServer, response

MIB = 1 << 20
STREAM = ["task", "artifact-update", "artifact-update", "artifact-update", "status-update"]
KINDS = [(kind, binding) for kind in ("text", "raw") for binding in BINDINGS if (kind, binding) != ("raw", "http-0.3")]
"""The SDK makes raw parts of 0.3 over HTTP base64 of base64."""
both_ways = pytest.mark.parametrize("how", HOW)
every_binding = pytest.mark.parametrize("binding", BINDINGS)


async def release(a2a: A2APeer, task: str) -> None:
    """Let the next chunk of a `gated` stream come."""
    message = {"messageId": "r", "role": "ROLE_USER", "parts": [{"text": f"release {task}"}]}
    call = {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": {"message": message}}
    headers = {"content-type": "application/json", "a2a-version": "1.0"}
    async with AsyncClient(timeouts=SHORT) as client:
        reply = await client.post(a2a.endpoint("jsonrpc-1.0"), json.dumps(call).encode(), headers=headers)
    assert "released" in reply.text, reply.text


def content(kind: str, size: int) -> bytes:
    """A chunk of the peer's."""
    return raw_of(size) if kind == "raw" else text_of(size).encode()


@both_ways
@pytest.mark.parametrize(("kind", "binding"), KINDS)
async def test_chunks_come_one_by_one(kind: str, binding: str, how: str, a2a: A2APeer) -> None:
    async with Caller(how, a2a.url(binding)) as caller:
        events = [event async for event in caller.events("stream", f"stream 3 1000 {kind}")]
    assert [event.kind for event in events] == STREAM
    chunks = events[1:4]
    assert [bytes(event.parts[0].payload()) for event in chunks] == [content(kind, 1000)] * 3
    assert [(event.artifact_id, event.append, event.last_chunk) for event in chunks] == [
        ("stream", False, False), ("stream", True, False), ("stream", True, True),
    ]  # fmt: skip
    assert (events[-1].state, len({event.task_id for event in events})) == ("completed", 1)


@both_ways
@pytest.mark.parametrize(("kind", "binding"), KINDS)
async def test_chunks_make_one_artifact(kind: str, binding: str, how: str, a2a: A2APeer) -> None:
    async with Caller(how, a2a.url(binding)) as caller:
        collected = await caller.collect("stream", f"stream 3 100000 {kind}")
    (artifact,) = collected.artifacts
    assert (artifact.id, artifact.is_complete, collected.state) == ("stream", True, "completed")
    assert bytes(getattr(artifact, kind)) == content(kind, 100_000) * 3


@both_ways
async def test_an_answer_without_a_task_is_a_stream_of_one_message(how: str, a2a: A2APeer) -> None:
    async with Caller(how, a2a.url("jsonrpc-1.0")) as caller:
        events = [event async for event in caller.events("stream", "hello")]
    assert [(event.kind, event.text) for event in events] == [("message", "hello")]


@both_ways
@every_binding
async def test_an_event_is_there_before_the_next_is_made(binding: str, how: str, a2a: A2APeer) -> None:
    kinds = []
    async with Caller(how, a2a.url(binding)) as caller:
        async for event in caller.events("stream", "gated 2 10 text"):
            kinds.append(event.kind)
            if event.kind in {"status-update", "artifact-update"} and len(kinds) < 4:
                await release(a2a, event.task_id)
    assert kinds == ["task", "status-update", "artifact-update", "artifact-update", "status-update"]


@both_ways
@every_binding
async def test_a_second_client_joins_a_task_and_sees_it_end(binding: str, how: str, a2a: A2APeer) -> None:
    async with Caller(how, a2a.url(binding)) as caller, Caller("async", a2a.url("jsonrpc-1.0")) as other:
        begun = await other.send("gated 2 1000 raw", configuration={"returnImmediately": True})
        kinds = []
        async for event in caller.events("subscribe", begun.task_id):
            kinds.append(event.kind)
            if event.kind in {"task", "artifact-update"} and kinds.count("artifact-update") < 2:
                await release(a2a, begun.task_id)
    assert kinds[0] == "task"
    assert kinds[-3:] == ["artifact-update", "artifact-update", "status-update"]


@both_ways
@every_binding
async def test_a_task_that_is_over_cannot_be_joined(binding: str, how: str, a2a: A2APeer) -> None:
    async with Caller(how, a2a.url(binding)) as caller:
        task = (await caller.send("task text 10")).task_id
        with pytest.raises(RpcError if binding != "http-0.3" else Exception):
            async for _ in caller.events("subscribe", task):
                pass


@both_ways
@every_binding
async def test_a_stream_that_broke_is_taken_up_again_and_nothing_is_lost_or_doubled(
    binding: str, how: str, a2a: A2APeer
) -> None:
    """The second of four chunks is made while nobody listens; the task that comes after the break has it."""
    name, version = BINDINGS[binding]
    received, released, after = b"", 0, []
    with HostileProxy(int(a2a.origin.rpartition(":")[2])) as proxy:
        url = a2a.endpoint(binding).replace(a2a.origin, proxy.url)
        async with Caller(how, url, binding=name, version=version) as caller:
            async for event in caller.events("stream", "gated 4 10000 text"):
                if event.kind == "artifact-update" and released == 1:
                    proxy.cut()
                if event.is_after_break:
                    after.append(event.kind)
                if event.kind in {"task", "artifact-update"}:
                    came = b"".join(bytes(part.payload()) for part in event.parts)
                    received = came if event.kind == "task" else received + came
                if event.kind != "task" or event.is_after_break:
                    released += 1
                    await release(a2a, event.task_id)
    assert received.decode() == text_of(10_000) * 4
    assert (after, event.state) == (["task"], "completed")


@both_ways
@pytest.mark.parametrize("binding", ["jsonrpc-1.0", "http-1.0"])
async def test_a_collection_that_broke_is_whole(binding: str, how: str, a2a: A2APeer) -> None:
    name, version = BINDINGS[binding]
    context = f"context-{uuid4()}"
    with HostileProxy(int(a2a.origin.rpartition(":")[2])) as proxy:
        url = a2a.endpoint(binding).replace(a2a.origin, proxy.url)
        async with (
            Caller(how, url, binding=name, version=version) as caller,
            Caller("async", a2a.url("jsonrpc-1.0")) as other,
        ):
            collecting = asyncio.create_task(caller.collect("stream", "gated 3 10000 raw", context_id=context))
            while not (tasks := (await other.call("list_tasks", context_id=context)).result["tasks"].value()):
                pass
            task = tasks[0]["id"]
            await release(a2a, task)
            while not (await other.call("get_task", task)).artifacts:
                pass
            proxy.cut()
            await release(a2a, task)
            await release(a2a, task)
            collected = await collecting
    (artifact,) = collected.artifacts
    assert (collected.state, bytes(artifact.raw)) == ("completed", raw_of(10_000) * 3)


@both_ways
async def test_a_stream_that_is_left_early_ends_its_connection(how: str) -> None:
    task = {"id": "t", "contextId": "c", "status": {"state": "TASK_STATE_WORKING"}}

    def endless(connection: Connection) -> None:
        connection.read_head()
        call = json.loads(connection.read_body())
        reply = {"jsonrpc": "2.0", "id": call["id"], "result": {"task": task}}
        connection.send(response(headers=[("content-type", "text/event-stream")], length=False))
        connection.send(b"data: " + json.dumps(reply).encode() + b"\n\n")
        connection.stall()

    with HostileServer(endless) as server:
        async with Caller(how, server.url, binding="JSONRPC", version="1.0") as caller:
            events = caller.events("stream", "hello")
            async for event in events:
                assert event.kind == "task"
                break
            await events.aclose()
            server.log.wait_for("peer_closed", "peer_reset")


async def test_a_cancelled_await_ends_the_connection() -> None:
    def silent(connection: Connection) -> None:
        connection.read_head()
        connection.read_body()
        connection.stall()

    with HostileServer(silent) as server:
        async with Caller("async", server.url, binding="JSONRPC", version="1.0") as caller:
            call = asyncio.create_task(caller.send("hello"))
            await asyncio.to_thread(server.log.wait_for, "stalled")
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            await asyncio.to_thread(server.log.wait_for, "peer_closed", "peer_reset")


@both_ways
async def test_an_agent_that_sends_faster_than_it_is_read_has_to_wait(how: str) -> None:
    def flood(connection: Connection) -> None:
        connection.read_head()
        call: dict[str, Any] = json.loads(connection.read_body())
        artifact = {"artifactId": "a", "parts": [{"text": "x" * MIB}]}
        update = {"taskId": "t", "contextId": "c", "artifact": artifact, "append": True}
        reply = {"jsonrpc": "2.0", "id": call["id"], "result": {"artifactUpdate": update}}
        connection.send(response(headers=[("content-type", "text/event-stream")], length=False))
        connection.send_forever(b"data: " + json.dumps(reply).encode() + b"\n\n")

    with HostileServer(flood) as server:
        async with Caller(how, server.url, binding="JSONRPC", version="1.0") as caller:
            events = caller.events("stream", "hello")
            async for event in events:
                assert event.kind == "artifact-update"
                blocked = await asyncio.to_thread(server.log.wait_for, "blocked")
                assert int(blocked.detail) < 64 * MIB
                break
            await events.aclose()


@both_ways
async def test_64_chunks_of_1_mib_are_one_artifact_of_64(how: str, a2a: A2APeer) -> None:
    async with Caller(how, a2a.url("jsonrpc-1.0")) as caller:
        collected = await caller.collect("stream", f"stream 64 {MIB} raw")
    (artifact,) = collected.artifacts
    assert (len(artifact.raw), sha256(bytes(artifact.raw))) == (64 * MIB, sha256(raw_of(MIB) * 64))
