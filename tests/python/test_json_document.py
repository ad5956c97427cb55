"""Documents: nodes behave as the Python values that they stand for, within limits, whoever holds what for how long."""

import gc
import json
import mmap
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpgateway_rust import Document, Node, Payload, exports_live, loads
from mcpgateway_rust.exceptions import (
    GatewayError,
    InvalidPointer,
    JsonError,
    LimitExceeded,
    PointerError,
    UnsupportedBuffer,
)
from support.json_values import CONTAINERS, NUMBER_TEXTS, exactly, paths_in, pointer_to, texts_of
from support.process import run_python

TEXT = b'{"a": [1, -2.5, "t\\u00e9xt", true, null], "b": {"c": {}, "d": []}, "e/f~g": "\xf0\x9d\x84\x9e"}'
VALUE = json.loads(TEXT)
KINDS = {dict: "object", list: "array", str: "string", int: "number", float: "number", bool: "boolean"}


@pytest.fixture
def document() -> Document:
    return Document(TEXT)


# ---- as a Python value would


@given(texts_of(CONTAINERS))
def test_every_value_is_found_by_its_pointer_and_by_its_steps(written: tuple[Any, bytes]) -> None:
    value, text = written
    document = Document(text)
    for path, expected in paths_in(value):
        node: Node = document
        for step in path:
            node = node[step]
        assert exactly(node.value()) == exactly(expected)
        assert exactly(document.at(pointer_to(path)).value()) == exactly(expected)
        assert node == expected
        assert node.kind == ("null" if expected is None else KINDS[type(expected)])
        assert exactly(json.loads(bytes(node.raw()))) == exactly(expected)


@given(texts_of(CONTAINERS))
def test_containers_are_walked_as_those_of_python(written: tuple[Any, bytes]) -> None:
    value, text = written
    document = Document(text)
    for path, expected in paths_in(value):
        node = document.at(pointer_to(path))
        if isinstance(expected, dict):
            assert (len(node), list(node), list(node.keys())) == (len(expected), list(expected), list(expected))
            assert [member.value() for member in node.values()] == list(expected.values())
            assert [(name, member.value()) for name, member in node.items()] == list(expected.items())
            assert all(name in node for name in expected)
        elif isinstance(expected, list):
            assert (len(node), [item.value() for item in node]) == (len(expected), expected)
            assert [node[index - len(expected)].value() for index in range(len(expected))] == expected


@given(texts_of(CONTAINERS), st.data())
def test_peek_gives_what_a_document_gives(written: tuple[Any, bytes], data: st.DataObject) -> None:
    value, text = written
    path, expected = data.draw(st.sampled_from(list(paths_in(value))))
    found = Document.peek(text, pointer_to(path))
    assert isinstance(found, Document) == isinstance(expected, (dict, list))
    assert exactly(found.value() if isinstance(found, Document) else found) == exactly(expected)


@given(NUMBER_TEXTS)
def test_numbers_are_read_to_the_last_bit(text: str) -> None:
    expected = json.loads(text)
    document = Document(f" [{text}]".encode())
    if expected in (float("inf"), float("-inf")):
        for read in (document[0].value, document.value, lambda: float(document[0]), lambda: loads(text.encode())):
            with pytest.raises(JsonError):
                read()
        return
    for value in (document[0].value(), document.value()[0], loads(text.encode()), loads(b" " * 70_000 + text.encode())):
        assert exactly(value) == exactly(expected)
    assert exactly(float(document[0])) in (exactly(float(expected)), exactly(float(text)))
    if isinstance(expected, int):
        assert int(document[0]) == expected


@pytest.mark.parametrize(
    "text",
    [
        "9007199254740993.0", "1e23", "8.5e22", "2.2250738585072011e-308", "5e-324", "2.4703282292062327e-324",
        "2.4703282292062328e-324", "1.7976931348623157e308", "0." + "0" * 400 + "1e401", "1" + "0" * 400 + "e-400",
        "0.1000000000000000055511151231257827021181583404541015625" + "0" * 800 + "1",
        "7.2057594037927933e16", "9223372036854775808", "-9223372036854775809", "18446744073709551616", "-0.0", "-0",
        "4.35", "6.02214076e23", "179769313486231580793e288",
    ],
)  # fmt: skip
def test_numbers_that_are_hard_to_round_are_rounded_as_python_does(text: str) -> None:
    expected = exactly(json.loads(text))
    assert exactly(Document(text.encode()).value()) == expected
    assert exactly(loads(f"[{text}]".encode())[0]) == expected


