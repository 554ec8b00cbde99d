"""Ten thousand connections come and go, and nothing of them is left."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.support.programs import Program, ended
from tests.support.servers import eventually

ROOT = Path(__file__).parents[2]


def counts(server: Program) -> dict[str, Any]:
    """What the server finds left."""
    before = len(server.output)
    server.send(signal.SIGUSR1)
    found: dict[str, Any] = json.loads(server.line(r"counts (.*)", after=before)[1])
    return found


def come_and_go(server: Program, port: str, count: int, total: int) -> dict[str, Any]:
    code, lines = ended("-m", "tests.support.many_peers", port, str(count), cwd=ROOT)
    assert (code, lines) == (0, [f"open {count}", "closed"])

    def is_settled() -> bool:
        found = counts(server)
        return found["closed"] == total and not found["occupied"] and not found["pending"]

    assert eventually(is_settled, 15), str(counts(server))
    return counts(server)


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_nothing_is_left_of_ten_thousand_connections() -> None:
    with Program("-m", "tests.support.counting_server", cwd=ROOT) as server:
        port = server.line(r"port (\d+)")[1]
        # Whatever is made once and kept is made by the first thousand.
        before = come_and_go(server, port, 1_000, 1_000)
        after = come_and_go(server, port, 10_000, 11_000)
        for name in ("alive", "contexts", "occupied", "channels", "known"):
            assert after[name] == 0, (name, after)
        assert after["descriptors"] == before["descriptors"]
        assert after["tasks"] == before["tasks"]
        # A block for every tenth connection would be twice that; tables that have grown are a block each, and CPython
        # keeps up to 255 objects of a kind for the next ones.
        assert after["blocks"] - before["blocks"] < 500, (before, after)
        assert after["memory"] < 2**20
        server.send(signal.SIGKILL)
