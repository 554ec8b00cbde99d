"""What hostile and slow peers can make the server hold: as much as the limits say, however long they try."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
import time
from typing import Any

import psutil
import pytest

import streamconductor as sc
from tests.protocol.conftest import Serve
from tests.support.frames import BINARY, PING, PONG, TEXT, close, frame
from tests.support.raw import PATIENCE, Peer, Stopwatch
from tests.support.servers import Greatest, Site, eventually

SLACK = 1.5
MIB = 1 << 20


def resident() -> int:
    gc.collect()
    return int(psutil.Process().memory_info().rss)


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop], ids=["asyncio"])
def test_what_a_thousand_frames_declare_is_not_reserved(serve: Serve) -> None:
    """F10: 1,000 peers declare 1 MiB each and send one byte of it."""
    count = 1_000

    def application(server: sc.Server) -> None:
        @server.on_message("/listen")
        def listen(connection: sc.Connection[Any], message: str | bytes) -> None:
            raise AssertionError("no message is ever complete")

    site = serve(
        application, max_connections=count + 1, max_pending=count, message_timeout=4, memory_budget="4GiB"
    )
    with contextlib.ExitStack() as stack:
        peers = [stack.enter_context(Peer(site.address)) for _ in range(count)]
        for peer in peers:
            peer.upgrade("/listen")
        before = resident()
        started = frame(BINARY, b"x", declared=MIB)
        for peer in peers:
            peer.send(started)
        # The ledger counts what is really held: all of them have been read, and hold next to nothing.
        assert eventually(lambda: site.pool.memory_used >= count * 64)
        assert resident() - before < 20 * MIB
        assert site.pool.memory_used < 2 * MIB
        # And they do not hold it for long.
        for peer in peers:
            code, reason = peer.closed()
            assert (code, "message_timeout" in reason) == (1008, True)
            peer.send(close(1008))


@pytest.mark.parametrize("max_control_rate", [100, None], ids=["rate", "no rate"])
def test_a_ping_flood_that_is_never_read_is_bounded_and_ended(
    serve: Serve, max_control_rate: int | None
) -> None:
    """F21: at most one pong waits; the rate ends it, and without one the full socket does."""
    site = serve(max_control_rate=max_control_rate, write_timeout=0.8, close_timeout=0.3)
    with site.connect(receive_buffer=16_384) as peer:
        peer.upgrade()
        before = resident()
        flood = b"".join(frame(PING, b"%0125d" % number) for number in range(2_000))
        watch = Stopwatch()
        used = 0
        with Greatest(lambda: site.pool.memory_used) as memory, contextlib.suppress(ConnectionError):
            while watch.seconds < 10:
                peer.send(flood)
                used += len(flood)
        closed = site.ended()
        if max_control_rate is None:
            assert closed.ending == "write_timeout"
            assert used > 4 * MIB  # far more than what pongs could wait in
        else:
            assert (closed.code, closed.ending) == (1008, "violation")
            assert "max_control_rate" in closed.reason
        assert watch.seconds < 2 + SLACK
        assert memory.value <= MIB
        assert resident() - before < 16 * MIB


def test_a_handler_that_takes_nothing_holds_its_peer_back(serve: Serve) -> None:
    """Inbound: above max_inbound reading pauses, TCP holds the peer back, and nobody is declared dead for it."""
    go_on = asyncio.Event()
    total = asyncio.Queue[int]()

    def application(server: sc.Server) -> None:
        @server.route("/wait")
        async def handler(connection: sc.Connection[Any]) -> None:
            await go_on.wait()
            received = 0
            async for message in connection:
                assert int(message[:8]) == received
                received += 1
                total.put_nowait(received)

    site = serve(application, max_inbound="64KiB", ping_interval=0.3, ping_timeout=0.3)
    messages = [frame(BINARY, b"%08d" % number + b"x" * 8_184) for number in range(2_000)]
    with site.connect() as peer:
        peer.upgrade("/wait")
        sent = threading.Event()

        def send() -> None:
            peer.send(*messages)
            sent.set()

        sender = threading.Thread(target=send)
        sender.start()
        with Greatest(lambda: site.pool.memory_used) as memory:
            # Three heartbeats long it cannot answer a ping that waits behind its own bytes.
            assert not sent.wait(1.5)
            assert memory.value < 2 * MIB
        site.call(go_on.set)
        assert sent.wait(PATIENCE)
        sender.join()
        # Pongs go out now that nothing is in their way.
        deadline = time.monotonic() + PATIENCE
        while site.call(total.qsize) < len(messages):
            assert time.monotonic() < deadline
            peer.socket.settimeout(0.05)
            with contextlib.suppress(TimeoutError):
                if (one := peer.any_frame()).opcode == PING:
                    peer.send(frame(PONG, one.payload))
        assert site.endings.empty()


def test_text_in_a_flood_is_read_at_the_handlers_pace(site: Site) -> None:
    """F13, in small: 20,000 empty messages are an echo each, and the canary stays fast."""
    with site.connect() as peer:
        peer.upgrade()
        empty = frame(TEXT)
        sender = threading.Thread(target=lambda: peer.send(empty * 20_000))
        sender.start()
        for _ in range(20_000):
            assert peer.frame().payload == b""
        sender.join()
    assert site.canary is not None
    assert site.canary.slowest < 1
