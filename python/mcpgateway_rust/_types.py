"""Plain values that callers pass in and get back."""

from __future__ import annotations

import re
from collections.abc import AsyncIterable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from numbers import Integral, Real
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypedDict

if TYPE_CHECKING:
    from mcpgateway_rust._native import Payload

# `collections.abc.Buffer` (PEP 688) is Python 3.12's; until then any exporter is `Any` to a type checker.
Buffer: TypeAlias = Any
HeadersLike: TypeAlias = "Headers | Mapping[str, str] | Iterable[tuple[str, str]]"
Body: TypeAlias = "Buffer | Payload | Iterable[Buffer] | AsyncIterable[Buffer] | None"
Mutation: TypeAlias = Literal["borrow", "snapshot", "detect"]
FilePath: TypeAlias = "str | PathLike[str]"
GuardEntry: TypeAlias = str | IPv4Address | IPv6Address | IPv4Network | IPv6Network

# A year, so that deadlines can be added up.
_MOST_SECONDS = 365 * 24 * 3600.0
_MOST_BYTES = (1 << 63) - 1
_MOST_ATTEMPTS = (1 << 32) - 1
_SECRET_HEADER = re.compile(r"auth|cookie|key|secret|session|token", re.IGNORECASE)


def _check_seconds(name: str, seconds: object) -> None:
    if not isinstance(seconds, Real) or not 0 < float(seconds) <= _MOST_SECONDS:
        raise ValueError(f"{name}={seconds!r}: pass seconds above 0 and at most a year")


def _check_count(name: str, count: object, most: int) -> None:
    if not isinstance(count, Integral) or not 0 <= int(count) <= most:
        raise ValueError(f"{name}={count!r}: pass a whole number from 0 to {most}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Timeouts:
    """How long each part of a call may take, in seconds. None means that only `total` bounds it.

    Attributes:
        connect: To look up the host, connect and agree on TLS. Set for a client, not for a call.
        first_byte: From the last byte of the request to the head of the reply.
        idle: Without a byte moving, while the request is sent or the reply is received.
        total: For the whole call, with all its attempts and redirects.

    Raises:
        ValueError: One of them is not above 0 and at most a year; `total` is None.
    """

    connect: float | None = 10.0
    first_byte: float | None = 60.0
    idle: float | None = 60.0
    total: float = 600.0

    def __post_init__(self) -> None:
        for name in ("connect", "first_byte", "idle"):
            if getattr(self, name) is not None:
                _check_seconds(name, getattr(self, name))
        _check_seconds("total", self.total)


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """How much of a reply is accepted.

    Attributes:
        max_response_bytes: Bytes of the body, on the wire and after decoding.
        max_header_bytes: Bytes of all header names and values. A request can only lower what its client allows.
        max_headers: Number of headers. Likewise.
        max_decoded_ratio: Decoded bytes for each byte on the wire, beyond a first mebibyte.
        max_event_bytes: Bytes of the data of one server-sent event.

    Raises:
        ValueError: A number of bytes or headers is negative, or the ratio below 1.
    """

    max_response_bytes: int = 4 << 30
    max_header_bytes: int = 256 << 10
    max_headers: int = 256
    max_decoded_ratio: float = 200.0
    max_event_bytes: int = 1 << 30

    def __post_init__(self) -> None:
        for name in ("max_response_bytes", "max_header_bytes", "max_headers", "max_event_bytes"):
            _check_count(name, getattr(self, name), _MOST_BYTES)
        ratio: object = self.max_decoded_ratio
        if not isinstance(ratio, Real) or not float(ratio) >= 1:
            raise ValueError(f"max_decoded_ratio={ratio!r}: pass a number from 1 on")


@dataclass(frozen=True, kw_only=True, slots=True)
class Retry:
    """What is sent again when the connection fails.

    A request of which no byte has left may always be sent again; one that may have been received, only if
    its method is idempotent (RFC 9110, section 9.2.2) or `non_idempotent` vouches for it.

    Attributes:
        attempts: Attempts after the first.
        non_idempotent: Whether a POST or PATCH that may have been received is sent again too.

    Raises:
        ValueError: `attempts` is negative or no whole number.
    """

    attempts: int = 0
    non_idempotent: bool = False

    def __post_init__(self) -> None:
        _check_count("attempts", self.attempts, _MOST_ATTEMPTS)


@dataclass(frozen=True, kw_only=True, slots=True)
class Guard:
    """Which addresses requests may go to: those of the public internet, and others as its lists say.

    What is judged is the address that is about to be connected to, whatever way the URL writes it, for each address
    of a name, at the time of the connection. Refused unless it is allowed: loopback, private, link-local (with the
    metadata of clouds), carrier NAT, multicast, documentation, benchmark and reserved networks, and addresses of
    version 6 that lead to one of them.

    With a proxy it is the proxy that connects. Then all addresses that this process finds for the host have to pass
    before the proxy is asked, and what the proxy finds is for the proxy to judge.

    Attributes:
        allow: Networks (`"10.0.0.0/8"`), addresses, hosts (`"agent.example"`) or all hosts below one (`"*.example"`)
            that requests may go to besides. A host that is allowed may have any address that is not denied.
        deny: The same for what they may not go to. What is on both lists is refused.
        only_from_peers: Whether it holds only for URLs that came from a peer: in an agent card, a part, a link, or a
            redirect to another origin. Without any guard such URLs are guarded by `Guard()`, and those that the caller
            gives are not.

    Raises:
        TypeError: An entry is no text, address or network. That a text is none of the above is said by the client that
            is given this guard, with `InvalidRequest`.
    """

    allow: Iterable[GuardEntry] = ()
    deny: Iterable[GuardEntry] = ()
    only_from_peers: bool = False

    def __post_init__(self) -> None:
        for name in ("allow", "deny"):
            given: object = getattr(self, name)
            if isinstance(given, str) or not isinstance(given, Iterable):
                raise TypeError(f'{name}={given!r}: pass several, such as ["10.0.0.0/8", "agent.example"]')
            entries = tuple(given)
            wrong = [entry for entry in entries if not isinstance(entry, GuardEntry)]
            if wrong:
                raise TypeError(f"{name} has {wrong[0]!r}: pass a str, or an address or network of ipaddress")
            object.__setattr__(self, name, tuple(map(str, entries)))


class Headers(Mapping[str, str]):
    """Headers by name, whatever its case; repeated names are kept.

    `headers["x"]` joins repeated values by a comma, as RFC 9110 (section 5.3) allows; `get_list` does not.
    """

    __slots__ = ("_pairs",)

    def __init__(self, pairs: Iterable[tuple[str, str]] = ()) -> None:
        self._pairs = list(pairs)

    def get_list(self, name: str) -> list[str]:
        """All values of `name`, in the order they came."""
        wanted = name.lower()
        return [value for key, value in self._pairs if key.lower() == wanted]

    def multi_items(self) -> list[tuple[str, str]]:
        """All pairs, in the order they came."""
        return list(self._pairs)

    def __getitem__(self, name: str) -> str:
        values = self.get_list(name)
        if not values:
            raise KeyError(name)
        return ", ".join(values)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and bool(self.get_list(name))

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(key.lower() for key, _ in self._pairs))

    def __len__(self) -> int:
        return len({key.lower() for key, _ in self._pairs})

    def __repr__(self) -> str:
        """The pairs, without the values of headers that may hold a secret."""
        shown = [(name, "[redacted]" if _SECRET_HEADER.search(name) else value) for name, value in self._pairs]
        return f"Headers({shown!r})"


