"""The server that the requirements are tried against."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.servers import Application, Site

Serve = Callable[..., Site]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts servers; each has a canary that must lose nothing, and must end with an empty pool."""
    with contextlib.ExitStack() as sites:

        def start(application: Application | None = None, **options: Any) -> Site:
            site = Site(application, **options)
            site.start()
            sites.callback(site.stop)
            return site

        yield start


@pytest.fixture
def site(serve: Serve) -> Site:
    """A server with the default settings, and `/echo`."""
    return serve()
