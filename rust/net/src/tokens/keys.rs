//! Receives the names of key files · hands out the keys that tokens are checked with · owns what makes a key: its
//! algorithm, which no token can change, and its name.

use std::path::{Path, PathBuf};

use jsonwebtoken::{Algorithm, DecodingKey, Validation};

use super::{file, signature};

/// Keys at once: more is a mistake.
pub const MAX_KEYS: usize = 16;
/// Bytes of a shared secret: as many as of the hash (RFC 7518 §3.2).
const MIN_SECRET: usize = 32;
/// Bits of an RSA modulus: fewer are broken (RFC 7518 §3.3), more take too long to check.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2_048..=8_192;

/// What is wrong with a key file. Names the file, never its content.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {problem}", file.display())]
pub struct KeyError {
    /// Which file.
    pub file: PathBuf,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What can be wrong with a key file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The system does not let us read it.
    #[error("cannot be read: {0}")]
    Unreadable(String),
    /// It is larger than any key file.
    #[error("has more than {} bytes, which no key file has", file::MAX_FILE)]
    TooLarge,
    /// It is no PEM file with one public key.
    #[error("holds no public key: a .pem file needs one BEGIN PUBLIC KEY or BEGIN CERTIFICATE")]
    NotPem,
    /// A key that can sign has no business here.
    #[error("holds a private key; give the public one (openssl pkey -in FILE -pubout)")]
    Private,
    /// It is a key of another kind.
    #[error("holds a key that is neither RSA, EC P-256 nor Ed25519")]
    Unsupported,
    /// RSA with too few or too many bits.
    #[error("holds an RSA key of {0} bits; 2048 to 8192 are taken")]
    RsaBits(usize),
    /// It is no JWK Set.
    #[error("is no JWK Set: a JSON object with a list \"keys\" (RFC 7517 §5)")]
    NotJwkSet,
    /// A JWK Set without a usable key.
    #[error("holds no key for checking signatures by HS256, RS256, ES256 or EdDSA")]
    NoUsableKey,
    /// It would be taken for a secret, and is something that everybody may know.
    #[error(
        "looks like a public key, and files that end neither in .pem nor in .json are shared secrets; rename it"
    )]
    NotSecret,
    /// A shared secret that can be guessed.
    #[error("holds a secret of {0} bytes; HS256 needs at least {MIN_SECRET} (openssl rand -out FILE 32)")]
    ShortSecret(usize),
    /// Two keys of one name.
    #[error("names a key as another one is named; a token's kid must name one key")]
    SameName,
    /// More keys than may be tried.
    #[error("brings the number of keys to {0}; at most {MAX_KEYS} are taken")]
    TooMany(usize),
}

/// A key and what it is good for.
pub struct Key {
    /// What a token's `kid` calls it; `None`: only tokens without a `kid` find it.
    pub name: Option<String>,
    /// The one algorithm that it is used with.
    pub algorithm: Algorithm,
    pub decoding: DecodingKey,
    /// What jsonwebtoken looks at: that algorithm. The claims are looked at by us.
    pub validation: Validation,
}

impl Key {
    /// A shared secret for HS256.
    pub fn secret(name: Option<String>, secret: &[u8]) -> Result<Self, Problem> {
        if secret.len() < MIN_SECRET {
            return Err(Problem::ShortSecret(secret.len()));
        }
        Ok(Self::new(name, Algorithm::HS256, DecodingKey::from_secret(secret)))
    }

    /// An RSA key for RS256, of big-endian numbers.
    pub fn rsa(name: Option<String>, modulus: &[u8], exponent: &[u8]) -> Result<Self, Problem> {
        let (modulus, exponent) = (without_zeros(modulus), without_zeros(exponent));
        let bits = modulus.first().map_or(0, |first| modulus.len() * 8 - first.leading_zeros() as usize);
        if !RSA_BITS.contains(&bits) {
            return Err(Problem::RsaBits(bits));
        }
        // An exponent of one makes every signature genuine; ring takes none of more than 33 bits.
        let is_odd = |number: &[u8]| number.last().is_some_and(|last| last % 2 == 1);
        if !is_odd(modulus) || !is_odd(exponent) || exponent == [1] || exponent.len() > 4 {
            return Err(Problem::Unsupported);
        }
        Ok(Self::new(name, Algorithm::RS256, DecodingKey::from_rsa_raw_components(modulus, exponent)))
    }

    /// A point of P-256 for ES256, uncompressed.
    pub fn p256(name: Option<String>, point: &[u8]) -> Result<Self, Problem> {
        if point.len() != 65 || point.first() != Some(&4) {
            return Err(Problem::Unsupported);
        }
        Ok(Self::new(name, Algorithm::ES256, DecodingKey::from_ec_der(point)))
    }

    /// An Ed25519 key for `EdDSA`.
    pub fn ed25519(name: Option<String>, key: &[u8]) -> Result<Self, Problem> {
        if key.len() != 32 {
            return Err(Problem::Unsupported);
        }
        Ok(Self::new(name, Algorithm::EdDSA, DecodingKey::from_ed_der(key)))
    }

    fn new(name: Option<String>, algorithm: Algorithm, decoding: DecodingKey) -> Self {
        let mut validation = Validation::new(algorithm);
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_aud = false;
        Self { name, algorithm, decoding, validation }
    }
}

fn without_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}

/// All keys that tokens are checked with.
pub struct Keys(Vec<Key>);

impl Keys {
    /// Reads every file.
    pub fn read(files: &[PathBuf]) -> Result<Self, KeyError> {
        signature::install();
        let mut all = Self(Vec::new());
        for path in files {
            let read = file::read(path).and_then(|keys| all.add(keys));
            read.map_err(|problem| KeyError { file: path.clone(), problem })?;
        }
        Ok(all)
    }

    /// Adds the keys of one file.
    pub fn add(&mut self, keys: Vec<Key>) -> Result<(), Problem> {
        for key in keys {
            if key.name.is_some() && self.0.iter().any(|other| other.name == key.name) {
                return Err(Problem::SameName);
            }
            self.0.push(key);
        }
        if self.0.len() > MAX_KEYS { Err(Problem::TooMany(self.0.len())) } else { Ok(()) }
    }

    /// The key of this name.
    pub fn named(&self, name: &str) -> Option<&Key> {
        self.0.iter().find(|key| key.name.as_deref() == Some(name))
    }

    /// Every key of this algorithm.
    pub fn of(&self, algorithm: Algorithm) -> impl Iterator<Item = &Key> {
        self.0.iter().filter(move |key| key.algorithm == algorithm)
    }
}

#[cfg(test)]
impl Keys {
    pub fn from(keys: Vec<Key>) -> Self {
        signature::install();
        let mut all = Self(Vec::new());
        all.add(keys).unwrap();
        all
    }

    /// Name and algorithm of each key.
    pub fn list(&self) -> Vec<(Option<&str>, Algorithm)> {
        self.0.iter().map(|key| (key.name.as_deref(), key.algorithm)).collect()
    }
}

/// What a key of this file is called: its name without suffix.
pub fn name_of(path: &Path) -> Option<String> {
    path.file_stem().map(|stem| stem.to_string_lossy().into_owned())
}
