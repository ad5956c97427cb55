"""The HTTP clients under measurement, each behind the same verbs.

Every adapter has the settings a careful user of that library would choose for large bodies on a trusted server:
connections kept alive, no limit on their number, no time-outs, no decompression, no proxies. An adapter converts a
body only where its library refuses the type as it is handed over, and that conversion is part of what is timed.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib.metadata
import importlib.util
import io
import json
import socket
import tempfile
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, ClassVar
from urllib.parse import urlsplit

from mcpgateway_rust._types import Buffer
from mcpgateway_rust.sweep.bodies import pattern
from mcpgateway_rust.sweep.cells import DIRECTIONS
from mcpgateway_rust.sweep.sizes import MIB


def flat(body: Buffer) -> memoryview:
    """`body` as a one-dimensional view of bytes, nothing copied."""
    return memoryview(body).cast("B")


@cache
def json_loads() -> Callable[[Buffer], Any]:
    """What the users of the other clients open JSON with: orjson where it is installed."""
    if importlib.util.find_spec("orjson") is not None:
        loads: Callable[[Buffer], Any] = importlib.import_module("orjson").loads
        return loads
    return lambda text: json.loads(bytes(text))


class Backend(ABC):
    """One HTTP client. Paths begin with a slash and belong to the server given to `setup`."""

    name: ClassVar[str]
    package: ClassVar[str | None]
    """What is imported; None for the standard library alone."""
    blocking: ClassVar[bool] = False
    """True if a call holds the event loop from its beginning to its end."""
    directions: ClassVar[tuple[str, ...]] = DIRECTIONS
    """Those that its replies allow."""
    noting: bool = False
    """Whether `notes` are taken."""

    def __init__(self) -> None:
        self.notes: dict[str, str] = {}
        """What the client says of its last call, such as how the body travelled (`decision`)."""

    @classmethod
    def version(cls) -> str | None:
        """The installed version, or None when the package is not there."""
        if cls.package is None:
            return "standard library"
        if importlib.util.find_spec(cls.package) is None:
            return None
        return importlib.metadata.version(cls.package)

    @abstractmethod
    async def setup(self, url: str, concurrency: int = 1) -> None:
        """Make the client for the server at `url` (scheme, host and port) and so many calls at a time."""

    @abstractmethod
    async def upload(self, path: str, body: Buffer) -> Buffer:
        """Send `body` and return the server's reply, unparsed."""

    @abstractmethod
    async def download(self, path: str) -> Buffer:
        """Receive the whole body at `path` in memory, in the type the library gives."""

    async def download_json(self, path: str) -> Buffer:
        """Receive the JSON at `path` and open it as a user of the library would, on the event loop."""
        reply = await self.download(path)
        json_loads()(memoryview(reply))
        return reply

    @abstractmethod
    async def close(self) -> None:
        """Close the client and its connections."""


class Ours(Backend):
    """`mcpgateway_rust.AsyncClient`, which decides itself what is copied, borrowed or mapped."""

    name = "ours"
    package = "mcpgateway_rust"

    async def setup(self, url: str, concurrency: int = 1) -> None:  # noqa: ARG002 - it has no limit
        self.url = url
        self.client = self.make_client()

    def make_client(self) -> Any:
        """The client, with the transfers that it is to make."""
        import mcpgateway_rust

        return mcpgateway_rust.AsyncClient()

    async def upload(self, path: str, body: Buffer) -> Buffer:
        reply = await self.client.post(self.url + path, body)
        if self.noting:
            self.notes["decision"] = reply.transfer.kind
        received: Buffer = reply.body
        return received

    async def download(self, path: str) -> Buffer:
        reply = await self.client.get(self.url + path)
        if self.noting:
            self.notes["decision"] = reply.body.transfer.kind
        received: Buffer = reply.body
        return received

    async def download_json(self, path: str) -> Buffer:
        reply = await self.client.get(self.url + path)
        await reply.document()
        received: Buffer = reply.body
        return received

    async def close(self) -> None:
        await self.client.aclose()


