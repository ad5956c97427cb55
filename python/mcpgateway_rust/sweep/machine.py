"""What figures were measured on: they mean little without."""

from __future__ import annotations

import os
import platform
import re
from datetime import datetime
from pathlib import Path
from typing import Any

from mcpgateway_rust.sweep.backends import BACKENDS


def machine(packages: dict[str, str | None] | None = None) -> dict[str, Any]:
    """The machine's facts; `packages` are the versions measured, those of the HTTP clients if not given."""
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    huge_pages = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    return {
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "cpu": cpu[1] if cpu else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": platform.release(),
        "transparent_hugepage": huge_pages.read_text().strip() if huge_pages.exists() else "none",
        "python": platform.python_version(),
        "packages": packages
        or {backend.package: backend.version() for backend in BACKENDS.values() if backend.package},
        "load": os.getloadavg(),
    }


def described(facts: dict[str, Any]) -> str:
    """The facts as one line for a reader."""
    return (
        f"{facts['cpu']}, {facts['cores']} cores, {facts['memory_gib']:g} GiB, Linux {facts['kernel']}, "
        f"Python {facts['python']}"
    )


def memory_limit() -> int:
    """Bytes of memory that are free to use: of the machine, or what is left of its container's limit."""
    available = re.search(r"MemAvailable:\s*(\d+) kB", Path("/proc/meminfo").read_text())
    free = int(available[1]) << 10 if available else os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    used = Path("/sys/fs/cgroup/memory.current")
    if limit.exists() and used.exists() and limit.read_text().strip().isdigit():
        free = min(free, int(limit.read_text()) - int(used.read_text()))
    return free
