//! Regions on one machine: each with its own Redis, Postgres and gateways, joined by links that
//! take time and can be cut, in front of one fake provider that knows what was billed.

pub mod ledger;
pub mod load;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};

use crate::clock::Clock;
use crate::config::{Config, Prices};
use crate::gateway::{Gateway, Setup};
use crate::postgres::Postgres;
use crate::provider::{Options, Provider};
use crate::raw::{Request, Response};
use crate::redis::Redis;
use crate::run::Run;
use crate::wire::{Relay, Wire};

/// Name of each region's database.
pub const DATABASE: &str = "app";
/// Requests that the provider remembers.
const ROWS_MAX: usize = 1_000_000;
/// A key that was just made is known in all regions within this time.
const KNOWN_WITHIN: Duration = Duration::from_secs(60);

/// Prices of every model here: requests of some ten tokens cost cents, so that a budget of a dollar
/// is a hundred requests.
pub const PRICES: Prices = Prices {
    input: 1_000,
    output: 500_000,
};

/// What is built.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The gateway's binary: `env!("CARGO_BIN_EXE_meridian")` in tests of the root package.
    pub binary: String,
    /// Names of the regions.
    pub names: Vec<String>,
    /// Gateways in each.
    pub nodes: usize,
    /// Round trips between two regions by their numbers, the smaller one first.
    pub round_trips: BTreeMap<(usize, usize), Duration>,
    /// Whether wall clocks can be shifted.
    pub clocks: bool,
    /// Deployments beside `fake-*`: a model's name, which at the provider has `fake-` before it,
    /// and further lines of `litellm_params`.
    pub models: Vec<(String, String)>,
    /// Further lines of `general_settings`.
    pub general: String,
    /// Further lines of `router_settings`.
    pub router: String,
    /// Further lines below `meridian:`.
    pub meridian: String,
}

impl Plan {
    /// Three regions of two gateways, 80, 160 and 230 ms from each other.
    pub fn three(binary: &str) -> Self {
        let ms = Duration::from_millis;
        Self {
            binary: binary.to_owned(),
            names: ["eu", "us", "ap"].map(str::to_owned).to_vec(),
            nodes: 2,
            round_trips: [((0, 1), ms(80)), ((1, 2), ms(160)), ((0, 2), ms(230))].into(),
            clocks: false,
            models: Vec::new(),
            general: String::new(),
            router: String::new(),
            meridian: String::new(),
        }
    }
}

/// A gateway and its wall clock.
#[derive(Debug)]
pub struct Node {
    /// The process.
    pub gateway: Gateway,
    /// Its clock, where the plan wants clocks.
    pub clock: Option<Clock>,
}

/// One region.
#[derive(Debug)]
pub struct Region {
    /// Its name.
    pub name: String,
    /// Its Postgres; [`DATABASE`] is the gateways'.
    pub postgres: Postgres,
    /// Its Redis.
    pub redis: Redis,
    /// Its gateways.
    pub nodes: Vec<Node>,
}

/// All of it. Dropping it ends every process.
#[derive(Debug)]
pub struct Regions {
    /// The regions.
    pub regions: Vec<Region>,
    /// The truth about what was billed.
    pub provider: Provider,
    /// By (from, to): the way of one region's gateways to the other region's Redis.
    pub links: BTreeMap<(usize, usize), Relay>,
}

impl Regions {
    /// Builds and starts everything; returns when all gateways are ready.
    pub async fn start(plan: Plan) -> Self {
        let options = Options {
            record: false,
            rows_max: ROWS_MAX,
            ..Options::default()
        };
        let provider = Provider::start_with(options).expect("a free port");
        let mut regions = Vec::new();
        for name in &plan.names {
            regions.push(Region {
                name: name.clone(),
                postgres: migrated(&plan.binary).await,
                redis: Redis::start(),
                nodes: Vec::new(),
            });
        }
        let mut links = BTreeMap::new();
        for from in 0..regions.len() {
            for to in (0..regions.len()).filter(|to| *to != from) {
                let between = (from.min(to), from.max(to));
                let round_trip = plan.round_trips.get(&between).copied();
                let target = regions[to].redis.addr();
                let link = Relay::with_round_trip(target, round_trip.unwrap_or_default()).await;
                links.insert((from, to), link);
            }
        }
        let mut all = Self {
            regions,
            provider,
            links,
        };
        all.start_nodes(&plan).await;
        all
    }

    async fn start_nodes(&mut self, plan: &Plan) {
        let mut starting = tokio::task::JoinSet::new();
        for region in 0..self.regions.len() {
            for _ in 0..plan.nodes {
                let clock = plan.clocks.then(Clock::right);
                let mut setup = self.setup(plan, region);
                for (name, value) in clock.iter().flat_map(Clock::environment) {
                    setup = setup.env(name, &value);
                }
                starting.spawn(async move {
                    let gateway = setup.start().await;
                    (region, Node { gateway, clock })
                });
            }
        }
        while let Some(started) = starting.join_next().await {
            let (region, node) = started.expect("a gateway starts");
            self.regions[region].nodes.push(node);
        }
    }

