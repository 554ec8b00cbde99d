//! Receives a plan · hands out what its connections do · owns the scenarios, one a file.

pub(crate) mod churn;
pub(crate) mod echo;
pub(crate) mod fanout;
pub(crate) mod handshake;
pub(crate) mod idle;
pub(crate) mod slow;
pub(crate) mod storm;
