"""What the peers of the benchmarks are made from is pinned, and why one cannot be started is said."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench.environments import ALL, PEERS, BuildError, Go, Node, Python
from bench.kernel_memory import of_port
from bench.serving import ServerError, serving, tree

PYTHON = [peer for peer in ALL.values() if isinstance(peer, Python)]


@pytest.mark.parametrize("peer", PYTHON, ids=lambda peer: peer.name)
def test_packages_are_locked_with_hashes(peer: Python) -> None:
    text = peer.lock.read_text().replace("\\\n", " ")
    entries = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    assert entries
    for entry in entries:
        assert re.fullmatch(r"[\w.-]+==\S+( ; [^#]*?)?(\s+--hash=sha256:[0-9a-f]{64})+\s*", entry), entry
    assert set(peer.found()) == set(peer.shown)


def test_packages_of_other_languages_are_locked_too() -> None:
    others = [peer for peer in ALL.values() if isinstance(peer, Node | Go)]
    assert len(others) == 3
    for peer in others:
        locks = {"package-lock.json", "go.sum"} & {source.name for source in peer.sources()}
        assert len(locks) == 1, peer.name
    packages = json.loads((PEERS / "ws" / "package-lock.json").read_text())["packages"]
    assert all("integrity" in package for name, package in packages.items() if name)


def test_one_that_is_not_built_or_built_from_something_else_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CARGO_TARGET_DIR", str(tmp_path))
    peer = ALL["websockets"]
    assert peer.missing() == "its environment is not built: python -m bench.environments websockets"
    peer.place.mkdir(parents=True)
    (peer.place / "built.json").write_text(json.dumps({"from": "another lock", "versions": {}}))
    assert peer.missing() == "its environment is out of date: python -m bench.environments websockets"
    (peer.place / "built.json").write_text(json.dumps({"from": peer.digest(), "versions": {}}))
    assert peer.missing() is None


def test_a_program_that_is_lacking_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARGO_TARGET_DIR", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert ALL["ws"].missing() == "npm is not installed"
    with pytest.raises(BuildError, match="go is not installed"):
        ALL["gws"].build()


class Speaking(Python):
    """A server that says something else than its port."""

    def command(self) -> list[str]:
        return [sys.executable, "-c", "import sys; print('hello'); sys.exit('no port left')"]


def test_a_server_that_does_not_start_says_why() -> None:
    with (
        pytest.raises(ServerError, match="the x server did not start: no port left"),
        serving(Speaking("x"), (), None),
    ):
        pass


def test_a_tree_has_the_children_and_theirs() -> None:
    program = "import subprocess as s; c = s.Popen(['sleep', '60']); print(c.pid, flush=True); c.wait()"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        try:
            assert tree(parent.pid) == [parent.pid, child]
        finally:
            subprocess.run(["kill", str(child)], check=True)


@pytest.mark.skipif(sys.platform != "linux", reason="sock_diag is Linux's")
def test_the_kernels_memory_of_a_port_is_that_of_its_own_side() -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client, listener.accept()[0] as server:
            assert of_port(port) == 0
            server.setblocking(False)
            sent = 0
            try:
                while sent < 1 << 28:
                    sent += server.send(bytes(1 << 16))
            except BlockingIOError:
                pass
            held = {port: of_port(port) for port in (port, client.getsockname()[1])}
            assert held[port] > 1 << 17
            assert sum(held.values()) > sent // 2
