//! Receives the body of a request piece by piece · hands out the whole · owns its bound, and its bytes in the
//! ledger while it grows.

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use streamconductor_core::ledger::{Charge, Ledger, Level, Owner};

/// Why a body could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyError {
    /// Longer than the limit.
    TooBig,
    /// The memory budget has no room for it.
    OverBudget,
    /// It ended early or is malformed.
    Broken,
}

/// Reads a body of at most `limit` bytes. The charge is for as long as the caller keeps the bytes.
pub async fn read(mut body: Incoming, limit: usize, ledger: &Ledger) -> Result<(Bytes, Charge), BodyError> {
    // A declared length is refused before a byte of it is read.
    if body.size_hint().lower() > limit as u64 {
        return Err(BodyError::TooBig);
    }
    let mut whole = BytesMut::new();
    let mut charge = ledger.charge(Owner::Mailboxes, 0);
    while let Some(frame) = body.frame().await {
        // Trailers carry nothing that we know.
        let Ok(piece) = frame.map_err(|_| BodyError::Broken)?.into_data() else { continue };
        if piece.len() > limit.saturating_sub(whole.len()) {
            return Err(BodyError::TooBig);
        }
        if ledger.level() >= Level::Pausing {
            return Err(BodyError::OverBudget);
        }
        whole.extend_from_slice(&piece);
        charge.resize(whole.capacity());
    }
    Ok((whole.freeze(), charge))
}
