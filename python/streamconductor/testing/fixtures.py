"""Receives the servers of somebody's tests · hands out pytest fixtures that run and disturb them · owns what is told of
a test that failed.

    pytest_plugins = ["streamconductor.testing.fixtures"]

The fixtures are plain functions and what they give are context managers, so that they go with pytest-asyncio in either
mode, with anyio's plugin on asyncio, and with ``asyncio.run`` in a plain test.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import pytest

from ..server import Server
from .factories import Chaos, Serve
from .faults import Faults
from .proxy import ChaosProxy
from .serving import Serving, serving

__all__ = ["streamconductor_chaos", "streamconductor_server"]


@pytest.fixture
def streamconductor_server() -> Serve:
    """Runs a server on a free port, in the loop of the test.

    Write ``async with streamconductor_server(server) as site``; `Serving` says what `site` has.
    """
    return serving


@pytest.fixture
def streamconductor_chaos(request: pytest.FixtureRequest) -> Iterator[Chaos]:
    """Puts a `ChaosProxy` in front of a server.

    Write ``async with streamconductor_chaos(site) as proxy``; the parameters are those of `Chaos`.
    What the proxies did is printed when the test is over, so pytest shows it for one that failed.
    """
    proxies: list[ChaosProxy] = []

    def chaos(
        target: Serving | Server | int, *, seed: int | None = None, faults: Faults | None = None
    ) -> ChaosProxy:
        port = target if isinstance(target, int) else target.port
        if seed is None:
            seed = zlib.crc32(f"{request.node.nodeid} {len(proxies)}".encode())
        proxies.append(ChaosProxy("127.0.0.1", port, seed=seed, faults=faults))
        return proxies[-1]

    yield chaos
    for proxy in proxies:
        print(proxy.report())
