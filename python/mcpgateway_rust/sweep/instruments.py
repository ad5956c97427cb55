"""What is read while a cell runs: memory, processor time, page faults, and how late the event loop is."""

from __future__ import annotations

import asyncio
import gc
import os
import resource
from pathlib import Path
from time import perf_counter

TICK = 0.001
"""Seconds between two ticks of the event-loop watch."""


def resident_kib(name: str) -> int:
    """`VmRSS` (now) or `VmHWM` (peak since the last reset), in KiB."""
    _, _, value = Path("/proc/self/status").read_text().partition(f"{name}:")
    return int(value.split(maxsplit=1)[0])


def memory_baseline() -> int:
    """Forget the peak so far and return the resident KiB of this moment."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    return resident_kib("VmRSS")


def cpu_seconds() -> float:
    """User and system seconds of this process, all threads."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def minor_faults() -> int:
    """Page faults of this process that needed no disk."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


class LoopWatch:
    """Within `async with`, notes how late the event loop is for a tick due each millisecond: `longest`, in seconds."""

    def __init__(self) -> None:
        self.longest = 0.0

    async def _tick(self) -> None:
        last = perf_counter()
        while True:
            await asyncio.sleep(TICK)
            now = perf_counter()
            self.longest = max(self.longest, now - last - TICK)
            last = now

    async def __aenter__(self) -> LoopWatch:
        self._ticker = asyncio.create_task(self._tick())
        await asyncio.sleep(5 * TICK)
        self.longest = 0.0
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.sleep(5 * TICK)  # a stall in the last transfer is only seen by the tick after it
        self._ticker.cancel()


class OtherLoad:
    """Within `with`, the processor time that others used: `share`, in seconds for each second.

    Others are all but this process, its finished children and the process `server`. What a host took away counts too;
    interrupts do not, because moving our own bytes causes them.
    """

    def __init__(self, server: int | None = None) -> None:
        self.share = 0.0
        self._server = server

    def __enter__(self) -> OtherLoad:
        self._start = (perf_counter(), _machine_seconds(), self._own_seconds())
        return self

    def __exit__(self, *_: object) -> None:
        wall, machine, own = self._start
        used = (_machine_seconds() - machine) - (self._own_seconds() - own)
        self.share = max(0.0, round(used / max(perf_counter() - wall, TICK), 3))

    def _own_seconds(self) -> float:
        usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(usage.ru_utime + usage.ru_stime for usage in usages) + _process_seconds(self._server)


def _machine_seconds() -> float:
    """User, nice, system and stolen seconds of the whole machine."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split(maxsplit=9)[1:9]]
    return (fields[0] + fields[1] + fields[2] + fields[7]) / os.sysconf("SC_CLK_TCK")


def _process_seconds(pid: int | None) -> float:
    if pid is None:
        return 0.0
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
