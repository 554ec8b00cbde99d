"""The native half of the package. Its public face is `streamconductor`; names here may change at any time."""

from asyncio import AbstractEventLoop
from collections.abc import Callable, Generator
from contextvars import Context
from typing import Any, TypedDict, final, type_check_only

__all__ = [
    "Answer",
    "ConnectionHandle",
    "LoadRun",
    "OutgoingLink",
    "Receiver",
    "Request",
    "Server",
    "Ticket",
    "__version__",
    "forked",
    "lifecycle_table",
    "origin_problem",
    "proxy_problem",
    "state_names",
]

__version__: str

@type_check_only
class View(TypedDict):
    """An open connection, as its shard sees it."""

    id: str
    user: str | None
    path: str
    route: int
    priority: int
    remote_address: tuple[str, int] | None
    connected_for: float
    idle_for: float
    buffered_amount: int
    dropped: int
    latency: float | None
    channels: int
    state: str

def lifecycle_table() -> list[tuple[str, str, str, str, str]]:
    """The executed transition table: direction, from, event, to, meaning."""

def state_names() -> list[str]:
    """The names of all finer states."""

def origin_problem(entry: str) -> str | None:
    """What is wrong with an entry of `Config.origins`, to stand behind it; None: nothing."""

def proxy_problem(entry: str) -> str | None:
    """What is wrong with an entry of `Config.trusted_proxies`, to stand behind it; None: nothing."""

def forked() -> None:
    """Called in the child after a fork, which has none of the parent's threads."""

@final
class LoadRun:
    """A run of the load generator, on a thread of its own. It ends when nobody holds this any more."""

    def __new__(cls, plan: str) -> LoadRun:
        """Starts it.

        Args:
            plan: a JSON object with the fields of `streamconductor.load.Plan`.

        Raises:
            ValueError: the plan cannot be run.
        """
    def snapshot(self) -> str:
        """How it stands, as a JSON object that is at most a tenth of a second old."""
    def stop(self) -> None:
        """Ends it before its time: no more load, what is in flight may come. Told again, it waits for nothing."""
    def wait(self, seconds: float) -> bool:
        """Waits for its end, at most so long and without holding the interpreter; whether it has ended."""
    def report(self) -> str:
        """Waits for its report, a JSON object.

        Raises:
            ValueError: the plan cannot be run here.
            RuntimeError: nothing could be measured.
        """

@final
class Answer:
    """Takes the loop's answer to a change of the configuration that came over HTTP."""

    def give(self, error: str | None) -> None:
        """None: done; else what is wrong."""

@final
class Ticket:
    """Kept until Python has finished with a connection: its handler and `on_close` have ended."""

@final
class Request:
    """An opening handshake's request. Its parts are made when asked for."""

    @property
    def path(self) -> str:
        """The path as sent, percent-encoded, without the query."""
    @property
    def query_string(self) -> str:
        """The query without its question mark; empty when there is none."""
    @property
    def host(self) -> str:
        """The `Host` header."""
    @property
    def origin(self) -> str | None:
        """The `Origin` header; None when absent, as from programs that are no browsers."""
    @property
    def subprotocols(self) -> list[str]:
        """The subprotocols that the client offers, in its order, without bearer tokens."""
    @property
    def bearer_token(self) -> str | None:
        """The bearer token from `Authorization`, else the cookie `Config.bearer_cookie`, else an offered
        subprotocol ``bearer.<token>``; None when there is none.
        """
    @property
    def claims(self) -> dict[str, Any] | None:
        """The claims of the bearer token, whose signature, issuer, audience and times were found good; made anew each
        time. None where `Config.token_keys` is None.
        """
    @property
    def path_params(self) -> dict[str, str]:
        """The parameters of the route, decoded."""
    @property
    def headers(self) -> dict[str, str]:
        """The headers by lower-case name; several of one name are joined, as HTTP has it."""
    @property
    def raw_headers(self) -> list[tuple[str, bytes]]:
        """All headers in order, names as sent."""
    def header(self, name: str) -> str | None:
        """The first header of that name, whatever its case; None when absent."""
    @property
    def remote_address(self) -> tuple[str, int] | None:
        """The client's host and port: the peer's, or whom one of `Config.trusted_proxies` names, with port 0 where
        it names none; None on a Unix socket.
        """
    @property
    def secure(self) -> bool:
        """Whether it came over TLS."""
    @property
    def client_certificate(self) -> str | None:
        """The subject of the client's TLS certificate, verified, as RFC 4514 writes it (``CN=alice,O=Example``); None
        when it showed none. `Config.tls_client_authorities` has clients asked for one.
        """
    @property
    def route(self) -> int:
        """The route's number, in the order of registration."""
    @property
    def connection_id(self) -> str:
        """The id that the connection has from here on."""
    @property
    def has_slot(self) -> bool:
        """Whether a slot is reserved for it; otherwise somebody must leave before it can come in."""
    @property
    def asks(self) -> bool:
        """Whether a verdict is expected."""

