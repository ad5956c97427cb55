"""The programs in examples/, run as their first lines say."""

import subprocess
import sys
from pathlib import Path

import pytest

from support.native_server import NativeServer
from support.process import environment

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
EXAMPLE_SECONDS = 60.0
SAID = {
    "call_agent.py": ["sent      67,108,864 bytes   borrow:", "received  67,108,864 bytes   map:", "equal: True"],
    "fetch_resources.py": ["2 of 2 came from the cache", "refused: 127.0.0.1"],
    "fan_out.py": ["1000 of 1000 questions were answered"],
    "call_tool.py": ["status 200; the array and its form arrived: True"],
    "forward_upload.py": ["status 200; 64 MiB went through, unchanged: True"],
    "talk_to_agent.py": [
        "loopback speaks A2A 0.3.0",
        "a message: What is this?",
        "artifact-update ['What is ']",
        "completed: What is this?",
        "MethodNotFound -32601, sent: yes",
    ],
    "share_between_workers.py": [
        "256 MiB received by one worker, answered by another: True",
        "the checksum is right: True",
    ],
}


def test_every_example_is_run() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(SAID)


@pytest.mark.parametrize("name", SAID)
def test_an_example_does_what_it_says(name: str, agent: NativeServer) -> None:
    finished = subprocess.run(
        [sys.executable, "-W", "error", EXAMPLES / name, agent.url],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=EXAMPLE_SECONDS,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert (finished.returncode, finished.stderr) == (0, "")
    assert [said for said in SAID[name] if said not in finished.stdout] == []
