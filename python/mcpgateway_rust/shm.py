"""Memory that outlives a call, and crosses processes by a handle.

Example:
    spool = shm.Spool()
    reference = str(spool.put(array).share(ttl=300))
    # In another process, which has a spool with the same directory, or uses the default one:
    same = numpy.frombuffer(shm.open(reference), array.dtype)  # the same pages, not a copy

See docs/shared-memory.md for where the bytes are, the settings of containers, and what is guaranteed.
"""

from __future__ import annotations

from mcpgateway_rust import _native
from mcpgateway_rust._future import NativeFuture
from mcpgateway_rust._native import Payload, PayloadRef, Spool, SpoolWriter
from mcpgateway_rust._types import DurablePayload, FilePath, Listing, SpoolStats, SweepReport, Usage, Worker

__all__ = [
    "DurablePayload",
    "Listing",
    "PayloadRef",
    "Spool",
    "SpoolStats",
    "SpoolWriter",
    "SweepReport",
    "Usage",
    "Worker",
    "limit_process",
    "list_",
    "open",
    "open_async",
    "stats",
    "sweep",
]


def open(  # noqa: A001 - read as shm.open
    reference: PayloadRef | str, *, directory: FilePath | None = None, tenant: str | None = None
) -> Payload:
    """The payload that another process shares as `reference`: the same pages, not a copy.

    Args:
        reference: A reference, or its text.
        directory: That of the spool that shared it. If neither this nor `tenant` is given, the spools of this
            process are asked, and then the default directory.
        tenant: Whose payloads may be opened; `"default"` if only `directory` is given.

    Raises:
        Denied: The reference is another tenant's, or that spool did not sign it.
        PayloadGone: It has expired or was revoked, or its worker is gone.
        InvalidReference: The text is no reference.
        GatewayTimeout: Its worker was stopped: it does not answer.
    """
    return _native.open_payload(reference, directory=directory, tenant=tenant)


def open_async(
    reference: PayloadRef | str, *, directory: FilePath | None = None, tenant: str | None = None
) -> NativeFuture[Payload]:
    """As `open`, for the event loop: `await shm.open_async(reference)`."""
    return _native.open_payload_async(reference, directory=directory, tenant=tenant)


def list_(directory: FilePath | None = None) -> Listing:
    """What a spool directory holds, and who holds it.

    Args:
        directory: The default one if not given. Made if there is none.

    Raises:
        Denied: Others may use the directory, or it is another user's.
    """
    return _native.list_spool(directory)


def sweep(directory: FilePath | None = None) -> SweepReport:
    """Remove from a spool directory what dead workers left, and the durable payloads that have expired.

    Every spool does so when it is made, and every minute. Files that are none of ours are left alone.

    Args:
        directory: The default one if not given. Made if there is none.

    Raises:
        Denied: Others may use the directory, or it is another user's.
    """
    return _native.sweep_spool(directory)


def limit_process(
    *, memory_budget: int | None = None, disk_budget: int | None = None, directory: FilePath | None = None
) -> None:
    """Set what this process may use for replies whose client has no spool, and for the copies it makes.

    Copies are those of views that are not contiguous, of ropes in one piece, of snapshots and of files. What the
    memory budget has no room for goes into a private file without a name; what the disk budget has no room for
    either raises `QuotaExceeded`. What is there already is not touched.

    Args:
        memory_budget: Bytes. By default a quarter of what the container or the machine has, or half of what is
            free, whichever is less.
        disk_budget: Bytes. By default half of what is free.
        directory: Where such files are, and what is shared without a spool. By default that of `Spool`.
    """
    _native.limit_process(memory_budget=memory_budget, disk_budget=disk_budget, directory=directory)


def stats() -> dict[str, int]:
    """What the warm pool of this process holds.

    Returns:
        `live_bytes` and `regions_live` (in use by replies), `idle_bytes` and `regions_idle` (waiting to be
        used again), `hits` and `misses` (allocations that could recycle or had to map fresh memory),
        `cap_bytes`, the most that is kept idle; `budget_bytes` and `budget_used_bytes`, what replies and copies
        may use of it and do (see `limit_process`).
    """
    return _native.pool_stats()
