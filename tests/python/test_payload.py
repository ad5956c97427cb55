"""Payload: one sequence of bytes, whatever it is made of, and what was decided about moving it."""

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpgateway_rust import Client, Payload, Transfer, TransferPolicy, exports_live
from mcpgateway_rust.exceptions import Denied, FileError, GatewayError, UnsupportedBuffer
from support.native_server import NativeServer
from support.source import source_array, source_bytes

MIB = 1 << 20
LARGE = 4 * MIB
BORROW_ALL = TransferPolicy(copy_below=0)

parts = st.lists(st.binary(max_size=300), max_size=8)
bounds = st.none() | st.integers(-400, 400)


def address_of(exporter: Any) -> int:
    address: int = np.frombuffer(exporter, np.uint8).__array_interface__["data"][0]
    return address


# ---- a sequence of bytes


@given(data=st.binary(max_size=1_000), borrowed=st.booleans())
def test_length_bytes_and_items_are_those_of_the_buffer(data: bytes, borrowed: bool) -> None:
    payload = Payload(data, policy=BORROW_ALL if borrowed else None)
    assert (len(payload), bytes(payload), [payload[i] for i in range(len(data))]) == (len(data), data, list(data))


def test_a_memoryview_of_it_is_flat_read_only_bytes() -> None:
    view = memoryview(Payload(bytearray(LARGE)))
    described = (view.format, view.itemsize, view.ndim, view.shape, view.strides, view.readonly, view.c_contiguous)
    assert described == ("B", 1, 1, (LARGE,), (1,), True, True)
    with pytest.raises(TypeError):
        view[0] = 1


def test_numpy_reads_it_in_place() -> None:
    array = source_array(LARGE)
    read = np.frombuffer(memoryview(Payload(array)), "u1")
    assert (address_of(read), read.tobytes()) == (address_of(array), array.tobytes())


def test_a_view_keeps_the_buffer_when_the_payload_is_gone() -> None:
    payload = Payload(source_array(LARGE))
    view = memoryview(payload)
    del payload
    assert (bytes(view), exports_live()) == (source_bytes(LARGE), 1)
    view.release()
    assert exports_live() == 0


@given(data=st.binary(max_size=300), start=bounds, stop=bounds, borrowed=st.booleans())
def test_a_slice_is_the_slice_of_the_bytes(data: bytes, start: int | None, stop: int | None, borrowed: bool) -> None:
    payload = Payload(data, policy=BORROW_ALL if borrowed else None)
    cut = payload[start:stop]
    assert (type(cut), len(cut), bytes(cut)) == (Payload, len(data[start:stop]), data[start:stop])


def test_a_slice_copies_nothing() -> None:
    array = source_array(LARGE)
    cut = Payload(array)[MIB : 3 * MIB]
    again = cut[10:-10]
    assert (address_of(cut), address_of(again)) == (address_of(array) + MIB, address_of(array) + MIB + 10)
    assert bytes(again) == array.tobytes()[MIB + 10 : 3 * MIB - 10]


@pytest.mark.parametrize("step", [2, -1, 0])
def test_a_slice_with_a_step_is_refused_with_what_to_do_instead(step: int) -> None:
    with pytest.raises(ValueError, match="step"):
        Payload(b"abcdef")[::step]


@pytest.mark.parametrize("index", [3, -4, 1 << 70, -(1 << 70)])
def test_an_index_outside_is_an_index_error(index: int) -> None:
    with pytest.raises(IndexError):
        Payload(b"abc")[index]


def test_negative_indexes_count_from_the_end() -> None:
    assert [Payload(b"abc")[i] for i in (-1, -2, -3)] == [99, 98, 97]


@pytest.mark.parametrize("index", ["0", 1.0, None, (0, 1)])
def test_an_index_that_is_no_number_is_a_type_error(index: Any) -> None:
    with pytest.raises(TypeError):
        Payload(b"abc")[index]


