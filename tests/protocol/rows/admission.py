"""Receives nothing · hands the registry the rows of those who may not come in, or not now · owns their requests."""

from __future__ import annotations

from tests.protocol.rows.forms import all_refused, refusal, refused, with_header
from tests.protocol.rows.profiles import FEW_PER_ADDRESS, FULL, LISTED
from tests.protocol.rows.registry import row
from tests.protocol.rows.stage import Stage
from tests.support.servers import eventually


def _from(*origins: str) -> bytes:
    return with_header(*(("Origin", origin) for origin in origins))


H18 = row(
    "H18",
    "an Origin that is foreign, begins or ends like an allowed one, or has another scheme or port",
    "403; scheme, host and port are equal, or nothing is",
)
all_refused(
    H18,
    {
        "foreign": _from("https://evil.tld"),
        "begins like it": _from("https://app.example.com.evil.tld"),
        "ends like it": _from("https://evil-app.example.com"),
        "the domain above": _from("https://example.com"),
        "http": _from("http://app.example.com"),
        "another port": _from("https://app.example.com:8443"),
        "with a path": _from("https://app.example.com/"),
        "with a user": _from("https://user@app.example.com"),
        "the server's own": _from("http://localhost"),
    },
    403,
    profile=LISTED,
)


@H18.case("the allowed one", LISTED)
def allowed_origin(stage: Stage) -> None:
    for origin in ("https://app.example.com", "https://APP.example.com:443"):
        stage.open("/echo", ("Origin", origin)).echo()


H19 = row("H19", "Origin `null`, none in it, two of them", "403 unless `null` is listed; 400 for two")
all_refused(H19, {"null": _from("null"), "empty": _from("")}, 403, profile=LISTED)
all_refused(H19, {"two": _from("https://app.example.com", "https://app.example.com")}, 400, profile=LISTED)

H20 = row(
    "H20",
    "no Origin and a cookie alone, where `origins` are listed",
    "403; with a bearer token in `Authorization`, or with no cookie, 101",
)
COOKIE = ("Cookie", "session=secret")
H20.add("a cookie", refused(with_header(COOKIE), 403), LISTED)


@H20.case("a token, or nothing", LISTED)
def no_page(stage: Stage) -> None:
    stage.open("/echo", COOKIE, ("Authorization", "Bearer secret")).echo()
    stage.open().echo()


H21 = row(
    "H21",
    "`X-Forwarded-For` and `Forwarded` from a peer that is no trusted proxy",
    "ignored: limits count the address of the socket",
)
H24 = row(
    "H24",
    "more connections than an address may have; a full pool",
    "429; 503; both with `Retry-After`, and whoever is in stays",
)

for each, title, headers in (
    (H21, "X-Forwarded-For", [("X-Forwarded-For", "192.0.2.1")]),
    (H21, "several addresses", [("X-Forwarded-For", "192.0.2.1, 192.0.2.2"), ("X-Real-IP", "192.0.2.3")]),
    (H21, "Forwarded", [("Forwarded", 'for="[2001:db8::1]";proto=https')]),
    (H24, "too many from one address", []),
):

    def too_many(stage: Stage, request: bytes = with_header(*headers)) -> None:
        # The canary is the first, and who was here in the last run is gone a moment later.
        assert eventually(lambda: stage.counts()["occupied"] == 1)
        second = stage.open()
        peer = stage.connect()
        peer.send(request)
        refusal(peer, 429, {"Retry-After": "5"})
        second.echo()

    each.add(title, too_many, FEW_PER_ADDRESS, cost=2)


@H24.case("a full pool", FULL, cost=2)
def full_pool(stage: Stage) -> None:
    assert eventually(lambda: stage.counts()["occupied"] == 1)  # the canary's
    first = stage.open()
    peer = stage.connect()
    peer.send(with_header())
    refusal(peer, 503, {"Retry-After": "5"})
    assert stage.counts()["occupied"] == 2
    first.echo()
