"""Resources of any size, from servers that do ranges well, badly, or not at all."""

import base64
import json
import os
import re
import threading
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from mcpgateway_rust import Guard, Limits, Progress, Timeouts, shm
from mcpgateway_rust.exceptions import (
    AddressRefused,
    ConnectionLost,
    Denied,
    FileError,
    GatewayError,
    GatewayTimeout,
    HTTPStatusError,
    InvalidOption,
    InvalidReply,
    InvalidRequest,
    LimitExceeded,
    ResourceChanged,
    RpcError,
)
from mcpgateway_rust.services.resource_service import (
    AsyncResourceClient,
    Cache,
    ResourceClient,
    expand_template,
    fetch_resource,
    fetch_resource_async,
)
from support.hostile import Connection, HostileServer, RequestHead, answer, response
from support.mcp_peer import McpPeer
from support.mcp_server import RESOURCES, TEMPLATES, sample
from support.nginx import Nginx
from support.source import source_bytes

MIB = 1 << 20
END = b""  # in place of a reply: the connection is closed
SHORT = Timeouts(connect=5, first_byte=5, idle=5, total=20)
BODY = source_bytes(5 * MIB + 123)


@pytest.fixture(scope="module")
def files(nginx: Nginx) -> Nginx:
    (nginx.files / "large.bin").write_bytes(BODY)
    (nginx.files / "small.txt").write_text("a few words")
    (nginx.files / "empty.txt").write_bytes(b"")
    return nginx


def client(**options: Any) -> ResourceClient:
    defaults: dict[str, Any] = {"timeouts": SHORT, "part_bytes": MIB}
    return ResourceClient(**defaults | options)


# ---- a server that does ranges


@pytest.mark.parametrize("streams", [1, 2, 4, 16])
@pytest.mark.parametrize("part_bytes", [MIB, MIB + 1, 5 * MIB + 122, 5 * MIB + 123, 5 * MIB + 124, 64 * MIB])
def test_a_large_resource_arrives_whole_however_it_is_cut(files: Nginx, streams: int, part_bytes: int) -> None:
    with client(streams=streams, part_bytes=part_bytes) as resources:
        resource = resources.fetch(f"{files.url}/files/large.bin")
    assert bytes(resource.body) == BODY
    assert (resource.content_type, len(resource), resource.came_from) == (
        "application/octet-stream",
        len(BODY),
        "network",
    )
    assert resource.etag is not None


def test_all_bytes_are_counted_while_they_come(files: Nginx) -> None:
    progress = Progress()
    with client() as resources:
        resources.fetch(f"{files.url}/files/large.bin", progress=progress)
    assert (progress.received, progress.total_receive) == (len(BODY), len(BODY))


@pytest.mark.parametrize(("name", "body"), [("small.txt", b"a few words"), ("empty.txt", b"")])
async def test_a_small_or_empty_resource_is_one_reply(files: Nginx, name: str, body: bytes) -> None:
    async with AsyncResourceClient(timeouts=SHORT) as resources:
        resource = await resources.fetch(f"{files.url}/files/{name}")
    assert bytes(resource.body) == body
    assert bytes(fetch_resource(f"{files.url}/files/{name}").body) == body
    assert (await fetch_resource_async(f"{files.url}/files/{name}")).text == body.decode()


def test_a_server_without_ranges_is_taken_as_it_is(files: Nginx) -> None:
    with client() as resources:
        assert bytes(resources.fetch(f"{files.url}/no-ranges/large.bin").body) == BODY


def test_a_resource_goes_to_the_spool_of_its_client(files: Nginx, tmp_path: Path) -> None:
    spool = shm.Spool(directory=tmp_path / "spool")
    with client(spool=spool) as resources:
        resource = resources.fetch(f"{files.url}/files/large.bin")
    assert bytes(shm.open(resource.body.share(ttl=60), directory=tmp_path / "spool")) == BODY
    assert spool.stats()["used_here"]["memory"] >= len(BODY)


def test_another_status_is_an_error_that_holds_the_reply(files: Nginx) -> None:
    with client() as resources, pytest.raises(HTTPStatusError) as caught:
        resources.fetch(f"{files.url}/files/none")
    assert (caught.value.response.status, b"404" in bytes(caught.value.response.body)) == (404, True)


