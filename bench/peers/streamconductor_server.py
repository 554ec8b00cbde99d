"""Receives the load generator's connections · hands messages back, or to every subscriber · owns this project's side
of the comparison.

Beside the paths that every server has (see listening.py) there are `/fanout-task`, whose subscribers have a coroutine
each, and `/block`, where a number of seconds blocks Python's loop for that long.
"""

from __future__ import annotations

import time

import uvloop
from listening import BACKLOG, announce, parser

import streamconductor as sc

MOST_CONNECTIONS = 20_000


async def main() -> None:
    arguments = parser()
    arguments.add_argument("--threads", type=int, default=1, help="shards (1)")
    arguments.add_argument("--ping-interval", default="20s", help="silence after which a peer is pinged (20s)")
    arguments.add_argument("--overflow", default="disconnect", help="what becomes of slow readers (disconnect)")
    arguments.add_argument("--without-on-connect", action="store_true", help="everybody comes in, nobody is asked")
    options = arguments.parse_args()
    server = sc.Server(
        sc.Config(
            port=0,
            threads=options.threads,
            backlog=BACKLOG,
            max_connections=MOST_CONNECTIONS,
            compression=options.compression,
            ping_interval=options.ping_interval,
            overflow=options.overflow,
        )
    )

    if not options.without_on_connect:

        @server.on_connect
        def admit(request: sc.Request) -> sc.Accept[None]:
            return sc.Accept(subscribe=["bench"] if request.path.startswith("/fanout") else [])

    server.push("/fanout")

    @server.route("/fanout-task")
    async def receive_only(connection: sc.Connection[None]) -> None:
        async for _ in connection:
            pass

    @server.on_message("/control")
    def publish(connection: sc.Connection[None], message: str | bytes) -> None:
        server.publish_nowait("bench", message)

    @server.route("/echo")
    async def echo(connection: sc.Connection[None]) -> None:
        async for message in connection:
            await connection.send(message)

    @server.on_message("/echo-callback")
    def answer(connection: sc.Connection[None], message: str | bytes) -> None:
        connection.send_nowait(message)

    @server.on_message("/block")
    def block(connection: sc.Connection[None], message: str | bytes) -> None:
        time.sleep(float(message))

    async with server:
        announce(server.port)
        await server.serve_forever()


uvloop.run(main())
