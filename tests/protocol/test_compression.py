"""permessage-deflate: what other people's clients and we compress arrives, once per publication whatever its audience,
and what cannot be inflated ends in the right code and takes no memory.
"""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import subprocess
import urllib.request
import zlib
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest
import websockets.asyncio.client

import streamconductor as sc
from tests.protocol.conftest import Serve
from tests.support.frames import BINARY, CONTINUATION, PING, TEXT, frame
from tests.support.raw import Peer, head, upgrade_headers
from tests.support.servers import LoopFactory, Site, eventually

NODE = Path(__file__).parents[1] / "node"
BARE = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
LONG = "grüße €𝄞 " * 200
TEXTS = ["", "x", "short", LONG, "x" * 65_536, json.dumps({"values": list(range(5_000))})]
MEBIBYTE = bytes(range(256)) * 4_096

Running = Callable[[Coroutine[Any, Any, None]], None]


def publishing(server: sc.Server) -> None:
    """`/room` subscribes to "room"; whatever is said there is published to it."""

    @server.route("/room")
    async def room(connection: sc.Connection[Any]) -> None:
        connection.subscribe("room", first="welcome " * 100)
        async for message in connection:
            await server.publish("room", message)


@pytest.fixture
def site(serve: Serve) -> Site:
    return serve(publishing, compression=True, admin_port=0)


@pytest.fixture
def url(site: Site) -> str:
    return f"ws://127.0.0.1:{site.call(lambda: site.server.port)}"


@pytest.fixture
def running(loop_factory: LoopFactory) -> Running:
    """Runs a client on a loop of the same kind as the server's."""

    def run(coroutine: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(asyncio.wait_for(coroutine, 30))

    return run


def compression(site: Site) -> Any:
    """What `/status` says about it."""
    return site.call(site.server.status)["compression"]


def deflate(payload: bytes, window_bits: int = 15) -> bytes:
    """A message as a client compresses it, by the zlib of C."""
    compressor = zlib.compressobj(wbits=-window_bits)
    data = compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH)
    assert data.endswith(b"\x00\x00\xff\xff")
    return data[:-4]


def inflate(payload: bytes, window_bits: int = 15) -> bytes:
    """What a client makes of a message, with no more than that window."""
    inflater = zlib.decompressobj(wbits=-window_bits)
    message = bytearray()
    rest = payload + b"\x00\x00\xff\xff"
    # In pieces: within one call zlib reaches back into what it has written and not into its window.
    while piece := inflater.decompress(rest, 256):
        message += piece
        rest = inflater.unconsumed_tail
    return bytes(message)


def opened(site: Site, path: str = "/echo", offer: str = "permessage-deflate", agreed: str = BARE) -> Peer:
    """A raw peer that has negotiated."""
    peer = site.connect()
    peer.send(head(path, upgrade_headers(("Sec-WebSocket-Extensions", offer))))
    peer.switched(agreed)
    return peer


# Other people's clients.


def test_websockets(site: Site, url: str, running: Running) -> None:
    async def talk() -> None:
        # It offers by default.
        async with websockets.asyncio.client.connect(url + "/echo", max_size=None) as client:
            (deflating,) = client.protocol.extensions
            assert deflating.name == "permessage-deflate"
            for text in TEXTS:
                await client.send(text)
                assert await client.recv() == text
            for data in (b"", b"\x00\xff", MEBIBYTE):
                await client.send(data)
                assert await client.recv() == data
            await client.send(["one " * 100, "two " * 100, "", "three"])
            assert await client.recv() == "one " * 100 + "two " * 100 + "three"
            await client.close(4123, "from websockets")

    running(talk())
    assert site.ended().code == 4123
    found = compression(site)
    assert found["connections"] == 0
    assert found["inflated"]["messages"] == len(TEXTS) + 4
    # The long texts, the megabyte and the fragments; the rest is shorter than the threshold.
    assert found["compressed"]["messages"] == 5
    assert found["compressed"]["deflated_bytes"] * 4 < found["compressed"]["plain_bytes"]