@pytest.mark.parametrize("streams", [1, 4])
def test_a_resource_over_its_limit_is_refused(files: Nginx, streams: int) -> None:
    limits = Limits(max_response_bytes=4 * MIB)
    with client(streams=streams) as resources, pytest.raises(LimitExceeded) as caught:
        resources.fetch(f"{files.url}/files/large.bin", limits=limits)
    assert (caught.value.limit, caught.value.value, caught.value.got) == ("max_response_bytes", 4 * MIB, len(BODY))


# ---- servers that do them badly


class Ranges:
    """Serves `BODY` by ranges; `reply` may put another reply in place of the right one for request number `n`."""

    def __init__(self, reply: Callable[[Connection, int, int, int], bytes | None] | None = None) -> None:
        self._reply = reply
        self._lock = threading.Lock()
        self._count = 0
        self.asked: list[tuple[int, int, str | None]] = []

    def __call__(self, connection: Connection) -> None:
        while True:
            head = connection.read_head()
            start, end = asked_range(head)
            with self._lock:
                number, self._count = self._count, self._count + 1
                self.asked.append((start, end, head.header("if-range")))
            other = self._reply(connection, number, start, end) if self._reply else None
            if other == END:
                connection.close()
                return
            right = part(start, end) if head.header("range") else whole()
            connection.send(right if other is None else other)


def asked_range(head: RequestHead) -> tuple[int, int]:
    found = re.fullmatch(r"bytes=(\d+)-(\d*)", head.header("range") or "bytes=0-")
    assert found
    return int(found[1]), min(int(found[2] or len(BODY) - 1) + 1, len(BODY))


def part(start: int, end: int, *, etag: str = '"one"', said: str | None = None) -> bytes:
    said = f"bytes {start}-{end - 1}/{len(BODY)}" if said is None else said
    headers = [(name, value) for name, value in (("etag", etag), ("content-range", said)) if value]
    return response(BODY[start:end], status="206 Partial Content", headers=headers)


def whole(etag: str = '"one"') -> bytes:
    return response(BODY, headers=[("etag", etag)])


def test_every_other_range_is_asked_of_the_same_version() -> None:
    ranges = Ranges()
    with HostileServer(ranges) as server, client() as resources:
        assert bytes(resources.fetch(server.url).body) == BODY
    assert sorted(ranges.asked)[:2] == [(0, MIB, None), (MIB, 2 * MIB, '"one"')]


def torn(connection: Connection, number: int, start: int, end: int) -> bytes | None:
    """Every reply but each third ends in its middle."""
    if number % 3 == 2:
        return None
    reply = part(start, end) if (start, end) != (0, len(BODY)) else whole()
    connection.send(reply[: -(end - start) // 2])
    return END


@pytest.mark.parametrize("streams", [1, 2, 4])
def test_a_transfer_that_breaks_is_resumed_where_it_broke(streams: int) -> None:
    ranges = Ranges(torn)
    with HostileServer(ranges) as server, client(streams=streams) as resources:
        assert bytes(resources.fetch(server.url).body) == BODY
    assert len(ranges.asked) > streams


def test_a_transfer_that_breaks_for_good_is_given_up() -> None:
    def once(_connection: Connection, number: int, _start: int, _end: int) -> bytes | None:
        return END if number else None

    with HostileServer(Ranges(once)) as server, client(resumes=2) as resources, pytest.raises(ConnectionLost):
        resources.fetch(server.url)


def test_without_a_name_for_the_version_nothing_is_resumed_and_all_is_asked_for_at_once() -> None:
    ranges = Ranges(
        lambda _connection, number, start, end: part(start, end, etag="") if number == 0 else response(BODY)
    )
    with HostileServer(ranges) as server, client() as resources:
        assert bytes(resources.fetch(server.url).body) == BODY
    assert [asked[:2] for asked in ranges.asked] == [(0, MIB), (0, len(BODY))]


@pytest.mark.parametrize(
    "changed",
    [
        lambda start, end: part(start, end, etag='"two"'),
        lambda _start, _end: whole('"two"'),
        lambda start, end: part(start, end, said=f"bytes {start}-{end - 1}/{len(BODY) + 1}"),
        lambda _start, _end: response(status="412 Precondition Failed"),
        lambda _start, _end: response(status="416 Range Not Satisfiable", headers=[("content-range", "bytes */5")]),
    ],
)
def test_a_resource_that_changes_in_between_is_an_error(changed: Callable[[int, int], bytes]) -> None:
    ranges = Ranges(lambda _connection, number, start, end: changed(start, end) if number == 2 else None)
    with HostileServer(ranges) as server, client(streams=2) as resources, pytest.raises(ResourceChanged):
        resources.fetch(server.url)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda start, end: part(start, end, said=""),
        lambda start, end: part(start, end, said="bytes */5"),
        lambda start, end: part(start, end, said=f"bytes {start + 1}-{end}/{len(BODY)}"),
        lambda start, end: part(start, end, said=f"bytes {start}-{end}/{len(BODY)}"),
        lambda start, end: part(start, end, said=f"bytes {start}-{end - 2}/{len(BODY)}"),
        lambda start, end: part(start, end, said=f"items {start}-{end - 1}/{len(BODY)}"),
        lambda _start, _end: response(status="204 No Content"),
    ],
)
@pytest.mark.parametrize("number", [0, 2])
def test_a_range_that_was_not_asked_for_is_an_error(wrong: Callable[[int, int], bytes], number: int) -> None:
    ranges = Ranges(lambda _connection, count, start, end: wrong(start, end) if count == number else None)
    with HostileServer(ranges) as server, client(streams=2) as resources, pytest.raises(InvalidReply):
        resources.fetch(server.url)


