"""Receives the load generator's connections · hands messages back, or to every subscriber · owns the side of picows in
the comparison.

Its one form is the callback: a listener per connection, called for every frame. A fan-out is a loop over the
transports, as in its own example. Its own interface does not compress.
"""

from __future__ import annotations

import asyncio
import sys

import uvloop
from listening import BACKLOG, announce, options
from picows import WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_create_server

subscribers: set[WSTransport] = set()


class Ending(WSListener):
    """What the others share: a Close is answered."""

    def end(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code(), frame.get_close_message())
            transport.disconnect()


class Echo(Ending):
    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.TEXT:
            transport.send(WSMsgType.TEXT, frame.get_payload_as_memoryview())
        else:
            self.end(transport, frame)


class Subscriber(Ending):
    def on_ws_connected(self, transport: WSTransport) -> None:
        subscribers.add(transport)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        self.end(transport, frame)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        subscribers.discard(transport)


class Control(Ending):
    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type != WSMsgType.TEXT:
            self.end(transport, frame)
            return
        payload = frame.get_payload_as_bytes()
        for subscriber in subscribers:
            subscriber.send(WSMsgType.TEXT, payload)


class Idle(Ending):
    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        self.end(transport, frame)


LISTENERS = {
    b"/echo": Echo,
    b"/echo-callback": Echo,
    b"/fanout": Subscriber,
    b"/control": Control,
    b"/idle": Idle,
}


def listener(request: WSUpgradeRequest) -> WSListener:
    return LISTENERS[request.path]()


async def main() -> None:
    if options().compression:
        sys.exit("picows does not compress")
    server = await ws_create_server(listener, "127.0.0.1", 0, backlog=BACKLOG)
    announce(server.sockets[0].getsockname()[1])
    await asyncio.Future()


uvloop.run(main())
