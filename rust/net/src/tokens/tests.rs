//! Receives tokens of the RFCs and tokens made for the purpose · looks at what is said of them · owns the promise that
//! no token gets past a rule.

use std::fmt::Write as _;
use std::time::Duration;

use jsonwebtoken::Algorithm;
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};

use super::file::{public_key, secret};
use super::jwk;
use super::keys::{Key, Keys, MAX_KEYS, Problem};
use super::verification::{MAX_TOKEN, Rules, Verified};

const NOW: f64 = 1_700_000_000.0;
const SECRET: &[u8] = b"a secret of thirty-two bytes or more";

/// The alphabet of RFC 4648 §5, without padding.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let number =
            chunk.iter().fold(0_u32, |sum, byte| (sum << 8) | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..=chunk.len() {
            text.push(char::from(DIGITS[(number >> (18 - 6 * place)) as usize & 63]));
        }
    }
    text
}

/// Header and claims, signed with `SECRET` whatever the header says.
fn token(header: &str, claims: &str) -> String {
    let mut token = format!("{}.{}", base64(header.as_bytes()), base64(claims.as_bytes()));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), token.as_bytes());
    write!(token, ".{}", base64(tag.as_ref())).unwrap();
    token
}

fn hs256(claims: &str) -> String {
    token(r#"{"alg":"HS256"}"#, claims)
}

fn rules() -> Rules {
    Rules { user_claim: "sub".into(), ..Rules::default() }
}

fn key(name: &str) -> Key {
    Key::secret(Some(name.into()), SECRET).unwrap()
}

fn check(rules: &Rules, token: &str) -> Result<Verified, &'static str> {
    rules.verify(&Keys::from(vec![key("one")]), token, NOW)
}

fn reason(rules: &Rules, token: &str) -> &'static str {
    check(rules, token).expect_err("a broken token")
}