def test_a_server_that_sends_less_than_it_was_asked_for_is_asked_again() -> None:
    def less(_connection: Connection, _number: int, start: int, end: int) -> bytes:
        return part(start, min(end, start + 300_000))

    with HostileServer(Ranges(less)) as server, client() as resources:
        assert bytes(resources.fetch(server.url).body) == BODY


def test_the_total_timeout_holds_for_all_ranges_together() -> None:
    def slow(connection: Connection, number: int, _start: int, _end: int) -> bytes | None:
        if number > 2:
            connection.stall()
        return None

    with HostileServer(Ranges(slow)) as server, client() as resources, pytest.raises(GatewayTimeout) as caught:
        resources.fetch(server.url, timeouts=Timeouts(total=0.5))
    assert caught.value.timeout == "total"


@pytest.mark.parametrize("name", ["Range", "If-Range", "If-None-Match", "accept-encoding"])
def test_headers_that_would_cut_the_resource_are_refused(name: str) -> None:
    with client() as resources, pytest.raises(InvalidRequest, match="set by the fetching itself"):
        resources.fetch("http://127.0.0.1:1/", headers={name: "bytes=0-1"})


# ---- the cache


def cached(directory: Path, **options: Any) -> ResourceClient:
    return client(cache=Cache(spool=shm.Spool(directory=directory), **options))


def test_a_fresh_resource_is_not_asked_for_again_by_any_worker(files: Nginx, tmp_path: Path) -> None:
    url = f"{files.url}/cached/large.bin"
    with cached(tmp_path / "spool") as one, cached(tmp_path / "spool") as other:
        first = one.fetch(url)
        again = other.fetch(url)
        assert (first.came_from, again.came_from, bytes(again.body)) == ("network", "cache", BODY)
        assert (again.etag, again.content_type, again.scope) == (first.etag, first.content_type, "public")
        assert again.fresh_for is not None
        assert 50 < again.fresh_for <= 60
        assert other.fetch(url, reload=True).came_from == "revalidated"


def test_a_resource_that_is_not_fresh_is_asked_about(files: Nginx, tmp_path: Path) -> None:
    path = files.files / "changing.txt"
    path.write_text("one")
    os.utime(path, (1, 1))
    with cached(tmp_path / "spool") as resources:
        url = f"{files.url}/files/changing.txt"
        assert [resources.fetch(url).came_from for _ in range(3)] == ["network", "revalidated", "revalidated"]
        path.write_text("two!")
        changed = resources.fetch(url)
        assert (changed.came_from, changed.text) == ("network", "two!")
        assert resources.fetch(url).came_from == "revalidated"


def test_what_may_not_be_kept_is_not_kept(tmp_path: Path) -> None:
    reply = answer(b"secret", headers=[("cache-control", "no-store"), ("etag", '"a"')])
    with HostileServer(reply) as server, cached(tmp_path / "spool") as resources:
        assert [resources.fetch(server.url).came_from for _ in range(2)] == ["network", "network"]


def test_nobody_is_given_what_was_fetched_with_another_ones_headers(tmp_path: Path) -> None:
    reply = answer(b"mine", headers=[("cache-control", "max-age=60")])
    with HostileServer(reply) as server, cached(tmp_path / "spool") as resources:
        mine, yours = {"authorization": "Bearer mine"}, {"authorization": "Bearer yours"}
        fetched = [resources.fetch(server.url, headers=who).came_from for who in (mine, mine, yours)]
        assert fetched == ["network", "cache", "network"]
        assert resources.fetch(server.url).came_from == "network"


