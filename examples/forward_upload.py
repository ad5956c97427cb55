"""Pass an upload through to an agent, and its reply back, while both are still on their way: an ASGI application.

Nothing holds the whole body: a part is asked for when the one before has gone out, so a slow agent slows the sender.

Start `mcpgateway-rust serve` in one terminal and give its URL in another: `python examples/forward_upload.py URL`.
An ASGI server would call `Forward(agent_url)` itself; here `main` stands in for one.
"""

from __future__ import annotations

import asyncio
import hashlib
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from mcpgateway_rust import AsyncClient
from mcpgateway_rust.exceptions import GatewayError

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

PARTS = 64
PART = bytes(range(256)) * 4096  # 1 MiB


class Forward:
    """Forwards the body of each request to the agent at `agent_url`, and the agent's reply to the caller."""

    def __init__(self, agent_url: str) -> None:
        self._agent_url = agent_url
        self._client = AsyncClient()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one request, as ASGI has it."""
        begun = False
        try:
            async with self._client.stream(scope["method"], self._agent_url, body=_parts(receive)) as reply:
                begun = True
                await send({"type": "http.response.start", "status": reply.status, "headers": []})
                async for chunk in reply.aiter_bytes():
                    # ASGI asks for bytes; this one piece is all that is ever copied.
                    await send({"type": "http.response.body", "body": bytes(chunk), "more_body": True})
        except GatewayError as error:
            if begun:
                # Too late for another status: the server closes the connection, so that the caller sees the cut.
                raise
            await send({"type": "http.response.start", "status": 502, "headers": []})
            await send({"type": "http.response.body", "body": str(error).encode()})
            return
        await send({"type": "http.response.body", "body": b""})


async def _parts(receive: Receive) -> AsyncIterator[bytes]:
    """The body of the request that `receive` gives, part by part."""
    while (message := await receive())["type"] == "http.request":
        if message["body"]:
            yield message["body"]
        if not message.get("more_body", False):
            return
    # The caller went away. An error, and not a return: half an upload must not look like a whole one.
    raise ConnectionAbortedError("the caller went away before the upload was complete")


async def main(url: str) -> None:
    """Play the ASGI server: one upload of 64 MiB, and what came back."""
    left = PARTS
    received = hashlib.sha256()
    status = 0

    async def receive() -> Message:
        nonlocal left
        left -= 1
        return {"type": "http.request", "body": PART, "more_body": left > 0}

    async def send(message: Message) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        else:
            received.update(message["body"])

    await Forward(f"{url}/echo")({"type": "http", "method": "POST"}, receive, send)
    unchanged = received.hexdigest() == hashlib.sha256(PART * PARTS).hexdigest()
    print(f"status {status}; {PARTS} MiB went through, unchanged: {unchanged}")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
