"""`mcpgateway-rust sweep`: measure payloads of every size, compare two sweeps, and show one."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, replace
from datetime import datetime
from fnmatch import fnmatch
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from mcpgateway_rust.sweep import page
from mcpgateway_rust.sweep.backends import BACKENDS
from mcpgateway_rust.sweep.cells import DIRECTIONS, EXPORTERS, SHAPES
from mcpgateway_rust.sweep.comparison import changes, shown
from mcpgateway_rust.sweep.findings import Findings
from mcpgateway_rust.sweep.machine import machine
from mcpgateway_rust.sweep.pictures import draw_all
from mcpgateway_rust.sweep.plans import FULL_BACKENDS, QUICK_BACKENDS, Grid, Plan, full_plan, own_plan, quick_plan
from mcpgateway_rust.sweep.processes import Server, ServerError
from mcpgateway_rust.sweep.results import Results, ResultsError, ResultsFile, check_same_setting, read
from mcpgateway_rust.sweep.running import Outcome, Sweep
from mcpgateway_rust.sweep.sizes import parse_size
from mcpgateway_rust.sweep.tables import summary

_TEACH = """[bold]Examples[/]

A first impression, in two minutes: [cyan]mcpgateway-rust sweep[/]

Everything, in hours; Ctrl-C keeps what is done: [cyan]mcpgateway-rust sweep --full -o full.jsonl[/]

The rest of it: [cyan]mcpgateway-rust sweep --resume full.jsonl[/]

One question: [cyan]mcpgateway-rust sweep --sizes 64KiB,1MiB --concurrency 1,64 --backends ours,aiohttp[/]

A page with charts: [cyan]mcpgateway-rust sweep report full.jsonl[/]

What got better, what worse: [cyan]mcpgateway-rust sweep compare before.jsonl after.jsonl[/]

