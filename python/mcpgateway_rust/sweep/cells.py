"""One thing to measure, and what came out of measuring it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from mcpgateway_rust.sweep.sizes import named

Figures = dict[str, float]
Direction = Literal["up", "down", "echo"]

DIRECTIONS: tuple[Direction, ...] = ("up", "down", "echo")
SHAPES = ("opaque", "text", "messages", "embeddings", "table")
EXPORTERS = ("bytes", "bytearray", "memoryview", "ndarray", "mmap", "shared")
LOADED = 0.1
"""From so many processor seconds of others for each second of a cell on, it was measured under load."""


@dataclass(frozen=True)
class Cell:
    """What one client process does. Sizes in bytes, times in seconds."""

    name: str
    procedure: str
    backend: str
    size: int
    direction: Direction = "up"
    """`up`: a body is sent, and counted by the server; `down`: received; `echo`: both."""
    shape: str = "opaque"
    """What is in the body. JSON, if it is not opaque; a reply of JSON is opened by its receiver."""
    exporter: str = "bytes"
    """What kind of object holds the body that is sent."""
    concurrency: int = 1
    """Calls in flight."""
    seconds: float = 1.2
    """How long the timed part lasts at the least."""
    least: int = 3
    """Timed calls at the least, however long they take."""
    gap_seconds: float = 0.0
    """How long the event loop is watched at the least, after the timed part: one call or more, if not 0."""
    loop: str = "asyncio"


@dataclass(frozen=True)
class Sample:
    """One measured cell: its figures, or why there are none."""

    cell: Cell
    load: float
    """Load average of the last minute, before the cell."""
    figures: Figures = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    error: str = ""
    repeat: int = 0
    foreign: float = 0.0
    """Processor seconds that others used, or a host took away, for each second that the cell took."""

    @property
    def under_load(self) -> bool:
        """Whether others had the machine for a part that counts."""
        return self.foreign >= LOADED

    def as_json(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> Sample:
        """The sample that `as_json` wrote.

        Raises:
            TypeError, KeyError: It is none.
        """
        return cls(**{**row, "cell": Cell(**row["cell"])})


def cell_name(size: int, direction: Direction, shape: str, exporter: str, concurrency: int) -> str:
    """Such as `up/64MiB/ndarray` or `down/1KiB/x64`: what is as usual is left out."""
    parts = [direction, named(size)]
    parts += [shape] if shape != "opaque" else []
    parts += [exporter] if exporter != "bytes" else []
    parts += [f"x{concurrency}"] if concurrency != 1 else []
    return "/".join(parts)
