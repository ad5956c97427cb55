"""Certificates made for one test session, and an HTTPS server that uses them."""

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import trustme


@dataclass(frozen=True)
class Authority:
    """A certificate authority whose certificate is the file `bundle`."""

    ca: trustme.CA
    bundle: Path

    @classmethod
    def new(cls, directory: Path, name: str) -> "Authority":
        ca = trustme.CA(organization_name=name)
        bundle = directory / f"{name}.pem"
        ca.cert_pem.write_to_path(bundle)
        return cls(ca, bundle)

    def certificate(self, *names: str, expired: bool = False) -> trustme.LeafCert:
        """A certificate for `names`; an expired one ended yesterday."""
        if not expired:
            return self.ca.issue_cert(*names)
        now = datetime.now(UTC)
        return self.ca.issue_cert(*names, not_before=now - timedelta(days=9), not_after=now - timedelta(days=1))

    def files(self, directory: Path, *names: str) -> tuple[Path, Path]:
        """A certificate for `names` and its key, as files in `directory`."""
        leaf = self.certificate(*names)
        certificate, key = directory / f"{names[0]}.pem", directory / f"{names[0]}.key"
        certificate.write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
        leaf.private_key_pem.write_to_path(key)
        return certificate, key


class Echo(BaseHTTPRequestHandler):
    """Sends the body of a POST back, and remembers who the client said it was."""

    protocol_version = "HTTP/1.1"
    timeout = 20

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        connection: Any = self.connection
        self.server.peers.append(connection.getpeercert())  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


class HttpsServer(ThreadingHTTPServer):
    """Serves `Echo` by TLS on a free loopback port; the handshake is done in the thread of its connection."""

    daemon_threads = True

    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__(("127.0.0.1", 0), Echo)
        self.peers: list[Any] = []
        self._context = context

    def finish_request(self, request: Any, client_address: Any) -> None:
        request.settimeout(10)
        try:
            secured = self._context.wrap_socket(request, server_side=True)
        except (ssl.SSLError, OSError):
            return
        try:
            super().finish_request(secured, client_address)
        except (ssl.SSLError, OSError):
            pass
        finally:
            secured.close()

    def url(self, host: str = "localhost") -> str:
        return f"https://{host}:{self.server_address[1]}/"


@contextmanager
def https_server(
    certificate: trustme.LeafCert,
    *,
    client_authority: Authority | None = None,
    oldest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2,
    newest: ssl.TLSVersion = ssl.TLSVersion.MAXIMUM_SUPPORTED,
) -> Iterator[HttpsServer]:
    """An HTTPS echo server with `certificate`, which asks for a client certificate if given who may issue it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = oldest
    context.maximum_version = newest
    certificate.configure_cert(context)
    if client_authority is not None:
        client_authority.ca.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
    server = HttpsServer(context)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
