"""The command line's parts that need no server: options, settings, loading, logs, the diagram."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import streamconductor as sc
from streamconductor import _core
from streamconductor.cli.application import application
from streamconductor.cli.gateway import _subscribe
from streamconductor.cli.hangup import reread
from streamconductor.cli.lifecycle import Form, lifecycle
from streamconductor.cli.loading import load_server
from streamconductor.cli.logs import JsonLines
from streamconductor.cli.options import setting_parameters
from streamconductor.cli.problems import Problem
from streamconductor.cli.reload import program_files
from streamconductor.cli.settings import Settings, keywords_of, written

# Options.


def test_every_setting_is_an_option_but_for_callables() -> None:
    names = {parameter.name for parameter in setting_parameters()}
    assert names == set(sc.Config.model_fields) - {"encoder"}


def test_help_names_a_setting_with_its_unit_and_default() -> None:
    result = CliRunner().invoke(application, ["serve", "--help"])
    assert result.exit_code == 0
    words = " ".join(result.output.split())
    assert (
        "--high-water SIZE Pending bytes of a connection that are nobody's concern. Default: 64 KiB." in words
    )


# Settings.


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "settings.toml"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in sc.Config.model_fields:
        monkeypatch.delenv(f"STREAMCONDUCTOR_{name.upper()}", raising=False)
    return monkeypatch


def test_the_order_of_sources(file: Path, environment: pytest.MonkeyPatch) -> None:
    file.write_text("max_channels = 1\nmax_pending = 1\nmax_fragments = 1\nmax_control_rate = 1\n")
    environment.setenv("STREAMCONDUCTOR_MAX_CHANNELS", "2")
    environment.setenv("STREAMCONDUCTOR_MAX_PENDING", "2")
    environment.setenv("STREAMCONDUCTOR_MAX_FRAGMENTS", "2")
    program = sc.Config(max_channels=3, max_pending=3)
    config = Settings(file, {"max_channels": "4"}, program).read()
    found = (config.max_channels, config.max_pending, config.max_fragments, config.max_control_rate)
    assert found == (4, 3, 2, 1)
    assert config.max_connections == 10_000


def test_a_variable_that_the_program_read_is_read_anew(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("STREAMCONDUCTOR_IDLE_TIMEOUT", "1m")
    program = sc.Config(max_pending=3)
    settings = Settings(None, {}, program)
    environment.setenv("STREAMCONDUCTOR_IDLE_TIMEOUT", "2m")
    environment.setenv("STREAMCONDUCTOR_MAX_PENDING", "4")
    config = settings.read()
    assert (config.idle_timeout, config.max_pending) == (120, 3)


def test_keywords_are_told_from_variables(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("STREAMCONDUCTOR_HIGH_WATER", "128KiB")
    environment.setenv("STREAMCONDUCTOR_LOW_WATER", "3MiB")
    assert keywords_of(sc.Config(low_water="8KiB", idle_timeout=None)) == {
        "low_water": 8192,
        "idle_timeout": None,
    }


def test_off_is_none() -> None:
    config = Settings(None, {"idle_timeout": "off", "ping_interval": "None"}).read()
    assert (config.idle_timeout, config.ping_interval) == (None, None)


def test_a_fallback_precedes_the_default_only(file: Path) -> None:
    file.write_text('admin_port = "off"\n')
    assert Settings(None, {}, fallback={"admin_port": 8001}).read().admin_port == 8001
    assert Settings(None, {"admin_port": "9001"}, fallback={"admin_port": 8001}).read().admin_port == 9001
    assert Settings(file, {}, fallback={"admin_port": 8001}).read().admin_port is None


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("high_water", 65536, "64KiB"),
        ("idle_timeout", 90, "90s"),
        ("idle_timeout", None, "off"),
        ("max_connections", 5, "5"),
        ("subprotocols", ["a", "b"], "a, b"),
        ("admin_token", "secret", "(hidden)"),
    ],
)
def test_values_as_people_write_them(name: str, value: Any, text: str) -> None:
    fields: Any = {name: value}
    assert written(sc.Config(**fields), name) == text


# SIGHUP.


class Reconfigured:
    """A server as `reread` needs it."""

    def __init__(self, config: sc.Config) -> None:
        self.config = config
        self.asked: list[dict[str, Any]] = []

    def reconfigure(self, **fields: Any) -> None:
        self.asked.append(fields)
        self.config = self.config.replace(**fields)


def hang_up(file: Path, text: str, **command_line: str) -> Reconfigured:
    file.write_text("max_connections = 10\n")
    settings = Settings(file, command_line)
    server: Any = Reconfigured(settings.read())
    file.write_text(text)
    reread(server, settings)
    return server  # type: ignore[no-any-return]


def test_what_changed_is_taken_and_logged(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    server = hang_up(file, 'max_connections = 20\nidle_timeout = "1m"\nport = 9\n')
    assert server.asked == [{"max_connections": 20, "idle_timeout": 60}]
    assert caplog.messages == [
        "max_connections: 10 is now 20",
        "idle_timeout: 3600s is now 60s",
        "port cannot change while the server runs; restart it",
    ]


def test_a_line_that_is_gone_is_the_default_again(file: Path) -> None:
    assert hang_up(file, "").asked == [{"max_connections": 10_000}]


def test_the_command_line_still_precedes_the_file(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert hang_up(file, "max_connections = 20\n", max_connections="30").asked == []
    assert caplog.messages == ["the configuration has not changed"]


@pytest.mark.parametrize(
    "text", ["max_connections = 0\n", "max_conections = 5\n", "= no TOML", 'high_water = "9MiB"']
)
def test_a_bad_file_changes_nothing(file: Path, text: str, caplog: pytest.LogCaptureFixture) -> None:
    server = hang_up(file, text)
    assert server.asked == []
    [message] = caplog.messages
    assert message.startswith("the configuration stays as it is: ")


def test_secrets_are_not_logged(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    hang_up(file, 'admin_token = "s3cret"\nmax_connections = 10\n')
    assert "s3cret" not in caplog.text


# Loading.


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty current directory; what is imported from it is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_a_server_is_found(here: Path) -> None:
    (here / "loaded_one.py").write_text(
        "import streamconductor as sc\n"
        "server = sc.Server(sc.Config(port=0))\n"
        "class inside: server = server\n"
        "def make(): return server\n"
    )
    server = load_server("loaded_one:server")
    assert isinstance(server, sc.Server)
    assert load_server("loaded_one:make") is load_server("loaded_one:inside.server") is server


@pytest.mark.parametrize(
    ("target", "text", "said"),
    [
        ("loaded_two", "", "write module:server, such as loaded_two:server"),
        ("loaded_two.py:server", "", "such as loaded_two:server"),
        ("./loaded_two.py", "", "such as loaded_two:server"),
        ("absent:server", "", "there is no module absent in "),
        ("absent.deeper:server", "", "there is no module absent in "),
        (
            "loaded_two:server",
            "import absent",
            "importing loaded_two raised ModuleNotFoundError: No module named",
        ),
        ("loaded_two:server", "1/0", "importing loaded_two raised ZeroDivisionError: division by zero"),
        ("loaded_two:server", "def", "SyntaxError"),
        ("loaded_two:server", "", "it holds no streamconductor.Server"),
        (
            "loaded_two:servr",
            "import streamconductor as sc\nserver = sc.Server()",
            "did you mean loaded_two:server?",
        ),
        ("loaded_two:server", "server = 3", "is no streamconductor.Server but int"),
        ("loaded_two:server", "def server(): return 3", "is no streamconductor.Server but int"),
        ("loaded_two:server", "def server(): 1/0", "calling loaded_two:server raised ZeroDivisionError"),
    ],
)
def test_what_is_no_server_is_said_in_one_line(here: Path, target: str, text: str, said: str) -> None:
    (here / "loaded_two.py").write_text(text)
    with pytest.raises(Problem) as caught:
        load_server(target)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_configuration_that_breaks_a_promise_keeps_its_text(here: Path) -> None:
    (here / "loaded_three.py").write_text("import streamconductor as sc\nsc.Config(open_timeout=60)\n")
    with pytest.raises(sc.ConfigError, match="open_timeout"):
        load_server("loaded_three:server")


# Watching.


def test_what_is_watched(here: Path) -> None:
    (here / "package" / "inner").mkdir(parents=True)
    for name in ("alone.py", "beside.py", "notes.txt", "package/__init__.py", "package/inner/deep.py"):
        (here / name).write_text("")
    config = here / "settings.toml"

    def watched(target: str | None, config: Path | None = None) -> set[str]:
        return {str(path.relative_to(here)) for path in program_files(target, config)}

    assert watched("alone:server") == {"alone.py", "beside.py"}
    assert watched("package.inner.deep:server") == {"package/__init__.py", "package/inner/deep.py"}
    assert watched(None, config) == {"settings.toml"}


# Logs.


def test_json_logs_are_one_object_per_line() -> None:
    formatter = JsonLines()
    try:
        1 / 0  # noqa: B018
    except ZeroDivisionError:
        record = logging.LogRecord("a.b", logging.ERROR, __file__, 1, "two\nlines %d", (1,), sys.exc_info())
    line = formatter.format(record)
    assert "\n" not in line
    found = json.loads(line)
    assert (found["level"], found["logger"], found["message"]) == ("error", "a.b", "two\nlines 1")
    assert found["time"].endswith("+00:00")
    assert "ZeroDivisionError" in found["exception"]


# The diagram.


def test_the_lifecycle_is_the_table_that_is_executed() -> None:
    table = _core.lifecycle_table()
    rows = json.loads(lifecycle(Form.JSON))
    assert [tuple(row.values()) for row in rows] == table
    assert list(rows[0]) == ["direction", "state", "event", "next", "meaning"]
    text = lifecycle(Form.TEXT).splitlines()
    assert len(text) == len(table) + 1
    assert text[0].split() == ["direction", "state", "event", "next", "meaning"]


def test_the_diagram_has_an_arrow_for_every_row() -> None:
    lines = [line.strip() for line in lifecycle(Form.MERMAID).splitlines()]
    assert lines[0] == "stateDiagram-v2"
    table = _core.lifecycle_table()
    for direction, state, event, following, _ in table:
        assert f"{direction}_{state} --> {direction}_{following}: {event}" in lines
    arrows = [line for line in lines if " --> " in line]
    beginnings = [line for line in arrows if line.startswith("[*]")]
    assert beginnings == ["[*] --> inbound_pending", "[*] --> outgoing_connecting", "[*] --> link_idle"]
    assert len(arrows) - len(beginnings) == len(table)


def test_the_client_side_is_what_we_open() -> None:
    def directions(client: bool) -> set[str]:
        return {row["direction"] for row in json.loads(lifecycle(Form.JSON, client=client))}

    assert directions(client=True) == {"outgoing", "link"}
    assert directions(client=False) == {"inbound"}
    client = lifecycle(Form.TEXT, client=True)
    assert "parting" in client
    assert "admitting" not in client.split()


# The gateway's names.


class Asked:
    def __init__(self, name: str) -> None:
        self.path_params = {"name": name}


@pytest.mark.parametrize("name", ["news", "a" * 255, "é" * 127, "room/1", "prices:EURUSD", " "])
def test_names_that_a_channel_may_have(name: str) -> None:
    request: Any = Asked(name)
    verdict = _subscribe(request)
    assert isinstance(verdict, sc.Accept)
    assert verdict.subscribe == [name]


@pytest.mark.parametrize("name", ["", "a" * 256, "é" * 128, "a\nb", "\x7f", "\x85"])
def test_names_that_none_may_have(name: str) -> None:
    request: Any = Asked(name)
    verdict = _subscribe(request)
    assert isinstance(verdict, sc.Reject)
    assert verdict.status == 400
