"""What a sweep makes of its samples: intervals, differences, crossings, comparisons, and the file they are in."""

from dataclasses import replace
from pathlib import Path

import pytest

from mcpgateway_rust.sweep.bodies import pattern
from mcpgateway_rust.sweep.cells import Cell, Sample
from mcpgateway_rust.sweep.comparison import changes
from mcpgateway_rust.sweep.findings import Crossing, Findings, Group
from mcpgateway_rust.sweep.intervals import compare, estimate
from mcpgateway_rust.sweep.plans import Grid, Plan, full_plan, in_turn
from mcpgateway_rust.sweep.results import Results, ResultsError, ResultsFile, check_same_setting, read
from mcpgateway_rust.sweep.sizes import KIB, MIB, SIZES, named, parse_size
from support.source import source_bytes

UPLOADS = Group("up", "opaque", "bytes", 1)
MACHINE = {"cpu": "one", "cores": 2, "python": "3.11", "packages": {"ours": "1", "httpx": "2"}}


def cells_of(*backends: str, sizes: tuple[int, ...] = (KIB, MIB)) -> tuple[Cell, ...]:
    return tuple(Grid(sizes=sizes, directions=("up",)).cells(backends, 0.1))


def results_with(speeds: dict[tuple[str, int], list[float]], *, foreign: float = 0.0) -> Results:
    """A sweep in which (backend, size) had these speeds."""
    cells = {(cell.backend, cell.size): cell for cell in cells_of("ours", "httpx", "aiohttp", "empty")}
    samples = [
        Sample(cells[key], 0.0, {"gb_per_s": value, "per_s": value * 1e6}, repeat=repeat, foreign=foreign)
        for key, values in speeds.items()
        for repeat, value in enumerate(values)
    ]
    return Results(MACHINE, Plan("own", tuple(cells[key] for key in speeds), 4), tuple(samples))


# ---- sizes and plans


@pytest.mark.parametrize("size", [1, 1000, 1024, 1536, 64 << 10, 10 << 20, 1 << 30, 3 << 30])
def test_a_size_is_read_as_it_is_written(size: int) -> None:
    assert parse_size(named(size)) == size


@pytest.mark.parametrize(("text", "size"), [("64k", 65536), ("1 MiB", 1 << 20), ("2GB", 2 << 30), ("512", 512)])
def test_a_size_may_be_written_shortly(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "MiB", "1.5MiB", "-1", "1TiB", "1 2"])
def test_what_is_no_size_is_said(text: str) -> None:
    with pytest.raises(ValueError, match="is no size"):
        parse_size(text)


def test_the_pattern_is_that_of_the_server() -> None:
    assert pattern() == source_bytes(len(pattern()))


def test_a_full_plan_has_every_size_in_every_direction_with_all_that_can_do_it() -> None:
    plan = full_plan(("ours", "obstore", "raw"))
    plain = {(cell.direction, cell.size, cell.backend) for cell in plan.cells if Group.of(cell).shape == "opaque"}
    able = {"ours": ("up", "down", "echo"), "obstore": ("up", "down"), "raw": ("up", "down", "echo")}
    expected = {(way, size, name) for name, ways in able.items() for way in ways for size in SIZES}
    assert expected <= plain
    assert not [cell for cell in plan.cells if cell.backend == "raw" and cell.concurrency > 1]
    names = [(cell.name, cell.backend) for cell in plan.cells]
    assert len(set(names)) == len(names)


def test_backends_take_turns_at_being_first() -> None:
    cells = cells_of("ours", "httpx", "aiohttp")
    firsts = [next(iter(in_turn(cells, repeat))).backend for repeat in range(4)]
    assert firsts == ["ours", "httpx", "aiohttp", "ours"]


# ---- intervals


@pytest.mark.parametrize(
    ("values", "low", "high", "coverage"),
    [
        ([2.0], 2.0, 2.0, 0.0),
        ([3.0, 1.0, 2.0, 4.0], 1.0, 4.0, 0.875),
        ([float(n) for n in range(6)], 0.0, 5.0, 0.96875),
        ([float(n) for n in range(9)], 1.0, 7.0, 0.9609375),
    ],
)
def test_an_interval_is_as_narrow_as_its_coverage_allows(
    values: list[float], low: float, high: float, coverage: float
) -> None:
    found = estimate(values)
    assert (found.low, found.high, found.coverage) == (low, high, coverage)


def test_a_difference_needs_intervals_that_are_apart() -> None:
    found = compare([4.0, 4.1, 4.2, 4.3], [2.0, 2.1, 2.2, 2.3])
    assert (found.shown, round(found.ratio, 2), str(found)) == (True, 1.93, "1.93x")
    overlapping = compare([4.0, 4.1, 4.2, 2.2], [2.0, 2.1, 2.2, 2.3])
    assert (overlapping.shown, overlapping.why) == (False, "the intervals overlap")


@pytest.mark.parametrize(("mine", "theirs", "shown"), [(3, 3, False), (3, 4, False), (3, 5, True), (4, 4, True)])
def test_few_values_that_are_apart_by_chance_are_no_difference(mine: int, theirs: int, shown: bool) -> None:
    assert compare([9.0 + n for n in range(mine)], [1.0 + n / 9 for n in range(theirs)]).shown == shown


