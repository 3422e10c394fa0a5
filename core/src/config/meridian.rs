//! `meridian`: settings that LiteLLM does not have, resolved.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::environ;
use super::problem::Problems;
use super::section::Area;
use super::target::check_url;
use crate::budget::policy::{Degraded, OnExhausted, Policy};
use crate::remote::Reach;

/// Settings that LiteLLM does not have.
#[derive(Clone, Debug)]
pub struct Meridian {
    /// Largest request body; a larger one gets 413.
    pub body_bytes_max: u64,
    /// All request bodies in memory together; above it new ones get 503.
    pub buffered_bytes_max: u64,
    /// Until a request body is complete.
    pub body_timeout: Duration,
    /// Silence before a stream gets a comment; zero is never.
    pub keepalive: Duration,
    /// Longest silence of an upstream stream.
    pub stall_timeout: Duration,
    /// Longest time from a request's arrival to the end of its answer; zero is no limit.
    pub total_timeout: Duration,
    /// Until a client takes what is written.
    pub write_timeout: Duration,
    /// Idle client connections are closed.
    pub downstream_idle: Duration,
    /// Idle upstream connections are closed.
    pub upstream_idle: Duration,
    /// Until an upstream connection stands.
    pub connect_timeout: Duration,
    /// Upstream names are resolved again.
    pub dns_ttl: Duration,
    /// New requests are served this long after a node said that it leaves.
    pub drain_delay: Duration,
    /// Running requests may take this long at shutdown, after that.
    pub drain_timeout: Duration,
    /// Largest spend journal; above it new requests get 503.
    pub journal_bytes_max: u64,
    /// Days for which it is kept who made a file or batch.
    pub stored_objects_days: u64,
    /// When the journal is forced to disk.
    pub fsync: Fsync,
    /// What happens upstream when a client leaves.
    pub response_on_disconnect: OnDisconnect,
    /// What happens with models that have no price.
    pub unknown_price: UnknownPrice,
    /// What budgets do that say nothing themselves.
    pub budget_policy: Policy,
    /// Most series of one metric.
    pub metrics_series_max: usize,
    /// Whose `x-forwarded-for` is believed.
    pub trusted_proxies: TrustedProxies,
    /// Web images and documents of one request that are fetched, together; zero is none.
    pub fetch_bytes_max: u64,
    /// Until they are all there.
    pub fetch_timeout: Duration,
    /// Where they may come from besides the public internet.
    pub fetch_reach: Reach,
    /// PEM file of authorities trusted instead of the system's.
    pub upstream_ca_file: Option<String>,
    /// Address of `--role admin`.
    pub admin_bind: SocketAddr,
    /// TLS on the listener.
    pub tls: Option<Tls>,
    /// Prices over the built-in map.
    pub price_map: PriceMap,
    /// Answers say how they were routed.
    pub explain_header: bool,
}

/// When the journal is forced to disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fsync {
    /// At short intervals: a crash of the machine may lose the last of them.
    Interval,
    /// Before a request counts as ended.
    Always,
    /// Left to the operating system.
    Never,
}

/// What happens upstream when a client leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDisconnect {
    /// The attempt is cancelled.
    Cancel,
    /// The answer is read to its end for the usage.
    Drain,
}

/// What happens with models that have no price.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownPrice {
    /// They are served and flagged.
    Allow,
    /// They are refused.
    Reject,
}

/// Whose `x-forwarded-for` is believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrustedProxies {
    /// This many entries from the right were written by own proxies; 0 is nobody.
    Count(u32),
    /// Entries from the right are skipped while they are in these networks.
    Networks(Vec<Network>),
}

/// An address range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// Reads `10.0.0.0/8`, `::1` and their like.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix.parse().ok()?)),
            None => (text, None),
        };
        let address: IpAddr = address.trim().parse().ok()?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.unwrap_or(bits);
        (prefix <= bits).then_some(Self { address, prefix })
    }

    /// Whether an address is in it; an IPv4 address in IPv6 clothes counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let differ = u32::from(own) ^ u32::from(other);
                differ.leading_zeros() >= u32::from(self.prefix)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let differ = u128::from(own) ^ u128::from(other);
                differ.leading_zeros() >= u32::from(self.prefix)
            }
            _ => false,
        }
    }
}

/// TLS on the listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// PEM file: certificate chain.
    pub cert: String,
    /// PEM file: private key.
    pub key: String,
}

/// Where prices come from beside the built-in map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PriceMap {
    /// JSON file in LiteLLM's form.
    pub file: Option<String>,
    /// The same by HTTP.
    pub url: Option<String>,
    /// How often both are read again; zero is never.
    pub refresh: Duration,
}

