//! Receives two accounts of each connection, this side's and the server's · hands differences to the ledger · owns
//! those that wait for the other.

use std::collections::{HashMap, HashSet};

use serde::Deserialize;

use super::ledger::Ledger;
use super::role::Role;

/// What this side says of a connection that ended.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    pub(crate) role: Role,
    /// Messages received.
    pub(crate) received: u64,
    /// The closing handshake came to its end, so nothing can be on its way.
    pub(crate) is_clean: bool,
    pub(crate) dropped: Dropped,
    /// How the server may say that it ended.
    pub(crate) endings: &'static [&'static str],
}

impl Account {
    /// The same, where the server may have dropped whatever it likes.
    pub(crate) fn of_any_drops(self) -> Self {
        Self { dropped: Dropped::Any, ..self }
    }
}

/// How many messages the server may say that it dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dropped {
    Exactly(u64),
    /// The connection ended before its channel could be left.
    Any,
}

/// What the server says of it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Closing(u64, u64, u64, String, u16);

/// The accounts that nobody has compared yet.
#[derive(Debug, Default)]
pub(crate) struct Books {
    ours: HashMap<u64, Account>,
    theirs: HashMap<u64, Closing>,
    /// Those of which this side has nothing to tell.
    forgotten: HashSet<u64>,
    /// By all closings: messages written, messages dropped.
    pub(crate) written: u64,
    pub(crate) dropped: u64,
}

impl Books {
    /// This side's account of a connection.
    pub(crate) fn ended(&mut self, identity: u64, account: Account, ledger: &mut Ledger) {
        match self.theirs.remove(&identity) {
            Some(closing) => compare(&account, &closing, ledger),
            None => {
                self.ours.insert(identity, account);
            }
        }
    }

    /// This side has nothing to tell of a connection, and the server may tell what it likes.
    pub(crate) fn forget(&mut self, identity: u64) {
        if self.theirs.remove(&identity).is_none() {
            self.forgotten.insert(identity);
        }
    }

    /// The server's account of one.
    pub(crate) fn told(&mut self, closing: Closing, ledger: &mut Ledger) {
        let Closing(identity, written, dropped, _, _) = closing;
        self.written += written;
        self.dropped += dropped;
        match self.ours.remove(&identity) {
            Some(account) => compare(&account, &closing, ledger),
            None if self.forgotten.remove(&identity) => {}
            None if self.theirs.contains_key(&identity) => {
                ledger.violation(|| format!("connection {identity}: the server told its end twice"));
            }
            None => {
                self.theirs.insert(identity, closing);
            }
        }
    }

    /// Accounts that still wait.
    pub(crate) fn waiting(&self) -> usize {
        self.ours.len() + self.theirs.len()
    }

    /// Nothing comes any more: what waits has no counterpart.
    pub(crate) fn close(&mut self, ledger: &mut Ledger) {
        for (identity, account) in self.ours.drain() {
            ledger.violation(|| format!("connection {identity} ({}): on_close never came", account.role));
        }
        for (identity, closing) in self.theirs.drain() {
            ledger.violation(|| format!("connection {identity}: on_close came for nobody: {closing:?}"));
        }
    }
}

fn compare(account: &Account, closing: &Closing, ledger: &mut Ledger) {
    let Closing(identity, written, dropped, ending, code) = closing;
    ledger.compared += 1;
    let Account { role, received, is_clean, .. } = account;
    if !account.endings.contains(&ending.as_str()) {
        let expected = account.endings;
        ledger.violation(|| {
            format!("connection {identity} ({role}): ended as {ending} {code}, expected {expected:?}")
        });
    }
    // What the kernel had taken and a reset threw away was written and not received; never the other way round.
    if written < received || *is_clean && written != received {
        ledger.violation(|| {
            format!("connection {identity} ({role}): {received} received, the server says {written} written")
        });
    }
    if let Dropped::Exactly(expected) = account.dropped
        && expected != *dropped
    {
        ledger.violation(|| {
            format!("connection {identity} ({role}): {expected} missing, the server says {dropped} dropped")
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLEAN: Account = Account {
        role: Role::Follow,
        received: 10,
        is_clean: true,
        dropped: Dropped::Exactly(2),
        endings: &["peer_closed"],
    };

    fn violations(account: Account, written: u64, dropped: u64, ending: &str) -> u64 {
        let (mut books, mut ledger) = (Books::default(), Ledger::default());
        books.told(Closing(7, written, dropped, ending.to_owned(), 1000), &mut ledger);
        books.ended(7, account, &mut ledger);
        assert_eq!((books.waiting(), ledger.compared), (0, 1));
        assert_eq!((books.written, books.dropped), (written, dropped));
        ledger.violations
    }

    #[test]
    fn each_figure_must_agree() {
        assert_eq!(violations(CLEAN, 10, 2, "peer_closed"), 0);
        assert_eq!(violations(CLEAN, 11, 2, "peer_closed"), 1);
        assert_eq!(violations(CLEAN, 9, 2, "peer_closed"), 1);
        assert_eq!(violations(CLEAN, 10, 3, "peer_closed"), 1);
        assert_eq!(violations(CLEAN, 10, 2, "heartbeat_lost"), 1);
    }

    #[test]
    fn a_reset_may_have_thrown_away_what_was_written() {
        let reset = Account { is_clean: false, dropped: Dropped::Any, ..CLEAN };
        assert_eq!(violations(reset.clone(), 11, 9, "peer_closed"), 0);
        assert_eq!(violations(reset, 9, 9, "peer_closed"), 1, "more came than was written");
    }

    #[test]
    fn what_is_forgotten_is_compared_with_nothing() {
        let (mut books, mut ledger) = (Books::default(), Ledger::default());
        let closing = |identity| Closing(identity, 5, 0, "transport_lost".to_owned(), 1006);
        books.forget(1);
        books.told(closing(1), &mut ledger);
        books.told(closing(2), &mut ledger);
        books.forget(2);
        books.forget(3);
        books.close(&mut ledger);
        assert_eq!((books.waiting(), books.written, ledger.violations), (0, 10, 0));
    }

    #[test]
    fn every_end_is_told_once_by_both() {
        let (mut books, mut ledger) = (Books::default(), Ledger::default());
        books.ended(1, CLEAN, &mut ledger);
        let closing = Closing(2, 0, 0, "peer_closed".to_owned(), 1000);
        books.told(closing.clone(), &mut ledger);
        books.told(closing, &mut ledger);
        assert_eq!((books.waiting(), ledger.violations), (2, 1));
        books.close(&mut ledger);
        assert_eq!(ledger.violations, 3);
    }
}
