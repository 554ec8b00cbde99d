"""The fixtures of `streamconductor.testing.fixtures` in other people's test suites, whatever runs their coroutines."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.programs import ended

SUITE = """
import asyncio
import pytest
import streamconductor as sc
from websockets.asyncio.client import connect

pytest_plugins = ["streamconductor.testing.fixtures"]
server = sc.Server(sc.Config(max_connections=10, memory_budget="64MiB"))

@server.route("/echo")
async def echo(connection):
    async for message in connection:
        await connection.send(message)

async def speak(streamconductor_server, streamconductor_chaos):
    async with streamconductor_server(server) as site, streamconductor_chaos(site) as proxy:
        proxy.disturb(slicing=2)
        async with connect(proxy.url("/echo"), proxy=None) as client:
            await client.send("hello")
            assert await client.recv() == EXPECTED

EXPECTED = "hello"
"""

COROUTINE = """
async def test_speak(streamconductor_server, streamconductor_chaos):
    await speak(streamconductor_server, streamconductor_chaos)
"""
PLAIN = """
def test_speak(streamconductor_server, streamconductor_chaos):
    asyncio.run(speak(streamconductor_server, streamconductor_chaos))
"""
PYTEST_ASYNCIO = ("-p", "asyncio", "-o", "asyncio_default_fixture_loop_scope=function")
ANYIO = """
@pytest.fixture
def anyio_backend():
    return "asyncio"

pytestmark = pytest.mark.anyio
"""


def run(tmp_path: Path, text: str, *options: str) -> tuple[int, str]:
    path = tmp_path / "test_suite.py"
    path.write_text(text)
    # Of no project, and without the plugins that happen to be installed, so that nothing counts but these options.
    command = ("-m", "pytest", "-W", "error", "-p", "no:cacheprovider", *options, str(path))
    code, output = ended(*command, cwd=tmp_path, environment={"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"})
    return code, "\n".join(output)


@pytest.mark.parametrize(
    ("text", "options"),
    [
        pytest.param(COROUTINE, (*PYTEST_ASYNCIO, "-o", "asyncio_mode=auto"), id="pytest-asyncio, auto"),
        pytest.param(
            "pytestmark = pytest.mark.asyncio" + COROUTINE,
            (*PYTEST_ASYNCIO, "-o", "asyncio_mode=strict"),
            id="pytest-asyncio, strict",
        ),
        pytest.param(ANYIO + COROUTINE, ("-p", "anyio"), id="anyio"),
        pytest.param(PLAIN, (), id="asyncio.run"),
    ],
)
def test_they_go_with(text: str, options: tuple[str, ...], tmp_path: Path) -> None:
    code, output = run(tmp_path, SUITE + text, *options)

    assert code == 0, output
    assert "1 passed" in output
    assert "ChaosProxy" not in output, "what was done is of no interest"


def test_of_a_failure_the_report_is_shown_and_its_seed_is_the_tests_own(tmp_path: Path) -> None:
    text = SUITE.replace('EXPECTED = "hello"', 'EXPECTED = "good bye"') + PLAIN
    text += PLAIN.replace("test_speak", "test_speak_too")
    reports = []
    for _ in range(2):
        code, output = run(tmp_path, text)
        assert code == 1, output
        # As a note of the error, and printed for what fails outside of the block.
        assert len(re.findall(r"^E +ChaosProxy in front of .*, seed=\d+$", output, re.M)) == 2
        # With the variable CI set pytest repeats it in its summary.
        assert len(set(re.findall(r"^ChaosProxy in front of .*, seed=\d+$", output, re.M))) == 2
        assert "slicing=2 for all connections" in output
        reports.append(sorted(set(re.findall(r"^ChaosProxy in front of .*, seed=(\d+)$", output, re.M))))
    assert reports[0] == reports[1]
    assert len(set(reports[0])) == 2
