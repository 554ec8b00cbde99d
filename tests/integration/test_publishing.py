"""Channels, broadcasts and the directory of connections."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection

import streamconductor as sc
from tests.support.live import client, ending, peer_of, server_with, until


def with_rooms(**settings: Any) -> sc.Server:
    """A server whose connections subscribe to the room in their path."""
    server = server_with(**settings)

    @server.on_connect
    def named(request: sc.Request) -> sc.Accept[None]:
        return sc.Accept(user=request.query_string or None)

    @server.route("/rooms/{room}")
    async def room(connection: sc.Connection[None]) -> None:
        assert connection.request is not None
        connection.subscribe(connection.request.path_params["room"])
        await connection.send("subscribed")
        async for _ in connection:
            pass

    return server


@contextlib.asynccontextmanager
async def member(server: sc.Server, path: str) -> AsyncIterator[ClientConnection]:
    async with client(server, path) as peer:
        assert await peer.recv() == "subscribed"
        yield peer


async def test_publish_returns_the_subscribers_known_at_the_call() -> None:
    server = with_rooms(threads=3)
    async with server:
        assert await server.publish("tea", "nobody") == 0
        async with contextlib.AsyncExitStack() as stack:
            for number in range(1, 6):
                peer = await stack.enter_async_context(member(server, "/rooms/tea"))
                assert await server.publish("tea", str(number)) == number
                assert server.publish_nowait("coffee", "elsewhere") == 0
            assert await peer.recv() == "5"
            # Subscribing twice is subscribing once, and counts once as soon as its shard has said so.
            for connection in server.connections():
                connection.subscribe("tea")
            await until(lambda: server.publish_nowait("tea", "again") == 5)
        await until(lambda: server.publish_nowait("tea", "gone") == 0)


async def test_what_is_published_before_a_subscription_does_not_come_and_what_follows_does() -> None:
    server = server_with(threads=3)
    channels = [f"channel {number}" for number in range(100)]

    @server.route("/always")
    async def always(connection: sc.Connection[None]) -> None:
        # So that what is published goes to a shard, whoever else is there.
        for channel in channels:
            connection.subscribe(channel)
        async for _ in connection:
            pass

    @server.route("/")
    async def late(connection: sc.Connection[None]) -> None:
        for number, channel in enumerate(channels):
            server.publish_nowait(channel, "before")
            connection.subscribe(channel)
            # The same thread: the subscription precedes it.
            server.publish_nowait(channel, str(number))
            connection.unsubscribe(channel)
            server.publish_nowait(channel, "after")
        async for _ in connection:
            pass

    async with server, client(server, "/always") as witness:
        await until(lambda: server.publish_nowait(channels[-1], "begin") == 1)
        while await witness.recv() != "begin":
            pass
        for _ in range(5):
            async with client(server) as peer:
                # Between channels there is no order; of each there is exactly the one message.
                received = [str(await peer.recv()) for _ in channels]
                assert sorted(received, key=int) == [str(number) for number in range(100)]
                for connection in server.connections(path="/"):
                    await connection.send("and nothing else")
                assert await peer.recv() == "and nothing else"
                witnessed = [await witness.recv() for _ in range(300)]
                assert witnessed.count("before") == witnessed.count("after") == 100


async def test_first_precedes_every_publication() -> None:
    server = server_with(threads=3)
    stop = threading.Event()

    def publish() -> None:
        number = 0
        # Paced: it must come between any two steps of a subscription, and leave the processor to the others.
        while not stop.wait(0.0002):
            server.publish_nowait("ticks", str(number))
            number += 1

    @server.route("/")
    async def snapshot(connection: sc.Connection[None]) -> None:
        connection.subscribe("ticks", first={"snapshot": True})
        async for _ in connection:
            pass

    async with server:
        publisher = threading.Thread(target=publish)
        publisher.start()
        try:
            for _ in range(30):
                async with client(server) as peer:
                    assert await peer.recv() == '{"snapshot":true}'
                    first = int(await peer.recv())
                    # No gap behind it.
                    assert [int(await peer.recv()) for _ in range(20)] == list(range(first + 1, first + 21))
        finally:
            stop.set()
            await asyncio.to_thread(publisher.join)


async def test_publish_nowait_from_threads() -> None:
    server = with_rooms()

    def publish(name: str) -> None:
        for number in range(200):
            server.publish_nowait("tea", f"{name} {number}")

    async with server, member(server, "/rooms/tea") as peer:
        await asyncio.gather(*(asyncio.to_thread(publish, name) for name in "abc"))
        received = [str(await peer.recv()).split() for _ in range(600)]
        for name in "abc":
            assert [int(number) for one, number in received if one == name] == list(range(200))


async def test_a_connection_has_at_most_max_channels() -> None:
    server = server_with(max_channels=3)

    @server.route("/")
    async def greedy(connection: sc.Connection[None]) -> None:
        for number in range(3):
            connection.subscribe(str(number))
        with pytest.raises(ValueError, match="3 channels already"):
            connection.subscribe("one more")
        connection.subscribe("0")
        connection.unsubscribe("1")
        connection.subscribe("one more")
        connection.unsubscribe("2")
        for name in ("", "x" * 256, "new\nline"):
            with pytest.raises(ValueError, match="channel name"):
                connection.subscribe(name)
        await connection.send("done")

    async with server, client(server) as peer:
        assert await peer.recv() == "done"


async def test_broadcast_to_all_to_some_to_a_user_and_not_to_others() -> None:
    server = with_rooms(threads=3)
    async with server, contextlib.AsyncExitStack() as stack:
        peers = [
            await stack.enter_async_context(member(server, f"/rooms/tea?{user}"))
            for user in ("ann", "ann", "bob")
        ]
        ann = server.connections(user="ann")
        [bob] = server.connections(user="bob")
        await server.broadcast("all")
        await server.broadcast("the anns", user="ann")
        await server.broadcast("bob", to=[bob])
        await server.broadcast("not bob", exclude=[bob])
        await server.broadcast("nobody", to=[])
        await server.broadcast("one ann", to=ann, exclude=ann[:1])
        await server.broadcast(b"end")
        with pytest.raises(ValueError, match="either"):
            await server.broadcast("both", to=[bob], user="bob")

        async def up_to_end(peer: ClientConnection) -> list[str | bytes]:
            received = []
            while (message := await peer.recv()) != b"end":
                received.append(message)
            return received

        first, second, third = [await up_to_end(peer) for peer in peers]
        assert third == ["all", "bob"]
        assert sorted([first, second], key=len) == [
            ["all", "the anns", "not bob"],
            ["all", "the anns", "not bob", "one ann"],
        ]


async def test_connections_by_user_channel_and_path() -> None:
    server = with_rooms(threads=3)
    async with server, contextlib.AsyncExitStack() as stack:
        for path in ("/rooms/tea?ann", "/rooms/tea?bob", "/rooms/coffee?ann"):
            await stack.enter_async_context(member(server, path))

        def found(**filters: Any) -> list[tuple[str, str | None]]:
            return sorted(
                (connection.request.path, connection.user)
                for connection in server.connections(**filters)
                if connection.request is not None
            )

        assert len(found()) == 3
        assert found(user="ann") == [("/rooms/coffee", "ann"), ("/rooms/tea", "ann")]
        assert found(channel="tea") == [("/rooms/tea", "ann"), ("/rooms/tea", "bob")]
        assert found(path="/rooms/coffee") == [("/rooms/coffee", "ann")]
        assert found(user="ann", channel="tea", path="/rooms/tea") == [("/rooms/tea", "ann")]
        assert found(user="eve") == found(channel="none") == found(path="/rooms") == []
        [one] = server.connections(user="bob")
        assert server.connection(one.id) is one
        assert server.connection("3-77-1") is None
        with pytest.raises(ValueError, match="connection id"):
            server.connection("no id")


async def test_a_connection_has_one_object_whenever_it_is_looked_for() -> None:
    server = server_with(threads=3)
    handled: dict[str, object] = {}
    found: dict[str, object] = {}

    @server.route("/")
    async def idle(connection: sc.Connection[None]) -> None:
        handled[connection.id] = connection
        async for _ in connection:
            pass

    def knock() -> None:
        for _ in range(10):
            peers = [peer_of(server) for _ in range(10)]
            for peer in peers:
                peer.close()

    async with server:
        knocking = [asyncio.create_task(asyncio.to_thread(knock)) for _ in range(3)]
        while not all(one.done() for one in knocking):
            for connection in server.connections():
                assert found.setdefault(connection.id, connection) is connection
            await asyncio.sleep(0)
        await asyncio.gather(*knocking)
        await until(lambda: not server._handlers.running)
        assert len(handled) == 300
        assert found
        assert all(handled[identity] is one for identity, one in found.items())


async def test_disconnect_tells_a_user_s_clients_to_stay_away() -> None:
    server = with_rooms(threads=3)
    async with server, contextlib.AsyncExitStack() as stack:
        anns = [await stack.enter_async_context(member(server, "/rooms/tea?ann")) for _ in range(3)]
        bob = await stack.enter_async_context(member(server, "/rooms/tea?bob"))
        server.disconnect(user="ann", reason="account closed")
        assert [await ending(ann) for ann in anns] == [(4403, "account closed")] * 3
        await server.publish("tea", "still here")
        assert await bob.recv() == "still here"
        assert [one.user for one in server.connections()] == ["bob"]


async def test_channel_policies_and_keys() -> None:
    server = with_rooms()
    server.channel("*", overflow="drop_oldest")
    with pytest.raises(ValueError, match="unknown"):
        server.channel("x", overflow="hope")
    async with server, member(server, "/rooms/tea") as peer:
        # While it runs, too, for channels to come.
        server.channel("prices:*", overflow="conflate", high_water="1KiB")
        await server.publish("tea", {"bid": 1}, key="EURUSD")
        assert await peer.recv() == '{"bid":1}'
        with pytest.raises(ValueError, match="NaN"):
            await server.publish("tea", float("nan"))
        with pytest.raises(ValueError, match="channel name"):
            await server.publish("", "x")


async def test_publishing_needs_a_running_server() -> None:
    server = server_with()
    with pytest.raises(sc.NotRunning, match="not started"):
        server.publish_nowait("tea", "x")
    async with server:
        pass
    with pytest.raises(sc.NotRunning, match="stopped"):
        await server.publish("tea", "x")
