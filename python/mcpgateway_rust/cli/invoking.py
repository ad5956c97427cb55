"""One call from the command line, with progress on a terminal."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.progress import Progress as Bars

from mcpgateway_rust import Client, Payload, Progress, Response
from mcpgateway_rust._types import Timeouts
from mcpgateway_rust.exceptions import Denied, FileError

_REFRESH_SECONDS = 0.1


def read_body(argument: str | None) -> Payload | None:
    """The body that `--body` names: text, `@FILE`, or `@-` for standard input."""
    if argument is None:
        return None
    if argument == "@-":
        return Payload(sys.stdin.buffer.read())
    if not argument.startswith("@"):
        return Payload(argument.encode())
    try:
        # The file is the user's own, named for this one call.
        return Payload.open(argument[1:], trusted=True, follow_links=True)
    except (Denied, FileError) as error:
        raise typer.BadParameter(str(error), param_hint="'--body'") from error


def invoke_with_progress(
    method: str,
    url: str,
    body: Payload | None,
    *,
    headers: list[tuple[str, str]],
    output: Path | None,
    timeouts: Timeouts,
    progress: Progress,
) -> Response:
    """Send the request and wait for its reply; on a terminal, show how far both have come."""
    with Client() as client, shown(progress):
        return client.request(
            method, url, body=body, headers=headers, to_file=output, timeouts=timeouts, progress=progress
        )


@contextmanager
def shown(progress: Progress) -> Iterator[None]:
    """Show `progress` as bars, if standard error is a terminal."""
    if not sys.stderr.isatty():
        yield
        return
    columns = (
        TextColumn("{task.description:<9}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    finished = threading.Event()
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        watcher = threading.Thread(target=_watch, args=(bars, progress, finished), daemon=True)
        watcher.start()
        try:
            yield
        finally:
            finished.set()
            watcher.join()


def _watch(bars: Bars, progress: Progress, finished: threading.Event) -> None:
    sending = bars.add_task("sending", total=None, visible=False)
    receiving = bars.add_task("receiving", total=None, visible=False)
    while not finished.wait(_REFRESH_SECONDS):
        sent, received = progress.sent, progress.received
        bars.update(sending, completed=sent, total=progress.total_send, visible=sent > 0)
        bars.update(receiving, completed=received, total=progress.total_receive, visible=received > 0)
