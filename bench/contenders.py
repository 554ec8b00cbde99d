"""Receives nothing · hands out who takes part in a row · owns how each peer is addressed."""

from __future__ import annotations

from dataclasses import dataclass

from bench.environments import OURS


@dataclass(frozen=True)
class Contender:
    """One line of a row: a server, as it is started and addressed."""

    name: str
    """In its row no other has it."""
    peer: str
    path: str
    server: tuple[str, ...] = ()
    """Arguments of the server."""
    load: tuple[str, ...] = ()
    """Words for the load generator beside the row's."""
    scenario: str = ""
    """Of the load generator; empty: the row's."""
    scheme: str = "ws"


def ours(path: str, *, form: str = "", server: tuple[str, ...] = (), load: tuple[str, ...] = ()) -> Contender:
    """This project; `form` tells two of its lines apart."""
    return Contender(f"{OURS.name}, {form}" if form else OURS.name, OURS.name, path, server, load)


def each(
    path: str, *peers: str, server: tuple[str, ...] = (), load: tuple[str, ...] = (), form: str = ""
) -> tuple[Contender, ...]:
    """Peers that speak plain WebSocket, all in the same way."""
    return tuple(Contender(f"{peer}, {form}" if form else peer, peer, path, server, load) for peer in peers)


PLAIN = ("floor", "socketify", "picows", "websockets", "ws", "gws", "aiohttp", "starlette", "granian")

# A client of centrifuge says who it is, has its echo by `rpc`, publishes by `send`; what comes is known by its number.
_CENTRIFUGE = ("--hello", '{"id":1,"connect":{}}', "--check", "label")
# One of Socket.IO joins the default namespace; `42` is an event. Publishers of either are clients like any other.
_SOCKET_IO = ("--hello", "40", "--check", "label", "--message", '42["publish","{seq}{pad}"]')
_SAME = ("--publisher", "same")
_SOCKET_IO_PATH = "/socket.io/?EIO=4&transport=websocket"

FANOUT = (
    *each("/fanout", *PLAIN),
    *each(
        "/fanout", "centrifuge", load=(*_CENTRIFUGE, *_SAME, "--message", '{"send":{"data":"{seq}{pad}"}}')
    ),
    *each(_SOCKET_IO_PATH, "python-socketio", load=(*_SOCKET_IO, *_SAME)),
)
ECHO = (
    *each("/echo", *PLAIN),
    *each("/echo", "centrifuge", load=(*_CENTRIFUGE, "--message", '{"id":2,"rpc":{"data":"{seq}{pad}"}}')),
    *each(_SOCKET_IO_PATH + "&echo=1", "python-socketio", load=_SOCKET_IO),
)
OPENING = (*each("/idle", *PLAIN, "centrifuge"), *each(_SOCKET_IO_PATH, "python-socketio"))
IDLE = (
    *each("/fanout", *PLAIN),
    *each("/fanout", "centrifuge", load=("--hello", '{"id":1,"connect":{}}')),
    *each(_SOCKET_IO_PATH, "python-socketio", load=("--hello", "40")),
)
