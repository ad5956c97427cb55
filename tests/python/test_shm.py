"""Spools from Python: payloads that outlive a call, and cross processes by a reference."""

import asyncio
import contextlib
import ctypes
import gc
import json
import mmap
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from mcpgateway_rust import AsyncClient, Client, Payload, shm
from mcpgateway_rust.exceptions import (
    ClientClosed,
    Denied,
    FileError,
    GatewayError,
    InvalidOption,
    InvalidReference,
    PayloadGone,
    QuotaExceeded,
    UnsupportedBuffer,
)
from support.native_server import NativeServer, sha256
from support.process import environment, run_python, start_python
from support.source import source_bytes
from support.waiting import wait_until

MIB = 1 << 20
NOTHING = {"memory": 0, "disk": 0}
FORKING = {"PYTHONWARNINGS": "ignore::DeprecationWarning"}  # from 3.12 on, a fork beside threads is one
REFUSED = (Denied, InvalidReference, PayloadGone)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
def spool(directory: Path) -> shm.Spool:
    return shm.Spool(memory_budget=64 * MIB, disk_budget=256 * MIB, directory=directory, map_above=64 << 10)


def array_of(payload: Any, dtype: str = "u1") -> np.ndarray[Any, Any]:
    """What numpy sees in `payload`, without a copy."""
    return np.frombuffer(payload, dtype)


def used(spool: shm.Spool) -> shm.Usage:
    return spool.stats()["used"]


def assert_all_given_back(spool: shm.Spool) -> None:
    def given_back() -> bool:
        gc.collect()
        return used(spool) == NOTHING

    wait_until(given_back, what="the budgets are back at 0")


def elsewhere(program: str, *arguments: object, **options: Any) -> Any:
    """What `program` printed as its last line, in a process of its own."""
    finished = run_python(program, *arguments, **options)
    assert (finished.returncode, finished.stderr) == (0, "")
    return json.loads(finished.stdout.splitlines()[-1])


OPEN = """
    import hashlib, json, sys
    import numpy
    from mcpgateway_rust import shm

    payload = shm.open(sys.argv[1], directory=sys.argv[2])
    seen = numpy.frombuffer(payload, "u1")
    print(json.dumps([len(payload), hashlib.sha256(seen).hexdigest(), payload.transfer.kind]))
"""


# ---- putting, sharing, opening


@pytest.mark.parametrize("size", [0, 1, 64 << 10, (64 << 10) + 1, 5 * MIB + 3])
def test_another_process_reads_what_was_shared(spool: shm.Spool, directory: Path, size: int) -> None:
    body = source_bytes(size)
    payload = spool.put(body)
    assert bytes(payload) == body
    reference = payload.share(ttl=60)
    assert elsewhere(OPEN, reference, directory) == [size, sha256(body), "map"]


def test_the_names_of_the_design_work_as_it_says(directory: Path) -> None:
    spool = shm.Spool(memory_budget=64 * MIB, disk_budget=64 * MIB, directory=directory)
    p = spool.put(np.arange(MIB, dtype="u4"))
    ref = p.share(ttl=300)
    q = shm.open(ref)
    assert (q == p, len(str(ref)) <= 1024, str(ref).startswith("mcpref://")) == (True, True, True)
    assert np.array_equal(array_of(q, "u4"), np.arange(MIB, dtype="u4"))


def test_the_transfer_says_where_a_payload_lives(spool: shm.Spool) -> None:
    small, large, spilled = spool.put(b"small"), spool.put(bytes(60 * MIB)), spool.put(bytes(5 * MIB))
    reasons = [payload.transfer.reason for payload in (small, large, spilled)]
    assert reasons == [
        "spooled in the memory of this process, below map_above",
        "spooled into a sealed memory file, which other processes can map",
        "spooled into a private file, which other processes can map",
    ]
    assert [payload.transfer.kind for payload in (small, large, spilled)] == ["copy", "map", "map"]
    assert used(spool) == {"memory": 60 * MIB + 5, "disk": 5 * MIB}


