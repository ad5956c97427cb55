"""The native half of `mcpgateway_rust.services.a2a_service`, which is where to import it from."""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator, Iterable, Iterator
from types import TracebackType
from typing import Any, Literal, Self, Unpack

from mcpgateway_rust import _native
from mcpgateway_rust._native import (
    AgentEvent,
    AgentReply,
    Artifact,
    Collected,
    Message,
    Part,
    ReplyPart,
    Response,
    invoke_agent,
)
from mcpgateway_rust._types import Body, Buffer
from mcpgateway_rust.client import Call, RequestOptions
from mcpgateway_rust.exceptions import GatewayError
from mcpgateway_rust.services._agents import AgentCalls, AgentOptions, AsyncAgentCalls

__all__ = [
    "A2AClient",
    "AgentEvent",
    "AgentReply",
    "Artifact",
    "AsyncA2AClient",
    "Batch",
    "Collected",
    "Message",
    "Part",
    "ReplyPart",
    "invoke_agent",
    "invoke_agent_async",
    "invoke_many",
]

# Results that are awaited at a time where all of them are wanted: the loop is woken once for these.
_RESULTS_AT_ONCE = 256

Order = Literal["input", "completion"]
Result = Response | GatewayError


async def invoke_agent_async(
    url: str, body: Buffer | None = None, *, method: str = "POST", **options: Unpack[RequestOptions]
) -> Response:
    """Send `body` to the agent at `url` and await its reply, whatever its status.

    The buffer is borrowed, not copied, from `TransferPolicy.copy_below` bytes on: do not write to it until
    this returns.

    Raises:
        ConnectError: No byte was sent; safe to retry.
        GatewayTimeout: See `.timeout`, `.phase` and `.sent`.
        GatewayError: Anything else; see `mcpgateway_rust.exceptions`.
    """
    return (await _native.invoke_agent_async(None, method, url, body=body, **options)).take()


def invoke_many(
    url: str,
    bodies: Iterable[Buffer],
    *,
    method: str = "POST",
    concurrency: int = 64,
    order: Order = "input",
    **options: Unpack[RequestOptions],
) -> Batch:
    """Begin to invoke the agent at `url` with each of `bodies`, at most `concurrency` at a time.

    All bodies cross into Rust at once, and results come back many at a time. A failed call is a result like
    any other.

    Args:
        url: The agent.
        bodies: Buffers; large ones are borrowed until they are sent.
        method: The HTTP method of each call.
        concurrency: Calls under way at a time.
        order: Whether iterating gives results as the bodies were given or as they complete.
        **options: See `mcpgateway_rust.client.RequestOptions`; for each of the calls.
    """
    return Batch(_native.invoke_many(None, method, url, bodies, concurrency, order, **options))


class Batch:
    """Calls under way. Await it for all results, or iterate (`for` blocks) for pairs of index and result."""

    def __init__(self, native: _native.Batch) -> None:
        self._native = native

    def __len__(self) -> int:
        return len(self._native)

    def __await__(self) -> Generator[Any, None, list[Result]]:
        return self._all().__await__()

    async def _all(self) -> list[Result]:
        results: dict[int, Result] = {}
        while taken := await self._native.atake(_RESULTS_AT_ONCE):
            results.update(taken)
        return [results[index] for index in sorted(results)]

    async def __aiter__(self) -> AsyncIterator[tuple[int, Result]]:
        while taken := await self._native.atake():
            for pair in taken:
                yield pair

    def __iter__(self) -> Iterator[tuple[int, Result]]:
        while taken := self._native.take():
            yield from taken

    def cancel(self) -> None:
        """Cancel the calls that are not done; results that are there can still be taken."""
        self._native.cancel()


class AsyncA2AClient(AsyncAgentCalls):
    """A client for one agent, for asyncio and uvloop.

    Args:
        url: The agent: where its card is (`.json`), or below, at `/.well-known/agent-card.json`. If both a version
            and a binding are given, and for `invoke`, it is where the agent answers.
        **options: See `mcpgateway_rust.services.a2a_service.AgentOptions`.
    """

    def __init__(self, url: str, **options: Unpack[AgentOptions]) -> None:
        super().__init__(url, options)

    def invoke(self, body: Body = None, *, method: str = "POST", **options: Unpack[RequestOptions]) -> Call:
        """Send `body` to the agent and await its reply; see `AsyncClient.request`."""
        return self._client.request(method, self.url, body=body, **options)

    def invoke_many(
        self,
        bodies: Iterable[Buffer],
        *,
        method: str = "POST",
        concurrency: int = 64,
        order: Order = "input",
        **options: Unpack[RequestOptions],
    ) -> Batch:
        """Begin to invoke the agent with each of `bodies`; see `invoke_many`."""
        native = self._client._native
        return Batch(_native.invoke_many(native, method, self.url, bodies, concurrency, order, **options))

    async def aclose(self) -> None:
        """Refuse further calls; those under way go on."""
        await self._client.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


class A2AClient(AgentCalls):
    """A client for one agent, for threads: calls block without the GIL. Else as `AsyncA2AClient`."""

    def __init__(self, url: str, **options: Unpack[AgentOptions]) -> None:
        super().__init__(url, options)

    def invoke(self, body: Body = None, *, method: str = "POST", **options: Unpack[RequestOptions]) -> Response:
        """Send `body` to the agent and wait for its reply; see `AsyncClient.request`."""
        return self._client.request(method, self.url, body=body, **options)

    def invoke_many(
        self,
        bodies: Iterable[Buffer],
        *,
        method: str = "POST",
        concurrency: int = 64,
        order: Order = "input",
        **options: Unpack[RequestOptions],
    ) -> Batch:
        """Begin to invoke the agent with each of `bodies`; see `invoke_many`."""
        native = self._client._native
        return Batch(_native.invoke_many(native, method, self.url, bodies, concurrency, order, **options))

    def close(self) -> None:
        """Refuse further calls; those under way go on."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
