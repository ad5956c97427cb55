"""The native module, as the package wraps it. Not to be imported from outside the package."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Literal, Protocol, SupportsIndex, TypeAlias, final, overload

from typing_extensions import disjoint_base

from mcpgateway_rust._future import NativeFuture
from mcpgateway_rust._types import Buffer, Headers, Listing, Mutation, SpoolStats, SweepReport
from mcpgateway_rust.exceptions import GatewayError

__all__ = [
    "Agent",
    "AgentEvent",
    "AgentReply",
    "AgentStream",
    "Artifact",
    "Batch",
    "BodyStream",
    "BodyWriter",
    "Client",
    "Collected",
    "Content",
    "Delivery",
    "Document",
    "Finish",
    "Message",
    "Node",
    "Part",
    "Payload",
    "PayloadRef",
    "PendingResource",
    "PendingResponse",
    "PendingStream",
    "Progress",
    "ReplyPart",
    "Resource",
    "ResourceClient",
    "Response",
    "RestEndpoint",
    "ServerRequest",
    "Spool",
    "SpoolWriter",
    "StreamingResponse",
    "Tool",
    "ToolCalling",
    "ToolResult",
    "ToolServer",
    "Transfer",
    "TransferPolicy",
    "__version__",
    "body_stream",
    "call_agent",
    "expand_template",
    "exports_live",
    "fail_points",
    "invoke_agent",
    "invoke_agent_async",
    "invoke_many",
    "limit_process",
    "list_spool",
    "loads",
    "loads_async",
    "open_payload",
    "open_payload_async",
    "pool_stats",
    "serve",
    "set_fail_point",
    "sweep_spool",
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
    def default() -> TransferPolicy:
        """What is used where no policy is given.

        Those of the file that the environment variable `MCPGATEWAY_RUST_TRANSFER_POLICY` names, which is read once
        in the life of a process; else as `TransferPolicy()`.

        Raises:
            FileError, InvalidOption, Denied: The environment names a file, and that cannot be loaded.
        """
    @staticmethod
    def load(path: str | PathLike[str]) -> TransferPolicy:
        """The thresholds in a file, such as `mcpgateway-rust calibrate` writes.

        Args:
            path: A JSON file: an object with `copy_below` and `map_above`, in bytes, and whatever else there is.

        Raises:
            FileError: It cannot be read.
            InvalidOption: It is damaged; the message says how.
            Denied: It is no regular file.
        """
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
    def open(
        path: str | PathLike[str], *, trusted: bool = False, follow_links: bool = False, spool: Spool | None = None
    ) -> Payload:
        """The contents of a file.

        Copied by default: what happens to the file later cannot change the payload. With `trusted=True` it is
        memory-mapped, and the caller vouches that nobody shortens it: looking at lost bytes would kill the process.

        Args:
            path: A regular file: nothing else is opened, and nothing is waited for.
            trusted: Whether the file is mapped where it is.
            follow_links: Whether a symbolic link at the end of the path is followed.
            spool: Where the copy goes, within its budgets; where the file system can, the copy shares the file's
                blocks. Else it is in the memory of this process.

        Raises:
            Denied: It is no regular file, or a link.
            FileError: It cannot be read.
            QuotaExceeded: There is no memory for it, or the budgets of `spool` are used up.
        """
    def share(
        self, *, ttl: float, durable: bool = False, content_type: str | None = None, spool: Spool | None = None
    ) -> PayloadRef:
        """A reference with which other processes of this user can open the payload.

        What lies in a spool is not copied; any other payload is, once, without the GIL. It then stays where it is,
        in its budget, until `ttl` is over or it is revoked.

        Args:
            ttl: For how many seconds it can be opened; at most a year.
            durable: Whether it outlives this process, in a file.
            content_type: Such as `"application/json"`; at most 255 visible ASCII characters.
            spool: The spool to share it in; else the one it lies in, else one in the default directory.

        Raises:
            QuotaExceeded: It has to be copied, and the budgets are used up.
            InvalidOption: The content type cannot be one.
            ValueError: `ttl` is not above 0 and at most a year.
        """
    def share_async(
        self, *, ttl: float, durable: bool = False, content_type: str | None = None, spool: Spool | None = None
    ) -> NativeFuture[PayloadRef]:
        """As `share`, for the event loop: what has to be copied is copied on another thread."""
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

@disjoint_base
class Node:
    """A value of a JSON document: a position in its bytes, which it keeps alive. Nothing is built until asked for.

    Behaves as the value it is where that is cheap: `len`, `in`, iteration (elements of an array, keys of an object),
    `==` with Python values and nodes, truth, and `str`, `int` and `float` of strings and numbers. Of a key that is
    there twice, the last counts. Looking into a value of more than 256 KiB releases the GIL. An array or object with
    many children gets an index of its own when it is first looked into.
    """

    @property
    def kind(self) -> Literal["object", "array", "string", "number", "boolean", "null"]: ...
    @property
    def pointer(self) -> str:
        """The pointer (RFC 6901) from the document to this value."""
    def __getitem__(self, key: str | SupportsIndex, /) -> Node:
        """The member of an object or element of an array.

        Raises:
            KeyError: There is no such key.
            IndexError: The array is shorter.
            TypeError: The value has no parts.
        """
    def get(self, key: str, default: Any = None) -> Any:
        """The member called `key` of an object, or `default`.

        Raises:
            TypeError: This is no object.
        """
    def at(self, pointer: str) -> Node:
        """The value at a pointer (RFC 6901), seen from this one; `""` is this one.

        Raises:
            PointerError: There is none; a `LookupError`.
            InvalidPointer: It is no pointer; a `ValueError`.
        """
    def keys(self) -> list[str]:
        """The keys of an object, each once."""
    def values(self) -> list[Node]:
        """The values of an object, in the order of its keys."""
    def items(self) -> list[tuple[str, Node]]:
        """The keys and values of an object."""
    def value(self) -> Any:
        """Python objects of this value, as `json.loads` makes them. Holds the GIL.

        Raises:
            JsonError: A float is larger than a double holds, or an integer has more digits than
                `sys.set_int_max_str_digits` allows.
        """
    def raw(self) -> memoryview:
        """A read-only view of the bytes of this value, without a copy. It keeps the document alive."""
    def base64(self) -> Payload:
        """The bytes that this string is the base64 of (RFC 4648), decoded by SIMD into pooled memory.

        The standard alphabet and that for URLs, padded or not. Never a Python `str`.

        Raises:
            JsonError: It is no base64; `.offset` says where.
            WrongKind: This is no string; a `TypeError`.
        """
    def numpy(self, dtype: Any = None) -> Any:
        """A C-contiguous, writable `numpy.ndarray` of the numbers in this (nested) array, which is rectangular.

        Without a dtype: bool for truth values, int64 for whole numbers, float64 if any number has a fraction or an
        exponent. float64 and float32 are rounded once, from the text to the nearest of that type. Parsed without the
        GIL, by several threads from 8 MiB of text on.

        Args:
            dtype: bool, int8 to int64, uint8 to uint64, float32 or float64, as numpy takes it.

        Raises:
            JsonError: It is ragged, or an element is null, no number, out of range, or has a fraction or exponent
                where the dtype has none; `.pointer` says which.
            WrongKind: This is no array; a `TypeError`.
            TypeError: The dtype is another.
        """
    def columns(self, names: list[str], *, fill: Any = None) -> dict[str, Any]:
        """The fields called `names` of this array of objects.

        Each is an ndarray: int64, float64 (if any number has a fraction or exponent) or bool; or a list of `str`.

        Args:
            names: The fields, in the order of the result.
            fill: What stands where a record has no such field, or null in it: a value for all columns, or a dict by
                name. None is no fill, so that a missing field is an error; `{"name": None}` fills strings with None.

        Raises:
            JsonError: A field is missing without a fill, or of another type than before; `.pointer` says which.
            WrongKind: This is no array; a `TypeError`.
        """
    def __len__(self) -> int: ...
    def __bool__(self) -> bool: ...
    def __iter__(self) -> Iterator[Any]: ...
    def __contains__(self, item: object, /) -> bool: ...
    def __eq__(self, value: object, /) -> bool: ...
    __hash__: None  # type: ignore[assignment] # equal to values that have no hash
    def __int__(self) -> int: ...
    def __float__(self) -> float: ...

@final
class Document(Node):
    """A JSON text, checked once and indexed, without the GIL; and the value of the whole of it.

    The bytes are kept as they are: `bytes` and payloads without a copy, what may be written to is copied first. One
    dialect: RFC 8259, strictly; UTF-8 without a byte order mark, no lone surrogates, no NaN; integers exact at any
    size; below 4 GiB. The index has 16 bytes for each array and object.

    Args:
        buffer: Any buffer. A `str` is refused: encode it.
        max_depth: Arrays and objects nested at most this deep, 1,024 at most.
        max_nodes: At most this many values; None for any number.
        max_bytes: At most this many bytes of text; None for any number below 4 GiB.
        duplicates: `"last"`: of a key that is there twice in an object the last counts; `"error"`: it is refused.

    Raises:
        JsonError: It is not JSON; `.line`, `.column`, `.offset` and `.pointer` say where.
        LimitExceeded: It is beyond `max_depth`, `max_nodes`, `max_bytes` or 4 GiB; `.limit` says which.
        UnsupportedBuffer: The object has no buffer.
    """

    def __new__(
        cls,
        buffer: Buffer,
        *,
        max_depth: int = ...,
        max_nodes: int | None = None,
        max_bytes: int | None = None,
        duplicates: Literal["last", "error"] = "last",
    ) -> Document: ...
    @staticmethod
    def open_async(
        buffer: Buffer,
        *,
        max_depth: int = ...,
        max_nodes: int | None = None,
        max_bytes: int | None = None,
        duplicates: Literal["last", "error"] = "last",
    ) -> NativeFuture[Document]:
        """Await a document that is made on another thread. Cancelling it stops that."""
    @staticmethod
    def peek(buffer: Buffer, pointer: str, *, whole: bool = True) -> Any:
        """The value at one pointer, without a document: the text is checked and passed over, and nothing is kept.

        Scalars come as Python values, arrays and objects as a `Document` of their own bytes.

        Args:
            buffer: As for `Document`.
            pointer: RFC 6901.
            whole: Read the text to its end, so that the answer is the one of a `Document`: all of it is JSON, and of
                a key that is there twice the last counts. Else reading stops behind the value: what follows is not
                checked, and the first counts, so another reader of the same text may see another value.

        Raises:
            JsonError: What was read is not JSON.
            PointerError: There is no such value; a `LookupError`.
        """
    @property
    def index_bytes(self) -> int:
        """Bytes of memory that the document holds beyond its text."""
    @property
    def nbytes(self) -> int:
        """Bytes of the text."""
    def splice(self, edits: Mapping[str, Any] | None = None, *, remove: Iterable[str] | None = None) -> Payload:
        """The text with values replaced, added and removed, as a rope around the bytes that stay, uncopied.

        Args:
            edits: By pointer (RFC 6901): of a value that is there, what replaces it; of a new key of an object, what is
                added; `"/a/-"` appends to the array `/a`. Buffers are JSON text, which is checked; nodes are put in as
                they are; other objects are written by Python's `json`. All pointers mean the document as it is.
            remove: Pointers to what is left out.

        Raises:
            PointerError: A pointer leads nowhere; a `LookupError`.
            EditConflict: Two edits are of the same bytes; a `ValueError`.
            JsonError: A buffer is not JSON.
        """

@final
class Part:
    """A part of a message: text, bytes, a URL or JSON. Held, not copied, until the message is sent.

    Raises:
        InvalidRequest: `metadata` is no JSON object.
    """

    @staticmethod
    def text(
        text: str | Buffer,
        *,
        filename: str | None = None,
        media_type: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Part:
        """Text: a str, or a buffer of UTF-8, which is checked when it is sent. A str that is ASCII is not copied."""
    @staticmethod
    def raw(
        raw: Buffer,
        *,
        filename: str | None = None,
        media_type: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Part:
        """Bytes: a buffer, borrowed from 64 KiB on, which becomes base64 while it is sent."""
    @staticmethod
    def url(
        url: str,
        *,
        filename: str | None = None,
        media_type: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Part:
        """The address of bytes, which the agent fetches."""
    @staticmethod
    def data(
        data: Any,
        *,
        filename: str | None = None,
        media_type: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Part:
        """JSON: a node, a buffer of JSON, which is checked when it is sent, or what Python's `json` can write."""
    @staticmethod
    def file(
        path: str | PathLike[str],
        *,
        filename: str | None = None,
        media_type: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        trusted: bool = False,
    ) -> Part:
        """The bytes of a file, as `raw`: copied into memory, or memory-mapped with `trusted=True`.

        Args:
            path: The file.
            filename: What to call it; the last part of `path` by default.
            media_type: Such as `"application/pdf"`; what `mimetypes` says of the name by default.
            metadata: A JSON object.
            trusted: Whether you vouch that nobody shortens the file until it is sent: that would end this process.

        Raises:
            Denied: It is no regular file.
            FileError: It cannot be read.
        """
    @property
    def kind(self) -> Literal["text", "raw", "url", "data"]: ...
    @property
    def filename(self) -> str | None: ...
    @property
    def media_type(self) -> str | None: ...
    @property
    def nbytes(self) -> int:
        """Bytes of its content, before they are encoded."""

