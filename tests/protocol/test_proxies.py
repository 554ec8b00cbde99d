"""Who the client is, behind proxies that are trusted and behind others: by raw headers, and through a real nginx."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import streamconductor as sc
from tests.protocol.conftest import Serve
from tests.support.frames import TEXT, frame
from tests.support.nginx import Nginx, executable
from tests.support.raw import Peer, Response, head, upgrade_headers
from tests.support.servers import Site, eventually


def who(server: sc.Server) -> None:
    """`/who` tells a client what the server takes it for."""

    @server.route("/who")
    async def tell(connection: sc.Connection[Any]) -> None:
        await connection.send(json.dumps([connection.remote_address, connection.request.remote_address]))
        await connection.recv()


def address(peer: Peer, *headers: tuple[str, str]) -> list[Any]:
    # A proxy writes the 101 in its own way.
    peer.send(head("/who", upgrade_headers(*headers)))
    assert peer.response_head().status == 101
    one, other = json.loads(peer.frame().payload)
    assert one == other
    assert isinstance(one, list)
    return one


def refusal(peer: Peer, *headers: tuple[str, str], host: str = "localhost") -> Response:
    peer.send(head("/who", upgrade_headers(*headers, host=host)))
    return peer.response()


def warned(site: Site, word: str) -> list[str]:
    return [record.getMessage() for record in site.records if word in record.getMessage()]


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([("X-Forwarded-For", "203.0.113.7")], ["203.0.113.7", 0]),
        ([("X-Forwarded-For", "1.1.1.1, 203.0.113.7, 10.1.2.3")], ["203.0.113.7", 0]),
        ([("X-Forwarded-For", "1.1.1.1"), ("X-Forwarded-For", "203.0.113.7")], ["203.0.113.7", 0]),
        ([("Forwarded", 'for=1.1.1.1, for="[2001:db8::7]:4711";proto=https')], ["2001:db8::7", 4711]),
    ],
)
def test_a_trusted_proxy_says_who_the_client_is(
    serve: Serve, headers: list[tuple[str, str]], expected: list[Any]
) -> None:
    site = serve(who, trusted_proxies=["127.0.0.0/8", "10.0.0.0/8"])
    with site.connect() as peer:
        assert address(peer, *headers) == expected
    assert not warned(site, "trusted_proxies")


def test_from_anybody_else_the_headers_are_ignored_with_one_warning(serve: Serve) -> None:
    """H21: limits use the socket's address."""
    site = serve(who, trusted_proxies=["10.0.0.0/8"], max_connections_per_address=3)
    names = ["X-Forwarded-For", "Forwarded", "X-Forwarded-Proto"]
    with site.connect() as first, site.connect() as second:
        for peer, name in zip((first, second), names, strict=False):
            assert address(peer, (name, "for=203.0.113.7"))[0] == "127.0.0.1"
        # The canary is the third of this address.
        for number in range(5):
            with site.connect() as peer:
                answer = refusal(peer, ("X-Forwarded-For", f"203.0.113.{number}"))
                assert (answer.line, answer.one("Retry-After")) == ("HTTP/1.1 429 Too Many Requests", "5")
    assert eventually(lambda: warned(site, "trusted_proxies"))
    (line,) = warned(site, "trusted_proxies")
    assert "from 127.0.0.1" in line
    assert "Config(trusted_proxies=['127.0.0.1'])" in line


def test_connections_are_counted_by_the_client_and_not_by_the_proxy(serve: Serve) -> None:
    site = serve(who, trusted_proxies="127.0.0.1", max_connections_per_address=2, threads=4)
    peers = [site.connect() for _ in range(8)]
    for number, peer in enumerate(peers):
        # Four clients of two connections each; the canary came without a proxy, and is counted as it was.
        assert address(peer, ("X-Forwarded-For", f"203.0.113.{number // 2}"))[0] == f"203.0.113.{number // 2}"
    with site.connect() as peer:
        assert refusal(peer, ("X-Forwarded-For", "203.0.113.1")).status == 429
    peers[2].close()

    def is_let_in() -> bool:
        peer = site.connect()
        peer.send(head("/who", upgrade_headers(("X-Forwarded-For", "203.0.113.1"))))
        return peer.response_head().status == 101

    assert eventually(is_let_in), "its place was not given back"


def test_headers_that_contradict_each_other_are_400(serve: Serve) -> None:
    site = serve(who, trusted_proxies="127.0.0.1")
    with site.connect() as peer:
        answer = refusal(peer, ("Forwarded", "for=203.0.113.7"), ("X-Forwarded-For", "203.0.113.8"))
        assert answer.line == "HTTP/1.1 400 Bad Request"
        assert b"203.0.113" not in answer.body


@pytest.mark.parametrize(
    ("proto", "origin", "status"),
    [
        ("https", "https://example.com", 101),
        ("https", "http://example.com", 403),
        ("http", "http://example.com", 101),
        ("wss", "http://example.com", 403),
    ],
)
def test_the_scheme_that_the_proxy_names_is_compared_with_the_origin(
    serve: Serve, proto: str, origin: str, status: int
) -> None:
    site = serve(who, trusted_proxies="127.0.0.1")
    with site.connect() as peer:
        headers = upgrade_headers(("X-Forwarded-Proto", proto), ("Origin", origin), host="example.com")
        peer.send(head("/who", headers))
        assert peer.response_head().status == status


