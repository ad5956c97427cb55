"""The awaitable that the native module hands out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


class NativeFuture(asyncio.Future[T]):
    """A future whose cancellation also ends the native call behind it, and frees its buffers."""

    _abort: Callable[[], None]

    def cancel(self, msg: Any | None = None) -> bool:
        """Cancel the future and the call."""
        cancelled = super().cancel(msg)
        if cancelled:
            self._abort()
        return cancelled
