"""`invoke_agent` in plain Python, on `http.client`."""

from __future__ import annotations

import http.client
import json
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urlsplit

from mcpgateway_rust._fallback import strict_json
from mcpgateway_rust._types import Headers, Timeouts
from mcpgateway_rust.exceptions import (
    ConnectError,
    ConnectionLost,
    GatewayTimeout,
    HTTPStatusError,
    IncompleteBody,
    InvalidRequest,
    ProtocolError,
    TlsError,
)

_TIMEOUTS = Timeouts()
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_SET_BY_THE_CONNECTION = frozenset(
    "connection content-length expect host http2-settings keep-alive proxy-connection te trailer transfer-encoding "
    "upgrade".split()
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
        HTTPStatusError: The status of the reply is not one of success.
        InvalidReply: The reply is not JSON.
        GatewayError: Anything else; see `mcpgateway_rust.exceptions`.
    """
    address = _parse_url(url)
    if not _TOKEN.fullmatch(method) or method == "CONNECT":
        raise InvalidRequest('the method is no HTTP method: pass one such as "POST"', sent="no")
    headers = {"Accept-Encoding": "identity", **_parse_headers(headers_json)}
    subject = f"{method} {address.scheme}://{address.hostname}{address.path}"
    status, reply_headers, reply = _exchange(subject, address, method, headers, body)
    if not 200 <= status < 300:
        response: Any = FallbackResponse(status, Headers(reply_headers), reply)
        raise HTTPStatusError(f"{subject} answered with status {status}", response=response)
    strict_json.loads(reply)
    return reply.decode()


def _exchange(
    subject: str, address: SplitResult, method: str, headers: Mapping[str, str], body: bytes | None
) -> tuple[int, list[tuple[str, str]], bytes]:
    connection = _connection(address)
    try:
        try:
            connection.connect()
        except TimeoutError as cause:
            seconds = _TIMEOUTS.connect or _TIMEOUTS.total
            message = f"{subject}: the connect timeout of {seconds}s passed"
            raise GatewayTimeout(message, timeout="connect", seconds=seconds, phase="connect", sent="no") from cause
        except ssl.SSLError as cause:
            raise TlsError(f"{subject}: agreeing on TLS ({cause})", phase="tls", sent="no") from cause
        except OSError as cause:
            raise ConnectError(f"{subject}: connecting ({cause})", phase="connect", sent="no", retryable=True) from cause
        path = (address.path or "/") + (f"?{address.query}" if address.query else "")
        connection.sock.settimeout(_TIMEOUTS.idle)
        connection.request(method, path, body=body, headers=dict(headers))
        response = connection.getresponse()
        return response.status, response.getheaders(), response.read()
    except TimeoutError as cause:
        seconds = _TIMEOUTS.idle or _TIMEOUTS.total
        raise GatewayTimeout(f"{subject}: the idle timeout of {seconds}s passed", timeout="idle", seconds=seconds) from cause
    except http.client.IncompleteRead as cause:
        message = f"{subject}: the connection was closed before the body of the reply was complete"
        raise IncompleteBody(message, phase="receive", sent="yes") from cause
    except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError) as cause:
        raise ConnectionLost(f"{subject}: the connection was lost before the reply began", phase="first_byte") from cause
    except http.client.HTTPException as cause:
        raise ProtocolError(f"{subject}: the head of the reply is not HTTP ({cause})", phase="first_byte") from cause
    finally:
        connection.close()


def _connection(address: SplitResult) -> http.client.HTTPConnection:
    kind = http.client.HTTPSConnection if address.scheme == "https" else http.client.HTTPConnection
    return kind(address.hostname or "", address.port, timeout=_TIMEOUTS.connect)


def _parse_url(url: str) -> SplitResult:
    if any(ord(character) < 32 or ord(character) == 127 for character in url):
        raise InvalidRequest("the URL has a control character: percent-encode it", sent="no")
    try:
        address = urlsplit(url.strip())
        valid = address.scheme in {"http", "https"} and bool(address.hostname) and address.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise InvalidRequest("the URL must be absolute, as in https://agent.example/path", sent="no")
    return address


def _parse_headers(headers_json: str) -> dict[str, str]:
    try:
        headers = json.loads(headers_json)
    except ValueError as cause:
        raise InvalidRequest(f"headers_json is no JSON ({cause})", sent="no") from cause
    if not isinstance(headers, dict) or not all(isinstance(value, str) for value in headers.values()):
        raise InvalidRequest('headers_json is no JSON object of strings: pass json.dumps({"name": "value"})', sent="no")
    for name, value in headers.items():
        if not _TOKEN.fullmatch(name):
            raise InvalidRequest(f"{name!r} is no header name: use letters, digits and hyphens", sent="no")
        if name.lower() in _SET_BY_THE_CONNECTION:
            raise InvalidRequest(f"the header {name!r} is set by the connection itself: leave it out", sent="no")
        if any((ord(character) < 32 and character != "\t") or ord(character) == 127 for character in value):
            raise InvalidRequest(f"the value of header {name!r} has a control character such as CR, LF or NUL", sent="no")
    return headers
