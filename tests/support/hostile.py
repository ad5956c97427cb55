"""A server and a proxy that misbehave on purpose and remember everything: the oracle for lost, doubled and torn.

A scenario is a list of steps, or a function that drives the `Connection` itself. It runs once per connection, in a
thread of its own:

    with HostileServer([ReadRequest(), Send(response(b"a reply")), Drain()]) as server:
        ...                                   # call server.url
        server.wait_for("peer_closed")        # what happened, and when

Events, in the order they can happen: `connected`, `request_head`, `request_body`, `sent`, `blocked` (the peer does not
read), `stalled`, `half_closed`, `closed`, `reset` (by us), `peer_closed`, `peer_reset` (by the peer), `failed`
(the scenario itself is wrong: `HostileServer.__exit__` raises it).
"""

import random
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol, Self

BOUND_SECONDS = 10.0  # how long a test waits for an event, and a step for its peer
CONCURRENT_CONNECTIONS = 512
RECEIVE_BYTES = 1 << 18
BLOCKED_AFTER_SECONDS = 0.3  # a send that could not go on for this long is an event: `blocked`
HEAD_END = b"\r\n\r\n"
PEER_GONE = select.POLLHUP | select.POLLERR | select.POLLRDHUP


class PeerGoneError(Exception):
    """The peer closed or reset the connection: the scenario ends here."""


class ServerStoppedError(Exception):
    """The test is over: the scenario ends here."""


@dataclass(frozen=True)
class Event:
    """Something that happened on connection number `connection` at `at` (seconds of `time.monotonic`)."""

    name: str
    at: float
    connection: int
    detail: str = ""


class EventLog:
    """Events in order, and a way to wait for them."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._events: list[Event] = []

    def record(self, name: str, connection: int, detail: str = "") -> None:
        with self._changed:
            self._events.append(Event(name, time.monotonic(), connection, detail))
            self._changed.notify_all()

    def named(self, *names: str) -> list[Event]:
        with self._changed:
            return [event for event in self._events if event.name in names]

    def wait_for(self, *names: str, count: int = 1, timeout: float = BOUND_SECONDS) -> Event:
        """Wait until `count` events with one of `names` have happened and return the last of these.

        Raises:
            AssertionError: `timeout` seconds passed first; says what did happen.
        """
        with self._changed:
            happened = self._changed.wait_for(lambda: self._count(names) >= count, timeout)
            if not happened:
                seen = [event.name for event in self._events]
                raise AssertionError(
                    f"no {count} x {'/'.join(names)} within {timeout} s; the last events: {seen[-20:]}"
                )
            return [event for event in self._events if event.name in names][count - 1]

    def _count(self, names: tuple[str, ...]) -> int:
        return sum(event.name in names for event in self._events)


class Signal:
    """A `threading.Event` that `poll` can wait for beside a socket."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._reader, self._writer = socket.socketpair()

    def set(self) -> None:
        if not self._event.is_set():
            self._event.set()
            self._writer.send(b"!")

    def is_set(self) -> bool:
        return self._event.is_set()

    def wait(self, timeout: float) -> bool:
        return self._event.wait(timeout)

    def fileno(self) -> int:
        return self._reader.fileno()

    def close(self) -> None:
        self._reader.close()
        self._writer.close()


@dataclass(frozen=True)
class RequestHead:
    """The first line and the headers of a request, exactly as they came."""

    raw: bytes

    @property
    def method(self) -> str:
        return self._first_line()[0]

    @property
    def target(self) -> str:
        return self._first_line()[1]

    @property
    def headers(self) -> list[tuple[str, str]]:
        lines = self.raw.decode("latin-1").rstrip("\r\n").split("\r\n")[1:]
        return [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]

    def header(self, name: str) -> str | None:
        """The first value of header `name`, or None."""
        return next((value for key, value in self.headers if key == name.lower()), None)

    def _first_line(self) -> list[str]:
        return self.raw.split(b"\r\n", 1)[0].decode("latin-1").split(" ")


