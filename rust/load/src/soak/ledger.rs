//! Receives what every connection noticed · hands the totals to progress and report · owns the count of every
//! message and the list of what went wrong.

use serde::Serialize;

/// Violations whose text is kept; the rest is counted.
const TEXTS: usize = 20;

/// What became of every message. All must stay 0 from `lost` on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Ledger {
    /// Publications that came.
    pub delivered: u64,
    /// Echoes that came back.
    pub echoed: u64,
    /// Messages sent by this side.
    pub sent: u64,
    /// Publications that did not come where gaps are allowed, each accounted for by the server's own count.
    pub dropped: u64,
    /// Connections opened.
    pub opened: u64,
    /// Connections ended in peace, after all that was due had come.
    pub closed: u64,
    /// Connections that this side reset or left without a word.
    pub abandoned: u64,
    /// Subscriptions ended, and begun anew elsewhere, on a connection that stayed.
    pub moved: u64,
    /// Stalls that lasted.
    pub stalled: u64,
    /// Connections that the server ended because they stalled, as their channel says.
    pub cut: u64,
    /// Connections that the server ended because one side did not run for a while. None, on a machine that has a
    /// core for each.
    pub excused: u64,
    /// Connections whose books were compared with the server's.
    pub compared: u64,
    /// Messages that had to come and did not.
    pub lost: u64,
    /// Messages that came twice.
    pub duplicated: u64,
    /// Messages that came behind a later one.
    pub reordered: u64,
    /// Messages with a wrong byte.
    pub corrupted: u64,
    /// Messages that do not belong to whom they came to.
    pub misdirected: u64,
    /// Everything that was wrong, those messages included; the texts are the first of them.
    pub violations: u64,
    /// What the first violations were.
    pub texts: Vec<String>,
}

impl Ledger {
    /// Something was wrong.
    #[cold]
    pub(crate) fn violation(&mut self, text: impl FnOnce() -> String) {
        self.violations += 1;
        if self.texts.len() < TEXTS {
            self.texts.push(text());
        }
    }
}
