"""The MCP clients under measurement, each behind the same verbs, and the servers that they talk to.

The servers are those of `tests/support`: `mcp_server.py`, made with the official SDK, and nginx. `Canned` answers each
call with the same small result, so that what is measured with it is the client.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast
from urllib.parse import urlsplit

from ladder import MeasuredClient
from mcpgateway_rust.sweep.sizes import MIB

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from mcpgateway_rust.services.tool_service import ProtocolVersion

MODERN = "2026-07-28"
LEGACY = "2025-11-25"
PATIENCE = 600.0
"""Seconds that a call may take."""


class Client(MeasuredClient, ABC):
    """One MCP client. What it sends and receives is compared by the caller."""

    @staticmethod
    def argument_for(text: bytes) -> Any:
        """`text` as this client wants an argument: made before the time is taken."""
        return text

    @abstractmethod
    async def setup(self, url: str, protocol: str) -> None:
        """Be ready to call the server at `url` in that generation."""

    @abstractmethod
    async def argument(self, data: Any) -> dict[str, Any]:
        """Call `checksum` with `data`; what the tool says it received."""

    @abstractmethod
    async def text(self, size: int) -> Buffer | str:
        """Call `text`; the text of the result."""

    @abstractmethod
    async def structured(self, size: int) -> Any:
        """Call `structured`; the rows of the structured result, in whatever way the client gives them."""

    @abstractmethod
    async def blob(self, size: int) -> Buffer:
        """Read the resource of `size` bytes, decoded."""

    @abstractmethod
    async def small(self, text: str) -> str:
        """Call `echo`; the text of the result."""


class Ours(Client):
    """This project."""

    name = "ours"
    package = "mcpgateway_rust"

    @staticmethod
    def argument_for(text: bytes) -> Any:
        from mcpgateway_rust import Payload

        return Payload.join([b'{"data":"', text, b'"}'])

    async def setup(self, url: str, protocol: str) -> None:

        from mcpgateway_rust import Timeouts
        from mcpgateway_rust.services.tool_service import AsyncToolClient

        patience = Timeouts(first_byte=PATIENCE, idle=PATIENCE, total=PATIENCE)
        self._tools = AsyncToolClient(url, protocol=cast("ProtocolVersion", protocol), timeouts=patience)

    async def argument(self, data: Any) -> dict[str, Any]:
        result = await self._tools.call("checksum", data)
        assert result.structured is not None
        told: dict[str, Any] = result.structured.value()
        return told

    async def text(self, size: int) -> Buffer:
        result = await self._tools.call("text", {"length": size})
        return await result.content[0].payload_async()

    async def structured(self, size: int) -> Any:
        result = await self._tools.call("structured", {"length": size})
        assert result.structured is not None
        return result.structured["rows"]

    async def blob(self, size: int) -> Buffer:
        result = await self._tools.request("resources/read", {"uri": f"peer://blob/{size}"})
        return await asyncio.to_thread(result["contents"][0]["blob"].base64)

    async def small(self, text: str) -> str:
        result = await self._tools.call("echo", {"text": text})
        return str(result.content[0].text)


class Official(Client):
    """The client of `mcp` 2.x, with no limit on events and no time-outs."""

    name = "official"
    package = "mcp"

    @staticmethod
    def argument_for(text: bytes) -> Any:
        return text.decode()

    async def setup(self, url: str, protocol: str) -> None:
        import httpx2
        from mcp import Client as McpClient
        from mcp.client.streamable_http import streamable_http_client

        http = httpx2.AsyncClient(timeout=None, trust_env=False, limits=httpx2.Limits(max_connections=None))
        transport = streamable_http_client(url, http_client=http, max_sse_event_size=None)
        client = McpClient(transport, mode="auto" if protocol == MODERN else "legacy")
        self._client = await client.__aenter__()
        assert self._client.protocol_version == protocol

    async def argument(self, data: Any) -> dict[str, Any]:
        result = await self._client.call_tool("checksum", {"data": data})
        return dict(result.structured_content or {})

    async def text(self, size: int) -> str:
        result = await self._client.call_tool("text", {"length": size})
        return str(cast("Any", result.content[0]).text)

    async def structured(self, size: int) -> Any:
        result = await self._client.call_tool("structured", {"length": size})
        return cast("Any", result.structured_content)["rows"]

    async def blob(self, size: int) -> Buffer:
        import base64

        result = await self._client.read_resource(f"peer://blob/{size}", cache_mode="bypass")
        return base64.b64decode(cast("Any", result.contents[0]).blob)

    async def small(self, text: str) -> str:
        result = await self._client.call_tool("echo", {"text": text})
        return str(cast("Any", result.content[0]).text)


class Bare(Client):
    """A blocking socket that sends the bytes of the request and reads those of the reply, and looks at neither.

    Requests are encoded beforehand, replies are checked by their length; a reply is read into one reused buffer.
    """

    name = "bare"
    blocking = True

    @staticmethod
    def argument_for(text: bytes) -> Any:
        return b'"' + text + b'"'

    async def setup(self, url: str, protocol: str) -> None:
        address = urlsplit(url)
        assert address.hostname is not None
        assert address.port is not None
        self._path = address.path
        self._protocol = protocol
        self._session = ""
        self._socket = socket.create_connection((address.hostname, address.port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = bytearray(MIB)
        if protocol == LEGACY:
            info = b'{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"bare","version":"1"}}'
            head, _ = self._exchange("initialize", "", info)
            self._session = head.partition("mcp-session-id: ")[2].partition("\r\n")[0]
            self._exchange("notifications/initialized", "", b"{}")

    async def argument(self, data: Any) -> dict[str, Any]:
        _, body = self._call("checksum", b'{"data":', data, b"}")
        event = body.partition(b"data: ")[2].partition(b"\r\n")[0] if self._protocol == LEGACY else body
        told: dict[str, Any] = json.loads(event)["result"]["structuredContent"]
        return told

    async def text(self, size: int) -> Buffer:
        return self._sized(size, self._call("text", b'{"length":%d}' % size))

    async def structured(self, size: int) -> Any:
        return self._sized(size, self._call("structured", b'{"length":%d}' % size))

    async def blob(self, size: int) -> Buffer:
        uri = f"peer://blob/{size}"
        return self._sized(size, self._exchange("resources/read", uri, b'{"uri":"%b"}' % uri.encode()))

    async def small(self, text: str) -> str:
        _, body = self._call("echo", b'{"text":"%b"}' % text.encode())
        assert text.encode() in body
        return text

    def _sized(self, size: int, reply: tuple[str, bytes]) -> bytes:
        assert self._received >= size, f"{self._received} bytes for {size}"
        return reply[1][:0]

    def _call(self, tool: str, *arguments: bytes) -> tuple[str, bytes]:
        first, *more = arguments
        start = b'{"name":"%b","arguments":' % tool.encode()
        return self._exchange("tools/call", tool, start + first, *more, b"}")

    def _exchange(self, method: str, name: str, *params: bytes) -> tuple[str, bytes]:
        """Send the request whose parameters are `params` in a row; the head and the begin of the body of its reply."""
        is_request = not method.startswith("notifications/")
        meta = (
            b',"_meta":{"io.modelcontextprotocol/protocolVersion":"%b","io.modelcontextprotocol/clientCapabilities":{},'
            b'"io.modelcontextprotocol/clientInfo":{"name":"bare","version":"1"}}}' % MODERN.encode()
        )
        start = b'{"jsonrpc":"2.0",%b"method":"%b","params":' % (b'"id":1,' if is_request else b"", method.encode())
        pieces = [start, *params, b"}"]
        if self._protocol == MODERN:
            pieces = [start, *params[:-1], params[-1][:-1], meta, b"}"]
        headers = {
            "host": "127.0.0.1",
            "content-type": "application/json",
            "accept": "application/json, text/event-stream",
            "content-length": str(sum(map(len, pieces))),
        }
        if self._protocol == MODERN:
            headers |= {"mcp-protocol-version": MODERN, "mcp-method": method} | ({"mcp-name": name} if name else {})
        elif self._session:
            headers |= {"mcp-protocol-version": LEGACY, "mcp-session-id": self._session}
        lines = "".join(f"{key}: {value}\r\n" for key, value in headers.items())
        self._socket.sendall(f"POST {self._path} HTTP/1.1\r\n{lines}\r\n".encode())
        for piece in pieces:
            self._socket.sendall(piece)
        return self._reply()

    def _reply(self) -> tuple[str, bytes]:
        received = b""
        while b"\r\n\r\n" not in received:
            received += self._some()
        head, _, body = received.partition(b"\r\n\r\n")
        text = head.decode("latin-1").lower()
        status = text.split()[1]
        assert status in ("200", "202"), text
        self._rest(text, body)
        return head.decode("latin-1"), body + self._small

    def _rest(self, head: str, body: bytes) -> None:
        """Read what is left of a reply; keep it if it is small, and count it."""
        found = re.search(r"content-length: *(\d+)", head)
        length = int(found[1]) if found else 0
        got, tail, self._small = len(body), body[-5:], b""
        while got < length if found else tail != b"0\r\n\r\n":
            count = self._socket.recv_into(self._buffer)
            if not count:
                raise ConnectionError("the server closed the connection")
            got += count
            tail = (tail + self._buffer[max(0, count - 5) : count])[-5:]
            if got < 1 << 16:
                self._small += self._buffer[:count]
        self._received = got

    def _some(self) -> bytes:
        data = self._socket.recv(1 << 16)
        if not data:
            raise ConnectionError("the server closed the connection")
        return data


CLIENTS: dict[str, type[Client]] = {client.name: client for client in (Ours, Official, Bare)}


# --- a server that costs next to nothing ------------------------------------------------------------------------------


class Canned(asyncio.Protocol):
    """Answers each request of the newer generation with what it needs, each tool call with the same 1 KiB of text."""

    TEXT = "x" * 1024
    COMPLETE: ClassVar[dict[str, Any]] = {"resultType": "complete", "ttlMs": 60_000, "cacheScope": "private"}
    TOOL: ClassVar[dict[str, Any]] = {
        "name": "echo",
        "inputSchema": {"type": "object", "properties": {"text": {"type": "string"}}},
    }
    RESULTS: ClassVar[dict[bytes, dict[str, Any]]] = {
        b"server/discover": COMPLETE | {"supportedVersions": [MODERN], "capabilities": {"tools": {}}},
        b"tools/list": COMPLETE | {"tools": [TOOL]},
        b"tools/call": {"resultType": "complete", "content": [{"type": "text", "text": TEXT}], "isError": False},
    }

    def __init__(self) -> None:
        self._results = {method: json.dumps(result).encode() for method, result in self.RESULTS.items()}
        self._unread = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        self._unread += data
        while (end := self._unread.find(b"\r\n\r\n")) >= 0:
            found = re.search(rb"(?i)content-length: *(\d+)", self._unread[:end])
            length = int(found[1]) if found else 0
            if len(self._unread) < end + 4 + length:
                return
            body, self._unread = self._unread[end + 4 : end + 4 + length], self._unread[end + 4 + length :]
            self._answer(body)

    def _answer(self, body: bytes) -> None:
        method = re.search(rb'"method": ?"([^"]*)"', body)
        number = re.search(rb'"id": ?("[^"]*"|\d+)', body)
        if method is None or number is None:
            self._transport.write(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n")
            return
        reply = b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (number[1], self._results[method[1]])
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(reply)
        self._transport.write(head + reply)


async def _serve_canned() -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    print(f"http://127.0.0.1:{listener.getsockname()[1]}/mcp", flush=True)
    server = await asyncio.get_running_loop().create_server(Canned, sock=listener)
    await server.serve_forever()


@contextlib.contextmanager
def serving(program: Path, *arguments: str) -> Iterator[str]:
    """What `program` prints first, its URL, as long as the context lives."""
    with subprocess.Popen([sys.executable, program, *arguments], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


if __name__ == "__main__":
    import uvloop

    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(_serve_canned())
