"""Receives a `Config` · hands back a server that any page subscribes at, without a program · owns its one path.

``GET /channels/<name>``, upgraded, subscribes; ``POST /channels/<name>`` on the admin address publishes.
"""

from __future__ import annotations

import unicodedata

from .._core import Request
from ..admission import Accept, Reject
from ..config import Config
from ..server import Server

__all__ = ["ADMIN_PORT", "gateway"]

ADMIN_PORT = 8001
"""Where the gateway is published to, unless a setting says otherwise: without it, it would be mute."""

_MAX_NAME = 255


def gateway(config: Config) -> Server:
    """A server that pushes channels to whoever asks for one by name."""
    server = Server(config)
    server.push("/channels/{name}")
    server.on_connect(_subscribe)
    return server


def _subscribe(request: Request) -> Accept[None] | Reject:
    name = request.path_params["name"]
    if not 0 < len(name.encode()) <= _MAX_NAME:
        return Reject(400, f"a channel's name has 1 to {_MAX_NAME} bytes")
    if any(unicodedata.category(character) == "Cc" for character in name):
        return Reject(400, "a channel's name has no control characters")
    return Accept(subscribe=[name])
