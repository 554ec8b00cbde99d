"""Receives settings, hostile peers and, as lines of JSON, questions · hands out as such lines what the application
sees of them · owns the server that the rows are tried on, in a process whose memory and descriptors can be counted.
Run with ``python -m``; it ends with its input.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import os
import resource
import sys
import threading
import time
from collections.abc import Coroutine
from typing import Any

import uvloop

import streamconductor as sc
from tests.protocol.rows.wrong_calls import WRONG_CALLS

PUBLICATIONS = 0.02  # seconds between those for the canary
STORM = 10.0  # seconds after which a reader that nothing happens to has found a bug


class Sudden(BaseException):
    """An exception that `except Exception` does not catch."""


RAISED: dict[str, type[BaseException]] = {
    error.__name__: error for error in (ValueError, KeyboardInterrupt, SystemExit, Sudden)
}
RETURNED: dict[str, Any] = {
    "None": None,
    "a number": 42,
    "a Reject": sc.Reject(),
    "an exception": ValueError(),
}


class Records(logging.Handler):
    """Keeps what is logged, from WARNING on."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.kept: list[tuple[str, str, str | None]] = []

    def emit(self, record: logging.LogRecord) -> None:
        raised = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else None
        self.kept.append((record.levelname, record.getMessage(), raised))


class Target:
    """The server, its application, and what that saw."""

    def __init__(self, settings: dict[str, Any], has_on_connect: bool) -> None:
        self.server = sc.Server(sc.Config(**settings))
        self.records = Records()
        logging.getLogger("streamconductor").addHandler(self.records)
        self.endings: list[tuple[int, str, str, str, int]] = []
        self.published = -1
        self.asked = self.cancelled = self.listened = 0
        self._register()
        if has_on_connect:
            self.server.on_connect(self._admit)

    async def _admit(self, request: sc.Request) -> sc.Accept[None]:
        if request.path == "/undecided":
            self.asked += 1
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
        return sc.Accept()

    def _register(self) -> None:
        server = self.server
        server.push("/nothing")
        server.channel("dropping", overflow="drop_oldest", high_water="64KiB")
        server.channel("ending", overflow="disconnect", high_water="64KiB")

        @server.on_close
        def ended(connection: sc.Connection[Any]) -> None:
            closed = connection.closed
            assert closed is not None
            self.endings.append((closed.code, closed.ending, closed.by, closed.reason, closed.dropped))

        @server.route("/canary")
        async def canary(connection: sc.Connection[Any]) -> None:
            connection.subscribe("canary")
            await echo(connection)

        @server.route("/echo")
        @server.route("/undecided")
        @server.route("/held")
        async def echo(connection: sc.Connection[Any]) -> None:
            async for message in connection:
                await connection.send(message)

        @server.route("/news/{channel}")
        async def news(connection: sc.Connection[Any]) -> None:
            assert connection.request is not None
            connection.subscribe(connection.request.path_params["channel"], first="welcome")
            async for _ in connection:
                pass

        @server.on_message("/listen")
        def listen(connection: sc.Connection[Any], message: str | bytes) -> None:
            self.listened += 1

        @server.route("/text")
        async def text(connection: sc.Connection[Any]) -> None:
            async for number in connection.messages(int):
                await connection.send(number + 1)

        @server.route("/big")
        async def big(connection: sc.Connection[Any]) -> None:
            # Awaited sends, to which no dwell applies.
            while True:
                await connection.send(b"x" * 400_000)

        @server.route("/raise/{error}")
        async def raises(connection: sc.Connection[Any]) -> None:
            assert connection.request is not None
            async for message in connection:
                if message == "now":
                    raise RAISED[connection.request.path_params["error"]]("secret")
                await connection.send(message)

        @server.on_message("/raise-at-once/{error}")
        def raises_at_once(connection: sc.Connection[Any], message: str | bytes) -> None:
            assert connection.request is not None
            if message == "now":
                raise RAISED[connection.request.path_params["error"]]("secret")
            connection.send_nowait(message)

        @server.route("/return/{value}")
        async def returns(connection: sc.Connection[Any]) -> Any:
            assert connection.request is not None
            await connection.send("last")
            return RETURNED[connection.request.path_params["value"].replace("-", " ")]

        @server.on_message("/wrong")
        def wrong(connection: sc.Connection[Any], message: str | bytes) -> None:
            assert isinstance(message, str)
            raised = "nothing"
            try:
                WRONG_CALLS[message][0](connection)
            except Exception as error:
                raised = next(kind.__name__ for kind in (ValueError, TypeError) if isinstance(error, kind))
            connection.send_nowait(raised)

    async def publish_numbers(self) -> None:
        """For the canary, all the time."""
        while True:
            await asyncio.sleep(PUBLICATIONS)
            await self.server.publish("canary", str(self.published + 1))
            self.published += 1

    # Questions.

    async def counts(self) -> dict[str, int]:
        """What the process holds at this moment."""
        gc.collect()
        pool, owners = self.server.pool, self.server.status()["ledger"]["owners"]
        return {
            "published": self.published,
            "occupied": pool.occupied,
            "pending": pool.pending,
            # Not `memory_used`, which counts what shards have leased in advance; and without the windows that each
            # shard keeps for the next compressed message.
            "memory": sum(held for owner, held in owners.items() if owner != "compression"),
            "handlers": self.server._handlers.running,
            "arrivals": len(self.server._arrivals._tasks) + len(self.server._arrivals._waiting),
            "tasks": len(asyncio.all_tasks()),
            "descriptors": len(os.listdir("/proc/self/fd")),
        }

    async def seen(self) -> dict[str, int]:
        """What the application was asked and told, and how often accepting found no descriptor, since the start."""
        return {
            "asked": self.asked,
            "cancelled": self.cancelled,
            "listened": self.listened,
            "starved": self.server.status()["accept_starved"],
        }

    async def take_endings(self) -> list[tuple[int, str, str, str, int]]:
        """How connections ended since it was asked last."""
        taken, self.endings = self.endings, []
        return taken

    async def peek_endings(self) -> int:
        """How many have ended since the endings were taken last."""
        return len(self.endings)

    async def take_records(self) -> list[tuple[str, str, str | None]]:
        """What was logged since it was asked last."""
        taken, self.records.kept = self.records.kept, []
        return taken

    async def held(self) -> list[tuple[str, float | None]]:
        """State and latency of the connections on `/held`."""
        return [(one.state.name, one.latency) for one in self.server.connections(path="/held")]

    async def close_held(self, code: int, reason: str) -> None:
        """Closes them."""
        for one in self.server.connections(path="/held"):
            one.close(code, reason)

    async def storm(self, channel: str, dropped: int) -> dict[str, int]:
        """Publishes 4 KiB messages with their number until a subscriber has ended or that many were dropped for one."""
        subscribers = self.server.connections(path=f"/news/{channel}")
        number, most, deadline = 0, 0, time.monotonic() + STORM
        while all(one.closed is None and one.dropped < (dropped or sys.maxsize) for one in subscribers):
            assert time.monotonic() < deadline, f"{number} publications did nothing to {len(subscribers)}"
            await self.server.publish(channel, b"%08d" % number + b"x" * 4_088)
            most = max(most, *(one.buffered_amount for one in subscribers))
            number += 1
            if number % 4 == 0:
                await asyncio.sleep(0.001)
        await self.server.publish(channel, b"%08d" % number + b"x" * 4_088)
        return {"published": number + 1, "most": most}


