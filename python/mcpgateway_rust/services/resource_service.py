"""Fetch resources of any size: over HTTP in several ranges at once, from files, from `data:` URLs.

A large resource is received in ranges, several at a time, into one region of memory: there is no second copy. Where a
connection breaks, what is missing is asked for again, of the same version of the resource. A `Cache` in a spool is
shared by all workers of its directory.

Example:
    async with AsyncResourceClient(roots=["/srv/documents"]) as client:
        report = await client.fetch("https://files.example/report.pdf")
        local = await client.fetch("file:///srv/documents/notes.txt")
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypedDict, Unpack

from mcpgateway_rust import _native
from mcpgateway_rust._native import Content, Node, Progress, ReplyPart, Resource, Spool
from mcpgateway_rust._types import FilePath, Guard, HeadersLike, Limits, Timeouts, _check_count, _check_seconds
from mcpgateway_rust.client import AsyncClient, Client, ClientOptions
from mcpgateway_rust.exceptions import WrongKind

__all__ = [
    "AsyncResourceClient",
    "Cache",
    "FetchOptions",
    "FollowOptions",
    "ReadOptions",
    "Resource",
    "ResourceClient",
    "expand_template",
    "fetch_resource",
    "fetch_resource_async",
]

Resources = list[Resource]
Nodes = list[Node]
TemplateValue = str | list[str] | dict[str, str] | None

_MOST_COUNT = (1 << 32) - 1
_MOST_BYTES = (1 << 63) - 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Cache:
    """Where resources are kept, for all workers with a spool in the same directory and of the same tenant.

    A resource is kept as its server allows (`Cache-Control`, `Expires`), and asked for again by its `ETag` or date once
    it is not fresh any more. One that was fetched with headers is found again only by the same headers, unless its
    server says that it is public. What is damaged is fetched again; what there is no room for is not kept.

    Attributes:
        spool: In whose directory and budgets it is.
        max_bytes: Bytes of all bodies; those used least recently go first.
        max_entries: Number of resources.
        keep_for: Seconds that a resource is kept at most, fresh or not.

    Raises:
        ValueError: One of them is negative, or `keep_for` no time.
    """

    spool: Spool
    max_bytes: int = 1 << 30
    max_entries: int = 10_000
    keep_for: float = 24 * 3600.0

    def __post_init__(self) -> None:
        _check_count("max_bytes", self.max_bytes, _MOST_BYTES)
        _check_count("max_entries", self.max_entries, _MOST_COUNT)
        _check_seconds("keep_for", self.keep_for)


class FollowOptions(TypedDict, total=False):
    """What may be set for one resource; all keyword-only.

    Attributes:
        headers: A mapping, or pairs where names repeat. Not those by which ranges and versions are asked for.
        timeouts: Instead of the client's; `total` holds for all requests of the resource together.
        limits: Instead of the client's; `max_response_bytes` holds for the whole resource, files included.
        guard: Instead of the client's.
        progress: Counts the bytes while the call runs.
        reload: Whether its server is asked even if a fresh one is kept.
    """

    headers: HeadersLike | None
    timeouts: Timeouts | None
    limits: Limits | None
    guard: Guard | None
    progress: Progress | None
    reload: bool


class FetchOptions(FollowOptions, total=False):
    """What may be set for one resource whose URI may be the caller's own; see `FollowOptions`.

    Attributes:
        from_peer: Whether a peer gave the URI, in a part or a link: guarded, without the headers of the client, and
            never a file of this host.
    """

    from_peer: bool


class ReadOptions(TypedDict, total=False):
    """What may be set for one call of an MCP server; all keyword-only.

    Attributes:
        headers: Beside the client's.
        timeouts: Instead of the client's.
        limits: Instead of the client's.
        progress: Counts the bytes while the call runs.
    """

    headers: HeadersLike | None
    timeouts: Timeouts | None
    limits: Limits | None
    progress: Progress | None


class AsyncResourceClient:
    """Fetches resources, for asyncio and uvloop.

    Args:
        streams: Ranges of one resource that are received at a time; with 1 the whole is asked for at once.
        part_bytes: Bytes of each range.
        resumes: How often a broken transfer is resumed without a byte of progress in between.
        roots: Directories that files may be read below; without any no `file:` URL is read. Links are not followed.
        cache: Where resources are kept.
        **options: See `mcpgateway_rust.client.ClientOptions`.

    Raises:
        InvalidOption: A root is no directory, or a range would have no byte.
    """

    def __init__(
        self,
        *,
        streams: int = 4,
        part_bytes: int = 16 << 20,
        resumes: int = 5,
        roots: Iterable[FilePath] = (),
        cache: Cache | None = None,
        **options: Unpack[ClientOptions],
    ) -> None:
        _check_options(streams, part_bytes, resumes)
        self._client = AsyncClient(**options)
        self._native = _native.ResourceClient(
            self._client._native,
            streams=streams,
            part_bytes=part_bytes,
            resumes=resumes,
            roots=[*roots],
            cache=cache,
        )

    async def fetch(self, uri: str, **options: Unpack[FetchOptions]) -> Resource:
        """Fetch the resource at `uri`.

        Args:
            uri: An `http:`, `https:`, `file:` or `data:` URL.
            **options: See `FetchOptions`.

        Raises:
            HTTPStatusError: The status is not one of success; it holds the reply.
            ResourceChanged: It changed while its ranges were fetched.
            AddressRefused: The URL, or a redirect, leads to an address that the guard refuses.
            Denied: The file is not below a root, is behind a link, or was named by a peer.
            LimitExceeded: It is larger than `limits` allow.
            GatewayError: Anything else; see `mcpgateway_rust.exceptions`.
        """
        return (await self._native.fetch(uri, **options)).take()

    async def follow(self, link: Content | ReplyPart, **options: Unpack[FollowOptions]) -> Resource:
        """Fetch what a tool's resource link, or a url part of an agent, leads to.

        As a peer named it, the guard holds for it and for each redirect (if there is none, one that lets public
        addresses pass), the headers of this client stay here, and no file of this host is read. A link of another
        scheme is for `read`, at the server that gave it.

        Args:
            link: A piece of a `ToolResult`, or a part of an `AgentReply`.
            **options: See `FollowOptions`.

        Raises:
            WrongKind: It is no link: its bytes are in it.
            InvalidRequest: Its URI is none, or of a scheme that cannot be fetched.
            GatewayError: As for `fetch`.
        """
        return await self.fetch(_target(link), from_peer=True, **options)

    async def read(self, server: str, uri: str, **options: Unpack[ReadOptions]) -> Resources:
        """Read the resource `uri` of the MCP server at `server`, one for each of its contents (`resources/read`).

        Which generation of MCP the server speaks is found out with the first call, and remembered. A blob is decoded
        without the GIL; a text is its UTF-8 bytes. What the server says of `ttlMs` and `cacheScope` is heeded where
        this client has a cache.

        Raises:
            RpcError: The server answered with an error, such as `ResourceNotFound`.
            InvalidReply: The contents are none.
            JsonError: A blob is no base64.
            GatewayError: Anything else; see `mcpgateway_rust.exceptions`.
        """
        return await self._native.read(server, uri, **options)

    async def list(self, server: str, **options: Unpack[ReadOptions]) -> Nodes:
        """What the MCP server at `server` has, over all pages (`resources/list`)."""
        return await self._native.list(server, False, **options)

    async def templates(self, server: str, **options: Unpack[ReadOptions]) -> Nodes:
        """The templates of the MCP server at `server`, over all pages (`resources/templates/list`)."""
        return await self._native.list(server, True, **options)

    async def aclose(self) -> None:
        """Refuse further calls; those under way go on."""
        await self._client.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


class ResourceClient:
    """Fetches resources, for threads: calls block without the GIL. Else as `AsyncResourceClient`."""

    def __init__(
        self,
        *,
        streams: int = 4,
        part_bytes: int = 16 << 20,
        resumes: int = 5,
        roots: Iterable[FilePath] = (),
        cache: Cache | None = None,
        **options: Unpack[ClientOptions],
    ) -> None:
        _check_options(streams, part_bytes, resumes)
        self._client = Client(**options)
        self._native = _native.ResourceClient(
            self._client._native,
            streams=streams,
            part_bytes=part_bytes,
            resumes=resumes,
            roots=[*roots],
            cache=cache,
        )

    def fetch(self, uri: str, **options: Unpack[FetchOptions]) -> Resource:
        """Fetch the resource at `uri`; see `AsyncResourceClient.fetch`."""
        return self._native.start(uri, **options).wait()

    def follow(self, link: Content | ReplyPart, **options: Unpack[FollowOptions]) -> Resource:
        """Fetch what a link of a tool or an agent leads to; see `AsyncResourceClient.follow`."""
        return self.fetch(_target(link), from_peer=True, **options)

    def read(self, server: str, uri: str, **options: Unpack[ReadOptions]) -> Resources:
        """Read the resource `uri` of the MCP server at `server`; see `AsyncResourceClient.read`."""
        return self._native.read_blocking(server, uri, **options)

    def list(self, server: str, **options: Unpack[ReadOptions]) -> Nodes:
        """What the MCP server at `server` has, over all pages (`resources/list`)."""
        return self._native.list_blocking(server, False, **options)

    def templates(self, server: str, **options: Unpack[ReadOptions]) -> Nodes:
        """The templates of the MCP server at `server`, over all pages (`resources/templates/list`)."""
        return self._native.list_blocking(server, True, **options)

    def close(self) -> None:
        """Refuse further calls; those under way go on."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def fetch_resource(uri: str, **options: Unpack[FetchOptions]) -> Resource:
    """Fetch the resource at `uri` and wait for it; see `AsyncResourceClient.fetch`."""
    return _native.ResourceClient().start(uri, **options).wait()


