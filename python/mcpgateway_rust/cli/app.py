"""The commands and what they say."""

from __future__ import annotations

import json
import os
import platform
import signal
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from mcpgateway_rust import TransferPolicy, __version__, _native, shm
from mcpgateway_rust._types import Timeouts
from mcpgateway_rust.cli.invoking import invoke_with_progress, read_body

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Carry large payloads to agents and back, without copies.\n\n"
    "Try it: start `mcpgateway-rust serve` in one terminal, then\n"
    "`mcpgateway-rust invoke URL/sink --body @file` in another.",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mcpgateway-rust {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options of all commands."""


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 0,
) -> None:
    """Run a loopback agent to try things on. Prints its URL; Ctrl-C ends it.

    POST /echo           the same bytes back
    POST /sink           {"bytes": n, "sha256": "..."}; ?digest=none leaves the digest out
    GET  /source/{n}     n reproducible bytes
    GET  /json/{shape}/{n}   about n bytes of JSON: text, messages, embeddings or table
    POST /a2a            a JSON-RPC agent (message/send) that echoes text, or answers metadata.replyBytes characters
    """
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        _native.serve(host, port, lambda url: print(url, flush=True))
    except KeyboardInterrupt:
        # Asked to end: that is success.
        return


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


@app.command()
def invoke(
    url: Annotated[str, typer.Argument(help="The agent, such as http://127.0.0.1:8080/echo.")],
    body: Annotated[
        str | None, typer.Option("--body", "-b", help="Text, @FILE for a file, or @- for standard input.")
    ] = None,
    method: Annotated[str | None, typer.Option("--method", "-X", help="POST with a body, GET without, if not set.")] = None,
    header: Annotated[list[str] | None, typer.Option("--header", "-H", help="`Name: value`; may be repeated.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the reply to this file.")] = None,
    timeout: Annotated[float, typer.Option(help="Seconds for the whole call.")] = 600.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was measured as JSON, not the reply.")] = False,
) -> None:
    """Send a body of any size to an agent, and show its reply.

    A file is memory-mapped and never copied. Progress is shown on a terminal. The exit status is 0 for a reply of
    success, 2 for another status, 1 if there was no reply.
    """
    payload = read_body(body)
    method = method or ("GET" if payload is None else "POST")
    headers = [_parse_header(line) for line in header or []]
    started = time.perf_counter()
    response = invoke_with_progress(method, url, payload, headers, output, Timeouts(total=timeout))
    seconds = time.perf_counter() - started
    if as_json:
        typer.echo(json.dumps(_facts(response, payload, seconds)))
    elif output is None:
        sys.stdout.buffer.write(response.body)
        sys.stdout.flush()
    Console(stderr=True).print(_summary(response, payload, seconds), highlight=False)
    if not response.is_success:
        raise typer.Exit(2)


def _parse_header(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon:
        raise typer.BadParameter(f"{line!r} has no colon: pass `Name: value`", param_hint="--header")
    return name.strip(), value.strip()


def _facts(response: _native.Response, payload: _native.Payload | None, seconds: float) -> dict[str, Any]:
    return {
        "status": response.status,
        "sent_bytes": len(payload) if payload is not None else 0,
        "received_bytes": response.received,
        "seconds": round(seconds, 6),
        "request_transfer": str(response.transfer),
        "reply_transfer": str(response.body.transfer),
        "http_version": response.http_version,
    }


def _summary(response: _native.Response, payload: _native.Payload | None, seconds: float) -> str:
    moved = (len(payload) if payload is not None else 0) + response.received
    speed = moved / max(seconds, 1e-9) / 1e9
    color = "green" if response.is_success else "red"
    return (
        f"[{color}]{response.status}[/] in {seconds:.3f} s, {speed:.2f} GB/s\n"
        f"  request  {response.transfer}\n"
        f"  reply    {response.body.transfer}"
    )


@app.command()
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Show what this installation is and what it runs on, for a bug report."""
    facts = {
        "version": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "transfer policy": str(TransferPolicy.default()),
        "warm pool": shm.stats(),
        "event loop": "uvloop installed" if _is_installed("uvloop") else "asyncio",
        "numpy": "installed" if _is_installed("numpy") else "not installed",
    }
    if as_json:
        typer.echo(json.dumps(facts))
        return
    table = Table(show_header=False)
    for name, value in facts.items():
        table.add_row(name, str(value))
    Console().print(table)


def _is_installed(module: str) -> bool:
    from importlib.util import find_spec  # noqa: PLC0415 - one command of several

    return find_spec(module) is not None