@final
class Message:
    """A message to an agent.

    Args:
        parts: What it says: a list of `Part` or str, or one of these.
        role: Who says it.
        message_id: By what it is known; a random UUID each time it is sent by default.
        task_id: The task that it belongs to.
        context_id: The context that it belongs to.
        reference_task_ids: Tasks that it speaks of.
        extensions: URIs of extensions that it makes use of.
        metadata: A JSON object.
    """

    def __new__(
        cls,
        parts: Sequence[Part | str] | Part | str,
        *,
        role: Literal["user", "agent"] = "user",
        message_id: str | None = None,
        task_id: str | None = None,
        context_id: str | None = None,
        reference_task_ids: Sequence[str] = ...,
        extensions: Sequence[str] = ...,
        metadata: Mapping[str, Any] | None = None,
    ) -> Message: ...
    @property
    def role(self) -> Literal["user", "agent"]: ...
    @property
    def parts(self) -> list[Part]: ...
    @property
    def message_id(self) -> str | None: ...

@final
class ReplyPart:
    """A part of what an agent said, of either generation, looked into where it lies."""

    @property
    def kind(self) -> Literal["text", "raw", "url", "data"] | None:
        """None if it is nothing of A2A."""
    @property
    def node(self) -> Node:
        """The part, as it was received."""
    @property
    def text(self) -> str | None:
        """The text of a text part, as a str; see `payload` for large ones. None if it is no text part."""
    @property
    def url(self) -> str | None:
        """The address of a url part; None if it is none."""
    @property
    def data(self) -> Node | None:
        """The JSON of a data part; None if it is none."""
    @property
    def filename(self) -> str | None: ...
    @property
    def media_type(self) -> str | None: ...
    @property
    def metadata(self) -> Node | None: ...
    def payload(self) -> Payload:
        """The bytes of a raw part, of a text part as UTF-8, or of a data part as JSON; made without the GIL.

        Raises:
            WrongKind: It is a url part, or nothing of A2A.
            JsonError: Its base64 is none; `.pointer` and `.offset` say where.
            QuotaExceeded: There is no memory.
        """
    def payload_async(self) -> NativeFuture[Payload]:
        """Await what `payload` returns, made on a thread of its own: for large parts, in a loop."""
    def base64(self) -> Payload:
        """The decoded bytes of a raw part; `WrongKind` if it is none. Else as `payload`."""

