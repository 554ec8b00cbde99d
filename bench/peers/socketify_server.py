"""Receives the load generator's connections · hands messages back, or to every subscriber · owns the side of socketify,
which is uWebSockets below Python, in the comparison.

Its form is the callback; a fan-out is its own publish and subscribe, which gathers what a turn of its loop brings.
"""

from __future__ import annotations

from typing import Any

from listening import announce, options
from socketify import App, AppListenOptions, CompressOptions

# What compresses is shared between connections, and no window is kept from message to message.
IS_COMPRESSING = options().compression
COMPRESSION = CompressOptions.SHARED_COMPRESSOR if IS_COMPRESSING else CompressOptions.DISABLED


def behaviour(**handlers: Any) -> dict[str, Any]:
    return {
        "compression": COMPRESSION,
        "max_payload_length": 1 << 20,
        "idle_timeout": 120,
        # What stopped readers leave behind, as large as this project's ring.
        "max_backpressure": 2 << 20,
        **handlers,
    }


def echo(socket: Any, message: Any, opcode: Any) -> None:
    socket.send(message, opcode)


def subscribe(socket: Any) -> None:
    socket.subscribe("bench")


def publish(socket: Any, message: Any, opcode: Any) -> None:
    socket.publish("bench", message, opcode, IS_COMPRESSING)


application = App()
application.ws("/echo", behaviour(message=echo))
application.ws("/echo-callback", behaviour(message=echo))
application.ws("/fanout", behaviour(open=subscribe))
application.ws("/idle", behaviour())
application.ws("/control", behaviour(message=publish))
application.listen(AppListenOptions(port=0, host="127.0.0.1"), lambda config: announce(config.port))
application.run()
