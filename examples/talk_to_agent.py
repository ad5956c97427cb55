"""Send an agent text and a file, and read what it says as it says it.

Start `mcpgateway-rust serve` in one terminal and give its URL in another: `python examples/talk_to_agent.py URL`.
"""

from __future__ import annotations

import asyncio
import sys

import numpy as np

from mcpgateway_rust.exceptions import RpcError
from mcpgateway_rust.services.a2a_service import AsyncA2AClient, Message, Part


async def main(url: str) -> None:
    """Ask once, listen to a stream, and ask for what the agent does not do."""
    scan = np.random.default_rng(seed=1).integers(0, 256, 16 << 20, "u1")
    async with AsyncA2AClient(url) as agent:
        card = await agent.card()
        print(f"{card['name']} speaks A2A {card['protocolVersion']}")

        # The array is borrowed, and becomes base64 while it is sent.
        question = Message(["What is ", "this?", Part.raw(scan, filename="scan.bin", media_type="image/x-raw")])
        reply = await agent.send(question)
        print(f"a {reply.kind}: {reply.text}")

        async for event in agent.stream(question):
            print(event.kind, event.state or [part.text for part in event.parts])

        whole = await agent.stream(question).collect()
        print(f"{whole.state}: {bytes(whole.artifacts[0].text).decode()}")

        try:
            await agent.get_task("reply")
        except RpcError as error:
            print(f"{type(error).__name__} {error.code}, sent: {error.sent}")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