class Connection:
    """One accepted connection: the verbs of a scenario, and the record of what came in."""

    def __init__(self, sock: socket.socket, index: int, log: EventLog, stopped: Signal, released: Signal) -> None:
        self.index = index
        self.received = bytearray()
        self.sent_bytes = 0
        self.heads: list[RequestHead] = []
        self.bodies: list[bytes] = []
        self._sock = sock
        self._log = log
        self._stopped = stopped
        self._released = released
        self._unread = bytearray()  # received, and not yet taken by a step
        self._blocked_reported = False
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    # ---- reading

    def read_head(self) -> RequestHead:
        """Read up to the blank line after the headers."""
        while (end := self._unread.find(HEAD_END)) < 0:
            self._receive()
        head = RequestHead(self._take(end + len(HEAD_END)))
        self.heads.append(head)
        self.event("request_head", f"{head.method} {head.target}")
        return head

    def read_bytes(self, count: int) -> bytes:
        """Read exactly `count` bytes."""
        while len(self._unread) < count:
            self._receive()
        return self._take(count)

    def read_body(self) -> bytes:
        """Read the whole body that the last head announced, taken out of its chunks."""
        head = self.heads[-1]
        if (head.header("transfer-encoding") or "").lower() == "chunked":
            body = b"".join(self._chunks())
        else:
            body = self.read_bytes(int(head.header("content-length") or 0))
        self.bodies.append(body)
        self.event("request_body", str(len(body)))
        return body

    def drain(self) -> None:
        """Read and record until the peer is gone."""
        while True:
            self._receive()
            self._unread.clear()

    # ---- writing

    def send(self, data: bytes | bytearray | memoryview, *, piece: int | None = None) -> None:
        """Send `data`, `piece` bytes at a time if given."""
        view = memoryview(data)
        for start in range(0, len(view), piece or max(1, len(view))):
            self._send_all(view[start : start + piece] if piece else view)
        self.event("sent", str(len(view)))

    def send_forever(self, data: bytes) -> None:
        """Send `data` again and again until the peer is gone."""
        while True:
            self._send_all(memoryview(data))

    # ---- time

    def wait(self, seconds: float) -> None:
        """Let `seconds` pass, with the connection open and nothing read."""
        if self._stopped.wait(seconds):
            raise ServerStoppedError

    def stall(self) -> None:
        """Do nothing until the test calls `release()` or the peer is gone; unread bytes stay unread."""
        self.event("stalled")
        while not self._released.is_set():
            if self._poll(0, also=self._released):
                self._peer_is_gone()

    def idle(self, seconds: float) -> bool:
        """Wait for the next request; False if none began within `seconds`."""
        if not self._unread:
            ready = self._poll(select.POLLIN, timeout=seconds)
            if not ready:
                return False
            self._receive()
        return True

    # ---- ending

    def half_close(self) -> None:
        """Say that nothing more will be sent; reading goes on."""
        self._sock.shutdown(socket.SHUT_WR)
        self.event("half_closed")

    def reset(self) -> None:
        """End the connection by RST: what the peer had not read yet is lost to it."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._sock.close()
        self.event("reset")

    def close(self) -> None:
        """End the connection in good order, if it is still open."""
        if self._sock.fileno() >= 0:
            self._sock.close()
            self.event("closed")

    def event(self, name: str, detail: str = "") -> None:
        """Record that something happened; a scenario may have names of its own."""
        self._log.record(name, self.index, detail)

    # ---- how

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self._line().split(b";")[0], 16):
            yield self.read_bytes(size)
            self._line()
        while self._line():
            pass  # trailers

    def _line(self) -> bytes:
        while (end := self._unread.find(b"\r\n")) < 0:
            self._receive()
        return self._take(end + 2)[:-2]

    def _take(self, count: int) -> bytes:
        taken = bytes(self._unread[:count])
        del self._unread[:count]
        return taken

    def _receive(self) -> None:
        while True:
            try:
                data = self._sock.recv(RECEIVE_BYTES)
            except BlockingIOError:
                self._poll(select.POLLIN)
                continue
            except (ConnectionError, TimeoutError) as error:
                self.event("peer_reset", str(error))
                raise PeerGoneError from error
            if not data:
                self.event("peer_closed")
                raise PeerGoneError
            self.received += data
            self._unread += data
            return

    def _send_all(self, view: memoryview) -> None:
        while view:
            try:
                count = self._sock.send(view)
            except BlockingIOError:
                self._until_writable()
                continue
            except (ConnectionError, TimeoutError) as error:
                self.event("peer_reset", str(error))
                raise PeerGoneError from error
            self.sent_bytes += count
            view = view[count:]

    def _until_writable(self) -> None:
        if self._poll(select.POLLOUT, timeout=BLOCKED_AFTER_SECONDS):
            return
        if not self._blocked_reported:
            self._blocked_reported = True
            self.event("blocked", str(self.sent_bytes))
        self._poll(select.POLLOUT)

    def _peer_is_gone(self) -> None:
        error = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        self.event("peer_reset" if error else "peer_closed")
        raise PeerGoneError

    def _poll(self, wanted: int, *, timeout: float | None = None, also: Signal | None = None) -> bool:
        """Wait for the socket; True if it is ready (or its peer gone), False if time is up or `also` was set."""
        poll = select.poll()
        poll.register(self._sock, wanted if wanted else PEER_GONE)
        poll.register(self._stopped, select.POLLIN)
        if also is not None:
            poll.register(also, select.POLLIN)
        ready = dict(poll.poll(None if timeout is None else timeout * 1000))
        if self._stopped.fileno() in ready:
            raise ServerStoppedError
        return self._sock.fileno() in ready


class Step(Protocol):
    """One thing a scenario does to its connection."""

    def run(self, connection: Connection) -> None: ...


@dataclass(frozen=True)
class ReadHead:
    """Read one request head."""

    def run(self, connection: Connection) -> None:
        connection.read_head()


@dataclass(frozen=True)
class ReadBytes:
    """Read `count` bytes of whatever comes."""

    count: int

    def run(self, connection: Connection) -> None:
        connection.read_bytes(self.count)


@dataclass(frozen=True)
class ReadBody:
    """Read the body of the last head, whole."""

    def run(self, connection: Connection) -> None:
        connection.read_body()


@dataclass(frozen=True)
class ReadRequest:
    """Read one request, head and body."""

    def run(self, connection: Connection) -> None:
        connection.read_head()
        connection.read_body()


@dataclass(frozen=True)
class Drain:
    """Read until the peer is gone."""

    def run(self, connection: Connection) -> None:
        connection.drain()


@dataclass(frozen=True)
class Send:
    """Send `data`, in pieces of `piece` bytes if given."""

    data: bytes
    piece: int | None = None

    def run(self, connection: Connection) -> None:
        connection.send(self.data, piece=self.piece)


@dataclass(frozen=True)
class SendForever:
    """Send `data` over and over."""

    data: bytes

    def run(self, connection: Connection) -> None:
        connection.send_forever(self.data)


@dataclass(frozen=True)
class Wait:
    """Let `seconds` pass."""

    seconds: float

    def run(self, connection: Connection) -> None:
        connection.wait(self.seconds)


@dataclass(frozen=True)
class Stall:
    """Neither read nor write until released."""

    def run(self, connection: Connection) -> None:
        connection.stall()


NeverRead = Stall


@dataclass(frozen=True)
class HalfClose:
    """Send FIN and go on reading."""

    def run(self, connection: Connection) -> None:
        connection.half_close()


@dataclass(frozen=True)
class Reset:
    """End by RST."""

    def run(self, connection: Connection) -> None:
        connection.reset()


@dataclass(frozen=True)
class Close:
    """End by FIN."""

    def run(self, connection: Connection) -> None:
        connection.close()


@dataclass(frozen=True)
class Repeat:
    """Do `steps` again and again: `times` times, or until the peer is gone."""

    steps: Sequence[Step]
    times: int | None = None

    def run(self, connection: Connection) -> None:
        done = 0
        while self.times is None or done < self.times:
            for step in self.steps:
                step.run(connection)
            done += 1


Scenario = Sequence[Step] | Callable[[Connection], None]


def response(
    body: bytes = b"", *, status: str = "200 OK", headers: Iterable[tuple[str, str]] = (), length: bool = True
) -> bytes:
    """A well-formed HTTP/1.1 reply, with its Content-Length unless `length` is False."""
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in headers)]
    if length:
        lines.append(f"content-length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + HEAD_END + body


def answer(body: bytes = b"", *, status: str = "200 OK", headers: Iterable[tuple[str, str]] = ()) -> Scenario:
    """A well-behaved scenario: every request on the connection gets the same reply."""
    return [Repeat([ReadRequest(), Send(response(body, status=status, headers=headers))])]


def echo(connection: Connection) -> None:
    """A well-behaved scenario: every request gets its own body back."""
    while True:
        connection.read_head()
        connection.send(response(connection.read_body()))


class HostileServer:
    """Runs `scenario` on every connection to a free loopback port, and keeps the record.

    `receive_buffer` makes the kernel's buffer that small, so that a peer that sends notices early that nobody reads.
    """

    def __init__(
        self,
        scenario: Scenario,
        *,
        receive_buffer: int | None = None,
        concurrent: int = CONCURRENT_CONNECTIONS,
        host: str = "127.0.0.1",
    ) -> None:
        self.connections: list[Connection] = []
        self.log = EventLog()
        self._scenario = scenario
        self._stopped = Signal()
        self._released = Signal()
        self._room = threading.BoundedSemaphore(concurrent)
        self._threads: list[threading.Thread] = []
        self._failures: list[BaseException] = []
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if receive_buffer is not None:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._listener.bind((host, 0))
        self._listener.listen(1024)
        self.host = host
        self.port: int = self._listener.getsockname()[1]

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def received(self) -> bytes:
        """Every byte that came in, connection after connection."""
        return b"".join(bytes(connection.received) for connection in self.connections)

    @property
    def heads(self) -> list[RequestHead]:
        return [head for connection in self.connections for head in connection.heads]

    @property
    def bodies(self) -> list[bytes]:
        return [body for connection in self.connections for body in connection.bodies]

    @property
    def nonces(self) -> list[str]:
        """The `x-nonce` of every request head that came in whole: each may be there once."""
        return [nonce for head in self.heads if (nonce := head.header("x-nonce")) is not None]

    def events(self, *names: str) -> list[Event]:
        return self.log.named(*names)

    def wait_for(self, *names: str, count: int = 1, timeout: float = BOUND_SECONDS) -> Event:
        """See `EventLog.wait_for`."""
        return self.log.wait_for(*names, count=count, timeout=timeout)

    def wait_for_the_end(self, *, count: int = 1, timeout: float = BOUND_SECONDS) -> Event:
        """Wait until `count` connections were ended by the peer, in whichever way."""
        return self.log.wait_for("peer_closed", "peer_reset", count=count, timeout=timeout)

    def release(self) -> None:
        """Let every `Stall`, now and later, go on."""
        self._released.set()

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stopped.set()
        # Twice: the accepting thread may have started another one while the first round waited for it.
        for _ in range(2):
            for thread in list(self._threads):
                thread.join(BOUND_SECONDS)
        self._listener.close()
        for connection in self.connections:
            connection.close()
        self._stopped.close()
        self._released.close()
        if self._failures and error is None:
            raise self._failures[0]

    def _start(self, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, name="hostile", daemon=True)
        self._threads = [other for other in self._threads if other.is_alive()] + [thread]
        thread.start()

    def _accept(self) -> None:
        poll = select.poll()
        poll.register(self._listener, select.POLLIN)
        poll.register(self._stopped, select.POLLIN)
        while not self._stopped.is_set():
            poll.poll()
            if self._stopped.is_set() or not self._room.acquire(timeout=BOUND_SECONDS):
                return
            try:
                sock, _ = self._listener.accept()
            except ConnectionError:
                self._room.release()
                continue
            connection = Connection(sock, len(self.connections), self.log, self._stopped, self._released)
            self.connections.append(connection)
            connection.event("connected")
            self._start(self._serve, connection)

    def _serve(self, connection: Connection) -> None:
        try:
            self._run(connection)
        except (PeerGoneError, ServerStoppedError):
            pass
        except BaseException as error:
            self._failures.append(error)
            connection.event("failed", repr(error))
        finally:
            connection.close()
            self._room.release()

    def _run(self, connection: Connection) -> None:
        if callable(self._scenario):
            self._scenario(connection)
        else:
            for step in self._scenario:
                step.run(connection)


@dataclass
class Tunnel:
    """What a `HostileProxy` carried for one connection."""

    downstream: socket.socket
    upstream: socket.socket
    up: bytearray = field(default_factory=bytearray)
    down: bytearray = field(default_factory=bytearray)


class HostileProxy:
    """Forwards to a real server, byte for byte, until told otherwise.

    `cut_up_after` and `cut_down_after` reset both sides once that many bytes of one connection went up or down;
    `delay` holds each piece back for that many seconds (plus up to `jitter`); `rate` is bytes a second each way;
    `piece` forwards at most so many bytes at a time. `cut()` resets everything now; `hold()` stops the traffic until
    `resume()`. It is a TCP forwarder: use `url` in place of the server's own.
    """

    def __init__(
        self,
        target_port: int,
        *,
        cut_up_after: int | None = None,
        cut_down_after: int | None = None,
        delay: float = 0.0,
        jitter: float = 0.0,
        rate: float | None = None,
        piece: int = RECEIVE_BYTES,
        seed: int = 41,
    ) -> None:
        self.tunnels: list[Tunnel] = []
        self.log = EventLog()
        self._target_port = target_port
        self._cut_after = {"up": cut_up_after, "down": cut_down_after}
        self._delay = delay
        self._jitter = jitter
        self._rate = rate
        self._piece = piece
        self._random = random.Random(seed)
        self._stopped = threading.Event()
        self._flowing = threading.Event()
        self._flowing.set()
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port: int = self._listener.getsockname()[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def hold(self) -> None:
        self._flowing.clear()

    def resume(self) -> None:
        self._flowing.set()

    def cut(self) -> None:
        """Reset every connection, both sides."""
        for number, tunnel in enumerate(self.tunnels):
            self._cut(number, tunnel)

    def wait_for(self, *names: str, count: int = 1, timeout: float = BOUND_SECONDS) -> Event:
        """Events: `connected`, `cut`, `closed_up` (the client ended its side), `closed_down` (the server did)."""
        return self.log.wait_for(*names, count=count, timeout=timeout)

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._flowing.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        for tunnel in self.tunnels:
            for sock in (tunnel.downstream, tunnel.upstream):
                with _already_closed_is_fine():
                    sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(BOUND_SECONDS)
        self._listener.close()
        for tunnel in self.tunnels:
            tunnel.downstream.close()
            tunnel.upstream.close()

    def _start(self, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, name="hostile-proxy", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with _already_closed_is_fine():
            while not self._stopped.is_set():
                downstream, _ = self._listener.accept()
                tunnel = Tunnel(downstream, socket.create_connection(("127.0.0.1", self._target_port)))
                number = len(self.tunnels)
                self.tunnels.append(tunnel)
                self.log.record("connected", number)
                self._start(self._pump, number, tunnel, "up")
                self._start(self._pump, number, tunnel, "down")

    def _pump(self, number: int, tunnel: Tunnel, direction: str) -> None:
        source, sink, carried = tunnel.downstream, tunnel.upstream, tunnel.up
        if direction == "down":
            source, sink, carried = tunnel.upstream, tunnel.downstream, tunnel.down
        limit = self._cut_after[direction]
        with _already_closed_is_fine():
            while data := source.recv(self._piece if limit is None else min(self._piece, limit - len(carried))):
                self._flowing.wait()
                self._stopped.wait(self._pause(len(data)))
                sink.sendall(data)
                carried += data
                if limit is not None and len(carried) >= limit:
                    self._cut(number, tunnel)
                    return
            sink.shutdown(socket.SHUT_WR)
        self.log.record(f"closed_{direction}", number)

    def _pause(self, count: int) -> float:
        pause = self._delay + self._jitter * self._random.random()
        return pause if self._rate is None else pause + count / self._rate

    def _cut(self, number: int, tunnel: Tunnel) -> None:
        for sock in (tunnel.downstream, tunnel.upstream):
            with _already_closed_is_fine():
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                sock.shutdown(socket.SHUT_RD)  # wakes the other pump
                sock.close()
        self.log.record("cut", number)


def _already_closed_is_fine() -> suppress:
    return suppress(OSError)


@contextmanager
def full_backlog() -> Iterator[str]:
    """The URL of a port whose queue of connections is full: the next connect gets no answer at all."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        fillers: list[socket.socket] = []
        try:
            while True:
                filler = socket.socket()
                fillers.append(filler)
                filler.settimeout(0.2)
                try:
                    filler.connect(address)
                except TimeoutError:
                    break
            yield f"http://127.0.0.1:{address[1]}"
        finally:
            for filler in fillers:
                filler.close()


def closed_port() -> int:
    """A loopback port at which nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port
