//! Receives header bytes · hands out tokens and list elements · owns the building blocks of RFC 9110 §5.6.

/// Offered subprotocols with this prefix carry a bearer token and are never selected: browsers cannot send
/// `Authorization` with a handshake, and a selected subprotocol would echo the token.
pub(super) const BEARER_SUBPROTOCOL: &str = "bearer.";

/// Whether `text` is a token: what names headers, methods and subprotocols.
pub(crate) fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|byte| is_token_byte(*byte))
}

const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

/// The elements of a comma-separated list without their white space; a recipient ignores empty ones (§5.6.1.2).
pub(super) fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|element| !element.is_empty())
}

/// `text` as a credential: not empty, visible ASCII only.
pub(super) fn visible(text: &[u8]) -> Option<&str> {
    let all = !text.is_empty() && text.iter().all(u8::is_ascii_graphic);
    all.then(|| std::str::from_utf8(text).ok()).flatten()
}
