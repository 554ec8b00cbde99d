"""Receives nothing · hands type checkers the keywords of `Config`, `Config.load`, `Config.replace` and
`Server.reconfigure` · owns what may be written for each field, which is wider than what it holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from os import PathLike
from typing import Literal, TypedDict

from .encoder import Encoder

__all__ = [
    "ConfigKeywords",
    "DurationLike",
    "EvictionName",
    "OverflowName",
    "PathsLike",
    "PrivacyName",
    "SizeLike",
]

SizeLike = int | str
"""Bytes, or text such as ``"64KiB"``."""
DurationLike = float | str | timedelta
"""Seconds, or text such as ``"250ms"``."""
PathsLike = str | PathLike[str] | Sequence[str | PathLike[str]]
"""A path or several; in text they are separated by commas."""
OverflowName = Literal["disconnect", "drop_oldest", "drop_newest", "conflate"]
EvictionName = Literal["reject", "idle", "oldest", "slowest", "priority"]
PrivacyName = Literal["full", "prefix", "hash"]


class ConfigKeywords(TypedDict, total=False):
    """The fields of `Config`, which describes them, with the types that their keywords take."""

    host: str
    port: int
    unix_socket: str | PathLike[str] | None
    backlog: int
    tls_certificate: PathsLike | None
    tls_key: PathsLike | None
    tls_client_authorities: str | PathLike[str] | None
    tls_require_client_certificate: bool
    admin_host: str
    admin_port: int | None
    admin_token: str | None
    threads: int | None
    max_connections: int
    max_connections_per_address: int | None
    max_connections_per_user: int | None
    max_handshake_rate: int | None
    max_pending: int
    eviction: EvictionName
    policy_timeout: DurationLike
    policy_fallback: EvictionName
    retry_after: DurationLike
    open_timeout: DurationLike
    close_timeout: DurationLike
    idle_timeout: DurationLike | None
    handler_timeout: DurationLike
    ping_interval: DurationLike | None
    ping_timeout: DurationLike | None
    max_frame_rate: int | None
    max_message_rate: int | None
    max_byte_rate: SizeLike | None
    max_control_rate: int | None
    compression: bool
    compression_threshold: SizeLike
    shutdown_grace: DurationLike
    max_connection_age: DurationLike | None
    health_interval: DurationLike
    health_timeout: DurationLike
    stall_limit: DurationLike
    max_message_size: SizeLike
    max_frame_size: SizeLike | None
    max_fragments: int
    message_timeout: DurationLike
    high_water: SizeLike
    low_water: SizeLike
    max_buffered: SizeLike
    overflow: OverflowName
    dwell: DurationLike
    max_lag: DurationLike | None
    write_timeout: DurationLike | None
    max_inbound: SizeLike
    max_channels: int
    memory_budget: SizeLike | None
    origins: Literal["*"] | str | Sequence[str] | None
    subprotocols: str | Sequence[str]
    trusted_proxies: str | Sequence[str]
    bearer_cookie: str | None
    token_keys: str | Sequence[str | PathLike[str]] | None
    token_issuer: str | None
    token_audience: str | None
    token_leeway: DurationLike
    token_user_claim: str
    address_privacy: PrivacyName
    heartbeat_message: str | None
    encoder: Encoder | None
