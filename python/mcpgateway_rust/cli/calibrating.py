"""`mcpgateway-rust calibrate`: the thresholds of this machine."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from mcpgateway_rust.sweep.calibration import SECONDS, Calibration, Row, fixed_cost, threshold, write
from mcpgateway_rust.sweep.calibration import calibrate as measured
from mcpgateway_rust.sweep.cells import LOADED
from mcpgateway_rust.sweep.intervals import number
from mcpgateway_rust.sweep.processes import ServerError
from mcpgateway_rust.sweep.sizes import named

VARIABLE = "MCPGATEWAY_RUST_TRANSFER_POLICY"


def calibrate(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The file for `TransferPolicy.load`.", dir_okay=False)
    ] = Path("transfer-policy.json"),
    seconds: Annotated[float, typer.Option(min=0.1, max=3600, help="How long to measure.")] = SECONDS,
    as_json: Annotated[bool, typer.Option("--json", help="Print what is in the file, not tables.")] = False,
) -> None:
    """Measure copying, borrowing and mapping on this machine, and keep the thresholds that follow.

    Where no difference is shown, what is simpler stays: a copy. Where one never wins, its threshold stays as it is.
    """
    if not output.parent.is_dir():
        raise typer.BadParameter(f"there is no directory {output.parent}", param_hint="'--output'")
    try:
        calibration = _measure(seconds)
        write(calibration, output)
    except KeyboardInterrupt:
        typer.echo("interrupted: nothing was written", err=True)
        sys.exit(130)
    except ServerError as error:
        typer.secho(f"error: {error}", fg=typer.colors.RED, err=True)
        sys.exit(1)
    except OSError as error:
        raise typer.BadParameter(str(error), param_hint="'--output'") from error
    if as_json:
        typer.echo(output.read_text(), nl=False)
    else:
        _show(calibration, output)


def _measure(seconds: float) -> Calibration:
    columns = (TextColumn("measuring"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=1.0)
        return measured(seconds, lambda done: progress.update(task, completed=done))


def _show(calibration: Calibration, path: Path) -> None:
    console = Console(highlight=False)
    per_mib, fixed = fixed_cost(calibration.borrow)
    console.print(_table("Sending a buffer, us a call", ("copied", "borrowed"), calibration.borrow))
    console.print(
        f"A copy costs {number(per_mib * 1e6)} us for each MiB. What borrowing costs does not depend on the size: the "
        f"buffer is held, and given back with the GIL; {_held(fixed)}.\n"
        f"{_rule(calibration.borrow, 'copy_below', calibration.policy.copy_below, 'borrowing')}\n"
    )
    console.print(_table("Handing a body to another process, us", ("by socket", "mapped"), calibration.map))
    console.print(
        f"Through a socket it is copied twice; mapped, it is put where both see it, and only a reference goes over.\n"
        f"{_rule(calibration.map, 'map_above', calibration.policy.map_above, 'mapping')}\n"
    )
    console.print("~: no difference shown, as the intervals (in brackets) overlap.", style="dim")
    if calibration.foreign >= LOADED:
        console.print(f"[yellow]Others used {calibration.foreign:.0%} of a processor meanwhile:[/] better try again.")
    console.print(
        f"{calibration.policy} is in {path}.\nUse it: TransferPolicy.load({str(path)!r}), or for whatever is not given "
        f"one: export {VARIABLE}={path.resolve()}",
        soft_wrap=True,
    )


def _held(seconds: float) -> str:
    if seconds <= 0:
        return "here that is no more than copying up to 16 KiB"
    return f"{number(seconds * 1e6)} us more than copying up to 16 KiB"


def _table(title: str, ways: tuple[str, str], rows: Sequence[Row]) -> Table:
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold")
    for column in ("body", *ways):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("cheaper", no_wrap=True)
    for row in rows:
        cells = [
            f"{number(each.median * 1e6)} [dim]({number(each.low * 1e6)}-{number(each.high * 1e6)})[/]"
            for each in (row.first, row.other)
        ]
        winner = {"first": ways[0], "other": f"[green]{ways[1]}[/]", "": "[dim]~[/]"}[row.winner]
        table.add_row(named(row.size), *cells, winner)
    return table


def _rule(rows: Sequence[Row], name: str, value: int, way: str) -> str:
    found = threshold(rows)
    if found is None:
        return f"{name} stays at {named(value)}: {way} was not shown to win for good at any size."
    return f"{name} = {named(found)}: from there on {way} is cheaper, and at no larger size is it dearer."
