"""Processes and interpreters: fork, Ctrl-C, the end of the interpreter, sub-interpreters, a GIL that is held.

Each test runs programs in processes of their own: what it is about is what happens to a whole process.
"""

import json
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from mcpgateway_rust import Client, Timeouts
from mcpgateway_rust.exceptions import GatewayTimeout
from support.hostile import (
    Drain,
    HostileServer,
    ReadBytes,
    ReadHead,
    ReadRequest,
    Scenario,
    Send,
    Stall,
    full_backlog,
)
from support.native_server import NativeServer
from support.process import run_python, start_python

CHILD_SECONDS = 30.0
FORKING = {"PYTHONWARNINGS": "ignore::DeprecationWarning"}  # from 3.12 on, a fork beside threads is one
FIRST_CALL_SECONDS = 5.0  # the aim is 1: a loaded machine forks slowly
INTERRUPTED_WITHIN_SECONDS = 1.0  # the aim is 0.1: the bench reports the real figure


def reported(finished: subprocess.CompletedProcess[str]) -> Any:
    """What a program printed as its last line, after it ended well."""
    assert (finished.returncode, finished.stderr) == (0, "")
    return json.loads(finished.stdout.splitlines()[-1])


# ---- fork

FORKS = """
    import hashlib, json, os, sys, threading, time
    from mcpgateway_rust import Client
    from support.source import source_bytes

    url, forks, transfers = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    size = 8 << 20
    body = source_bytes(size)
    digest = hashlib.sha256(body).hexdigest()
    client = Client()
    assert bytes(client.get(f"{url}/source/1000").body) == body[:1000]

    failures = []
    ended = threading.Event()
    done = [0] * 4

    def transfer(number):
        while done[number] < transfers or not ended.is_set():
            reply = json.loads(client.post(f"{url}/sink", body).text)
            if reply != {"bytes": size, "sha256": digest}:
                failures.append(reply)
            done[number] += 1

    threads = [threading.Thread(target=transfer, args=(n,)) for n in range(len(done))]
    for thread in threads:
        thread.start()

    longest = 0.0
    for number in range(forks):
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            status = 1
            try:
                started = time.monotonic()
                user = client if number % 2 else Client()
                reply = user.post(f"{url}/echo", body[:100_000 + number])
                assert bytes(reply.body) == body[:100_000 + number]
                os.write(writer, repr(time.monotonic() - started).encode())
                status = 0
            finally:
                os._exit(status)
        os.close(writer)
        with open(reader) as pipe:
            told = pipe.read()
        _, status = os.waitpid(child, 0)
        if status or not told:
            failures.append(f"child {number} ended with {status}")
        else:
            longest = max(longest, float(told))
    ended.set()
    for thread in threads:
        thread.join()
    print(json.dumps({"failures": failures, "longest": longest}))
"""


@pytest.mark.parametrize(
    ("forks", "transfers"), [(20, 5), pytest.param(200, 25, marks=pytest.mark.soak)], ids=["20", "200"]
)
def test_a_forked_child_calls_at_once_and_the_parents_transfers_stay_whole(
    forks: int, transfers: int, agent: NativeServer
) -> None:
    told = reported(run_python(FORKS, agent.url, forks, transfers, env=FORKING, timeout=CHILD_SECONDS + forks))
    assert told["failures"] == []
    assert told["longest"] < FIRST_CALL_SECONDS


FORK_IN_LOOP = """
    import asyncio, os, sys
    from mcpgateway_rust import AsyncClient

    url = sys.argv[1]
    client = AsyncClient()

    async def call():
        return len((await client.get(f"{url}/source/1000")).body)

    def child():
        status = 1
        try:
            asyncio.events._set_running_loop(None)
            loop = asyncio.new_event_loop()
            status = 0 if loop.run_until_complete(call()) == 1000 else 2
        finally:
            os._exit(status)

    async def parent():
        waiting = [asyncio.create_task(call()) for _ in range(20)]
        await asyncio.sleep(0)
        pid = os.fork()
        if pid == 0:
            child()
        lengths = await asyncio.gather(*waiting)
        _, status = os.waitpid(pid, 0)
        return [status, lengths == [1000] * 20]

    print(str(asyncio.run(parent())).lower())
"""


