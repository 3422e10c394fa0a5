//! Which of the deployments in use: tags, order, limits, regions, conversations; and what is said
//! about it.

use std::collections::BTreeSet;

use meridian_testkit::config::{Config, MASTER_KEY};
use meridian_testkit::gateway::{Gateway, Setup};
use meridian_testkit::provider::{Provider, Script};
use meridian_testkit::raw::Request;
use serde_json::json;

use super::{assert_good, sent_to};
use crate::world::{Api, World, binary, with_section};

fn asking(key: &str, marker: &str) -> Request {
    let body = Api::Chat.body("m", marker, false);
    Request::post(Api::Chat.path(), &body).bearer(key)
}

/// A model `m` of deployments `fake-a`, `fake-b`, ... with these further lines.
fn letters(provider: &Provider, more: &[&str]) -> Config {
    let url = format!("{}/v1", provider.url());
    let all = ('a'..).zip(more);
    all.fold(Config::new(), |config, (letter, more)| {
        config.model("m", &format!("openai/fake-{letter}"), &url, more)
    })
}

async fn world(more: &[&str], router: &str, meridian: &str) -> World {
    let provider = Provider::start();
    let config = letters(&provider, more).router(router);
    World::over(provider, config, meridian).await
}

/// Sends so many at once and says how many went to each of `a`, `b` and `c`.
async fn spread(world: &World, gateway: &Gateway, count: usize, marker: &str) -> [usize; 3] {
    let request = asking(MASTER_KEY, marker);
    let all = (0..count).map(|_| gateway.send(&request));
    for answer in futures::future::join_all(all).await {
        assert_eq!(answer.status(), 200, "{marker}: {}", answer.text());
    }
    let rows = world.provider.attempts(marker);
    ["fake-a", "fake-b", "fake-c"].map(|model| sent_to(&rows, model))
}

#[tokio::test]
async fn tags_of_request_and_key_choose_deployments() {
    let router = "enable_tag_filtering: true";
    let world = world(
        &["tags: [free]", "tags: [paid]", "tags: [default]"],
        router,
        "",
    )
    .await;
    let paid = world
        .gateway
        .key(&json!({"metadata": {"tags": ["paid"]}}))
        .await;
    let cases = [
        (MASTER_KEY, Some("free"), "fake-a"),
        (MASTER_KEY, Some("paid"), "fake-b"),
        (MASTER_KEY, Some("other"), "fake-c"),
        (MASTER_KEY, None, "fake-c"),
        (&paid, None, "fake-b"),
    ];
    for (number, (key, tag, model)) in cases.into_iter().enumerate() {
        for round in 0..5 {
            let marker = format!("t{number}x{round}");
            let mut request = asking(key, &marker);
            if let Some(tag) = tag {
                request = request.field("x-litellm-tags", tag);
            }
            let answer = world.send(&request).await;
            assert_eq!(answer.status(), 200, "{}", answer.text());
            let rows = world.provider.attempts(&marker);
            assert_eq!(rows[0].model, model, "{number}");
        }
    }
}

#[tokio::test]
async fn the_lowest_order_is_used_until_it_is_full() {
    let one_at_a_time = "order: 1\nmax_parallel_requests: 1";
    let world = world(&[one_at_a_time, "order: 2", "order: 3"], "", "").await;
    for round in 0..10 {
        let seen = spread(&world, &world.gateway, 1, &format!("o{round}")).await;
        assert_eq!(seen, [1, 0, 0]);
    }
    let slow = Script {
        head_ms: 1_500,
        ..Script::default()
    };
    world.provider.script("fake-a", [slow]);
    let seen = spread(&world, &world.gateway, 12, "full").await;
    assert_eq!(seen, [1, 11, 0]);
}

#[tokio::test]
async fn requests_per_minute_spill_to_others_and_then_are_refused() {
    let world = world(&["order: 1\nrpm: 4", "order: 2\nrpm: 3"], "", "").await;
    // A minute may end in between: then there is room again, never less.
    let mut refused = 0;
    for round in 0..20 {
        let answer = world.send(&asking(MASTER_KEY, "rpm")).await;
        match answer.status() {
            200 => assert_eq!(refused, 0, "{round}"),
            429 => {
                let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
                assert!((1..=60).contains(&wait), "{wait}");
                refused += 1;
            }
            status => panic!("{status}: {}", answer.text()),
        }
        if refused == 3 {
            break;
        }
    }
    assert_eq!(refused, 3);
    let rows = world.provider.attempts("rpm");
    let (a, b) = (sent_to(&rows, "fake-a"), sent_to(&rows, "fake-b"));
    assert!(matches!((a, b), (4, 3) | (5..=8, 3..=6)), "{a} {b}");
}

