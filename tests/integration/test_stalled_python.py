"""Python stalls, the shards do not: pings, probes and the bound on what is taken go on, and nothing is lost."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

from tests.support.live import text
from tests.support.programs import Program
from tests.support.raw import Peer, head

ROOT = Path(__file__).parents[2]
SECONDS = float(os.environ.get("STALL_SECONDS", "10"))
PEERS = 100


def livez(port: int) -> float:
    """Seconds until `/livez` was answered."""
    began = time.monotonic()
    with Peer(("127.0.0.1", port)) as peer:
        peer.send(head("/livez", [("Host", "localhost")]))
        assert peer.response_head().status == 200
        return time.monotonic() - began


@pytest.mark.slow
@pytest.mark.timeout(90)
@pytest.mark.parametrize("how", ["loop", "gil"])
def test_while_python_is_stalled(how: str) -> None:
    with Program("-m", "tests.support.stalling_server", how, str(SECONDS), cwd=ROOT) as server:
        port = int(server.line(r"port (\d+)")[1])
        with Program("-m", "tests.support.eager_peers", str(port), str(PEERS), "1", cwd=ROOT) as peers:
            peers.line("sending")
            with Peer(("127.0.0.1", port)) as trigger:
                trigger.upgrade("/stall")
                trigger.send(text("now"))
                server.line("stalls")
                peers.send(signal.SIGUSR1)
                probes = []
                end = time.monotonic() + SECONDS - 0.5
                while time.monotonic() < end:
                    probes.append(livez(port))
                    time.sleep(0.05)
                assert "goes on" not in server.output, "the probes fell into the stall"
                server.line("goes on")
            peers.send(signal.SIGTERM)
            report = json.loads(peers.line(r"report (.*)")[1])
        assert report["outcomes"] == ["all"], report
        # None of the first second is counted, nor perhaps the last.
        assert report["pings"] >= SECONDS - 2, report
        assert report["off_schedule"] < 0.25, report
        assert report["held_back"] > SECONDS / 4, "every peer was paused"
        assert max(probes) < 0.1, f"of {len(probes)} probes"
        server.send(signal.SIGKILL)
