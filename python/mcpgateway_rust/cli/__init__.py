"""The command line, `mcpgateway-rust`."""

from __future__ import annotations

import sys

from mcpgateway_rust.cli.app import app
from mcpgateway_rust.exceptions import GatewayError


def main() -> None:
    """Run the command line; an error of the gateway is one line on stderr, not a traceback."""
    try:
        app()
    except GatewayError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


__all__ = ["app", "main"]
