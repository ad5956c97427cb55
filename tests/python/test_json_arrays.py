"""Numbers of a text as arrays of numpy, exactly or not at all; tables by column; base64 parts as bytes."""

import base64
import gc
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from mcpgateway_rust import Document, Payload, exports_live
from mcpgateway_rust.exceptions import JsonError, WrongKind
from support.json_values import NUMBER_TEXTS, TEXTS

SHAPES = arrays.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=6)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)


def written(value: Any, **options: Any) -> Document:
    """A document of `value`."""
    return Document(json.dumps(value, **options).encode())


def same(found: Any, expected: Any) -> bool:
    """The same type, shape, order in memory and bits."""
    return (
        isinstance(found, np.ndarray)
        and (found.dtype, found.shape) == (expected.dtype, expected.shape)
        and found.flags.c_contiguous
        and found.flags.aligned
        and found.tobytes() == expected.tobytes()
    )


# ---- numpy


@given(arrays.arrays(np.float64, SHAPES, elements=FLOATS), st.sampled_from([None, 1]))
def test_an_array_of_floats_comes_back_to_the_last_bit(array: np.ndarray[Any, Any], indent: int | None) -> None:
    if 0 in array.shape[:-1]:
        array = array.reshape(array.shape[: array.shape.index(0) + 1])  # as much as its text says of its shape
    assert same(written(array.tolist(), indent=indent).numpy("f8"), array)


@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"])
@given(data=st.data())
def test_an_array_of_integers_comes_back_exactly(dtype: str, data: st.DataObject) -> None:
    shape = arrays.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=5)
    array = data.draw(arrays.arrays(dtype, shape))
    assert same(written(array.tolist()).numpy(dtype), array)
    assert same(written({"a": array.tolist()})["a"].numpy(np.dtype(dtype)), array)


@given(st.lists(NUMBER_TEXTS.filter(lambda text: abs(float(text)) < 3e38), min_size=1, max_size=20))
def test_every_way_to_write_a_number_is_read_as_python_reads_it(texts: list[str]) -> None:
    document = Document(f"[{', '.join(texts)}]".encode())
    assert same(document.numpy("f8"), np.array([float(text) for text in texts]))
    once, twice = np.array(texts, "f4"), np.array([float(text) for text in texts]).astype("f4")
    found = document.numpy("f4")
    assert found.dtype == np.float32
    assert np.all((found == once) | (found == twice))


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        ([1, -2, 3], "i8"), ([1.5, 2], "f8"), ([[1], [2.0]], "f8"), ([1e300], "f8"),
        ([True, False], "?"), ([], "f8"),
    ],
)  # fmt: skip
def test_the_type_is_found_where_none_was_asked_for(value: Any, dtype: str) -> None:
    assert same(written(value).numpy(), np.array(value, dtype))


@pytest.mark.parametrize(
    ("text", "dtype", "pointer"),
    [
        ("[[1, 2], [3]]", None, "/1"),
        ("[[1], [2, 3]]", "f8", "/1"),
        ("[1, [2]]", None, "/1"),
        ("[[1], 2]", "f8", "/1"),
        ("[[[1, 2]], [[3, 4], [5, 6]]]", "f4", "/1"),
        ("[[1, null]]", "f8", "/0/1"),
        ("[null]", None, "/0"),
        ('[[1, 2], [3, "4"]]', None, "/1/1"),
        ("[{}]", "f8", "/0"),
        ("[1, true]", "f8", "/1"),
        ("[0, 128]", "i1", "/1"),
        ("[0, -1]", "u1", "/1"),
        ("[0, 256]", "u1", "/1"),
        ("[0, 9223372036854775808]", None, "/1"),
        ("[0, 9223372036854775808]", "i8", "/1"),
        ("[0, -9223372036854775809]", "i8", "/1"),
        ("[0, 18446744073709551616]", "u8", "/1"),
        ("[0, 123456789012345678901234567890]", "i8", "/1"),
        ("[1, 2.5]", "i8", "/1"),
        ("[1, 2.0]", "i4", "/1"),
        ("[1, 1e2]", "i8", "/1"),
        ("[1, 1e400]", "f8", "/1"),
        ("[1, -1e400]", "f8", "/1"),
        ("[1, 1e39]", "f4", "/1"),
        ("[1, 0]", "?", "/0"),
    ],
)
def test_what_does_not_fit_is_an_error_that_says_where(text: str, dtype: str | None, pointer: str) -> None:
    inside = Document(f'{{"a": [{text}]}}'.encode()).at("/a/0")
    for before, node in (("", Document(text.encode())), ("/a/0", inside)):
        with pytest.raises(JsonError) as caught:
            node.numpy(dtype)
        assert caught.value.pointer == before + pointer
        assert str(caught.value).endswith(f" {before}{pointer}")


@pytest.mark.parametrize("dtype", ["M8[s]", "O", "S3", "U2", "V8", "c16", [("a", "i4")], "nonsense", 7])
def test_a_type_that_holds_no_numbers_of_a_text_is_refused(dtype: Any) -> None:
    with pytest.raises(TypeError):
        Document(b"[1]").numpy(dtype)


