"""Runs the MCP conformance kit on `client.py`: what each generation requires of a client, nothing excused.

    python run.py [GENERATION ...]

The kit prints every check of every scenario; here it is one line a scenario, and the checks of those that fail. The
whole report is in `target/conformance/results`. Ends with 1 if a required scenario fails.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent.parent
CLIENT = Path(__file__).resolve().with_name("client.py")
KIT = PROJECT / "target" / "conformance"
PROGRAMS = KIT / "node_modules" / ".bin"
RESULTS = KIT / "results"
GENERATIONS = ("2025-11-25", "2026-07-28")
SCENARIO_MILLISECONDS = 120_000  # all scenarios run at once, so on few cores each takes its time
SUMMARY = "=== SUITE SUMMARY ==="


def run(generation: str) -> bool:
    """Whether all that `generation` requires is met."""
    results = RESULTS / generation
    shutil.rmtree(results, ignore_errors=True)
    command = [str(PROGRAMS / "conformance"), "client", "--requirements", generation]
    command += [
        "--command",
        f"{sys.executable} {CLIENT}",
        "--timeout",
        str(SCENARIO_MILLISECONDS),
        "--output-dir",
        str(results),
    ]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])  # Node.js lies beside Python
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(PROJECT / "tests")}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    said = re.sub(r"\x1b\[[0-9;]*m", "", done.stderr + done.stdout)
    (results / "report.txt").parent.mkdir(parents=True, exist_ok=True)
    (results / "report.txt").write_text(said, encoding="utf-8")
    print(f"## {generation}\n{said.partition(SUMMARY)[2].strip() or said.strip()}\n", flush=True)
    return done.returncode == 0


def main() -> None:
    wanted = sys.argv[1:] or list(GENERATIONS)
    failed = [generation for generation in wanted if not run(generation)]
    print(f"conformance: {' and '.join(failed)} not met" if failed else f"conformance: {' and '.join(wanted)} met")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
