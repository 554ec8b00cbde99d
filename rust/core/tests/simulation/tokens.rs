//! Receives upgrades of random runs · says of most that their token is good, and for how long · owns the pattern, which
//! is the same for the same seed.

use std::sync::atomic::{AtomicU64, Ordering};

use streamconductor_core::handshake::Request;
use streamconductor_core::shard::tokens::{Claimed, TokenRefusal, Tokens};
use streamconductor_core::time::Timestamp;

use super::seconds;

/// Refuses one request in eight; of the others one in two lives for three seconds, and one for ever.
#[derive(Default)]
pub struct Patterned(AtomicU64);

impl Tokens for Patterned {
    fn verify(&self, _: &Request, now: Timestamp) -> Result<Claimed, TokenRefusal> {
        let number = self.0.fetch_add(1, Ordering::Relaxed);
        if number % 8 == 5 {
            return Err(TokenRefusal::Invalid("the token is one in eight"));
        }
        let expires_at = if number.is_multiple_of(2) { now + seconds(3) } else { Timestamp::NEVER };
        Ok(Claimed { user: Some("ada".into()), expires_at, claims: "{}".into() })
    }
}
