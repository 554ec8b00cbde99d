"""Conduct WebSocket streams from a Python backend to browsers."""

from streamconductor._core import __version__

__all__ = ["__version__"]
