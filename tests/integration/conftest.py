"""What the integration tests have in common."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.live import close_raw_peers


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: takes more than ten seconds; deselect with -m 'not slow'")


@pytest.fixture(autouse=True)
def no_socket_is_left() -> Iterator[None]:
    yield
    close_raw_peers()
