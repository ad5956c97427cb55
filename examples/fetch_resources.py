"""Resources that two workers share: fetched by one, found in the cache by the other; and a URL that is refused.

mcpgateway-rust serve                           # in one terminal; prints its URL
python examples/fetch_resources.py URL          # in another
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from mcpgateway_rust import shm
from mcpgateway_rust.exceptions import AddressRefused
from mcpgateway_rust.services.resource_service import AsyncResourceClient, Cache


class Library(BaseHTTPRequestHandler):
    """Serves documents that may be kept for an hour."""

    def do_GET(self) -> None:
        """Send a document of some size."""
        body = self.path.encode() * 100_000
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.send_header("cache-control", "public, max-age=3600")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Not here."""


async def main(agent: str) -> None:
    """Fetch two documents with one client, and again with another one."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Library)
    Thread(target=server.serve_forever, daemon=True).start()
    urls = [f"http://127.0.0.1:{server.server_port}/{name}" for name in ("one", "two")]
    with tempfile.TemporaryDirectory() as directory:
        for worker in ("first", "second"):
            cache = Cache(spool=shm.Spool(directory=Path(directory) / "spool"))
            async with AsyncResourceClient(cache=cache) as resources:
                fetched = await asyncio.gather(*map(resources.fetch, urls))
            cached = sum(resource.came_from == "cache" for resource in fetched)
            print(f"{worker} worker: {cached} of {len(urls)} came from the cache")
    server.shutdown()
    server.server_close()
    async with AsyncResourceClient() as resources:
        try:
            await resources.fetch(f"{agent}/source/1000", from_peer=True)
        except AddressRefused as refused:
            print("refused:", str(refused).partition(": ")[2])


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