def test_a_child_forked_within_a_loop_makes_a_loop_of_its_own(agent: NativeServer) -> None:
    assert reported(run_python(FORK_IN_LOOP, agent.url, env=FORKING, timeout=CHILD_SECONDS)) == [0, True]


HANDLE_IN_FLIGHT = """
    import json, os, sys
    from mcpgateway_rust import Client
    from mcpgateway_rust.exceptions import ForkedError

    url = sys.argv[1]
    with Client().stream("GET", f"{url}/source/{64 << 20}") as reply:
        chunks = iter(reply.iter_bytes())
        total = len(next(chunks))
        child = os.fork()
        if child == 0:
            status = 1
            try:
                next(chunks)
            except ForkedError as error:
                status = 0 if not error.retryable else 2
            finally:
                os._exit(status)
        _, status = os.waitpid(child, 0)
        total += sum(len(chunk) for chunk in chunks)
    print(json.dumps([status, total]))
"""


def test_a_stream_in_flight_is_a_forked_error_in_the_child_and_whole_in_the_parent(agent: NativeServer) -> None:
    assert reported(run_python(HANDLE_IN_FLIGHT, agent.url, env=FORKING, timeout=CHILD_SECONDS)) == [0, 64 << 20]


BATCH_IN_FLIGHT = """
    import json, os, sys
    from mcpgateway_rust.exceptions import ForkedError
    from mcpgateway_rust.services.a2a_service import invoke_many

    url = sys.argv[1]
    batch = iter(invoke_many(f"{url}/echo", [bytes([n % 256]) for n in range(5_000)], concurrency=2))
    index, first = next(batch)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            for _ in batch:
                pass
        except ForkedError:
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    print(json.dumps([status, 1 + sum(1 for _ in batch)]))
"""


def test_a_batch_in_flight_is_a_forked_error_in_the_child_and_whole_in_the_parent(agent: NativeServer) -> None:
    assert reported(run_python(BATCH_IN_FLIGHT, agent.url, env=FORKING, timeout=CHILD_SECONDS)) == [0, 5_000]


MULTIPROCESSING = """
    import hashlib, json, multiprocessing, sys
    from mcpgateway_rust import Client
    from mcpgateway_rust.services.a2a_service import invoke_agent

    url = sys.argv[1]
    invoke_agent(f"{url}/echo", "POST", "{}", b"1")     # the runtime lives before the workers do, as with --preload

    def work(number):
        return json.loads(invoke_agent(f"{url}/echo", "POST", "{}", str(number).encode()))

    if __name__ == "__main__":
        with multiprocessing.get_context("fork").Pool(4) as pool:
            print(json.dumps(pool.map(work, range(100))))
"""


def test_workers_of_a_preloaded_parent_all_work(agent: NativeServer) -> None:
    assert reported(run_python(MULTIPROCESSING, agent.url, env=FORKING, timeout=CHILD_SECONDS)) == list(range(100))


FORKED_PAYLOADS = """
    import gc, json, os, sys
    from mcpgateway_rust import Client, Payload, exports_live

    url = sys.argv[1]
    data = bytearray(8 << 20)
    held = Payload(data)
    reply = Client().get(f"{url}/source/{16 << 20}").body
    before = bytes(reply[:100])
    child = os.fork()
    if child == 0:
        status = 1
        try:
            assert bytes(reply[:100]) == before and len(held) == len(data)
            del held, reply
            gc.collect()
            data.extend(b"the child's own")
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    print(json.dumps([status, bytes(reply[:100]) == before, len(held), exports_live()]))
"""


def test_payloads_are_readable_and_let_go_on_both_sides_of_a_fork(agent: NativeServer) -> None:
    assert reported(run_python(FORKED_PAYLOADS, agent.url, env=FORKING, timeout=CHILD_SECONDS)) == [0, True, 8 << 20, 1]


# ---- Ctrl-C

