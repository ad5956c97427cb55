"""How each library does each thing that the JSON benches measure, written as its manual would.

A function here gets the text and does what is not timed; what it returns is called, and timed. The name of a
backend is the library's; `ours-peek`, `msgspec-typed` and the like are other ways of the same library. Any
backend may be run as `NAME-nogc`: with Python's cyclic collector off while it works.
"""

from __future__ import annotations

import asyncio
import base64
import importlib.metadata
import importlib.util
import io
import json
import sys
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import numpy as np

from json_inputs import COLUMNS, REQUEST_ID, TEXT_COLUMNS

Call = Callable[[], Any]
Prepare = Callable[[bytes], Call]

PACKAGES = {
    "ours": ("mcpgateway_rust", "mcpgateway_rust"),
    "orjson": ("orjson", "orjson"),
    "msgspec": ("msgspec", "msgspec"),
    "pysimdjson": ("simdjson", "pysimdjson"),
    "jiter": ("jiter", "jiter"),
    "polars": ("polars", "polars"),
}
"""A library's name to what is imported and to what is installed."""

CONTENDERS: dict[str, dict[str, Prepare]] = defaultdict(dict)
"""What is done, to who does it, to how."""

WITHOUT_COLLECTOR = "-nogc"
NEW_ID = b'"id-of-the-gateway"'
PART_POINTER = "/result/parts/0/file/bytes"


def library(backend: str) -> str:
    """The library that a backend belongs to."""
    return backend.partition("-")[0]


def version(name: str) -> str | None:
    """The installed version of a library; None when it is not there."""
    if name == "json":
        return sys.version.partition(" ")[0]
    imported, installed = PACKAGES[name]
    return importlib.metadata.version(installed) if importlib.util.find_spec(imported) else None


def contender(operation: str, backend: str) -> Callable[[Prepare], Prepare]:
    """Make the function below the way in which `backend` does `operation`."""

    def add(prepare: Prepare) -> Prepare:
        CONTENDERS[operation][backend] = prepare
        return prepare

    return add


# --- the whole text: read it all, or make it ready to be looked into --------------------------------------------------


@contender("open", "ours")
def _(text: bytes) -> Call:
    from mcpgateway_rust import Document

    return lambda: Document(text)


@contender("loads", "ours")
def _(text: bytes) -> Call:
    from mcpgateway_rust import loads

    return lambda: loads(text)


@contender("open", "orjson")
@contender("loads", "orjson")
def _(text: bytes) -> Call:
    import orjson

    return lambda: orjson.loads(text)


@contender("open", "msgspec")
@contender("loads", "msgspec")
def _(text: bytes) -> Call:
    import msgspec

    decoder = msgspec.json.Decoder()
    return lambda: decoder.decode(text)


@contender("loads", "jiter")
def _(text: bytes) -> Call:
    import jiter

    return lambda: jiter.from_json(text)


@contender("loads", "json")
def _(text: bytes) -> Call:
    return lambda: json.loads(text)


@contender("open", "pysimdjson")
def _(text: bytes) -> Call:
    import simdjson

    # A parser of its own for each document, as several documents may be open at a time.
    return lambda: simdjson.Parser().parse(text)


@contender("loads", "pysimdjson")
def _(text: bytes) -> Call:
    import simdjson

    parser = simdjson.Parser()
    return lambda: parser.parse(text, recursive=True)


@contender("loads_async", "ours")
def _(text: bytes) -> Call:
    from mcpgateway_rust import loads_async

    return _awaiting(lambda: loads_async(text))


@contender("loads_async", "orjson")
def _(text: bytes) -> Call:
    import orjson

    return _awaiting(lambda: asyncio.to_thread(orjson.loads, text))


@contender("open_async", "ours")
def _(text: bytes) -> Call:
    from mcpgateway_rust import Document

    return _awaiting(lambda: Document.open_async(text))


@contender("open_async", "orjson")
def _(text: bytes) -> Call:
    import orjson

    return _awaiting(lambda: asyncio.to_thread(orjson.loads, text))


def _awaiting(start: Callable[[], Awaitable[Any]]) -> Call:
    """A call that runs an event loop until what `start` begins is there."""

    async def main() -> Any:
        return await start()

    return lambda: asyncio.run(main())


# --- one field at the end ---------------------------------------------------------------------------------------------