@final
class ConnectionHandle:
    """The native half of `streamconductor.Connection`."""

    @property
    def id(self) -> str:
        """The connection's id."""
    @property
    def buffered_amount(self) -> int:
        """Bytes accepted for sending that are neither written, dropped nor discarded."""
    @property
    def latency(self) -> float | None:
        """Round trip of the last ping in seconds; None before the first pong."""
    @property
    def dropped(self) -> int:
        """Messages dropped by policy."""
    @property
    def state_number(self) -> int:
        """0 CONNECTING, 1 OPEN, 2 CLOSING, 3 CLOSED."""
    def try_send(self, payload: object) -> int:
        """0: sent; 1: sent, and it is time that others run; 2: wait for `Writable`; 3: wait for room in the mailbox;
        4: the connection is not open; 5: it is neither `str` nor `bytes`.
        """
    def send_nowait(self, payload: object) -> int:
        """0: sent; 4, 5: as `try_send`."""
    def is_above_low_water(self) -> bool:
        """Whether more than `low_water` bytes are buffered; if so, one `Writable` will follow."""
    def taken(self, message: object) -> None:
        """The handler took a message."""
    def join(self, channel: str, first: object | None) -> None:
        """Subscribes."""
    def part(self, channel: str) -> bool:
        """Unsubscribes; False: there is no such channel, so nothing was told."""
    def end(self, code: int, reason: str, raised: bool = False) -> None:
        """Ends the connection; from any thread."""
    def extend(self, seconds: float) -> None:
        """Ends it with 4401 in so many seconds, and no longer when it would have; from any thread."""
    def is_on_loop(self) -> bool:
        """Whether the calling thread is the loop's."""

@final
class OutgoingLink:
    """One connection at a time to a service; ends when this object goes."""

    @property
    def number(self) -> int:
        """What its news, and in their upper half its attempts, come with."""
    def stop(self) -> None:
        """Gives up an attempt, closes a connection, and does not come back."""
    def renew(self, token: str) -> None:
        """The bearer token of further attempts."""

@final
class Receiver:
    """The next message of a connection, to await or to iterate over. A task that awaits it waits for it by the protocol
    of asyncio's futures.
    """

    def __aiter__(self) -> Receiver:
        """Itself."""
    def __anext__(self) -> Receiver:
        """Itself, to be awaited."""
    def __await__(self) -> Generator[Any, None, str | bytes]:
        """Takes the next message.

        Raises:
            StopAsyncIteration: the connection has ended in peace, and all messages have been taken.
            ConnectionClosedError: likewise, otherwise.
            RuntimeError: another task awaits it.
            WrongThread: it would wait in a thread that is not the loop's.
        """
    def __next__(self) -> Any:
        """One step of the await."""
    def throw(self, kind: Any, value: Any = None, traceback: Any = None) -> Any:
        """Ends the await; a message that was meant for it is the next one's."""
    def close(self) -> None:
        """Ends the await, likewise."""
    _asyncio_future_blocking: bool | None
    @property
    def _loop(self) -> AbstractEventLoop:
        """The server's loop."""
    def add_done_callback(self, callback: Callable[..., object], *, context: Context) -> None:
        """For the task that awaits it."""
    def cancel(self, msg: object = None) -> bool:
        """For the task that awaits it; False: none does."""
    def result(self) -> None:
        """Raises CancelledError after `cancel`."""
    def end(self, error: Callable[[], BaseException] | None) -> None:
        """The connection has ended: behind the last message what `error` makes is raised; None: iteration ends."""

