"""Large payloads between Python, agents, tools and resources: without copies, outside the GIL.

Example:
    async with AsyncClient() as client:
        reply = await client.post("http://127.0.0.1:8080/echo", body=array)
        same = numpy.frombuffer(reply.body, dtype=array.dtype)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mcpgateway_rust import exceptions
from mcpgateway_rust._types import Guard, Headers, Limits, Retry, Timeouts

if TYPE_CHECKING:
    from mcpgateway_rust import shm
    from mcpgateway_rust._native import (
        Document,
        Node,
        Payload,
        Progress,
        Response,
        Transfer,
        TransferPolicy,
        __version__,
        exports_live,
    )
    from mcpgateway_rust.client import AsyncClient, AsyncStream, Client, Stream
    from mcpgateway_rust.json import loads, loads_async

__all__ = [
    "AsyncClient",
    "AsyncStream",
    "Client",
    "Document",
    "Guard",
    "Headers",
    "Limits",
    "Node",
    "Payload",
    "Progress",
    "Response",
    "Retry",
    "Stream",
    "Timeouts",
    "Transfer",
    "TransferPolicy",
    "__version__",
    "exceptions",
    "exports_live",
    "loads",
    "loads_async",
    "shm",
]

# Loaded when first used, so that the plain Python fallback works where the native module does not.
_MODULES = {
    "AsyncClient": "mcpgateway_rust.client",
    "AsyncStream": "mcpgateway_rust.client",
    "Client": "mcpgateway_rust.client",
    "Stream": "mcpgateway_rust.client",
    "loads": "mcpgateway_rust.json",
    "loads_async": "mcpgateway_rust.json",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "shm":
        return import_module("mcpgateway_rust.shm")
    value = getattr(import_module(_MODULES.get(name, "mcpgateway_rust._native")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
