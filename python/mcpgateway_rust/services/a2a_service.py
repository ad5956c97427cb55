"""Invoke A2A agents with payloads of any size.

`invoke_agent` has the signature of ADR-041 (section 4): it blocks, without the GIL, and returns the agent's
JSON reply as text. `A2AService` is the wrapper of its section 5, for asyncio. Both use plain Python where the
native module cannot be imported (`RUST_AVAILABLE` is False then); all else here is native only.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any, cast

from mcpgateway_rust._fallback.strict_json import parse_reply

try:
    from mcpgateway_rust.services._agents import (
        AgentOptions,
        AsyncAgentStream,
        BlockingAgentStream,
        CallOptions,
        MessageLike,
        SendOptions,
    )
    from mcpgateway_rust.services._native_a2a import (
        A2AClient,
        AgentEvent,
        AgentReply,
        Artifact,
        AsyncA2AClient,
        Batch,
        Collected,
        Message,
        Part,
        ReplyPart,
        invoke_agent,
        invoke_agent_async,
        invoke_many,
    )

    RUST_AVAILABLE = True
except ImportError:
    from mcpgateway_rust._fallback.a2a_service import invoke_agent

    RUST_AVAILABLE = False

__all__ = [
    "RUST_AVAILABLE",
    "A2AClient",
    "A2AService",
    "AgentEvent",
    "AgentOptions",
    "AgentReply",
    "Artifact",
    "AsyncA2AClient",
    "AsyncAgentStream",
    "Batch",
    "BlockingAgentStream",
    "CallOptions",
    "Collected",
    "Message",
    "MessageLike",
    "Part",
    "ReplyPart",
    "SendOptions",
    "invoke_agent",
    "invoke_agent_async",
    "invoke_many",
]

# Parsing less than this on the event loop costs less than handing it to a thread.
_PARSE_INLINE_BYTES = 64 << 10


class A2AService:
    """The gateway's A2A service: native where it can be, plain Python elsewhere, the same results from both."""

    async def invoke_agent(
        self, url: str, method: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> dict[str, Any]:
        """Invoke the agent at `url` and return its JSON reply as Python objects.

        Nothing of the exchange blocks the event loop. Building the objects of a large reply does so for as long
        as Python's `json` takes, on whichever thread: use `AsyncA2AClient` and its `Response.body` for those.

        Raises:
            HTTPStatusError: The status of the reply is not one of success.
            InvalidReply: The reply is not JSON.
            GatewayError: Anything else; see `mcpgateway_rust.exceptions`.
        """
        if not RUST_AVAILABLE:
            text = await asyncio.to_thread(invoke_agent, url, method, json.dumps(dict(headers)), body)
            return await _parse(text)
        reply = await invoke_agent_async(url, body, method=method, headers=headers)
        reply.raise_for_status()
        return await _parse(bytes(reply.body))


async def _parse(text: str | bytes) -> dict[str, Any]:
    if len(text) < _PARSE_INLINE_BYTES:
        return cast("dict[str, Any]", parse_reply(text))
    return cast("dict[str, Any]", await asyncio.to_thread(parse_reply, text))
