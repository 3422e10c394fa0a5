//! A second request when the first is slow to begin: the faster one wins, the other is cancelled,
//! and both are on the bill as what they were.

use std::time::Duration;

use meridian_core::usage::estimate_tokens;
use meridian_testkit::config::{Config, MASTER_KEY};
use meridian_testkit::deadline::{SOON, eventually};
use meridian_testkit::provider::{Provider, Row, Script};
use meridian_testkit::raw::Request;

use super::assert_good;
use crate::world::{Api, World, meta};

/// Long before a slow one would answer, on a busy machine too.
const CANCELLED_WITHIN: Duration = Duration::from_secs(10);
/// Hedges after 0.2 s as often as anybody likes.
const SECTION: &str = "retry_budget: 1\nhedge:\n  after_s: 0.2\n  share_max: 1\n  cost_max_usd: 1";

/// A model of `fake-first`, which is asked first, and `fake-second`.
async fn world(section: &str) -> World {
    let provider = Provider::start();
    let url = provider.url();
    let mut config = Config::new();
    for api in [Api::Chat, Api::Messages] {
        let name = name(api);
        config = super::deployment(config, api, (name, "first"), &url, "order: 1");
        config = super::deployment(config, api, (name, "second"), &url, "order: 2");
    }
    let config = config.router("num_retries: 2");
    World::over(provider, config, section).await
}

fn name(api: Api) -> &'static str {
    match api {
        Api::Messages => "claude",
        _ => "gpt",
    }
}

fn asking(api: Api, marker: &str, stream: bool) -> Request {
    let body = api.body(name(api), marker, stream);
    Request::post(api.path(), &body).bearer(MASTER_KEY)
}

fn slow() -> Script {
    Script {
        head_ms: 20_000,
        ..Script::default()
    }
}

/// The row of a marker at this model, once it has ended.
async fn ended(world: &World, marker: &str, model: &str) -> Row {
    eventually(SOON, "the end of a request", || {
        let mut rows = world.provider.attempts(marker).into_iter();
        rows.find(|row| row.model == model && row.ended.is_some())
    })
    .await
}

/// Nano-dollars of a prompt's estimate, plus those of a whole answer where there is one.
fn nano(request: &Request, row: &serde_json::Value, guesses: u64) -> u64 {
    let answered = row["prompt_tokens"].as_u64().unwrap() * 1_000 + 5 * 2_000;
    answered + guesses * estimate_tokens(&request.body) * 1_000
}

#[tokio::test]
async fn the_faster_one_wins_and_the_loser_is_cancelled_and_billed_as_an_estimate() {
    let world = world(SECTION).await;
    world.provider.script("fake-first", [slow()]);
    for (api, stream) in [
        (Api::Chat, true),
        (Api::Chat, false),
        (Api::Messages, true),
        (Api::Messages, false),
    ] {
        let marker = format!("h{api:?}{stream}");
        let request = asking(api, &marker, stream);
        let answer = world.send(&request).await;
        assert_good(&marker, api, stream, &answer);
        let winner = ended(&world, &marker, "fake-second").await;
        let loser = ended(&world, &marker, "fake-first").await;
        assert!(loser.cancelled(), "{loser:#?}");
        let late = loser.ended.unwrap() - winner.ended.unwrap();
        assert!(late <= CANCELLED_WITHIN, "cancelled after {late:?}");
        let waited = winner.started - loser.started;
        assert!(waited >= Duration::from_millis(190), "{waited:?}");
        assert_eq!(world.provider.attempts(&marker).len(), 2);
        let row = world.row(&marker).await;
        assert_eq!(row["completion_tokens"], 5, "{row:#}");
        assert_eq!(meta(&row, "estimated"), true, "{row:#}");
        assert_eq!(
            meta(&row, "cost_nano_usd"),
            nano(&request, &row, 1),
            "{row:#}"
        );
    }
}

#[tokio::test]
async fn a_first_one_that_answers_after_all_wins() {
    let world = world(SECTION).await;
    let late = Script {
        head_ms: 600,
        ..Script::default()
    };
    world.provider.script("fake-first", [late]);
    world.provider.script("fake-second", [slow()]);
    let request = asking(Api::Chat, "late", true);
    let answer = world.send(&request).await;
    assert_good("late", Api::Chat, true, &answer);
    let loser = ended(&world, "late", "fake-second").await;
    assert!(loser.cancelled(), "{loser:#?}");
    let row = world.row("late").await;
    assert_eq!(
        meta(&row, "cost_nano_usd"),
        nano(&request, &row, 1),
        "{row:#}"
    );
}