@final
class AgentReply:
    """The reply of an A2A agent of either generation, looked into where it lies.

    Args:
        document: A JSON-RPC reply, such as `await response.document()`.

    Raises:
        InvalidReply: It is no object, or has the same key twice.
    """

    def __new__(cls, document: Document) -> AgentReply: ...
    @property
    def id(self) -> Node | None:
        """The id of the call that this answers; None over plain HTTP."""
    @property
    def result(self) -> Node | None:
        """What came of the call."""
    @property
    def error(self) -> Node | None:
        """Why nothing came of it."""
    @property
    def kind(self) -> Literal["task", "message", "status-update", "artifact-update"] | None:
        """What the result is."""
    @property
    def node(self) -> Node | None:
        """The task or message, without what wraps it."""
    @property
    def task_id(self) -> str | None:
        """The task that it is, or belongs to."""
    @property
    def context_id(self) -> str | None:
        """The context that it belongs to."""
    @property
    def state(self) -> str | None:
        """How far the task is, such as `"completed"` or `"input-required"`, whatever the generation calls it."""
    @property
    def message(self) -> Node | None:
        """The message itself, or that of the task's status."""
    @property
    def artifacts(self) -> list[Node]:
        """The artifacts of a task."""
    @property
    def parts(self) -> list[ReplyPart]:
        """The parts of a message, or of all artifacts of a task; of one without artifacts, of its status's message."""
    @property
    def text(self) -> str:
        """The text of all of `parts`, one after the other, as a str."""
    def with_id(self, id: Any) -> Payload:  # noqa: A002 - as JSON-RPC calls it
        """The same reply to the call `id`, as a rope: no other byte is touched, and none is copied.

        What came over plain HTTP is put into an envelope of JSON-RPC.
        """
    def translated(self, version: str, binding: str = "JSONRPC") -> Payload:
        """The result as `version` has it over `binding`, as a rope around the bytes of its parts.

        Raises:
            Unsupported: The result is neither a task nor a message.
        """

