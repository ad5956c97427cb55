"""One message to an agent from the command line: what comes of it is printed as it comes."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import typer
from rich.console import Console
from rich.filesize import decimal

from mcpgateway_rust import Document, Progress
from mcpgateway_rust._types import Timeouts
from mcpgateway_rust.cli.invoking import shown
from mcpgateway_rust.exceptions import Denied, FileError, HTTPStatusError, PointerError
from mcpgateway_rust.services.a2a_service import A2AClient, AgentEvent, AgentReply, Message, Part, ReplyPart

_CARD = "/.well-known/agent-card.json"
# States that a script may take for success.
_SUCCESS = {None, "completed", "submitted", "working"}


def talk(
    agent: str,
    text: str | None,
    files: list[Path],
    *,
    headers: list[tuple[str, str]],
    output: Path | None,
    timeouts: Timeouts,
    as_json: bool,
) -> None:
    """Send text and files to the agent at `agent`, and print what it says; `typer.Exit(1)` if the task failed."""
    parts = ([Part.text(text)] if text is not None else []) + [_part_of(path) for path in files]
    if not parts:
        raise typer.BadParameter("there is nothing to send: give a text, --file, or both", param_hint="'TEXT'")
    told: list[dict[str, Any]] = []
    task_id, state = None, None
    progress = Progress()
    started = time.perf_counter()
    with ExitStack() as stack:
        client = stack.enter_context(A2AClient(agent, timeouts=timeouts, headers=headers))
        target = None if output is None else stack.enter_context(_received(output))
        stack.enter_context(_hints())
        bars = stack.enter_context(ExitStack())
        bars.enter_context(shown(progress))
        for event in _events(client, Message(parts), progress):
            # The bars make place for what is said.
            bars.close()
            task_id, state = event.task_id or task_id, event.state or state
            told.extend(_say(part, target, as_json) for part in event.parts)
    seconds = time.perf_counter() - started
    facts = {"task_id": task_id, "state": state, "parts": told, "sent": progress.sent, "received": progress.received}
    if as_json:
        typer.echo(json.dumps(facts | {"seconds": round(seconds, 6)}))
    elif output is None and sys.stdout.isatty():
        typer.echo()
    if sys.stderr.isatty():
        sizes = f"sent {decimal(progress.sent)}, received {decimal(progress.received)}"
        Console(stderr=True).print(f"{state or 'message'} in {seconds:.3f} s, {sizes}", highlight=False)
    if state not in _SUCCESS:
        typer.echo(f"the task is {state}", err=True)
        raise typer.Exit(1)


@contextmanager
def _received(path: Path) -> Iterator[BinaryIO]:
    """A file that takes the place of `path` once all is in it, and leaves that as it is if the call fails."""
    # What is no file, such as /dev/stdout, is written to as it is.
    is_file = path.is_file() or not path.exists()
    partial = path.with_name(f".{path.name}.{os.getpid()}.part") if is_file else path
    try:
        file = partial.open("wb")
    except OSError as error:
        raise typer.BadParameter(f"{path}: {error.strerror}", param_hint="'--output'") from error
    try:
        with file:
            yield file
        if is_file:
            partial.replace(path)
    except BaseException:
        if is_file:
            partial.unlink(missing_ok=True)
        raise


@contextmanager
def _hints() -> Iterator[None]:
    """Say of an error what the command line can do about it."""
    try:
        yield
    except HTTPStatusError as error:
        if error.response.status in (401, 403):
            error.add_note("The agent wants credentials: pass them by --header 'Authorization: Bearer TOKEN'.")
        elif error.response.status == 404:
            error.add_note(f"Pass --agent the URL below which the agent has its card, {_CARD}.")
        raise


def _part_of(path: Path) -> Part:
    try:
        # The file is the user's own, named for this one call.
        return Part.file(path, trusted=True)
    except (Denied, FileError) as error:
        raise typer.BadParameter(str(error), param_hint="'--file'") from error


def _events(client: A2AClient, message: Message, progress: Progress) -> Iterator[AgentEvent | AgentReply]:
    """What comes of the message: as a stream, unless the agent's card says that it has none."""
    if _says_it_has_no_streams(client.card()):
        yield client.send(message, progress=progress)
        return
    with client.stream(message, progress=progress) as stream:
        yield from stream


def _says_it_has_no_streams(card: Document) -> bool:
    try:
        return card.at("/capabilities/streaming").value() is False
    except PointerError:
        return False


def _say(part: ReplyPart, target: BinaryIO | None, as_json: bool) -> dict[str, Any]:
    """Write a part to `target` or standard output, and tell what it is."""
    if part.kind == "url":
        if target is None and not as_json:
            typer.echo(part.url)
        return _told(part, 0)
    content = part.payload()
    if target is not None:
        target.write(content)
    elif not as_json:
        if part.kind == "raw":
            typer.echo(f"[{part.filename or 'a file'}, {decimal(len(content))}: use --output]", err=True)
        else:
            sys.stdout.buffer.write(content)
            sys.stdout.flush()
    return _told(part, len(content))


def _told(part: ReplyPart, size: int) -> dict[str, Any]:
    return {"kind": part.kind, "filename": part.filename, "bytes": size}
