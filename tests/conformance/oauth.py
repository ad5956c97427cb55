"""OAuth by the official MCP package, carried by our HTTP client.

Where tokens come from is no business of ours: a gateway has its own ways, and hands each call its headers. To show that
this is enough, the logic of the official `OAuthClientProvider` is driven here: every request that it wants made is made
by `AsyncClient`, and the call itself by whoever uses `Authorized.call`.
"""

import json
import os
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import TypeVar
from urllib.parse import parse_qs, urlsplit

import httpx2
from mcp.client.auth import OAuthClientProvider
from mcp.shared.auth import (
    AuthorizationCodeResult,
    OAuthClientInformationFull,
    OAuthClientMetadata,
    OAuthToken,
)
from pydantic import AnyUrl

from mcpgateway_rust import AsyncClient, Response
from mcpgateway_rust.exceptions import HTTPStatusError

Result = TypeVar("Result")

REDIRECT = "http://localhost:3000/callback"
CLIENT_METADATA = "https://conformance-test.local/client-metadata.json"
"""The URL by which the kit knows its client, for servers that take a URL instead of a registration."""


class Storage:
    """Tokens and registrations of one run."""

    def __init__(self, registered: OAuthClientInformationFull | None) -> None:
        self._tokens: OAuthToken | None = None
        self._client = registered

    async def get_tokens(self) -> OAuthToken | None:
        return self._tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self._tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self._client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self._client = client_info


class Authorized:
    """Calls to the MCP server at `url`, each with the token that it asks for."""

    def __init__(self, url: str, http: AsyncClient) -> None:
        self._url = url
        self._http = http
        self._authorized = AuthorizationCodeResult(code="")
        self._provider = OAuthClientProvider(
            url,
            OAuthClientMetadata(
                client_name="mcpgateway-conformance",
                redirect_uris=[AnyUrl(REDIRECT)],
                grant_types=["authorization_code", "refresh_token"],
                response_types=["code"],
            ),
            Storage(registered()),
            redirect_handler=self._visit,
            callback_handler=self._visited,
            client_metadata_url=CLIENT_METADATA,
        )

    async def call(self, call: Callable[[dict[str, str]], Awaitable[Result]]) -> Result:
        """What `call` returns; it is given the headers to send, at first perhaps none."""
        request = httpx2.Request("POST", self._url)
        async with aclosing(self._provider.async_auth_flow(request)) as flow:
            outgoing = await anext(flow)
            while True:
                if outgoing is request:
                    token = request.headers.get("authorization")
                    try:
                        return await call({"authorization": token} if token else {})
                    except HTTPStatusError as error:
                        refused = error
                    response = httpx2.Response(
                        refused.response.status, headers=pairs(refused.response), request=request
                    )
                else:
                    response = await self._send(outgoing)
                try:
                    outgoing = await flow.asend(response)
                except StopAsyncIteration:
                    raise refused from None

    async def _send(self, request: httpx2.Request) -> httpx2.Response:
        """A request of the flow: discovery, registration, token."""
        ours = ("host", "content-length", "connection", "transfer-encoding")
        headers = [(name, value) for name, value in request.headers.items() if name not in ours]
        reply = await self._http.request(
            request.method, str(request.url), headers=headers, body=request.content or None
        )
        return httpx2.Response(reply.status, headers=pairs(reply), content=bytes(reply.body), request=request)

    async def _visit(self, url: str) -> None:
        """Be the browser of a user who agrees: the kit redirects at once."""
        location = (await self._http.get(url)).headers["location"]
        found = parse_qs(urlsplit(location).query)
        self._authorized = AuthorizationCodeResult(
            code=found["code"][0], state=found.get("state", [None])[0], iss=found.get("iss", [None])[0]
        )

    async def _visited(self) -> AuthorizationCodeResult:
        return self._authorized


def pairs(reply: Response) -> list[tuple[str, str]]:
    """The headers of a reply, repeated ones repeated."""
    return reply.headers.multi_items()


def registered() -> OAuthClientInformationFull | None:
    """The registration that the scenario hands over, if it does."""
    context = json.loads(os.environ.get("MCP_CONFORMANCE_CONTEXT", "{}"))
    if "client_id" not in context:
        return None
    return OAuthClientInformationFull(
        client_id=context["client_id"],
        client_secret=context.get("client_secret"),
        issuer=context.get("issuer"),
        redirect_uris=[AnyUrl(REDIRECT)],
        token_endpoint_auth_method="client_secret_basic",
    )