def test_a_reference_says_what_it_is_about(spool: shm.Spool) -> None:
    before = time.time()
    reference = spool.put(bytes(MIB)).share(ttl=60, content_type="application/json")
    assert reference == shm.PayloadRef.parse(str(reference)) == pickle.loads(pickle.dumps(reference))
    assert (reference.tenant, reference.length, reference.content_type) == ("default", MIB, "application/json")
    assert (reference.locations, len(reference.id)) == (["descriptor"], 32)
    assert before + 60 <= reference.expires + 0.001 <= time.time() + 60.001
    assert hash(reference) == hash(shm.PayloadRef.parse(str(reference)))
    # The signature is what a log must not show.
    assert str(reference).rpartition("mac=")[2] not in repr(reference)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(
    body=st.binary(max_size=300_000),
    durable=st.booleans(),
    content_type=st.none() | st.from_regex(r"[a-z]{1,10}/[a-z +;=]{1,20}[a-z]", fullmatch=True),
)
def test_whatever_is_shared_is_what_is_opened(
    spool: shm.Spool, body: bytes, durable: bool, content_type: str | None
) -> None:
    reference = spool.share(body, ttl=60, durable=durable, content_type=content_type)
    again = shm.PayloadRef.parse(str(reference))
    assert (again, again.content_type, again.length) == (reference, content_type, len(body))
    assert bytes(spool.open(str(again))) == body
    spool.revoke(reference)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(parts=st.lists(st.binary(max_size=100_000), max_size=10), expected=st.none() | st.integers(0, 2 * MIB))
def test_a_payload_that_comes_in_pieces_is_their_sequence(
    spool: shm.Spool, parts: list[bytes], expected: int | None
) -> None:
    writer = spool.writer(expected)
    for part in parts:
        writer.write(part)
    assert len(writer) == sum(map(len, parts))
    assert bytes(writer.finish()) == b"".join(parts)
    with pytest.raises(ClientClosed):
        writer.write(b"more")


def test_a_strided_array_is_spooled_in_its_own_order(spool: shm.Spool) -> None:
    array = np.arange(300_000, dtype="u4").reshape(300, 1000)[::-2, ::3]
    assert bytes(spool.put(array)) == np.ascontiguousarray(array).tobytes()


def test_a_str_cannot_be_spooled(spool: shm.Spool) -> None:
    with pytest.raises(UnsupportedBuffer, match="encode"):
        spool.put("text")


async def test_the_same_is_done_off_the_event_loop(spool: shm.Spool, directory: Path) -> None:
    body = source_bytes(3 * MIB)
    payload = await spool.put_async(body)
    writer = spool.writer()
    await writer.write_async(memoryview(body)[:MIB])
    await writer.write_async(memoryview(body)[MIB:])
    written = await writer.finish_async()
    references = [await payload.share_async(ttl=60), await spool.share_async(written, ttl=60)]
    opened = [await spool.open_async(references[0]), await shm.open_async(references[1], directory=directory)]
    assert [bytes(payload) for payload in opened] == [body, body]


def test_a_payload_without_a_spool_is_copied_once_when_it_is_shared(spool: shm.Spool) -> None:
    body = bytearray(source_bytes(2 * MIB))
    reference = Payload(body).share(ttl=60, spool=spool)
    assert used(spool) == {"memory": 2 * MIB, "disk": 0}
    body[:] = bytes(len(body))
    assert bytes(spool.open(reference)) == source_bytes(2 * MIB)


def test_a_payload_without_a_spool_is_shared_in_the_default_directory(tmp_path: Path) -> None:
    program = """
        import json, sys
        from mcpgateway_rust import Payload, shm

        shm.limit_process(directory=sys.argv[1])
        reference = Payload(b"x" * 1_000_000).share(ttl=60)
        print(json.dumps([len(shm.open(reference, directory=sys.argv[1])), len(shm.list_(sys.argv[1])["workers"])]))
    """
    assert elsewhere(program, tmp_path / "spool") == [1_000_000, 1]


# ---- refused


def test_what_was_not_signed_here_is_denied(spool: shm.Spool, tmp_path: Path) -> None:
    other = shm.Spool(directory=tmp_path / "other")
    reference = other.put(b"secret").share(ttl=60)
    with pytest.raises(Denied) as refused:
        spool.open(reference)
    assert isinstance(refused.value, PermissionError)
    with pytest.raises(Denied):
        shm.open(reference, directory=spool.directory)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=300)
@given(
    place=st.floats(0, 1, exclude_max=True),
    other=st.sampled_from("0123456789abcdefghijklmnopqrstuvwxyz&=?/:%\u00e9\x00"),
    change=st.sampled_from(["replaced", "cut", "removed", "appended"]),
)
def test_no_changed_reference_is_accepted(spool: shm.Spool, place: float, other: str, change: str) -> None:
    text = str(spool.share(b"x" * 1000, ttl=60, content_type="text/plain"))
    at = int(place * len(text))
    before, after = text[:at], text[at + 1 :]
    changed = {"replaced": before + other + after, "cut": before, "removed": before + after, "appended": text + other}
    # A character in place of the same, or taken from beside its like, changes nothing.
    assume(changed[change] != text)
    with pytest.raises(REFUSED):
        spool.open(changed[change])


