"""The file of a sweep: a line with the machine and the plan, then one line for each sample, as they are measured."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TextIO

from mcpgateway_rust.sweep.cells import Cell, Sample
from mcpgateway_rust.sweep.plans import Plan

FORMAT = 1


class ResultsError(ValueError):
    """A file is not one that a sweep wrote, or not one to go on with."""


@dataclass(frozen=True)
class Results:
    """A sweep, whole or not."""

    machine: dict[str, Any]
    plan: Plan
    samples: tuple[Sample, ...] = ()

    def with_samples(self, samples: Iterable[Sample]) -> Results:
        """The same with these samples."""
        return replace(self, samples=tuple(samples))

    @property
    def left(self) -> int:
        """How many samples it lacks."""
        return len(self.plan.cells) * self.plan.repeats - len(self.samples)


def header(results: Results) -> str:
    """The first line of the file."""
    plan = results.plan
    cells = [asdict(cell) for cell in plan.cells]
    about = {"sweep": FORMAT, "machine": results.machine, "title": plan.title}
    return json.dumps(about | {"repeats": plan.repeats, "budget": plan.budget, "cells": cells})


def read(path: Path) -> Results:
    """The sweep in a file; a last line that was cut off is left out.

    Raises:
        ResultsError: It is no sweep's, or damaged; the message says where.
        OSError: It cannot be read.
    """
    first, _, rest = path.read_bytes().partition(b"\n")
    try:
        about = json.loads(first)
        cells = tuple(Cell(**cell) for cell in about["cells"])
        plan = Plan(about["title"], cells, about["repeats"], about["budget"])
        results = Results(about["machine"], plan)
        known = about["sweep"]
    except (ValueError, TypeError, KeyError) as error:
        raise ResultsError(f"{path}: the first line is not that of a sweep: {error!r}") from error
    if known != FORMAT:
        raise ResultsError(f"{path}: format {known!r}; this version reads {FORMAT}")
    return results.with_samples(_samples(path, rest))


def _samples(path: Path, lines: bytes) -> Iterable[Sample]:
    whole, _, _ = lines.rpartition(b"\n")
    for number, line in enumerate(whole.splitlines(), start=2):
        try:
            yield Sample.from_json(json.loads(line))
        except (ValueError, TypeError, KeyError) as error:
            raise ResultsError(f"{path}, line {number}: not a sample: {error!r}") from error


class ResultsFile:
    """Writes samples as they come, each at once."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    @classmethod
    def create(cls, path: Path, results: Results) -> ResultsFile:
        """A new file, which may not be there yet; a device may.

        Raises:
            OSError: It is there, or there is no room.
        """
        is_device = path.exists() and not stat.S_ISREG(path.stat().st_mode)
        made = cls(path.open("w" if is_device else "x"))
        made._line(header(results))
        return made

    @classmethod
    def go_on(cls, path: Path) -> ResultsFile:
        """An existing file, without a last line that was cut off."""
        text = path.read_bytes()
        os.truncate(path, text.rfind(b"\n") + 1)
        return cls(path.open("a"))

    def add(self, sample: Sample) -> None:
        """Write one sample.

        Raises:
            OSError: There is no room; what was written before stays.
        """
        self._line(sample.as_json())

    def close(self) -> None:
        """Nothing more comes."""
        self._file.close()

    def _line(self, text: str) -> None:
        # Unbuffered, so that a line that does not fit fails here, and not when the file is closed.
        left = f"{text}\n".encode()
        while left:
            left = left[os.write(self._file.fileno(), left) :]


def check_same_setting(results: Results, now: dict[str, Any]) -> None:
    """Refuse to go on where figures would not compare.

    Raises:
        ResultsError: The processor, the interpreter or a measured package are others.
    """
    for fact in ("cpu", "cores", "python"):
        if results.machine.get(fact) != now[fact]:
            raise ResultsError(_elsewhere(fact, results.machine.get(fact), now[fact]))
    before: dict[str, Any] = results.machine.get("packages", {})
    for name in sorted(before.keys() | now["packages"].keys()):
        if before.get(name) != now["packages"].get(name):
            raise ResultsError(_elsewhere(name, before.get(name), now["packages"].get(name)))


def _elsewhere(fact: str, before: object, now: object) -> str:
    return f"begun in another setting ({fact} {before} then, {now} now), so the rest would not compare"
