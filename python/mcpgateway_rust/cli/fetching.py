"""One resource from the command line, with progress on a terminal."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.filesize import decimal

from mcpgateway_rust import Progress
from mcpgateway_rust.cli.invoking import shown
from mcpgateway_rust.cli.options import HeaderOption, TimeoutOption, parse_headers, parse_timeout
from mcpgateway_rust.exceptions import InvalidOption
from mcpgateway_rust.services.resource_service import Resource, ResourceClient

EXAMPLES = """[bold]Examples[/]

[cyan]mcpgateway-rust fetch https://files.example/film.mp4 -o film.mp4[/]

[cyan]mcpgateway-rust fetch file:///srv/notes.txt --root /srv[/]

[cyan]mcpgateway-rust fetch peer://notes/1 --server http://127.0.0.1:8080/mcp[/]"""


def fetch(
    uri: Annotated[str, typer.Argument(metavar="URL", help="http:, https:, file: or data:; any with --server.")],
    *,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the resource into this file.")] = None,
    header: HeaderOption = None,
    server: Annotated[str | None, typer.Option(help="URL of the MCP server that has the resource.")] = None,
    root: Annotated[list[Path] | None, typer.Option(help="Directory of files that may be read; repeatable.")] = None,
    streams: Annotated[int, typer.Option(min=1, max=64, help="Ranges that are received at a time.")] = 4,
    timeout: TimeoutOption = 600.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was measured, not the resource.")] = False,
) -> None:
    """Fetch a resource of any size: in several ranges at once, and resumed where a connection breaks.

    On a terminal, progress and a summary are shown on standard error.

    Exit status: 0 success, 1 no resource, 2 a wrong command line, 130 Ctrl-C.
    """
    headers = parse_headers(header)
    timeouts = parse_timeout(timeout)
    progress = Progress()
    started = time.perf_counter()
    try:
        client = ResourceClient(streams=streams, roots=root or [])
    except InvalidOption as error:
        raise typer.BadParameter(str(error), param_hint="'--root'") from error
    with client, shown(progress):
        if server is None:
            resource = client.fetch(uri, headers=headers, timeouts=timeouts, progress=progress)
        else:
            resource = _only(client.read(server, uri, headers=headers, timeouts=timeouts, progress=progress))
    seconds = time.perf_counter() - started
    if output is not None:
        output.write_bytes(resource.body)
    if as_json:
        typer.echo(json.dumps(_facts(resource, seconds)))
    elif output is None:
        sys.stdout.buffer.write(resource.body)
        sys.stdout.flush()
    if sys.stderr.isatty():
        Console(stderr=True).print(_summary(resource, seconds), highlight=False)


def _only(contents: list[Resource]) -> Resource:
    if len(contents) != 1:
        raise typer.BadParameter(f"it has {len(contents)} contents, and one can be written", param_hint="'URL'")
    return contents[0]


def _facts(resource: Resource, seconds: float) -> dict[str, object]:
    return {
        "received": len(resource.body),
        "content_type": resource.content_type,
        "etag": resource.etag,
        "came_from": resource.came_from,
        "transfer": str(resource.body.transfer),
        "seconds": round(seconds, 6),
    }


def _summary(resource: Resource, seconds: float) -> str:
    size = len(resource.body)
    return (
        f"[green]{decimal(size)}[/] in {seconds:.3f} s, {decimal(round(size / seconds))}/s\n"
        f"  {resource.content_type or 'no content type'}, {resource.body.transfer}"
    )
