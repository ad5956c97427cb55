"""An agent made with the official `a2a-sdk`, in a process of its own: what our A2A clients are judged by.

    with A2APeer() as peer:
        ...                       # peer.url("jsonrpc-1.0") is an agent; its card is below that URL

One process serves several agents, which share their tasks: what is begun at one can be asked for at another.

    jsonrpc-1.0, http-1.0, jsonrpc-0.3, http-0.3   one binding of one generation; the cards name only that, and those
                                                   of 0.3 have only the shape of 0.3
    all         a card with all four, JSON-RPC 1.0 last; it has an ETag and may be kept
    tenant      a card whose interface has the tenant "acme"
    bare        neither streams nor push configurations nor an extended card
    secured     wants `Authorization: Bearer` and the token last put at /_token/TOKEN
    keyed       wants the query credential `key=open-sesame`

What an agent does is said by the first text part of the message. Anything else is sent back as it came.

    digest                  what was received, as a data part, the list `parts`: see `described`
    produce KIND BYTES      one message with one part, "text" or "raw", of that many bytes: `text_of`, `raw_of`
    task KIND BYTES         the same part as the artifact of a completed task
    stream COUNT BYTES KIND a task whose one artifact "stream" comes in COUNT chunks, each appended, the last one marked
    gated COUNT BYTES KIND  the same, but the first chunk comes with `release`, and so does each after it
    release TASK            let the next chunk of that task come
    parts                   a message with a text, a raw, a url and a data part
    wait                    a task that goes on working until it is cancelled
    ask                     a task that asks for input, and is completed by the message that continues it
    fail CODE               that protocol error
    whoami                  a data part about the request: tenant, extensions, metadata, headers

`GET /_seen` tells of each request since the last `DELETE /_seen`; `DELETE /_tasks` forgets all tasks.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import re
import select
import socket
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    from starlette.applications import Starlette

    Scope = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
    Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

START_SECONDS = 30.0
STOP_SECONDS = 10.0
HEAD_BYTES = 4096
"""As much of a request's body is looked at for its method."""
KEEP_ALIVE_SECONDS = 600
BODY_BYTES = 8 << 30
"""The limit of a body, far above any here."""
SSE_PING_SECONDS = 600

TEXT_LINE = 'A fox said "jump" over a lazy dog\\ cat:\tna\u00efve \u2603 \U0001f600 \u20ac2.\n'
RAW_BLOCK = random.Random(41).randbytes(1_048_573)
BINDINGS = {
    "jsonrpc-1.0": ("JSONRPC", "1.0"),
    "http-1.0": ("HTTP+JSON", "1.0"),
    "jsonrpc-0.3": ("JSONRPC", "0.3"),
    "http-0.3": ("HTTP+JSON", "0.3"),
}
EXTENSION = "https://example.com/extensions/trace"


def text_of(size: int) -> str:
    """The text that `produce text SIZE` replies: `size` bytes of UTF-8, with much that JSON has to escape."""
    line = TEXT_LINE.encode()
    lines, rest = divmod(size, len(line))
    return TEXT_LINE * lines + "." * rest


def raw_of(size: int) -> bytes:
    """The bytes that `produce raw SIZE` replies; they repeat only at a prime distance."""
    blocks, rest = divmod(size, len(RAW_BLOCK))
    return RAW_BLOCK * blocks + RAW_BLOCK[:rest]


def path_of(agent: str, binding: str) -> str:
    """Where `agent` answers by `binding`, one of `BINDINGS`."""
    return f"/{agent}/rpc" if BINDINGS[binding][0] == "JSONRPC" else f"/{agent}"


def sha256(data: bytes) -> str:
    """As `digest` reports it."""
    return hashlib.sha256(data).hexdigest()


@dataclass(frozen=True)
class Tls:
    """PEM files: the server's certificate, its key, and the authority whose clients alone are talked to."""

    certificate: Path
    key: Path
    client_authority: Path


class A2APeer:
    """Starts the agents on a free loopback port; by TLS if told how."""

    def __init__(self, tls: Tls | None = None) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._tls = tls
        self.origin = ""

    def __enter__(self) -> Self:
        environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        files = [] if self._tls is None else [self._tls.certificate, self._tls.key, self._tls.client_authority]
        command = [sys.executable, __file__, *map(str, files)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, env=environment
        )
        assert self._process.stdout is not None
        readable, _, _ = select.select([self._process.stdout], [], [], START_SECONDS)
        line = self._process.stdout.readline().strip() if readable else ""
        if "://127.0.0.1:" not in line:
            self._process.kill()
            raise AssertionError(f"the peer printed {line!r} and ended with {self._process.wait()}")
        self.origin = line
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        process = self._process
        assert process is not None
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()

    def url(self, agent: str) -> str:
        """Where `agent` is; its card is at `/.well-known/agent-card.json` below."""
        return f"{self.origin}/{agent}"

    def endpoint(self, binding: str) -> str:
        """The URL that the card of one of `BINDINGS` names."""
        return self.origin + path_of(binding, binding)

    @property
    def pid(self) -> int:
        """The server's process."""
        assert self._process is not None
        return self._process.pid


