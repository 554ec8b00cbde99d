"""What the documents say is true: samples run and have the types they claim, tables are those of `Config`, commands
and links exist.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.support.documents import DOCUMENTS, ROOT, Sample, commands, links, samples, with_tables
from tests.support.programs import Program, ended

# Has the sample's server tell its port, and leaves all else to the sample; one that ends with a `main` that nobody
# calls is called.
RUNNER = """
import asyncio, runpy, signal, sys
import streamconductor as sc

start, started = sc.Server.start, []

async def start_and_tell(server):
    await start(server)
    started.append(server)
    print("listening on", server.port)

async def until_told(main):
    task = asyncio.ensure_future(main())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    await asyncio.wait([task])
    if not task.cancelled():
        task.result()

sc.Server.start = start_and_tell
names = runpy.run_path(sys.argv[1], run_name="__main__")
if not started:
    asyncio.run(until_told(names["main"]))
"""

SAMPLES = list(samples("python"))
TESTS = re.compile(r"^(?:async )?def test_", re.M)
SERVING = re.compile(r"^\s*(?:sc\.run\(|await \w+\.serve_forever\(|asyncio\.run\()", re.M)


def _written(sample: Sample, directory: Path) -> Path:
    """The sample as a program that listens on a port of the system's choice."""
    path = directory / "sample.py"
    path.write_text(re.sub(r"\b(port=|, )8\d{3}\b", r"\g<1>0", sample.text))
    return path


@contextmanager
def _served(sample: Sample, directory: Path) -> Iterator[str]:
    """The sample while it runs; it must end by SIGTERM with nothing to complain about."""
    arguments = ("-W", "error", "-c", RUNNER, str(_written(sample, directory)))
    with Program(*arguments, cwd=directory, environment={"STREAMCONDUCTOR_PORT": "0"}) as program:
        port = program.line(r"^listening on (\d+)$")[1]
        yield f"ws://127.0.0.1:{port}"
        program.send(signal.SIGTERM)
        assert program.wait() == 0, program.output
        # That warning depends on the memory of the machine.
        rest = [line for line in program.output if not line.startswith("if every one of max_connections")]
        assert rest == [f"listening on {port}"]


def _sample(word: str) -> Sample:
    """The one sample of the README that has this word."""
    [found] = [sample for sample in SAMPLES if sample.place.startswith("README") and word in sample.text]
    return found


@pytest.mark.parametrize("sample", SAMPLES, ids=[sample.place for sample in SAMPLES])
def test_a_sample_runs(sample: Sample, tmp_path: Path) -> None:
    if sample.reason is not None:
        pytest.skip(f"{sample.place} is not run: {sample.reason}")
    if TESTS.search(sample.text):
        plugins = ("-p", "no:cacheprovider", "-p", "asyncio", "-p", "timeout")
        command = (
            "-m",
            "pytest",
            "-c",
            str(ROOT / "pyproject.toml"),
            *plugins,
            str(_written(sample, tmp_path)),
        )
        environment = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        code, output = ended(*command, cwd=tmp_path, environment=environment)
        assert code == 0, "\n".join(output)
        assert re.search(r"^=+ 1 passed in ", output[-1])
    elif SERVING.search(sample.text):
        with _served(sample, tmp_path):
            pass
    else:
        assert ended("-W", "error", str(_written(sample, tmp_path)), cwd=tmp_path) == (0, [])


def test_samples_have_the_types_they_claim(tmp_path: Path) -> None:
    for number, sample in enumerate(SAMPLES):
        (tmp_path / f"sample_{number}.py").write_text(f"# {sample.place}\n{sample.text}")
    # Samples for people who come from elsewhere are not annotated; what they call is checked all the same.
    options = ("--strict", "--allow-untyped-defs", "--allow-untyped-calls", "--allow-untyped-decorators")
    command = [sys.executable, "-m", "mypy", *options, *map(str, sorted(tmp_path.glob("*.py")))]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    assert run.returncode == 0, run.stdout + run.stderr


# What the samples of the README promise.


def test_everybody_in_a_room_hears_and_nobody_else(tmp_path: Path) -> None:
    with (
        _served(_sample("/rooms/{room}"), tmp_path) as url,
        connect(f"{url}/rooms/a") as ada,
        connect(f"{url}/rooms/a") as bob,
        connect(f"{url}/rooms/b") as eve,
    ):
        # What comes back to its sender says that the subscription is there.
        for someone in (bob, eve):
            someone.send("here")
            assert someone.recv(5) == "here"
        ada.send("hello")
        assert bob.recv(5) == "hello"
        eve.send("alone")
        assert eve.recv(5) == "alone"


def test_who_has_a_token_may_order_and_hears_of_it(tmp_path: Path) -> None:
    with _served(_sample("on_connect\nasync def admit"), tmp_path) as url:
        with pytest.raises(InvalidStatus) as refused, connect(f"{url}/orders"):
            pass
        assert refused.value.response.status_code == 401

        order = {"article": "tea", "pieces": 2}
        with _authorized(url) as ada:
            ada.send(json.dumps(order))
            assert json.loads(ada.recv(5)) == order
        for message, code in (('{"article": "tea"}', 1007), (b"tea", 1003)):
            with _authorized(url) as ada:
                ada.send(message)
                with pytest.raises(ConnectionClosedError) as ended:
                    ada.recv(5)
                assert ended.value.rcvd is not None
                assert ended.value.rcvd.code == code


def _authorized(url: str) -> ClientConnection:
    return connect(f"{url}/orders", additional_headers={"Authorization": "Bearer a-token"})


def test_prices_go_out(tmp_path: Path) -> None:
    with _served(_sample("server.push"), tmp_path) as url, connect(f"{url}/prices") as reader:
        seen = {pair for _ in range(4) for pair in json.loads(reader.recv(5))}

        assert seen == {"EURUSD", "EURGBP"}


# What else the documents say.


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_tables_are_those_of_the_configuration(document: Path) -> None:
    """``python -m tests.support.documents`` writes them."""
    text = document.read_text()

    assert text == with_tables(text)


def test_readme_has_a_table_and_the_reference_all_fields() -> None:
    assert "| `max_connections` | 10,000 |" in (ROOT / "README.md").read_text()
    assert "<!-- limits: all -->" in (ROOT / "docs/configuration.md").read_text()


def test_make_knows_every_target_that_is_named() -> None:
    targets = set(re.findall(r"^([a-z][\w-]*):(?!=)", (ROOT / "Makefile").read_text(), re.M))
    named = list(commands("make"))

    assert {("README.md", "serve"), ("README.md", "test"), ("CONTRIBUTING.md", "test")} <= set(named)
    assert [(document, target) for document, target in named if target not in targets] == []


def test_the_command_line_knows_every_command_that_is_named(tmp_path: Path) -> None:
    code, lines = ended("-m", "streamconductor", "--help", cwd=tmp_path)
    known = set(re.findall(r"^ {2,}(\w+)", "\n".join(lines), re.M))

    assert code == 0
    assert [named for named in commands("streamconductor") if named[1] not in known] == []


def test_every_link_leads_somewhere() -> None:
    assert [
        (str(document), target) for document, target in links() if not (document.parent / target).exists()
    ] == []
