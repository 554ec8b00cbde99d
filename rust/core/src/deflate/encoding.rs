//! Receives the window that was agreed · hands out how a connection's messages are encoded · owns the numbers by
//! which encodings are counted.

use std::num::NonZeroU8;

/// The base-two logarithm of an LZ77 window, 9 to 15. RFC 7692 also knows 8, but raw deflate cannot be made for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WindowBits(NonZeroU8);

impl WindowBits {
    /// How many there are.
    pub const COUNT: usize = 7;

    const LEAST: u8 = 9;

    /// 32 KiB, which every client can inflate.
    pub const MAX: Self = Self(NonZeroU8::MIN.saturating_add(14));

    /// The window of `bits`; `None` below 9 and above 15.
    pub fn new(bits: u8) -> Option<Self> {
        let known = Self::LEAST..=Self::MAX.get();
        NonZeroU8::new(bits).filter(|bits| known.contains(&bits.get())).map(Self)
    }

    /// The logarithm.
    pub const fn get(self) -> u8 {
        self.0.get()
    }

    /// Its place among all, from 0.
    pub const fn index(self) -> usize {
        (self.get() - Self::LEAST) as usize
    }
}

/// How a connection's messages are encoded, fixed when it opens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// As they are.
    #[default]
    Raw,
    /// Deflated where that makes them smaller, with at most this window.
    Deflate(WindowBits),
}

impl Encoding {
    /// How many there are.
    pub const COUNT: usize = 1 + WindowBits::COUNT;

    /// Its number, from 0 for raw.
    pub const fn number(self) -> u8 {
        match self {
            Self::Raw => 0,
            Self::Deflate(bits) => 1 + bits.index() as u8,
        }
    }

    /// The encoding of a number; what is none counts as raw, which everybody understands.
    pub fn from_number(number: u8) -> Self {
        let bits = number.checked_sub(1).and_then(|index| WindowBits::new(index + WindowBits::LEAST));
        bits.map_or(Self::Raw, Self::Deflate)
    }
}

/// A set of encodings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Encodings(u8);

impl Encodings {
    /// The set whose members have their bits in `bits`, by number.
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits)
    }

    /// A bit for each member, by number.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Adds a member.
    pub fn insert(&mut self, encoding: Encoding) {
        self.0 |= 1 << encoding.number();
    }

    /// The windows of those members that are deflated.
    pub fn windows(self) -> impl Iterator<Item = WindowBits> {
        (WindowBits::LEAST..=WindowBits::MAX.get())
            .filter_map(WindowBits::new)
            .filter(move |bits| self.0 & (1 << Encoding::Deflate(*bits).number()) != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_lead_back_to_their_encodings() {
        assert_eq!((Encoding::Raw.number(), size_of::<Encoding>()), (0, 1));
        for number in 0..Encoding::COUNT as u8 {
            assert_eq!(Encoding::from_number(number).number(), number);
        }
        assert_eq!(Encoding::from_number(Encoding::COUNT as u8), Encoding::Raw);
        assert_eq!((WindowBits::new(8), WindowBits::new(16)), (None, None));
        assert_eq!(WindowBits::MAX.get(), 15);
    }

    #[test]
    fn a_set_names_its_windows() {
        let mut set = Encodings::default();
        for encoding in [Encoding::Raw, Encoding::from_number(1), Encoding::Deflate(WindowBits::MAX)] {
            set.insert(encoding);
        }
        assert_eq!(
            Encodings::from_bits(set.bits()).windows().map(WindowBits::get).collect::<Vec<_>>(),
            [9, 15]
        );
    }
}
