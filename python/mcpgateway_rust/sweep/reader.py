"""The other process of a calibration: reads each body that it is handed, by a socket or by reference.

Run as `python -m mcpgateway_rust.sweep.reader DESCRIPTOR DIRECTORY`. A message is a letter and a length of 8 bytes,
then so many bytes: of the body (`c`), or of a reference to it (`m`). The answer is one byte, once all pages were seen.
"""

from __future__ import annotations

import mmap
import socket
import sys

from mcpgateway_rust import shm

HEAD = 9


def receive(connection: socket.socket, count: int) -> bytearray:
    """That many bytes; none if the other side is done."""
    received = bytearray(count)
    view, got = memoryview(received), 0
    while got < count:
        step = connection.recv_into(view[got:])
        if step == 0:
            return bytearray()
        got += step
    return received


def main() -> None:
    """Answer until the other side closes."""
    descriptor, directory = sys.argv[1:]
    with socket.socket(fileno=int(descriptor)) as connection:
        while head := receive(connection, HEAD):
            body = receive(connection, int.from_bytes(head[1:], "little"))
            seen = memoryview(shm.open(body.decode(), directory=directory)) if head[:1] == b"m" else memoryview(body)
            sum(seen[:: mmap.PAGESIZE])
            del seen, body
            connection.sendall(b".")


if __name__ == "__main__":
    main()
