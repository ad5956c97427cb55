"""The table of cases, read by the native function and by the Python fallback: one answer from both."""

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mcpgateway_rust import exceptions
from mcpgateway_rust._fallback import a2a_service as fallback
from mcpgateway_rust.services import a2a_service as native
from support.hostile import closed_port
from support.native_server import NativeServer

InvokeAgent = Callable[[str, str, str, bytes | None], str]
TABLE = Path(__file__).resolve().parent.parent / "cases" / "invoke_agent.json"


@dataclass(frozen=True)
class Case:
    """One row of the table."""

    name: str
    url: str
    method: str
    headers_json: str
    body: bytes | None
    expect: dict[str, Any]

    @classmethod
    def read(cls, row: dict[str, Any]) -> "Case":
        return cls(row["name"], row["url"], row["method"], row["headers_json"], body_of(row), row["expect"])


def body_of(row: dict[str, Any]) -> bytes | None:
    if "body_base64" in row:
        return base64.b64decode(row["body_base64"])
    if "body_pieces" in row:
        return "".join(text * times for text, times in row["body_pieces"]).encode()
    return None if row["body"] is None else str(row["body"]).encode()


CASES = [Case.read(row) for row in json.loads(TABLE.read_text())["cases"]]


def at(document: Any, pointer: str) -> Any:
    """The value at a JSON pointer (none of the table's needs an escape)."""
    for step in pointer.split("/")[1:]:
        document = document[int(step) if isinstance(document, list) else step]
    return document


@pytest.mark.parametrize("invoke_agent", [native.invoke_agent, fallback.invoke_agent], ids=["native", "fallback"])
@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_every_implementation_gives_the_answer_of_the_table(
    case: Case, invoke_agent: InvokeAgent, agent: NativeServer
) -> None:
    url = case.url.replace("{agent}", agent.url).replace("{closed}", f"http://127.0.0.1:{closed_port()}")
    if "error" in case.expect:
        with pytest.raises(exceptions.GatewayError) as caught:
            invoke_agent(url, case.method, case.headers_json, case.body)
        assert type(caught.value).__name__ == case.expect["error"]
        if isinstance(caught.value, exceptions.HTTPStatusError):
            assert caught.value.response.status == case.expect["status"]
        return
    reply = invoke_agent(url, case.method, case.headers_json, case.body)
    if "same" in case.expect:
        assert reply.encode() == case.body
    else:
        values = case.expect["json_at"]
        document = json.loads(reply)
        assert {pointer: at(document, pointer) for pointer in values} == values


def test_the_names_of_the_cases_are_theirs_alone() -> None:
    assert len({case.name for case in CASES}) == len(CASES)
