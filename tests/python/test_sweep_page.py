"""The page of a sweep in a browser: its charts are drawn, and it can be read, in light and dark, small and wide."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mcpgateway_rust.sweep.findings import Findings
from mcpgateway_rust.sweep.page import write
from support.sweeps import made_up_sweep

CHROMIUM = Path("/usr/bin/chromium")
OPTIONS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
CHARTS = ["gb_per_s", "cpu_s_per_gb", "beyond_mib", "gap_ms", "p99_ms"]
CONTRAST = """(selector) => {
    const channel = (value) => (value /= 255) <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
    const light = (color) => {
        const [r, g, b] = color.match(/[0-9.]+/g).map(Number).map(channel);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = (element) => {
        for (; element; element = element.parentElement) {
            const color = getComputedStyle(element).backgroundColor;
            if (!/, 0\\)$/.test(color)) return color;
        }
    };
    return Math.min(...[...document.querySelectorAll(selector)].map((element) => {
        const style = getComputedStyle(element);
        const both = [light(element instanceof SVGElement ? style.fill : style.color), light(behind(element))].sort();
        return (Math.max(...both) + 0.05) / (Math.min(...both) + 0.05);
    }));
}"""

# Where `make test` can install Chromium, these fail without it.
CAN_BE_INSTALLED = os.geteuid() == 0 and shutil.which("apt-get") is not None
pytestmark = pytest.mark.skipif(
    not CHROMIUM.exists() and not CAN_BE_INSTALLED,
    reason="there is no Chromium, and only root can install it: apt install chromium",
)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "sweep.html"
    write(Findings(made_up_sweep()), path)
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        yield started
        started.close()


class Opened:
    """The page in a browser that has no network, with what it complained of."""

    def __init__(self, browser: Any, file: Path, scheme: str = "light", width: int = 1400) -> None:
        self.complaints: list[str] = []
        self.requests: list[str] = []
        context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 900}, offline=True)
        self.page = context.new_page()
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url.split(":")[0]))
        self.page.goto(file.as_uri())
        self.page.wait_for_selector("body[data-ready]")

    def lines(self, chart: str) -> int:
        """How many curves a chart has."""
        count: int = self.page.locator(f"#{chart} .scatterlayer .trace .js-line").count()
        return count


@pytest.mark.parametrize("width", [400, 1400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_drawn_and_can_be_read(browser: Any, file: Path, scheme: str, width: int) -> None:
    opened = Opened(browser, file, scheme, width)
    page = opened.page
    assert opened.complaints == []
    assert set(opened.requests) <= {"file", "data", "blob"}
    # Four backends are shown at first; the loop's chart has the idle control too.
    assert {chart: opened.lines(chart) for chart in CHARTS} == {
        chart: 5 if chart == "gap_ms" else 4 for chart in CHARTS
    }
    assert page.evaluate("document.documentElement.scrollWidth") == width
    for chart in CHARTS:
        box = page.locator(f"#{chart} .main-svg").first.bounding_box()
        assert (box["x"] >= 0, box["x"] + box["width"] <= width, box["height"] > 200) == (True, True, True)
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 27)"
    assert dark == (scheme == "dark")
    for text in ("h1", ".machine", "li", "td", "th", ".better", ".worse", ".even", ".spread", "#backends button",
                 "figcaption", ".xtick text", ".ytick text"):  # fmt: skip
        assert page.evaluate(CONTRAST, text) >= 4.5, text


def test_crossovers_are_marked_and_told(browser: Any, file: Path) -> None:
    opened = Opened(browser, file)
    marks = opened.page.locator("#gb_per_s .scatterlayer .trace").last.locator(".point").count()
    told = opened.page.locator("#crossings li").all_inner_texts()
    # Those of backends that are hidden are told all the same.
    assert marks == 1
    assert [line.partition(" on, ")[2] for line in told] == [
        "ours is faster than pyreqwest",
        "ours-borrow is faster than ours-copy",
    ]


def test_a_backend_can_be_hidden_and_another_group_chosen(browser: Any, file: Path) -> None:
    opened = Opened(browser, file)
    opened.page.get_by_role("button", name="httpx").click()
    assert opened.lines("gb_per_s") == 3
    opened.page.get_by_role("button", name="ours-copy").click()
    assert opened.lines("gb_per_s") == 4
    opened.page.select_option("#group", label="Downloads, 64 at a time")
    assert opened.page.locator("#ratios thead th").all_inner_texts() == ["peer", "1KiB", "64KiB"]
    opened.page.select_option("#figure", label="calls/s")
    assert opened.page.locator("#figures tbody tr").count() == 6
    assert opened.complaints == []


def test_ratios_say_where_no_difference_is_shown(browser: Any, file: Path) -> None:
    opened = Opened(browser, file)
    kinds = opened.page.locator("#ratios tbody tr", has_text="pyreqwest").locator("td").evaluate_all(
        "cells => cells.slice(1).map((cell) => cell.className)"
    )  # fmt: skip
    assert kinds == ["worse"] * 4 + ["even"] + ["better"] * 6


def test_what_is_measured_cannot_break_out_of_the_page(browser: Any, file: Path) -> None:
    opened = Opened(browser, file)
    assert opened.page.locator(".machine").inner_text().startswith("A processor <of tests>, 2 cores")
