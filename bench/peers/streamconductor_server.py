"""Receives the load generator's connections · hands messages back, or to every subscriber · owns this project's side
of the comparison.

Beside the paths that every server has (see listening.py) there is `/fanout-task`, whose subscribers have a coroutine
each. With `--block-at` Python's loop is blocked once so many connections are open.
"""

from __future__ import annotations

import asyncio
import subprocess
import tempfile
import time
from typing import Any

import uvloop
from listening import BACKLOG, announce, parser

import streamconductor as sc

MOST_CONNECTIONS = 20_000


def certificate(place: str) -> dict[str, Any]:
    """A new certificate and its key, as fields of the configuration."""
    files = {"tls_certificate": f"{place}/chain.pem", "tls_key": f"{place}/key.pem"}
    words = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=localhost"
    command = [*words.split(), "-out", files["tls_certificate"], "-keyout", files["tls_key"]]
    subprocess.run(command, check=True, capture_output=True)
    return files


async def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        await serve(place)


async def serve(place: str) -> None:
    """Serves until the process is ended; `place`: a directory for what is needed meanwhile."""
    arguments = parser()
    arguments.add_argument("--threads", type=int, default=1, help="shards (1)")
    arguments.add_argument(
        "--ping-interval", default="20s", help="silence after which a peer is pinged (20s)"
    )
    arguments.add_argument(
        "--overflow", default="disconnect", help="what becomes of slow readers (disconnect)"
    )
    arguments.add_argument(
        "--without-on-connect", action="store_true", help="everybody comes in, nobody is asked"
    )
    arguments.add_argument(
        "--tls", action="store_true", help="TLS, with a certificate that openssl makes now"
    )
    arguments.add_argument(
        "--block-at", type=int, help="connections at which Python's loop is blocked (never)"
    )
    arguments.add_argument(
        "--block-for", type=float, default=10.0, help="seconds that it is blocked for (10)"
    )
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
            **(certificate(place) if options.tls else {}),
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

    server.push("/idle")

    async with server:
        announce(server.port)
        if options.block_at is not None:
            while server.pool.occupied < options.block_at:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            # Nothing of Python's runs from here on, which is what is measured.
            time.sleep(options.block_for)  # noqa: ASYNC251
        await server.serve_forever()


uvloop.run(main())
