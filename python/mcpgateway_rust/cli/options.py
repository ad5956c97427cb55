"""The options that several commands share: their types, and what their values become."""

from __future__ import annotations

from typing import Annotated

import typer

from mcpgateway_rust._types import Timeouts

HeaderOption = Annotated[list[str] | None, typer.Option("--header", "-H", help="'Name: value'; may be repeated.")]
TimeoutOption = Annotated[float, typer.Option("--timeout", help="Seconds for the whole call.")]


def parse_headers(lines: list[str] | None) -> list[tuple[str, str]]:
    """The headers that `lines` are.

    Raises:
        typer.BadParameter: There is no colon in one of them.
    """
    return [_parse_header(line) for line in lines or []]


def _parse_header(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon:
        raise typer.BadParameter("there is no colon: pass 'Name: value'", param_hint="'--header'")
    return name.strip(), value.strip()


def parse_timeout(seconds: float) -> Timeouts:
    """The timeouts of a call that may take `seconds` in all.

    Raises:
        typer.BadParameter: That is no time that a call could take.
    """
    try:
        return Timeouts(total=seconds)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="'--timeout'") from error