const MIB: u64 = 1 << 20;
const ADMIN_PORT: u16 = 4_001;

pub(super) fn resolve(
    area: &Area<'_>,
    general: &Area<'_>,
    env: &HashMap<String, String>,
    problems: &mut Problems,
) -> Meridian {
    let seconds = |key, default| Duration::from_secs(area.count(key).unwrap_or(default));
    let word = |key| area.text(key).unwrap_or_default();
    let body_bytes_max = body_bytes_max(area, general, problems);
    let buffered_bytes_max = area.count("buffered_bytes_max").unwrap_or(1_024 * MIB);
    if buffered_bytes_max < body_bytes_max {
        let message = format!("less than one body of {body_bytes_max} bytes");
        let path = area.path_of("buffered_bytes_max");
        problems.error(area.at("buffered_bytes_max"), &path, message);
    }
    let series = area.count("metrics_series_max").unwrap_or(10_000);
    Meridian {
        body_bytes_max,
        buffered_bytes_max,
        body_timeout: seconds("body_timeout_s", 60),
        keepalive: seconds("keepalive_s", 15),
        stall_timeout: seconds("stall_timeout_s", 300),
        total_timeout: seconds("total_timeout_s", 0),
        write_timeout: seconds("write_timeout_s", 60),
        downstream_idle: seconds("downstream_idle_s", 75),
        upstream_idle: seconds("upstream_idle_s", 60),
        connect_timeout: seconds("connect_timeout_s", 10),
        dns_ttl: seconds("dns_ttl_s", 30),
        drain_delay: seconds("drain_delay_s", 5),
        drain_timeout: seconds("drain_timeout_s", 900),
        journal_bytes_max: area.count("journal_bytes_max").unwrap_or(8 * 1_024 * MIB),
        stored_objects_days: area.count("stored_objects_days").unwrap_or(3 * 365),
        fsync: match word("fsync") {
            "always" => Fsync::Always,
            "never" => Fsync::Never,
            _ => Fsync::Interval,
        },
        response_on_disconnect: match word("response_on_disconnect") {
            "drain" => OnDisconnect::Drain,
            _ => OnDisconnect::Cancel,
        },
        unknown_price: match word("unknown_price") {
            "reject" => UnknownPrice::Reject,
            _ => UnknownPrice::Allow,
        },
        budget_policy: budget_policy(area, general),
        metrics_series_max: usize::try_from(series).unwrap_or(usize::MAX),
        trusted_proxies: trusted_proxies(area, general, problems),
        fetch_bytes_max: fetch_bytes_max(area, env),
        fetch_timeout: seconds("fetch_timeout_s", 15),
        fetch_reach: fetch_reach(area, problems),
        upstream_ca_file: area.text("upstream_ca_file").map(str::to_owned),
        admin_bind: admin_bind(area, problems),
        tls: tls(&area.child("tls"), problems),
        price_map: price_map(&area.child("price_map"), env, problems),
        explain_header: area.bool("explain_header").unwrap_or(false),
    }
}

/// `meridian.body_bytes_max`, else LiteLLM's `max_request_size_mb`, else 32 MiB exactly.
fn body_bytes_max(area: &Area<'_>, general: &Area<'_>, problems: &mut Problems) -> u64 {
    let theirs = general.number("max_request_size_mb").filter(|mb| *mb > 0.0);
    match (area.count("body_bytes_max"), theirs) {
        (Some(own), Some(_)) => {
            let path = general.path_of("max_request_size_mb");
            let message = "ignored: `meridian.body_bytes_max` wins";
            problems.notice(general.at("max_request_size_mb"), &path, message);
            own
        }
        (Some(own), None) => own,
        (None, Some(mb)) => ((mb * MIB as f64) as u64).max(1),
        (None, None) => 32 * MIB,
    }
}

/// What budgets do that say nothing themselves. LiteLLM's `fail_closed_budget_enforcement` is one
/// of the answers.
fn budget_policy(area: &Area<'_>, general: &Area<'_>) -> Policy {
    let closed = general.bool("fail_closed_budget_enforcement");
    let otherwise = match closed.unwrap_or(false) {
        true => Degraded::FailClosed,
        false => Degraded::default(),
    };
    let word = |name: &str| area.text(name);
    let usual = Policy::default();
    let percent = area.count("budget_overdraft_percent");
    let percent = percent.and_then(|percent| u8::try_from(percent).ok());
    Policy {
        overdraft_percent: percent.unwrap_or(usual.overdraft_percent),
        finish_tokens: area
            .count("budget_finish_tokens")
            .unwrap_or(usual.finish_tokens),
        on_exhausted: word("budget_on_exhausted")
            .and_then(OnExhausted::parse)
            .unwrap_or_default(),
        degraded: word("budget_degraded_policy")
            .and_then(Degraded::parse)
            .unwrap_or(otherwise),
    }
}