INTERRUPTED = """
    import json, sys, time
    from mcpgateway_rust import AsyncClient, Client, Timeouts, exports_live
    from mcpgateway_rust.services.a2a_service import A2AClient, invoke_agent, invoke_many

    what, url = sys.argv[1:]
    patient = Timeouts(connect=60, first_byte=60, idle=60, total=120)
    data = bytearray(32 << 20)

    def stream():
        with Client(timeouts=patient).stream("POST", url, body=data) as reply:
            for _ in reply.iter_bytes():
                pass

    def upload():
        def chunks():
            while True:
                yield bytes(1 << 20)
        Client(timeouts=patient).post(url, chunks())

    calls = {
        "client": lambda: Client(timeouts=patient).post(url, data),
        "stream": stream,
        "iterator": upload,
        "into": lambda: Client(timeouts=patient).post(url, b"x", into=data),
        "invoke_agent": lambda: invoke_agent(url, "POST", "{}", bytes(data)),
        "invoke_many": lambda: [None for _ in invoke_many(url, [data] * 50, concurrency=4, timeouts=patient)],
        "a2a client": lambda: A2AClient(url, timeouts=patient).invoke(data),
    }
    try:
        print("ready", flush=True)
        calls[what]()
    except KeyboardInterrupt:
        caught = time.monotonic()
        while exports_live() and time.monotonic() - caught < 5:
            time.sleep(0.001)
        live = exports_live()
        data.extend(b"mine again")
        print(json.dumps({"caught": caught, "live": live, "data": len(data)}))
"""

HALF = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf"
INTERRUPTIONS: dict[str, tuple[str, Scenario]] = {
    "never read": ("client", [ReadHead(), Stall(), Drain()]),
    "no reply": ("client", [ReadRequest(), Stall(), Drain()]),
    "half a reply": ("client", [ReadRequest(), Send(HALF), Stall(), Drain()]),
    "TLS handshake": ("client", [ReadBytes(1), Stall(), Drain()]),
    "half a stream": ("stream", [ReadRequest(), Send(HALF), Stall(), Drain()]),
    "upload of an iterator": ("iterator", [ReadHead(), Stall(), Drain()]),
    "receiving into a buffer": ("into", [ReadRequest(), Send(HALF), Stall(), Drain()]),
    "invoke_agent": ("invoke_agent", [ReadRequest(), Stall(), Drain()]),
    "invoke_many": ("invoke_many", [ReadRequest(), Stall(), Drain()]),
    "A2AClient": ("a2a client", [ReadRequest(), Stall(), Drain()]),
}


def interrupt(program: subprocess.Popen[str], sent_at: float) -> None:
    """Press Ctrl-C, and check that the program had its KeyboardInterrupt, and its buffer back, at once."""
    program.send_signal(signal.SIGINT)
    out, err = program.communicate(timeout=CHILD_SECONDS)
    assert (program.returncode, err) == (0, "")
    told = json.loads(out.splitlines()[-1])
    assert (told["live"], told["data"]) == (0, (32 << 20) + len(b"mine again"))
    assert told["caught"] - sent_at < INTERRUPTED_WITHIN_SECONDS


@pytest.mark.parametrize("name", INTERRUPTIONS)
def test_ctrl_c_ends_a_blocking_call_at_once(name: str) -> None:
    what, scenario = INTERRUPTIONS[name]
    with HostileServer(scenario) as server:
        url = server.url.replace("http:", "https:") if name == "TLS handshake" else server.url
        program = start_python(INTERRUPTED, what, url)
        interrupt(program, server.wait_for("stalled", timeout=CHILD_SECONDS).at)
        server.release()
        server.wait_for_the_end()


def test_ctrl_c_ends_a_connection_attempt_at_once() -> None:
    with full_backlog() as url:
        program = start_python(INTERRUPTED, "client", url)
        assert program.stdout is not None
        assert program.stdout.readline() == "ready\n"
        interrupt(program, time.monotonic())


