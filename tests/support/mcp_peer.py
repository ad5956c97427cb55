"""The official MCP server of the tests, by SDK 2.x or 1.x, in a process of its own."""

import json
import sys
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from support.server_process import ServerProcess

PROJECT = Path(__file__).resolve().parent.parent.parent
PROGRAM = Path(__file__).resolve().with_name("mcp_server.py")
PYTHON_OF_1 = PROJECT / ".venv-mcp1" / "bin" / "python"
"""`make` installs `mcp` 1.x there: the two cannot be in one environment."""

Sdk = Literal["1.x", "2.x"]


class McpPeer(ServerProcess):
    """`mcp_server.py` by `sdk`; `url` is its MCP endpoint. Options are those of the program, without dashes."""

    def __init__(self, sdk: Sdk = "2.x", *options: str) -> None:
        python = sys.executable if sdk == "2.x" else PYTHON_OF_1
        super().__init__([python, PROGRAM, *(f"--{option}" for option in options)])
        self.sdk = sdk

    def state(self) -> dict[str, Any]:
        """What the server has seen so far."""
        return self._control("/state", None)

    def expire(self) -> int:
        """End all sessions and say how many there were."""
        return int(self._control("/expire", b"")["expired"])

    def release(self) -> None:
        """Let the tool `slow` come to its end, now and ever after."""
        self._control("/release", b"")

    def _control(self, path: str, body: bytes | None) -> dict[str, Any]:
        with urllib.request.urlopen(self.base + path, data=body, timeout=10) as reply:
            answer: dict[str, Any] = json.load(reply)
            return answer


@dataclass(frozen=True)
class Served:
    """A peer, and the generation of the protocol that it is asked for."""

    peer: McpPeer
    protocol: str

    @property
    def url(self) -> str:
        return self.peer.url

    @property
    def modern(self) -> bool:
        return self.protocol == "2026-07-28"