@final
class AgentEvent:
    """An event of an A2A agent, looked into where it lies."""

    @property
    def kind(self) -> Literal["task", "message", "status-update", "artifact-update"]: ...
    @property
    def node(self) -> Node:
        """The task, message or update, without what wraps it."""
    @property
    def task_id(self) -> str | None: ...
    @property
    def context_id(self) -> str | None: ...
    @property
    def state(self) -> str | None:
        """How far the task is, such as `"working"`, if the event says so."""
    @property
    def message(self) -> Node | None:
        """The message itself, or that of the status."""
    @property
    def artifacts(self) -> list[Node]:
        """The artifact of an update, or those of a task."""
    @property
    def parts(self) -> list[ReplyPart]:
        """Its parts: of the message, of the status's message, or of the artifacts."""
    @property
    def text(self) -> str:
        """The text of all of `parts`, one after the other, as a str."""
    @property
    def artifact_id(self) -> str | None:
        """The id of the artifact that an update is of."""
    @property
    def append(self) -> bool:
        """Whether an update adds to an artifact that is there."""
    @property
    def last_chunk(self) -> bool:
        """Whether nothing is added to the artifact after this."""
    @property
    def is_after_break(self) -> bool:
        """Whether it is the first since the stream broke: a task then says all that came before."""
    def payload(self) -> Payload:
        """The text it came as: JSON."""
    def translated(self, version: str, binding: str = "JSONRPC") -> Payload:
        """The event as `version` has it over `binding`, as a rope around the bytes of its parts."""

@final
class Artifact:
    """An artifact, with its chunks in one piece."""

    @property
    def id(self) -> str: ...
    @property
    def name(self) -> str | None: ...
    @property
    def text(self) -> Payload:
        """All of its text parts, one after the other, as UTF-8."""
    @property
    def raw(self) -> Payload:
        """All of its raw parts, decoded, one after the other."""
    @property
    def others(self) -> list[ReplyPart]:
        """Its data and url parts."""
    @property
    def filename(self) -> str | None: ...
    @property
    def media_type(self) -> str | None: ...
    @property
    def is_complete(self) -> bool:
        """Whether the agent said that no more of it comes."""

@final
class Collected:
    """What came of a stream, when all has come."""

    @property
    def artifacts(self) -> list[Artifact]: ...
    @property
    def parts(self) -> list[ReplyPart]:
        """The parts of the message that ended it, or of the last status's message."""
    @property
    def node(self) -> Node | None:
        """The last task, message or status."""
    @property
    def task_id(self) -> str | None: ...
    @property
    def context_id(self) -> str | None: ...
    @property
    def state(self) -> str | None: ...

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
class PayloadRef:
    """What another process needs to open a payload: as text at most 1 KiB, signed by the spool.

    Whoever has the text, runs as the same user and can use the spool's directory may open the payload until it
    expires: keep it out of logs, as `repr` does. Can be pickled.
    """

    @staticmethod
    def parse(text: str) -> PayloadRef:
        """The reference that `text` is; whether it is genuine shows when it is opened.

        Raises:
            InvalidReference: It is none.
        """
    @property
    def id(self) -> str:
        """The id of the payload: 128 random bits, in hexadecimal digits."""
    @property
    def tenant(self) -> str:
        """Whose payload it is."""
    @property
    def length(self) -> int:
        """Bytes of the payload."""
    @property
    def checksum(self) -> int:
        """The XXH3 checksum of the payload, 64 bits."""
    @property
    def content_type(self) -> str | None:
        """What kind of content it is, if its sharer said so."""
    @property
    def expires(self) -> float:
        """From when on it cannot be opened any more, in seconds since 1970 (see `time.time`)."""
    @property
    def locations(self) -> list[str]:
        """Where the payload can be had, the nearest first: `"descriptor"` (from its living worker), `"file"`."""
    def __eq__(self, value: object, /) -> bool: ...
    def __hash__(self) -> int: ...
    def __reduce__(self) -> tuple[Callable[[str], PayloadRef], tuple[str]]: ...