RANDOM_INTERRUPTS = """
    import json, os, random, signal, sys, threading, time
    from mcpgateway_rust import Client, exports_live

    url, rounds = sys.argv[1], int(sys.argv[2])
    moments = random.Random(41)
    client = Client()
    data = bytearray(4 << 20)
    longest, interrupted = 0.0, 0
    pressed_at = 0.0

    def press_after(seconds):
        global pressed_at
        never = threading.Event()
        never.wait(seconds)
        pressed_at = time.monotonic()
        os.kill(os.getpid(), signal.SIGINT)

    for _ in range(rounds):
        presser = threading.Thread(target=press_after, args=(moments.random() * 0.2,))
        try:
            presser.start()
            while True:
                client.post(f"{url}/echo", data)
        except KeyboardInterrupt:
            longest = max(longest, time.monotonic() - pressed_at)
            interrupted += 1
        presser.join()
    reply = client.post(f"{url}/echo", data)
    print(json.dumps({"interrupted": interrupted, "longest": longest, "same": bytes(reply.body) == data,
                      "live": exports_live()}))
"""


@pytest.mark.parametrize("rounds", [20, pytest.param(500, marks=pytest.mark.soak)])
def test_ctrl_c_at_random_moments_always_ends_the_call_and_never_the_client(rounds: int, agent: NativeServer) -> None:
    told = reported(run_python(RANDOM_INTERRUPTS, agent.url, rounds, timeout=CHILD_SECONDS + rounds))
    assert (told["interrupted"], told["same"], told["live"]) == (rounds, True, 0)
    assert told["longest"] < INTERRUPTED_WITHIN_SECONDS


OTHER_SIGNAL = """
    import json, signal, sys
    from mcpgateway_rust import Client

    seen = []
    signal.signal(signal.SIGUSR1, lambda number, frame: seen.append(number))
    reply = Client().post(sys.argv[1], b"x")
    print(json.dumps([seen == [signal.SIGUSR1], reply.text]))
"""


def test_a_signal_whose_handler_does_not_raise_leaves_the_call_alone() -> None:
    reply = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone"
    with HostileServer([ReadRequest(), Stall(), Send(reply)]) as server:
        program = start_python(OTHER_SIGNAL, server.url)
        server.wait_for("stalled", timeout=CHILD_SECONDS)
        program.send_signal(signal.SIGUSR1)
        server.release()
        out, err = program.communicate(timeout=CHILD_SECONDS)
    assert (program.returncode, err, json.loads(out)) == (0, "", [True, "done"])


ASYNC_INTERRUPTED = """
    import asyncio, json, sys, time
    from mcpgateway_rust import AsyncClient, exports_live

    data = bytearray(8 << 20)

    async def main():
        async with AsyncClient() as client:
            await client.post(sys.argv[1], data)

    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        caught = time.monotonic()
        while exports_live() and time.monotonic() - caught < 5:
            time.sleep(0.001)
        print(json.dumps({"caught": caught, "live": exports_live()}))
"""


def test_ctrl_c_ends_asyncio_run_at_once() -> None:
    with HostileServer([ReadRequest(), Stall()]) as server:
        program = start_python(ASYNC_INTERRUPTED, server.url)
        stalled_at = server.wait_for("stalled", timeout=CHILD_SECONDS).at
        program.send_signal(signal.SIGINT)
        out, err = program.communicate(timeout=CHILD_SECONDS)
    told = json.loads(out)
    assert (program.returncode, err, told["live"]) == (0, "", 0)
    assert told["caught"] - stalled_at < INTERRUPTED_WITHIN_SECONDS


# ---- the interpreter ends

