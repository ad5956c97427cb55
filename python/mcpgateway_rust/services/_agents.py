"""Clients that speak A2A; import them from `mcpgateway_rust.services.a2a_service`."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Literal, Self, TypedDict, Unpack

from mcpgateway_rust import _native
from mcpgateway_rust._native import AgentEvent, AgentReply, Collected, Document, Message, Node, Part, Progress
from mcpgateway_rust._types import Buffer, HeadersLike, Limits, Mutation, Timeouts
from mcpgateway_rust.client import AsyncClient, Client, ClientOptions

__all__ = ["AgentOptions", "AsyncAgentStream", "BlockingAgentStream", "CallOptions", "MessageLike", "SendOptions"]

MessageLike = str | Message | Part | Sequence[Part | str] | Mapping[str, Any] | Buffer | Node
"""What can be sent: text, parts, or a message as a dict or JSON, in the shape of either generation."""

State = Literal[
    "submitted", "working", "completed", "failed", "canceled", "input-required", "rejected", "auth-required"
]
Token = str | Callable[[], str | Awaitable[str]]

# How often a stream attaches to its task again without an event in between.
_REATTACH = 3


class AgentOptions(ClientOptions, total=False):
    """What can be set for a client of an agent, beside the options of any client.

    Attributes:
        version: `"1.0"`, `"0.3"`, or `"auto"` (default): what the agent's card offers first.
        binding: `"JSONRPC"`, `"HTTP+JSON"`, or `"auto"` (default); likewise.
        tenant: What the agent calls your part of it; what its card says by default.
        extensions: URIs of extensions that each call makes use of.
        query: Credentials and the like that are added to the query of each URL, and shown nowhere.
        token: A bearer token, or a callable that returns one (or, for `AsyncA2AClient`, an awaitable of one). It is
            called when a token is first needed, and again when the agent answers 401; that call is then made again.
        trust_card: Whether an interface of another origin than `url`, which the agent's card names, is given headers
            and credentials as well; without it such a call raises `Denied`.
    """

    version: Literal["auto", "1.0", "0.3"]
    binding: Literal["auto", "JSONRPC", "HTTP+JSON"]
    tenant: str | None
    extensions: Sequence[str]
    query: Mapping[str, str]
    token: Token | None
    trust_card: bool


class CallOptions(TypedDict, total=False):
    """What can be set for one call of an agent.

    Attributes:
        headers: A mapping, or pairs where names repeat.
        timeouts: Instead of the client's.
        limits: Instead of the client's.
        mutation: What happens when the owner of a raw part's buffer writes to it while it is sent: `"borrow"` (it
            promised not to), `"snapshot"` (a copy is sent) or `"detect"` (`PayloadMutated` is raised).
        progress: Counts the bytes while the call runs.
    """

    headers: HeadersLike | None
    timeouts: Timeouts | None
    limits: Limits | None
    mutation: Mutation
    progress: Progress | None


class SendOptions(CallOptions, total=False):
    """What can be set for one message.

    Attributes:
        task_id: The task that it belongs to, unless the message says so.
        context_id: The context; likewise.
        configuration: `SendMessageConfiguration` of A2A 1.0, such as `{"historyLength": 0}` or
            `{"returnImmediately": True}`.
        metadata: A JSON object that goes with the request.
    """

    task_id: str | None
    context_id: str | None
    configuration: Mapping[str, Any] | None
    metadata: Mapping[str, Any] | None


def split_options(options: AgentOptions) -> tuple[ClientOptions, dict[str, Any], Token | None]:
    """The options of the client, those of the agent, and what gives tokens."""
    token = options.pop("token", None)
    agent: dict[str, Any] = {
        "version": options.pop("version", "auto"),
        "binding": options.pop("binding", "auto"),
        "tenant": options.pop("tenant", None),
        "extensions": list(options.pop("extensions", ())),
        "query": list(options.pop("query", {}).items()),
        "trust_card": options.pop("trust_card", False),
    }
    return options, agent, token


def _blocking_token(token: Token) -> Callable[[], str]:
    """What gives tokens to threads."""
    if isinstance(token, str):
        return lambda: token

    def call() -> str:
        given = token()
        if inspect.isawaitable(given):
            if inspect.iscoroutine(given):
                given.close()
            raise TypeError("the callable returns an awaitable: pass it to AsyncA2AClient")
        return given

    return call


def _awaited_token(token: Token) -> Callable[[], str | Future[str]]:
    """What gives tokens by the loop that runs on this thread; called on another, which does not wait for them."""
    if isinstance(token, str):
        return lambda: token
    event_loop = asyncio.get_running_loop()

    async def call() -> str:
        given = token()
        return await given if inspect.isawaitable(given) else given

    def ask() -> Future[str]:
        asking = call()
        try:
            return asyncio.run_coroutine_threadsafe(asking, event_loop)
        except RuntimeError:
            # The loop is closed: nothing will ever run there.
            asking.close()
            raise

    return ask


class AsyncAgentStream:
    """The events of an agent, for `async for`. The connection is opened with the first, and closed at the end.

    If it breaks before the task is over, the task is attached to again; the first event after that has
    `is_after_break`, and is a task that says all that came before, unless the agent gives none: no event is lost. Nor
    is any repeated, but for a chunk that has the same content as another, of an agent that does not begin with the
    task (A2A 0.3).
    """

    def __init__(self, opening: Callable[[], Awaitable[_native.AgentStream]]) -> None:
        self._opening = opening
        self._native: _native.AgentStream | None = None

    async def _open(self) -> _native.AgentStream:
        if self._native is None:
            self._native = await self._opening()
        return self._native

    def __aiter__(self) -> AsyncIterator[AgentEvent]:
        return self

    async def __anext__(self) -> AgentEvent:
        event = await (await self._open()).next(False)
        if event is None:
            raise StopAsyncIteration
        return event

    async def collect(self) -> Collected:
        """All that is left, with the chunks of each artifact put together in one piece.

        Raises:
            QuotaExceeded: The artifacts have no room within the memory budget of this process.
            GatewayError: Anything else; see `mcpgateway_rust.exceptions`.
        """
        return await (await self._open()).collect(False)

    async def aclose(self) -> None:
        """Let the connection go, whatever is still to come."""
        if self._native is not None:
            self._native.close()

    async def __aenter__(self) -> Self:
        await self._open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


class BlockingAgentStream:
    """The events of an agent, for `for`. Else as `AsyncAgentStream`."""

    def __init__(self, opening: Callable[[], _native.AgentStream]) -> None:
        self._opening = opening
        self._native: _native.AgentStream | None = None

    def _open(self) -> _native.AgentStream:
        if self._native is None:
            self._native = self._opening()
        return self._native

    def __iter__(self) -> Iterator[AgentEvent]:
        return self

    def __next__(self) -> AgentEvent:
        event = self._open().next(True)
        if event is None:
            raise StopIteration
        return event

    def collect(self) -> Collected:
        """All that is left, with the chunks of each artifact put together in one piece."""
        return self._open().collect(True)

    def close(self) -> None:
        """Let the connection go, whatever is still to come."""
        if self._native is not None:
            self._native.close()

    def __enter__(self) -> Self:
        self._open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncAgentCalls:
    """The operations of A2A, for asyncio and uvloop."""

    def __init__(self, url: str, options: AgentOptions) -> None:
        client_options, agent_options, token = split_options(options)
        self.url = url
        self._client = AsyncClient(**client_options)
        self._agent = _native.Agent(self._client._native, url, **agent_options)
        self._token = token

    def _credentials(self) -> dict[str, Any]:
        return {} if self._token is None else {"token": _awaited_token(self._token)}

    async def card(self, **options: Unpack[CallOptions]) -> Document:
        """The agent's card; asked for again, with its ETag, when what it says of its age has passed.

        Raises:
            HTTPStatusError: There is none.
            InvalidReply: It is none.
            GatewayError: Anything else; see `mcpgateway_rust.exceptions`.
        """
        return await self._agent.card(False, **self._credentials(), **options)

    async def send(self, message: MessageLike, **options: Unpack[SendOptions]) -> AgentReply:
        """Send a message and await what comes of it: a task, or a message.

        Large parts are borrowed until they are sent, and encoded while they are; the reply is read on a thread of its
        own, and parts of it are decoded when they are asked for.

        Raises:
            RpcError: The agent answered with an error; subclasses such as `TaskNotFound` say which.
            HTTPStatusError: The status of the reply is not one of success.
            InvalidReply: The reply is not one of A2A, or not to this call.
            InvalidRequest: The message is none.
            GatewayError: Anything else; see `mcpgateway_rust.exceptions`. `.sent` says whether the agent may have
                acted: a message is never sent twice.
        """
        return await self._agent.send(False, message, **self._credentials(), **options)

    def stream(
        self, message: MessageLike, *, reattach: int = _REATTACH, **options: Unpack[SendOptions]
    ) -> AsyncAgentStream:
        """Send a message and receive what comes of it as it comes: `async for event in client.stream("...")`.

        Nothing is read ahead: a slow reader slows the agent.

        Args:
            message: As for `send`.
            reattach: How often, without an event in between, the task is attached to again when the stream breaks.
            **options: See `SendOptions`.
        """
        opening = lambda: self._agent.stream(False, message, reattach, **self._credentials(), **options)  # noqa: E731
        return AsyncAgentStream(opening)

    def subscribe(self, task_id: str, *, reattach: int = _REATTACH, **options: Unpack[CallOptions]) -> AsyncAgentStream:
        """Receive what comes of a task from now on; see `stream`."""
        opening = lambda: self._agent.subscribe(False, task_id, reattach, **self._credentials(), **options)  # noqa: E731
        return AsyncAgentStream(opening)

    async def get_task(
        self, task_id: str, *, history_length: int | None = None, **options: Unpack[CallOptions]
    ) -> AgentReply:
        """How a task is, with at most `history_length` messages. Raises as `send` does."""
        return await self._agent.get_task(
            False, task_id, history_length=history_length, **self._credentials(), **options
        )

    async def list_tasks(
        self,
        *,
        context_id: str | None = None,
        status: State | None = None,
        page_size: int | None = None,
        page_token: str | None = None,
        history_length: int | None = None,
        status_timestamp_after: str | None = None,
        include_artifacts: bool | None = None,
        **options: Unpack[CallOptions],
    ) -> AgentReply:
        """A page of tasks: `reply.result["tasks"]`, and `reply.result["nextPageToken"]` for the next.

        Raises:
            Unsupported: The agent speaks A2A 0.3, which has no such operation.
            GatewayError: As for `send`.
        """
        return await self._agent.list_tasks(
            False,
            context_id=context_id,
            status=status,
            page_size=page_size,
            page_token=page_token,
            history_length=history_length,
            status_timestamp_after=status_timestamp_after,
            include_artifacts=include_artifacts,
            **self._credentials(),
            **options,
        )

    async def cancel_task(
        self, task_id: str, *, metadata: Mapping[str, Any] | None = None, **options: Unpack[CallOptions]
    ) -> AgentReply:
        """Give a task up. Raises as `send` does, such as `TaskNotCancelable`."""
        return await self._agent.cancel_task(False, task_id, metadata=metadata, **self._credentials(), **options)

    async def create_push_config(self, task_id: str, config: Mapping[str, Any], **options: Unpack[CallOptions]) -> Node:
        """Have the updates of a task pushed; `config` is that of A2A 1.0, such as `{"url": ...}`, as is the result."""
        return await self._agent.create_push_config(False, task_id, config, **self._credentials(), **options)

    async def get_push_config(self, task_id: str, config_id: str, **options: Unpack[CallOptions]) -> Node:
        """Where a task's updates are pushed to."""
        return await self._agent.get_push_config(False, task_id, config_id, **self._credentials(), **options)

    async def list_push_configs(self, task_id: str, **options: Unpack[CallOptions]) -> list[Node]:
        """All places that a task's updates are pushed to."""
        return await self._agent.list_push_configs(False, task_id, **self._credentials(), **options)

    async def delete_push_config(self, task_id: str, config_id: str, **options: Unpack[CallOptions]) -> None:
        """Push a task's updates there no more."""
        await self._agent.delete_push_config(False, task_id, config_id, **self._credentials(), **options)

    async def extended_card(self, **options: Unpack[CallOptions]) -> Node:
        """The card that not everybody gets. Raises as `send` does, such as `ExtendedCardNotConfigured`."""
        return await self._agent.extended_card(False, **self._credentials(), **options)


