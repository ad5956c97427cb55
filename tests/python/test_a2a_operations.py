"""Each operation of A2A with agents of the official SDK: both generations, both bindings, from sync and async."""

import asyncio
import json
from typing import Any
from urllib.request import Request, urlopen

import pytest

from mcpgateway_rust import Node
from mcpgateway_rust.exceptions import GatewayError, HTTPStatusError, RpcError, Unsupported
from mcpgateway_rust.services.a2a_service import Message, Part
from support.a2a_calls import HOW, Caller
from support.a2a_peer import BINDINGS, EXTENSION, A2APeer, raw_of, sha256, text_of

NEW = ("jsonrpc-1.0", "http-1.0")
RAW_ONCE = ("jsonrpc-1.0", "http-1.0", "jsonrpc-0.3")
"""Where the SDK takes and gives base64; with 0.3 over HTTP it wants base64 of base64."""
both_ways = pytest.mark.parametrize("how", HOW)
every_binding = pytest.mark.parametrize("binding", BINDINGS)


def control(a2a: A2APeer, path: str, method: str = "GET") -> Any:
    """What the peer says to a request that is meant for no agent."""
    with urlopen(Request(f"{a2a.origin}{path}", method=method)) as reply:
        return json.load(reply)


def text_in(message: Node) -> Any:
    """The text of a message of one text part, of either generation."""
    return (message.get("parts") or message["content"])[0]["text"].value()


def seen(a2a: A2APeer, path: str) -> list[dict[str, Any]]:
    """The requests of this test at paths that begin with `path`, but for those of cards."""
    requests = control(a2a, "/_seen")
    return [each for each in requests if each["path"].startswith(path) and not each["path"].endswith("-card.json")]


@pytest.fixture(autouse=True)
def _nothing_was_seen(a2a: A2APeer) -> None:
    control(a2a, "/_seen", "DELETE")


# ---- send


@both_ways
@every_binding
async def test_a_text_is_answered(binding: str, how: str, a2a: A2APeer) -> None:
    async with Caller(how, a2a.url(binding)) as caller:
        reply = await caller.send("hello \u2603")
    assert (reply.kind, reply.text, [part.kind for part in reply.parts]) == ("message", "hello \u2603", ["text"])


@both_ways
@every_binding
async def test_a_dict_is_sent_as_the_message_that_it_is(binding: str, how: str, a2a: A2APeer) -> None:
    message = {"messageId": "mine", "role": "ROLE_USER", "parts": [{"text": "whoami"}], "metadata": {"a": "b"}}
    async with Caller(how, a2a.url(binding)) as caller:
        reply = await caller.send(message)
    assert reply.parts[0].data.value()["tenant"] == ""


@both_ways
@every_binding
async def test_a_task_says_its_state_and_has_its_artifact(binding: str, how: str, a2a: A2APeer) -> None:
    async with Caller(how, a2a.url(binding)) as caller:
        task = await caller.send("task text 1000")
    assert (task.kind, task.state, [bytes(part.payload()) for part in task.parts]) == (
        "task", "completed", [text_of(1000).encode()],
    )  # fmt: skip
    assert task.task_id
    assert task.context_id


@both_ways
@every_binding
async def test_a_task_that_asks_is_continued(binding: str, how: str, a2a: A2APeer) -> None:
    async with Caller(how, a2a.url(binding)) as caller:
        asked = await caller.send("ask")
        assert (asked.state, text_in(asked.message)) == ("input-required", "which one?")
        done = await caller.send("this one", task_id=asked.task_id, context_id=asked.context_id)
    assert (done.task_id, done.state, text_in(done.message)) == (asked.task_id, "completed", "this one")


@both_ways
@every_binding
async def test_the_generation_is_said_in_the_header(binding: str, how: str, a2a: A2APeer) -> None:
    async with Caller(how, a2a.url(binding)) as caller:
        await caller.send("hello")
    (request,) = seen(a2a, f"/{binding}")
    headers = request["headers"]
    assert headers.get("a2a-version", "0.3") == BINDINGS[binding][1]
    expected = {
        "jsonrpc-1.0": ("/jsonrpc-1.0/rpc", "SendMessage"),
        "http-1.0": ("/http-1.0/message:send", None),
        "jsonrpc-0.3": ("/jsonrpc-0.3/rpc", "message/send"),
        "http-0.3": ("/http-0.3/v1/message:send", None),
    }
    assert (request["path"], request.get("rpc")) == expected[binding]


