"""A panic anywhere inside is a typed error of one call, and the next call works.

The points are those of Rust's `fail` crate, set by the environment variable FAILPOINTS when the module is imported.
"""

import json
import tempfile
from typing import Any

import pytest

from mcpgateway_rust import _native as native
from support.native_server import NativeServer
from support.process import run_python

POINTS: list[str] = native.fail_points()
PROGRAM_SECONDS = 60.0

EVERYTHING = """
    import asyncio, json, os, sys
    from mcpgateway_rust import AsyncClient, Client, Document, Payload, Timeouts, exports_live, loads, loads_async, shm
    from mcpgateway_rust.services.a2a_service import invoke_agent, invoke_agent_async, invoke_many
    from support.source import source_array, source_bytes
    from support.waiting import wait_until

    url = sys.argv[1]
    patient = Timeouts(connect=10, first_byte=10, idle=10, total=20)
    large = 12 << 20
    path = os.path.join(sys.argv[2], "file")
    with open(path, "wb") as file:
        file.write(source_bytes(large))
    data = bytearray(source_bytes(large))
    text = b'{"a": 1}'
    spool = shm.Spool(directory=os.path.join(os.path.dirname(path), "spool"))

    def post(body, **options):
        with Client(timeouts=patient) as client:
            return bytes(client.post(f"{url}/echo", body, **options).body)

    def into():
        room = bytearray(large)
        with Client(timeouts=patient) as client:
            client.get(f"{url}/source/{large}", into=room)
        return bytes(room)

    def to_file():
        with Client(timeouts=patient) as client:
            client.get(f"{url}/source/{large}", to_file=path + ".reply")
        with open(path + ".reply", "rb") as file:
            return file.read()

    def stream():
        with Client(timeouts=patient) as client, client.stream("GET", f"{url}/source/{large}") as reply:
            return b"".join(map(bytes, reply.iter_bytes()))

    async def awaited():
        async with AsyncClient(timeouts=patient) as client:
            reply = await client.post(f"{url}/echo", data)
            return bytes(reply.body)

    async def awaited_upload():
        async def chunks():
            for start in range(0, large, 1 << 20):
                yield data[start:start + (1 << 20)]
        async with AsyncClient(timeouts=patient) as client:
            return bytes((await client.post(f"{url}/echo", chunks())).body)

    async def awaited_stream():
        async with AsyncClient(timeouts=patient) as client:
            async with client.stream("GET", f"{url}/source/{large}") as reply:
                return b"".join([bytes(chunk) async for chunk in reply.aiter_bytes()])

    def many():
        # A panic in one item is its result; in the machinery around them it is the batch's.
        replies = [result for _, result in invoke_many(f"{url}/echo", [text] * 20)]
        failures = [result for result in replies if isinstance(result, Exception)]
        if failures:
            raise failures[0]
        return bytes(replies[-1].body) if len(replies) == 20 else None

    calls = {
        "small": (lambda: post(text), text),
        "borrowed": (lambda: post(data), bytes(data)),
        "snapshot": (lambda: post(data, mutation="snapshot"), bytes(data)),
        "detect": (lambda: post(data, mutation="detect"), bytes(data)),
        "strided": (lambda: post(memoryview(data)[::-1]), bytes(data)[::-1]),
        "rope": (lambda: post(Payload.join([b"a", Payload(data)[1:100], b"z"])), b"a" + bytes(data[1:100]) + b"z"),
        "base64": (lambda: post(Payload.base64(b"abcd" * 100_000)), __import__("base64").b64encode(b"abcd" * 100_000)),
        "file": (lambda: post(Payload.open(path)), bytes(data)),
        "mapped file": (lambda: post(Payload.open(path, trusted=True)), bytes(data)),
        "iterator": (lambda: post(iter([b"one", b"two"])), b"onetwo"),
        "spooled": (lambda: bytes(spool.put(data)), bytes(data)),
        "views": (lambda: bytes(memoryview(Payload.join([Payload(data), b"z"]))[-2:]), bytes(data[-1:]) + b"z"),
        "into": (into, source_bytes(large)),
        "to_file": (to_file, source_bytes(large)),
        "stream": (stream, source_bytes(large)),
        "awaited": (lambda: asyncio.run(awaited()), bytes(data)),
        "awaited upload": (lambda: asyncio.run(awaited_upload()), bytes(data)),
        "awaited stream": (lambda: asyncio.run(awaited_stream()), source_bytes(large)),
        "invoke_agent": (lambda: invoke_agent(f"{url}/echo", "POST", '{"x-test": "1"}', text), text.decode()),
        "invoke_agent_async": (lambda: bytes(asyncio.run(as_coroutine()).body), text),
        "invoke_many": (many, text),
        "document": (lambda: Document(text)["a"].value(), 1),
        "awaited document": (lambda: asyncio.run(awaited_document()), 1),
        "peek": (lambda: Document.peek(text, "/a"), 1),
        "numpy": (lambda: Document(b"[1, 2]").numpy("u1").tobytes(), bytes([1, 2])),
        "columns": (lambda: Document(b'[{"a": 1}]').columns(["a"])["a"].tolist(), [1]),
        "base64 part": (lambda: bytes(Document(b'"QQ=="').base64()), b"A"),
        "splice": (lambda: bytes(Document(text).splice({"/a": b"2"})), b'{"a": 2}'),
        "loads": (lambda: loads(text), {"a": 1}),
        "awaited loads": (lambda: asyncio.run(awaited_loads()), {"a": 1}),
    }

    async def awaited_document():
        return (await Document.open_async(text)).at("/a").value()

    async def awaited_loads():
        return await loads_async(text)

    async def as_coroutine():
        return await invoke_agent_async(f"{url}/echo", text, timeouts=patient)

    def round_of_all():
        outcomes = {}
        for name, (call, expected) in calls.items():
            try:
                outcomes[name] = "right" if call() == expected else "wrong"
            except BaseException as error:
                outcomes[name] = type(error).__name__
        return outcomes

    first = round_of_all()
    second = round_of_all()
    wait_until(lambda: exports_live() == 0)
    data.extend(b"mine again")
    print(json.dumps({"first": first, "second": second}))
"""


