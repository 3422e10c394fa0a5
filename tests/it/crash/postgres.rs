//! The same on Postgres, which goes away, while commits are cut and their answers are lost.

use std::time::Duration;

use meridian_testkit::deadline::{eventually, insist, now, within};
use meridian_testkit::gateway::{Gateway, Setup};
use meridian_testkit::postgres::Postgres;
use meridian_testkit::provider::Provider;
use meridian_testkit::redis::Redis;
use meridian_testkit::relay::{Mode, Relay};
use meridian_testkit::run::Run;
use meridian_testkit::scale::scaled;
use serde_json::json;

use super::load::Load;
use super::{CLIENTS, KEYS, LIFE_MS, compare, spend_is_the_sum_of_the_rows};
use crate::dice::Dice;
use crate::ledger;
use crate::world::{binary, scripted};

/// How often the gateway is killed while Postgres fails now and then.
const KILLS: (usize, usize) = (20, 50);
/// How long Postgres is away among them, for one life of the gateway at least, and how long the
/// gateway lives meanwhile.
const AWAY_AMONG_KILLS: (Duration, Duration) = (Duration::ZERO, Duration::from_secs(600));
const LIFE_WITHOUT: Duration = Duration::from_secs(20);
/// Redis loses everything at one in so many kills.
const FLUSH_ONE_IN: usize = 5;
/// One in so many commits is cut.
const CUT_ONE_IN: u64 = 3;
/// How long Postgres is away under load.
const AWAY: Duration = Duration::from_secs(8);
/// Postgres that is back has every record within this time.
const BACK_WITHIN: Duration = Duration::from_secs(10);
/// Log lines of an outage, per second.
const LINES_PER_S: usize = 10;
const SEED: u64 = 0x5eed_0b16_0b1e_c7ed;

/// Sums that have to be one: of the log, of the roll-ups, of what keys spent.
const SUMS: &str = "SELECT (SELECT count(*) FROM meridian.spend_log), \
    (SELECT COALESCE(sum(cost), 0) FROM meridian.spend_log), \
    (SELECT sum(requests) FROM meridian.daily_spend), \
    (SELECT sum(spend) FROM meridian.daily_spend), \
    (SELECT sum(requests) FROM meridian.daily_entity_spend WHERE kind = 'end_user'), \
    (SELECT sum(spend) FROM meridian.scope_spend WHERE kind = 'key')";

pub(super) async fn migrated() -> (Postgres, Relay, String) {
    let server = Postgres::start();
    let url = server.database("app");
    Run::new(binary())
        .arg("migrate")
        .env("DATABASE_URL", &url)
        .succeed()
        .await;
    let relay = Relay::start(server.addr()).await;
    let url = format!("postgresql://postgres@{}/app", relay.addr());
    (server, relay, url)
}

async fn keys_of(gateway: &Gateway) -> Vec<String> {
    let mut keys = Vec::new();
    for number in 0..KEYS {
        let fields = json!({"key_alias": format!("crash-{number}")});
        keys.push(gateway.key(&fields).await);
    }
    keys
}

/// The worst that can happen to the ledger, all of it at once. With `MERIDIAN_LONG` set Postgres is
/// away for ten minutes of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_and_commits_whose_answers_are_lost_count_nothing_twice() {
    let (mut server, relay, url) = migrated().await;
    let (provider, redis) = (Provider::start(), Redis::start());
    let shared = format!("cache_params: {{type: redis, url: '{}'}}", redis.url());
    let config = scripted(&provider).litellm(&shared);
    let setup = Setup::new(binary(), &config).env("DATABASE_URL", &url);
    let mut gateway = setup.start().await;
    let keys = keys_of(&gateway).await;
    let load = Load::start(gateway.addr(), &keys, CLIENTS, SEED);
    let mut dice = Dice::new(SEED);
    let (began, last) = (now(), scaled(KILLS.0, KILLS.1));
    let mut kills = 0;
    while kills < last {
        relay.set(Mode::CutCommits(CUT_ONE_IN));
        tokio::time::sleep(Duration::from_millis(dice.within(LIFE_MS))).await;
        if kills % FLUSH_ONE_IN == 0 {
            assert_eq!(redis.ask(&["FLUSHALL"]), "OK");
        }
        if kills == last / 2 {
            kills += kills_without_postgres(&mut server, &mut gateway, &mut dice).await;
        }
        gateway.kill().await;
        kills += 1;
        gateway.start().await;
    }
    let fates = within(Duration::from_secs(60), "the load", load.finish()).await;
    let served = provider.settled().await;
    relay.set(Mode::Pass);
    assert!(relay.cuts() > 4, "{} commits were cut", relay.cuts());
    answers_again(&gateway).await;
    let rows = ledger::rows(&gateway).await;
    let figures = compare(&fates, &served, &rows, kills);
    eprintln!(
        "{kills} kills in {:?}, {} commits cut: {figures}",
        began.elapsed(),
        relay.cuts()
    );
    spend_is_the_sum_of_the_rows(&gateway, &keys, &rows).await;
    assert_sums(&server, rows.len());
}

