"""Plain Python where the native module is not: what works, and where it must agree with native."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from mcpgateway_rust._fallback import a2a_service as fallback
from mcpgateway_rust._fallback import strict_json
from mcpgateway_rust.exceptions import (
    ConnectError,
    ConnectionLost,
    GatewayError,
    IncompleteBody,
    InvalidReply,
    InvalidRequest,
    ProtocolError,
    UnsupportedBuffer,
)
from mcpgateway_rust.services import a2a_service as native
from support.hostile import Close, HostileServer, ReadRequest, Reset, Scenario, Send, answer
from support.json_test_suite import json_test_suite
from support.native_server import NativeServer
from support.process import run_python

InvokeAgent = Callable[[str, str, str, bytes | None], str]
both = pytest.mark.parametrize("invoke_agent", [native.invoke_agent, fallback.invoke_agent], ids=["native", "fallback"])

WITHOUT_NATIVE = """
    import sys
    sys.modules["mcpgateway_rust._native"] = None
"""


# ---- without the native module


def test_the_service_works_without_the_native_module(agent: NativeServer) -> None:
    finished = run_python(
        WITHOUT_NATIVE
        + """
    import asyncio, json
    from mcpgateway_rust.services import a2a_service

    assert not a2a_service.RUST_AVAILABLE
    message = {"role": "user", "parts": [{"kind": "text", "text": "hello"}]}
    call = {"jsonrpc": "2.0", "id": 7, "method": "message/send", "params": {"message": message}}
    service = a2a_service.A2AService()
    reply = asyncio.run(service.invoke_agent(sys.argv[1] + "/a2a", "POST", {}, json.dumps(call).encode()))
    print(json.dumps([reply["id"], reply["result"]["parts"][0]["text"]]))
    """,
        agent.url,
    )
    assert (finished.stdout, finished.stderr, finished.returncode) == ('[7, "hello"]\n', "", 0)


def test_a_status_of_failure_is_the_same_error_without_the_native_module(agent: NativeServer) -> None:
    finished = run_python(
        WITHOUT_NATIVE
        + """
    import asyncio
    from mcpgateway_rust.exceptions import HTTPStatusError
    from mcpgateway_rust.services.a2a_service import A2AService

    try:
        asyncio.run(A2AService().invoke_agent(sys.argv[1] + "/no/such/path", "POST", {}, b"{}"))
    except HTTPStatusError as error:
        print(error.response.status, error.response.headers["content-type"], b"no such path" in error.response.body)
    """,
        agent.url,
    )
    assert (finished.stdout, finished.stderr, finished.returncode) == ("404 application/json True\n", "", 0)


def test_what_is_native_only_says_what_is_missing() -> None:
    finished = run_python(
        WITHOUT_NATIVE
        + """
    import mcpgateway_rust

    print(mcpgateway_rust.Timeouts().total)
    try:
        mcpgateway_rust.Client
    except ImportError as error:
        print("_native" in str(error))
    """
    )
    assert (finished.stdout, finished.stderr) == ("600.0\nTrue\n", "")


# ---- where both must agree

HEAD = b"HTTP/1.1 200 OK\r\n"


def then_close(reply: bytes) -> Scenario:
    """Read one request, send exactly `reply`, close."""
    return [ReadRequest(), Send(reply), Close()]


BROKEN: dict[str, tuple[Scenario, type[GatewayError]]] = {
    "a reset": ([ReadRequest(), Reset()], ConnectionLost),
    "no reply": (then_close(b""), ConnectionLost),
    "a short body": (then_close(HEAD + b"content-length: 9\r\n\r\n{}"), IncompleteBody),
    "a short chunk": (then_close(HEAD + b"transfer-encoding: chunked\r\n\r\n9\r\n{}"), IncompleteBody),
    "a chunk of no length": (then_close(HEAD + b"transfer-encoding: chunked\r\n\r\nx\r\n{}"), GatewayError),
    "not HTTP": (then_close(b"hello\r\n\r\n"), ProtocolError),
    "a page": (answer(b"<html>"), InvalidReply),
}


@pytest.mark.parametrize("name", BROKEN)
@both
def test_what_a_peer_breaks_is_an_error_of_the_gateway(name: str, invoke_agent: InvokeAgent) -> None:
    scenario, expected = BROKEN[name]
    with HostileServer(scenario) as server, pytest.raises(expected):
        invoke_agent(server.url, "POST", "{}", b"{}")


@both
def test_a_body_without_a_length_ends_with_the_connection(invoke_agent: InvokeAgent) -> None:
    with HostileServer(then_close(HEAD + b"\r\n[1, 2]")) as server:
        assert invoke_agent(server.url, "POST", "{}", b"{}") == "[1, 2]"


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("", "/"),
        ("/a b", "/a%20b"),
        ("/a%20b?c=d e", "/a%20b?c=d%20e"),
        ("/grüße?q=ü#part", "/gr%C3%BC%C3%9Fe?q=%C3%BC"),
        ('/a"b<c>', "/a%22b%3Cc%3E"),
        ("?q=1", "/?q=1"),
    ],
)
@both
def test_a_url_is_percent_encoded_alike(path: str, target: str, invoke_agent: InvokeAgent) -> None:
    with HostileServer(answer(b"{}")) as server:
        assert invoke_agent(server.url + path, "GET", "{}", None) == "{}"
        assert server.heads[0].target == target


@both
def test_a_header_is_sent_as_utf_8_by_both(invoke_agent: InvokeAgent) -> None:
    with HostileServer(answer(b"{}")) as server:
        invoke_agent(server.url, "POST", json.dumps({"x-name": "日本"}, ensure_ascii=False), b"{}")
        sent = server.heads[0].header("x-name")
    assert sent is not None
    assert sent.encode("latin-1").decode() == "日本"


@pytest.mark.parametrize("url", [f"http://{'a' * 64}.example/", "http://a..example/", "http://[::1/", "http://a%b/"])
@both
def test_a_host_that_is_none_is_an_error_of_the_gateway(url: str, invoke_agent: InvokeAgent) -> None:
    with pytest.raises((InvalidRequest, ConnectError)):
        invoke_agent(url, "POST", "{}", b"{}")


@both
def test_a_body_that_is_text_is_refused_with_what_to_pass_instead(invoke_agent: InvokeAgent) -> None:
    text: Any = "{}"
    with pytest.raises(UnsupportedBuffer, match="encode"):
        invoke_agent("http://127.0.0.1:1/", "POST", "{}", text)


@both
def test_no_secret_of_the_url_is_in_an_error(invoke_agent: InvokeAgent) -> None:
    with HostileServer(then_close(b"")) as server, pytest.raises(GatewayError) as caught:
        invoke_agent(f"http://user:canary@127.0.0.1:{server.port}/path?token=canary", "POST", "{}", b"{}")
    assert (f"127.0.0.1:{server.port}/path" in str(caught.value), "canary" in str(caught.value)) == (True, False)


@both
@pytest.mark.parametrize(
    ("headers_json", "credentials"),
    [("{}", "Basic dTpwdw=="), ('{"Authorization": "Bearer mine"}', "Bearer mine")],
)
def test_userinfo_is_basic_authentication_unless_the_caller_has_another(
    headers_json: str, credentials: str, invoke_agent: InvokeAgent
) -> None:
    with HostileServer(answer(b"{}")) as server:
        invoke_agent(f"http://u:p%77@127.0.0.1:{server.port}/", "POST", headers_json, b"{}")
        assert server.heads[0].header("authorization") == credentials


# ---- JSON


@both
def test_json_test_suite_has_one_answer(invoke_agent: InvokeAgent, agent: NativeServer) -> None:
    def is_accepted(text: bytes) -> bool:
        try:
            return invoke_agent(f"{agent.url}/echo", "POST", "{}", text).encode() == text
        except InvalidReply:
            return False

    # Of the undecided, numbers of any size are accepted, and text that is not Unicode is refused.
    accepted = ("y_", "i_number_", "i_structure_500_nested_arrays")
    wrong = [
        path.stem for path in json_test_suite() if is_accepted(path.read_bytes()) != path.stem.startswith(accepted)
    ]
    assert wrong == []


@pytest.mark.parametrize("number", ["1e400", "-1e400", "9" * 309 + ".0", "1" * 200 + "e150", "1.5e999999999999"])
@both
def test_a_number_that_no_double_holds_is_json(number: str, invoke_agent: InvokeAgent, agent: NativeServer) -> None:
    assert invoke_agent(f"{agent.url}/echo", "POST", "{}", number.encode()) == number
    with pytest.raises(InvalidReply, match="larger"):
        strict_json.parse_reply(number)


@pytest.mark.parametrize("depth", [900, 1000, 1024])
def test_objects_are_made_to_the_depth_of_the_dialect(depth: int) -> None:
    text = '{"a": [' * (depth // 2) + ' "]}" , 1.5 , "\\ud83d\\ude00" ' + "]\n}" * (depth // 2)
    value = strict_json.parse_reply(text)
    for _ in range(depth // 2):
        (value,) = value.values()
        if len(value) == 1:
            (value,) = value
    assert value == ["]}", 1.5, "😀"]


@pytest.mark.parametrize(
    "broken",
    ["[1", "{1: 2}", '{"a" 1}', '{"a": 1,}', "[1,]", "[1 2]", "[,]", '{"a": 1 "b": 2}', "nul", '"\\ud800"'],
)
def test_what_is_not_json_is_refused_at_any_depth(broken: str) -> None:
    for depth in (0, 10, 1000):
        with pytest.raises(InvalidReply):
            strict_json.parse_reply("[" * depth + broken + "]" * depth)


@pytest.mark.parametrize(
    "text", ['"' + "[" * 2000 + '"', '["\\"[' + "[" * 2000 + '"]', '["\\\\", "' + "{" * 2000 + '"]']
)
def test_brackets_in_text_are_no_depth(text: str) -> None:
    assert strict_json.parse_reply(text) == json.loads(text)


@pytest.mark.parametrize(
    "text", ['"\\\\ud800"', '"\\\\\\\\ud800"', '"\\ud83d\\ude00"', '"\\\\\\ud83d\\ude00"', '"\\uE000"']
)
def test_what_only_looks_like_half_a_surrogate_pair_is_text(text: str) -> None:
    assert strict_json.parse_reply(text) == json.loads(text)


def test_integers_are_exact() -> None:
    assert strict_json.parse_reply(f"[{2**64}, {-(2**63) - 1}, {10**4000}]") == [2**64, -(2**63) - 1, 10**4000]


def test_an_integer_beyond_the_limit_of_the_interpreter_is_checked_but_not_made() -> None:
    strict_json.check_reply("1" * 100_000)
    with pytest.raises(InvalidReply, match="set_int_max_str_digits"):
        strict_json.parse_reply("1" * 100_000)
