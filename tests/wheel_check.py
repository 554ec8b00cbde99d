"""Run by `make wheel` inside a clean environment into which nothing but the wheel was installed.

Receives no argument · prints what it found · fails the target by raising.
"""

import importlib.metadata
import sys
from pathlib import Path

import streamconductor
from streamconductor import _core


def check_installation() -> None:
    """The package comes from the environment, with its typing marker and a stable-ABI extension."""
    package = Path(streamconductor.__file__).parent
    assert package.is_relative_to(Path(sys.prefix).resolve()), f"imported from elsewhere: {package}"
    module = Path(_core.__file__).name
    assert module.endswith((".abi3.so", ".pyd")), f"not a stable-ABI module: {module}"
    for name in ("py.typed", "_core.pyi"):
        assert (package / name).is_file(), f"the wheel lacks {name}"
    assert streamconductor.__version__ == importlib.metadata.version("streamconductor")


if __name__ == "__main__":
    check_installation()
    print(f"streamconductor {streamconductor.__version__} works on Python {sys.version.split()[0]}")
