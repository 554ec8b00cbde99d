//! Receives places from the shards · hands out names for connections · owns their spelling.

use std::fmt;
use std::str::FromStr;

/// Names one connection for the life of the process: the shard it lives on, its place there, and the
/// generation of that place. A command that names an ended connection is recognised as stale by its
/// generation, never delivered to whoever has the place now.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(u64);

impl ConnectionId {
    /// Composes an id from its three parts. Only the low 24 bits of `generation` are kept.
    pub const fn new(shard: u8, index: u32, generation: u32) -> Self {
        Self(((shard as u64) << 56) | (((generation & 0x00FF_FFFF) as u64) << 32) | index as u64)
    }

    /// The id as one number, for tables and across the language boundary.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The id that [`ConnectionId::as_u64`] came from.
    pub const fn from_u64(id: u64) -> Self {
        Self(id)
    }

    /// The shard on which the connection lives and dies.
    pub const fn shard(self) -> usize {
        (self.0 >> 56) as usize
    }

    /// Its place on that shard.
    pub const fn index(self) -> u32 {
        (self.0 & 0xFFFF_FFFF) as u32
    }

    /// How often that place had been given away before.
    pub const fn generation(self) -> u32 {
        ((self.0 >> 32) & 0x00FF_FFFF) as u32
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-{}-{}", self.shard(), self.index(), self.generation())
    }
}

impl fmt::Debug for ConnectionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl FromStr for ConnectionId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.split('-');
        let (Some(shard), Some(index), Some(generation), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(());
        };
        Ok(Self::new(
            shard.parse().map_err(drop)?,
            index.parse().map_err(drop)?,
            generation.parse().map_err(drop)?,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_parts_come_back_and_the_text_reads_back() {
        let id = ConnectionId::new(7, u32::MAX, 0x00AB_CDEF);
        assert_eq!((id.shard(), id.index(), id.generation()), (7, u32::MAX, 0x00AB_CDEF));
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!("1-2".parse::<ConnectionId>(), Err(()));
        assert_eq!("300-2-3".parse::<ConnectionId>(), Err(()));
    }
}
