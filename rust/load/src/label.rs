//! Receives the number of a message · hands out the digits that stand for it in the text · owns their form.

/// Bytes of a label.
pub(crate) const LABEL: usize = 16;

/// The label of number 0. All labels have sixteen digits and none begins with 0, so that a label is a number of JSON,
/// and one that every reader of JSON holds exactly: below 2^53.
const FIRST: u64 = 1_000_000_000_000_000;

/// The digits of a message's number.
#[inline]
pub(crate) fn label(number: u64) -> [u8; LABEL] {
    digits(FIRST + number)
}

/// The last sixteen decimal digits of a number.
#[inline]
pub(crate) fn digits(number: u64) -> [u8; LABEL] {
    let (mut label, mut rest) = ([b'0'; LABEL], number);
    for place in label.iter_mut().rev() {
        *place = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    label
}

/// The number that a text begins with as a label; `None`: it does not.
pub(crate) fn number_at(text: &[u8]) -> Option<u64> {
    let digits = text.get(..LABEL)?;
    let number = digits.iter().try_fold(0_u64, |number, digit| {
        digit.is_ascii_digit().then(|| number * 10 + u64::from(digit - b'0'))
    })?;
    number.checked_sub(FIRST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_a_number_of_json() {
        assert_eq!(&label(0), b"1000000000000000");
        assert_eq!(&label(1_234_567), b"1000000001234567");
        assert_eq!(number_at(b"1000000001234567xyz"), Some(1_234_567));
        for other in [&b"100000000123456"[..], b"0000000001234567", b"10000000012345x7"] {
            assert_eq!(number_at(other), None);
        }
    }
}
