//! Deployments that are left out: for how long, what follows, and what nobody is blamed for.

use std::time::Duration;

use meridian_testkit::config::{Config, MASTER_KEY};
use meridian_testkit::deadline::{SOON, eventually, insist};
use meridian_testkit::provider::{Provider, Row, Script};
use meridian_testkit::raw::{Request, Response};

use super::sent_to;
use crate::world::{Api, World};

/// Deployments `x` and `y` of the model `pair`.
async fn pair(router: &str, meridian: &str) -> World {
    let provider = Provider::start();
    let url = format!("{}/v1", provider.url());
    let config = Config::new()
        .model("pair", "openai/fake-x", &url, "")
        .model("pair", "openai/fake-y", &url, "")
        .router(router);
    World::over(provider, config, meridian).await
}

/// One deployment `x` of the model `single`.
async fn single(meridian: &str) -> World {
    let provider = Provider::start();
    let url = format!("{}/v1", provider.url());
    let config = Config::new()
        .model("single", "openai/fake-x", &url, "")
        .router("num_retries: 0\ncooldown_time: 0.5");
    World::over(provider, config, meridian).await
}

fn asking(model: &str, marker: &str) -> Request {
    let body = Api::Chat.body(model, marker, false);
    Request::post(Api::Chat.path(), &body).bearer(MASTER_KEY)
}

/// Sends so many at once; all must be answered well. What the provider saw of them.
async fn good(world: &World, count: usize, marker: &str) -> Vec<Row> {
    let request = asking("pair", marker);
    let all = (0..count).map(|_| world.send(&request));
    for answer in futures::future::join_all(all).await {
        assert_eq!(answer.status(), 200, "{marker}: {}", answer.text());
    }
    world.provider.attempts(marker)
}

fn slow() -> Script {
    Script {
        head_ms: 1_000,
        ..Script::default()
    }
}

/// Sends until `x` is left out once more than `before`.
async fn put_out(world: &World, before: usize) {
    for _ in 0..200 {
        good(world, 1, "out").await;
        if times_left_out(world) > before {
            return;
        }
    }
    panic!("never left out");
}

fn times_left_out(world: &World) -> usize {
    world
        .gateway
        .log()
        .matches("left out after failures")
        .count()
}

#[tokio::test]
async fn one_that_fails_gets_nothing_then_one_request_and_then_a_growing_share() {
    let router = "num_retries: 2\nallowed_fails: 1\ncooldown_time: 2";
    let section = "retry_budget: 1\ncooldown:\n  ramp_s: 4";
    let world = pair(router, section).await;
    world.provider.script("fake-x", [Script::status(500)]);
    put_out(&world, 0).await;
    // 1.5 s at least, and a probe in between.
    let rows = good(&world, 60, "off").await;
    assert_eq!(sent_to(&rows, "fake-x"), 0, "{rows:#?}");
    world.provider.script("fake-x", [slow()]);
    // 2.5 s at most: then one of many tries it, while the others go elsewhere.
    let mut probed = 0;
    let until = tokio::time::Instant::now() + Duration::from_secs(10);
    let mut round = 0;
    while probed == 0 {
        assert!(tokio::time::Instant::now() < until, "never tried again");
        tokio::time::sleep(Duration::from_millis(50)).await;
        let rows = good(&world, 8, &format!("due{round}")).await;
        probed = sent_to(&rows, "fake-x");
        round += 1;
    }
    assert_eq!(probed, 1, "half open is one request");
    world.provider.script("fake-x", []);
    let rows = good(&world, 200, "ramp").await;
    let early = sent_to(&rows, "fake-x");
    assert!(early < 60, "{early} of 200 at once");
    let mut round = 0;
    insist(SOON, async || {
        round += 1;
        let rows = good(&world, 200, &format!("late{round}")).await;
        let late = sent_to(&rows, "fake-x");
        let half = (60..=140).contains(&late);
        half.then_some(())
            .ok_or(format!("{late} of 200 after the ramp"))
    })
    .await;
}

#[tokio::test]
async fn a_probe_that_fails_doubles_the_time() {
    let router = "num_retries: 2\nallowed_fails: 0\ncooldown_time: 0.5";
    let world = pair(router, "retry_budget: 1").await;
    world.provider.script("fake-x", [Script::status(500)]);
    put_out(&world, 0).await;
    let until = tokio::time::Instant::now() + Duration::from_secs(5);
    while times_left_out(&world) < 3 {
        assert!(tokio::time::Instant::now() < until, "not tried");
        good(&world, 1, "p").await;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let log = world.gateway.log();
    let seconds: Vec<f64> = log
        .lines()
        .filter(|line| line.contains("left out after failures"))
        .filter_map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).ok()?;
            let fields = if line["fields"].is_object() {
                &line["fields"]
            } else {
                &line
            };
            fields["seconds"].as_f64()
        })
        .collect();
    assert_eq!(seconds.len(), 3, "{log}");
    for (place, seconds) in seconds.iter().enumerate() {
        let usual = 0.5 * f64::from(1 << place);
        let range = usual * 0.74..=usual * 1.26;
        assert!(range.contains(seconds), "{place}: {seconds}");
    }
    // Between two tries it got nothing.
    let rows = world.provider.rows();
    assert_eq!(sent_to(&rows, "fake-x"), 3, "{rows:#?}");
}