def test_a_damaged_or_full_cache_costs_a_request_and_nothing_else(files: Nginx, tmp_path: Path) -> None:
    url = f"{files.url}/cached/large.bin"
    with cached(tmp_path / "spool") as resources:
        resources.fetch(url)
        for entry in (tmp_path / "spool" / "resources").glob("*.entry"):
            entry.write_bytes(b"\xff" * 100)
        damaged = resources.fetch(url)
        assert (damaged.came_from, bytes(damaged.body)) == ("network", BODY)
        assert resources.fetch(url).came_from == "cache"
    full = shm.Spool(directory=tmp_path / "full", disk_budget=MIB, memory_budget=MIB)
    with client(cache=Cache(spool=full)) as resources:
        assert [bytes(resources.fetch(url).body) == BODY for _ in range(2)] == [True, True]


@pytest.mark.parametrize("options", [{"max_bytes": -1}, {"max_entries": 1.5}, {"keep_for": 0}])
def test_an_option_of_a_cache_that_cannot_hold_is_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        Cache(spool=shm.Spool(directory=tmp_path / "spool"), **options)


# ---- files and data


def test_a_file_is_read_below_its_root_alone(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "a b.txt").write_text("inside")
    (tmp_path / "outside.txt").write_text("outside")
    (root / "link").symlink_to("a b.txt")
    with client(roots=[root]) as resources:
        resource = resources.fetch((root / "a b.txt").as_uri())
        assert (resource.text, resource.came_from) == ("inside", "file")
        for path in ("link", "../outside.txt", "%2e%2e/outside.txt", "x%2F..%2F..%2Foutside.txt"):
            with pytest.raises(Denied):
                resources.fetch(f"file://{root}/{path}")
        with pytest.raises(FileError):
            resources.fetch(f"file://{root}/none")
        with pytest.raises(Denied, match="peer"):
            resources.fetch((root / "a b.txt").as_uri(), from_peer=True)
    with pytest.raises(Denied):
        fetch_resource((root / "a b.txt").as_uri())
    with pytest.raises(InvalidOption):
        client(roots=[tmp_path / "none"])


def test_data_is_its_own_resource() -> None:
    image = source_bytes(3 * MIB)
    resource = fetch_resource("data:image/png;base64," + base64.b64encode(image).decode())
    assert (resource.content_type, resource.came_from) == ("image/png", "data")
    assert sha256(resource.body).digest() == sha256(image).digest()
    assert fetch_resource("data:,a%20b").text == "a b"
    with pytest.raises(InvalidRequest, match="base64"):
        fetch_resource("data:;base64,!")


@pytest.mark.parametrize("uri", ["", "a", "/a", "ftp://a/", "http:a", "javascript:1", "file:", "urn:a:b"])
def test_what_is_no_resource_is_refused(uri: str) -> None:
    with pytest.raises(GatewayError) as caught:
        fetch_resource(uri)
    assert isinstance(caught.value, (InvalidRequest, Denied))


# ---- MCP


@pytest.fixture(params=["mcp_2", "mcp_1"])
def server(request: pytest.FixtureRequest) -> str:
    """An official MCP server: the one that speaks 2026-07-28, and the one that does not."""
    peer: McpPeer = request.getfixturevalue(request.param)
    return peer.url


async def test_a_resource_of_an_mcp_server_is_read_as_bytes(server: str) -> None:
    async with AsyncResourceClient(timeouts=SHORT) as resources:
        blob, text = (
            await resources.read(server, "peer://blob/1000000"),
            await resources.read(server, "peer://text/70000"),
        )
        assert [(bytes(part.body), part.content_type) for part in blob] == [
            (sample(1_000_000), "application/octet-stream")
        ]
        assert [(bytes(part.body), part.content_type) for part in text] == [(sample(70_000), "text/plain")]
        both = await resources.read(server, "peer://both/")
        assert [(part.uri, bytes(part.body)) for part in both] == [
            ("peer://both/", "é".encode()),
            ("peer://both/#2", b"\0\xff"),
        ]
        with pytest.raises(RpcError) as caught:
            await resources.read(server, "peer://none/")
        assert caught.value.code in {-32002, -32602}


