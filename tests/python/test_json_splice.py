"""Splices: the text that editing the objects would have given, made of slices of the one that was there."""

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpgateway_rust import Document, Payload
from mcpgateway_rust.exceptions import EditConflict, GatewayError, InvalidPointer, JsonError, PointerError
from support.json_values import CONTAINERS, NAMES, VALUES, Path, exactly, paths_in, pointer_to, texts_of


class Edits:
    """What to do with a value: set these paths, then remove those; steps count in the value as it was."""

    def __init__(self) -> None:
        self.set: dict[Path, Any] = {}
        self.remove: list[Path] = []

    def touches(self, path: Path) -> bool:
        """Whether `path` is within one that is edited already, or around one."""
        return any(path[: len(other)] == other[: len(path)] for other in [*self.set, *self.remove])

    def applied_to(self, value: Any, here: Path = ()) -> Any:
        """`value` as it would be."""
        if here in self.set:
            return copy.deepcopy(self.set[here])
        if isinstance(value, dict):
            kept = {
                name: self.applied_to(member, (*here, name))
                for name, member in value.items()
                if (*here, name) not in self.remove
            }
            added = {path[-1]: new for path, new in self.set.items() if path[:-1] == here and path[-1] not in value}
            return kept | added
        if isinstance(value, list):
            kept_items = [
                self.applied_to(item, (*here, index))
                for index, item in enumerate(value)
                if (*here, index) not in self.remove
            ]
            return [*kept_items, *(new for path, new in self.set.items() if path == (*here, "-"))]
        return value


@st.composite
def edits_of(draw: st.DrawFn, value: Any) -> Edits:
    """Some edits of `value`, none within another."""
    edits = Edits()
    there = list(paths_in(value))
    for _ in range(draw(st.integers(0, 5))):
        path, old = draw(st.sampled_from(there))
        what = draw(st.sampled_from(["replace", "remove", "add"]))
        if what == "add" and isinstance(old, dict):
            path = (*path, draw(NAMES))
            what = "replace" if path[-1] in old else "add"
        elif what == "add" and isinstance(old, list):
            path = (*path, "-")
        elif what == "add" or (what == "remove" and not path):
            continue
        if not edits.touches(path):
            if what == "remove":
                edits.remove.append(path)
            else:
                edits.set[path] = draw(VALUES)
    return edits


@given(texts_of(CONTAINERS), st.data())
def test_a_splice_reads_as_the_edited_objects_would(written: tuple[Any, bytes], data: st.DataObject) -> None:
    value, text = written
    edits = data.draw(edits_of(value))
    expected = edits.applied_to(value)
    replacements: dict[str, Any] = {}
    for path, new in edits.set.items():
        raw = json.dumps(new).encode()
        forms: list[Any] = [new, raw, Payload(raw), Document(raw), Document(b"[" + raw + b"]")[0]]
        replacements[pointer_to(path)] = data.draw(st.sampled_from(forms))
    spliced = Document(text).splice(replacements, remove=[pointer_to(path) for path in edits.remove])
    assert isinstance(spliced, Payload)
    assert Document(spliced).value() == json.loads(bytes(spliced)) == expected


@given(texts_of(CONTAINERS))
def test_a_splice_of_nothing_is_the_text_itself(written: tuple[Any, bytes]) -> None:
    _, text = written
    assert bytes(Document(text).splice({})) == text


ENVELOPE = b' {"jsonrpc": "2.0",\n "result" : {"big": [1,  2, 3]}, "id": 7 } '


def test_the_rest_of_the_text_is_left_as_it_is() -> None:
    assert bytes(Document(ENVELOPE).splice({"/id": b'"x"'})) == ENVELOPE.replace(b"7", b'"x"')
    assert bytes(Document(ENVELOPE).splice({"/result/big/1": 20})) == ENVELOPE.replace(b" 2,", b" 20,")


def test_a_large_body_is_not_copied_when_its_id_is_replaced() -> None:
    body = b'{"jsonrpc":"2.0","id":7,"result":"' + b"x" * 8_000_000 + b'"}'
    spliced = Document(body).splice({"/id": b'"gateway-1"'})
    assert (spliced.segments, len(spliced)) == (3, len(body) - 1 + len(b'"gateway-1"'))
    assert bytes(spliced) == body.replace(b":7,", b':"gateway-1",')


def test_a_splice_outlives_its_document() -> None:
    spliced = Document(b'{"a": "' + b"x" * 100_000 + b'", "b": 1}').splice({"/b": [1, "é", None]})
    assert json.loads(bytes(spliced)) == {"a": "x" * 100_000, "b": [1, "é", None]}


def test_a_spliced_text_may_be_spliced_again() -> None:
    once = Document(ENVELOPE).splice({"/id": 8, "/more": {"a": 1}}, remove=["/jsonrpc"])
    twice = Document(once).splice({"/more/a": 2, "/result/big/-": 4}, remove=["/id"])
    assert json.loads(bytes(twice)) == {"result": {"big": [1, 2, 3, 4]}, "more": {"a": 2}}


