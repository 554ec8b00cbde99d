//! Receives an upgrade and whoever checks bearer tokens · hands out the user and the end of the token's life, or a 401 ·
//! owns what a token decides: who comes in, and for how long.

use std::sync::Arc;

use bytes::Bytes;

use crate::handshake::{Refusal, Request};
use crate::id::ConnectionId;
use crate::shard::Shard;
use crate::time::Timestamp;
use crate::wire::Wire;

/// Checks the bearer tokens of upgrades. Called within a shard's turn: it must not block, nor take more than a
/// millisecond, whatever a peer sends.
pub trait Tokens: Send + Sync {
    /// What the request's token says, once its signature and its claims have been found good. `now` is the moment on
    /// the server's clock that the end of the token's life is counted from.
    fn verify(&self, request: &Request, now: Timestamp) -> Result<Claimed, TokenRefusal>;
}

/// What a good token says.
#[derive(Clone, Debug)]
pub struct Claimed {
    /// Whose connection it is; `None`: the token names nobody.
    pub user: Option<Arc<str>>,
    /// When the connection ends unless its life is extended.
    pub expires_at: Timestamp,
    /// All claims, as the JSON text of an object.
    pub claims: Bytes,
}

/// Why a request is refused for its token. Names the rule, never what the token held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenRefusal {
    /// There is none.
    Missing,
    /// There is one, and it breaks this rule.
    Invalid(&'static str),
}

impl TokenRefusal {
    /// The 401. Who has not authenticated at all is told the scheme only (RFC 6750 §3.1).
    pub(super) fn answer(self) -> Refusal {
        let (reason, challenge) = match self {
            Self::Missing => ("a bearer token is needed", "Bearer"),
            Self::Invalid(rule) => (rule, "Bearer error=\"invalid_token\""),
        };
        Refusal::new(401, reason).with_own("WWW-Authenticate", challenge)
    }
}

impl<W: Wire> Shard<W> {
    /// What the request's token says; `None`: this server looks at none.
    pub(super) fn claim(&self, request: &Request, now: Timestamp) -> Result<Option<Claimed>, Refusal> {
        let tokens = self.shared.site.tokens.as_ref();
        tokens.map(|tokens| tokens.verify(request, now)).transpose().map_err(TokenRefusal::answer)
    }

    /// The connection's life ends then, and no longer when it would have.
    pub(super) fn extend(&mut self, id: ConnectionId, until: Timestamp) {
        let index = self.places.find(id);
        let Some(connection) = index.and_then(|index| self.places.get_mut(index)) else {
            self.stats.stale += 1;
            return;
        };
        connection.clocks.expires_at = until;
        self.arm(id.index());
    }
}
