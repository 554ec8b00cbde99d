//! Receives what a decoder found wrong · hands out close code and reason · owns their wording.

use std::borrow::Cow;

use crate::close::{CloseCode, Ending};
use crate::deflate::InflateError;

/// How the peer broke the protocol or a limit. The connection fails with it (RFC 6455 §7.1.7).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Violation {
    /// The close code that the peer is told.
    pub code: CloseCode,
    /// What was wrong, with value and limit; fits a Close frame.
    pub reason: Cow<'static, str>,
}

// Cold, so that the compiler lays the good case out straight.
impl Violation {
    #[cold]
    pub(super) fn protocol(reason: impl Into<Cow<'static, str>>) -> Self {
        Self { code: CloseCode::PROTOCOL_ERROR, reason: reason.into() }
    }

    #[cold]
    pub(super) fn not_utf8(what: &str, position: usize) -> Self {
        let reason = format!("{what} is not UTF-8 at byte {position}").into();
        Self { code: CloseCode::INVALID_DATA, reason }
    }

    #[cold]
    pub(super) fn frame_too_big(size: u64, limit: usize) -> Self {
        let reason = format!("frame of {size} bytes, max_frame_size {limit}").into();
        Self { code: CloseCode::MESSAGE_TOO_BIG, reason }
    }

    #[cold]
    pub(super) fn message_too_big(size: usize, limit: usize) -> Self {
        let reason = format!("message of at least {size} bytes, max_message_size {limit}").into();
        Self { code: CloseCode::MESSAGE_TOO_BIG, reason }
    }

    #[cold]
    pub(super) fn not_inflated(error: InflateError, limit: usize) -> Self {
        match error {
            InflateError::TooBig => {
                let reason =
                    format!("message of more than {limit} bytes when inflated, max_message_size {limit}");
                Self { code: CloseCode::MESSAGE_TOO_BIG, reason: reason.into() }
            }
            InflateError::Corrupt => {
                let reason = "compressed message is no whole deflate stream of its own".into();
                Self { code: CloseCode::INVALID_DATA, reason }
            }
        }
    }

    #[cold]
    pub(super) fn too_many_fragments(limit: u32) -> Self {
        let reason = format!("message of more than {limit} frames, max_fragments {limit}").into();
        Self { code: CloseCode::POLICY_VIOLATION, reason }
    }
}

impl From<Violation> for Ending {
    fn from(violation: Violation) -> Self {
        Self::Violation { code: violation.code, reason: violation.reason }
    }
}