def test_strings_numbers_and_truth_are_those_of_python(document: Document) -> None:
    one, float_, text, true, null = document["a"]
    assert (str(text), int(one), float(one), float(float_)) == ("téxt", 1, 1.0, -2.5)
    for node in (one, true, null, document, document["a"]):
        with pytest.raises(TypeError):
            str(node)
    assert (int(true), float(true)) == (1, 1.0)
    for node in (text, null, document):
        with pytest.raises(TypeError):
            int(node)
        with pytest.raises(TypeError):
            float(node)
    assert (true == True, null == None, text == "téxt", null == 0) == (True, True, True, False)  # noqa: E711, E712
    assert [bool(node) for node in (one, float_, text, true, null, document)] == [True, True, True, True, False, True]
    assert [bool(node) for node in Document(b'[0, -0.0, "", false, {}, []]')] == [False] * 6


def test_equal_means_the_same_kind_and_value(document: Document) -> None:
    again = Document(json.dumps(VALUE, indent=3).encode())
    assert document == VALUE
    assert document == again
    assert document["a"] == [1, -2.5, "téxt", True, None]
    different: list[Any] = [{}, None, "a", VALUE["a"], {**VALUE, "a": []}, {**VALUE, "more": 1}]
    assert [other for other in different if document == other] == []
    assert Document(b"1") == 1.0
    assert Document(b"[1, 2]") != (1, 2)
    assert Document(b"[1, 2]") != [2, 1]


def test_what_is_not_there_is_an_error_of_lookup(document: Document) -> None:
    for name in ("x", "", "A", "é"):
        with pytest.raises(KeyError, match=repr(name)):
            document[name]
    for index in (5, -6, 1 << 40, -(1 << 70)):
        with pytest.raises(IndexError):
            document["a"][index]
    for node, step in ((document, 0), (document["a"], "0"), (document["a"][0], 0), (document["a"][2], "x")):
        with pytest.raises((TypeError, LookupError)):
            node[step]
    with pytest.raises(TypeError):
        len(document["a"][0])
    with pytest.raises(TypeError):
        iter(document["a"][2])
    assert ("x" in document, "a" in document, 1 in document["a"]) == (False, True, True)


@pytest.mark.parametrize(
    "pointer", ["/x", "/a/5", "/a/-1", "/a/-", "/a/01", "/a/+1", "/a/1.0", "/a/0/0", "/b/c/d", "/a/", "/a/\u0661"]
)
def test_a_pointer_to_nothing_names_itself(pointer: str, document: Document) -> None:
    for look in (document.at, lambda pointer: Document.peek(TEXT, pointer)):
        with pytest.raises(PointerError) as caught:
            look(pointer)
        assert (caught.value.pointer, isinstance(caught.value, LookupError)) == (pointer, True)
        assert pointer in str(caught.value)


@pytest.mark.parametrize("pointer", ["a", "a/b", "/~", "/~2", "/a~", " ", "#/a"])
def test_what_is_no_pointer_is_refused(pointer: str, document: Document) -> None:
    for look in (document.at, lambda pointer: Document.peek(TEXT, pointer)):
        with pytest.raises(InvalidPointer, match="pointer") as caught:
            look(pointer)
        assert isinstance(caught.value, ValueError)


def test_pointers_begin_at_the_node_they_are_asked_of(document: Document) -> None:
    assert document.at("").value() == VALUE
    assert document["b"].at("/c").value() == {}
    assert document["b"].at("").value() == VALUE["b"]
    assert str(document.at("/e~1f~0g")) == "𝄞"
    assert Document(b'{"": {"": 1}}').at("//").value() == 1


def test_a_name_is_found_however_it_is_written() -> None:
    document = Document(rb'{"\u0061\/\ud834\udd1e\n": 1, "z": 2}')
    assert (document["a/𝄞\n"].value(), document.at("/a~1𝄞\n").value(), list(document)) == (1, 1, ["a/𝄞\n", "z"])


def test_a_repr_is_short_and_shows_what_it_is() -> None:
    document = Document(json.dumps({"secret" * 100: "x" * 1_000_000}).encode())
    assert len(repr(document)) < 200
    assert len(repr(document["secret" * 100])) < 200


def test_a_large_object_is_looked_into_by_name_and_a_large_array_by_index() -> None:
    names = {f"name {number}": number for number in range(20_000)}
    by_name, by_index = Document(json.dumps(names).encode()), Document(json.dumps(list(names)).encode())
    assert all(by_name[name].value() == number for name, number in names.items())
    assert all(str(by_index[number]) == name for name, number in names.items())


