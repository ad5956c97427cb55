"""A REST service made with FastAPI, as the tests and benches use it as a tool: `python rest_server.py [--port N]`.

It prints `http://127.0.0.1:PORT` and serves until it is told to end.
"""

import argparse
import hashlib
import socket
from typing import Annotated, Any

import uvicorn
from fastapi import FastAPI, File, Form, Header, HTTPException, Query, Request, Response, UploadFile
from fastapi.responses import RedirectResponse

Answer = dict[str, Any]

PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c636060f8cf00000301"
    "01009a2f50c20000000049454e44ae426082"
)

app = FastAPI()


async def seen(request: Request) -> Answer:
    """What arrived, so that a test can compare all of it."""
    body = await request.body()
    return {
        "method": request.method,
        "path": request.scope["raw_path"].decode(),
        "query": request.url.query,
        "headers": [[name.decode(), value.decode()] for name, value in request.headers.raw],
        "body": body.decode("utf-8", "backslashreplace"),
        "bytes": len(body),
        "sha256": hashlib.sha256(body).hexdigest(),
    }


@app.get("/items/{item}")
async def get_item(
    item: int,
    q: str = "",
    tag: Annotated[list[str] | None, Query()] = None,
    x_token: Annotated[str | None, Header()] = None,
) -> Answer:
    return {"item": item, "q": q, "tags": tag or [], "token": x_token}


@app.api_route("/seen/{rest:path}", methods=["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def any_method(request: Request) -> Answer:
    return await seen(request)


@app.post("/form")
async def form(name: Annotated[str, Form()], count: Annotated[int, Form()]) -> Answer:
    return {"name": name, "count": count}


@app.post("/upload")
async def upload(document: Annotated[UploadFile, File()], title: Annotated[str, Form()]) -> Answer:
    data = await document.read()
    digest = hashlib.sha256(data).hexdigest()
    return {
        "title": title,
        "name": document.filename,
        "type": document.content_type,
        "bytes": len(data),
        "sha256": digest,
    }


@app.get("/image")
async def image() -> Response:
    return Response(PNG, media_type="image/png")


@app.get("/binary/{length}")
async def binary(length: int) -> Response:
    return Response(bytes(number % 251 for number in range(length)), media_type="application/octet-stream")


@app.get("/text")
async def text() -> Response:
    return Response("naïve text", media_type="text/plain; charset=utf-8")


@app.get("/nothing")
async def nothing() -> Response:
    return Response(status_code=204)


@app.get("/numbers/{count}")
async def numbers(count: int) -> Answer:
    return {"numbers": list(range(count))}


@app.get("/text/{length}")
async def sized_text(length: int) -> Answer:
    return {"text": "x" * length}


@app.get("/fail/{status}")
async def fail(status: int) -> None:
    raise HTTPException(status, detail=f"as asked: {status}")


@app.get("/redirect")
async def redirect(to: str) -> Response:
    return RedirectResponse(to)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    listener = socket.create_server(("127.0.0.1", parser.parse_args().port), backlog=512)
    print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=1)
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
