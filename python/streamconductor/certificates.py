"""Receives the names of a server's certificate files · has the native half read them anew when they change · owns
when that is, and what is said of it.

Modification times are compared and no notification of the file system is asked for: those do not tell of a secret that
Kubernetes replaces behind a symbolic link, nor of what changes on a network file system.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import ConfigError

if TYPE_CHECKING:
    from .config import Config

__all__ = ["Certificates", "paths", "tls_setting"]

logger = logging.getLogger("streamconductor.certificates")

# Seconds between two looks. A change is taken when two looks found the same: certificate and key are seldom written
# at once, and half of a pair is only an error. Two of them are less than a second.
_PERIOD = 0.4

_Seen = tuple[tuple[int, int, int] | None, ...]


def paths(value: object) -> object:
    """A path, several, or text of several with commas, as a sequence of paths."""
    if isinstance(value, str):
        return [name.strip() for name in value.split(",") if name.strip()]
    return [value] if isinstance(value, os.PathLike) else value


def tls_setting(config: Config) -> dict[str, Any] | None:
    """What the native half takes of it; None: no TLS."""
    if config.tls_certificate is None:
        return None
    return {
        "certificates": config.tls_certificate,
        "keys": config.tls_key,
        "authorities": config.tls_client_authorities,
        "requires_client": config.tls_require_client_certificate,
    }


class Certificates:
    """Looks at the files of a running server, for as long as it runs.

    Args:
        config: names the files; without TLS there is nothing to look at.
        read: has the native half read them; raises ConfigError when it cannot use them.
    """

    def __init__(self, config: Config, read: Callable[[], None]) -> None:
        names = [*(config.tls_certificate or ()), *(config.tls_key or ()), config.tls_client_authorities]
        self._files = [name for name in names if name is not None] if config.tls_certificate else []
        self._read = read
        # Before the native half reads them for the first time, so that no change falls in between.
        self._known = self._look()
        self._task: asyncio.Task[None] | None = None

    def start(self, group: asyncio.TaskGroup) -> None:
        """Begins to look."""
        if self._files:
            self._task = group.create_task(self._watch(), name="watch of the certificates")

    def stop(self) -> None:
        """Looks no more."""
        if self._task is not None:
            self._task.cancel()

    def reload(self) -> None:
        """Has the files read, changed or not.

        Raises:
            ConfigError: they cannot be used, and what was in force stays.
        """
        self._known = self._look()
        self._read()

    async def _watch(self) -> None:
        before = self._known
        while True:
            await asyncio.sleep(_PERIOD)
            # Off the loop: a file system may be slow.
            seen = await asyncio.to_thread(self._look)
            if seen != self._known and seen == before:
                try:
                    await asyncio.to_thread(self.reload)
                except ConfigError as error:
                    logger.error("the certificates stay as they are: %s", error)
                else:
                    logger.info("the certificates have been read anew, as their files have changed")
            before = seen

    def _look(self) -> _Seen:
        return tuple(map(_state, self._files))


def _state(file: Path) -> tuple[int, int, int] | None:
    try:
        found = file.stat()
    except OSError:
        # Deleted, or about to be replaced.
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size