@pytest.mark.parametrize("text", ["", "mcpref://", "http://a/b", "x" * 2000, "mcpref://a/\udcff", "mcpref://a/b?mac="])
def test_what_is_no_reference_is_refused(spool: shm.Spool, text: str) -> None:
    with pytest.raises(InvalidReference):
        shm.PayloadRef.parse(text)
    with pytest.raises(InvalidReference):
        spool.open(text)
    with pytest.raises(InvalidReference):
        shm.open(text)


def test_another_kind_of_object_is_no_reference(spool: shm.Spool) -> None:
    wrong: Any = 7
    with pytest.raises(TypeError, match="mcpref://"):
        spool.open(wrong)


def test_another_tenant_is_denied(spool: shm.Spool, directory: Path) -> None:
    reference = spool.put(bytes(MIB)).share(ttl=60)
    with pytest.raises(Denied, match="another tenant"):
        shm.Spool(directory=directory, tenant="other").open(reference)
    with pytest.raises(Denied, match="another tenant"):
        shm.open(reference, directory=directory, tenant="other")


def test_an_expired_payload_is_gone(spool: shm.Spool) -> None:
    reference = spool.share(bytes(MIB), ttl=0.05)
    wait_until(lambda: time.time() > reference.expires, what="it has expired")
    with pytest.raises(PayloadGone) as gone:
        spool.open(reference)
    assert isinstance(gone.value, FileNotFoundError)
    assert_all_given_back(spool)


@pytest.mark.parametrize("durable", [False, True])
def test_a_revoked_payload_is_gone_and_who_has_it_keeps_it(spool: shm.Spool, durable: bool) -> None:
    body = source_bytes(MIB)
    reference = spool.share(body, ttl=60, durable=durable)
    kept = spool.open(reference)
    spool.revoke(reference)
    with pytest.raises(PayloadGone):
        spool.open(reference)
    assert bytes(kept) == body


@pytest.mark.parametrize("options", [{"tenant": ""}, {"tenant": "a b"}, {"tenant_share": 0.0}, {"tenant_share": 1.5}])
def test_an_option_that_cannot_be_is_refused(directory: Path, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidOption):
        shm.Spool(directory=directory, **options)


@pytest.mark.parametrize("ttl", [0, -1, float("nan"), float("inf"), 1e12])
def test_a_time_that_cannot_be_is_refused(spool: shm.Spool, ttl: float) -> None:
    with pytest.raises(ValueError, match="ttl"):
        spool.put(b"x").share(ttl=ttl)


def test_a_content_type_that_cannot_be_is_refused(spool: shm.Spool) -> None:
    with pytest.raises(InvalidOption, match="content type"):
        spool.put(b"x").share(ttl=1, content_type="a\nb")


def test_a_directory_that_others_may_use_is_denied(tmp_path: Path) -> None:
    open_to_all = tmp_path / "open"
    open_to_all.mkdir(mode=0o755)
    open_to_all.chmod(0o777)
    with pytest.raises(Denied):
        shm.Spool(directory=open_to_all)
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "target")
    with pytest.raises(GatewayError):
        shm.Spool(directory=link)


# ---- budgets


def test_beyond_both_budgets_the_limit_is_named(directory: Path) -> None:
    spool = shm.Spool(memory_budget=MIB, disk_budget=2 * MIB, directory=directory, map_above=0)
    with pytest.raises(QuotaExceeded) as refused:
        spool.put(bytes(3 * MIB))
    assert isinstance(refused.value, MemoryError)
    assert (refused.value.limit, refused.value.value) == ("disk_budget", 2 * MIB)
    assert refused.value.got > 2 * MIB
    assert used(spool) == NOTHING


def test_a_tenant_has_its_share_and_no_more(directory: Path) -> None:
    spool = shm.Spool(memory_budget=4 * MIB, disk_budget=2 * MIB, directory=directory, tenant="a", tenant_share=0.5)
    kept = spool.put(bytes(2 * MIB))
    with pytest.raises(QuotaExceeded) as refused:
        spool.put(bytes(MIB + 1))
    assert (refused.value.limit, refused.value.value) == ("tenant_disk", MIB)
    assert len(kept) == 2 * MIB