def test_websockets_hears_publications_and_broadcasts(site: Site, url: str, running: Running) -> None:
    large = json.dumps([f"event {number % 50}" for number in range(20_000)])

    async def talk() -> None:
        async with (
            websockets.asyncio.client.connect(url + "/room", max_size=None) as client,
            websockets.asyncio.client.connect(url + "/room", compression=None, max_size=None) as plain,
        ):
            for one in (client, plain):
                assert await one.recv() == "welcome " * 100
            for text in (LONG, "short", large, LONG):
                await client.send(text)
            for one in (client, plain):
                assert [await one.recv() for _ in range(4)] == [LONG, "short", large, LONG]
            before = compression(site)["compressed"]["messages"]
            # Not to the canary.
            site.run(site.server.broadcast(LONG, to=site.call(lambda: site.server.connections(path="/room"))))
            assert [await one.recv() for one in (client, plain)] == [LONG, LONG]
            assert compression(site)["compressed"]["messages"] == before + 1

    running(talk())


def test_aiohttp(site: Site, url: str, running: Running) -> None:
    async def talk() -> None:
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(url + "/echo", compress=15, max_msg_size=0) as client,
        ):
            assert client.compress == 15
            for text in TEXTS:
                await client.send_str(text)
                assert await client.receive_str() == text
            await client.send_bytes(MEBIBYTE)
            assert await client.receive_bytes() == MEBIBYTE

    running(talk())
    found = compression(site)
    assert (found["inflated"]["messages"] > 0, found["compressed"]["messages"]) == (True, 4)


