//! Receives the `Sec-WebSocket-Extensions` of a response · hands out what is agreed, or the rule that it breaks · owns
//! what a client offers, and the rules for answers to it (RFC 6455 §9.1, RFC 7692 §5.1 and §7.1).
//!
//! Unlike an offer, an answer that breaks a rule fails the connection: the server believes that something was agreed.

use super::negotiation::{Agreement, NAME, cut, unquoted, window_bits};

/// What a client offers: neither side carries its window from one message into the next, and no more is asked. A limit
/// of our own window is not offered, as windows are shared by all connections anyway.
pub const OFFER: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

/// A rule that an answer breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// An extension that was not offered (RFC 6455 §4.1).
    #[error("it selects an extension that was not offered")]
    NotOffered,
    /// The header is there and lists nothing that can be read (RFC 6455 §9.1).
    #[error("its list of extensions breaks the grammar")]
    Grammar,
    /// The same extension twice (RFC 7692 §5.1).
    #[error("it selects permessage-deflate more than once")]
    Twice,
    /// A parameter that is not known, or was not offered (RFC 7692 §7.1).
    #[error("permessage-deflate has a parameter that was not offered")]
    Parameter,
    /// A parameter twice (RFC 7692 §7.1).
    #[error("permessage-deflate has a parameter more than once")]
    DuplicateParameter,
    /// A parameter with a value that it cannot have (RFC 7692 §7.1).
    #[error("permessage-deflate has a parameter with an invalid value")]
    Value,
    /// The server keeps its window, which was not offered (RFC 7692 §7.1.1.1).
    #[error("permessage-deflate lacks server_no_context_takeover, which was asked for")]
    ContextTakeover,
}

/// What is agreed, given the header's lines in the order sent and whether [`OFFER`] was made; `None`: nothing is.
pub fn confirm<'l>(
    lines: impl IntoIterator<Item = &'l [u8]>,
    is_offered: bool,
) -> Result<Option<Agreement>, AnswerError> {
    let (mut agreement, mut is_there) = (None, false);
    for line in lines {
        is_there = true;
        let mut rest = Some(line);
        while let Some(text) = rest {
            let (extension, after) = cut(text, b',');
            rest = after;
            let extension = extension.trim_ascii();
            // Empty elements of a list are ignored (RFC 9110 §5.6.1.2).
            if extension.is_empty() {
                continue;
            }
            let parameters = parameters_of(extension, is_offered)?;
            if agreement.replace(judged(parameters)?).is_some() {
                return Err(AnswerError::Twice);
            }
        }
    }
    if is_there && agreement.is_none() {
        return Err(AnswerError::Grammar);
    }
    Ok(agreement)
}

/// The parameters of the one extension that may be selected.
fn parameters_of(extension: &[u8], is_offered: bool) -> Result<Option<&[u8]>, AnswerError> {
    let (name, parameters) = cut(extension, b';');
    if is_offered && name.trim_ascii() == NAME { Ok(parameters) } else { Err(AnswerError::NotOffered) }
}

fn judged(mut rest: Option<&[u8]>) -> Result<Agreement, AnswerError> {
    let mut seen = 0_u8;
    while let Some(parameters) = rest {
        let (parameter, after) = cut(parameters, b';');
        rest = after;
        let (name, value) = match cut(parameter, b'=') {
            (name, None) => (name, None),
            (name, Some(value)) => (name, Some(unquoted(value.trim_ascii()).ok_or(AnswerError::Value)?)),
        };
        let flag = match (name.trim_ascii(), value) {
            (b"server_no_context_takeover", None) => 1,
            (b"client_no_context_takeover", None) => 2,
            // A server may limit its own window unasked (§7.1.2.1); whatever it has is inflated with the largest.
            (b"server_max_window_bits", Some(value)) if window_bits(&value).is_some() => 4,
            (
                b"server_no_context_takeover" | b"client_no_context_takeover" | b"server_max_window_bits",
                _,
            ) => return Err(AnswerError::Value),
            // `client_max_window_bits` among them: only who offered it may be given it (§7.1.2.2).
            _ => return Err(AnswerError::Parameter),
        };
        if seen & flag != 0 {
            return Err(AnswerError::DuplicateParameter);
        }
        seen |= flag;
    }
    if seen & 1 == 0 { Err(AnswerError::ContextTakeover) } else { Ok(Agreement::WIDEST) }
}
