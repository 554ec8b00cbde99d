"""Secrets are planted wherever a client, an operator or an application can put one, and every output is searched: what
is logged at DEBUG with asyncio in debug mode, what the command line prints, the status, the metrics, the probes, the
refusals and the close reasons.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import streamconductor as sc
from streamconductor.config_keywords import PrivacyName
from tests.support.live import client, get, server_with, until
from tests.support.programs import Program
from tests.support.secrets_site import OWN_WORDS, SECRETS, admin, attack, build

ROOT = Path(__file__).parents[2]
# All but tabs and the ends of our own lines.
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


class Written(logging.Handler):
    """Keeps every record as it would be written, with its traceback."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@pytest.fixture
def written() -> Iterator[Written]:
    handler = Written()
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield handler
    root.removeHandler(handler)
    root.setLevel(level)


def search(output: str | bytes, what: str) -> None:
    text = output.decode("latin-1") if isinstance(output, bytes) else output
    for name, secret in SECRETS.items():
        for place, line in enumerate(text.splitlines()):
            assert secret not in line, f"{what}, line {place} shows the {name}: {line}"


async def test_no_secret_is_seen_again(written: Written, capfd: pytest.CaptureFixture[str]) -> None:
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    # Then every step of the loop is logged, with whatever its handle shows.
    loop.slow_callback_duration = 0.0
    server = build()
    outputs: list[bytes] = []
    async with server:
        assert server.admin_port is not None
        ports = server.port, server.admin_port
        failure: list[BaseException] = []

        def run() -> None:
            try:
                outputs.extend(attack(*ports))
                outputs.extend(admin(ports[1], path) for path in ("/status", "/metrics", "/readyz"))
            except BaseException as error:
                failure.append(error)

        # Beside the loop: what a test does in it would be logged, too.
        attacker = threading.Thread(target=run)
        attacker.start()
        await until(lambda: not attacker.is_alive(), 60)
        if failure:
            raise failure[0]
        outputs += [json.dumps(server.status()).encode(), server.metrics().encode()]
        outputs.append((await asyncio.to_thread(lambda: asyncio.run(get(ports[0], "/readyz"))))[1])
    for output in outputs:
        search(output, "an answer")
    lines = "\n".join(written.lines)
    search(lines, "the log")
    captured = capfd.readouterr()
    search(captured.out + captured.err, "the output")

    # And it was not silence that kept them: each complaint is there, in the application's own words.
    for complaint in (
        "on_connect raised for <Request",
        "handler of connection",
        OWN_WORDS,
        "feed quotes failed",
        "health check 'ledger' failed, /readyz is red: raised OSError",
        "refused a handshake from 127.0.0.1 with 404: no such path",
        "refused a handshake from 127.0.0.1 with 401: on_connect said so",
        "refused a handshake from 127.0.0.1 with 503: on_connect gave no verdict within open_timeout",
        "refused a handshake from 127.0.0.1 with 403: cookies without an Origin or a bearer token",
        "a connection ended: <Connection",
        "Executing <",
    ):
        assert complaint in lines, complaint
    # H23: what a peer says can neither end a line nor command a terminal.
    (told,) = [line for line in written.lines if "a connection ended" in line]
    assert "connection closed by the peer with 4000, line one\\r\\nERROR line two \\x1b[31mred" in told
    assert not any(line.startswith("ERROR line two") for line in lines.splitlines())
    assert not CONTROL.search(lines)


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_the_command_line_shows_none_either(log_format: str, tmp_path: Path) -> None:
    (tmp_path / "secretive.py").write_text(
        "from tests.support.secrets_site import build\n\nserver = build()\n"
    )
    environment = {
        "PYTHONPATH": f"{ROOT / 'python'}:{ROOT}",
        "PYTHONASYNCIODEBUG": "1",
    }
    arguments = ("-X", "dev", "-W", "default", "-m", "streamconductor", "serve", "secretive:server")
    options = ("--log-level", "debug", "--log-format", log_format)
    with Program(*arguments, *options, cwd=tmp_path, environment=environment) as program:
        listening = (
            r"listening.*?ws://127\.0\.0\.1:(\d+)" if log_format == "text" else r'"listening".*?:(\d+)"'
        )
        port = int(program.line(listening)[1])
        admin_port = int(program.line(r"admin\W+http://127\.0\.0\.1:(\d+)")[1])
        for output in attack(port, admin_port):
            search(output, "an answer")
        for path in ("/status", "/metrics"):
            search(admin(admin_port, path), path)
        program.line("feed quotes failed")
        program.send(signal.SIGTERM)
        assert program.wait() == 0
    output = "\n".join(program.output)
    search(output, "the output")
    for complaint in (
        "on_connect raised",
        "handler of connection",
        OWN_WORDS,
        "refused a handshake from 127.0.0.1",
    ):
        assert complaint in output, complaint


@pytest.mark.parametrize(
    ("form", "shown"),
    [("full", r"127\.0\.0\.1"), ("prefix", r"127\.0\.0\.0/24"), ("hash", r"[0-9a-f]{12}")],
)
async def test_addresses_are_shown_in_the_form_that_is_asked_for(
    form: PrivacyName, shown: str, written: Written
) -> None:
    server = server_with(address_privacy=form)
    told: list[tuple[str, int] | None] = []

    @server.on_connect
    def admit(request: sc.Request) -> sc.Accept[None] | sc.Reject:
        told.append(request.remote_address)
        return sc.Reject(401)

    server.push("/")
    async with server:
        for _ in range(3):
            with pytest.raises(Exception, match="401"):
                async with client(server, additional_headers={"X-Forwarded-For": "203.0.113.7"}):
                    pass
        assert (await get(server.port, "/nowhere"))[0] == 404
        await until(lambda: len([line for line in written.lines if "refused a handshake" in line]) == 2)
    # The application's own are whole, whatever people are shown.
    assert {address and address[0] for address in told} == {"127.0.0.1"}
    refused = [line for line in written.lines if "refused a handshake" in line]
    found = [
        re.fullmatch(rf"refused a handshake from ({shown}) with (401|404): .*", line) for line in refused
    ]
    assert all(found), refused
    assert len({one[1] for one in found if one}) == 1, "the same address is shown the same way"
    (ignored,) = [line for line in written.lines if "trusted_proxies" in line]
    assert re.search(rf"from {shown}, ", ignored)
    if form != "full":
        assert "127.0.0.1" not in "\n".join([*refused, ignored])