async def fetch_resource_async(uri: str, **options: Unpack[FetchOptions]) -> Resource:
    """Fetch the resource at `uri`; see `AsyncResourceClient.fetch`."""
    return (await _native.ResourceClient().fetch(uri, **options)).take()


def expand_template(template: str, **values: TemplateValue) -> str:
    """The URI that a template (RFC 6570, all levels) expands to; variables without a value leave nothing behind.

    Args:
        template: Such as the `uriTemplate` of an MCP server: `"file:///{path}{?lines*}"`.
        **values: Text, several texts, or names with texts. Of names that are no Python names pass a dict: `**{...}`.

    Raises:
        InvalidRequest: The template is none; the message says where.
        TypeError: A value is of another type.
    """
    return _native.expand_template(template, values)


def _target(link: Content | ReplyPart) -> str:
    match link:
        case Content():
            uri = link.link
        case ReplyPart():
            uri = link.url
        case _:
            raise TypeError(f"{type(link)} is no link: pass a Content or a ReplyPart, or fetch(uri, from_peer=True)")
    if uri is None:
        raise WrongKind("this is no link: its bytes are in it, see payload()", sent="no")
    return uri


def _check_options(streams: int, part_bytes: int, resumes: int) -> None:
    _check_count("streams", streams, _MOST_COUNT)
    _check_count("part_bytes", part_bytes, _MOST_BYTES)
    _check_count("resumes", resumes, _MOST_COUNT)