@final
class Server:
    """A running native server."""

    @staticmethod
    def start(
        settings: dict[str, Any],
        event_loop: AbstractEventLoop,
        schedule: Callable[[], object],
        blank: Callable[[], object],
        bearer_cookie: str | None,
    ) -> Server:
        """Binds and starts."""
    @property
    def is_running(self) -> bool:
        """Whether it has not been stopped."""
    @property
    def addresses(self) -> list[tuple[str, int]]:
        """The addresses that were bound."""
    def fileno(self) -> int:
        """The descriptor that is readable while events wait."""
    def open_link(self, upstream: dict[str, Any]) -> OutgoingLink:
        """Begins a link to a service; its news come with what happened."""
    def drain(self) -> tuple[list[Any], list[tuple[Any, ...]] | None, bool]:
        """A flat list of (sort, whom, what); the blank connections in it, with what makes them; and whether more is
        waiting.
        """
    def uncork(self) -> None:
        """Wakes the shards for what was sent since the last call."""
    def admit(
        self,
        request: Request,
        user: str | None,
        expires_in: float | None,
        priority: int,
        subprotocol: str | None,
        headers: list[tuple[str, str]],
        subscribe: list[str],
        victim: str | None,
    ) -> None:
        """`on_connect` said yes."""
    def refuse(self, request: Request, status: int, reason: str, headers: list[tuple[str, str]]) -> None:
        """`on_connect` said no."""
    def publish(
        self, channel: str, payload: object, key: str | None = None, waits: bool = False
    ) -> int | None:
        """The subscribers known now; None: wait for room."""
    def broadcast(
        self, payload: object, to: list[str] | None, user: str | None, exclude: list[str], waits: bool
    ) -> bool:
        """False: wait for room."""
    def disconnect(self, user: str, reason: str) -> None:
        """Ends all connections of a user with 4403."""
    def views(
        self,
        user: str | None = None,
        channel: str | None = None,
        path: str | None = None,
        first_to_leave: int | None = None,
    ) -> list[View]:
        """Open connections, as their shards see them now."""
    def bound(self, id: str) -> Any | None:
        """The Python object of a connection, or None."""
    def hold(self, id: str) -> tuple[ConnectionHandle, Receiver]:
        """Takes hold of a connection that Python does not hold yet."""
    def bind(self, id: str, connection: object) -> None:
        """Remembers the Python object that was made for a handle."""
    def set_feeds(self, feeds: str) -> None:
        """What the feeds do, as JSON text, for the status."""
    def status(self) -> str:
        """`/status` as JSON text."""
    def metrics(self) -> str:
        """`/metrics` as OpenMetrics text."""
    def pool(self) -> tuple[int, int, int, int, int, int]:
        """Connections, their maximum, pending places, their maximum, bytes used, budget."""
    def beat(self) -> None:
        """The loop runs."""
    def stalled(self) -> float:
        """Seconds for which the loop has not run."""
    def record_health(self, name: str, verdict: dict[str, Any]) -> None:
        """A health check gave its verdict."""
    def reconfigure(
        self, limits: dict[str, Any], origin_names: list[str] | str | None, stall_limit: float | None
    ) -> None:
        """Other limits from now on."""
    def reload_keys(self) -> None:
        """Reads the keys of bearer tokens anew; with a problem those in force stay."""
    def reload_certificates(self) -> None:
        """Reads the files of certificates anew; ConfigError: what was in force stays."""
    def define_channel(self, pattern: str, overflow_name: str | None, high_water: int | None) -> None:
        """The policy of a pattern."""
    def depart(self, seconds: float) -> None:
        """Closes all connections, spread over a time."""
    def abandon(self) -> None:
        """Resets what is left."""
    def start_admin(self, address: str, token: str | None) -> int:
        """Starts the admin address; returns its port."""
    def stop(self, patience: float) -> bool:
        """Stops all threads; False: some did not end in time."""
