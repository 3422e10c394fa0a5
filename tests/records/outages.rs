//! Postgres, Redis or both away in every way: known keys are served, nobody is told that a key is
//! wrong, and everything is back in use within ten seconds.

use std::time::Duration;

use meridian_testkit::deadline::{insist, now};
use meridian_testkit::pace::{Figures, Pace};
use meridian_testkit::scale::scaled;
use serde_json::json;

use crate::relay::Wire;
use crate::world::{NOBODYS_KEY, Node, Region, chat};

/// How long each outage lasts at least, after it was noticed.
const OUTAGE: Duration = Duration::from_secs(6);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(50);
/// Requests a second with the known key, before and during the outage.
const PER_S: (u64, u64) = (20, 200);
/// How long they are measured while everything is there.
const BASE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(6));
/// A gateway that is told to stop has stopped within this time.
const STOPS_WITHIN: Duration = Duration::from_secs(20);
/// What is back is in use again within this time.
const BACK_WITHIN: Duration = Duration::from_secs(10);
/// Most lines a second in the log, requests of the tests themselves not counted.
const LINES_PER_S: f64 = 10.0;
/// Longest answer of a request with a known key, with the provider, on a busy machine.
const ANSWER_MAX: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Away {
    Postgres,
    Redis,
    Both,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    AbsentAtBoot,
    Killed,
    Paused,
    BlackHoled,
    ReadOnly,
    Flapping,
}

impl Away {
    fn postgres(self) -> bool {
        self != Self::Redis
    }

    fn redis(self) -> bool {
        self != Self::Postgres
    }
}

/// What a client sees of an outage.
#[derive(Default)]
struct Seen {
    served: u32,
    slowest: Duration,
    refused: Vec<u16>,
}

impl Seen {
    async fn look(&mut self, node: &Node, key: &str) {
        let began = now();
        let status = node.status(key).await;
        assert_eq!(status, 200, "a known key");
        self.served += 1;
        self.slowest = self.slowest.max(began.elapsed());
        let unknown = node.ask(NOBODYS_KEY).await;
        match unknown.status() {
            503 => assert!(unknown.head.header("retry-after").is_some()),
            401 => {}
            other => panic!("{other} for an unknown key: {}", unknown.text()),
        }
        self.refused.push(unknown.status());
        assert!(node.gateway.is_ready().await);
    }
}

fn load(node: &Node, key: &str) -> Pace {
    let per_s = scaled(PER_S.0, PER_S.1);
    Pace::start(&[node.gateway.addr()], &chat(key), per_s)
}

/// What an outage is held against: the same questions while everything is there.
async fn undisturbed(node: &Node, key: &str) -> Figures {
    let (began, load) = (now(), load(node, key));
    while began.elapsed() < scaled(BASE.0, BASE.1) {
        Seen::default().look(node, key).await;
        tokio::time::sleep(PAUSE).await;
    }
    load.finish()
}

async fn outage(away: Away, how: How) {
    let mut region = Region::start().await;
    let mut node = region.node().await;
    let key = node.gateway.key(&json!({"key_alias": "known"})).await;
    assert_eq!(node.status(&key).await, 200);
    assert_eq!(
        node.status(NOBODYS_KEY).await,
        401,
        "while the store can be asked"
    );
    node.has_saved(1).await;
    if how == How::AbsentAtBoot {
        // A start is held against a start: the first requests of a process open connections and
        // touch memory for the first time, whatever is away.
        node.gateway.stop(STOPS_WITHIN).await;
        node.gateway.start().await;
    }
    let base = undisturbed(&node, &key).await;
    if how == How::AbsentAtBoot {
        node.gateway.stop(STOPS_WITHIN).await;
    }
    begin(&mut region, &node, away, how);
    if how == How::AbsentAtBoot {
        node.gateway.start().await;
    }
    // A minute for the log does not fit into a test: its first lines are counted too.
    let (lines, began) = (node.log_lines(), now());
    let (mut seen, load) = (Seen::default(), load(&node, &key));
    let mut down = true;
    while began.elapsed() < OUTAGE {
        seen.look(&node, &key).await;
        if how == How::Flapping && (began.elapsed().as_secs() / 2).is_multiple_of(2) != down {
            down = !down;
            flap(&node, away, down);
        }
        tokio::time::sleep(PAUSE).await;
    }
    let (seconds, lines) = (began.elapsed().as_secs_f64(), node.log_lines() - lines);
    let during = load.finish();
    let added = during.p99.as_secs_f64() * 1e3 - base.p99.as_secs_f64() * 1e3;
    println!(
        "{} served, slowest {:?}, {lines} lines in {seconds:.0} s; before: {base}; during: \
         {during}; p99 {added:+.1} ms",
        seen.served, seen.slowest
    );
    assert!(during.all_served(), "a known key: {during}");
    assert!(seen.slowest < ANSWER_MAX, "{:?}", seen.slowest);
    assert!(lines as f64 / seconds <= LINES_PER_S, "{lines} lines");
    if away.postgres() && !matches!(how, How::ReadOnly | How::Flapping) {
        // Until it is noticed that the store is gone, nobody says 401 either.
        let wrong = seen.refused.iter().filter(|status| **status == 401);
        // What was found absent a moment ago is remembered for three seconds.
        let remembered = seen
            .refused
            .iter()
            .position(|status| *status == 503)
            .unwrap();
        assert_eq!(wrong.count(), remembered);
    }
    end(&mut region, &node, away, how);
    recovers(&node, &key, away).await;
}