def test_the_budgets_are_back_at_0_when_nobody_holds_anything(spool: shm.Spool) -> None:
    payloads = [spool.put(bytes(size)) for size in (100, MIB, 60 * MIB, 50 * MIB)]
    views = [memoryview(payload) for payload in payloads]
    reference = payloads[1].share(ttl=60)
    writer = spool.writer(MIB)
    writer.write(bytes(MIB))
    assert used(spool)["disk"] == 50 * MIB
    del payloads
    assert [len(view) for view in views] == [100, MIB, 60 * MIB, 50 * MIB]
    views.clear()
    writer.discard()
    spool.revoke(reference)
    assert_all_given_back(spool)


def test_a_view_keeps_its_bytes_after_its_payload_and_its_reference(spool: shm.Spool) -> None:
    body = source_bytes(5 * MIB)
    reference = spool.put(body).share(ttl=60)
    view = array_of(spool.open(reference))
    spool.revoke(reference)
    del reference
    gc.collect()
    others = [spool.put(bytes(5 * MIB)) for _ in range(10)]
    assert (view.tobytes() == body, len(others)) == (True, 10)


# ---- immutable


def test_a_reader_cannot_write(spool: shm.Spool) -> None:
    body = source_bytes(2 * MIB)
    opened = spool.open(spool.put(body).share(ttl=60))
    with pytest.raises(TypeError):
        memoryview(opened)[0] = 0
    assert not array_of(opened).flags.writeable
    address = array_of(opened).ctypes.data
    libc = ctypes.CDLL(None, use_errno=True)
    refused = libc.mprotect(ctypes.c_void_p(address), ctypes.c_size_t(mmap.PAGESIZE), mmap.PROT_READ | mmap.PROT_WRITE)
    assert (refused, ctypes.get_errno()) == (-1, 13)
    assert bytes(opened) == body


def memory_files() -> dict[int, int]:
    """The descriptor of each memory file of this process, by the number of its inode."""
    found = {}
    for entry in os.listdir("/proc/self/fd"):
        path = f"/proc/self/fd/{entry}"
        with contextlib.suppress(FileNotFoundError):  # the listing's own, or one that was closed meanwhile
            if "memfd:" in os.readlink(path):
                found[os.stat(path).st_ino] = int(entry)
    return found


def test_nobody_shortens_or_writes_a_sealed_payload(spool: shm.Spool) -> None:
    body = source_bytes(2 * MIB)
    # Those of payloads before are closed on a thread of the library's, perhaps in the midst of this.
    others = memory_files()
    payload = spool.put(body)
    # This process still has a descriptor, as whoever it is passed to would.
    descriptors = [descriptor for inode, descriptor in memory_files().items() if inode not in others]
    assert descriptors
    for descriptor in descriptors:
        for act in (lambda to: os.ftruncate(to, 0), lambda to: os.pwrite(to, b"x", 0)):
            with pytest.raises(OSError, match=r"not permitted|Bad file descriptor|Invalid argument"):
                act(descriptor)
            with pytest.raises(OSError, match=r"not permitted|denied"):
                act(os.open(f"/proc/self/fd/{descriptor}", os.O_RDWR))
    assert bytes(payload) == body


# ---- processes

SHARER = """
    import sys
    from mcpgateway_rust import shm
    from support.source import source_bytes

    spool = shm.Spool(directory=sys.argv[1], map_above=0, memory_budget=32 << 20, disk_budget=256 << 20)
    kept = spool.put(source_bytes(int(sys.argv[2])))
    print(kept.share(ttl=60, durable=len(sys.argv) > 3), flush=True)
    sys.stdin.readline()
"""


def start_sharer(directory: Path, size: int, *more: str) -> tuple[subprocess.Popen[str], str]:
    process = start_python(SHARER, directory, size, *more)
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def test_two_processes_with_one_directory_share_its_budget(directory: Path) -> None:
    process, reference = start_sharer(directory, 20 * MIB)
    try:
        spool = shm.Spool(directory=directory, map_above=0, memory_budget=32 * MIB, disk_budget=0)
        assert used(spool) == {"memory": 20 * MIB, "disk": 0}
        assert bytes(spool.open(reference)) == source_bytes(20 * MIB)
        with pytest.raises(QuotaExceeded):
            spool.put(bytes(13 * MIB))
        pids = {worker["pid"]: worker["used"]["memory"] for worker in shm.list_(directory)["workers"]}
        assert pids == {process.pid: 20 * MIB, os.getpid(): 0}
    finally:
        kill(process)


def test_what_a_killed_worker_held_is_gone_and_given_back(directory: Path) -> None:
    spool = shm.Spool(directory=directory, memory_budget=32 * MIB)
    process, reference = start_sharer(directory, 20 * MIB)
    kept = spool.open(reference)
    kill(process)
    with pytest.raises(PayloadGone):
        spool.open(reference)
    # Mapped pages outlive who made them.
    assert bytes(kept) == source_bytes(20 * MIB)
    assert [worker["alive"] for worker in shm.list_(directory)["workers"] if worker["pid"] == process.pid] == [False]
    swept = spool.sweep()
    assert (swept["workers"], swept["returned"]) == (1, {"memory": 20 * MIB, "disk": 0})
    assert used(spool) == NOTHING
    assert spool.sweep()["files"] == 0


