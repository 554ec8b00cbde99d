"""H27: no descriptor is left."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from pathlib import Path

import psutil

from tests.support.raw import Peer, Stopwatch, head
from tests.support.servers import eventually

LIMIT = 64


def test_out_of_descriptors_costs_nobody_who_is_in_and_is_over_at_once() -> None:
    command = [sys.executable, str(Path(__file__).with_name("descriptors.py")), str(LIMIT)]
    with (
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process,
        contextlib.ExitStack() as stack,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        stack.callback(process.stdin.close)
        address = ("127.0.0.1", int(process.stdout.readline()))
        measured = psutil.Process(process.pid)

        residents = [stack.enter_context(Peer(address)) for _ in range(5)]
        for peer in residents:
            peer.upgrade()
        crowd = [stack.enter_context(Peer(address)) for _ in range(200)]
        for peer in crowd:
            peer.send(head())
        # All that there are have been given away, and most of the crowd waits in the kernel.
        assert eventually(lambda: measured.num_fds() == LIMIT)

        # Who is in notices nothing, and the process does not spin.
        before, watch = measured.cpu_times(), Stopwatch()
        echoes = 0
        pause = threading.Event()
        while watch.seconds < 1.5:
            for peer in residents:
                peer.echo(f"echo {echoes}")
                echoes += 1
            pause.wait(0.05)
        after = measured.cpu_times()
        spent = after.user + after.system - before.user - before.system
        assert spent / watch.seconds < 0.2, f"{spent:.2f} s of processor time in {watch.seconds:.2f} s"

        # As soon as there are descriptors again, somebody new comes in.
        for peer in crowd:
            peer.close()
        watch = Stopwatch()
        with Peer(address) as late:
            late.upgrade()
            late.echo()
            assert watch.seconds < 1.5, watch.seconds
        for peer in residents:
            peer.echo("still here")
            peer.close()
        process.stdin.close()
        assert process.wait(10) == 0, process.stderr.read()
        # One line a second at most was logged.
        assert len(process.stderr.read().splitlines()) <= 10
