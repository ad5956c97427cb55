"""nginx on a loopback port, serving the files of one directory: ranges, ETags, and servers that do without them."""

import os
import shutil
import socket
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

STOP_SECONDS = 10.0

CONFIGURATION = """
daemon off;
{user}
worker_processes 2;
pid {directory}/nginx.pid;
error_log {directory}/error.log error;
events {{ worker_connections 512; }}
http {{
    access_log off;
    sendfile on;
    keepalive_timeout 60;
    types {{ text/plain txt; application/json json; image/png png; }}
    default_type application/octet-stream;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    scgi_temp_path {directory}/scgi;
    uwsgi_temp_path {directory}/uwsgi;
    server {{
        listen 127.0.0.1:{port};
        root {files};
        location /files/ {{ alias {files}/; }}
        location /no-ranges/ {{ alias {files}/; max_ranges 0; }}
        location /no-etag/ {{ alias {files}/; etag off; add_header Last-Modified ""; }}
        location /cached/ {{ alias {files}/; expires 60s; }}
        location /slow/ {{ alias {files}/; limit_rate 1m; }}
        location /moved/ {{ rewrite ^/moved/(.*)$ /files/$1 redirect; }}
    }}
}}
"""


class Nginx:
    """nginx as long as the context lives; what is in `files` is at `url` under each location of the configuration."""

    def __init__(self, directory: Path) -> None:
        self.files = directory / "files"
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        self.url = ""

    def __enter__(self) -> Self:
        self.files.mkdir(parents=True, exist_ok=True)
        # nginx takes over a socket that listens already, so nothing has to wait until it is up.
        with socket.create_server(("127.0.0.1", 0), backlog=511) as listener:
            port = listener.getsockname()[1]
            configuration = self._directory / "nginx.conf"
            configuration.write_text(
                CONFIGURATION.format(directory=self._directory, files=self.files, port=port, user=user()),
                encoding="utf-8",
            )
            self._process = subprocess.Popen(
                [program(), "-e", self._directory / "error.log", "-p", self._directory, "-c", configuration],
                pass_fds=[listener.fileno()],
                env=os.environ | {"NGINX": f"{listener.fileno()};"},
            )
        self.url = f"http://127.0.0.1:{port}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._process is not None, "nginx was not started: use `with`"
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def user() -> str:
    """The line that keeps the workers of a master that is root from becoming someone who may not read our files."""
    return "user root;" if os.geteuid() == 0 else ""


def program() -> str:
    """The nginx of this machine; without one the test is skipped."""
    found = shutil.which("nginx", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"]))
    if found is None:
        import pytest  # the benches have nginx without it

        pytest.skip("nginx is not installed: `make test-python` installs it as root (Debian: apt install nginx-light)")
    return found
