"""Buffers in: every exporter's bytes arrive in its own order, whoever writes meanwhile, and it is let go at once."""

import array
import asyncio
import ctypes
import hashlib
import io
import json
import mmap
import pickle
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mcpgateway_rust import AsyncClient, Client, Limits, Payload, Response, Timeouts, TransferPolicy, exports_live, shm
from mcpgateway_rust.exceptions import (
    ConnectError,
    ConnectionLost,
    GatewayError,
    GatewayTimeout,
    IncompleteBody,
    InvalidRequest,
    LimitExceeded,
    PayloadMutated,
    UnsupportedBuffer,
)
from support.hostile import (
    Close,
    Drain,
    HostileServer,
    ReadBytes,
    ReadHead,
    ReadRequest,
    Reset,
    Scenario,
    Send,
    Stall,
    answer,
    closed_port,
    response,
)
from support.native_server import NativeServer
from support.source import source_array, source_bytes
from support.waiting import wait_until

MIB = 1 << 20
BORROWED_BYTES = 4 * MIB  # well above copy_below
RELEASED_WITHIN_SECONDS = 1.0  # the aim is 0.1: the bench reports the real figure
BORROW_ALL = TransferPolicy(copy_below=0)


class Reading(ctypes.Structure):
    _fields_ = [("station", ctypes.c_int32), ("celsius", ctypes.c_double)]


def two_by_two() -> Any:
    row = ctypes.c_uint8 * 2
    return (row * 2)(row(1, 2), row(3, 4))


def anonymous_map(data: bytes) -> mmap.mmap:
    mapped = mmap.mmap(-1, len(data))
    mapped.write(data)
    return mapped


def file_map(data: bytes) -> mmap.mmap:
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def numpy_file_map(data: bytes) -> npt.NDArray[np.uint8]:
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        return np.memmap(file.name, dtype=np.uint8, mode="r")


def structured() -> npt.NDArray[Any]:
    return np.array([(1, 2.5, b"ab"), (3, 4.5, b"cd")], dtype=[("id", "<i4"), ("score", "<f8"), ("name", "S2")])


