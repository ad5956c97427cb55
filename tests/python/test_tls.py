"""TLS: who is trusted, who is not, and that nothing is sent to who is not."""

import ssl
from pathlib import Path
from typing import Any

import pytest

from mcpgateway_rust import AsyncClient, Client, Guard, Timeouts
from mcpgateway_rust.exceptions import AddressRefused, ConnectError, GatewayError, TlsError
from support.certificates import Authority, https_server
from support.source import source_array, source_bytes

MIB = 1 << 20
SHORT = Timeouts(connect=5, first_byte=5, idle=5, total=10)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.new(tmp_path_factory.mktemp("authority"), "ours")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.new(tmp_path_factory.mktemp("authority"), "strangers")


def trusting(authority: Authority, **options: Any) -> Client:
    return Client(verify=str(authority.bundle), timeouts=SHORT, **options)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_a_server_of_a_trusted_authority_is_talked_to(host: str, authority: Authority) -> None:
    certificate = authority.certificate("localhost", "127.0.0.1")
    with https_server(certificate) as server, trusting(authority) as client:
        assert bytes(client.post(server.url(host), source_array(3 * MIB)).body) == source_bytes(3 * MIB)


async def test_an_async_client_trusts_the_same(authority: Authority) -> None:
    with https_server(authority.certificate("localhost")) as server:
        async with AsyncClient(verify=authority.bundle, timeouts=SHORT) as client:
            assert bytes((await client.post(server.url(), b"body")).body) == b"body"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls_1_2_and_1_3_are_spoken(version: ssl.TLSVersion, authority: Authority) -> None:
    certificate = authority.certificate("localhost")
    with https_server(certificate, oldest=version, newest=version) as server, trusting(authority) as client:
        assert bytes(client.post(server.url(), b"body").body) == b"body"


def refusal(client: Client, url: str) -> TlsError:
    with pytest.raises(TlsError) as caught:
        client.post(url, b"body")
    error = caught.value
    assert isinstance(error, ConnectError)
    assert (error.phase, error.sent) == ("tls", "no")
    return error


def test_a_server_of_an_unknown_authority_is_refused(authority: Authority, stranger: Authority) -> None:
    with https_server(stranger.certificate("localhost")) as server, trusting(authority) as client:
        refusal(client, server.url())
        assert server.peers == []


def test_the_system_does_not_trust_our_authority(authority: Authority) -> None:
    with https_server(authority.certificate("localhost")) as server, Client(timeouts=SHORT) as client:
        refusal(client, server.url())
        assert server.peers == []


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_a_certificate_for_another_host_is_refused(host: str, authority: Authority) -> None:
    with https_server(authority.certificate("elsewhere.example")) as server, trusting(authority) as client:
        refusal(client, server.url(host))
        assert server.peers == []


def test_an_expired_certificate_is_refused(authority: Authority) -> None:
    with https_server(authority.certificate("localhost", expired=True)) as server, trusting(authority) as client:
        refusal(client, server.url())
        assert server.peers == []


def test_a_refusal_is_not_tried_again(authority: Authority, stranger: Authority) -> None:
    with https_server(stranger.certificate("localhost")) as server, trusting(authority) as client:
        assert refusal(client, server.url()).retryable is False


@pytest.mark.parametrize("expired", [False, True])
def test_verification_can_be_turned_off(expired: bool, stranger: Authority) -> None:
    certificate = stranger.certificate("elsewhere.example", expired=expired)
    with https_server(certificate) as server, Client(verify=False, timeouts=SHORT) as client:
        assert bytes(client.post(server.url(), b"body").body) == b"body"


@pytest.fixture
def identity(authority: Authority, tmp_path: Path) -> tuple[Path, Path]:
    """A client certificate and its key, as files."""
    return authority.files(tmp_path, "agent@gateway.example")


@pytest.mark.parametrize("form", ["two files", "one file"])
def test_a_client_certificate_is_shown_to_who_asks(
    form: str, authority: Authority, identity: tuple[Path, Path], tmp_path: Path
) -> None:
    certificate, key = identity
    both = tmp_path / "both.pem"
    both.write_bytes(key.read_bytes() + certificate.read_bytes())
    cert: Any = (str(certificate), str(key)) if form == "two files" else str(both)
    with (
        https_server(authority.certificate("localhost"), client_authority=authority) as server,
        trusting(authority, cert=cert) as client,
    ):
        assert bytes(client.post(server.url(), b"body").body) == b"body"
        assert ("email", "agent@gateway.example") in server.peers[0]["subjectAltName"]


def test_a_server_that_wants_a_client_certificate_refuses_who_has_none(authority: Authority) -> None:
    """In TLS 1.3 the refusal comes after the client's last word, so the error may be that of a lost connection."""
    with (
        https_server(authority.certificate("localhost"), client_authority=authority) as server,
        trusting(authority) as client,
    ):
        with pytest.raises(GatewayError) as caught:
            client.post(server.url(), b"body")
        assert (isinstance(caught.value, ConnectionError), server.peers) == (True, [])


def test_a_client_certificate_of_a_stranger_is_refused(
    authority: Authority, stranger: Authority, identity: tuple[Path, Path]
) -> None:
    with (
        https_server(authority.certificate("localhost"), client_authority=stranger) as server,
        trusting(authority, cert=tuple(map(str, identity))) as client,
    ):
        with pytest.raises(GatewayError):
            client.post(server.url(), b"body")
        assert server.peers == []


@pytest.mark.parametrize("content", [b"", b"not a certificate", b"-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_a_bundle_without_certificates_is_refused_at_once(content: bytes, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle.pem"
    bundle.write_bytes(content)
    with pytest.raises((ValueError, OSError), match=r"bundle\.pem"):
        Client(verify=str(bundle))


def test_a_certificate_without_its_key_is_refused_at_once(identity: tuple[Path, Path]) -> None:
    with pytest.raises((ValueError, OSError), match="key"):
        Client(cert=str(identity[0]))


def test_a_key_is_not_in_an_error(identity: tuple[Path, Path], tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.key"
    lines = identity[1].read_text().splitlines()
    damaged.write_text("\n".join([lines[0], lines[1][:-4], lines[-1]]))
    with pytest.raises((ValueError, OSError)) as caught:
        Client(cert=(str(identity[0]), str(damaged)))
    assert lines[1][:20] not in f"{caught.value!r} {caught.value}"


def test_no_session_secret_is_written_for_the_environment(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "keys"
    with https_server(authority.certificate("localhost")) as server:  # Python's own TLS does write it
        monkeypatch.setenv("SSLKEYLOGFILE", str(log))
        with trusting(authority) as client:
            client.post(server.url(), b"body")
    assert not log.exists()


def test_plain_http_to_a_tls_port_is_an_error(authority: Authority) -> None:
    with https_server(authority.certificate("localhost")) as server, Client(timeouts=SHORT) as client:
        with pytest.raises(GatewayError):
            client.post(server.url().replace("https:", "http:"), b"body")
        assert server.peers == []


def test_a_guard_judges_addresses_under_tls_too(authority: Authority) -> None:
    with https_server(authority.certificate("localhost")) as server, trusting(authority) as client:
        for _ in range(2):
            assert bytes(client.post(server.url(), b"body", guard=Guard(allow=["127.0.0.1", "::1"])).body) == b"body"
            assert bytes(client.post(server.url(), b"body").body) == b"body"
            # Whatever connections wait: none was made for this guard.
            with pytest.raises(AddressRefused):
                client.post(server.url(), b"body", guard=Guard())
