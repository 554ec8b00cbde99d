from __future__ import annotations

import copy
import json
import math
import os
import pickle
import typing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from streamconductor import machine
from streamconductor.config import Config
from streamconductor.config_keywords import ConfigKeywords
from streamconductor.errors import ConfigError, ConfigWarning


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host with 16 cores and 64 GiB, and no variables of ours."""
    monkeypatch.setattr(machine, "available_cores", lambda: 16)
    monkeypatch.setattr(machine, "available_memory", lambda: 64 << 30)
    for variable in list(os.environ):
        if variable.startswith("STREAMCONDUCTOR_"):
            monkeypatch.delenv(variable)


def problems(**fields: Any) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        Config(**fields)
    return caught.value.problems


# TLS


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"tls_certificate": "a.pem"}, "tls_key = None, and tls_certificate is set"),
        ({"tls_key": "a.key"}, "tls_certificate = None, and tls_key is set"),
        (
            {"tls_certificate": "a.pem,b.pem", "tls_key": "a.key"},
            "tls_key names 1 files and tls_certificate 2",
        ),
        ({"tls_client_authorities": "ca.pem"}, "tls_client_authorities is set, and tls_certificate is None"),
        ({"tls_require_client_certificate": True}, "tls_require_client_certificate is set, and tls_certi"),
        (
            {"tls_certificate": "a.pem", "tls_key": "a.key", "tls_require_client_certificate": True},
            "tls_require_client_certificate is set, and tls_client_authorities is None",
        ),
    ],
)
def test_half_of_tls_is_none(fields: dict[str, Any], words: str) -> None:
    [problem] = problems(**fields)
    assert problem.startswith(words), problem


def test_files_of_tls_are_written_as_other_lists_are(monkeypatch: pytest.MonkeyPatch) -> None:
    one = Config(tls_certificate="a.pem", tls_key=Path("a.key"))
    assert (one.tls_certificate, one.tls_key) == ((Path("a.pem"),), (Path("a.key"),))
    several = Config(tls_certificate=["a.pem", Path("b.pem")], tls_key="a.key, b.key")
    assert (several.tls_certificate, several.tls_key) == (
        (Path("a.pem"), Path("b.pem")),
        (Path("a.key"), Path("b.key")),
    )
    monkeypatch.setenv("STREAMCONDUCTOR_TLS_CERTIFICATE", "a.pem")
    monkeypatch.setenv("STREAMCONDUCTOR_TLS_KEY", "a.key")
    monkeypatch.setenv("STREAMCONDUCTOR_TLS_CLIENT_AUTHORITIES", "ca.pem")
    monkeypatch.setenv("STREAMCONDUCTOR_TLS_REQUIRE_CLIENT_CERTIFICATE", "true")
    config = Config()
    assert (config.tls_client_authorities, config.tls_require_client_certificate) == (Path("ca.pem"), True)
    assert not {name for name in Config.reconfigurable if name.startswith("tls_")}, (
        "files are read anew, not named"
    )


# Defaults


def test_the_defaults_are_those_of_the_design() -> None:
    expected = {
        "host": "127.0.0.1", "port": 8000, "unix_socket": None, "backlog": 4096,
        "tls_certificate": None, "tls_key": None, "tls_client_authorities": None,
        "tls_require_client_certificate": False,
        "admin_host": "127.0.0.1", "admin_port": None, "admin_token": None, "threads": 4,
        "max_connections": 10_000, "max_connections_per_address": None, "max_pending": 1024,
        "eviction": "reject", "policy_timeout": 0.5, "policy_fallback": "reject", "retry_after": 5.0,
        "open_timeout": 5.0, "close_timeout": 5.0, "idle_timeout": 3600.0, "handler_timeout": 10.0,
        "ping_interval": 20.0, "ping_timeout": 20.0, "write_timeout": 30.0,
        "max_frame_rate": None, "max_control_rate": 100, "shutdown_grace": 20.0, "max_connection_age": None,
        "health_interval": 5.0, "health_timeout": 2.0, "stall_limit": 5.0,
        "max_message_size": 1 << 20, "max_frame_size": 1 << 20, "max_fragments": 1024,
        "message_timeout": 30.0,
        "high_water": 64 << 10, "low_water": 16 << 10, "max_buffered": 2 << 20,
        "overflow": "disconnect", "dwell": 5.0, "max_lag": 60.0,
        "max_inbound": 256 << 10, "max_channels": 128,
        "memory_budget": 32 << 30, "origins": None, "subprotocols": (), "bearer_cookie": None,
        "heartbeat_message": None, "encoder": None,
    }  # fmt: skip
    assert Config().model_dump() == expected


def test_computed_defaults_follow_what_they_are_computed_from(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Config(ping_interval=4).ping_timeout == 4
    assert Config(ping_interval=4).write_timeout == 8
    assert Config(ping_interval=10, ping_timeout=3).write_timeout == 13
    assert Config(ping_interval=None).write_timeout == 30
    assert Config(max_message_size="64KiB").max_frame_size == 65_536
    monkeypatch.setattr(machine, "available_cores", lambda: 2)
    assert Config().threads == 2


def test_none_is_the_default_where_a_limit_has_to_be() -> None:
    config = Config(threads=None, memory_budget=None, ping_timeout=None, max_frame_size=None)
    assert config.limits() == Config().limits()


def test_every_field_states_its_five_facts() -> None:
    for name, field in Config.model_fields.items():
        text = field.description or ""
        at = [text.find(word) for word in (". Unit: ", ". Default: ", ". None: ", ". Reached: ")]
        assert at[0] > 5, name
        assert at == sorted(at), name
        assert text.endswith("."), name
        assert isinstance(field.json_schema_extra, dict), name
        takes_none = (
            type(None) in typing.get_args(field.annotation)
            or field.json_schema_extra["none"] == "the default"
        )
        assert takes_none == (field.json_schema_extra["none"] != "not allowed"), name


def test_keywords_for_type_checkers_are_the_fields() -> None:
    assert set(typing.get_type_hints(ConfigKeywords)) == set(Config.model_fields)


# Values


def test_sizes_and_durations_are_read() -> None:
    config = Config(
        max_buffered="1MiB", max_inbound=1000, max_lag="1m", dwell=timedelta(seconds=2), idle_timeout="1h"
    )
    assert (config.max_buffered, config.max_inbound) == (1 << 20, 1000)
    assert (config.max_lag, config.dwell, config.idle_timeout) == (60.0, 2.0, 3600.0)


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("port", 70_000, "port = 70000 must be at most 65535"),
        ("port", -1, "must be at least 0"),
        ("port", "http", "port = 'http'"),
        ("admin_port", 65_536, "must be at most 65535"),
        (
            "max_connections",
            0,
            "max_connections = 0 must be at least 1; set max_connections within this limit",
        ),
        ("max_connections", True, "is no number"),
        ("max_connections", None, "cannot be off"),
        ("max_buffered", "2 parsecs", "'2 parsecs' is no size"),
        ("max_buffered", "0", "max_buffered = '0' must be at least 1B"),
        ("open_timeout", 5.01, "open_timeout = 5.01s must be at most 5s"),
        ("open_timeout", 0, "open_timeout = 0s must be above 0s"),
        ("open_timeout", None, "cannot be off"),
        ("max_lag", math.nan, "is no duration"),
        ("max_lag", math.inf, "longer than ten years; None is how to say never"),
        ("dwell", -1, "must be at least 0s"),
        ("ping_interval", "1ms", "must be at least 10ms"),
        ("eviction", "random", "must be one of 'reject', 'idle', 'oldest', 'slowest' or 'priority'"),
        ("overflow", "block", "must be one of 'disconnect', 'drop_oldest', 'drop_newest' or 'conflate'"),
        ("encoder", "json.dumps", "should be callable"),
        (
            "origins",
            ["https://example.org/"],
            "'https://example.org/' is no origin; write scheme://host[:port]",
        ),
        ("origins", "example.org", "is no origin"),
        ("origins", 5, "is no list"),
        ("subprotocols", ["a b"], "'a b' is no token"),
        ("subprotocols", ["chat", "chat"], "holds a name twice"),
        ("subprotocols", ["bearer.x"], "would be taken for a bearer token"),
        ("bearer_cookie", "a=b", "is no cookie name"),
    ],
)
def test_a_malformed_field_is_one_line_that_names_it(field: str, value: object, told: str) -> None:
    (line,) = problems(**{field: value})
    assert line.startswith(field)
    assert told in line
    assert "\n" not in line


def test_all_problems_are_told_at_once() -> None:
    assert len(problems(port=-1, threads=0, open_timeout=9, max_conections=1)) == 4


def test_a_field_that_depends_on_a_malformed_one_adds_no_line() -> None:
    (line,) = problems(ping_interval="often")
    assert line.startswith("ping_interval")


def test_origins_and_subprotocols() -> None:
    assert Config(origins="*").origins == Config(origins=["*"]).origins == "*"
    assert Config(origins=["https://a.example", "http://localhost:3000", "null"]).origins == (
        "https://a.example", "http://localhost:3000", "null",
    )  # fmt: skip
    assert Config(origins="https://a.example, https://b.example").origins == (
        "https://a.example",
        "https://b.example",
    )
    assert Config(subprotocols=["chat", "v1.json"]).subprotocols == ("chat", "v1.json")


def test_the_token_shows_nowhere() -> None:
    assert "hunter2" not in repr(Config(admin_token="hunter2"))
    (line,) = problems(admin_token=["hunter2"])
    assert "hunter2" not in line


# Promises


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"policy_timeout": 5}, "policy_timeout = 5s must be below open_timeout, 5s"),
        ({"open_timeout": 0.5}, "policy_timeout = 500ms must be below open_timeout, 500ms"),
        ({"close_timeout": 19}, "close_timeout = 19s plus 1s must be below shutdown_grace, 20s"),
        ({"shutdown_grace": 6}, "must be below shutdown_grace, 6s"),
        ({"low_water": "64KiB"}, "low_water = 64KiB must be below high_water, 64KiB"),
        ({"max_buffered": "60KiB"}, "high_water = 64KiB must not be above max_buffered, 60KiB"),
        (
            {"max_buffered": "9MiB"},
            "max_buffered = 9MiB must not be above 8MiB, the bound of a shard's mailbox",
        ),
        ({"max_frame_size": "2MiB"}, "max_frame_size = 2MiB must not be above max_message_size, 1MiB"),
        (
            {"memory_budget": "1MiB"},
            "memory_budget = 1MiB must be at least max_buffered and 1MiB per thread, 4MiB",
        ),
        ({"memory_budget": "1MiB", "threads": 1}, "per thread, 2MiB"),
        ({"max_connections": 5, "max_connections_per_address": 6}, "must not be above max_connections, 5"),
        ({"admin_port": 8000}, "admin_port = 8000 is the main port"),
        ({"ping_timeout": 39}, "limit 3 × ping_interval = 60s; set ping_timeout to 38.95s or less"),
        (
            {"ping_interval": 1, "ping_timeout": 1.46},
            "after 3.01s (ping_interval + ping_timeout + tick + first retry)",
        ),
        ({"write_timeout": 59}, "write_timeout = 59s lets a client reconnect after 60.05s"),
        ({"write_timeout": None}, "write_timeout = None leaves nothing to end a dead peer"),
    ],
)
def test_a_broken_promise_names_field_value_limit_and_fix(fields: dict[str, Any], told: str) -> None:
    lines = problems(**fields)
    assert any(told in line for line in lines), lines
    assert all(";" in line for line in lines)


@pytest.mark.parametrize(
    "fields",
    [
        {"policy_timeout": 4.99},
        {"close_timeout": 18.99},
        {"low_water": "64KiB", "high_water": "65KiB"},
        {"max_buffered": "64KiB"},
        {"max_buffered": "8MiB"},
        {"ping_timeout": 38.95},
        {"ping_interval": 1, "ping_timeout": 1.45},
        {"write_timeout": 58.95},
        {"ping_interval": None, "write_timeout": None},
        {"admin_port": 0, "port": 0},
        {"admin_port": 8000, "admin_host": "127.0.0.2"},
        {"admin_port": 8000, "unix_socket": "/run/x"},
        {"threads": 4, "memory_budget": "4MiB"},
    ],
)
def test_at_the_limit_a_promise_holds(fields: dict[str, Any]) -> None:
    Config(**fields)


DURATIONS = st.floats(min_value=0.01, max_value=600)


@given(DURATIONS, DURATIONS, DURATIONS)
def test_accepted_is_exactly_what_reconnects_within_three_intervals(
    interval: float, timeout: float, write: float
) -> None:
    late = max(interval + timeout, write) + min(0.05, interval / 10) + min(1, interval / 2) - 3 * interval
    assume(abs(late) > 1e-6)
    fields: dict[str, Any] = {"ping_interval": interval, "ping_timeout": timeout, "write_timeout": write}
    if late < 0:
        Config(**fields)
    else:
        assert problems(**fields)


@given(st.floats(min_value=0.01, max_value=10_000))
def test_every_interval_is_accepted_with_the_defaults(interval: float) -> None:
    assert Config(ping_interval=interval).tick == min(0.05, interval / 10)


# Sources


def test_keyword_then_environment_then_file_then_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "server.toml"
    file.write_text('port = 1\nmax_pending = 1\nmax_channels = 1\nmax_lag = "off"\n')
    monkeypatch.setenv("STREAMCONDUCTOR_PORT", "2")
    monkeypatch.setenv("STREAMCONDUCTOR_MAX_PENDING", "2")
    config = Config.load(file, port=3)
    assert (config.port, config.max_pending, config.max_channels, config.max_fragments) == (3, 2, 1, 1024)
    assert config.max_lag is None
    assert Config().port == 2
    assert Config.load(None).max_channels == 128


def test_the_environment_is_text(monkeypatch: pytest.MonkeyPatch) -> None:
    for field, text in {
        "MAX_BUFFERED": "1MiB",
        "OPEN_TIMEOUT": "250ms",
        "POLICY_TIMEOUT": "0.1",
        "IDLE_TIMEOUT": "none",
        "MAX_CONTROL_RATE": "OFF",
        "ORIGINS": "https://a.example,https://b.example",
        "SUBPROTOCOLS": "chat, json",
        "UNIX_SOCKET": "/run/stream.sock",
        "OVERFLOW": "conflate",
    }.items():
        monkeypatch.setenv(f"STREAMCONDUCTOR_{field}", text)
    config = Config()
    assert (config.max_buffered, config.open_timeout, config.policy_timeout) == (1 << 20, 0.25, 0.1)
    assert (config.idle_timeout, config.max_control_rate) == (None, None)
    assert config.origins == ("https://a.example", "https://b.example")
    assert config.subprotocols == ("chat", "json")
    assert config.unix_socket == Path("/run/stream.sock")
    assert config.overflow == "conflate"


def test_off_in_a_keyword_is_text() -> None:
    assert Config(heartbeat_message="off").heartbeat_message == "off"


def test_a_file_has_lists_and_numbers(tmp_path: Path) -> None:
    file = tmp_path / "server.toml"
    file.write_text(
        'origins = ["https://a.example"]\nmax_buffered = "3MB"\nopen_timeout = 0.75\nthreads = 2\n'
    )
    config = Config.load(str(file))
    assert (config.origins, config.max_buffered) == (("https://a.example",), 3_000_000)
    assert (config.open_timeout, config.threads) == (0.75, 2)


def test_unknown_names_are_errors_with_the_nearest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert problems(max_conections=5) == ("max_conections is no setting; the nearest is max_connections",)
    file = tmp_path / "server.toml"
    file.write_text("prot = 5\n")
    with pytest.raises(ConfigError, match=r"key prot in .*server\.toml is no setting; the nearest is port"):
        Config.load(file)
    monkeypatch.setenv("STREAMCONDUCTOR_HIGHWATER", "64KiB")
    with pytest.raises(
        ConfigError, match=r"STREAMCONDUCTOR_HIGHWATER .* nearest is STREAMCONDUCTOR_HIGH_WATER"
    ):
        Config()


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"missing\.toml cannot be read"):
        Config.load(tmp_path / "missing.toml")
    broken = tmp_path / "broken.toml"
    broken.write_text("port = \n")
    with pytest.raises(ConfigError, match=r"broken\.toml cannot be read: .*line 1"):
        Config.load(broken)


KUBERNETES = {
    "STREAMCONDUCTOR_SERVICE_HOST": "10.0.0.1",
    "STREAMCONDUCTOR_SERVICE_PORT": "80",
    "STREAMCONDUCTOR_SERVICE_PORT_HTTP": "80",
    "STREAMCONDUCTOR_PORT": "tcp://10.0.0.1:80",
    "STREAMCONDUCTOR_PORT_80_TCP": "tcp://10.0.0.1:80",
    "STREAMCONDUCTOR_PORT_80_TCP_PROTO": "tcp",
    "STREAMCONDUCTOR_PORT_80_TCP_PORT": "80",
    "STREAMCONDUCTOR_PORT_80_TCP_ADDR": "10.0.0.1",
    "STREAMCONDUCTOR_ADMIN_SERVICE_HOST": "10.0.0.2",
    "STREAMCONDUCTOR_ADMIN_PORT": "tcp://10.0.0.2:81",
}


def test_what_kubernetes_injects_is_ignored_with_one_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in KUBERNETES.items():
        monkeypatch.setenv(variable, value)
    with pytest.warns(ConfigWarning) as caught:
        config = Config()
    assert len(caught) == 1
    assert all(variable in str(caught[0].message) for variable in KUBERNETES)
    assert (config.port, config.admin_port) == (8000, None)


def test_a_port_of_ours_is_not_taken_for_kubernetes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMCONDUCTOR_PORT", "8123")
    assert Config().port == 8123
    monkeypatch.setenv("STREAMCONDUCTOR_SERVICE_HOSTS", "x")
    with pytest.raises(ConfigError, match="SERVICE_HOSTS is no setting"):
        Config()


# What is made of it


def test_it_is_frozen_and_copies() -> None:
    config = Config(port=9, subprotocols=["a"])
    with pytest.raises(ValueError, match="frozen"):
        config.port = 10
    assert copy.deepcopy(config) == pickle.loads(pickle.dumps(config)) == config


def test_replace_validates_as_a_whole_and_computes_defaults_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    config = Config(ping_interval=20, port=9)
    monkeypatch.setenv("STREAMCONDUCTOR_MAX_PENDING", "7")
    other = config.replace(ping_interval=2)
    assert (other.port, other.ping_timeout, other.write_timeout) == (9, 2.0, 4.0)
    assert other.max_pending == 1024  # what the environment says now is not read again
    assert config.ping_interval == 20
    with pytest.raises(ConfigError, match="low_water"):
        config.replace(high_water="8KiB")
    with pytest.raises(ConfigError, match="nearest is high_water"):
        config.replace(highwater="8KiB")  # type: ignore[call-arg]
    assert Config().max_pending == 7


def test_limits_are_plain_values_for_the_native_half() -> None:
    limits = Config(ping_interval=0.1, max_message_size="8KiB").limits()
    assert json.loads(json.dumps(limits)) == limits
    assert (limits["tick"], limits["max_frame_size"], limits["max_connection_age"]) == (0.01, 8192, None)
    assert limits["overflow"] == "disconnect"
    assert not {"host", "admin_token", "origins", "encoder"} & set(limits)


def test_what_may_be_reconfigured() -> None:
    assert set(Config.model_fields) - Config.reconfigurable == {
        "host", "port", "unix_socket", "backlog", "admin_host", "admin_port", "admin_token", "threads",
        "subprotocols", "bearer_cookie", "heartbeat_message", "encoder", "tls_certificate", "tls_key",
        "tls_client_authorities", "tls_require_client_certificate",
    }  # fmt: skip


def test_the_worst_case_above_the_budget_is_a_warning_and_no_error() -> None:
    config = Config(max_connections=100, memory_budget="512MiB")
    assert config.worst_case_memory == 100 * ((2 << 20) + (256 << 10) + (1 << 20))
    assert config.warnings() == []
    (line,) = config.replace(max_connections=1000).warnings()
    assert "max_connections = 1000" in line
    assert "3.2 GiB" in line
    assert "memory_budget = 0.5 GiB" in line


@pytest.mark.parametrize(
    ("fields", "warned"),
    [
        ({"admin_host": "0.0.0.0", "admin_port": 1}, True),
        ({"admin_host": "gateway", "admin_port": 1}, True),
        ({"admin_host": "0.0.0.0", "admin_port": 1, "admin_token": "x"}, False),
        ({"admin_host": "::1", "admin_port": 1}, False),
        ({"admin_host": "localhost", "admin_port": 1}, False),
        ({"admin_host": "0.0.0.0"}, False),
    ],
)
def test_an_open_admin_address_is_a_warning(fields: dict[str, Any], warned: bool) -> None:
    assert any("admin_token" in line for line in Config(**fields).warnings()) is warned
