"""Receives nothing · hands out every MUST and MUST NOT of RFC 7692 §5 to §7, and the algorithms that these oblige to,
in the order of the text · owns our short wording of them and whom each concerns.
"""

from __future__ import annotations

from tests.support.requirements import CLIENT, SERVER

ALONE = "the client offers no other extension"
CARRIED = "the client fails where the server would carry its window on, see 7-8"
NOT_IN_USE = "the server always demands `client_no_context_takeover`, see 7.1.1.2-1"

SECTIONS: dict[str, list[tuple[str, str]]] = {
    "5.1": [
        (SERVER, "compression is in use only when the client has offered it and the response names it"),
        (SERVER, "an offer that is declined leaves the handshake and the messages as they are without it"),
        (CLIENT, "a client fails when the response agrees to what it cannot do"),
    ],
    "6": [
        (SERVER, "compression is not accepted together with another extension that uses RSV1"),
        (ALONE, "a client fails when both were accepted"),
        (SERVER, "RSV1 is set neither on control frames nor on fragments behind the first"),
        (SERVER, "a control frame with RSV1 fails the connection"),
        (SERVER, "a continuation with RSV1 fails the connection"),
    ],
    "6.1": [
        (SERVER, "a compressed message has RSV1 on its first frame, and the opcode of the original"),
        (SERVER, "a message that is sent as it is has no RSV1"),
    ],
    "6.2": [
        (SERVER, "the fragments of a compressed message are put together, then inflated"),
        (SERVER, "a message without RSV1 is taken as it is"),
    ],
    "7": [
        (SERVER, "an offer with a parameter that is not defined is declined"),
        (SERVER, "an offer with an invalid value is declined"),
        (SERVER, "an offer with a parameter that comes twice is declined"),
        (SERVER, "an offer that the server does not support is declined"),
        (CLIENT, "a client fails on a response with a parameter that is not defined"),
        (CLIENT, "or with an invalid value"),
        (CLIENT, "or with a parameter that comes twice"),
        (CLIENT, "or with what it does not support"),
    ],
    "7.1.1.1": [(SERVER, "`server_no_context_takeover` is accepted by naming it in the response")],
    "7.1.1.2": [(SERVER, "`client_no_context_takeover` is demanded by naming it in the response")],
    "7.1.2.1": [
        (SERVER, "`server_max_window_bits` is a number from 8 to 15 without leading zeros"),
        (SERVER, "it is accepted by naming the same or a smaller one in the response"),
    ],
    "7.1.2.2": [
        (SERVER, "`client_max_window_bits` has no value, or a number from 8 to 15 without leading zeros"),
        (SERVER, "the response does not name it unless the offer did"),
    ],
    "7.2.1": [
        (SERVER, "a message is deflated, ends in an empty block, and the last four bytes are left out"),
        (SERVER, "a final block that does not end with a byte is padded with zeros"),
        (SERVER, "the window is not larger than 32,768 bytes"),
        (SERVER, "with `server_max_window_bits` the server's window is not larger than agreed"),
        (SERVER, "with `server_no_context_takeover` the server begins every message with an empty window"),
        (CLIENT, "with `client_max_window_bits` the client's window is not larger than agreed"),
        (CLIENT, "with `client_no_context_takeover` the client begins every message with an empty window"),
    ],
    "7.2.2": [
        (SERVER, "four bytes are put back, and what results is inflated"),
        (
            NOT_IN_USE,
            "without `client_no_context_takeover` the server inflates with the window of the last message",
        ),
        (SERVER, "without `client_max_window_bits` the server inflates with a window of 32,768 bytes"),
        (
            CARRIED,
            "without `server_no_context_takeover` the client inflates with the window of the last message",
        ),
        (CLIENT, "without `server_max_window_bits` the client inflates with a window of 32,768 bytes"),
    ],
}
