"""Receives settings from keywords, the environment and a TOML file · hands validated limits to the server ·
owns their names, defaults and meaning; nothing else in the project has a default.

Every `description` states the same five facts: what the field bounds, its unit, its default, what None does,
and what happens when the limit is reached.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, Unpack

from pydantic import BeforeValidator, Field, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from . import machine
from ._core import proxy_problem
from .certificates import paths
from .config_keywords import ConfigKeywords, EvictionName, OverflowName, PrivacyName
from .config_problems import problems_of
from .config_promises import broken_promises, worst_cases
from .config_sources import READING, EnvironmentSource, FileSource, Reading
from .encoder import Encoder
from .errors import ConfigError
from .origins import check_origins
from .units import LARGEST, duration, size

__all__ = ["Config"]

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110 §5.6.2


def _count(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("is no number")
    return value


def _switch(value: object) -> object:
    # "off" in the environment and in files has become None.
    return False if value is None else value


def _names(value: object) -> object:
    return [name.strip() for name in value.split(",") if name.strip()] if isinstance(value, str) else value


Count = Annotated[int, BeforeValidator(_count), Field(ge=1, le=2**31)]
Switch = Annotated[bool, BeforeValidator(_switch)]
Port = Annotated[int, BeforeValidator(_count), Field(ge=0, le=65_535)]
Size = Annotated[int, BeforeValidator(size), Field(ge=1, le=LARGEST)]
Seconds = Annotated[float, BeforeValidator(duration), Field(gt=0)]
Names = Annotated[tuple[str, ...], BeforeValidator(_names)]
Paths = Annotated[tuple[Path, ...], BeforeValidator(paths)]


def _setting(default: Any, bounds: str, *, unit: str, reached: str, **more: Any) -> Any:
    """A field with its five facts: a sentence each in its description, and by name for generated documents.

    `shown` is how a computed default is described, `none` what None does where the field takes it.
    """
    facts = {
        "unit": unit,
        "default": more.pop("shown", str(default)),
        "none": more.pop("none", "not allowed"),
        "reached": reached,
    }
    more["description"] = f"{bounds}. " + " ".join(f"{name.title()}: {fact}." for name, fact in facts.items())
    more["json_schema_extra"] = {"bounds": bounds, **facts}
    return Field(default_factory=default, **more) if callable(default) else Field(default, **more)


def _default_write_timeout(fields: dict[str, Any]) -> float:
    interval = fields["ping_interval"]
    return 30.0 if interval is None else min(30.0, interval + fields["ping_timeout"])


class Config(BaseSettings):
    """Every setting of a server: frozen, validated, read from keywords, then `STREAMCONDUCTOR_<FIELD>`, then
    a file.

    Sizes are bytes or text such as ``"64KiB"``, durations seconds, a ``timedelta`` or text such as
    ``"250ms"``; in the environment and in files ``"off"`` or ``"none"`` is None, and lists may be written
    with commas.

    Raises:
        ConfigError: a setting is unknown or malformed, or a promise is broken; one line per problem.
    """

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", validate_default=True, arbitrary_types_allowed=True
    )

    # fmt: off
    # Each field is a paragraph: name, type, default, what it bounds; then the other facts.

    # Where it listens.
    host: str = _setting("127.0.0.1", "The address to listen on", unit="IP address or host name",
        reached="BindError at start if it cannot be bound", min_length=1)
    port: Port = _setting(8000, "The port to listen on; 0 lets the system choose, see Server.port",
        unit="port number", reached="BindError at start if it is taken")
    unix_socket: Path | None = _setting(None, "A Unix socket to listen on instead of host and port",
        unit="path", none="host and port are used", reached="BindError at start if it cannot be bound")
    backlog: Count = _setting(4096, "Connections that the kernel holds until we accept them",
        unit="connections", reached="the kernel ignores further SYNs, and clients try again")
    tls_certificate: Paths | None = _setting(None,
        "Certificates to speak TLS with, one PEM file each: chosen by the host a client names, else the first",
        unit="paths", none="no TLS; the admin address never has it",
        reached="ConfigError at start if one is unreadable; once running the old one stays, and it is logged")
    tls_key: Paths | None = _setting(None, "The private keys of tls_certificate, in its order, PEM files",
        unit="paths", none="no TLS", reached="as with tls_certificate, and where a key is not the certificate's")
    tls_client_authorities: Path | None = _setting(None,
        "Authorities whose client certificates are taken, a PEM file; see Request.client_certificate",
        unit="path", none="no client is asked for one", reached="an alert for a certificate of anybody else")
    tls_require_client_certificate: bool = _setting(False, "Whether clients must show a certificate",
        unit="true or false", reached="an alert for who shows none")
    admin_host: str = _setting("127.0.0.1", "The address of the admin endpoints",
        unit="IP address or host name", reached="BindError at start if it cannot be bound", min_length=1)
    admin_port: Port | None = _setting(None, "The port of the admin endpoints (metrics, status, publish)",
        unit="port number", none="no admin address", reached="BindError at start if it is taken")
    admin_token: str | None = _setting(None, "The bearer token that admin requests must carry", unit="text",
        none="none is asked for", reached="401 for a request without it", min_length=1, repr=False)
    threads: Count = _setting(None, "Shard threads, each with its own connections", unit="threads",
        shown="min(4, cores, control group's quota)", none="the default",
        reached="connections share the threads there are", le=256)

    # Who may be connected.
    max_connections: Count = _setting(10_000, "Connections at once, never exceeded", unit="connections",
        reached="503 with Retry-After, or close 1013 `evicted` for the one that eviction chooses")
    max_connections_per_address: Count | None = _setting(None,
        "Connections at once from one address (IPv6: from one /64), behind trusted_proxies the client's",
        unit="connections", none="no limit", reached="429 with Retry-After for the newcomer")
    max_connections_per_user: Count | None = _setting(None,
        "Connections at once of one user, as Accept.user names it; those without a user are not counted",
        unit="connections", none="no limit", reached="429 with Retry-After for the newcomer, after on_connect")
    max_handshake_rate: Count | None = _setting(None,
        "Upgrades from one address (IPv6: from one /64), refused ones included; as many as in a second may "
        "come at once", unit="handshakes a second", none="no limit",
        reached="429 with Retry-After for the newcomer, before on_connect")
    max_pending: Count = _setting(1024, "Sockets at once that are not, or no longer, connections",
        unit="sockets",
        reached="the oldest without a whole head is closed, else the oldest refusal, else accepting pauses")
    eviction: EvictionName = _setting("reject", "Who leaves a full pool for a newcomer",
        unit="name of an order",
        reached="close 1013 `evicted` for the chosen one; with `reject` 503 for the newcomer")
    policy_timeout: Seconds = _setting(0.5, "The answer of PoolPolicy", unit="seconds",
        reached="it is cancelled and logged, and policy_fallback decides")
    policy_fallback: EvictionName = _setting("reject", "The order used when PoolPolicy raises or is late",
        unit="name of an order", reached="as with eviction")
    retry_after: Seconds = _setting(5.0, "The Retry-After that a 503 or 429 carries, rounded up", unit="seconds",
        reached="clients that heed it come back then")
    origins: Literal["*"] | Names | None = _setting(None,
        "Pages that browsers may connect from: exact origins, `https://*.example.com` for all hosts below a "
        "domain and not the domain itself, `null`, or `*` alone for any; with a list, who sends cookies and "
        "no Origin needs a bearer token in Authorization or a subprotocol",
        unit="scheme://host[:port]", shown="None", none="the same origin, and loopback to loopback",
        reached="403, logged once per origin with the line to paste")
    trusted_proxies: Names = _setting((),
        "Peers whose Forwarded, or X-Forwarded-For and X-Forwarded-Proto, say who the client is: the "
        "right-most hop that is not listed here; where a hop is hidden or malformed, the last that is known, "
        "in doubt the proxy; both forms must name the same client, or 400",
        unit="networks such as 10.0.0.0/8, addresses, or `unix` for peers on a Unix socket", shown="none",
        reached="from other peers these headers are ignored, with one warning that says what to set")
    subprotocols: Names = _setting((), "Subprotocols that are offered, the preferred one first",
        unit="tokens", shown="none", reached="what else a client offers is not selected")
    bearer_cookie: str | None = _setting(None, "The cookie that may carry the bearer token",
        unit="cookie name", none="no cookie is read", reached="Request.bearer_token is None without it")
    token_keys: Paths | None = _setting(None,
        "Files with the keys of bearer tokens (JWT), which every upgrade must then carry: a public key or "
        "certificate in `.pem`, a JWK Set in `.json`, any other a secret for HS256", unit="paths",
        none="no token is checked, and on_connect alone decides",
        reached="401 for an upgrade without a good token; ConfigError at start if a key cannot be read")
    token_issuer: str | None = _setting(None, "The `iss` of bearer tokens", unit="text",
        none="any, or none", reached="401 for a token of another issuer", min_length=1)
    token_audience: str | None = _setting(None, "The `aud` of bearer tokens, or one of several", unit="text",
        none="tokens that name an audience are refused", reached="401 for a token that is not for it",
        min_length=1)
    token_leeway: Annotated[float, BeforeValidator(duration), Field(ge=0, le=60)] = _setting(0.0,
        "By how much the clock of who makes the tokens may differ from ours", unit="seconds",
        reached="401 for a token that has expired or is not valid yet; close 4401 `token_expired` that much "
        "after its `exp`")
    token_user_claim: str = _setting("sub", "The claim of a bearer token that becomes Connection.user",
        unit="name of a claim", reached="the connection is nobody's where a token lacks it", min_length=1)

    # How long things may take.
    open_timeout: Seconds = _setting(5.0, "TLS, request head and on_connect together", unit="seconds",
        reached="the socket is closed, or 503 where on_connect is late", le=5)
    close_timeout: Seconds = _setting(5.0, "The closing handshake", unit="seconds",
        reached="the socket is reset, 1006 `close_timeout`")
    idle_timeout: Seconds | None = _setting(3600.0, "Time without an application message either way",
        unit="seconds", none="never", reached="close 1001 `idle`")
    handler_timeout: Seconds = _setting(10.0, "Time a handler may run on after its connection ended",
        unit="seconds", reached="it is cancelled, then on_close runs")
    message_timeout: Seconds = _setting(30.0, "Time from the first to the last frame of a message",
        unit="seconds", reached="close 1008 `violation`")
    ping_interval: Seconds | None = _setting(20.0, "Silence after which a peer is pinged", unit="seconds",
        none="no pings, and dead peers are found by write_timeout and idle_timeout only", reached="a ping",
        ge=0.01)
    ping_timeout: Seconds = _setting(None, "Time from a ping until any byte must have come", unit="seconds",
        shown="ping_interval", none="the default", reached="the socket is reset, 1006 `heartbeat_lost`")
    write_timeout: Seconds | None = _setting(_default_write_timeout,
        "Time with bytes pending of which the socket takes none", unit="seconds",
        shown="min(30, ping_interval + ping_timeout)", none="never; only without ping_interval",
        reached="the socket is reset, 1006 `write_timeout`")
    max_connection_age: Seconds | None = _setting(None, "Age of a connection", unit="seconds",
        none="no limit", reached="close 1012 `maximum_age`")
    shutdown_grace: Seconds = _setting(20.0, "Shutdown, from its start to the last connection",
        unit="seconds", reached="sockets are reset and handlers cancelled")

    # What may come in.
    max_message_size: Size = _setting(2**20, "One inbound message", unit="bytes", shown="1 MiB",
        reached="close 1009")
    max_frame_size: Size = _setting(None, "One inbound frame", unit="bytes", shown="max_message_size",
        none="the default", reached="close 1009")
    max_fragments: Count = _setting(1024, "Frames of one inbound message", unit="frames",
        reached="close 1008")
    max_inbound: Size = _setting(256 * 2**10,
        "Complete messages of a connection that its handler has not taken", unit="bytes", shown="256 KiB",
        reached="reading pauses, and TCP holds the peer back")
    max_frame_rate: Count | None = _setting(None,
        "Inbound frames of a connection; as many as in a second may come at once", unit="frames a second",
        none="no limit", reached="reading pauses between messages until the rate allows the next")
    max_message_rate: Count | None = _setting(None,
        "Inbound messages of a connection; as many as in a second may come at once",
        unit="messages a second", none="no limit",
        reached="reading pauses until the rate allows the next, and TCP holds the peer back; nothing is lost")
    max_byte_rate: Size | None = _setting(None,
        "Payload bytes of inbound messages of a connection; as many as in a second may come at once",
        unit="bytes a second", none="no limit",
        reached="reading pauses after the message until the rate allows the next, and TCP holds the peer "
        "back; nothing is lost")
    max_control_rate: Count | None = _setting(100,
        "Inbound pings and pongs of a connection; as many as in a second may come at once",
        unit="frames a second", none="no limit", reached="close 1008 `violation`")

    compression: Switch = _setting(False, "Whether newcomers may have permessage-deflate",
        unit="true or false",
        reached="a client that offers it gets smaller messages, for some of a processor's time; others get none")
    compression_threshold: Size = _setting(512, "Outbound messages that are compressed, from this length on",
        unit="bytes", reached="it is compressed, once for all subscribers whose clients take the same window")

    # What may wait to go out.
    high_water: Size = _setting(64 * 2**10, "Pending bytes of a connection that are nobody's concern",
        unit="bytes", shown="64 KiB",
        reached="on_backpressure; senders wait, conflate and the dwell of disconnect start")
    low_water: Size = _setting(16 * 2**10, "Pending bytes below which backpressure ends", unit="bytes",
        shown="16 KiB", reached="on_backpressure; senders resume, the dwell ends")
    max_buffered: Size = _setting(2 * 2**20, "Pending bytes of a connection, never exceeded", unit="bytes",
        shown="2 MiB", reached="overflow acts, and send_nowait raises Full")
    overflow: OverflowName = _setting("disconnect", "Publications for a reader that is too slow",
        unit="name of a policy", reached="close 4008 `slow_consumer`, or publications dropped and counted")
    dwell: Annotated[float, BeforeValidator(duration), Field(ge=0)] = _setting(5.0,
        "Time that publications may stay above high_water under disconnect", unit="seconds",
        reached="close 4008 `slow_consumer`")
    max_lag: Seconds | None = _setting(60.0, "Age of the oldest pending byte", unit="seconds",
        none="no limit", reached="close 4008 `lagging`")
    max_channels: Count = _setting(128, "Channels of one connection", unit="channels",
        reached="subscribe raises, and the connection stays")
    memory_budget: Size = _setting(None, "Real memory of all buffers together", unit="bytes",
        shown="half of the control group's or host's memory", none="the default",
        reached="at 80 % newcomers get 503, at 90 % reading and publishing pause, "
        "at 100 % connections are shed with close 1013 `over_budget`")

    # What Python answers for.
    health_interval: Seconds = _setting(5.0, "Time between two runs of a health check", unit="seconds",
        reached="it runs again; a verdict older than this and two timeouts is stale, and /readyz red")
    health_timeout: Seconds = _setting(2.0, "One run of a health check", unit="seconds",
        reached="it is cancelled and counts as failed")
    stall_limit: Seconds = _setting(5.0, "Time that Python's event loop may be blocked", unit="seconds",
        reached="/readyz turns red and says for how long")
    heartbeat_message: str | None = _setting(None,
        "The text message that stands in for pings, which pages never see", unit="text", none="none is sent",
        reached="sent every ping_interval", min_length=1)
    encoder: Encoder | None = _setting(None, "What makes text of payloads that are neither text nor bytes",
        unit="callable", none="the JSON of streamconductor.encoder",
        reached="its exceptions reach the sender")

    # What it tells people.
    address_privacy: PrivacyName = _setting("full",
        "How client addresses are shown in logs: `full`; `prefix`, their /24 or /48; or `hash`, the same "
        "short word for the same address while the process lives; the application itself sees them whole",
        unit="name of a form", reached="the rest of the address is left out")

    # fmt: on

    reconfigurable: ClassVar[frozenset[str]]
    """Names of the fields that `Server.reconfigure` may change while it runs: limits, policies, rates,
    intervals."""

    def __init__(self, **values: Unpack[ConfigKeywords]) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ConfigError(problems_of(error, type(self).model_fields)) from None
        if problems := broken_promises(self):
            raise ConfigError(problems)

    @classmethod
    def load(cls, file: Path | str | None = None, **overrides: Unpack[ConfigKeywords]) -> Self:
        """Reads `file` below the environment and the keywords.

        Args:
            file: a TOML file whose top-level keys are fields; `None`: no file.
            overrides: what precedes the environment and the file.

        Raises:
            ConfigError: as from `Config`, or the file cannot be read.
        """
        return cls._reading(Reading(file=None if file is None else Path(file)), overrides)

    def replace(self, **fields: Unpack[ConfigKeywords]) -> Self:
        """A copy with other values, validated as a whole; defaults are computed anew.

        Args:
            fields: the values that differ.

        Raises:
            ConfigError: as from `Config`; this one stays as it is.
        """
        chosen: Any = {name: getattr(self, name) for name in self.model_fields_set}
        return self._reading(Reading(environment=False), chosen | fields)

    @classmethod
    def _reading(cls, reading: Reading, values: ConfigKeywords) -> Self:
        token = READING.set(reading)
        try:
            return cls(**values)
        finally:
            READING.reset(token)

    @property
    def tick(self) -> float:
        """Seconds between two turns of a shard's timers: 50 ms, or a tenth of a shorter `ping_interval`."""
        return 0.05 if self.ping_interval is None else min(0.05, self.ping_interval / 10)

    @property
    def first_retry(self) -> float:
        """The longest that a client waits before its first reconnection, in seconds."""
        return 1.0 if self.ping_interval is None else min(1.0, self.ping_interval / 2)

    @property
    def worst_case_memory(self) -> int:
        """Bytes that buffers would take if every connection used its limits: pending, not taken,
        unfinished.
        """
        return self.max_connections * (self.max_buffered + self.max_inbound + self.max_message_size)

    def warnings(self) -> list[str]:
        """What works but will hurt, one line each; the server logs them once when it starts."""
        return worst_cases(self)

    def limits(self) -> dict[str, int | float | str | list[str] | None]:
        """What the native half enforces: bytes, seconds, counts and names of policies, trusted proxies, and `tick`."""
        limits: dict[str, Any] = {name: getattr(self, name) for name in sorted(_LIMITS)}
        return limits | {"trusted_proxies": list(self.trusted_proxies), "tick": self.tick}

    @field_validator("threads", mode="before")
    @classmethod
    def _default_threads(cls, value: object) -> object:
        return min(4, machine.available_cores()) if value is None else value

    @field_validator("memory_budget", mode="before")
    @classmethod
    def _default_memory_budget(cls, value: object) -> object:
        return machine.available_memory() // 2 if value is None else value

    @field_validator("ping_timeout", mode="before")
    @classmethod
    def _default_ping_timeout(cls, value: object, info: ValidationInfo) -> object:
        return (info.data.get("ping_interval") or 20.0) if value is None else value

    @field_validator("max_frame_size", mode="before")
    @classmethod
    def _default_max_frame_size(cls, value: object, info: ValidationInfo) -> object:
        return info.data.get("max_message_size", 2**20) if value is None else value

    @field_validator("origins", mode="before")
    @classmethod
    def _read_origins(cls, value: object) -> object:
        names = _names(value)
        if names is not None and not isinstance(names, list | tuple):
            raise ValueError('is no list; write "*", or a list of scheme://host[:port]')
        return "*" if names in (["*"], ("*",)) else names

    @field_validator("origins")
    @classmethod
    def _check_origins(cls, value: str | tuple[str, ...] | None) -> str | tuple[str, ...] | None:
        check_origins(value)
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _check_trusted_proxies(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for entry in value:
            if (problem := proxy_problem(entry)) is not None:
                raise ValueError(f"{entry!r} {problem}")
        return value

    @field_validator("subprotocols")
    @classmethod
    def _check_subprotocols(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if not _TOKEN.fullmatch(name):
                raise ValueError(f"{name!r} is no token; use letters, digits and -._ without spaces")
            if name.startswith("bearer."):
                raise ValueError(f"{name!r} would be taken for a bearer token; choose another name")
        if len(set(value)) != len(value):
            raise ValueError("holds a name twice; remove one")
        return value

    @field_validator("bearer_cookie")
    @classmethod
    def _check_bearer_cookie(cls, value: str | None) -> str | None:
        if value is not None and not _TOKEN.fullmatch(value):
            raise ValueError("is no cookie name; use letters, digits and -._")
        return value

    @field_validator("token_keys")
    @classmethod
    def _check_token_keys(cls, value: tuple[Path, ...] | None) -> tuple[Path, ...] | None:
        if value == ():
            raise ValueError("names no file, so that nobody could come in; leave it out to check no token")
        return value

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource, *_: Any, **__: Any
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The keywords, and what `READING` names below them; called by pydantic-settings."""
        reading = READING.get()
        sources = [init_settings]
        if reading.environment:
            sources.append(EnvironmentSource(settings_cls))
        if reading.file is not None:
            sources.append(FileSource(settings_cls, reading.file))
        return tuple(sources)


# Where it listens, and what the native half reads once or not at all.
_ADDRESSES = frozenset({"host", "port", "unix_socket", "admin_host", "admin_port", "admin_token"})
_TLS = frozenset(name for name in Config.model_fields if name.startswith("tls_"))
_OTHERS = frozenset({"origins", "subprotocols", "bearer_cookie", "heartbeat_message", "encoder"})
_TOKENS = frozenset(name for name in Config.model_fields if name.startswith("token_"))
_TOLD = frozenset({"trusted_proxies", "address_privacy"})
_LIMITS = frozenset(Config.model_fields) - _ADDRESSES - _TLS - _OTHERS - _TOKENS - _TOLD
Config.reconfigurable = (_LIMITS | _TOLD | {"origins"}) - {"threads", "backlog"}
