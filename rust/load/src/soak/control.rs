//! Receives the server program's messages on a connection of their own · hands out what it said last · owns that
//! connection and the format of what is said on it.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::Deserialize;

use super::books::Closing;
use super::channels::Channel;
use super::peer::{End, Peer};
use crate::failure::Failure;
use crate::transport::{Scratch, Transport};

/// Messages and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct Flow {
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Traffic {
    pub(crate) received: Flow,
    pub(crate) accepted: Flow,
    pub(crate) written: Flow,
    pub(crate) dropped: BTreeMap<String, Flow>,
    pub(crate) discarded: Flow,
    pub(crate) pending: Flow,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Used {
    pub(crate) used: u64,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Pool {
    pub(crate) connections: Used,
    pub(crate) pending: Used,
    pub(crate) known: u64,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Memory {
    pub(crate) owners: BTreeMap<String, u64>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Shards {
    pub(crate) published: u64,
    pub(crate) pings: u64,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Subscribed {
    pub(crate) count: u64,
    pub(crate) subscriptions: u64,
}

/// What one server's `status()` says, as far as it is looked at here.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Status {
    pub(crate) traffic: Traffic,
    pub(crate) pool: Pool,
    pub(crate) ledger: Memory,
    pub(crate) shards: Shards,
    pub(crate) channels: Subscribed,
    pub(crate) endings: BTreeMap<String, u64>,
}

/// What the server program says of itself.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Pulse {
    /// The most that its publisher was late, in seconds, since it said so last.
    pub(crate) late: f64,
    /// The status of each server that it runs.
    pub(crate) servers: Vec<Status>,
    /// Whether this answers a question; else it is one of those that come every second.
    pub(crate) is_answer: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Said {
    Hello { channels: Vec<Channel> },
    Pulse(Pulse),
    Closed(Vec<Closing>),
    Final(Vec<Vec<u64>>),
}

/// The connection, and what was said.
#[derive(Debug)]
pub(crate) struct Control {
    pub(crate) peer: Peer,
    pub(crate) channels: Option<Vec<Channel>>,
    pub(crate) pulse: Option<Pulse>,
    pub(crate) closings: Vec<Closing>,
    /// By server and channel, the number of its publications.
    pub(crate) finals: Option<Vec<Vec<u64>>>,
}

impl Control {
    pub(crate) fn connect(address: SocketAddr) -> Result<Self, Failure> {
        let peer = Peer::new(Transport::connect(address, None, None, None)?, "/control".to_owned());
        Ok(Self { peer, channels: None, pulse: None, closings: Vec::new(), finals: None })
    }

    /// The socket is ready.
    pub(crate) fn ready(&mut self, is_writable: bool, scratch: &mut Scratch) -> Result<(), Failure> {
        if is_writable {
            self.peer.writable().map_err(|end| lost(&end))?;
        }
        let mut said = Vec::new();
        self.peer
            .readable(scratch, false, |payload| said.push(serde_json::from_slice(payload)))
            .map_err(|end| lost(&end))?;
        for said in said {
            match said.map_err(|error| Failure::Control(error.to_string()))? {
                Said::Hello { channels } => self.channels = Some(channels),
                Said::Pulse(pulse) => self.pulse = Some(pulse),
                Said::Closed(closings) => self.closings.extend(closings),
                Said::Final(finals) => self.finals = Some(finals),
            }
        }
        Ok(())
    }

    /// Tells the server program something.
    pub(crate) fn tell(&mut self, text: &str) -> Result<(), Failure> {
        self.peer.send(text.as_bytes()).map_err(|end| lost(&end))
    }
}

fn lost(end: &End) -> Failure {
    Failure::Control(format!("the connection ended: {:?}, {:?}", end.close, end.fault))
}