# --- the server -------------------------------------------------------------------------------------------------------


class Seen:
    """ASGI: remembers each request, and asks for credentials where an agent wants them."""

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self._app = app
        self._requests: list[dict[str, Any]] = []
        self._token = "first"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path: str = scope["path"]
        if path == "/_seen":
            await self._tell(scope["method"], send)
            return
        if path.startswith("/_token/"):
            self._token = path.removeprefix("/_token/")
            await _json(send, {})
            return
        seen = self._remember(scope)
        if not path.endswith("/agent-card.json") and not self._allowed(seen):
            seen["refused"] = True
            headers = [(b"www-authenticate", b'Bearer realm="peer", error="invalid_token"')]
            await _json(send, {"error": "who are you?"}, 401, headers)
            return

        async def heard() -> MutableMapping[str, Any]:
            message = await receive()
            body = message.get("body", b"")
            if not seen["bytes"] and (method := re.search(rb'"method"\s*:\s*"([^"]*)"', body[:HEAD_BYTES])):
                seen["rpc"] = method[1].decode()
            seen["bytes"] += len(body)
            return message

        await self._app(scope, heard, send)

    def _remember(self, scope: Scope) -> dict[str, Any]:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        query = scope["query_string"].decode("latin-1")
        seen = {"method": scope["method"], "path": scope["path"], "query": query, "headers": headers, "bytes": 0}
        self._requests.append(seen)
        return seen

    def _allowed(self, seen: dict[str, Any]) -> bool:
        if seen["path"].startswith("/secured"):
            return bool(seen["headers"].get("authorization") == f"Bearer {self._token}")
        return not seen["path"].startswith("/keyed") or "key=open-sesame" in seen["query"].split("&")

    async def _tell(self, method: str, send: Send) -> None:
        await _json(send, self._requests)
        if method == "DELETE":
            self._requests = []


async def _json(send: Send, content: Any, status: int = 200, headers: list[tuple[bytes, bytes]] | None = None) -> None:
    body = json.dumps(content).encode()
    head = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), *(headers or [])]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": body})


