"""Python's `json`, held to RFC 8259 as the native parser is.

Beyond the grammar, both refuse lone surrogates, a byte order mark, and nesting beyond `MAX_DEPTH`. Numbers of any
size are JSON; what cannot be made of one is said where it is made.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator
from itertools import accumulate
from math import isinf
from typing import Any, NoReturn, TypeAlias

from mcpgateway_rust.exceptions import InvalidReply

MAX_DEPTH = 1024

_STRUCTURE = b'[]{}"'
_NO_STRUCTURE = bytes(byte for byte in range(256) if byte not in _STRUCTURE)
_STEPS = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
# All escapes but those of half a surrogate pair.
_WHOLE_ESCAPE = re.compile(r"\\(?:[^u]|u(?![dD][89a-fA-F]).{4}|u[dD][89abAB].{2}\\u[dD][c-fC-F].{2})")
_WHITE_SPACE = re.compile(r"[ \t\n\r]*")

# Gives where an inner value begins, is sent that value and its end (None at the start), and returns its own.
Partial: TypeAlias = Generator[int, Any, tuple[Any, int]]


def _finite(digits: str) -> float:
    number = float(digits)
    if isinf(number):
        raise ValueError("a number larger than a double holds")
    return number


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_MAKE_NUMBERS = json.JSONDecoder(parse_float=_finite, parse_constant=_refuse_constant)
_SKIP_NUMBERS = json.JSONDecoder(parse_int=len, parse_float=len, parse_constant=_refuse_constant)


def parse_reply(text: str | bytes) -> Any:
    """The Python objects of a reply.

    Raises:
        InvalidReply: It is not JSON, or has a number that no float holds (`1e400` is not Infinity), or an integer
            of more digits than `sys.set_int_max_str_digits` allows.
    """
    return _of_reply(text, _MAKE_NUMBERS)


def check_reply(text: str | bytes) -> None:
    """Check that a reply is JSON, without making its numbers, which may be of any size.

    Raises:
        InvalidReply: It is not.
    """
    _of_reply(text, _SKIP_NUMBERS)


def _of_reply(text: str | bytes, decoder: json.JSONDecoder) -> Any:
    try:
        return _decode(text, decoder)
    except ValueError as cause:
        raise InvalidReply(f"the reply is not JSON ({cause})", phase="parse", sent="yes") from cause


def parse(text: str) -> Any:
    """As `parse_reply`, for text that is no reply.

    Raises:
        ValueError: As for `parse_reply`.
    """
    return _decode(text, _MAKE_NUMBERS)


def _decode(text: str | bytes, decoder: json.JSONDecoder) -> Any:
    decoded, encoded = (text, text.encode()) if isinstance(text, str) else (text.decode(), text)
    if _depth(encoded) > MAX_DEPTH:
        raise ValueError(f"nested deeper than {MAX_DEPTH}")
    try:
        value = decoder.decode(decoded)
    except RecursionError:
        value = _decode_deep(decoded, decoder)
    if _SURROGATE.search(decoded) and "\\" in _WHOLE_ESCAPE.sub("", decoded):
        raise ValueError("half a surrogate pair")
    return value


def _depth(text: bytes) -> int:
    """How deep `text` is nested; of what is not JSON, any number."""
    unescaped = text.replace(rb"\\", b"").replace(rb"\"", b"")
    # What is between two strings is gone too, so quotes that now touch end one and begin the next, or are an empty one.
    quotes_and_brackets = unescaped.translate(None, _NO_STRUCTURE).replace(b'""', b"")
    brackets = b"".join(quotes_and_brackets.split(b'"')[::2])
    return max(accumulate(_STEPS[bracket] for bracket in brackets), default=0)


def _decode_deep(text: str, decoder: json.JSONDecoder) -> Any:
    """As `decoder.decode`, but on the heap: Python 3.11 has a stack of less than `MAX_DEPTH`."""
    parents: list[Partial] = []
    parser, result = _value(text, 0, decoder), None
    while True:
        try:
            at = parser.send(result)
            parents.append(parser)
            parser, result = _value(text, at, decoder), None
        except StopIteration as done:
            result = done.value
            if not parents:
                break
            parser = parents.pop()
    value, end = result
    if _skip(text, end) != len(text):
        raise json.JSONDecodeError("Extra data", text, end)
    return value


def _value(text: str, at: int, decoder: json.JSONDecoder) -> Partial:
    """Parse the value at `at`; `_decode_deep` parses those within."""
    at = _skip(text, at)
    opening = text[at : at + 1]
    if opening == "[":
        items: list[Any] = []
        at = _skip(text, at + 1)
        while not text.startswith("]", at):
            if items:
                at = _expect(text, at, ",")
            item, at = yield at
            items.append(item)
            at = _skip(text, at)
        return items, at + 1
    if opening == "{":
        members: dict[str, Any] = {}
        at = _skip(text, at + 1)
        while not text.startswith("}", at):
            if members:
                at = _skip(text, _expect(text, at, ","))
            _expect(text, at, '"')
            key, at = decoder.raw_decode(text, at)
            at = _expect(text, _skip(text, at), ":")
            members[key], at = yield at
            at = _skip(text, at)
        return members, at + 1
    return decoder.raw_decode(text, at)


def _skip(text: str, at: int) -> int:
    white_space = _WHITE_SPACE.match(text, at)
    return at if white_space is None else white_space.end()


def _expect(text: str, at: int, symbol: str) -> int:
    if not text.startswith(symbol, at):
        raise json.JSONDecodeError(f"Expecting {symbol!r}", text, at)
    return at + 1
