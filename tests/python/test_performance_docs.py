"""What the documents say of speed is what benches/results has."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_no_figure_in_the_documents_differs_from_the_results() -> None:
    command = [sys.executable, str(ROOT / "benches" / "python" / "performance_docs.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_pictures_in_the_documents_are_there() -> None:
    for document in (ROOT / "README.md", ROOT / "docs" / "performance.md", ROOT / "docs" / "profiling.md"):
        pictures = re.findall(r"!\[[^]]+\]\(([^)]+)\)", document.read_text())
        assert pictures
        assert [name for name in pictures if not (document.parent / name).exists()] == []
