"""Requests that break a rule of HTTP/1.1 or of the opening handshake: each gets its status, then the end."""

from __future__ import annotations

import psutil
import pytest

from tests.protocol.conftest import Serve
from tests.support.frames import TEXT, frame
from tests.support.raw import KEY, Response, head, upgrade_headers
from tests.support.servers import Site, eventually

PHRASES = {
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    414: "URI Too Long",
    426: "Upgrade Required",
    431: "Request Header Fields Too Large",
    505: "HTTP Version Not Supported",
}


def refused(site: Site, request: bytes, status: int) -> Response:
    """Sends a request on a connection of its own; the answer must be whole, exact, and the last thing there."""
    with site.connect() as peer:
        peer.send(request)
        answer = peer.response()
    assert answer.line == f"HTTP/1.1 {status} {PHRASES[status]}"
    assert answer.one("Connection") == ("close, upgrade" if status == 426 else "close")
    assert answer.one("Content-Type") == "text/plain; charset=utf-8"
    assert answer.one("X-Content-Type-Options") == "nosniff"
    assert answer.body.endswith(b"\n")
    assert len(answer.body) > 1
    # Only the canary has a slot: nobody who is refused ever had one for longer than the refusal.
    assert site.occupied == 1
    return answer


def with_header(*more: tuple[str, str], without: str = "") -> bytes:
    return head(headers=upgrade_headers(*more, without=without))


def raw(*lines: bytes) -> bytes:
    """A head from its lines, for what no header list can say."""
    return b"\r\n".join([*lines, b"", b""])


VALID = [
    b"GET /echo HTTP/1.1",
    b"Host: localhost",
    b"Upgrade: websocket",
    b"Connection: Upgrade",
    b"Sec-WebSocket-Key: " + KEY.encode(),
    b"Sec-WebSocket-Version: 13",
]


# H6, H7, H10, H15: headers with which no WebSocket can begin.
BAD_HEADERS = {
    "subprotocol of bytes that are no text": with_header(("Sec-WebSocket-Protocol", "\x80\xff")),
    "subprotocol with a run of spaces": with_header(("Sec-WebSocket-Protocol", "b" + " " * 8_000 + "x")),
    "subprotocol that is no token": with_header(("Sec-WebSocket-Protocol", "chat room")),
    "no key": with_header(without="Sec-WebSocket-Key"),
    "key of 15 bytes": with_header(
        ("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAA"), without="Sec-WebSocket-Key"
    ),
    "key of 17 bytes": with_header(
        ("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAAA="), without="Sec-WebSocket-Key"
    ),
    "key that is no base64": with_header(
        ("Sec-WebSocket-Key", "!!!!!!!!!!!!!!!!!!!!!!=="), without="Sec-WebSocket-Key"
    ),
    "two keys": with_header(("Sec-WebSocket-Key", KEY)),
    "a length": with_header(("Content-Length", "5")),
    "a length and a body": with_header(("Content-Length", "5")) + b"hello",
    "chunks": with_header(("Transfer-Encoding", "chunked")),
    "chunks and their body": with_header(("Transfer-Encoding", "chunked")) + b"5\r\nhello\r\n0\r\n\r\n",
    "both": with_header(("Content-Length", "5"), ("Transfer-Encoding", "chunked")),
    # H8, and the grammar of RFC 6455 §9.1.
    "extensions that are junk": with_header(
        ("Sec-WebSocket-Extensions", 'permessage-deflate; x="\\"; y=\', ,;;;=')
    ),
    "two lengths": with_header(("Content-Length", "0"), ("Content-Length", "9")),
}

# H17: what RFC 9112 calls malformed, and other servers forgive.
BAD_SYNTAX = {
    "obsolete folding": raw(*VALID, b"X-Folded: one", b" two"),
    "bare LF": raw(*VALID).replace(b"\r\nUpgrade", b"\nUpgrade"),
    "bare CR": raw(*VALID, b"X-Split: one\rtwo"),
    "NUL": raw(*VALID, b"X-Nul: \x00"),
    "ESC": raw(*VALID, b"X-Escape: \x1b[2J"),
    "blank before the colon": raw(VALID[0], b"Host : localhost", *VALID[2:]),
    "two Hosts": with_header(("Host", "localhost")),
    "no Host": with_header(without="Host"),
    "a Host that is none": raw(VALID[0], b"Host: a b", *VALID[2:]),
    "a name that is no token": raw(*VALID, b"X(1): one"),
    "a line without a colon": raw(*VALID, b"nothing"),
    "an empty first line": b"\r\n" + raw(*VALID),
    "no target": raw(b"GET HTTP/1.1", *VALID[1:]),
    "a broken escape in the path": raw(b"GET /%zz HTTP/1.1", *VALID[1:]),
    "an escaped line end in the path": raw(b"GET /echo%0d%0aX:%20y HTTP/1.1", *VALID[1:]),
    "a fragment in the path": raw(b"GET /echo#here HTTP/1.1", *VALID[1:]),
    "TLS on a plain port": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
}


@pytest.mark.parametrize(
    "request_bytes", [*BAD_HEADERS.values(), *BAD_SYNTAX.values()], ids=[*BAD_HEADERS, *BAD_SYNTAX]
)
def test_malformed_is_400(site: Site, request_bytes: bytes) -> None:
    answer = refused(site, request_bytes, 400)
    # What was sent is never sent back.
    assert b"\x1b" not in answer.body
    assert b"X:" not in answer.body


# H16: nothing may follow the head before our 101.
@pytest.mark.parametrize(
    "early", [frame(TEXT, b"early"), head(), b"\x00"], ids=["a frame", "a second request", "a byte"]
)
def test_pipelined_behind_the_head_is_400(site: Site, early: bytes) -> None:
    refused(site, head() + early, 400)