def test_a_durable_payload_outlives_its_worker_until_it_expires(directory: Path) -> None:
    process, reference = start_sharer(directory, 2 * MIB, "durable")
    kill(process)
    spool = shm.Spool(directory=directory)
    assert bytes(spool.open(reference)) == source_bytes(2 * MIB)
    assert [payload["id"] for payload in shm.list_(directory)["payloads"]] == [shm.PayloadRef.parse(reference).id]
    spool.revoke(reference)
    assert shm.list_(directory)["payloads"] == []
    assert used(spool) == NOTHING


@pytest.mark.parametrize("rounds", [8, pytest.param(100, marks=pytest.mark.soak)])
def test_workers_killed_at_random_moments_leave_nothing_behind(directory: Path, rounds: int) -> None:
    spool = shm.Spool(directory=directory, memory_budget=32 * MIB, disk_budget=256 * MIB)
    busy = """
        import sys
        from mcpgateway_rust import shm

        spool = shm.Spool(directory=sys.argv[1], map_above=0, memory_budget=32 << 20, disk_budget=256 << 20)
        print("ready", flush=True)
        while True:
            payload = spool.put(bytes(9 << 20))
            spool.put(bytes(40 << 20))
            payload.share(ttl=0.5)
    """
    for round_ in range(rounds):
        process = start_python(busy, directory)
        assert process.stdout is not None
        process.stdout.readline()
        # How far it comes is what differs from round to round, whatever the machine.
        wait_until(lambda: used(spool)["memory"] > 0, what="it has begun")
        for _ in range(round_ % 8 * 40):
            used(spool)
        kill(process)
    spool.sweep()
    assert used(spool) == NOTHING
    listing = shm.list_(directory)
    assert [worker["pid"] for worker in listing["workers"]] == [os.getpid()]
    assert (listing["payloads"], listing["partial_files"]) == ([], 0)
    assert len(list(directory.iterdir())) <= 4  # ledger, key, our lease and socket


def test_a_forked_child_reads_what_it_inherited_and_takes_nothing_away(directory: Path) -> None:
    program = """
        import gc, json, os, sys
        from mcpgateway_rust import shm
        from support.source import source_bytes

        body = source_bytes(5 << 20)
        spool = shm.Spool(directory=sys.argv[1], map_above=0)
        payload = spool.put(body)
        reference = payload.share(ttl=60)
        said, says = os.pipe()
        child = os.fork()
        if child == 0:
            inherited, opened = bytes(payload) == body, bytes(spool.open(reference)) == body
            own = bytes(spool.put(b"of the child")) == b"of the child"
            del payload
            gc.collect()
            os.write(says, json.dumps([inherited, opened, own]).encode())
            os._exit(0)
        os.waitpid(child, 0)
        spool.sweep()
        print(json.dumps([json.loads(os.read(said, 100)), spool.stats()["used"]["memory"], bytes(payload) == body,
                          bytes(spool.open(reference)) == body]))
    """
    assert elsewhere(program, directory, env=FORKING) == [[True, True, True], 5 * MIB, True, True]


def test_a_stopped_worker_does_not_hang_who_opens(directory: Path) -> None:
    process, reference = start_sharer(directory, 2 * MIB)
    process.send_signal(signal.SIGSTOP)
    try:
        with pytest.raises(TimeoutError) as late:
            shm.open(reference, directory=directory)
        assert getattr(late.value, "timeout", None) == "spool"
    finally:
        process.send_signal(signal.SIGCONT)
        kill(process)


def test_without_descriptors_to_spare_the_error_is_typed(directory: Path) -> None:
    program = """
        import json, resource, sys
        from mcpgateway_rust import shm
        from mcpgateway_rust.exceptions import GatewayError

        spool = shm.Spool(directory=sys.argv[1], map_above=0)
        kept = [spool.put(bytes(100_000)) for _ in range(3)]
        resource.setrlimit(resource.RLIMIT_NOFILE, (len(__import__("os").listdir("/proc/self/fd")), 4096))
        failed = []
        for act in (lambda: kept[0].share(ttl=60, durable=True), lambda: shm.Spool(directory=sys.argv[1] + "2")):
            try:
                act()
            except GatewayError as error:
                failed.append(isinstance(error, OSError))
        # Without a memory file, a payload stays in this process.
        print(json.dumps([failed, bytes(spool.put(b"x" * 100_000)) == b"x" * 100_000]))
    """
    assert elsewhere(program, directory) == [[True, True], True]


