//! Receives upgrades from the shards · hands each the verdict on its bearer token · owns the keys in force, and the
//! moment at which others take their place.

mod file;
mod jwk;
mod keys;
mod signature;
#[cfg(test)]
mod tests;
mod verification;

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use streamconductor_core::handshake::Request;
use streamconductor_core::shard::tokens::{Claimed, TokenRefusal, Tokens};
use streamconductor_core::time::Timestamp;

pub use keys::{KeyError, Problem};
pub use verification::{MAX_TOKEN, Rules};

use keys::Keys;

/// What tokens are checked with.
pub struct TokenSettings {
    /// The files of the keys.
    pub files: Vec<PathBuf>,
    /// What the claims must say.
    pub rules: Rules,
    /// The cookie that may carry a token; `None`: none does.
    pub cookie: Option<String>,
}

/// Checks bearer tokens with the keys of some files.
pub struct BearerTokens {
    settings: TokenSettings,
    /// The lock is held to take or replace the pointer, never while a file is read or a signature checked.
    keys: RwLock<Arc<Keys>>,
}

impl BearerTokens {
    /// Reads all keys.
    pub fn load(settings: TokenSettings) -> Result<Self, KeyError> {
        let keys = Keys::read(&settings.files)?;
        Ok(Self { settings, keys: RwLock::new(Arc::new(keys)) })
    }

    /// Reads all keys anew. With a problem in any file those in force stay. Connections that are open stay, too,
    /// whatever became of the key that they came in with.
    pub fn reload(&self) -> Result<(), KeyError> {
        let keys = Arc::new(Keys::read(&self.settings.files)?);
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
        Ok(())
    }
}

impl Tokens for BearerTokens {
    fn verify(&self, request: &Request, now: Timestamp) -> Result<Claimed, TokenRefusal> {
        let token = request.bearer_token(self.settings.cookie.as_deref()).ok_or(TokenRefusal::Missing)?;
        let keys = Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner));
        // A clock before 1970 is one that was never set: then nothing has expired yet.
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs_f64();
        let verified = self.settings.rules.verify(&keys, token, wall).map_err(TokenRefusal::Invalid)?;
        Ok(Claimed {
            user: verified.user,
            expires_at: now + verified.lasts,
            claims: verified.claims.into_bytes().into(),
        })
    }
}
