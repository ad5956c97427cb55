"""Agents of the official SDK that talk by TLS, and only to clients with a certificate."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mcpgateway_rust.exceptions import ConnectError, GatewayError, TlsError
from mcpgateway_rust.services.a2a_service import Message, Part
from support.a2a_calls import HOW, Caller
from support.a2a_peer import BINDINGS, A2APeer, Tls, raw_of, sha256
from support.certificates import Authority

MIB = 1 << 20
CLIENT = "gateway@example.com"

both_ways = pytest.mark.parametrize("how", HOW)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("certificates")


@pytest.fixture(scope="module")
def authority(directory: Path) -> Authority:
    return Authority.new(directory, "ours")


@pytest.fixture(scope="module")
def agents(authority: Authority, directory: Path) -> Iterator[A2APeer]:
    """Agents with a certificate of `authority`, which want one of it as well."""
    certificate, key = authority.files(directory, "127.0.0.1")
    with A2APeer(Tls(certificate, key, authority.bundle)) as peer:
        yield peer


@pytest.fixture(scope="module")
def identified(authority: Authority, directory: Path) -> dict[str, Any]:
    """The options of a client that trusts `authority` and has a certificate of it."""
    return {"verify": authority.bundle, "cert": authority.files(directory, CLIENT)}


# With 0.3 over HTTP the SDK wants base64 of base64.
@both_ways
@pytest.mark.parametrize("binding", [binding for binding in BINDINGS if binding != "http-0.3"])
async def test_a_client_with_a_certificate_is_answered(
    binding: str, how: str, agents: A2APeer, identified: dict[str, Any]
) -> None:
    body = raw_of(3 * MIB)
    async with Caller(how, agents.url(binding), **identified) as caller:
        reply = await caller.send(Message([Part.text("digest"), Part.raw(body)]))
        (told,) = reply.parts[0].data.value()["parts"]
    assert (told["kind"], told["bytes"], told["sha256"]) == ("raw", len(body), sha256(body))


@both_ways
async def test_a_stream_comes_by_the_same_connection(how: str, agents: A2APeer, identified: dict[str, Any]) -> None:
    async with Caller(how, agents.url("jsonrpc-1.0"), **identified) as caller:
        collected = await caller.collect("stream", "stream 4 65536 raw")
    assert bytes(collected.artifacts[0].raw) == raw_of(65536) * 4


@both_ways
@pytest.mark.parametrize("binding", BINDINGS)
async def test_a_client_without_a_certificate_is_refused(
    binding: str, how: str, agents: A2APeer, authority: Authority
) -> None:
    """In TLS 1.3 the refusal comes after the client's last word, so the error may be that of a lost connection."""
    async with Caller(how, agents.url(binding), verify=authority.bundle) as caller:
        with pytest.raises(GatewayError) as caught:
            await caller.send("hello")
    # What was refused is the question for the card: of the message nothing has left.
    assert (isinstance(caught.value, ConnectionError), caught.value.sent) == (True, "no")


@both_ways
async def test_a_certificate_of_a_stranger_is_refused(
    how: str, agents: A2APeer, authority: Authority, tmp_path: Path
) -> None:
    stranger = Authority.new(tmp_path, "strangers")
    options = {"verify": authority.bundle, "cert": stranger.files(tmp_path, CLIENT)}
    async with Caller(how, agents.url("jsonrpc-1.0"), **options) as caller:
        with pytest.raises(GatewayError) as caught:
            await caller.send("hello")
    assert (isinstance(caught.value, ConnectionError), caught.value.sent) == (True, "no")


@both_ways
async def test_an_agent_of_a_strange_authority_is_told_nothing(
    how: str, agents: A2APeer, authority: Authority, directory: Path, tmp_path: Path
) -> None:
    stranger = Authority.new(tmp_path, "strangers")
    options = {"verify": stranger.bundle, "cert": authority.files(directory, CLIENT)}
    async with Caller(how, agents.url("jsonrpc-1.0"), **options) as caller:
        with pytest.raises(TlsError) as caught:
            await caller.send("hello")
    assert (isinstance(caught.value, ConnectError), caught.value.phase, caught.value.sent) == (True, "tls", "no")
