"""Fixtures that every kind of test may ask for."""

import os
import shutil
import signal

import pytest

# A shell's background job ignores SIGINT, and so would every program that the tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of the system's Chromium: the variable CHROMIUM, else the first one found on PATH."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if found is None:
        pytest.fail("no Chromium: `make test-python` installs it, or set CHROMIUM to its path")
    return found
