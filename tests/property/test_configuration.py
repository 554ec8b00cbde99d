"""Whatever is configured: a `Config` that keeps its promises, or a ConfigError that names the fields."""

from __future__ import annotations

import json
import math
import os
import re
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

import streamconductor as sc
from streamconductor.config import Config
from streamconductor.errors import ConfigError
from tests.support.examples import anything, bounded

FIELDS = sorted(Config.model_fields)
UNIT = {name: field.json_schema_extra["unit"] for name, field in Config.model_fields.items()}  # type: ignore[index,call-overload]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in list(os.environ):
        if variable.startswith("STREAMCONDUCTOR_"):
            monkeypatch.delenv(variable)


def named(line: str) -> set[str]:
    return set(re.findall(r"\w+", line)) & set(FIELDS)


def config_or_problems(fields: dict[str, Any]) -> Config | tuple[str, ...]:
    """A Config, or what is wrong with the fields: one line each, and each names one of them."""
    try:
        config = Config(**fields)
    except ConfigError as error:
        problems = error.problems
    else:
        keeps_its_promises(config)
        return config
    assert problems
    for line in problems:
        assert "\n" not in line
        assert len(line) < 1_000
        assert named(line) & set(fields), f"{line!r} names none of {sorted(fields)}"
    return problems


def keeps_its_promises(config: Config) -> None:
    """Said anew, so that a promise that is no longer checked shows."""
    assert 0 < config.policy_timeout < config.open_timeout <= 5
    assert config.close_timeout + 1 < config.shutdown_grace
    assert 0 < config.low_water < config.high_water <= config.max_buffered
    assert config.max_frame_size <= config.max_message_size
    assert config.memory_budget >= max(2 * config.max_buffered, config.threads * 2**20)
    assert 1 <= (config.max_connections_per_address or 1) <= config.max_connections
    if config.ping_interval is not None:
        assert config.write_timeout is not None
        late = max(config.ping_interval + config.ping_timeout, config.write_timeout)
        assert late + config.tick + config.first_retry <= 3 * config.ping_interval + 1e-6
    limits = config.limits()
    assert json.loads(json.dumps(limits, allow_nan=False)) == limits
    assert all(value >= 0 for value in limits.values() if isinstance(value, int | float))
    assert isinstance(config.warnings(), list)


@pytest.mark.parametrize("field", FIELDS)
@bounded(40)
@given(value=anything)
@example(value=10**400)
@example(value=-(10**400))
@example(value=10**5_000)
@example(value="9" * 400 + ".5KiB")
@example(value=timedelta.max)
@example(value=math.nan)
def test_any_value_of_any_field_is_taken_or_told(field: str, value: Any) -> None:
    config_or_problems({field: value})


@bounded(200)
@given(st.dictionaries(st.sampled_from(FIELDS), anything, min_size=2, max_size=6))
def test_any_values_together_are_taken_or_told(fields: dict[str, Any]) -> None:
    config_or_problems(fields)


@bounded(40)
@given(name=st.text(max_size=30))
def test_a_name_that_is_no_field_is_told_with_the_nearest(name: str) -> None:
    assume(name not in FIELDS)
    with pytest.raises(ConfigError, match="is no setting; the nearest is"):
        Config(**{name: 1})  # type: ignore[misc]


