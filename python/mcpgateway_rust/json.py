"""JSON that is looked into rather than built; see `Document`. Full Python objects are here too, by `loads`."""

from __future__ import annotations

from typing import Any

from mcpgateway_rust import _native
from mcpgateway_rust._native import Document, Node, loads
from mcpgateway_rust._types import Buffer

__all__ = ["Document", "Node", "loads", "loads_async"]


async def loads_async(buffer: Buffer) -> Any:
    """The Python objects of a JSON text, without holding up the event loop.

    The text is checked on another thread. The objects are then made about a millisecond at a time, with a short
    sleep between, in which the event loop runs. Python's cyclic garbage collector is off while they are made. What
    it does afterwards with that many new objects, and freeing them, happens in one go on the thread it happens on:
    where that is too long, keep to a `Document`.

    Args:
        buffer: As for `Document`.

    Raises:
        JsonError: It is not JSON, or has a number that Python cannot make.
        LimitExceeded: It is nested deeper than 1,024, or 4 GiB or larger.
    """
    return await _native.loads_async(buffer)
