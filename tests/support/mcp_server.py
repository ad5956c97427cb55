"""An MCP server made with the official SDK, 1.x or 2.x, whichever is installed where it runs.

    python mcp_server.py [--json] [--resumable] [--stateless] [--port N]

prints `http://127.0.0.1:PORT/mcp` and serves until it is told to end. 2.x serves both generations of the protocol, 1.x
the older one. What its tools do is written once, in the words of the wire; `serve_by_1` and `serve_by_2` hand it to the
SDK. Beside `/mcp` there is `GET /state` (what the server has seen) and `POST /expire` (all sessions end at once).

Only the standard library and what the SDK itself needs may be imported: 1.x runs in an environment of its own.
"""

import argparse
import asyncio
import base64
import hashlib
import importlib.metadata
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

Wire = dict[str, Any]

MODERN = "2026-07-28"
LARGEST_REQUEST = 2 << 30
PAGE = 5
RETRY_MILLISECONDS = 50
PERIOD_BYTES = 65_521  # a prime, so that a block of a power of two never repeats in step


def _period() -> bytes:
    blocks = (hashlib.sha256(b"%d" % number).hexdigest() for number in range(PERIOD_BYTES // 64 + 1))
    return "".join(blocks)[:PERIOD_BYTES].encode()


_PERIOD = _period()


def sample(length: int) -> bytes:
    """The first `length` bytes of an endless hexadecimal text: what every sized reply consists of."""
    return (_PERIOD * (length // PERIOD_BYTES + 1))[:length]


def rows(length: int) -> list[Wire]:
    """Records of 1 KiB of text each, `length` bytes of it in all."""
    text = sample(length).decode()
    return [{"id": start >> 10, "text": text[start : start + 1024]} for start in range(0, length, 1024)]


# ---- Tools, in the words of the wire


@dataclass
class Call:
    """One `tools/call`: its arguments, and what a tool may do meanwhile."""

    arguments: Wire
    headers: dict[str, str]
    protocol: str
    input_responses: Wire | None
    request_state: str | None
    report: Callable[[float, float, str], Awaitable[None]]
    elicit: Callable[[str, Wire], Awaitable[Wire]]
    ping: Callable[[], Awaitable[None]]
    end_stream: Callable[[], Awaitable[None]]


@dataclass
class State:
    """What the server has seen, for `GET /state`."""

    started: int = 0
    cancelled: int = 0
    calls: dict[str, int] = field(default_factory=dict)
    requests: list[Wire] = field(default_factory=list)


STATE = State()
RELEASED = asyncio.Event()

Tool = Callable[[Call], Awaitable[Wire]]
TOOLS: dict[str, tuple[Wire, Tool]] = {}

TEXT = {"type": "string"}
INTEGER = {"type": "integer"}
ELICITED: Wire = {
    "type": "object",
    "properties": {"name": {"type": "string", "default": "nobody"}, "age": {"type": "integer", "default": 30}},
}


def tool(description: str, *, output: Wire | None = None, **properties: Wire) -> Callable[[Tool], Tool]:
    """Make the function below a tool of its own name, with `properties` as its arguments."""

    def add(function: Tool) -> Tool:
        name = function.__name__
        schema: Wire = {"type": "object", "properties": properties}
        listed: Wire = {"name": name, "description": description, "inputSchema": schema}
        TOOLS[name] = (listed | ({"outputSchema": output} if output else {}), function)
        return function

    return add


def text_result(text: str, **more: Any) -> Wire:
    return {"content": [{"type": "text", "text": text}], **more}


@tool("The text that was given", text=TEXT)
async def echo(call: Call) -> Wire:
    return text_result(call.arguments["text"])


@tool("So many bytes of text", length=INTEGER)
async def text(call: Call) -> Wire:
    return text_result(sample(call.arguments["length"]).decode())


@tool("Records, as structured content; the text repeats them if asked", length=INTEGER, repeat={"type": "boolean"})
async def structured(call: Call) -> Wire:
    content = {"rows": rows(call.arguments["length"])}
    shown = str(content) if call.arguments.get("repeat") else "see structuredContent"
    return text_result(shown, structuredContent=content)


@tool("What arrived: its bytes and their sha256", data=TEXT)
async def checksum(call: Call) -> Wire:
    data = call.arguments["data"].encode()
    found = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    return text_result(str(found), structuredContent=found)


@tool("One of each kind of content", length=INTEGER)
async def contents(call: Call) -> Wire:
    data = base64.b64encode(sample(call.arguments["length"])).decode()
    embedded_text = {"uri": "peer://text/3", "mimeType": "text/plain", "text": "one"}
    embedded_blob = {"uri": "peer://blob/3", "mimeType": "application/octet-stream", "blob": data}
    return {
        "content": [
            {"type": "text", "text": "five kinds"},
            {"type": "image", "data": data, "mimeType": "image/png"},
            {"type": "audio", "data": data, "mimeType": "audio/wav"},
            {"type": "resource_link", "uri": "peer://hello", "name": "hello", "mimeType": "text/plain"},
            {"type": "resource", "resource": embedded_text},
            {"type": "resource", "resource": embedded_blob},
        ]
    }


@tool("A link to a resource, wherever that is", uri=TEXT)
async def link(call: Call) -> Wire:
    return {"content": [{"type": "resource_link", "uri": call.arguments["uri"], "name": "linked"}]}


@tool("Fails, as a tool does", message=TEXT)
async def fail(call: Call) -> Wire:
    return text_result(call.arguments["message"], isError=True)


@tool("Keeps to its output schema, or not", output={"type": "object", "properties": {"sum": INTEGER}}, sum={})
async def typed(call: Call) -> Wire:
    content = {"sum": call.arguments["sum"]}
    return text_result(str(content), structuredContent=content)


@tool("Reports its progress so many times", steps=INTEGER)
async def progress(call: Call) -> Wire:
    steps = call.arguments["steps"]
    for step in range(1, steps + 1):
        await call.report(step, steps, f"step {step}")
    return text_result("done")


@tool("Reports that it began, and goes on until the server is asked to release it")
async def slow(call: Call) -> Wire:
    STATE.started += 1
    try:
        await call.report(1, 2, "began")
        await RELEASED.wait()
    except asyncio.CancelledError:
        STATE.cancelled += 1
        raise
    return text_result("released")


@tool("Asks the user for a name and an age")
async def confirm(call: Call) -> Wire:
    if call.protocol != MODERN:
        answer = await call.elicit("Who are you?", ELICITED)
        return text_result(answer["action"], structuredContent=answer)
    if call.input_responses is None:
        return input_required("who", "Who are you?", "round 1")
    answer = dict(call.input_responses["who"])
    return text_result(answer["action"], structuredContent=answer | {"state": call.request_state})


@tool("Asks twice, one after the other (only in the newer generation)")
async def confirm_twice(call: Call) -> Wire:
    if call.input_responses is None:
        return input_required("first", "First?", "1")
    if call.request_state == "1":
        return input_required("second", "Second?", "2")
    return text_result("both", structuredContent={"last": sorted(call.input_responses), "state": call.request_state})


def input_required(key: str, message: str, state: str) -> Wire:
    asked = {"method": "elicitation/create", "params": {"message": message, "requestedSchema": ELICITED}}
    return {"resultType": "input_required", "inputRequests": {key: asked}, "requestState": state}


@tool("Pings the client and waits for its answer (only in the older generation)")
async def ping_back(call: Call) -> Wire:
    await call.ping()
    return text_result("answered")


@tool("Ends its stream before its result, which comes on another one (needs --resumable)", length=INTEGER)
async def reconnect(call: Call) -> Wire:
    await call.report(1, 2, "so that there is an event to go on from")
    await call.end_stream()
    return text_result(sample(call.arguments["length"]).decode())


@tool(
    "The Mcp-* headers that came with the call",
    region={"type": "string", "x-mcp-header": "Region"},
    priority={"type": "integer", "x-mcp-header": "Priority"},
    urgent={"type": "boolean", "x-mcp-header": "Urgent"},
    note=TEXT,
)
async def headers(call: Call) -> Wire:
    found = {name: value for name, value in call.headers.items() if name.startswith("mcp-")}
    return text_result(str(found), structuredContent=found)


async def call_tool(name: str, call: Call) -> Wire:
    STATE.calls[name] = STATE.calls.get(name, 0) + 1
    return await TOOLS[name][1](call)


# ---- Resources, in the words of the wire

RESOURCES: list[Wire] = [
    {"uri": f"peer://page/{number}", "name": f"page {number}", "mimeType": "text/plain"} for number in range(12)
]
TEMPLATES: list[Wire] = [
    {"uriTemplate": "peer://text/{length}", "name": "text", "mimeType": "text/plain"},
    {"uriTemplate": "peer://blob/{length}", "name": "blob", "mimeType": "application/octet-stream"},
    {"uriTemplate": "peer://echo/{+path}{?a,b*}", "name": "echo", "mimeType": "text/plain"},
]


def read(uri: str) -> list[Wire] | None:
    """The contents of the resource at `uri`; None if there is none."""
    kind, _, rest = uri.removeprefix("peer://").partition("/")
    if kind == "text":
        return [{"uri": uri, "mimeType": "text/plain", "text": sample(int(rest)).decode()}]
    if kind == "blob":
        blob = base64.b64encode(sample(int(rest))).decode()
        return [{"uri": uri, "mimeType": "application/octet-stream", "blob": blob}]
    if kind == "both":
        blob = base64.b64encode(b"\x00\xff").decode()
        return [{"uri": uri, "mimeType": "text/plain", "text": "é"}, {"uri": f"{uri}#2", "blob": blob}]
    if kind in ("page", "echo", "hello"):
        return [{"uri": uri, "mimeType": "text/plain", "text": uri}]
    return None


def page(key: str, items: list[Wire], cursor: str | None) -> Wire:
    """The page of `items` that begins at `cursor`, an opaque text."""
    start = int(base64.b64decode(cursor)) if cursor else 0
    found: Wire = {key: items[start : start + PAGE]}
    if start + PAGE < len(items):
        found["nextCursor"] = base64.b64encode(b"%d" % (start + PAGE)).decode()
    return found


def listed_tools() -> list[Wire]:
    return [listed for listed, _ in TOOLS.values()]


# ---- The two SDKs


def serve_by_2() -> Any:
    """The low-level server of `mcp` 2.x."""
    import mcp_types as types
    from mcp import MCPError
    from mcp.server.lowlevel import Server

    async def on_list_tools(_: Any, params: Any) -> Any:
        return types.ListToolsResult.model_validate(page("tools", listed_tools(), params and params.cursor))

    async def on_call_tool(context: Any, params: Any) -> Any:
        if params.name not in TOOLS:
            raise MCPError(types.INVALID_PARAMS, f"Unknown tool: {params.name}")

        async def elicit(message: str, schema: Wire) -> Wire:
            answer = await context.session.elicit_form(message, schema, related_request_id=context.request_id)
            wire: Wire = answer.model_dump(by_alias=True, exclude_none=True)
            return wire

        async def ping() -> None:
            await context.session.send_request(types.PingRequest(), types.EmptyResult, metadata=related(context))

        responses = params.input_responses
        call = Call(
            params.arguments or {},
            dict(context.request.headers),
            context.protocol_version,
            responses and {key: value.model_dump(by_alias=True, exclude_none=True) for key, value in responses.items()},
            params.request_state,
            context.session.report_progress,
            elicit,
            ping,
            context.close_sse_stream,
        )
        result = await call_tool(params.name, call)
        if result.get("resultType") == "input_required":
            return types.InputRequiredResult.model_validate(result)
        return types.CallToolResult.model_validate(result)

    def related(context: Any) -> Any:
        from mcp.shared.message import ServerMessageMetadata

        return ServerMessageMetadata(related_request_id=context.request_id)

    async def on_list_resources(_: Any, params: Any) -> Any:
        return types.ListResourcesResult.model_validate(page("resources", RESOURCES, params and params.cursor))

    async def on_list_templates(_: Any, __: Any) -> Any:
        return types.ListResourceTemplatesResult.model_validate({"resourceTemplates": TEMPLATES})

    async def on_read_resource(context: Any, params: Any) -> Any:
        found = read(params.uri)
        if found is None:
            code = types.INVALID_PARAMS if context.protocol_version == MODERN else -32002
            raise MCPError(code, "Resource not found", {"uri": params.uri})
        return types.ReadResourceResult.model_validate({"contents": found})

    return Server(
        "peer",
        version="2",
        get_tool_input_schema=lambda name: TOOLS[name][0]["inputSchema"] if name in TOOLS else None,
        on_list_tools=on_list_tools,
        on_call_tool=on_call_tool,
        on_list_resources=on_list_resources,
        on_list_resource_templates=on_list_templates,
        on_read_resource=on_read_resource,
    )


def serve_by_1() -> Any:
    """The low-level server of `mcp` 1.x."""
    import importlib

    types: Any = importlib.import_module("mcp.types")
    lowlevel: Any = importlib.import_module("mcp.server.lowlevel")
    error: Any = importlib.import_module("mcp.shared.exceptions").McpError
    server = lowlevel.Server("peer", version="1")

    async def list_tools(request: Any) -> Any:
        cursor = request.params and request.params.cursor
        return types.ServerResult(types.ListToolsResult.model_validate(page("tools", listed_tools(), cursor)))

    async def list_resources(request: Any) -> Any:
        cursor = request.params and request.params.cursor
        return types.ServerResult(types.ListResourcesResult.model_validate(page("resources", RESOURCES, cursor)))

    async def list_templates(_: Any) -> Any:
        return types.ServerResult(types.ListResourceTemplatesResult.model_validate({"resourceTemplates": TEMPLATES}))

    async def read_resource(request: Any) -> Any:
        found = read(str(request.params.uri))
        if found is None:
            raise error(types.ErrorData(code=-32002, message="Resource not found"))
        return types.ServerResult(types.ReadResourceResult.model_validate({"contents": found}))

    async def on_call_tool(request: Any) -> Any:
        context, params = server.request_context, request.params
        if params.name not in TOOLS:
            raise error(types.ErrorData(code=types.INVALID_PARAMS, message=f"Unknown tool: {params.name}"))

        async def report(done: float, total: float, message: str) -> None:
            token = context.meta and context.meta.progressToken
            if token is not None:
                await context.session.send_progress_notification(token, done, total, message, str(context.request_id))

        async def elicit(message: str, schema: Wire) -> Wire:
            answer = await context.session.elicit_form(message, schema, context.request_id)
            wire: Wire = answer.model_dump(by_alias=True, exclude_none=True)
            return wire

        async def ping() -> None:
            metadata = importlib.import_module("mcp.shared.message").ServerMessageMetadata
            await context.session.send_request(
                types.ServerRequest(types.PingRequest()),
                types.EmptyResult,
                metadata=metadata(related_request_id=context.request_id),
            )

        call = Call(
            params.arguments or {},
            dict(context.request.headers),
            "2025-11-25",
            None,
            None,
            report,
            elicit,
            ping,
            context.close_sse_stream,
        )
        return types.ServerResult(types.CallToolResult.model_validate(await call_tool(params.name, call)))

    server.request_handlers |= {
        types.ListToolsRequest: list_tools,
        types.CallToolRequest: on_call_tool,
        types.ListResourcesRequest: list_resources,
        types.ListResourceTemplatesRequest: list_templates,
        types.ReadResourceRequest: read_resource,
    }
    return server


# ---- HTTP


def event_store() -> Any:
    """Remembers every event, so that a stream can be taken up again."""
    from mcp.server.streamable_http import EventMessage, EventStore

    class Remembered(EventStore):
        def __init__(self) -> None:
            self.events: list[tuple[str, Any]] = []

        async def store_event(self, stream_id: str, message: Any) -> str:
            self.events.append((stream_id, message))
            return str(len(self.events) - 1)

        async def replay_events_after(self, last_event_id: str, send_callback: Any) -> str | None:
            last = int(last_event_id)
            stream = self.events[last][0]
            for number, (name, message) in enumerate(self.events[last + 1 :], last + 1):
                if name == stream and message is not None:
                    await send_callback(EventMessage(message, str(number)))
            return stream

    return Remembered()


def application(options: argparse.Namespace) -> Any:
    """The ASGI application: `/mcp`, `/state`, `/expire`, `/release`."""
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import JSONResponse
    from starlette.routing import Mount, Route

    two = importlib.metadata.version("mcp").startswith("2.")
    manager = StreamableHTTPSessionManager(
        app=serve_by_2() if two else serve_by_1(),
        event_store=event_store() if options.resumable else None,
        retry_interval=RETRY_MILLISECONDS if options.resumable else None,
        json_response=options.json,
        stateless=options.stateless,
        max_request_body_size=LARGEST_REQUEST,
    )

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with manager.run():
            yield

    async def state(_: Request) -> JSONResponse:
        sessions = len(manager._server_instances)  # the only place that knows
        return JSONResponse(
            {
                "sessions": sessions,
                "started": STATE.started,
                "cancelled": STATE.cancelled,
                "calls": STATE.calls,
                "requests": STATE.requests,
            }
        )

    async def expire(_: Request) -> JSONResponse:
        transports = list(manager._server_instances.values())
        for transport in transports:
            await transport.terminate()
        manager._server_instances.clear()
        return JSONResponse({"expired": len(transports)})

    async def release(_: Request) -> JSONResponse:
        RELEASED.set()
        return JSONResponse({})

    async def mcp(scope: Any, receive: Any, send: Any) -> None:
        names = (b"mcp-session-id", b"mcp-protocol-version", b"mcp-method", b"mcp-name", b"last-event-id")
        seen = {name.decode(): value.decode() for name, value in scope["headers"] if name in names}
        STATE.requests.append({"method": scope["method"], **seen})
        await manager.handle_request(scope, receive, send)

    routes = [
        Route("/state", state),
        Route("/expire", expire, methods=["POST"]),
        Route("/release", release, methods=["POST"]),
        Mount("/", app=mcp),
    ]
    return Starlette(routes=routes, lifespan=lifespan)


def main() -> None:
    import uvicorn

    parser = argparse.ArgumentParser()
    parser.add_argument("--json", action="store_true", help="replies are JSON instead of streams")
    parser.add_argument("--resumable", action="store_true", help="streams can be taken up again")
    parser.add_argument("--stateless", action="store_true", help="the older generation without sessions")
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    logging.getLogger("mcp").setLevel(logging.CRITICAL)  # 1.x reports every stream that a client ends as an error
    listener = socket.create_server(("127.0.0.1", options.port), backlog=512)
    config = uvicorn.Config(application(options), log_level="warning", timeout_graceful_shutdown=1, access_log=False)
    server = uvicorn.Server(config)
    print(f"http://127.0.0.1:{listener.getsockname()[1]}/mcp", flush=True)
    server.run(sockets=[listener])


if __name__ == "__main__":
    main()