Exit status: 0 all was measured, 1 some cells have no figures or the results could not be written, 2 a wrong command
line, 130 Ctrl-C. What was finished is kept and shown in each case."""

app = typer.Typer(
    invoke_without_command=True,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Measure what payloads of every size cost, beside other HTTP clients.",
    epilog=_TEACH,
)


def _names(what: str, known: tuple[str, ...], text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    if unknown := [name for name in names if name not in known]:
        raise typer.BadParameter(f"no {what} {', '.join(map(repr, unknown))}: there are {', '.join(known)}")
    return names


def _numbers(option: str, text: str) -> tuple[int, ...]:
    try:
        numbers = tuple(int(word) for word in text.split(","))
    except ValueError as error:
        raise typer.BadParameter(f"{text!r}: whole numbers, with commas between", param_hint=option) from error
    if not all(1 <= number <= 256 for number in numbers):
        raise typer.BadParameter(f"{text!r}: from 1 to 256", param_hint=option)
    return numbers


@app.callback(epilog=_TEACH)
def sweep(
    context: typer.Context,
    *,
    quick: Annotated[
        bool, typer.Option("--quick", help="At most two minutes; what is done if nothing is said.")
    ] = False,
    full: Annotated[bool, typer.Option("--full", help="1 KiB to 1 GiB, all there is: hours.")] = False,
    sizes: Annotated[str | None, typer.Option(help="Such as 1KiB,64MiB.")] = None,
    directions: Annotated[str | None, typer.Option(help="Of up, down, echo.")] = None,
    shapes: Annotated[str | None, typer.Option(help="Of opaque, text, messages, embeddings, table.")] = None,
    exporters: Annotated[
        str | None, typer.Option(help="Of bytes, bytearray, memoryview, ndarray, mmap, shared.")
    ] = None,
    concurrency: Annotated[str | None, typer.Option(help="Calls at a time, such as 1,64; at most 256.")] = None,
    backends: Annotated[str | None, typer.Option(help="Such as ours,ours-copy,httpx,empty.")] = None,
    only: Annotated[str | None, typer.Option(help="Cells whose name matches, such as 'up/*MiB*'.")] = None,
    repeats: Annotated[int | None, typer.Option(min=1, max=1000, help="Processes for each cell.")] = None,
    seconds: Annotated[float | None, typer.Option(min=0.01, max=600, help="The timed part of each.")] = None,
    uvloop: Annotated[bool, typer.Option("--uvloop", help="On uvloop instead of asyncio's loop.")] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of the server; 0 takes a free one.")] = 0,
    url: Annotated[str | None, typer.Option(help="Of a `serve` that runs already, such as on another machine.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A new file for the samples, one JSON a line.")
    ] = None,
    resume: Annotated[Path | None, typer.Option(help="Go on with this file.", exists=True, dir_okay=False)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the samples as JSON lines, not tables.")] = False,
) -> None:
    """Measure what payloads of every size cost, beside other HTTP clients.

    Each cell runs in a fresh process against a server in its own; backends take turns, in an order that moves on with
    each repeat. A body is verified before it is timed. Medians are shown, and a difference only where there is one.
    """
    if context.invoked_subcommand:
        return

    if quick and full:
        raise typer.BadParameter("--quick and --full: one of them")
    dimensions: dict[str, Any] = {}
    if sizes:
        dimensions["sizes"] = _sizes(sizes)
    for name, known, text in (
        ("directions", DIRECTIONS, directions),
        ("shapes", SHAPES, shapes),
        ("exporters", EXPORTERS, exporters),
    ):
        if text:
            dimensions[name] = _names(name.removesuffix("s"), known, text)
    if concurrency:
        dimensions["concurrencies"] = _numbers("--concurrency", concurrency)
    if dimensions and (quick or full):
        raise typer.BadParameter("--quick and --full have their cells; narrow them by --only")
    how = {"repeats": repeats, "seconds": seconds, "loop": "uvloop" if uvloop else None}
    how = {name: value for name, value in how.items() if value is not None}
    try:
        if resume:
            if full or dimensions or backends or only or how or output:
                raise typer.BadParameter("the file says what is measured", param_hint="--resume")
            results = read(resume)
            check_same_setting(results, machine())
        else:
            results = Results(machine(), _plan(full, dimensions, backends, only, how))
    except ResultsError as error:
        raise typer.BadParameter(str(error), param_hint="--resume") from error
    _finish(_measure(results, resume, output, url=url, port=port), as_json)


def _sizes(text: str) -> tuple[int, ...]:

    try:
        found = tuple(dict.fromkeys(parse_size(word) for word in text.split(",")))
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--sizes") from error
    if not all(found):
        raise typer.BadParameter("a body of 0 bytes has no speed", param_hint="--sizes")
    return found


def _plan(full: bool, dimensions: dict[str, Any], backends: str | None, only: str | None, how: dict[str, Any]) -> Plan:

    usual = FULL_BACKENDS if full else QUICK_BACKENDS
    asked = _names("backend", tuple(BACKENDS), backends) if backends else usual
    there = [name for name in asked if BACKENDS[name].version() is not None]
    for name in asked:
        if name not in there:
            typer.echo(f"{name}: not installed, skipped (pip install mcpgateway_rust[bench])", err=True)
    if dimensions:
        plan = own_plan(Grid(**dimensions), there, **how)
    else:
        plan = (full_plan if full else quick_plan)(there, **how)
    plan = replace(plan, cells=tuple(cell for cell in plan.cells if fnmatch(cell.name, only or "*")))
    if not plan.cells:
        raise typer.BadParameter("no cell is left to measure")
    return plan


def _measure(results: Results, resume: Path | None, output: Path | None, *, url: str | None, port: int) -> Outcome:

    console = Console(stderr=True)
    path = resume or output or Path(f"sweep-{datetime.now():%Y-%m-%dT%H%M%S}.jsonl")
    try:
        with Server(url=url, port=port) as server:
            try:
                file = ResultsFile.go_on(path) if resume else ResultsFile.create(path, results)
            except OSError as error:
                raise typer.BadParameter(f"cannot write the samples: {error}", param_hint="--output") from error
            try:
                outcome = Sweep(results, file, server, console=console).run()
            finally:
                file.close()
    except ServerError as error:
        raise typer.BadParameter(str(error), param_hint="--port") from error
    except KeyboardInterrupt:
        outcome = Outcome(results, interrupted=True)
    _say_how_it_ended(outcome, path, console)
    return outcome


def _say_how_it_ended(outcome: Outcome, path: Path, console: Console) -> None:
    left = outcome.results.left
    if outcome.problem:
        console.print(f"[red]stopped:[/] {outcome.problem}", highlight=False, soft_wrap=True)
    if outcome.interrupted:
        console.print("[yellow]interrupted[/]")
    if outcome.out_of_time and left:
        console.print(f"the time was up with {left} samples left", highlight=False)
    resume = f"; the other {left}: mcpgateway-rust sweep --resume {path}" if left else ""
    console.print(f"{len(outcome.results.samples)} samples in {path}{resume}", highlight=False, soft_wrap=True)


def _finish(outcome: Outcome, as_json: bool) -> None:

    if as_json:
        for sample in outcome.results.samples:
            typer.echo(sample.as_json())
    elif outcome.results.samples:
        Console(highlight=False).print(summary(Findings(outcome.results)))
    sys.exit(outcome.status)


def _read(path: Path) -> Results:

    try:
        return read(path)
    except (ResultsError, OSError) as error:
        raise typer.BadParameter(str(error)) from error


SweepFile = Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="What a sweep wrote.")]


@app.command(epilog=_TEACH)
def compare(
    before: SweepFile,
    after: SweepFile,
    as_json: Annotated[bool, typer.Option("--json", help="Print every figure, one JSON a line.")] = False,
) -> None:
    """Show what got better or worse between two sweeps; what the intervals do not show is no difference."""
    found = changes(_read(before), _read(after))
    if as_json:
        for change in found:
            typer.echo(json.dumps(asdict(change) | {"verdict": change.verdict}))
    else:
        Console(highlight=False).print(shown(found))


@app.command(epilog=_TEACH)
def report(
    file: SweepFile,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The page; beside FILE with .html if not given.")
    ] = None,
    pictures: Annotated[Path | None, typer.Option(help="A directory for the charts as PNG.", file_okay=False)] = None,
) -> None:
    """Show a sweep, whole or not: tables here, and charts on a page that needs no network."""
    findings = Findings(_read(file))
    Console(highlight=False).print(summary(findings))
    path = output or file.with_suffix(".html")
    try:
        page.write(findings, path)
        typer.echo(f"page: {path}")
        if pictures:
            pictures.mkdir(parents=True, exist_ok=True)
            for each in draw_all(findings, pictures):
                typer.echo(f"picture: {each}")
    except page.ChartsMissingError as error:
        typer.secho(f"error: {error}", fg=typer.colors.RED, err=True)
        sys.exit(1)
    except OSError as error:
        raise typer.BadParameter(f"cannot write: {error}", param_hint="--output") from error
