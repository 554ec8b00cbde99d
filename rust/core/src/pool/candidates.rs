//! Receives each shard's best eviction candidate · hands the best of all to a shard that must make room ·
//! owns one published candidate per shard, at most a turn old.

use crate::eviction::Key;
use crate::id::ConnectionId;
use crate::sync::Arc;
use crate::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use crate::sync::atomic::{AtomicU64, fence};

/// Stands for "none" in the id's word: no shard has 2^32 places.
const NOBODY: u64 = u64::MAX;

/// Reads before a board that is being rewritten is passed over for this turn. Never unbounded: the writer
/// may have been descheduled in the middle.
const ATTEMPTS: usize = if cfg!(loom) { 2 } else { 4 };

/// Who would leave a shard first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Candidate {
    /// The smallest key of the shard.
    pub key: Key,
    /// Whose it is.
    pub connection: ConnectionId,
}

/// A sequence lock: the version is odd while the words are being rewritten, and a reader that meets another
/// version after reading than before has torn words and discards them.
struct Board {
    version: AtomicU64,
    words: [AtomicU64; 3],
}

impl Board {
    fn read(&self) -> Option<Candidate> {
        for _ in 0..ATTEMPTS {
            // Acquire pairs with the writer's last store: the words are at least those of this version.
            let version = self.version.load(Acquire);
            let [rank, since, id] = self.words.each_ref().map(|word| word.load(Relaxed));
            // Pairs with the writer's fence: who read a newer word sees at least its odd version below.
            fence(Acquire);
            if version.is_multiple_of(2) && self.version.load(Relaxed) == version {
                let candidate =
                    Candidate { key: Key::from_words(rank, since), connection: ConnectionId::from_u64(id) };
                return (id != NOBODY).then_some(candidate);
            }
            std::hint::spin_loop();
        }
        None
    }

    /// Only through the one [`CandidatePublisher`]: a sequence lock has one writer.
    fn write(&self, candidate: Option<Candidate>) {
        let version = self.version.load(Relaxed);
        self.version.store(version + 1, Relaxed);
        fence(Release);
        let (rank, since) = candidate.map_or((0, 0), |candidate| candidate.key.to_words());
        let id = candidate.map_or(NOBODY, |candidate| candidate.connection.as_u64());
        for (word, value) in self.words.iter().zip([rank, since, id]) {
            word.store(value, Relaxed);
        }
        self.version.store(version + 2, Release);
    }
}

/// The published candidates of all shards; clones read the same boards.
#[derive(Clone)]
pub struct Candidates(Arc<Vec<Board>>);

/// A shard's right to publish its candidate; there is one per shard.
pub struct CandidatePublisher {
    boards: Arc<Vec<Board>>,
    shard: usize,
    published: Option<Candidate>,
}

impl Candidates {
    /// Empty boards for `shards` shards, and their publishers in the order of the shards.
    pub fn new(shards: usize) -> (Self, Vec<CandidatePublisher>) {
        let boards = (0..shards)
            .map(|_| Board {
                version: AtomicU64::new(0),
                words: [AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(NOBODY)],
            })
            .collect::<Vec<_>>();
        let boards = Arc::new(boards);
        let publisher = |shard| CandidatePublisher { boards: boards.clone(), shard, published: None };
        let publishers = (0..shards).map(publisher).collect();
        (Self(boards), publishers)
    }

    /// The candidate with the smallest key over all shards. A board that is being rewritten is passed over:
    /// when the answer is `None` although the pool is full, look again a turn later. The candidate may have
    /// left since: its shard decides.
    pub fn best(&self) -> Option<Candidate> {
        self.0.iter().filter_map(Board::read).min()
    }

    /// What `shard` has published.
    pub fn of(&self, shard: usize) -> Option<Candidate> {
        self.0.get(shard)?.read()
    }
}

impl CandidatePublisher {
    /// Publishes who would leave this shard first; `None` when nobody may. Costs nothing when unchanged.
    pub fn publish(&mut self, candidate: Option<Candidate>) {
        if self.published != candidate
            && let Some(board) = self.boards.get(self.shard)
        {
            board.write(candidate);
            self.published = candidate;
        }
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use crate::sync::explore;

    #[test]
    fn a_torn_candidate_is_never_seen() {
        explore(|| {
            let candidate = |number| {
                let (key, connection) = (Key::from_words(number, number), ConnectionId::from_u64(number));
                Some(Candidate { key, connection })
            };
            let (candidates, mut publishers) = Candidates::new(1);
            publishers[0].publish(candidate(1));
            let writer = loom::thread::spawn(move || publishers[0].publish(candidate(2)));
            if let Some(Candidate { key, connection }) = candidates.best() {
                let number = connection.as_u64();
                assert_eq!(key.to_words(), (number, number));
            }
            writer.join().unwrap();
            assert_eq!(candidates.of(0).map(|candidate| candidate.connection.as_u64()), Some(2));
        });
    }
}