def test_a_limit_on_the_size_of_files_is_a_typed_error(directory: Path) -> None:
    program = """
        import json, resource, sys
        from mcpgateway_rust import shm
        from mcpgateway_rust.exceptions import GatewayError

        spool = shm.Spool(directory=sys.argv[1], map_above=0, memory_budget=1 << 20)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2 << 20, 2 << 20))
        try:
            spool.put(bytes(8 << 20))
        except GatewayError as error:
            print(json.dumps([type(error).__name__, spool.stats()["used"]]))
    """
    assert elsewhere(program, directory) == ["FileError", NOTHING]


# ---- files of others


def test_a_file_of_others_is_copied_unless_it_is_trusted(spool: shm.Spool, tmp_path: Path) -> None:
    body = source_bytes(3 * MIB)
    path = tmp_path / "file"
    path.write_bytes(body)
    copied = [Payload.open(path), Payload.open(path, spool=spool)]
    trusted = [Payload.open(path, trusted=True), Payload.open(path, trusted=True, spool=spool)]
    assert [bytes(payload) for payload in copied + trusted] == [body] * 4
    assert [payload.transfer.kind for payload in trusted] == ["map", "map"]
    del trusted
    path.write_bytes(b"shortened")
    assert [bytes(payload) for payload in copied] == [body] * 2
    assert bytes(spool.open(copied[1].share(ttl=60))) == body


@pytest.mark.parametrize("trusted", [False, True])
@pytest.mark.parametrize("spooled", [False, True])
def test_only_a_regular_file_is_opened_and_nothing_is_waited_for(
    spool: shm.Spool, tmp_path: Path, trusted: bool, spooled: bool
) -> None:
    given_spool = spool if spooled else None
    target = tmp_path / "target"
    target.write_bytes(b"behind a link")
    link, fifo = tmp_path / "link", tmp_path / "fifo"
    link.symlink_to(target)
    os.mkfifo(fifo)
    for path in (link, fifo, tmp_path, Path("/dev/zero")):
        with pytest.raises(Denied):
            Payload.open(path, trusted=trusted, spool=given_spool)
    with pytest.raises(FileError):
        Payload.open(tmp_path / "missing", trusted=trusted, spool=given_spool)
    followed = Payload.open(link, trusted=trusted, follow_links=True, spool=given_spool)
    assert bytes(followed) == b"behind a link"


# ---- with a client


@pytest.fixture
def spooling(spool: shm.Spool) -> Iterator[Client]:
    with Client(spool=spool) as client:
        yield client


def test_a_large_reply_is_received_into_the_spool(spooling: Client, spool: shm.Spool, agent: NativeServer) -> None:
    reply = spooling.get(f"{agent.url}/source/{10 * MIB}")
    assert reply.body.transfer.reason == "spooled into a sealed memory file, which other processes can map"
    assert used(spool) == {"memory": 10 * MIB, "disk": 0}
    reference = reply.body.share(ttl=60)
    assert used(spool) == {"memory": 10 * MIB, "disk": 0}
    assert elsewhere(OPEN, reference, spool.directory) == [10 * MIB, sha256(source_bytes(10 * MIB)), "map"]


def test_a_small_reply_stays_in_this_process(spooling: Client, spool: shm.Spool, agent: NativeServer) -> None:
    reply = spooling.get(f"{agent.url}/source/{64 << 10}")
    assert (bytes(reply.body), reply.body.transfer.kind) == (source_bytes(64 << 10), "copy")
    assert used(spool) == NOTHING


def test_a_reply_beyond_the_memory_budget_goes_to_disk(spooling: Client, spool: shm.Spool, agent: NativeServer) -> None:
    reply = spooling.get(f"{agent.url}/source/{70 * MIB}")
    assert sha256(memoryview(reply.body)) == sha256(source_bytes(70 * MIB))
    assert used(spool) == {"memory": 0, "disk": 70 * MIB}
    del reply
    assert_all_given_back(spool)


def test_a_reply_of_unknown_length_moves_up_as_it_grows(
    spooling: Client, spool: shm.Spool, agent: NativeServer
) -> None:
    parts = [source_bytes(MIB)] * 70
    # /echo answers a chunked request by a chunked reply.
    reply = spooling.post(f"{agent.url}/echo", iter(parts))
    assert sha256(memoryview(reply.body)) == sha256(b"".join(parts))
    assert reply.body.transfer.kind == "map"
    del reply
    assert_all_given_back(spool)


