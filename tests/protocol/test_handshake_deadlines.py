"""`open_timeout` is one deadline over everything before the 101, and waiting for it costs nobody a slot."""

from __future__ import annotations

import asyncio
import contextlib
import selectors
import threading
import time
from typing import Any

import pytest

import streamconductor as sc
from tests.protocol.conftest import Serve
from tests.support.frames import TEXT, frame
from tests.support.raw import PATIENCE, Peer, Stopwatch, head
from tests.support.servers import Site, eventually

OPEN_TIMEOUT = 0.3
DEADLINE = {"open_timeout": OPEN_TIMEOUT, "policy_timeout": 0.1}
# What a busy machine may add to a deadline before a test calls it broken.
SLACK = 1.5


def test_the_default_is_five_seconds() -> None:
    assert sc.Config().open_timeout == 5
    with pytest.raises(sc.ConfigError, match="open_timeout"):
        sc.Config(open_timeout=5.1)


def in_time(watch: Stopwatch) -> bool:
    return OPEN_TIMEOUT - 0.05 <= watch.seconds <= OPEN_TIMEOUT + SLACK


def test_silence_is_reset_at_the_deadline_without_a_slot(serve: Serve) -> None:
    """H5."""
    site = serve(**DEADLINE)
    with site.connect() as peer:
        watch = Stopwatch()
        assert eventually(lambda: site.pool.pending == 1)
        assert site.occupied == 1  # the canary's
        assert peer.ending() == "RST"
        assert in_time(watch), watch.seconds


@pytest.mark.parametrize("part", [head()[:1], head()[:-2], b"\x16"], ids=["a byte", "all but the end", "TLS"])
def test_half_a_head_is_408_at_the_deadline_without_a_slot(serve: Serve, part: bytes) -> None:
    site = serve(**DEADLINE)
    with site.connect() as peer:
        watch = Stopwatch()
        peer.send(part)
        if part == b"\x16":
            # What can never become a request need not be waited for.
            assert peer.response().status == 400
            return
        assert eventually(lambda: site.pool.pending == 1)
        assert site.occupied == 1
        answer = peer.response()
        assert answer.line == "HTTP/1.1 408 Request Timeout"
        assert in_time(watch), watch.seconds


def test_three_hundred_slow_heads_end_at_one_deadline(serve: Serve) -> None:
    """H4: a byte now and then does not move the deadline, and no slot is taken meanwhile."""
    site = serve(**DEADLINE, max_connections=2)
    with contextlib.ExitStack() as stack, selectors.DefaultSelector() as selector:
        heads = {}
        for _ in range(300):
            peer = stack.enter_context(site.connect())
            peer.socket.setblocking(False)
            selector.register(peer.socket, selectors.EVENT_READ, peer)
            heads[peer] = (iter(head(headers=[("Host", "localhost"), ("X-Slow", "x" * 9_000)])), Stopwatch())
        slots, lives, statuses = set(), [], []
        while heads:
            for key, _ in selector.select(0):
                slow: Peer = key.data
                _, watch = heads.pop(slow)
                lives.append(watch.seconds)
                statuses.append(slow.socket.recv(12))
                selector.unregister(slow.socket)
            for slow, (rest, _) in heads.items():
                with contextlib.suppress(ConnectionError):
                    slow.socket.send(bytes([next(rest)]))
            slots.add(site.occupied)
            assert len(lives) > 0 or min(watch.seconds for _, watch in heads.values()) < OPEN_TIMEOUT + SLACK
        assert set(statuses) == {b"HTTP/1.1 408"}
        assert min(lives) >= OPEN_TIMEOUT - 0.05
        assert max(lives) <= OPEN_TIMEOUT + SLACK
        assert slots == {1}
    # With all of them turned away the one other slot is still free.
    with site.connect() as peer:
        peer.upgrade()


class Undecided:
    """An `on_connect` that waits for ever, and says when it was asked and when it was cancelled."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.cancelled = threading.Event()

    async def __call__(self, request: sc.Request) -> sc.Accept[None]:
        self.asked.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        raise AssertionError("waits for ever")


def undecided(serve: Serve, **settings: Any) -> tuple[Site, Undecided]:
    decision = Undecided()
    return serve(on_connect=decision, **settings), decision


def test_a_late_verdict_is_503_and_cancelled(serve: Serve) -> None:
    site, decision = undecided(serve, **DEADLINE, retry_after=7)
    with site.connect() as peer:
        watch = Stopwatch()
        peer.send(head())
        assert decision.asked.wait(PATIENCE)
        assert site.occupied == 2  # the head was complete and valid
        answer = peer.response()
        assert answer.line == "HTTP/1.1 503 Service Unavailable"
        assert answer.one("Retry-After") == "7"
        assert in_time(watch), watch.seconds
    assert decision.cancelled.wait(PATIENCE)


@pytest.mark.parametrize("leave", [Peer.reset, Peer.close], ids=["RST", "FIN"])
def test_who_leaves_while_on_connect_runs_takes_it_along(serve: Serve, leave: Any) -> None:
    """H26."""
    site, decision = undecided(serve)
    peer = site.connect()
    peer.send(head())
    assert decision.asked.wait(PATIENCE)
    assert site.occupied == 2
    leave(peer)
    assert decision.cancelled.wait(PATIENCE)
    assert eventually(lambda: site.occupied == 1)
    # It was never a connection, so no ending of one is told.
    assert site.endings.empty()
    assert site.call(lambda: site.server._arrivals._tasks) == {}


def test_bytes_before_the_verdict_are_400(serve: Serve) -> None:
    """H16: nothing is taken for a frame before our 101."""
    site, decision = undecided(serve)
    with site.connect() as peer:
        peer.send(head())
        assert decision.asked.wait(PATIENCE)
        peer.send(frame(TEXT, b"early"))
        assert peer.response().line == "HTTP/1.1 400 Bad Request"
    assert decision.cancelled.wait(PATIENCE)
    assert eventually(lambda: site.occupied == 1)


def test_a_refusal_that_is_not_read_is_cut_off(site: Site) -> None:
    """After the answer 64 KiB or a second more, whichever comes first."""
    with site.connect() as peer:
        peer.send(head("/nowhere"))
        watch = Stopwatch()
        assert peer.response_head().status == 404
        assert eventually(lambda: site.pool.pending == 0)
        assert 0.9 <= watch.seconds <= 1 + SLACK
    with site.connect() as peer:
        peer.send(head("/nowhere"))
        assert peer.response_head().status == 404
        watch = Stopwatch()
        peer.send(b"x" * 70_000)
        assert eventually(lambda: site.pool.pending == 0)
        assert watch.seconds < 0.9


def test_pending_places_are_bounded_and_the_oldest_silent_socket_makes_room(serve: Serve) -> None:
    """H25, in small: newcomers get in however many are silent."""
    site = serve(max_pending=8)
    with contextlib.ExitStack() as stack:
        silent = [stack.enter_context(site.connect()) for _ in range(40)]
        peer = stack.enter_context(site.connect())
        peer.upgrade()
        peer.echo()
        assert site.pool.pending <= 8
        # The oldest were reset long before their deadline.
        began = time.monotonic()
        assert silent[0].ending() == "RST"
        assert time.monotonic() - began < 2
