"""Objects from a text: those of Python's `json`, whatever the collector, the thread or the loop is doing."""

import asyncio
import contextlib
import gc
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
from hypothesis import given

from mcpgateway_rust import Document, Payload, exports_live, loads, loads_async
from mcpgateway_rust.exceptions import JsonError
from support.json_values import exactly, texts_of


def records(count: int) -> bytes:
    """A text of `count` records of some 120 bytes with some of everything."""
    record = {
        "id": 7,
        "x": -1.5e-3,
        "name": "é\n天",
        "tags": ["a", None, True],
        "big": 10**25,
        "plain": "of letters alone",
    }
    return b"[" + b",".join([json.dumps(record, ensure_ascii=False).encode()] * count) + b"]"


@pytest.fixture(scope="module")
def large() -> bytes:
    """Above every threshold."""
    return records(40_000)


@given(texts_of())
def test_objects_are_those_of_python(written: tuple[Any, bytes]) -> None:
    value, text = written
    assert exactly(loads(text)) == exactly(value)
    assert exactly(loads(text + b"\n" * 70_000)) == exactly(value)
    assert exactly(Document(text).value()) == exactly(value)


def test_a_large_text_gives_the_objects_of_python(large: bytes) -> None:
    assert exactly(loads(large)) == exactly(json.loads(large))
    assert exactly(Document(large).value()) == exactly(json.loads(large))


@pytest.mark.parametrize("size", [0, 1, 62, 63, 64, 65, 127, 1000, 65_535, 65_536, 65_537, 300_000])
def test_strings_of_every_length_and_width_come_whole(size: int) -> None:
    for character in ("x", "é", "天", "𝄞", "\n", "\x00", '"'):
        for text in (character * size, "x" * size + character, character + "x" * size):
            for ascii_ in (False, True):
                written = json.dumps([text, {text: 1}], ensure_ascii=ascii_).encode()
                assert loads(written) == [text, {text: 1}]


@pytest.mark.parametrize("make", [bytes, bytearray, memoryview, Payload])
def test_objects_come_from_any_buffer(make: Callable[[bytes], Any]) -> None:
    for count in (1, 2000):
        text = records(count)
        assert loads(make(text)) == json.loads(text)
    assert exports_live() == 0


def test_a_text_that_is_cut_anywhere_is_refused() -> None:
    text = records(3)
    for end in range(len(text)):
        with pytest.raises(JsonError):
            loads(text[:end])
        with pytest.raises(JsonError):
            loads(b" " * 70_000 + text[:end])


def test_an_error_of_loads_says_where_it_is() -> None:
    for before in (b"", b" " * 70_000):
        with pytest.raises(JsonError) as caught:
            loads(before + b'{"a": [1, ?]}')
        assert (caught.value.offset, caught.value.pointer) == (len(before) + 10, "/a/1")
        assert isinstance(caught.value, ValueError)


def test_an_integer_beyond_the_limit_of_the_interpreter_is_said_so() -> None:
    digits = b"1" * (sys.get_int_max_str_digits() + 1)
    document = Document(b'{"a": 1, "b": ' + digits + b"}")
    assert document["a"].value() == 1
    for read in (document["b"].value, lambda: int(document["b"]), lambda: loads(digits), document.value):
        with pytest.raises(ValueError, match="digits"):
            read()


# ---- the collector


@pytest.fixture
def collector() -> Iterator[None]:
    """The collector as it was, whatever a test does."""
    was = gc.isenabled()
    yield
    (gc.enable if was else gc.disable)()


@pytest.mark.usefixtures("collector")
@pytest.mark.parametrize("is_enabled", [True, False])
def test_the_collector_is_left_as_it_was(is_enabled: bool, large: bytes) -> None:
    (gc.enable if is_enabled else gc.disable)()
    for text in (b"[1]", large, large[:-1], b"[1,"):
        for read in (loads, lambda text: Document(text).value(), lambda text: asyncio.run(loads_async(text))):
            with contextlib.suppress(JsonError):
                read(text)
            assert gc.isenabled() == is_enabled


@pytest.mark.parametrize("count", [1, 2000, 40_000])
def test_a_cycle_through_what_was_read_is_collected(count: int) -> None:
    class Canary:
        gone = False

        def __del__(self) -> None:
            Canary.gone = True

    for read in (loads, lambda text: Document(text).value(), lambda text: asyncio.run(loads_async(text))):
        Canary.gone = False
        value = read(records(count))
        value[0]["tags"].append(value)
        value[0]["canary"] = Canary()
        del value
        gc.collect()
        assert Canary.gone


def test_what_was_read_is_freed_when_it_is_dropped(large: bytes) -> None:
    loads(large)
    gc.collect()
    before = sys.getallocatedblocks()
    for _ in range(3):
        loads(large)
        asyncio.run(loads_async(large))
        Document(large).value()
    gc.collect()
    assert sys.getallocatedblocks() - before < 5_000