def test_a_head_of_20_megabytes_is_431_and_is_not_read(site: Site) -> None:
    """H1: answered at 16 KiB; the rest meets a reset."""
    start = head()[:-2] + b"X-Long: "
    with site.connect() as peer:
        peer.send(start.ljust(16 * 1024 + 1, b"x"))
        assert peer.response_head().line == "HTTP/1.1 431 Request Header Fields Too Large"
        before = peer.flood(b"x" * 20_000_000)
        assert before < 20_000_000


def test_two_thousand_headers_are_431(site: Site) -> None:
    """H2, and the hundred that are allowed."""
    refused(site, with_header(*[("a", "b")] * 2_000), 431)
    refused(site, with_header(*[("a", "b")] * 96), 431)
    with site.connect() as peer:
        peer.send(with_header(*[("a", "b")] * 95))
        peer.switched()


def test_a_target_above_8_kilobytes_is_414(site: Site) -> None:
    """H3, and the 8 KiB that are allowed."""
    refused(site, head("/" + "x" * 8_192), 414)
    refused(site, head("/" + "x" * 8_191), 404)
    with site.connect() as peer:
        # At once, without waiting for the rest of the line.
        peer.send(b"GET /" + b"x" * 8_192)
        assert peer.response().status == 414


# H8, H9: no extension is spoken, so no offer can do harm.
@pytest.mark.parametrize(
    "offers",
    [
        "constructor",
        ", ".join(f"e{number}; p={number}" for number in range(900)),
        "permessage-deflate; client_max_window_bits=99",
        "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
        "permessage-deflate",
    ],
    ids=["constructor", "a thousand", "window bits of 99", "a parameter twice", "deflate"],
)
def test_extensions_are_declined(site: Site, offers: str) -> None:
    with site.connect() as peer:
        peer.send(with_header(("Sec-WebSocket-Extensions", offers)))
        peer.switched()  # asserts that it names none
        peer.echo()


# H11.
@pytest.mark.parametrize(
    "request_bytes",
    [
        with_header(without="Sec-WebSocket-Version"),
        with_header(("Sec-WebSocket-Version", "8"), without="Sec-WebSocket-Version"),
        with_header(("Sec-WebSocket-Version", "8, 13"), without="Sec-WebSocket-Version"),
        with_header(("Sec-WebSocket-Version", "13")),
    ],
    ids=["absent", "8", "a list", "twice"],
)
def test_another_version_is_426(site: Site, request_bytes: bytes) -> None:
    assert refused(site, request_bytes, 426).one("Sec-WebSocket-Version") == "13"


# H14: on a WebSocket path.
@pytest.mark.parametrize(
    "request_bytes",
    [
        head(headers=[("Host", "localhost")]),
        with_header(without="Upgrade"),
        with_header(without="Connection"),
        with_header(("Upgrade", "h2c"), ("HTTP2-Settings", "AAMAAABkAAQAAP__"), without="Upgrade"),
    ],
    ids=["plain", "no Upgrade", "no Connection", "h2c"],
)
def test_no_upgrade_is_426(site: Site, request_bytes: bytes) -> None:
    answer = refused(site, request_bytes, 426)
    assert answer.one("Sec-WebSocket-Version") == "13"
    assert answer.one("Upgrade") == "websocket"


def test_no_upgrade_elsewhere_is_404(site: Site) -> None:
    """H14: on any other path."""
    refused(site, head("/nowhere", [("Host", "localhost")]), 404)
    refused(site, head("/nowhere"), 404)
    refused(site, head("/echo/"), 404)


def test_a_reset_just_after_the_request_hurts_nobody(site: Site) -> None:
    """H14."""
    for request in (
        head(),
        head(headers=[("Host", "localhost")]),
        head()[:40],
        b"",
        with_header(("Upgrade", "h2c")),
    ):
        for _ in range(20):
            peer = site.connect()
            peer.send(request)
            peer.reset()
    with site.connect() as peer:
        peer.upgrade()
        peer.echo()


# H12.
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "get"])
def test_another_method_is_405(site: Site, method: str) -> None:
    assert refused(site, head(method=method), 405).one("Allow") == "GET"


def test_connect_is_405(site: Site) -> None:
    """H12."""
    request = head("localhost:443", [("Host", "localhost:443")], method="CONNECT")
    assert refused(site, request, 405).one("Allow") == "GET"


# H13.
@pytest.mark.parametrize(
    "request_bytes",
    [
        head(version="HTTP/1.0"),
        head(version="HTTP/1.2"),
        head(version="HTTP/2.0"),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
    ids=["1.0", "1.2", "2.0", "the preface of HTTP/2"],
)
def test_another_http_version_is_505(site: Site, request_bytes: bytes) -> None:
    refused(site, request_bytes, 505)


def test_a_split_request_is_a_request(site: Site) -> None:
    """F28, of heads: one byte per segment."""
    with site.connect() as peer:
        for byte in head():
            peer.send(bytes([byte]))
        peer.switched()
        peer.echo()


def test_refusals_leave_nothing_behind(serve: Serve) -> None:
    """H10: no descriptor and no place is kept, however many are refused."""
    site = serve()
    process = psutil.Process()
    request = BAD_HEADERS["no key"]
    refused(site, request, 400)
    before = process.num_fds()
    for _ in range(500):
        with site.connect() as peer:
            peer.send(request)
            assert peer.response_head().status == 400
        site.peers.clear()
    # The last of them may linger for a moment.
    assert eventually(lambda: site.pool.pending == 0)
    assert process.num_fds() <= before