@final
class Spool:
    """Takes payloads of any size within its budgets, and hands them to other processes.

    Small payloads stay in the memory of this process; those above `map_above` go into sealed memory files, which
    nobody can change and other processes can map; when the memory budget is used up, into private files.

    Args:
        memory_budget: Bytes of memory for the payloads of all workers of the directory. By default a quarter of
            what the container or the machine has, or half of what is free, whichever is less.
        disk_budget: Bytes of disk for them. By default half of what is free.
        directory: What its workers have in common; made with mode 0700. By default `mcpgateway-shm-<uid>` below
            `$XDG_RUNTIME_DIR`, the directory for temporary files or `/var/tmp`: the first that is not in memory.
        tenant: Whose payloads these are: up to 64 ASCII letters, digits, `.`, `_`, `~` and `-`; else `"default"`.
        tenant_share: The part of each budget that the tenant may have, above 0 and up to 1 (the default).
        map_above: Bytes; 1 MiB by default.

    Raises:
        Denied: Others may use the directory, or it is another user's.
        InvalidOption: The tenant or its share cannot be.
        FileError: The directory cannot be made or has no room.
    """

    def __new__(
        cls,
        *,
        memory_budget: int | None = None,
        disk_budget: int | None = None,
        directory: str | PathLike[str] | None = None,
        tenant: str | None = None,
        tenant_share: float | None = None,
        map_above: int | None = None,
    ) -> Spool: ...
    def put(self, obj: Buffer) -> Payload:
        """A payload with the bytes of a buffer, copied without the GIL.

        Raises:
            QuotaExceeded: Neither memory nor disk have room in their budgets; `.limit` names the one.
            FileError: The system has no room.
            UnsupportedBuffer: The object has no buffer.
        """
    def put_async(self, obj: Buffer) -> NativeFuture[Payload]:
        """As `put`, for the event loop: the bytes are copied on another thread."""
    def writer(self, expected: int | None = None) -> SpoolWriter:
        """A writer for a payload that comes in pieces, of about `expected` bytes if that is known."""
    def share(
        self, payload: Buffer, *, ttl: float, durable: bool = False, content_type: str | None = None
    ) -> PayloadRef:
        """A reference to `payload`, or to a copy of any buffer; see `Payload.share`."""
    def share_async(
        self, payload: Buffer, *, ttl: float, durable: bool = False, content_type: str | None = None
    ) -> NativeFuture[PayloadRef]:
        """As `share`, for the event loop."""
    def open(self, reference: PayloadRef | str) -> Payload:
        """The payload that a worker with the same directory shares: the same pages, not a copy.

        Raises:
            Denied: The reference is another tenant's, or this spool did not sign it.
            PayloadGone: It has expired or was revoked, or its worker is gone.
            InvalidReference: The text is no reference.
            GatewayTimeout: Its worker was stopped: it does not answer.
        """
    def open_async(self, reference: PayloadRef | str) -> NativeFuture[Payload]:
        """As `open`, for the event loop: nobody waits for the other worker but a thread made for that."""
    def revoke(self, reference: PayloadRef | str) -> None:
        """Nobody opens the payload of `reference` any more; who has it open keeps it."""
    def sweep(self) -> SweepReport:
        """Remove what dead workers left and what has expired; happens every minute, too."""
    def stats(self) -> SpoolStats:
        """What is held where."""
    @property
    def directory(self) -> Path:
        """The directory that its workers have in common."""
    @property
    def tenant(self) -> str:
        """Whose payloads these are."""
    @property
    def map_above(self) -> int:
        """Payloads above this many bytes are spooled where other processes can map them."""