def application(origin: str) -> Starlette:
    """All agents as one ASGI application."""
    from a2a.server.agent_execution import AgentExecutor, RequestContext
    from a2a.server.events import EventQueue
    from a2a.server.request_handlers import DefaultRequestHandler
    from a2a.server.routes import create_agent_card_routes, create_jsonrpc_routes, create_rest_routes
    from a2a.server.tasks import InMemoryPushNotificationConfigStore, InMemoryTaskStore, TaskUpdater
    from a2a.types import a2a_pb2 as pb
    from a2a.utils import errors
    from google.protobuf.json_format import MessageToDict, ParseDict
    from google.protobuf.struct_pb2 import Value
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import JSONResponse
    from starlette.routing import BaseRoute, Mount, Route

    codes = {code: error for error, code in errors.JSON_RPC_ERROR_CODE_MAP.items()}

    def part_of(kind: str, size: int) -> pb.Part:
        if kind == "text":
            return pb.Part(text=text_of(size), media_type="text/plain")
        return pb.Part(raw=raw_of(size), media_type="application/octet-stream", filename="raw.bin")

    def data_part(value: Any) -> pb.Part:
        return pb.Part(data=ParseDict(value, Value()), media_type="application/json")

    def described(part: pb.Part) -> dict[str, Any]:
        """What a received part is, without its content."""
        kind = str(part.WhichOneof("content"))
        content = MessageToDict(part.data) if kind == "data" else getattr(part, kind)
        about = {"kind": kind, "mediaType": part.media_type, "filename": part.filename}
        if kind in {"text", "raw"}:
            body = content.encode() if kind == "text" else content
            return about | {"bytes": len(body), "sha256": sha256(body)}
        return about | {"value": content}

    class Agent(AgentExecutor):
        """Does what the message says."""

        def __init__(self) -> None:
            self._gates: defaultdict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(0))

        async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
            """One message."""
            message = context.message
            assert message is not None
            assert context.task_id is not None
            assert context.context_id is not None
            updater = TaskUpdater(event_queue, context.task_id, context.context_id)
            first = message.parts[0] if message.parts else pb.Part()
            name, *words = (first.text if len(first.text) < HEAD_BYTES else "").split() or [""]
            work = getattr(self, f"do_{name}", None)
            if context.current_task is not None:
                await updater.complete(updater.new_agent_message(list(message.parts)))
            elif work is None:
                await event_queue.enqueue_event(updater.new_agent_message(list(message.parts)))
            else:
                outcome = await work(context, event_queue, updater, *words)
                if outcome is not None:
                    await event_queue.enqueue_event(updater.new_agent_message(outcome))

        async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
            """Stop a task."""
            assert context.task_id is not None
            assert context.context_id is not None
            await TaskUpdater(event_queue, context.task_id, context.context_id).cancel()

        async def do_digest(self, context: RequestContext, *_: Any) -> list[pb.Part]:
            assert context.message is not None
            return [data_part({"parts": [described(part) for part in context.message.parts[1:]]})]

        async def do_produce(self, _context: Any, _queue: Any, _updater: Any, kind: str, size: str) -> list[pb.Part]:
            return [part_of(kind, int(size))]

        async def do_parts(self, *_: Any) -> list[pb.Part]:
            url = pb.Part(url="https://example.com/a.bin", media_type="image/png", filename="a.png")
            return [part_of("text", 100), part_of("raw", 100), url, data_part({"rows": [1.5, None, "x"]})]

        async def do_whoami(self, context: RequestContext, *_: Any) -> list[pb.Part]:
            headers = context.call_context.state["headers"]
            about = {
                "tenant": context.tenant,
                "extensions": sorted(context.requested_extensions),
                "metadata": context.metadata,
                "headers": headers,
            }
            return [data_part(about)]

        async def do_fail(self, _context: Any, _queue: Any, _updater: Any, code: str) -> None:
            raise codes[int(code)](f"as you wish: {code}", {"asked": code})

        async def do_task(
            self, context: RequestContext, queue: EventQueue, updater: TaskUpdater, kind: str, size: str
        ) -> None:
            await self._begin(context, queue)
            await updater.add_artifact([part_of(kind, int(size))], artifact_id="result", name="result")
            await updater.complete()

        async def do_stream(
            self, context: RequestContext, queue: EventQueue, updater: TaskUpdater, *chunks: str
        ) -> None:
            await self._begin(context, queue)
            await self._chunks(updater, None, *chunks)

        async def do_gated(
            self, context: RequestContext, queue: EventQueue, updater: TaskUpdater, *chunks: str
        ) -> None:
            await self._begin(context, queue)
            await updater.start_work()
            await self._chunks(updater, self._gates[updater.task_id], *chunks)

        async def do_release(self, _context: Any, _queue: Any, _updater: Any, task: str) -> list[pb.Part]:
            self._gates[task].release()
            return [pb.Part(text="released")]

        async def do_wait(self, context: RequestContext, queue: EventQueue, updater: TaskUpdater) -> None:
            await self._begin(context, queue)
            await updater.start_work()
            await asyncio.Event().wait()

        async def do_ask(self, context: RequestContext, queue: EventQueue, updater: TaskUpdater) -> None:
            await self._begin(context, queue)
            await updater.requires_input(updater.new_agent_message([pb.Part(text="which one?")]))

        async def _begin(self, context: RequestContext, queue: EventQueue) -> None:
            state = pb.TaskStatus(state=pb.TaskState.TASK_STATE_SUBMITTED)
            await queue.enqueue_event(pb.Task(id=context.task_id, context_id=context.context_id, status=state))

        async def _chunks(
            self, updater: TaskUpdater, gate: asyncio.Semaphore | None, count: str, size: str, kind: str
        ) -> None:
            last = int(count) - 1
            for index in range(last + 1):
                if gate is not None:
                    await gate.acquire()
                chunk = [part_of(kind, int(size))]
                await updater.add_artifact(chunk, "stream", "stream", append=index > 0, last_chunk=index == last)
            await updater.complete()

    def card_of(agent: str, *bindings: str, tenant: str = "", able: bool = True) -> pb.AgentCard:
        interfaces = [
            pb.AgentInterface(
                url=origin + path_of(binding if agent == "all" else agent, binding),
                protocol_binding=BINDINGS[binding][0],
                protocol_version=BINDINGS[binding][1],
                tenant=tenant,
            )
            for binding in bindings
        ]
        return pb.AgentCard(
            name=agent,
            description="An agent for tests.",
            version="1",
            supported_interfaces=interfaces,
            capabilities=pb.AgentCapabilities(streaming=able, push_notifications=able, extended_agent_card=able),
            default_input_modes=["text/plain"],
            default_output_modes=["text/plain"],
            skills=[pb.AgentSkill(id="all", name="all", description="See its source.", tags=["test"])],
        )

    tasks = InMemoryTaskStore()
    configs = InMemoryPushNotificationConfigStore()
    executor = Agent()

    def handler_of(card: pb.AgentCard) -> DefaultRequestHandler:
        extended = pb.AgentCard()
        extended.CopyFrom(card)
        extended.description = "More than the public card says."
        return DefaultRequestHandler(executor, tasks, card, push_config_store=configs, extended_agent_card=extended)

    full = card_of("all", "http-1.0", "jsonrpc-0.3", "http-0.3", "jsonrpc-1.0")
    shared = handler_of(full)

    def card_route(card: pb.AgentCard) -> list[BaseRoute]:
        return [*create_agent_card_routes(card, cache_control="max-age=0")]

    def old_card_route(agent: str) -> list[BaseRoute]:
        from a2a.compat.v0_3.conversions import to_compat_agent_card

        card = to_compat_agent_card(card_of(agent, agent)).model_dump(mode="json", by_alias=True, exclude_none=True)

        async def serve(_request: Request) -> JSONResponse:
            return JSONResponse(card)

        return [Route("/.well-known/agent-card.json", serve)]

    def jsonrpc(handler: DefaultRequestHandler, *, old: bool = False) -> list[BaseRoute]:
        return [*create_jsonrpc_routes(handler, "/rpc", enable_v0_3_compat=old)]

    async def forget(_request: Request) -> JSONResponse:
        tasks._impl.tasks.clear()
        return JSONResponse({})

    bare = card_of("bare", "jsonrpc-1.0", able=False)
    tenant = card_of("tenant", "jsonrpc-1.0", tenant="acme")
    tenant_http = card_of("tenant-http", "http-1.0", tenant="acme")
    agents: dict[str, list[BaseRoute]] = {
        "jsonrpc-1.0": card_route(card_of("jsonrpc-1.0", "jsonrpc-1.0")) + jsonrpc(shared),
        "http-1.0": [*card_route(card_of("http-1.0", "http-1.0")), *create_rest_routes(shared)],
        "jsonrpc-0.3": old_card_route("jsonrpc-0.3") + jsonrpc(shared, old=True),
        "http-0.3": [*old_card_route("http-0.3"), *create_rest_routes(shared, enable_v0_3_compat=True)],
        "all": card_route(full),
        "tenant": card_route(tenant) + jsonrpc(shared),
        "tenant-http": [*card_route(tenant_http), *create_rest_routes(shared)],
        "bare": card_route(bare) + jsonrpc(handler_of(bare)),
        "secured": card_route(card_of("secured", "jsonrpc-1.0")) + jsonrpc(shared),
        "keyed": card_route(card_of("keyed", "jsonrpc-1.0")) + jsonrpc(shared),
    }
    mounts = [Mount(f"/{agent}", routes=routes) for agent, routes in agents.items()]
    return Starlette(routes=[Route("/_tasks", forget, methods=["DELETE"]), *mounts], max_body_size=BODY_BYTES)


def main(files: list[str]) -> None:
    """Serve on a free port, by TLS with the `files` of a `Tls`; print the origin when connections are accepted."""
    import logging
    import ssl
    import warnings

    import uvicorn
    from sse_starlette.sse import EventSourceResponse

    warnings.filterwarnings("ignore")
    logging.disable(logging.CRITICAL)
    EventSourceResponse.DEFAULT_PING_INTERVAL = SSE_PING_SECONDS
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    origin = f"http{'s' if files else ''}://127.0.0.1:{listener.getsockname()[1]}"
    tls: dict[str, Any] = dict(zip(("ssl_certfile", "ssl_keyfile", "ssl_ca_certs"), files, strict=False))
    config = uvicorn.Config(
        Seen(application(origin)),
        **tls,
        ssl_cert_reqs=ssl.CERT_REQUIRED if files else ssl.CERT_NONE,
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=1,
    )
    print(origin, flush=True)
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    # Run by its path, this file's folder comes first in the search for modules; its neighbours are not for importing.
    sys.path.remove(str(Path(__file__).resolve().parent))
    main(sys.argv[1:])
