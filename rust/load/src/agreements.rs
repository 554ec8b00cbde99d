//! Receives what servers answer to an offer of permessage-deflate · hands out frames of such a connection · owns one
//! deflate context for all connections that agreed on the same, since none carries its window on.

use streamconductor_core::codec::Kind;

use crate::deflating::Deflating;
use crate::failure::Failure;
use crate::frames::{KEY, frame};

/// Agreements by what the server said. As a rule there is one.
#[derive(Debug, Default)]
pub(crate) struct Agreements(Vec<(String, Deflating)>);

impl Agreements {
    /// Which agreement an answer is.
    pub(crate) fn agree(&mut self, answer: &str) -> Result<usize, Failure> {
        if let Some(index) = self.0.iter().position(|(known, _)| known == answer) {
            return Ok(index);
        }
        self.0.push((answer.to_owned(), Deflating::agreed("", answer)?));
        Ok(self.0.len() - 1)
    }

    /// Appends a message to `out` as a frame; `agreement`: of the connection it goes to. `None`: nothing is compressed.
    pub(crate) fn encode(&mut self, agreement: Option<usize>, out: &mut Vec<u8>, kind: Kind, payload: &[u8]) {
        match agreement.and_then(|index| self.0.get_mut(index)) {
            Some((_, deflating)) => deflating.encode(out, kind, payload, KEY),
            None => frame(out, kind, payload),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_answer_is_the_same_agreement_and_none_is_plain() {
        let mut agreements = Agreements::default();
        let answer = "permessage-deflate; server_no_context_takeover";
        let other = "permessage-deflate; server_no_context_takeover; client_max_window_bits=9";
        assert_eq!([answer, other, answer].map(|answer| agreements.agree(answer).unwrap()), [0, 1, 0]);
        assert!(agreements.agree("permessage-bzip2").is_err());
        let (mut plain, mut compressed, payload) = (Vec::new(), Vec::new(), [b'a'; 500]);
        agreements.encode(None, &mut plain, Kind::Text, &payload);
        agreements.encode(Some(1), &mut compressed, Kind::Text, &payload);
        assert!(plain.len() > 500 && compressed.len() < 100);
    }
}
