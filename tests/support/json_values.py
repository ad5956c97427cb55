"""JSON values and texts that hypothesis makes, and Python's `json` as what they are compared with."""

import json
import struct
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

Path = tuple[str | int, ...]

# Digits enough to leave every fixed size, few enough for `int(str)` of every Python.
INTEGERS = st.integers() | st.integers(-(10**600), 10**600)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
NAMES = TEXTS | st.sampled_from(["", "a", "b", "/", "~", "~1", "a/b", "0", "-", "\x00", "\u2028", "𝄞"])
SCALARS = st.none() | st.booleans() | INTEGERS | FLOATS | TEXTS
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=6) | st.dictionaries(NAMES, inner, max_size=6), max_leaves=30
)
CONTAINERS = st.lists(VALUES, max_size=6) | st.dictionaries(NAMES, VALUES, max_size=6)

NUMBER_TEXTS = st.from_regex(r"-?(0|[1-9][0-9]{0,40})(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,3})?", fullmatch=True)


@st.composite
def texts_of(draw: st.DrawFn, values: st.SearchStrategy[Any] = VALUES) -> tuple[Any, bytes]:
    """A value and one of the ways to write it."""
    value = draw(values)
    separators = draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t:\r\n ")]))
    indent = draw(st.sampled_from([None, None, 1, "\t"]))
    text = json.dumps(value, ensure_ascii=draw(st.booleans()), separators=separators, indent=indent)
    before, after = draw(st.sampled_from(["", " ", "\n\t\r "])), draw(st.sampled_from(["", " ", "\r\n"]))
    return value, (before + text + after).encode()


def pointer_to(path: Path) -> str:
    """The JSON pointer (RFC 6901) of a path."""
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in path)


def paths_in(value: Any, here: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every value within `value`, itself first, with its path."""
    yield here, value
    members: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, member in members:
        yield from paths_in(member, (*here, step))


def exactly(value: Any) -> Any:
    """`value` in a form in which equal means: the same types, the same bits, names in the same order."""
    if isinstance(value, dict):
        return ("object", [(name, exactly(member)) for name, member in value.items()])
    if isinstance(value, list):
        return ("array", [exactly(member) for member in value])
    if isinstance(value, float):
        return ("float", struct.pack("<d", value))
    return (type(value).__name__, value)
