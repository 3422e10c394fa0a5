//! Keys of `meridian`: what LiteLLM has no setting for. Units are in the names.

use super::Kind::{Any, Bool, Number, Seconds, Share, Text, Whole};
use super::{Key, Kind, Section, on};
use crate::budget::policy::{Degraded, OVERDRAFT_PERCENT_MAX, OnExhausted};

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
        "total_timeout_s",
        Whole(0, DAY_S),
        "from a request's arrival to the end of its answer, streams too; default 0, off",
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
        "drain_delay_s",
        Whole(0, 600),
        "new requests are served so long after readiness said 503 at shutdown; default 5",
    ),
    on(
        "drain_timeout_s",
        Whole(0, DAY_S),
        "running requests at shutdown, after the delay; default 900",
    ),
    on(
        "journal_bytes_max",
        Whole(1 << 20, BYTES_MAX),
        "spend journal; default 8589934592 (8 GiB)",
    ),
    on(
        "stored_objects_days",
        Whole(31, 36_500),
        "who made a file or batch is known so long; default 1095",
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
        "budget_on_exhausted",
        Kind::Word(&OnExhausted::WORDS),
        "streams that run when a budget is used up; default cut",
    ),
    on(
        "budget_degraded_policy",
        Kind::Word(&Degraded::WORDS),
        "budgets while those who decide about them are out of reach; default lease_only",
    ),
    on(
        "budget_overdraft_percent",
        Whole(1, OVERDRAFT_PERCENT_MAX as i64),
        "of a budget, what each node may spend beyond its rights under fail_open; default 5",
    ),
    on(
        "budget_finish_tokens",
        Whole(1, 10_000_000),
        "output tokens that a stream without `max_tokens` may take past the end of a budget under \
         finish; default 65536",
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
        "fetch_bytes_max",
        Whole(0, BYTES_MAX),
        "web items of one request, for providers that take bytes only; default 20971520, 0 off",
    ),
    on(
        "fetch_timeout_s",
        Whole(1, 600),
        "until they are all there; default 15",
    ),
    on(
        "fetch_allow",
        Kind::Texts,
        "hosts and networks that they may come from although they are not public; default: none",
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
    on(
        "default_region",
        Text,
        "of deployments without `region_name`, and of a node without `--region`; default: none",
    ),
    on(
        "regions",
        Kind::Section(Section::Regions),
        "which regions are near",
    ),
    on(
        "max_attempts",
        Whole(1, 100),
        "upstream sends of one request, retries, fallbacks and hedges together; default 6",
    ),
    on(
        "retry_budget",
        Share,
        "further sends as a share of all requests of this node; default 0.1",
    ),
    on(
        "latency_decay_s",
        Seconds,
        "latency-based-routing: a measurement has lost 63 % of its weight; default 10",
    ),
    on(
        "cooldown",
        Kind::Section(Section::Cooldown),
        "when a deployment is left out",
    ),
    on(
        "affinity",
        Kind::Section(Section::Affinity),
        "conversations keep to a deployment for its prompt cache; default: off",
    ),
    on(
        "hedge",
        Kind::Section(Section::Hedge),
        "a second request when the first is slow to begin; default: never",
    ),
    on(
        "probes",
        Kind::Section(Section::Probes),
        "of `general_settings.background_health_checks`",
    ),
    on(
        "response_cache",
        Kind::Section(Section::ResponseCache),
        "of `litellm_settings.cache`",
    ),
    on(
        "explain_header",
        Bool,
        "answers say in a header how they were routed; default false",
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

pub(super) const REGIONS: &[Key] = &[
    on(
        "nearest",
        Any,
        "other regions, nearest first: a list, or one for each region: `{us-east-1: [eu-west-1]}`",
    ),
    on(
        "teams",
        Kind::Map,
        "regions that may serve the keys of a team, a hard limit: `{team-id: [eu-west-1]}`",
    ),
    on(
        "links",
        Kind::Map,
        "Redis of each other region, where its mailbox lies: `{eu-west-1: {url, username, \
         password, tls, namespace}}`",
    ),
    on(
        "max_stale_s",
        Whole(1, 365 * DAY_S),
        "silence of a region after which its keys get 503; default 86400",
    ),
    on(
        "isolation_s",
        Whole(1, 30 * DAY_S),
        "keeps ceilings of budgets: a region that is cut off can go on for so long at its rate, \
         at least, and what it holds above can be made anew by `region_lost` with `fence`; \
         default off",
    ),
];

pub(super) const COOLDOWN: &[Key] = &[
    on(
        "min_samples",
        Whole(1, 1_000_000),
        "requests before a share of failures means anything; default 5",
    ),
    on(
        "failure_rate",
        Share,
        "share of failures above which a deployment is left out; default 0.5",
    ),
    on(
        "window_s",
        Whole(1, 3_600),
        "what is looked back at; default 60",
    ),
    on(
        "time_max_s",
        Whole(1, DAY_S),
        "longest cooldown that is not a provider's `Retry-After`; default 300",
    ),
    on(
        "ramp_s",
        Whole(0, 3_600),
        "until a deployment that is back has its full share; default 10",
    ),
    on(
        "all_cooling",
        Kind::Word(&["least-bad", "wait", "refuse"]),
        "all are left out: use the first one that is back, wait for it, or 429; default least-bad",
    ),
    on(
        "wait_s",
        Seconds,
        "longest wait of `all_cooling: wait`; default 10",
    ),
];

pub(super) const AFFINITY: &[Key] = &[
    on(
        "prefix_bytes",
        Whole(1, 1 << 20),
        "of the prompt, where no session is named; default 4096",
    ),
    on(
        "load_max",
        Number,
        "at least 1: times the mean load, above which a deployment is passed over; default 1.25",
    ),
];

pub(super) const HEDGE: &[Key] = &[
    on(
        "after_s",
        Seconds,
        "required: wait for the first token before the second request",
    ),
    on(
        "share_max",
        Share,
        "second requests as a share of all; default 0.05",
    ),
    on(
        "cost_max_usd",
        Number,
        "most that a second request may be expected to cost; default 0.01",
    ),
];

pub(super) const PROBES: &[Key] = &[
    on(
        "timeout_s",
        Whole(1, 600),
        "longest wait for one; default 10",
    ),
    on(
        "billed_usd_per_day",
        Number,
        "what probes may cost on this node; default: only lists of models are asked for",
    ),
];

pub(super) const RESPONSE_CACHE: &[Key] = &[
    on(
        "memory_bytes_max",
        Whole(1 << 20, BYTES_MAX),
        "answers in this node's memory; default 134217728 (128 MiB)",
    ),
    on(
        "entry_bytes_max",
        Whole(1 << 10, 64 << 20),
        "largest answer that is cached, at most a 16th of the memory; default 1048576 (1 MiB)",
    ),
    on(
        "scope",
        Kind::Word(&["tenant", "key", "global"]),
        "who shares answers: a team, else a user, else a key; one key; everybody; default tenant",
    ),
    on(
        "single_flight",
        Bool,
        "equal requests at the same time wait for the first one; default true",
    ),
];