@contender("pointer", "ours")
def _(text: bytes) -> Call:
    from mcpgateway_rust import Document

    return lambda: Document(text).at("/id").value()


@contender("pointer", "ours-peek")
def _(text: bytes) -> Call:
    from mcpgateway_rust import Document

    return lambda: Document.peek(text, "/id")


@contender("pointer", "orjson")
def _(text: bytes) -> Call:
    import orjson

    return lambda: orjson.loads(text)["id"]


@contender("pointer", "msgspec")
def _(text: bytes) -> Call:
    import msgspec

    return lambda: msgspec.json.decode(text)["id"]


@contender("pointer", "msgspec-typed")
def _(text: bytes) -> Call:
    import msgspec

    decoder = msgspec.json.Decoder(msgspec.defstruct("Envelope", [("id", int)]))  # skips what it has no name for
    return lambda: decoder.decode(text).id


@contender("pointer", "pysimdjson")
def _(text: bytes) -> Call:
    import simdjson

    return lambda: simdjson.Parser().parse(text)["id"]


@contender("pointer", "jiter")
def _(text: bytes) -> Call:
    import jiter

    return lambda: jiter.from_json(text)["id"]


@contender("lookup", "ours")
def _(text: bytes) -> Call:
    from mcpgateway_rust import Document

    document = Document(text)
    return lambda: document.at("/id").value()


@contender("lookup", "orjson")
def _(text: bytes) -> Call:
    import orjson

    objects = orjson.loads(text)
    return lambda: objects["id"]


@contender("lookup", "pysimdjson")
def _(text: bytes) -> Call:
    import simdjson

    document = simdjson.Parser().parse(text)
    return lambda: document.at_pointer("/id")


# --- numbers ----------------------------------------------------------------------------------------------------------


def _embeddings(dtype: type[np.floating[Any]], name: str) -> None:
    """Every way from the text of nested arrays to one ndarray of `dtype`."""

    @contender(name, "ours")
    def _(text: bytes) -> Call:
        from mcpgateway_rust import Document

        return lambda: Document(text).at("/embeddings").numpy(dtype)

    @contender(f"{name}-open", "ours")
    def _(text: bytes) -> Call:
        from mcpgateway_rust import Document

        node = Document(text).at("/embeddings")
        return lambda: node.numpy(dtype)

    @contender(name, "orjson")
    def _(text: bytes) -> Call:
        import orjson

        return lambda: np.array(orjson.loads(text)["embeddings"], dtype)

    @contender(f"{name}-open", "orjson")
    def _(text: bytes) -> Call:
        import orjson

        objects = orjson.loads(text)
        return lambda: np.array(objects["embeddings"], dtype)

    @contender(name, "msgspec-typed")
    def _(text: bytes) -> Call:
        import msgspec

        decoder = msgspec.json.Decoder(msgspec.defstruct("Reply", [("embeddings", list[list[float]])]))
        return lambda: np.array(decoder.decode(text).embeddings, dtype)

    @contender(name, "jiter")
    def _(text: bytes) -> Call:
        import jiter

        return lambda: np.array(jiter.from_json(text)["embeddings"], dtype)

    @contender(name, "pysimdjson")
    def _(text: bytes) -> Call:
        import simdjson

        def read() -> Any:
            rows = simdjson.Parser().parse(text)["embeddings"]
            flat = np.frombuffer(rows.as_buffer(of_type="d"))
            return flat.reshape(len(rows), -1).astype(dtype, copy=False)

        return read

    @contender(f"{name}-open", "pysimdjson")
    def _(text: bytes) -> Call:
        import simdjson

        parser = simdjson.Parser()
        rows = parser.parse(text)["embeddings"]
        length = len(rows)
        return lambda: np.frombuffer(rows.as_buffer(of_type="d")).reshape(length, -1).astype(dtype, copy=False)


_embeddings(np.float64, "float64")
_embeddings(np.float32, "float32")


def _columns_of(records: list[dict[str, Any]]) -> dict[str, Any]:
    return {name: np.array([record[name] for record in records]) for name in COLUMNS}


def _texts_of(records: list[dict[str, Any]]) -> dict[str, Any]:
    return {name: [record[name] for record in records] for name in TEXT_COLUMNS}


