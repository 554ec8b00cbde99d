"""Receives bytes and the answer they deserve · hands out cases that send the one and wait for the other · owns what a
refusal and a failed connection look like to the peer.
"""

from __future__ import annotations

from collections.abc import Mapping

from tests.protocol.rows.profiles import PLAIN
from tests.protocol.rows.registry import VIOLATION, Ending, Profile, Row, Run
from tests.protocol.rows.stage import Stage
from tests.support.raw import KEY, Peer, Response, head, upgrade_headers

PHRASES = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    414: "URI Too Long",
    426: "Upgrade Required",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    503: "Service Unavailable",
    505: "HTTP Version Not Supported",
}

VALID = [
    b"GET /echo HTTP/1.1",
    b"Host: localhost",
    b"Upgrade: websocket",
    b"Connection: Upgrade",
    b"Sec-WebSocket-Key: " + KEY.encode(),
    b"Sec-WebSocket-Version: 13",
]


def raw(*lines: bytes) -> bytes:
    """A head from its lines, for what no header list can say."""
    return b"\r\n".join([*lines, b"", b""])


def with_header(*more: tuple[str, str], without: str = "") -> bytes:
    """A valid upgrade with more headers, or fewer."""
    return head(headers=upgrade_headers(*more, without=without))


def refusal(peer: Peer, status: int, headers: Mapping[str, str] | None = None) -> Response:
    """The answer of that status: whole, exact, and the last thing there."""
    answer = peer.response()
    assert answer.line == f"HTTP/1.1 {status} {PHRASES[status]}"
    assert answer.one("Connection") == ("close, upgrade" if status == 426 else "close")
    assert answer.one("Content-Type") == "text/plain; charset=utf-8"
    assert answer.one("X-Content-Type-Options") == "nosniff"
    for name, value in (headers or {}).items():
        assert answer.one(name) == value, answer
    # It says what was wrong, and repeats no line and no sign that a terminal would obey.
    assert answer.body[:-1].decode().isprintable()
    assert len(answer.body) > 1
    assert answer.body.endswith(b"\n")
    return answer


def refused(request: bytes, status: int, headers: Mapping[str, str] | None = None) -> Run:
    """A request on a connection of its own that is refused."""

    def run(stage: Stage) -> None:
        peer = stage.connect()
        peer.send(request)
        refusal(peer, status, headers)

    return run


def all_refused(
    row: Row,
    requests: Mapping[str, bytes],
    status: int,
    *,
    headers: Mapping[str, str] | None = None,
    profile: Profile = PLAIN,
) -> None:
    """A case for each request."""
    for title, request in requests.items():
        row.add(title, refused(request, status, headers), profile)


def fails(data: bytes, code: int, reason: str = "") -> Run:
    """Frames that cannot be decoded: our Close comes, then our end of the connection, with nothing between."""

    def run(stage: Stage) -> None:
        peer = stage.open()
        peer.send(data)
        found, text = peer.closed()
        assert (found, reason in text) == (code, True), (found, text)
        assert peer.ending() == "FIN"

    return run


def all_fail(
    row: Row, inputs: Mapping[str, bytes], code: int, *, reason: str = "", profile: Profile = PLAIN
) -> None:
    """A case for each input."""
    for title, data in inputs.items():
        row.add(title, fails(data, code, reason), profile, ending=Ending(code, VIOLATION, "server"))
