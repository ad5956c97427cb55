"""The table of sizes, in bytes. `benches/rust/lib.rs` includes the same file, so `cargo bench` has the same."""

from __future__ import annotations

import json
import re
from importlib import resources

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30

SIZES: tuple[int, ...] = tuple(json.loads(resources.files("mcpgateway_rust.sweep").joinpath("sizes.json").read_text()))
"""From a small call to a very large document."""

_UNITS = {"GiB": GIB, "MiB": MIB, "KiB": KIB, "B": 1}
_SIZE = re.compile(r"(\d+)\s*([KMG]i?B?|B?)", re.IGNORECASE)


def named(size: int) -> str:
    """1024 as `1KiB`; what is no whole number of a unit in the next smaller one."""
    unit = next(unit for unit, factor in _UNITS.items() if factor == 1 or (size and size % factor == 0))
    return f"{size // _UNITS[unit]}{unit}"


def parse_size(text: str) -> int:
    """The bytes that `64KiB`, `64k` or `65536` says; units are powers of 1024.

    Raises:
        ValueError: It says none.
    """
    found = _SIZE.fullmatch(text.strip())
    if not found:
        raise ValueError(f"{text!r} is no size: write a whole number with B, KiB, MiB or GiB")
    return int(found[1]) * {"": 1, "b": 1, "k": KIB, "m": MIB, "g": GIB}[found[2][:1].lower()]
