"""Python's `json`, held to RFC 8259 as the native parser is."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from mcpgateway_rust.exceptions import InvalidReply


def loads(text: str | bytes) -> Any:
    """Parse JSON text.

    Raises:
        InvalidReply: It is not JSON as RFC 8259 has it: `NaN`, lone surrogates and a byte order mark are not.
    """
    try:
        decoded = text if isinstance(text, str) else text.decode()
        value = json.loads(decoded, parse_constant=_refuse_constant)
        if "\\u" in decoded:
            # A lone surrogate cannot be encoded again.
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as cause:
        raise InvalidReply(f"the reply is not JSON ({cause})", phase="parse", sent="yes") from cause
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
