//! Receives the text of a message with placeholders · hands out messages, and whether one that comes is such a message
//! · owns the placeholders.
//!
//! `{seq}` is the message's number, `{time}` the microseconds since 1970 at which it was due, both sixteen digits;
//! `{connection}` is the number of the connection; `{pad}` fills up to the size. Every other brace stands for itself,
//! so that JSON can be written as it is.

use std::fmt::Write;

use crate::label::LABEL;

/// What one message says beside its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// The digits of its number.
    pub(crate) label: [u8; LABEL],
    /// The digits of the time at which it was due.
    pub(crate) time: [u8; LABEL],
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(Vec<u8>),
    Label,
    Time,
    Connection,
}

/// The text of a message.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    pieces: Vec<Piece>,
}

const NAMES: [(&str, Piece); 3] =
    [("{seq}", Piece::Label), ("{time}", Piece::Time), ("{connection}", Piece::Connection)];
const PAD: &str = "{pad}";
/// What a message is filled with, as long as it is text.
const FILLING: &[u8] = b"StreamConductor ";

impl Template {
    /// A message of `size` bytes: a label where there is room for one, then filling.
    pub(crate) fn plain(size: usize) -> Self {
        Self::read(if size < LABEL { PAD } else { "{seq}{pad}" }, size)
    }

    /// Reads a text; `size`: bytes that `{pad}` fills it up to, if it is there and the rest is shorter.
    pub(crate) fn read(text: &str, size: usize) -> Self {
        let mut pieces = Vec::new();
        let (mut literal, mut rest, mut pad) = (Vec::new(), text, None);
        while let Some(character) = rest.chars().next() {
            if let Some(behind) = rest.strip_prefix(PAD).filter(|_| pad.is_none()) {
                pieces.push(Piece::Literal(std::mem::take(&mut literal)));
                pad = Some(pieces.len());
                pieces.push(Piece::Literal(Vec::new()));
                rest = behind;
            } else if let Some((name, piece)) = NAMES.iter().find(|(name, _)| rest.starts_with(name)) {
                pieces.push(Piece::Literal(std::mem::take(&mut literal)));
                pieces.push(piece.clone());
                rest = rest.get(name.len()..).unwrap_or_default();
            } else {
                let length = character.len_utf8();
                literal.extend_from_slice(rest.as_bytes().get(..length).unwrap_or_default());
                rest = rest.get(length..).unwrap_or_default();
            }
        }
        pieces.push(Piece::Literal(literal));
        let length: usize = pieces.iter().map(Piece::least).sum();
        if let Some(Piece::Literal(filling)) = pad.and_then(|pad| pieces.get_mut(pad)) {
            filling.extend(FILLING.iter().cycle().take(size.saturating_sub(length)));
        }
        pieces.retain(|piece| !matches!(piece, Piece::Literal(text) if text.is_empty()));
        Self { pieces }
    }

    /// Whether messages can be told apart.
    pub(crate) fn has_label(&self) -> bool {
        self.pieces.contains(&Piece::Label)
    }

    /// Whether a message says when it was due.
    pub(crate) fn has_time(&self) -> bool {
        self.pieces.contains(&Piece::Time)
    }

    /// Where the label is in every message; `None`: nowhere, or not always at one place.
    pub(crate) fn label_place(&self) -> Option<usize> {
        let before: Vec<_> = self.pieces.iter().take_while(|piece| **piece != Piece::Label).collect();
        let is_fixed = self.has_label() && !before.contains(&&Piece::Connection);
        is_fixed.then(|| before.iter().map(|piece| piece.least()).sum())
    }

    /// Appends a message to `out`.
    pub(crate) fn render(&self, out: &mut Vec<u8>, stamp: &Stamp, connection: usize) {
        for piece in &self.pieces {
            match piece {
                Piece::Literal(text) => out.extend_from_slice(text),
                Piece::Label => out.extend_from_slice(&stamp.label),
                Piece::Time => out.extend_from_slice(&stamp.time),
                Piece::Connection => out.extend_from_slice(connection.to_string().as_bytes()),
            }
        }
    }