#[tokio::test]
async fn a_node_uses_its_own_region_and_spills_to_the_nearest() {
    let provider = Provider::start();
    let narrow = "region_name: eu-west-1\nmax_parallel_requests: 2";
    let near = "region_name: us-east-1\nmax_parallel_requests: 3";
    let config = letters(&provider, &[narrow, near, "region_name: ap-southeast-1"]);
    let section = "regions:\n  nearest:\n    eu-west-1: [us-east-1, ap-southeast-1]\n    \
                   ap-southeast-1: [us-east-1, eu-west-1]";
    let far = Setup::new(binary(), &with_section(config.clone(), section));
    let far = far.arg("--region").arg("ap-southeast-1").start().await;
    let own = Setup::new(binary(), &with_section(config, section));
    let gateway = own.arg("--region").arg("eu-west-1").start().await;
    let world = World { provider, gateway };
    for round in 0..10 {
        let seen = spread(&world, &world.gateway, 1, &format!("own{round}")).await;
        assert_eq!(seen, [1, 0, 0]);
        let seen = spread(&world, &far, 1, &format!("far{round}")).await;
        assert_eq!(seen, [0, 0, 1]);
    }
    let slow = Script {
        head_ms: 1_500,
        ..Script::default()
    };
    world.provider.script("*", [slow]);
    let seen = spread(&world, &world.gateway, 9, "full").await;
    assert_eq!(seen, [2, 3, 4]);
    // A region that fails is left for the next one.
    world.provider.script("*", []);
    world.provider.script("fake-a", [Script::status(500)]);
    for round in 0..12 {
        let seen = spread(&world, &world.gateway, 1, &format!("down{round}")).await;
        assert_eq!(seen[1..], [1, 0], "{round}");
    }
    let seen = spread(&world, &world.gateway, 1, "out").await;
    assert_eq!(seen, [0, 1, 0]);
}

#[tokio::test]
async fn a_conversation_keeps_to_its_deployment_and_tenants_do_not_share() {
    let more = ["", "", "", ""];
    let section = "affinity:\n  load_max: 1.25\ncooldown:\n  ramp_s: 0";
    let world = world(&more, "", section).await;
    let (one, two) = (
        world.gateway.key(&json!({})).await,
        world.gateway.key(&json!({})).await,
    );
    let mut homes = Vec::new();
    for key in [&one, &two] {
        let mut of_key = Vec::new();
        for session in 0..24 {
            let marker = format!("{}s{session}", homes.len());
            let request = asking(key, &marker);
            let request = request.field("x-litellm-session-id", &format!("s{session}"));
            for _ in 0..4 {
                let answer = world.send(&request).await;
                assert_eq!(answer.status(), 200, "{}", answer.text());
            }
            let rows = world.provider.attempts(&marker);
            let models: BTreeSet<String> = rows.iter().map(|row| row.model.clone()).collect();
            assert_eq!((rows.len(), models.len()), (4, 1), "{session}: {models:?}");
            of_key.extend(models);
        }
        let used: BTreeSet<&String> = of_key.iter().collect();
        assert!(used.len() >= 3, "{of_key:?}");
        homes.push(of_key);
    }
    // The same names of sessions, and yet other homes: a quarter agrees by chance.
    let same = homes[0].iter().zip(&homes[1]);
    let same = same.filter(|(one, two)| one == two).count();
    assert!(same < 16, "{same} of 24");
    // Without a session, the beginning of the prompt is the conversation.
    for round in 0..6 {
        world.send(&asking(&one, &format!("prompt{round}"))).await;
    }
    let rows = world.provider.rows();
    let prompts = rows.iter().filter(|row| {
        let marker = row.marker.as_deref();
        marker.is_some_and(|marker| marker.starts_with("prompt"))
    });
    let models: BTreeSet<&str> = prompts.map(|row| row.model.as_str()).collect();
    assert_eq!(models.len(), 1, "{models:?}");
}

