"""Receives the call of `streamconductor` · hands it to the command line's application · owns the answer where
the `[cli]` extra is not installed.
"""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Runs the command line; ends with its exit code: 0, 1 for what failed, 2 for what was asked wrongly."""
    try:
        import rich  # noqa: F401
        import typer  # noqa: F401
    except ImportError as error:
        missing = error.name
        sys.exit(f"streamconductor: the command line needs {missing}: pip install streamconductor[cli]")
    from .application import application

    application(prog_name="streamconductor")
