"""Certificates that are renewed while the server runs: the new one is served, nobody loses a connection, and a file
that cannot be used changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography.x509 import load_pem_x509_certificate

import streamconductor as sc
from tests.support import frames
from tests.support.counting_server import raise_limit
from tests.support.live import server_with, until, until_async
from tests.support.programs import Program
from tests.support.raw import head
from tests.support.transport import authority

OPEN = 1_000
LOGGER = "streamconductor.certificates"


class Files:
    """A certificate and its key at a place of their own, and their renewal."""

    def __init__(self, place: Path) -> None:
        self.certificate, self.key = place / "server.pem", place / "server.key"
        self.renew()

    def renew(self) -> str:
        """As a tool does it: each file whole, one after the other. Returns the serial number of the new certificate."""
        pair = authority().issue("localhost", "127.0.0.1")
        for fresh, file in ((pair.certificate, self.certificate), (pair.key, self.key)):
            beside = file.with_suffix(".new")
            beside.write_bytes(fresh.read_bytes())
            beside.replace(file)
        serial = f"{load_pem_x509_certificate(pair.certificate.read_bytes()).serial_number:X}"
        # As OpenSSL writes it: whole bytes.
        return serial.zfill(len(serial) + len(serial) % 2)

    def fields(self) -> dict[str, Any]:
        return {"tls_certificate": self.certificate, "tls_key": self.key}


async def served(port: int) -> str:
    """The serial number of the certificate that a new connection is shown."""
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=authority().client_context())
    serial: str = writer.get_extra_info("peercert")["serialNumber"]
    writer.close()
    await writer.wait_closed()
    return serial


def echoing(**fields: Any) -> sc.Server:
    server = server_with(**fields)

    @server.on_message("/")
    def echo(connection: sc.Connection[Any], message: str | bytes) -> None:
        connection.send_nowait(message)

    return server


@asynccontextmanager
async def connections(
    port: int, count: int
) -> AsyncIterator[list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]:
    """That many connections over TLS, open at once."""
    context, gate = authority().client_context(), asyncio.Semaphore(50)

    async def open_one() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        async with gate:
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", port, ssl=context, ssl_handshake_timeout=20
            )
            writer.write(head("/"))
            assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
            return reader, writer

    async with AsyncExitStack() as stack:
        found = await asyncio.gather(*(open_one() for _ in range(count)))
        for _, writer in found:
            stack.callback(writer.transport.abort)
        yield found


async def echoes(streams: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]], text: bytes) -> int:
    """How many of them get back what they send."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        writer.write(frames.frame(frames.TEXT, text))
        return await reader.readexactly(2 + len(text)) == bytes([0x81, len(text)]) + text

    return sum(await asyncio.gather(*(echo(*each) for each in streams)))


@pytest.mark.slow
async def test_a_renewal_is_served_and_none_of_a_thousand_connections_is_lost(tmp_path: Path) -> None:
    raise_limit(5_000)
    files = Files(tmp_path)
    server = echoing(max_connections=2 * OPEN, open_timeout=5, ping_interval=None, **files.fields())
    async with server, connections(server.port, OPEN) as streams:
        before = await served(server.port)
        assert await echoes(streams, b"before") == OPEN
        renewed = files.renew()
        assert renewed != before

        async def is_served() -> bool:
            return await served(server.port) == renewed

        # Within a second by itself; here a busy machine has some more.
        await until_async(is_served, 10)
        assert await echoes(streams, b"behind it") == OPEN
        files.renew()
        server.reload_certificates()
        assert await echoes(streams, b"and again") == OPEN
        assert len(server.connections()) == OPEN
        endings = server.status()["endings"]
        assert not any(endings.values()), endings
        assert server.status()["tls"]["files"]["reload_failures"] == 0


