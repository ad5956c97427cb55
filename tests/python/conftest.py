"""Fixtures of every test here: the loopback agent, clients for it, and the rule that no buffer stays borrowed."""

import gc
import signal
from collections.abc import AsyncIterator, Iterator

import pytest

from mcpgateway_rust import AsyncClient, Client, Timeouts, exports_live
from support.a2a_peer import A2APeer
from support.mcp_peer import McpPeer, Served
from support.native_server import NativeServer
from support.nginx import Nginx
from support.rest_peer import RestPeer
from support.waiting import wait_until

PROXY_VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(scope="session", autouse=True)
def _no_proxy_from_the_machine() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in PROXY_VARIABLES:
            patch.delenv(name, raising=False)
            patch.delenv(name.upper(), raising=False)
        yield


@pytest.fixture(scope="session", autouse=True)
def _children_hear_ctrl_c() -> None:
    """Who starts the tests in the background of a shell has SIGINT ignored, and so has every process after it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def agent() -> Iterator[NativeServer]:
    """`mcpgateway-rust serve`, in its own process, for the whole session."""
    with NativeServer() as server:
        yield server


@pytest.fixture(scope="session")
def a2a() -> Iterator[A2APeer]:
    """Agents of the official A2A SDK, in their own process, for the whole session."""
    with A2APeer() as peer:
        yield peer


@pytest.fixture(scope="session")
def mcp_2() -> Iterator[McpPeer]:
    """The official MCP server by SDK 2.x, which serves both generations, for the whole session."""
    with McpPeer("2.x") as peer:
        yield peer


@pytest.fixture(scope="session")
def mcp_1() -> Iterator[McpPeer]:
    """The official MCP server by SDK 1.x, for the whole session."""
    with McpPeer("1.x") as peer:
        yield peer


@pytest.fixture(scope="session", params=["2.x 2026-07-28", "2.x 2025-11-25", "1.x 2025-11-25"])
def mcp(request: pytest.FixtureRequest) -> Served:
    """Each official MCP server in each generation that it serves."""
    sdk, protocol = request.param.split()
    peer: McpPeer = request.getfixturevalue("mcp_2" if sdk == "2.x" else "mcp_1")
    return Served(peer, protocol)


@pytest.fixture(scope="session")
def rest() -> Iterator[RestPeer]:
    """A REST service made with FastAPI, for the whole session."""
    with RestPeer() as peer:
        yield peer


@pytest.fixture(scope="session")
def nginx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    """nginx of the distribution, for the whole session."""
    with Nginx(tmp_path_factory.mktemp("nginx")) as server:
        yield server


@pytest.fixture
async def client() -> AsyncIterator[AsyncClient]:
    """An asynchronous client with short timeouts, so that a mistake is a failure and not a hang."""
    async with AsyncClient(timeouts=Timeouts(connect=10, first_byte=20, idle=20, total=40)) as client:
        yield client


@pytest.fixture(scope="session")
def blocking() -> Iterator[Client]:
    """A blocking client; one for the session, so that hypothesis may use it."""
    with Client(timeouts=Timeouts(connect=10, first_byte=20, idle=20, total=40)) as client:
        yield client


@pytest.fixture(autouse=True)
def _no_buffer_stays_borrowed() -> Iterator[None]:
    """After any test, whatever its calls came to, Rust holds no buffer of Python's."""
    yield
    if exports_live():
        gc.collect()
        wait_until(lambda: exports_live() == 0, what="exports_live() == 0")
