"""Receives nothing · hands the registry the rows of requests that break a rule of HTTP/1.1 or of the opening
handshake · owns those requests.
"""

from __future__ import annotations

from tests.protocol.rows.forms import VALID, all_refused, raw, refusal, refused, with_header
from tests.protocol.rows.hello import client_hello
from tests.protocol.rows.profiles import PLAIN
from tests.protocol.rows.registry import row
from tests.protocol.rows.stage import Stage
from tests.support.frames import TEXT, close, frame
from tests.support.raw import KEY, head

H1 = row(
    "H1",
    "a header of 20 MB",
    "431 as soon as the head passes 16 KiB; the rest meets a reset; below 10 ms of processor time",
)


@H1.case("20 MB", PLAIN, cost=2)
def header_of_20_megabytes(stage: Stage) -> None:
    began = stage.cpu
    peer = stage.connect()
    peer.send((head()[:-2] + b"X-Long: ").ljust(16 * 1024 + 1, b"x"))
    assert peer.response_head().line == "HTTP/1.1 431 Request Header Fields Too Large"
    assert peer.flood(b"x" * 20_000_000) < 20_000_000
    # The clock of processor time ticks a hundred times a second, and the canary has its share.
    assert stage.cpu - began <= 0.05


H2 = row("H2", "2,000 headers", "431 above 100, even where they are short; 100 are a request")
all_refused(
    H2,
    {"2,000": with_header(*[("a", "b")] * 2_000), "one too many": with_header(*[("a", "b")] * 96)},
    431,
)


@H2.case("a hundred", PLAIN)
def hundred_headers(stage: Stage) -> None:
    peer = stage.connect()
    peer.send(with_header(*[("a", "b")] * 95))
    peer.switched()


H3 = row("H3", "a request target above 8 KiB", "414, at once")
H3.add("one byte too long", refused(head("/" + "x" * 8_192), 414), PLAIN)
H3.add("before its line has ended", refused(b"GET /" + b"x" * 8_192, 414), PLAIN)
H3.add("8 KiB", refused(head("/" + "x" * 8_191), 404), PLAIN)

H6 = row("H6", "`Sec-WebSocket-Protocol` in bytes that are no text", "400")
all_refused(
    H6,
    {
        "80 ff": with_header(("Sec-WebSocket-Protocol", "\x80\xff")),
        "no token": with_header(("Sec-WebSocket-Protocol", "chat room")),
    },
    400,
)

H7 = row(
    "H7", "a subprotocol of `b`, a run of spaces and `x`", "400, or 431 above 16 KiB of head; in linear time"
)
H7.add("8,000 spaces", refused(with_header(("Sec-WebSocket-Protocol", f"b{' ' * 8_000}x")), 400), PLAIN)
H7.add("32,000 spaces", refused(with_header(("Sec-WebSocket-Protocol", f"b{' ' * 32_000}x")), 431), PLAIN)

H8 = row(
    "H8",
    "extensions called `constructor`, 1,000 offers, junk in quotes",
    "101 that names none, or 400 where it breaks the grammar",
)
H9 = row("H9", "`client_max_window_bits=99`, a parameter twice", "the offer is declined: 101 that names none")
for each, title, offers in (
    (H8, "constructor", "constructor"),
    (H8, "a thousand", ", ".join(f"e{number}; p={number}" for number in range(1_000))),
    (H8, "deflate, which is off", "permessage-deflate"),
    (H9, "window bits of 99", "permessage-deflate; client_max_window_bits=99"),
    (
        H9,
        "a parameter twice",
        "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
    ),
):

    def declined(stage: Stage, offers: str = offers) -> None:
        peer = stage.connect()
        peer.send(with_header(("Sec-WebSocket-Extensions", offers)))
        peer.switched()  # asserts that it names none
        peer.echo()

    each.add(title, declined, PLAIN)


@H8.case("junk", PLAIN)
def junk_extensions(stage: Stage) -> None:
    peer = stage.connect()
    peer.send(with_header(("Sec-WebSocket-Extensions", 'permessage-deflate; x="\\"; y=\', ,;;;=')))
    answer = peer.response_head()
    assert answer.status in (101, 400)
    assert answer.one("Sec-WebSocket-Extensions") is None


def _key(value: str) -> bytes:
    return with_header(("Sec-WebSocket-Key", value), without="Sec-WebSocket-Key")


H10 = row(
    "H10", "`Sec-WebSocket-Key` missing, of the wrong length, no base64, twice", "400, and nothing is kept"
)
all_refused(
    H10,
    {
        "missing": with_header(without="Sec-WebSocket-Key"),
        "10 bytes": _key("AAAAAAAAAAAAAA=="),
        "19 bytes": _key("AAAAAAAAAAAAAAAAAAAAAAAAAA=="),
        "15 bytes": _key("AAAAAAAAAAAAAAAAAAAA"),
        "17 bytes": _key("AAAAAAAAAAAAAAAAAAAAAAA="),
        "no base64": _key("!!!!!!!!!!!!!!!!!!!!!!=="),
        "twice": with_header(("Sec-WebSocket-Key", KEY)),
    },
    400,
)

H11 = row("H11", "version absent, 8, a list, twice", "426 with `Sec-WebSocket-Version: 13`")
all_refused(
    H11,
    {
        "absent": with_header(without="Sec-WebSocket-Version"),
        "8": with_header(("Sec-WebSocket-Version", "8"), without="Sec-WebSocket-Version"),
        "a list": with_header(("Sec-WebSocket-Version", "8, 13"), without="Sec-WebSocket-Version"),
        "twice": with_header(("Sec-WebSocket-Version", "13")),
    },
    426,
    headers={"Sec-WebSocket-Version": "13"},
)

