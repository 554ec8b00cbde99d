"""Receives a port to attack · plants a secret wherever a client can put one, and does everything that makes a server
complain · owns the list of what may never be seen again.

`build` makes the server that is attacked, in a test's own loop or for ``streamconductor serve``.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
import time
import urllib.error
import urllib.request
from typing import Any

import pydantic

import streamconductor as sc
from tests.support import raw
from tests.support.frames import BINARY, CLOSE, TEXT, close, frame

SECRETS = {
    name: f"hush-{name}-5ecret"
    for name in (
        "query",
        "cookie",
        "authorization",
        "subprotocol",
        "agent",
        "header",
        "text",
        "binary",
        "publication",
        "broadcast",
        "admin-publication",
        "admin-token",
        "malformed-json",
        "invalid-field",
        "invalid-key",
        "no-utf8",
        "too-big",
        "context",
    )
}
"""By where each is planted. None of them may stand in anything that the server shows."""

OWN_WORDS = "the application's own words"
"""What the application says in an exception of its own is what its author wants to read."""

logger = logging.getLogger("streamconductor.test")


class Order(pydantic.BaseModel, extra="forbid"):
    count: int


class Context:
    """What `on_connect` attaches; nobody asked for its repr."""

    def __repr__(self) -> str:
        return SECRETS["context"]


def build(**settings: Any) -> sc.Server:
    """A server of which every path can go wrong."""
    config = sc.Config(
        port=0, admin_port=0, admin_token=SECRETS["admin-token"], max_connections=50, bearer_cookie="session",
        max_message_size="4KiB", threads=2, origins=["https://app.example.com"], open_timeout=1,
        memory_budget="512MiB", **settings,
    )  # fmt: skip
    server = sc.Server(config)

    @server.on_connect
    async def admit(request: sc.Request) -> sc.Accept[Context] | sc.Reject:
        match request.path:
            case "/raises":
                token = request.bearer_token  # a local, which no traceback may show
                assert token is not None
                raise LookupError(OWN_WORDS)
            case "/refused":
                return sc.Reject(401, "not with this")
            case "/late":
                await asyncio.sleep(30)
            case "/wrong":
                return sc.Accept(subprotocol=f"bearer.{request.bearer_token}", context=Context())
        return sc.Accept(user="ann", context=Context(), subscribe=["news"])

    for path in ("/late", "/refused", "/wrong", "/raises"):
        server.push(path)

    @server.route("/echo")
    async def echo(connection: sc.Connection[Any]) -> None:
        async for message in connection:
            await connection.send(message)

    @server.route("/fails")
    async def fails(connection: sc.Connection[Any]) -> None:
        message = await connection.recv()  # a local, which no traceback may show
        assert message
        raise ValueError(OWN_WORDS)

    @server.on_message("/slow")
    def slow(connection: sc.Connection[Any], message: str | bytes) -> None:
        # Long enough for asyncio's debug mode to complain.
        time.sleep(0.15)
        raise RuntimeError(OWN_WORDS)

    @server.route("/orders")
    async def orders(connection: sc.Connection[Any]) -> None:
        async for _ in connection.messages(Order):
            pass

    @server.route("/told")
    async def told(connection: sc.Connection[Any]) -> None:
        try:
            while True:
                await connection.recv()
        except sc.ConnectionClosed:
            # As applications do it.
            logger.exception(
                "a connection ended: %s %r %r", connection, connection.closed, connection.request
            )

    @server.on_close
    async def closed(connection: sc.Connection[Any]) -> None:
        logger.debug("closed: %r %r", connection, connection.closed)

    @server.on_health("ledger", required=True, interval=0.2)
    def ledger() -> sc.Health:
        raise OSError(OWN_WORDS)

    async def publish() -> Any:
        yield "news", SECRETS["publication"]
        await server.broadcast(SECRETS["broadcast"])
        yield "news", {"amount": object(), "secret": SECRETS["publication"]}

    server.feed(publish, name="quotes")
    return server


def attack(port: int, admin_port: int) -> list[bytes]:
    """Does all of it, with blocking sockets; hands back the refusals, whose texts are the server's own."""
    answers = [_ask(port, path) for path in ("/raises", "/refused", "/late", "/wrong", "/nowhere", "/echo")]
    origin = f"https://evil.example/{SECRETS['header']}"
    answers += [_ask(port, "/echo", bearer=False), _ask(port, "/echo", more=[("Origin", origin)])]
    agents = [f"{SECRETS['agent']}{end}" for end in ("\r\n\x1b[31mred", "\rX", "\nX", "\x1b]0;title\x07")]
    heads = [
        *(f"GET /echo HTTP/1.1\r\nHost: x\r\nUser-Agent: {agent}\r\n\r\n" for agent in agents),
        f"GET /echo\x1b?{SECRETS['query']} HTTP/1.1\r\nHost: x\r\n\r\n",
        f"GET /echo?{SECRETS['query']} HTTP/1.1\r\nHost: x\r\nX: {SECRETS['header'] * 1_500}\r\n",
        f"GET /echo?{SECRETS['query']} HTTP/1.0\r\nHost: x\r\n\r\n",
    ]
    answers += [_say(port, head) for head in heads]
    _converse(port, "/echo", frame(TEXT, SECRETS["text"].encode()), frame(BINARY, SECRETS["binary"].encode()))
    for path in ("/fails", "/slow"):
        _converse(port, path, frame(TEXT, SECRETS["text"].encode()))
    for order in ({"count": SECRETS["invalid-field"]}, {"count": 1, SECRETS["invalid-key"]: 2}):
        _converse(port, "/orders", frame(TEXT, json.dumps(order).encode()))
    _converse(port, "/orders", frame(TEXT, b'{"count": ' + SECRETS["malformed-json"].encode()))
    _converse(port, "/orders", frame(BINARY, SECRETS["binary"].encode()))
    _converse(port, "/echo", frame(TEXT, SECRETS["no-utf8"].encode() + b"\xff"))
    _converse(port, "/echo", frame(TEXT, SECRETS["too-big"].encode() * 1_000))
    _converse(port, "/echo", frame(CLOSE, b"\x03\xe8" + SECRETS["no-utf8"].encode() + b"\xff"))
    _converse(port, "/told", close(4_000, b"line one\r\nERROR line two \x1b[31mred"))
    for token, payload in (
        (SECRETS["admin-token"], SECRETS["admin-publication"]),
        ("wrong-" + SECRETS["admin-token"], SECRETS["admin-publication"]),
        (SECRETS["admin-token"], SECRETS["admin-publication"] * 100_000),
    ):
        answers.append(admin(admin_port, f"/channels/news?key={SECRETS['query']}", payload, token))
    return answers