EXITS = """
    import asyncio, random, sys, threading
    from mcpgateway_rust import AsyncClient, Client
    from mcpgateway_rust.exceptions import GatewayError
    from mcpgateway_rust.services.a2a_service import invoke_many

    url, stalled_url, way, seed = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
    data = bytearray(4 << 20)
    client = Client()

    def blocking(target):
        while True:
            client.post(f"{target}/echo", data)

    def streaming(target):
        while True:
            with client.stream("GET", f"{url}/source/{64 << 20}") as reply:
                for _ in reply.iter_bytes():
                    pass

    def many(target):
        while True:
            for _ in invoke_many(f"{target}/echo", [b"x" * 1000] * 1000):
                pass

    def awaiting(target):
        async def main():
            async with AsyncClient() as client:
                await asyncio.gather(*(client.post(f"{target}/echo", data) for _ in range(20)))
        while True:
            asyncio.run(main())

    work = {"blocking": blocking, "streaming": streaming, "many": many, "awaiting": awaiting}[way]

    def until_the_end(target):
        try:
            work(target)
        except GatewayError:
            pass  # a call may be told that the interpreter ends

    for target in (url, url, stalled_url):
        threading.Thread(target=until_the_end, args=(target,), daemon=True).start()
    threading.Event().wait(random.Random(seed).random() * 0.2)
    sys.exit(7)
"""


@pytest.mark.parametrize("way", ["blocking", "streaming", "many", "awaiting"])
@pytest.mark.parametrize("processes", [10, pytest.param(125, marks=pytest.mark.soak)])
def test_an_exit_with_calls_in_flight_is_clean(processes: int, way: str, agent: NativeServer) -> None:
    """Each process ends at a random moment of its own."""
    with HostileServer([ReadRequest(), Stall()]) as stalled, ThreadPoolExecutor(2) as pool:

        def end(seed: int) -> tuple[int, str, str]:
            finished = run_python(EXITS, agent.url, stalled.url, way, seed, timeout=CHILD_SECONDS)
            return finished.returncode, finished.stdout, finished.stderr

        assert list(pool.map(end, range(processes))) == [(7, "", "")] * processes


ASYNC_EXITS = """
    import asyncio, sys
    from mcpgateway_rust import AsyncClient

    url, way = sys.argv[1:]
    client = AsyncClient()

    async def main():
        calls = [asyncio.create_task(client.post(url, bytearray(1 << 20))) for _ in range(20)]
        await asyncio.wait(calls, timeout=0.2)
        if way == "exit":
            sys.exit(7)
        if way == "error":
            raise SystemExit(7)

    asyncio.run(main())
    sys.exit(7)
"""


@pytest.mark.parametrize("way", ["return", "exit", "error"])
def test_an_asyncio_run_that_ends_with_calls_in_flight_is_clean(way: str) -> None:
    with HostileServer([ReadRequest(), Stall()]) as server:
        finished = run_python(ASYNC_EXITS, server.url, way, timeout=CHILD_SECONDS)
    assert (finished.returncode, finished.stdout, finished.stderr) == (7, "", "")


AT_EXIT = """
    import atexit, sys
    from mcpgateway_rust import Client, Payload

    url = sys.argv[1]
    kept = Payload(bytearray(8 << 20))
    body = Client().get(f"{url}/source/{16 << 20}").body
    view = memoryview(body)
    last_words = lambda: print(len(Client().get(f"{url}/source/100").body))
    atexit.register(last_words)

    class Cycle:
        pass

    cycle = Cycle()
    cycle.self, cycle.body, cycle.view, cycle.kept = cycle, body, view, kept
    sys.modules["kept"] = cycle
"""


def test_payloads_and_calls_live_to_the_very_end(agent: NativeServer) -> None:
    finished = run_python(AT_EXIT, agent.url, timeout=CHILD_SECONDS)
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, "100\n", "")


def test_importing_starts_no_thread_and_leaves_signals_alone() -> None:
    told = reported(
        run_python(
            """
            import json, os, signal
            before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE)]
            import mcpgateway_rust
            mcpgateway_rust.Payload(b"the native module is loaded")
            after = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE)]
            print(json.dumps([before == after, len(os.listdir("/proc/self/task"))]))
            """
        )
    )
    assert told == [True, 1]


# ---- sub-interpreters