class OursCopy(Ours):
    """The same, when every body that is sent is copied first."""

    name = "ours-copy"

    def make_client(self) -> Any:
        from mcpgateway_rust import AsyncClient, TransferPolicy

        return AsyncClient(policy=TransferPolicy(copy_below=1 << 62, map_above=1 << 62))


class OursBorrow(Ours):
    """The same, when every body that is sent is borrowed."""

    name = "ours-borrow"

    def make_client(self) -> Any:
        from mcpgateway_rust import AsyncClient, TransferPolicy

        return AsyncClient(policy=TransferPolicy(copy_below=0, map_above=1 << 62))


class OursMap(Ours):
    """The same, when every body is put, or received, into memory that other processes can map."""

    name = "ours-map"

    def make_client(self) -> Any:
        from mcpgateway_rust import AsyncClient, TransferPolicy, shm

        self.directory = tempfile.TemporaryDirectory(prefix="mcpgateway-sweep-")
        self.spool = shm.Spool(directory=self.directory.name, map_above=0)
        return AsyncClient(policy=TransferPolicy(copy_below=0, map_above=0), spool=self.spool)

    async def upload(self, path: str, body: Buffer) -> Buffer:
        shared = await self.spool.put_async(body)
        received = await super().upload(path, shared)
        if self.noting:
            self.notes["decision"] = shared.transfer.kind
        return received

    async def close(self) -> None:
        await super().close()
        self.directory.cleanup()


class OursA2A(Backend):
    """`AsyncA2AClient`, which is bound to one URL: a client for each path."""

    name = "ours-a2a"
    package = "mcpgateway_rust"

    async def setup(self, url: str, concurrency: int = 1) -> None:  # noqa: ARG002 - it has no limit
        self.url = url
        self.clients: dict[str, Any] = {}

    def client(self, path: str) -> Any:
        from mcpgateway_rust.services.a2a_service import AsyncA2AClient

        if path not in self.clients:
            self.clients[path] = AsyncA2AClient(self.url + path)
        return self.clients[path]

    async def upload(self, path: str, body: Buffer) -> Buffer:
        reply = await self.client(path).invoke(body)
        if self.noting:
            self.notes["decision"] = reply.transfer.kind
        received: Buffer = reply.body
        return received

    async def download(self, path: str) -> Buffer:
        reply = await self.client(path).invoke(method="GET")
        if self.noting:
            self.notes["decision"] = reply.body.transfer.kind
        received: Buffer = reply.body
        return received

    async def download_json(self, path: str) -> Buffer:
        reply = await self.client(path).invoke(method="GET")
        await reply.document()
        received: Buffer = reply.body
        return received

    async def close(self) -> None:
        for client in self.clients.values():
            await client.aclose()


