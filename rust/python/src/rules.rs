//! Receives settings as they are written · hands out what is wrong with one · owns nothing: the rules are the core's, so
//! that what a `Config` takes is what a shard understands.

use pyo3::prelude::*;
use streamconductor_core::config::Origins;
use streamconductor_core::handshake::TrustedProxies;

/// What is wrong with an entry of `Config.origins`, to stand behind it; None: nothing.
#[pyfunction]
pub fn origin_problem(entry: &str) -> Option<String> {
    Origins::listed([entry]).err().map(|error| error.problem().to_owned())
}

/// What is wrong with an entry of `Config.trusted_proxies`, to stand behind it; None: nothing.
#[pyfunction]
pub fn proxy_problem(entry: &str) -> Option<String> {
    TrustedProxies::listed([entry]).err().map(|error| error.problem().to_owned())
}