@final
class SpoolWriter:
    """Takes the bytes of one payload as they come, and moves them up a tier when they outgrow theirs.

    Dropped before it is finished, it discards them.
    """

    def write(self, obj: Buffer) -> None:
        """Append the bytes of a buffer, without the GIL; see `Spool.put` for what it raises."""
    def write_async(self, obj: Buffer) -> NativeFuture[None]:
        """As `write`, for the event loop. Await it before the next one: only then is their order certain."""
    def finish(self) -> Payload:
        """The payload; it never changes from now on.

        Raises:
            ClientClosed: It is finished or discarded already.
        """
    def finish_async(self) -> NativeFuture[Payload]:
        """As `finish`, for the event loop."""
    def discard(self) -> None:
        """Discard what was written; does nothing once it is finished."""
    def __len__(self) -> int:
        """Bytes written so far."""

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
    def json(self) -> Document:
        """The body as a JSON document, parsed at most once, without the GIL.

        On a thread with a running event loop a body of 64 KiB or more has to be awaited with `document()` before.

        Raises:
            JsonError: It is not JSON.
            LimitExceeded: It is nested deeper than 1,024, or 4 GiB or larger.
            EventLoopError: It would hold up the event loop.
        """
    def document(self) -> NativeFuture[Document]:
        """Await the body as a JSON document, which is parsed on another thread, once.

        Raises:
            JsonError: It is not JSON.
            LimitExceeded: It is nested deeper than 1,024, or 4 GiB or larger.
        """
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
class Agent:
    """An agent, and how it is talked to."""

    def __new__(
        cls,
        client: Client,
        url: str,
        *,
        version: str,
        binding: str,
        tenant: str | None,
        extensions: Sequence[str],
        query: Sequence[tuple[str, str]],
        trust_card: bool,
    ) -> Agent: ...
    @overload
    def card(self, blocking: Literal[True], *, token: Callable[[], Any] | None = None, **options: Any) -> Document: ...
    @overload
    def card(
        self, blocking: Literal[False], *, token: Callable[[], Any] | None = None, **options: Any
    ) -> NativeFuture[Document]: ...
    @overload
    def send(
        self,
        blocking: Literal[True],
        message: Any,
        *,
        task_id: str | None = None,
        context_id: str | None = None,
        configuration: Any = None,
        metadata: Any = None,
        token: Callable[[], Any] | None = None,
        **options: Any,
    ) -> AgentReply: ...
    @overload
    def send(
        self,
        blocking: Literal[False],
        message: Any,
        *,
        task_id: str | None = None,
        context_id: str | None = None,
        configuration: Any = None,
        metadata: Any = None,
        token: Callable[[], Any] | None = None,
        **options: Any,
    ) -> NativeFuture[AgentReply]: ...
    @overload
    def stream(
        self,
        blocking: Literal[True],
        message: Any,
        reattach: int,
        *,
        task_id: str | None = None,
        context_id: str | None = None,
        configuration: Any = None,
        metadata: Any = None,
        token: Callable[[], Any] | None = None,
        **options: Any,
    ) -> AgentStream: ...
    @overload
    def stream(
        self,
        blocking: Literal[False],
        message: Any,
        reattach: int,
        *,
        task_id: str | None = None,
        context_id: str | None = None,
        configuration: Any = None,
        metadata: Any = None,
        token: Callable[[], Any] | None = None,
        **options: Any,
    ) -> NativeFuture[AgentStream]: ...
    @overload
    def subscribe(
        self,
        blocking: Literal[True],
        task_id: str,
        reattach: int,
        *,
        token: Callable[[], Any] | None = None,
        **options: Any,
    ) -> AgentStream: ...
    @overload
    def subscribe(
        self,
        blocking: Literal[False],
        task_id: str,
        reattach: int,
        *,
        token: Callable[[], Any] | None = None,
        **options: Any,
    ) -> NativeFuture[AgentStream]: ...
    @overload
    def get_task(
        self,
        blocking: Literal[True],
        task_id: str,
        *,
        history_length: int | None = None,
        token: Callable[[], Any] | None = None,
        **options: Any,
    ) -> AgentReply: ...
    @overload
    def get_task(
        self,
        blocking: Literal[False],
        task_id: str,
        *,
        history_length: int | None = None,
        token: Callable[[], Any] | None = None,
        **options: Any,
    ) -> NativeFuture[AgentReply]: ...
    @overload
    def cancel_task(
        self,
        blocking: Literal[True],
        task_id: str,
        *,
        metadata: Any = None,
        token: Callable[[], Any] | None = None,
        **options: Any,
    ) -> AgentReply: ...
    @overload
    def cancel_task(
        self,
        blocking: Literal[False],
        task_id: str,
        *,
        metadata: Any = None,
        token: Callable[[], Any] | None = None,
        **options: Any,
    ) -> NativeFuture[AgentReply]: ...
    @overload
    def list_tasks(
        self,
        blocking: Literal[True],
        *,
        context_id: str | None = None,
        status: str | None = None,
        page_size: int | None = None,
        page_token: str | None = None,
        history_length: int | None = None,
        include_artifacts: bool | None = None,
        status_timestamp_after: str | None = None,
        token: Callable[[], Any] | None = None,
        **options: Any,
    ) -> AgentReply: ...
    @overload
    def list_tasks(
        self,
        blocking: Literal[False],
        *,
        context_id: str | None = None,
        status: str | None = None,
        page_size: int | None = None,
        page_token: str | None = None,
        history_length: int | None = None,
        include_artifacts: bool | None = None,
        status_timestamp_after: str | None = None,
        token: Callable[[], Any] | None = None,
        **options: Any,
    ) -> NativeFuture[AgentReply]: ...
    @overload
    def create_push_config(
        self,
        blocking: Literal[True],
        task_id: str,
        config: Any,
        *,
        token: Callable[[], Any] | None = None,
        **options: Any,
    ) -> Node: ...
    @overload
    def create_push_config(
        self,
        blocking: Literal[False],
        task_id: str,
        config: Any,
        *,
        token: Callable[[], Any] | None = None,
        **options: Any,
    ) -> NativeFuture[Node]: ...
    @overload
    def get_push_config(
        self,
        blocking: Literal[True],
        task_id: str,
        config_id: str,
        *,
        token: Callable[[], Any] | None = None,
        **options: Any,
    ) -> Node: ...
    @overload
    def get_push_config(
        self,
        blocking: Literal[False],
        task_id: str,
        config_id: str,
        *,
        token: Callable[[], Any] | None = None,
        **options: Any,
    ) -> NativeFuture[Node]: ...
    @overload
    def list_push_configs(
        self, blocking: Literal[True], task_id: str, *, token: Callable[[], Any] | None = None, **options: Any
    ) -> list[Node]: ...
    @overload
    def list_push_configs(
        self, blocking: Literal[False], task_id: str, *, token: Callable[[], Any] | None = None, **options: Any
    ) -> NativeFuture[list[Node]]: ...
    @overload
    def delete_push_config(
        self,
        blocking: Literal[True],
        task_id: str,
        config_id: str,
        *,
        token: Callable[[], Any] | None = None,
        **options: Any,
    ) -> None: ...
    @overload
    def delete_push_config(
        self,
        blocking: Literal[False],
        task_id: str,
        config_id: str,
        *,
        token: Callable[[], Any] | None = None,
        **options: Any,
    ) -> NativeFuture[None]: ...
    @overload
    def extended_card(
        self, blocking: Literal[True], *, token: Callable[[], Any] | None = None, **options: Any
    ) -> Node: ...
    @overload
    def extended_card(
        self, blocking: Literal[False], *, token: Callable[[], Any] | None = None, **options: Any
    ) -> NativeFuture[Node]: ...

