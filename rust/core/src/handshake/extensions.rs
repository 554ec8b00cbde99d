//! Receives the lines of `Sec-WebSocket-Extensions` · says whether they keep to the grammar · owns that grammar
//! (RFC 6455 §9.1); what the extensions mean is for those who know them.

use super::syntax::is_token;

/// Whether the lines are one list of extensions with their parameters. A recipient of anything else fails the
/// handshake. Every byte is looked at once or twice, and nothing is allocated.
pub(super) fn is_list<'l>(lines: impl IntoIterator<Item = &'l [u8]>) -> bool {
    let (mut lines, mut extensions) = (lines.into_iter().peekable(), 0);
    if lines.peek().is_none() {
        return true;
    }
    for line in lines {
        let Some(count) = Cursor(line).extensions() else { return false };
        extensions += count;
    }
    // At least one, over all lines.
    extensions > 0
}

/// What is left of a line.
struct Cursor<'l>(&'l [u8]);

impl Cursor<'_> {
    /// How many extensions the line lists; `None`: it breaks the grammar. Empty elements are ignored.
    fn extensions(mut self) -> Option<usize> {
        let mut count = 0;
        loop {
            while self.takes(b',') {}
            if self.0.is_empty() {
                return Some(count);
            }
            self.extension()?;
            count += 1;
            if !self.0.is_empty() && !self.takes(b',') {
                return None;
            }
        }
    }

    fn extension(&mut self) -> Option<()> {
        self.token()?;
        while self.takes(b';') {
            self.token()?;
            if self.takes(b'=') {
                self.value()?;
            }
        }
        Some(())
    }

    /// A token, or a quoted string that says one.
    fn value(&mut self) -> Option<()> {
        self.skip_blanks();
        let Some(mut rest) = self.0.strip_prefix(b"\"") else { return self.token() };
        let mut is_empty = true;
        loop {
            let byte;
            (byte, rest) = rest.split_first()?;
            let said = match byte {
                b'"' => break,
                b'\\' => {
                    let said;
                    (said, rest) = rest.split_first()?;
                    said
                }
                byte => byte,
            };
            if !is_token(&[*said]) {
                return None;
            }
            is_empty = false;
        }
        self.0 = rest;
        self.skip_blanks();
        (!is_empty).then_some(())
    }

    fn token(&mut self) -> Option<()> {
        self.skip_blanks();
        let end = self.0.iter().position(|byte| !is_token(&[*byte])).unwrap_or(self.0.len());
        let (token, rest) = self.0.split_at_checked(end)?;
        self.0 = rest;
        self.skip_blanks();
        is_token(token).then_some(())
    }

    fn takes(&mut self, byte: u8) -> bool {
        self.skip_blanks();
        let rest = self.0.strip_prefix(&[byte]);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    fn skip_blanks(&mut self) {
        while let [b' ' | b'\t', rest @ ..] = self.0 {
            self.0 = rest;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_good(line: &str) -> bool {
        is_list([line.as_bytes()])
    }

    #[test]
    fn what_the_grammar_allows_passes() {
        for line in [
            "permessage-deflate",
            "permessage-deflate; client_max_window_bits",
            "permessage-deflate;server_max_window_bits=10 ;\tclient_max_window_bits = \"15\"",
            "mux; max-channels=4; flow-control, deflate-stream",
            "a; b=\"\\c\\d\"",
            " , a,, b , ",
        ] {
            assert!(is_good(line), "{line}");
        }
        assert!(is_list([]), "no header is no list");
        assert!(is_list([&b""[..], b"a"]), "an empty line beside another");
    }

    #[test]
    fn what_it_does_not_fails() {
        for line in [
            "",
            ",",
            ";",
            "=",
            "a;",
            "a b",
            "a; b c",
            "a; =b",
            "a; b=",
            "a=b",
            "a; b==c",
            "a; b=\"",
            "a; b=\"\"",
            "a; b=\"c",
            "a; b=\"c d\"",
            "a; b=\"c\"d",
            "a; b=\"c\\\"",
            "a; b=\"\u{fc}\"",
            "\u{fc}",
            "(a)",
            "a; b=c/d",
            "a\0",
        ] {
            assert!(!is_good(line), "{line:?}");
        }
        assert!(!is_list([&b"a"[..], b"b;"]), "the second line counts, too");
    }
}
