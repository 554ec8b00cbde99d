"""What a beginner writes wrong is said where it is written."""

from __future__ import annotations

from typing import Any

import pytest

import streamconductor as sc


@pytest.mark.parametrize("call", ["route", "on_message", "on_health"])
def test_a_decorator_without_parentheses_is_an_error_that_says_what_to_write(call: str) -> None:
    server = sc.Server(sc.Config())

    async def function(*_: Any) -> None:
        pass

    with pytest.raises(TypeError, match=rf"write @server\.{call}\('"):
        getattr(server, call)(function)


@pytest.mark.parametrize("config", [8000, {"port": 8000}, "server.toml"])
def test_a_server_takes_a_config_only(config: Any) -> None:
    with pytest.raises(TypeError, match=r"Server\(Config\(port=8000\)\)"):
        sc.Server(config)


@pytest.mark.parametrize("server", [sc.Server, sc.Config()])
def test_run_takes_a_server_only(server: Any) -> None:
    with pytest.raises(TypeError, match="run takes a Server"):
        sc.run(server)


@pytest.mark.parametrize("mark", [0, -1, "0", 2**48 + 1, 10**400, "many"])
def test_the_mark_of_a_channel_is_a_size(mark: Any) -> None:
    with pytest.raises(
        ValueError, match=r"high_water = .* (must be at most 262144GiB|must be above 0|is no size)"
    ):
        sc.Server(sc.Config()).channel("a", high_water=mark)


@pytest.mark.parametrize("pattern", [5, None, ["a"]])
def test_the_pattern_of_a_channel_is_text(pattern: Any) -> None:
    with pytest.raises(TypeError, match="channel needs a str"):
        sc.Server(sc.Config()).channel(pattern)
