"""Payloads between processes, beside the ways of the standard library, all in one run; medians.

    python benches/python/shm_cases.py            # everything: 1 MiB to 1 GiB (4 GiB for the pass), 5 repeats
    python benches/python/shm_cases.py --quick    # up to 64 MiB, 2 repeats

Every answer is verified before its time counts. What is measured, in milliseconds unless it says otherwise:

    read/SIZE    from process A having the bytes until process B has read each of them. `spooled` and `file` begin with
                 the bytes where B can map them (a payload in a spool; a file in the page cache); all others, `put`
                 among them, with a buffer of A's, which they copy or send
    pass/SIZE    in B: a reference opened, mapped and its first byte read, in microseconds
    spool/SIZE   a buffer of A's into a spool (`put`), by `pwrite` into a memory file, into a fresh mapping
    scan/SIZE    a file in the page cache: mapped by `Payload.open(trusted=True)` and read, or read whole and read
    gap/1GiB     how late the event loop is at most for a tick due each millisecond while a buffer is spooled by
                 `put_async`, and (`idle`) while there is nothing to do
    worker/1GiB  anonymous memory of a worker, at its peak beyond what it began with, in MiB: it receives a reply into
                 a spool, shares it, and sends it on from the reference
"""

from __future__ import annotations

import argparse
import asyncio
import json
import mmap
import multiprocessing
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date
from multiprocessing.connection import Connection
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from first_light import RESULTS, markdown, spread
from mcpgateway_rust import Client, Payload, shm
from mcpgateway_rust.sweep.instruments import LoopWatch
from mcpgateway_rust.sweep.machine import machine
from mcpgateway_rust.sweep.processes import server
from mcpgateway_rust.sweep.sizes import named

MIB = 1 << 20
GIB = 1 << 30
CHUNK = 128 << 10
PASSES = 300
READ_SIZES = [MIB, 16 * MIB, 64 * MIB, 256 * MIB, GIB]
PASS_SIZES = [MIB, 64 * MIB, GIB, 4 * GIB]
SPOOL_SIZES = [16 * MIB, 64 * MIB, 256 * MIB, GIB]

Figures = dict[tuple[str, str], list[float]]


@dataclass(frozen=True)
class Target:
    """What a cell is to reach: a ratio to a rival of the same cell, or a figure of its own."""

    cell: str
    way: str
    most: float
    rival: str = ""
    """The figure of `way` is at most `most` times that of the rival; without one, at most `most`."""

    def row(self, figures: Figures) -> list[str] | None:
        """Ours, the rival's, the ratio, the target, whether it is reached."""
        if (self.cell, self.way) not in figures:
            return None
        ours = statistics.median(figures[self.cell, self.way])
        if not self.rival:
            return [self.cell, self.way, f"{ours:.3g}", "-", "-", f"<= {self.most:g}", verdict(ours <= self.most)]
        theirs = statistics.median(figures[self.cell, self.rival])
        asked = f"<= {self.most:g}x" if self.most > 1 else f"{1 / self.most:g}x faster"
        ratio = f"{ours / theirs:.2f}" if self.most > 1 else f"{theirs / ours:.1f}x faster"
        reached = verdict(ours <= self.most * theirs)
        return [self.cell, self.way, f"{ours:.3g}", f"{theirs:.3g} ({self.rival})", ratio, asked, reached]


TARGETS = [
    *(Target(f"pass/{named(size)}", "open", 100.0) for size in PASS_SIZES),
    Target("read/64MiB", "spooled", 1 / 10, "pickle over a Pipe"),
    Target("read/64MiB", "spooled", 1 / 5, "Unix socket"),
    Target("read/64MiB", "spooled", 1 / 5, "shared_memory"),
    *(Target(f"spool/{named(size)}", "put", 1 / 1.6, "fresh mapping") for size in SPOOL_SIZES),
    *(Target(f"spool/{named(size)}", "put", 1.2, "pwrite") for size in SPOOL_SIZES),
    Target("scan/64MiB", "mapped", 1 / 5, "read whole"),
    Target("scan/1GiB", "mapped", 1 / 5, "read whole"),
    Target("gap/1GiB", "put_async", 10.0),
    Target("worker/1GiB", "ours", 32.0),
]


def verdict(reached: bool) -> str:
    """As the table says it."""
    return "yes" if reached else "**no**"


def read(buffer: Any) -> int:
    """Look at each byte: their sum, by words."""
    return int(np.frombuffer(buffer, "u8").sum())


# --- process B --------------------------------------------------------------------------------------------------------


