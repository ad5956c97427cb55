"""Send a numpy array to an agent and read its reply as an array, without copying either.

Start `mcpgateway-rust serve` in one terminal and give its URL in another: `python examples/call_agent.py URL`.
"""

from __future__ import annotations

import asyncio
import sys

import numpy as np

from mcpgateway_rust import Progress
from mcpgateway_rust.services.a2a_service import AsyncA2AClient


async def main(url: str) -> None:
    """Send 64 MiB of embeddings, count how often the event loop comes round meanwhile, and compare what comes back."""
    embeddings = np.random.default_rng(seed=1).random((16_384, 1_024), dtype="f4")
    progress = Progress()
    async with AsyncA2AClient(f"{url}/echo") as agent:
        # The array is borrowed from here until its last byte is sent: do not write to it meanwhile.
        call = asyncio.ensure_future(agent.invoke(embeddings, progress=progress))
        turns = 0
        while not call.done():
            await asyncio.sleep(0.001)
            turns += 1
        reply = (await call).raise_for_status()
    same = np.frombuffer(memoryview(reply.body), dtype=embeddings.dtype).reshape(embeddings.shape)
    print(f"sent      {progress.sent:,} bytes   {reply.transfer}")
    print(f"received  {progress.received:,} bytes   {reply.body.transfer}")
    print(f"equal: {np.array_equal(same, embeddings)}; the event loop came round {turns} times meanwhile")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
