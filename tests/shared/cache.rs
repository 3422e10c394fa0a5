//! Cached answers that nodes share through a real Redis, with every way in which it fails.

mod gateways;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use meridian::cache::Cache;
use meridian_core::cache::{Answer, CacheKey, Entry, Shape};
use meridian_core::money::NanoUsd;
use meridian_core::time::WallMs;
use meridian_testkit::deadline::{SOON, eventually, insist, now};
use meridian_testkit::redis::Redis;
use tokio::sync::watch;

use super::support;

/// How long a node keeps in memory what it has from Redis: it always asks.
const NO_MEMORY: Duration = Duration::ZERO;
/// A Redis that is back must be in use again within this time.
const BACK_WITHIN: Duration = Duration::from_secs(10);
/// More than a request ever waits: 20 ms, and whatever a busy machine adds. One that hangs would be
/// waited for without an end.
const WAITS_MAX: Duration = Duration::from_secs(2);

/// A cache of one node. Dropping it ends its task.
struct Node {
    cache: Arc<Cache>,
    _stop: watch::Sender<bool>,
}

impl Node {
    fn new(redis: &Redis) -> Self {
        Self::of(&format!("url: '{}'", redis.url()))
    }

    fn of(params: &str) -> Self {
        let config = support::config(&support::with_answers(params));
        let cache = Arc::new(Cache::new(&config.cache.unwrap()));
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(Arc::clone(&cache).run(stopped));
        Self { cache, _stop: stop }
    }

    async fn is(&self, up: bool, within: Duration) {
        let what = format!("Redis to be {}", if up { "up" } else { "down" });
        let found = || (self.cache.gauges().redis_up == Some(up)).then_some(());
        eventually(within, &what, found).await;
    }

    async fn is_up(&self) {
        self.is(true, SOON).await;
    }

    async fn find(&self, number: u64) -> Option<Arc<Entry>> {
        self.cache
            .in_redis(key(number), NO_MEMORY, wall(), None)
            .await
    }

    fn keep(&self, number: u64) -> Arc<Entry> {
        let entry = entry(number);
        self.cache.keep(&entry, NO_MEMORY, wall());
        entry
    }

    /// Waits until another node's answer is there.
    async fn finds(&self, number: u64) -> Arc<Entry> {
        insist(BACK_WITHIN, async || {
            let found = self.find(number).await;
            found.ok_or_else(|| format!("{number} is not there"))
        })
        .await
    }

    fn errors(&self, kind: &str) -> u64 {
        let errors = self.cache.gauges().errors;
        errors.iter().find(|(name, _)| *name == kind).unwrap().1
    }

    /// How long reads of what is not there take, sorted.
    async fn reads(&self, count: u64) -> Vec<Duration> {
        let mut times = Vec::new();
        for number in 0..count {
            let started = now();
            assert!(self.find(1_000_000 + number).await.is_none());
            times.push(started.elapsed());
        }
        times.sort();
        times
    }
}

fn wall() -> WallMs {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap();
    WallMs(since.as_millis() as i64)
}

fn key(number: u64) -> CacheKey {
    let mut digest = [1; 32];
    digest[..8].copy_from_slice(&number.to_le_bytes());
    CacheKey::from(digest)
}

fn entry(number: u64) -> Arc<Entry> {
    let now = wall();
    Arc::new(Entry {
        key: key(number),
        stored_at: now,
        expires_at: now.plus_ms(600_000),
        answer: Answer {
            shape: Shape::Stream,
            content_type: "text/event-stream".to_owned(),
            deployment_id: "one".to_owned(),
            model: "gpt".to_owned(),
            provider: "openai".to_owned(),
            response_id: format!("resp-{number}"),
            prompt_tokens: 1,
            completion_tokens: number,
            cost: NanoUsd(7),
        },
        body: Bytes::from(format!("data: {number}\n\n")),
    })
}