# ---- limits


def nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_nesting_is_bounded_at_1024(opening: str) -> None:
    closing = {"[": "]", '{"a":': "}"}[opening]

    def text(depth: int) -> bytes:
        return (opening * depth + "1" + closing * depth).encode()

    def depth(value: Any) -> int:
        found = 0
        while not isinstance(value, int):
            (value,) = value.values() if isinstance(value, dict) else value
            found += 1
        return found

    made = Document(text(1024)).value(), loads(text(1024)), Document.peek(text(1024), "").value()
    assert [depth(value) for value in made] == [1024] * 3
    for refuse in (Document, loads, lambda text: Document.peek(text, ""), lambda text: loads(b" " * 70_000 + text)):
        with pytest.raises(ValueError, match="1024") as caught:
            refuse(text(1025))
        assert isinstance(caught.value, GatewayError)


def test_a_smaller_depth_may_be_asked_for() -> None:
    assert Document(nested(3), max_depth=3).value() == [[[]]]
    with pytest.raises(ValueError, match="2"):
        Document(nested(3), max_depth=2)


def test_two_million_brackets_are_an_error_and_no_crash() -> None:
    finished = run_python(
        """
    import threading
    from mcpgateway_rust import Document, loads
    from mcpgateway_rust.exceptions import GatewayError

    def refused(text):
        for read in (Document, loads, lambda text: Document.peek(text, ""), lambda text: Document.peek(text, "/0/0")):
            try:
                read(text)
            except GatewayError:
                continue
            print("accepted")

    def all_of_them():
        million = 1_000_000
        for text in (b"[" * 2 * million, b"[" * million + b"]" * million, b'{"a":' * million, b"[{" * million):
            refused(text)
        print("done")

    threading.stack_size(256 << 10)
    thread = threading.Thread(target=all_of_them)
    thread.start()
    thread.join()
    """
    )
    assert (finished.stdout, finished.stderr, finished.returncode) == ("done\n", "", 0)


def test_bytes_are_limited_before_anything_is_read() -> None:
    text = b"[1, 2, 3]"
    assert Document(text, max_bytes=9).value() == [1, 2, 3]
    with pytest.raises(LimitExceeded) as caught:
        Document(b"{" * 10, max_bytes=9)
    assert (caught.value.limit, caught.value.value, caught.value.got) == ("max_bytes", 9, 10)


def test_nodes_are_limited() -> None:
    text = json.dumps([{"a": [1, 2, 3]}] * 100).encode()
    with pytest.raises(LimitExceeded) as caught:
        Document(text, max_nodes=100)
    assert (caught.value.limit, caught.value.value) == ("max_nodes", 100)
    assert caught.value.got > 100
    assert len(Document(text, max_nodes=10_000)) == 100


def test_a_look_may_stop_behind_what_it_is_for() -> None:
    text = b'{"id": 7, "id": 8, and so on'
    assert Document.peek(text, "/id", whole=False) == 7
    with pytest.raises(JsonError):
        Document.peek(text, "/id")
    with pytest.raises(JsonError):
        Document.peek(text, "/x", whole=False)


@pytest.mark.parametrize("option", ["max_depth", "max_nodes", "max_bytes"])
def test_a_limit_that_is_none_is_refused(option: str) -> None:
    for value in (-1, "1", 1.5):
        options: dict[str, Any] = {option: value}
        with pytest.raises((ValueError, TypeError, OverflowError)):
            Document(b"1", **options)


@pytest.mark.parametrize("wrong", ["text", None, 1, object(), [b"1"]])
def test_what_is_no_buffer_is_refused_with_what_to_pass(wrong: Any) -> None:
    for read in (Document, loads, lambda wrong: Document.peek(wrong, "")):
        with pytest.raises(TypeError) as caught:
            read(wrong)
        assert isinstance(caught.value, UnsupportedBuffer)


# ---- who holds what, and for how long


def test_a_view_outlives_its_document() -> None:
    text = json.dumps({"a": ["x" * 100_000, 1]}).encode()
    document = Document(bytes(bytearray(text)))
    node, raw = document["a"], document["a"].raw()
    inner, keys = iter(node), document.keys()
    del document
    gc.collect()
    noise = [bytes([fill]) * len(text) for fill in range(50)]
    assert (bytes(raw), raw.readonly) == (json.dumps(["x" * 100_000, 1]).encode(), True)
    assert [item.value() for item in inner] == node.value() == ["x" * 100_000, 1]
    assert list(keys) == ["a"]
    assert len(noise) == 50