def test_a_reply_beyond_both_budgets_is_refused_with_the_name_of_the_limit(
    directory: Path, agent: NativeServer
) -> None:
    spool = shm.Spool(directory=directory, memory_budget=MIB, disk_budget=2 * MIB)
    with Client(spool=spool) as client:
        with pytest.raises(QuotaExceeded) as refused:
            client.get(f"{agent.url}/source/{5 * MIB}")
        assert (refused.value.limit, refused.value.value, refused.value.phase) == ("disk_budget", 2 * MIB, "receive")
        assert len(client.get(f"{agent.url}/source/1000").body) == 1000
    assert_all_given_back(spool)


async def test_a_cancelled_reply_gives_its_budget_back(spool: shm.Spool, agent: NativeServer) -> None:
    async with AsyncClient(spool=spool) as client:
        for _ in range(5):
            call = asyncio.ensure_future(client.get(f"{agent.url}/source/{60 * MIB}"))
            while not call.done() and not used(spool)["memory"]:  # noqa: ASYNC110 - no event says so
                await asyncio.sleep(0)
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
    del call
    assert_all_given_back(spool)


def test_another_process_sends_on_what_one_received_without_a_copy(
    spooling: Client, spool: shm.Spool, agent: NativeServer
) -> None:
    size = 48 * MIB
    reference = spooling.get(f"{agent.url}/source/{size}").body.share(ttl=60)
    program = """
        import json, sys
        from mcpgateway_rust import Client, shm

        def anonymous():
            lines = open("/proc/self/status").read().splitlines()
            return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))

        with Client() as client:
            client.post(f"{sys.argv[1]}/sink", b"warm")
            before = anonymous()
            payload = shm.open(sys.argv[2], directory=sys.argv[3])
            reply = client.post(f"{sys.argv[1]}/sink", payload)
            print(json.dumps([json.loads(reply.text), reply.transfer.kind, anonymous() - before]))
    """
    said, kind, grown_kib = elsewhere(program, agent.url, reference, spool.directory)
    assert (said, kind) == ({"bytes": size, "sha256": sha256(source_bytes(size))}, "map")
    assert grown_kib < 16 << 10
    assert used(spool) == {"memory": size, "disk": 0}


def test_a_client_without_a_spool_uses_the_disk_beyond_its_budget(agent: NativeServer, tmp_path: Path) -> None:
    program = """
        import gc, hashlib, json, sys
        from mcpgateway_rust import Client, shm
        from mcpgateway_rust.exceptions import QuotaExceeded

        url, directory = sys.argv[1:]
        shm.limit_process(memory_budget=8 << 20, disk_budget=32 << 20, directory=directory)
        seen = []
        with Client() as client:
            first = client.get(f"{url}/source/{6 << 20}").body
            second = client.get(f"{url}/source/{6 << 20}").body
            seen += [payload.transfer.reason for payload in (first, second)]
            seen += [bytes(first) == bytes(second), shm.stats()["budget_used_bytes"]]
            chunked = client.post(f"{url}/echo", (bytes(1 << 20) for _ in range(12))).body
            seen += [bytes(chunked) == bytes(12 << 20), chunked.transfer.kind]
            try:
                client.get(f"{url}/source/{64 << 20}")
            except QuotaExceeded as error:
                seen += [error.limit]
            seen += [len(client.get(f"{url}/source/1000").body)]
            del first, second, chunked
            gc.collect()
            seen += [shm.stats()["budget_used_bytes"]]
        print(json.dumps(seen))
    """
    assert elsewhere(program, agent.url, tmp_path / "spool") == [
        "reply, below map_above (10.0 MiB)",
        "spooled into a private file, which other processes can map",
        True,
        6 * MIB,
        True,
        "map",
        "disk_budget",
        1000,
        0,
    ]