def test_lists_of_an_mcp_server_are_read_to_their_end(server: str) -> None:
    with client() as resources:
        assert [item["uri"].value() for item in resources.list(server)] == [item["uri"] for item in RESOURCES]
        templates = [item["uriTemplate"].value() for item in resources.templates(server)]
        assert templates == [item["uriTemplate"] for item in TEMPLATES]
        uri = expand_template(templates[-1], path="a/b", a="1", b=["x", "y"])
        assert resources.read(server, uri)[0].text == uri == "peer://echo/a/b?a=1&b=x&b=y"


def mcp_reply(result: str) -> Callable[[Connection], None]:
    """A server of 2026-07-28 that answers every call with `result`."""

    def scenario(connection: Connection) -> None:
        while True:
            connection.read_head()
            asked = json.loads(connection.read_body())
            said = '{"supportedVersions":["2026-07-28"]}' if asked["method"] == "server/discover" else result
            reply = f'{{"jsonrpc":"2.0","id":{json.dumps(asked["id"])},"result":{said}}}'
            connection.send(response(reply.encode(), headers=[("content-type", "application/json")]))

    return scenario


@pytest.mark.parametrize(("scope", "found"), [("public", "cache"), ("private", "network")])
def test_what_an_mcp_server_says_of_keeping_is_heeded(tmp_path: Path, scope: str, found: str) -> None:
    result = f'{{"resultType":"complete","ttlMs":60000,"cacheScope":"{scope}","contents":[{{"uri":"a:b","text":"x"}}]}}'
    cache = Cache(spool=shm.Spool(directory=tmp_path / "spool"))
    with HostileServer(mcp_reply(result)) as server:
        with client(cache=cache, headers={"authorization": "mine"}) as mine:
            assert [mine.read(server.url, "a:b")[0].came_from for _ in range(2)] == ["network", "cache"]
            assert mine.read(server.url, "a:b")[0].scope == scope
        with client(cache=cache, headers={"authorization": "yours"}) as yours:
            assert yours.read(server.url, "a:b")[0].came_from == found


@pytest.mark.parametrize(
    "result", ["{}", '{"contents":{}}', '{"contents":[{"uri":"a:b"}]}', '{"contents":[{"text":1}]}']
)
def test_contents_that_are_none_are_refused(result: str) -> None:
    with HostileServer(mcp_reply(result)) as server, client() as resources, pytest.raises(InvalidReply):
        resources.read(server.url, "a:b")


def test_a_template_is_expanded_as_the_standard_says() -> None:
    expanded = expand_template("file:///{+path}{?lines*,none}", path="a b/c", lines=["1", "2"], none=None)
    assert expanded == "file:///a%20b/c?lines=1&lines=2"
    assert expand_template("{?a*}", a={"x": "1", "y": "ü"}) == "?x=1&y=%C3%BC"
    with pytest.raises(InvalidRequest, match="at byte 2"):
        expand_template("a/{", a="b")
    wrong: Any = 1
    with pytest.raises(TypeError, match="list of str"):
        expand_template("{a}", a=wrong)


# ---- the guard


def test_what_a_peer_names_is_guarded_in_all_its_requests() -> None:
    with HostileServer(Ranges()) as server, client() as resources:
        with pytest.raises(AddressRefused):
            resources.fetch(server.url, from_peer=True)
        assert server.connections == []
        allowed = resources.fetch(server.url, from_peer=True, guard=Guard(allow=["127.0.0.1"]))
        assert bytes(allowed.body) == BODY
    with client(guard=Guard()) as resources, pytest.raises(AddressRefused):
        resources.fetch("http://localhost/")


@pytest.mark.parametrize("scope", ["private", "public"])
def test_what_is_kept_is_not_found_by_whom_the_guard_would_refuse(scope: str, tmp_path: Path) -> None:
    reply, loopback = (
        answer(b"internal", headers=[("cache-control", f"{scope}, max-age=600")]),
        Guard(allow=["127.0.0.1"]),
    )
    with HostileServer(reply) as server, cached(tmp_path / "spool") as resources:
        assert [resources.fetch(server.url).came_from for _ in range(2)] == ["network", "cache"]
        for refused in ({"from_peer": True}, {"guard": Guard()}, {"from_peer": True, "guard": Guard()}):
            options: dict[str, Any] = refused
            with pytest.raises(AddressRefused):
                resources.fetch(server.url, **options)
        allowed = [resources.fetch(server.url, from_peer=True, guard=loopback) for _ in range(2)]
        assert [resource.came_from for resource in allowed] == ["network", "cache"]
        with pytest.raises(AddressRefused):
            resources.fetch(server.url, from_peer=True)
