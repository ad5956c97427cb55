"""Copy, borrow and map on this machine: what each costs by size, and from where on which is the cheapest.

A buffer that is sent is copied first or borrowed: measured as whole calls to a server on this machine. A body that
another process is to read goes through a socket or is mapped by both: measured until the other has looked at each page.
"""

from __future__ import annotations

import json
import math
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from time import perf_counter
from typing import Any

from mcpgateway_rust import Client, TransferPolicy, shm
from mcpgateway_rust.sweep.instruments import OtherLoad
from mcpgateway_rust.sweep.intervals import Estimate, compare, estimate
from mcpgateway_rust.sweep.machine import described, machine
from mcpgateway_rust.sweep.processes import Server
from mcpgateway_rust.sweep.sizes import KIB, MIB

NEVER = 1 << 62
SENT_SIZES = [KIB << power for power in range(13)]
"""1 KiB to 4 MiB."""
HANDED_SIZES = [4 * KIB << 2 * power for power in range(8)]
"""4 KiB to 64 MiB."""
ROUNDS = 9
"""Blocks of calls for each size and way; the ways take turns."""
SECONDS = 20.0


@dataclass(frozen=True)
class Row:
    """Two ways to treat a body of `size` bytes, in seconds a call."""

    size: int
    first: Estimate
    other: Estimate
    winner: str
    """`first`, `other`, or nothing where no difference is shown."""


@dataclass(frozen=True)
class Calibration:
    """What was measured, and the thresholds that follow."""

    borrow: tuple[Row, ...]
    """Copied first, or borrowed."""
    map: tuple[Row, ...]
    """Through a socket, or mapped."""
    policy: TransferPolicy
    foreign: float
    """Processor seconds that others used for each second."""


Way = Callable[[], None]


def calibrate(seconds: float = SECONDS, progress: Callable[[float], None] = lambda _: None) -> Calibration:
    """Measure for about `seconds`; `progress` is told how much of 1 is done.

    Raises:
        ServerError: The server cannot be started.
    """
    with Server() as server, OtherLoad(server.pid) as others:
        sent = tuple(_rows(SENT_SIZES, _sending(server.url), seconds * 0.6, progress, (0.0, 0.6)))
        with _handing() as ways:
            handed = tuple(_rows(HANDED_SIZES, ways, seconds * 0.4, progress, (0.6, 1.0)))
    usual = TransferPolicy()
    policy = TransferPolicy(
        copy_below=_or(threshold(sent), usual.copy_below), map_above=_or(threshold(handed), usual.map_above)
    )
    return Calibration(sent, handed, policy, others.share)


def threshold(rows: Sequence[Row]) -> int | None:
    """From which size on the other way wins: the first at which it is shown to, with none above where it loses.

    Where no difference is shown, the first way stays: it is the simpler one. None if the other never wins for good.
    """
    found = None
    for row in reversed(rows):
        if row.winner == "first":
            break
        if row.winner == "other":
            found = row.size
    return found


def _or(found: int | None, usual: int) -> int:
    return usual if found is None else found


def _rows(
    sizes: Sequence[int],
    ways_of: Callable[[int], tuple[Way, Way]],
    seconds: float,
    progress: Callable[[float], None],
    span: tuple[float, float],
) -> Iterator[Row]:
    for index, size in enumerate(sizes):
        times = _times(ways_of(size), seconds / len(sizes))
        difference = compare(*times)
        winner = "" if not difference.shown else "first" if difference.ratio < 1 else "other"
        yield Row(size, estimate(times[0]), estimate(times[1]), winner)
        progress(span[0] + (span[1] - span[0]) * (index + 1) / len(sizes))


def _times(ways: tuple[Way, Way], seconds: float) -> tuple[list[float], list[float]]:
    """Seconds a call in each block of each way; each block as long as the time allows."""
    times: tuple[list[float], list[float]] = ([], [])
    for way in ways:
        way()  # not counted: connections and pools are cold
    calls = max(1, round(seconds / (2 * ROUNDS) / max(_block(ways[0], 2), _block(ways[1], 2))))
    for turn in range(ROUNDS):
        for index in (0, 1) if turn % 2 else (1, 0):
            times[index].append(_block(ways[index], calls))
    return times


def _block(way: Way, calls: int) -> float:
    start = perf_counter()
    for _ in range(calls):
        way()
    return (perf_counter() - start) / calls


def _sending(url: str) -> Callable[[int], tuple[Way, Way]]:
    """Calls whose body is copied first, and borrowed."""
    clients = [Client(policy=TransferPolicy(copy_below=below)) for below in (NEVER, 0)]

    def ways(size: int) -> tuple[Way, Way]:
        body, expected = bytearray(size), json.dumps({"bytes": size}).encode()

        def post(client: Client) -> None:
            if bytes(client.post(f"{url}/sink?digest=none", body).body) != expected:
                raise AssertionError(f"the server did not receive {size} bytes")

        return (lambda: post(clients[0])), (lambda: post(clients[1]))

    return ways


@contextmanager
def _handing() -> Iterator[Callable[[int], tuple[Way, Way]]]:
    """Bodies that another process reads, through a socket, and mapped."""
    here, there = socket.socketpair()
    with tempfile.TemporaryDirectory(prefix="mcpgateway-calibrate-") as directory, here:
        command = [sys.executable, "-m", "mcpgateway_rust.sweep.reader", str(there.fileno()), directory]
        spool = shm.Spool(directory=directory, map_above=0)
        with there:
            reader = subprocess.Popen(command, pass_fds=[there.fileno()])

        def hand(kind: bytes, body: Any) -> None:
            here.sendall(kind + len(body).to_bytes(8, "little"))
            here.sendall(body)
            if here.recv(1) != b".":
                raise ConnectionError("the process that reads has ended")

        def ways(size: int) -> tuple[Way, Way]:
            body = bytes(size)

            def mapped() -> None:
                reference = spool.put(body).share(ttl=60)
                hand(b"m", str(reference).encode())
                spool.revoke(reference)

            return (lambda: hand(b"c", body)), mapped

        try:
            yield ways
        finally:
            here.shutdown(socket.SHUT_RDWR)
            reader.wait()


def write(calibration: Calibration, path: Path) -> None:
    """The file that `TransferPolicy.load` reads, with what it rests on.

    Raises:
        OSError: It cannot be written.
    """
    policy = calibration.policy
    measured = {
        name: [asdict(row) for row in rows] for name, rows in (("borrow", calibration.borrow), ("map", calibration.map))
    }
    text = {
        "copy_below": policy.copy_below,
        "map_above": policy.map_above,
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "machine": described(machine()),
        "measured_seconds_a_call": measured,
    }
    path.write_text(json.dumps(text, indent=1) + "\n")


def fixed_cost(rows: Sequence[Row]) -> tuple[float, float]:
    """Seconds that copying adds for a MiB, and that borrowing adds whatever the size: medians over large and small."""
    large = [row for row in rows if row.size >= MIB]
    small = [row for row in rows if row.size <= 16 * KIB]
    per_mib = statistics.median((row.first.median - row.other.median) / row.size * MIB for row in large)
    fixed = statistics.median(row.other.median - row.first.median for row in small)
    return max(per_mib, 0.0), fixed if math.isfinite(fixed) else 0.0
