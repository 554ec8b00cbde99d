"""Other people's clients: what they send arrives, what we send they take, and both agree on every ending."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import websockets.asyncio.client
import websockets.sync.client
from websockets.exceptions import ConnectionClosed, InvalidStatus

import streamconductor as sc
from tests.protocol.conftest import Serve
from tests.support.servers import LoopFactory, Site
from tests.support.transport import authority

NODE = Path(__file__).parents[1] / "node"
TEXTS = ["", "x", "grüße €𝄞", "x" * 125, "x" * 126, "x" * 65_536]
MEBIBYTE = bytes(range(256)) * 4_096


def speaking(server: sc.Server) -> None:
    """`/close` ends with the code and reason it is told; `/chat` has a subprotocol; `/pinged` ends when its ping
    was answered.
    """

    @server.on_message("/close")
    def ends(connection: sc.Connection[Any], message: str | bytes) -> None:
        assert isinstance(message, str)
        code, _, reason = message.partition(" ")
        connection.close(int(code), reason)

    @server.route("/chat", subprotocols=["chat"])
    async def chat(connection: sc.Connection[Any]) -> None:
        async for message in connection:
            await connection.send(message)

    @server.route("/pinged")
    async def pinged(connection: sc.Connection[Any]) -> None:
        # There is no event for it.
        while connection.latency is None:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await connection.send("pinged")


@pytest.fixture(params=["tcp", "tls"])
def site(serve: Serve, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Site:
    fields = authority().server_fields() if request.param == "tls" else {}
    # Clients verify by the authorities of the system unless told otherwise; this tells most of them at once.
    monkeypatch.setenv("SSL_CERT_FILE", str(authority().file))
    monkeypatch.setenv("NODE_EXTRA_CA_CERTS", str(authority().file))
    return serve(speaking, ping_interval=0.2, ping_timeout=0.2, **fields)


@pytest.fixture
def url(site: Site) -> str:
    return f"{'ws' if site.tls is None else 'wss'}://127.0.0.1:{site.call(lambda: site.server.port)}"


@pytest.fixture
def running(loop_factory: LoopFactory) -> Callable[[Coroutine[Any, Any, None]], None]:
    """Runs a client on a loop of the same kind as the server's."""

    def run(coroutine: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(asyncio.wait_for(coroutine, 15))

    return run


Running = Callable[[Coroutine[Any, Any, None]], None]


# websockets, asyncio.


def test_websockets_asyncio(site: Site, url: str, running: Running) -> None:
    async def talk() -> None:
        # It offers permessage-deflate, which is declined.
        async with websockets.asyncio.client.connect(url + "/echo", max_size=None) as client:
            for text in TEXTS:
                await client.send(text)
                assert await client.recv() == text
            for data in (b"", b"\x00\xff", MEBIBYTE):
                await client.send(data)
                assert await client.recv() == data
            await client.send(["one ", "two ", "", "three"])
            assert await client.recv() == "one two three"
            await client.send([b"\x00" * 70_000, b"\x01" * 70_000])
            assert await client.recv() == b"\x00" * 70_000 + b"\x01" * 70_000
            pong = await client.ping("are you there")
            assert await pong >= 0
            await client.close(4123, "from websockets")
            assert (client.close_code, client.close_reason) == (4123, "")

    running(talk())
    closed = site.ended()
    assert (closed.code, closed.reason, closed.by) == (4123, "from websockets", "peer")


def test_websockets_sees_our_code_and_reason(site: Site, url: str, running: Running) -> None:
    async def talk() -> None:
        async with websockets.asyncio.client.connect(url + "/close") as client:
            await client.send("4321 from streamconductor")
            with pytest.raises(ConnectionClosed) as raised:
                await client.recv()
            assert raised.value.rcvd is not None
            assert (raised.value.rcvd.code, raised.value.rcvd.reason) == (4321, "from streamconductor")
            assert raised.value.rcvd_then_sent is True

    running(talk())
    closed = site.ended()
    assert (closed.code, closed.by) == (4321, "application")


def test_websockets_subprotocol_and_refusal(site: Site, url: str, running: Running) -> None:
    async def talk() -> None:
        async with websockets.asyncio.client.connect(url + "/chat", subprotocols=["other", "chat"]) as client:  # type: ignore[list-item]
            assert client.subprotocol == "chat"
            await client.send("in chat")
            assert await client.recv() == "in chat"
        with pytest.raises(InvalidStatus) as raised:
            await websockets.asyncio.client.connect(url + "/nowhere")
        assert raised.value.response.status_code == 404

    running(talk())
    assert site.ended().code == 1000


def test_a_thousand_messages_both_ways_at_once(site: Site, url: str, running: Running) -> None:
    async def talk() -> None:
        async with websockets.asyncio.client.connect(url + "/echo") as client:

            async def send() -> None:
                for number in range(1_000):
                    await client.send(str(number))

            sending = asyncio.create_task(send())
            for number in range(1_000):
                assert await client.recv() == str(number)
            await sending

    running(talk())
    closed = site.ended()
    assert (closed.received[0], closed.sent[0]) == (1_000, 1_000)


# websockets, threads.


def test_websockets_sync(site: Site, url: str) -> None:
    with websockets.sync.client.connect(url + "/chat", subprotocols=["chat"], max_size=None) as client:  # type: ignore[list-item]
        assert client.subprotocol == "chat"
        for text in TEXTS:
            client.send(text)
            assert client.recv() == text
        client.send(MEBIBYTE)
        assert client.recv() == MEBIBYTE
        client.send(["one ", "two ", "three"])
        assert client.recv() == "one two three"
        ponged: threading.Event = client.ping("are you there")
        assert ponged.wait(10)
        client.close(4123, "from a thread")
    assert site.ended().reason == "from a thread"


# aiohttp.


def test_aiohttp(site: Site, url: str, running: Running) -> None:
    async def talk() -> None:
        # It has made up its mind about the system's authorities when it is imported.
        connector = aiohttp.TCPConnector(ssl=site.tls or True)
        async with aiohttp.ClientSession(connector=connector) as session:
            async with session.ws_connect(
                url + "/chat", protocols=["chat"], heartbeat=0.2, compress=15, max_msg_size=0
            ) as client:
                assert client.protocol == "chat"
                assert client.compress == 0
                for text in TEXTS:
                    await client.send_str(text)
                    assert await client.receive_str() == text
                await client.send_bytes(MEBIBYTE)
                assert await client.receive_bytes() == MEBIBYTE
                await client.send_json({"still": "here"})
                assert await client.receive_json() == {"still": "here"}
                await client.close(code=4123, message=b"from aiohttp")
                assert client.close_code == 4123
            async with session.ws_connect(url + "/pinged", heartbeat=0.2) as client:
                assert await client.receive_str() == "pinged"
            async with session.ws_connect(url + "/close") as client:
                await client.send_str("4321 from streamconductor")
                message = await client.receive()
                assert message.type is aiohttp.WSMsgType.CLOSE
                assert (message.data, message.extra) == (4321, "from streamconductor")
            async with session.get(url.replace("ws", "http", 1) + "/readyz") as response:
                assert response.status == 200
                assert (await response.json())["ready"] is True

    running(talk())
    closed = [site.ended() for _ in range(3)]
    assert [(one.code, one.by) for one in closed] == [
        (4123, "peer"),
        (1000, "application"),
        (4321, "application"),
    ]


# Node.


def test_node_ws(site: Site, url: str) -> None:
    node = shutil.which("node")
    if node is None or not (NODE / "node_modules" / "ws").exists():
        pytest.fail("no Node with ws: `make test-python` installs both")
    done = subprocess.run([node, "peer.js", url], cwd=NODE, capture_output=True, text=True, timeout=18)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "echoes": {
            "text": [False, "grüße €𝄞"],
            "binary": [True, "00ff80"],
            "fragmented": "one two three",
            "mebibyte": True,
            "empty": 0,
            "pong": "are you there",
            "close": [4123, ""],
        },
        "closing": [4321, "from Python"],
        "subprotocol": "chat",
        "pinged": [1000, ""],
        "refused": 404,
    }
    closed = [site.ended() for _ in range(4)]
    assert [one.code for one in closed] == [4123, 4321, 1005, 1000]
    assert closed[0].reason == "from Node"
