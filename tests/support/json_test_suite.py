"""JSONTestSuite by Nicolas Seriot (MIT), which is not part of this project."""

import os
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent.parent


def json_test_suite() -> list[Path]:
    """Its files; without them the test is skipped."""
    places = [PROJECT.parent / "shared" / "data", Path(os.environ.get("MCPGATEWAY_TEST_DATA", ""))]
    files = [path for place in places for path in sorted(place.glob("json/JSONTestSuite/*.json"))]
    if not files:
        pytest.skip("JSONTestSuite is not here: point MCPGATEWAY_TEST_DATA to a folder with json/JSONTestSuite")
    return files
