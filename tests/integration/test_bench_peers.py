"""The servers of the benchmarks do what is asked of all of them: those whose packages the tests have anyway."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest
from websockets.sync.client import ClientConnection, connect

from bench.environments import ALL, OURS, PEERS, Peer
from bench.serving import Serving, serving

ROOT = Path(__file__).parents[2]
PATIENCE = 10.0


class Here(Peer):
    """A server in Python, by the interpreter that runs the tests."""

    def command(self) -> list[str]:
        return [sys.executable, str(PEERS / f"{self.name}_server.py")]


class Node(Peer):
    """A server in JavaScript, with the packages of the tests."""

    def command(self) -> list[str]:
        return ["node", str(PEERS / self.name / "server.js")]

    def variables(self) -> Mapping[str, str]:
        return {"NODE_PATH": str(ROOT / "tests" / "node" / "node_modules")}


SERVERS = [OURS, Here("websockets"), Here("aiohttp"), Node("ws")]


def open_at(server: Serving, path: str, compression: str | None = None) -> ClientConnection:
    return connect(f"ws://127.0.0.1:{server.port}{path}", open_timeout=PATIENCE, compression=compression)


def echoes(server: Serving, path: str, compression: str | None = None) -> None:
    with open_at(server, path, compression) as client:
        for text in ("hello", "", "ä" * 5_000):
            client.send(text)
            assert client.recv(PATIENCE) == text
        has_deflate = bool(client.protocol.extensions)
        assert has_deflate == (compression is not None)


@pytest.mark.parametrize("peer", SERVERS, ids=lambda peer: peer.name)
@pytest.mark.parametrize("compression", [None, "deflate"])
def test_a_peer_echoes_and_publishes(peer: Peer, compression: str | None) -> None:
    arguments = ["--compression"] if compression else []
    with serving(peer, arguments, None) as server:
        assert server.process in server.processes()
        assert server.resident() > 1 << 20
        echoes(server, "/echo", compression)
        if peer.name in {OURS.name, "ws"}:
            echoes(server, "/echo-callback", compression)
        with ExitStack() as opened:
            opened.enter_context(open_at(server, "/idle", compression))
            control = opened.enter_context(open_at(server, "/control"))
            subscribers = [opened.enter_context(open_at(server, "/fanout", compression)) for _ in range(2)]
            # A server may subscribe a connection after its 101, so the first are asked for until each has one.
            for subscriber in subscribers:
                received = None
                while received is None:
                    control.send("is anyone there?")
                    try:
                        received = subscriber.recv(0.2)
                    except TimeoutError:
                        continue
            sent = [f"{number} {'x' * 2_000}" for number in range(20)]
            for text in sent:
                control.send(text)
            for subscriber in subscribers:
                texts = [subscriber.recv(PATIENCE) for _ in range(20)]
                while texts[0] == "is anyone there?":
                    texts = [*texts[1:], subscriber.recv(PATIENCE)]
                assert texts == sent


def test_ours_lets_in_without_being_asked_and_gives_subscribers_a_task() -> None:
    with serving(OURS, ["--without-on-connect"], None) as server:
        echoes(server, "/echo")
    with (
        serving(OURS, [], None) as server,
        open_at(server, "/fanout-task") as subscriber,
        open_at(server, "/control") as control,
    ):
        control.send("to a task")
        assert subscriber.recv(PATIENCE) == "to a task"


def test_python_is_blocked_when_as_many_as_were_named_are_there() -> None:
    with (
        serving(OURS, ["--block-at", "2", "--block-for", "1"], None) as server,
        open_at(server, "/echo") as first,
    ):
        first.send("free")
        assert first.recv(PATIENCE) == "free"
        with open_at(server, "/echo") as second:
            # The loop looks every 50 ms; what is sent meanwhile may still be answered.
            answered = True
            for _ in range(1_000):
                second.send("and now?")
                try:
                    second.recv(0.3)
                except TimeoutError:
                    answered = False
                    break
            assert not answered
            assert second.recv(PATIENCE) == "and now?"


def test_every_peer_has_a_server() -> None:
    for name, peer in ALL.items():
        sources = [PEERS / f"{name}_server.py", PEERS / name / "server.js", PEERS / name / "main.go"]
        assert peer.name == "floor" or any(source.exists() for source in sources), name
