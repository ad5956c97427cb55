"""Ask an agent many questions in one call and take the answers as they come; a failure is a result like any other.

Start `mcpgateway-rust serve` in one terminal and give its URL in another: `python examples/fan_out.py URL`.
"""

from __future__ import annotations

import asyncio
import json
import sys

from mcpgateway_rust.exceptions import GatewayError
from mcpgateway_rust.services.a2a_service import AsyncA2AClient

QUESTIONS = 1_000


def question(number: int) -> bytes:
    """A JSON-RPC request of A2A with one part of text."""
    message = {
        "messageId": f"m{number}",
        "role": "user",
        "parts": [{"kind": "text", "text": f"What is {number} times two?"}],
    }
    request = {"jsonrpc": "2.0", "id": number, "method": "message/send", "params": {"message": message}}
    return json.dumps(request).encode()


async def main(url: str) -> None:
    """Ask all questions, at most 64 at a time, and say how many were answered and which failed."""
    answered: set[int] = set()
    async with AsyncA2AClient(f"{url}/a2a", headers={"content-type": "application/json"}) as agent:
        batch = agent.invoke_many(map(question, range(QUESTIONS)), concurrency=64, order="completion")
        async for index, result in batch:
            if isinstance(result, GatewayError):
                print(f"question {index} failed ({result.phase}, sent: {result.sent}): {result}")
            elif result.is_success:
                answered.add(json.loads(result.text)["id"])
    print(f"{len(answered)} of {len(batch)} questions were answered")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
