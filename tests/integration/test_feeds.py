"""Feeds: what they publish, how they are restarted, and that they wait when the server cannot keep up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

import streamconductor as sc
from streamconductor import feed as feed_module
from tests.support.live import client, fill_memory, ready, server_with, until


@pytest.fixture(autouse=True)
def short_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_module, "_FIRST_DELAY", 0.01)


def with_subscribers(**settings: Any) -> sc.Server:
    server = server_with(**settings)

    @server.route("/")
    async def subscribe(connection: sc.Connection[None]) -> None:
        connection.subscribe("news")
        await connection.send("subscribed")
        async for _ in connection:
            pass

    return server


async def test_a_feed_publishes_what_it_yields() -> None:
    server = with_subscribers()
    may_begin = asyncio.Event()

    @server.feed
    async def news() -> AsyncIterator[tuple[str, object] | tuple[str, object, str]]:
        await may_begin.wait()
        yield "news", "plain"
        yield "news", {"with": "key"}, "key"

    async with server, client(server) as peer:
        assert await peer.recv() == "subscribed"
        assert server.status()["feeds"]["news"]["state"] == "running"
        may_begin.set()
        assert [await peer.recv(), await peer.recv()] == ["plain", '{"with":"key"}']
        await until(lambda: server.status()["feeds"]["news"]["state"] == "ended")
        assert server.status()["feeds"]["news"] == {
            "name": "news",
            "state": "ended",
            "published": 2,
            "restarts": 0,
            "error": "",
        }


async def test_a_feed_of_one_channel_and_its_name() -> None:
    server = with_subscribers()

    async def numbers() -> AsyncIterator[int]:
        for number in range(3):
            yield number

    async with server, client(server) as peer:
        assert await peer.recv() == "subscribed"
        feeds = [server.feed(numbers, channel="news") for _ in range(3)]
        assert [feed.name for feed in feeds] == ["numbers", "numbers-2", "numbers-3"]
        received = [await peer.recv() for _ in range(9)]
        assert sorted(received) == sorted(["0", "1", "2"] * 3)


async def test_a_feed_that_raises_is_started_again_and_turns_readyz_red_meanwhile(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = with_subscribers()
    attempts = 0
    may_recover = asyncio.Event()

    async def flaky() -> AsyncIterator[str]:
        nonlocal attempts
        attempts += 1
        if not may_recover.is_set():
            raise ConnectionError("source is down")
        yield "recovered"
        await asyncio.Event().wait()

    async with server, client(server) as peer:
        assert await peer.recv() == "subscribed"
        feed = server.feed(flaky, channel="news", required=True)
        await until(lambda: attempts >= 3)
        await until(lambda: feed.state == "waiting")
        status, report = await ready(server)
        assert status == 503
        assert report["checks"]["feed:flaky"]["state"] == "failed"
        # What it raised is in the log; everybody may read this, and is told of the kind only.
        assert any("ConnectionError" in reason for reason in report["reasons"])
        assert "source is down" not in str(report)
        may_recover.set()
        assert await peer.recv() == "recovered"
        status, report = await ready(server)
        assert (status, report["checks"]["feed:flaky"]["state"]) == (200, "ok")
        assert feed.restarts == attempts - 1 >= 2
        assert feed.error == ""
    assert "feed flaky failed" in caplog.text


async def test_an_iterator_that_raised_has_failed() -> None:
    server = with_subscribers()

    async def once() -> AsyncIterator[str]:
        yield "only"
        raise LookupError("broken")

    async with server:
        feed = server.feed(once(), name="once", channel="news")
        await until(lambda: feed.state == "failed")
        assert feed.error == "LookupError: broken"
        wrong = server.feed(lambda: once(), name="wrong")
        await until(lambda: "TypeError" in wrong.error)
        assert "feed(channel=…)" in wrong.error
        wrong.stop()
        await until(lambda: wrong.state == "ended")


async def test_a_stopped_feed_lets_go_of_its_source() -> None:
    server = with_subscribers()
    closed = asyncio.Event()

    async def endless() -> AsyncIterator[str]:
        try:
            while True:
                # It never waits itself: whoever stops it finds it in the middle.
                yield "tick"
        finally:
            closed.set()

    async with server:
        feed = server.feed(endless, channel="news")
        await until(lambda: feed.published > 10)
        feed.stop()
        async with asyncio.timeout(5):
            await closed.wait()
        assert feed.state == "ended"


async def test_a_feed_runs_again_with_the_server() -> None:
    server = with_subscribers()
    starts = 0

    @server.feed
    async def source() -> AsyncIterator[tuple[str, str]]:
        nonlocal starts
        starts += 1
        await asyncio.Event().wait()
        yield "news", "never"

    for expected in (1, 2):
        async with server:
            await until(lambda expected=expected: starts == expected)  # type: ignore[misc]


async def test_a_feed_is_not_read_while_the_mailboxes_are_full() -> None:
    # As in test_sending: publications are held up by a budget that is used up to 90 %.
    server = with_subscribers(threads=1, memory_budget="200MiB", max_buffered="8MiB", high_water="7MiB")
    yielded = 0

    async def fast() -> AsyncIterator[bytes]:
        nonlocal yielded
        while True:
            yielded += 1
            yield b"f" * 50_000

    async with server:
        peers = await fill_memory(server, "/", 181 * 2**20)
        feed = server.feed(fast, channel="news")
        # Half of a mailbox of 16 MiB, what the shard has set aside included.
        await until(lambda: yielded > 50)
        before = -1
        while before != yielded:
            before = yielded
            await asyncio.sleep(0.1)
        assert yielded * 50_000 < 9 * 2**20
        assert feed.state == "running"
        for peer in peers:
            peer.reset()
        await until(lambda: yielded > before + 100, seconds=20)