class AgentCalls:
    """The operations of A2A, for threads: calls block without the GIL. Else as `AsyncAgentCalls`."""

    def __init__(self, url: str, options: AgentOptions) -> None:
        client_options, agent_options, token = split_options(options)
        self.url = url
        self._client = Client(**client_options)
        self._agent = _native.Agent(self._client._native, url, **agent_options)
        self._credentials: dict[str, Any] = {} if token is None else {"token": _blocking_token(token)}

    def card(self, **options: Unpack[CallOptions]) -> Document:
        """The agent's card; see `AsyncA2AClient.card`."""
        return self._agent.card(True, **self._credentials, **options)

    def send(self, message: MessageLike, **options: Unpack[SendOptions]) -> AgentReply:
        """Send a message and wait for what comes of it; see `AsyncA2AClient.send`."""
        return self._agent.send(True, message, **self._credentials, **options)

    def stream(
        self, message: MessageLike, *, reattach: int = _REATTACH, **options: Unpack[SendOptions]
    ) -> BlockingAgentStream:
        """Send a message and receive what comes of it as it comes; see `AsyncA2AClient.stream`."""
        opening = lambda: self._agent.stream(True, message, reattach, **self._credentials, **options)  # noqa: E731
        return BlockingAgentStream(opening)

    def subscribe(
        self, task_id: str, *, reattach: int = _REATTACH, **options: Unpack[CallOptions]
    ) -> BlockingAgentStream:
        """Receive what comes of a task from now on; see `AsyncA2AClient.stream`."""
        opening = lambda: self._agent.subscribe(True, task_id, reattach, **self._credentials, **options)  # noqa: E731
        return BlockingAgentStream(opening)

    def get_task(
        self, task_id: str, *, history_length: int | None = None, **options: Unpack[CallOptions]
    ) -> AgentReply:
        """How a task is; see `AsyncA2AClient.get_task`."""
        return self._agent.get_task(True, task_id, history_length=history_length, **self._credentials, **options)

    def list_tasks(
        self,
        *,
        context_id: str | None = None,
        status: State | None = None,
        page_size: int | None = None,
        page_token: str | None = None,
        history_length: int | None = None,
        status_timestamp_after: str | None = None,
        include_artifacts: bool | None = None,
        **options: Unpack[CallOptions],
    ) -> AgentReply:
        """A page of tasks; see `AsyncA2AClient.list_tasks`."""
        return self._agent.list_tasks(
            True,
            context_id=context_id,
            status=status,
            page_size=page_size,
            page_token=page_token,
            history_length=history_length,
            status_timestamp_after=status_timestamp_after,
            include_artifacts=include_artifacts,
            **self._credentials,
            **options,
        )

    def cancel_task(
        self, task_id: str, *, metadata: Mapping[str, Any] | None = None, **options: Unpack[CallOptions]
    ) -> AgentReply:
        """Give a task up; see `AsyncA2AClient.cancel_task`."""
        return self._agent.cancel_task(True, task_id, metadata=metadata, **self._credentials, **options)

    def create_push_config(self, task_id: str, config: Mapping[str, Any], **options: Unpack[CallOptions]) -> Node:
        """Have the updates of a task pushed; see `AsyncA2AClient.create_push_config`."""
        return self._agent.create_push_config(True, task_id, config, **self._credentials, **options)

    def get_push_config(self, task_id: str, config_id: str, **options: Unpack[CallOptions]) -> Node:
        """Where a task's updates are pushed to."""
        return self._agent.get_push_config(True, task_id, config_id, **self._credentials, **options)

    def list_push_configs(self, task_id: str, **options: Unpack[CallOptions]) -> list[Node]:
        """All places that a task's updates are pushed to."""
        return self._agent.list_push_configs(True, task_id, **self._credentials, **options)

    def delete_push_config(self, task_id: str, config_id: str, **options: Unpack[CallOptions]) -> None:
        """Push a task's updates there no more."""
        self._agent.delete_push_config(True, task_id, config_id, **self._credentials, **options)

    def extended_card(self, **options: Unpack[CallOptions]) -> Node:
        """The card that not everybody gets; see `AsyncA2AClient.extended_card`."""
        return self._agent.extended_card(True, **self._credentials, **options)
