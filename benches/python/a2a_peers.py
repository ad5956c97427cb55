"""The A2A clients under measurement, each behind the same verbs, and the servers that they talk to.

The agents are those of `tests/support/a2a_peer.py`, made with the official SDK. `Canned` answers each message with the
same small one, so that what is measured with it is the client.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import json
import re
import socket
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from ladder import MeasuredClient
from mcpgateway_rust.sweep.sizes import MIB

if TYPE_CHECKING:
    from typing_extensions import Buffer

HEADERS = {"Content-Type": "application/json", "A2A-Version": "1.0"}
ENCODED_AT_ONCE = 3 * MIB
"""Bytes of a file that the bare socket encodes and sends at a time; a multiple of three."""


class Client(MeasuredClient, ABC):
    """One A2A client. What it sends and receives is compared by the caller."""

    @staticmethod
    def body_for(_kind: str, body: bytes) -> Any:
        """`body` as this client wants a part of that kind: made before the time is taken."""
        return body

    @abstractmethod
    async def setup(self, base: str, endpoint: str) -> None:
        """Be ready to call the agent whose card is below `base`, and which answers JSON-RPC at `endpoint`."""

    @abstractmethod
    async def digest(self, kind: str, body: Any) -> dict[str, Any]:
        """Send `body` as a part; what the agent says it received."""

    @abstractmethod
    async def digest_file(self, path: Path) -> dict[str, Any]:
        """Send the file as a raw part; what the agent says it received."""

    @abstractmethod
    async def produce(self, kind: str, size: int) -> Buffer | str:
        """Ask for a part of `size` bytes and return its content."""

    @abstractmethod
    async def stream(self, kind: str, count: int, size: int) -> Buffer | str:
        """Ask for a stream of `count` chunks of one artifact and return its content."""

    @abstractmethod
    async def small(self, text: str) -> str:
        """Send `text`; the text of the reply."""

    @abstractmethod
    async def close(self) -> None:
        """Let go of connections."""


class Ours(Client):
    """This project."""

    name = "ours"
    package = "mcpgateway_rust"

    async def setup(self, base: str, _endpoint: str) -> None:
        from mcpgateway_rust import Timeouts
        from mcpgateway_rust.services.a2a_service import AsyncA2AClient

        self._client = AsyncA2AClient(base, timeouts=Timeouts(first_byte=600, idle=600, total=600))

    async def digest(self, kind: str, body: Any) -> dict[str, Any]:
        from mcpgateway_rust.services.a2a_service import Message, Part

        part = Part.text(body) if kind == "text" else Part.raw(body)
        return await self._described(Message([Part.text("digest"), part]))

    async def digest_file(self, path: Path) -> dict[str, Any]:
        from mcpgateway_rust.services.a2a_service import Message, Part

        return await self._described(Message([Part.text("digest"), Part.file(path)]))

    async def _described(self, message: Any) -> dict[str, Any]:
        reply = await self._client.send(message)
        data = reply.parts[0].data
        assert data is not None
        described: dict[str, Any] = data.value()["parts"][0]
        return described

    async def produce(self, kind: str, size: int) -> Buffer:
        reply = await self._client.send(f"produce {kind} {size}")
        return await reply.parts[0].payload_async()

    async def stream(self, kind: str, count: int, size: int) -> Buffer:
        collected = await self._client.stream(f"stream {count} {size} {kind}").collect()
        artifact = collected.artifacts[0]
        return artifact.text if kind == "text" else artifact.raw

    async def small(self, text: str) -> str:
        return (await self._client.send(text)).text

    async def close(self) -> None:
        await self._client.aclose()


class Official(Client):
    """The client of `a2a-sdk`, with no time-outs."""

    name = "official"
    package = "a2a-sdk"

    @staticmethod
    def body_for(kind: str, body: bytes) -> Any:
        return body.decode() if kind == "text" else body

    async def setup(self, _base: str, endpoint: str) -> None:
        import httpx
        from a2a.client import ClientConfig, ClientFactory
        from a2a.types import a2a_pb2 as pb

        self._pb = pb
        self._http = httpx.AsyncClient(timeout=None, limits=httpx.Limits(max_connections=None), trust_env=False)
        interface = pb.AgentInterface(url=endpoint, protocol_binding="JSONRPC", protocol_version="1.0")
        card = pb.AgentCard(supported_interfaces=[interface], capabilities=pb.AgentCapabilities(streaming=True))
        self._client = ClientFactory(ClientConfig(streaming=False, httpx_client=self._http)).create(card)
        self._streaming = ClientFactory(ClientConfig(streaming=True, httpx_client=self._http)).create(card)

    def _request(self, *parts: Any) -> Any:
        pb = self._pb
        message = pb.Message(message_id="1", role=pb.Role.ROLE_USER, parts=parts)
        return pb.SendMessageRequest(message=message)

    async def _parts(self, *parts: Any) -> Any:
        replies = [reply async for reply in self._client.send_message(self._request(*parts))]
        return replies[0].message.parts

    async def digest(self, kind: str, body: Any) -> dict[str, Any]:
        part = self._pb.Part(text=body) if kind == "text" else self._pb.Part(raw=body)
        return await self._described(part)

    async def digest_file(self, path: Path) -> dict[str, Any]:
        return await self._described(self._pb.Part(raw=path.read_bytes()))  # noqa: ASYNC240 - as it would be done

    async def _described(self, part: Any) -> dict[str, Any]:
        from google.protobuf.json_format import MessageToDict

        parts = await self._parts(self._pb.Part(text="digest"), part)
        described: dict[str, Any] = MessageToDict(parts[0].data)["parts"][0]
        return described

    async def produce(self, kind: str, size: int) -> Buffer | str:
        parts = await self._parts(self._pb.Part(text=f"produce {kind} {size}"))
        content: bytes | str = parts[0].text if kind == "text" else parts[0].raw
        return content

    async def stream(self, kind: str, count: int, size: int) -> Buffer | str:
        chunks = []
        request = self._request(self._pb.Part(text=f"stream {count} {size} {kind}"))
        async for event in self._streaming.send_message(request):
            if event.HasField("artifact_update"):
                part = event.artifact_update.artifact.parts[0]
                chunks.append(part.text if kind == "text" else part.raw)
        return "".join(chunks) if kind == "text" else b"".join(chunks)

    async def small(self, text: str) -> str:
        parts = await self._parts(self._pb.Part(text=text))
        return str(parts[0].text)

    async def close(self) -> None:
        await self._http.aclose()


class Bare(Client):
    """A blocking socket that sends the bytes of the request and reads those of the reply, and looks at neither.

    Requests are encoded beforehand, replies are checked by their length; a reply is read into one reused buffer.
    """

    name = "bare"
    blocking = True

    @staticmethod
    def body_for(kind: str, body: bytes) -> Any:
        content = json.dumps(body.decode()) if kind == "text" else json.dumps(base64.b64encode(body).decode())
        return _envelope(f'{{"text":"digest"}},{{"{kind}":{content}}}')

    async def setup(self, _base: str, endpoint: str) -> None:
        address = urlsplit(endpoint)
        assert address.hostname is not None
        assert address.port is not None
        self._target = address.path
        self._socket = socket.create_connection((address.hostname, address.port))
        self._buffer = bytearray(MIB)

    async def digest(self, _kind: str, body: Any) -> dict[str, Any]:
        self._send(len(body))
        self._socket.sendall(body)
        return self._described()

    async def digest_file(self, path: Path) -> dict[str, Any]:
        head, tail = _envelope('{"text":"digest"},{"raw":"\0"}').split(b"\0")
        size = path.stat().st_size  # noqa: ASYNC240 - nothing else runs
        self._send(len(head) + len(tail) + (size + 2) // 3 * 4)
        self._socket.sendall(head)
        with path.open("rb") as file:
            while piece := file.read(ENCODED_AT_ONCE):
                self._socket.sendall(binascii.b2a_base64(piece, newline=False))
        self._socket.sendall(tail)
        return self._described()

    def _described(self) -> dict[str, Any]:
        body = self._small_reply()
        described: dict[str, Any] = json.loads(body)["result"]["message"]["parts"][0]["data"]["parts"][0]
        return described

    async def produce(self, kind: str, size: int) -> Buffer:
        return self._exchange("SendMessage", f"produce {kind} {size}", size)

    async def stream(self, kind: str, count: int, size: int) -> Buffer:
        return self._exchange("SendStreamingMessage", f"stream {count} {size} {kind}", count * size)

    async def small(self, text: str) -> str:
        body = _envelope(json.dumps({"text": text}))
        self._send(len(body))
        self._socket.sendall(body)
        return str(json.loads(self._small_reply())["result"]["message"]["parts"][0]["text"])

    async def close(self) -> None:
        self._socket.close()

    def _send(self, length: int) -> None:
        headers = "".join(f"{name}: {value}\r\n" for name, value in HEADERS.items())
        self._socket.sendall(f"POST {self._target} HTTP/1.1\r\nHost: x\r\n{headers}".encode())
        self._socket.sendall(f"Content-Length: {length}\r\n\r\n".encode())

    def _head(self) -> tuple[bytes, bytes]:
        """The head of a reply, and what came with it."""
        received = b""
        while b"\r\n\r\n" not in received:
            received += self._some()
        head, _, rest = received.partition(b"\r\n\r\n")
        return head, rest

    def _small_reply(self) -> bytes:
        head, body = self._head()
        length = _length(head)
        while len(body) < length:
            body += self._some()
        return body

    def _exchange(self, method: str, text: str, size: int) -> Buffer:
        body = _envelope(json.dumps({"text": text}), method)
        self._send(len(body))
        self._socket.sendall(body)
        head, rest = self._head()
        got, tail = len(rest), rest[-5:]
        length = _length(head)
        while got < length if length else tail != b"0\r\n\r\n":
            count = self._socket.recv_into(self._buffer)
            got += count
            tail = (tail + self._buffer[max(0, count - 5) : count])[-5:]
        assert got >= size, f"{got} bytes for a part of {size}"
        return b""

    def _some(self) -> bytes:
        data = self._socket.recv(1 << 16)
        if not data:
            raise ConnectionError("the server closed the connection")
        return data


def _envelope(parts: str, method: str = "SendMessage") -> bytes:
    message = f'{{"messageId":"1","role":"ROLE_USER","parts":[{parts}]}}'
    return f'{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{"message":{message}}}}}'.encode()


def _length(head: bytes) -> int:
    """The announced length of a reply; 0 if it comes in chunks."""
    found = re.search(rb"(?i)content-length: *(\d+)", head)
    return int(found[1]) if found else 0


CLIENTS: dict[str, type[Client]] = {client.name: client for client in (Ours, Official, Bare)}


# --- a server that costs next to nothing ------------------------------------------------------------------------------


class Canned(asyncio.Protocol):
    """Answers each JSON-RPC call with the same message of 1 KiB, under the id of the call."""

    TEXT = "x" * 1024

    def __init__(self, origin: str) -> None:
        interface = {"url": f"{origin}/rpc", "protocolBinding": "JSONRPC", "protocolVersion": "1.0"}
        card = {"name": "canned", "description": "", "version": "1", "capabilities": {"streaming": True}}
        modes: dict[str, Any] = {"defaultInputModes": [], "defaultOutputModes": [], "skills": []}
        self._card = json.dumps(card | modes | {"supportedInterfaces": [interface]}).encode()
        message = {"messageId": "1", "role": "ROLE_AGENT", "parts": [{"text": self.TEXT}]}
        self._result = json.dumps({"message": message}).encode()
        self._unread = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        self._unread += data
        while (end := self._unread.find(b"\r\n\r\n")) >= 0:
            length = _length(self._unread[:end])
            if len(self._unread) < end + 4 + length:
                return
            body, self._unread = self._unread[end + 4 : end + 4 + length], self._unread[end + 4 + length :]
            self._answer(body)

    def _answer(self, body: bytes) -> None:
        found = re.search(rb'"id": ?("[^"]*"|\d+)', body)
        reply = b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (found[1], self._result) if found else self._card
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(reply)
        self._transport.write(head + reply)


async def _serve_canned() -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    origin = f"http://127.0.0.1:{listener.getsockname()[1]}"
    server = await asyncio.get_running_loop().create_server(lambda: Canned(origin), sock=listener)
    print(origin, flush=True)
    await server.serve_forever()


@contextlib.contextmanager
def canned() -> Iterator[str]:
    """The origin of a `Canned` server in a process of its own."""
    with subprocess.Popen([sys.executable, __file__], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


if __name__ == "__main__":
    import uvloop

    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(_serve_canned())