def test_raw_is_the_text_itself_and_not_a_copy() -> None:
    text = b" " * 10 + b'{"a": [1, 2]}' + b"\n"
    document = Document(text)
    assert bytes(document.raw()) == b'{"a": [1, 2]}'
    assert bytes(document["a"].raw()) == b"[1, 2]"
    with pytest.raises(TypeError):
        document.raw()[0] = 1


def test_a_writable_buffer_is_copied_first_and_let_go() -> None:
    text = bytearray(json.dumps(list(range(50_000))).encode())
    for view in (memoryview(text), memoryview(text).toreadonly()):
        with view:
            document = Document(view)
            text[1:2] = b"7"
            assert document[0].value() == 0
            text[1:2] = b"0"
    document = Document(text)
    assert exports_live() == 0
    text.clear()
    assert document.value() == list(range(50_000))


def test_a_buffer_that_is_written_to_while_it_is_read_makes_no_difference() -> None:
    text = bytearray(b"[" + b"0," * 2_000_000 + b"0]")
    digits = {turn: bytes(text).replace(b"0", b"%d" % turn) for turn in (1, 2)}
    stop, writes = threading.Event(), 0

    def write() -> None:
        nonlocal writes
        while not stop.is_set():
            text[:] = digits[1 + writes % 2]
            writes += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(20):
            document = Document(memoryview(text))
            kept = bytes(document.raw())
            assert len(document) == 2_000_001
            assert (document.numpy("u1") + ord("0")).tobytes() == kept[1::2]
            assert bytes(document.raw()) == kept
    finally:
        stop.set()
        writer.join()
    assert writes > 0


def test_a_mapped_file_that_cannot_be_written_is_read_where_it_is(tmp_path: Path) -> None:
    path = tmp_path / "text.json"
    text = json.dumps([{"name": "é\n", "number": 1.5}] * 10_000).encode()
    path.write_bytes(text)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        document = Document(mapped)
        assert document.value() == json.loads(text)
        del document
        gc.collect()
    trusted = Document(Payload.open(path, trusted=True))
    assert (trusted[-1]["name"] == "é\n", path.read_bytes() == text) == (True, True)


def test_the_text_is_never_written_to() -> None:
    for size in (10, 10_000, 1_000_000):
        text = json.dumps(["a\\b\n\u1234" * 3] * (size // 20 + 1)).encode()
        before = bytes(bytearray(text))
        Document(text).value()
        loads(text)
        Document.peek(text, "/0")
        assert text == before


def test_a_rope_and_a_strided_view_are_read_in_their_order() -> None:
    rope = Payload.join([b'{"a": [1, ', b"2", b"]}"])
    assert Document(rope).value() == {"a": [1, 2]}
    assert Document(memoryview(b"]2 ,1[")[::-1]).value() == [1, 2]
    assert loads(memoryview(b"[_1_,_2_]")[::2]) == [1, 2]


def test_a_thousand_documents_leave_no_buffer_borrowed() -> None:
    text = b"[1, 2, " + b" " * 100_000 + b"3]"
    for _ in range(1000):
        Document(text)
    with pytest.raises(JsonError):
        Document(text + b"x")
    assert exports_live() == 0


def test_one_document_is_used_by_many_threads_at_a_time() -> None:
    value = {f"name {number}": [number, {"x": [number] * 10}, "é" * number] for number in range(400)}
    document = Document(json.dumps(value).encode())
    together = threading.Barrier(8)

    def work(thread: int) -> list[str]:
        together.wait()
        wrong = []
        for number in list(range(thread * 50, 400)) + list(range(thread * 50)):
            name = f"name {number}"
            found = (
                document[name].value() == value[name],
                document.at(f"/{name}/1/x/9") == number,
                document[name][1]["x"].numpy().tolist() == [number] * 10,
                json.loads(bytes(document[name].raw())) == value[name],
                len(document) == 400,
            )
            if not all(found):
                wrong.append(name)
        return wrong

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(8))) == [[]] * 8


def test_many_threads_read_documents_of_their_own() -> None:
    texts = [json.dumps([{"n": number, "t": "x" * number}] * 2000).encode() for number in range(8)]
    together = threading.Barrier(8)

    def work(number: int) -> bool:
        together.wait()
        return all(Document(texts[number]).value() == loads(texts[number]) for _ in range(5))

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(8))) == [True] * 8
