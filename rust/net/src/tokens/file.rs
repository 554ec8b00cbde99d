//! Receives the name of a key file · hands out the keys in it · owns what a file's suffix and form say about them.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use x509_cert::Certificate;
use x509_cert::der::asn1::{ObjectIdentifier, UintRef};
use x509_cert::der::pem::{self, PemLabel as _};
use x509_cert::der::{Decode as _, Reader as _, SliceReader};
use x509_cert::spki::SubjectPublicKeyInfoOwned;

use super::jwk;
use super::keys::{Key, Problem, name_of};

/// Bytes of a key file: a JWK Set of as many keys as are taken has a tenth of it.
pub const MAX_FILE: usize = 256 * 1024;

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// The keys of a file: by its suffix a PEM file, a JWK Set or else a shared secret.
pub fn read(path: &Path) -> Result<Vec<Key>, Problem> {
    let content = content(path)?;
    match path.extension().and_then(|suffix| suffix.to_str()) {
        Some("pem") => Ok(vec![public_key(name_of(path), &content)?]),
        Some("json") => jwk::keys(&content),
        _ => Ok(vec![secret(name_of(path), &content)?]),
    }
}

fn content(path: &Path) -> Result<Vec<u8>, Problem> {
    let unreadable = |error: std::io::Error| Problem::Unreadable(error.to_string());
    let mut content = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(MAX_FILE as u64 + 1).read_to_end(&mut content).map_err(unreadable)?;
    if content.len() > MAX_FILE { Err(Problem::TooLarge) } else { Ok(content) }
}

/// A key known to both sides. The newline that an editor or `echo` leaves is no part of it.
pub fn secret(name: Option<String>, content: &[u8]) -> Result<Key, Problem> {
    // RS256 confused with HS256 by the name of a file would let everybody in who knows the public key.
    let public: [&[u8]; 3] = [b"-----BEGIN", b"ssh-", b"ecdsa-"];
    let is_jwk = serde_json::from_slice::<serde_json::Map<_, serde_json::Value>>(content).is_ok();
    if is_jwk || public.iter().any(|start| content.trim_ascii_start().starts_with(start)) {
        return Err(Problem::NotSecret);
    }
    let secret = content.strip_suffix(b"\n").unwrap_or(content);
    Key::secret(name, secret.strip_suffix(b"\r").filter(|_| secret.len() < content.len()).unwrap_or(secret))
}

/// The one public key of a PEM file.
pub fn public_key(name: Option<String>, content: &[u8]) -> Result<Key, Problem> {
    let (label, document) = pem::decode_vec(content).map_err(|_| Problem::NotPem)?;
    if label.contains("PRIVATE KEY") {
        return Err(Problem::Private);
    }
    let key = if label == SubjectPublicKeyInfoOwned::PEM_LABEL {
        SubjectPublicKeyInfoOwned::from_der(&document)
    } else if label == Certificate::PEM_LABEL {
        let certificate = Certificate::from_der(&document);
        certificate.map(|certificate| certificate.tbs_certificate().subject_public_key_info().clone())
    } else {
        return Err(Problem::NotPem);
    };
    let key = key.map_err(|_| Problem::NotPem)?;
    let bits = key.subject_public_key.as_bytes().ok_or(Problem::NotPem)?;
    match key.algorithm.oid {
        RSA => {
            let (modulus, exponent) = numbers(bits).map_err(|_| Problem::NotPem)?;
            Key::rsa(name, modulus.as_bytes(), exponent.as_bytes())
        }
        EC if curve(&key) == Some(P256) => Key::p256(name, bits),
        ED25519 => Key::ed25519(name, bits),
        _ => Err(Problem::Unsupported),
    }
}

fn curve(key: &SubjectPublicKeyInfoOwned) -> Option<ObjectIdentifier> {
    key.algorithm.parameters.as_ref()?.decode_as().ok()
}

/// The modulus and the exponent of an `RSAPublicKey` (RFC 8017 §A.1.1).
fn numbers<'bits>(bits: &'bits [u8]) -> x509_cert::der::Result<(UintRef<'bits>, UintRef<'bits>)> {
    let mut reader = SliceReader::new(bits)?;
    let both = |inner: &mut SliceReader<'bits>| Ok((UintRef::decode(inner)?, UintRef::decode(inner)?));
    let numbers = reader.sequence::<_, _, x509_cert::der::Error>(both)?;
    reader.finish()?;
    Ok(numbers)
}
