"""Receives a test's application · hands it a running server with an event loop of its own · owns the thread, the
canary connection that must never lose anything, and the check that nothing is left behind.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import ssl
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

import streamconductor as sc
from tests.support.raw import PATIENCE, Peer
from tests.support.transport import tls_of

T = TypeVar("T")

Application = Callable[[sc.Server], object]
LoopFactory = Callable[[], asyncio.AbstractEventLoop]

SETTINGS: dict[str, Any] = {
    "host": "127.0.0.1",
    "port": 0,
    "threads": 2,
    # What all of them could use fits the budget, so that no warning is due.
    "max_connections": 64,
    "memory_budget": "256MiB",
}


def eventually(condition: Callable[[], object], seconds: float = 5.0) -> bool:
    """Whether `condition` comes true in time: for what only the server knows and cannot be waited for."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


class Greatest:
    """Samples a value of the server from a thread of its own and keeps the greatest."""

    def __init__(self, sample: Callable[[], int]) -> None:
        self.value = sample()
        self._sample = sample
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._stop.wait(0.01):
            self.value = max(self.value, self._sample())

    def __enter__(self) -> Greatest:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


class Records(logging.Handler):
    """Keeps what is logged, from WARNING on."""

    def __init__(self, records: list[logging.LogRecord]) -> None:
        super().__init__(logging.WARNING)
        self._records = records

    def emit(self, record: logging.LogRecord) -> None:
        self._records.append(record)


class Canary:
    """A connection of good behaviour that echoes all the time, from a thread of its own."""

    def __init__(self, address: tuple[str, int] | Path, tls: ssl.SSLContext | None = None) -> None:
        self.peer = Peer(address, tls=tls)
        self.peer.upgrade("/canary")
        self.echoes = 0
        self.slowest = 0.0
        self.failure: BaseException | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sing, name="canary")
        self._thread.start()

    def _sing(self) -> None:
        try:
            # Paced, so that the canary leaves the processor to the test.
            while not self._stop.wait(0.01):
                began = time.monotonic()
                self.peer.echo(f"canary {self.echoes}")
                self.slowest = max(self.slowest, time.monotonic() - began)
                self.echoes += 1
        except BaseException as error:
            self.failure = error

    def stop(self) -> None:
        """Ends in peace, and says what it suffered."""
        self._stop.set()
        self._thread.join()
        try:
            if self.failure is None:
                # At least one echo after everything that the test has done.
                self.peer.echo("last")
        finally:
            self.peer.close()
        if self.failure is not None:
            raise AssertionError(f"the canary died after {self.echoes} echoes") from self.failure


class Site:
    """A server in a thread, with `/echo` and `/canary`, and what it told its application.

    Attributes:
        endings: the `Closed` of every connection that has ended but the canary's, in order.
        records: what its loggers said, from WARNING on.
        expected_errors: how many records of ERROR the test has seen coming.
    """

    def __init__(
        self,
        application: Application | None = None,
        *,
        on_connect: Callable[[sc.Request], Any] | None = None,
        loop_factory: LoopFactory | None = None,
        **settings: Any,
    ) -> None:
        self.server = sc.Server(sc.Config(**(SETTINGS | settings)))
        # Its peers speak TLS where it does.
        self.tls = tls_of(self.server)
        self.endings: queue.Queue[sc.Closed] = queue.Queue()
        self.records: list[logging.LogRecord] = []
        self.expected_errors = 0
        self.peers: list[Peer] = []
        self.canary: Canary | None = None
        self._loop_factory = loop_factory
        self._log_handler = Records(self.records)
        self._started: Future[asyncio.AbstractEventLoop] = Future()
        self._crash: BaseException | None = None
        self._register(application, on_connect)
        self._thread = threading.Thread(target=self._main, name="server")

    def _register(
        self, application: Application | None, on_connect: Callable[[sc.Request], Any] | None
    ) -> None:
        @self.server.route("/canary")
        @self.server.route("/echo")
        async def echo(connection: sc.Connection[Any]) -> None:
            async for message in connection:
                await connection.send(message)

        @self.server.on_close
        def ended(connection: sc.Connection[Any]) -> None:
            if connection.request.path != "/canary":
                assert connection.closed is not None
                self.endings.put(connection.closed)

        if on_connect is not None:
            decide = on_connect

            @self.server.on_connect
            def admit(request: sc.Request) -> Any:
                return sc.Accept() if request.path == "/canary" else decide(request)

        if application is not None:
            application(self.server)

    # Its life.

    def start(self) -> None:
        self._thread.start()
        try:
            self.loop = self._started.result(PATIENCE)
        except BaseException:
            self._thread.join()
            raise
        logging.getLogger("streamconductor").addHandler(self._log_handler)
        self.canary = Canary(self.address, self.tls)

    def _main(self) -> None:
        try:
            with asyncio.Runner(loop_factory=self._loop_factory) as runner:
                runner.run(self._serve())
        except BaseException as error:
            self._crash = error

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        self._finish = asyncio.Event()
        try:
            await self.server.start()
        except BaseException as error:
            self._started.set_exception(error)
            return
        self._started.set_result(loop)
        await self._finish.wait()
        await self.server.shutdown(0.5)

    def stop(self) -> None:
        """Lets everybody go, and fails if anything is left or was complained about."""
        try:
            if self.canary is not None:
                self.canary.stop()
            for peer in self.peers:
                peer.close()
            assert eventually(lambda: self.occupied == self.pool.pending == 0), self.pool
            assert eventually(lambda: self.call(lambda: self.server._handlers.running) == 0)
        finally:
            for peer in self.peers:
                peer.close()
            if self._crash is None:
                self.loop.call_soon_threadsafe(self._finish.set)
            self._thread.join()
            logging.getLogger("streamconductor").removeHandler(self._log_handler)
        errors = [record for record in self.records if record.levelno >= logging.ERROR]
        assert len(errors) == self.expected_errors, [record.getMessage() for record in errors]

    # What tests do with it.

    @property
    def address(self) -> tuple[str, int] | Path:
        config = self.server.config
        return config.unix_socket or (config.host, self.call(lambda: self.server.port))

    def call(self, function: Callable[[], T]) -> T:
        """Calls a function in the server's thread."""

        async def called() -> T:
            return function()

        return self.run(called())

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Runs a coroutine on the server's loop."""
        try:
            return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(PATIENCE)
        except (RuntimeError, TimeoutError):
            coroutine.close()
            assert self._crash is None, f"the event loop died of {self._crash!r}"
            raise

    def connect(self, **options: Any) -> Peer:
        """A raw peer, closed when the site stops."""
        peer = Peer(self.address, **({"tls": self.tls} | options))
        self.peers.append(peer)
        return peer

    def open(self, path: str = "/echo", *headers: tuple[str, str], **options: Any) -> Peer:
        """A raw peer that has shaken hands."""
        peer = self.connect(**options)
        peer.upgrade(path, *headers)
        return peer

    @property
    def pool(self) -> sc.PoolSnapshot:
        return self.call(lambda: self.server.pool)

    @property
    def occupied(self) -> int:
        """Slots taken, the canary's among them."""
        return self.pool.occupied

    def ended(self) -> sc.Closed:
        """How the next connection but the canary ended."""
        return self.endings.get(timeout=PATIENCE)

    def errors(self, count: int) -> list[logging.LogRecord]:
        """The errors that were logged, which must be that many."""
        self.expected_errors = count
        assert eventually(lambda: len(self._errors()) >= count), self._errors()
        return self._errors()

    def _errors(self) -> list[logging.LogRecord]:
        return [record for record in self.records if record.levelno >= logging.ERROR]