@given(one=st.binary(max_size=20), other=st.binary(max_size=20))
def test_payloads_are_equal_when_their_bytes_are(one: bytes, other: bytes) -> None:
    first, second = Payload(one), Payload.join([other[:5], other[5:]])
    assert (first == second, first != second) == (one == other, one != other)
    assert hash(Payload(one)) == hash(Payload.join([one[:3], one[3:]]))


def test_large_payloads_are_equal_whatever_they_are_made_of() -> None:
    array = source_array(LARGE)
    rope = Payload.join([array[:MIB], array[MIB:]])
    assert (rope == Payload(array), hash(Payload(bytes(array))) == hash(Payload(rope, mutation="snapshot"))) == (
        True,
        True,
    )
    array[-1] ^= 1
    assert Payload(array) != Payload(source_array(LARGE))


@pytest.mark.parametrize("other", ["abc", 3, None, [97, 98, 99], object()])
def test_a_payload_equals_nothing_that_has_no_bytes(other: object) -> None:
    assert (Payload(b"abc") == other, Payload(b"abc") != other) == (False, True)


def test_a_payload_does_not_show_its_bytes_when_printed() -> None:
    shown = repr(Payload(b"canary-in-a-body")) + str(Payload(b"canary-in-a-body"))
    assert ("canary" in shown, "16" in shown) == (False, True)


def test_a_payload_has_no_attributes_to_set() -> None:
    with pytest.raises(AttributeError):
        Payload(b"abc").note = "x"  # type: ignore[attr-defined]


def test_a_payload_of_a_payload_is_the_same_bytes_in_place() -> None:
    array = source_array(LARGE)
    inner = Payload(array)
    outer = Payload(inner)
    del inner
    assert (address_of(outer), bytes(outer)) == (address_of(array), array.tobytes())


# ---- join


@given(parts=parts, borrowed=st.booleans())
def test_a_rope_is_its_parts_joined(parts: list[bytes], borrowed: bool) -> None:
    policy = BORROW_ALL if borrowed else None
    rope = Payload.join([Payload(part, policy=policy) for part in parts])
    whole = b"".join(parts)
    assert (len(rope), bytes(rope), memoryview(rope).tobytes()) == (len(whole), whole, whole)


@given(parts=parts, start=bounds, stop=bounds)
def test_a_slice_of_a_rope_crosses_its_parts(parts: list[bytes], start: int | None, stop: int | None) -> None:
    cut = Payload.join(parts)[start:stop]
    assert bytes(cut) == b"".join(parts)[start:stop]


@settings(max_examples=30, deadline=None)
@given(parts=parts)
def test_a_rope_arrives_in_order(parts: list[bytes], agent: NativeServer, blocking: Client) -> None:
    rope = Payload.join([Payload(part, policy=BORROW_ALL) for part in parts])
    assert bytes(blocking.post(f"{agent.url}/echo", rope).body) == b"".join(parts)


def test_a_rope_of_large_parts_has_a_segment_for_each() -> None:
    rope = Payload.join([source_array(MIB), source_array(MIB, start=MIB), source_array(MIB, start=2 * MIB)])
    assert (rope.segments, len(rope), bytes(rope)) == (3, 3 * MIB, source_bytes(3 * MIB))


def test_a_rope_is_made_of_anything_a_payload_is_made_of() -> None:
    nested = Payload.join([b"b", Payload.join([bytearray(b"c"), memoryview(b"xdx")[1:2]])])
    assert bytes(Payload.join([b"a", nested, np.frombuffer(b"e", "u1"), b""])) == b"abcde"


def test_a_rope_takes_any_iterable() -> None:
    assert bytes(Payload.join(bytes([n]) for n in range(5))) == bytes(range(5))


def test_a_rope_of_nothing_is_empty() -> None:
    assert (len(Payload.join([])), bytes(Payload.join([])), Payload.join([]).segments) == (0, b"", 0)


def test_a_rope_does_not_take_a_buffer_apart_into_numbers() -> None:
    with pytest.raises(TypeError):
        Payload.join(b"abc")


@pytest.mark.parametrize("part", ["text", 3, None, {"a": 1}])
def test_a_part_without_bytes_is_refused(part: Any) -> None:
    with pytest.raises(TypeError):
        Payload.join([b"a", part])


