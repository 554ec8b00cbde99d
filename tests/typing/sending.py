"""What may be sent and published, and what comes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import TypedDict, reveal_type

from pydantic import BaseModel, TypeAdapter

import streamconductor as sc

server = sc.Server()


class Order(BaseModel):
    id: int


@dataclass
class Quote:
    price: float


class Bare(TypedDict):
    price: float


Either = TypeAdapter[Order | Quote](Order | Quote)


async def receive(connection: sc.Connection) -> None:
    reveal_type(await connection.recv())  # str | bytes
    async for message in connection:
        reveal_type(message)  # str | bytes
    async for order in connection.messages(Order):
        reveal_type(order)  # Order
    async for quote in connection.messages(Quote):
        reveal_type(quote)  # Quote
    async for bare in connection.messages(Bare):
        reveal_type(bare["price"])  # float
    async for prices in connection.messages(list[float]):
        reveal_type(prices)  # list[float]
    async for either in connection.messages(Either):
        reveal_type(either)  # Order | Quote
    async for _ in connection.messages("Order"):  # type: ignore[arg-type]
        pass


async def send(connection: sc.Connection) -> None:
    for payload in (
        "text",
        b"bytes",
        bytearray(1),
        {"a": datetime.now()},
        [1, None],
        Order(id=1),
        Quote(1.0),
        {1, 2},
    ):
        reveal_type(await connection.send(payload))  # None
        connection.send_nowait(payload)
    await connection.drain()
    connection.subscribe("prices", first={"bid": 1.0})
    connection.unsubscribe("prices")
    connection.subscribe(1)  # type: ignore[arg-type]


async def work() -> int:
    return 1


async def end(connection: sc.Connection) -> None:
    task = connection.create_task(work())
    reveal_type(task)  # Task[int]
    reveal_type(connection.state)  # State
    reveal_type(connection.latency)  # float | None
    connection.close()
    reveal_type(await connection.close(sc.CloseCode.GOING_AWAY, "bye"))  # None
    await asyncio.wait_for(connection.close(4000), 1)
    connection.close("bye")  # type: ignore[arg-type]


async def publish() -> None:
    reveal_type(await server.publish("prices:EURUSD", {"bid": 1.0871}, key="EURUSD"))  # int
    reveal_type(server.publish_nowait("prices", "text"))  # int
    await server.broadcast("hello", user="a")
    await server.broadcast("hello", to=server.connections(), exclude=[])
    await server.broadcast("hello", users="a")  # type: ignore[call-arg]
    await server.publish("prices", 1, "key")  # type: ignore[call-arg]
    sc.broadcast(server.connections(), {"bid": 1.0})
    server.disconnect(user="a")


async def prices() -> AsyncIterator[tuple[str, float]]:
    yield "prices", 1.0


reveal_type(server.feed(prices))  # Feed
server.feed(prices())
server.feed([1, 2])  # type: ignore[arg-type]


def refuse(error: sc.ConnectionClosed) -> None:
    reveal_type(error.code)  # int
    reveal_type(error.by)  # Literal['peer'] | Literal['application'] | Literal['server']
