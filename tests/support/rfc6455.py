"""Receives nothing · hands out every MUST and MUST NOT of RFC 6455 §4 to §7, and those of §8 to §10 that a codec can
keep or break, in the order of the text · owns our short wording of them and whom each concerns.
"""

from __future__ import annotations

from tests.support.requirements import BOTH, CLIENT, SERVER

OPENING = "the client's opening handshake comes with outgoing connections"
INTERMEDIARY = "for intermediaries"
EXTENSIONS = "for those who specify extensions"
TLS = "TLS lies below: what is said here is said through it"
APPLICATION = "for applications that show texts to people"
AUTHOR = "for whoever draws the key; the codec is handed it"

SECTIONS: dict[str, list[tuple[str, str]]] = {
    "4.1": [
        (OPENING, "a client opens a connection, sends a handshake and reads the response"),
        (OPENING, "the parts of the URI are valid, else the client fails"),
        (OPENING, "a client has at most one connection to a host in the state CONNECTING"),
        (OPENING, "where the address is not known, each name counts as a host of its own"),
        (OPENING, "the URI for a proxy's script is made from the parts of the WebSocket URI"),
        (OPENING, "a client fails when no connection could be opened"),
        (OPENING, "with `wss` a TLS handshake precedes, failing it fails the client, and all goes through it"),
        (OPENING, "a client names the server in the TLS handshake (SNI)"),
        (OPENING, "a client sends an opening handshake"),
        (OPENING, "which is a valid HTTP request"),
        (OPENING, "a GET, of HTTP/1.1 or later"),
        (OPENING, "whose target is the resource name"),
        (OPENING, "with `Host`"),
        (OPENING, "with `Upgrade`, which includes `websocket`"),
        (OPENING, "with `Connection`, which includes `Upgrade`"),
        (OPENING, "with `Sec-WebSocket-Key`, 16 random bytes in base64, chosen for this connection"),
        (OPENING, "with `Origin`, from a browser"),
        (OPENING, "with `Sec-WebSocket-Version`, 13"),
        (OPENING, "subprotocols are tokens, and none comes twice"),
        (OPENING, "a client waits for the response before it sends anything more"),
        (OPENING, "a client validates the response"),
        (OPENING, "without `Upgrade: websocket` it fails"),
        (OPENING, "without `Connection: Upgrade` it fails"),
        (OPENING, "without the right `Sec-WebSocket-Accept` it fails"),
        (OPENING, "with an extension that it did not offer it fails"),
        (OPENING, "with a subprotocol that it did not offer it fails"),
        (OPENING, "with any other response that a server may not give it fails"),
    ],
    "4.2.1": [
        (SERVER, "a handshake that is no GET of HTTP/1.1 or later gets an HTTP error"),
        (SERVER, "so does one without `Host`"),
        (SERVER, "or without `Upgrade` that includes `websocket`, in whatever case"),
        (SERVER, "or without `Connection` that includes `Upgrade`, in whatever case"),
        (SERVER, "or without `Sec-WebSocket-Key` of 16 bytes in base64"),
        (SERVER, "or without `Sec-WebSocket-Version: 13`"),
        (SERVER, "or with a `Sec-WebSocket-Protocol` that breaks its grammar"),
        (SERVER, "or with a `Sec-WebSocket-Extensions` that breaks its grammar"),
    ],
    "4.2.2": [
        (SERVER, "a server completes the steps below to accept a connection"),
        (TLS, "on a TLS port all goes through the tunnel"),
        (SERVER, "an origin that is not acceptable gets an HTTP error"),
        (SERVER, "another version gets an HTTP error and the versions that are understood"),
        (SERVER, "a resource that is not available gets an HTTP error"),
        (SERVER, "the subprotocol is one of those that the client offers"),
        (SERVER, "without agreement no `Sec-WebSocket-Protocol` is sent"),
        (SERVER, "extensions are taken from those that the client offers"),
        (SERVER, "others are not listed"),
        (SERVER, "acceptance is a valid HTTP response with status 101, `Upgrade`, `Connection` and the right "
         "`Sec-WebSocket-Accept`"),
    ],
    "4.3": [(SERVER, "what a quoted parameter of an extension says is a token")],
    "4.4": [(SERVER, "a version that is not supported is answered with all versions that are")],
    "5.1": [
        (CLIENT, "a client masks every frame"),
        (SERVER, "a server closes on a frame that is not masked"),
        (SERVER, "a server masks no frame"),
        (CLIENT, "a client closes on a frame that is masked"),
    ],
    "5.2": [
        (BOTH, "reserved bits are 0 unless an extension gives them a meaning"),
        (BOTH, "a reserved bit that has no meaning fails the connection"),
        (BOTH, "an opcode that is not known fails the connection"),
        (BOTH, "the top bit of a 64-bit length is 0"),
        (BOTH, "a length is encoded in the fewest bytes"),
        (EXTENSIONS, "an extension says how long its data is"),
        (EXTENSIONS, "and is negotiated in the opening handshake"),
    ],
    "5.3": [
        (CLIENT, "a masked frame has its mask bit set"),
        (CLIENT, "each masked frame has a key of its own"),
        (AUTHOR, "which comes from a strong source of entropy"),
        (AUTHOR, "and cannot be told from those before it"),
    ],
    "5.4": [
        (BOTH, "control frames are not fragmented"),
        (BOTH, "fragments reach the recipient in the order sent"),
        (BOTH, "fragments of two messages are not interleaved"),
        (BOTH, "control frames are handled in the middle of a fragmented message"),
        (BOTH, "fragmented and unfragmented messages are received"),
        (INTERMEDIARY, "the fragmentation of a control frame is not changed"),
        (INTERMEDIARY, "nor that of a message with reserved bits of unknown meaning"),
        (INTERMEDIARY, "nor that of a message where an unknown extension is in use"),
        (INTERMEDIARY, "nor where the handshake was not seen"),
        (BOTH, "all fragments of a message are of the type that the first one names"),
    ],
    "5.5": [
        (BOTH, "a control frame has at most 125 bytes"),
        (BOTH, "and is not fragmented"),
    ],
    "5.5.1": [
        (BOTH, "the body of a Close, if there is one, begins with a code of two bytes"),
        (APPLICATION, "the reason is not shown to end users"),
        (CLIENT, "a client's Close is masked"),
        (BOTH, "no data frame follows a Close"),
        (BOTH, "a Close is answered with a Close, unless one was sent before"),
        (BOTH, "after both Closes the TCP connection is closed"),
        (SERVER, "by the server at once"),
    ],
    "5.5.2": [(BOTH, "a ping is answered with a pong, unless a Close came before")],
    "5.5.3": [(BOTH, "a pong has the data of its ping")],
    "5.6": [(BOTH, "the whole of a text message is UTF-8")],
    "5.8": [(SERVER, "extensions are negotiated in the opening handshake")],
    "6.1": [
        (SERVER, "a message is sent while the connection is OPEN, and sending ends when it is not any more"),
        (BOTH, "a message is encapsulated in frames"),
        (BOTH, "the opcode of the first frame says whether it is text or binary"),
        (BOTH, "the last frame is final"),
        (CLIENT, "a client's frames are masked"),
        (SERVER, "the frames are transmitted"),
    ],
    "6.2": [
        (BOTH, "what comes is parsed as frames"),
        (BOTH, "a control frame is handled as §5.5 says"),
        (BOTH, "the type of a message is that of its first frame"),
        (BOTH, "a data frame after the last one of a message begins a new message"),
        (SERVER, "a server removes the mask"),
    ],
    "7.1.2": [(BOTH, "the closing handshake starts with a Close of the given code and reason")],
    "7.1.7": [
        (CLIENT, "a client that fails the connection closes it"),
        (SERVER, "a server that fails the connection closes it"),
        (BOTH, "nothing that follows is processed, not even a Close"),
    ],
    "7.2.1": [
        (OPENING, "a client that must fail in the opening handshake fails as §7.1.7 says"),
        (OPENING, "a client whose transport is lost fails"),
    ],
    "7.2.2": [(SERVER, "a server that aborts in the opening handshake closes the connection")],
    "7.4.1": [
        (BOTH, "1005 is not sent"),
        (BOTH, "1006 is not sent"),
        (BOTH, "1015 is not sent"),
    ],
    "8.1": [(BOTH, "text that is no UTF-8 fails the connection")],
    "9": [(SERVER, "a server responds with no extension that the client did not offer")],
    "9.1": [
        (SERVER, "a `Sec-WebSocket-Extensions` that breaks its grammar fails the handshake at once"),
        (OPENING, "a client uses no extension unless the server has agreed to it"),
    ],
    "10.3": [(AUTHOR, "a client chooses a new key for each frame, which applications cannot foresee")],
    "10.4": [(BOTH, "the size of frames and of messages is bounded")],
    "10.7": [(BOTH, "what comes is always validated")],
}  # fmt: skip
