"""Call tools with arguments and results of any size: MCP servers of both generations, plain HTTP endpoints, agents.

What a tool answers is looked into where it lies: `result.structured` and `result.content[0].payload_async()` build
nothing that nobody asked for.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Literal, Self, TypeAlias, TypedDict, Unpack

from mcpgateway_rust import _native
from mcpgateway_rust._native import Content, Node, Payload, Progress, ServerRequest, Tool, ToolResult
from mcpgateway_rust._types import Buffer, HeadersLike, Limits, Timeouts
from mcpgateway_rust.client import AsyncClient, Client, ClientOptions
from mcpgateway_rust.exceptions import GatewayError
from mcpgateway_rust.services._agents import AgentOptions, SendOptions
from mcpgateway_rust.services._native_a2a import A2AClient, AsyncA2AClient

__all__ = [
    "AgentTool",
    "AgentToolOptions",
    "AsyncAgentTool",
    "AsyncRestTool",
    "AsyncToolClient",
    "CallOptions",
    "Content",
    "FinishOptions",
    "ProtocolVersion",
    "RestTool",
    "ServerRequest",
    "Tool",
    "ToolClient",
    "ToolOptions",
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


class FinishOptions(TypedDict, total=False):
    """What is done with a result before it is handed over, off the GIL; not to one that says that the tool failed.

    A filter is a program, and a schema can be one as good, so both run in a child of this process, which the kernel
    bounds in time and memory. That costs some milliseconds; a pointer costs none.

    Attributes:
        pointer: Select the value there (RFC 6901) of the structured content, or else of the first text, if that is
            JSON: `result.selected`.
        jq: Select what this jq filter makes of it: its output, or a list if there is not exactly one.
        output_schema: A JSON schema that the structured content has to keep to, else `InvalidReply` is raised. It may
            refer to nothing outside of itself.
        filter_seconds: How long filter and schema may each run: 5 if not given, else `GatewayTimeout` is raised.
        filter_memory: Bytes that they may use beyond the result: 1 GiB if not given, else `LimitExceeded` is raised.
    """

    pointer: str | None
    jq: str | None
    output_schema: Mapping[str, Any] | Node | Buffer | None
    filter_seconds: float | None
    filter_memory: int | None


class ToolOptions(CallOptions, FinishOptions, total=False):
    """What may be set for one call of a tool; see `CallOptions` and `FinishOptions`."""


class AgentToolOptions(SendOptions, FinishOptions, total=False):
    """What may be set for one call of an agent; see `a2a_service.SendOptions` and `FinishOptions`.

    A task that asks for more is continued by another call with its `task_id` and `context_id`: see `ToolResult.reply`.
    """


def _split(options: ToolOptions | AgentToolOptions) -> tuple[_native.Finish | None, dict[str, Any]]:
    """What is done with the result, and what holds for the call."""
    call: dict[str, Any] = dict(options)
    wanted = {name: call.pop(name, None) for name in FinishOptions.__annotations__}
    if all(value is None for value in wanted.values()):
        return None, call
    return _native.Finish(
        wanted["pointer"],
        wanted["jq"],
        wanted["output_schema"],
        wanted["filter_seconds"],
        wanted["filter_memory"],
    ), call


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
            listens=bool(answers),
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
        **options: Unpack[ToolOptions],
    ) -> ToolResult:
        """Call the tool `name` and await its result.

        Args:
            name: The tool.
            arguments: A mapping; buffers within it are sent as base64 and nodes as they are, without a copy. Or the
                whole JSON object: a node, or the text in a buffer or a rope, which is checked off the GIL and sent
                from where it lies.
            meta: Members of `_meta`, such as `traceparent`.
            on_progress: Called with the parameters of each `notifications/progress`; awaited if it can be.
            **options: See `CallOptions` and `FinishOptions`.

        Raises:
            InvalidRequest: The arguments are no JSON object, or the tool is one that is not to be called.
            RpcError: The server answered with an error. That the tool failed is no error: see `ToolResult.is_error`.
            HTTPStatusError: The server answered with a status and no message.
            SessionExpired: The server ended its session while the call was under way.
            GatewayError: Anything else; see `mcpgateway_rust.exceptions`.
        """
        native = self._server.native
        finish, call = _split(options)
        result: ToolResult
        if self._server.is_plain(on_progress):
            result = (await native.call(False, name, arguments, meta=meta, finish=finish, **call)).take()
            return result
        wants_progress = on_progress is not None
        calling = native.begin(name, arguments, wants_progress=wants_progress, meta=meta, finish=finish, **call)
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
            # What the handler raised says more than what comes of that.
            with suppress(GatewayError):
                await calling.refuse(False, request, _INTERNAL_ERROR, "the client failed to answer")
            raise
        await calling.answer(False, request, _filled(request, result))

    async def call_many(
        self, calls: Iterable[tuple[str, Arguments]], *, concurrency: int = 64, **options: Unpack[CallOptions]
    ) -> list[ToolResult | GatewayError]:
        """Make many calls, pairs of a name and arguments, at most `concurrency` at a time.

        All of them cross into Rust at once, and so do the results, which are in the order of the calls. A failed call
        is a result like any other. What a server asks is refused.
        """
        results: list[ToolResult | GatewayError] = (
            await self._server.native.call_many(False, calls, concurrency, **options)
        ).take()
        return results

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
        **options: Unpack[ToolOptions],
    ) -> ToolResult:
        """Call the tool `name` and wait for its result; see `AsyncToolClient.call`."""
        native = self._server.native
        finish, call = _split(options)
        result: ToolResult
        if self._server.is_plain(on_progress):
            result = native.call(True, name, arguments, meta=meta, finish=finish, **call).take()
            return result
        wants_progress = on_progress is not None
        calling = native.begin(name, arguments, wants_progress=wants_progress, meta=meta, finish=finish, **call)
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


RestBody = Literal["query", "json", "form", "multipart"]
_WITHOUT_BODY = {"GET", "HEAD", "DELETE", "OPTIONS"}


def _endpoint(
    client: _native.Client,
    url: str,
    *,
    method: str,
    query: Iterable[str],
    headers: Mapping[str, str] | None,
    body: RestBody | None,
) -> _native.RestEndpoint:
    body = body or ("query" if method.upper() in _WITHOUT_BODY else "json")
    return _native.RestEndpoint(client, method, url, list(query), list((headers or {}).items()), body)


class AsyncRestTool:
    """A tool that is a plain HTTP endpoint, for asyncio and uvloop.

    Args:
        url: The endpoint; each `{name}` in its path or query stands for an argument, percent-encoded.
        method: Any HTTP method.
        query: Names of arguments that go into the query; a list is repeated there.
        header_arguments: Arguments that go into headers: names of headers to names of arguments.
        body: How the arguments that are left go: `"query"`, `"json"`, `"form"` or `"multipart"`. If not given, into
            the query for GET, HEAD, DELETE and OPTIONS, else as JSON.
        **options: See `mcpgateway_rust.client.ClientOptions`.
    """

    def __init__(
        self,
        url: str,
        *,
        method: str = "GET",
        query: Iterable[str] = (),
        header_arguments: Mapping[str, str] | None = None,
        body: RestBody | None = None,
        **options: Unpack[ClientOptions],
    ) -> None:
        self._client = AsyncClient(**options)
        self._native = _endpoint(
            self._client._native, url, method=method, query=query, headers=header_arguments, body=body
        )

    async def call(self, arguments: Mapping[str, Any] | None = None, **options: Unpack[ToolOptions]) -> ToolResult:
        """Call the endpoint and await its whole reply.

        A reply that says it is JSON is `result.structured`, read off the GIL; any other is one piece of content, text
        or bytes as it came. A status outside of 200 to 299 makes it `result.is_error`, and `result.status` says which.

        Args:
            arguments: Buffers are files in a multipart body and base64 in JSON, sent without a copy; None is left out
                except in JSON.
            **options: See `CallOptions` and `FinishOptions`.

        Raises:
            InvalidRequest: An argument of the URL is missing, or one has no place where it goes.
            InvalidReply: A reply that says it is JSON is not.
            GatewayError: Anything else; see `mcpgateway_rust.exceptions`.
        """
        finish, call = _split(options)
        result: ToolResult = (await self._native.call(False, arguments, finish=finish, **call)).take()
        return result

    async def aclose(self) -> None:
        """Refuse further calls; those under way go on."""
        await self._client.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


class RestTool:
    """A tool that is a plain HTTP endpoint, for threads: calls block without the GIL. Else as `AsyncRestTool`."""

    def __init__(
        self,
        url: str,
        *,
        method: str = "GET",
        query: Iterable[str] = (),
        header_arguments: Mapping[str, str] | None = None,
        body: RestBody | None = None,
        **options: Unpack[ClientOptions],
    ) -> None:
        self._client = Client(**options)
        self._native = _endpoint(
            self._client._native, url, method=method, query=query, headers=header_arguments, body=body
        )

    def call(self, arguments: Mapping[str, Any] | None = None, **options: Unpack[ToolOptions]) -> ToolResult:
        """Call the endpoint and wait for its whole reply; see `AsyncRestTool.call`."""
        finish, call = _split(options)
        result: ToolResult = self._native.call(True, arguments, finish=finish, **call).take()
        return result

    def close(self) -> None:
        """Refuse further calls; those under way go on."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncAgentTool:
    """A tool that is an A2A agent, for asyncio and uvloop.

    Args:
        url: The agent, as for `AsyncA2AClient`.
        **options: See `mcpgateway_rust.services.a2a_service.AgentOptions`.
    """

    def __init__(self, url: str, **options: Unpack[AgentOptions]) -> None:
        self._agent = AsyncA2AClient(url, **options)

    async def call(self, arguments: Mapping[str, Any], **options: Unpack[AgentToolOptions]) -> ToolResult:
        """Send the agent one message that is made of the arguments, and await what comes of it.

        A part of its answer is a piece of `result.content`: `"text"`; bytes as `"image"`, `"audio"` or `"resource"`, by
        their media type; a url as `"resource_link"`, for `AsyncResourceClient.follow`; JSON as `"data"`, the first of
        which is `result.structured`. Nothing is decoded or copied before somebody asks. A task that failed, was
        cancelled or rejected, or wants credentials is `result.is_error`; `result.reply` has its state and ids.

        Args:
            arguments: A str is a text part; a buffer is a raw part with the argument's name, borrowed until it is sent
                and base64 while it is; a `Part` is itself; all else is a member of one data part at the end.
            **options: See `AgentToolOptions`.

        Raises:
            InvalidRequest: There is no argument.
            RpcError: The agent answered with an error; subclasses such as `TaskNotFound` say which.
            GatewayError: Anything else; see `AsyncA2AClient.send`.
        """
        finish, call = _split(options)
        credentials = self._agent._credentials()
        native = _native.call_agent(self._agent._agent, False, arguments, finish=finish, **credentials, **call)
        result: ToolResult = (await native).take()
        return result

    async def aclose(self) -> None:
        """Refuse further calls; those under way go on."""
        await self._agent.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


