"""The commands and what they say."""

from __future__ import annotations

import json
import os
import platform
import signal
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.filesize import decimal

from mcpgateway_rust import Payload, Progress, Response, TransferPolicy, __version__, _native, shm
from mcpgateway_rust.cli import calling, fetching, spools, sweeping
from mcpgateway_rust.cli.calibrating import calibrate
from mcpgateway_rust.cli.invoking import invoke_with_progress, read_body
from mcpgateway_rust.cli.options import HeaderOption, TimeoutOption, parse_headers, parse_timeout
from mcpgateway_rust.cli.talking import talk

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.add_typer(spools.app, name="shm")
app.add_typer(sweeping.app, name="sweep")
app.command()(calibrate)
app.command(epilog=calling.EXAMPLES)(calling.call)
app.command(epilog=fetching.EXAMPLES)(fetching.fetch)

_TRY_IT = """[bold]Try it[/], in two terminals:

[cyan]mcpgateway-rust serve --port 8080[/]

[cyan]mcpgateway-rust invoke http://127.0.0.1:8080/sink --body @FILE[/]"""

_EXAMPLES = """[bold]Examples[/]

[cyan]mcpgateway-rust invoke http://127.0.0.1:8080/echo --body '{"text": "hello"}'[/]

[cyan]mcpgateway-rust invoke http://127.0.0.1:8080/sink --body @film.mp4 --json[/]

[cyan]mcpgateway-rust invoke http://127.0.0.1:8080/source/1000000 -o million.bin[/]

[cyan]mcpgateway-rust invoke --agent http://127.0.0.1:8080 "What does it say?" --file big.pdf[/]

[cyan]make-report | mcpgateway-rust invoke https://agent.example/a2a -b @- -H 'Content-Type: application/json'[/]"""


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mcpgateway-rust {__version__}")
        raise typer.Exit


@app.callback(epilog=_TRY_IT)
def options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Carry payloads of any size to agents and back, without copies."""


@app.command(epilog=_TRY_IT)
def serve(
    host: Annotated[str, typer.Option(help="IP address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 0,
) -> None:
    """Run a loopback agent to try things on. Prints its URL; Ctrl-C ends it.

    POST /echo           the same bytes back
    POST /sink           their number and SHA-256; /sink?digest=none: the number
    GET  /source/N       N reproducible bytes
    GET  /json/SHAPE/N   about N bytes of text, messages, embeddings or table
    POST /a2a            a JSON-RPC agent: message/send echoes its text, or gives
                         params.message.metadata.replyBytes characters
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        _native.serve(host, port, lambda url: print(url, flush=True))
    except KeyboardInterrupt:
        # Asked to end: that is success.
        return
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="'--host'") from error
    except OSError as error:
        raise typer.BadParameter(str(error), param_hint="'--host' and '--port'") from error


def _check_url(url: str | None) -> str | None:
    if url is not None and "://" not in url:
        raise typer.BadParameter("it has no scheme: write http:// or https:// before the host")
    return url


@app.command(epilog=_EXAMPLES)
def invoke(
    url: Annotated[
        str | None,
        typer.Argument(metavar="URL|TEXT", help="Where the body goes, with http(s)://. With --agent: what to say."),
    ] = None,
    *,
    agent: Annotated[
        str | None,
        typer.Option("--agent", "-a", metavar="URL", callback=_check_url, help="Speak A2A with the agent there."),
    ] = None,
    file: Annotated[
        list[Path] | None, typer.Option("--file", "-f", help="With --agent: a file to send; may be repeated.")
    ] = None,
    body: Annotated[
        str | None, typer.Option("--body", "-b", help="Text, @FILE for a file, or @- for standard input.")
    ] = None,
    method: Annotated[
        str | None, typer.Option("--method", "-X", help="Such as PUT; else POST with a body, GET without.")
    ] = None,
    header: HeaderOption = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Receive the reply into this file.")] = None,
    timeout: TimeoutOption = 600.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was measured, not the reply.")] = False,
) -> None:
    """Send a body of any size to an agent, and print its reply; or, with --agent, a message, and what comes of it.

    A file is memory-mapped, not copied. On a terminal, progress and a summary are shown on standard error.

    Exit status: 0 success, 1 no reply or one of another status than 200 to 299, 2 a wrong command line, 130 Ctrl-C.
    """
    if agent is not None:
        if body is not None or method is not None:
            raise typer.BadParameter("with --agent, pass a text and --file", param_hint="'--body' or '--method'")
        talk(
            agent,
            url,
            file or [],
            headers=parse_headers(header),
            output=output,
            timeouts=parse_timeout(timeout),
            as_json=as_json,
        )
        return
    if file:
        raise typer.BadParameter("it goes with --agent: else use --body @FILE", param_hint="'--file'")
    if url is None:
        raise typer.BadParameter("it is missing", param_hint="'URL'")
    if "://" not in url:
        hint = "it has no scheme: write http:// or https:// before the host. A text goes with --agent URL"
        raise typer.BadParameter(hint, param_hint="'URL'")
    payload = read_body(body)
    method = method or ("GET" if payload is None else "POST")
    headers = parse_headers(header)
    timeouts = parse_timeout(timeout)
    progress = Progress()
    started = time.perf_counter()
    response = invoke_with_progress(
        method, url, payload, headers=headers, output=output, timeouts=timeouts, progress=progress
    )
    seconds = time.perf_counter() - started
    if as_json:
        typer.echo(json.dumps(_facts(response, progress, seconds)))
    elif output is None:
        _write(response.body)
    if sys.stderr.isatty():
        Console(stderr=True).print(_summary(response, progress, seconds), highlight=False)
    response.raise_for_status()


def _write(body: Payload) -> None:
    sys.stdout.buffer.write(body)
    if sys.stdout.isatty():
        sys.stdout.buffer.write(b"\n")
    sys.stdout.flush()


def _facts(response: Response, progress: Progress, seconds: float) -> dict[str, Any]:
    return {
        "status": response.status,
        "sent": progress.sent,
        "received": response.received,
        "seconds": round(seconds, 6),
        "request_transfer": str(response.transfer),
        "reply_transfer": str(response.body.transfer),
        "http_version": response.http_version,
    }


def _summary(response: Response, progress: Progress, seconds: float) -> str:
    color = "green" if response.is_success else "red"
    speed = decimal(round((progress.sent + response.received) / seconds))
    return (
        f"[{color}]{response.status}[/] {response.http_version} in {seconds:.3f} s, {speed}/s\n"
        f"  sent      {decimal(progress.sent)}, {response.transfer}\n"
        f"  received  {decimal(response.received)}, {response.body.transfer}"
    )


@app.command()
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Show what this installation is and what it runs on, for a bug report."""
    facts = {
        "version": __version__,
        "native_module": _native.__file__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "transfer_policy": str(TransferPolicy.default()),
        "warm_pool": shm.stats(),
        "numpy": _version_of("numpy"),
        "uvloop": _version_of("uvloop"),
    }
    if as_json:
        typer.echo(json.dumps(facts))
        return
    pool = shm.stats()
    shown = facts | {
        "warm_pool": f"keeps at most {decimal(pool['cap_bytes'])} of freed memory, {pool['idle_bytes']} now"
    }
    for name, value in shown.items():
        typer.echo(f"{name.replace('_', ' '):<17}{'not installed' if value is None else value}")


def _version_of(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
