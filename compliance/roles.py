"""Receives the suite and the cases to play · hands out the result of each · owns our two sides of a case: the server
under test, and the client under test.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import streamconductor as sc

from .results import Results, reported
from .suite import Suite

AGENT = "streamconductor"
PATIENCE = 3_600.0
"""Seconds after which a group of cases hangs. The slowest needs a tenth of it on two cores of their own."""


class Broken(Exception):
    """A program ended without doing what it was started for."""


def config() -> sc.Config:
    """What the cases need beside the defaults: messages of 16 MiB, in frames of 64 bytes, and echoes of them."""
    fields: dict[str, Any] = {
        "port": 0,
        "threads": 1,
        "max_connections": 16,
        "max_message_size": "16MiB",
        "max_fragments": 1 << 18,
        "max_buffered": "17MiB",
        "memory_budget": "2GiB",
        "compression": True,
    }
    return sc.Config(**fields)


@contextlib.asynccontextmanager
async def server() -> AsyncIterator[int]:
    """Our server; its port. It sends back what it gets, through the interface that most applications use."""
    running = sc.Server(config())

    @running.route("/")
    async def echo(connection: sc.Connection[Any]) -> None:
        async for message in connection:
            await connection.send(message)

    async with running:
        yield running.port


async def play_server(suite: Suite, port: int, cases: Sequence[str], folder: Path) -> Results:
    """Has a fuzzing client play cases against our server; its reports go into `folder`."""
    address = {"agent": AGENT, "url": f"ws://127.0.0.1:{port}/"}
    async with _fuzzing(suite, {"servers": [address], "cases": cases}, folder) as (process, _):
        await _ended("the fuzzing client", process)
    return reported(folder)


async def play_client(suite: Suite, load: Path, cases: Sequence[str], folder: Path) -> Results:
    """Has our client, a program, play cases against a fuzzing server; whose reports go into `folder`."""
    async with _fuzzing(suite, {"cases": cases}, folder) as (_, ready):
        client = await asyncio.create_subprocess_exec(
            load,
            "conformance",
            "--port",
            str(ready["port"]),
            "--agent",
            AGENT,
            stdout=asyncio.subprocess.DEVNULL,
        )
        async with _stopped(client):
            await _ended("the client under test", client)
    return reported(folder)


@contextlib.asynccontextmanager
async def _fuzzing(
    suite: Suite, spec: dict[str, Any], folder: Path
) -> AsyncIterator[tuple[asyncio.subprocess.Process, dict[str, Any]]]:
    """A fuzzing peer that is ready, and what it said. What else it says is kept beside its reports."""
    command, environment = suite.fuzzing()
    with _log(folder) as log:
        process = await asyncio.create_subprocess_exec(
            *command,
            env=environment,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
        )
        async with _stopped(process):
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps(spec | {"outdir": str(folder)}).encode() + b"\n")
            line = await asyncio.wait_for(process.stdout.readline(), PATIENCE)
            if not line:
                raise Broken(f"the fuzzing peer did not start; see {folder / 'log.txt'}")
            yield process, json.loads(line)


def _log(folder: Path) -> BinaryIO:
    folder.mkdir(parents=True)
    return (folder / "log.txt").open("wb")


@contextlib.asynccontextmanager
async def _stopped(process: asyncio.subprocess.Process) -> AsyncIterator[None]:
    try:
        yield
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _ended(what: str, process: asyncio.subprocess.Process) -> None:
    try:
        code = await asyncio.wait_for(process.wait(), PATIENCE)
    except TimeoutError:
        raise Broken(f"{what} did not end within {PATIENCE:.0f} s") from None
    if code:
        raise Broken(f"{what} ended with {code}")


def all_cases(suite: Suite) -> list[str]:
    """Every case that the suite has."""
    command, environment = suite.fuzzing()
    found = subprocess.run([*command, "cases"], env=environment, check=True, stdout=subprocess.PIPE)
    names: list[str] = json.loads(found.stdout)
    return names


def in_groups(cases: Iterable[str], sections: Sequence[Sequence[str]]) -> list[list[str]]:
    """The cases by section; each group is played by a process of its own."""
    groups: list[list[str]] = [[] for _ in sections]
    for case in cases:
        section, _, _ = case.partition(".")
        [number] = [number for number, names in enumerate(sections) if section in names]
        groups[number].append(case)
    return [group for group in groups if group]