def test_node_ws(site: Site, url: str) -> None:
    node = shutil.which("node")
    if node is None or not (NODE / "node_modules" / "ws").exists():
        pytest.fail("no Node with ws: `make test-python` installs both")
    done = subprocess.run([node, "deflate.js", url], cwd=NODE, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    seen = {
        "text": [False, True],
        "empty": 0,
        "fragmented": True,
        "mebibyte": True,
        "close": [4123, ""],
    }
    assert json.loads(done.stdout) == {
        "defaults": {"extensions": "permessage-deflate", **seen},
        "small": {"extensions": "permessage-deflate", **seen},
    }
    found = compression(site)
    assert (found["inflated"]["messages"] >= 6, found["compressed"]["messages"]) == (True, 6)


# The handshake.


@pytest.mark.parametrize(
    ("offer", "agreed"),
    [
        ("permessage-deflate", BARE),
        ("permessage-deflate; client_max_window_bits", BARE),
        ("permessage-deflate; client_max_window_bits=8", BARE),
        ("permessage-deflate; server_max_window_bits=9", BARE + "; server_max_window_bits=9"),
        ("x-other, permessage-deflate; server_max_window_bits=8, permessage-deflate", BARE),
        ("permessage-deflate; server_max_window_bits=8", None),
        ("permessage-deflate; client_max_window_bits=99", None),
        ("permessage-deflate; server_no_context_takeover; server_no_context_takeover", None),
        ("constructor", None),
        (", ".join(f"e{number}; p={number}" for number in range(900)), None),
    ],
)
def test_offers(site: Site, offer: str, agreed: str | None) -> None:
    """H8, H9: a bad offer is declined and nothing else, and the connection works either way."""
    with site.connect() as peer:
        peer.send(head("/echo", upgrade_headers(("Sec-WebSocket-Extensions", offer))))
        peer.switched(agreed)
        peer.echo()


def test_several_lines_of_offers(site: Site) -> None:
    with site.connect() as peer:
        offers = [("Sec-WebSocket-Extensions", value) for value in ("foo; bar=1", "permessage-deflate")]
        peer.send(head("/echo", upgrade_headers(*offers)))
        peer.switched(BARE)
        peer.echo()


def test_it_is_off_by_default(serve: Serve) -> None:
    site = serve()
    with site.connect() as peer:
        peer.send(head("/echo", upgrade_headers(("Sec-WebSocket-Extensions", "permessage-deflate"))))
        peer.switched()
        peer.send(frame(TEXT, deflate(b"hello"), reserved=4))
        assert peer.closed()[0] == 1002


def test_reconfigured_it_holds_for_newcomers(site: Site) -> None:
    with opened(site) as before:
        site.call(lambda: site.server.reconfigure(compression=False, compression_threshold="1MiB"))
        with site.connect() as peer:
            peer.send(head("/echo", upgrade_headers(("Sec-WebSocket-Extensions", "permessage-deflate"))))
            peer.switched()
            peer.echo()
        before.send(frame(TEXT, deflate(LONG.encode()), reserved=4))
        echo = before.any_frame()
        assert (echo.payload.decode(), echo.compressed) == (LONG, False), "shorter than the threshold by now"


# Frames, byte by byte.


@pytest.mark.parametrize("window_bits", [9, 12, 15])
def test_what_goes_out_keeps_to_the_window(site: Site, window_bits: int) -> None:
    agreed = f"{BARE}; server_max_window_bits={window_bits}"
    offer = f"permessage-deflate; server_max_window_bits={window_bits}"
    # The same noise again behind ever more of something else tempts a compressor to reach back too far.
    noise = random.Random(7).randbytes(200).hex()
    text = "".join(noise + "x" * (8 << part) for part in range(14))
    with opened(site, "/room", offer, agreed) as peer:
        for expected in ("welcome " * 100, text[:15_000], text):
            if not expected.startswith("welcome"):
                peer.send(frame(TEXT, expected.encode()))
            found = peer.any_frame()
            assert (found.opcode, found.final, found.compressed) == (TEXT, True, True)
            assert inflate(found.payload, window_bits).decode() == expected
            assert len(found.payload) < len(expected) // 2


def test_messages_in_fragments_with_pings_between(site: Site) -> None:
    data = deflate(LONG.encode())
    with opened(site) as peer:
        third = len(data) // 3
        peer.send(
            frame(TEXT, data[:third], final=False, reserved=4),
            frame(PING, b"between"),
            frame(CONTINUATION, data[third : 2 * third], final=False),
            frame(CONTINUATION, final=False),
            frame(CONTINUATION, data[2 * third :]),
        )
        assert peer.any_frame().payload == b"between"
        assert inflate(peer.any_frame().payload).decode() == LONG
        # Blocks that call themselves the last, with and without what should follow; two of them; an empty message.
        whole = zlib.compressobj(wbits=-15)
        last = whole.compress(b"Hello") + whole.flush()
        for payload, expected in (
            (last + b"\0", b"Hello"),
            (last, b"Hello"),
            (last + last, b"HelloHello"),
            (b"\0", b""),
        ):
            peer.send(frame(BINARY, payload, reserved=4))
            assert peer.any_frame().payload == expected


BAD = {
    # F2
    "RSV1 on a ping": (frame(PING, reserved=4), 1002),
    "RSV1 on a continuation": (
        frame(TEXT, b"x", final=False) + frame(CONTINUATION, b"x", reserved=4),
        1002,
    ),
    "RSV1 and RSV2": (frame(TEXT, deflate(b"x"), reserved=6), 1002),
    "RSV3": (frame(TEXT, b"x", reserved=1), 1002),
    # F24
    "no stream": (frame(TEXT, b"\xff\xff\xff", reserved=4), 1007),
    "no byte": (frame(TEXT, b"", reserved=4), 1007),
    "cut off": (frame(TEXT, deflate(LONG.encode())[:-5], reserved=4), 1007),
    "what was before": (frame(TEXT, b"\xf2\x00\x11\x00\x00", reserved=4), 1007),
    "not UTF-8": (frame(TEXT, deflate(b"\xff" * 100), reserved=4), 1007),
    # F23
    "one byte too many": (frame(TEXT, deflate(b"x" * (2**20 + 1)), reserved=4), 1009),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_inflated(site: Site, case: str) -> None:
    data, code = BAD[case]
    with opened(site) as peer:
        peer.send(frame(TEXT, deflate(b"fine"), reserved=4))
        assert peer.any_frame().payload == b"fine"
        peer.send(data)
        assert peer.closed()[0] == code
        assert peer.ending() == "FIN"
    closed = site.ended()
    assert (closed.code, closed.ending) == (code, "violation")
    with opened(site) as peer:
        peer.send(frame(TEXT, deflate(LONG.encode()), reserved=4))
        assert inflate(peer.any_frame().payload).decode() == LONG, "it spoils nothing for others"


def _peak(status: str) -> int:
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(status))
    return int(line.split()[1]) * 1024


def test_a_bomb_takes_its_limit_and_no_more(site: Site) -> None:
    """F23: a megabyte that says a gigabyte, many times and at once."""
    compressor = zlib.compressobj(9, wbits=-15)
    zeros = bytes(2**22)
    bomb = b"".join(compressor.compress(zeros) for _ in range(256)) + compressor.flush()
    assert len(bomb) < 2**20
    data = frame(BINARY, bomb, reserved=4)
    held = lambda: site.call(site.server.status)["ledger"]["owners"]["inbound"]  # noqa: E731

    def throw() -> None:
        peers = [opened(site) for _ in range(8)]
        for peer in peers:
            peer.send(data)
        for peer in peers:
            assert peer.closed()[0] == 1009
            peer.close()
        site.peers.clear()

    throw()
    # The kernel is told to forget the peak so far.
    Path("/proc/self/clear_refs").write_text("5")
    before = psutil.Process().memory_info().rss
    for _ in range(4):
        throw()
    peak = _peak("VmHWM") - before
    # Eight connections assemble their megabyte, two shards inflate one to the limit of another; our own reading and
    # sending counts, too.
    assert peak < 8 * 2**20 + 2 * (2**20 + 2**16) + 24 * 2**20, f"{peak / 2**20:.1f} MiB"
    assert eventually(lambda: held() == 0)


# Once for all.


def test_a_publication_is_compressed_once_whatever_its_audience(serve: Serve) -> None:
    site = serve(publishing, compression=True, max_connections=512, memory_budget="2GiB")
    peers = [opened(site, "/room") for _ in range(200)]
    for peer in peers:
        assert peer.any_frame().compressed
    before = compression(site)
    assert before["connections"] == 200
    texts = [json.dumps({"number": number, "values": [number] * 300}) for number in range(100)]
    large = json.dumps(list(range(10_000)))

    async def publish() -> None:
        for text in texts:
            await site.server.publish("room", text)
        await site.server.publish("room", large)

    site.run(publish())
    received = []
    for peer in peers:
        got = [peer.any_frame() for _ in range(101)]
        assert all(one.compressed for one in got)
        received.append([one.payload for one in got])
    assert [inflate(payload).decode() for payload in received[0]] == [*texts, large]
    assert all(one == received[0] for one in received), "the same bytes for everybody"
    counted = {
        key: value - before["compressed"][key] for key, value in compression(site)["compressed"].items()
    }
    assert counted["messages"] == 101
    assert counted["plain_bytes"] == sum(map(len, [*texts, large]))
    # With their headers.
    frames = sum(len(payload) + (2 if len(payload) < 126 else 4) for payload in received[0])
    assert counted["deflated_bytes"] == frames
    metrics = site.call(site.server.metrics)
    assert "streamconductor_compression_connections 200" in metrics
    total = compression(site)["compressed"]["messages"]
    assert f'streamconductor_compression_messages_total{{direction="out"}} {total}' in metrics


def test_what_is_published_over_http_is_compressed_there(site: Site) -> None:
    port = site.call(lambda: site.server.admin_port)
    large = json.dumps(list(range(20_000)))
    with opened(site, "/room") as peer:
        assert peer.any_frame().compressed
        for text in (large, "short", large):
            request = urllib.request.Request(
                f"http://127.0.0.1:{port}/channels/room",
                text.encode(),
                {"Content-Type": "text/plain"},
            )
            with urllib.request.urlopen(request, timeout=10) as response:
                assert response.status == 202
        found = [peer.any_frame() for _ in range(3)]
        assert [one.compressed for one in found] == [True, False, True]
        assert inflate(found[0].payload).decode() == inflate(found[2].payload).decode() == large


def test_a_flood_of_publications_keeps_its_order_and_everybody_else_alive(site: Site) -> None:
    """More than a shard compresses in many turns, mixed with what callers compress: the canary goes on singing."""
    payloads = [
        json.dumps({"number": number, "values": [number % 7] * (10_000 if number % 50 == 0 else 300)})
        for number in range(2_000)
    ]
    with opened(site, "/room") as peer, site.connect() as plain:
        plain.upgrade("/room")
        site.call(lambda: site.server.reconfigure(max_buffered="8MiB", high_water="8MiB"))

        async def publish() -> None:
            for payload in payloads:
                await site.server.publish("room", payload)

        publishing = asyncio.run_coroutine_threadsafe(publish(), site.loop)
        for one in (peer, plain):
            one.any_frame()
        numbers: tuple[list[int], list[int]] = ([], [])
        for number in range(len(payloads)):
            for one, seen in zip((peer, plain), numbers, strict=True):
                found = one.any_frame()
                assert found.compressed is (one is peer)
                text = inflate(found.payload) if found.compressed else found.payload
                seen.append(json.loads(text)["number"])
            assert numbers[0][-1] == numbers[1][-1] == number
        publishing.result(10)
