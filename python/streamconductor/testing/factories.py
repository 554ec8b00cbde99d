"""Receives nothing · hands the types of the fixtures to whoever annotates a test · owns how the fixtures are called.

Apart from the fixtures themselves, because pytest must be the first who imports those.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Protocol

from ..server import Server
from .faults import Faults
from .proxy import ChaosProxy
from .serving import Serving

__all__ = ["Chaos", "Serve"]


class Serve(Protocol):
    """What the fixture `streamconductor_server` is."""

    def __call__(self, server: Server, *, grace: float = 1.0) -> AbstractAsyncContextManager[Serving]:
        """As `serving`: a server that runs while the block does.

        Args:
            server: one that does not run.
            grace: seconds that connections have for their end.
        """


class Chaos(Protocol):
    """What the fixture `streamconductor_chaos` is."""

    def __call__(
        self, target: Serving | Server | int, *, seed: int | None = None, faults: Faults | None = None
    ) -> ChaosProxy:
        """A proxy, to be entered.

        Args:
            target: what runs, or a port of 127.0.0.1.
            seed: as in `ChaosProxy`; `None`: the test's own, always the same for a test of that name.
            faults: as in `ChaosProxy`.
        """
