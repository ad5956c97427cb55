"""`invoke_agent` in plain Python, on `http.client`."""

from __future__ import annotations

import base64
import http.client
import re
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, quote, unquote_to_bytes, urlsplit

from mcpgateway_rust._fallback import strict_json
from mcpgateway_rust._types import Headers, Limits, Timeouts
from mcpgateway_rust.exceptions import (
    ConnectError,
    ConnectionLost,
    GatewayTimeout,
    HTTPStatusError,
    IncompleteBody,
    InvalidRequest,
    LimitExceeded,
    ProtocolError,
    TlsError,
    UnsupportedBuffer,
)

_CONNECT_SECONDS = 10.0
_IDLE_SECONDS = 60.0
_TOTAL_SECONDS = Timeouts().total
_MAX_RESPONSE_BYTES = Limits().max_response_bytes
_READ_BYTES = 1 << 20

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HOST = re.compile(r"[^\s<>^`{|}\"\\%]+")
# What a URL may hold as it is; all else is percent-encoded, as the native module does.
_SAFE_IN_URL = "%/?:@!$&'()*+,;=[]|\\~^-._"
_SET_BY_THE_CONNECTION = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "host",
        "http2-settings",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


@dataclass(frozen=True)
class FallbackResponse:
    """What `HTTPStatusError.response` is where there is no native module."""

    status: int
    headers: Headers
    body: bytes


def invoke_agent(url: str, method: str, headers_json: str, body: bytes | None = None) -> str:
    """Invoke an agent and return its JSON reply (ADR-041, section 4).

    Raises:
        InvalidRequest: The URL, method or headers cannot be sent.
        UnsupportedBuffer: The body has no bytes.
        HTTPStatusError: The status of the reply is not one of success.
        InvalidReply: The reply is not JSON.
        GatewayError: Anything else; see `mcpgateway_rust.exceptions`.
    """
    address = _parse_url(url)
    if not _TOKEN.fullmatch(method) or method == "CONNECT":
        raise InvalidRequest('the method is no HTTP method: pass one such as "POST"', sent="no")
    headers = _parse_headers(headers_json)
    if not any(name.lower() == "authorization" for name in headers):
        headers |= _basic_credentials(address)
    subject = f"{method} {address.scheme}://{address.netloc.rpartition('@')[2]}{address.path}"
    reply = _exchange(subject, address, method, headers, _parse_body(body))
    if not 200 <= reply.status < 300:
        response: Any = reply
        raise HTTPStatusError(f"{subject} answered with status {reply.status}", response=response)
    strict_json.check_reply(reply.body)
    return reply.body.decode()


def _exchange(
    subject: str, address: SplitResult, method: str, headers: Mapping[str, bytes], body: memoryview | None
) -> FallbackResponse:
    deadline = time.monotonic() + _TOTAL_SECONDS
    kind = http.client.HTTPSConnection if address.scheme == "https" else http.client.HTTPConnection
    connection = kind(address.hostname or "", address.port, timeout=_CONNECT_SECONDS)
    try:
        with _errors_of_connecting(subject):
            connection.connect()
        connection.sock.settimeout(_IDLE_SECONDS)
        with _errors_of_the_exchange(subject):
            target = (address.path or "/") + (f"?{address.query}" if address.query else "")
            connection.request(method, quote(target, safe=_SAFE_IN_URL), body=body, headers=headers)
            response = connection.getresponse()
            received = _receive(subject, response, deadline)
        return FallbackResponse(response.status, Headers(response.getheaders()), received)
    finally:
        connection.close()


def _receive(subject: str, response: http.client.HTTPResponse, deadline: float) -> bytes:
    """The body of the reply, bounded in size and time while it arrives."""
    received = bytearray()
    announced = response.length
    while announced is None or len(received) < announced:
        part = response.read1(_READ_BYTES if announced is None else min(_READ_BYTES, announced - len(received)))
        received += part
        if len(received) > _MAX_RESPONSE_BYTES:
            raise LimitExceeded(
                f"{subject}: the reply is larger than max_response_bytes={_MAX_RESPONSE_BYTES}",
                limit="max_response_bytes",
                value=_MAX_RESPONSE_BYTES,
                got=len(received),
                phase="receive",
                sent="yes",
            )
        if time.monotonic() > deadline:
            raise _timed_out(subject, "total", _TOTAL_SECONDS)
        if not part:
            break
    if announced is not None and len(received) < announced:
        raise http.client.IncompleteRead(bytes(received), announced - len(received))
    return bytes(received)


