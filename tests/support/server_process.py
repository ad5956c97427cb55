"""A server in a process of its own that prints its URL as its first line: how the peers of the tests are run."""

import os
import select
import subprocess
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from support.process import environment

START_SECONDS = 30.0
STOP_SECONDS = 10.0


class ServerProcess:
    """Runs `command` as long as the context lives; `url` is the first line that it printed."""

    def __init__(self, command: Sequence[str | os.PathLike[str]]) -> None:
        self._command = [os.fspath(part) for part in command]
        self._process: subprocess.Popen[str] | None = None
        self.url = ""

    @property
    def pid(self) -> int:
        return self._running().pid

    @property
    def base(self) -> str:
        """Scheme, host and port of the URL."""
        return "/".join(self.url.split("/")[:3])

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True, env=environment())
        try:
            self.url = self._first_line()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Ask the server to end, and insist after ten seconds."""
        process = self._running()
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()

    def _running(self) -> subprocess.Popen[str]:
        assert self._process is not None, "the server was not started: use `with`"
        return self._process

    def _first_line(self) -> str:
        stdout = self._running().stdout
        assert stdout is not None
        readable, _, _ = select.select([stdout], [], [], START_SECONDS)
        line = stdout.readline().strip() if readable else ""
        if not line.startswith("http"):
            raise AssertionError(f"{' '.join(self._command)} printed {line!r} instead of its URL")
        return line