#[tokio::test]
async fn one_that_was_refused_meanwhile_costs_nothing() {
    let world = world(SECTION).await;
    let refusing = Script {
        head_ms: 500,
        ..Script::status(500)
    };
    let late = Script {
        head_ms: 900,
        ..Script::default()
    };
    for (marker, first, second) in [
        ("first", refusing.clone(), late.clone()),
        ("second", late, refusing),
    ] {
        world.provider.script("fake-first", [first]);
        world.provider.script("fake-second", [second]);
        let request = asking(Api::Chat, marker, false);
        let answer = world.send(&request).await;
        assert_good(marker, Api::Chat, false, &answer);
        assert_eq!(world.provider.attempts(marker).len(), 2);
        let row = world.row(marker).await;
        assert_eq!(
            meta(&row, "cost_nano_usd"),
            nano(&request, &row, 0),
            "{row:#}"
        );
        assert_eq!(meta(&row, "estimated"), false, "{row:#}");
    }
}

#[tokio::test]
async fn two_that_fail_are_followed_by_others_within_the_attempts() {
    let world = world(SECTION).await;
    let failing = Script {
        head_ms: 400,
        ..Script::status(500)
    };
    world.provider.script("*", [failing]);
    let request = asking(Api::Chat, "both", false);
    let answer = world.send(&request).await;
    assert_eq!(answer.status(), 500, "{}", answer.text());
    let rows = world.provider.attempts("both");
    assert!((2..=6).contains(&rows.len()), "{rows:#?}");
    let row = world.row("both").await;
    assert_eq!(row["spend"], 0.0, "{row:#}");
}

#[tokio::test]
async fn a_client_that_leaves_cancels_both() {
    let world = world(SECTION).await;
    world.provider.script("*", [slow()]);
    let request = asking(Api::Chat, "left", true);
    let mut conn = meridian_testkit::raw::Conn::open(world.gateway.addr()).await;
    conn.send(&request.bytes()).await.unwrap();
    let both = |rows: &[Row]| rows.len() == 2;
    world.provider.wait(SOON, both).await;
    let left = meridian_testkit::deadline::now();
    drop(conn);
    for model in ["fake-first", "fake-second"] {
        let row = ended(&world, "left", model).await;
        assert!(row.cancelled(), "{row:#?}");
        let late = row.ended.unwrap().saturating_duration_since(left);
        assert!(late <= CANCELLED_WITHIN, "{model}: {late:?}");
    }
    let row = world.row("left").await;
    let nano = 2 * estimate_tokens(&request.body) * 1_000;
    assert_eq!(meta(&row, "cost_nano_usd"), nano, "{row:#}");
}

#[tokio::test]
async fn share_and_cost_bound_the_hedges() {
    // A quarter of the requests, and less than one costs.
    for (share, cost, most, least) in [(0.25, 1.0, 10, 8), (1.0, 0.000_000_1, 0, 0)] {
        let section =
            format!("hedge:\n  after_s: 0.2\n  share_max: {share}\n  cost_max_usd: {cost}");
        let world = world(&section).await;
        let late = Script {
            head_ms: 700,
            ..Script::default()
        };
        world.provider.script("fake-first", [late]);
        let request = asking(Api::Chat, "share", false);
        let all = (0..40).map(|_| world.send(&request));
        for answer in futures::future::join_all(all).await {
            assert_eq!(answer.status(), 200, "{}", answer.text());
        }
        let rows = world.provider.attempts("share");
        let hedges = rows.len() - 40;
        assert!((least..=most).contains(&hedges), "{share} {cost}: {hedges}");
    }
}

#[tokio::test]
async fn a_quick_answer_is_never_hedged() {
    let world = world(SECTION.replace("0.2", "5").as_str()).await;
    for round in 0..20 {
        let marker = format!("q{round}");
        world
            .send(&asking(Api::Chat, &marker, round % 2 == 0))
            .await;
        assert_eq!(world.provider.attempts(&marker).len(), 1);
    }
}
