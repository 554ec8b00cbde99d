"""Receives the port of a server · hands a test a real nginx in front of it · owns its process, its directory and the
choice of its port.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

PATIENCE = 10.0

CONFIGURATION = """
daemon off;
master_process off;
pid nginx.pid;
error_log stderr warn;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    proxy_http_version 1.1;
    proxy_read_timeout 60s;
    # One header, as nearly everybody has it: what else the client sends is passed on.
    server {{
        listen 127.0.0.1:{usual};
        location / {{
            {upgrade}
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_pass http://{upstream};
        }}
    }}
    # RFC 7239, appended to what the client sends, whatever that is.
    server {{
        listen 127.0.0.1:{standard};
        location / {{
            {upgrade}
            proxy_set_header Forwarded '$http_forwarded, for="$remote_addr:$remote_port";proto=$scheme';
            proxy_pass http://{upstream};
        }}
    }}
    # Two proxies in a row: this one in front of the first.
    server {{
        listen 127.0.0.1:{chained};
        location / {{
            {upgrade}
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_bind 127.0.0.9;
            proxy_pass http://127.0.0.1:{usual};
        }}
    }}
}}
"""


# Headers of a location replace all those that stand further out.
UPGRADE = """proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection upgrade;
            proxy_set_header Host $http_host;"""


def executable() -> str | None:
    """Where nginx is; Debian keeps it out of the path of ordinary users."""
    return shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")


class Nginx:
    """Proxies before one server, by the names of their ports in `CONFIGURATION`."""

    def __init__(self, program: str, upstream: str, directory: Path) -> None:
        self.ports: dict[str, int] = {}
        self._program, self._upstream, self._directory = program, upstream, directory
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        # Between the choice of a port and its use somebody else may take it.
        for _ in range(5):
            self._start()
            if self._is_up():
                return self
            self._stop()
        raise AssertionError("nginx does not start: " + (self._directory / "log").read_text())

    def _start(self) -> None:
        self.ports = dict(zip(("usual", "standard", "chained"), _free_ports(3), strict=True))
        configuration = self._directory / "nginx.conf"
        configuration.write_text(CONFIGURATION.format(upstream=self._upstream, upgrade=UPGRADE, **self.ports))
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._program, "-p", str(self._directory), "-c", str(configuration), "-e", "stderr"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip

    def _is_up(self) -> bool:
        assert self._process is not None
        deadline = time.monotonic() + PATIENCE
        while self._process.poll() is None and time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", self.ports["chained"]), timeout=1).close()
            except OSError:
                time.sleep(0.01)
            else:
                return True
        return False

    def _stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()
