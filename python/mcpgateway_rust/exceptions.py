"""What can go wrong, as classes that a Python person would catch anyway.

Every error says how far the call had come and whether the peer may have acted, so that a caller can
decide what to do without reading its text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from mcpgateway_rust import Node, Response

Phase = Literal["resolve", "connect", "tls", "send", "first_byte", "receive", "parse"]
Sent = Literal["no", "yes", "unknown"]


class GatewayError(Exception):
    """Anything that a call of this package can fail with.

    Attributes:
        phase: How far the call had come, or None if it had not begun.
        sent: Whether the peer may have acted: `"no"` (no byte left), `"yes"` (it answered) or `"unknown"`.
        retryable: Whether the same call may succeed later without acting twice.
    """

    def __init__(
        self, message: str = "", *, phase: Phase | None = None, sent: Sent = "unknown", retryable: bool = False
    ) -> None:
        super().__init__(message)
        self.phase = phase
        self.sent = sent
        self.retryable = retryable


class ConnectError(GatewayError, ConnectionError):
    """No connection could be made; no byte was sent."""


class AddressRefused(GatewayError, PermissionError):  # noqa: N818 - named as what happened
    """The URL, or a redirect, leads to an address that the guard lets no request go to; nothing was sent there."""


class TlsError(ConnectError):
    """The peers could not agree on TLS, or a certificate was refused."""


class ConnectionLost(GatewayError, ConnectionError):  # noqa: N818 - named as what happened
    """The connection was reset or closed while it was in use."""


class IncompleteBody(ConnectionLost):
    """The body of the reply ended before its announced length."""


class SessionExpired(ConnectionLost):
    """The server ended its session while a call was under way, which it may have acted on (MCP)."""


class ProtocolError(GatewayError, ConnectionError):
    """The peer does not speak HTTP as the standard has it."""


class GatewayTimeout(GatewayError, TimeoutError):  # noqa: N818 - named as what happened
    """A timeout passed.

    Attributes:
        timeout: Which: `"connect"`, `"first_byte"`, `"idle"` or `"total"`; `"spool"` for a worker that does not answer.
        seconds: Its value.
    """

    def __init__(
        self,
        message: str = "",
        *,
        timeout: str = "total",
        seconds: float = 0.0,
        phase: Phase | None = None,
        sent: Sent = "unknown",
        retryable: bool = False,
    ) -> None:
        super().__init__(message, phase=phase, sent=sent, retryable=retryable)
        self.timeout = timeout
        self.seconds = seconds


class LimitExceeded(GatewayError, ValueError):  # noqa: N818 - named as what happened
    """A reply, or a JSON text, is larger than a limit allows.

    Attributes:
        limit: The limit's name, such as `"max_response_bytes"`.
        value: The limit's value.
        got: What arrived or was announced; may be only the part seen before giving up.
    """

    def __init__(
        self,
        message: str = "",
        *,
        limit: str = "",
        value: int = 0,
        got: int = 0,
        phase: Phase | None = None,
        sent: Sent = "unknown",
        retryable: bool = False,
    ) -> None:
        super().__init__(message, phase=phase, sent=sent, retryable=retryable)
        self.limit = limit
        self.value = value
        self.got = got


class InvalidRequest(GatewayError, ValueError):  # noqa: N818 - named as what happened
    """The request cannot be sent: its URL, method, a header or an option."""


class InvalidReply(GatewayError, ValueError):  # noqa: N818 - named as what happened
    """The reply is not what was asked for, such as text where JSON was expected."""


class JsonError(GatewayError, ValueError):
    """A text is not JSON, or its JSON is not what was asked for, such as a number out of the range of a dtype.

    Attributes:
        line: The line, from 1 on.
        column: The character in that line, from 1 on.
        offset: Bytes before it.
        pointer: The pointer (RFC 6901) to the value it is in; of a text that is not JSON, to where the parser was.
    """

    def __init__(
        self,
        message: str = "",
        *,
        line: int = 1,
        column: int = 1,
        offset: int = 0,
        pointer: str = "",
        phase: Phase | None = "parse",
        sent: Sent = "unknown",
        retryable: bool = False,
    ) -> None:
        super().__init__(message, phase=phase, sent=sent, retryable=retryable)
        self.line = line
        self.column = column
        self.offset = offset
        self.pointer = pointer


class WrongKind(GatewayError, TypeError):  # noqa: N818 - named as what happened
    """A value of a JSON document is of another kind than what was asked of it."""


class InvalidPointer(GatewayError, ValueError):  # noqa: N818 - named as what happened
    """A pointer into a JSON document that is none (RFC 6901)."""


class PointerError(GatewayError, LookupError):
    """A pointer into a JSON document leads nowhere.

    Attributes:
        pointer: The pointer.
        step: The step, unescaped, that there is no value for.
    """

    def __init__(
        self,
        message: str = "",
        *,
        pointer: str = "",
        step: str = "",
        phase: Phase | None = None,
        sent: Sent = "unknown",
        retryable: bool = False,
    ) -> None:
        super().__init__(message, phase=phase, sent=sent, retryable=retryable)
        self.pointer = pointer
        self.step = step


class EditConflict(GatewayError, ValueError):  # noqa: N818 - named as what happened
    """Edits of a JSON document that cannot all be made, such as two of the same place."""


class EventLoopError(GatewayError, RuntimeError):
    """The call would hold up the event loop that runs on this thread; the message says what to await instead."""


class HTTPStatusError(GatewayError, ValueError):
    """The status of the reply is not one of success.

    Attributes:
        response: The reply.
    """

    def __init__(self, message: str = "", *, response: Response) -> None:
        super().__init__(message, sent="yes")
        self.response = response


class RpcError(GatewayError):
    """The peer answered with an error of its protocol (JSON-RPC, or what stands for it over plain HTTP).

    Attributes:
        code: The protocol's number for it.
        peer_message: What the peer says of it.
        data: What the peer gave with it, as a node of its reply; None if nothing.
    """

    def __init__(
        self,
        message: str = "",
        *,
        code: int = 0,
        peer_message: str = "",
        data: Node | None = None,
        phase: Phase | None = None,
        sent: Sent = "yes",
        retryable: bool = False,
    ) -> None:
        super().__init__(message, phase=phase, sent=sent, retryable=retryable)
        self.code = code
        self.peer_message = peer_message
        self.data = data


class MethodNotFound(RpcError, NotImplementedError):  # noqa: N818 - named as what happened
    """The peer has no such method (-32601)."""


class InvalidParams(RpcError, ValueError):  # noqa: N818 - named as what happened
    """The peer does not take these parameters (-32602)."""


class TaskNotFound(RpcError, LookupError):  # noqa: N818 - named as what happened
    """The agent has no such task (A2A, -32001)."""


class TaskNotCancelable(RpcError):  # noqa: N818 - named as what happened
    """The task is over, or cannot be cancelled (A2A, -32002)."""


class PushNotificationNotSupported(RpcError, NotImplementedError):  # noqa: N818 - named as what happened
    """The agent sends no push notifications (A2A, -32003)."""


class UnsupportedOperation(RpcError, NotImplementedError):  # noqa: N818 - named as what happened
    """The agent does not do this (A2A, -32004)."""


class ContentTypeNotSupported(RpcError, ValueError):  # noqa: N818 - named as what happened
    """The agent does not take, or give, parts of this type (A2A, -32005)."""


class InvalidAgentResponse(RpcError):  # noqa: N818 - named as what happened
    """The agent made a response that is none (A2A, -32006)."""


class ExtendedCardNotConfigured(RpcError, LookupError):  # noqa: N818 - named as what happened
    """The agent has no extended card (A2A, -32007)."""


class ExtensionSupportRequired(RpcError):  # noqa: N818 - named as what happened
    """The agent asks for an extension that the call did not name (A2A, -32008)."""


class VersionNotSupported(RpcError):  # noqa: N818 - named as what happened
    """The agent does not speak this version of A2A (-32009)."""


class ResourceNotFound(RpcError, LookupError):  # noqa: N818 - named as what happened
    """The server has no such resource (MCP, -32002)."""


class HeaderMismatch(RpcError, ValueError):  # noqa: N818 - named as what happened
    """A routing header is missing, or says something else than the body (MCP, -32020)."""


class MissingClientCapability(RpcError):  # noqa: N818 - named as what happened
    """The server needs something of its client that was not declared (MCP, -32021)."""


class UnsupportedProtocolVersion(RpcError, NotImplementedError):  # noqa: N818 - named as what happened
    """The server speaks no version of MCP that is spoken here (-32022)."""


class UrlElicitationRequired(RpcError):  # noqa: N818 - named as what happened
    """A page has to be visited before the server does this; `data` names it (MCP, -32042)."""


class PayloadMutated(GatewayError, ValueError):  # noqa: N818 - named as what happened
    """A buffer sent with `mutation="detect"` was written to while it was sent."""


class UnsupportedBuffer(GatewayError, TypeError):  # noqa: N818 - named as what happened
    """The object has no buffer that can be sent or received into."""


class QuotaExceeded(GatewayError, MemoryError):  # noqa: N818 - named as what happened
    """There is not enough memory, or not within the budget.

    Attributes:
        limit: The budget's name: `"memory_budget"`, `"disk_budget"`, `"tenant_memory"` or `"tenant_disk"`. Empty
            where the system had no memory.
        value: The budget's value, in bytes.
        got: The bytes that would have been in use.
    """

    def __init__(
        self,
        message: str = "",
        *,
        limit: str = "",
        value: int = 0,
        got: int = 0,
        phase: Phase | None = None,
        sent: Sent = "unknown",
        retryable: bool = False,
    ) -> None:
        super().__init__(message, phase=phase, sent=sent, retryable=retryable)
        self.limit = limit
        self.value = value
        self.got = got


class PayloadGone(GatewayError, FileNotFoundError):  # noqa: N818 - named as what happened
    """A shared payload expired, was revoked, or went with the worker that held it."""


class Denied(GatewayError, PermissionError):  # noqa: N818 - named as what happened
    """A reference is another tenant's or not signed by the spool; or a path is a link or no regular file."""


class InvalidReference(GatewayError, ValueError):  # noqa: N818 - named as what happened
    """A text is no reference to a payload."""


class InvalidOption(GatewayError, ValueError):  # noqa: N818 - named as what happened
    """An option of a spool, or of a share, cannot hold."""


class Unsupported(GatewayError, NotImplementedError):  # noqa: N818 - named as what happened
    """This system, or this process, cannot do it."""


class ResourceChanged(GatewayError, RuntimeError):  # noqa: N818 - named as what happened
    """A resource changed while it was fetched in several ranges: fetch it again."""


class FileError(GatewayError, OSError):
    """A file could not be read or written."""


class ForkedError(GatewayError, RuntimeError):
    """The handle belongs to the parent of this forked process."""


class Cancelled(GatewayError):  # noqa: N818 - named as what happened
    """The call was cancelled before it was complete."""


class ClientClosed(GatewayError, RuntimeError):  # noqa: N818 - named as what happened
    """The client is closed."""


class InternalError(GatewayError, RuntimeError):
    """A fault inside this package. Please report it."""
