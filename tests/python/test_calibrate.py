"""`mcpgateway-rust calibrate`: which thresholds follow from what was measured, and that they are used."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mcpgateway_rust import TransferPolicy
from mcpgateway_rust.sweep.calibration import HANDED_SIZES, SENT_SIZES, Calibration, Row, threshold, write
from mcpgateway_rust.sweep.intervals import estimate
from mcpgateway_rust.sweep.sizes import KIB, MIB
from support.process import environment, run_python

COMMAND = [sys.executable, "-m", "mcpgateway_rust.cli", "calibrate"]


def rows(winners: str) -> list[Row]:
    """One row for each letter, from 1 KiB on: c a copy wins, o the other way, - nobody."""
    nothing = estimate([1.0])
    names = {"c": "first", "o": "other", "-": ""}
    return [Row(KIB << index, nothing, nothing, names[letter]) for index, letter in enumerate(winners)]


@pytest.mark.parametrize(
    ("winners", "size"),
    [
        ("ccoo", 4 * KIB),
        ("cc-o", 8 * KIB),
        ("cc-oo-", 8 * KIB),
        ("oooo", KIB),
        ("ocoo", 4 * KIB),
        ("oooc", None),
        ("----", None),
        ("cccc", None),
        ("c---", None),
    ],
)
def test_the_threshold_is_where_the_other_way_begins_to_win_for_good(winners: str, size: int | None) -> None:
    assert threshold(rows(winners)) == size


def test_what_is_written_is_loaded_and_changes_what_is_decided(tmp_path: Path) -> None:
    policy = TransferPolicy(copy_below=MIB, map_above=2 * MIB)
    path = tmp_path / "policy.json"
    write(Calibration(tuple(rows("co")), tuple(rows("co")), policy, 0.0), path)
    assert TransferPolicy.load(path) == policy
    program = "from mcpgateway_rust import Payload; print(Payload(bytes(100 << 10)).transfer.kind)"
    kinds = [run_python(program, env=env).stdout for env in ({}, {"MCPGATEWAY_RUST_TRANSFER_POLICY": str(path)})]
    assert kinds == ["borrow\n", "copy\n"]


def test_this_machine_is_measured_explained_and_written(tmp_path: Path) -> None:
    done = subprocess.run(
        [*COMMAND, "--seconds", "2", "-o", "policy.json"],
        cwd=tmp_path, env=environment({"COLUMNS": "120"}), capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    written = json.loads((tmp_path / "policy.json").read_text())
    measured = written["measured_seconds_a_call"]
    assert [row["size"] for row in measured["borrow"]] == SENT_SIZES
    assert [row["size"] for row in measured["map"]] == HANDED_SIZES
    loaded = TransferPolicy.load(tmp_path / "policy.json")
    assert (loaded.copy_below, loaded.map_above) == (written["copy_below"], written["map_above"])
    for said in ("Sending a buffer", "Handing a body to another process", "copy_below", "map_above", str(loaded)):
        assert said in done.stdout


def test_a_file_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere" / "policy.json", tmp_path):
        done = subprocess.run(
            [*COMMAND, "--seconds", "0.1", "-o", str(path)],
            env=environment(),
            capture_output=True,
            timeout=100,
            check=False,
        )
        assert (done.returncode, b"--output" in done.stderr) == (2, True)
