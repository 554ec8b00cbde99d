//! Receives the messages of one connection · hands out whether all has come that had to, and what to compare with
//! the server's count · owns its subscriptions and echoes, and what it is about to do.

use super::books::{Account, Dropped};
use super::channels::Channels;
use super::ledger::Ledger;
use super::message::{Label, Sort};
use super::role::Role;
use super::subscription::{Promise, Receipt, Subscription};

/// Bytes of an echo.
pub(crate) const ECHO: usize = 64;

/// What a connection is about to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Intent {
    /// Waits for the 101.
    Opening,
    /// Waits until its subscriptions have begun.
    Joining,
    /// Receives.
    Living,
    /// Waits until what it left has come to its end, then does the next thing.
    Leaving(Then),
    /// Waits for the server to end what it closed.
    Closing,
}

/// What follows on a leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// Subscribes to other channels.
    Move,
    /// Closes.
    Close,
}

/// What is known of one connection.
#[derive(Debug)]
pub(crate) struct Course {
    identity: u64,
    role: Role,
    pub(crate) intent: Intent,
    pub(crate) subscriptions: Vec<Subscription>,
    /// Messages received, all sorts together.
    received: u64,
    echoes_sent: u64,
    echoes_back: u64,
    /// How many the server says that it dropped.
    told_dropped: Option<u64>,
    /// Missing where gaps are allowed, of subscriptions whose count the server has confirmed.
    confirmed: Option<u64>,
    pub(crate) stalls: u32,
    /// The server has been asked how much it dropped.
    pub(crate) has_asked: bool,
    /// It stalled for so long that the server may have ended it.
    pub(crate) may_be_cut: bool,
}

impl Course {
    pub(crate) fn new(identity: u64, role: Role) -> Self {
        Self {
            identity,
            role,
            intent: Intent::Opening,
            subscriptions: Vec::new(),
            received: 0,
            echoes_sent: 0,
            echoes_back: 0,
            told_dropped: None,
            confirmed: None,
            stalls: 0,
            has_asked: false,
            may_be_cut: false,
        }
    }

    /// A message came.
    pub(crate) fn message(&mut self, payload: &[u8], channels: &Channels, ledger: &mut Ledger) {
        self.received += 1;
        let Some(label) = Label::read(payload) else {
            return self.wrong(ledger, |ledger| &mut ledger.corrupted, "a message without a label");
        };
        match label.sort {
            Sort::Publication => self.publication(label, payload, channels, ledger),
            Sort::Echo => self.echo(label, payload, channels, ledger),
            Sort::Dropped => self.told_dropped = Some(label.number),
            Sort::Joined | Sort::Left => {
                let subscription = self.subscriptions.iter_mut().find(|each| each.channel == label.channel);
                let is_right = subscription.is_some_and(|subscription| match label.sort {
                    Sort::Joined => subscription.joined(label.number),
                    _ => subscription.left(label.number),
                });
                if !is_right {
                    self.wrong(ledger, |ledger| &mut ledger.misdirected, format!("{label:?} is not due"));
                }
            }
        }
    }

    fn publication(&mut self, label: Label, payload: &[u8], channels: &Channels, ledger: &mut Ledger) {
        ledger.delivered += 1;
        if !channels.is_right(label, payload) {
            let text = format!("{label:?} has a wrong body of {} bytes", payload.len());
            // It came all the same: its number is not missing.
            self.wrong(ledger, |ledger| &mut ledger.corrupted, text);
        }
        let Some(subscription) = self.subscriptions.iter_mut().find(|each| each.channel == label.channel)
        else {
            let text = format!("{label:?} came without a subscription");
            return self.wrong(ledger, |ledger| &mut ledger.misdirected, text);
        };
        let promise = subscription.promise;
        match subscription.receive(label.number) {
            Receipt::Due => {}
            Receipt::Gap(_) if matches!(promise, Promise::Newest(_)) => {}
            Receipt::Gap(missing) => {
                ledger.lost += missing - 1;
                self.wrong(ledger, |ledger| &mut ledger.lost, format!("{missing} missing before {label:?}"));
            }
            Receipt::Late => {
                if promise == Promise::Every {
                    ledger.lost = ledger.lost.saturating_sub(1);
                }
                self.wrong(ledger, |ledger| &mut ledger.reordered, format!("{label:?} is late"));
            }
            Receipt::Repeated => {
                self.wrong(ledger, |ledger| &mut ledger.duplicated, format!("{label:?} came twice"));
            }
            Receipt::Outside => {
                let text = format!("{label:?} is outside the subscription");
                self.wrong(ledger, |ledger| &mut ledger.misdirected, text);
            }
        }
    }

