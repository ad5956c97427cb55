"""The HTTP clients under measurement, each behind the same five verbs.

Every adapter has the settings a careful user of that library would choose for large bodies on a trusted server:
connections kept alive, no limit on their number, no time-outs, no decompression, no proxies. An adapter converts a
body only where its library refuses the type as it is handed over, and that conversion is part of what is timed.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import io
import json
import mmap
import socket
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from typing_extensions import Buffer

MIB = 1 << 20
BODY_KINDS = ("bytes", "ndarray", "memoryview", "mmap")


def body_for(kind: str, path: str) -> Buffer:
    """The content of the file at `path` as an object of `kind` (one of `BODY_KINDS`), all its pages resident."""
    if kind == "bytes":
        return Path(path).read_bytes()
    if kind == "memoryview":
        return memoryview(Path(path).read_bytes())
    if kind == "ndarray":
        import numpy

        return cast("Buffer", numpy.fromfile(path, dtype=numpy.uint8))
    if kind == "mmap":
        with Path(path).open("rb") as file:
            return mmap.mmap(file.fileno(), 0, flags=mmap.MAP_SHARED | mmap.MAP_POPULATE, prot=mmap.PROT_READ)
    raise ValueError(f"unknown kind of body {kind!r}: one of {', '.join(BODY_KINDS)}")


def flat(body: Buffer) -> memoryview:
    """`body` as a one-dimensional view of bytes, nothing copied."""
    return memoryview(body).cast("B")


class Peer(ABC):
    """One HTTP client. Paths begin with a slash and belong to the server given to `setup`."""

    name: ClassVar[str]
    package: ClassVar[str | None]
    """What is imported; None for the standard library alone."""
    blocking: ClassVar[bool] = False
    """True if a call holds the event loop from its beginning to its end."""

    @classmethod
    def version(cls) -> str | None:
        """The installed version, or None when the package is not there."""
        if cls.package is None:
            return "standard library"
        if importlib.util.find_spec(cls.package) is None:
            return None
        return importlib.metadata.version(cls.package)

    @abstractmethod
    async def setup(self, url: str) -> None:
        """Make the client for the server at `url` (scheme, host and port)."""

    @abstractmethod
    async def upload(self, path: str, body: Buffer) -> Buffer:
        """Send `body` and return the server's JSON reply, unparsed."""

    @abstractmethod
    async def download(self, path: str) -> Buffer:
        """Receive the whole body at `path` in memory, in the type the library gives."""

    @abstractmethod
    async def close(self) -> None:
        """Close the client and its connections."""

    async def decision(self, path: str, body: Buffer | None = None) -> str:  # noqa: ARG002 - for those that can tell
        """Make one more call and say how its body travelled, or the reply's if `body` is None; "" if unknown."""
        return ""


class Ours(Peer):
    """`mcpgateway_rust.AsyncClient`."""

    name = "ours"
    package = "mcpgateway_rust"

    async def setup(self, url: str) -> None:
        import mcpgateway_rust

        self.url = url
        self.client: Any = mcpgateway_rust.AsyncClient()

    async def upload(self, path: str, body: Buffer) -> Buffer:
        reply: Buffer = (await self.client.post(self.url + path, body)).body
        return reply

    async def download(self, path: str) -> Buffer:
        reply: Buffer = (await self.client.get(self.url + path)).body
        return reply

    async def close(self) -> None:
        await self.client.aclose()


class OursA2A(Peer):
    """`AsyncA2AClient`, which is bound to one URL: a client for each path."""

    name = "ours-a2a"
    package = "mcpgateway_rust"

    async def setup(self, url: str) -> None:
        self.url = url
        self.clients: dict[str, Any] = {}

    def client(self, path: str) -> Any:
        from mcpgateway_rust.services.a2a_service import AsyncA2AClient

        if path not in self.clients:
            self.clients[path] = AsyncA2AClient(self.url + path)
        return self.clients[path]

    async def upload(self, path: str, body: Buffer) -> Buffer:
        reply: Buffer = (await self.client(path).invoke(body)).body
        return reply

    async def download(self, path: str) -> Buffer:
        reply: Buffer = (await self.client(path).invoke(method="GET")).body
        return reply

    async def close(self) -> None:
        for client in self.clients.values():
            await client.aclose()

    async def decision(self, path: str, body: Buffer | None = None) -> str:
        if body is None:
            return str((await self.client(path).invoke(method="GET")).body.transfer.kind)
        return str((await self.client(path).invoke(body)).transfer.kind)


