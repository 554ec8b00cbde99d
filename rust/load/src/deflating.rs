//! Receives a server's answer to an offer of permessage-deflate · hands out the client's compressed frames · owns the
//! offer and one deflate context (RFC 7692 §7).

use streamconductor_core::codec::{Kind, MAX_HEADER, Opcode, encode_frame, encode_header};
use streamconductor_core::deflate::{Compressor, WindowBits};

use crate::failure::Failure;

/// What the client offers: any window of its own, and none that is carried from message to message, in either
/// direction, since the core's contexts never are.
pub(crate) const OFFER: &str =
    "permessage-deflate; server_no_context_takeover; client_no_context_takeover; client_max_window_bits";

/// Shorter messages gain nothing.
const THRESHOLD: usize = 16;

/// RSV1.
const COMPRESSED: u8 = 0x40;

/// The client's half of an agreement.
#[derive(Debug)]
pub(crate) struct Deflating {
    compressor: Compressor,
    frame: Vec<u8>,
}

impl Deflating {
    /// What the server agreed to. A client fails on an answer that is none to its offer (RFC 7692 §7).
    pub(crate) fn agreed(path: &str, answer: &str) -> Result<Self, Failure> {
        let refused = || Failure::Opening {
            path: path.to_owned(),
            reason: format!("{answer:?} is no answer to {OFFER:?}"),
        };
        let mut parts = answer.split(';').map(str::trim);
        let (mut window, mut stands_alone) = (WindowBits::MAX, false);
        let mut seen = Vec::new();
        if parts.next() != Some("permessage-deflate") {
            return Err(refused());
        }
        for parameter in parts {
            let (name, _) = parameter.split_once('=').unwrap_or((parameter, ""));
            if seen.contains(&name) {
                return Err(refused());
            }
            seen.push(name);
            match parameter.split_once('=') {
                None if parameter == "server_no_context_takeover" => stands_alone = true,
                None if parameter == "client_no_context_takeover" => {}
                Some(("client_max_window_bits", bits)) => {
                    window = bits.parse().ok().and_then(WindowBits::new).ok_or_else(refused)?;
                }
                // Its own, unasked: whatever it is, the largest inflates it.
                Some(("server_max_window_bits", _)) => {}
                _ => return Err(refused()),
            }
        }
        if !stands_alone {
            return Err(refused());
        }
        Ok(Self { compressor: Compressor::new(window), frame: Vec::new() })
    }

    /// Appends a message as one masked frame to `out`, compressed where that makes it shorter.
    pub(crate) fn encode(&mut self, out: &mut Vec<u8>, kind: Kind, payload: &[u8], key: [u8; 4]) {
        self.frame.clear();
        let start = out.len();
        if payload.len() < THRESHOLD || !self.compressor.encode_message(&mut self.frame, kind, payload) {
            return encode_frame(out, Opcode::Data(kind), true, payload, Some(key));
        }
        // The core compresses for servers: their header is replaced by a client's.
        let length =
            (0..=self.frame.len()).rev().find(|length| size_of_header(*length) + length == self.frame.len());
        let compressed = self.frame.get(self.frame.len() - length.unwrap_or_default()..).unwrap_or_default();
        encode_frame(out, Opcode::Data(kind), true, compressed, Some(key));
        if let Some(first) = out.get_mut(start) {
            *first |= COMPRESSED;
        }
    }
}

fn size_of_header(payload: usize) -> usize {
    encode_header(&mut [0; MAX_HEADER], Opcode::Data(Kind::Binary), true, true, payload, None)
}

#[cfg(test)]
mod tests {
    use streamconductor_core::codec::{Codec, CodecLimits, Item, Role};

    use super::*;

    #[test]
    fn what_is_compressed_is_a_clients_frame_of_every_width() {
        let limits = CodecLimits { max_message_size: 1 << 24, max_frame_size: 1 << 24, max_fragments: 1 };
        let mut deflating = Deflating::agreed(
            "/",
            "permessage-deflate; server_no_context_takeover; client_max_window_bits=9",
        )
        .unwrap();
        for size in [0, 1, 3, 15, 1_000, 30_000, 200_000, 3_000_000] {
            let payload: Vec<u8> = (0..size).flat_map(|number: u32| (number / 7).to_be_bytes()).collect();
            let mut codec = Codec::new(Role::Server);
            codec.accept_compressed();
            let mut frame = Vec::new();
            deflating.encode(&mut frame, Kind::Binary, &payload, [1, 2, 3, 4]);
            assert_eq!(frame[0] & COMPRESSED != 0, size > 3, "{size}");
            let (item, rest) = codec.decode(&limits, &mut frame).unwrap();
            assert!(rest.is_empty());
            assert!(
                matches!(item, Some(Item::Message { payload: found, .. }) if *found == *payload),
                "{size}"
            );
        }
    }

    #[test]
    fn rfc7692_5_1_3_an_answer_that_is_none_to_the_offer_fails_the_client() {
        for answer in ["", "permessage-deflate", "x", "permessage-bzip2; server_no_context_takeover"] {
            assert!(Deflating::agreed("/", answer).is_err(), "{answer}");
        }
    }

    #[test]
    fn rfc7692_7_5_a_parameter_that_is_not_defined_fails_the_client() {
        assert!(Deflating::agreed("/", "permessage-deflate; server_no_context_takeover; x").is_err());
    }

    #[test]
    fn rfc7692_7_6_an_invalid_value_fails_the_client() {
        for bits in ["7", "16", "", "x"] {
            let answer =
                format!("permessage-deflate; server_no_context_takeover; client_max_window_bits={bits}");
            assert!(Deflating::agreed("/", &answer).is_err(), "{answer}");
        }
    }

    #[test]
    fn rfc7692_7_7_a_parameter_that_comes_twice_fails_the_client() {
        for twice in ["server_no_context_takeover", "client_max_window_bits=9; client_max_window_bits=10"] {
            let answer = format!("permessage-deflate; server_no_context_takeover; {twice}");
            assert!(Deflating::agreed("/", &answer).is_err(), "{answer}");
        }
    }

    #[test]
    fn rfc7692_7_2_1_6_the_clients_window_is_not_larger_than_agreed() {
        for bits in 9..=15 {
            let answer =
                format!("permessage-deflate; server_no_context_takeover; client_max_window_bits={bits}");
            assert_eq!(Deflating::agreed("/", &answer).unwrap().compressor.window().get(), bits);
        }
        let unlimited = Deflating::agreed("/", "permessage-deflate; server_no_context_takeover").unwrap();
        assert_eq!(unlimited.compressor.window(), WindowBits::MAX);
    }

    #[test]
    fn rfc7692_7_2_1_7_the_client_begins_every_message_with_an_empty_window() {
        let mut deflating = Deflating::agreed("/", "permessage-deflate; server_no_context_takeover").unwrap();
        let payload = b"the same again and again and again";
        let mut sent = || {
            let mut frame = Vec::new();
            deflating.encode(&mut frame, Kind::Text, payload, [1, 2, 3, 4]);
            frame
        };
        let first = sent();
        assert_eq!((first[0] & COMPRESSED, sent()), (COMPRESSED, first));
    }

    #[test]
    fn rfc7692_7_8_what_the_client_does_not_support_fails_it() {
        // A window of 256 bytes cannot be deflated with, and one that is carried on cannot be inflated.
        for answer in ["server_no_context_takeover; client_max_window_bits=8", "client_no_context_takeover"] {
            assert!(Deflating::agreed("/", &format!("permessage-deflate; {answer}")).is_err(), "{answer}");
        }
    }
}
