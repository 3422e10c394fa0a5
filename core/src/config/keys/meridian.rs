//! Keys of `meridian`: what LiteLLM has no setting for. Units are in the names.

use super::Kind::{Any, Text, Whole};
use super::{Key, Kind, Section, on};

/// A day.
const DAY_S: i64 = 86_400;
/// Largest size that is accepted: 1 TiB.
const BYTES_MAX: i64 = 1 << 40;

pub(super) const MERIDIAN: &[Key] = &[
    on(
        "body_bytes_max",
        Whole(1, BYTES_MAX),
        "request body; default 33554432 (32 MiB)",
    ),
    on(
        "buffered_bytes_max",
        Whole(1, BYTES_MAX),
        "all bodies together; default 1073741824",
    ),
    on(
        "body_timeout_s",
        Whole(1, DAY_S),
        "until a request body is complete; default 60",
    ),
    on(
        "keepalive_s",
        Whole(0, DAY_S),
        "silence before a stream gets a comment; default 15, 0 off",
    ),
    on(
        "stall_timeout_s",
        Whole(1, DAY_S),
        "longest silence of an upstream stream; default 300",
    ),
    on(
        "write_timeout_s",
        Whole(1, DAY_S),
        "until a client takes what is written; default 60",
    ),
    on(
        "downstream_idle_s",
        Whole(1, DAY_S),
        "idle client connections are closed; default 75",
    ),
    on(
        "upstream_idle_s",
        Whole(1, DAY_S),
        "idle provider connections are closed; default 60",
    ),
    on(
        "connect_timeout_s",
        Whole(1, 600),
        "until a provider connection stands; default 10",
    ),
    on(
        "dns_ttl_s",
        Whole(1, DAY_S),
        "provider names are resolved again; default 30",
    ),
    on(
        "drain_timeout_s",
        Whole(0, DAY_S),
        "running requests at shutdown; default 900",
    ),
    on(
        "journal_bytes_max",
        Whole(1 << 20, BYTES_MAX),
        "spend journal; default 8589934592 (8 GiB)",
    ),
    on(
        "fsync",
        Kind::Word(&["interval", "always", "never"]),
        "of the journal; default interval",
    ),
    on(
        "response_on_disconnect",
        Kind::Word(&["cancel", "drain"]),
        DISCONNECT,
    ),
    on(
        "unknown_price",
        Kind::Word(&["allow", "reject"]),
        "models without price; default allow",
    ),
    on(
        "metrics_series_max",
        Whole(100, 10_000_000),
        "series per metric; default 10000",
    ),
    on(
        "trusted_proxies",
        Any,
        "a count, or addresses and networks; default 0",
    ),
    on(
        "upstream_ca_file",
        Text,
        "PEM file of authorities trusted instead of the system's",
    ),
    on(
        "admin_bind",
        Text,
        "address of `--role admin`; default 0.0.0.0:4001",
    ),
    on(
        "tls",
        Kind::Section(Section::Tls),
        "TLS on the listener; default: none",
    ),
    on(
        "price_map",
        Kind::Section(Section::PriceMap),
        "prices; default: the built-in map",
    ),
];

const DISCONNECT: &str = "a client leaves: cancel upstream or drain it; default cancel";

pub(super) const TLS: &[Key] = &[
    on("cert", Text, "PEM file: certificate chain"),
    on("key", Text, "PEM file: private key"),
];

pub(super) const PRICE_MAP: &[Key] = &[
    on(
        "file",
        Text,
        "JSON file in LiteLLM's form, over the built-in map",
    ),
    on(
        "url",
        Text,
        "the same by HTTPS; default: env `LITELLM_MODEL_COST_MAP_URL` or none",
    ),
    on(
        "refresh_s",
        Whole(0, 30 * DAY_S),
        "how often both are read again; default 86400, 0 off",
    ),
];