def _table(case: str, columns: Sequence[str], columns_of: Callable[[list[dict[str, Any]]], dict[str, Any]]) -> None:
    @contender(case, "ours")
    def _(text: bytes) -> Call:
        from mcpgateway_rust import Document

        return lambda: Document(text).columns(list(columns))

    @contender(f"{case}-open", "ours")
    def _(text: bytes) -> Call:
        from mcpgateway_rust import Document

        document = Document(text)
        return lambda: document.columns(list(columns))

    @contender(case, "orjson")
    def _(text: bytes) -> Call:
        import orjson

        return lambda: columns_of(orjson.loads(text))

    @contender(f"{case}-open", "orjson")
    def _(text: bytes) -> Call:
        import orjson

        objects = orjson.loads(text)
        return lambda: columns_of(objects)


_table("columns", COLUMNS, _columns_of)
_table("texts", TEXT_COLUMNS, _texts_of)


@contender("columns", "jiter")
def _(text: bytes) -> Call:
    import jiter

    return lambda: _columns_of(jiter.from_json(text))


@contender("columns", "pysimdjson")
def _(text: bytes) -> Call:
    import simdjson

    return lambda: _columns_of(simdjson.Parser().parse(text, recursive=True))


@contender("columns", "msgspec-typed")
def _(text: bytes) -> Call:
    import msgspec

    kinds = {"id": int, "price": float, "quantity": int, "latency": float, "active": bool}
    decoder = msgspec.json.Decoder(list[msgspec.defstruct("Record", list(kinds.items()), gc=False)])  # type: ignore[misc]

    def read() -> dict[str, Any]:
        records = decoder.decode(text)
        return {
            "id": np.array([record.id for record in records]),
            "price": np.array([record.price for record in records]),
            "quantity": np.array([record.quantity for record in records]),
            "latency": np.array([record.latency for record in records]),
            "active": np.array([record.active for record in records]),
        }

    return read


@contender("columns", "polars")
def _(text: bytes) -> Call:
    import polars

    def read() -> dict[str, Any]:
        frame = polars.read_json(io.BytesIO(text))
        return {name: frame[name].to_numpy() for name in COLUMNS}

    return read


@contender("columns", "polars-schema")
def _(text: bytes) -> Call:
    import polars

    kinds = (polars.Int64, polars.Float64, polars.Int64, polars.Float64, polars.Boolean)
    schema = dict(zip(COLUMNS, kinds, strict=True))

    def read() -> dict[str, Any]:
        frame = polars.read_json(io.BytesIO(text), schema=schema)
        return {name: frame[name].to_numpy() for name in COLUMNS}

    return read


@contender("texts", "polars")
def _(text: bytes) -> Call:
    import polars

    def read() -> dict[str, Any]:
        frame = polars.read_json(io.BytesIO(text))
        return {name: frame[name].to_list() for name in TEXT_COLUMNS}

    return read


# --- a file part ------------------------------------------------------------------------------------------------------


@contender("base64", "ours")
def _(text: bytes) -> Call:
    from mcpgateway_rust import Document

    return lambda: Document(text).at(PART_POINTER).base64()


@contender("base64-open", "ours")
def _(text: bytes) -> Call:
    from mcpgateway_rust import Document

    call: Call = Document(text).at(PART_POINTER).base64
    return call


@contender("base64", "orjson")
def _(text: bytes) -> Call:
    import orjson

    return lambda: base64.b64decode(orjson.loads(text)["result"]["parts"][0]["file"]["bytes"])


@contender("base64-open", "orjson")
def _(text: bytes) -> Call:
    import orjson

    part = orjson.loads(text)["result"]["parts"][0]["file"]["bytes"]
    return lambda: base64.b64decode(part)


@contender("base64", "jiter")
def _(text: bytes) -> Call:
    import jiter

    return lambda: base64.b64decode(jiter.from_json(text)["result"]["parts"][0]["file"]["bytes"])


@contender("base64", "pysimdjson")
def _(text: bytes) -> Call:
    import simdjson

    return lambda: base64.b64decode(simdjson.Parser().parse(text).at_pointer(PART_POINTER))


@contender("base64", "msgspec-typed")
def _(text: bytes) -> Call:
    import msgspec

    file = msgspec.defstruct("File", [("bytes", bytes)])
    part = msgspec.defstruct("Part", [("file", file)])
    result = msgspec.defstruct("Result", [("parts", list[part])])  # type: ignore[valid-type]
    decoder = msgspec.json.Decoder(msgspec.defstruct("Envelope", [("result", result)]))
    return lambda: decoder.decode(text).result.parts[0].file.bytes