#[tokio::test]
async fn a_conversation_whose_home_fails_goes_elsewhere_and_is_answered() {
    let section = "affinity:\n  load_max: 1.25\nretry_budget: 1\ncooldown:\n  ramp_s: 0";
    let world = world(&["", "", ""], "num_retries: 2", section).await;
    let request = asking(MASTER_KEY, "home").field("x-litellm-session-id", "s");
    world.send(&request).await;
    let home = world.provider.last().model;
    world.provider.script(&home, [Script::status(500)]);
    for _ in 0..12 {
        let answer = world.send(&request).await;
        assert_eq!(answer.status(), 200, "{}", answer.text());
    }
    let rows = world.provider.attempts("home");
    let elsewhere: Vec<&str> = rows
        .iter()
        .map(|row| row.model.as_str())
        .filter(|model| *model != home)
        .collect();
    assert_eq!(elsewhere.len(), 12, "{elsewhere:?}");
    // Out after the fifth failure; then all at one new home.
    assert!(rows.len() <= 1 + 12 + 5, "{}", rows.len());
    let second: BTreeSet<&&str> = elsewhere[6..].iter().collect();
    assert_eq!(second.len(), 1, "{elsewhere:?}");
}

#[tokio::test]
async fn a_stream_that_was_kept_alive_before_content_still_fails_over() {
    let provider = Provider::start();
    let url = provider.url();
    let late = "order: 1\nstream_timeout: 1.6";
    let mut config = Config::new();
    for api in Api::STREAMING {
        let name = format!("{api:?}").to_lowercase();
        let bad = format!("{name}-bad+stall@head");
        config = super::deployment(config, api, (&name, &bad), &url, late);
        let good = format!("{name}-good");
        config = super::deployment(config, api, (&name, &good), &url, "order: 2");
    }
    let world = World::over(provider, config, "keepalive_s: 1").await;
    let all = Api::STREAMING.map(|api| {
        let name = format!("{api:?}").to_lowercase();
        let body = api.body(&name, &name, true);
        let request = Request::post(api.path(), &body).bearer(MASTER_KEY);
        let world = &world;
        async move {
            let answer = world.send(&request).await;
            let text = answer.text();
            let keepalive = match api {
                Api::Messages => "event: ping\n",
                _ => ": keepalive\n",
            };
            assert!(text.starts_with(keepalive), "{api:?}: {text}");
            assert_good(&name, api, true, &answer);
            let rows = world.provider.attempts(&name);
            let models: Vec<&str> = rows.iter().map(|row| row.model.as_str()).collect();
            assert_eq!(models.len(), 2, "{models:?}");
            assert_eq!(models[1], format!("fake-{name}-good"));
            assert!(rows[0].cancelled() || rows[0].ended.is_none(), "{rows:#?}");
            world.row(&name).await;
        }
    });
    futures::future::join_all(all).await;
}

#[tokio::test]
async fn an_answer_says_how_it_was_routed_where_that_is_asked_for() {
    let more = ["order: 1\nregion_name: eu-west-1", "order: 2"];
    let told = world(&more, "num_retries: 2", "explain_header: true").await;
    told.provider
        .script("fake-a", [Script::status(500), Script::default()]);
    let answer = told.send(&asking(MASTER_KEY, "told")).await;
    let route = answer.header("x-meridian-route").unwrap().to_owned();
    let part = |name: &str| {
        let mut parts = route.split("; ").filter_map(|part| part.split_once('='));
        parts
            .find(|(held, _)| *held == name)
            .map(|(_, value)| value)
    };
    assert_eq!(part("deployment"), answer.header("x-litellm-model-id"));
    let told_parts = ["region", "why", "attempts", "retries", "fallbacks", "after"].map(part);
    let expected = ["-", "strategy", "2", "1", "0", "server"].map(Some);
    assert_eq!(told_parts, expected, "{route}");
    let answer = told.send(&asking(MASTER_KEY, "next")).await;
    let route = answer.header("x-meridian-route").unwrap();
    let expected = "region=eu-west-1; why=strategy; attempts=1; retries=0; fallbacks=0; after=-";
    assert!(route.ends_with(expected), "{route}");
    let silent = world(&more, "", "").await;
    let answer = silent.send(&asking(MASTER_KEY, "silent")).await;
    assert_eq!(answer.header("x-meridian-route"), None);
}
