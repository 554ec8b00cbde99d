//! Receives a seed · hands out masking keys, a fresh one for each frame · owns the generator of one connection.
//!
//! RFC 6455 §5.3 wants keys that nobody who chose a payload can foresee, or he would choose the bytes that a proxy on the
//! way sees. So they are a key stream: `ChaCha20` (RFC 8439), which tells nothing of what comes next. Whoever opens the
//! connection brings the seed, from the system's source of chance; a test brings its own, and gets the same keys again.

use std::fmt;

/// Words of one block.
const WORDS: usize = 16;
/// Column rounds and diagonal rounds, in turns: twenty rounds are ten of each.
const DOUBLE_ROUNDS: usize = 10;
/// RFC 8439 §2.3.
const CONSTANTS: [u32; 4] = [0x6170_7865, 0x3320_646E, 0x7962_2D32, 0x6B20_6574];

/// The masking keys of one outgoing connection.
#[derive(Clone)]
pub struct MaskingKeys {
    seed: [u32; 8],
    block: [u32; WORDS],
    /// Words of the block that are used up.
    used: usize,
    counter: u64,
}

impl MaskingKeys {
    /// The keys of a seed. Two connections never get the same one.
    pub fn new(seed: [u8; 32]) -> Self {
        let mut words = [0; 8];
        for (word, bytes) in words.iter_mut().zip(seed.as_chunks::<4>().0) {
            *word = u32::from_le_bytes(*bytes);
        }
        Self { seed: words, block: [0; WORDS], used: WORDS, counter: 0 }
    }

    /// The next one. Never zeros: such a key changes nothing, and some peers take it for no key.
    pub fn next_key(&mut self) -> [u8; 4] {
        loop {
            if self.used == WORDS {
                self.block = block(&self.seed, self.counter);
                self.counter += 1;
                self.used = 0;
            }
            let word = self.block.get(self.used).copied().unwrap_or_default();
            self.used += 1;
            if word != 0 {
                return word.to_le_bytes();
            }
        }
    }
}

impl fmt::Debug for MaskingKeys {
    // Keys that are still to come never show in logs.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("MaskingKeys")
    }
}

/// The block of that number, with a nonce of zeros: a seed is used for one connection only.
fn block(seed: &[u32; 8], counter: u64) -> [u32; WORDS] {
    stream_block(seed, [counter as u32, (counter >> 32) as u32, 0, 0])
}

/// RFC 8439 §2.3: constants, key, counter and nonce, stirred and added to what they were.
fn stream_block(seed: &[u32; 8], position: [u32; 4]) -> [u32; WORDS] {
    let [a, b, c, d] = CONSTANTS;
    let [k0, k1, k2, k3, k4, k5, k6, k7] = *seed;
    let [p0, p1, p2, p3] = position;
    let start = [a, b, c, d, k0, k1, k2, k3, k4, k5, k6, k7, p0, p1, p2, p3];
    let mut words = start;
    for _ in 0..DOUBLE_ROUNDS {
        for column in 0..4 {
            stir(&mut words, [column, column + 4, column + 8, column + 12]);
        }
        for diagonal in 0..4 {
            let at = |row: usize| row * 4 + (diagonal + row) % 4;
            stir(&mut words, [at(0), at(1), at(2), at(3)]);
        }
    }
    for (word, before) in words.iter_mut().zip(start) {
        *word = word.wrapping_add(before);
    }
    words
}

/// The quarter round of RFC 8439 §2.1 on four words of the block.
fn stir(words: &mut [u32; WORDS], [at_a, at_b, at_c, at_d]: [usize; 4]) {
    let Ok([a, b, c, d]) = words.get_disjoint_mut([at_a, at_b, at_c, at_d]) else { return };
    for (first, second) in [(16, 12), (8, 7)] {
        *a = a.wrapping_add(*b);
        *d = (*d ^ *a).rotate_left(first);
        *c = c.wrapping_add(*d);
        *b = (*b ^ *c).rotate_left(second);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_block_is_that_of_the_rfc() {
        // RFC 8439 §2.3.2.
        let seed: Vec<u32> = (0..32_u8)
            .collect::<Vec<_>>()
            .as_chunks::<4>()
            .0
            .iter()
            .map(|bytes| u32::from_le_bytes(*bytes))
            .collect();
        let words = stream_block(&seed.try_into().unwrap(), [1, 0x0900_0000, 0x4A00_0000, 0]);
        let expected = [
            0xE4E7_F110,
            0x1559_3BD1,
            0x1FDD_0F50,
            0xC471_20A3,
            0xC7F4_D1C7,
            0x0368_C033,
            0x9AAA_2204,
            0x4E6C_D4C3,
            0x4664_82D2,
            0x09AA_9F07,
            0x05D7_C214,
            0xA202_8BD9,
            0xD19C_12B5,
            0xB94E_16DE,
            0xE883_D0CB,
            0x4E3C_50A2,
        ];
        assert_eq!(words, expected);
    }

    #[test]
    fn keys_follow_from_the_seed_and_are_told_apart() {
        let keys = |seed: u8| {
            let mut keys = MaskingKeys::new([seed; 32]);
            (0..1_000).map(|_| keys.next_key()).collect::<Vec<_>>()
        };
        assert_eq!(keys(1), keys(1));
        let all: HashSet<_> = keys(1).into_iter().chain(keys(2)).collect();
        // Of 2000 among four milliards two may meet by chance, with one in two thousand; these do not.
        assert_eq!(all.len(), 2_000);
        assert!(!all.contains(&[0; 4]));
    }
}