@pytest.mark.parametrize(
    ("text", "replace", "remove", "expected"),
    [
        ("{}", {"/a": 1}, [], {"a": 1}),
        ("[]", {"/-": 1}, [], [1]),
        (" { } ", {"/a": 1, "/b": 2}, [], {"a": 1, "b": 2}),
        ("[ ]", {"/-": []}, [], [[]]),
        ('{"a": 1}', {}, ["/a"], {}),
        ('{"a": 1}', {"/b": 2}, ["/a"], {"b": 2}),
        ("[1]", {"/-": 2}, ["/0"], [2]),
        ("[1, 2, 3]", {}, ["/0", "/1", "/2"], []),
        ("[1, 2, 3]", {"/1": 9}, ["/2", "/0"], [9]),
        ("[1, 2, 3, 4]", {}, ["/1", "/2"], [1, 4]),
        ('{"a": 1, "b": 2, "c": 3}', {}, ["/b"], {"a": 1, "c": 3}),
        ('{"a": 1, "b": 2, "c": 3}', {}, ["/c", "/b"], {"a": 1}),
        ('{"a": 1}', {"": [True]}, [], [True]),
        ('"x"', {"": None}, [], None),
        ('{"a/b": {"~": 1}}', {"/a~1b/~0": 2, "/a~1b/~01": 3}, [], {"a/b": {"~": 2, "~1": 3}}),
        ('{"\\u0061": 1}', {"/a": 2}, [], {"a": 2}),
        ('{"a": 1, "b": 2, "\\u0061": 3}', {}, ["/a"], {"b": 2}),
        ('{"a": 1, "b": 2, "a": 3}', {"/a": 4}, [], {"a": 4, "b": 2}),
        ('{"a": {"x": 1}, "a": {"y": 1}}', {"/a/z": 2}, ["/a/y"], {"a": {"z": 2}}),
        ('{"-": 1}', {"/-": 2}, [], {"-": 2}),
        ('{"a": ["]", "}", ","]}', {"/a/1": '\\"'}, [], {"a": ["]", '\\"', ","]}),
    ],
)
def test_what_a_splice_gives(text: str, replace: dict[str, Any], remove: list[str], expected: Any) -> None:
    spliced = Document(text.encode()).splice(replace, remove=remove)
    assert exactly(json.loads(bytes(spliced))) == exactly(expected)
    assert exactly(Document(spliced).value()) == exactly(expected)


@pytest.mark.parametrize(
    ("replace", "remove"),
    [
        ({"/result": 1, "/result/big": 2}, []),
        ({"/result/big/0": 1}, ["/result"]),
        ({}, ["/result", "/result/big"]),
        ({"/id": 1}, ["/id"]),
        ({}, ["/id", "/id"]),
        ({"": 1, "/id": 2}, []),
        ({}, [""]),
        ({"id": 1}, []),
        ({"/~2": 1}, []),
    ],
)
def test_edits_that_contradict_each_other_or_have_no_place_are_refused(
    replace: dict[str, Any], remove: list[str]
) -> None:
    with pytest.raises((EditConflict, InvalidPointer)) as caught:
        Document(ENVELOPE).splice(replace, remove=remove)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    ("replace", "remove"),
    [
        ({"/x/y": 1}, []), ({"/result/big/3": 1}, []), ({"/result/big/x": 1}, []), ({"/id/x": 1}, []), ({}, ["/x"]),
        ({}, ["/result/big/3"]), ({}, ["/result/big/-"]), ({"/result/big/-/x": 1}, []), ({"/result/big/01": 1}, []),
    ],
)  # fmt: skip
def test_an_edit_of_what_is_not_there_is_an_error_of_lookup(replace: dict[str, Any], remove: list[str]) -> None:
    with pytest.raises(PointerError) as caught:
        Document(ENVELOPE).splice(replace, remove=remove)
    assert caught.value.pointer == [*replace, *remove][0]


@pytest.mark.parametrize("raw", [b"", b"x", b"1 2", b"1,", b"[", b"\xff", b'"\\ud800"', b"NaN", b'1}, "b": {"c": 2'])
def test_bytes_that_are_not_json_are_refused(raw: bytes) -> None:
    for form in (raw, Payload(raw)):
        with pytest.raises(JsonError):
            Document(ENVELOPE).splice({"/id": form})


@pytest.mark.parametrize(
    "value", [object(), {1, 2}, float("nan"), float("inf"), "\ud800", {"a": {1: object()}}, {"a": [float("-inf")]}]
)
def test_values_that_are_not_json_are_refused(value: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        Document(ENVELOPE).splice({"/id": value})


def test_a_value_that_contains_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises((ValueError, RecursionError)) as caught:
        Document(ENVELOPE).splice({"/id": loop})
    assert isinstance(caught.value, GatewayError) or "ircular" in str(caught.value)


def test_numbers_and_texts_are_written_as_python_would_read_them() -> None:
    values: list[Any] = [
        10**400,
        -(2**63) - 1,
        1e-300,
        -0.0,
        1e22,
        5e-324,
        True,
        None,
        '\x00\x1f"\\/é𝄞\u2028',
        {"": {"a": []}},
        (1, 2),
    ]
    spliced = Document(b"[]").splice({"/-": values})
    assert exactly(json.loads(bytes(spliced))[0]) == exactly([*values[:-1], [1, 2]])