class Httpx(Peer):
    """httpx as its manual shows it: `content=` takes `bytes` and nothing else that is a buffer."""

    name = "httpx"
    package = "httpx"

    async def setup(self, url: str) -> None:
        module: Any = importlib.import_module(self.package)
        self.client = module.AsyncClient(
            base_url=url,
            timeout=None,
            trust_env=False,
            limits=module.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=None),
            headers={"accept-encoding": "identity"},
        )

    async def upload(self, path: str, body: Buffer) -> Buffer:
        reply = await self.client.post(path, content=body if isinstance(body, bytes) else bytes(body))
        content: bytes = reply.raise_for_status().content
        return content

    async def download(self, path: str) -> Buffer:
        content: bytes = (await self.client.get(path)).raise_for_status().content
        return content

    async def close(self) -> None:
        await self.client.aclose()


class Httpx2(Httpx):
    """httpx2, same calls as httpx."""

    name = "httpx2"
    package = "httpx2"


class Aiohttp(Peer):
    """aiohttp, with the `io.BytesIO` its own warning asks for above 1 MiB (twice as fast as bytes there)."""

    name = "aiohttp"
    package = "aiohttp"

    async def setup(self, url: str) -> None:
        import aiohttp

        self.session: Any = aiohttp.ClientSession(
            base_url=url,
            timeout=aiohttp.ClientTimeout(total=None),
            connector=aiohttp.TCPConnector(limit=0),
            auto_decompress=False,
            raise_for_status=True,
        )

    async def upload(self, path: str, body: Buffer) -> Buffer:
        view = flat(body)
        data = io.BytesIO(body) if view.nbytes > MIB else view
        async with self.session.post(path, data=data) as reply:
            content: bytes = await reply.read()
            return content

    async def download(self, path: str) -> Buffer:
        async with self.session.get(path) as reply:
            content: bytes = await reply.read()
            return content

    async def close(self) -> None:
        await self.session.close()


async def slices(body: Buffer, step: int = 4 * MIB) -> AsyncIterator[memoryview]:
    """`body` in views of `step` bytes; 4 MiB was the fastest of 64 KiB to 16 MiB for aiohttp and httpx."""
    view = flat(body)
    for start in range(0, view.nbytes, step):
        yield view[start : start + step]


class AiohttpSlices(Aiohttp):
    """aiohttp by an expert: the caller cuts the body into views, so asyncio does not copy what it cannot send yet."""

    name = "aiohttp-slices"

    async def upload(self, path: str, body: Buffer) -> Buffer:
        headers = {"content-length": str(flat(body).nbytes)}
        async with self.session.post(path, data=slices(body), headers=headers) as reply:
            content: bytes = await reply.read()
            return content


class HttpxSlices(Httpx):
    """httpx by an expert: as `AiohttpSlices`."""

    name = "httpx-slices"

    async def upload(self, path: str, body: Buffer) -> Buffer:
        headers = {"content-length": str(flat(body).nbytes)}
        reply = await self.client.post(path, content=slices(body), headers=headers)
        content: bytes = reply.raise_for_status().content
        return content


class Pyreqwest(Peer):
    """pyreqwest on its default single-threaded runtime; it borrows any contiguous buffer."""

    name = "pyreqwest"
    package = "pyreqwest"

    async def setup(self, url: str) -> None:
        from pyreqwest.client import ClientBuilder

        builder: Any = ClientBuilder().no_proxy().error_for_status()
        self.url = url
        self.client: Any = builder.gzip(False).brotli(False).zstd(False).deflate(False).build()

    async def upload(self, path: str, body: Buffer) -> Buffer:
        reply = await self.client.post(self.url + path).body_bytes(body).build().send()
        content: Buffer = await reply.bytes()
        return content

    async def download(self, path: str) -> Buffer:
        reply = await self.client.get(self.url + path).build().send()
        content: Buffer = await reply.bytes()
        return content

    async def close(self) -> None:
        await self.client.close()


class Wreq(Peer):
    """wreq; it borrows `bytes` only, and would send any other buffer but a bytearray as something else."""

    name = "wreq"
    package = "wreq"

    async def setup(self, url: str) -> None:
        import wreq

        self.url = url
        self.client: Any = wreq.Client(
            no_proxy=True, http1_only=True, raise_for_status=True, gzip=False, brotli=False, zstd=False, deflate=False
        )

    async def upload(self, path: str, body: Buffer) -> Buffer:
        data = body if isinstance(body, bytes) else bytes(body)
        async with self.client.post(self.url + path, body=data) as reply:
            content: memoryview = await reply.bytes()
            return content

    async def download(self, path: str) -> Buffer:
        async with self.client.get(self.url + path) as reply:
            content: memoryview = await reply.bytes()
            return content

    async def close(self) -> None:
        self.client.close()