@both_ways
@every_binding
async def test_extensions_are_named_to_the_agent(binding: str, how: str, a2a: A2APeer) -> None:
    async with Caller(how, a2a.url(binding), extensions=[EXTENSION]) as caller:
        reply = await caller.send("whoami")
    assert reply.parts[0].data.value()["extensions"] == [EXTENSION]


@both_ways
@pytest.mark.parametrize("agent", ["tenant", "tenant-http"])
async def test_the_tenant_of_the_card_is_in_each_request(agent: str, how: str, a2a: A2APeer) -> None:
    async with Caller(how, a2a.url(agent)) as caller:
        reply = await caller.send("whoami")
    assert reply.parts[0].data.value()["tenant"] == "acme"


# ---- which interface

CHOICES = [
    ({}, "/http-1.0/message:send"),
    ({"binding": "JSONRPC"}, "/jsonrpc-0.3/rpc"),
    ({"version": "0.3"}, "/jsonrpc-0.3/rpc"),
]


@both_ways
@pytest.mark.parametrize(("options", "path"), CHOICES)
async def test_the_first_interface_that_fits_is_taken(
    options: dict[str, str], path: str, how: str, a2a: A2APeer
) -> None:
    async with Caller(how, a2a.url("all"), **options) as caller:
        assert (await caller.send("hello")).text == "hello"
    assert [request["path"] for request in seen(a2a, "/")] == [path]


@both_ways
@every_binding
async def test_no_card_is_asked_for_where_the_caller_says_how(binding: str, how: str, a2a: A2APeer) -> None:
    name, version = BINDINGS[binding]
    async with Caller(how, a2a.endpoint(binding), binding=name, version=version) as caller:
        assert (await caller.send("hello")).text == "hello"
    assert len(control(a2a, "/_seen")) == 1


# ---- tasks


@both_ways
@every_binding
async def test_a_task_is_the_same_at_every_binding(binding: str, how: str, a2a: A2APeer) -> None:
    async with Caller(how, a2a.url("jsonrpc-1.0")) as caller:
        sent = await caller.send("task text 500")
    async with Caller(how, a2a.url(binding)) as caller:
        task = await caller.call("get_task", sent.task_id)
    assert (task.kind, task.task_id, task.state) == ("task", sent.task_id, "completed")
    assert bytes(task.parts[0].payload()).decode() == text_of(500)


@every_binding
@pytest.mark.parametrize("kind", ["text", "raw"])
async def test_a_task_in_the_shape_of_another_binding_is_what_that_one_gives(
    kind: str, binding: str, a2a: A2APeer
) -> None:
    tasks: dict[str, Any] = {}
    async with Caller("async", a2a.url("jsonrpc-1.0")) as caller:
        task_id = (await caller.send(f"task {kind} 500")).task_id
    for each in BINDINGS if kind == "text" else RAW_ONCE:
        async with Caller("async", a2a.url(each)) as caller:
            tasks[each] = await caller.call("get_task", task_id)
    for other, expected in tasks.items():
        name, version = BINDINGS[other]
        if binding in tasks:
            translated = json.loads(bytes(tasks[binding].translated(version, name)))
            wanted = expected.result.value()
            if kind == "text" and version == "1.0" and binding not in NEW:
                # 0.3 has no place for the type of a text,
                del wanted["artifacts"][0]["parts"][0]["mediaType"]
            # and does not tell a task that was asked for from one that came of a message, which 1.0 wraps.
            assert translated.get("task", translated) == wanted, other


@both_ways
@every_binding
async def test_a_task_is_cancelled_once(binding: str, how: str, a2a: A2APeer) -> None:
    async with Caller(how, a2a.url(binding)) as caller:
        begun = await caller.send("wait", configuration={"returnImmediately": True})
        assert begun.state in {"submitted", "working"}
        cancelled = await caller.call("cancel_task", begun.task_id)
        assert (cancelled.task_id, cancelled.state) == (begun.task_id, "canceled")
        with pytest.raises(RpcError) as caught:
            await caller.call("cancel_task", begun.task_id)
    assert (type(caught.value).__name__, caught.value.code) == ("TaskNotCancelable", -32002)


