"""There is one version: Cargo's, the module's, the package's and the distribution's."""

import importlib.metadata
import tomllib
from pathlib import Path

import streamconductor
from streamconductor import _core


def test_one_version_everywhere() -> None:
    manifest = tomllib.loads((Path(__file__).parents[2] / "Cargo.toml").read_text())
    version = manifest["workspace"]["package"]["version"]

    assert _core.__version__ == version
    assert streamconductor.__version__ == version
    assert importlib.metadata.version("streamconductor") == version