@pytest.mark.parametrize("text", [b"1", b'"x"', b"{}", b"null"])
def test_only_arrays_become_arrays(text: bytes) -> None:
    with pytest.raises(WrongKind, match="array"):
        Document(text).numpy()


@pytest.mark.parametrize("dtype", ["f8", "f4"])
def test_a_large_array_is_that_of_numpy_whoever_reads_its_rows(dtype: str) -> None:
    array = np.random.default_rng(7).standard_normal((1500, 700))
    array[3, 5] = 1.0
    found = written({"x": array.tolist()})["x"].numpy(dtype)
    assert same(found, array.astype(dtype))


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": "), (",\n", ": ")])
@pytest.mark.parametrize("dtype", ["f8", "f4", "i8"])
def test_one_long_array_is_that_of_numpy_whoever_reads_its_parts(dtype: str, separators: tuple[str, str]) -> None:
    array = np.random.default_rng(8).standard_normal(300_001) * 1e6
    array[::1000] /= 1e13  # written with an exponent
    if dtype == "i8":
        array = np.rint(array).astype("i8")
    assert same(written(array.tolist(), separators=separators).numpy(dtype), array.astype(dtype))


@pytest.mark.parametrize("wrong", [None, "0.5", "1,2", [], [1, 2], {"a": 1, "b": 2}])
@pytest.mark.parametrize("place", [0, 123_456, 299_999])
def test_one_wrong_element_in_a_long_array_is_found(place: int, wrong: Any) -> None:
    elements: list[Any] = [0.12345678] * 300_000
    elements[place] = wrong
    with pytest.raises(JsonError) as caught:
        written(elements).numpy("f8")
    # What the first element is says how deep the array is.
    assert caught.value.pointer == ("/1" if place == 0 and isinstance(wrong, list) else f"/{place}")


@pytest.mark.parametrize("row", [0, 777, 1499])
def test_one_wrong_number_in_a_large_array_is_found(row: int) -> None:
    rows = [[0.5] * 700 for _ in range(1500)]
    for wrong in (None, "0.5", [1]):
        rows[row][699] = wrong  # type: ignore[call-overload]
        with pytest.raises(JsonError) as caught:
            written(rows).numpy("f8")
        assert caught.value.pointer == f"/{row}/699"
    rows[row] = [0.5] * 699
    with pytest.raises(JsonError) as caught:
        written(rows).numpy("f8")
    assert caught.value.pointer == f"/{row or 1}"  # the first row says how long they are


def test_an_array_outlives_its_document_and_is_its_own() -> None:
    document = written([[1.5, 2.5]] * 1000)
    first, second = document.numpy(), document.numpy()
    first[:] = 0
    del document
    gc.collect()
    assert same(second, np.array([[1.5, 2.5]] * 1000))
    assert exports_live() == 0


# ---- columns


RECORDS = [
    {"id": number, "x": number / 4, "ok": number % 2 == 0, "name": f"n°{number}", "o": {}} for number in range(5000)
]
COLUMNS = {
    "id": np.arange(5000),
    "x": np.arange(5000) / 4,
    "ok": np.arange(5000) % 2 == 0,
}


def test_a_table_by_column_is_that_of_numpy() -> None:
    found = written(RECORDS).columns(["x", "name", "id", "ok"])
    assert list(found) == ["x", "name", "id", "ok"]
    assert [name for name, column in COLUMNS.items() if not same(found[name], column)] == []
    assert list(found["name"]) == [record["name"] for record in RECORDS]


@given(
    st.lists(
        st.fixed_dictionaries(
            {"i": st.integers(-(2**63), 2**63 - 1), "f": FLOATS, "b": st.booleans(), "s": TEXTS},
            optional={"other": st.none() | TEXTS | st.lists(st.integers())},
        ),
        min_size=1,
        max_size=30,
    ),
    st.randoms(use_true_random=False),
)
def test_columns_are_found_in_whatever_order_the_members_are(records: list[dict[str, Any]], random: Any) -> None:
    shuffled = [dict(random.sample(list(record.items()), len(record))) for record in records]
    found = written({"rows": shuffled})["rows"].columns(["s", "i", "b", "f"])
    assert same(found["i"], np.array([record["i"] for record in records], "i8"))
    assert same(found["f"], np.array([record["f"] for record in records], "f8"))
    assert same(found["b"], np.array([record["b"] for record in records], "?"))
    assert list(found["s"]) == [record["s"] for record in records]


def test_a_missing_field_is_an_error_that_says_where() -> None:
    for text in (b'[{"a": 1}, {"b": 1}]', b'[{"a": 1}, {}]'):
        with pytest.raises(JsonError, match="is missing") as caught:
            Document(text).columns(["a"])
        assert caught.value.pointer == "/1"


def test_a_missing_field_gets_the_fill_that_was_asked_for() -> None:
    document = Document(b'[{"a": 1, "t": "x"}, {"b": 1.5}, {"a": 3}]')
    found = document.columns(["a", "b", "t"], fill={"a": -1, "b": 0.5, "t": ""})
    assert same(found["a"], np.array([1, -1, 3], "i8"))
    assert same(found["b"], np.array([0.5, 1.5, 0.5], "f8"))
    assert list(found["t"]) == ["x", "", ""]


