"""Connections that this process opens: receives a URL · hands out `connect` · owns nothing itself."""

from .connect import connect

__all__ = ["connect"]