WORDS = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=12)
PLAIN = WORDS.filter(lambda word: word.lower() not in {"none", "off"})
TOKENS = st.from_regex(r"[a-z][a-z0-9.-]{0,8}", fullmatch=True).filter(
    lambda name: not name.startswith("bearer.")
)
ORIGINS = st.from_regex(r"https?://[a-z]{1,8}(:[1-9][0-9]{0,3})?", fullmatch=True)
OWN: dict[str, st.SearchStrategy[Any]] = {
    "open_timeout": st.floats(1, 5),
    "policy_timeout": st.floats(0.01, 0.9),
    "close_timeout": st.floats(0.1, 4),
    "shutdown_grace": st.floats(6, 600),
    "ping_interval": st.one_of(st.none(), st.floats(0.01, 600)),
    "ping_timeout": st.none(),
    "write_timeout": st.just(0.005),
    "low_water": st.integers(1, 1_000),
    "high_water": st.integers(1_001, 100_000),
    "max_buffered": st.integers(100_000, 8 * 2**20),
    "max_message_size": st.integers(1_000, 2**48),
    "max_frame_size": st.integers(1, 1_000),
    "memory_budget": st.integers(256 * 2**20, 2**48),
    "max_connections": st.integers(1_000, 2**31),
    "max_connections_per_address": st.integers(1, 1_000),
    "threads": st.integers(1, 256),
    "port": st.integers(1, 30_000),
    "admin_port": st.one_of(st.none(), st.integers(30_001, 65_535)),
    "unix_socket": st.one_of(st.none(), PLAIN.map(lambda name: f"/run/{name}")),
    "origins": st.one_of(st.none(), st.just("*"), st.lists(ORIGINS, min_size=1, max_size=3)),
    "subprotocols": st.lists(TOKENS, unique=True, min_size=1, max_size=3),
    "trusted_proxies": st.lists(
        st.sampled_from(["10.0.0.0/8", "192.0.2.7", "2001:db8::/32", "unix"]), unique=True
    ),
    "token_leeway": st.floats(0, 60),
    "bearer_cookie": TOKENS.filter(lambda name: name not in {"none", "off"}),
}
BY_UNIT = {"seconds": st.floats(0.001, 10_000), "bytes": st.integers(1, 2**48)}
# A callable is no text, and files must be there: not what environment and files could hold of themselves.
WRITABLE = [name for name in FIELDS if name in OWN or UNIT[name] not in {"callable", "path", "paths"}]


def _good(name: str) -> st.SearchStrategy[Any]:
    annotation = str(Config.model_fields[name].annotation)
    if name in OWN:
        return OWN[name]
    if "bool" in annotation:
        return st.booleans()
    if "Literal" in annotation:
        return st.sampled_from(re.findall(r"'(\w+)'", annotation))
    if UNIT[name] in BY_UNIT:
        return BY_UNIT[UNIT[name]]
    return st.integers(1, 2**31) if "int" in annotation else PLAIN


@st.composite
def good_fields(draw: st.DrawFn) -> dict[str, Any]:
    chosen = draw(st.sets(st.sampled_from(WRITABLE), max_size=8))
    return {name: draw(_good(name), label=name) for name in sorted(chosen)}


def _text(value: Any) -> str:
    if value is None:
        return "off"
    return ",".join(value) if isinstance(value, list) else str(value)


def _toml(value: Any) -> str:
    return json.dumps("off" if value is None else value, ensure_ascii=False)


@bounded(100)
@given(fields=good_fields())
def test_keywords_environment_and_file_say_the_same(fields: dict[str, Any], tmp_path: Path) -> None:
    config = config_or_problems(fields)
    if not isinstance(config, Config):
        # Two good values may break a promise together; then they do wherever they stand.
        fields = {}
        config = Config()
    file = tmp_path / "server.toml"
    lines = (
        f"{name} = {json.dumps('off' if value is None else value, ensure_ascii=False)}"
        for name, value in fields.items()
    )
    file.write_text("\n".join(lines), encoding="utf-8")
    variables = {f"STREAMCONDUCTOR_{name.upper()}": _text(value) for name, value in fields.items()}

    assert Config.load(file) == config
    assert config.replace(**fields) == config  # type: ignore[misc]
    with patch.dict(os.environ, variables):
        assert Config() == config


@bounded(15)
@given(fields=good_fields())
@example(fields={"backlog": 2**31})
@example(
    fields={"max_connections": 2**31, "max_pending": 2**31, "max_fragments": 2**31, "max_channels": 2**31}
)
@example(fields={"max_control_rate": 2**31, "max_frame_rate": 2**31, "memory_budget": 2**48})
@example(fields={"idle_timeout": 10 * 365 * 86_400, "max_lag": None, "dwell": 0})
async def test_what_is_accepted_can_be_run(fields: dict[str, Any]) -> None:
    own = {"host": "127.0.0.1", "port": 0, "admin_host": "127.0.0.1", "admin_port": 0, "unix_socket": None}
    config = config_or_problems(fields)
    assume(isinstance(config, Config))
    assert isinstance(config, Config)
    server = sc.Server(config.replace(**own, threads=1))  # type: ignore[misc]
    await server.start()
    try:
        assert await server.publish("any", "thing") == 0
    finally:
        await server.shutdown(0)
