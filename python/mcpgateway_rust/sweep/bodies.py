"""The bytes that are sent and expected: by shape what is in them, by exporter what holds them."""

from __future__ import annotations

import hashlib
import mmap
from pathlib import Path
from typing import Any, cast
from urllib.request import ProxyHandler, build_opener

from mcpgateway_rust._types import Buffer
from mcpgateway_rust.sweep.cells import EXPORTERS
from mcpgateway_rust.sweep.sizes import MIB

PATTERN_BYTES = 1_048_573


def pattern() -> bytes:
    """What `GET /source/n` repeats: a little-endian splitmix64 stream from seed 41, cut at a prime length."""
    mask, state, words = (1 << 64) - 1, 41, bytearray()
    while len(words) < PATTERN_BYTES:
        state = (state + 0x9E3779B97F4A7C15) & mask
        word = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
        word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & mask
        words += (word ^ (word >> 31)).to_bytes(8, "little")
    return bytes(words[:PATTERN_BYTES])


def source_path(shape: str, size: int) -> str:
    """Where the server has a body of that shape and size."""
    return f"/source/{size}" if shape == "opaque" else f"/json/{shape}/{size}"


class Bodies:
    """A file and its sha256 for each shape and size, made when first asked for."""

    def __init__(self, directory: str) -> None:
        self._directory = Path(directory)
        self._pattern = pattern()
        self._digests: dict[tuple[str, int], str] = {}

    def path(self, size: int, shape: str = "opaque") -> Path:
        """The file that holds `size` bytes of the shape."""
        return self._directory / f"{shape}-{size}"

    def digest(self, size: int, shape: str = "opaque", url: str = "") -> str:
        """The sha256 of `size` bytes of the shape; the file is there afterwards. JSON comes from the server at `url`.

        Raises:
            OSError: There is no room for the file, or no server.
        """
        if (shape, size) not in self._digests:
            digest = hashlib.sha256()
            path = self.path(size, shape)
            try:
                with path.open("wb") as file:
                    for piece in self._pieces(size, shape, url):
                        file.write(piece)
                        digest.update(piece)
            except BaseException:
                path.unlink(missing_ok=True)
                raise
            self._digests[shape, size] = digest.hexdigest()
        return self._digests[shape, size]

    def _pieces(self, size: int, shape: str, url: str) -> Any:
        if shape == "opaque":
            for start in range(0, size, len(self._pattern)):
                yield self._pattern[: size - start]
            return
        with build_opener(ProxyHandler({})).open(url + source_path(shape, size)) as reply:
            while piece := reply.read(MIB):
                yield piece


def body_for(exporter: str, path: str) -> Buffer:
    """The content of the file at `path` as an object of that kind (one of `EXPORTERS`), all its pages resident.

    Raises:
        ValueError: There is no such exporter.
    """
    if exporter == "bytes":
        return Path(path).read_bytes()
    if exporter == "bytearray":
        return bytearray(Path(path).read_bytes())
    if exporter == "memoryview":
        return memoryview(Path(path).read_bytes())
    if exporter == "ndarray":
        import numpy

        return cast("Buffer", numpy.fromfile(path, dtype=numpy.uint8))
    if exporter == "mmap":
        with Path(path).open("rb") as file:
            return mmap.mmap(file.fileno(), 0, flags=mmap.MAP_SHARED | mmap.MAP_POPULATE, prot=mmap.PROT_READ)
    if exporter == "shared":
        return _shared(path)
    raise ValueError(f"unknown exporter {exporter!r}: one of {', '.join(EXPORTERS)}")


def _shared(path: str) -> Buffer:
    """A view of memory that other processes can map; its spool is beside the file."""
    from mcpgateway_rust import shm

    view = memoryview(shm.Spool(directory=f"{path}-spool", map_above=0).put(Path(path).read_bytes()))
    sum(view[:: mmap.PAGESIZE])  # its pages are mapped when they are first looked at
    return view
