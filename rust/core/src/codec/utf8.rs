//! Receives text as it comes · says whether it can still become valid · owns the unfinished character at its end.

/// Bytes at the end of the text so far that begin a character and do not finish it, at most three. The
/// bytes themselves stay with whoever holds the text, so nothing is copied to look at them again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unfinished(u8);

impl Unfinished {
    /// The text so far, or nothing yet, ends with a whole character.
    pub(super) const NONE: Self = Self(0);

    /// Checks the last `added` bytes of `text`; all before them went through here already. Fails with the
    /// position of the first byte of the character that can no longer become valid, however much follows.
    pub(super) fn extend(&mut self, text: &[u8], added: usize) -> Result<(), usize> {
        let start = text.len().saturating_sub(added + usize::from(self.0));
        let unchecked = text.get(start..).unwrap_or_default();
        self.0 = match simdutf8::compat::from_utf8(unchecked) {
            Ok(_) => 0,
            Err(error) if error.error_len().is_none() => (unchecked.len() - error.valid_up_to()) as u8,
            Err(error) => return Err(start + error.valid_up_to()),
        };
        Ok(())
    }

    /// Checks that `text`, of which every byte went through [`Unfinished::extend`], may end here.
    pub(super) fn finish(self, text: &[u8]) -> Result<(), usize> {
        if self == Self::NONE { Ok(()) } else { Err(text.len().saturating_sub(self.0.into())) }
    }
}

/// Checks a text that is complete. Fails with the position of the first byte of the bad character.
#[inline]
pub(super) fn validate(text: &[u8]) -> Result<&str, usize> {
    // The basic check does not find the position and is faster for that; the position is for the few that fail.
    simdutf8::basic::from_utf8(text)
        .or_else(|_| simdutf8::compat::from_utf8(text).map_err(|e| e.valid_up_to()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds byte by byte; the position of the failure and how many bytes it took to see it.
    fn trickle(text: &[u8]) -> Result<(), (usize, usize)> {
        let mut unfinished = Unfinished::NONE;
        for end in 1..=text.len() {
            unfinished.extend(&text[..end], 1).map_err(|position| (position, end))?;
        }
        unfinished.finish(text).map_err(|position| (position, text.len()))
    }

    #[test]
    fn every_pair_of_leading_bytes_fails_as_soon_as_it_can_not_become_a_character() {
        for first in 0..=u8::MAX {
            for second in 0..=u8::MAX {
                let text = [first, second, 0x80, 0x80];
                match std::str::from_utf8(&text) {
                    Ok(_) => assert_eq!(trickle(&text), Ok(()), "{text:x?}"),
                    Err(error) => {
                        let position = error.valid_up_to();
                        // Where the standard library sees the error in a prefix, a trickle must not need more.
                        let seen = (1..=4).find(|end| {
                            std::str::from_utf8(&text[..*end]).is_err_and(|error| error.error_len().is_some())
                        });
                        assert_eq!(trickle(&text), Err((position, seen.unwrap_or(4))), "{text:x?}");
                    }
                }
            }
        }
    }

    #[test]
    fn surrogates_overlong_forms_and_beyond_the_last_character_fail_at_their_second_byte() {
        for text in
            [&[0xED, 0xA0, 0x80][..], &[0xE0, 0x9F, 0xBF], &[0xF0, 0x8F, 0xBF, 0xBF], &[0xF4, 0x90, 0x80]]
        {
            assert_eq!(trickle(text), Err((0, 2)), "{text:x?}");
        }
        assert_eq!(trickle(&[0xC0, 0x80]), Err((0, 1)));
        assert_eq!(trickle(&[0xF5]), Err((0, 1)));
    }

    #[test]
    fn a_character_may_come_in_pieces_but_not_stay_unfinished() {
        assert_eq!(trickle("aü€𝄞".as_bytes()), Ok(()));
        assert_eq!(trickle(&"aü€𝄞".as_bytes()[..9]), Err((6, 9)));
        assert_eq!(validate(&"aü€𝄞".as_bytes()[..9]), Err(6));
    }
}
