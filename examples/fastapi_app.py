"""FastAPI and WebSockets in one process: pages come from FastAPI's port, streams from the server's own.

    uvicorn examples.fastapi_app:app --port 8080

The server starts and stops with the application (its lifespan), endpoints publish to it, and both ask `user_of` who
is calling, so one login holds for pages and for streams.

Several workers: a port has one server, so only one worker can serve WebSockets on it; the second fails at start, and
says so. Take the server out of the lifespan then, run one

    streamconductor serve examples.fastapi_app:server --admin-port 8001

next to ``uvicorn --workers 4``, and publish from every worker over HTTP, to POST /channels/<name> on the admin port.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import Cookie, Depends, FastAPI, HTTPException, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel

import streamconductor as sc

# Pages of another origin than the socket's, here http://127.0.0.1:8080, must be allowed by name as soon as the two are
# not both on loopback: origins=["https://example.com"].
server = sc.Server(sc.Config(bearer_cookie="token"))

# In earnest: a database, or a signature.
USERS = {"token-of-ada": "ada", "token-of-grace": "grace"}


def user_of(token: str | None) -> str | None:
    """Who a token belongs to: the one check that pages and streams share."""
    return USERS.get(token or "")


# Streams.


@server.on_connect
def admit(request: sc.Request) -> sc.Accept[None] | sc.Reject:
    """Browsers send the cookie; programs, and pages of other hosts, the token: see `Request.bearer_token`."""
    user = user_of(request.bearer_token)
    if user is None:
        return sc.Reject(401, "log in first")
    return sc.Accept(user=user, subscribe=["news", f"user:{user}"])


# Nothing but `subscribe` above: such connections cost least.
server.push("/stream")


# Pages.


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with server:
        yield


app = FastAPI(lifespan=lifespan)
bearer = HTTPBearer(auto_error=False)


def current_user(
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)],
    token: Annotated[str | None, Cookie()] = None,
) -> str:
    user = user_of(credentials.credentials if credentials else token)
    if user is None:
        raise HTTPException(401, "log in first")
    return user


User = Annotated[str, Depends(current_user)]


class Item(BaseModel):
    text: str


@app.post("/login/{token}")
def login(token: str, response: Response) -> None:
    if user_of(token) is None:
        raise HTTPException(401, "no such token")
    # Cookies do not know ports: the one that a page gets here goes along with its WebSocket, too.
    response.set_cookie("token", token, httponly=True, samesite="strict")


@app.get("/settings")
def settings(user: User) -> dict[str, Any]:
    """What a page must know to connect."""
    return {"user": user, "port": server.port, "path": "/stream"}


@app.post("/news")
async def publish_news(item: Item, user: User) -> dict[str, int]:
    """An `async def` runs on the event loop: publish waits while the server is overloaded, and so does the caller."""
    return {"subscribers": await server.publish("news", {"from": user, "text": item.text})}


@app.post("/users/{to}/messages")
def send_message(to: str, item: Item, user: User) -> dict[str, int]:
    """A plain `def` runs in a thread, where nothing can be awaited: publish_nowait may be called from any."""
    try:
        return {"subscribers": server.publish_nowait(f"user:{to}", {"from": user, "text": item.text})}
    except sc.Overloaded as error:
        raise HTTPException(503, "too much at once", {"Retry-After": "1"}) from error