def test_copies_are_within_the_budget_of_the_process_then_on_disk_then_refused(tmp_path: Path) -> None:
    program = """
        import gc, json, sys
        import numpy as np
        from mcpgateway_rust import Payload, TransferPolicy, shm
        from mcpgateway_rust.exceptions import QuotaExceeded

        shm.limit_process(memory_budget=4 << 20, disk_budget=8 << 20, directory=sys.argv[1] + "/spool")
        array = np.arange(6 << 20, dtype="u1")
        table = array.reshape(3, -1)
        body = array[:3 << 20].tobytes()
        path = sys.argv[1] + "/file"
        open(path, "wb").write(body)

        def used():
            return shm.stats()["budget_used_bytes"]

        ways = {
            "strided": lambda: (Payload(array[::-2]), array[::-2].tobytes()),
            "rows": lambda: (Payload(table[:, : 1 << 20]), table[:, : 1 << 20].tobytes()),
            "rope": lambda: (Payload.join([body[:5], body[5:]]), body),
            "snapshot": lambda: (Payload(bytearray(body), mutation="snapshot"), body),
            "file": lambda: (Payload.open(path), body),
            "copy": lambda: (Payload(body, policy=TransferPolicy(copy_below=1 << 30)), body),
        }
        seen = {}
        for name, make in ways.items():
            first, expected = make()
            right = memoryview(first) == expected
            within = used()
            second, _ = make()
            right &= memoryview(second) == expected
            kept = used()
            third, _ = make()
            right &= memoryview(third) == expected
            try:
                memoryview(make()[0])
                refused = None
            except QuotaExceeded as error:
                refused = [error.limit, error.value]
            del first, second, third
            gc.collect()
            seen[name] = [bool(right), within, kept, refused, used()]
        print(json.dumps(seen))
    """
    expected = [True, 3 * MIB, 3 * MIB, ["disk_budget", 8 * MIB], 0]
    ways = ["strided", "rows", "rope", "snapshot", "file", "copy"]
    assert elsewhere(program, tmp_path) == dict.fromkeys(ways, expected)


@pytest.mark.parametrize("way", ["put_async", "share_async", "write_async"])
def test_the_event_loop_goes_on_while_a_payload_is_spooled(tmp_path: Path, way: str) -> None:
    """The spooling is held at a point of it; were that on the loop, or with the GIL, nobody could let it go on."""
    program = """
        import asyncio, json, sys
        from mcpgateway_rust import Payload, shm
        from mcpgateway_rust._native import set_fail_point

        async def main():
            spool = shm.Spool(directory=sys.argv[1], map_above=0)
            body = bytes(range(256)) * 20_000
            writer = spool.writer(len(body))
            set_fail_point("spool::frame", "pause")
            begun = spool.stats()["used"]["memory"]
            spooling = {
                "put_async": lambda: spool.put_async(body),
                "share_async": lambda: Payload(body).share_async(ttl=60, spool=spool),
                "write_async": lambda: writer.write_async(body),
            }[sys.argv[2]]()
            ticks = 0
            # The writer's room is in the budget already; that of others is once they have begun.
            while ticks < 1000 or (sys.argv[2] != "write_async" and spool.stats()["used"]["memory"] == begun):
                ticks += 1
                await asyncio.sleep(0)
            beside = await asyncio.to_thread(bytes, spool.put(b""))
            seen = [spooling.done(), ticks >= 1000, beside == b""]
            set_fail_point("spool::frame", "off")
            done = await spooling
            payload = {
                "put_async": lambda: done,
                "share_async": lambda: spool.open(done),
                "write_async": lambda: writer.finish(),
            }[sys.argv[2]]()
            print(json.dumps([*seen, bytes(payload) == body]))

        asyncio.run(main())
    """
    assert elsewhere(program, tmp_path / "spool", way) == [False, True, True, True]


# ---- the command line


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mcpgateway_rust.cli", "shm", *map(str, arguments)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def test_the_command_line_shows_and_sweeps_what_workers_hold(directory: Path) -> None:
    process, reference = start_sharer(directory, 3 * MIB, "durable")
    try:
        listed = json.loads(command("list", "-d", directory, "--json").stdout)
        assert [(worker["pid"], worker["alive"]) for worker in listed["workers"]] == [(process.pid, True)]
        assert str(process.pid) in command("list", "-d", directory).stdout
    finally:
        kill(process)
    totals = json.loads(command("stats", "-d", directory, "--json").stdout)
    assert (totals["workers_alive"], totals["workers_dead"], totals["durable_payloads"]) == (0, 1, 1)
    assert "dead" in command("list", "-d", directory).stdout
    swept = json.loads(command("sweep", "-d", directory, "--json").stdout)
    assert (swept["workers"], swept["payloads"]) == (1, 0)
    assert bytes(shm.open(reference, directory=directory)) == source_bytes(3 * MIB)
    assert "0 dead workers" in command("sweep", "-d", directory).stdout
    assert "durable payloads" in command("stats", "-d", directory).stdout


def test_the_command_line_makes_no_directory(tmp_path: Path) -> None:
    finished = command("list", "-d", tmp_path / "missing")
    assert (finished.returncode, (tmp_path / "missing").exists()) == (2, False)
    assert "there is no directory" in finished.stderr.replace("\n", " ")
