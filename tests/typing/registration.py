"""Decorators hand back the function as it was written, and refuse what they could never call."""

from __future__ import annotations

from pathlib import Path
from typing import reveal_type

import streamconductor as sc

server = sc.Server()


@server.route("/echo", subprotocols=["chat"], origins="*")
async def echo(connection: sc.Connection, times: int = 1) -> str:
    return "done"


reveal_type(echo)  # def (connection: Connection[object], times: int =) -> Coroutine[Any, Any, str]


@server.on_message("/fast")
def fast(connection: sc.Connection, message: str | bytes) -> None:
    connection.send_nowait(message)


reveal_type(fast)  # def (connection: Connection[object], message: str | bytes)


@server.on_close
async def ended(connection: sc.Connection[int]) -> None:
    if connection.closed is not None:
        reveal_type(connection.closed.ending)  # str


@server.on_close
def ended_plainly(connection: sc.Connection) -> None: ...


@server.on_backpressure
def slow(connection: sc.Connection, event: sc.Backpressure) -> None:
    reveal_type(event.buffered_amount)  # int


@server.on_health("database", interval=5, timeout=2, required=True)
async def database() -> sc.Health:
    return sc.Health.ok(lag_ms=3)


@server.on_health("disk")
def disk() -> sc.Health:
    return sc.Health.degraded("nearly full")


reveal_type(database)  # def () -> Coroutine[Any, Any, Health]


# What none of them could call.


@server.route("/plain")  # type: ignore[type-var]
def plain(connection: sc.Connection) -> None: ...


@server.route("/alone")  # type: ignore[type-var]
async def alone() -> None: ...


@server.on_message("/one")  # type: ignore[type-var]
def one_argument(connection: sc.Connection) -> None: ...


@server.on_health("truth")  # type: ignore[type-var]
async def truth() -> bool:
    return True


@server.on_backpressure  # type: ignore[type-var]
def without_event(connection: sc.Connection) -> None: ...


server.channel("prices:*", overflow="conflate", high_water="32KiB")
server.channel("prices:*", overflow="drop_all")  # type: ignore[arg-type]
server.asset("/page.html", Path("page.html"))
server.push("/prices")
server.push("/prices", low_water=1)  # type: ignore[call-arg]