async def test_a_bad_file_keeps_the_old_certificate_and_says_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, LOGGER)
    files = Files(tmp_path)

    def failures() -> int:
        count: int = server.status()["tls"]["files"]["reload_failures"]
        return count

    async with echoing(**files.fields()) as server:
        old = await served(server.port)
        files.key.write_text("-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n")
        await until(lambda: failures() == 1, 10)
        assert await served(server.port) == old
        # It is looked at every 0.4 s, and only what has changed since is tried.
        await asyncio.sleep(1.5)
        assert failures() == 1
        [record] = [record for record in caplog.records if record.levelno >= logging.ERROR]
        assert record.name == LOGGER
        assert f"tls_key: {files.key}: holds a private key of an unknown kind" in record.getMessage()
        assert "c2VjcmV0" not in caplog.text
        assert "tls_key: " in server.status()["tls"]["files"]["last_failure"]
        assert "streamconductor_tls_reload_failures_total 1" in server.metrics()
        files.key.unlink()
        await until(lambda: failures() == 2, 10)
        renewed = files.renew()

        async def is_served() -> bool:
            return await served(server.port) == renewed

        await until_async(is_served, 10)
        assert server.status()["tls"]["files"]["last_failure"] is None
        assert [record.getMessage() for record in caplog.records if record.levelno == logging.INFO][
            -1
        ].startswith("the certificates have been read anew")


async def test_a_call_reads_them_at_once_and_raises(tmp_path: Path) -> None:
    files = Files(tmp_path)
    async with echoing(**files.fields()) as server:
        renewed = files.renew()
        server.reload_certificates()
        assert await served(server.port) == renewed
        files.certificate.write_text("")
        with pytest.raises(sc.ConfigError, match=r"tls_certificate: .*: holds no certificate in PEM"):
            server.reload_certificates()
        assert await served(server.port) == renewed
        assert server.status()["tls"]["files"]["reload_failures"] == 1
        # What the call has seen, the watch does not try again.
        await asyncio.sleep(1.2)
        assert server.status()["tls"]["files"]["reload_failures"] == 1
    with pytest.raises(sc.NotRunning):
        server.reload_certificates()


async def test_without_tls_there_is_nothing_to_read() -> None:
    async with echoing() as server:
        server.reload_certificates()
        names = {task.get_name() for task in asyncio.all_tasks()}
        assert "watch of the certificates" not in names


async def test_a_link_that_is_turned_to_other_files_is_a_change(tmp_path: Path) -> None:
    """As Kubernetes renews a secret: the names stay links, and what they lead to is another directory."""
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    first, second = Files(tmp_path / "first"), Files(tmp_path / "second")
    link = tmp_path / "data"
    link.symlink_to(first.certificate.parent)
    fields = {"tls_certificate": link / "server.pem", "tls_key": link / "server.key"}
    async with echoing(**fields) as server:
        old = await served(server.port)
        beside = tmp_path / "data.new"
        beside.symlink_to(second.certificate.parent)
        os.replace(beside, link)

        async def is_another() -> bool:
            return await served(server.port) != old

        await until_async(is_another, 10)


async def test_a_hundred_renewals_leave_nothing_behind(tmp_path: Path) -> None:
    files = Files(tmp_path)
    async with echoing(**files.fields()) as server, connections(server.port, 5) as streams:
        for number in range(100):
            if number % 10 == 0:
                files.renew()
            server.reload_certificates()
            assert await echoes(streams, b"%d" % number) == 5
        assert server.status()["tls"]["files"]["reloads"] == 100
        assert server.status()["ledger"]["owners"]["tls"] == 5 * 3_584


APPLICATION = """
import streamconductor as sc

server = sc.Server(sc.Config(port=0))
server.push("/")
"""


async def test_the_command_line_serves_it_and_sighup_reads_it_anew(tmp_path: Path) -> None:
    files = Files(tmp_path)
    (tmp_path / "application.py").write_text(APPLICATION)
    options = ("--tls-certificate", str(files.certificate), "--tls-key", str(files.key))
    command = ("-m", "streamconductor", "serve", "application:server", *options)
    with Program(*command, cwd=tmp_path) as running:
        port = int((await asyncio.to_thread(running.line, r"listening +wss://127\.0\.0\.1:(\d+)"))[1])
        renewed = files.renew()
        running.send(signal.SIGHUP)
        await asyncio.to_thread(running.line, r"\bthe certificates have been read anew$")
        assert await served(port) == renewed
        files.key.write_text("")
        running.send(signal.SIGHUP)
        await asyncio.to_thread(running.line, "the certificates stay as they are: tls_key: ")
        assert await served(port) == renewed
