"""The processes of a measurement: the server, and a fresh one for each cell."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from mcpgateway_rust.sweep.bodies import Bodies
from mcpgateway_rust.sweep.cells import Cell, Sample
from mcpgateway_rust.sweep.instruments import OtherLoad

START_SECONDS = 30.0
PATIENCE = 300.0
"""Seconds after which a cell is given up."""
EXCHANGES = ("-m", "mcpgateway_rust.sweep.exchanges")
"""What runs in the process of a cell, as arguments of Python."""


class ServerError(RuntimeError):
    """The server could not be started, such as on a port that is in use."""


class Server:
    """A `serve` process. `url` names one that is running already, which is then used as it is."""

    def __init__(self, *, url: str | None = None, port: int = 0) -> None:
        self._given, self._port = url, port
        self._process: subprocess.Popen[str] | None = None
        self.url = ""

    @property
    def pid(self) -> int | None:
        """The process, if it is ours."""
        return self._process.pid if self._process else None

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start it and wait for its URL.

        Raises:
            ServerError: It says why it cannot run, or nothing within 30 s.
        """
        if self._given is not None:
            self.url = self._given.rstrip("/")
            return
        command = [sys.executable, "-m", "mcpgateway_rust.cli", "serve", "--port", str(self._port)]
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], START_SECONDS)
        self.url = self._process.stdout.readline().strip() if ready else ""
        if not self.url:
            self._process.kill()
            _, said = self._process.communicate()
            self._process = None
            raise ServerError(f"no server on port {self._port}: {_gist(said) or f'no URL within {START_SECONDS:g} s'}")

    def death(self) -> str:
        """How it ended; empty while it runs, or if it is not ours."""
        status = self._process.poll() if self._process else None
        if status is None:
            return ""
        return f"the server was killed by signal {-status}" if status < 0 else f"the server ended with status {status}"

    def stop(self) -> None:
        """End it, if it is ours."""
        if self._process is not None:
            self._process.terminate()
            self._process.communicate()
            self._process = None


def _gist(said: str) -> str:
    """What a command line complained of, without the frame around it."""
    lines = [line.strip(" │╭╮╰╯─") for line in said.splitlines()]
    told = [line for line in lines if line and line != "Error" and not line.startswith(("Usage:", "Try "))]
    return " ".join(told)


@contextlib.contextmanager
def server(url: str | None = None) -> Iterator[str]:
    """The URL of a `serve` process that lives as long as the context; `url` names one that is running already."""
    with Server(url=url) as running:
        yield running.url


def measure(
    cell: Cell,
    url: str,
    bodies: Bodies,
    *,
    patience: float = PATIENCE,
    program: Sequence[str] = EXCHANGES,
    server_pid: int | None = None,
) -> Sample:
    """Run `cell` in a process of its own against the server at `url`; give up after `patience` seconds.

    Raises:
        OSError: There is no room for its body, or the server cannot be asked for it.
    """
    digest = bodies.digest(cell.size, cell.shape, url)
    job = [asdict(cell), url, str(bodies.path(cell.size, cell.shape)), digest]
    return in_a_process(program, job, cell, patience=patience, server_pid=server_pid)


def in_a_process(
    program: Sequence[str], job: list[Any], cell: Cell, *, patience: float = PATIENCE, server_pid: int | None = None
) -> Sample:
    """The figures and notes that `program` (arguments of Python) prints for `job`; none after `patience` seconds."""
    load = os.getloadavg()[0]
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    command = [sys.executable, *program, json.dumps(job)]
    other = OtherLoad(server_pid)
    try:
        with other:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=patience, env=environment, check=False
            )
    except subprocess.TimeoutExpired:
        return Sample(cell, load, error=f"not done after {patience:.0f} s")
    if done.returncode != 0:
        return Sample(cell, load, error=_why(done), foreign=other.share)
    figures, notes = json.loads(done.stdout)
    return Sample(cell, load, figures, notes, foreign=other.share)


def _why(done: subprocess.CompletedProcess[str]) -> str:
    if done.returncode < 0:
        return f"killed by signal {-done.returncode}"
    lines = done.stderr.strip().splitlines()
    return lines[-1] if lines else f"exit status {done.returncode}"