#[tokio::test]
async fn a_time_that_the_provider_names_is_kept() {
    for (name, script) in [
        (
            "seconds",
            Script {
                retry_after: Some("2".to_owned()),
                ..Script::status(429)
            },
        ),
        (
            "millis",
            Script {
                retry_after_ms: Some(2_000),
                ..Script::status(503)
            },
        ),
    ] {
        let world = pair("num_retries: 2\ncooldown_time: 0.1", "retry_budget: 1").await;
        world.provider.script("fake-x", [script, Script::default()]);
        put_out(&world, 0).await;
        let refused = world.provider.rows();
        let refused = refused.iter().find(|row| row.model == "fake-x").unwrap();
        let next = eventually(SOON, name, || {
            let mut rows = world.provider.rows().into_iter();
            rows.rfind(|row| row.model == "fake-x" && row.seq != refused.seq)
        });
        let traffic = async {
            loop {
                good(&world, 1, "t").await;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let next = tokio::select! { next = next => next, () = traffic => unreachable!() };
        let after = next.started - refused.ended.unwrap();
        assert!(after >= Duration::from_millis(1_950), "{name}: {after:?}");
    }
}

/// A model whose only deployment was just left out for about a second; then it is well.
async fn all_out(policy: &str, seconds: &str) -> (World, Response) {
    let world = single(&format!("cooldown:\n  {policy}")).await;
    let limited = Script {
        retry_after: Some(seconds.to_owned()),
        ..Script::status(429)
    };
    world
        .provider
        .script("fake-x", [limited, Script::default()]);
    let first = world.send(&asking("single", "first")).await;
    assert_eq!(first.status(), 429, "{}", first.text());
    assert_eq!(first.header("retry-after"), Some(seconds));
    let second = world.send(&asking("single", "second")).await;
    world.row("second").await;
    (world, second)
}

#[tokio::test]
async fn when_all_are_left_out_the_first_one_back_is_asked_or_waited_for_or_nobody() {
    let (world, answer) = all_out("all_cooling: least-bad", "30").await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    assert_eq!(world.provider.attempts("second").len(), 1);

    let (world, answer) = all_out("all_cooling: wait\n  wait_s: 20", "1").await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    let first = world.provider.attempts("first").remove(0);
    let second = world.provider.attempts("second").remove(0);
    let waited = second.started - first.ended.unwrap();
    assert!(waited >= Duration::from_millis(950), "{waited:?}");

    for policy in ["all_cooling: refuse", "all_cooling: wait\n  wait_s: 5"] {
        let (world, answer) = all_out(policy, "30").await;
        assert_eq!(answer.status(), 429, "{policy}: {}", answer.text());
        let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((25..=33).contains(&wait), "{policy}: {wait}");
        assert!(world.provider.attempts("second").is_empty(), "{policy}");
        let row = world.row("second").await;
        assert_eq!(row["spend"], 0.0, "{policy}: {row:#}");
    }
}

#[tokio::test]
async fn a_client_may_leave_while_it_waits_for_a_deployment() {
    let world = single("cooldown:\n  all_cooling: wait\n  wait_s: 60").await;
    let limited = Script {
        retry_after: Some("40".to_owned()),
        ..Script::status(429)
    };
    world
        .provider
        .script("fake-x", [limited, Script::default()]);
    world.send(&asking("single", "first")).await;
    let mut conn = meridian_testkit::raw::Conn::open(world.gateway.addr()).await;
    conn.send(&asking("single", "left").bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    drop(conn);
    let row = world.row("left").await;
    assert_eq!(row["spend"], 0.0, "{row:#}");
    assert!(world.provider.attempts("left").is_empty());
}

#[tokio::test]
async fn a_callers_own_deadline_puts_nobody_out() {
    let world = pair("num_retries: 0\nallowed_fails: 0", "").await;
    world.provider.script("*", [slow()]);
    let hurried = asking("pair", "hurried").field("x-litellm-timeout", "0.02");
    let all = (0..30).map(|_| world.send(&hurried));
    for answer in futures::future::join_all(all).await {
        assert_eq!(answer.status(), 408, "{}", answer.text());
    }
    assert_eq!(times_left_out(&world), 0, "{}", world.gateway.log());
    world.provider.script("*", []);
    let rows = good(&world, 60, "after").await;
    let x = sent_to(&rows, "fake-x");
    assert!((15..=45).contains(&x), "{x} of 60");
}