def admin(port: int, path: str, body: str | None = None, token: str = SECRETS["admin-token"]) -> bytes:
    """A request of the operator's."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}", data=None if body is None else body.encode()
    )
    request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=raw.PATIENCE) as response:
            return bytes(response.read())
    except urllib.error.HTTPError as error:
        return error.read()
    except OSError:
        return b""


def _headers(bearer: bool = True) -> list[tuple[str, str]]:
    headers = [
        ("Cookie", f"session={SECRETS['cookie']}; other={SECRETS['cookie']}"),
        ("User-Agent", SECRETS["agent"]),
    ]
    if bearer:
        headers += [
            ("Authorization", f"Bearer {SECRETS['authorization']}"),
            ("Sec-WebSocket-Protocol", f"chat, bearer.{SECRETS['subprotocol']}"),
        ]
    return [*headers, ("X-Secret", SECRETS["header"])]


def _say(port: int, text: str) -> bytes:
    with raw.Peer(("127.0.0.1", port)) as peer:
        with contextlib.suppress(ConnectionError):
            peer.send(text.encode())
        peer.socket.shutdown(socket.SHUT_WR)
        return _rest(peer)


def _ask(port: int, path: str, *, more: list[tuple[str, str]] | None = None, bearer: bool = True) -> bytes:
    with raw.Peer(("127.0.0.1", port)) as peer:
        headers = raw.upgrade_headers(*_headers(bearer), *(more or []))
        peer.send(raw.head(f"{path}?token={SECRETS['query']}", headers))
        if path == "/echo" and bearer and not more:
            assert peer.response_head().status == 101
            return b""
        return _rest(peer)


def _rest(peer: raw.Peer) -> bytes:
    data = b""
    with contextlib.suppress(ConnectionError):
        while more := peer.socket.recv(65_536):
            data += more
    return data


def _converse(port: int, path: str, *parts: bytes) -> None:
    """Opens a connection, says its part and waits for the server's Close, or for as many answers."""
    with raw.Peer(("127.0.0.1", port)) as peer:
        peer.send(raw.head(f"{path}?token={SECRETS['query']}", raw.upgrade_headers(*_headers())))
        assert peer.response_head().status == 101
        peer.send(*parts)
        ending = b""
        for _ in range(20):
            one = peer.frame()
            if one.opcode == CLOSE:
                ending = one.payload
                break
            if path == "/echo" and one.payload == SECRETS["binary"].encode():
                return
        for name, secret in SECRETS.items():
            assert secret.encode() not in ending, f"the close reason repeats {name}: {ending!r}"
