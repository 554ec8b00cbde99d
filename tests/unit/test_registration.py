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