# --- the same envelope with another id --------------------------------------------------------------------------------


@contender("splice-open", "ours")
def _(text: bytes) -> Call:
    from mcpgateway_rust import Document

    document = Document(text)
    return lambda: document.splice({"/id": NEW_ID})


@contender("splice-open", "orjson")
def _(text: bytes) -> Call:
    import orjson

    objects = orjson.loads(text)
    return lambda: orjson.dumps({**objects, "id": orjson.Fragment(NEW_ID)})


@contender("splice", "ours")
def _(text: bytes) -> Call:
    from mcpgateway_rust import Document

    return lambda: Document(text).splice({"/id": NEW_ID})


@contender("splice", "orjson")
def _(text: bytes) -> Call:
    import orjson

    return lambda: orjson.dumps({**orjson.loads(text), "id": orjson.Fragment(NEW_ID)})


@contender("splice", "msgspec-typed")
def _(text: bytes) -> Call:
    import msgspec

    raw = msgspec.Raw
    envelope = msgspec.defstruct("Envelope", [("jsonrpc", str), ("result", raw), ("id", raw)])
    decoder = msgspec.json.Decoder(envelope)

    def rewrap() -> Any:
        reply = decoder.decode(text)
        reply.id = raw(NEW_ID)
        return msgspec.json.encode(reply)

    return rewrap


# --- is it right? -----------------------------------------------------------------------------------------------------


def check(operation: str, text: bytes, result: Any) -> None:
    """Raise unless `result` is what `operation` has to give for `text`."""
    right = _CHECKS[operation.removesuffix("-open")](text, result)
    if not right:
        raise AssertionError(f"{operation}: a wrong answer")


def _is_opened(text: bytes, result: Any) -> bool:
    """Whether some values are those that Python's `json` finds in the same place."""
    if text.startswith(b'{"jsonrpc"'):
        # The id stands at the end, and what is before the history at the beginning.
        return bool(result["id"] == REQUEST_ID and result["result"]["history"][-1]["kind"] == "message")
    if text.startswith(b"["):
        last = json.loads(text[text.rindex(b"{") : -1])
        return len(result) == text.count(b"},{") + 1 and all(result[-1][name] == last[name] for name in last)
    if text.startswith(b'{"model"'):
        last = json.loads(text[text.rindex(b"[") : -2])
        return len(result["embeddings"]) == text.count(b"],[") + 1 and list(result["embeddings"][-1]) == last
    return set(result.keys()) == set(json.loads(text))


def _is_loaded(text: bytes, result: Any) -> bool:
    """Whether all of it is as Python's `json` reads it; of what is large, what `_is_opened` looks at."""
    if len(text) > 20_000_000:
        return type(result) in (dict, list) and _is_opened(text, result)
    return bool(result == json.loads(text))


def _is_embedding(_text: bytes, result: Any) -> bool:
    from json_inputs import embedding_values

    return bool(np.array_equal(result, embedding_values().astype(result.dtype)))


def _are_columns(_text: bytes, result: Any) -> bool:
    from json_inputs import table_columns

    return all(np.array_equal(result[name], column) for name, column in table_columns().items())


def _are_texts(_text: bytes, result: Any) -> bool:
    from json_inputs import table_texts

    return bool(result == table_texts())


def _is_part(_text: bytes, result: Any) -> bool:
    from json_inputs import part_bytes

    return bytes(result) == part_bytes()


def _is_spliced(text: bytes, result: Any) -> bool:
    return bytes(result) == text[: text.rindex(b":") + 1] + NEW_ID + b"}"


_CHECKS: dict[str, Callable[[bytes, Any], bool]] = {
    "open": _is_opened,
    "open_async": _is_opened,
    "loads": _is_loaded,
    "loads_async": _is_loaded,
    "pointer": lambda _text, result: bool(result == REQUEST_ID),
    "lookup": lambda _text, result: bool(result == REQUEST_ID),
    "float64": _is_embedding,
    "float32": _is_embedding,
    "columns": _are_columns,
    "texts": _are_texts,
    "base64": _is_part,
    "splice": _is_spliced,
}
