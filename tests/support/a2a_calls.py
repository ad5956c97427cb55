"""The same A2A call by a blocking client in a thread and by an asynchronous one: what both say has to be the same."""

import asyncio
from collections.abc import AsyncGenerator
from types import TracebackType
from typing import Any, Self

from mcpgateway_rust import Timeouts
from mcpgateway_rust.services.a2a_service import A2AClient, AsyncA2AClient

HOW = ("sync", "async")
SHORT = Timeouts(connect=10, first_byte=20, idle=20, total=60)


class Caller:
    """One client of the agent at `url`, of which every call is awaited, whichever kind it is."""

    def __init__(self, how: str, url: str, **options: Any) -> None:
        options.setdefault("timeouts", SHORT)
        self.client: A2AClient | AsyncA2AClient
        self.client = A2AClient(url, **options) if how == "sync" else AsyncA2AClient(url, **options)
        self.is_async = how == "async"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(self.client, AsyncA2AClient):
            await self.client.aclose()
        else:
            self.client.close()

    async def call(self, operation: str, *arguments: Any, **options: Any) -> Any:
        """What the client's method `operation` returns."""
        method = getattr(self.client, operation)
        if self.is_async:
            return await method(*arguments, **options)
        return await asyncio.to_thread(method, *arguments, **options)

    async def send(self, *arguments: Any, **options: Any) -> Any:
        """What `send` returns."""
        return await self.call("send", *arguments, **options)

    async def collect(self, operation: str, *arguments: Any, **options: Any) -> Any:
        """What `collect` of the stream returns."""
        stream = getattr(self.client, operation)(*arguments, **options)
        return await stream.collect() if self.is_async else await asyncio.to_thread(stream.collect)

    async def events(self, operation: str, *arguments: Any, **options: Any) -> AsyncGenerator[Any, None]:
        """The events of `stream` or `subscribe`, one at a time; the connection ends with the iteration."""
        stream = getattr(self.client, operation)(*arguments, **options)
        if self.is_async:
            async with stream:
                async for event in stream:
                    yield event
            return
        over = object()
        try:
            while (event := await asyncio.to_thread(next, stream, over)) is not over:
                yield event
        finally:
            stream.close()

    async def watch(self, seen: list[str], operation: str, *arguments: Any, **options: Any) -> None:
        """Add the kind of each event to `seen` as it comes, so that those before an error are there."""
        async for event in self.events(operation, *arguments, **options):
            kind: str = event.kind
            seen.append(kind)