H12 = row("H12", "POST, CONNECT and other methods", "405 with `Allow: GET`")
all_refused(
    H12,
    {method: head(method=method) for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH", "get")}
    | {"CONNECT": head("localhost:443", [("Host", "localhost:443")], method="CONNECT")},
    405,
    headers={"Allow": "GET"},
)

H13 = row("H13", "an upgrade in HTTP/1.0, the preface of HTTP/2", "505")
all_refused(
    H13,
    {
        "1.0": head(version="HTTP/1.0"),
        "1.2": head(version="HTTP/1.2"),
        "2.0": head(version="HTTP/2.0"),
        "the preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    },
    505,
)

H14 = row(
    "H14",
    "no Upgrade, `Upgrade: h2c`, a reset just after it",
    "426, 404 where no route is; h2c is never spoken",
)
all_refused(
    H14,
    {
        "plain": head(headers=[("Host", "localhost")]),
        "no Upgrade": with_header(without="Upgrade"),
        "no Connection": with_header(without="Connection"),
        "h2c": with_header(("Upgrade", "h2c"), ("HTTP2-Settings", "AAMAAABkAAQAAP__"), without="Upgrade"),
    },
    426,
    headers={"Upgrade": "websocket", "Sec-WebSocket-Version": "13"},
)
all_refused(
    H14,
    {
        "plain, elsewhere": head("/nowhere", [("Host", "localhost")]),
        "elsewhere": head("/nowhere"),
        "a slash too many": head("/echo/"),
    },
    404,
)


@H14.case("reset", PLAIN)
def reset_behind_the_request(stage: Stage) -> None:
    for request in (
        head(),
        head(headers=[("Host", "localhost")]),
        head()[:40],
        b"",
        with_header(("Upgrade", "h2c")),
    ):
        peer = stage.connect()
        peer.send(request)
        peer.reset()


H15 = row(
    "H15", "an upgrade with Content-Length, chunks, both", "400; a body is never read as frames or requests"
)
all_refused(
    H15,
    {
        "a length": with_header(("Content-Length", "5")),
        "a length and a body": with_header(("Content-Length", "5")) + b"hello",
        "a length and a frame": with_header(("Content-Length", "11")) + frame(TEXT, b"hello"),
        "chunks": with_header(("Transfer-Encoding", "chunked")),
        "chunks and their body": with_header(("Transfer-Encoding", "chunked")) + b"5\r\nhello\r\n0\r\n\r\n",
        "both": with_header(("Content-Length", "5"), ("Transfer-Encoding", "chunked")),
        "two lengths": with_header(("Content-Length", "0"), ("Content-Length", "9")),
    },
    400,
)

H16 = row("H16", "frames or a second request before the 101", "400")
all_refused(
    H16,
    {
        "a frame": head() + frame(TEXT, b"early"),
        "a second request": head() + head(),
        "a byte": head() + b"\x00",
    },
    400,
)

H17 = row(
    "H17", "folded lines, bare LF, NUL, `Host :`, two Hosts, no Host, and what else RFC 9112 forbids", "400"
)
all_refused(
    H17,
    {
        "obsolete folding": raw(*VALID, b"X-Folded: one", b" two"),
        "bare LF": raw(*VALID).replace(b"\r\nUpgrade", b"\nUpgrade"),
        "bare CR": raw(*VALID, b"X-Split: one\rtwo"),
        "NUL": raw(*VALID, b"X-Nul: \x00"),
        "blank before the colon": raw(VALID[0], b"Host : localhost", *VALID[2:]),
        "two Hosts": with_header(("Host", "localhost")),
        "no Host": with_header(without="Host"),
        "a Host that is none": raw(VALID[0], b"Host: a b", *VALID[2:]),
        "a name that is no token": raw(*VALID, b"X(1): one"),
        "a line without a colon": raw(*VALID, b"nothing"),
        "an empty first line": b"\r\n" + raw(*VALID),
        "no target": raw(b"GET HTTP/1.1", *VALID[1:]),
        "a broken escape in the path": raw(b"GET /%zz HTTP/1.1", *VALID[1:]),
        "a fragment in the path": raw(b"GET /echo#here HTTP/1.1", *VALID[1:]),
    },
    400,
)
H17.add("TLS", refused(client_hello(), 400), PLAIN, transports=("tcp",))

H23 = row(
    "H23",
    "CR, LF or ESC in path, headers, a close reason",
    "400; in answers and logs a line each, without them; tokens in neither",
)
TOKEN = ("Authorization", "Bearer secret")
all_refused(
    H23,
    {
        "a line end in the path": raw(b"GET /echo%0d%0aX:%20y HTTP/1.1", *VALID[1:]),
        "ESC in the path": raw(b"GET /%1b[2J HTTP/1.1", *VALID[1:]),
        "ESC in the user agent": with_header(TOKEN, ("User-Agent", "\x1b[2J")),
        "LF in the user agent": with_header(TOKEN, ("User-Agent", "one\ntwo")),
        "CR in the user agent": with_header(TOKEN, ("User-Agent", "one\rtwo")),
        "ESC in the method": head(method="GET\x1b"),
    },
    400,
)


@H23.case("in the query", PLAIN)
def query_with_a_token(stage: Stage) -> None:
    peer = stage.connect()
    peer.send(head("/nowhere?token=secret%0d%0a%1b"))
    assert b"secret" not in refusal(peer, 404).body


@H23.case("in a close reason", PLAIN)
def reason_with_line_ends(stage: Stage) -> None:
    peer = stage.open()
    reason = "one\r\ntwo\x1b[2J secret"
    peer.send(close(4000, reason.encode()))
    # For the application it is what the peer said; for everybody else it is nothing.
    assert peer.closed() == (4000, "")
    assert stage.endings(1)[0].reason == reason
    assert stage.ask("take_records") == []
