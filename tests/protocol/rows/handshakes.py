"""Receives nothing · hands the registry the rows of handshakes that are slow, silent, torn off or too many · owns how
such peers behave.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import socket
import ssl
import struct
import threading
import time

from tests.protocol.rows.forms import refusal
from tests.protocol.rows.hello import client_hello
from tests.protocol.rows.profiles import AT_ONCE, CROWD, FEW_DESCRIPTORS, HURRIED
from tests.protocol.rows.registry import row
from tests.protocol.rows.requests import H16
from tests.protocol.rows.stage import Stage, many_descriptors, within
from tests.support.frames import TEXT, frame
from tests.support.raw import Peer, head
from tests.support.servers import eventually

DEADLINE = HURRIED.settings["open_timeout"]

H4 = row(
    "H4",
    "1,000 peers send a byte of a head now and then",
    "408 at `open_timeout`, which no byte moves; none has a slot",
)
CROWD_SIZE = 1_000


async def _slow_head(stage: Stage, gate: asyncio.Semaphore) -> tuple[bytes, float]:
    """What a slow peer is answered, and after how many seconds."""
    async with gate:
        began = time.monotonic()
        host = "localhost" if stage.context else None
        reader, writer = await asyncio.open_connection(
            *stage.address, ssl=stage.context, server_hostname=host
        )
    try:
        for byte in head(headers=[("Host", "localhost"), ("X-Slow", "x" * 1_000)]):
            writer.write(bytes([byte]))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.25):
                    return await reader.read(12), time.monotonic() - began
        raise AssertionError("the deadline moved")
    finally:
        writer.transport.abort()


@H4.case("1,000 slow heads", CROWD, cost=100, least=1, growth=16 << 20)
def slow_heads(stage: Stage) -> None:
    many_descriptors()
    deadline = CROWD.settings["open_timeout"]

    async def crowd() -> None:
        gate = asyncio.Semaphore(16)
        slow = asyncio.gather(*(_slow_head(stage, gate) for _ in range(CROWD_SIZE)))
        slots = set()
        while not slow.done():
            slots.add((await asyncio.to_thread(stage.counts))["occupied"])
            await asyncio.wait([slow], timeout=0.3)
        answers = await slow
        assert {status for status, _ in answers} == {b"HTTP/1.1 408"}
        lives = [life for _, life in answers]
        assert min(lives) >= deadline - 0.1, min(lives)
        assert max(lives) <= deadline + 1.5, max(lives)
        assert slots == {1}  # the canary's

    asyncio.run(crowd())


H5 = row(
    "H5",
    "nothing is sent; a head, or a ClientHello, is never completed",
    "closed at `open_timeout`, with 408 where a head began; none has a slot",
)


def _wait_for_the_deadline(stage: Stage, peers: list[Peer]) -> None:
    assert eventually(lambda: stage.counts()["pending"] == len(peers))
    assert stage.counts()["occupied"] == 1


@H5.case("silence", HURRIED, cost=50)
def silence(stage: Stage) -> None:
    began = time.monotonic()
    peers = [stage.connect(tls=False) for _ in range(AT_ONCE)]
    _wait_for_the_deadline(stage, peers)
    for peer in peers:
        assert peer.ending() == "RST"
        within(began, DEADLINE, DEADLINE)


@H5.case("half a ClientHello", HURRIED, cost=50, transports=("tls",))
def half_a_hello(stage: Stage) -> None:
    began = time.monotonic()
    peers = [stage.connect(tls=False) for _ in range(AT_ONCE)]
    for number, peer in enumerate(peers):
        peer.send(client_hello()[: 1 + number * 10])
    _wait_for_the_deadline(stage, peers)
    for peer in peers:
        assert peer.discard() in ("RST", "FIN")
        within(began, DEADLINE, DEADLINE)


@H5.case("half a head", HURRIED, cost=50)
def half_a_head(stage: Stage) -> None:
    began = time.monotonic()
    peers = [stage.connect() for _ in range(AT_ONCE)]
    for number, peer in enumerate(peers):
        peer.send(head()[: 1 + number * 4])
    _wait_for_the_deadline(stage, peers)
    for peer in peers:
        refusal(peer, 408)
        within(began, DEADLINE - 0.5, DEADLINE)


@H16.case("a frame while on_connect runs", HURRIED, cost=2)
def frame_before_the_verdict(stage: Stage) -> None:
    asked, cancelled = _verdicts(stage)
    peer = stage.connect()
    peer.send(head("/undecided"))
    assert eventually(lambda: _verdicts(stage)[0] == asked + 1)
    peer.send(frame(TEXT, b"early"))
    refusal(peer, 400)
    assert eventually(lambda: _verdicts(stage)[1] == cancelled + 1)


def _verdicts(stage: Stage) -> tuple[int, int]:
    """How often `on_connect` was asked for one that it never gives, and cancelled."""
    seen = stage.ask("seen")
    return seen["asked"], seen["cancelled"]


H25 = row(
    "H25",
    "half handshakes, as many a second as one peer can make",
    "pending places hold; newcomers come in, connections feel nothing",
)


def _flood(stage: Stage, over: threading.Event) -> int:
    """Begins handshakes, keeps the last 1,500 and resets those before them; how many it began."""
    part = head()[:40] if stage.context is None else client_hello()[:40]
    torn_off = struct.pack("ii", 1, 0)
    alive: collections.deque[socket.socket] = collections.deque()
    count = 0
    try:
        while not over.is_set():
            one = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, torn_off)
            alive.append(one)
            with contextlib.suppress(OSError):
                one.connect(stage.address)
                one.send(part)
            if len(alive) > 1_500:
                alive.popleft().close()
            count += 1
    finally:
        for one in alive:
            one.close()
    return count


@H25.case("half handshakes", CROWD, cost=50, growth=16 << 20)
def half_handshakes(stage: Stage) -> None:
    many_descriptors()
    over, began = threading.Event(), time.monotonic()
    flood = threading.Thread(target=_flood, args=(stage, over))
    flood.start()
    newcomers, most = 0, 0
    try:
        while time.monotonic() - began < 1.5:
            with stage.open() as peer:
                peer.echo()
            newcomers += 1
            most = max(most, stage.counts()["pending"])
    finally:
        over.set()
        flood.join()
    assert newcomers >= 3
    assert 500 < most <= CROWD.settings["max_pending"]


H26 = row(
    "H26",
    "RST or FIN while `on_connect` runs",
    "it is cancelled, and everything is free; no ending is told, as there was no connection",
)
for title, leave in (("RST", Peer.reset), ("FIN", Peer.close)):

    def leaves(stage: Stage, leave: object = leave) -> None:
        assert callable(leave)
        asked, cancelled = _verdicts(stage)
        peer = stage.connect()
        peer.send(head("/undecided"))
        assert eventually(lambda: _verdicts(stage)[0] == asked + 1)
        assert stage.counts()["occupied"] == 2
        leave(peer)
        assert eventually(lambda: _verdicts(stage)[1] == cancelled + 1)
        assert eventually(lambda: stage.counts()["occupied"] == 1)
        assert stage.ask("take_endings") == []

    H26.add(title, leaves, HURRIED, cost=2)


@H26.case("a late verdict", HURRIED, cost=50)
def late_verdict(stage: Stage) -> None:
    _, cancelled = _verdicts(stage)
    began = time.monotonic()
    peers = [stage.connect() for _ in range(AT_ONCE)]
    for peer in peers:
        peer.send(head("/undecided"))
    assert eventually(lambda: stage.counts()["occupied"] == 1 + len(peers))
    for peer in peers:
        refusal(peer, 503, {"Retry-After": "7"})
        within(began, DEADLINE - 0.5, DEADLINE)
    assert eventually(lambda: _verdicts(stage)[1] == cancelled + len(peers))


H27 = row(
    "H27",
    "1,000 peers of a process that may have 256 descriptors",
    "who is in notices nothing, the process does not spin, logs a line a second; over as soon as there are some",
)


@H27.case("1,000 peers", FEW_DESCRIPTORS, cost=100, least=1, growth=16 << 20)
def no_descriptors(stage: Stage) -> None:
    many_descriptors()
    residents = [stage.open() for _ in range(5)]
    crowd = [stage.connect(tls=False) for _ in range(CROWD_SIZE)]
    for peer in crowd:
        peer.send(head() if stage.context is None else client_hello()[:40])
    # All that there are have been given away, and most of the crowd waits in the kernel.
    assert eventually(lambda: stage.process.num_fds() == FEW_DESCRIPTORS.descriptors)

    spent, starved, began, echoes = stage.cpu, stage.ask("seen")["starved"], time.monotonic(), 0
    pause = threading.Event()
    while time.monotonic() - began < 1.5:
        for peer in residents:
            peer.echo(f"echo {echoes}")
            echoes += 1
        pause.wait(0.05)
    share = (stage.cpu - spent) / (time.monotonic() - began)
    assert share < 0.25, f"{share:.0%} of a processor"
    # On a busy machine a loop that spins gets little of the processor, too.
    assert stage.ask("seen")["starved"] - starved < 100

    for peer in crowd:
        peer.reset()
    began = time.monotonic()
    with _late(stage) as late:
        late.echo()
        assert time.monotonic() - began < 2.5
    for peer in residents:
        peer.echo("still here")
    assert len(stage.ask("take_records")) <= 10


def _late(stage: Stage) -> Peer:
    """Who comes when there are descriptors again."""
    while True:
        # The crowd that waited in the kernel is before it.
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            return stage.open()
