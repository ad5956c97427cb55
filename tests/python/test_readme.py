"""What the documents say is so: their examples run, and the tests and commands that they name are there."""

import ast
import asyncio
import inspect
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from support.native_server import NativeServer

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
EXAMPLE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PRINTED = re.compile(r"^ *print\(.*\)  # (.+?)(?:\.\.\..*)?$", re.MULTILINE)
LINK = re.compile(r"\]\(([^)#:]+)\)")
TEST_NAME = re.compile(r"`(test_[a-z0-9_]+)`")
MAKE_TARGET = re.compile(r"(?:`|^)make ([a-z-]+)", re.MULTILINE)


@dataclass(frozen=True)
class Example:
    """A block of Python in a document."""

    document: Path
    line: int
    source: str

    @property
    def name(self) -> str:
        return f"{self.document.relative_to(ROOT)}:{self.line}"

    def run(self, **names: Any) -> None:
        """Run it as `python -m asyncio` would: `await` is allowed outside of functions."""
        # Empty lines before it, so that a traceback names the line in the document.
        source = "\n" * (self.line - 1) + self.source
        code = compile(source, str(self.document), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        waiting = eval(code, {"__name__": "__main__", **names})
        if inspect.iscoroutine(waiting):
            asyncio.run(waiting)


def examples_of(document: Path) -> list[Example]:
    text = document.read_text()
    return [
        Example(document, text.count("\n", 0, found.start(1)) + 1, found.group(1)) for found in EXAMPLE.finditer(text)
    ]


EXAMPLES = [example for document in DOCUMENTS for example in examples_of(document)]


@pytest.mark.parametrize("example", EXAMPLES, ids=[example.name for example in EXAMPLES])
def test_an_example_runs_and_prints_what_it_says(
    example: Example,
    agent: NativeServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    example.run(URL=agent.url)
    printed = capsys.readouterr().out
    assert [said for said in PRINTED.findall(example.source) if said not in printed] == []


def test_the_readme_has_examples() -> None:
    assert [example for example in EXAMPLES if example.document.name == "README.md"]


@pytest.mark.parametrize("document", DOCUMENTS, ids=[document.name for document in DOCUMENTS])
def test_every_link_leads_somewhere(document: Path) -> None:
    links = LINK.findall(document.read_text())
    assert [link for link in links if not (document.parent / link).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=[document.name for document in DOCUMENTS])
def test_every_test_that_is_named_is_there(document: Path) -> None:
    sources = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    there = {*re.findall(r"def (test_\w+)", sources), *(path.stem for path in Path(__file__).parent.glob("test_*.py"))}
    assert set(TEST_NAME.findall(document.read_text())) - there == set()


@pytest.mark.parametrize("document", DOCUMENTS, ids=[document.name for document in DOCUMENTS])
def test_every_make_target_that_is_named_is_there(document: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(MAKE_TARGET.findall(document.read_text())) - targets == set()