DATA = source_bytes(3_000)
EXPORTERS: dict[str, Callable[[], tuple[Any, bytes]]] = {
    "bytes": lambda: (DATA, DATA),
    "empty bytes": lambda: (b"", b""),
    "bytearray": lambda: (bytearray(DATA), DATA),
    "empty bytearray": lambda: (bytearray(), b""),
    "memoryview": lambda: (memoryview(DATA), DATA),
    "read-only memoryview of a bytearray": lambda: (memoryview(bytearray(DATA)).toreadonly(), DATA),
    "memoryview slice": lambda: (memoryview(DATA)[7:-9], DATA[7:-9]),
    "memoryview, every second byte": lambda: (memoryview(DATA)[::2], DATA[::2]),
    "memoryview backwards": lambda: (memoryview(DATA)[::-1], DATA[::-1]),
    "memoryview backwards in threes": lambda: (memoryview(DATA)[2000:100:-3], DATA[2000:100:-3]),
    "memoryview of doubles": lambda: (memoryview(DATA).cast("d"), DATA),
    "memoryview of doubles backwards": lambda: (
        memoryview(DATA).cast("d")[::-1],
        np.frombuffer(DATA, "f8")[::-1].tobytes(),
    ),
    "memoryview of signed bytes": lambda: (memoryview(DATA).cast("b"), DATA),
    "memoryview of characters": lambda: (memoryview(DATA).cast("c"), DATA),
    "memoryview of two dimensions": lambda: (memoryview(DATA).cast("B", (30, 100)), DATA),
    "memoryview of three dimensions": lambda: (memoryview(DATA).cast("B", (3, 10, 100)), DATA),
    "memoryview without dimensions": lambda: (memoryview(DATA[:8]).cast("B").cast("d", ()), DATA[:8]),
    "BytesIO": lambda: (io.BytesIO(DATA).getbuffer(), DATA),
    "PickleBuffer": lambda: (pickle.PickleBuffer(DATA), DATA),
    "anonymous mmap": lambda: (anonymous_map(DATA), DATA),
    "mmap of a file": lambda: (file_map(DATA), DATA),
    "ctypes array": lambda: ((ctypes.c_uint16 * 4)(1, 2, 3, 65535), bytes([1, 0, 2, 0, 3, 0, 255, 255])),
    "ctypes array of two dimensions": lambda: (two_by_two(), bytes([1, 2, 3, 4])),
    "ctypes structure": lambda: (Reading(7, 1.5), bytes(Reading(7, 1.5))),
    "ctypes number": lambda: (ctypes.c_int32(-2), bytes(ctypes.c_int32(-2))),
    "ndarray without dimensions": lambda: (np.array(1.5), np.array(1.5).tobytes()),
    "empty ndarray": lambda: (np.empty((0, 5)), b""),
    "structured ndarray": lambda: (structured(), structured().tobytes()),
    "field of a structured ndarray": lambda: (structured()["score"], np.array([2.5, 4.5]).tobytes()),
    "Fortran order": lambda: (
        np.asfortranarray(np.arange(12.0).reshape(3, 4)),
        np.arange(12.0).tobytes(),
    ),
    "transposed": lambda: (np.arange(12).reshape(3, 4).T, np.arange(12).reshape(3, 4).T.tobytes()),
    "broadcast": lambda: (np.broadcast_to(np.arange(3), (4, 3)), np.arange(3).tobytes() * 4),
    "broadcast scalar": lambda: (np.broadcast_to(np.uint8(7), (1000,)), b"\x07" * 1000),
    "negative strides": lambda: (np.arange(12).reshape(3, 4)[::-1, ::-2], np.array([11, 9, 7, 5, 3, 1]).tobytes()),
    "big-endian numbers": lambda: (np.array([1, 2], ">u4"), b"\0\0\0\x01\0\0\0\x02"),
    "unaligned numbers": lambda: (np.frombuffer(DATA, "<u4", count=5, offset=1), DATA[1:21]),
    "numpy memmap": lambda: (numpy_file_map(DATA), DATA),
    "numpy scalar": lambda: (np.float64(2.5), np.float64(2.5).tobytes()),
    "pyarrow buffer": lambda: (pa.py_buffer(DATA), DATA),
    "pyarrow buffer slice": lambda: (pa.py_buffer(DATA).slice(10, 100), DATA[10:110]),
    "pyarrow values": lambda: (pa.array([1, 2, 3], pa.int64()).buffers()[1].slice(0, 24), np.arange(1, 4).tobytes()),
    "Payload": lambda: (Payload(DATA), DATA),
    "Payload slice": lambda: (Payload(DATA)[5:50], DATA[5:50]),
    "memoryview of a Payload": lambda: (memoryview(Payload(DATA)), DATA),
    "rope": lambda: (Payload.join([DATA, b"middle", DATA]), DATA + b"middle" + DATA),
}


def of_one_type(make: Callable[[str], Any], code: str) -> Callable[[], tuple[Any, bytes]]:
    return lambda: (make(code), make(code).tobytes())


ARRAY_CODES = "bBhHiIlLqQfd"
NUMPY_DTYPES = ["?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8", "g", "F", "D", "S3", "U3", "V5"]
EXPORTERS |= {f"array of {c}": of_one_type(lambda c: array.array(c, [1, 2, 3]), c) for c in ARRAY_CODES}
EXPORTERS |= {f"ndarray of {d}": of_one_type(lambda d: np.ones((2, 3), d), d) for d in NUMPY_DTYPES}


@pytest.mark.parametrize("policy", [TransferPolicy.default(), BORROW_ALL], ids=["default", "borrowed"])
@pytest.mark.parametrize("name", EXPORTERS)
def test_an_exporters_bytes_arrive_in_its_own_order(
    name: str, policy: TransferPolicy, agent: NativeServer, blocking: Client
) -> None:
    exporter, expected = EXPORTERS[name]()
    payload = Payload(exporter, policy=policy)
    assert (len(payload), bytes(payload)) == (len(expected), expected)
    assert bytes(blocking.post(f"{agent.url}/echo", payload).body) == expected
    assert bytes(blocking.post(f"{agent.url}/echo", exporter).body) == expected


