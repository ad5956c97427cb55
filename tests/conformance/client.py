"""The client that the MCP conformance kit judges: `python client.py URL`, with the scenario in the environment.

Each scenario is a server of the kit that watches what a client does. What is done here is what a gateway does: list the
tools, call them, read resources and prompts, all by `AsyncToolClient`.
"""

import asyncio
import json
import os
import sys
from collections.abc import Callable, Coroutine
from typing import Any, cast

from mcpgateway_rust import AsyncClient
from mcpgateway_rust.services.tool_service import AsyncToolClient, ProtocolVersion, Tool, ToolResult

Json = dict[str, Any]
Scenario = Callable[[str], Coroutine[Any, Any, None]]

SCENARIO = os.environ.get("MCP_CONFORMANCE_SCENARIO", "")
PROTOCOL = cast("ProtocolVersion", os.environ.get("MCP_CONFORMANCE_PROTOCOL_VERSION", "2025-11-25"))
CONTEXT: Json = json.loads(os.environ.get("MCP_CONFORMANCE_CONTEXT", "{}"))


def answer(asked: Json) -> Json:
    """What a user who accepts everything says: each field its default, and yes to what has none."""
    properties: dict[str, Json] = asked["requestedSchema"]["properties"]
    return {"action": "accept", "content": {name: field.get("default", True) for name, field in properties.items()}}


def tools(url: str) -> AsyncToolClient:
    """A client for the server at `url`, of the generation that is asked for."""
    return AsyncToolClient(url, protocol=PROTOCOL, on_elicitation=answer if SCENARIO in ASKING else None)


async def list_tools(url: str) -> None:
    async with tools(url) as client:
        await client.list_tools()


async def add_numbers(url: str) -> None:
    async with tools(url) as client:
        await client.list_tools()
        await client.call("add_numbers", {"a": 5, "b": 3})


async def call_all(url: str) -> None:
    """Every tool that is left of the list, with nothing, or what its schema asks for."""
    async with tools(url) as client:
        for tool in await client.list_tools():
            assert tool.input_schema is not None
            required = tool.input_schema.value().get("required", [])
            await client.call(tool.name, dict.fromkeys(required, "a"))


async def call_as_told(url: str) -> None:
    async with tools(url) as client:
        await client.list_tools()
        for call in CONTEXT["toolCalls"]:
            await client.call(call["name"], call["arguments"])


async def call_and_read(url: str) -> None:
    await call_all(url)
    async with tools(url) as client:
        for resource in (await client.request("resources/list"))["resources"].value():
            await client.request("resources/read", {"uri": resource["uri"]})
        for prompt in (await client.request("prompts/list"))["prompts"].value():
            await client.request("prompts/get", {"name": prompt["name"]})


async def echo_schema(url: str) -> None:
    async with tools(url) as client:
        listed = {tool.name: tool for tool in await client.list_tools()}
        schema = listed["json_schema_2020_12_tool"].input_schema
        assert schema is not None
        await client.call("json_schema_echo", b'{"schema":' + bytes(schema.raw()) + b"}")


async def authorized(url: str) -> None:
    from conformance.oauth import Authorized  # takes a second to import, and only these scenarios need it

    async with AsyncClient() as http, tools(url) as client:
        calls = Authorized(url, http)

        async def listed(headers: dict[str, str]) -> list[Tool]:
            return await client.list_tools(headers=headers)

        for tool in await calls.call(listed):

            async def called(headers: dict[str, str], name: str = tool.name) -> ToolResult:
                return await client.call(name, {}, headers=headers)

            await calls.call(called)


SCENARIOS: dict[str, Scenario] = {
    "initialize": list_tools,
    "request-metadata": list_tools,
    "json-schema-ref-no-deref": list_tools,
    "tools_call": add_numbers,
    "elicitation-sep1034-client-defaults": call_all,
    "sse-retry": call_all,
    "sep-2322-client-request-state": call_all,
    "http-invalid-tool-headers": call_all,
    "http-standard-headers": call_and_read,
    "http-custom-headers": call_as_told,
    "json-schema-2020-12-preservation": echo_schema,
}

ASKING = ("elicitation-sep1034-client-defaults", "sep-2322-client-request-state")
"""Where servers ask the user. Who can be asked is asked otherwise, such as on a stream of its own."""

NOT_OURS = (
    "auth/client-credentials",
    "auth/enterprise-managed-authorization",
    "auth/dpop",
    "auth/wif",
)
"""Extensions that neither generation requires: README.md says why they are left out."""


def main() -> None:
    if SCENARIO.startswith(NOT_OURS):
        sys.exit(f"{SCENARIO} is left out: see README.md")
    scenario = SCENARIOS.get(SCENARIO, authorized if SCENARIO.startswith("auth/") else None)
    if scenario is None:
        sys.exit(f"{SCENARIO} is not known here")
    asyncio.run(scenario(sys.argv[1]))


if __name__ == "__main__":
    main()