@both_ways
@every_binding
@pytest.mark.parametrize("operation", ["get_task", "cancel_task"])
async def test_a_task_that_is_not_there_is_not_found(operation: str, binding: str, how: str, a2a: A2APeer) -> None:
    async with Caller(how, a2a.url(binding)) as caller:
        with pytest.raises(RpcError) as caught:
            await caller.call(operation, "no-such-task")
    assert (type(caught.value).__name__, caught.value.code) == ("TaskNotFound", -32001)
    assert isinstance(caught.value, LookupError)


@both_ways
@pytest.mark.parametrize("binding", NEW)
async def test_tasks_are_listed_by_their_context(binding: str, how: str, a2a: A2APeer) -> None:
    async with Caller(how, a2a.url(binding)) as caller:
        first = await caller.send("task text 10")
        await caller.send("task text 10")
        listed = await caller.call("list_tasks", context_id=first.context_id)
    assert [task["id"].value() for task in listed.result["tasks"]] == [first.task_id]


@both_ways
@pytest.mark.parametrize("binding", ["jsonrpc-0.3", "http-0.3"])
async def test_0_3_has_no_list_of_tasks(binding: str, how: str, a2a: A2APeer) -> None:
    async with Caller(how, a2a.url(binding)) as caller:
        with pytest.raises(Unsupported) as caught:
            await caller.call("list_tasks")
    assert (caught.value.sent, seen(a2a, "/")) == ("no", [])


# ---- push configurations


@both_ways
@every_binding
async def test_a_push_configuration_is_made_found_listed_and_deleted(binding: str, how: str, a2a: A2APeer) -> None:
    config = {"id": "one", "url": "https://example.com/hook", "token": "secret"}
    async with Caller(how, a2a.url(binding)) as caller:
        task = (await caller.send("ask")).task_id
        made = await caller.call("create_push_config", task, config)
        found = await caller.call("get_push_config", task, "one")
        listed = await caller.call("list_push_configs", task)
        assert [each["url"].value() for each in (made, found, *listed)] == [config["url"]] * 3
        if binding == "http-0.3":
            with pytest.raises(GatewayError):  # the SDK has no such route
                await caller.call("delete_push_config", task, "one")
            return
        await caller.call("delete_push_config", task, "one")
        assert list(await caller.call("list_push_configs", task)) == []


@both_ways
async def test_an_agent_without_push_notifications_says_so(how: str, a2a: A2APeer) -> None:
    async with Caller(how, a2a.url("bare")) as caller:
        task = (await caller.send("ask")).task_id
        with pytest.raises(RpcError) as caught:
            await caller.call("create_push_config", task, {"url": "https://example.com/hook"})
    assert (type(caught.value).__name__, caught.value.code) == ("PushNotificationNotSupported", -32003)


# ---- cards


@both_ways
@every_binding
async def test_the_extended_card_says_more(binding: str, how: str, a2a: A2APeer) -> None:
    async with Caller(how, a2a.url(binding)) as caller:
        public = await caller.call("card")
        extended = await caller.call("extended_card")
    descriptions = [each["description"].value() for each in (public, extended)]
    assert descriptions == ["An agent for tests.", "More than the public card says."]


@both_ways
async def test_an_agent_without_an_extended_card_says_so(how: str, a2a: A2APeer) -> None:
    async with Caller(how, a2a.url("bare")) as caller:
        with pytest.raises(RpcError) as caught:
            await caller.call("extended_card")
    assert caught.value.code in {-32004, -32007}


# ---- errors

CODES = {
    -32001: "TaskNotFound",
    -32002: "TaskNotCancelable",
    -32003: "PushNotificationNotSupported",
    -32004: "UnsupportedOperation",
    -32005: "ContentTypeNotSupported",
    -32006: "InvalidAgentResponse",
    -32007: "ExtendedCardNotConfigured",
    -32008: "ExtensionSupportRequired",
    -32009: "VersionNotSupported",
    -32601: "MethodNotFound",
    -32602: "InvalidParams",
    -32603: "RpcError",
}
UNKNOWN_TO_0_3 = {-32008, -32009}
"""The SDK tells clients of 0.3 that these are internal errors."""