    /// Whether `payload` is that message, to the byte.
    #[inline]
    pub(crate) fn is_exactly(&self, payload: &[u8], stamp: &Stamp, connection: usize) -> bool {
        let mut rest = payload;
        for piece in &self.pieces {
            let behind = match piece {
                Piece::Literal(text) => rest.strip_prefix(text.as_slice()),
                Piece::Label => rest.strip_prefix(&stamp.label),
                Piece::Time => rest.strip_prefix(&stamp.time),
                Piece::Connection => {
                    let mut digits = Digits::default();
                    let _ = write!(digits, "{connection}");
                    rest.strip_prefix(digits.text())
                }
            };
            let Some(behind) = behind else { return false };
            rest = behind;
        }
        rest.is_empty()
    }
}

impl Piece {
    /// Bytes that it has at least.
    fn least(&self) -> usize {
        match self {
            Self::Literal(text) => text.len(),
            Self::Label | Self::Time => LABEL,
            Self::Connection => 1,
        }
    }
}

/// The digits of a number, without heap.
#[derive(Default)]
struct Digits {
    bytes: [u8; 20],
    length: usize,
}

impl Digits {
    fn text(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

impl Write for Digits {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let end = self.length + text.len();
        self.bytes.get_mut(self.length..end).ok_or(std::fmt::Error)?.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

/// Where a label is in a message of unknown form; `hint`: where the last one was, which is looked at first.
#[inline]
pub(crate) fn find_label(payload: &[u8], label: &[u8; LABEL], hint: &mut usize) -> bool {
    if payload.get(*hint..).is_some_and(|rest| rest.starts_with(label)) {
        return true;
    }
    let found = payload.windows(LABEL).position(|window| window == label);
    if let Some(place) = found {
        *hint = place;
    }
    found.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::label::{digits, label};

    const STAMP: fn(u64) -> Stamp =
        |number| Stamp { label: label(number), time: digits(1_700_000_000_123_456) };

    fn rendered(text: &str, size: usize) -> String {
        let mut out = Vec::new();
        Template::read(text, size).render(&mut out, &STAMP(7), 12);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn placeholders_are_replaced_and_other_braces_stay() {
        assert_eq!(rendered("{seq}", 0), "1000000000000007");
        assert_eq!(
            rendered(r#"{"n":{seq},"t":{time},"c":{connection},"ä":{}}"#, 0),
            r#"{"n":1000000000000007,"t":1700000000123456,"c":12,"ä":{}}"#
        );
        assert_eq!(rendered("no{thing}", 100), "no{thing}");
    }

    #[test]
    fn padding_fills_up_to_the_size_and_never_cuts() {
        assert_eq!(rendered("<{pad}>", 7), "<Strea>");
        assert_eq!(rendered("<{pad}>", 1), "<>");
        assert_eq!(rendered("{seq}{pad}", 128).len(), 128);
        for size in [0, 1, 15, 16, 17, 4096] {
            let mut out = Vec::new();
            Template::plain(size).render(&mut out, &STAMP(1), 0);
            assert_eq!(out.len(), size);
        }
    }

    #[test]
    fn exactly_what_was_sent_is_recognised() {
        for text in ["{seq}{pad}", "a{time}b{seq}c{connection}d", "plain"] {
            let template = Template::read(text, 64);
            let mut sent = Vec::new();
            template.render(&mut sent, &STAMP(7), 12);
            assert!(template.is_exactly(&sent, &STAMP(7), 12));
            let is_other = template.is_exactly(&sent, &STAMP(8), 12);
            assert_eq!(is_other, text == "plain", "{text}: another number");
            sent.push(b'!');
            assert!(!template.is_exactly(&sent, &STAMP(7), 12), "{text}: longer");
            sent.truncate(sent.len() - 2);
            assert!(!template.is_exactly(&sent, &STAMP(7), 12), "{text}: shorter");
        }
    }

    #[test]
    fn a_label_is_found_wherever_it_is() {
        let mut hint = 0;
        assert!(find_label(b"{\"data\": 1000000000000007}", &label(7), &mut hint));
        assert_eq!(hint, 9);
        assert!(!find_label(b"{\"data\": 1000000000000007}", &label(8), &mut hint));
        assert!(!find_label(b"1", &label(8), &mut hint));
        assert_eq!(Template::read("ab{seq}", 0).label_place(), Some(2));
        assert_eq!(Template::read("{connection}{seq}", 0).label_place(), None);
        assert_eq!(Template::read("{time}", 0).label_place(), None);
    }
}
