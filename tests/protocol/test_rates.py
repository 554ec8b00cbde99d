"""Rates and limits by user, over real sockets: who is held back, who is kept out, and that nothing gets lost."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from typing import Any

import pytest

import streamconductor as sc
from tests.protocol.conftest import Serve
from tests.support.frames import BINARY, CONTINUATION, PING, PONG, TEXT, Frame, close, frame
from tests.support.raw import Peer, Stopwatch, head, upgrade_headers
from tests.support.servers import Site, eventually


def ask(site: Site, *headers: tuple[str, str]) -> tuple[Peer, int, str | None]:
    """Asks to come in: the peer, the status and when to come back."""
    peer = site.connect()
    peer.send(head("/echo", upgrade_headers(*headers)))
    answer = peer.response_head()
    return peer, answer.status, answer.one("Retry-After")


# Handshakes.


def test_handshakes_above_the_rate_are_429_until_the_bucket_fills(serve: Serve) -> None:
    site = serve(max_handshake_rate=4, retry_after=3, trusted_proxies="127.0.0.1")
    watch = Stopwatch()
    # The canary's bucket is another: it came without a proxy.
    statuses = Counter(ask(site, ("X-Forwarded-For", "203.0.113.7"))[1] for _ in range(20))
    # 4 at once, and 4 in each second that this took; the canary may have been slow to let us begin.
    assert 4 <= statuses[101] <= 4 + 4 * watch.seconds + 1
    assert statuses[101] + statuses[429] == 20
    assert ask(site, ("X-Forwarded-For", "203.0.113.8"))[1:] == (101, None)

    def is_let_in() -> bool:
        _, status, retry = ask(site, ("X-Forwarded-For", "203.0.113.7"))
        assert (status, retry) in ((101, None), (429, "3"))
        return status == 101

    assert eventually(is_let_in)
    lines = [record.getMessage() for record in site.records if "max_handshake_rate" in record.getMessage()]
    assert lines
    assert lines[0].startswith("refused a handshake from 203.0.113.7 with 429: too many handshakes")
    assert len(lines) <= 1 + watch.seconds // 10, "one line for many"


def test_handshakes_of_all_shards_count_together_and_probes_do_not(serve: Serve) -> None:
    # A rate that does not fill noticeably within this test.
    site = serve(threads=4, max_handshake_rate=1, trusted_proxies="127.0.0.1")
    for _ in range(10):
        with site.connect() as peer:
            peer.send(b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 203.0.113.7\r\n\r\n")
            assert peer.response().status == 200
    watch = Stopwatch()
    results = []

    def run() -> None:
        results.append(ask(site, ("X-Forwarded-For", "203.0.113.7"))[1])

    threads = [threading.Thread(target=run) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 1 <= results.count(101) <= 2 + watch.seconds
    assert results.count(101) + results.count(429) == 16


# Users.


def test_connections_of_one_user_are_limited_across_shards_and_races(serve: Serve) -> None:
    async def admit(request: sc.Request) -> sc.Accept[None]:
        await asyncio.sleep(0)
        return sc.Accept(user=request.header("X-User"))

    site = serve(threads=4, max_connections_per_user=5, on_connect=admit)
    barrier = threading.Barrier(24)
    results: list[tuple[Peer, int, str | None]] = []

    def run() -> None:
        barrier.wait()
        results.append(ask(site, ("X-User", "ann")))

    threads = [threading.Thread(target=run) for _ in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(status for _, status, _ in results) == {101: 5, 429: 19}
    assert {retry for _, status, retry in results if status == 429} == {"5"}
    assert ask(site, ("X-User", "bob"))[1] == 101
    assert ask(site)[1] == 101, "who has no user is not counted"
    assert len(site.call(lambda: site.server.connections(user="ann"))) == 5
    # Each that goes makes room for one.
    inside = [peer for peer, status, _ in results if status == 101]
    for peer in inside[:2]:
        peer.send(close(1000))
        peer.discard()
    assert eventually(lambda: ask(site, ("X-User", "ann"))[1] == 101)
    assert eventually(lambda: ask(site, ("X-User", "ann"))[1] == 101)
    assert ask(site, ("X-User", "ann"))[1] == 429
    inside[2].reset()
    assert eventually(lambda: ask(site, ("X-User", "ann"))[1] == 101), "a reset gives back as well"
    status = site.call(site.server.status)
    assert status["handshakes"]["user"] >= 20


def test_a_limit_that_is_set_later_is_about_all_who_are_there(serve: Serve) -> None:
    site = serve(on_connect=lambda request: sc.Accept(user="ann"))
    for _ in range(3):
        assert ask(site)[1] == 101
    site.call(lambda: site.server.reconfigure(max_connections_per_user=3))
    assert ask(site)[1] == 429
    site.call(lambda: site.server.reconfigure(max_connections_per_user=None))
    assert ask(site)[1] == 101


# What a connection sends.


def flooded(site: Site, messages: list[bytes], expected: int) -> float:
    """Sends faster than the server reads, and takes every echo; how long that took."""
    with site.connect() as peer:
        peer.upgrade()
        watch = Stopwatch()
        sender = threading.Thread(target=lambda: peer.send(*messages))
        sender.start()
        for number in range(expected):
            assert peer.frame() == Frame(TEXT, b"%06d" % number)
        sender.join()
        took = watch.seconds
        peer.echo("and it goes on")
    return took


def numbered(count: int) -> list[bytes]:
    return [frame(TEXT, b"%06d" % number) for number in range(count)]


@pytest.mark.parametrize(
    ("limits", "count", "seconds"),
    [
        ({"max_message_rate": 100}, 300, 2.0),
        ({"max_frame_rate": 100}, 300, 2.0),
        # Six bytes each.
        ({"max_byte_rate": 600}, 300, 2.0),
        ({"max_message_rate": 1_000, "max_byte_rate": "600B", "max_frame_rate": 200}, 300, 2.0),
    ],
    ids=["messages", "frames", "bytes", "the slowest"],
)
def test_above_the_rate_reading_pauses_and_nothing_is_lost(
    serve: Serve, limits: dict[str, Any], count: int, seconds: float
) -> None:
    """The first second's worth comes at once, the rest at the rate, however fast the peer sends."""
    site = serve(**limits)
    took = flooded(site, numbered(count), count)
    # Never faster than the rate; how much slower is the machine's matter, but not for ever.
    assert seconds - 0.05 <= took < seconds + 8


