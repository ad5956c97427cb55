"""`mcpgateway-rust sweep` as a person runs it: what it measures, and what it does when something goes wrong."""

import json
import os
import resource
import signal
import socket
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from mcpgateway_rust.sweep.cells import DIRECTIONS, EXPORTERS, SHAPES, Cell, Sample
from mcpgateway_rust.sweep.machine import machine
from mcpgateway_rust.sweep.plans import Grid, Plan
from mcpgateway_rust.sweep.processes import Server
from mcpgateway_rust.sweep.results import Results, ResultsFile, read
from mcpgateway_rust.sweep.running import Sweep
from mcpgateway_rust.sweep.sizes import KIB
from support.process import environment, run_python
from support.sweeps import made_up_sweep
from support.waiting import wait_until

COMMAND = [sys.executable, "-m", "mcpgateway_rust.cli", "sweep"]
COMMAND_SECONDS = 100.0
SMALL = ("--sizes", "1KiB", "--directions", "up", "--seconds", "0.02")
FIGURES = {"gb_per_s", "per_s", "p50_ms", "p90_ms", "p99_ms", "calls", "cpu_s_per_gb", "cpu_us", "faults_per_mib"}


def run(*arguments: object, cwd: Path, most_bytes: int | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command; no file that it writes may get longer than `most_bytes`."""
    limit = None if most_bytes is None else (lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes,) * 2))
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        cwd=cwd,
        env=environment({"COLUMNS": "100"}),
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        check=False,
        preexec_fn=limit,
    )


def written(path: Path, results: Results) -> Path:
    file = ResultsFile.create(path, results)
    for sample in results.samples:
        file.add(sample)
    file.close()
    return path


# ---- measuring


def test_a_sweep_measures_each_cell_in_each_backend(tmp_path: Path) -> None:
    what = ("--directions", "up,down,echo", "--backends", "ours,httpx,empty", "--repeats", 2)
    done = run(*SMALL, *what, "-o", "s.jsonl", cwd=tmp_path)
    assert (done.returncode, done.stderr.split("\n")[-2]) == (0, "18 samples in s.jsonl")
    samples = read(tmp_path / "s.jsonl").samples
    measured = [(sample.repeat, sample.cell.name, sample.cell.backend) for sample in samples]
    expected = [
        (repeat, f"{direction}/1KiB", backend)
        for repeat in range(2)
        for direction in DIRECTIONS
        for backend in (("ours", "httpx", "empty") if repeat == 0 else ("httpx", "empty", "ours"))
    ]
    assert measured == expected
    assert [sample for sample in samples if sample.error or not sample.figures.keys() >= FIGURES] == []
    assert all(min(sample.figures["gb_per_s"], sample.figures["calls"]) > 0 for sample in samples)
    assert "Measuring itself takes" in done.stdout


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_each_kind_of_body_arrives_as_it_is(tmp_path: Path, exporter: str) -> None:
    backends = "ours,ours-copy,ours-borrow,ours-map,httpx,raw"
    what = ("--directions", "up", "--exporters", exporter, "--backends", backends, "--repeats", 1)
    done = run("--sizes", "100KiB", *what, "--seconds", "0.02", "--json", cwd=tmp_path)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert (done.returncode, [row["error"] for row in rows]) == (0, [""] * 6), done.stderr
    decided = {row["cell"]["backend"]: row["notes"].get("decision") for row in rows}
    ours = {"ours": "borrow", "ours-copy": "copy", "ours-borrow": "borrow", "ours-map": "map"}
    assert decided == ours | {"httpx": None, "raw": None}


def test_each_shape_comes_down_and_is_opened(tmp_path: Path) -> None:
    what = ("--directions", "down", "--shapes", ",".join(SHAPES), "--concurrency", "8", "--backends", "ours,httpx")
    done = run("--sizes", "64KiB", *what, "--seconds", "0.02", "--repeats", 1, "--json", cwd=tmp_path)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert (done.returncode, len(rows), {row["error"] for row in rows}) == (0, 10, {""}), done.stderr


# ---- what may be missing or in the way


def test_a_peer_that_is_not_installed_is_named_and_skipped(tmp_path: Path) -> None:
    program = f"""
        import os, sys
        sys.modules["httpx"] = None
        os.chdir({str(tmp_path)!r})
        sys.argv = ["mcpgateway-rust", "sweep", *{SMALL}, "--backends", "empty,httpx", "-o", "s.jsonl"]
        from mcpgateway_rust.cli import main
        main()
    """
    done = run_python(program)
    assert (done.returncode, done.stderr.splitlines()[0]) == (
        0,
        "httpx: not installed, skipped (pip install mcpgateway_rust[bench])",
    )
    assert {sample.cell.backend for sample in read(tmp_path / "s.jsonl").samples} == {"empty"}


def test_a_port_in_use_is_said(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = run(*SMALL, "--port", taken.getsockname()[1], cwd=tmp_path)
    said = " ".join(done.stderr.replace("│", " ").split())
    assert (done.returncode, "--port" in said, "Address already in use" in said) == (2, True, True), said
    assert list(tmp_path.iterdir()) == []


def test_a_size_over_memory_is_refused_and_the_rest_is_measured(tmp_path: Path) -> None:
    done = run(
        *SMALL, "--sizes", "1KiB,1000000GiB", "--backends", "empty", "--repeats", 1, "-o", "s.jsonl", cwd=tmp_path
    )
    small, large = read(tmp_path / "s.jsonl").samples
    assert (done.returncode, small.error, large.error[:12], large.figures) == (1, "", "over memory:", {})
    assert "No figures of empty in up/1000000GiB: over memory" in " ".join(done.stdout.split())


def test_a_server_that_is_killed_is_started_again_and_the_cell_is_measured_again(tmp_path: Path) -> None:
    class KillingFile(ResultsFile):
        """Kills the server after the first sample."""

        def add(self, sample: Sample) -> None:
            super().add(sample)
            if sample.repeat == 0:
                os.kill(killed.pid or 0, signal.SIGKILL)
                wait_until(lambda: bool(killed.death()), what="the server's end")

    cells = tuple(Grid(sizes=(KIB,), directions=("up",)).cells(["ours"], 0.02))
    results = Results(machine(), Plan("own", cells, 2))
    said = StringIO()
    with Server() as killed:
        first = killed.pid
        file = KillingFile.create(tmp_path / "s.jsonl", results)
        outcome = Sweep(results, file, killed, console=Console(file=said, width=200)).run()
        file.close()
        assert killed.pid != first
    assert (outcome.status, [sample.error for sample in outcome.results.samples]) == (0, ["", ""])
    assert "the server was killed by signal 9; it is started again" in said.getvalue()


def test_a_cell_that_kills_the_server_twice_is_a_failed_cell(tmp_path: Path) -> None:
    cells = tuple(Grid(sizes=(KIB,), directions=("up",)).cells(["ours", "empty"], 0.02))
    results = Results(machine(), Plan("own", cells, 1))

    class DeadServer(Server):
        """Dies as soon as it listens, as long as `ours` is measured."""

        starts = 0

        def start(self) -> None:
            super().start()
            self.starts += 1
            if self.starts <= 2:
                os.kill(self.pid or 0, signal.SIGKILL)
                wait_until(lambda: bool(self.death()), what="the server's end")

    with DeadServer() as server:
        file = ResultsFile.create(tmp_path / "s.jsonl", results)
        outcome = Sweep(results, file, server, console=Console(file=StringIO())).run()
        file.close()
    ours, empty = outcome.results.samples
    assert (ours.error, empty.error, outcome.status) == ("the server was killed by signal 9 twice", "", 1)


def test_a_full_disk_keeps_and_shows_what_is_done(tmp_path: Path) -> None:
    whole = run(*SMALL, "--backends", "empty", "--repeats", 3, "-o", "whole.jsonl", cwd=tmp_path)
    lines = (tmp_path / "whole.jsonl").read_bytes().splitlines(keepends=True)
    room = len(lines[0]) + len(lines[1]) + len(lines[2]) // 2
    full = run(*SMALL, "--backends", "empty", "--repeats", 3, "-o", "full.jsonl", cwd=tmp_path, most_bytes=room)
    assert (whole.returncode, full.returncode, "stopped: [Errno 27]" in full.stderr) == (0, 1, True), full.stderr
    assert "2 samples" in full.stderr
    assert len(read(tmp_path / "full.jsonl").samples) == 1
    assert "sweep --resume full.jsonl" in full.stderr


def test_a_body_that_the_disk_has_no_room_for_is_a_failed_cell(tmp_path: Path) -> None:
    what = ("--sizes", "1KiB,1MiB", "--directions", "up", "--backends", "empty", "--repeats", 1, "--seconds", "0.02")
    done = run(*what, "-o", "s.jsonl", cwd=tmp_path, most_bytes=500_000)
    small, large = read(tmp_path / "s.jsonl").samples
    assert (done.returncode, small.error, large.error) == (1, "", "no body of 1MiB for it: [Errno 27] File too large")


def test_a_file_that_cannot_be_written_is_said_before_anything_is_measured(tmp_path: Path) -> None:
    (tmp_path / "there.jsonl").write_text("precious")
    for name in ("there.jsonl", "nowhere/s.jsonl"):
        done = run(*SMALL, "-o", name, cwd=tmp_path)
        assert (done.returncode, "--output" in done.stderr) == (2, True)
    assert (tmp_path / "there.jsonl").read_text() == "precious"


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_what_is_done_when_somebody_interrupts_is_kept_and_gone_on_with(
    tmp_path: Path, signal_number: signal.Signals
) -> None:
    path = tmp_path / "s.jsonl"
    command = [*COMMAND, *SMALL, "--backends", "empty", "--repeats", "3", "--seconds", "0.3", "-o", str(path)]
    with subprocess.Popen(
        command,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509 - no threads yet
    ) as sweep:
        wait_until(lambda: path.exists() and path.read_bytes().count(b"\n") >= 2, what="the first sample")
        sweep.send_signal(signal_number)
        out, err = sweep.communicate(timeout=COMMAND_SECONDS)
    kept = read(path).samples
    assert (sweep.returncode, "interrupted" in err, "Traceback" in err, len(kept) < 3) == (130, True, False, True)
    assert "Uploads, one at a time" in out or {sample.cell.backend for sample in kept} == {"empty"}
    resumed = run("--resume", path, cwd=tmp_path)
    assert (resumed.returncode, [sample.repeat for sample in read(path).samples]) == (0, [0, 1, 2]), resumed.stderr
    assert read(path).samples[: len(kept)] == kept


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--quick", "--full"], "one of them"),
        (["--quick", "--sizes", "1KiB"], "narrow them by --only"),
        (["--sizes", "huge"], "'huge' is no size"),
        (["--sizes", "0"], "a body of 0 bytes has no speed"),
        (["--backends", "curl"], "no backend 'curl': there are ours"),
        (["--directions", "sideways"], "no direction 'sideways'"),
        (["--concurrency", "0"], "from 1 to 256"),
        (["--concurrency", "many"], "whole numbers"),
        (["--only", "nothing/*"], "no cell is left to measure"),
        (["--resume", __file__], "is not that of a sweep"),
        (["report", __file__], "is not that of a sweep"),
        (["compare", __file__, __file__], "is not that of a sweep"),
    ],
)
def test_a_wrong_command_line_is_told_why(tmp_path: Path, arguments: list[str], said: str) -> None:
    done = run(*arguments, cwd=tmp_path)
    text = " ".join(done.stderr.replace("│", " ").split())
    assert (done.returncode, said in text, list(tmp_path.iterdir())) == (2, True, []), text


def test_a_sweep_of_another_machine_is_not_gone_on_with(tmp_path: Path) -> None:
    path = written(tmp_path / "s.jsonl", made_up_sweep(repeats=1))
    done = run("--resume", path, cwd=tmp_path)
    assert (done.returncode, "another setting" in " ".join(done.stderr.split())) == (2, True)


# ---- showing


def test_two_sweeps_are_compared_for_a_reader_and_for_a_script(tmp_path: Path) -> None:
    before = made_up_sweep()
    faster = [
        Sample(sample.cell, 0.0, {**sample.figures, "gb_per_s": 3 * sample.figures["gb_per_s"]}, repeat=sample.repeat)
        if sample.cell.backend == "ours" and sample.cell.name == "up/1MiB"
        else sample
        for sample in before.samples
    ]
    written(tmp_path / "a.jsonl", before)
    written(tmp_path / "b.jsonl", before.with_samples(faster))
    shown = run("compare", "a.jsonl", "b.jsonl", cwd=tmp_path)
    assert shown.returncode == 0
    assert [line.split()[:3] for line in shown.stdout.splitlines() if "better" in line] == [["up/1MiB", "ours", "GB/s"]]
    assert "worse" not in shown.stdout
    lines = [
        json.loads(line) for line in run("compare", "a.jsonl", "b.jsonl", "--json", cwd=tmp_path).stdout.splitlines()
    ]
    verdicts = {(line["cell"], line["backend"], line["figure"]): line["verdict"] for line in lines}
    assert verdicts.pop(("up/1MiB", "ours", "gb_per_s")) == "better"
    assert set(verdicts.values()) == {"no difference shown"}


def test_a_report_without_what_draws_says_what_to_install(tmp_path: Path) -> None:
    path = written(tmp_path / "s.jsonl", made_up_sweep(repeats=1))
    program = f"""
        import sys
        sys.modules["plotly"] = None
        sys.argv = ["mcpgateway-rust", "sweep", "report", {str(path)!r}]
        from mcpgateway_rust.cli import main
        main()
    """
    done = run_python(program)
    said = "error: plotly is not installed: pip install mcpgateway_rust[bench]"
    assert (done.returncode, done.stderr.strip(), "Uploads" in done.stdout) == (1, said, True)


def test_pictures_are_drawn(tmp_path: Path) -> None:
    path = written(tmp_path / "s.jsonl", made_up_sweep())
    done = run("report", path, "--pictures", tmp_path / "pictures", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    pictures = sorted((tmp_path / "pictures").iterdir())
    assert [picture.stem for picture in pictures] == [
        f"sweep-{figure}" for figure in ("beyond-mib", "cpu-s-per-gb", "gap-ms", "gb-per-s")
    ]
    assert {picture.read_bytes()[:8] for picture in pictures} == {b"\x89PNG\r\n\x1a\n"}


def test_a_cell_in_a_file_is_a_cell() -> None:
    sample = made_up_sweep(repeats=1).samples[0]
    assert (type(sample.cell), Sample.from_json(json.loads(sample.as_json()))) == (Cell, sample)
