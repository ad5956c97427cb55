"""Two workers of a gateway: one receives an upload of 256 MiB, the other answers with its checksum, without a copy.

The worker that receives streams the body into its spool and keeps the reference where all workers see it; the worker
that answers opens the reference: it maps the very pages that the first has written.

`python examples/share_between_workers.py` starts uvicorn with two workers, and plays the client (needs uvicorn).
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from mcpgateway_rust import AsyncClient, Payload, Timeouts, shm
from mcpgateway_rust.exceptions import ConnectError

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

PART = bytes(range(256)) * 4096  # 1 MiB
PARTS = 256
SHARED = "SHARED_DIRECTORY"  # in the environment of the workers


@cache
def shared_directory() -> Path:
    """What the workers have in common: the spool's directory, and the references by their names."""
    return Path(os.environ[SHARED])


@cache
def spool() -> shm.Spool:
    """The spool of this worker, made with its first request."""
    return shm.Spool(directory=shared_directory() / "spool")


async def app(scope: Message, receive: Receive, send: Send) -> None:
    """PUT /NAME keeps a body, GET /NAME gives its SHA-256; both say which worker did it."""
    if scope["type"] != "http":
        return
    # A real gateway would keep references in its own store, such as Redis: they are short texts.
    kept = shared_directory() / os.path.basename(scope["path"])
    if scope["method"] == "PUT":
        writer = spool().writer()
        async for part in parts(receive):
            writer.write(part)  # 64 KiB at most: copying them takes microseconds
        payload = await writer.finish_async()
        reference = await payload.share_async(ttl=300, content_type="application/octet-stream")
        kept.write_text(str(reference))
        answer = f"{os.getpid()} {len(payload)}"
    else:
        payload = await shm.open_async(kept.read_text(), directory=spool().directory)
        digest = await asyncio.to_thread(hashlib.sha256, payload)
        answer = f"{os.getpid()} {digest.hexdigest()}"
    # One request a connection, so that the next one may go to the other worker.
    headers = [(b"content-type", b"text/plain"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer.encode()})


async def parts(receive: Receive) -> AsyncIterator[bytes]:
    """The body of a request, part by part."""
    while (message := await receive())["type"] == "http.request":
        yield message["body"]
        if not message.get("more_body", False):
            return
    raise ConnectionAbortedError("the caller went away before the upload was complete")


@contextmanager
def two_workers(directory: str) -> Iterator[str]:
    """Uvicorn with two workers on a free port; gives its URL."""
    command = [sys.executable, "-m", "uvicorn", "--app-dir", str(Path(__file__).parent), "--workers", "2"]
    command += ["--port", "0", "--no-access-log", "share_between_workers:app"]
    server = subprocess.Popen(command, env=os.environ | {SHARED: directory}, stderr=subprocess.PIPE, text=True)
    assert server.stderr is not None
    try:
        # "Uvicorn running on http://127.0.0.1:PORT (Press CTRL+C to quit)"
        lines = (line for line in server.stderr if "running on http://" in line)
        yield next(word for word in next(lines).split() if word.startswith("http://"))
    finally:
        server.terminate()
        server.communicate()


async def upload(client: AsyncClient, url: str) -> str:
    """What the worker that received the upload answers."""
    body = Payload.join([PART] * PARTS)
    while True:
        try:
            return (await client.put(url, body)).text
        except ConnectError:
            # No byte was sent: the workers are still starting.
            await asyncio.sleep(0.05)


async def main() -> None:
    """Upload once; ask until the other worker has answered."""
    with tempfile.TemporaryDirectory() as directory, two_workers(directory) as url:
        async with AsyncClient(timeouts=Timeouts(total=60)) as client:
            received_by, received = (await upload(client, f"{url}/upload")).split()
            answered_by = received_by
            for _ in range(200):  # which worker takes a connection is the kernel's choice
                answered_by, digest = (await client.get(f"{url}/upload")).text.split()
                if answered_by != received_by:
                    break
        expected = hashlib.sha256()
        for _ in range(PARTS):
            expected.update(PART)
        print(f"{int(received) >> 20} MiB received by one worker, answered by another: {answered_by != received_by}")
        print(f"the checksum is right: {digest == expected.hexdigest()}")


if __name__ == "__main__":
    asyncio.run(main())