fn begin(region: &mut Region, node: &Node, away: Away, how: How) {
    let (postgres, redis) = (&mut region.postgres, &mut region.redis);
    match how {
        How::AbsentAtBoot | How::Killed => {
            away.postgres().then(|| postgres.kill());
            away.redis().then(|| redis.kill());
        }
        How::Paused => {
            away.postgres().then(|| postgres.pause());
            away.redis().then(|| redis.pause());
        }
        How::ReadOnly => {
            away.postgres().then(|| postgres.set_read_only(true));
            let refuse = ["CONFIG", "SET", "min-replicas-to-write", "1"];
            away.redis().then(|| redis.ask(&refuse));
        }
        How::BlackHoled => wire(node, away, Wire::BlackHole),
        How::Flapping => flap(node, away, true),
    }
}

fn end(region: &mut Region, node: &Node, away: Away, how: How) {
    let (postgres, redis) = (&mut region.postgres, &mut region.redis);
    match how {
        How::AbsentAtBoot | How::Killed => {
            away.postgres().then(|| postgres.run());
            away.redis().then(|| redis.run());
        }
        How::Paused => {
            away.postgres().then(|| postgres.resume());
            away.redis().then(|| redis.resume());
        }
        How::ReadOnly => {
            away.postgres().then(|| postgres.set_read_only(false));
            let take = ["CONFIG", "SET", "min-replicas-to-write", "0"];
            away.redis().then(|| redis.ask(&take));
        }
        How::BlackHoled | How::Flapping => wire(node, away, Wire::Whole),
    }
}

fn flap(node: &Node, away: Away, down: bool) {
    wire(node, away, if down { Wire::Cut } else { Wire::Whole });
}

fn wire(node: &Node, away: Away, wire: Wire) {
    away.postgres().then(|| node.to_postgres.set(wire));
    away.redis().then(|| node.to_redis.set(wire));
}

/// Without a restart everything works as before.
async fn recovers(node: &Node, key: &str, away: Away) {
    let began = now();
    node.becomes(NOBODYS_KEY, 401, BACK_WITHIN).await;
    let left = || BACK_WITHIN.saturating_sub(began.elapsed());
    node.shows("/records/store", &json!("up"), left()).await;
    let made = insist(left(), async || {
        let fields = json!({});
        let made = node.gateway.admin("POST", "/key/generate", &fields);
        match made.await {
            made if made.status() == 200 => Ok(made.json()),
            refused => Err(refused.text()),
        }
    })
    .await;
    let made = made["key"].as_str().unwrap();
    assert_eq!(node.status(made).await, 200);
    if away.redis() {
        node.shows("/coordination/state", &json!("up"), left())
            .await;
    }
    assert_eq!(node.status(key).await, 200);
    println!("in use again after {:?}", began.elapsed());
}

macro_rules! matrix {
    ($($name:ident: $how:ident;)*) => {$(
        mod $name {
            use super::*;

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                outage(Away::Postgres, How::$how).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn redis() {
                outage(Away::Redis, How::$how).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn both() {
                outage(Away::Both, How::$how).await;
            }
        }
    )*};
}

matrix! {
    absent_at_boot: AbsentAtBoot;
    killed: Killed;
    paused: Paused;
    black_holed: BlackHoled;
    read_only: ReadOnly;
    flapping: Flapping;
}