def test_many_threads_read_at_a_time(large: bytes) -> None:
    expected = json.loads(large)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda _: loads(large) == expected, range(8))) == [True] * 8


# ---- the loop


class Turns:
    """Counts how often the loop comes around, and the threads' GIL with it, while something is awaited."""

    def __init__(self) -> None:
        self.of_the_loop = 0

    async def until(self, awaited: asyncio.Future[Any]) -> Any:
        while not awaited.done():
            await asyncio.sleep(0)
            self.of_the_loop += 1
        return awaited.result()


async def test_objects_that_are_awaited_are_those_of_python(large: bytes) -> None:
    for text in (b"[1]", b'""', large):
        assert exactly(await loads_async(text)) == exactly(json.loads(text))


async def test_an_awaited_error_says_where_it_is(large: bytes) -> None:
    for before in (b"", large[:-1] + b","):
        with pytest.raises(JsonError) as caught:
            await loads_async(before + b"?]")
        assert caught.value.offset == len(before)
        with pytest.raises(JsonError):
            await Document.open_async(before + b"?]")


async def test_the_loop_turns_while_objects_are_made() -> None:
    text = records(300_000)

    async def at_once() -> Any:
        return json.loads(text)

    control = Turns()
    await control.until(asyncio.ensure_future(at_once()))
    turns = Turns()
    made = await turns.until(asyncio.ensure_future(loads_async(text)))
    assert len(made) == 300_000
    assert turns.of_the_loop > 20 * control.of_the_loop


async def test_the_loop_turns_while_a_hundred_megabytes_are_opened() -> None:
    record = json.dumps({"id": 7, "x": -1.5, "text": "word " * 300, "tags": ["a", None]}).encode()
    text = b"[" + b",".join([record] * (100_000_000 // len(record))) + b"]"

    async def at_once() -> Any:
        return Document(text)  # off the GIL, and all the same the loop waits for it

    control = Turns()
    await control.until(asyncio.ensure_future(at_once()))
    turns = Turns()
    document = await turns.until(asyncio.ensure_future(Document.open_async(text)))
    assert (document[-1]["id"] == 7, len(document)) == (True, 100_000_000 // len(record))
    assert turns.of_the_loop > 50 * control.of_the_loop


NUMBERS = b"[" + b"0.12345678," * 2_000_000 + b"1]"
PART = b'{"part": "' + b"A" * 40_000_000 + b'", "id": 7}'
TABLE = b"[" + b'{"a": 1.5, "b": 2},' * 300_000 + b'{"a": 1.5, "b": 2}]'
OFF_THE_GIL: dict[str, Callable[[], Callable[[], Any]]] = {
    "open": lambda: lambda: Document(TABLE),
    "peek": lambda: lambda: Document.peek(PART, "/id"),
    "numpy": lambda: Document(NUMBERS).numpy,
    "columns": lambda: partial(Document(TABLE).columns, ["a", "b"]),
    "base64": lambda: Document(PART)["part"].base64,
    "loads, until the objects are made": lambda: lambda: loads(b"[" + b" " * 50_000_000 + b"]"),
}


@pytest.mark.parametrize("prepare", OFF_THE_GIL.values(), ids=OFF_THE_GIL)
def test_other_threads_run_during_what_takes_long(prepare: Callable[[], Callable[[], Any]]) -> None:
    """Nobody gives the GIL away but who releases it; a call that kept it would let the other thread count nothing."""
    stop, turns = threading.Event(), 0

    def count() -> None:
        nonlocal turns
        while not stop.is_set():
            turns += 1
            time.sleep(0)

    call = prepare()
    interval = sys.getswitchinterval()
    counter = threading.Thread(target=count)
    try:
        counter.start()
        sys.setswitchinterval(1000)
        before = turns
        call()
        counted = turns - before
    finally:
        sys.setswitchinterval(interval)
        stop.set()
        counter.join()
    assert counted > 10


async def test_what_is_no_longer_awaited_is_dropped_in_silence(large: bytes) -> None:
    told: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: told.append(context))
    for start in (loads_async, Document.open_async):
        for turns in (0, 1, 5, 50):
            task = asyncio.ensure_future(start(large))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled() or task.done()
    gc.collect()
    await asyncio.sleep(0)
    assert told == []
    assert len(await loads_async(large)) == 40_000


async def test_many_are_awaited_at_a_time(large: bytes) -> None:
    expected = json.loads(large)
    results = await asyncio.gather(
        *(loads_async(large) for _ in range(6)), *(Document.open_async(large) for _ in range(6))
    )
    assert all(result == expected for result in results[:6])
    assert all(len(document) == 40_000 for document in results[6:])


async def test_the_loop_that_ends_before_its_objects_are_made_is_left_in_peace(large: bytes) -> None:
    async def begin() -> None:
        task = asyncio.ensure_future(loads_async(large))
        await asyncio.sleep(0)
        assert not task.done()

    await asyncio.to_thread(asyncio.run, begin())
    assert (await loads_async(b"[1]")) == [1]
