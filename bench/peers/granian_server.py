"""Receives the load generator's connections · hands messages back, or to every subscriber · owns the side of granian in
the comparison.

Its own interface, RSGI, one worker with one thread, uvloop. It chooses no free port by itself, so one is chosen for
it; its worker is a process of its own.
"""

from __future__ import annotations

import socket
import sys
import time
from typing import Any

from granian import Granian
from granian.constants import Interfaces, Loops
from granian.rsgi import WebsocketMessageType

BACKLOG = 4096

subscribers: set[Any] = set()


async def fan_out(transport: Any) -> None:
    subscribers.add(transport)
    try:
        while (await transport.receive()).kind != WebsocketMessageType.close:
            pass
    finally:
        subscribers.discard(transport)


async def control(transport: Any) -> None:
    while (message := await transport.receive()).kind != WebsocketMessageType.close:
        for subscriber in list(subscribers):
            await subscriber.send_str(message.data)


async def echo(transport: Any) -> None:
    while (message := await transport.receive()).kind != WebsocketMessageType.close:
        await transport.send_str(message.data)


async def idle(transport: Any) -> None:
    while (await transport.receive()).kind != WebsocketMessageType.close:
        pass


HANDLERS = {"/echo": echo, "/fanout": fan_out, "/control": control, "/idle": idle}


async def application(scope: Any, protocol: Any) -> None:
    transport = await protocol.accept()
    await HANDLERS[scope.path](transport)
    protocol.close()


def serve() -> None:
    from listening import options

    if options().compression:
        sys.exit("granian does not compress")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = Granian(
        "granian_server:application",
        address="127.0.0.1",
        port=port,
        interface=Interfaces.RSGI,
        loop=Loops.uvloop,
        workers=1,
        backlog=BACKLOG,
        log_access=False,
        log_level="warning",
    )
    server.on_startup(lambda: _announce_when_open(port))
    server.serve()


def _announce_when_open(port: int) -> None:
    """The worker opens the port some time after the start."""
    import threading

    from listening import announce

    def wait() -> None:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    announce(port)
                    return
            time.sleep(0.05)

    threading.Thread(target=wait, daemon=True).start()


if __name__ == "__main__":
    serve()