@st.composite
def turned(draw: st.DrawFn, whole: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A view of `whole`: sliced, its axes in another order, perhaps broadcast."""
    view = whole
    if view.ndim:
        view = view[draw(hnp.basic_indices(view.shape, allow_newaxis=True, allow_ellipsis=True))]
    view = np.asarray(view)
    view = view.transpose(draw(st.permutations(range(view.ndim))))
    if draw(st.booleans()):
        view = np.broadcast_to(view, (draw(st.integers(0, 3)), *view.shape))
    return view


NUMBERS = st.one_of(hnp.integer_dtypes(), hnp.floating_dtypes(), hnp.boolean_dtypes(), hnp.complex_number_dtypes())
SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=6)
ANY_VIEW = NUMBERS.flatmap(lambda dtype: hnp.arrays(dtype, SHAPES, fill=st.nothing())).flatmap(turned)


@settings(max_examples=200, deadline=None)
@given(view=ANY_VIEW, borrowed=st.booleans())
def test_any_view_of_any_array_is_taken_as_its_contiguous_copy(view: npt.NDArray[Any], borrowed: bool) -> None:
    expected = np.ascontiguousarray(view).tobytes()
    payload = Payload(view, policy=BORROW_ALL if borrowed else None)
    assert (len(payload), bytes(payload)) == (len(expected), expected)


@settings(max_examples=100, deadline=None)
@given(
    data=st.binary(max_size=2_000),
    cut=st.builds(slice, st.none() | st.integers(-9, 9), st.none(), st.integers(-5, 5).filter(bool)),
    borrowed=st.booleans(),
)
def test_any_cut_of_a_memoryview_arrives_over_the_wire(
    data: bytes, cut: slice, borrowed: bool, agent: NativeServer, blocking: Client
) -> None:
    view = memoryview(bytearray(data))[cut]
    body = Payload(view, policy=BORROW_ALL) if borrowed else view
    reply = blocking.post(f"{agent.url}/sink", body)
    assert json.loads(reply.text) == {"bytes": len(view), "sha256": hashlib.sha256(view.tobytes()).hexdigest()}


@pytest.mark.parametrize("step", [2, -1, -3])
def test_a_large_strided_view_is_gathered_and_not_sent_as_pointer_and_length(
    step: int, agent: NativeServer, blocking: Client
) -> None:
    view = source_array(5 * MIB)[::step]
    reply = blocking.post(f"{agent.url}/sink", view)
    assert json.loads(reply.text) == {"bytes": view.nbytes, "sha256": hashlib.sha256(view.tobytes()).hexdigest()}
    assert reply.transfer == "copy"


WITHOUT_BYTES: dict[str, Any] = {
    "object dtype": np.array([object(), None]),
    "object field": np.array([(1, None)], dtype=[("n", "i4"), ("o", "O")]),
    "ctypes py_object": (ctypes.py_object * 2)(),
    "int": 7,
    "float": 1.5,
    "dict": {"a": 1},
    "object": object(),
}


@pytest.mark.parametrize("name", [*WITHOUT_BYTES, "pyarrow array", "class"])
def test_a_payload_of_what_has_no_bytes_of_its_own_is_refused(name: str) -> None:
    refused = (WITHOUT_BYTES | {"pyarrow array": pa.array([1, 2]), "class": bytes})[name]
    with pytest.raises(UnsupportedBuffer, match="buffer"):
        Payload(refused)


@pytest.mark.parametrize("name", WITHOUT_BYTES)
def test_a_body_that_has_no_bytes_of_its_own_is_refused_before_anything_is_sent(name: str, blocking: Client) -> None:
    with HostileServer(answer()) as server:
        with pytest.raises(UnsupportedBuffer, match="buffer"):
            blocking.post(server.url, WITHOUT_BYTES[name])
        assert server.connections == []


@pytest.mark.parametrize("step", [1, 2, -1])
def test_an_array_that_exports_no_buffer_is_sent_by_its_memory(step: int) -> None:
    days = np.arange("2026-01", "2026-12", dtype="datetime64[D]")[::step]
    assert bytes(Payload(days)) == days.tobytes()


def test_text_is_refused_with_what_to_pass_instead(blocking: Client) -> None:
    with pytest.raises(TypeError, match="encode"):
        Payload("text")
    with HostileServer(answer()) as server:
        with pytest.raises(TypeError, match="encode"):
            blocking.post(server.url, "text")
        assert server.connections == []


def test_a_released_memoryview_is_refused() -> None:
    view = memoryview(b"abc")
    view.release()
    with pytest.raises((ValueError, UnsupportedBuffer)):
        Payload(view)


def test_a_closed_mmap_is_refused() -> None:
    mapped = anonymous_map(b"abc")
    mapped.close()
    with pytest.raises((ValueError, UnsupportedBuffer)):
        Payload(mapped)


@pytest.mark.soak
def test_more_than_four_gibibytes_arrive_whole(agent: NativeServer, blocking: Client) -> None:
    body = np.zeros((4 << 30) + 5, np.uint8)
    body[[0, 4 << 30, -1]] = 7, 8, 9
    long = Timeouts(total=600)
    reply = blocking.post(f"{agent.url}/sink", body, timeouts=long)
    assert json.loads(reply.text) == {"bytes": body.nbytes, "sha256": hashlib.sha256(body.data).hexdigest()}


# ---- a large body is borrowed, not copied


@pytest.mark.parametrize("kind", ["bytes", "bytearray", "memoryview", "ndarray", "mmap", "pyarrow"])
def test_a_large_contiguous_buffer_is_borrowed_where_it_is(kind: str) -> None:
    array_ = source_array(BORROWED_BYTES)
    makers: dict[str, Callable[[], Any]] = {
        "bytes": array_.tobytes,
        "bytearray": lambda: bytearray(array_),
        "memoryview": lambda: array_.data,
        "ndarray": lambda: array_,
        "mmap": lambda: anonymous_map(array_.tobytes()),
        "pyarrow": lambda: pa.py_buffer(array_.tobytes()),
    }
    exporter = makers[kind]()
    payload = Payload(exporter)
    assert payload.transfer == "borrow"
    assert address_of(payload) == address_of(exporter)


def address_of(exporter: Any) -> int:
    address: int = np.frombuffer(exporter, np.uint8).__array_interface__["data"][0]
    return address


def test_a_small_buffer_is_copied_and_not_held() -> None:
    data = bytearray(b"small")
    payload = Payload(data)
    data.extend(b", and still mine")
    assert (payload.transfer == "copy", bytes(payload), exports_live()) == (True, b"small", 0)


def test_a_borrowed_bytearray_cannot_be_resized_until_its_payload_is_gone() -> None:
    data = bytearray(BORROWED_BYTES)
    payload = Payload(data)
    assert exports_live() == 1
    with pytest.raises(BufferError):
        data.extend(b"x")
    del payload
    assert exports_live() == 0
    data.extend(b"x")
    assert len(data) == BORROWED_BYTES + 1


def test_an_exporter_outlives_every_name_of_it_while_it_is_sent(agent: NativeServer, blocking: Client) -> None:
    digest = hashlib.sha256(source_bytes(BORROWED_BYTES)).hexdigest()
    payload = Payload(source_array(BORROWED_BYTES)[:])
    reply = blocking.post(f"{agent.url}/sink", payload)
    assert json.loads(reply.text) == {"bytes": BORROWED_BYTES, "sha256": digest}


# ---- somebody writes to the buffer while it is sent

HALF_READ: Scenario = [
    ReadHead(),
    ReadBytes(1000),
    Stall(),
    ReadBytes(BORROWED_BYTES * 4 - 1000),
    Send(response(b"done")),
    Drain(),
]


@dataclass
class Written:
    """A body, and two ways to hold it: the object that is sent and the bytearray underneath it."""

    sent: Any
    owner: bytearray


def writable_bodies() -> dict[str, Callable[[], Written]]:
    def wrap(view: Callable[[bytearray], Any]) -> Callable[[], Written]:
        def make() -> Written:
            owner = bytearray(source_bytes(BORROWED_BYTES * 4))
            return Written(view(owner), owner)

        return make

    def read_only_array(owner: bytearray) -> npt.NDArray[np.uint8]:
        view = np.frombuffer(owner, np.uint8)
        view.setflags(write=False)
        return view

    return {
        "bytearray": wrap(lambda owner: owner),
        "memoryview": wrap(memoryview),
        "read-only memoryview": wrap(lambda owner: memoryview(owner).toreadonly()),
        "ndarray": wrap(lambda owner: np.frombuffer(owner, np.uint8)),
        "read-only ndarray": wrap(read_only_array),
        "pyarrow": wrap(pa.py_buffer),
        "Payload": wrap(Payload),
    }


WRITABLE = writable_bodies()


def overwritten_halfway(server: HostileServer, owner: bytearray) -> None:
    """Once the server has read a part, turn every byte that it has not read yet, and let it read on."""
    server.wait_for("stalled")
    turned_ = np.frombuffer(owner, np.uint8)
    turned_ ^= 0xFF
    server.release()


@pytest.mark.parametrize("name", [name for name in WRITABLE if name != "Payload"])
async def test_a_snapshot_is_what_the_buffer_held_when_the_call_was_made(name: str, client: AsyncClient) -> None:
    body = WRITABLE[name]()
    before = bytes(body.owner)
    with HostileServer(HALF_READ) as server:
        call = asyncio.create_task(client.post(server.url, body.sent, mutation="snapshot"))
        await asyncio.to_thread(overwritten_halfway, server, body.owner)
        reply = await call
        sent = bytes(server.connections[0].received[-len(before) :])
    assert (sent == before, bytes(reply.body), reply.transfer == "copy") == (True, b"done", True)


def test_a_snapshot_payload_is_what_the_buffer_held_when_it_was_made() -> None:
    owner = bytearray(source_bytes(BORROWED_BYTES))
    payload = Payload(owner, mutation="snapshot")
    owner[:] = bytes(BORROWED_BYTES + 1)
    assert bytes(payload) == source_bytes(BORROWED_BYTES)


@pytest.mark.parametrize("name", [name for name in WRITABLE if name != "Payload"])
async def test_a_write_during_the_call_is_detected(name: str, client: AsyncClient) -> None:
    body = WRITABLE[name]()
    with HostileServer(HALF_READ) as server:
        call = asyncio.create_task(client.post(server.url, body.sent, mutation="detect"))
        await asyncio.to_thread(overwritten_halfway, server, body.owner)
        with pytest.raises(PayloadMutated) as caught:
            await call
    assert (caught.value.sent, caught.value.retryable) == ("yes", False)


@pytest.mark.parametrize("name", [name for name in WRITABLE if name != "Payload"])
async def test_detect_is_content_when_nobody_writes(name: str, agent: NativeServer, client: AsyncClient) -> None:
    body = WRITABLE[name]()
    reply = await client.post(f"{agent.url}/sink", body.sent, mutation="detect")
    assert json.loads(reply.text) == {
        "bytes": len(body.owner),
        "sha256": hashlib.sha256(body.owner).hexdigest(),
    }


@pytest.mark.parametrize("name", WRITABLE)
async def test_a_bytearray_in_flight_can_be_written_but_not_resized(name: str, client: AsyncClient) -> None:
    body = WRITABLE[name]()
    with HostileServer(HALF_READ) as server:
        call = asyncio.create_task(client.post(server.url, body.sent))
        await asyncio.to_thread(server.wait_for, "stalled")
        body.owner[-1] = 7
        with pytest.raises(BufferError):
            body.owner.extend(b"x")
        server.release()
        reply = await call
    assert bytes(reply.body) == b"done"


@pytest.mark.parametrize("mutation", ["borow", "", "BORROW"])
def test_a_mutation_mode_that_does_not_exist_is_refused_by_name(mutation: Any) -> None:
    with pytest.raises(ValueError, match="snapshot"):
        Payload(b"x", mutation=mutation)


@contextmanager
def busy_writer(owner: bytearray) -> Iterator[None]:
    """A thread that never stops writing to `owner`."""
    ended = threading.Event()

    def write() -> None:
        view = np.frombuffer(owner, np.uint8)
        while not ended.is_set():
            view += 1

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@pytest.mark.parametrize("rounds", [3, pytest.param(1000, marks=pytest.mark.soak)])
def test_a_busy_writer_tears_no_snapshot(rounds: int, agent: NativeServer, blocking: Client) -> None:
    """What was sent is the payload as it was taken: the same before, during and after the writes."""
    owner = bytearray(source_bytes(64 * MIB))
    for _ in range(rounds):
        payload = Payload(owner, mutation="snapshot")
        before = hashlib.sha256(payload).hexdigest()
        with busy_writer(owner):
            reply = blocking.post(f"{agent.url}/sink", payload)
        assert json.loads(reply.text) == {"bytes": 64 * MIB, "sha256": before}


# ---- the buffer is let go, whatever came of the call

EXPECTED_SHORT = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort"
OUTCOMES: dict[str, tuple[Scenario, type[Exception] | None]] = {
    "success": (answer(b"ok"), None),
    "server error": (answer(b"no", status="500 Broken"), None),
    "early refusal": ([ReadHead(), Send(response(status="413 Too Large")), Close()], None),
    "reset before the body": ([ReadHead(), Reset()], ConnectionLost),
    "reset within the body": ([ReadHead(), ReadBytes(1000), Reset()], ConnectionLost),
    "reset after the request": ([ReadRequest(), Reset()], ConnectionLost),
    "short reply": ([ReadRequest(), Send(EXPECTED_SHORT), Close()], IncompleteBody),
    "oversize reply": (answer(b"x" * 2000), LimitExceeded),
    "never read": ([ReadHead(), Stall()], GatewayTimeout),
    "no reply": ([ReadRequest(), Stall()], GatewayTimeout),
}


def assert_let_go(data: bytearray) -> None:
    """Rust holds nothing any more, and `data` can be resized."""
    wait_until(lambda: exports_live() == 0, timeout=RELEASED_WITHIN_SECONDS, what="exports_live() == 0")
    data.extend(b"x")


SHORT_TIMEOUTS = Timeouts(connect=1, first_byte=0.3, idle=0.3, total=2)


def is_as_expected(result: object, expected: type[Exception] | None) -> bool:
    """Whether a call came to what it should; an early close may also be seen as a reset of the upload."""
    return isinstance(result, expected or (Response, ConnectionLost))


@pytest.mark.parametrize("outcome", OUTCOMES)
async def test_the_buffer_is_let_go_after_every_outcome_of_an_await(outcome: str, client: AsyncClient) -> None:
    scenario, expected = OUTCOMES[outcome]
    data = bytearray(BORROWED_BYTES * 4)
    with HostileServer(scenario) as server:
        call = client.post(server.url, data, timeouts=SHORT_TIMEOUTS, limits=Limits(max_response_bytes=1000))
        (result,) = await asyncio.gather(call, return_exceptions=True)
        assert_let_go(data)
    assert is_as_expected(result, expected), repr(result)


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_the_buffer_is_let_go_after_every_outcome_of_a_blocking_call(outcome: str, blocking: Client) -> None:
    scenario, expected = OUTCOMES[outcome]
    data = bytearray(BORROWED_BYTES * 4)
    result: object = None
    with HostileServer(scenario) as server:
        try:
            result = blocking.post(server.url, data, timeouts=SHORT_TIMEOUTS, limits=Limits(max_response_bytes=1000))
        except GatewayError as error:
            result = error
        assert_let_go(data)
    assert is_as_expected(result, expected), repr(result)


async def test_the_buffer_is_let_go_when_nobody_listens(client: AsyncClient) -> None:
    data = bytearray(BORROWED_BYTES)
    with pytest.raises(ConnectError):
        await client.post(f"http://127.0.0.1:{closed_port()}/", data)
    assert_let_go(data)


@pytest.mark.parametrize(
    ("method", "url", "headers"),
    [("POST", "no scheme", {}), ("PO ST", "http://127.0.0.1:1/", {}), ("POST", "http://127.0.0.1:1/", {"a": "b\n"})],
)
async def test_the_buffer_is_let_go_when_the_request_is_refused(
    method: str, url: str, headers: dict[str, str], client: AsyncClient
) -> None:
    data = bytearray(BORROWED_BYTES)
    with pytest.raises(InvalidRequest):
        await client.request(method, url, headers=headers, body=data)
    assert_let_go(data)


async def test_the_buffer_is_let_go_when_the_await_is_cancelled(client: AsyncClient) -> None:
    data = bytearray(BORROWED_BYTES * 4)
    with HostileServer([ReadHead(), Stall(), Drain()]) as server:
        call = asyncio.create_task(client.post(server.url, data))
        await asyncio.to_thread(server.wait_for, "request_head")
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert_let_go(data)


@pytest.mark.parametrize("read", [0, 1_000_000, 40_000_000])
async def test_the_buffer_is_let_go_by_a_cancel_though_the_peer_stopped_reading(read: int, client: AsyncClient) -> None:
    data = bytearray(64_000_000)
    with HostileServer([ReadHead(), ReadBytes(read), Stall()]) as server:
        call = asyncio.create_task(client.post(server.url, data))
        await asyncio.to_thread(server.wait_for, "stalled")
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert_let_go(data)


async def test_the_buffer_is_let_go_when_the_coroutine_is_never_awaited(client: AsyncClient) -> None:
    data = bytearray(BORROWED_BYTES)
    with HostileServer(answer()) as server:
        call = client.post(server.url, data)
        call.close()
        del call
        assert_let_go(data)


async def test_the_buffer_is_let_go_at_its_last_byte_and_not_at_the_reply(client: AsyncClient) -> None:
    data = bytearray(BORROWED_BYTES)
    with HostileServer([ReadRequest(), Stall(), Send(response(b"late")), Drain()]) as server:
        call = asyncio.create_task(client.post(server.url, data))
        await asyncio.to_thread(server.wait_for, "request_body")
        assert_let_go(data)
        server.release()
        assert bytes((await call).body) == b"late"


def test_twenty_sends_of_one_buffer_at_once_hold_it_until_the_last_is_done(agent: NativeServer) -> None:
    data = bytearray(source_bytes(BORROWED_BYTES))
    expected = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}

    async def send_all() -> list[Any]:
        async with AsyncClient() as client:
            replies = await asyncio.gather(*(client.post(f"{agent.url}/sink", data) for _ in range(20)))
        return [json.loads(reply.text) for reply in replies]

    assert asyncio.run(send_all()) == [expected] * 20
    assert_let_go(data)


# ---- memory of a reply


def fingerprints(views: Iterable[memoryview]) -> list[str]:
    return [hashlib.sha256(view).hexdigest() for view in views]


@pytest.mark.parametrize("size", [1_000, 100_000, 12 * MIB])
def test_a_view_of_a_reply_outlives_the_reply_and_a_thousand_others(
    size: int, agent: NativeServer, blocking: Client
) -> None:
    kept = memoryview(blocking.get(f"{agent.url}/source/{size}").body)
    others = 1000 if size < MIB else 40
    for _ in range(others):
        blocking.post(f"{agent.url}/echo", bytes(size))
    assert fingerprints([kept]) == [hashlib.sha256(source_bytes(size)).hexdigest()]


def test_a_region_is_used_again_only_when_its_last_view_is_gone(agent: NativeServer, blocking: Client) -> None:
    url = f"{agent.url}/source/{12 * MIB}"
    first = blocking.get(url).body
    assert first.transfer == "map"
    where = address_of(first)
    view = np.frombuffer(memoryview(first), np.uint8)[MIB:]
    del first
    second = blocking.get(url).body
    assert address_of(second) != where
    assert view.tobytes() == source_bytes(12 * MIB)[MIB:]
    live = shm.stats()["regions_live"]
    del view, second
    wait_until(lambda: shm.stats()["regions_live"] == live - 2, what="two regions fewer in use")


def test_the_bytes_of_a_reply_cannot_be_written(agent: NativeServer, blocking: Client) -> None:
    body = blocking.get(f"{agent.url}/source/{12 * MIB}").body
    with pytest.raises(TypeError, match="read-only"):
        memoryview(body)[0] = 1
    assert not np.frombuffer(memoryview(body), np.uint8).flags.writeable


def test_a_mapped_file_is_sent_whole(tmp_path: Path, agent: NativeServer, blocking: Client) -> None:
    path = tmp_path / "body"
    path.write_bytes(source_bytes(12 * MIB))
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        reply = blocking.post(f"{agent.url}/sink", mapped)
        wait_until(lambda: exports_live() == 0, timeout=RELEASED_WITHIN_SECONDS, what="exports_live() == 0")
    assert json.loads(reply.text) == {
        "bytes": 12 * MIB,
        "sha256": hashlib.sha256(source_bytes(12 * MIB)).hexdigest(),
    }
