//! Where Redis is, from every place in which people write it. Not used in this version.

use std::collections::HashMap;

use super::environ;
use super::section::Area;
use super::tree::Node;
use crate::ids::Secret;

/// A Redis server, Sentinel group or cluster.
#[derive(Clone, Debug, Default)]
pub struct Redis {
    /// `redis://...`, instead of the single parts.
    pub url: Option<Secret>,
    /// Name or address.
    pub host: Option<String>,
    /// Port.
    pub port: Option<u16>,
    /// User of the access list.
    pub username: Option<String>,
    /// Its password.
    pub password: Option<Secret>,
    /// TLS.
    pub ssl: bool,
    /// Prefix of every key.
    pub namespace: Option<String>,
    /// Name of the Sentinel group.
    pub sentinel_service: Option<String>,
    /// Sentinels.
    pub sentinel_nodes: Vec<(String, u16)>,
    /// Nodes of a cluster.
    pub cluster_nodes: Vec<(String, u16)>,
}

/// First match wins: `cache_params`, `router_settings.redis_*`, `general_settings.redis_*`
/// (a common mistake), `REDIS_*` variables.
pub(super) fn resolve(
    cache: &Area<'_>,
    router: &Area<'_>,
    general: &Area<'_>,
    env: &HashMap<String, String>,
) -> Option<Redis> {
    of_cache(cache)
        .or_else(|| of_prefixed(router))
        .or_else(|| of_prefixed(general))
        .or_else(|| of_variables(env))
}

fn of_cache(area: &Area<'_>) -> Option<Redis> {
    let redis = Redis {
        url: area.secret("url"),
        host: owned(area.text("host")),
        port: port(area.count("port")),
        username: owned(area.text("username")),
        password: area.secret("password"),
        ssl: area.bool("ssl").unwrap_or(false),
        namespace: owned(area.text("namespace")),
        sentinel_service: owned(area.text("service_name")),
        sentinel_nodes: nodes(area.get("sentinel_nodes")),
        cluster_nodes: nodes(area.get("redis_startup_nodes")),
    };
    redis.names_a_place().then_some(redis)
}

/// With `redis_use_sentinel` the host is a Sentinel, not the server.
fn of_prefixed(area: &Area<'_>) -> Option<Redis> {
    let mut redis = Redis {
        url: area.secret("redis_url"),
        host: owned(area.text("redis_host")),
        port: port(area.count("redis_port")),
        username: owned(area.text("redis_username")),
        password: area.secret("redis_password"),
        ssl: area.bool("redis_ssl").unwrap_or(false),
        sentinel_service: owned(area.text("redis_sentinel_master_name")),
        sentinel_nodes: nodes(area.get("redis_sentinel_nodes")),
        ..Redis::default()
    };
    if area.bool("redis_use_sentinel") == Some(true) || redis.sentinel_service.is_some() {
        const SENTINEL_PORT: u16 = 26_379;
        let port = redis.port.take().unwrap_or(SENTINEL_PORT);
        redis
            .sentinel_nodes
            .extend(redis.host.take().map(|host| (host, port)));
    }
    redis.names_a_place().then_some(redis)
}

fn of_variables(env: &HashMap<String, String>) -> Option<Redis> {
    let text = |name| environ::variable(env, name).map(str::to_owned);
    let redis = Redis {
        url: text("REDIS_URL").map(Secret::new),
        host: text("REDIS_HOST"),
        port: text("REDIS_PORT").and_then(|port| port.parse().ok()),
        username: text("REDIS_USERNAME"),
        password: text("REDIS_PASSWORD").map(Secret::new),
        ssl: environ::switch(env, "REDIS_SSL"),
        namespace: None,
        sentinel_service: text("REDIS_SERVICE_NAME"),
        sentinel_nodes: nodes_of_json(environ::variable(env, "REDIS_SENTINEL_NODES")),
        cluster_nodes: nodes_of_json(environ::variable(env, "REDIS_CLUSTER_NODES")),
    };
    redis.names_a_place().then_some(redis)
}

impl Redis {
    fn names_a_place(&self) -> bool {
        self.url.is_some()
            || self.host.is_some()
            || !self.sentinel_nodes.is_empty()
            || !self.cluster_nodes.is_empty()
    }
}

fn owned(text: Option<&str>) -> Option<String> {
    text.map(str::to_owned)
}

fn port(count: Option<u64>) -> Option<u16> {
    count.and_then(|count| u16::try_from(count).ok())
}

/// `[[host, port]]` or `[{host, port}]`.
fn nodes(list: Option<&Node>) -> Vec<(String, u16)> {
    let json = list.map(super::section::to_json).unwrap_or_default();
    nodes_of_value(&json)
}

fn nodes_of_json(text: Option<&str>) -> Vec<(String, u16)> {
    let json = text
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default();
    nodes_of_value(&json)
}

fn nodes_of_value(json: &serde_json::Value) -> Vec<(String, u16)> {
    let node = |value: &serde_json::Value| {
        let (host, port) = match value {
            serde_json::Value::Array(pair) => (pair.first()?, pair.get(1)?),
            _ => (value.get("host")?, value.get("port")?),
        };
        let number = port.as_u64().or_else(|| port.as_str()?.parse().ok())?;
        Some((host.as_str()?.to_owned(), u16::try_from(number).ok()?))
    };
    json.as_array()
        .map_or(Vec::new(), |list| list.iter().filter_map(node).collect())
}
