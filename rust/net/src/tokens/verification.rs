//! Receives a token and the keys · hands out what it says, or the rule that it breaks · owns the rules for tokens
//! (RFC 7515, RFC 7519, RFC 8725).
//!
//! jsonwebtoken takes the token apart and checks its signature. The claims are looked at here: against a time that is
//! an argument, with `exp` and `nbf` strictly dates, an `exp` that is now over (RFC 7519 §4.1.4: "on or after"), `iss`
//! a text and never a list, and no use of `crit`, which jsonwebtoken passes over. No reason repeats what a token says.

use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{decode, decode_header};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::keys::{Key, Keys};

/// Bytes of a token; a longer one is refused unread.
pub const MAX_TOKEN: usize = 8 * 1024;
/// Keys that a token without a `kid` is tried with: each may take 200 µs, and a shard has other things to do.
const MAX_TRIED: usize = 4;
/// The last second of the year 9999. A token that lives longer lives for ever, which none may.
const LAST_DATE: f64 = 253_402_300_799.0;

/// What the claims of a token must say.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Its `iss`; `None`: any, or none.
    pub issuer: Option<String>,
    /// Its `aud`, or one of it; `None`: it must not have one (RFC 7519 §4.1.3).
    pub audience: Option<String>,
    /// By how much clocks may differ.
    pub leeway: Duration,
    /// The claim that names the user.
    pub user_claim: String,
}

/// What a good token says.
#[derive(Debug)]
pub struct Verified {
    pub user: Option<Arc<str>>,
    /// For how long from now, leeway included.
    pub lasts: Duration,
    /// All claims, as the text of a JSON object.
    pub claims: String,
}

impl Rules {
    /// What the token says, or the rule that it breaks. `wall` is the time in seconds since 1970.
    pub fn verify(&self, keys: &Keys, token: &str, wall: f64) -> Result<Verified, &'static str> {
        if token.len() > MAX_TOKEN {
            return Err("the token is longer than 8192 bytes");
        }
        let text = signed(keys, token)?;
        let claims: Map<String, Value> = serde_json::from_str(text.get())
            .map_err(|_| "the token's claims are no well-formed JSON object")?;
        self.check_issuer(claims.get("iss"))?;
        self.check_audience(claims.get("aud"))?;
        let leeway = self.leeway.as_secs_f64();
        let expires = claims.get("exp").ok_or("the token has no exp")?;
        let left = date(expires).ok_or("the token's exp is no date")? + leeway - wall;
        if left <= 0.0 {
            return Err("the token has expired");
        }
        if let Some(begins) = claims.get("nbf")
            && date(begins).ok_or("the token's nbf is no date")? > wall + leeway
        {
            return Err("the token is not valid yet");
        }
        let user = match claims.get(&self.user_claim) {
            None => None,
            Some(Value::String(user)) => Some(user.as_str().into()),
            Some(_) => return Err("the token's claim of the user is no text"),
        };
        let lasts = Duration::try_from_secs_f64(left).unwrap_or(Duration::MAX);
        Ok(Verified { user, lasts, claims: Box::<str>::from(text).into() })
    }

    fn check_issuer(&self, issuer: Option<&Value>) -> Result<(), &'static str> {
        match (&self.issuer, issuer.and_then(Value::as_str)) {
            (None, _) => Ok(()),
            (Some(wanted), Some(found)) if wanted == found => Ok(()),
            _ => Err("the token's iss is not the one that is trusted here"),
        }
    }

    fn check_audience(&self, audience: Option<&Value>) -> Result<(), &'static str> {
        let is_meant = match (&self.audience, audience) {
            (None, None) => true,
            (Some(wanted), Some(Value::String(found))) => wanted == found,
            (Some(wanted), Some(Value::Array(all))) => all.iter().any(|one| one.as_str() == Some(wanted)),
            _ => false,
        };
        if is_meant { Ok(()) } else { Err("the token's aud does not name this server") }
    }
}

/// The claims, as text, once the signature has been found genuine.
fn signed(keys: &Keys, token: &str) -> Result<Box<RawValue>, &'static str> {
    let header = decode_header(token).map_err(|error| match error.kind() {
        ErrorKind::InvalidToken | ErrorKind::Base64(_) => "the token is not three parts of base64url",
        _ => "the token's header is no JSON object with an alg that is known here",
    })?;
    if header.crit.is_some() {
        return Err("the token has a crit header, of which nothing is understood here");
    }
    let Some(name) = &header.kid else {
        if keys.of(header.alg).count() > MAX_TRIED {
            return Err("the token has no kid, and more than 4 keys could be its own");
        }
        return first_that_verifies(keys.of(header.alg), token);
    };
    let key = keys.named(name).ok_or("the token's kid names no key")?;
    // The key decides. A token that could choose would have a public key taken for a shared secret.
    if key.algorithm != header.alg {
        return Err("the token's alg is not that of its key");
    }
    first_that_verifies(std::iter::once(key), token)
}

fn first_that_verifies<'key>(
    keys: impl Iterator<Item = &'key Key>,
    token: &str,
) -> Result<Box<RawValue>, &'static str> {
    for key in keys {
        match decode::<Box<RawValue>>(token, &key.decoding, &key.validation) {
            Ok(token) => return Ok(token.claims),
            Err(error) => match error.kind() {
                ErrorKind::InvalidSignature => {}
                ErrorKind::Base64(_) => return Err("the token is not three parts of base64url"),
                ErrorKind::Json(_) => return Err("the token's claims are no well-formed JSON object"),
                _ => return Err("the token cannot be checked"),
            },
        }
    }
    Err("no key verifies the token's signature")
}

/// A `NumericDate` (RFC 7519 §2): seconds since 1970, whole or not.
fn date(value: &Value) -> Option<f64> {
    value.as_f64().filter(|date| (0.0..=LAST_DATE).contains(date))
}