def outcomes(agent: NativeServer, failpoints: str) -> dict[str, dict[str, str]]:
    """What became of each call of two rounds with `failpoints` set; the process itself must end well."""
    with tempfile.TemporaryDirectory() as directory:
        environment = {"FAILPOINTS": failpoints}
        finished = run_python(EVERYTHING, agent.url, directory, env=environment, timeout=PROGRAM_SECONDS)
    assert finished.returncode == 0, finished.stderr
    told: dict[str, Any] = json.loads(finished.stdout.splitlines()[-1])
    return told


def test_without_a_panic_every_call_is_right(agent: NativeServer) -> None:
    told = outcomes(agent, "")
    assert {name: outcome for name, outcome in told["first"].items() if outcome != "right"} == {}
    assert told["second"] == told["first"]


def test_there_are_points_enough() -> None:
    assert len(POINTS) >= 20, "build with the feature that has the fail points (see CONTRIBUTING.md)"
    assert len(set(POINTS)) == len(POINTS)


@pytest.mark.parametrize("point", POINTS)
def test_one_panic_is_one_typed_error_and_the_next_call_works(point: str, agent: NativeServer) -> None:
    told = outcomes(agent, f"{point}=1*panic")
    failed = {name: outcome for name, outcome in told["first"].items() if outcome != "right"}
    assert list(failed.values()) == ["InternalError"], "the point was not reached, or hit more than one call"
    assert set(told["second"].values()) == {"right"}


@pytest.mark.parametrize("point", POINTS)
def test_a_panic_each_time_is_a_typed_error_each_time(point: str, agent: NativeServer) -> None:
    told = outcomes(agent, f"{point}=panic")
    assert set(told["first"].values()) <= {"right", "InternalError"}
    assert told["second"] == told["first"]
