"""The command line, `mcpgateway-rust`."""

from __future__ import annotations

import sys

import typer

from mcpgateway_rust.cli.app import app
from mcpgateway_rust.exceptions import GatewayError


def main() -> None:
    """Run the command line; an error of the gateway is one line on stderr, not a traceback."""
    try:
        app(prog_name="mcpgateway-rust")
    except GatewayError as error:
        typer.secho(f"error: {error}", fg=typer.colors.RED, err=True)
        for hint in getattr(error, "__notes__", ()):
            typer.echo(hint, err=True)
        sys.exit(1)


__all__ = ["app", "main"]
