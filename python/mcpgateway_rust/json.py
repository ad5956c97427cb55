"""JSON that is looked into rather than built; see `Document`. Full Python objects are here too, by `loads`."""

from __future__ import annotations

from typing import Any

from mcpgateway_rust import _native
from mcpgateway_rust._native import Document, Node, loads
from mcpgateway_rust._types import Buffer

__all__ = ["Document", "Node", "loads", "loads_async"]


async def loads_async(buffer: Buffer) -> Any:
    """The Python objects of a JSON text, without holding up the event loop.

    The text is read on another thread. The objects are then made about a millisecond at a time, with a short sleep
    between, in which the event loop runs. What was made counts as old to Python's cyclic garbage collector, so that
    no collection of new objects has to look at all of it; the next full one does. Freeing the objects happens in one
    go on the thread that lets go of them (100 ms for those of 100 MB): where that is too long, keep to a `Document`.

    Args:
        buffer: As for `Document`.

    Raises:
        JsonError: It is not JSON, or has a number that Python cannot make.
        LimitExceeded: It is nested deeper than 1,024, or 4 GiB or larger.
    """
    return await _native.loads_async(buffer)
