"""Receives the soak client's connections and its orders · hands out numbered publications, echoes and how every
connection ended · owns the server program of a soak, which uses nothing but the public API.

Three servers in one process: one without TLS, one with it, both under load, and one that carries the conversation
with the client, so that the books of the other two hold nothing else. Prints their ports as the first line.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
from dataclasses import dataclass, field
from typing import Any

import uvloop

import streamconductor as sc

from .sabotage import SABOTEURS, Saboteur

# Shared with the client: every body is a piece of this, see rust/load/src/soak/message.rs.
PATTERN = "".join(chr(33 + (place * place * 7 + place * 13) % 89 + place % 5) for place in range(8192))
LABEL = 16

# Publications that are due are published together so often: what gathers for a connection goes out in one write.
TICK = 0.05

# Publications a second for those who stall: enough to fill every mark within a stall.
STALL_RATE = 200.0


@dataclass(frozen=True)
class Channel:
    """One channel; its number is its place in the list."""

    name: str
    role: str
    size: int
    keys: int = 0
    high_water: str | None = None

    @property
    def follows_the_load(self) -> bool:
        return self.role in ("follow", "push")


CHANNELS = (
    # Nobody stalls on these, but a crowded machine may make everybody slow for seconds: that is none of their doing.
    *(Channel(f"follow:{number}", "follow", 128, high_water="512KiB") for number in range(4)),
    *(Channel(f"push:{number}", "push", 128, high_water="512KiB") for number in range(2)),
    Channel("stall:drop_oldest", "drop_oldest", 2048),
    Channel("stall:drop_newest", "drop_newest", 2048),
    Channel("stall:conflate", "conflate", 2048, keys=16, high_water="64KiB"),
    Channel("stall:disconnect", "disconnect", 2048, high_water="256KiB"),
)


def payload(channel: int, number: int) -> str:
    """What the client expects under that number."""
    place = (number * 31 + channel * 17) % 4096
    return f"P{channel:02x}{number:013x}{PATTERN[place : place + CHANNELS[channel].size - LABEL]}"


@dataclass
class Site:
    """One server under load, and where each of its channels stands."""

    server: sc.Server
    next: list[int] = field(default_factory=lambda: [0] * len(CHANNELS))

    def publish(self, channel: int, text: str | None = None) -> None:
        """Publishes the next number; who subscribes before this call gets it, who does so after it does not.

        Nothing may come between the publication and the count, hence no `await`.
        """
        number = self.next[channel]
        target = CHANNELS[channel]
        key = str(number % target.keys) if target.keys else None
        self.server.publish_nowait(target.name, text or payload(channel, number), key=key)
        self.next[channel] = number + 1

    async def publish_waiting(self, channel: int) -> None:
        """The same by the call that waits, for channels on which nobody asks where he begins."""
        await self.server.publish(CHANNELS[channel].name, payload(channel, self.next[channel]))
        self.next[channel] += 1


def serve(config: sc.Config, closed: list[list[Any]], saboteur: Saboteur) -> Site:
    """A server with the routes of a soak."""
    server = sc.Server(config)
    site = Site(server)
    for channel in CHANNELS:
        overflow = channel.role if channel.role.startswith(("drop_", "conflate")) else "disconnect"
        server.channel(channel.name, overflow=overflow, high_water=channel.high_water)  # type: ignore[arg-type]

    @server.on_connect
    def admit(request: sc.Request) -> sc.Accept[None]:
        _, route, identity, *channels = request.path.split("/")
        subscribe = [CHANNELS[int(channel)].name for channel in channels] if route == "push" else []
        return sc.Accept(user=identity, subscribe=subscribe)

    @server.on_close
    def ended(connection: sc.Connection[Any]) -> None:
        end = connection.closed
        assert end is not None
        assert connection.user is not None
        sent = saboteur.counted(end.sent[0])
        closed.append([int(connection.user), sent, end.dropped, end.ending, end.code])

    def obey(connection: sc.Connection[Any], command: str) -> str | None:
        """Subscribes, unsubscribes, or says how much was dropped; returns what to answer."""
        if command == "?":
            return f"D00{connection.dropped:013x}"
        number = int(command[1:], 16)
        label = f"{command[1:]}{site.next[number]:013x}"
        if command[0] == "+":
            connection.subscribe(CHANNELS[number].name, first=f"J{label}")
            return None
        connection.unsubscribe(CHANNELS[number].name)
        return f"L{label}"

    @server.on_message("/follow/{identity}")
    def follow(connection: sc.Connection[Any], message: str | bytes) -> None:
        if (answer := obey(connection, str(message))) is not None:
            connection.send_nowait(answer)

    @server.route("/stall/{identity}")
    async def stall(connection: sc.Connection[Any]) -> None:
        async for message in connection:
            if (answer := obey(connection, str(message))) is not None:
                await connection.send(answer)

    @server.on_message("/echo/{identity}")
    def echo(connection: sc.Connection[Any], message: str | bytes) -> None:
        connection.send_nowait(message)

    @server.route("/echo-task/{identity}")
    async def echo_task(connection: sc.Connection[Any]) -> None:
        async for message in connection:
            await connection.send(message)

    server.push("/push/{identity}/{channel}")
    return site


class Program:
    """The servers, the publisher, and the conversation with the client."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.closed: list[list[Any]] = []
        self.saboteur = SABOTEURS[options.sabotage]()
        load: dict[str, Any] = {
            "host": "127.0.0.1",
            "port": 0,
            "threads": options.threads,
            "max_connections": 20_000,
            "memory_budget": "1GiB",
            # Short, so that a soak sees many; stalls of six seconds must stay below the timeouts.
            "ping_interval": 10,
            "ping_timeout": 18,
            "high_water": "256KiB",
            "low_water": "64KiB",
            "max_buffered": "1MiB",
            "dwell": 3,
        }
        configs = [sc.Config(**load)]
        if options.tls_certificate is not None:
            load |= {"tls_certificate": options.tls_certificate, "tls_key": options.tls_key}
            configs.append(sc.Config(**load))
        self.sites = [serve(config, self.closed, self.saboteur) for config in configs]
        self.control = sc.Server(sc.Config(host="127.0.0.1", port=0, threads=1))
        self.client: sc.Connection[Any] | None = None
        self.rate = 20.0
        self.late = 0.0
        self.is_stopping = False
        self.stop = asyncio.Event()
        self._converse()

    def _converse(self) -> None:
        @self.control.route("/control")
        async def control(connection: sc.Connection[Any]) -> None:
            self.client = connection
            await connection.send({"hello": {"channels": [_described(channel) for channel in CHANNELS]}})
            publisher = connection.create_task(self.publish())
            connection.create_task(self.tell())
            try:
                async for message in connection:
                    await self._obey(connection, publisher, str(message))
            finally:
                # The client is done, or gone: so is the program.
                self.stop.set()

    async def _obey(
        self, connection: sc.Connection[Any], publisher: asyncio.Task[None], message: str
    ) -> None:
        order, _, value = message.partition(" ")
        if order == "rate":
            self.rate = float(value)
        elif order == "stop":
            self.is_stopping = True
            await publisher
            await connection.send({"final": [site.next for site in self.sites]})
        else:
            await self._tell_closed(connection)
            await connection.send(self._pulse(is_answer=True))

    def _pulse(self, is_answer: bool) -> dict[str, Any]:
        late, self.late = self.late, 0.0
        servers = [site.server.status() for site in self.sites]
        return {"pulse": {"late": late, "servers": servers, "is_answer": is_answer}}

    async def tell(self) -> None:
        """How connections ended, soon after they have; every second, how everything stands."""
        connection = self.client
        assert connection is not None
        while True:
            for _ in range(10):
                await asyncio.sleep(0.1)
                await self._tell_closed(connection)
            if not self.is_stopping:
                await connection.send(self._pulse(is_answer=False))

    async def _tell_closed(self, connection: sc.Connection[Any]) -> None:
        told, self.closed[:] = self.closed[:1000], self.closed[1000:]
        if told:
            await connection.send({"closed": told})

    async def publish(self) -> None:
        """Publishes at the rates that are wanted, on every site the same numbers."""
        loop = asyncio.get_running_loop()
        owed = [0.0] * len(CHANNELS)
        due = loop.time()
        while not self.is_stopping:
            due += TICK
            await asyncio.sleep(max(0.0, due - loop.time()))
            late = loop.time() - due
            self.late = max(self.late, late)
            if late > TICK:
                # What could not be published in time is not made up for: a crowded machine gets less load.
                due = loop.time()
            for number, channel in enumerate(CHANNELS):
                owed[number] += TICK * (self.rate if channel.follows_the_load else STALL_RATE)
                count, owed[number] = int(owed[number]), owed[number] % 1
                for site in self.sites:
                    for _ in range(count):
                        await self._publish(site, number, channel)
            self.saboteur.tick()

    async def _publish(self, site: Site, number: int, channel: Channel) -> None:
        if channel.role == "push":
            await site.publish_waiting(number)
            return
        while True:
            try:
                if channel.role != "follow" or not self.saboteur.publish(site, number):
                    site.publish(number)
                return
            except sc.Overloaded:
                await asyncio.sleep(0.01)

    async def run(self) -> None:
        async with contextlib.AsyncExitStack() as stack:
            for server in (self.control, *(site.server for site in self.sites)):
                await stack.enter_async_context(server)
            for number in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(number, self.stop.set)
            ports = {"pid": os.getpid(), "control": self.control.port, "plain": self.sites[0].server.port}
            ports["tls"] = self.sites[1].server.port if len(self.sites) > 1 else 0
            print(json.dumps(ports), flush=True)
            await self.stop.wait()


def _described(channel: Channel) -> dict[str, Any]:
    return {"role": channel.role, "size": channel.size, "keys": channel.keys}


def main() -> None:
    parser = argparse.ArgumentParser(description="The server program of a soak.")
    parser.add_argument("--threads", type=int, default=2, help="shards of each server under load (2)")
    parser.add_argument("--tls-certificate", help="the certificate of the server with TLS; none without it")
    parser.add_argument("--tls-key", help="its key")
    parser.add_argument("--sabotage", choices=sorted(SABOTEURS), default="none", help="what to do wrong")
    options = parser.parse_args()

    async def run() -> None:
        await Program(options).run()

    uvloop.run(run())


if __name__ == "__main__":
    main()