class AgentTool:
    """A tool that is an A2A agent, for threads: calls block without the GIL. Else as `AsyncAgentTool`."""

    def __init__(self, url: str, **options: Unpack[AgentOptions]) -> None:
        self._agent = A2AClient(url, **options)

    def call(self, arguments: Mapping[str, Any], **options: Unpack[AgentToolOptions]) -> ToolResult:
        """Send the agent one message that is made of the arguments, and wait; see `AsyncAgentTool.call`."""
        finish, call = _split(options)
        credentials = self._agent._credentials
        native = _native.call_agent(self._agent._agent, True, arguments, finish=finish, **credentials, **call)
        result: ToolResult = native.take()
        return result

    def close(self) -> None:
        """Refuse further calls; those under way go on."""
        self._agent.close()

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
    **options: Unpack[ToolOptions],
) -> ToolResult:
    """Call the tool `name` of the MCP server at `url` and await its result, without a client of one's own.

    A legacy server begins and ends a session for it: for more than one call, keep an `AsyncToolClient`. Arguments and
    errors are those of `AsyncToolClient.call`.
    """
    native = _native.ToolServer(None, url, protocol=protocol)
    finish, call = _split(options)
    try:
        result: ToolResult = (await native.call(False, name, arguments, finish=finish, **call)).take()
        return result
    finally:
        await native.close(False)


def invoke_tool(
    url: str,
    name: str,
    arguments: Arguments = None,
    *,
    protocol: ProtocolVersion | None = None,
    **options: Unpack[ToolOptions],
) -> ToolResult:
    """Call the tool `name` of the MCP server at `url` and wait for its result; see `invoke_tool_async`."""
    native = _native.ToolServer(None, url, protocol=protocol)
    finish, call = _split(options)
    try:
        result: ToolResult = native.call(True, name, arguments, finish=finish, **call).take()
        return result
    finally:
        native.close(True)