class Usage(TypedDict):
    """Bytes in use.

    Attributes:
        memory: Of payloads in memory.
        disk: Of payloads in files.
    """

    memory: int
    disk: int


class SpoolStats(TypedDict):
    """What a spool holds where.

    Attributes:
        directory: What its workers have in common.
        directory_in_memory: Whether files there are kept in memory, where they do not relieve it.
        memory_budget: Bytes of memory for all workers.
        disk_budget: Bytes of disk for all workers.
        tenant_memory: The part of `memory_budget` that the tenant may have.
        tenant_disk: The part of `disk_budget` that the tenant may have.
        used: What all workers hold, and the durable payloads.
        used_here: What this process holds.
        shares: Payloads that this process shares now.
    """

    directory: Path
    directory_in_memory: bool
    memory_budget: int
    disk_budget: int
    tenant_memory: int
    tenant_disk: int
    used: Usage
    used_here: Usage
    shares: int


class SweepReport(TypedDict):
    """What a sweep removed.

    Attributes:
        workers: Dead workers whose part of the budget was given back.
        returned: The bytes they held.
        payloads: Durable payloads that had expired.
        payload_bytes: Bytes of these payloads.
        files: Leases, sockets and half-written files of dead workers.
    """

    workers: int
    returned: Usage
    payloads: int
    payload_bytes: int
    files: int


class Worker(TypedDict):
    """A worker of a spool directory, and what it holds.

    Attributes:
        id: Its id in this directory.
        pid: Its process, as it sees itself.
        tenant: Whose payloads it spools; empty if that is not known any more.
        alive: Whether it lives: what a dead one holds is given back by the next sweep.
        used: The bytes it holds.
    """

    id: str
    pid: int
    tenant: str
    alive: bool
    used: Usage


class DurablePayload(TypedDict):
    """A payload in a file that outlives its worker.

    Attributes:
        id: Its id.
        bytes: Bytes of its file.
        expires: When it is removed, in seconds since 1970.
    """

    id: str
    bytes: int
    expires: float


class Listing(TypedDict):
    """What a spool directory holds.

    Attributes:
        workers: Living and dead.
        payloads: The durable ones.
        partial_files: Half-written files.
        foreign_files: Files that are none of ours; they are left alone.
    """

    workers: list[Worker]
    payloads: list[DurablePayload]
    partial_files: int
    foreign_files: int
