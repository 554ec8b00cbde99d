"""The server that every protocol test speaks to."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import uvloop

from tests.support.servers import Application, LoopFactory, Site

Serve = Callable[..., Site]


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def loop_factory(request: pytest.FixtureRequest) -> LoopFactory:
    """The event loops that are supported."""
    factory: LoopFactory = request.param
    return factory


@pytest.fixture
def serve(loop_factory: LoopFactory) -> Iterator[Serve]:
    """Starts servers; each has a canary that must lose nothing, and must end with an empty pool."""
    with contextlib.ExitStack() as sites:

        def start(application: Application | None = None, **options: Any) -> Site:
            site = Site(application, loop_factory=loop_factory, **options)
            site.start()
            sites.callback(site.stop)
            return site

        yield start


@pytest.fixture
def site(serve: Serve) -> Site:
    """A server with the default settings."""
    return serve()