@both_ways
@every_binding
@pytest.mark.parametrize("code", CODES)
async def test_each_error_of_the_protocol_has_its_class_its_code_and_its_data(
    code: int, binding: str, how: str, a2a: A2APeer
) -> None:
    expected = -32603 if binding == "jsonrpc-0.3" and code in UNKNOWN_TO_0_3 else code
    async with Caller(how, a2a.url(binding)) as caller:
        with pytest.raises(RpcError) as caught:
            await caller.send(f"fail {code}")
    error = caught.value
    assert (type(error).__name__, error.code, error.sent) == (CODES[expected], expected, "yes")
    assert error.peer_message == f"as you wish: {code}"
    assert error.data is not None
    assert str(code) in json.dumps(error.data.value())


# ---- who asks


@both_ways
async def test_a_token_is_asked_for_again_when_it_was_refused(how: str, a2a: A2APeer) -> None:
    control(a2a, "/_token/fresh", "POST")
    given = iter(["stale", "fresh", "never asked for"])
    async with Caller(how, a2a.url("secured"), token=lambda: next(given)) as caller:
        assert (await caller.send("hello")).text == "hello"
        assert (await caller.send("again")).text == "again"
    assert [request.get("refused", False) for request in seen(a2a, "/secured")] == [True, False, False]


async def test_a_token_may_be_awaited(a2a: A2APeer) -> None:
    control(a2a, "/_token/awaited", "POST")

    async def token() -> str:
        await asyncio.sleep(0)
        return "awaited"

    async with Caller("async", a2a.url("secured"), token=token) as caller:
        assert (await caller.send("hello")).text == "hello"


@both_ways
async def test_a_token_that_stays_refused_is_the_status_that_it_is(how: str, a2a: A2APeer) -> None:
    async with Caller(how, a2a.url("secured"), token=lambda: "stale") as caller:
        with pytest.raises(HTTPStatusError) as caught:
            await caller.send("hello")
    assert (caught.value.response.status, len(seen(a2a, "/secured"))) == (401, 2)


@both_ways
async def test_a_query_credential_is_in_each_call(how: str, a2a: A2APeer) -> None:
    async with Caller(how, a2a.url("keyed"), query={"key": "open-sesame"}) as caller:
        assert (await caller.send("hello")).text == "hello"
        assert (await caller.send("task text 1")).state == "completed"


# ---- what is sent along


@both_ways
@every_binding
async def test_metadata_reaches_the_agent(binding: str, how: str, a2a: A2APeer) -> None:
    async with Caller(how, a2a.url(binding)) as caller:
        reply = await caller.send("whoami", metadata={"trace": "7"})
    assert reply.parts[0].data.value()["metadata"] == {"trace": "7"}


@both_ways
@pytest.mark.parametrize("binding", RAW_ONCE)
async def test_each_kind_of_part_goes_and_comes_back(binding: str, how: str, a2a: A2APeer) -> None:
    message = Message([
        Part.text("digest"),
        Part.text("a \u2603", media_type="text/plain"),
        Part.raw(raw_of(1000), media_type="image/png", filename="a.png"),
        Part.url("https://example.com/a.bin", media_type="image/gif", filename="b.gif"),
        Part.data({"rows": [1.5, None, "x"]}),
    ])  # fmt: skip
    async with Caller(how, a2a.url(binding)) as caller:
        told = (await caller.send(message)).parts[0].data.value()["parts"]
        parts = (await caller.send("parts")).parts
    text = "a \u2603".encode()
    assert [each["kind"] for each in told] == ["text", "raw", "url", "data"]
    assert (told[0]["sha256"], told[1]["sha256"]) == (sha256(text), sha256(raw_of(1000)))
    assert [(told[1]["mediaType"], told[1]["filename"]), told[2]["value"], told[3]["value"]] == [
        ("image/png", "a.png"), "https://example.com/a.bin", {"rows": [1.5, None, "x"]},
    ]  # fmt: skip
    assert [part.kind for part in parts] == ["text", "raw", "url", "data"]
    assert bytes(parts[0].payload()).decode() == text_of(100)
    assert (bytes(parts[1].payload()), parts[1].filename) == (raw_of(100), "raw.bin")
    assert (parts[2].media_type, parts[2].filename) == ("image/png", "a.png")
    assert parts[3].data.value() == {"rows": [1.5, None, "x"]}