/// `meridian.fetch_bytes_max`, else LiteLLM's variable, else 20 MiB.
fn fetch_bytes_max(area: &Area<'_>, env: &HashMap<String, String>) -> u64 {
    let theirs = environ::variable(env, "MAX_IMAGE_URL_DOWNLOAD_SIZE_MB");
    let theirs = theirs.and_then(|mb| mb.trim().parse::<f64>().ok());
    let theirs = theirs.filter(|mb| (0.0..1e6).contains(mb));
    area.count("fetch_bytes_max")
        .or(theirs.map(|mb| (mb * MIB as f64) as u64))
        .unwrap_or(20 * MIB)
}

fn fetch_reach(area: &Area<'_>, problems: &mut Problems) -> Reach {
    const KEY: &str = "fetch_allow";
    let mut reach = Reach::default();
    for (text, at) in area.texts(KEY) {
        let is_name = !text.is_empty()
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
        match Network::parse(text) {
            Some(network) => reach.networks.push(network),
            None if is_name => reach.hosts.push(text.to_ascii_lowercase()),
            None => {
                let message = "expected a host name, an address or a network, such as `10.0.0.0/8`";
                problems.error(at, &area.path_of(KEY), message);
            }
        }
    }
    reach
}

fn trusted_proxies(area: &Area<'_>, general: &Area<'_>, problems: &mut Problems) -> TrustedProxies {
    const KEY: &str = "trusted_proxies";
    let Some(node) = area.get(KEY) else {
        let forwarded = general.bool("use_x_forwarded_for").unwrap_or(false);
        return TrustedProxies::Count(u32::from(forwarded));
    };
    let count = area.count(KEY).and_then(|count| u32::try_from(count).ok());
    if let Some(count) = count.filter(|count| *count <= 16) {
        return TrustedProxies::Count(count);
    }
    let mut networks = Vec::new();
    for (text, at) in area.texts(KEY) {
        match Network::parse(text) {
            Some(network) => networks.push(network),
            None => {
                let message = "expected a count up to 16, or a list such as `[10.0.0.0/8]`";
                problems.error(at, &area.path_of(KEY), message);
            }
        }
    }
    if !node.entries().is_empty() {
        problems.error(&node.at, &area.path_of(KEY), "expected a count or a list");
    }
    TrustedProxies::Networks(networks)
}

fn admin_bind(area: &Area<'_>, problems: &mut Problems) -> SocketAddr {
    let default = SocketAddr::from((Ipv4Addr::UNSPECIFIED, ADMIN_PORT));
    let Some(text) = area.text("admin_bind") else {
        return default;
    };
    text.parse().unwrap_or_else(|_| {
        let message = "expected an address with a port, such as `127.0.0.1:4001`";
        problems.error(area.at("admin_bind"), &area.path_of("admin_bind"), message);
        default
    })
}

fn tls(area: &Area<'_>, problems: &mut Problems) -> Option<Tls> {
    let (cert, key) = (area.text("cert"), area.text("key"));
    for (present, absent, missing) in [(cert, key, "key"), (key, cert, "cert")] {
        if present.is_some() && absent.is_none() {
            let message = "required: a listener needs both `cert` and `key`";
            problems.error(area.start(), &area.path_of(missing), message);
        }
    }
    let (cert, key) = (cert?.to_owned(), key?.to_owned());
    Some(Tls { cert, key })
}

fn price_map(area: &Area<'_>, env: &HashMap<String, String>, problems: &mut Problems) -> PriceMap {
    check_url(area, "url", problems);
    let local = environ::switch(env, "LITELLM_LOCAL_MODEL_COST_MAP");
    let variable = environ::variable(env, "LITELLM_MODEL_COST_MAP_URL").filter(|_| !local);
    PriceMap {
        file: area.text("file").map(str::to_owned),
        url: area.text("url").or(variable).map(str::to_owned),
        refresh: Duration::from_secs(area.count("refresh_s").unwrap_or(86_400)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_holds_its_addresses_and_no_others() {
        let network = Network::parse("10.1.0.0/16").unwrap();
        let is_in = |text: &str| network.contains(text.parse().unwrap());
        assert!(is_in("10.1.255.1") && is_in("::ffff:10.1.0.1"));
        assert!(!is_in("10.2.0.1") && !is_in("::1"));
        let all = Network::parse("::/0").unwrap();
        assert!(all.contains("2001:db8::1".parse().unwrap()));
        for bad in ["10.0.0.0/33", "10.0.0/8", "x", "::/129", "1.2.3.4/-1"] {
            assert_eq!(Network::parse(bad), None, "{bad}");
        }
    }
}
