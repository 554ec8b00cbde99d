"""Receives exceptions of the application's functions · hands a bounded number a second to `logging` · owns the count
of those left out.
"""

from __future__ import annotations

import logging
import time

__all__ = ["RateLimited"]


class RateLimited:
    """Logs at most `rate` exceptions a second, and says with the next second's first how many were left out."""

    def __init__(self, logger: logging.Logger, rate: int = 10) -> None:
        self._logger = logger
        self._rate = rate
        self._second = 0
        self._count = 0
        self._left_out = 0

    def exception(self, message: str, *arguments: object, error: BaseException) -> None:
        """Logs an exception with its traceback."""
        second = int(time.monotonic())
        if second != self._second:
            if self._left_out:
                self._logger.error("%d more exceptions were not logged", self._left_out)
            self._second, self._count, self._left_out = second, 0, 0
        self._count += 1
        if self._count > self._rate:
            self._left_out += 1
        else:
            self._logger.error(message, *arguments, exc_info=error)
