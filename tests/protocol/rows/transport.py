"""Receives nothing · hands the registry the row of peers that speak no TLS, or an old one, where TLS is spoken · owns
their bytes.
"""

from __future__ import annotations

import subprocess

from tests.protocol.rows.hello import client_hello, in_records, old_hello
from tests.protocol.rows.profiles import PLAIN
from tests.protocol.rows.registry import row
from tests.protocol.rows.stage import Stage
from tests.support.raw import head

ALERT, HANDSHAKE = 0x15, 0x16
ONLY = ("tls",)

H28 = row(
    "H28",
    "on a TLS port: plain HTTP, TLS 1.0, junk, a ClientHello in pieces, renegotiation",
    "an alert, or the end; a hello in pieces is a hello",
)


def only_an_alert(stage: Stage, data: bytes) -> None:
    """Sends bytes that can begin no TLS; an alert may come before the end, and nothing else."""
    peer = stage.connect(tls=False)
    peer.send(data)
    answer = bytearray()
    try:
        while more := peer.socket.recv(65_536):
            answer += more
    except ConnectionResetError:
        pass
    while answer:
        assert answer[0] == ALERT, bytes(answer)
        length = int.from_bytes(answer[3:5], "big")
        assert len(answer) >= 5 + length
        del answer[: 5 + length]


for title, data in {
    "plain HTTP": head(),
    "TLS 1.0": old_hello(),
    "SSL 2": b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10" + bytes(37),
    "junk": bytes(range(256)) * 4,
    "a record too long": b"\x16\x03\x01\xff\xff" + bytes(1_000),
    "an alert": b"\x15\x03\x01\x00\x02\x02\x28",
    "application data": b"\x17\x03\x03\x00\x10" + bytes(16),
}.items():

    def alert(stage: Stage, data: bytes = data) -> None:
        only_an_alert(stage, data)

    H28.add(title, alert, PLAIN, transports=ONLY)

for title, size in (("a byte per record", 1), ("a hundred bytes per record", 100)):

    def pieces(stage: Stage, size: int = size) -> None:
        peer = stage.connect(tls=False)
        peer.send(in_records(client_hello(), size))
        # A ServerHello.
        assert peer.take(1)[0] == HANDSHAKE

    H28.add(title, pieces, PLAIN, transports=ONLY)


@H28.case("renegotiation", PLAIN, cost=10, transports=ONLY)
def renegotiation(stage: Stage) -> None:
    # Python's TLS cannot ask for one. `R` on a line of its own is how openssl is told to.
    host, port = stage.address
    command = ["openssl", "s_client", "-connect", f"{host}:{port}", "-tls1_2", "-brief"]
    done = subprocess.run(
        command, input=b"R\n", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=10, check=False
    )
    said = done.stdout.decode()
    assert "Protocol version: TLSv1.2" in said, said
    assert "RENEGOTIATING" in said, said
    # The alert `no_renegotiation`; a second handshake never comes.
    assert "no renegotiation" in said, said
