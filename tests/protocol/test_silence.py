"""Peers that answer pings stay, until they have been idle too long. Who falls silent is in `test_rows` (F25)."""

from __future__ import annotations

import queue
from typing import Any

import streamconductor as sc
from tests.protocol.conftest import Serve
from tests.support.frames import PING, PONG, close, frame
from tests.support.raw import PATIENCE, Stopwatch
from tests.support.servers import Site, eventually

SLACK = 1.5


def held(serve: Serve, **settings: Any) -> tuple[Site, queue.Queue[sc.Connection[Any]]]:
    """A site whose `/held` connections the test gets."""
    connections: queue.Queue[sc.Connection[Any]] = queue.Queue()

    def application(server: sc.Server) -> None:
        @server.route("/held")
        async def handler(connection: sc.Connection[Any]) -> None:
            connections.put(connection)
            async for _ in connection:
                pass

    return serve(application, **settings), connections


def test_a_peer_that_answers_pings_stays(serve: Serve) -> None:
    site, connections = held(serve, ping_interval=0.1, ping_timeout=0.1)
    with site.connect() as peer:
        peer.upgrade("/held")
        connection = connections.get(timeout=PATIENCE)
        for _ in range(8):
            ping = peer.any_frame()
            assert ping.opcode == PING
            peer.send(frame(PONG, ping.payload))
        assert eventually(lambda: connection.latency is not None)
        assert 0 <= (connection.latency or 0) < 1
        assert connection.state is sc.State.OPEN


def test_idle_is_1001_and_pings_do_not_keep_it(serve: Serve) -> None:
    site = serve(idle_timeout=0.6, ping_interval=0.1, ping_timeout=0.1)
    with site.connect() as peer:
        peer.upgrade()
        watch = Stopwatch()
        code, reason = peer.closed()  # answers the pings
        assert code == 1001
        assert "idle" in reason
        assert 0.5 <= watch.seconds <= 0.6 + SLACK
        peer.send(close(1001))
        assert peer.ending() == "FIN"
    assert site.ended().ending == "idle"