def test_an_envelope_around_a_large_body_is_sent_without_joining_it(agent: NativeServer, blocking: Client) -> None:
    body = source_array(LARGE)
    rope = Payload.join([b'{"data":"', Payload.base64(body), b'"}'])
    reply = json.loads(bytes(blocking.post(f"{agent.url}/echo", rope).body))
    assert base64.b64decode(reply["data"]) == body.tobytes()


# ---- base64


@given(data=st.binary(max_size=4_000), urlsafe=st.booleans())
def test_base64_is_that_of_the_base64_module(data: bytes, urlsafe: bool) -> None:
    expected = base64.urlsafe_b64encode(data) if urlsafe else base64.b64encode(data)
    encoded = Payload.base64(data, urlsafe=urlsafe)
    assert (len(encoded), bytes(encoded), memoryview(encoded).tobytes()) == (len(expected), expected, expected)


@given(data=st.binary(max_size=300), start=bounds, stop=bounds)
def test_a_slice_of_base64_is_the_slice_of_the_text(data: bytes, start: int | None, stop: int | None) -> None:
    assert bytes(Payload.base64(data)[start:stop]) == base64.b64encode(data)[start:stop]


@settings(max_examples=50, deadline=None)
@given(data=st.binary(max_size=300), step=st.integers(-4, 4).filter(bool))
def test_base64_of_a_strided_view_is_that_of_its_own_order(data: bytes, step: int) -> None:
    assert bytes(Payload.base64(memoryview(data)[::step])) == base64.b64encode(data[::step])


@pytest.mark.parametrize("beyond", [0, 1, 2])
def test_large_base64_is_encoded_on_the_way_and_its_length_known_before(
    beyond: int, agent: NativeServer, blocking: Client
) -> None:
    body = source_array(LARGE * 3 + beyond)
    encoded = Payload.base64(body)
    assert len(encoded) == -(-body.nbytes // 3) * 4
    assert bytes(blocking.post(f"{agent.url}/echo", encoded).body) == base64.b64encode(body.data)


def test_base64_of_a_rope_is_that_of_the_whole() -> None:
    assert bytes(Payload.base64(Payload.join([b"a", b"bc", b"d"]))) == base64.b64encode(b"abcd")


def test_base64_of_base64_is_encoded_twice() -> None:
    assert bytes(Payload.base64(Payload.base64(b"abcd"))) == base64.b64encode(base64.b64encode(b"abcd"))


@pytest.mark.parametrize("refused", ["text", 3, None])
def test_base64_of_what_has_no_bytes_is_refused(refused: Any) -> None:
    with pytest.raises(TypeError):
        Payload.base64(refused)


# ---- open


@pytest.mark.parametrize("trusted", [False, True])
@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, 12 * MIB])
def test_an_opened_file_is_its_bytes(
    size: int, trusted: bool, tmp_path: Path, agent: NativeServer, blocking: Client
) -> None:
    path = tmp_path / "body"
    path.write_bytes(source_bytes(size))
    payload = Payload.open(path, trusted=trusted)
    assert (len(payload), bytes(payload)) == (size, source_bytes(size))
    assert bytes(blocking.post(f"{agent.url}/echo", payload).body) == source_bytes(size)


def test_a_path_may_be_text(tmp_path: Path) -> None:
    path = tmp_path / "päth with space"
    path.write_bytes(b"abc")
    assert bytes(Payload.open(str(path))) == b"abc"


def test_a_trusted_file_is_mapped(tmp_path: Path) -> None:
    path = tmp_path / "body"
    path.write_bytes(source_bytes(12 * MIB))
    assert Payload.open(path, trusted=True).transfer == "map"


def test_an_opened_file_does_not_notice_what_becomes_of_the_file(
    tmp_path: Path, agent: NativeServer, blocking: Client
) -> None:
    path = tmp_path / "body"
    path.write_bytes(source_bytes(12 * MIB))
    payload = Payload.open(path)
    with path.open("r+b") as file:
        file.write(b"overwritten")
        file.truncate(4096)
    path.unlink()
    assert bytes(blocking.post(f"{agent.url}/echo", payload).body) == source_bytes(12 * MIB)


