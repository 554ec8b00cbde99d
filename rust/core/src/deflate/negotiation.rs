//! Receives the `Sec-WebSocket-Extensions` of a request · hands out what is agreed, or nothing · owns the rules for
//! offers (RFC 6455 §9.1, RFC 7692 §5 and §7.1).
//!
//! The first acceptable offer is taken. One that is malformed, names something else or breaks a rule of §7.1 is
//! declined, which is never an error: the handshake goes on as if it had not been made (§5.1). Every byte is looked
//! at once.

use std::fmt;

use super::{Encoding, WindowBits};
use crate::handshake::is_token;

pub(super) const NAME: &[u8] = b"permessage-deflate";

/// An offer that was accepted. Its text is the value of the response's `Sec-WebSocket-Extensions`.
///
/// Both sides begin every message with an empty window, whether the client asked for that or not: a server may
/// demand it of a client that did not offer it (§7.1.1.2) and may do it unasked (§7.1.1.1). The client's window is
/// never limited: what it may have is inflated with the largest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreement {
    /// The window that the client asked for; `None`: it did not, and gets the largest.
    window: Option<WindowBits>,
}

impl Agreement {
    /// Nobody limited a window.
    pub(super) const WIDEST: Self = Self { window: None };

    /// How messages to this peer are encoded.
    pub fn encoding(self) -> Encoding {
        Encoding::Deflate(self.window.unwrap_or(WindowBits::MAX))
    }
}

impl fmt::Display for Agreement {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("permessage-deflate; server_no_context_takeover; client_no_context_takeover")?;
        match self.window {
            Some(bits) => write!(formatter, "; server_max_window_bits={}", bits.get()),
            None => Ok(()),
        }
    }
}

/// What is agreed, given the header's lines in the order sent; `None`: nothing is.
pub fn negotiate<'l>(lines: impl IntoIterator<Item = &'l [u8]>) -> Option<Agreement> {
    lines.into_iter().find_map(|line| {
        let mut rest = Some(line);
        std::iter::from_fn(|| {
            let (offer, after) = cut(rest?, b',');
            rest = after;
            Some(offer)
        })
        .find_map(accept)
    })
}

/// The part before the first `separator` that is not within quotes, and what is behind it, if there is one.
pub(super) fn cut(text: &[u8], separator: u8) -> (&[u8], Option<&[u8]>) {
    let (mut is_quoted, mut is_escaped) = (false, false);
    let end = text.iter().position(|byte| {
        if is_escaped {
            is_escaped = false;
        } else if is_quoted && *byte == b'\\' {
            is_escaped = true;
        } else if *byte == b'"' {
            is_quoted = !is_quoted;
        }
        !is_quoted && *byte == separator
    });
    match end.and_then(|end| text.split_at_checked(end)) {
        Some((before, after)) => (before, after.get(1..)),
        None => (text, None),
    }
}

/// Accepts an offer; `None`: it is declined.
fn accept(offer: &[u8]) -> Option<Agreement> {
    let (name, mut rest) = cut(offer, b';');
    if name.trim_ascii() != NAME {
        return None;
    }
    let (mut seen, mut window) = (0_u8, None);
    while let Some(parameters) = rest {
        let (parameter, after) = cut(parameters, b';');
        rest = after;
        let (name, value) = match cut(parameter, b'=') {
            (name, None) => (name, None),
            (name, Some(value)) => (name, Some(unquoted(value.trim_ascii())?)),
        };
        // A name that is not known declines the offer, and so does one that comes twice (§7.1).
        let parameter = match (name.trim_ascii(), value) {
            (b"server_no_context_takeover", None) => 1,
            (b"client_no_context_takeover", None) => 2,
            (b"server_max_window_bits", Some(value)) => {
                // 8 is valid and cannot be made; a smaller window than offered could, but nobody has it.
                window = Some(WindowBits::new(window_bits(&value)?)?);
                4
            }
            (b"client_max_window_bits", value) => {
                // A hint at what the client will do with less (§7.1.2.2); more is kept ready anyway.
                if let Some(value) = value {
                    window_bits(&value)?;
                }
                8
            }
            _ => return None,
        };
        if seen & parameter != 0 {
            return None;
        }
        seen |= parameter;
    }
    Some(Agreement { window })
}

/// 8 to 15, in decimal digits without leading zeros (§7.1.2.1).
pub(super) fn window_bits(value: &[u8]) -> Option<u8> {
    match *value {
        [digit @ b'8'..=b'9'] => Some(digit - b'0'),
        [b'1', digit @ b'0'..=b'5'] => Some(10 + digit - b'0'),
        _ => None,
    }
}

/// A parameter's value: a token, or a quoted string that says one (RFC 6455 §9.1).
pub(super) fn unquoted(value: &[u8]) -> Option<Vec<u8>> {
    let Some(quoted) = value.strip_prefix(b"\"") else {
        return is_token(value).then(|| value.to_vec());
    };
    let mut bytes = quoted.strip_suffix(b"\"")?.iter();
    let mut text = Vec::with_capacity(bytes.len());
    while let Some(byte) = bytes.next() {
        text.push(if *byte == b'\\' { *bytes.next()? } else { *byte });
    }
    is_token(&text).then_some(text)
}
