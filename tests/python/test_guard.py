"""The address guard: which addresses a URL may lead to, whoever gave it."""

import ipaddress
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mcpgateway_rust import AsyncClient, Client, Guard, Timeouts
from mcpgateway_rust.exceptions import AddressRefused, InvalidRequest
from support.hostile import Connection, HostileServer, answer, response

SHORT = Timeouts(connect=5, first_byte=5, idle=5, total=10)
URLS = [
    url
    for kind in json.loads((Path(__file__).parents[1] / "cases" / "internal_urls.json").read_text("utf-8")).values()
    for url in kind
]


async def test_an_internal_address_is_refused_however_it_is_written() -> None:
    assert len(URLS) > 150
    async with AsyncClient(guard=Guard(), timeouts=SHORT) as guarded, AsyncClient(timeouts=SHORT) as client:
        for url in URLS:
            with pytest.raises(AddressRefused) as refused:
                await guarded.get(url)
            assert (refused.value.sent, refused.value.retryable) == ("no", False)
            assert isinstance(refused.value, PermissionError)
            with pytest.raises(AddressRefused):
                await client.get(url, from_peer=True)
            with pytest.raises(AddressRefused):
                await client.get(url, guard=Guard())


async def test_no_redirect_leads_to_an_internal_address_that_the_caller_did_not_name() -> None:
    urls = iter(URLS)

    def redirect(connection: Connection) -> None:
        while True:
            connection.read_head()
            location = next(urls).encode()
            connection.send(b"HTTP/1.1 302 Found\r\ncontent-length: 0\r\nlocation: " + location + b"\r\n\r\n")

    with HostileServer(redirect) as server:
        async with AsyncClient(follow_redirects=True, timeouts=SHORT) as client:
            for url in URLS:
                with pytest.raises(AddressRefused) as refused:
                    await client.get(server.url)
                assert refused.value.sent == "yes", url


def redirecting_to(url: str) -> Callable[[Connection], None]:
    def scenario(connection: Connection) -> None:
        while True:
            connection.read_head()
            connection.send(response(status="307 There", headers=[("location", url)]))

    return scenario


def test_a_redirect_is_let_pass_by_what_the_guard_allows() -> None:
    with (
        HostileServer(answer(b"inside"), host="127.0.0.2") as inside,
        HostileServer(redirecting_to(inside.url)) as front,
    ):
        for guard, allowed in [
            (None, False),
            (Guard(), False),
            (Guard(only_from_peers=True), False),
            (Guard(allow=["127.0.0.2"]), False),  # and the first address is not
            (Guard(allow=["127.0.0.2"], only_from_peers=True), True),
            (Guard(allow=["127.0.0.0/8"]), True),
            (Guard(allow=["127.0.0.0/8"], deny=["127.0.0.2"]), False),
        ]:
            with Client(follow_redirects=True, guard=guard, timeouts=SHORT) as client:
                if allowed:
                    assert bytes(client.get(front.url).body) == b"inside"
                else:
                    with pytest.raises(AddressRefused):
                        client.get(front.url)
        assert len(inside.heads) == 2


def test_a_name_is_judged_by_its_addresses() -> None:
    with HostileServer(answer(b"here")) as server:
        url = f"http://localhost:{server.port}/"
        with Client(timeouts=SHORT) as client:
            assert bytes(client.get(url).body) == b"here"  # the caller's own URL
            # That a connection to it waits does not let a guarded request go there.
            for guard in (
                Guard(),
                Guard(allow=["127.0.0.0/8", "::1"], deny=["localhost"]),
                Guard(allow=["10.0.0.0/8"]),
            ):
                with pytest.raises(AddressRefused):
                    client.get(url, guard=guard)
            for guard in (
                Guard(allow=["localhost"]),
                Guard(allow=["127.0.0.1", "::1"]),
                Guard(allow=["*.localhost", "127.0.0.0/8"]),
            ):
                assert bytes(client.get(url, guard=guard).body) == b"here"


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_refusal_says_what_was_refused_and_why(scheme: str) -> None:
    with Client(guard=Guard(), timeouts=SHORT) as client, pytest.raises(AddressRefused) as refused:
        client.get(f"{scheme}://user:secret@0x7f.1/path?token=secret")
    assert (refused.value.phase, "127.0.0.1 is refused by the guard: loopback" in str(refused.value)) == (
        "connect",
        True,
    )
    assert "secret" not in str(refused.value)


def test_the_headers_of_a_client_are_not_for_whom_a_peer_names() -> None:
    headers = {"authorization": "Bearer canary", "x-tenant": "canary", "accept": "text/plain", "user-agent": "gateway"}
    with (
        HostileServer(answer(b"here")) as server,
        Client(headers=headers, guard=Guard(allow=["127.0.0.1"]), timeouts=SHORT) as client,
    ):
        client.get(server.url, from_peer=True, headers={"x-ticket": "for this URL"})
        client.get(server.url)
        named_by_peer, named_by_caller = server.heads
    assert b"canary" not in named_by_peer.raw
    expected = ["text/plain", "gateway", "for this URL"]
    assert [named_by_peer.header(name) for name in ("accept", "user-agent", "x-ticket")] == expected
    assert [named_by_caller.header(name) for name in headers] == list(headers.values())


@pytest.mark.parametrize("entry", ["", "http://a", "a:80", "10.0.0.0/33", "*", "a/b"])
def test_an_entry_that_would_never_hold_is_refused_by_the_client(entry: str) -> None:
    for guard in (Guard(allow=[entry]), Guard(deny=[entry])):
        with pytest.raises(InvalidRequest, match="neither a network"):
            Client(guard=guard)
        with Client() as client, pytest.raises(InvalidRequest, match="neither a network"):
            client.get("http://127.0.0.1/", guard=guard)


@pytest.mark.parametrize("entries", ["10.0.0.0/8", [8], 8, [None]])
def test_entries_of_another_type_are_refused_at_once(entries: Any) -> None:
    with pytest.raises(TypeError, match="allow"):
        Guard(allow=entries)


def test_entries_may_be_of_ipaddress() -> None:
    guard = Guard(allow=[ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_address("::1")], deny=iter(["a.example"]))
    assert (guard.allow, guard.deny) == (("10.0.0.0/8", "::1"), ("a.example",))
    assert guard == Guard(allow=["10.0.0.0/8", "::1"], deny=["a.example"])


def test_what_is_no_guard_is_refused() -> None:
    wrong: Any = {"allow": []}
    with pytest.raises(TypeError, match=r"mcpgateway_rust\.Guard"):
        Client(guard=wrong)


def test_a_proxy_is_not_asked_for_what_is_refused_here() -> None:
    with HostileServer(answer(b"from the proxy")) as proxy, Client(proxy=proxy.url, timeouts=SHORT) as client:
        for url in ("http://10.0.0.1/", "http://localhost/", "http://[::1]/", "https://169.254.169.254/"):
            with pytest.raises(AddressRefused):
                client.get(url, from_peer=True)
        assert proxy.connections == []
        assert bytes(client.get("http://10.0.0.1/").body) == b"from the proxy"
