"""RFC 6455 §7 and, of §8 to §10, what a server keeps or breaks: each MUST by its number."""

from __future__ import annotations

import random
from typing import Any

import pytest

import streamconductor as sc
from tests.conformance.conftest import Serve
from tests.conformance.wire import read
from tests.support.frames import BINARY, CLOSE, CONTINUATION, PING, TEXT, Frame, close, frame
from tests.support.servers import Site, eventually

VIOLATION = frame(TEXT, b"x", reserved=1)


@pytest.mark.parametrize(
    ("code", "reason"), [(1000, ""), (1001, "going"), (3000, "\u00fc" * 61), (4999, "x" * 123)]
)
def test_7_1_2_1_the_closing_handshake_starts_with_the_given_code_and_reason(
    serve: Serve, code: int, reason: str
) -> None:
    def application(server: sc.Server) -> None:
        @server.route("/leave")
        async def leave(connection: sc.Connection[None]) -> None:
            await connection.close(code, reason)

    site = serve(application)
    with site.open("/leave") as peer:
        one = read(peer)
        assert (one.opcode, one.payload) == (CLOSE, code.to_bytes(2, "big") + reason.encode())
        peer.send(close(code))
        assert peer.ending() == "FIN"


def test_7_1_7_2_a_server_that_fails_the_connection_closes_it(site: Site) -> None:
    with site.open() as peer:
        peer.send(VIOLATION)
        # As it should, it says why before.
        assert peer.closed()[0] == 1002
        # No Close of the client was needed.
        assert peer.ending() == "FIN"
        assert site.ended().code == 1002
        assert site.occupied == 1


def test_7_1_7_3_nothing_is_processed_after_a_failure(serve: Serve) -> None:
    received: list[str | bytes] = []

    def application(server: sc.Server) -> None:
        @server.on_message("/listen")
        def listen(connection: sc.Connection[Any], message: str | bytes) -> None:
            received.append(message)

    site = serve(application)
    with site.open("/listen") as peer:
        late = frame(TEXT, b"late") + frame(PING, b"late") + close(4000, b"late")
        peer.send(frame(TEXT, b"in time"), VIOLATION, late)
        assert peer.closed()[0] == 1002
        peer.send(late)
        assert peer.ending() == "FIN"
        closed = site.ended()
        assert (closed.code, closed.by) == (1002, "server")
    # The socket has gone, and whatever it held with it.
    assert eventually(lambda: site.pool.pending == 0)
    assert received == ["in time"]


def reserved(site: Site, serve_code: int) -> None:
    """A code that may not be sent is refused from the application, and fails a client that sends it."""
    with site.open("/close") as peer:
        peer.send(frame(TEXT, str(serve_code).encode()))
        assert peer.frame() == Frame(TEXT, b"ValueError")
        peer.send(close(serve_code))
        code, _ = peer.closed()
        assert code == 1002
        assert peer.ending() == "FIN"


def with_close(server: sc.Server) -> None:
    @server.route("/close")
    async def leave(connection: sc.Connection[None]) -> None:
        async for message in connection:
            try:
                connection.close(int(message))
            except ValueError as error:
                await connection.send(type(error).__name__)


def test_7_4_1_1_code_1005_is_not_sent(serve: Serve) -> None:
    site = serve(with_close)
    reserved(site, 1005)
    assert site.ended().code == 1002
    with site.open() as peer:
        # A Close without a code is 1005 to the application, and is answered without one.
        peer.send(close())
        assert peer.any_frame() == Frame(CLOSE, b"")
    assert site.ended().code == 1005


def test_7_4_1_2_code_1006_is_not_sent(serve: Serve) -> None:
    site = serve(with_close)
    reserved(site, 1006)
    assert site.ended().code == 1002
    with site.open() as peer:
        peer.reset()
    assert site.ended().code == 1006


def test_7_4_1_3_code_1015_is_not_sent(serve: Serve) -> None:
    reserved(serve(with_close), 1015)


@pytest.mark.parametrize("data", [b"\xff", b"good \xfe", b"\xc3\x28"])
def test_8_1_1_text_that_is_no_utf8_fails_the_connection_as_soon_as_it_shows(site: Site, data: bytes) -> None:
    with site.open() as peer:
        # The message goes on, and so does the frame.
        peer.send(frame(TEXT, data, declared=1_000, final=False))
        assert peer.closed()[0] == 1007
        assert peer.ending() == "FIN"
    with site.open() as peer:
        # The reason of a Close is text, too.
        peer.send(close(1000, data))
        assert peer.closed()[0] == 1007
        assert peer.ending() == "FIN"


def test_10_4_1_the_size_of_frames_and_messages_is_bounded(serve: Serve) -> None:
    site = serve(max_message_size=1_000, max_frame_size=600)
    for data in (
        frame(BINARY, declared=1 << 60),
        frame(BINARY, declared=601),
        frame(BINARY, b"x" * 600, final=False) + frame(CONTINUATION, declared=401),
    ):
        with site.open() as peer:
            peer.send(data)
            assert peer.closed()[0] == 1009
            assert peer.ending() == "FIN"
    with site.open() as peer:
        peer.send(frame(BINARY, b"x" * 600, final=False), frame(CONTINUATION, b"x" * 400))
        assert peer.frame() == Frame(BINARY, b"x" * 1_000)


@pytest.mark.parametrize("seed", range(20))
def test_10_7_1_whatever_comes_is_validated(site: Site, seed: int) -> None:
    source = random.Random(seed)
    with site.open() as peer:
        # A good frame with some of its bytes changed, then noise: it ends in a Close that says what is wrong, or the
        # server waits for a frame to go on, and the canary hears nothing of it.
        data = bytearray(frame(TEXT, b"Hello" * source.randrange(50)))
        for _ in range(source.randrange(1, 4)):
            data[source.randrange(len(data))] = source.randrange(256)
        peer.flood(bytes(data) + source.randbytes(2_000_000))
        while (one := peer.frame()).opcode != CLOSE:
            assert one.opcode in (TEXT, BINARY, 0xA)
        assert one.code in (1002, 1007, 1008, 1009)