fn name(number: u64) -> String {
    format!("meridian:cache:{}", key(number))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_of_one_node_is_found_by_the_others_and_ends_with_its_time() {
    let redis = Redis::start();
    let (here, there) = (Node::new(&redis), Node::new(&redis));
    here.is_up().await;
    there.is_up().await;
    let kept = here.keep(1);
    assert_eq!(there.finds(1).await, kept);
    let left: i64 = redis.ask(&["PTTL", &name(1)]).parse().unwrap();
    assert!((590_000..=600_000).contains(&left), "{left}");
    assert!(there.find(2).await.is_none());
    // A memory of its own in front.
    let memory = Duration::from_secs(60);
    let found = there.cache.in_redis(key(1), memory, wall(), None).await;
    assert_eq!(found, Some(Arc::clone(&kept)));
    redis.ask(&["DEL", &name(1)]);
    assert_eq!(there.cache.in_memory(&key(1), wall(), None), Some(kept));
    let in_a_minute = wall().plus_ms(60_001);
    assert_eq!(there.cache.in_memory(&key(1), in_a_minute, None), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_answer_to_this_is_never_used() {
    let redis = Redis::start();
    let node = Node::new(&redis);
    node.is_up().await;
    node.keep(1);
    node.finds(1).await;
    // Another's answer under this name, LiteLLM's, text, something huge, another type.
    redis.ask(&["COPY", &name(1), &name(2)]);
    redis.ask(&[
        "SET",
        &name(3),
        "{\"timestamp\": 1.0, \"response\": \"{}\"}",
    ]);
    redis.ask(&["SET", &name(4), "MRC"]);
    redis.ask(&["SETRANGE", &name(5), "5000000", "x"]);
    redis.ask(&["RPUSH", &name(6), "x"]);
    for number in 2..=6 {
        assert!(node.find(number).await.is_none(), "{number}");
    }
    assert_eq!(node.errors("malformed"), 4);
    assert_eq!(node.errors("read_failed"), 1);
    // None of it is a reason not to ask.
    assert!(node.find(1).await.is_some());
    // What is newly kept takes its place.
    node.keep(6);
    node.finds(6).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_hangs_costs_one_short_wait_and_then_nothing() {
    let redis = Redis::start();
    let node = Node::new(&redis);
    node.is_up().await;
    let up = node.reads(500).await;
    redis.pause();
    let paused = now();
    let down = node.reads(500).await;
    println!(
        "up: p50 {:?}, p99 {:?}; hanging: p50 {:?}, p99 {:?}, longest {:?}",
        up[250], up[495], down[250], down[495], down[499]
    );
    assert!(down[499] < WAITS_MAX, "{:?}", down[499]);
    node.is(false, SOON).await;
    assert!(
        node.errors("read_late") <= 2,
        "{}",
        node.errors("read_late")
    );
    // Nothing piles up meanwhile.
    for number in 0..5_000 {
        node.keep(number);
    }
    assert!(node.errors("write_dropped") >= 5_000 - 1_024);
    redis.resume();
    let resumed = now();
    node.is(true, BACK_WITHIN).await;
    println!("used again {:?} after it went on", resumed.elapsed());
    node.keep(77);
    node.finds(77).await;
    assert!(paused.elapsed() < 4 * BACK_WITHIN);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_is_absent_killed_and_started_again_is_used_when_it_comes() {
    let mut redis = Redis::stopped();
    let node = Node::new(&redis);
    let absent = node.reads(200).await;
    assert!(absent[199] < WAITS_MAX, "{:?}", absent[199]);
    assert!(node.errors("read_late") <= 1);
    redis.run();
    node.is(true, BACK_WITHIN).await;
    node.keep(1);
    node.finds(1).await;
    redis.kill();
    let gone = node.reads(200).await;
    println!("killed: p99 {:?}, longest {:?}", gone[197], gone[199]);
    assert!(gone[199] < WAITS_MAX, "{:?}", gone[199]);
    assert!(node.errors("read_late") <= 3);
    redis.run();
    let started = now();
    node.is(true, BACK_WITHIN).await;
    println!("used again {:?} after its start", started.elapsed());
    // A new server has nothing, and takes what comes.
    assert!(node.find(1).await.is_none());
    node.keep(1);
    node.finds(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_comes_and_goes_slows_fewer_than_one_request_in_a_hundred() {
    let redis = Redis::start();
    let node = Node::new(&redis);
    node.is_up().await;
    let flapping = async {
        for _ in 0..3 {
            redis.pause();
            tokio::time::sleep(Duration::from_secs(1)).await;
            redis.resume();
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    let mut times = Vec::new();
    let reading = async {
        loop {
            times.extend(node.reads(1).await);
            // About 1,000 a second, as they would come on a busy node.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        () = flapping => {}
        () = reading => {}
    }
    times.sort();
    let p99 = times[times.len() * 99 / 100];
    println!(
        "{} reads, p99 {p99:?}, longest {:?}",
        times.len(),
        times.last()
    );
    assert!(times.len() > 1_000, "{}", times.len());
    let late = node.errors("read_late") as usize;
    assert!(late * 100 < times.len(), "{late} of {}", times.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_takes_no_writes_is_still_read() {
    let redis = Redis::start();
    let node = Node::new(&redis);
    node.is_up().await;
    node.keep(1);
    node.finds(1).await;
    redis.ask(&["CONFIG", "SET", "maxmemory", "1"]);
    node.keep(2);
    let failed = || (node.errors("write_failed") == 1).then_some(());
    eventually(SOON, "a failed write", failed).await;
    assert!(node.find(1).await.is_some());
    redis.ask(&["CONFIG", "SET", "maxmemory", "0"]);
    node.keep(2);
    node.finds(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleting_everything_leaves_what_is_not_ours() {
    let redis = Redis::start();
    let ours = Node::of(&format!("url: '{}', namespace: 'n*s'", redis.url()));
    let theirs = Node::of(&format!("url: '{}', namespace: nxs", redis.url()));
    ours.is_up().await;
    theirs.is_up().await;
    redis.ask(&["SET", "litellm", "x"]);
    for number in 0..3_000 {
        ours.keep(number);
        if number % 500 == 499 {
            ours.finds(number).await;
        }
    }
    theirs.keep(1);
    theirs.finds(1).await;
    assert_eq!(
        ours.cache
            .delete(&[key(0), key(1), key(9_999)])
            .await
            .unwrap(),
        2
    );
    assert_eq!(ours.cache.flush().await.unwrap(), 2_998);
    assert!(ours.find(2).await.is_none());
    assert!(theirs.find(1).await.is_some());
    assert_eq!(redis.ask(&["GET", "litellm"]), "x");
    assert!(ours.cache.ping().await.is_ok());
    let figures = ours.cache.redis_figures().await.unwrap().unwrap();
    assert!(figures.fields.contains_key("redis_version"));
    assert!(figures.clients.len() >= 4, "{}", figures.clients.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_a_sentinel_group_and_a_login_work_as_well() {
    let cluster = Redis::cluster();
    let node = Node::of(&format!("startup_nodes: ['{}']", cluster.addr()));
    node.is_up().await;
    for number in 0..20 {
        node.keep(number);
        node.finds(number).await;
    }
    assert_eq!(node.cache.delete(&[key(0), key(1)]).await.unwrap(), 2);
    assert_eq!(node.cache.flush().await.unwrap(), 18);

    let master = Redis::start();
    let sentinel = Redis::sentinel("mymaster", &master);
    let nodes = format!("[[127.0.0.1, {}]]", sentinel.addr().port());
    let node = Node::of(&format!("service_name: mymaster, sentinel_nodes: {nodes}"));
    node.is_up().await;
    node.keep(1);
    node.finds(1).await;
    assert_eq!(master.ask(&["EXISTS", &name(1)]), "1");

    // With no more rights than documented.
    let redis = Redis::start();
    let mut words = vec!["ACL", "SETUSER", "gateway", "on", ">p", "~meridian:*"];
    words.extend("+ping +select +set +getrange".split(' '));
    assert_eq!(redis.ask(&words), "OK");
    let node = Node::of(&format!("url: 'redis://gateway:p@{}'", redis.addr()));
    node.is_up().await;
    node.keep(1);
    node.finds(1).await;
    let mut words = vec!["ACL", "SETUSER", "gateway"];
    words.extend("+scan +unlink +info +client|list".split(' '));
    assert_eq!(redis.ask(&words), "OK");
    assert!(node.cache.ping().await.is_ok());
    assert!(node.cache.redis_figures().await.is_ok());
    // The ping's own value is among them.
    assert_eq!(node.cache.flush().await.unwrap(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_sentinels_have_replaced_is_left() {
    let (master, other) = (Redis::start(), Redis::start());
    let sentinel = Redis::sentinel("mymaster", &master);
    let nodes = format!("[[127.0.0.1, {}]]", sentinel.addr().port());
    let node = Node::of(&format!("service_name: mymaster, sentinel_nodes: {nodes}"));
    node.is_up().await;
    let port = other.addr().port().to_string();
    assert_eq!(master.ask(&["REPLICAOF", "127.0.0.1", &port]), "OK");
    node.keep(1);
    node.is(false, SOON).await;
    assert_eq!(node.errors("write_failed"), 1);
    assert_eq!(master.ask(&["REPLICAOF", "NO", "ONE"]), "OK");
    node.is(true, BACK_WITHIN).await;
    node.keep(1);
    node.finds(1).await;
}
