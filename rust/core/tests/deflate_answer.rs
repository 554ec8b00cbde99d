//! What a client takes for an answer to its offer of permessage-deflate, and what fails the connection (RFC 7692 §7.1).
#![allow(clippy::unwrap_used)] // a panic is a failed test

use streamconductor_core::deflate::{
    Agreement, AnswerError, Encoding, OFFER, WindowBits, confirm, negotiate,
};

fn answer(line: &str) -> Result<Option<Encoding>, AnswerError> {
    confirm([line.as_bytes()], true).map(|agreement| agreement.map(Agreement::encoding))
}

#[test]
fn our_own_server_gives_an_answer_that_is_taken() {
    let agreed = negotiate([OFFER.as_bytes()]).unwrap().to_string();
    assert_eq!(answer(&agreed), Ok(Some(Encoding::Deflate(WindowBits::MAX))));
}

#[test]
fn what_the_rules_allow_is_taken() {
    for line in [
        "permessage-deflate; server_no_context_takeover",
        "permessage-deflate;server_no_context_takeover ; client_no_context_takeover",
        "permessage-deflate; server_no_context_takeover; server_max_window_bits=8",
        "permessage-deflate; server_max_window_bits=\"15\"; server_no_context_takeover",
        " , permessage-deflate; server_no_context_takeover ,",
    ] {
        assert_eq!(answer(line), Ok(Some(Encoding::Deflate(WindowBits::MAX))), "{line}");
    }
    assert_eq!(confirm([], true), Ok(None), "an offer may be declined");
    assert_eq!(confirm([], false), Ok(None));
}

#[test]
fn each_broken_rule_is_named() {
    use AnswerError::{ContextTakeover, DuplicateParameter, Grammar, NotOffered, Parameter, Twice, Value};
    for (line, rule) in [
        ("", Grammar),
        (" , ", Grammar),
        ("x-webkit-deflate-frame", NotOffered),
        ("permessage-deflate; server_no_context_takeover, permessage-bzip2", NotOffered),
        (
            "permessage-deflate; server_no_context_takeover, permessage-deflate; server_no_context_takeover",
            Twice,
        ),
        ("permessage-deflate", ContextTakeover),
        ("permessage-deflate; client_no_context_takeover", ContextTakeover),
        ("permessage-deflate; server_no_context_takeover; client_max_window_bits=10", Parameter),
        ("permessage-deflate; server_no_context_takeover; client_max_window_bits", Parameter),
        ("permessage-deflate; server_no_context_takeover; mystery=1", Parameter),
        ("permessage-deflate; server_no_context_takeover;", Parameter),
        ("permessage-deflate; server_no_context_takeover; server_no_context_takeover", DuplicateParameter),
        ("permessage-deflate; server_no_context_takeover=1", Value),
        ("permessage-deflate; server_no_context_takeover; server_max_window_bits", Value),
        ("permessage-deflate; server_no_context_takeover; server_max_window_bits=7", Value),
        ("permessage-deflate; server_no_context_takeover; server_max_window_bits=16", Value),
        ("permessage-deflate; server_no_context_takeover; server_max_window_bits=08", Value),
        ("permessage-deflate; server_no_context_takeover; server_max_window_bits=\"1", Value),
    ] {
        assert_eq!(answer(line), Err(rule), "{line:?}");
    }
    let twice = [&b"permessage-deflate; server_no_context_takeover"[..]; 2];
    assert_eq!(confirm(twice, true), Err(Twice), "over two lines");
    assert_eq!(confirm([OFFER.as_bytes()], false), Err(NotOffered));
}
