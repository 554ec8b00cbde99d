"""Every keyword of `Config` has a type, and there is no keyword but those."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import reveal_type

import streamconductor as sc

config = sc.Config(
    port=0,
    max_connections=20_000,
    memory_budget="512MiB",
    ping_interval="5s",
    idle_timeout=timedelta(hours=1),
    max_lag=None,
    overflow="conflate",
    origins=["https://example.com"],
    encoder=str,
)
reveal_type(config.memory_budget)  # int
reveal_type(config.ping_interval)  # float | None
reveal_type(config.unix_socket)  # Path | None
reveal_type(config.replace(port=1))  # Config
reveal_type(sc.Config.load(Path("server.toml"), port=1))  # Config

sc.Config(max_conections=1)  # type: ignore[call-arg]
sc.Config(port="eighty")  # type: ignore[arg-type]
sc.Config(overflow="drop_all")  # type: ignore[arg-type]
sc.Config(max_connections=None)  # type: ignore[arg-type]
sc.Config.load(max_conections=1)  # type: ignore[call-arg]
config.replace(max_conections=1)  # type: ignore[call-arg]


async def operate(server: sc.Server) -> None:
    server.reconfigure(max_connections=10, high_water="128KiB")
    server.reconfigure(max_conections=10)  # type: ignore[call-arg]
    reveal_type(server.port)  # int
    reveal_type(server.admin_port)  # int | None
    reveal_type(server.pool)  # PoolSnapshot
    reveal_type(server.status()["connections"])  # Any
    reveal_type(server.metrics())  # str
    async with server as entered:
        reveal_type(entered)  # Server
        await server.shutdown(grace=1)
        await server.serve_forever()


async def echo(connection: sc.Connection) -> None: ...


async def serve() -> None:
    async with sc.serve(echo, "localhost", 0, open_timeout=1) as server:
        reveal_type(server)  # Server
    reveal_type(await sc.serve(echo))  # Server


sc.run(sc.Server(), uvloop=False)
sc.run(sc.Config())  # type: ignore[arg-type]
