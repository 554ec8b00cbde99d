"""Peers that fall silent, idle or slow in what they say: who is found out, when, and who stays."""

from __future__ import annotations

import asyncio
import queue
from typing import Any

import streamconductor as sc
from tests.protocol.conftest import Serve
from tests.support.frames import PING, PONG, TEXT, Frame, close, frame
from tests.support.raw import PATIENCE, Peer, Stopwatch
from tests.support.relay import Relay
from tests.support.servers import Site, eventually

SLACK = 1.5
INTERVAL, TIMEOUT = 0.4, 0.4
TICK = 0.04


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


def test_a_peer_that_answers_no_ping_is_reset(serve: Serve) -> None:
    """F25: it reads, it keeps the socket, and it never answers."""
    site = serve(ping_interval=INTERVAL, ping_timeout=TIMEOUT)
    with site.connect() as peer:
        peer.upgrade()
        watch = Stopwatch()
        assert peer.any_frame().opcode == PING
        pinged = watch.seconds
        assert pinged <= INTERVAL + TICK + SLACK
        # No Close can be meant for a peer that is not there: the end is a reset.
        peer.lost()
        assert pinged + TIMEOUT - 0.05 <= watch.seconds <= INTERVAL + TIMEOUT + TICK + SLACK
    closed = site.ended()
    assert (closed.code, closed.ending) == (1006, "heartbeat_lost")


def test_a_link_that_swallows_everything_is_found(serve: Serve) -> None:
    """F25: half-open, without FIN or RST."""
    site = serve(ping_interval=INTERVAL, ping_timeout=TIMEOUT)

    async def make() -> Relay:
        return await Relay(site.server.port).__aenter__()

    relay = site.run(make())
    try:
        with Peer(("127.0.0.1", relay.port)) as peer:
            peer.upgrade()
            peer.echo()
            site.call(relay.black_hole)
            watch = Stopwatch()
            closed = site.ended()
            assert (closed.code, closed.ending) == (1006, "heartbeat_lost")
            # Silence began at the latest now: the ping may have been due at once, or a whole interval later.
            assert watch.seconds <= INTERVAL + TIMEOUT + TICK + SLACK
    finally:
        site.run(relay.__aexit__(None, None, None))


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


def test_a_wrong_pong_is_life_but_no_latency(serve: Serve) -> None:
    """F22: whatever comes proves that the peer is there; only the answer to our ping measures the way."""
    site, connections = held(serve, ping_interval=0.2, ping_timeout=0.2)
    with site.connect() as peer:
        peer.upgrade("/held")
        connection = connections.get(timeout=PATIENCE)
        for number in range(5):
            assert peer.any_frame().opcode == PING
            peer.send(frame(PONG, b"wrong %d" % number))
        assert connection.state is sc.State.OPEN
        assert connection.latency is None
        # And then it is silent.
        watch = Stopwatch()
        peer.lost()
        assert watch.seconds <= 0.4 + TICK + SLACK
    assert site.ended().ending == "heartbeat_lost"


def test_a_flood_of_pongs_is_ignored_until_it_is_too_fast(serve: Serve) -> None:
    """F22."""
    site, connections = held(serve)
    with site.connect() as peer:
        peer.upgrade("/held")
        connection = connections.get(timeout=PATIENCE)
        tasks = site.call(lambda: len(asyncio.all_tasks()))
        peer.send(frame(PONG, b"unasked") * 90)
        peer.send(frame(PING, b"and this"))
        assert peer.any_frame() == Frame(PONG, b"and this")
        assert site.call(lambda: len(asyncio.all_tasks())) <= tasks + 1
        assert connection.latency is None
        peer.send(frame(PONG, b"unasked") * 200)
        code, reason = peer.closed()
        assert code == 1008
        assert "max_control_rate" in reason


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


def test_an_unfinished_message_is_1008_at_message_timeout(serve: Serve) -> None:
    """F14: a frame now and then does not move the deadline."""
    site = serve(message_timeout=0.5)
    with site.connect() as peer:
        peer.upgrade()
        watch = Stopwatch()
        peer.send(frame(TEXT, b"x", final=False))
        peer.socket.settimeout(0.1)
        while True:
            try:
                found = peer.closed()
            except TimeoutError:
                peer.send(frame(0, b"x", final=False))
            else:
                break
        assert found[0] == 1008
        assert "message_timeout" in found[1]
        assert 0.4 <= watch.seconds <= 0.5 + SLACK