@contextmanager
def _errors_of_connecting(subject: str) -> Iterator[None]:
    try:
        yield
    except TimeoutError as cause:
        raise GatewayTimeout(
            f"{subject}: the connect timeout of {_CONNECT_SECONDS:g} s passed",
            timeout="connect",
            seconds=_CONNECT_SECONDS,
            phase="connect",
            sent="no",
            retryable=True,
        ) from cause
    except ssl.SSLError as cause:
        raise TlsError(f"{subject}: agreeing on TLS ({cause})", phase="tls", sent="no") from cause
    except (socket.gaierror, UnicodeError) as cause:
        raise ConnectError(f"{subject}: looking up the host ({cause})", phase="resolve", sent="no") from cause
    except OSError as cause:
        raise ConnectError(f"{subject}: connecting ({cause})", phase="connect", sent="no", retryable=True) from cause


@contextmanager
def _errors_of_the_exchange(subject: str) -> Iterator[None]:
    try:
        yield
    except GatewayTimeout:
        raise
    except TimeoutError as cause:
        raise _timed_out(subject, "idle", _IDLE_SECONDS) from cause
    except http.client.IncompleteRead as cause:
        message = f"{subject}: the connection was closed before the body of the reply was complete"
        raise IncompleteBody(message, phase="receive", sent="yes") from cause
    except OSError as cause:
        raise ConnectionLost(f"{subject}: the connection was lost ({cause})", phase="first_byte") from cause
    except (http.client.HTTPException, ValueError) as cause:
        raise ProtocolError(f"{subject}: the reply is not HTTP ({type(cause).__name__})", phase="first_byte") from cause


def _timed_out(subject: str, timeout: str, seconds: float) -> GatewayTimeout:
    return GatewayTimeout(f"{subject}: the {timeout} timeout of {seconds:g} s passed", timeout=timeout, seconds=seconds)


def _parse_url(url: str) -> SplitResult:
    if any(ord(character) < 32 or ord(character) == 127 for character in url):
        raise InvalidRequest("the URL has a control character: percent-encode it", sent="no")
    try:
        address = urlsplit(url.strip())
        valid = address.scheme in {"http", "https"} and _HOST.fullmatch(address.hostname or "") and address.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise InvalidRequest("the URL must be absolute, as in https://agent.example/path", sent="no")
    return address


def _basic_credentials(address: SplitResult) -> dict[str, bytes]:
    """The userinfo of a URL as a header (RFC 7617), if it has one."""
    if address.username is None and address.password is None:
        return {}
    userinfo = unquote_to_bytes(address.username or "") + b":" + unquote_to_bytes(address.password or "")
    return {"authorization": b"Basic " + base64.b64encode(userinfo)}


def _parse_headers(headers_json: str) -> dict[str, bytes]:
    try:
        headers = strict_json.parse(headers_json)
    except ValueError as cause:
        raise InvalidRequest(f"headers_json is no JSON ({cause})", sent="no") from cause
    if not isinstance(headers, dict) or not all(isinstance(value, str) for value in headers.values()):
        raise InvalidRequest('headers_json is no JSON object of strings: pass json.dumps({"name": "value"})', sent="no")
    for name, value in headers.items():
        if not _TOKEN.fullmatch(name):
            raise InvalidRequest("a header name has other characters than letters, digits and hyphens", sent="no")
        if name.lower() in _SET_BY_THE_CONNECTION:
            raise InvalidRequest(f"the header {name!r} is set by the connection itself: leave it out", sent="no")
        if any((ord(character) < 32 and character != "\t") or ord(character) == 127 for character in value):
            raise InvalidRequest(
                f"the value of header {name!r} has a control character such as CR, LF or NUL", sent="no"
            )
    return {name: value.encode() for name, value in headers.items()}


def _parse_body(body: bytes | None) -> memoryview | None:
    if body is None:
        return None
    try:
        return memoryview(body).cast("B")
    except TypeError as cause:
        kind = type(body).__name__
        raise UnsupportedBuffer(f"the body is a {kind}: pass bytes, such as text.encode()", sent="no") from cause
