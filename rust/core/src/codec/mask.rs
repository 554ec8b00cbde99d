//! Receives payload bytes and a masking key · changes the bytes in place · owns the phase of the key (RFC 6455 §5.3).

/// A masking key, turned so that its first byte meets the next byte of the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mask([u8; 4]);

impl Mask {
    /// For frames that carry no key. A key of zeros changes nothing either, so one value says both.
    pub(super) const NONE: Self = Self([0; 4]);

    pub(super) const fn new(key: [u8; 4]) -> Self {
        Self(key)
    }

    /// Masks or unmasks (the two are one operation) the next bytes of the payload and moves on past them.
    #[inline]
    pub(super) fn apply(&mut self, payload: &mut [u8]) {
        if *self == Self::NONE {
            return;
        }
        let [a, b, c, d] = self.0;
        let word = [a, b, c, d, a, b, c, d];
        let key = u64::from_ne_bytes(word);
        // Words of fixed width without bounds checks: LLVM turns this into vector instructions.
        let (words, tail) = payload.as_chunks_mut::<8>();
        for bytes in words {
            *bytes = (u64::from_ne_bytes(*bytes) ^ key).to_ne_bytes();
        }
        for (byte, key) in tail.iter_mut().zip(word) {
            *byte ^= key;
        }
        self.0.rotate_left(payload.len() % 4);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_length_in_any_two_pieces_equals_the_rule_of_the_rfc() {
        let key = [0x37, 0xFA, 0x21, 0x3D];
        for length in 0..70 {
            let plain: Vec<u8> = (0..length).map(|byte| byte as u8).collect();
            let expected: Vec<u8> = plain.iter().enumerate().map(|(i, byte)| byte ^ key[i % 4]).collect();
            for cut in 0..=length {
                let mut masked = plain.clone();
                let mut mask = Mask::new(key);
                let (first, second) = masked.split_at_mut(cut);
                mask.apply(first);
                mask.apply(second);
                assert_eq!(masked, expected, "length {length}, cut at {cut}");
            }
        }
    }

    #[test]
    fn without_a_key_nothing_changes() {
        let mut payload = *b"Hello";
        let mut mask = Mask::NONE;
        mask.apply(&mut payload);
        assert_eq!(&payload, b"Hello");
    }
}