@pytest.mark.parametrize(
    ("text", "pointer"),
    [
        ('[{"a": 1}, {"a": null}]', "/1/a"), ('[{"a": 1}, {"a": "1"}]', "/1/a"), ('[{"a": "x"}, {"a": 1}]', "/1/a"),
        ('[{"a": 1}, {"a": true}]', "/1/a"), ('[{"a": 1}, {"a": [1]}]', "/1/a"), ('[{"a": 1}, 2]', "/1"),
        ('[{"a": 1}, {"a": 123456789012345678901234567890}]', "/1/a"), ('[{"a": 1.5}, {"a": 1e400}]', "/1/a"),
    ],
)  # fmt: skip
def test_a_column_of_several_kinds_is_an_error_that_says_where(text: str, pointer: str) -> None:
    with pytest.raises(JsonError) as caught:
        Document(text.encode()).columns(["a"])
    assert caught.value.pointer == pointer


def test_whole_numbers_among_others_make_a_column_of_floats() -> None:
    found = Document(b'[{"a": 1}, {"a": 2.5}, {"a": 3}]').columns(["a"])
    assert same(found["a"], np.array([1.0, 2.5, 3.0]))


def test_of_a_duplicate_name_a_column_has_the_last() -> None:
    assert Document(b'[{"a": 1, "\\u0061": 2}]').columns(["a"])["a"].tolist() == [2]


@pytest.mark.parametrize("text", [b"{}", b"1", b'"x"'])
def test_only_an_array_has_columns(text: bytes) -> None:
    with pytest.raises(WrongKind, match="array"):
        Document(text).columns(["a"])


def test_a_table_without_records_has_empty_columns() -> None:
    assert {name: len(column) for name, column in Document(b"[]").columns(["a", "b"]).items()} == {"a": 0, "b": 0}
    assert Document(b'[{"a": 1}]').columns([]) == {}


# ---- base64


def encodings(data: bytes) -> dict[str, bytes]:
    """The ways in which senders write base64."""
    padded, urlsafe = base64.b64encode(data), base64.urlsafe_b64encode(data)
    return {
        "standard": padded,
        "url": urlsafe,
        "standard without padding": padded.rstrip(b"="),
        "url without padding": urlsafe.rstrip(b"="),
        "escaped solidus": padded.replace(b"/", b"\\/"),
        "escaped characters": padded.replace(b"A", b"\\u0041").replace(b"+", b"\\u002b").replace(b"=", b"\\u003D"),
    }


@given(st.binary(max_size=200))
def test_every_way_to_write_base64_gives_the_bytes(data: bytes) -> None:
    for text in encodings(data).values():
        part = Document(b'{"bytes": "' + text + b'"}')["bytes"].base64()
        assert isinstance(part, Payload)
        assert (bytes(part), len(part), memoryview(part).readonly) == (data, len(data), True)


@pytest.mark.parametrize("size", [65_535, 1_000_000, 5_000_001])
def test_a_large_part_gives_the_bytes(size: int) -> None:
    data = np.random.default_rng(size).bytes(size)
    for text in encodings(data).values():
        assert bytes(Document(b'["' + text + b'"]')[0].base64()) == data


@pytest.mark.parametrize("before", [0, 1000, 300_000])
@pytest.mark.parametrize("wrong", ["!AAA", " AAA", "\\nAAA", "éAA", "\\u0000AAA", "=AAA", "-+AA"])
def test_a_character_that_is_none_of_base64_is_an_error_that_says_where(wrong: str, before: int) -> None:
    text = ('{"part": "' + "AAAA" * before + wrong + "AAAA" + '"}').encode()
    with pytest.raises(JsonError) as caught:
        Document(text)["part"].base64()
    assert caught.value.pointer == "/part"
    if wrong in ("!AAA", "éAA", "=AAA"):
        assert caught.value.offset == len(b'{"part": "') + 4 * before


@pytest.mark.parametrize("text", ["A", "AAAAA", "AA=", "AAA==", "AA===", "=", "====", "AAAA="])
def test_base64_of_a_wrong_length_is_an_error(text: str) -> None:
    with pytest.raises(JsonError) as caught:
        Document(json.dumps([text]).encode())[0].base64()
    assert caught.value.pointer == "/0"


@pytest.mark.parametrize("text", [b"1", b"null", b"[]", b"{}", b"true"])
def test_only_a_string_is_base64(text: bytes) -> None:
    with pytest.raises(WrongKind, match="string"):
        Document(text).base64()


def test_a_part_outlives_its_document_and_is_sent_on(tmp_path: Any) -> None:
    data = bytes(range(256)) * 5000
    part = Document(json.dumps({"bytes": base64.b64encode(data).decode()}).encode())["bytes"].base64()
    gc.collect()
    (tmp_path / "part").write_bytes(part)
    assert ((tmp_path / "part").read_bytes() == data, bytes(Payload.base64(part)) == base64.b64encode(data)) == (
        True,
        True,
    )
