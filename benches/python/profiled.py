"""What `make profile` looks at: large bodies up and down, and JSON opened, for some seconds.

The client is the blocking one: its calls run on the thread that makes them, where py-spy sees Python and Rust in one
stack. Those of `AsyncClient` run on threads that Python does not know.
"""

from __future__ import annotations

import sys
from time import perf_counter

from mcpgateway_rust import Client
from mcpgateway_rust.sweep.processes import server
from mcpgateway_rust.sweep.sizes import MIB

SECONDS = 20.0
BODY = 16 * MIB
TEXT = MIB // 2
"""Less: objects of more would hide the rest."""


def upload(client: Client, url: str, body: bytearray) -> None:
    """A body that is borrowed."""
    client.post(f"{url}/sink?digest=none", body)


def download(client: Client, url: str) -> None:
    """A body into warm memory."""
    assert len(client.get(f"{url}/source/{BODY}").body) == BODY


def open_json(client: Client, url: str) -> None:
    """A body that is checked and looked into, and made into objects."""
    document = client.get(f"{url}/json/messages/{TEXT}").json()
    assert document[0]["role"].value()
    assert len(document.value()) == len(document)


def work(url: str) -> int:
    """Calls of each kind in turn; returns how many."""
    body, calls, until = bytearray(BODY), 0, perf_counter() + SECONDS
    with Client() as client:
        while perf_counter() < until:
            upload(client, url, body)
            download(client, url)
            open_json(client, url)
            calls += 3
    return calls


def main() -> None:
    """Run against a server in a process of its own, which is not looked at."""
    with server() as url:
        print(f"{work(url)} calls", file=sys.stderr)


if __name__ == "__main__":
    main()
