"""Which pages may connect: the origin rule, as browsers meet it."""

from __future__ import annotations

from typing import Any

import pytest

import streamconductor as sc
from tests.protocol.conftest import Serve
from tests.support.frames import TEXT, Frame
from tests.support.raw import Response, head, upgrade_headers
from tests.support.servers import Site


def ask(site: Site, *headers: tuple[str, str]) -> Response:
    """Asks to come in and is refused."""
    with site.connect() as peer:
        peer.send(head(headers=upgrade_headers(*headers)))
        return peer.response()


EVIL = "https://app.example.com.evil.tld"


@pytest.mark.parametrize(
    ("origins", "origin", "host", "status"),
    [
        # H18: scheme, host and port are equal, or nothing is.
        (["https://app.example.com"], "https://app.example.com", "localhost", 101),
        (["https://app.example.com"], "https://APP.example.com:443", "localhost", 101),
        (["https://app.example.com"], EVIL, "localhost", 403),
        (["https://app.example.com"], "https://example.com", "localhost", 403),
        (["https://app.example.com"], "http://app.example.com", "localhost", 403),
        (["https://app.example.com"], "https://app.example.com:8443", "localhost", 403),
        (["https://app.example.com"], "https://app.example.com/", "localhost", 403),
        (["https://app.example.com"], "https://user@app.example.com", "localhost", 403),
        (["https://app.example.com"], "http://localhost", "localhost", 403),
        # H19: `null` is every sandbox's origin.
        (["https://app.example.com"], "null", "localhost", 403),
        (["null"], "null", "localhost", 101),
        ("*", EVIL, "localhost", 101),
        # The same origin, or loopback to loopback.
        (None, "http://example.com", "example.com", 101),
        (None, "https://example.com", "example.com", 101),
        (None, "http://example.com:8000", "example.com:8000", 101),
        (None, "http://example.com:8001", "example.com:8000", 403),
        (None, "http://example.com.evil.tld", "example.com", 403),
        (None, "http://localhost:3000", "127.0.0.1:8000", 101),
        (None, "http://localhost:3000", "example.com", 403),
        (None, EVIL, "localhost", 403),
        (None, "null", "localhost", 403),
        (None, "", "localhost", 403),
        # Programs that are no browsers send none.
        (["https://app.example.com"], None, "localhost", 101),
    ],
)
def test_the_origin(
    serve: Serve, origins: list[str] | str | None, origin: str | None, host: str, status: int
) -> None:
    site = serve(origins=origins)
    headers = [] if origin is None else [("Origin", origin)]
    with site.connect() as peer:
        peer.send(head(headers=upgrade_headers(*headers, host=host)))
        if status == 101:
            peer.switched()
        else:
            assert peer.response().line == "HTTP/1.1 403 Forbidden"
            assert site.occupied == 1


def test_two_origins_are_400(site: Site) -> None:
    """H19."""
    answer = ask(site, ("Origin", "http://localhost"), ("Origin", "http://localhost"))
    assert answer.line == "HTTP/1.1 400 Bad Request"


def test_a_refused_origin_is_logged_once_with_the_line_to_paste(serve: Serve) -> None:
    site = serve(threads=1)
    for _ in range(3):
        ask(site, ("Origin", EVIL))
    site.call(lambda: None)
    lines = [record.getMessage() for record in site.records if "origin" in record.getMessage()]
    assert lines == [f"origin '{EVIL}' was refused; to allow it: Config(origins=['{EVIL}'])"]


def test_a_route_has_origins_of_its_own(serve: Serve) -> None:
    def application(server: sc.Server) -> None:
        @server.route("/public", origins="*")
        async def public(connection: sc.Connection[Any]) -> None:
            await connection.send("welcome")

    site = serve(application)
    assert ask(site, ("Origin", EVIL)).status == 403
    with site.connect() as peer:
        peer.upgrade("/public", ("Origin", EVIL))
        assert peer.frame() == Frame(TEXT, b"welcome")
