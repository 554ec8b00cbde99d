//! Receives the text of a JWK Set · hands out those of its keys that check signatures · owns which those are.

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse};
use jsonwebtoken::{DecodingKey, DecodingKeyKind};
use serde_json::Value;

use super::keys::{Key, Problem};

/// The usable keys of a set. Others are passed over, as RFC 7517 §5 asks; a key that is meant for us and broken is
/// an error.
pub fn keys(content: &[u8]) -> Result<Vec<Key>, Problem> {
    let set: Value = serde_json::from_slice(content).map_err(|_| Problem::NotJwkSet)?;
    let members = set.get("keys").and_then(Value::as_array).ok_or(Problem::NotJwkSet)?;
    let mut keys = Vec::new();
    for member in members {
        // `d` is the private part of every kind of public key (RFC 7518 §6).
        if member.get("d").is_some() {
            return Err(Problem::Private);
        }
        let Ok(jwk) = serde_json::from_value::<Jwk>(member.clone()) else { continue };
        if let Some(key) = key(jwk)? {
            keys.push(key);
        }
    }
    if keys.is_empty() { Err(Problem::NoUsableKey) } else { Ok(keys) }
}

fn key(jwk: Jwk) -> Result<Option<Key>, Problem> {
    let common = &jwk.common;
    let is_for_signatures = common.public_key_use.as_ref().is_none_or(|one| *one == PublicKeyUse::Signature);
    let operations = common.key_operations.as_ref();
    if !is_for_signatures || operations.is_some_and(|all| !all.contains(&KeyOperations::Verify)) {
        return Ok(None);
    }
    let wanted = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => KeyAlgorithm::RS256,
        AlgorithmParameters::OctetKey(_) => KeyAlgorithm::HS256,
        AlgorithmParameters::EllipticCurve(one) if one.curve == EllipticCurve::P256 => KeyAlgorithm::ES256,
        AlgorithmParameters::OctetKeyPair(one) if one.curve == EllipticCurve::Ed25519 => KeyAlgorithm::EdDSA,
        _ => return Ok(None),
    };
    if common.key_algorithm.is_some_and(|algorithm| algorithm != wanted) {
        return Ok(None);
    }
    let decoded = DecodingKey::from_jwk(&jwk).map_err(|_| Problem::Unsupported)?;
    let name = jwk.common.key_id;
    let key = match (wanted, decoded.kind()) {
        (_, DecodingKeyKind::RsaModulusExponent { n, e }) => Key::rsa(name, n, e),
        (KeyAlgorithm::HS256, DecodingKeyKind::SecretOrDer(secret)) => Key::secret(name, secret),
        (KeyAlgorithm::ES256, DecodingKeyKind::SecretOrDer(point)) => Key::p256(name, point),
        (_, DecodingKeyKind::SecretOrDer(bytes)) => Key::ed25519(name, bytes),
    };
    key.map(Some)
}
