"""What a handler that takes nothing can make the server hold: as much as the limits say, however long it lasts."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from typing import Any

import streamconductor as sc
from tests.protocol.conftest import Serve
from tests.support.frames import BINARY, PING, PONG, frame
from tests.support.raw import PATIENCE
from tests.support.servers import Greatest

MIB = 1 << 20


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
