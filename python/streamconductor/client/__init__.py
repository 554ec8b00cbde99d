"""Connections that this process opens: `connect`."""

from .connect import connect

__all__ = ["connect"]
