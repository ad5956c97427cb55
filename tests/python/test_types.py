"""The plain values: what they refuse, and what they keep to themselves."""

from typing import Any

import pytest

from mcpgateway_rust import Headers, Limits, Retry, Timeouts


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), 1e9, "1", b"1"])
@pytest.mark.parametrize("name", ["connect", "first_byte", "idle", "total"])
def test_a_timeout_that_is_no_time_is_refused_where_it_is_made(name: str, seconds: Any) -> None:
    with pytest.raises(ValueError, match=f"^{name}="):
        Timeouts(**{name: seconds})


def test_only_the_total_must_be_set() -> None:
    assert Timeouts(connect=None, first_byte=None, idle=None, total=1).total == 1
    with pytest.raises(ValueError, match="total="):
        Timeouts(total=None)  # type: ignore[arg-type] # what the test is about


@pytest.mark.parametrize("count", [-1, 1.5, 1 << 63, "1", None])
@pytest.mark.parametrize("name", ["max_response_bytes", "max_header_bytes", "max_headers", "max_event_bytes"])
def test_a_limit_that_is_no_count_is_refused_where_it_is_made(name: str, count: Any) -> None:
    with pytest.raises(ValueError, match=f"^{name}="):
        Limits(**{name: count})


@pytest.mark.parametrize("ratio", [0.5, -1, float("nan"), "2", None])
def test_a_ratio_below_one_is_refused(ratio: Any) -> None:
    with pytest.raises(ValueError, match="max_decoded_ratio="):
        Limits(max_decoded_ratio=ratio)


@pytest.mark.parametrize("attempts", [-1, 1 << 32, 1.5, "1", None])
def test_attempts_that_are_no_count_are_refused(attempts: Any) -> None:
    with pytest.raises(ValueError, match="attempts="):
        Retry(attempts=attempts)


@pytest.mark.parametrize(
    "name",
    ["Authorization", "cookie", "Set-Cookie", "X-API-Key", "x-amz-security-token", "Mcp-Session-Id", "client-secret"],
)
def test_headers_do_not_show_a_secret(name: str) -> None:
    headers = Headers([("content-type", "text/plain"), (name, "canary")])
    assert repr(headers) == f"Headers([('content-type', 'text/plain'), ('{name}', '[redacted]')])"
    assert headers[name] == "canary"
