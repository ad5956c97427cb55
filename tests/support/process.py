"""Python programs in a process of their own: what a crash, a fork or an exit would otherwise take down is pytest."""

import os
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
PROGRAM_SECONDS = 60.0


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a child: ours, with `tests/` importable and no proxy settings."""
    inherited = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    paths = [str(TESTS), *filter(None, [inherited.get("PYTHONPATH")])]
    return inherited | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"} | dict(extra or {})


def python_command(program: str, *arguments: object) -> list[str]:
    """The command that runs `program` (source text, indented as it likes) with `arguments`."""
    return [sys.executable, "-c", textwrap.dedent(program), *map(str, arguments)]


def run_python(
    program: str, *arguments: object, env: Mapping[str, str] | None = None, timeout: float = PROGRAM_SECONDS
) -> subprocess.CompletedProcess[str]:
    """Run `program` to its end and return what it printed and its exit status."""
    return subprocess.run(
        python_command(program, *arguments),
        env=environment(env),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def start_python(program: str, *arguments: object, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """Start `program`; the caller talks to it by pipes and waits for it."""
    return subprocess.Popen(
        python_command(program, *arguments),
        env=environment(env),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