/// Waits until the store is asked again, after connections to it were cut.
async fn answers_again(gateway: &Gateway) {
    insist(BACK_WITHIN, async || {
        let answer = gateway.report("/spend/logs/v2?page=1&page_size=1").await;
        match answer.status() {
            200 => Ok(()),
            _ => Err(answer.text()),
        }
    })
    .await;
}

/// Takes Postgres away for a while, in which the gateway is killed too; how often.
async fn kills_without_postgres(
    server: &mut Postgres,
    gateway: &mut Gateway,
    dice: &mut Dice,
) -> usize {
    // A life of a moment leaves no snapshot, and without one a start knows no keys.
    let snapshot = gateway.data_dir().join("records.snapshot");
    let saved = || snapshot.exists().then_some(());
    eventually(BACK_WITHIN, "a snapshot", saved).await;
    let (began, mut kills) = (now(), 0);
    server.kill();
    tokio::time::sleep(Duration::from_millis(dice.within(LIFE_MS))).await;
    loop {
        gateway.kill().await;
        kills += 1;
        gateway.start().await;
        if began.elapsed() >= scaled(AWAY_AMONG_KILLS.0, AWAY_AMONG_KILLS.1) {
            break;
        }
        tokio::time::sleep(LIFE_WITHOUT).await;
    }
    server.run();
    kills
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_go_on_without_postgres_and_their_records_follow() {
    let (mut server, relay, url) = migrated().await;
    let provider = Provider::start();
    let setup = Setup::new(binary(), &scripted(&provider)).env("DATABASE_URL", &url);
    let gateway = setup.start().await;
    let keys = keys_of(&gateway).await;
    for outage in [
        Outage::Killed,
        Outage::Refused,
        Outage::Hole,
        Outage::ReadOnly,
    ] {
        outage.begin(&mut server, &relay);
        let lines = gateway.log().lines().count();
        let began = now();
        let load = Load::start(gateway.addr(), &keys, CLIENTS, SEED ^ outage as u64);
        tokio::time::sleep(AWAY).await;
        let fates = within(Duration::from_secs(60), "the load", load.finish()).await;
        let answered = fates.values().filter(|fate| fate.complete).count();
        assert_eq!(answered, fates.len(), "{outage:?}: a request failed");
        let lines = gateway.log().lines().count() - lines;
        let seconds = began.elapsed().as_secs() as usize + 1;
        assert!(
            lines <= LINES_PER_S * seconds,
            "{outage:?}: {lines} lines in {seconds} s"
        );
        assert!(
            gateway.is_ready().await,
            "{outage:?}: ready without Postgres"
        );
        outage.end(&mut server, &relay);
        let (back, served) = (now(), provider.settled().await.len());
        while count(&server) < served {
            assert!(
                back.elapsed() < BACK_WITHIN,
                "{outage:?}: {} of {served}",
                count(&server)
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        eprintln!(
            "{outage:?}: {served} rows, {:?} after it was back",
            back.elapsed()
        );
        assert_sums(&server, served);
    }
}

/// How Postgres is away.
#[derive(Clone, Copy, Debug)]
enum Outage {
    Killed,
    Refused,
    Hole,
    ReadOnly,
}

impl Outage {
    fn begin(self, server: &mut Postgres, relay: &Relay) {
        match self {
            Self::Killed => server.kill(),
            Self::Refused => relay.set(Mode::Down),
            Self::Hole => relay.set(Mode::Hole),
            Self::ReadOnly => server.set_read_only(true),
        }
    }

    fn end(self, server: &mut Postgres, relay: &Relay) {
        match self {
            Self::Killed => server.run(),
            Self::Refused | Self::Hole => relay.set(Mode::Pass),
            Self::ReadOnly => server.set_read_only(false),
        }
    }
}

fn count(server: &Postgres) -> usize {
    let rows = server.ask("app", "SELECT count(*) FROM meridian.spend_log");
    rows.parse().expect("a number")
}

fn assert_sums(server: &Postgres, rows: usize) {
    let answer = server.ask("app", SUMS);
    let sums: Vec<i64> = answer.split('|').map(|sum| sum.parse().unwrap()).collect();
    let [logged, cost, requests, spend, of_customers, of_keys] = sums[..] else {
        panic!("{answer}")
    };
    assert_eq!(
        (logged, requests, of_customers),
        (rows as i64, logged, logged),
        "{answer}"
    );
    assert_eq!((spend, of_keys), (cost, cost), "{answer}");
}