class Obstore(Peer):
    """obstore's HTTP store: it uploads by PUT and shows nothing of the reply but the ETag.

    The server's ETag is `"BYTES"` or `"BYTES-SHA256"`. A store keeps the query of its URL: one store for each query.
    """

    name = "obstore"
    package = "obstore"

    async def setup(self, url: str) -> None:
        import obstore

        self.url = url
        self.obstore: Any = obstore
        self.stores: dict[str, Any] = {}

    def store(self, query: str) -> Any:
        from obstore.store import HTTPStore

        if query not in self.stores:
            self.stores[query] = HTTPStore.from_url(
                f"{self.url}/?{query}" if query else self.url,
                client_options={"allow_http": True, "timeout": "1h"},
                retry_config={"max_retries": 0},
            )
        return self.stores[query]

    async def upload(self, path: str, body: Buffer) -> Buffer:
        path, _, query = path.partition("?")
        reply = await self.obstore.put_async(self.store(query), path.lstrip("/"), body, use_multipart=False)
        if reply["e_tag"] is None:
            raise ValueError(f"obstore: PUT {path} was answered without an ETag, so the upload cannot be checked")
        count, _, digest = reply["e_tag"].strip('"').partition("-")
        return json.dumps({"bytes": int(count), "sha256": digest}).encode()

    async def download(self, path: str) -> Buffer:
        path, _, query = path.partition("?")
        reply = await self.obstore.get_async(self.store(query), path.lstrip("/"))
        content: Buffer = await reply.bytes_async()
        return content

    async def close(self) -> None:
        self.stores.clear()


class Raw(Peer):
    """The floor: one blocking socket, `sendmsg` of the caller's memory, `recv_into` a buffer used again and again.

    The view that `download` returns is overwritten by the next one.
    """

    name = "raw"
    package = None
    blocking = True

    async def setup(self, url: str) -> None:
        parts = urlsplit(url)
        self.host = parts.netloc
        self.socket = socket.create_connection((parts.hostname, parts.port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.head = memoryview(bytearray(64 << 10))
        self.buffer = memoryview(b"")

    async def upload(self, path: str, body: Buffer) -> Buffer:
        view = flat(body)
        head = f"POST {path} HTTP/1.1\r\nhost: {self.host}\r\ncontent-length: {view.nbytes}\r\n\r\n".encode()
        sent = self.socket.sendmsg([head, view])
        self.socket.sendall(head[sent:])
        self.socket.sendall(view[max(sent - len(head), 0) :])
        return self._receive()

    async def download(self, path: str) -> Buffer:
        self.socket.sendall(f"GET {path} HTTP/1.1\r\nhost: {self.host}\r\n\r\n".encode())
        return self._receive()

    async def close(self) -> None:
        self.socket.close()

    def _receive(self) -> memoryview:
        got, end = 0, -1
        while end < 0:
            got += self._recv_into(self.head[got:])
            end = bytes(self.head[:got]).find(b"\r\n\r\n")
        status, *lines = bytes(self.head[:end]).decode("latin-1").split("\r\n")
        if status.split()[1] != "200":
            raise ConnectionError(f"raw: the server answered {status}")
        headers = {name.lower(): value for name, _, value in (line.partition(":") for line in lines)}
        size = int(headers["content-length"])
        if len(self.buffer) < size:
            self.buffer = memoryview(bytearray(size))
        filled = got - end - 4
        self.buffer[:filled] = self.head[end + 4 : got]
        while filled < size:
            filled += self._recv_into(self.buffer[filled:size])
        return self.buffer[:size]

    def _recv_into(self, view: memoryview) -> int:
        count = self.socket.recv_into(view)
        if count == 0:
            raise ConnectionError("raw: the server closed the connection before the reply was complete")
        return count


PEERS: dict[str, type[Peer]] = {
    peer.name: peer
    for peer in (
        Ours, OursA2A, Httpx, Httpx2, Aiohttp, Pyreqwest, Wreq, Obstore, AiohttpSlices, HttpxSlices, Raw,
    )
}  # fmt: skip
