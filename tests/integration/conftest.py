"""What the integration tests have in common."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator, Mapping

import pytest
import uvloop

from tests.support.live import close_raw_peers

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loop that they run in: asyncio's, or the one that EVENT_LOOP names; both where a mark says so."""
    if item.get_closest_marker("every_loop"):
        return LOOPS
    name = os.environ.get("EVENT_LOOP", "asyncio")
    if name not in LOOPS:
        raise pytest.UsageError(f"EVENT_LOOP={name}: choose one of {', '.join(LOOPS)}")
    return {name: LOOPS[name]}


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: takes more than ten seconds; deselect with -m 'not slow'")
    config.addinivalue_line("markers", "every_loop: runs in each event loop that is supported")


@pytest.fixture(autouse=True)
def no_socket_is_left() -> Iterator[None]:
    yield
    close_raw_peers()
