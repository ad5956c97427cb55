"""`mcpgateway-rust shm`: what a spool directory holds, and removing what nobody needs."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from mcpgateway_rust import shm

_TEACH = """[bold]What this is about[/]

Workers of a gateway that are given the same spool directory hand payloads to each other by reference, without a copy.
Each worker holds a part of the directory's budgets, in memory files and in files without a name; only durable payloads
are files that one can see. What a killed worker held in memory is freed with it; its part of the budgets is given back
by the next sweep, which every spool does once a minute.

[bold]Examples[/]

[cyan]mcpgateway-rust shm list[/]

[cyan]mcpgateway-rust shm list --directory /run/gateway/spool --json[/]

[cyan]mcpgateway-rust shm sweep[/]"""

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Look at what spools hold, and remove what dead workers left.",
    epilog=_TEACH,
)


def _existing(directory: Path | None) -> Path | None:
    if directory is not None and not directory.is_dir():
        raise typer.BadParameter(f"there is no directory {directory}: spools make theirs when they start")
    return directory


Directory = Annotated[
    Path | None,
    typer.Option(
        "--directory",
        "-d",
        callback=_existing,
        help="Of the spool; else mcpgateway-shm-UID below $XDG_RUNTIME_DIR, /tmp or /var/tmp.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print as JSON, sizes in bytes, times in seconds since 1970.")]


@app.command("list", epilog=_TEACH)
def list_(directory: Directory = None, as_json: AsJson = False) -> None:
    """Show the workers of a spool directory, what each holds, and the durable payloads."""
    listing = shm.list_(directory)
    if as_json:
        typer.echo(json.dumps(listing))
        return
    console = Console()
    console.print(_workers(listing["workers"]))
    if listing["payloads"]:
        console.print(_payloads(listing["payloads"]))
    console.print(
        f"{len(listing['payloads'])} durable payloads, {listing['partial_files']} half-written files, "
        f"{listing['foreign_files']} files of others"
    )


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    for column in columns:
        table.add_column(column, justify="right" if column in {"pid", "memory", "disk", "size"} else "left")
    return table


def _workers(workers: list[shm.Worker]) -> Table:
    table = _table("worker", "pid", "tenant", "state", "memory", "disk")
    for worker in sorted(workers, key=lambda worker: worker["pid"]):
        state = "[green]alive[/]" if worker["alive"] else "[red]dead: sweep[/]"
        used = worker["used"]
        table.add_row(
            worker["id"][:8],
            str(worker["pid"]),
            worker["tenant"],
            state,
            decimal(used["memory"]),
            decimal(used["disk"]),
        )
    return table


def _payloads(payloads: list[shm.DurablePayload]) -> Table:
    table = _table("durable payload", "size", "expires")
    for payload in sorted(payloads, key=lambda payload: payload["expires"]):
        seconds = payload["expires"] - time.time()
        left = f"in {seconds:.0f} s" if seconds > 0 else "[red]expired: sweep[/]"
        table.add_row(payload["id"], decimal(payload["bytes"]), left)
    return table


@app.command(epilog=_TEACH)
def sweep(directory: Directory = None, as_json: AsJson = False) -> None:
    """Remove what dead workers left, and durable payloads that have expired. Touches nothing that is in use."""
    swept = shm.sweep(directory)
    if as_json:
        typer.echo(json.dumps(swept))
        return
    returned = swept["returned"]
    typer.echo(
        f"{swept['workers']} dead workers ({decimal(returned['memory'])} of memory and {decimal(returned['disk'])} "
        f"of disk given back to the budgets), {swept['payloads']} expired payloads "
        f"({decimal(swept['payload_bytes'])}), {swept['files']} files left behind"
    )


@app.command(epilog=_TEACH)
def stats(directory: Directory = None, as_json: AsJson = False) -> None:
    """Show how much all workers of a spool directory hold together."""
    totals = _totals(shm.list_(directory))
    if as_json:
        typer.echo(json.dumps(totals))
        return
    for name, value in totals.items():
        shown = decimal(value) if name.endswith("bytes") else str(value)
        typer.echo(f"{name.replace('_', ' '):<22}{shown}")


def _totals(listing: shm.Listing) -> dict[str, Any]:
    workers, payloads = listing["workers"], listing["payloads"]
    return {
        "workers_alive": sum(worker["alive"] for worker in workers),
        "workers_dead": sum(not worker["alive"] for worker in workers),
        "memory_bytes": sum(worker["used"]["memory"] for worker in workers),
        "disk_bytes": sum(worker["used"]["disk"] for worker in workers),
        "durable_payloads": len(payloads),
        "durable_bytes": sum(payload["bytes"] for payload in payloads),
    }