@final
class AgentStream:
    """The events of an agent."""

    @overload
    def next(self, blocking: Literal[True]) -> AgentEvent | None: ...
    @overload
    def next(self, blocking: Literal[False]) -> NativeFuture[AgentEvent | None]: ...
    @overload
    def collect(self, blocking: Literal[True]) -> Collected: ...
    @overload
    def collect(self, blocking: Literal[False]) -> NativeFuture[Collected]: ...
    def close(self) -> None: ...

@final
class Batch:
    """Calls under way."""

    def atake(self, least: int = 1) -> NativeFuture[list[tuple[int, Response | GatewayError]]]: ...
    def take(self) -> list[tuple[int, Response | GatewayError]]: ...
    def cancel(self) -> None: ...
    def __len__(self) -> int: ...

@final
class ToolServer:
    """An MCP server, as the clients of `mcpgateway_rust.services.tool_service` wrap it."""

    def __new__(
        cls,
        client: Client | None,
        url: str,
        protocol: str | None = None,
        capabilities: Mapping[str, Any] | None = None,
        client_info: tuple[str, str] | None = None,
        max_input_rounds: int | None = None,
        listens: bool = False,
    ) -> ToolServer: ...
    def list_tools(self, blocking: bool, **options: Any) -> Any: ...
    def call(
        self,
        blocking: bool,
        name: str,
        arguments: Any = None,
        *,
        meta: Mapping[str, Any] | None = None,
        finish: Finish | None = None,
        **options: Any,
    ) -> Any: ...
    def call_many(self, blocking: bool, calls: Iterable[Any], concurrency: int = ..., **options: Any) -> Any: ...
    def begin(
        self,
        name: str,
        arguments: Any = None,
        *,
        wants_progress: bool = False,
        meta: Mapping[str, Any] | None = None,
        finish: Finish | None = None,
        **options: Any,
    ) -> ToolCalling: ...
    def request(self, blocking: bool, method: str, params: Mapping[str, Any] | None = None, **options: Any) -> Any: ...
    def notify(self, blocking: bool, method: str, params: Mapping[str, Any] | None = None) -> Any: ...
    def agreement(self, blocking: bool) -> Any: ...
    def close(self, blocking: bool) -> Any: ...

@final
class Finish:
    """What is done with a result before it is handed over."""

    def __new__(
        cls,
        pointer: str | None = None,
        jq: str | None = None,
        output_schema: Any = None,
        seconds: float | None = None,
        memory: int | None = None,
    ) -> Finish: ...

@final
class RestEndpoint:
    """A plain HTTP endpoint, as the tools of `mcpgateway_rust.services.tool_service` wrap it."""

    def __new__(
        cls,
        client: Client | None,
        method: str,
        url: str,
        query: list[str],
        headers: list[tuple[str, str]],
        body: str,
    ) -> RestEndpoint: ...
    def call(
        self,
        blocking: bool,
        arguments: Mapping[str, Any] | None = None,
        *,
        finish: Finish | None = None,
        **options: Any,
    ) -> Any: ...

def call_agent(
    agent: Agent,
    blocking: bool,
    arguments: Mapping[str, Any],
    *,
    finish: Finish | None = None,
    task_id: str | None = None,
    context_id: str | None = None,
    configuration: Any = None,
    metadata: Any = None,
    token: Any = None,
    **options: Any,
) -> Any:
    """Call an agent as a tool."""

@final
class ToolCalling:
    """A call of a tool under way."""

    def step(self, blocking: bool) -> Any:
        """The next step: `("notification", method, params)`, `("asked", request, None)`, `("result", result, None)`."""
    def answer(self, blocking: bool, asked: ServerRequest, result: Any) -> Any: ...
    def refuse(self, blocking: bool, asked: ServerRequest, code: int, why: str) -> Any: ...
    def close(self) -> None: ...

@final
class ServerRequest:
    """Something that a server asks of its client during a call."""

    @property
    def method(self) -> str:
        """What is asked, such as `elicitation/create`."""
    @property
    def params(self) -> Node | None:
        """With which parameters."""

@final
class Tool:
    """A tool as its server describes it."""

    @property
    def name(self) -> str:
        """What it is called by."""
    @property
    def description(self) -> str | None:
        """What it is for."""
    @property
    def input_schema(self) -> Node | None:
        """What its arguments have to be: a JSON schema, as it came."""
    @property
    def output_schema(self) -> Node | None:
        """What its structured results are: likewise."""
    @property
    def node(self) -> Node:
        """All that the server says of it."""

@final
class ToolResult:
    """What a tool answered. Nothing is built of it before somebody asks."""

    @property
    def content(self) -> list[Content]:
        """The pieces of its content, in order."""
    @property
    def structured(self) -> Node | None:
        """What the tool gives as data (`structuredContent`), where it lies in the reply."""
    @property
    def selected(self) -> Node | None:
        """What the filter of the call made of it, if there was one."""
    @property
    def is_error(self) -> bool:
        """Whether the tool itself failed; its content then says why."""
    @property
    def node(self) -> Node | None:
        """The whole result, of an agent its task or message; None of a reply that is not JSON."""
    @property
    def reply(self) -> AgentReply | None:
        """The agent's reply, if an agent was called: the state of its task, its ids, its artifacts."""
    @property
    def status(self) -> int:
        """The status of the HTTP reply."""
    @property
    def text(self) -> str:
        """The text of all pieces that are texts, one after the other. Large ones: `content[i].payload_async()`."""
    @property
    def transfer(self) -> Transfer:
        """How the message that it is part of was received."""

