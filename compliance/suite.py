"""Receives nothing but the network · hands out a command that runs Python with Autobahn|Testsuite · owns the suite's
copy below target/, and the difference between what cannot be had and what is broken.

The suite needs CPython 2.7, which Debian carried until bullseye. Its packages are unpacked, not installed, so neither
root nor a container is needed and nothing outside the checkout is written.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

Word = str | Path
"""A word of a command line."""

ROOT = Path(__file__).parents[1]
HERE = Path(__file__).parent
PLACE = ROOT / "target" / "autobahn"

RELEASE = "bullseye"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
SOURCES = Path("/etc/apt")
PACKAGES = [
    "python2.7-minimal",
    "python2.7",
    "libpython2.7-minimal",
    "libpython2.7-stdlib",
    "libpython2.7-dev",
    "libssl1.1",
    "libffi7",
]
TOOLS = HERE / "requirements" / "tools.txt"
REQUIREMENTS = HERE / "requirements" / "suite.txt"


class Unobtainable(Exception):
    """The suite cannot be had here: what it is made of cannot be downloaded."""


class Suite:
    """A complete copy of the suite.

    Attributes:
        environment: what its interpreter needs beside what the process has.
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        self.interpreter = place / "root/usr/bin/python2.7"
        includes = [place / "root/usr/include/python2.7", place / "root/usr/include"]
        self.environment = {
            "LD_LIBRARY_PATH": ":".join(map(str, (place / "root/usr/lib").glob("*-linux-gnu*"))),
            "PYTHONHOME": str(place / "root/usr"),
            "PYTHONPATH": str(place / "site"),
            "PYTHONDONTWRITEBYTECODE": "1",
            "C_INCLUDE_PATH": ":".join(map(str, includes)),
        }

    def python(self, *arguments: str | Path) -> None:
        """Runs the interpreter to its end."""
        _run([self.interpreter, *arguments], self.environment)

    def fuzzing(self) -> tuple[Sequence[str], Mapping[str, str]]:
        """The command, and the environment, of `fuzzing.py`."""
        return [str(self.interpreter), str(HERE / "fuzzing.py")], os.environ | self.environment


def obtain() -> Suite:
    """The suite, from the copy below target/ if there is one.

    Raises:
        Unobtainable: something it needs cannot be downloaded here.
        subprocess.CalledProcessError: what was downloaded cannot be put together.
    """
    stamp = PLACE / "stamp"
    if not (stamp.exists() and stamp.read_text() == _recipe()):
        # A copy that was cut short is no copy, so it is made from the start.
        shutil.rmtree(PLACE, ignore_errors=True)
        print(f"== obtaining Autobahn|Testsuite into {PLACE}", flush=True)
        _make(PLACE)
        stamp.write_text(_recipe())
    return Suite(PLACE)


def _recipe() -> str:
    """What a copy is made from: a copy made from something else is out of date."""
    parts = [Path(__file__).read_bytes(), TOOLS.read_bytes(), REQUIREMENTS.read_bytes()]
    return hashlib.sha256(b"\0".join([str(PLACE).encode(), *parts])).hexdigest()


def _make(place: Path) -> None:
    _unpack_interpreter(place)
    suite = Suite(place)
    wheels = place / "wheels"
    # The last tools that run under Python 2.7. This interpreter's pip fetches them; from then on they fetch the rest.
    pip: list[Word] = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    fetch: list[Word] = ["download", "-q", "--no-deps", "--python-version", "2.7", "--only-binary", ":all:"]
    _download([*pip, *fetch, "--require-hashes", "-d", wheels, "-r", TOOLS])
    [tool] = wheels.glob("pip-*.whl")
    pip2: list[Word] = [
        suite.interpreter,
        f"{tool}/pip",
        "--disable-pip-version-check",
        "--no-python-version-warning",
    ]
    install: list[Word] = ["install", "-q", "--no-index", "--find-links", wheels, "--target", place / "site"]
    suite.python(*pip2[1:], *install, "setuptools", "wheel")
    fetch = ["download", "-q", "--no-deps", "--no-build-isolation", "--prefer-binary", "--no-cache-dir"]
    _download([*pip2, *fetch, "--require-hashes", "-d", wheels, "-r", REQUIREMENTS], suite.environment)
    suite.python(*pip2[1:], *install, "--upgrade", "--no-deps", "--no-build-isolation", "-r", REQUIREMENTS)
    # A namespace package of which the tools leave the root out when they install into a directory.
    (place / "site/zope/__init__.py").touch()
    suite.python("-c", "import autobahntestsuite.fuzzing")
    for name in ("lists", "cache", "packages", "wheels"):
        shutil.rmtree(place / name)


def _unpack_interpreter(place: Path) -> None:
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        raise Unobtainable("Python 2.7 comes from Debian's packages, and apt-get or dpkg is not on PATH")
    if not KEYRING.exists():
        raise Unobtainable(f"{KEYRING} is not there, so Debian's packages cannot be verified")
    for name in ("lists/partial", "cache/archives/partial", "root", "packages"):
        (place / name).mkdir(parents=True)
    mirror = _mirror()
    (place / "sources.list").write_text(
        f"deb [signed-by={KEYRING}] {mirror} {RELEASE} main\n"
        f"deb [signed-by={KEYRING}] {mirror}-security {RELEASE}-security main\n"
    )
    (place / "status").touch()
    # An apt of its own, which knows of no other source and of no installed package.
    apt: list[Word] = ["apt-get", "-qq"]
    for option in (
        f"Dir::Etc::sourcelist={place}/sources.list",
        "Dir::Etc::sourceparts=/dev/null",
        f"Dir::State::lists={place}/lists",
        f"Dir::State::status={place}/status",
        f"Dir::Cache={place}/cache",
        # Else apt wants the directory to be readable by a user of its own.
        "APT::Sandbox::User=root",
        "Acquire::Retries=2",
    ):
        apt += ["-o", option]
    _download([*apt, "-o", "APT::Update::Error-Mode=any", "update"])
    _download([*apt, "download", *PACKAGES], folder=place / "packages")
    for package in sorted((place / "packages").glob("*.deb")):
        _run(["dpkg", "-x", package, place / "root"])


def _mirror() -> str:
    """The machine's own mirror of Debian, which its administrator has chosen; else Debian's."""
    files = [SOURCES / "sources.list", *sorted((SOURCES / "sources.list.d").glob("*"))]
    text = "\n".join(file.read_text() for file in files if file.is_file())
    found = re.search(r"^(?:URIs:|deb\s).*?(https?://\S+/debian)(?=/?\s|/?$)", text, re.M)
    return found[1] if found else "http://deb.debian.org/debian"


def _run(command: Sequence[Word], environment: Mapping[str, str] | None = None) -> None:
    subprocess.run(command, check=True, env=os.environ | dict(environment or {}), stdin=subprocess.DEVNULL)


def _download(
    command: Sequence[Word], environment: Mapping[str, str] | None = None, folder: Path | None = None
) -> None:
    found = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | dict(environment or {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if found.returncode:
        lines = [line for line in found.stderr.splitlines() if line.strip()]
        raise Unobtainable("\n".join([" ".join(map(str, command)), *lines[-5:]]))
