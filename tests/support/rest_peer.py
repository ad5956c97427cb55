"""The FastAPI service of the tests, in a process of its own."""

import sys
from pathlib import Path

from support.server_process import ServerProcess

PROGRAM = Path(__file__).resolve().with_name("rest_server.py")


class RestPeer(ServerProcess):
    """`rest_server.py`; `url` is its scheme, host and port."""

    def __init__(self) -> None:
        super().__init__([sys.executable, PROGRAM])