#[test]
fn a_good_token_says_who_and_for_how_long_and_keeps_its_claims_as_they_are() {
    let claims = r#"{"sub":"ada", "exp":1700000060, "n":123456789012345678901234567890}"#;
    let verified = check(&rules(), &hs256(claims)).unwrap();
    assert_eq!(verified.user.as_deref(), Some("ada"));
    assert_eq!(verified.lasts, Duration::from_mins(1));
    assert_eq!(verified.claims, claims);
    assert!(check(&rules(), &hs256(r#"{"exp":1700000060}"#)).unwrap().user.is_none());
}

#[test]
fn the_tokens_of_the_rfcs_are_genuine() {
    // RFC 7515 §A.1 (HS256), §A.2 (RS256), §A.3 (ES256): one payload, three signatures.
    let payload =
        "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    let hs = r#"{"keys":[{"kty":"oct","k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"}]}"#;
    let rs = r#"{"keys":[{"kty":"RSA","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ","e":"AQAB"}]}"#;
    let es = r#"{"keys":[{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#;
    for (set, header, signature) in [
        (hs, "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9", "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"),
        (
            rs,
            "eyJhbGciOiJSUzI1NiJ9",
            "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw",
        ),
        (
            es,
            "eyJhbGciOiJFUzI1NiJ9",
            "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
        ),
    ] {
        let keys = Keys::from(jwk::keys(set.as_bytes()).unwrap());
        let verified = rules().verify(&keys, &format!("{header}.{payload}.{signature}"), 1_300_819_379.0);
        assert_eq!(verified.unwrap().lasts, Duration::from_secs(1), "{header}");
        let (first, rest) = signature.split_at(1);
        let other = if first == "A" { "B" } else { "A" };
        let forged = format!("{header}.{payload}.{other}{rest}");
        let reason = rules().verify(&keys, &forged, 1_300_819_379.0).unwrap_err();
        assert_eq!(reason, "no key verifies the token's signature", "{header}");
    }
}

#[test]
fn ed25519_and_p256_of_keys_made_here() {
    let random = SystemRandom::new();
    let document = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
    let ed = Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap();
    let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
    let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
    let ec = EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random).unwrap();
    let keys = Keys::from(vec![
        Key::ed25519(Some("ed".into()), ed.public_key().as_ref()).unwrap(),
        Key::p256(Some("ec".into()), ec.public_key().as_ref()).unwrap(),
    ]);
    let part = |header: &str| format!("{}.{}", base64(header.as_bytes()), base64(br#"{"exp":1700000060}"#));
    for name in ["", r#","kid":"ed""#] {
        let message = part(&format!(r#"{{"alg":"EdDSA"{name}}}"#));
        let token = format!("{message}.{}", base64(ed.sign(message.as_bytes()).as_ref()));
        assert!(rules().verify(&keys, &token, NOW).is_ok());
    }
    let message = part(r#"{"alg":"ES256","kid":"ec"}"#);
    let signature = ec.sign(&random, message.as_bytes()).unwrap();
    let token = format!("{message}.{}", base64(signature.as_ref()));
    assert!(rules().verify(&keys, &token, NOW).is_ok());
    // Signed by the one, named as the other.
    let message = part(r#"{"alg":"ES256","kid":"ed"}"#);
    let signature = ec.sign(&random, message.as_bytes()).unwrap();
    let token = format!("{message}.{}", base64(signature.as_ref()));
    assert_eq!(rules().verify(&keys, &token, NOW).unwrap_err(), "the token's alg is not that of its key");
}

#[test]
fn the_algorithm_is_the_key_s_and_never_the_token_s() {
    let claims = r#"{"exp":1700000060}"#;
    let unknown = "the token's header is no JSON object with an alg that is known here";
    for (header, expected) in [
        (r#"{"alg":"none"}"#, unknown),
        (r#"{"alg":"None"}"#, unknown),
        (r#"{"alg":""}"#, unknown),
        (r#"{"alg":1}"#, unknown),
        (r#"{"alg":["HS256"]}"#, unknown),
        (r#"{"typ":"JWT"}"#, unknown),
        (r#"["HS256"]"#, unknown),
        ("null", unknown),
        ("{", unknown),
        (r#"{"alg":"HS256","alg":"none"}"#, unknown),
        (r#"{"alg":"HS512"}"#, "no key verifies the token's signature"),
        (r#"{"alg":"HS512","kid":"one"}"#, "the token's alg is not that of its key"),
        (r#"{"alg":"HS256","kid":"../../one"}"#, "the token's kid names no key"),
        (r#"{"alg":"HS256","kid":"two"}"#, "the token's kid names no key"),
        (r#"{"alg":"HS256","kid":""}"#, "the token's kid names no key"),
        (r#"{"alg":"HS256","kid":["one"]}"#, unknown),
        (
            r#"{"alg":"HS256","crit":["exp"]}"#,
            "the token has a crit header, of which nothing is understood here",
        ),
        (r#"{"alg":"HS256","crit":[]}"#, "the token has a crit header, of which nothing is understood here"),
        (r#"{"alg":"HS256","crit":["exp"],"crit":["exp"]}"#, unknown),
    ] {
        assert_eq!(reason(&rules(), &token(header, claims)), expected, "{header}");
    }
    // An unsigned one, as the classic attack has it.
    let unsigned = format!("{}.{}.", base64(br#"{"alg":"none"}"#), base64(claims.as_bytes()));
    assert_eq!(reason(&rules(), &unsigned), unknown);
    let empty = format!("{}.{}.", base64(br#"{"alg":"HS256"}"#), base64(claims.as_bytes()));
    assert_eq!(reason(&rules(), &empty), "no key verifies the token's signature");
}

#[test]
fn a_public_key_is_no_shared_secret() {
    // RS256 to HS256: signed by HMAC with what everybody knows, the public key.
    let modulus = [0xC1; 256];
    let keys = Keys::from(vec![Key::rsa(Some("rsa".into()), &modulus, &[1, 0, 1]).unwrap()]);
    for header in [r#"{"alg":"HS256","kid":"rsa"}"#, r#"{"alg":"HS256"}"#] {
        let mut token = format!("{}.{}", base64(header.as_bytes()), base64(br#"{"exp":1700000060}"#));
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &modulus), token.as_bytes());
        write!(token, ".{}", base64(tag.as_ref())).unwrap();
        assert!(rules().verify(&keys, &token, NOW).is_err());
    }
}

#[test]
fn exp_and_nbf_are_dates() {
    let no_date = "the token's exp is no date";
    for (exp, expected) in [
        ("1700000000", "the token has expired"),
        ("0", "the token has expired"),
        ("-1", no_date),
        ("\"1700000060\"", no_date),
        ("[1700000060]", "the token's claims are no well-formed JSON object"),
        ("true", no_date),
        ("null", no_date),
        ("18446744073709551616", no_date),
        ("1e300", no_date),
        ("253402300800", no_date),
        ("1e400", "the token's claims are no well-formed JSON object"),
        ("NaN", "the token's claims are no well-formed JSON object"),
    ] {
        assert_eq!(reason(&rules(), &hs256(&format!("{{\"exp\":{exp}}}"))), expected, "{exp}");
    }
    assert_eq!(reason(&rules(), &hs256("{}")), "the token has no exp");
    let lasts = |claims: &str| check(&rules(), &hs256(claims)).map(|verified| verified.lasts);
    assert_eq!(lasts(r#"{"exp":1700000000.25}"#), Ok(Duration::from_millis(250)));
    assert_eq!(lasts(r#"{"exp":1700000001,"nbf":1700000000}"#), Ok(Duration::from_secs(1)));
    assert_eq!(lasts(r#"{"exp":1700000009,"nbf":1700000001}"#), Err("the token is not valid yet"));
    for nbf in ["\"0\"", "-1", "null", "1e300"] {
        let claims = format!("{{\"exp\":1700000009,\"nbf\":{nbf}}}");
        assert_eq!(lasts(&claims), Err("the token's nbf is no date"), "{nbf}");
    }
}

#[test]
fn clocks_may_differ_by_the_leeway_and_no_more() {
    let rules = Rules { leeway: Duration::from_secs(5), ..rules() };
    let lasts = |claims: &str| check(&rules, &hs256(claims)).map(|verified| verified.lasts);
    assert_eq!(lasts(r#"{"exp":1699999996}"#), Ok(Duration::from_secs(1)));
    assert_eq!(lasts(r#"{"exp":1699999995}"#), Err("the token has expired"));
    assert!(lasts(r#"{"exp":1700000060,"nbf":1700000005}"#).is_ok());
    assert_eq!(lasts(r#"{"exp":1700000060,"nbf":1700000006}"#), Err("the token is not valid yet"));
}

#[test]
fn issuer_audience_and_user_are_what_the_rules_say() {
    let strict = Rules { issuer: Some("https://a".into()), audience: Some("us".into()), ..rules() };
    let iss = "the token's iss is not the one that is trusted here";
    let aud = "the token's aud does not name this server";
    for (claims, expected) in [
        (r#""iss":"https://a","aud":"us""#, None),
        (r#""iss":"https://a","aud":["them","us"]"#, None),
        (r#""aud":"us""#, Some(iss)),
        (r#""iss":"https://b","aud":"us""#, Some(iss)),
        (r#""iss":["https://a"],"aud":"us""#, Some(iss)),
        (r#""iss":"https://a""#, Some(aud)),
        (r#""iss":"https://a","aud":"them""#, Some(aud)),
        (r#""iss":"https://a","aud":["them"]"#, Some(aud)),
        (r#""iss":"https://a","aud":[]"#, Some(aud)),
        (r#""iss":"https://a","aud":{"us":1}"#, Some(aud)),
        (r#""iss":"https://a","aud":"us","sub":7"#, Some("the token's claim of the user is no text")),
    ] {
        let token = hs256(&format!("{{\"exp\":1700000060,{claims}}}"));
        assert_eq!(check(&strict, &token).err(), expected, "{claims}");
    }
    assert_eq!(reason(&rules(), &hs256(r#"{"exp":1700000060,"aud":"them"}"#)), aud);
    let other = Rules { user_claim: "uid".into(), ..rules() };
    let verified = check(&other, &hs256(r#"{"exp":1700000060,"sub":"ada","uid":"7"}"#)).unwrap();
    assert_eq!(verified.user.as_deref(), Some("7"));
}

#[test]
fn what_is_no_token_is_refused() {
    let parts = "the token is not three parts of base64url";
    let good = hs256(r#"{"exp":1700000060}"#);
    let [header, claims, signature] = good.split('.').collect::<Vec<_>>()[..] else { panic!() };
    for broken in [
        "x".to_owned(),
        "..".to_owned(),
        ".".to_owned(),
        format!("{header}.{claims}"),
        format!("{header}.{claims}.{signature}.{signature}"),
        format!("{header}.{claims}.{signature}.a.b"),
        format!("%%%.{claims}.{signature}"),
        format!("{header}.{claims}.{signature}="),
        format!("{header}.{claims}.+/{signature}"),
        format!("{header}.{claims}.\u{fc}"),
    ] {
        let expected = if broken == ".." {
            "the token's header is no JSON object with an alg that is known here"
        } else {
            parts
        };
        assert_eq!(reason(&rules(), &broken), expected, "{broken}");
    }
    for claims in ["[1700000060]", "\"exp\"", "1700000060", "null", "", "{\"exp\":", "{}{}"] {
        assert_eq!(
            reason(&rules(), &hs256(claims)),
            "the token's claims are no well-formed JSON object",
            "{claims}"
        );
    }
    let nested = token(r#"{"alg":"HS256","cty":"JWT"}"#, &good);
    assert_eq!(reason(&rules(), &nested), "the token's claims are no well-formed JSON object");
    let duplicate = hs256(r#"{"exp":1,"exp":1700000060}"#);
    assert_eq!(reason(&rules(), &duplicate), "the token's claims are no well-formed JSON object");
    let deep = format!("{{\"exp\":1700000060,\"x\":{}{}}}", "[".repeat(500), "]".repeat(500));
    assert_eq!(reason(&rules(), &hs256(&deep)), "the token's claims are no well-formed JSON object");
}

#[test]
fn a_token_that_is_too_long_is_refused_unread() {
    let long = |length: usize| {
        let claims = format!(r#"{{"exp":1700000060,"x":"{}"}}"#, "x".repeat(length));
        hs256(&claims)
    };
    let fits = (0..MAX_TOKEN).map(|length| long(length).len()).filter(|size| *size <= MAX_TOKEN).count();
    assert!(check(&rules(), &long(fits - 1)).is_ok());
    assert_eq!(reason(&rules(), &long(fits)), "the token is longer than 8192 bytes");
    assert_eq!(reason(&rules(), &"x".repeat(1 << 20)), "the token is longer than 8192 bytes");
}

#[test]
fn no_reason_repeats_what_the_token_says() {
    let planted = "PLANTED";
    let claims = format!(r#"{{"exp":"{planted}","sub":"{planted}","iss":"{planted}"}}"#);
    for header in [r#"{"alg":"HS256"}"#, r#"{"alg":"PLANTED"}"#, r#"{"alg":"HS256","kid":"PLANTED"}"#] {
        assert!(!reason(&rules(), &token(header, &claims)).contains(planted));
    }
}

#[test]
fn a_token_without_kid_finds_its_key_among_a_few_of_its_algorithm() {
    let other = |number: u8| Key::secret(Some(number.to_string()), &[number; 32]).unwrap();
    let mut keys = Keys::from((0..3).map(other).chain([key("last")]).collect());
    let claims = r#"{"exp":1700000060}"#;
    assert!(rules().verify(&keys, &hs256(claims), NOW).is_ok());
    let wrong = token(r#"{"alg":"HS256","kid":"2"}"#, claims);
    assert_eq!(rules().verify(&keys, &wrong, NOW).unwrap_err(), "no key verifies the token's signature");
    // Among more than a shard has the time to try it must say which.
    keys.add(vec![other(3)]).unwrap();
    let reason = rules().verify(&keys, &hs256(claims), NOW).unwrap_err();
    assert_eq!(reason, "the token has no kid, and more than 4 keys could be its own");
    assert!(rules().verify(&keys, &token(r#"{"alg":"HS256","kid":"last"}"#, claims), NOW).is_ok());
}

#[test]
fn secrets_are_long_and_nothing_that_everybody_knows() {
    let problem = |content: &[u8]| secret(None, content).err();
    assert_eq!(problem(&[b'x'; 31]), Some(Problem::ShortSecret(31)));
    assert_eq!(problem(b"0123456789012345678901234567890\n"), Some(Problem::ShortSecret(31)));
    assert_eq!(problem(b"012345678901234567890123456789\r\n"), Some(Problem::ShortSecret(30)));
    assert_eq!(problem(&[0xFF; 32]), None);
    for public in [
        "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA",
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI",
        "{\"keys\": [    {}   ], \"padding\": 1}",
    ] {
        assert_eq!(problem(public.as_bytes()), Some(Problem::NotSecret));
    }
}

#[test]
fn pem_files_hold_one_public_key_that_is_known_here() {
    let pem = |label: &str, body: &str| format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n");
    let read = |text: String| public_key(Some("name".into()), text.as_bytes()).map(|key| key.algorithm);
    // RFC 8410 §10.1.
    let ed = "MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=";
    assert_eq!(read(pem("PUBLIC KEY", ed)).ok(), Some(Algorithm::EdDSA));
    assert_eq!(read(pem("PRIVATE KEY", ed)).err(), Some(Problem::Private));
    assert_eq!(read(pem("EC PRIVATE KEY", ed)).err(), Some(Problem::Private));
    assert_eq!(read(pem("CERTIFICATE", ed)).err(), Some(Problem::NotPem));
    assert_eq!(read(pem("PUBLIC KEY", "AAAA")).err(), Some(Problem::NotPem));
    assert_eq!(read("nothing".into()).err(), Some(Problem::NotPem));
    assert_eq!(read(String::new()).err(), Some(Problem::NotPem));
}

#[test]
fn of_a_jwk_set_only_keys_for_signatures_are_taken() {
    let set = |keys: &str| jwk::keys(format!("{{\"keys\":[{keys}]}}").as_bytes());
    let k = base64(&[7; 32]);
    let good = format!(r#"{{"kty":"oct","kid":"a","k":"{k}"}}"#);
    let others = format!(
        r#"{{"kty":"oct","kid":"b","k":"{k}","use":"enc"}},{{"kty":"oct","kid":"c","k":"{k}","alg":"HS512"}},
           {{"kty":"oct","kid":"d","k":"{k}","key_ops":["sign"]}},{{"kty":"EC","crv":"P-384","x":"AA","y":"AA"}},
           {{"kty":"quantum"}},{{"kty":"OKP","crv":"Ed448","x":"AA"}}"#
    );
    let keys = Keys::from(set(&format!("{others},{good}")).unwrap());
    assert_eq!(keys.list(), [(Some("a"), Algorithm::HS256)]);
    assert_eq!(set(&others).err(), Some(Problem::NoUsableKey));
    assert_eq!(set("").err(), Some(Problem::NoUsableKey));
    assert_eq!(set(r#"{"kty":"oct","k":"AAAA"}"#).err(), Some(Problem::ShortSecret(3)));
    let short = r#"{"kty":"OKP","crv":"Ed25519","x":"AAAA"}"#;
    assert_eq!(set(short).err(), Some(Problem::Unsupported), "31 bytes less would be read beyond their end");
    assert_eq!(set(r#"{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}"#).err(), Some(Problem::Unsupported));
    assert_eq!(set(r#"{"kty":"RSA","n":"AQ","e":"AQAB"}"#).err(), Some(Problem::RsaBits(1)));
    let private = r#"{"kty":"OKP","crv":"Ed25519","x":"AAAA","d":"AAAA"}"#;
    assert_eq!(set(private).err(), Some(Problem::Private));
    for broken in ["", "[]", "{}", r#"{"keys":{}}"#, r#"{"kty":"oct"}"#] {
        assert_eq!(jwk::keys(broken.as_bytes()).err(), Some(Problem::NotJwkSet), "{broken}");
    }
}

#[test]
fn keys_are_few_and_no_two_have_one_name() {
    let mut keys = Keys::from(vec![key("one")]);
    assert_eq!(keys.add(vec![key("one")]), Err(Problem::SameName));
    let unnamed = || (0..MAX_KEYS).map(|_| Key::secret(None, SECRET).unwrap()).collect();
    assert_eq!(Keys::from(unnamed()).add(vec![key("one")]), Err(Problem::TooMany(MAX_KEYS + 1)));
}

#[test]
fn an_rsa_key_that_makes_every_signature_genuine_is_refused() {
    assert_eq!(Key::rsa(None, &[0xC1; 256], &[1]).err(), Some(Problem::Unsupported));
    assert_eq!(Key::rsa(None, &[0xC1; 128], &[1, 0, 1]).err(), Some(Problem::RsaBits(1_024)));
    assert!(Key::rsa(None, &[&[0], &[0xC1; 256][..]].concat(), &[0, 1, 0, 1]).is_ok());
}