    fn echo(&mut self, label: Label, payload: &[u8], channels: &Channels, ledger: &mut Ledger) {
        ledger.echoed += 1;
        let due = self.echoes_back;
        if !channels.pattern.is_right(label, payload, ECHO) {
            let text = format!("{label:?} has a wrong body of {} bytes", payload.len());
            return self.wrong(ledger, |ledger| &mut ledger.corrupted, text);
        }
        if label.number == due && due < self.echoes_sent {
            self.echoes_back += 1;
        } else if label.number < due {
            self.wrong(ledger, |ledger| &mut ledger.duplicated, format!("{label:?} came twice"));
        } else {
            ledger.lost += label.number.saturating_sub(due + 1);
            self.echoes_back = label.number + 1;
            self.wrong(ledger, |ledger| &mut ledger.lost, format!("{label:?} came, {due} was due"));
        }
    }

    /// Appends the payload of the next echo to `out`.
    pub(crate) fn next_echo(&mut self, out: &mut Vec<u8>, channels: &Channels) {
        channels.pattern.echo(out, self.echoes_sent, ECHO);
        self.echoes_sent += 1;
    }

    /// Whether all that is due before the next thing has come.
    pub(crate) fn is_complete(&self) -> bool {
        self.echoes_back == self.echoes_sent
            && self.subscriptions.iter().all(|subscription| match subscription.promise {
                Promise::Every => subscription.missing_tail() == Some(0),
                Promise::Newest(_) => subscription.has_ended(),
            })
    }

    /// Whether the server must say how much it dropped before the books can be closed.
    pub(crate) fn is_lossy(&self) -> bool {
        self.subscriptions.iter().any(|subscription| subscription.promise != Promise::Every)
    }

    /// Whether what is missing is what the server says that it dropped; then the promises of the end are checked.
    pub(crate) fn is_accounted(&mut self, ledger: &mut Ledger) -> bool {
        let missing: u64 = self.subscriptions.iter().filter_map(Subscription::missing).sum();
        if self.told_dropped != Some(missing) {
            return false;
        }
        self.confirmed = Some(missing);
        ledger.dropped += missing;
        let newest: u64 = self.subscriptions.iter().map(Subscription::missing_newest).sum();
        if newest > 0 {
            ledger.lost += newest - 1;
            let text = format!("{newest} missing of those that are newest and must come");
            self.wrong(ledger, |ledger| &mut ledger.lost, text);
        }
        true
    }

    /// What was due did not come in time.
    pub(crate) fn overdue(&self, ledger: &mut Ledger) {
        let tails = self.subscriptions.iter().filter(|each| each.promise == Promise::Every);
        let missing =
            tails.filter_map(Subscription::missing_tail).sum::<u64>() + (self.echoes_sent - self.echoes_back);
        ledger.lost += missing;
        let (intent, told) = (self.intent, self.told_dropped);
        let states: Vec<_> = self.subscriptions.iter().map(|each| (each.channel, each.missing())).collect();
        self.complain(
            ledger,
            &format!(
                "waits in vain ({intent:?}); {missing} have not come; missing by channel {states:?}, server says \
                 that it dropped {told:?}"
            ),
        );
    }

    /// The account to compare with the server's. `is_clean`: a closing handshake came to its end.
    pub(crate) fn account(&self, is_clean: bool, endings: &'static [&'static str]) -> Account {
        let may_drop = self.may_be_cut || self.is_lossy();
        let dropped = match self.confirmed {
            Some(missing) => Dropped::Exactly(missing),
            None if may_drop => Dropped::Any,
            None => Dropped::Exactly(0),
        };
        Account { role: self.role, received: self.received, is_clean, dropped, endings }
    }

    fn wrong(&self, ledger: &mut Ledger, count: impl FnOnce(&mut Ledger) -> &mut u64, text: impl AsRef<str>) {
        *count(ledger) += 1;
        self.complain(ledger, text.as_ref());
    }

    fn complain(&self, ledger: &mut Ledger, text: &str) {
        let (identity, role) = (self.identity, self.role);
        ledger.violation(|| format!("connection {identity} ({role}): {text}"));
    }
}