@pytest.mark.parametrize("name", ["missing", ".", "missing/body", "nul\0byte"])
def test_what_cannot_be_opened_is_a_file_error_with_its_path(name: str, tmp_path: Path) -> None:
    with pytest.raises((Denied, FileError, ValueError)) as caught:
        Payload.open(tmp_path / name)
    assert isinstance(caught.value, (GatewayError, ValueError))
    if isinstance(caught.value, GatewayError):
        assert isinstance(caught.value, OSError)
        assert tmp_path.name in str(caught.value)


# ---- transfer


POLICY = TransferPolicy(copy_below=1_000, map_above=100_000)


@pytest.mark.parametrize(
    ("length", "kind", "decided"),
    [
        (0, "buffer", "copy"),
        (999, "buffer", "copy"),
        (1_000, "buffer", "borrow"),
        (99_999, "buffer", "borrow"),
        (100_000, "buffer", "borrow"),
        (1 << 40, "buffer", "borrow"),
        (100_000, "file", "map"),
        (1 << 40, "file", "map"),
        (0, "reply", "copy"),
        (100_000, "reply", "map"),
        (1 << 40, "reply", "map"),
        (100_000, "share", "map"),
        (1 << 40, "share", "map"),
    ],
)
def test_the_policy_decides_by_length_and_kind(length: int, kind: Any, decided: str) -> None:
    transfer = POLICY.decide(length, kind=kind)
    assert (transfer == decided, transfer.kind, transfer.len) == (True, decided, length)


def test_a_transfer_says_what_and_why() -> None:
    transfer = POLICY.decide(5, kind="buffer")
    assert isinstance(transfer, Transfer)
    assert (transfer.kind, transfer == "copy", transfer == "map", transfer != "borrow") == ("copy", True, False, True)
    assert (transfer.kind in str(transfer), transfer.reason in str(transfer), "1000" in transfer.reason) == (
        True,
        True,
        True,
    )


def test_a_policy_takes_a_buffer_by_default() -> None:
    assert TransferPolicy.default().decide(1 << 30) == "borrow"


def test_a_payload_carries_the_decision_of_its_policy() -> None:
    taken = [Payload(bytes(n), policy=POLICY).transfer for n in (999, 1_000, 200_000)]
    assert [(t.kind, t.len) for t in taken] == [("copy", 999), ("borrow", 1_000), ("borrow", 200_000)]


def test_a_reply_says_how_its_request_went_and_how_it_came(agent: NativeServer, blocking: Client) -> None:
    reply = blocking.post(f"{agent.url}/echo", source_array(12 * MIB))
    assert (reply.transfer == "borrow", reply.body.transfer == "map", reply.body.transfer.len) == (
        True,
        True,
        12 * MIB,
    )


def test_a_clients_policy_is_that_of_its_bodies(agent: NativeServer) -> None:
    with Client(policy=POLICY) as client:
        kinds = [client.post(f"{agent.url}/sink", bytes(n)).transfer.kind for n in (999, 1_000)]
    assert kinds == ["copy", "borrow"]


@pytest.mark.parametrize("wrong", [{"copy_below": -1}, {"map_above": -1}, {"copy_below": 1 << 70}])
def test_a_threshold_that_is_no_length_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises((ValueError, OverflowError)):
        TransferPolicy(**wrong)


@pytest.mark.parametrize("wrong", [{"copy_under": 1}, {"copy_below": "1"}])
def test_an_option_the_policy_does_not_have_is_a_type_error(wrong: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        TransferPolicy(**wrong)


def test_a_kind_that_does_not_exist_is_refused_with_those_that_do() -> None:
    with pytest.raises(ValueError, match="buffer"):
        POLICY.decide(1, kind="socket")


def test_an_option_the_payload_does_not_have_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="copy"):
        Payload(b"x", copy=True)  # type: ignore[call-arg]
    with pytest.raises((TypeError, UnsupportedBuffer)):
        Payload()  # type: ignore[call-arg]