class Empty(Backend):
    """No client at all: replies that are there already. What it costs is what measuring costs."""

    name = "empty"
    package = None

    async def setup(self, url: str, concurrency: int = 1) -> None:  # noqa: ARG002 - there is nobody to talk to
        self.asked: tuple[str, int] = ("", 0)
        self.reply: Buffer = b""

    async def upload(self, path: str, body: Buffer) -> Buffer:
        if (path, len(body)) != self.asked:
            self.asked, digest = (path, len(body)), hashlib.sha256(body).hexdigest()
            answer = json.dumps({"bytes": len(body), "sha256": digest}).encode()
            self.reply = body if path == "/echo" else answer
        return self.reply

    async def download(self, path: str) -> Buffer:
        if path != self.asked[0]:
            size, piece = int(path.rpartition("/")[2]), pattern()
            self.asked, self.reply = (path, size), (piece * (size // len(piece) + 1))[:size]
        return self.reply

    async def download_json(self, path: str) -> Buffer:
        raise NotImplementedError(f"nobody has {path}")

    async def close(self) -> None:
        self.reply = b""


class Httpx(Backend):
    """httpx as its manual shows it: `content=` takes `bytes` and nothing else that is a buffer."""

    name = "httpx"
    package = "httpx"

    async def setup(self, url: str, concurrency: int = 1) -> None:  # noqa: ARG002 - it has no limit
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


class Requests(Backend):
    """requests, on threads: one session with a connection for each call at a time, as a gateway would use it."""

    name = "requests"
    package = "requests"

    async def setup(self, url: str, concurrency: int = 1) -> None:
        import requests
        from requests.adapters import HTTPAdapter

        self.url = url
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.headers["accept-encoding"] = "identity"
        self.session.mount("http://", HTTPAdapter(pool_maxsize=concurrency))
        self.threads = ThreadPoolExecutor(concurrency)

    async def upload(self, path: str, body: Buffer) -> Buffer:
        return await self._run("POST", path, body if isinstance(body, bytes) else flat(body))

    async def download(self, path: str) -> Buffer:
        return await self._run("GET", path)

    async def _run(self, method: str, path: str, body: Buffer = None) -> bytes:
        return await asyncio.get_running_loop().run_in_executor(self.threads, self._call, method, path, body)

    def _call(self, method: str, path: str, body: Buffer) -> bytes:
        reply = self.session.request(method, self.url + path, data=body)
        reply.raise_for_status()
        content: bytes = reply.content
        return content

    async def close(self) -> None:
        self.threads.shutdown()
        self.session.close()


class Aiohttp(Backend):
    """aiohttp, with the `io.BytesIO` its own warning asks for above 1 MiB (twice as fast as bytes there)."""

    name = "aiohttp"
    package = "aiohttp"

    async def setup(self, url: str, concurrency: int = 1) -> None:  # noqa: ARG002 - it has no limit
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


class Pyreqwest(Backend):
    """pyreqwest on its default single-threaded runtime; it borrows any contiguous buffer."""

    name = "pyreqwest"
    package = "pyreqwest"

    async def setup(self, url: str, concurrency: int = 1) -> None:  # noqa: ARG002 - it has no limit
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


class Wreq(Backend):
    """wreq; it borrows `bytes` only, and would send any other buffer but a bytearray as something else."""

    name = "wreq"
    package = "wreq"

    async def setup(self, url: str, concurrency: int = 1) -> None:  # noqa: ARG002 - it has no limit
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


class Obstore(Backend):
    """obstore's HTTP store: it uploads by PUT and shows nothing of the reply but the ETag.

    The server's ETag is `"BYTES"` or `"BYTES-SHA256"`. A store keeps the query of its URL: one store for each query.
    """

    name = "obstore"
    package = "obstore"
    directions = ("up", "down")

    async def setup(self, url: str, concurrency: int = 1) -> None:  # noqa: ARG002 - it has no limit
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


class Raw(Backend):
    """The floor: one blocking socket, `sendmsg` of the caller's memory, `recv_into` a buffer used again and again.

    The view that `download` returns is overwritten by the next one.
    """

    name = "raw"
    package = None
    blocking = True

    async def setup(self, url: str, concurrency: int = 1) -> None:  # noqa: ARG002 - it has no limit
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


BACKENDS: dict[str, type[Backend]] = {
    backend.name: backend
    for backend in (
        Ours, OursCopy, OursBorrow, OursMap, OursA2A, Httpx, Httpx2, Aiohttp, Requests, Pyreqwest, Wreq, Obstore,
        AiohttpSlices, HttpxSlices, Raw, Empty,
    )
}  # fmt: skip
PEERS = ("httpx", "httpx2", "aiohttp", "requests", "pyreqwest", "wreq", "obstore")
"""The libraries of others, as their manuals show them."""
OURS = ("ours", "ours-copy", "ours-borrow", "ours-map")
"""This package: as it decides by itself, and with each transfer forced."""
