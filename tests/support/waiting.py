"""Waiting for something to become true, always with a bound."""

import time
from collections.abc import Callable

BOUND_SECONDS = 10.0
POLL_SECONDS = 0.001


def wait_until(condition: Callable[[], bool], *, timeout: float = BOUND_SECONDS, what: str = "the condition") -> float:
    """Wait until `condition()` is true and return the seconds that took.

    For state that has no event to wait for, such as a counter inside the native module.

    Raises:
        AssertionError: `timeout` seconds passed first.
    """
    started = time.monotonic()
    while not condition():
        if time.monotonic() - started > timeout:
            raise AssertionError(f"{what} did not become true within {timeout} s")
        time.sleep(POLL_SECONDS)
    return time.monotonic() - started
