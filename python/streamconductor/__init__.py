"""Conducts real-time WebSocket streams from a Python backend to browsers.

Start with `Server`, `Config` and `run`; see the README for a first program.
"""

import typing

from ._core import Request, __version__
from .admission import Accept, Reject
from .client import connect
from .close import CloseCode
from .config import Config
from .connection import Backpressure, Closed, Connection, State
from .errors import (
    BindError,
    ConfigError,
    ConfigWarning,
    ConnectionClosed,
    ConnectionClosedError,
    ConnectionClosedOK,
    ForkedProcess,
    Full,
    HandshakeRefused,
    InvalidMessage,
    MessageRefused,
    MessageTooBig,
    NotRunning,
    OpeningError,
    OpeningTimeout,
    Overloaded,
    StreamConductorError,
    Unreachable,
    UnsupportedEventLoop,
    WrongMessageType,
    WrongThread,
)
from .feed import Feed
from .health import Health
from .policy import ConnectionInfo, PoolPolicy, PoolSnapshot
from .running import run
from .serve import broadcast, serve
from .server import Server

__all__ = [
    "Accept",
    "Backpressure",
    "BindError",
    "CloseCode",
    "Closed",
    "Config",
    "ConfigError",
    "ConfigWarning",
    "Connection",
    "ConnectionClosed",
    "ConnectionClosedError",
    "ConnectionClosedOK",
    "ConnectionInfo",
    "Feed",
    "ForkedProcess",
    "Full",
    "HandshakeRefused",
    "Health",
    "InvalidMessage",
    "MessageRefused",
    "MessageTooBig",
    "NotRunning",
    "OpeningError",
    "OpeningTimeout",
    "Overloaded",
    "PoolPolicy",
    "PoolSnapshot",
    "Reject",
    "Request",
    "Server",
    "State",
    "StreamConductorError",
    "Unreachable",
    "UnsupportedEventLoop",
    "WrongMessageType",
    "WrongThread",
    "__version__",
    "broadcast",
    "connect",
    "run",
    "serve",
]

if typing.TYPE_CHECKING:
    from . import testing as testing
else:

    def __getattr__(name: str) -> object:
        """``sc.testing`` is imported by whoever first asks for it, and by no server."""
        if name == "testing":
            import importlib

            return importlib.import_module(".testing", __name__)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
