"""The extension module: the native half of StreamConductor, without a promise of stability of its own."""

from typing import Final

__all__ = ["__version__"]

__version__: Final[str]
