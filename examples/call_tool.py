"""Call a plain HTTP endpoint as a tool: a 64 MiB array as a file of a form, and one number of its reply.

    python examples/call_tool.py http://127.0.0.1:8080

The URL is what `mcpgateway-rust serve` prints. Tools of an MCP server are called alike, by `AsyncToolClient`.
"""

import asyncio
import sys

import numpy as np

from mcpgateway_rust.services.tool_service import AsyncRestTool


async def main(url: str) -> None:
    """Send the array from where it lies, and select what is wanted of the reply off the GIL."""
    table = np.ones((16, 1 << 20), "f4")
    async with AsyncRestTool(f"{url}/sink", method="POST", body="multipart") as tool:
        result = await tool.call({"title": "ones", "table": table}, pointer="/bytes")
    assert result.selected is not None
    print(f"status {result.status}; the array and its form arrived: {int(result.selected) > table.nbytes}")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
