"""Receives names of peers · hands out how each is started, or why it cannot be · owns their environments, which are
built below the target directory from what is pinned in `peers/`, and nothing outside it.

`python -m bench.environments` builds all, `python -m bench.environments websockets ws` some.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import ClassVar

HERE = Path(__file__).parent
PEERS = HERE / "peers"


def target() -> Path:
    """Where everything that is built goes."""
    return Path(os.environ.get("CARGO_TARGET_DIR") or HERE.parent / "target").absolute()


class BuildError(Exception):
    """An environment could not be built; says why."""


@dataclass(frozen=True)
class Peer:
    """A server to measure, and how it is had."""

    name: str
    needs: ClassVar[str | None] = None
    """A program without which it cannot be built."""

    @property
    def place(self) -> Path:
        """Its environment."""
        return target() / "bench" / self.name

    def missing(self) -> str | None:
        """Why it cannot be started; None: it can."""
        try:
            built = json.loads((self.place / "built.json").read_text())
        except (OSError, ValueError):
            lacking = self.lacking()
            return lacking or f"its environment is not built: python -m bench.environments {self.name}"
        if built.get("from") != self.digest():
            return f"its environment is out of date: python -m bench.environments {self.name}"
        return None

    def lacking(self) -> str | None:
        """The program that it cannot be built without; None: nothing is lacking."""
        if self.needs is None or shutil.which(self.needs) is not None:
            return None
        return f"{self.needs} is not installed"

    def versions(self) -> dict[str, str]:
        """What is measured, by name."""
        versions: dict[str, str] = json.loads((self.place / "built.json").read_text())["versions"]
        return versions

    def build(self) -> None:
        """Builds its environment unless it is as it should be.

        Raises:
            BuildError: it cannot be built.
        """
        if self.missing() is None:
            return
        if (lacking := self.lacking()) is not None:
            raise BuildError(lacking)
        self.place.mkdir(parents=True, exist_ok=True)
        (self.place / "built.json").unlink(missing_ok=True)
        self.make()
        built = {"from": self.digest(), "versions": self.found()}
        (self.place / "built.json").write_text(json.dumps(built))

    def digest(self) -> str:
        """Changes with whatever the environment is made from."""
        digest = hashlib.sha256()
        for source in sorted(self.sources()):
            digest.update(f"{source.name}\n".encode())
            digest.update(source.read_bytes())
        return digest.hexdigest()

    def sources(self) -> list[Path]:
        """The files that decide what the environment holds."""
        raise NotImplementedError

    def make(self) -> None:
        """Builds it."""
        raise NotImplementedError

    def found(self) -> dict[str, str]:
        """What was built, by name."""
        raise NotImplementedError

    def command(self) -> list[str]:
        """How it is started."""
        raise NotImplementedError

    def variables(self) -> Mapping[str, str]:
        """What its environment variables have beside ours."""
        return {}


@dataclass(frozen=True)
class Ours(Peer):
    """This project, as it is installed for the interpreter that runs the benchmarks."""

    def missing(self) -> str | None:
        for needed in ("streamconductor", "uvloop"):
            if _version(needed) is None:
                return f"{needed} is not installed for {sys.executable}: pip install {needed}"
        return None

    def build(self) -> None:
        if (reason := self.missing()) is not None:
            raise BuildError(reason)

    def versions(self) -> dict[str, str]:
        return {name: found for name in ("streamconductor", "uvloop") if (found := _version(name))}

    def command(self) -> list[str]:
        return [sys.executable, str(PEERS / f"{self.name}_server.py")]


@dataclass(frozen=True)
class Python(Peer):
    """Packages in an environment of their own."""

    shown: tuple[str, ...] = ()
    """The packages whose versions are named beside the figures."""

    @property
    def lock(self) -> Path:
        return PEERS / "requirements" / f"{self.name}.txt"

    @property
    def python(self) -> Path:
        return self.place / "venv" / "bin" / "python"

    def sources(self) -> list[Path]:
        return [self.lock]

    def digest(self) -> str:
        return f"{super().digest()} {sys.version}"

    def make(self) -> None:
        _run(sys.executable, "-m", "venv", "--clear", str(self.place / "venv"))
        words = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes", "-r")
        _run(str(self.python), *words, str(self.lock))

    def found(self) -> dict[str, str]:
        pinned = dict(re.findall(r"^([\w.-]+)==([^\s\\;]+)", self.lock.read_text(), re.M))
        return {name: pinned[name] for name in self.shown}

    def command(self) -> list[str]:
        return [str(self.python), str(PEERS / f"{self.name}_server.py")]


@dataclass(frozen=True)
class Node(Peer):
    """Packages of npm."""

    needs = "npm"

    def sources(self) -> list[Path]:
        return [PEERS / self.name / file for file in ("package.json", "package-lock.json")]

    def make(self) -> None:
        for source in self.sources():
            shutil.copy(source, self.place)
        _run("npm", "ci", "--silent", "--no-audit", "--no-fund", place=self.place)

    def found(self) -> dict[str, str]:
        package = json.loads((self.place / "node_modules" / self.name / "package.json").read_text())
        return {self.name: package["version"], "node": _run("node", "--version").strip().removeprefix("v")}

    def command(self) -> list[str]:
        return ["node", str(PEERS / self.name / "server.js")]

    def variables(self) -> Mapping[str, str]:
        return {"NODE_PATH": str(self.place / "node_modules")}


@dataclass(frozen=True)
class Go(Peer):
    """A program in Go."""

    needs = "go"

    def sources(self) -> list[Path]:
        return [
            path
            for path in (PEERS / self.name).iterdir()
            if path.name.startswith("go.") or path.suffix == ".go"
        ]

    def make(self) -> None:
        _run("go", "build", "-mod=readonly", "-o", str(self.place / self.name), ".", place=PEERS / self.name)

    def found(self) -> dict[str, str]:
        module = re.search(
            rf"^(?:require)?\s*\S*/{self.name} v(\S+)", (PEERS / self.name / "go.mod").read_text(), re.M
        )
        go = _run("go", "env", "GOVERSION").strip().removeprefix("go")
        return {self.name: module[1] if module else "unknown", "go": go}

    def command(self) -> list[str]:
        return [str(self.place / self.name)]


@dataclass(frozen=True)
class Floor(Peer):
    """The loop over epoll in `floor/`."""

    needs = "cargo"
    crate: ClassVar[str] = "streamconductor-bench-floor"

    def sources(self) -> list[Path]:
        return [HERE / "floor" / "Cargo.toml", *(HERE / "floor" / "src").glob("*.rs")]

    def make(self) -> None:
        manifest = HERE.parent / "Cargo.toml"
        words = (
            "build",
            "--locked",
            "--quiet",
            "--release",
            "-p",
            self.crate,
            "--manifest-path",
            str(manifest),
        )
        _run("cargo", *words, "--target-dir", str(target()))
        shutil.copy(target() / "release" / self.crate, self.place)

    def found(self) -> dict[str, str]:
        return {"rustc": _run("rustc", "--version").split()[1]}

    def command(self) -> list[str]:
        return [str(self.place / self.crate)]


OURS = Ours("streamconductor")
ALL: dict[str, Peer] = {
    peer.name: peer
    for peer in (
        OURS,
        Floor("floor"),
        Python("socketify", shown=("socketify",)),
        Python("picows", shown=("picows", "uvloop")),
        Python("websockets", shown=("websockets", "uvloop")),
        Node("ws"),
        Python("aiohttp", shown=("aiohttp", "uvloop")),
        Python("starlette", shown=("starlette", "uvicorn", "uvloop")),
        Python("granian", shown=("granian", "uvloop")),
        Python("python-socketio", shown=("python-socketio", "uvicorn", "uvloop")),
        Go("gws"),
        Go("centrifuge"),
    )
}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _run(*command: str, place: Path | None = None) -> str:
    done = subprocess.run(command, cwd=place, capture_output=True, text=True)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise BuildError(f"{' '.join(command[:4])} …: {' | '.join(said[-5:])}")
    return done.stdout


def main() -> None:
    """Builds environments and says which cannot be built."""
    parser = argparse.ArgumentParser(prog="python -m bench.environments", description=main.__doc__)
    parser.add_argument("peers", nargs="*", metavar="PEER", help=f"which ({', '.join(ALL)}); default: all")
    names = parser.parse_args().peers or list(ALL)
    if unknown := set(names) - set(ALL):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; known are {', '.join(ALL)}")
    for number, name in enumerate(names, 1):
        print(f"[{number}/{len(names)}] {name}", end=" ", flush=True)
        try:
            ALL[name].build()
            print("\N{EN DASH}", ", ".join(f"{what} {which}" for what, which in ALL[name].versions().items()))
        except BuildError as error:
            # The comparison says so, too; it does not fail for want of a peer.
            print(f"\N{EN DASH} !! MISSING: {error}")


if __name__ == "__main__":
    main()