async def answer(target: Target, question: dict[str, Any]) -> object:
    """The method that the question names, called with the rest of it."""
    method = getattr(target, question.pop("what"))
    return await method(**question)


async def main(settings: dict[str, Any], has_on_connect: bool, descriptors: int) -> None:
    target = Target(settings, has_on_connect)
    loop, over = asyncio.get_running_loop(), asyncio.Event()

    def run(coroutine: Coroutine[Any, Any, object]) -> object:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result()

    def converse() -> None:
        try:
            for line in sys.stdin:
                try:
                    found = {"answer": run(answer(target, json.loads(line)))}
                except Exception as error:
                    found = {"error": repr(error)}
                print(json.dumps(found), flush=True)
        finally:
            # Also where whoever asked is gone before the answer.
            loop.call_soon_threadsafe(over.set)

    async with target.server:
        # How often exceptions are logged has a test of its own; here each must be seen.
        target.server._handlers._log._rate = sys.maxsize
        # What the start has made is no garbage of a row's; without it a collection takes no time.
        gc.collect()
        gc.freeze()
        if descriptors:
            resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))
        publishing = asyncio.create_task(target.publish_numbers())
        print(json.dumps({"answer": target.server.port}), flush=True)
        thread = threading.Thread(target=converse)
        thread.start()
        await over.wait()
        publishing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await publishing
        await target.server.shutdown(1)
    thread.join()


if __name__ == "__main__":
    options = json.loads(sys.argv[1])
    factory = uvloop.new_event_loop if options.pop("uvloop") else asyncio.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main(**options))