def test_f13_frames_of_fragmented_messages_count_each(serve: Serve) -> None:
    """A thousand empty continuations a message, and an innocent neighbour."""
    site = serve(max_frame_rate=1_000)
    fragments = [frame(TEXT, b"%06d" % 0, final=False), *[frame(CONTINUATION, final=False)] * 998]
    message = b"".join([*fragments, frame(CONTINUATION)])
    with site.connect() as peer:
        peer.upgrade()
        watch = Stopwatch()
        sender = threading.Thread(target=lambda: peer.send(message * 4))
        sender.start()
        for _ in range(4):
            assert peer.frame() == Frame(TEXT, b"000000")
        sender.join()
        # The burst is the first of them; the second is owed for, and the others wait a second each.
        assert watch.seconds >= 1.95
    assert site.canary is not None
    assert site.canary.slowest < 2


def test_f20_control_frames_above_the_rate_are_1008(serve: Serve) -> None:
    site = serve(max_control_rate=50)
    with site.connect() as peer:
        peer.upgrade()
        # As fast as the rate allows, for a while.
        for number in range(30):
            peer.send(frame(PING, b"%d" % number))
            assert peer.frame() == Frame(PONG, b"%d" % number)
            time.sleep(0.02)
        peer.send(frame(PING) * 200)
        while (one := peer.any_frame()).opcode == PONG:
            pass
        assert (one.code, "max_control_rate" in one.reason) == (1008, True)
    assert site.ended().ending == "violation"


def test_held_back_is_not_idle_and_not_dead(serve: Serve) -> None:
    """A peer that cannot be heard for our own sake keeps its connection; its pongs stand behind what we do not read."""
    site = serve(max_byte_rate=1_000, ping_interval=0.3, ping_timeout=0.3)
    with site.connect() as peer:
        peer.upgrade()
        peer.send(frame(BINARY, b"x" * 3_000), frame(TEXT, b"behind"))
        assert peer.frame() == Frame(BINARY, b"x" * 3_000)
        watch = Stopwatch()
        assert peer.frame() == Frame(TEXT, b"behind")
        assert watch.seconds >= 1.5
    assert site.ended().ending == "transport_lost"


def test_rates_may_change_while_a_peer_is_held_back(serve: Serve) -> None:
    site = serve(max_message_rate=1)
    with site.connect() as peer:
        peer.upgrade()
        peer.send(*numbered(200))
        assert peer.frame() == Frame(TEXT, b"000000")
        site.call(lambda: site.server.reconfigure(max_message_rate=None))
        for number in range(1, 200):
            assert peer.frame() == Frame(TEXT, b"%06d" % number)
