"""The parts of `streamconductor.testing` that need no network: faults, steps, decisions by seed, cuts of writes."""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import re
import socket
import subprocess
import sys
from dataclasses import asdict
from typing import Any

import pytest

import streamconductor as sc
from streamconductor.testing import Changes, Faults, Step, random_steps
from streamconductor.testing.dice import Dice
from streamconductor.testing.flow import Flow


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"latency": -1}, "latency=-1 must be a number at least 0"),
        ({"jitter": float("nan")}, "jitter=nan"),
        ({"bandwidth": float("inf")}, "bandwidth=inf"),
        ({"slicing": 0}, "slicing=0 must be a number at least 1"),
        ({"corruption": 1.5}, "corruption=1.5 must be a number from 0 to 1"),
        ({"corrupt_at": (3, -1)}, "corrupt_at=-1"),
    ],
)
def test_a_fault_that_cannot_be_is_refused(change: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Faults(**change)
    with pytest.raises(ValueError, match=words):
        Step(change=change)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"after": -1}, "after=-1"),
        ({"after_bytes": float("inf")}, "after_bytes=inf"),
        ({"action": "explode"}, "action='explode' must be one of disturb, reset"),
        ({"direction": "sideways"}, "direction='sideways' must be one of upstream, downstream"),
        ({"counted": "sideways"}, "direction='sideways'"),
        ({"scope": "some"}, "scope='some' must be one of all, live, new"),
        ({"action": "half_close"}, "half_close needs a direction"),
    ],
)
def test_a_step_that_cannot_be_is_refused(fields: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Step(**fields)


def test_a_proxy_needs_a_target() -> None:
    with pytest.raises(ValueError, match="target_port=0"):
        sc.testing.ChaosProxy("127.0.0.1")


def test_steps_go_to_json_and_back() -> None:
    steps = random_steps(3, count=30, corruption=True)
    assert [Step(**each) for each in json.loads(json.dumps([asdict(step) for step in steps]))] == steps


def test_a_seed_makes_the_same_steps() -> None:
    assert random_steps(1) == random_steps(1) != random_steps(2)
    steps = random_steps(1, seconds=3, count=5, actions=["reset"])
    assert [step.action for step in steps] == ["reset"] * 5 + ["restore"]
    assert sum(step.after for step in steps) == pytest.approx(3)
    actions = {step.action for seed in range(20) for step in random_steps(seed)}
    assert actions == {"disturb", "reset", "half_close", "refuse", "restore"}
    without = [step for seed in range(20) for step in random_steps(seed)]
    assert not any("corruption" in step.change for step in without)


def test_decisions_differ_by_seed_connection_direction_purpose_and_place() -> None:
    rolls = [
        Dice(seed, connection, direction).roll(purpose, place)
        for seed in (1, 2)
        for connection in (1, 2)
        for direction in sc.testing.faults.DIRECTIONS
        for purpose in ("a", "b")
        for place in (0, 1)
    ]
    assert len(set(rolls)) == 32
    assert all(0 <= roll < 1 for roll in rolls)
    # What was decided once is decided so in every release: a seed in a report is worth something.
    assert Dice(7, 1, "upstream").length(0, 1_000) == LENGTH
    assert {Dice(7, 1, "upstream").bit(place) for place in range(200)} == {1 << bit for bit in range(8)}


LENGTH = 624


class Silent:
    """A flow's connection that does nothing."""

    def __init__(self, allowances: list[int]) -> None:
        self.allowances = allowances

    def allowance(self, _direction: str) -> int:
        return self.allowances[0]

    def passed(self, _direction: str, count: int) -> None:
        if len(self.allowances) > 1:
            self.allowances[0] -= count
            if self.allowances[0] == 0:
                self.allowances.pop(0)

    def swallowed(self, *_: Any) -> None: ...
    def corrupted(self, *_: Any) -> None: ...
    def source_reset(self, *_: Any) -> None: ...
    def sink_reset(self, *_: Any) -> None: ...
    def ended(self, *_: Any) -> None: ...


async def pieces(
    sent: bytes, change: Changes, *, seed: int = 7, allowances: list[int] | None = None
) -> list[bytes]:
    """What is written, write by write: its sink is of packets, which keeps them apart."""
    source, sender = socket.socketpair()
    sink, receiver = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for each in (source, sender, sink, receiver):
        each.setblocking(False)
    loop = asyncio.get_running_loop()
    flow = Flow(
        "upstream",
        source,
        sink,
        faults=Faults(**change),
        dice=Dice(seed, 1, "upstream"),
        watcher=Silent(allowances or [2**40]),
    )
    running = asyncio.create_task(flow.run())
    got = []
    try:
        async with asyncio.timeout(10):
            await loop.sock_sendall(sender, sent)
            sender.shutdown(socket.SHUT_WR)
            while piece := await loop.sock_recv(receiver, 65_536):
                got.append(piece)
    finally:
        running.cancel()
        await asyncio.wait([running])
        for each in (source, sender, sink, receiver):
            each.close()
    assert b"".join(got) == sent
    return got


async def test_slicing_cuts_every_write_where_the_seed_says() -> None:
    sent = os.urandom(3_000)
    got = await pieces(sent, {"slicing": 7})

    assert {len(piece) for piece in got[:-1]} == set(range(1, 8))
    assert got == await pieces(sent, {"slicing": 7})
    assert got != await pieces(sent, {"slicing": 7}, seed=8)
    assert {len(piece) for piece in await pieces(sent, {"slicing": 1})} == {1}
    assert len(await pieces(sent, {})) == 1


async def test_what_else_cuts_moves_no_other_cut() -> None:
    sent = os.urandom(2_000)
    slices = await pieces(sent, {"slicing": 50})
    both = await pieces(sent, {"slicing": 50}, allowances=[333, 2**40])

    assert len(both) == len(slices) + 1
    assert _cuts(both) - _cuts(slices) == {333}


def _cuts(got: list[bytes]) -> set[int]:
    return {sum(map(len, got[:count])) for count in range(len(got) + 1)}


def test_nobody_imports_it_who_does_not_ask() -> None:
    program = """
import sys
import streamconductor as sc
assert "streamconductor.testing" not in sys.modules
assert sc.testing.ChaosProxy.__name__ == "ChaosProxy"
assert "pytest" not in sys.modules
try:
    sc.nothing
except AttributeError as error:
    print(error)
"""
    run = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True)
    assert (run.stdout, run.stderr) == ("module 'streamconductor' has no attribute 'nothing'\n", "")


def test_everything_public_is_described() -> None:
    silent = []
    for name in sc.testing.__all__:
        value = getattr(sc.testing, name)
        if not inspect.isclass(value) and not inspect.isroutine(value):
            continue  # a type's other name
        members = {
            f"{name}.{member}": found
            for member, found in vars(value).items()
            if not member.startswith("_") and (inspect.isroutine(found) or isinstance(found, property))
        }
        for full, found in {name: value, **members}.items():
            silent += [full] if not found.__doc__ else []
            if inspect.isfunction(found):
                given = [each for each in inspect.signature(found).parameters if each != "self"]
                silent += [f"{full}({each})" for each in given if not _is_described(each, found, value)]
    assert silent == []
    assert sc.testing.__all__ == sorted(sc.testing.__all__)


def _is_described(parameter: str, function: Any, owner: Any) -> bool:
    text = f"{function.__doc__}\n{owner.__doc__}"
    return bool(re.search(rf"`{parameter}`|^ +{parameter}: |parameters are the fields of", text, re.M))
