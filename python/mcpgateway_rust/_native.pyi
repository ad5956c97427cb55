"""The native module, as the package wraps it. Not to be imported from outside the package."""

from collections.abc import Callable, Iterable
from os import PathLike
from typing import Any, Literal, SupportsIndex, final, overload

from mcpgateway_rust._future import NativeFuture
from mcpgateway_rust._types import Buffer, Headers, Mutation
from mcpgateway_rust.exceptions import GatewayError

__all__ = [
    "Batch",
    "BodyStream",
    "BodyWriter",
    "Client",
    "Delivery",
    "Payload",
    "PendingResponse",
    "PendingStream",
    "Progress",
    "Response",
    "StreamingResponse",
    "Transfer",
    "TransferPolicy",
    "__version__",
    "body_stream",
    "exports_live",
    "fail_points",
    "invoke_agent",
    "invoke_agent_async",
    "invoke_many",
    "pool_stats",
    "serve",
]

__version__: str

@final
class Transfer:
    """What was decided for a payload, and why. Equal to its `kind`, and prints as a sentence."""

    @property
    def kind(self) -> Literal["copy", "borrow", "map"]: ...
    @property
    def reason(self) -> str: ...
    @property
    def len(self) -> int:
        """The length of the payload in bytes."""
    def __eq__(self, value: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class TransferPolicy:
    """The thresholds by which payloads are copied, borrowed or mapped, in bytes: 64 KiB and 10 MiB if not given."""

    def __new__(cls, *, copy_below: int = ..., map_above: int = ...) -> TransferPolicy: ...
    @staticmethod
    def default() -> TransferPolicy: ...
    def decide(self, len: int, kind: str = "buffer") -> Transfer: ...  # noqa: A002 - as the native module names it
    @property
    def copy_below(self) -> int: ...
    @property
    def map_above(self) -> int: ...
    def __eq__(self, value: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Payload:
    """A body of any size: borrowed, copied, mapped or joined, and readable through the buffer protocol.

    A buffer from `policy.copy_below` bytes on is borrowed: do not write to it while the payload is sent, or pass
    `mutation="snapshot"` (a copy is made now) or `"detect"` (sending raises `PayloadMutated`).

    Raises:
        UnsupportedBuffer: The object has no buffer, or one of Python objects; the message says what to pass.
    """

    def __new__(
        cls, obj: Buffer, *, policy: TransferPolicy | None = None, mutation: Mutation = "borrow"
    ) -> Payload: ...
    @staticmethod
    def open(path: str | PathLike[str], *, trusted: bool = False) -> Payload:
        """The contents of a file.

        Copied by default: what happens to the file later cannot change the payload. With `trusted=True` it is
        memory-mapped, and the caller vouches that nobody shortens it: looking at lost bytes would kill the process.

        Raises:
            FileError: It cannot be read, or is no regular file.
        """
    @staticmethod
    def join(parts: Iterable[Buffer], *, policy: TransferPolicy | None = None) -> Payload:
        """The parts one after the other. Nothing is copied until somebody looks at the whole."""
    @staticmethod
    def base64(obj: Buffer, *, urlsafe: bool = False, policy: TransferPolicy | None = None) -> Payload:
        """The padded base64 text of a buffer (RFC 4648), encoded while it is sent."""
    @property
    def transfer(self) -> Transfer:
        """How the bytes came to be here."""
    @property
    def segments(self) -> int:
        """Of how many pieces the payload consists."""
    def __len__(self) -> int: ...
    def __bool__(self) -> bool: ...
    @overload
    def __getitem__(self, index: SupportsIndex, /) -> int: ...
    @overload
    def __getitem__(self, index: slice, /) -> Payload: ...
    def __eq__(self, value: object, /) -> bool: ...
    def __hash__(self) -> int: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...

@final
class Progress:
    """How far a call has come, in bytes; may be read from any thread while it runs."""

    def __new__(cls) -> Progress: ...
    @property
    def sent(self) -> int: ...
    @property
    def received(self) -> int: ...
    @property
    def total_send(self) -> int | None: ...
    @property
    def total_receive(self) -> int | None: ...

@final
class Response:
    """A complete reply."""

    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> Headers: ...
    @property
    def body(self) -> Payload:
        """The body; empty if it was received with `into` or `to_file`."""
    @property
    def text(self) -> str:
        """The body as UTF-8 text."""
    @property
    def received(self) -> int:
        """Bytes of the body, decoded; also those received with `into` or `to_file`."""
    @property
    def transfer(self) -> Transfer:
        """How the body of the request was sent; `body.transfer` is how the reply came."""
    @property
    def http_version(self) -> str: ...
    @property
    def url(self) -> str:
        """The URL that answered, without userinfo and query."""
    @property
    def is_success(self) -> bool: ...
    def raise_for_status(self) -> Response:
        """Raise `HTTPStatusError` unless the status is one of success (200 to 299); else return this reply."""

@final
class Delivery:
    """A reply on its way to who awaits it, to be taken out once."""

    def take(self) -> Response: ...

@final
class StreamingResponse:
    """A reply whose body is read as it arrives."""

    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> Headers: ...
    @property
    def http_version(self) -> str: ...
    @property
    def url(self) -> str: ...
    @property
    def transfer(self) -> Transfer: ...
    def achunk(self) -> NativeFuture[Payload | None]: ...
    def chunk(self) -> Payload | None: ...
    def aread(self) -> NativeFuture[Response]: ...
    def read(self) -> Response: ...
    def close(self) -> None: ...

@final
class PendingResponse:
    """A reply that is on its way."""

    def wait(self) -> Response: ...
    def abandon(self) -> None: ...

@final
class PendingStream:
    """A streaming reply that is on its way."""

    def wait(self) -> StreamingResponse: ...
    def abandon(self) -> None: ...

@final
class BodyStream:
    """The receiving half of a body that is made while it is sent."""

@final
class BodyWriter:
    """The sending half of a body that is made while it is sent."""

    def send(self, part: Buffer) -> NativeFuture[None]: ...
    def send_blocking(self, part: Buffer) -> None: ...
    def finish(self) -> NativeFuture[None]: ...
    def finish_blocking(self) -> None: ...
    def abandon(self) -> None: ...

@final
class Client:
    """A pool of connections and the rules by which requests use them."""

    def __new__(cls, **options: Any) -> Client: ...
    def request(self, method: str, url: str, **options: Any) -> NativeFuture[Delivery]: ...
    def start(self, method: str, url: str, **options: Any) -> PendingResponse: ...
    def stream(self, method: str, url: str, **options: Any) -> NativeFuture[StreamingResponse]: ...
    def start_stream(self, method: str, url: str, **options: Any) -> PendingStream: ...
    def close(self) -> None: ...

@final
class Batch:
    """Calls under way."""

    def atake(self, least: int = 1) -> NativeFuture[list[tuple[int, Response | GatewayError]]]: ...
    def take(self) -> list[tuple[int, Response | GatewayError]]: ...
    def cancel(self) -> None: ...
    def __len__(self) -> int: ...

def body_stream() -> tuple[BodyWriter, BodyStream]: ...
def exports_live() -> int:
    """How many exports of Python buffers are held by Rust now."""

def fail_points() -> list[str]: ...
def pool_stats() -> dict[str, int]: ...
def invoke_agent(url: str, method: str, headers_json: str, body: Buffer | None = None) -> str: ...
def invoke_agent_async(client: Client | None, method: str, url: str, **options: Any) -> NativeFuture[Delivery]: ...
def invoke_many(
    client: Client | None,
    method: str,
    url: str,
    bodies: Iterable[Buffer],
    concurrency: int,
    order: str,
    **options: Any,
) -> Batch: ...
def serve(host: str, port: int, on_ready: Callable[[str], None]) -> None: ...