def test_a_proxy_on_a_unix_socket_is_trusted_by_that_word(serve: Serve, tmp_path: Path) -> None:
    for number, proxies, expected in [(0, ["unix"], ["203.0.113.7", 0]), (1, ["127.0.0.1"], None)]:
        site = serve(who, unix_socket=tmp_path / f"socket{number}", trusted_proxies=proxies)
        with site.connect() as peer:
            peer.upgrade("/who", ("X-Forwarded-For", "203.0.113.7"))
            assert json.loads(peer.frame().payload)[0] == expected
    assert eventually(lambda: warned(site, "trusted_proxies=['unix']"))


def test_who_is_trusted_may_change_while_it_runs(serve: Serve) -> None:
    site = serve(who)
    told = []
    for proxies in (["127.0.0.1"], []):
        site.call(lambda proxies=proxies: site.server.reconfigure(trusted_proxies=proxies))
        with site.connect() as peer:
            told.append(address(peer, ("X-Forwarded-For", "203.0.113.7"))[0])
    assert told == ["203.0.113.7", "127.0.0.1"]


# A real proxy.


@pytest.fixture
def proxied(serve: Serve, tmp_path: Path) -> Iterator[tuple[Site, Nginx]]:
    program = executable()
    if program is None:
        warnings.warn("nginx is not installed: the tests behind a real proxy are skipped", stacklevel=1)
        pytest.skip("nginx is not installed; make system-packages does it")
    site = serve(who, trusted_proxies=["127.0.0.1", "127.0.0.9"], max_connections_per_address=2)
    port = site.call(lambda: site.server.port)
    with Nginx(program, f"127.0.0.1:{port}", tmp_path) as nginx:
        yield site, nginx


def through(nginx: Nginx, name: str, source: str) -> Peer:
    """A client with an address of its own, connected to one of the proxies."""
    return Peer(("127.0.0.1", nginx.ports[name]), source=source)


def refused(peer: Peer, *headers: tuple[str, str]) -> Response:
    """What a proxy passes on of a refusal; it keeps the client's connection."""
    peer.send(head("/who", upgrade_headers(*headers)))
    return peer.response_head()


def test_behind_nginx_each_client_is_itself(proxied: tuple[Site, Nginx]) -> None:
    site, nginx = proxied
    with through(nginx, "usual", "127.0.0.5") as first, through(nginx, "usual", "127.0.0.6") as second:
        assert address(first)[0] == "127.0.0.5"
        assert address(second)[0] == "127.0.0.6"
        first.send(frame(TEXT, b"enough"))
        assert first.closed()[0] == 1000
    with through(nginx, "standard", "127.0.0.7") as third:
        port = third.socket.getsockname()[1]
        assert address(third) == ["127.0.0.7", port]
    with through(nginx, "chained", "127.0.0.8") as fourth:
        assert address(fourth)[0] == "127.0.0.8"
    assert not warned(site, "trusted_proxies")


@pytest.mark.parametrize("name", ["usual", "chained"])
def test_behind_nginx_nobody_can_pass_for_another(proxied: tuple[Site, Nginx], name: str) -> None:
    _, nginx = proxied
    for lie in ["203.0.113.7", "127.0.0.1", "127.0.0.9, 127.0.0.1", "unknown", '"', "for=203.0.113.7"]:
        with through(nginx, name, "127.0.0.5") as peer:
            assert address(peer, ("X-Forwarded-For", lie))[0] == "127.0.0.5"
    # The header that this proxy does not write comes as the client sent it.
    for lie in ["for=203.0.113.7", "for=127.0.0.1", "for=127.0.0.9;proto=https"]:
        with through(nginx, name, "127.0.0.5") as peer:
            assert refused(peer, ("Forwarded", lie)).status == 400
    for lie in ["for=unknown", 'for="', "nonsense", "for=127.0.0.5"]:
        with through(nginx, name, "127.0.0.5") as peer:
            assert address(peer, ("Forwarded", lie))[0] == "127.0.0.5"


def test_behind_nginx_a_standard_header_survives_what_stands_before_it(proxied: tuple[Site, Nginx]) -> None:
    _, nginx = proxied
    for lie in [
        "for=203.0.113.7",
        'for="203.0.113.7',
        'x="\\',
        '"',
        "for=203.0.113.7;by=",
        ",,;;",
        "for=127.0.0.1",
    ]:
        with through(nginx, "standard", "127.0.0.5") as peer:
            assert address(peer, ("Forwarded", lie))[0] == "127.0.0.5", lie


def test_behind_nginx_the_limit_is_each_clients_own(proxied: tuple[Site, Nginx]) -> None:
    _, nginx = proxied
    peers = [through(nginx, "usual", f"127.0.0.{20 + number // 2}") for number in range(8)]
    try:
        for number, peer in enumerate(peers):
            assert address(peer)[0] == f"127.0.0.{20 + number // 2}"
        with through(nginx, "usual", "127.0.0.20") as peer:
            answer = refused(peer)
            assert (answer.status, answer.one("Retry-After")) == (429, "5")
    finally:
        for peer in peers:
            peer.close()
