"""What `on_connect` and the limits decide, as the client sees it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from typing import Any

import pytest

import streamconductor as sc
from tests.protocol.conftest import Serve
from tests.support.frames import TEXT, Frame
from tests.support.raw import Response, head, upgrade_headers
from tests.support.servers import Site, eventually


def ask(site: Site, *headers: tuple[str, str], path: str = "/echo") -> Response:
    """Asks to come in and is refused."""
    with site.connect() as peer:
        peer.send(head(path, upgrade_headers(*headers)))
        return peer.response()


# Verdicts.


def test_reject_is_answered_with_its_status_reason_and_headers(serve: Serve) -> None:
    site = serve(
        on_connect=lambda request: sc.Reject(
            401, "token expired", headers={"WWW-Authenticate": 'Bearer error="invalid_token"'}
        )
    )
    answer = ask(site)
    assert answer.line == "HTTP/1.1 401 Unauthorized"
    assert answer.body == b"token expired\n"
    assert answer.one("WWW-Authenticate") == 'Bearer error="invalid_token"'
    assert answer.one("Connection") == "close"
    # The slot goes back once writing is shut, which is behind the answer.
    assert eventually(lambda: site.occupied == 1)


def test_reject_without_a_reason_says_the_phrase(serve: Serve) -> None:
    site = serve(on_connect=lambda request: sc.Reject())
    answer = ask(site)
    assert (answer.line, answer.body) == ("HTTP/1.1 403 Forbidden", b"Forbidden\n")


def test_reject_of_503_says_when_to_come_back(serve: Serve) -> None:
    site = serve(on_connect=lambda request: sc.Reject(503, "later"), retry_after=2.5)
    assert ask(site).one("Retry-After") == "3"


async def _raises(request: sc.Request) -> sc.Accept[None]:
    raise LookupError("the database is away")


def _raises_at_once(request: sc.Request) -> sc.Accept[None]:
    raise LookupError("the database is away")


async def _interrupts(request: sc.Request) -> sc.Accept[None]:
    raise KeyboardInterrupt


def _returns(value: Any) -> Callable[[sc.Request], Any]:
    return lambda request: value


BROKEN_VERDICTS: dict[str, Callable[[sc.Request], Any]] = {
    "raises": _raises,
    "raises at once": _raises_at_once,
    "raises KeyboardInterrupt": _interrupts,
    "None": _returns(None),
    "True": _returns(True),
    "Accept's class": _returns(sc.Accept),
    "a number as user": _returns(sc.Accept(user=5)),  # type: ignore[call-overload]
    "a priority of 70 bits": _returns(sc.Accept(priority=1 << 70)),
    "a channel without a name": _returns(sc.Accept(subscribe=[""])),
    "a channel that is no text": _returns(sc.Accept(subscribe=[5])),  # type: ignore[list-item]
    "channels that are no list": _returns(sc.Accept(subscribe=5)),  # type: ignore[call-overload]
    "too many channels": _returns(sc.Accept(subscribe=[f"channel {number}" for number in range(129)])),
    "a header with CR and LF": _returns(sc.Accept(headers={"X-One": "1\r\nX-Two: 2"})),
    "a header name with LF": _returns(sc.Accept(headers={"X-One\nX-Two": "2"})),
    "a header with NUL": _returns(sc.Accept(headers={"X-One": "\0"})),
    "a header of the handshake": _returns(
        sc.Accept(headers={"Sec-WebSocket-Extensions": "permessage-deflate"})
    ),
    "a header that is a number": _returns(sc.Accept(headers={"X-One": 1})),  # type: ignore[dict-item]
    "a refusal's header with CR and LF": _returns(sc.Reject(401, headers={"X-One": "1\r\nX-Two: 2"})),
    "a refusal's header that is a number": _returns(sc.Reject(401, headers={"X-One": 1})),  # type: ignore[dict-item]
}


@pytest.mark.parametrize("on_connect", BROKEN_VERDICTS.values(), ids=BROKEN_VERDICTS)
def test_a_broken_verdict_is_500_and_logged_once(
    serve: Serve, on_connect: Callable[[sc.Request], Any]
) -> None:
    site = serve(on_connect=on_connect)
    site.expected_errors = 1
    answer = ask(site)
    assert answer.line == "HTTP/1.1 500 Internal Server Error"
    # What went wrong is for the log, not for whoever asked.
    assert b"database" not in answer.body
    assert answer.one("X-Two") is None
    assert len(site.errors(1)) == 1


def test_accept_adds_its_headers_to_the_101(serve: Serve) -> None:
    headers = [
        ("Set-Cookie", "a=1"),
        ("Set-Cookie", "b=2; HttpOnly"),
        ("X-Node", "café".encode().decode("latin-1")),
    ]
    site = serve(on_connect=lambda request: sc.Accept(headers=headers[:2]))
    with site.connect() as peer:
        answer = peer.upgrade()
        assert answer.all("Set-Cookie") == ["a=1", "b=2; HttpOnly"]
        peer.echo()


def test_accept_names_user_context_and_channels(serve: Serve) -> None:
    def application(server: sc.Server) -> None:
        @server.route("/who")
        async def who(connection: sc.Connection[dict[str, int]]) -> None:
            await connection.send([connection.user, connection.context])
            await server.publish("news", "fresh")
            async for _ in connection:
                pass

    site = serve(
        application,
        on_connect=lambda request: sc.Accept(user="ada", context={"age": 36}, subscribe=["news"]),
    )
    with site.connect() as peer:
        peer.upgrade("/who")
        assert sorted(peer.frame().payload for _ in range(2)) == sorted([b'["ada",{"age":36}]', b"fresh"])
        assert [one.user for one in site.call(lambda: site.server.connections(user="ada"))] == ["ada"]
    assert site.ended().by == "peer"
    assert site.call(lambda: site.server.connections(user="ada")) == []


# Who it is.


@pytest.fixture
def token_site(serve: Serve) -> Site:
    """Answers with the token, the offered subprotocols and the one that was selected."""

    def application(server: sc.Server) -> None:
        @server.route("/token", subprotocols=["chat.v2", "chat"])
        async def tell(connection: sc.Connection[Any]) -> None:
            request = connection.request
            assert request is not None
            await connection.send([request.bearer_token, request.subprotocols, connection.subprotocol])

    return serve(application, bearer_cookie="session")


BEARER = ("Authorization", "Bearer from.header")
COOKIE = ("Cookie", "other=1; session=from.cookie; session=second")
OFFER = ("Sec-WebSocket-Protocol", "bearer.from-offer, chat")


@pytest.mark.parametrize(
    ("headers", "token"),
    [
        ([BEARER], "from.header"),
        ([("authorization", "bearer from.header")], "from.header"),
        ([COOKIE], "from.cookie"),
        ([("Cookie", 'session="quoted"')], "quoted"),
        ([("Cookie", "my-session=other")], None),
        ([OFFER], "from-offer"),
        ([BEARER, COOKIE, OFFER], "from.header"),
        ([COOKIE, OFFER], "from.cookie"),
        ([("Authorization", "Basic dXNlcjpwYXNz")], None),
        ([("Authorization", "Bearer ")], None),
        ([], None),
    ],
)
def test_the_bearer_token(token_site: Site, headers: list[tuple[str, str]], token: str | None) -> None:
    with token_site.connect() as peer:
        answer = peer.upgrade("/token", *headers)
        found, offered, selected = json.loads(peer.frame().payload)
        assert found == token
        # A token is neither shown as a subprotocol nor ever sent back.
        expected = "chat" if OFFER in headers else None
        assert offered == ([expected] if expected else [])
        assert selected == answer.one("Sec-WebSocket-Protocol") == expected
        assert peer.closed()[0] == 1000


@pytest.mark.parametrize(
    ("offers", "selected"),
    [
        (["chat, chat.v2"], "chat.v2"),  # the server's preference
        (["chat"], "chat"),
        (["other", "chat"], "chat"),  # over several lines
        (["CHAT"], None),  # subprotocols are case-sensitive
        (["other"], None),
        (["bearer.chat"], None),
        (["chat,,  ,"], "chat"),
    ],
)
def test_the_subprotocol(token_site: Site, offers: list[str], selected: str | None) -> None:
    with token_site.connect() as peer:
        answer = peer.upgrade("/token", *[("Sec-WebSocket-Protocol", offer) for offer in offers])
        assert answer.one("Sec-WebSocket-Protocol") == selected


def test_accept_may_choose_the_subprotocol(serve: Serve) -> None:
    def application(server: sc.Server) -> None:
        @server.route("/chat", subprotocols=["a", "b"])
        async def chat(connection: sc.Connection[Any]) -> None:
            await connection.send(connection.subprotocol)

    site = serve(application, on_connect=lambda request: sc.Accept(subprotocol="b"))
    with site.connect() as peer:
        answer = peer.upgrade("/chat", ("Sec-WebSocket-Protocol", "a, b"))
        assert answer.one("Sec-WebSocket-Protocol") == "b"
        assert peer.frame() == Frame(TEXT, b"b")


def test_a_subprotocol_that_was_not_offered_is_500(serve: Serve) -> None:
    site = serve(on_connect=lambda request: sc.Accept(subprotocol="chat"))
    for offers in ([], [("Sec-WebSocket-Protocol", "other")]):
        answer = ask(site, *offers)
        assert answer.line == "HTTP/1.1 500 Internal Server Error"
    # Whose mistake it is stands in the log and not in the answer.
    for record in site.errors(2):
        assert "does not offer" in str(record.exc_info[1] if record.exc_info else "")


# Where it leads.


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/rooms/blue", "room blue"),
        ("/rooms/blue?x=1", "room blue"),
        ("/rooms/lobby", "the lobby"),
        ("/rooms/a%20b%2Fc", "room a b/c"),
        ("/rooms/%C3%BC", "room ü"),
        ("/files/", "file "),
        ("/files/a/b/c.txt", "file a/b/c.txt"),
        ("http://localhost/rooms/blue", "room blue"),
        ("/rooms", None),
        ("/rooms/", None),
        ("/rooms/blue/", None),
        ("/ROOMS/blue", None),
        ("//rooms/blue", None),
    ],
)
def test_routes(serve: Serve, path: str, said: str | None) -> None:
    def application(server: sc.Server) -> None:
        def tell(path: str, text: str) -> None:
            @server.route(path)
            async def handler(connection: sc.Connection[Any]) -> None:
                assert connection.request is not None
                await connection.send(text.format(**connection.request.path_params))

        tell("/rooms/{name}", "room {name}")
        tell("/rooms/lobby", "the lobby")
        tell("/files/{name:path}", "file {name}")

    site = serve(application)
    if said is None:
        assert ask(site, path=path).line == "HTTP/1.1 404 Not Found"
        return
    with site.connect() as peer:
        peer.upgrade(path)
        assert peer.frame() == Frame(TEXT, said.encode())
        assert peer.closed() == (1000, "")


# Limits.


def test_the_pool_never_exceeds_its_maximum_under_a_rush(serve: Serve) -> None:
    site = serve(max_connections=10)
    with contextlib.ExitStack() as stack:
        peers = [stack.enter_context(site.connect()) for _ in range(60)]
        for peer in peers:
            peer.send(head())
        statuses = [peer.response_head().status for peer in peers]
        assert statuses.count(101) == 9  # the canary has the tenth
        assert statuses.count(503) == 51
        assert site.occupied == 10