def reader(pipe: Connection, stream: socket.socket, directory: str) -> None:
    """Serve what A asks for until it says that it is over."""
    while (asked := pipe.recv())[0] != "over":
        pipe.send(WAYS_IN[asked[0]](pipe, stream, directory, *asked[1:]))


def _read_pipe(pipe: Connection, _stream: socket.socket, _directory: str) -> int:
    return read(pipe.recv())


def _read_socket(_pipe: Connection, stream: socket.socket, _directory: str, size: int) -> int:
    room = bytearray(size)
    view, got = memoryview(room), 0
    while got < size:
        got += stream.recv_into(view[got:])
    return read(room)


def _read_shared_memory(_pipe: Connection, _stream: socket.socket, _directory: str, name: str, size: int) -> int:
    memory = SharedMemory(name)
    answer = int(np.ndarray((size // 8,), "u8", memory.buf).sum())
    memory.close()
    return answer


def _read_memory_file(_pipe: Connection, stream: socket.socket, _directory: str, size: int) -> int:
    _, descriptors, _, _ = socket.recv_fds(stream, 1, 1)
    with mmap.mmap(descriptors[0], size, prot=mmap.PROT_READ) as mapped:
        os.close(descriptors[0])
        array = np.frombuffer(mapped, "u8")
        answer = int(array.sum())
        del array
    return answer


def _read_file(_pipe: Connection, _stream: socket.socket, _directory: str, path: str) -> int:
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        array = np.frombuffer(mapped, "u8")
        answer = int(array.sum())
        del array
    return answer


def _read_reference(_pipe: Connection, _stream: socket.socket, directory: str, reference: str) -> int:
    return read(shm.open(reference, directory=directory))


def _pass(_pipe: Connection, _stream: socket.socket, directory: str, reference: str, first: int) -> list[float]:
    seconds = []
    spool = shm.Spool(directory=directory)
    for _ in range(PASSES):
        started = perf_counter()
        payload = spool.open(reference)
        byte = payload[0]
        seconds.append(perf_counter() - started)
        assert byte == first
        del payload
    return seconds


WAYS_IN: dict[str, Callable[..., Any]] = {
    "pipe": _read_pipe,
    "socket": _read_socket,
    "shared_memory": _read_shared_memory,
    "memory_file": _read_memory_file,
    "file": _read_file,
    "reference": _read_reference,
    "pass": _pass,
}


# --- process A --------------------------------------------------------------------------------------------------------


@dataclass
class Stage:
    """What process A works with."""

    pipe: Connection
    stream: socket.socket
    spool: shm.Spool
    directory: Path

    def ask(self, *question: Any) -> Any:
        """B's answer."""
        self.pipe.send(question)
        return self.pipe.recv()

    # Each way gives B the bytes of `body` and returns B's sum of them.

    def by_pipe(self, body: bytes) -> Any:
        """Pickled, as `multiprocessing` does it."""
        self.pipe.send(("pipe",))
        self.pipe.send(body)
        return self.pipe.recv()

    def by_socket(self, body: bytes) -> Any:
        """Sent as they are."""
        self.pipe.send(("socket", len(body)))
        self.stream.sendall(body)
        return self.pipe.recv()

    def by_shared_memory(self, body: bytes) -> Any:
        """Copied into a named segment."""
        memory = SharedMemory(create=True, size=len(body))
        try:
            np.ndarray((len(body),), "u1", memory.buf)[:] = np.frombuffer(body, "u1")
            return self.ask("shared_memory", memory.name, len(body))
        finally:
            memory.close()
            memory.unlink()

    def by_memory_file(self, body: bytes) -> Any:
        """Written into a memory file, whose descriptor is passed."""
        descriptor = os.memfd_create("bench")
        write_all(descriptor, body)
        self.pipe.send(("memory_file", len(body)))
        socket.send_fds(self.stream, [b"x"], [descriptor])
        os.close(descriptor)
        return self.pipe.recv()

    def by_put(self, body: bytes) -> Any:
        """Put into the spool, shared, opened."""
        reference = self.spool.put(body).share(ttl=60)
        try:
            return self.ask("reference", str(reference))
        finally:
            self.spool.revoke(reference)


def write_all(descriptor: int, body: bytes) -> None:
    """`pwrite` in pieces as they come from a socket."""
    view = memoryview(body)
    for start in range(0, len(body), CHUNK):
        os.pwrite(descriptor, view[start : start + CHUNK], start)


@contextmanager
def stage(directory: Path) -> Iterator[Stage]:
    """Process B, started; ended with the block."""
    ours, theirs = multiprocessing.Pipe()
    stream, other = socket.socketpair()
    context = multiprocessing.get_context("spawn")
    spool = shm.Spool(directory=directory / "spool", memory_budget=12 * GIB)
    process = context.Process(target=reader, args=(theirs, other, str(spool.directory)))
    process.start()
    try:
        yield Stage(ours, stream, spool, directory)
    finally:
        ours.send(("over",))
        process.join()


def body_of(size: int) -> bytes:
    """Bytes that no page shares with another."""
    return np.random.default_rng(41).bytes(size)


def timed(act: Callable[[], Any], expected: Any = None) -> float:
    """Milliseconds that `act` takes; its answer is verified."""
    started = perf_counter()
    answer = act()
    elapsed = (perf_counter() - started) * 1e3
    assert expected is None or answer == expected, (answer, expected)
    return elapsed


def measure_read(on: Stage, size: int, repeats: int, figures: Figures) -> None:
    """Each way in turn, as often as there are repeats."""
    cell, body = f"read/{named(size)}", body_of(size)
    expected = read(body)
    path = on.directory / "file"
    path.write_bytes(body)
    payload = on.spool.put(body)
    ways: dict[str, Callable[[], Any]] = {
        "spooled": lambda: on.ask("reference", str(payload.share(ttl=60))),
        "put": lambda: on.by_put(body),
        "pickle over a Pipe": lambda: on.by_pipe(body),
        "Unix socket": lambda: on.by_socket(body),
        "shared_memory": lambda: on.by_shared_memory(body),
        "memory file, written and passed": lambda: on.by_memory_file(body),
        "file": lambda: on.ask("file", str(path)),
    }
    if size <= 64 * MIB:
        # What only the first payload costs: connections, imports, allocators that learn.
        for act in ways.values():
            timed(act, expected)
    for _ in range(repeats):
        for way, act in ways.items():
            figures.setdefault((cell, way), []).append(timed(act, expected))
    path.unlink()


def measure_pass(on: Stage, size: int, repeats: int, figures: Figures) -> None:
    """The median of many, for each repeat."""
    writer = on.spool.writer(size)
    block = body_of(min(size, 64 * MIB))
    for _ in range(size // len(block)):
        writer.write(block)
    reference = writer.finish().share(ttl=600)
    for _ in range(repeats):
        seconds = on.ask("pass", str(reference), block[0])
        figures.setdefault((f"pass/{named(size)}", "open"), []).append(statistics.median(seconds) * 1e6)
    on.spool.revoke(reference)


def into_fresh_mapping(body: bytes) -> mmap.mmap:
    """A shared mapping that has never been touched, filled by stores."""
    mapped = mmap.mmap(-1, len(body))
    view = memoryview(body)
    for start in range(0, len(body), CHUNK):
        mapped[start : start + CHUNK] = view[start : start + CHUNK]
    return mapped


def by_pwrite(body: bytes) -> int:
    """A memory file."""
    descriptor = os.memfd_create("bench")
    write_all(descriptor, body)
    return descriptor


def measure_spool(on: Stage, size: int, repeats: int, figures: Figures) -> None:
    """Into a spool and beside it. What was made is let go outside of the time."""
    cell, body = f"spool/{named(size)}", body_of(size)
    for _ in range(repeats):
        ways: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
            "put": (lambda: on.spool.put(body), lambda _payload: None),
            "pwrite": (lambda: by_pwrite(body), os.close),
            "fresh mapping": (lambda: into_fresh_mapping(body), lambda mapped: mapped.close()),
        }
        for way, (act, let_go) in ways.items():
            started = perf_counter()
            made = act()
            figures.setdefault((cell, way), []).append((perf_counter() - started) * 1e3)
            let_go(made)
            del made


def measure_scan(on: Stage, size: int, repeats: int, figures: Figures) -> None:
    """A file that is in the page cache already."""
    cell, body = f"scan/{named(size)}", body_of(size)
    path, expected = on.directory / "file", read(body)
    path.write_bytes(body)
    ways: dict[str, Callable[[], int]] = {
        "mapped": lambda: read(Payload.open(path, trusted=True)),
        "read whole": lambda: read(path.read_bytes()),
    }
    for _ in range(repeats):
        for way, act in ways.items():
            figures.setdefault((cell, way), []).append(timed(act, expected))
    path.unlink()


async def _gap(on: Stage, body: bytes) -> tuple[float, float]:
    async with LoopWatch() as idle:
        await asyncio.sleep(0.5)
    async with LoopWatch() as busy:
        payload = await on.spool.put_async(body)
        del payload
    return idle.longest * 1e3, busy.longest * 1e3


def measure_gap(on: Stage, size: int, repeats: int, figures: Figures) -> None:
    """The event loop beside a large `put_async`."""
    body = body_of(size)
    for _ in range(repeats):
        idle, busy = asyncio.run(_gap(on, body))
        figures.setdefault((f"gap/{named(size)}", "idle"), []).append(idle)
        figures.setdefault((f"gap/{named(size)}", "put_async"), []).append(busy)


def worker(url: str, directory: str, size: int) -> None:
    """Receive, share, open, send on; print the most anonymous memory beyond the beginning, in MiB."""

    def anonymous_kib() -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))

    over = threading.Event()
    spool = shm.Spool(directory=directory, memory_budget=12 * GIB)
    with Client(spool=spool) as client:
        client.post(f"{url}/sink", client.get(f"{url}/source/{4 * MIB}").body)
        before = most = anonymous_kib()

        def watch() -> None:
            nonlocal most
            while not over.wait(0.005):
                most = max(most, anonymous_kib())

        watcher = threading.Thread(target=watch)
        watcher.start()
        reply = client.get(f"{url}/source/{size}")
        payload = shm.open(reply.body.share(ttl=60), directory=directory)
        said = json.loads(client.post(f"{url}/sink?digest=none", payload).text)
        over.set()
        watcher.join()
    assert said["bytes"] == size
    print((most - before) / 1024)


def measure_worker(on: Stage, size: int, repeats: int, figures: Figures) -> None:
    """A fresh worker for each repeat."""
    with server() as url:
        for _ in range(repeats):
            command = [sys.executable, __file__, "--worker", url, str(on.directory / "worker"), str(size)]
            printed = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300).stdout
            figures.setdefault((f"worker/{named(size)}", "ours"), []).append(float(printed))


