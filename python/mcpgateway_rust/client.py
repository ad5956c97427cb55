"""HTTP clients for large bodies: `Client` blocks without the GIL, `AsyncClient` never holds the event loop.

Both are thin: options are named here and read by the native module, which does the work.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Coroutine, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from types import TracebackType
from typing import Any, Literal, Self, TypedDict, TypeGuard, Unpack

from mcpgateway_rust import _native
from mcpgateway_rust._native import Payload, Progress, Response, Spool, StreamingResponse, TransferPolicy
from mcpgateway_rust._types import (
    Body,
    Buffer,
    FilePath,
    Guard,
    Headers,
    HeadersLike,
    Limits,
    Mutation,
    Retry,
    Timeouts,
)
from mcpgateway_rust.exceptions import Cancelled, GatewayError

Parts = Iterable[Buffer] | AsyncIterable[Buffer]
Call = Coroutine[Any, Any, Response]


class ClientOptions(TypedDict, total=False):
    """What may be set for a client as a whole; all keyword-only.

    Attributes:
        timeouts: For calls that do not bring their own.
        limits: For calls that do not bring their own.
        retry: What is sent again when the connection fails; nothing by default.
        policy: From which size on buffers are borrowed rather than copied.
        headers: Sent with every request that does not set the same name.
        http2: `"auto"` (where TLS agrees on it), `"never"` or `"always"` (also without TLS).
        verify: True for the system's authorities, a path to a PEM file with others, False for none (tests only).
        cert: PEM file with the client's certificate and key, or a pair of files.
        proxy: URL of a proxy for all requests.
        trust_env: Whether `HTTP_PROXY` and the like count.
        follow_redirects: Whether redirects are followed, at most twenty.
        accept_encoding: Codings to ask for and undo: `"gzip"`, `"br"`, `"zstd"`. None by default.
        spool: Where replies above its `map_above` are received, ready to be shared with other processes. Without
            one they stay in the memory of this process; see `shm.limit_process` for how much of it.
        guard: Which addresses requests may go to; see `Guard` for what holds without one.
    """

    timeouts: Timeouts | None
    limits: Limits | None
    retry: Retry | None
    policy: TransferPolicy | None
    headers: HeadersLike | None
    http2: Literal["auto", "never", "always"]
    verify: bool | FilePath
    cert: FilePath | tuple[FilePath, FilePath] | None
    proxy: str | None
    trust_env: bool
    follow_redirects: bool
    accept_encoding: Iterable[str]
    spool: Spool | None
    guard: Guard | None


class RequestOptions(TypedDict, total=False):
    """What may be set for one call; all keyword-only.

    Attributes:
        headers: A mapping, or pairs where names repeat.
        timeouts: Instead of the client's.
        limits: Instead of the client's.
        mutation: What happens when the body's owner writes to it while it is sent: `"borrow"` (it promised
            not to), `"snapshot"` (a copy is sent) or `"detect"` (`PayloadMutated` is raised).
        into: A writable buffer that the reply's body is received into.
        to_file: A path that the reply's body is received into; the file appears once it is complete.
        progress: Counts the bytes while the call runs.
        guard: Instead of the client's.
        from_peer: Whether the URL came from a peer, and so is guarded even if the client has no guard; of the
            client's headers it gets those alone that a redirect to another origin does.
    """

    headers: HeadersLike | None
    timeouts: Timeouts | None
    limits: Limits | None
    mutation: Mutation
    into: Buffer
    to_file: FilePath | None
    progress: Progress | None
    guard: Guard | None
    from_peer: bool


def _is_streamed(body: Body) -> TypeGuard[Parts]:
    """Whether `body` is made while it is sent: an iterable of parts that is itself no buffer."""
    # Of a mapping nobody would expect the keys to be sent.
    if isinstance(body, (bytes, bytearray, memoryview, str, Payload, Mapping)):
        return False
    if not isinstance(body, (Iterable, AsyncIterable)):
        return False
    exporter: Buffer = body
    try:
        memoryview(exporter).release()
    except TypeError:
        # numpy arrays of a dtype that the buffer protocol cannot name are iterable too.
        return not hasattr(body, "__array_interface__")
    except (BufferError, ValueError):
        return False
    return False


async def _pump(parts: Parts, writer: _native.BodyWriter) -> None:
    """Send `parts` as the socket takes them."""
    try:
        if isinstance(parts, AsyncIterable):
            async for part in parts:
                await writer.send(part)
        else:
            for part in parts:
                await writer.send(part)
        await writer.finish()
    except Cancelled:
        # The request is over; its own result says why.
        return
    finally:
        writer.abandon()


@asynccontextmanager
async def _sending(body: Body) -> AsyncIterator[Any]:
    """What to hand to the native module for `body`; parts are sent until the block ends.

    What the source of the parts raises is raised here: it says more than that the request failed.
    """
    if not _is_streamed(body):
        yield body
        return
    writer, streamed = _native.body_stream()
    pump = asyncio.ensure_future(_pump(body, writer))
    try:
        yield streamed
    except GatewayError:
        if pump.done():
            pump.result()
        raise
    else:
        if pump.done():
            pump.result()
    finally:
        pump.cancel()
        await asyncio.gather(pump, return_exceptions=True)


def _pump_blocking(
    parts: Iterable[Buffer], writer: _native.BodyWriter, call: _native.PendingResponse | _native.PendingStream
) -> None:
    """As `_pump`, on the thread of the caller, which may block. A failure of `parts`, or Ctrl-C, ends `call`."""
    try:
        for part in parts:
            writer.send_blocking(part)
        writer.finish_blocking()
    except Cancelled:
        return
    except BaseException:
        call.abandon()
        raise
    finally:
        writer.abandon()


def _without_await(parts: Parts) -> Iterable[Buffer]:
    if isinstance(parts, AsyncIterable):
        raise TypeError("the body is an asynchronous iterable: pass it to AsyncClient, or pass a plain iterable")
    return parts


class AsyncStream:
    """A reply whose body is read as it arrives."""

    def __init__(self, native: StreamingResponse) -> None:
        self._native = native

    @property
    def status(self) -> int:
        """The status code."""
        return self._native.status

    @property
    def headers(self) -> Headers:
        """The headers of the reply."""
        return self._native.headers

    @property
    def http_version(self) -> str:
        """`"HTTP/1.1"` or `"HTTP/2"`."""
        return self._native.http_version

    async def aiter_bytes(self) -> AsyncIterator[Payload]:
        """The body, piece by piece. Nothing is read ahead: a slow reader slows the sender."""
        while (chunk := await self._native.achunk()) is not None:
            yield chunk

    async def aread(self) -> Payload:
        """All that is left of the body."""
        return (await self._native.aread()).body

    async def aclose(self) -> None:
        """Let the connection go, whatever is left of the body."""
        self._native.close()


class Stream:
    """A reply whose body is read as it arrives."""

    def __init__(self, native: StreamingResponse) -> None:
        self._native = native

    @property
    def status(self) -> int:
        """The status code."""
        return self._native.status

    @property
    def headers(self) -> Headers:
        """The headers of the reply."""
        return self._native.headers

    @property
    def http_version(self) -> str:
        """`"HTTP/1.1"` or `"HTTP/2"`."""
        return self._native.http_version

    def iter_bytes(self) -> Iterator[Payload]:
        """The body, piece by piece. Nothing is read ahead: a slow reader slows the sender."""
        while (chunk := self._native.chunk()) is not None:
            yield chunk

    def read(self) -> Payload:
        """All that is left of the body."""
        return self._native.read().body

    def close(self) -> None:
        """Let the connection go, whatever is left of the body."""
        self._native.close()


class AsyncClient:
    """A client for asyncio and uvloop. Its calls run outside the GIL; see `ClientOptions` for what may be set.

    A body from `TransferPolicy.copy_below` bytes on is borrowed, not copied: do not write to it until the
    call returns, or pass `mutation="snapshot"` or `"detect"`.

    Raises:
        InvalidRequest: An option cannot hold, such as a certificate file without a certificate.
        TypeError: An option is unknown, or of another type.
    """

    def __init__(self, **options: Unpack[ClientOptions]) -> None:
        self._native = _native.Client(**options)

    async def request(self, method: str, url: str, *, body: Body = None, **options: Unpack[RequestOptions]) -> Response:
        """Send a request and await its whole reply, whatever its status.

        Args:
            method: Such as `"POST"`.
            url: Absolute, `http` or `https`.
            body: Any buffer, a `Payload`, or an iterable of buffers, async or not, that is sent as it is made.
            **options: See `RequestOptions`.

        Raises:
            ConnectError: No byte was sent; safe to retry.
            GatewayTimeout: See `.timeout`, `.phase` and `.sent`.
            LimitExceeded: The reply is larger than `limits` allow.
            GatewayError: Anything else; see `mcpgateway_rust.exceptions`.
        """
        if not _is_streamed(body):
            return (await self._native.request(method, url, body=body, **options)).take()
        async with _sending(body) as sent:
            return (await self._native.request(method, url, body=sent, **options)).take()

    @asynccontextmanager
    async def stream(
        self, method: str, url: str, *, body: Body = None, **options: Unpack[RequestOptions]
    ) -> AsyncIterator[AsyncStream]:
        """As `request`, but the body of the reply is read as it arrives."""
        async with _sending(body) as sent:
            reply = AsyncStream(await self._native.stream(method, url, body=sent, **options))
            try:
                yield reply
            finally:
                await reply.aclose()

    def get(self, url: str, **options: Unpack[RequestOptions]) -> Call:
        """GET `url`; see `request`."""
        return self.request("GET", url, **options)

    def head(self, url: str, **options: Unpack[RequestOptions]) -> Call:
        """HEAD `url`; see `request`."""
        return self.request("HEAD", url, **options)

    def options(self, url: str, **options: Unpack[RequestOptions]) -> Call:
        """OPTIONS `url`; see `request`."""
        return self.request("OPTIONS", url, **options)

    def delete(self, url: str, **options: Unpack[RequestOptions]) -> Call:
        """DELETE `url`; see `request`."""
        return self.request("DELETE", url, **options)

    def post(self, url: str, body: Body = None, **options: Unpack[RequestOptions]) -> Call:
        """POST `body` to `url`; see `request`."""
        return self.request("POST", url, body=body, **options)

    def put(self, url: str, body: Body = None, **options: Unpack[RequestOptions]) -> Call:
        """PUT `body` to `url`; see `request`."""
        return self.request("PUT", url, body=body, **options)

    def patch(self, url: str, body: Body = None, **options: Unpack[RequestOptions]) -> Call:
        """PATCH `url` with `body`; see `request`."""
        return self.request("PATCH", url, body=body, **options)

    async def aclose(self) -> None:
        """Refuse further calls; those under way go on."""
        self._native.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


class Client:
    """A client for threads: its calls block without the GIL, and Ctrl-C ends them. Else as `AsyncClient`."""

    def __init__(self, **options: Unpack[ClientOptions]) -> None:
        self._native = _native.Client(**options)

    def request(self, method: str, url: str, *, body: Body = None, **options: Unpack[RequestOptions]) -> Response:
        """Send a request and wait for its whole reply; see `AsyncClient.request`."""
        if not _is_streamed(body):
            return self._native.start(method, url, body=body, **options).wait()
        parts = _without_await(body)
        writer, streamed = _native.body_stream()
        call = self._native.start(method, url, body=streamed, **options)
        _pump_blocking(parts, writer, call)
        return call.wait()

    @contextmanager
    def stream(
        self, method: str, url: str, *, body: Body = None, **options: Unpack[RequestOptions]
    ) -> Iterator[Stream]:
        """As `request`, but the body of the reply is read as it arrives."""
        if not _is_streamed(body):
            native = self._native.start_stream(method, url, body=body, **options).wait()
        else:
            parts = _without_await(body)
            writer, streamed = _native.body_stream()
            call = self._native.start_stream(method, url, body=streamed, **options)
            _pump_blocking(parts, writer, call)
            native = call.wait()
        reply = Stream(native)
        try:
            yield reply
        finally:
            reply.close()

    def get(self, url: str, **options: Unpack[RequestOptions]) -> Response:
        """GET `url`; see `request`."""
        return self.request("GET", url, **options)

    def head(self, url: str, **options: Unpack[RequestOptions]) -> Response:
        """HEAD `url`; see `request`."""
        return self.request("HEAD", url, **options)

    def options(self, url: str, **options: Unpack[RequestOptions]) -> Response:
        """OPTIONS `url`; see `request`."""
        return self.request("OPTIONS", url, **options)

    def delete(self, url: str, **options: Unpack[RequestOptions]) -> Response:
        """DELETE `url`; see `request`."""
        return self.request("DELETE", url, **options)

    def post(self, url: str, body: Body = None, **options: Unpack[RequestOptions]) -> Response:
        """POST `body` to `url`; see `request`."""
        return self.request("POST", url, body=body, **options)

    def put(self, url: str, body: Body = None, **options: Unpack[RequestOptions]) -> Response:
        """PUT `body` to `url`; see `request`."""
        return self.request("PUT", url, body=body, **options)

    def patch(self, url: str, body: Body = None, **options: Unpack[RequestOptions]) -> Response:
        """PATCH `url` with `body`; see `request`."""
        return self.request("PATCH", url, body=body, **options)

    def close(self) -> None:
        """Refuse further calls; those under way go on."""
        self._native.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
