"""The loopback agent of `mcpgateway-rust serve`, in its own process, as tests use it."""

import hashlib
import select
import signal
import subprocess
import sys
from types import TracebackType
from typing import Self

from support.process import environment

START_SECONDS = 20.0
STOP_SECONDS = 10.0


class NativeServer:
    """Starts the agent on a free loopback port; `url` is where it listens."""

    def __init__(self, *arguments: str) -> None:
        self._arguments = arguments
        self._process: subprocess.Popen[str] | None = None
        self.url = ""

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "mcpgateway_rust.cli", "serve", "--host", "127.0.0.1", "--port", "0"]
        self._process = subprocess.Popen(
            [*command, *self._arguments], stdout=subprocess.PIPE, text=True, env=environment()
        )
        self.url = self._first_line()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        return self._running().pid

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Ask the agent to end and return its exit status."""
        process = self._running()
        if process.poll() is None:
            process.send_signal(how)
        try:
            return process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
        finally:
            if process.stdout is not None:
                process.stdout.close()

    def _running(self) -> subprocess.Popen[str]:
        assert self._process is not None, "the agent was not started: use `with NativeServer() as agent`"
        return self._process

    def _first_line(self) -> str:
        process = self._running()
        assert process.stdout is not None
        readable, _, _ = select.select([process.stdout], [], [], START_SECONDS)
        line = process.stdout.readline().strip() if readable else ""
        if not line.startswith("http://127.0.0.1:"):
            process.kill()
            raise AssertionError(f"serve printed {line!r} and ended with {process.wait()} instead of giving its URL")
        return line


def sha256(data: bytes | bytearray | memoryview) -> str:
    """The digest that `POST /sink` reports for `data`."""
    return hashlib.sha256(data).hexdigest()