def measure_all(quick: bool, repeats: int) -> Figures:
    """Every cell."""
    figures: Figures = {}
    most = 64 * MIB if quick else 4 * GIB
    plan = [(measure_read, READ_SIZES), (measure_pass, PASS_SIZES), (measure_spool, SPOOL_SIZES)]
    plan += [(measure_scan, [64 * MIB, GIB]), (measure_gap, [GIB]), (measure_worker, [GIB])]
    with ExitStack() as exits:
        directory = Path(exits.enter_context(tempfile.TemporaryDirectory()))
        on = exits.enter_context(stage(directory))
        for measure, sizes in plan:
            for size in sizes:
                if size <= most:
                    print(f"{measure.__name__} {named(size)}", file=sys.stderr, flush=True)
                    measure(on, size, repeats, figures)
    return figures


def report(figures: Figures, facts: dict[str, Any], repeats: int) -> str:
    """Both tables as one Markdown document."""
    text = (
        f"# Payloads between processes\n\n{facts['date']}, {facts['cpu']}, {facts['cores']} cores, "
        f"Linux {facts['kernel']}, Python {facts['python']}. {repeats} repeats, the ways in turn; medians. "
        "What each cell is: the first lines of `benches/python/shm_cases.py`.\n\n## Targets\n\n"
    )
    rows = [row for target in TARGETS if (row := target.row(figures)) is not None]
    text += markdown(["cell", "way", "ours", "beside", "ratio", "target", "reached"], rows)
    text += "\n## All: median (min..max), in ms; pass in us, worker in MiB\n\n"
    cells = [[cell, way, spread(values)] for (cell, way), values in figures.items()]
    return text + markdown(["cell", "way", "figure"], cells)


def write(figures: Figures, facts: dict[str, Any], text: str, directory: Path) -> None:
    """All samples and the report."""
    samples = [{"cell": cell, "way": way, "values": values} for (cell, way), values in figures.items()]
    (directory / f"shm-{date.today()}.json").write_text(json.dumps({"machine": facts, "samples": samples}, indent=1))
    (directory / "shm.md").write_text(text)


def main(given: Sequence[str] | None = None) -> None:
    """Measure, report, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="up to 64 MiB, 2 repeats, nothing written")
    parser.add_argument("--repeats", type=int, metavar="N", help="how often each way has its turn (default 5)")
    parser.add_argument("--output", type=Path, metavar="DIR", help="where to write the results")
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args(given)
    if options.worker:
        worker(options.worker[0], options.worker[1], int(options.worker[2]))
        return
    facts = machine()
    repeats = options.repeats or (2 if options.quick else 5)
    figures = measure_all(options.quick, repeats)
    text = report(figures, facts, repeats)
    print(text)
    directory = options.output or (None if options.quick else RESULTS)
    if directory:
        write(figures, facts, text, directory)


if __name__ == "__main__":
    main()
