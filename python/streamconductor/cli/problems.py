"""Receives what stops a command · hands out the lines that say so, and the exit code · owns that nobody sees a
traceback for a mistake of theirs.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from ..errors import ConfigError, StreamConductorError

__all__ = ["Problem", "told_in_one_line"]

logger = logging.getLogger("streamconductor.cli")

FAILED, ASKED_WRONGLY = 1, 2


class Problem(Exception):
    """Something that the person at the terminal can mend; the text says what and how."""


@contextmanager
def told_in_one_line(log_format: str = "text") -> Iterator[None]:
    """Turns errors into lines on standard error, or log records where logs are JSON, and an exit code."""
    try:
        yield
    except ConfigError as error:
        _tell(error.problems, log_format)
        raise typer.Exit(ASKED_WRONGLY) from None
    except Problem as error:
        _tell([str(error)], log_format)
        raise typer.Exit(ASKED_WRONGLY) from None
    except (StreamConductorError, OSError, RuntimeError, ValueError) as error:
        # At level debug the way there is told, too.
        logger.debug("the command failed", exc_info=error)
        _tell([" ".join(str(error).split()) or type(error).__name__], log_format)
        raise typer.Exit(FAILED) from None


def _tell(lines: list[str] | tuple[str, ...], log_format: str) -> None:
    for line in lines:
        if log_format == "json":
            logger.critical("%s", line)
        else:
            print(f"streamconductor: {line}", file=sys.stderr)
