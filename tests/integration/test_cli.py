"""The command line, as a shell and a supervisor see it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.support import tokens
from tests.support.programs import Program, ended

ROOT = Path(__file__).parents[2]
SERVE = ("-m", "streamconductor", "serve")
LISTENING = r"listening +ws://127\.0\.0\.1:(\d+)"

ECHO = """
import streamconductor as sc

server = sc.Server(sc.Config(port=0, max_connections=100))

@server.on_message("/", heartbeat_message=None)
def echo(connection, message):
    connection.send_nowait(f"{message} {server.config.max_connections}")
"""


def application(tmp_path: Path, text: str = ECHO) -> None:
    (tmp_path / "application.py").write_text(text)


def answer(port: str, message: str = "limit") -> str | bytes:
    with connect(f"ws://127.0.0.1:{port}/") as client:
        client.send(message)
        return client.recv(timeout=5)


def test_it_serves_a_module_until_it_is_told_to_stop(tmp_path: Path) -> None:
    application(tmp_path)
    with Program(*SERVE, "application:server", cwd=tmp_path) as running:
        port = running.line(LISTENING)[1]
        assert running.line(r"max_connections +(\d+)")[1] == "100"
        assert running.line(r"loop +(\w+)")[1] == "uvloop"
        assert int(running.line(r"process +(\d+)")[1]) == running.pid
        with connect(f"ws://127.0.0.1:{port}/") as client:
            running.send(signal.SIGTERM)
            with pytest.raises(ConnectionClosed):
                client.recv(timeout=5)
        assert running.wait() == 0


def test_what_the_command_line_says_precedes_the_program(tmp_path: Path) -> None:
    application(tmp_path)
    (tmp_path / "settings.toml").write_text('max_connections = 5\nhigh_water = "8KiB"\nlow_water = "1KiB"\n')
    options = ("--config", "settings.toml", "--max-connections", "7", "--subprotocols", "chat", "--no-uvloop")
    environment = {"STREAMCONDUCTOR_LOW_WATER": "2KiB"}
    with Program(*SERVE, "application:server", *options, cwd=tmp_path, environment=environment) as running:
        port = running.line(LISTENING)[1]
        assert answer(port) == "limit 7"
        assert running.line(r"high_water +(\S+)")[1] == "8KiB"
        assert running.line(r"loop +(\w+)")[1] == "asyncio"
        # Routes that leave it open follow, although they were registered before.
        with connect(f"ws://127.0.0.1:{port}/", subprotocols=["chat"]) as client:  # type: ignore[list-item]
            assert client.subprotocol == "chat"


def test_sighup_reads_the_file_again(tmp_path: Path) -> None:
    application(tmp_path, ECHO.replace("max_connections=100", ""))
    file = tmp_path / "settings.toml"
    file.write_text("max_connections = 5\n")
    with Program(*SERVE, "application:server", "--config", str(file), cwd=tmp_path) as running:
        port = running.line(LISTENING)[1]
        assert answer(port) == "limit 5"
        file.write_text("max_connections = 6\n")
        running.send(signal.SIGHUP)
        running.line("max_connections: 5 is now 6")
        assert answer(port) == "limit 6"
        file.write_text("max_connections = many\n")
        running.send(signal.SIGHUP)
        running.line("the configuration stays as it is: .*settings.toml cannot be read")
        assert answer(port) == "limit 6"


def test_sighup_reads_the_keys_of_tokens_again(tmp_path: Path) -> None:
    application(tmp_path)
    old, new = tokens.hs256(), tokens.hs256()
    file = old.write(tmp_path, "secret")

    def status(port: str, token: str) -> int:
        try:
            with connect(f"ws://127.0.0.1:{port}/", additional_headers={"Authorization": f"Bearer {token}"}):
                return 101
        except InvalidStatus as refused:
            return refused.response.status_code

    with Program(*SERVE, "application:server", "--token-keys", str(file), cwd=tmp_path) as running:
        port = running.line(LISTENING)[1]
        assert [status(port, signer.token()) for signer in (old, new)] == [101, 401]
        file.write_bytes(b"short")
        running.send(signal.SIGHUP)
        running.line("the configuration stays as it is: token_keys: .* holds a secret of 5 bytes")
        assert status(port, old.token()) == 101
        new.write(tmp_path, "secret")
        running.send(signal.SIGHUP)
        running.line("the keys of bearer tokens were read anew")
        assert [status(port, signer.token()) for signer in (old, new)] == [401, 101]


def test_reload_starts_anew_when_a_file_changes(tmp_path: Path) -> None:
    application(tmp_path)
    with Program(*SERVE, "application:server", "--reload", cwd=tmp_path) as running:
        port = running.line(LISTENING)[1]
        assert answer(port) == "limit 100"
        seen = len(running.output)
        application(tmp_path, "1/0")
        running.line("starting anew", after=seen)
        running.line("importing application raised ZeroDivisionError", after=seen)
        # What is broken waits to be mended.
        seen = len(running.output)
        application(tmp_path, ECHO.replace("100", "200"))
        port = running.line(LISTENING, after=seen)[1]
        assert answer(port) == "limit 200"
        child = int(running.line(r"process +(\d+)", after=seen)[1])
        # Ctrl-C on a terminal is sent to a whole group, and would count twice.
        assert os.getpgid(child) != os.getpgid(running.pid)
        running.send(signal.SIGINT)
        assert running.wait() == 0
        assert not Path(f"/proc/{child}").exists()


def test_json_logs(tmp_path: Path) -> None:
    text = ECHO + (
        "import logging, warnings\n"
        "@server.route('/raise')\n"
        "async def broken(connection):\n"
        "    logging.getLogger('mine').info('two\\nlines')\n"
        "    warnings.warn('deprecated')\n"
        "    raise LookupError('on purpose')\n"
    )
    application(tmp_path, text)
    with Program(*SERVE, "application:server", "--log-format", "json", cwd=tmp_path) as running:
        running.line('"serving"')
        serving = next(line for line in map(json.loads, running.output) if line["message"] == "serving")
        assert serving["max_connections"] == "100"
        [address] = serving["listening"]
        secrets = {"Authorization": "Bearer s3cret-token", "Cookie": "session=s3cret-cookie"}
        with connect(f"{address}/raise?key=s3cret-query", additional_headers=secrets) as client:
            # The handler raises at once: the Close may be here before the payload goes out.
            with contextlib.suppress(ConnectionClosed):
                client.send("s3cret-payload")
            with pytest.raises(ConnectionClosed):
                client.recv(timeout=5)
        running.line("on purpose")
        running.send(signal.SIGTERM)
        assert running.wait() == 0
        records = [json.loads(line) for line in running.output]
    by_logger = {record["logger"]: record for record in records}
    assert by_logger["mine"]["message"] == "two\nlines"
    assert "deprecated" in by_logger["py.warnings"]["message"]
    assert "LookupError: on purpose" in by_logger["streamconductor.handler"]["exception"]
    assert "s3cret" not in json.dumps(records)


def test_on_connect_that_raises_logs_no_secrets(tmp_path: Path) -> None:
    application(tmp_path, ECHO + "@server.on_connect\ndef admit(request):\n    1/0\n")
    with Program(*SERVE, "application:server", cwd=tmp_path) as running:
        port = running.line(LISTENING)[1]
        head = (
            "GET /?key=s3cret-query HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            "Sec-WebSocket-Protocol: bearer.s3cret-token\r\nCookie: token=s3cret-cookie\r\n\r\n"
        )
        with socket.create_connection(("127.0.0.1", int(port)), timeout=5) as raw:
            raw.sendall(head.encode())
            assert raw.recv(1024).startswith(b"HTTP/1.1 500 ")
        running.line("ZeroDivisionError")
        assert "s3cret" not in "\n".join(running.output)


def test_the_echo_example() -> None:
    with Program(*SERVE, "examples.echo:server", "--port", "0", cwd=ROOT) as running:
        address = running.line(r"listening +(\S+)")[1]
        for path in ("/", "/patient"):
            with connect(address + path) as client:
                client.send("text")
                client.send(b"bytes")
                assert [client.recv(5), client.recv(5)] == ["text", b"bytes"]


def test_the_rooms_example() -> None:
    with Program(*SERVE, "examples.rooms:server", "--port", "0", cwd=ROOT) as running:
        room = running.line(r"listening +(\S+)")[1] + "/rooms/lobby?name="

        def heard(client: ClientConnection) -> object:
            return json.loads(client.recv(5))

        with connect(room + "ada") as ada:
            assert [heard(ada), heard(ada)] == [{"here": []}, {"joined": "ada"}]
            with connect(room + "grace") as grace:
                assert [heard(grace), heard(grace)] == [{"here": ["ada"]}, {"joined": "grace"}]
                grace.send('{"text": "hello"}')
                assert heard(grace) == {"from": "grace", "text": "hello"}
                grace.send('{"txt": 1}')
                with pytest.raises(ConnectionClosed) as caught:
                    heard(grace)
            assert caught.value.rcvd is not None
            assert caught.value.rcvd.code == 1007
            told = [heard(ada) for _ in range(3)]
            assert told == [{"joined": "grace"}, {"from": "grace", "text": "hello"}, {"left": "grace"}]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["serve", "absent:server"], 2, "there is no module absent in"),
        (["serve", "--port", "99999"], 2, "port = '99999' must be at most 65535"),
        (["serve", "--high-water", "5MiB"], 2, "high_water = 5MiB must not be above max_buffered"),
        (["serve", "--config", "absent.toml"], 2, "configuration file absent.toml cannot be read"),
        (["serve", "--nonsense"], 2, "No such option: --nonsense"),
        (["--version"], 0, "streamconductor 0."),
        (["lifecycle", "--format", "mermaid"], 0, "stateDiagram-v2"),
        (["lifecycle", "--format", "picture"], 2, "picture"),
    ],
)
def test_what_it_says_without_serving(tmp_path: Path, words: list[str], code: int, said: str) -> None:
    found, lines = ended("-m", "streamconductor", *words, cwd=tmp_path)
    assert found == code
    assert said in "\n".join(lines)
    assert "Traceback" not in "\n".join(lines)


def test_an_unknown_variable_is_an_error(tmp_path: Path) -> None:
    environment = {"STREAMCONDUCTOR_PROT": "8000"}
    assert ended(*SERVE, cwd=tmp_path, environment=environment) == (
        2,
        ["streamconductor: variable STREAMCONDUCTOR_PROT is no setting; the nearest is STREAMCONDUCTOR_PORT"],
    )


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_taken_port_is_one_line(tmp_path: Path, log_format: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        options = ("--port", str(port), "--admin-port", "off", "--log-format", log_format)
        code, lines = ended(*SERVE, *options, cwd=tmp_path)
    assert code == 1
    [line] = lines
    assert f"cannot listen on 127.0.0.1:{port}" in line
    assert "streamconductor serve module:server" in line
    assert log_format == "text" or json.loads(line)["level"] == "critical"


@pytest.mark.parametrize("package", ["typer", "rich"])
def test_without_the_extra_it_says_what_to_install(tmp_path: Path, package: str) -> None:
    text = f"import sys; sys.modules[{package!r}] = None; from streamconductor.cli import main; main()"
    expected = f"streamconductor: the command line needs {package}: pip install streamconductor[cli]"
    assert ended("-c", text, cwd=tmp_path) == (1, [expected])


def test_the_server_s_own_modules_need_no_extra(tmp_path: Path) -> None:
    text = "import sys, streamconductor; print(sorted({'typer', 'rich', 'uvloop'} & set(sys.modules)))"
    assert ended("-c", text, cwd=tmp_path) == (0, ["[]"])


def test_a_terminal_gets_a_panel(tmp_path: Path) -> None:
    text = (
        "import os, sys; os.dup2(int(sys.argv.pop(1)), 1); "
        "from streamconductor.cli import main; sys.argv[0] = 'streamconductor'; main()"
    )
    controller, terminal = os.openpty()
    command = [sys.executable, "-c", text, str(terminal), "serve", "--port", "0", "--admin-port", "off"]
    process = subprocess.Popen(command, cwd=tmp_path, pass_fds=[terminal], stderr=subprocess.DEVNULL)
    try:
        os.close(terminal)
        shown = b""
        while "╯".encode() not in shown:
            shown += os.read(controller, 4096)
        assert "╭─ StreamConductor".encode() in shown
        assert b"ws://127.0.0.1:" in shown
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()
        os.close(controller)
