"""Ctrl-C while a large text is read: the call ends, and lets go of the text."""

import operator
import signal
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest

from mcpgateway_rust import Document, exports_live, loads
from support.waiting import wait_until

CALLS = 50
"""Calls in a row, with no Python code between in which a signal could be noticed: seconds, if none is cut short."""
PRESSED_AFTER_SECONDS = 0.05

# Each takes more than a tenth of a second to read.
OBJECTS = b"[" + b'{"a":[1,{}],"b":null},' * (3 << 20) + b"0]"
RECORDS = b"[" + b",".join([b'{"id": 7, "big": 12345678901234567890123, "tags": ["a", null, true]}'] * 400_000) + b"]"


@pytest.fixture
def ctrl_c() -> Iterator[Callable[[], None]]:
    """What makes somebody press Ctrl-C in a moment."""

    def press(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    def press_in_a_moment() -> None:
        signal.setitimer(signal.ITIMER_REAL, PRESSED_AFTER_SECONDS)

    before = signal.signal(signal.SIGALRM, press)
    yield press_in_a_moment
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize(("read", "text"), [(Document, OBJECTS), (loads, RECORDS)], ids=["open", "loads"])
def test_ctrl_c_ends_the_reading_of_a_large_text(
    read: Callable[[bytes], Any], text: bytes, ctrl_c: Callable[[], None]
) -> None:
    texts = iter([text] * CALLS)
    ctrl_c()
    with pytest.raises(KeyboardInterrupt):
        list(map(read, texts))
    assert operator.length_hint(texts) > 0
    wait_until(lambda: exports_live() == 0)
    # The next call is one like any other.
    assert read(b"[1]")[0] == 1
