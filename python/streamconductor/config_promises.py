"""Receives a `Config` whose fields are each well formed · hands back the promises they break together, and
what will hurt · owns the relations between fields (the promises of the architecture document).
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from typing import TYPE_CHECKING

from .units import format_duration, format_size

if TYPE_CHECKING:
    from .config import Config

__all__ = ["RESERVE", "broken_promises", "worst_cases"]

RESERVE = 1 << 20
"""Bytes that each shard keeps to finish frames which have begun when the budget is used up."""

MAILBOX = 8 << 20
"""Bytes that the mailbox of a shard takes."""


def broken_promises(config: Config) -> list[str]:
    """One line for each broken promise: field, value, limit, fix."""
    return [*_tls(config), *_timing(config), *_marks(config), *_places(config)]


def _tls(config: Config) -> Iterator[str]:
    certificates, keys = config.tls_certificate, config.tls_key
    if (certificates is None) != (keys is None):
        missing, given = ("tls_key", "tls_certificate") if keys is None else ("tls_certificate", "tls_key")
        yield f"{missing} = None, and {given} is set: TLS needs both; set {missing}, or leave out {given}"
    elif certificates is not None and keys is not None and len(certificates) != len(keys):
        yield (
            f"tls_key names {len(keys)} files and tls_certificate {len(certificates)}: "
            "each certificate has its key, in the same order; name as many"
        )
    if certificates is None and (config.tls_client_authorities or config.tls_require_client_certificate):
        name = "tls_client_authorities" if config.tls_client_authorities else "tls_require_client_certificate"
        yield f"{name} is set, and tls_certificate is None: there is no TLS; set tls_certificate and tls_key"
    elif config.tls_require_client_certificate and config.tls_client_authorities is None:
        yield (
            "tls_require_client_certificate is set, and tls_client_authorities is None: "
            "no certificate could be verified; set tls_client_authorities"
        )


def _timing(config: Config) -> Iterator[str]:
    if config.policy_timeout >= config.open_timeout:
        yield (
            f"policy_timeout = {format_duration(config.policy_timeout)} must be below open_timeout, "
            f"{format_duration(config.open_timeout)}: a handshake has one deadline; lower policy_timeout"
        )
    if config.close_timeout + 1 >= config.shutdown_grace:
        yield (
            f"close_timeout = {format_duration(config.close_timeout)} plus 1s must be below shutdown_grace, "
            f"{format_duration(config.shutdown_grace)}: else the last connection has no time to close; "
            "lower close_timeout or raise shutdown_grace"
        )
    if config.ping_interval is None:
        return
    limit, rest = 3 * config.ping_interval, config.tick + config.first_retry
    found = config.ping_interval + config.ping_timeout + rest
    if _above(found, limit):
        yield (
            f"ping_timeout = {format_duration(config.ping_timeout)} lets a client reconnect after "
            f"{format_duration(found)} (ping_interval + ping_timeout + tick + first retry), limit "
            f"3 × ping_interval = {format_duration(limit)}; set ping_timeout to "
            f"{format_duration(limit - rest - config.ping_interval)} or less, or raise ping_interval"
        )
    fix = f"set write_timeout to {format_duration(limit - rest)} or less, or raise ping_interval"
    if config.write_timeout is None:
        yield (
            "write_timeout = None leaves nothing to end a dead peer whose full socket takes no ping, limit "
            f"3 × ping_interval = {format_duration(limit)}; {fix}"
        )
    elif _above(config.write_timeout + rest, limit):
        yield (
            f"write_timeout = {format_duration(config.write_timeout)} lets a client reconnect after "
            f"{format_duration(config.write_timeout + rest)} (write_timeout + tick + first retry), limit "
            f"3 × ping_interval = {format_duration(limit)}; {fix}"
        )


def _above(value: float, limit: float) -> bool:
    # Sums of decimal fractions: what is equal on paper must not fail by the last bit.
    return value > limit + 1e-9


def _marks(config: Config) -> Iterator[str]:
    if config.low_water >= config.high_water:
        yield (
            f"low_water = {format_size(config.low_water)} must be below high_water, "
            f"{format_size(config.high_water)}; a quarter of high_water is usual"
        )
    if config.high_water > config.max_buffered:
        yield (
            f"high_water = {format_size(config.high_water)} must not be above max_buffered, "
            f"{format_size(config.max_buffered)}; lower high_water or raise max_buffered"
        )
    if config.max_buffered > MAILBOX:
        yield (
            f"max_buffered = {format_size(config.max_buffered)} must not be above {format_size(MAILBOX)}, "
            "the bound of a shard's mailbox: a larger message could never be handed over; "
            f"set max_buffered to {format_size(MAILBOX)} or less"
        )
    if config.max_frame_size > config.max_message_size:
        yield (
            f"max_frame_size = {format_size(config.max_frame_size)} must not be above max_message_size, "
            f"{format_size(config.max_message_size)}; leave it out, or raise max_message_size"
        )
    # Else one connection could use up the whole budget and be shed for what its own limit allows.
    least = max(config.max_buffered, config.threads * RESERVE)
    if config.memory_budget < least:
        yield (
            f"memory_budget = {format_size(config.memory_budget)} must be at least max_buffered and 1MiB "
            f"per thread, {format_size(least)}; raise memory_budget, or lower max_buffered or threads"
        )


def _places(config: Config) -> Iterator[str]:
    per_address = config.max_connections_per_address
    if per_address is not None and per_address > config.max_connections:
        yield (
            f"max_connections_per_address = {per_address} must not be above max_connections, "
            f"{config.max_connections}; lower it, or leave it out for no limit"
        )
    shared = config.unix_socket is None and config.port and config.admin_port == config.port
    if shared and config.admin_host == config.host:
        yield (
            f"admin_port = {config.admin_port} is the main port, and the admin address needs its own; "
            f"set admin_port to another port, such as {config.port + 1 if config.port < 65_535 else 8001}"
        )


_SIZES = frozenset({"max_connections", "max_buffered", "max_inbound", "max_message_size", "memory_budget"})


def worst_cases(config: Config) -> list[str]:
    """One line for each setting that works but will hurt."""
    found = []
    # With the defaults it always would, and the budget holds all the same: only a choice is worth a word.
    if config.worst_case_memory > config.memory_budget and config.model_fields_set & _SIZES:
        found.append(_worst_case(config))
    if config.admin_port is not None and config.admin_token is None and not _is_loopback(config.admin_host):
        found.append(
            f"admin_host = {config.admin_host} is not loopback and admin_token is None: "
            "whoever reaches the admin address can publish; set admin_token, or admin_host to 127.0.0.1"
        )
    return found


def _worst_case(config: Config) -> str:
    each = config.worst_case_memory // config.max_connections
    return (
        f"if every one of max_connections = {config.max_connections} used its limits, {format_size(each)} "
        f"(max_buffered + max_inbound + max_message_size), buffers would take "
        f"{config.worst_case_memory / 2**30:.1f} GiB; memory_budget = {config.memory_budget / 2**30:.1f} GiB "
        "holds, and sheds connections before that; "
        "lower max_connections or max_buffered to be sure that nobody is shed"
    )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
