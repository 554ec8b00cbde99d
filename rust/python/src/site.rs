//! Receives the routes, channels and assets of a Python server · hands out the native site and registry · owns the
//! translation.

use std::collections::HashMap;
use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use streamconductor_core::channel::{Policy, Registry};
use streamconductor_core::codec::{Kind, encode_message};
use streamconductor_core::config::Overflow;
use streamconductor_core::handshake::{RouteSettings, Router};
use streamconductor_core::shard::site::Route;
use streamconductor_net::front::{Asset, MAX_ASSET};
use streamconductor_net::tokens::{BearerTokens, KeyError, Rules, TokenSettings};

use crate::settings::{AssetSetting, ChannelSetting, RouteSetting, TokenSetting, origins, overflow};

/// The router, and what the shards do with each route's connections.
pub fn routes(settings: Vec<RouteSetting>) -> PyResult<(Router, Vec<Route>)> {
    let mut router = Router::new();
    let mut all = Vec::new();
    for setting in settings {
        let origins = if setting.has_origins { Some(origins(setting.origins)?) } else { None };
        router
            .add(&setting.pattern, RouteSettings { subprotocols: setting.subprotocols, origins })
            .map_err(|error| PyValueError::new_err(error.to_string()))?;
        let heartbeat = setting.heartbeat_message.map(|message| {
            let mut frame = Vec::new();
            encode_message(&mut frame, Kind::Text, message.as_bytes());
            frame.into()
        });
        all.push(Route { receives: setting.receives, held: setting.held, heartbeat });
    }
    Ok((router, all))
}

/// The assets by path.
pub fn assets(settings: Vec<AssetSetting>) -> PyResult<HashMap<String, Asset>> {
    settings
        .into_iter()
        .map(|asset| {
            if asset.content.len() > MAX_ASSET {
                let size = asset.content.len();
                return Err(PyValueError::new_err(format!(
                    "asset {} has {size} bytes, more than {MAX_ASSET}; serve it elsewhere",
                    asset.path
                )));
            }
            // Assets are a handful and known at start: their types may live as long as the process.
            let content_type: &'static str = asset.content_type.leak();
            Ok((asset.path, Asset { content_type, content: asset.content.into() }))
        })
        .collect()
}

/// Whoever checks bearer tokens, with all keys read.
pub fn tokens(setting: TokenSetting, cookie: Option<String>) -> Result<BearerTokens, KeyError> {
    let rules = Rules {
        issuer: setting.issuer,
        audience: setting.audience,
        leeway: Duration::from_secs_f64(setting.leeway),
        user_claim: setting.user_claim,
    };
    BearerTokens::load(TokenSettings { files: setting.files, rules, cookie })
}

/// The registry with the policies of all patterns.
pub fn registry(shards: usize, fallback: Overflow, settings: &[ChannelSetting]) -> PyResult<Registry> {
    let mut registry = Registry::new(shards, Policy { overflow: fallback, high_water: None });
    for channel in settings {
        define(&mut registry, &channel.pattern, channel.overflow.as_deref(), channel.high_water)?;
    }
    Ok(registry)
}

/// Sets the policy of a pattern; without a name of its own it overflows as channels without a pattern do.
pub fn define(
    registry: &mut Registry,
    pattern: &str,
    overflow_name: Option<&str>,
    high_water: Option<usize>,
) -> PyResult<()> {
    let overflow = overflow_name.map_or(Ok(registry.fallback().overflow), overflow)?;
    registry.define(pattern, Policy { overflow, high_water });
    Ok(())
}
