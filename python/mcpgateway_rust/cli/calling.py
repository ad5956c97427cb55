"""One call of a tool from the command line."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from mcpgateway_rust.cli.invoking import read_body
from mcpgateway_rust.cli.options import HeaderOption, TimeoutOption, parse_headers, parse_timeout
from mcpgateway_rust.services.tool_service import ToolClient, ToolResult

EXAMPLES = """[bold]Examples[/]

[cyan]mcpgateway-rust call http://127.0.0.1:8080/mcp[/]  (lists the tools)

[cyan]mcpgateway-rust call http://127.0.0.1:8080/mcp echo '{"text": "hello"}'[/]

[cyan]mcpgateway-rust call http://127.0.0.1:8080/mcp search @arguments.json --pointer /rows/0[/]"""


def call(
    url: Annotated[str, typer.Argument(metavar="URL", help="Of the MCP server, with http(s)://.")],
    name: Annotated[str | None, typer.Argument(metavar="TOOL", help="Without one, the tools are listed.")] = None,
    arguments: Annotated[
        str | None, typer.Argument(metavar="ARGUMENTS", help="A JSON object, @FILE, or @- for standard input.")
    ] = None,
    *,
    header: HeaderOption = None,
    pointer: Annotated[str | None, typer.Option(help="Print only the value there (RFC 6901).")] = None,
    jq: Annotated[str | None, typer.Option(help="Print only what this jq filter makes of the result.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the bytes of the first piece of content here.")
    ] = None,
    timeout: TimeoutOption = 600.0,
) -> None:
    """Call a tool of an MCP server, and print what it answers: its text, or else the result as JSON.

    Exit status: 0 success, 1 no result or one that says the tool failed, 2 a wrong command line, 130 Ctrl-C.
    """
    headers = parse_headers(header)
    with ToolClient(url, headers=headers, timeouts=parse_timeout(timeout)) as client:
        if name is None:
            for tool in client.list_tools():
                summary = (tool.description or "").strip().splitlines()
                typer.echo(f"{tool.name}\t{summary[0] if summary else ''}")
            return
        result = client.call(name, read_body(arguments), pointer=pointer, jq=jq)
        if output is not None:
            if not result.content:
                typer.echo(f"{name}: the result has no content that could be written to {output}", err=True)
                raise typer.Exit(1)
            output.write_bytes(result.content[0].payload())
        else:
            _print(result)
    if result.is_error:
        raise typer.Exit(1)


def _print(result: ToolResult) -> None:
    if result.selected is not None:
        sys.stdout.buffer.write(result.selected.raw())
    elif any(content.type == "text" for content in result.content):
        sys.stdout.buffer.write(result.text.encode())
    elif result.node is not None:
        sys.stdout.buffer.write(result.node.raw())
    sys.stdout.buffer.write(b"\n")
    sys.stdout.flush()