@final
class Content:
    """A piece of the content of a result."""

    @property
    def type(self) -> str | None:
        """`"text"`, `"image"`, `"audio"`, `"resource_link"`, `"resource"`, or what else the server says.

        JSON of an agent is `"data"`.
        """
    @property
    def text(self) -> str | None:
        """The text of a text, or of an embedded resource that is one."""
    def payload(self) -> Payload:
        """Its bytes: a text as UTF-8 (where it lies, if nothing in it is escaped), all else decoded from base64.

        Made without the GIL, but on this thread: on an event loop, use `payload_async`.

        Raises:
            WrongKind: It has none: it is a link, or of a kind that is not known here.
            JsonError: It is not base64; the place of what is not is named.
        """
    def payload_async(self) -> NativeFuture[Payload]:
        """As `payload`, on a thread of its own."""
    @property
    def mime_type(self) -> str | None:
        """Of what type its bytes are."""
    @property
    def uri(self) -> str | None:
        """The address of a resource."""
    @property
    def link(self) -> str | None:
        """The address that it leads to; None if it is no link. To fetch it: `AsyncResourceClient.follow`."""
    @property
    def name(self) -> str | None:
        """The name of a resource."""
    @property
    def node(self) -> Node | None:
        """All of it, as an MCP server or an agent says it; None of a plain reply."""

@final
class Resource:
    """A resource that was fetched: its bytes, and what is known of them."""

    @property
    def uri(self) -> str:
        """Where it is, as it was asked for."""
    @property
    def content_type(self) -> str | None:
        """What kind of content it is, as its sender says."""
    @property
    def body(self) -> Payload: ...
    @property
    def text(self) -> str:
        """Its bytes as text.

        Raises:
            UnicodeDecodeError: They are no UTF-8.
        """
    def document(self) -> NativeFuture[Document]:
        """Await its bytes as a JSON document, which is read on a thread of its own."""
    @property
    def etag(self) -> str | None: ...
    @property
    def last_modified(self) -> str | None: ...
    @property
    def fresh_for(self) -> float | None:
        """Seconds for which it is as good as a new one, as its sender says."""
    @property
    def scope(self) -> Literal["private", "public"]:
        """Who may be given the same bytes."""
    @property
    def came_from(self) -> Literal["network", "cache", "revalidated", "file", "data"]:
        """Where its bytes came from this time."""
    def __len__(self) -> int:
        """Bytes of the body."""

@final
class PendingResource:
    """A resource that is on its way."""

    def wait(self) -> Resource: ...

class _ResourceDelivery(Protocol):
    """What `Delivery` is where it delivers a resource."""

    def take(self) -> Resource: ...

@final
class ResourceClient:
    """Fetches resources."""

    def __new__(cls, client: Client | None = None, **options: Any) -> ResourceClient: ...
    def fetch(self, uri: str, **options: Any) -> NativeFuture[_ResourceDelivery]: ...
    def start(self, uri: str, **options: Any) -> PendingResource: ...
    def read(self, server: str, uri: str, **options: Any) -> NativeFuture[_Resources]: ...
    def read_blocking(self, server: str, uri: str, **options: Any) -> _Resources: ...
    def list(self, server: str, templates: bool, **options: Any) -> NativeFuture[_Nodes]: ...
    def list_blocking(self, server: str, templates: bool, **options: Any) -> _Nodes: ...

_Resources: TypeAlias = list[Resource]
_Nodes: TypeAlias = list[Node]

def expand_template(template: str, values: dict[str, Any]) -> str:
    """The URI that a template (RFC 6570) expands to."""

def body_stream() -> tuple[BodyWriter, BodyStream]: ...
def exports_live() -> int:
    """How many exports of Python buffers are held by Rust now."""

def loads(buffer: Buffer) -> Any:
    """The Python objects of a JSON text, as `json.loads` makes them; see `Document` for what is accepted.

    From 64 KiB on the text is read without the GIL, strings and numbers included, and the GIL is held to build the
    objects from that. Python's cyclic garbage collector is paused meanwhile, which would look at all of them over and
    over; 10,000 new arrays and objects or more count as old to it from then on.

    Raises:
        JsonError: It is not JSON, or has a number that Python cannot make.
        LimitExceeded: It is nested deeper than 1,024, or 4 GiB or larger.
    """

def loads_async(buffer: Buffer) -> NativeFuture[Any]: ...
def fail_points() -> list[str]: ...
def set_fail_point(name: str, action: str) -> None: ...
def limit_process(
    *,
    memory_budget: int | None = None,
    disk_budget: int | None = None,
    directory: str | PathLike[str] | None = None,
) -> None: ...
def list_spool(directory: str | PathLike[str] | None = None) -> Listing: ...
def open_payload(
    reference: PayloadRef | str, *, directory: str | PathLike[str] | None = None, tenant: str | None = None
) -> Payload: ...
def open_payload_async(
    reference: PayloadRef | str, *, directory: str | PathLike[str] | None = None, tenant: str | None = None
) -> NativeFuture[Payload]: ...
def pool_stats() -> dict[str, int]: ...
def sweep_spool(directory: str | PathLike[str] | None = None) -> SweepReport: ...
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
