"""The service that docs/adding-a-service.md makes: built from the blocks of the document, and called.

A copy of the repository gets the blocks. The other services are left out of its native module, as they would take most
of the time; what both need is built in the development profile, as `cargo test` does, into the same `target`. There the
copy is always in the same place and its files are as old as their originals, so that a second run builds little.
"""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.native_server import NativeServer
from support.process import TESTS, run_python

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "adding-a-service.md"
BLOCK = re.compile(r"^`([^`\n]+)`:\n\n```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COPIED = ("Cargo.toml", "Cargo.lock", "benches", "python", "services", "shm", "src", "tests/Cargo.toml", "tests/rust")
LEFT_OUT = ("a2a_service", "resource_service", "tool_service")
COPY = ROOT / "target" / "adding-a-service"
BUILD_SECONDS = 900
"""A tenth of it on two cores that do nothing else, after `cargo test`."""
EXAMPLE = """
    import ast, asyncio, sys
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    asyncio.run(eval(compile(sys.argv[1], "example.py", "exec", flags=flags), {"URL": sys.argv[2]}))
"""


@dataclass(frozen=True)
class Block:
    """What the document has for one file: all of it, or what changes."""

    path: str
    language: str
    text: str

    def apply(self, root: Path) -> None:
        file = root / self.path
        if self.language != "diff":
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(self.text)
            return
        text = file.read_text()
        for hunk in self.text.split("@@\n"):
            lines = hunk.splitlines(keepends=True)
            before = "".join(line[1:] for line in lines if not line.startswith("+"))
            behind = "".join(line[1:] for line in lines if not line.startswith("-"))
            assert text.count("\n" + before) == 1, f"{self.path} has not exactly one place for:\n{hunk}"
            text = text.replace("\n" + before, "\n" + behind)
        file.write_text(text)

    def lines(self) -> int:
        """Lines of the service that are to be written, comments and all."""
        written = [line for line in self.text.splitlines() if line.strip()]
        return sum(line.startswith("+") for line in written) if self.language == "diff" else len(written)


BLOCKS = [Block(*found) for found in BLOCK.findall(DOCUMENT.read_text())]


def copy_of_the_repository(root: Path) -> None:
    """The sources below `root`, without what was built of them, and nothing else."""
    shutil.rmtree(root, ignore_errors=True)
    ignored = shutil.ignore_patterns("*.so", "__pycache__", "results")
    for name in COPIED:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, root / name, ignore=ignored)
        else:
            shutil.copy2(ROOT / name, root / name)


def leave_other_services_out(root: Path) -> None:
    """Take them out of the native module; they stay in the workspace."""
    names = "|".join(LEFT_OUT)
    for file, line in [
        ("Cargo.toml", rf'    "(?:{names})/python",|(?:{names})\.workspace = true'),
        ("src/lib.rs", rf" *(?:{names})::python::register\(module\)\??;?"),
    ]:
        text, count = re.subn(rf"^(?:{line})\n", "", (root / file).read_text(), flags=re.MULTILINE)
        assert count == (2 if file == "Cargo.toml" else 1) * len(LEFT_OUT), f"{count} lines of {file}"
        if file == "src/lib.rs":
            text = text.replace("relay_service::python::register(module)?;", "relay_service::python::register(module)")
        (root / file).write_text(text)


def cargo(root: Path, *arguments: str, env: Mapping[str, str]) -> str:
    """What cargo prints. Nothing is asked for at a registry: all that it needs was there for the native module."""
    command = ["cargo", *arguments, "--offline", "--manifest-path", str(root / "Cargo.toml")]
    ended = subprocess.run(
        command, env=os.environ | dict(env), capture_output=True, text=True, timeout=BUILD_SECONDS, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_the_service_of_this_document_is_written_in_less_than_100_lines() -> None:
    service = [block for block in BLOCKS if block.path != "example.py"]
    assert sum(block.lines() for block in service) < 100


@pytest.mark.timeout(2 * BUILD_SECONDS)
def test_the_service_of_this_document_builds_and_works(agent: NativeServer) -> None:
    copy_of_the_repository(COPY)
    for block in BLOCKS:
        block.apply(COPY)
    leave_other_services_out(COPY)
    env = {"CARGO_TARGET_DIR": str(ROOT / "target"), "PYO3_PYTHON": sys.executable}
    tested = cargo(COPY, "test", "--package", "relay_service", "--lib", env=env)
    assert "1 passed; 0 failed" in tested
    cargo(COPY, "build", "--package", "mcpgateway_rust", "--features", "python", env=env)
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    shutil.copy(ROOT / "target" / "debug" / "lib_native.so", COPY / f"python/mcpgateway_rust/_native{suffix}")

    example = next(block.text for block in BLOCKS if block.path == "example.py")
    path = os.pathsep.join([str(COPY / "python"), str(TESTS)])
    ended = run_python(EXAMPLE, example, agent.url, env={"PYTHONPATH": path})
    expected = re.findall(r"print\(.*\)  # (.+)$", example, re.MULTILINE)
    assert (ended.stdout.splitlines(), ended.stderr, len(expected)) == (expected, "", 3)
