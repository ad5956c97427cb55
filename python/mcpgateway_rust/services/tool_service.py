"""Call tools with arguments and results of any size: MCP servers of both generations.

What a tool answers is looked into where it lies: `result.structured` and `result.content[0].payload_async()` build
nothing that nobody asked for.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Literal, Self, TypeAlias, TypedDict, Unpack

from mcpgateway_rust import _native
from mcpgateway_rust._native import Content, Node, Payload, Progress, ServerRequest, Tool, ToolResult
from mcpgateway_rust._types import Buffer, HeadersLike, Limits, Timeouts
from mcpgateway_rust.client import AsyncClient, Client, ClientOptions
from mcpgateway_rust.exceptions import GatewayError

__all__ = [
    "AsyncToolClient",
    "CallOptions",
    "Content",
    "ProtocolVersion",
    "ServerRequest",
    "Tool",
    "ToolClient",
    "ToolResult",
    "invoke_tool",
    "invoke_tool_async",
]

ProtocolVersion = Literal["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28"]
Arguments: TypeAlias = "Mapping[str, Any] | Node | Payload | Buffer | None"
# What answers a request of the server's: its parameters in, its result out.
Answer: TypeAlias = Callable[[Any], Any]
# What hears of progress: the parameters of `notifications/progress`.
Listener: TypeAlias = Callable[[Any], Any]

_METHOD_NOT_FOUND = -32601
_INTERNAL_ERROR = -32603


class CallOptions(TypedDict, total=False):
    """What may be set for one call; all keyword-only.

    Attributes:
        headers: Beside the client's; names that are there replace the client's.
        timeouts: Instead of the client's. `total` holds for one request and the streams that resume it.
        limits: Instead of the client's.
        progress: Counts the bytes while the call runs.
    """

    headers: HeadersLike | None
    timeouts: Timeouts | None
    limits: Limits | None
    progress: Progress | None


# What a server may ask during a call, by the name of the handler: its method, and the capability that it needs.
_METHODS = {
    "on_elicitation": ("elicitation/create", "elicitation"),
    "on_sampling": ("sampling/createMessage", "sampling"),
    "on_roots": ("roots/list", "roots"),
}


class _Server:
    """What both clients have in common: the native half, and who answers."""

    def __init__(
        self,
        client: _native.Client | None,
        url: str,
        *,
        protocol: ProtocolVersion | None,
        capabilities: Mapping[str, Any] | None,
        client_info: tuple[str, str] | None,
        max_input_rounds: int,
        handlers: Mapping[str, Answer | None],
    ) -> None:
        answers = {name: answer for name, answer in handlers.items() if answer is not None}
        declared: dict[str, Any] = {_METHODS[name][1]: {} for name in answers}
        self.answers = {_METHODS[name][0]: answer for name, answer in answers.items()}
        self.native = _native.ToolServer(
            client,
            url,
            protocol=protocol,
            capabilities={**declared, **(capabilities or {})},
            client_info=client_info,
            max_input_rounds=max_input_rounds,
        )

    def is_plain(self, on_progress: Listener | None) -> bool:
        """Whether a call has nobody to turn to in between."""
        return not self.answers and on_progress is None


def _filled(request: ServerRequest, result: Any) -> Any:
    """The answer to an elicitation, with the defaults of its schema where the content has nothing."""
    is_accepted = isinstance(result, Mapping) and result.get("action") == "accept"
    if request.method != "elicitation/create" or not is_accepted:
        return result
    params = request.params.value() if request.params is not None else {}
    schema = params.get("requestedSchema")
    properties = schema.get("properties") if isinstance(schema, Mapping) else None
    if not isinstance(properties, Mapping):
        return result
    defaults = {
        name: field["default"]
        for name, field in properties.items()
        if isinstance(field, Mapping) and "default" in field
    }
    return {**result, "content": {**defaults, **(result.get("content") or {})}}


def _params(request: ServerRequest) -> Any:
    return request.params.value() if request.params is not None else {}


class AsyncToolClient:
    """A client for the tools of one MCP server, for asyncio and uvloop.

    Args:
        url: The server's MCP endpoint.
        protocol: The version to speak; found out with the first call, and remembered for the endpoint, if None.
        capabilities: What the client declares, beside what has a handler.
        client_info: Name and version that the server is told.
        max_input_rounds: How often a server may ask for input during one call.
        on_elicitation: Gives input of the user's (`elicitation/create`). Fields that the content of an accepted answer
            leaves out are filled in from the defaults of the schema.
        on_sampling: Gives a completion of a model (`sampling/createMessage`).
        on_roots: Gives the roots of the client (`roots/list`).
        **options: See `mcpgateway_rust.client.ClientOptions`.

    What has a handler is declared as a capability. A handler is called with the parameters as Python objects and
    returns the result as a mapping; what can be awaited is. One that raises ends the call by what it raised.
    """

    def __init__(
        self,
        url: str,
        *,
        protocol: ProtocolVersion | None = None,
        capabilities: Mapping[str, Any] | None = None,
        client_info: tuple[str, str] | None = None,
        max_input_rounds: int = 10,
        on_elicitation: Answer | None = None,
        on_sampling: Answer | None = None,
        on_roots: Answer | None = None,
        **options: Unpack[ClientOptions],
    ) -> None:
        self.url = url
        self._client = AsyncClient(**options)
        self._server = _Server(
            self._client._native,
            url,
            protocol=protocol,
            capabilities=capabilities,
            client_info=client_info,
            max_input_rounds=max_input_rounds,
            handlers={"on_elicitation": on_elicitation, "on_sampling": on_sampling, "on_roots": on_roots},
        )

    async def protocol(self) -> ProtocolVersion:
        """The version that is spoken with the server, which is asked if nothing was agreed yet."""
        version: ProtocolVersion = (await self._server.native.agreement(False))[0]
        return version

    async def server_info(self) -> Node | None:
        """What the server said of itself: the result of `initialize` or `server/discover`, if it was asked."""
        server: Node | None = (await self._server.native.agreement(False))[1]
        return server

    async def list_tools(self, **options: Unpack[CallOptions]) -> list[Tool]:
        """All tools of the server, from all pages.

        Tools whose `x-mcp-header` annotations cannot hold are left out, and `call` refuses them.
        """
        tools: list[Tool] = await self._server.native.list_tools(False, **options)
        return tools

    async def call(
        self,
        name: str,
        arguments: Arguments = None,
        *,
        meta: Mapping[str, Any] | None = None,
        on_progress: Listener | None = None,
        **options: Unpack[CallOptions],
    ) -> ToolResult:
        """Call the tool `name` and await its result.

        Args:
            name: The tool.
            arguments: A mapping; buffers within it are sent as base64 and nodes as they are, without a copy. Or the
                whole JSON object: a node, or the text in a buffer, which is checked off the GIL and sent from where
                it lies (a rope is gathered for the check).
            meta: Members of `_meta`, such as `traceparent`.
            on_progress: Called with the parameters of each `notifications/progress`; awaited if it can be.
            **options: See `CallOptions`.

        Raises:
            InvalidRequest: The arguments are no JSON object, or the tool is one that is not to be called.
            RpcError: The server answered with an error. That the tool failed is no error: see `ToolResult.is_error`.
            HTTPStatusError: The server answered with a status and no message.
            SessionExpired: The server ended its session while the call was under way.
            GatewayError: Anything else; see `mcpgateway_rust.exceptions`.
        """
        native = self._server.native
        result: ToolResult
        if self._server.is_plain(on_progress):
            result = (await native.call(False, name, arguments, meta=meta, **options)).take()
            return result
        calling = native.begin(name, arguments, wants_progress=on_progress is not None, meta=meta, **options)
        try:
            while True:
                kind, what, params = (await calling.step(False)).take()
                if kind == "result":
                    result = what
                    return result
                if kind == "asked":
                    await self._answer(calling, what)
                elif what == "notifications/progress" and on_progress is not None:
                    await _awaited(on_progress(params.value() if params is not None else {}))
        finally:
            calling.close()

    async def _answer(self, calling: _native.ToolCalling, request: ServerRequest) -> None:
        answer = self._server.answers.get(request.method)
        if answer is None:
            await calling.refuse(False, request, _METHOD_NOT_FOUND, "this client answers no such request")
            return
        try:
            result = await _awaited(answer(_params(request)))
        except Exception:
            with suppress(GatewayError):  # what the handler raised is what the caller is to see
                await calling.refuse(False, request, _INTERNAL_ERROR, "the client failed to answer")
            raise
        await calling.answer(False, request, _filled(request, result))

    async def request(
        self, method: str, params: Mapping[str, Any] | None = None, **options: Unpack[CallOptions]
    ) -> Node:
        """Make a request of any method, such as `prompts/get`, and await its result."""
        result: Node = await self._server.native.request(False, method, params, **options)
        return result

    async def notify(self, method: str, params: Mapping[str, Any] | None = None) -> None:
        """Send a notification."""
        await self._server.native.notify(False, method, params)

    async def aclose(self) -> None:
        """End the session, if the server gave one out, and refuse further calls."""
        try:
            await self._server.native.close(False)
        finally:
            await self._client.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


async def _awaited(value: Any) -> Any:
    return await value if isinstance(value, Awaitable) else value


class ToolClient:
    """A client for the tools of one MCP server, for threads: calls block without the GIL. Else as `AsyncToolClient`."""

    def __init__(
        self,
        url: str,
        *,
        protocol: ProtocolVersion | None = None,
        capabilities: Mapping[str, Any] | None = None,
        client_info: tuple[str, str] | None = None,
        max_input_rounds: int = 10,
        on_elicitation: Answer | None = None,
        on_sampling: Answer | None = None,
        on_roots: Answer | None = None,
        **options: Unpack[ClientOptions],
    ) -> None:
        self.url = url
        self._client = Client(**options)
        self._server = _Server(
            self._client._native,
            url,
            protocol=protocol,
            capabilities=capabilities,
            client_info=client_info,
            max_input_rounds=max_input_rounds,
            handlers={"on_elicitation": on_elicitation, "on_sampling": on_sampling, "on_roots": on_roots},
        )

    def protocol(self) -> ProtocolVersion:
        """The version that is spoken with the server; see `AsyncToolClient.protocol`."""
        version: ProtocolVersion = self._server.native.agreement(True)[0]
        return version

    def server_info(self) -> Node | None:
        """What the server said of itself; see `AsyncToolClient.server_info`."""
        server: Node | None = self._server.native.agreement(True)[1]
        return server

    def list_tools(self, **options: Unpack[CallOptions]) -> list[Tool]:
        """All tools of the server; see `AsyncToolClient.list_tools`."""
        tools: list[Tool] = self._server.native.list_tools(True, **options)
        return tools

    def call(
        self,
        name: str,
        arguments: Arguments = None,
        *,
        meta: Mapping[str, Any] | None = None,
        on_progress: Listener | None = None,
        **options: Unpack[CallOptions],
    ) -> ToolResult:
        """Call the tool `name` and wait for its result; see `AsyncToolClient.call`."""
        native = self._server.native
        result: ToolResult
        if self._server.is_plain(on_progress):
            result = native.call(True, name, arguments, meta=meta, **options).take()
            return result
        calling = native.begin(name, arguments, wants_progress=on_progress is not None, meta=meta, **options)
        try:
            while True:
                kind, what, params = calling.step(True).take()
                if kind == "result":
                    result = what
                    return result
                if kind == "asked":
                    self._answer(calling, what)
                elif what == "notifications/progress" and on_progress is not None:
                    on_progress(params.value() if params is not None else {})
        finally:
            calling.close()

    def _answer(self, calling: _native.ToolCalling, request: ServerRequest) -> None:
        answer = self._server.answers.get(request.method)
        if answer is None:
            calling.refuse(True, request, _METHOD_NOT_FOUND, "this client answers no such request")
            return
        try:
            result = answer(_params(request))
            if inspect.isawaitable(result):
                raise TypeError("the handler is asynchronous: use AsyncToolClient, or pass a plain function")
        except Exception:
            with suppress(GatewayError):
                calling.refuse(True, request, _INTERNAL_ERROR, "the client failed to answer")
            raise
        calling.answer(True, request, _filled(request, result))

    def request(self, method: str, params: Mapping[str, Any] | None = None, **options: Unpack[CallOptions]) -> Node:
        """Make a request of any method; see `AsyncToolClient.request`."""
        result: Node = self._server.native.request(True, method, params, **options)
        return result

    def notify(self, method: str, params: Mapping[str, Any] | None = None) -> None:
        """Send a notification."""
        self._server.native.notify(True, method, params)

    def close(self) -> None:
        """End the session, if the server gave one out, and refuse further calls."""
        try:
            self._server.native.close(True)
        finally:
            self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


async def invoke_tool_async(
    url: str,
    name: str,
    arguments: Arguments = None,
    *,
    protocol: ProtocolVersion | None = None,
    **options: Unpack[CallOptions],
) -> ToolResult:
    """Call the tool `name` of the MCP server at `url` and await its result, without a client of one's own.

    A legacy server begins and ends a session for it: for more than one call, keep an `AsyncToolClient`. Arguments and
    errors are those of `AsyncToolClient.call`.
    """
    native = _native.ToolServer(None, url, protocol=protocol)
    try:
        result: ToolResult = (await native.call(False, name, arguments, **options)).take()
        return result
    finally:
        await native.close(False)


def invoke_tool(
    url: str,
    name: str,
    arguments: Arguments = None,
    *,
    protocol: ProtocolVersion | None = None,
    **options: Unpack[CallOptions],
) -> ToolResult:
    """Call the tool `name` of the MCP server at `url` and wait for its result; see `invoke_tool_async`."""
    native = _native.ToolServer(None, url, protocol=protocol)
    try:
        result: ToolResult = native.call(True, name, arguments, **options).take()
        return result
    finally:
        native.close(True)