SUB_INTERPRETER = """
    import textwrap
    try:
        import _interpreters as interpreters
    except ImportError:
        import _xxsubinterpreters as interpreters

    code = '''
    try:
        import mcpgateway_rust._native
    except ImportError as error:
        print("refused:", error, flush=True)
    else:
        print("imported", flush=True)
    '''
    import mcpgateway_rust
    interpreters.run_string(interpreters.create(), textwrap.dedent(code))
    print(len(mcpgateway_rust.Payload(b"the main interpreter works on")), flush=True)
"""


def test_a_sub_interpreter_is_refused_with_an_import_error() -> None:
    finished = run_python(SUB_INTERPRETER)
    assert (finished.returncode, finished.stderr) == (0, "")
    refused, length = finished.stdout.splitlines()
    assert (refused.startswith("refused:"), "interpreter" in refused, length) == (True, True, "29")


# ---- the GIL

GIL_HELD = """
    import asyncio, ctypes, json, sys, threading
    from mcpgateway_rust import AsyncClient, Client, Progress, exports_live
    from support.source import source_bytes
    from support.native_server import sha256
    from support.waiting import wait_until

    url = sys.argv[1]
    holding_the_gil = ctypes.PyDLL(None).usleep   # PyDLL calls without releasing it
    data = bytearray(source_bytes(1 << 20))
    expected = {"bytes": len(data), "sha256": sha256(data)}

    async def send_all():
        async with AsyncClient() as client:
            return await asyncio.gather(*(client.post(f"{url}/sink", data) for _ in range(200)))

    replies = []
    sender = threading.Thread(target=lambda: replies.extend(asyncio.run(send_all())))
    sender.start()
    wait_until(lambda: exports_live() > 0)
    holding_the_gil(500_000)
    sender.join()
    right = sum(json.loads(reply.text) == expected for reply in replies)

    large = bytearray(512 << 20)
    progress = Progress()
    upload = threading.Thread(target=lambda: Client().post(f"{url}/sink", large, progress=progress))
    upload.start()
    wait_until(lambda: progress.sent > 0)
    before = progress.sent
    holding_the_gil(200_000)
    after = progress.sent
    upload.join()

    drained = exports_live()
    data.extend(b"mine again")
    print(json.dumps({"right": right, "went on": after > before, "live": drained}))
"""


def test_sends_go_on_while_a_thread_holds_the_gil(agent: NativeServer) -> None:
    told = reported(run_python(GIL_HELD, agent.url, timeout=60))
    assert told == {"right": 200, "went on": True, "live": 0}


DROPPED = """
    import ctypes, gc, json, sys, threading
    from mcpgateway_rust import Client, exports_live
    from support.waiting import wait_until

    url, rounds = sys.argv[1], int(sys.argv[2])
    holding_the_gil = ctypes.PyDLL(None).usleep
    client = Client()

    def send_and_forget():
        for _ in range(rounds):
            client.post(f"{url}/sink?digest=none", bytearray(2 << 20))     # its last reference is the one in Rust

    threads = [threading.Thread(target=send_and_forget) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        holding_the_gil(5_000)
        threading.Event().wait(0.001)
    wait_until(lambda: exports_live() == 0)
    print(json.dumps(exports_live()))
"""


@pytest.mark.parametrize("rounds", [25, pytest.param(1000, marks=pytest.mark.soak)])
def test_last_references_dropped_while_the_gil_is_held_do_not_deadlock(rounds: int, agent: NativeServer) -> None:
    assert reported(run_python(DROPPED, agent.url, rounds, timeout=CHILD_SECONDS + rounds)) == 0


@contextmanager
def ticking() -> Iterator[list[int]]:
    """A thread that counts for as long as it gets the GIL."""
    counted = [0]
    ended = threading.Event()

    def tick() -> None:
        while not ended.wait(0.001):
            counted[0] += 1

    thread = threading.Thread(target=tick)
    thread.start()
    try:
        yield counted
    finally:
        ended.set()
        thread.join()


def test_a_blocking_call_lets_other_threads_run() -> None:
    with HostileServer([ReadRequest(), Stall()]) as server, ticking() as counted, pytest.raises(GatewayTimeout):
        Client().post(server.url, b"x", timeouts=Timeouts(first_byte=0.5))
    assert counted[0] > 50
