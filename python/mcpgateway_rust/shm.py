"""Memory that outlives a call: what is held where."""

from __future__ import annotations

from mcpgateway_rust._native import pool_stats


def stats() -> dict[str, int]:
    """What the warm pool of this process holds.

    Returns:
        `live_bytes` and `regions_live` (in use by replies), `idle_bytes` and `regions_idle` (waiting to be
        used again), `hits` and `misses` (allocations that could recycle or had to map fresh memory), and
        `cap_bytes`, the most that is kept idle.
    """
    return pool_stats()