    fn setup(&self, plan: &Plan, number: usize) -> Setup {
        let region = &self.regions[number];
        let mut links = String::new();
        for ((from, to), relay) in &self.links {
            if *from == number {
                let (name, addr) = (&self.regions[*to].name, relay.addr());
                links += &format!("      {name}: {{url: 'redis://{addr}'}}\n");
            }
        }
        let home = &self.regions[0].name;
        let mut meridian = format!("meridian:\n  default_region: {home}\n  regions:\n");
        meridian += &format!("    links:\n{links}");
        meridian.extend(plan.meridian.lines().map(|line| format!("  {line}\n")));
        let redis = format!("redis://{}", region.redis.addr());
        let base = format!("{}/v1", self.provider.url());
        let config = Config::new().priced("fake-*", "openai/fake-*", &base, PRICES);
        let models = plan.models.iter();
        let config = models
            .fold(config, |config, (name, more)| {
                config.model(name, &format!("openai/fake-{name}"), &base, more)
            })
            .litellm(&format!("cache_params: {{type: redis, url: '{redis}'}}"))
            .general(&plan.general)
            .router(&plan.router)
            .raw(&meridian);
        Setup::new(&plan.binary, &config)
            .env("DATABASE_URL", &region.postgres.url(DATABASE))
            .arg("--region")
            .arg(&region.name)
            .arg("--threads")
            .arg("1")
    }

    /// What all links to and from a region do.
    pub fn cut(&self, region: usize, wire: Wire) {
        for ((from, to), link) in &self.links {
            if *from == region || *to == region {
                link.set(wire);
            }
        }
    }

    /// What all links do: with anything but `Whole` each region is alone.
    pub fn cut_all(&self, wire: Wire) {
        for link in self.links.values() {
            link.set(wire);
        }
    }

    /// All links are whole again.
    pub fn heal(&self) {
        self.cut_all(Wire::Whole);
    }

    /// A gateway.
    pub fn gateway(&self, region: usize, node: usize) -> &Gateway {
        &self.regions[region].nodes[node].gateway
    }

    /// Every gateway.
    pub fn gateways(&self) -> impl Iterator<Item = &Gateway> {
        let nodes = self.regions.iter().flat_map(|region| &region.nodes);
        nodes.map(|node| &node.gateway)
    }

    /// Where the gateways listen, by region.
    pub fn addresses(&self) -> Vec<Vec<SocketAddr>> {
        let of = |region: &Region| {
            let nodes = region.nodes.iter();
            nodes.map(|node| node.gateway.addr()).collect()
        };
        self.regions.iter().map(of).collect()
    }

    /// Makes a key in a region, which is its home, and waits until every gateway knows it and
    /// every region has stored it.
    pub async fn key(&self, region: usize, fields: &Value) -> String {
        let key = self.gateway(region, 0).key(fields).await;
        self.known(&key).await;
        // Memory has it before the store.
        for region in 0..self.regions.len() {
            let info = format!("/key/info?key={key}");
            let gateway = self.gateway(region, 0);
            let began = std::time::Instant::now();
            while gateway.admin("GET", &info, &Value::Null).await.status() != 200 {
                assert!(began.elapsed() < KNOWN_WITHIN, "a new key is not stored");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        key
    }

    /// Waits until every gateway knows a key.
    pub async fn known(&self, key: &str) {
        for gateway in self.gateways() {
            let began = std::time::Instant::now();
            loop {
                // Asks nothing of a model: it is there, or it is not yet.
                let list = Request::get("/v1/models").bearer(key);
                let status = gateway.send(&list).await.status();
                if status == 200 {
                    break;
                }
                let waited = began.elapsed();
                assert!(waited < KNOWN_WITHIN, "a new key: {status} for {waited:?}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    /// A management call that must succeed.
    pub async fn done(&self, region: usize, target: &str, body: &Value) -> Value {
        let answer = self.gateway(region, 0).admin("POST", target, body).await;
        assert_eq!(answer.status(), 200, "{target}: {}", answer.text());
        answer.json()
    }

    /// A request on a connection of its own.
    pub async fn ask(&self, region: usize, node: usize, key: &str, model: &str) -> Response {
        let request = Request::post("/v1/chat/completions", &body(model, 20, false));
        self.gateway(region, node).send(&request.bearer(key)).await
    }
}

/// A chat that asks the fake provider for as many tokens as it allows.
pub fn body(model: &str, tokens: u32, stream: bool) -> Value {
    let mut body = json!({
        "model": format!("{model}+tokens={tokens}+prompt=10"), "max_tokens": tokens,
        "messages": [{"role": "user", "content": "hello"}],
    });
    if stream {
        body["stream"] = json!(true);
        body["stream_options"] = json!({"include_usage": true});
    }
    body
}

async fn migrated(binary: &str) -> Postgres {
    let postgres = Postgres::start();
    let url = postgres.database(DATABASE);
    let migrate = Run::new(binary).arg("migrate").env("DATABASE_URL", &url);
    migrate.succeed().await;
    postgres
}
