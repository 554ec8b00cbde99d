"""What bounds the time before the 101, and the number of those who wait. Who is slow on purpose is in `test_rows`."""

from __future__ import annotations

import contextlib
import time

import pytest

import streamconductor as sc
from tests.protocol.conftest import Serve
from tests.support.raw import Stopwatch, head
from tests.support.servers import Site, eventually

# What a busy machine may add to a deadline before a test calls it broken.
SLACK = 1.5


def test_the_default_is_five_seconds() -> None:
    assert sc.Config().open_timeout == 5
    with pytest.raises(sc.ConfigError, match="open_timeout"):
        sc.Config(open_timeout=5.1)


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
    """Newcomers get in however many are silent."""
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
