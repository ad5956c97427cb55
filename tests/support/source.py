"""The bytes that `GET /source/{n}` of the loopback agent sends, computed again in numpy."""

from functools import cache

import numpy as np
import numpy.typing as npt

PERIOD = 1_048_573  # a prime, so that a block of a power of two never repeats in step
SEED = 41
GAMMA = 0x9E3779B97F4A7C15

ByteArray = npt.NDArray[np.uint8]


@cache
def pattern() -> ByteArray:
    """One period: the little-endian 64-bit words of splitmix64 from seed 41, cut to `PERIOD` bytes."""
    words = -(-PERIOD // 8)
    with np.errstate(over="ignore"):
        state = np.uint64(SEED) + np.arange(1, words + 1, dtype=np.uint64) * np.uint64(GAMMA)
        mixed = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed ^= mixed >> np.uint64(31)
    period = mixed.astype("<u8").view(np.uint8)[:PERIOD].copy()
    period.setflags(write=False)
    return period


def source_array(length: int, *, start: int = 0) -> ByteArray:
    """Bytes `start` to `start + length` of the endless source, as an array of its own."""
    first = start % PERIOD
    repeats = -(-(first + length) // PERIOD) if length else 1
    return np.tile(pattern(), repeats)[first : first + length].copy()


def source_bytes(length: int) -> bytes:
    """The whole body of `GET /source/{length}`."""
    return source_array(length).tobytes()