# ---- findings


def test_curves_cross_where_lines_through_their_medians_do() -> None:
    results = results_with({
        ("ours", KIB): [1.0, 1.01, 1.02, 1.03],
        ("httpx", KIB): [2.0, 2.02, 2.04, 2.06],
        ("ours", MIB): [4.0, 4.04, 4.08, 4.12],
        ("httpx", MIB): [2.0, 2.02, 2.04, 2.06],
    })  # fmt: skip
    crossings = Findings(results).crossings(UPLOADS, "ours", "httpx")
    assert [(round(found.size), found.ahead, found.behind) for found in crossings] == [(32 * KIB, "ours", "httpx")]


def test_noise_does_not_cross() -> None:
    noisy = {("ours", KIB): [1.0, 3.0, 1.0, 3.0], ("ours", MIB): [4.0, 1.0, 4.0, 1.0]}
    steady = {("httpx", size): [2.0, 2.1, 2.2, 2.3] for size in (KIB, MIB)}
    empty: list[Crossing] = []
    assert Findings(results_with(noisy | steady)).crossings(UPLOADS, "ours", "httpx") == empty


def test_the_best_peer_is_the_one_with_the_best_median() -> None:
    findings = Findings(results_with({("ours", KIB): [9.0], ("httpx", KIB): [1.0], ("aiohttp", KIB): [2.0]}))
    assert findings.best_peer(UPLOADS, KIB, "gb_per_s") == "aiohttp"
    assert findings.best_peer(UPLOADS, KIB, "p50_ms") is None


def test_what_measuring_costs_is_told_as_a_part_of_the_fastest_cell() -> None:
    findings = Findings(results_with({("empty", KIB): [1.0], ("ours", KIB): [0.005], ("httpx", KIB): [0.001]}))
    assert findings.own_cost() == (1e-6, 0.005, "up/1KiB ours")


def test_a_sample_is_marked_when_others_had_the_machine() -> None:
    marked = Findings(results_with({("ours", KIB): [1.0, 1.0]}, foreign=0.5))
    unmarked = Findings(results_with({("ours", KIB): [1.0, 1.0]}, foreign=0.05))
    assert (marked.under_load(UPLOADS, KIB, "ours"), unmarked.under_load(UPLOADS, KIB, "ours")) == (True, False)


def test_two_sweeps_are_compared_figure_by_figure() -> None:
    before = results_with({("ours", KIB): [1.0, 1.1, 1.2, 1.3], ("httpx", KIB): [1.0, 1.1, 1.2, 1.3]})
    after = results_with({("ours", KIB): [2.0, 2.1, 2.2, 2.3], ("httpx", KIB): [1.05, 1.1, 1.2, 1.3]})
    verdicts = {(change.backend, change.figure): change.verdict for change in changes(before, after)}
    assert verdicts == {("ours", "gb_per_s"): "better", ("httpx", "gb_per_s"): "no difference shown"}
    backwards = {change.backend: change.verdict for change in changes(after, before)}
    assert backwards == {"ours": "worse", "httpx": "no difference shown"}


# ---- the file


@pytest.fixture
def written(tmp_path: Path) -> tuple[Path, Results]:
    """A sweep in a file, whole."""
    results = results_with({("ours", KIB): [1.0, 2.0], ("httpx", KIB): [3.0]})
    path = tmp_path / "sweep.jsonl"
    file = ResultsFile.create(path, results)
    for sample in results.samples:
        file.add(sample)
    file.close()
    return path, results


def test_a_file_is_read_as_it_was_written(written: tuple[Path, Results]) -> None:
    path, results = written
    assert read(path) == results


def test_a_line_that_was_cut_off_is_left_out_and_written_again(written: tuple[Path, Results]) -> None:
    path, results = written
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    assert read(path).samples == results.samples[:-1]
    file = ResultsFile.go_on(path)
    file.add(results.samples[-1])
    file.close()
    assert path.read_bytes() == whole


def test_a_damaged_line_is_named(written: tuple[Path, Results]) -> None:
    path, _ = written
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[:2], "{}\n", *lines[3:]]))
    with pytest.raises(ResultsError, match=r"sweep\.jsonl, line 3: not a sample"):
        read(path)


@pytest.mark.parametrize("text", ["", "{}\n", "[]\n", '{"sweep": 1}\n', "\x00\n"])
def test_what_no_sweep_wrote_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "other.jsonl"
    path.write_text(text)
    with pytest.raises(ResultsError, match="the first line is not that of a sweep"):
        read(path)


def test_a_file_that_is_there_is_not_overwritten(written: tuple[Path, Results]) -> None:
    path, results = written
    with pytest.raises(FileExistsError):
        ResultsFile.create(path, results)


def test_a_sweep_begun_elsewhere_is_not_gone_on_with(written: tuple[Path, Results]) -> None:
    _, results = written
    check_same_setting(results, MACHINE | {"date": "another"})
    packages = {"packages": {"ours": "1", "httpx": "3"}}
    with pytest.raises(ResultsError, match="httpx 2 then, 3 now"):
        check_same_setting(results, MACHINE | packages)
    with pytest.raises(ResultsError, match="cpu one then, two now"):
        check_same_setting(replace(results), MACHINE | {"cpu": "two"})
