"""TLS as an application has it: who is there, what it costs, and that nothing else is any different from plain."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidMessage, InvalidStatus

import streamconductor as sc
from tests.support.live import client, close_raw_peers, get, peer_of, server_with, until
from tests.support.transport import Pair, authority

STATE = 3_584
"""Bytes that the ledger counts for an idle connection over TLS."""


def tls_server(**settings: Any) -> sc.Server:
    """A server that speaks TLS and echoes; not started."""
    server = server_with(**(authority().server_fields() | settings))

    @server.route("/")
    async def echo(connection: sc.Connection[Any]) -> None:
        async for message in connection:
            await connection.send(message)

    return server


def mutual(**settings: Any) -> dict[str, Any]:
    return {"tls_client_authorities": authority().file, **settings}


# Who is there.


async def test_a_request_says_that_it_is_secure_and_whose_certificate_it_has() -> None:
    server = tls_server(**mutual())
    requests: list[sc.Request] = []

    @server.on_connect
    def admit(request: sc.Request) -> sc.Accept:
        requests.append(request)
        return sc.Accept()

    own = authority().issue("alice@example.com", common_name="alice", organization="Exämple, Inc.")
    async with server:
        async with client(server):
            pass
        async with client(server, ssl=authority().client_context(own)) as peer:
            await peer.send("hello")
            assert await peer.recv() == "hello"
    anonymous, alice = requests
    assert (anonymous.secure, anonymous.client_certificate) == (True, None)
    assert alice.secure
    assert alice.client_certificate is not None
    assert "CN=alice," in alice.client_certificate + ","
    assert "O=Exämple\\, Inc." in alice.client_certificate


async def test_a_plain_request_is_not_secure() -> None:
    server = server_with()
    requests: list[sc.Request] = []

    @server.on_connect
    def admit(request: sc.Request) -> sc.Accept:
        requests.append(request)
        return sc.Accept()

    server.push("/")
    async with server, client(server):
        pass
    [request] = requests
    assert (request.secure, request.client_certificate) == (False, None)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_who_must_show_a_certificate_and_does_not_is_refused(version: ssl.TLSVersion) -> None:
    server = tls_server(**mutual(tls_require_client_certificate=True))
    own = authority().issue("bob@example.com", common_name="bob")
    context = authority().client_context(own)
    bare = authority().client_context()
    context.minimum_version = context.maximum_version = version
    bare.minimum_version = bare.maximum_version = version
    async with server:
        # With TLS 1.3 a client has finished before it is refused, and may be asking for its upgrade.
        with pytest.raises((OSError, InvalidMessage)):
            async with client(server, ssl=bare):
                pass
        async with client(server, ssl=context) as peer:
            await peer.send("hello")
            assert await peer.recv() == "hello"
        assert server.status()["handshakes"]["tls"] == 1


async def test_the_host_that_a_client_names_chooses_the_certificate(tmp_path: Path) -> None:
    first, wild = authority().issue("first.example.com"), authority().issue("*.rooms.example.com")
    server = tls_server(tls_certificate=[first[0], wild[0]], tls_key=[first[1], wild[1]])
    context = authority().client_context()
    context.check_hostname = False

    async def shown(name: str | None) -> str:
        _, writer = await asyncio.open_connection(
            "127.0.0.1", server.port, ssl=context, server_hostname=name or ""
        )
        certificate: dict[str, Any] = writer.get_extra_info("peercert")
        writer.close()
        return str(certificate["subjectAltName"][0][1])

    async with server:
        assert await shown("first.example.com") == "first.example.com"
        assert await shown("blue.rooms.example.com") == "*.rooms.example.com"
        # Nobody's, and none: the first.
        assert await shown("elsewhere.example.com") == "first.example.com"
        assert await shown("rooms.example.com") == "first.example.com"


async def test_the_same_origin_has_the_same_scheme() -> None:
    server = tls_server()

    async def ask(origin: str) -> None:
        options: dict[str, Any] = {"ssl": authority().client_context(), "server_hostname": "localhost"}
        url, address = f"wss://app.example.com:{server.port}/", ("127.0.0.1", server.port)
        async with connect(url, host=address[0], port=address[1], origin=origin, proxy=None, **options):  # type: ignore[arg-type]
            pass

    async with server:
        await ask(f"https://app.example.com:{server.port}")
        for origin in (f"http://app.example.com:{server.port}", "https://evil.example.com"):
            with pytest.raises(InvalidStatus) as raised:
                await ask(origin)
            assert raised.value.response.status_code == 403


# Where it listens.


async def test_a_unix_socket_speaks_it_too(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    server = tls_server(unix_socket=path)
    async with server:
        reader, writer = await asyncio.open_unix_connection(
            path, ssl=authority().client_context(), server_hostname="localhost"
        )
        writer.write(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 200 OK")
        writer.close()


async def test_the_admin_address_stays_plain() -> None:
    async with tls_server(admin_port=0) as server:
        assert server.admin_port is not None
        status, body = await get(server.admin_port, "/metrics")
        assert status == 200
        assert b'streamconductor_tls_handshakes_total{version="TLSv1.3"} 0' in body
        assert b"streamconductor_tls_reload_failures_total 0" in body
        with pytest.raises(IndexError):
            # An alert is no status line.
            await get(server.port, "/livez")
    async with server_with(admin_port=0) as server:
        assert server.status()["tls"] is None
        assert "tls_reload" not in server.metrics()


# Files that cannot be served from.


def broken(pair: Pair, place: Path) -> dict[str, dict[str, Any]]:
    other = authority().issue("other.example.com")
    empty, secret = place / "empty.pem", place / "secret.key"
    empty.write_text("")
    secret.write_text("-----BEGIN PRIVATE KEY-----\nTUlJQwo=\n-----END PRIVATE KEY-----\n")
    names = {"tls_certificate": pair.certificate, "tls_key": pair.key}
    return {
        f"tls_certificate: {place / 'none.pem'}: No such file": names
        | {"tls_certificate": place / "none.pem"},
        f"tls_certificate: {empty}: holds no certificate": names | {"tls_certificate": empty},
        f"tls_key: {place / 'none.key'}: No such file": names | {"tls_key": place / "none.key"},
        f"tls_key: {other.key}: is not the key of": names | {"tls_key": other.key},
        f"tls_key: {secret}: holds a private key of an unknown": names | {"tls_key": secret},
        f"tls_client_authorities: {empty}: holds no": names | {"tls_client_authorities": empty},
    }


async def test_what_is_wrong_with_files_is_said_at_the_start(tmp_path: Path) -> None:
    for words, fields in broken(authority().issue("localhost"), tmp_path).items():
        server = server_with(**fields)
        with pytest.raises(sc.ConfigError) as raised:
            await server.start()
        assert str(raised.value).startswith(words), raised.value
        assert "TUlJQwo" not in str(raised.value)
        # Nothing was bound, and once the file is mended it starts.
        assert server._native is None


# What it costs.


def held(server: sc.Server) -> dict[str, int]:
    owners: dict[str, int] = server.status()["ledger"]["owners"]
    return owners


async def test_the_ledger_returns_to_zero_and_the_books_balance() -> None:
    server = tls_server()
    server.push("/news")

    @server.on_connect
    def admit(request: sc.Request) -> sc.Accept:
        return sc.Accept(subscribe=["news"])

    async with server:
        for _ in range(3):
            peers = [await client(server, "/news", max_queue=None) for _ in range(10)]
            slow = [await asyncio.to_thread(peer_of, server, "/news", receive_buffer=4096) for _ in range(5)]
            await until(lambda: len(server.connections()) == 15)
            for number in range(50):
                await server.publish("news", f"{number} " + "x" * 20_000)
            for peer in peers:
                assert [(await peer.recv())[:2] for _ in range(3)] == ["0 ", "1 ", "2 "]
            assert held(server)["tls"] > 0
            for peer in peers[:5]:
                await peer.close()
            for peer in peers[5:]:
                peer.transport.abort()
            close_raw_peers()
            assert len(slow) == 5
            await until(lambda: server.pool.occupied == server.pool.pending == 0)
        await until(lambda: not any(held(server).values()), facts=lambda: held(server))
        traffic = server.status()["traffic"]
        ended = sum(each["messages"] for each in [traffic["written"], traffic["discarded"]])
        ended += sum(each["messages"] for each in traffic["dropped"].values())
        assert traffic["accepted"]["messages"] == ended
        assert traffic["pending"] == {"messages": 0, "bytes": 0}


async def test_a_publication_is_held_once_however_many_are_behind_with_it() -> None:
    readers, size, count = 20, 50_000, 20
    server = server_with(threads=1, **authority().server_fields())
    server.push("/news")

    @server.on_connect
    def admit(request: sc.Request) -> sc.Accept:
        return sc.Accept(subscribe=["news"])

    async with server:
        for _ in range(readers):
            await asyncio.to_thread(peer_of, server, "/news", receive_buffer=4096)
        await until(lambda: len(server.connections()) == readers)
        for _ in range(count):
            await server.publish("news", b"n" * size)
        await until(lambda: server.status()["traffic"]["pending"]["messages"] > readers * count / 2)
        owners = held(server)
        assert size * count / 4 < owners["chunks"] <= size * count * 1.2, owners
        # Of each connection one record is encrypted ahead, and no more.
        assert owners["tls"] <= readers * (STATE + 18 * 1024), owners


async def test_a_slow_reader_is_bounded_and_gets_all_in_order() -> None:
    server = server_with(max_buffered="1MiB", max_lag=None, **authority().server_fields())
    sent = 0

    @server.route("/")
    async def stream(connection: sc.Connection[Any]) -> None:
        nonlocal sent
        for number in range(200):
            await connection.send(number.to_bytes(4) + b"s" * 50_000)
            sent += 1

    async with server:
        peer = await asyncio.to_thread(peer_of, server, receive_buffer=4096)
        [connection] = server.connections()
        # It waits at high water for as long as nobody reads.
        await until(lambda: connection.buffered_amount > server.config.high_water)
        stood = sent
        assert connection.buffered_amount <= server.config.high_water + 50_100
        assert sent == stood < 200
        numbers = [(await asyncio.to_thread(peer.frame)).payload[:4] for _ in range(200)]
        assert numbers == [number.to_bytes(4) for number in range(200)]


async def test_a_handler_that_takes_nothing_holds_its_peer_back() -> None:
    server = server_with(max_inbound="64KiB", **authority().server_fields())
    taking = asyncio.Event()
    taken: list[int] = []

    @server.route("/")
    async def take(connection: sc.Connection[Any]) -> None:
        await taking.wait()
        async for message in connection:
            taken.append(int(message[:5]))  # noqa: PERF401

    async with server:
        async with client(server) as peer:

            async def send() -> None:
                for number in range(1_000):
                    await peer.send(f"{number:05} " + "i" * 10_000)

            sending = asyncio.create_task(send())
            await until(lambda: held(server)["inbound"] > 32_000)
            await asyncio.wait([sending], timeout=0.5)
            assert not sending.done(), "10 MB are more than anything between us holds"
            # What is unread stands in plain, in records that are not whole, and in the kernel.
            assert held(server)["inbound"] + held(server)["tls"] < 400_000, held(server)
            taking.set()
            await sending
            await until(lambda: len(taken) == 1_000)
        assert taken == list(range(1_000))
