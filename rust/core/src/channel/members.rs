//! Receives joins and leaves of one shard's connections · hands their places to the fan-out · owns who is subscribed here.

/// Marks a place whose connection left while a fan-out was under way.
const HOLE: u32 = u32::MAX;

/// One channel's subscribers on one shard, in an order in which a resumable fan-out can walk.
///
/// While a fan-out is under way nobody moves: a leave makes a hole, a join goes to the end, beyond the
/// `end` that the fan-out remembered, so that no subscriber gets what was published before it joined and
/// none is passed over.
#[derive(Debug, Default)]
pub struct Members {
    places: Vec<u32>,
    holes: u32,
    cursors: u32,
}

/// A connection that moved to another place when one left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    /// The connection's index on its shard.
    pub connection: u32,
    /// Where it stands now.
    pub place: u32,
}

impl Members {
    /// Adds a connection and returns its place.
    pub fn join(&mut self, connection: u32) -> u32 {
        let place = self.places.len() as u32;
        self.places.push(connection);
        place
    }

    /// Takes the connection at `place` away. Whoever had to move is told.
    pub fn leave(&mut self, place: u32) -> Option<Moved> {
        if self.cursors > 0 {
            if let Some(entry) = self.places.get_mut(place as usize)
                && *entry != HOLE
            {
                *entry = HOLE;
                self.holes += 1;
            }
            return None;
        }
        if place as usize >= self.places.len() {
            return None;
        }
        self.places.swap_remove(place as usize);
        self.places.get(place as usize).map(|connection| Moved { connection: *connection, place })
    }

    /// Starts a fan-out and returns how far it goes: whoever joins from now on is not meant.
    pub fn begin(&mut self) -> usize {
        self.cursors += 1;
        self.places.len()
    }

    /// The connection at a place; `None` for a hole or beyond the end.
    pub fn at(&self, place: usize) -> Option<u32> {
        self.places.get(place).copied().filter(|connection| *connection != HOLE)
    }

    /// Ends a fan-out. With the last one the holes are closed; whoever had to move is told.
    pub fn finish(&mut self, mut moved: impl FnMut(Moved)) {
        self.cursors = self.cursors.saturating_sub(1);
        if self.cursors > 0 || self.holes == 0 {
            return;
        }
        self.holes = 0;
        self.places.retain(|connection| *connection != HOLE);
        for (place, connection) in self.places.iter().enumerate() {
            moved(Moved { connection: *connection, place: place as u32 });
        }
    }

    /// Whether nobody is subscribed and no fan-out is under way.
    pub fn is_unused(&self) -> bool {
        self.cursors == 0 && self.places.len() == self.holes as usize
    }

    /// Everybody subscribed here.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.places.iter().copied().filter(|connection| *connection != HOLE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaving_fills_the_gap_from_the_end() {
        let mut members = Members::default();
        for connection in [10, 11, 12] {
            members.join(connection);
        }
        assert_eq!(members.leave(0), Some(Moved { connection: 12, place: 0 }));
        assert_eq!(members.leave(1), None, "the last one needs no filling");
        assert_eq!(members.iter().collect::<Vec<_>>(), [12]);
    }

    #[test]
    fn a_fan_out_misses_nobody_and_reaches_nobody_who_joined_later() {
        let mut members = Members::default();
        for connection in 0..4 {
            members.join(connection);
        }
        let end = members.begin();
        let mut reached = vec![members.at(0)];
        // Connection 0 leaves: were the last one moved to its place, the fan-out would pass it over.
        assert_eq!(members.leave(0), None);
        members.join(4);
        reached.extend((1..end).map(|place| members.at(place)));
        assert_eq!(reached, [Some(0), Some(1), Some(2), Some(3)]);
        let mut moves = Vec::new();
        members.finish(|moved| moves.push(moved));
        assert_eq!(moves.iter().map(|moved| moved.connection).collect::<Vec<_>>(), [1, 2, 3, 4]);
        assert_eq!(members.iter().collect::<Vec<_>>(), [1, 2, 3, 4]);
    }

    #[test]
    fn two_fan_outs_keep_the_holes_until_both_have_ended() {
        let mut members = Members::default();
        members.join(7);
        members.begin();
        members.begin();
        members.leave(0);
        members.finish(|moved| panic!("{moved:?}"));
        assert!(!members.is_unused());
        members.finish(|moved| panic!("{moved:?}"));
        assert!(members.is_unused());
    }
}
