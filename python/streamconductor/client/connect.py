"""Receives a URL and how to go there · hands out the connection, or one after the other · owns when it is closed."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Generator, Iterable
from types import TracebackType
from typing import Any

from ..connection import Connection
from ..errors import OpeningError
from .engine import Engine
from .link import Link, Token
from .options import Endpoint, Headers

__all__ = ["connect"]


class connect:
    """Opens a connection to a WebSocket server.

    ``async with connect(url) as connection`` closes it at the end of the block; ``connection = await connect(url)``
    leaves that to you; ``async for connection in connect(url)`` opens another whenever one has ended, by itself and
    also while the event loop is blocked, until the server says not to come back.

    Args:
        url: ``ws://`` or ``wss://``, credentials in it are sent as basic authentication.
        headers: further headers, a mapping or pairs.
        subprotocols: names to offer, the one liked best first.
        origin: the header `Origin`; `None`: it is not sent.
        user_agent: the header `User-Agent`; `None`: ours with its version; ``""``: it is not sent.
        bearer_token: sent as `Authorization: Bearer`; text, or a function, plain or async, that is asked before the
            first attempt and when the server has closed with 4401; `None`: none is sent.
        compression: whether permessage-deflate is offered.
        proxy: True: what the environment names; False: none; text: the URL of an HTTP proxy.
        unix_socket: a Unix socket to connect to instead; `None`: the URL's host.
        addresses: ``ip:port`` to connect to instead, tried in turn; `None`: the URL's host.
        tls_authorities: a PEM file of authorities to trust; `None`: the system's.
        tls_certificate, tls_key: PEM files of our own certificate; `None`: none is shown.
        server_hostname: the name that the server's certificate must prove; `None`: the URL's host.
        open_timeout: seconds for everything up to the open connection, redirects included; 5.
        limits: fields of `Config` that bound a connection, such as `ping_interval`, `max_message_size`, `high_water`,
            `close_timeout`. What is not given is as `Config` has it.

    Raises:
        ValueError: the URL or an option cannot be used; nothing was sent.
        OpeningTimeout: not open within `open_timeout`.
        Unreachable: no address took the connection.
        HandshakeRefused: the server answered with a status other than 101.
        OpeningError: TLS, a proxy or a bad answer was in the way.
    """

    def __init__(
        self,
        url: str,
        *,
        headers: Headers = (),
        subprotocols: Iterable[str] = (),
        origin: str | None = None,
        user_agent: str | None = None,
        bearer_token: Token | None = None,
        compression: bool = False,
        proxy: str | bool = True,
        unix_socket: str | os.PathLike[str] | None = None,
        addresses: Iterable[str] | None = None,
        tls_authorities: str | os.PathLike[str] | None = None,
        tls_certificate: str | os.PathLike[str] | None = None,
        tls_key: str | os.PathLike[str] | None = None,
        server_hostname: str | None = None,
        open_timeout: float = 5.0,
        **limits: Any,
    ) -> None:
        self._endpoint = Endpoint(
            url,
            headers=headers,
            subprotocols=subprotocols,
            origin=origin,
            user_agent=user_agent,
            compression=compression,
            proxy=proxy,
            unix_socket=unix_socket,
            addresses=addresses,
            tls_authorities=tls_authorities,
            tls_certificate=tls_certificate,
            tls_key=tls_key,
            server_hostname=server_hostname,
            open_timeout=open_timeout,
        )
        self._token = bearer_token
        self._limits = limits
        self._opened: tuple[Engine, Link, Connection[None]] | None = None

    def __await__(self) -> Generator[Any, None, Connection[None]]:
        return self._awaited().__await__()

    async def _awaited(self) -> Connection[None]:
        engine, link, connection = await self._open()
        # Its link ends with it, and then nobody needs the engine for it.
        engine.release_after(link)
        return connection

    async def _open(self) -> tuple[Engine, Link, Connection[None]]:
        engine = Engine.of(self._limits)
        link = await engine.open([self._endpoint], reconnects=False, token=self._token)
        try:
            connection = await link.next()
            if connection is None:
                raise OpeningError("the connection was given up before it was open")
        except BaseException:
            await _leave(engine, link)
            raise
        return engine, link, connection

    async def __aenter__(self) -> Connection[None]:
        if self._opened is not None:
            raise RuntimeError("this connect() is entered already; call connect again for another connection")
        self._opened = await self._open()
        return self._opened[2]

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._opened is not None:
            engine, link, connection = self._opened
            self._opened = None
            try:
                await connection.close()
                await link.ended()
            finally:
                await engine.release()

    async def __aiter__(self) -> AsyncGenerator[Connection[None], None]:
        engine = Engine.of(self._limits)
        link = await engine.open([self._endpoint], reconnects=True, token=self._token)
        try:
            while (connection := await link.next()) is not None:
                try:
                    yield connection
                finally:
                    await connection.close()
        finally:
            await _leave(engine, link)


async def _leave(engine: Engine, link: Link) -> None:
    link.stop()
    try:
        await link.ended()
    finally:
        await engine.release()
