"""One dialect of JSON, RFC 8259 to the letter: the same answer from documents, from objects and from plain Python."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mcpgateway_rust import Document, loads
from mcpgateway_rust._fallback import strict_json
from mcpgateway_rust.exceptions import GatewayError, InvalidReply, JsonError, LimitExceeded
from support.json_test_suite import json_test_suite
from support.json_values import VALUES, exactly, texts_of

CASES = Path(__file__).resolve().parent.parent / "cases"
UNDECIDED: list[dict[str, Any]] = json.loads((CASES / "json_undecided.json").read_text())["cases"]
DIALECT: list[dict[str, Any]] = json.loads((CASES / "json_dialect.json").read_text())["cases"]
ERRORS: list[dict[str, Any]] = json.loads((CASES / "json_errors.json").read_text())["cases"]

# Above this `loads` parses off the GIL, by other code.
LARGE = b" " * (65 << 10)

Reader = Callable[[bytes], Any]


def from_document(text: bytes) -> Any:
    return Document(text).value()


def from_large_loads(text: bytes) -> Any:
    return loads(LARGE + text)


READERS: dict[str, Reader] = {
    "document": from_document,
    "loads": loads,
    "loads of much": from_large_loads,
    "peek": lambda text: _value(Document.peek(text, "")),
    "fallback": strict_json.parse_reply,
}
ACCEPTS: dict[str, Reader] = {
    "document": Document,
    "peek": lambda text: Document.peek(b'{"before":' + text + b',"after":1}', "/after"),
    "fallback": strict_json.check_reply,
}
readers = pytest.mark.parametrize("read", READERS.values(), ids=READERS)


def _value(found: Any) -> Any:
    return found.value() if isinstance(found, Document) else found


def is_accepted(accept: Reader, text: bytes) -> bool:
    try:
        accept(text)
    except (JsonError, InvalidReply, LimitExceeded):
        return False
    return True


# ---- JSONTestSuite


def files(kind: str) -> list[Path]:
    return [path for path in json_test_suite() if path.name.startswith(kind)]


@readers
def test_json_test_suite_every_valid_file_is_read_as_python_reads_it(read: Reader) -> None:
    valid = files("y_")
    assert len(valid) == 95
    wrong = [path.stem for path in valid if exactly(read(path.read_bytes())) != exactly(json.loads(path.read_bytes()))]
    assert wrong == []


@readers
def test_json_test_suite_every_invalid_file_is_refused(read: Reader) -> None:
    invalid = files("n_")
    assert len(invalid) == 188
    assert [path.stem for path in invalid if is_accepted(read, path.read_bytes())] == []


@pytest.mark.parametrize("accept", ACCEPTS.values(), ids=ACCEPTS)
def test_json_test_suite_every_undecided_file_has_the_written_answer(accept: Reader) -> None:
    answers = {path.stem: is_accepted(accept, path.read_bytes()) for path in files("i_")}
    assert answers == {case["file"]: case["accepted"] for case in UNDECIDED}
    assert len(answers) == 35


@readers
def test_json_test_suite_undecided_values_are_those_that_are_written_down(read: Reader) -> None:
    texts = {path.stem: path.read_bytes() for path in files("i_")}
    for case in UNDECIDED:
        text = texts[case["file"]]
        if not case["accepted"] or case["value"] == "too large":
            with pytest.raises(GatewayError):
                read(text)
        elif case["value"] == "nested":
            assert json.dumps(read(text)).encode() == text
        else:
            assert exactly(read(text)) == exactly(case["value"])


# ---- native and fallback


def text_of(case: dict[str, Any]) -> bytes:
    if "repeat" in case:
        front, between, behind, times = case["repeat"]
        return f"{front * times}{between}{behind * times}".encode()
    text: str = case["text"]
    return text.encode()


@readers
@pytest.mark.parametrize("case", DIALECT, ids=lambda case: case["name"])
def test_every_implementation_answers_the_table_alike(case: dict[str, Any], read: Reader) -> None:
    text = text_of(case)
    if "refused" in case or "unmade" in case:
        with pytest.raises((JsonError, InvalidReply, LimitExceeded)):
            read(text)
    elif "value" in case:
        assert exactly(read(text)) == exactly(case["value"])
    else:
        read(text)


@pytest.mark.parametrize("accept", ACCEPTS.values(), ids=ACCEPTS)
@pytest.mark.parametrize("case", DIALECT, ids=lambda case: case["name"])
def test_every_check_answers_the_table_alike(case: dict[str, Any], accept: Reader) -> None:
    assert is_accepted(accept, text_of(case)) == ("refused" not in case)


STRUCTURE = st.sampled_from(
    [b"[", b"]", b"{", b"}", b",", b":", b'"', b"\\", b"-", b"0", b"1", b".", b"e", b"\x00", b" "]
)
MORE = st.sampled_from(
    [b"\xff", b"\xc3", b"\xed\xa0\x80", b"\\u", b"\\ud800", b"\\udc00", b"\xef\xbb\xbf", b"nul", b"Infinity", b"\x7f"]
)


@st.composite
def broken_texts(draw: st.DrawFn) -> bytes:
    """A JSON text in which a few bytes were put, taken or replaced; it may still be JSON."""
    _, text = draw(texts_of())
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(text)))
        taken = draw(st.integers(0, 2))
        text = text[:start] + draw(STRUCTURE | MORE | st.just(b"")) + text[start + taken :]
    return text


@given(broken_texts() | st.binary(max_size=20))
@example(b"")
@example(b" ")
@example(b'"\\ud800\\u0041"')
@example(b"[-]")
@example(b"[01]")
@example(b"[1.]")
@example(b'{"a":1,"a":2}')
def test_every_implementation_accepts_the_same_texts(text: bytes) -> None:
    answers = {name: is_accepted(accept, text) for name, accept in ACCEPTS.items() if name != "peek"}
    assert answers in ({"document": True, "fallback": True}, {"document": False, "fallback": False})


@given(broken_texts())
def test_every_implementation_makes_the_same_values(text: bytes) -> None:
    def made(read: Reader) -> Any:
        try:
            return exactly(read(text))
        except GatewayError:
            return "refused"

    answers = {name: made(read) for name, read in READERS.items()}
    assert answers == dict.fromkeys(READERS, answers["fallback"])


@given(texts_of(VALUES))
def test_what_python_writes_is_read_to_the_last_bit(written: tuple[Any, bytes]) -> None:
    value, text = written
    for read in READERS.values():
        assert exactly(read(text)) == exactly(value)


@readers
@pytest.mark.parametrize(
    "text", [b"NaN", b"[Infinity]", b"-Infinity", b"\xef\xbb\xbf1", b"1 2", b"'a'", b"//\n1", b"[1,]"]
)
def test_what_other_parsers_let_pass_is_refused(text: bytes, read: Reader) -> None:
    with pytest.raises(GatewayError):
        read(text)


# ---- duplicate names


@readers
def test_of_duplicate_names_the_last_wins(read: Reader) -> None:
    text = b'{"a": 1, "b": 2, "\\u0061": 3, "c": {"d": 4, "d": 5}}'
    assert exactly(read(text)) == exactly({"a": 3, "b": 2, "c": {"d": 5}})


def test_a_document_with_duplicate_names_is_looked_into_as_a_dict_would_be() -> None:
    document = Document(b'{"a": 1, "b": 2, "\\u0061": 3}')
    assert (len(document), list(document), list(document.keys())) == (2, ["a", "b"], ["a", "b"])
    assert [node.value() for node in document.values()] == [3, 2]
    assert {name: node.value() for name, node in document.items()} == {"a": 3, "b": 2}
    assert (document["a"].value(), document.at("/a").value(), document == {"a": 3, "b": 2}) == (3, 3, True)
    assert Document.peek(b'{"a": 1, "b": 2, "\\u0061": 3}', "/a") == 3


@pytest.mark.parametrize("text", [b'{"a":1,"a":2}', b'[{"b":{"a":1,"c":0,"\\u0061":2}}]'])
def test_duplicate_names_are_an_error_where_that_was_asked_for(text: bytes) -> None:
    with pytest.raises(JsonError, match="a"):
        Document(text, duplicates="error")


def test_the_same_name_in_two_objects_is_no_duplicate() -> None:
    text = b'[{"a":{"a":1}},{"a":2}]'
    assert Document(text, duplicates="error").value() == json.loads(text)


# ---- where an error is


@pytest.mark.parametrize("case", ERRORS, ids=[case["name"] for case in ERRORS])
def test_an_error_says_where_it_is(case: dict[str, Any]) -> None:
    text = case["text"].encode() if "text" in case else bytes.fromhex(case["hex"])
    with pytest.raises(JsonError) as caught:
        Document(text)
    error = caught.value
    expected = (case["line"], case["column"], case["offset"], case["pointer"])
    assert (error.line, error.column, error.offset, error.pointer) == expected
    assert error.phase == "parse"
    assert f"line {case['line']}, column {case['column']}" in str(error)


@given(st.integers(0, 2000), st.integers(0, 200))
def test_an_error_far_down_is_counted_from_the_start(lines: int, column: int) -> None:
    before = b"[" + b"1,\n" * lines + b" " * column
    with pytest.raises(JsonError) as caught:
        Document(before + b"x]")
    error = caught.value
    first = 1 if lines else 2  # the bracket stands on the first line
    assert (error.line, error.column, error.offset) == (lines + 1, column + first, len(before))
    assert error.pointer == f"/{lines}"


def test_an_error_shows_nothing_of_the_text_but_its_place() -> None:
    with pytest.raises(JsonError) as caught:
        Document(b'{"token": "canary", "password": "canary" "x"}')
    assert "canary" not in str(caught.value)
