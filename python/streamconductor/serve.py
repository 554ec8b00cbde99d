"""Receives a handler the way the `websockets` library takes it · hands back a `Server` with that one route · owns
the translation of that library's options, and its plain `broadcast`.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from types import TracebackType
from typing import Any, cast

from .config import Config
from .config_problems import nearest
from .connection import Connection
from .errors import WrongThread
from .publishing import Publishing
from .registration import Handler
from .server import Server

__all__ = ["Serving", "broadcast", "serve"]

_LEFT_OUT: Any = object()

# Options of that library for which there is another way here.
_INSTEAD = {
    "create_connection": "Accept(context=…) in Server.on_connect, which becomes connection.context",
    "extensions": "nothing: no extension is negotiated",
    "logger": "the loggers below `streamconductor` of the logging module",
    "max_queue": "max_inbound, which counts bytes, not messages",
    "path": "unix_socket",
    "process_request": "Server.on_connect, which returns sc.Accept or sc.Reject(status, reason)",
    "process_response": "Server.on_connect, which returns sc.Accept(headers=…)",
    "reuse_port": "threads: one process listens, and its threads share the connections",
    "select_subprotocol": "subprotocols, or Accept(subprotocol=…) in Server.on_connect",
    "server_header": "Accept(headers=…) in Server.on_connect",
    "sock": "host and port, or unix_socket",
    "ssl": "tls_certificate and tls_key",
    "start_serving": "Server.start, which you call when you want it to listen",
    "unix": "unix_socket",
}


class Serving:
    """A server that starts where it is awaited or entered: what `serve` returns.

    ``async with`` it, or await it; both give the `Server`. Leaving the block is `Server.shutdown`.
    """

    def __init__(self, server: Server) -> None:
        self._server = server

    def __await__(self) -> Generator[Any, None, Server]:
        return self._server.__aenter__().__await__()

    async def __aenter__(self) -> Server:
        return await self._server.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._server.__aexit__(kind, error, trace)


def serve(
    handler: Handler,
    host: str | None = None,
    port: int | None = None,
    *,
    max_size: int | tuple[int | None, int | None] = _LEFT_OUT,
    write_limit: int | tuple[int, int | None] = _LEFT_OUT,
    compression: None = None,
    **options: Any,
) -> Serving:
    """Serves one handler on every path, called as in the `websockets` library.

    Args:
        handler: a coroutine function that is called with each connection.
        host: the address to listen on; ``""``: every IPv4 address; `None`: `Config.host`, which is loopback.
        port: the port, 0 for any; `None`: `Config.port`.
        max_size: bytes of an inbound message, or (message, frame): `Config.max_message_size`, `max_frame_size`.
        write_limit: bytes pending above which `send` waits, or (high, low): `Config.high_water`, `low_water`. A low
            mark that is left out is a quarter of the high one.
        compression: None; messages are not compressed.
        options: `open_timeout`, `close_timeout`, `ping_interval`, `ping_timeout`, `origins`, `subprotocols`, and every
            other field of `Config`. ``origins=None`` is every origin, as there; left out it is `Config.origins`.

    Raises:
        TypeError: an option that does not exist, or has another name here, which the text says.
        ConfigError: a value that breaks a promise of `Config`.
    """
    if compression is not None:
        raise TypeError("serve() does not compress messages yet; leave compression out")
    if host is not None:
        options["host"] = host or "0.0.0.0"
    if port is not None:
        options["port"] = port
    if max_size is not _LEFT_OUT:
        options |= _message_limits(max_size)
    if write_limit is not _LEFT_OUT:
        options |= _marks(write_limit)
    if "ping_timeout" in options and options["ping_timeout"] is None:
        del options["ping_timeout"]
        if options.get("ping_interval", 20) is not None:
            raise TypeError(
                "serve() always ends a dead peer; leave ping_timeout out, or set ping_interval=None, too"
            )
    if "origins" in options:
        options["origins"] = _origins(options["origins"])
    if "subprotocols" in options:
        options["subprotocols"] = options["subprotocols"] or ()
    server = Server(Config(**_known(options)))
    server.route("/{path:path}")(handler)
    return Serving(server)


def _known(options: dict[str, Any]) -> dict[str, Any]:
    known: dict[str, Any] = {}
    for name, value in options.items():
        if name in Config.model_fields:
            known[name] = value
        elif name not in _INSTEAD:
            raise TypeError(
                f"serve() has no option {name}; the nearest is {nearest(name, Config.model_fields)}"
            )
        # None says there that the option is not used, but for this one, where it takes a limit away.
        elif value is not None or name == "max_queue":
            raise TypeError(f"serve() has no option {name}; instead there is {_INSTEAD[name]}")
    return known


def _message_limits(limit: int | tuple[int | None, int | None] | None) -> dict[str, int | None]:
    message, frame = limit if isinstance(limit, tuple) else (limit, None)
    if message is None:
        raise TypeError("serve() takes no message without a limit; max_size is max_message_size, in bytes")
    return {"max_message_size": message, "max_frame_size": frame}


def _marks(limit: int | tuple[int, int | None]) -> dict[str, int]:
    high, low = limit if isinstance(limit, tuple) else (limit, None)
    return {"high_water": high, "low_water": high // 4 if low is None else low}


def _origins(origins: str | Sequence[str | None] | None) -> str | list[str]:
    if origins is None:
        return "*"
    if isinstance(origins, str):
        return origins
    # None in the list admits requests without an origin there; here they always pass, as no page sends them.
    named = [origin for origin in origins if origin is not None]
    if not all(isinstance(origin, str) for origin in named):
        raise TypeError(
            "serve() compares origins exactly; for a pattern read request.origin in Server.on_connect"
        )
    return named


def broadcast(connections: Iterable[Connection[Any]], message: object, *, text: bool | None = None) -> None:
    """Sends one message to many connections without waiting; those that are not open are left out.

    What a slow connection cannot take obeys `Config.overflow`. Inside `Server`, its awaited form is
    `Server.broadcast`.

    Args:
        connections: of one server, or of several.
        message: `str` as text, bytes-like as binary, anything else as JSON text by `Config.encoder`.
        text: True sends bytes-like as text, False sends `str` as binary; `None`: by the type of the message.

    Raises:
        Overloaded: a shard's mailbox is full; its connections do not get the message.
        MessageTooBig: larger than `Config.max_buffered`; it reached nobody.
        UnicodeDecodeError: ``text=True`` for bytes that are no UTF-8.
        WrongThread: not called on the event loop's thread.
    """
    if text is True and not isinstance(message, str):
        message = str(cast(bytes, message), "utf-8")
    elif text is False and isinstance(message, str):
        message = message.encode()
    audiences: dict[Publishing, list[str]] = {}
    for connection in connections:
        if connection.closed is None:
            if not connection._handle.is_on_loop():
                raise WrongThread("broadcast")
            audiences.setdefault(connection._server, []).append(connection.id)
    for server, identities in audiences.items():
        if server._native is not None:
            server._native.broadcast(server._encode(message), identities, None, [], False)
