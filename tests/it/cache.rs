//! Cached answers in one node's memory: what hits, what never does, what a hit costs.

mod controls;
mod flights;
mod refusals;

use std::time::Duration;

use meridian_testkit::config::{Config, MASTER_KEY};
use meridian_testkit::deadline::{SOON, insist, now};
use meridian_testkit::raw::{BodyEnd, Request, Response};
use serde_json::{Value, json};

use crate::world::{Api, World, meta, standard};

/// All that are cached by default and that the fake provider streams or not.
const APIS: [Api; 5] = [
    Api::Chat,
    Api::Completions,
    Api::Responses,
    Api::Messages,
    Api::Embeddings,
];

/// Answers are cached in memory for ten minutes.
fn cached(config: Config) -> Config {
    with(config, "type: local, ttl: 600")
}

fn with(config: Config, params: &str) -> Config {
    let config = config.litellm(&format!("cache: true\ncache_params: {{{params}}}"));
    config.router("num_retries: 0")
}

async fn world() -> World {
    World::with("", cached).await
}

fn said(answer: &Response) -> &str {
    answer.header("x-meridian-cache").unwrap_or("nothing")
}

fn key(answer: &Response) -> String {
    answer.header("x-litellm-cache-key").unwrap().to_owned()
}

fn api_request(api: Api, marker: &str, stream: bool) -> Request {
    match api {
        Api::Embeddings => {
            let body = api.body("text-embedding-fake", marker, false);
            Request::post(api.path(), &body).bearer(MASTER_KEY)
        }
        _ => api.ask("+tokens=20", marker, stream),
    }
}

#[tokio::test]
async fn a_hit_is_the_first_answer_byte_for_byte_and_reaches_no_provider() {
    let world = world().await;
    for api in APIS {
        for stream in [false, true] {
            if stream && api == Api::Embeddings {
                continue;
            }
            let marker = format!("h-{api:?}-{stream}");
            let request = api_request(api, &marker, stream);
            let first = world.send(&request).await;
            let second = world.send(&request).await;
            let what = format!("{api:?}, stream {stream}: {}", second.text());
            assert_eq!((first.status(), said(&first)), (200, "miss"), "{what}");
            assert_eq!(
                (second.status(), said(&second)),
                (200, "hit-memory"),
                "{what}"
            );
            assert_eq!(second.end, BodyEnd::Complete, "{what}");
            assert!(first.body == second.body, "{what}");
            assert_eq!(world.provider.attempts(&marker).len(), 1, "{what}");
            let same = ["content-type", "x-litellm-model-id", "x-litellm-cache-key"];
            for header in same {
                assert_eq!(
                    first.header(header),
                    second.header(header),
                    "{what}: {header}"
                );
            }
            assert_eq!(key(&second).len(), 64);
            let call_id = |answer: &Response| answer.header("x-litellm-call-id").map(str::to_owned);
            assert_ne!(call_id(&first), call_id(&second), "{what}");
            let age = second.header("age").and_then(|age| age.parse::<u64>().ok());
            assert!(age.is_some_and(|age| age < 60), "{what}: {age:?}");
            if stream {
                assert_eq!(second.header("x-accel-buffering"), Some("no"), "{what}");
                assert_eq!(
                    second.header("transfer-encoding"),
                    Some("chunked"),
                    "{what}"
                );
            } else {
                assert_eq!(
                    second.header("x-litellm-response-cost"),
                    Some("0.0"),
                    "{what}"
                );
            }
        }
    }
}

#[tokio::test]
async fn a_hit_is_in_the_ledger_at_no_cost_and_its_saving_in_the_metrics() {
    let world = world().await;
    let owner = world.gateway.key(&json!({"tpm_limit": 100_000})).await;
    let request = Api::Chat.ask_as(&owner, "+tokens=50", "bill", true);
    for _ in 0..3 {
        assert_eq!(world.send(&request).await.status(), 200);
    }
    let rows = insist(SOON, async || match world.rows("bill").await {
        rows if rows.len() == 3 => Ok(rows),
        rows => Err(format!("{rows:#?}")),
    })
    .await;
    let (hits, misses): (Vec<_>, Vec<_>) = rows.iter().partition(|row| row["cache_hit"] == "True");
    assert_eq!((hits.len(), misses.len()), (2, 1), "{rows:#?}");
    let cost = misses[0]["spend"].as_f64().unwrap();
    assert!(cost > 0.0, "{misses:#?}");
    for hit in &hits {
        assert_eq!(hit["spend"], 0.0, "{hit:#}");
        assert_eq!(hit["total_tokens"], misses[0]["total_tokens"], "{hit:#}");
        assert_eq!(hit["model_id"], misses[0]["model_id"], "{hit:#}");
        assert_eq!(hit["cache_key"].as_str().unwrap().len(), 64);
        assert_eq!(meta(hit, "saved_cache_cost"), cost);
        assert_eq!(hit["status"], "success");
    }
    assert_eq!(misses[0]["cache_key"], "");
    let spend = crate::ledger::key_spend(&world.gateway, &owner).await;
    assert_eq!(spend, (cost * 1e9).round() as i64);
    let tokens = misses[0]["total_tokens"].as_f64().unwrap();
    for (name, having, wanted) in [
        ("meridian_cache_saved_dollars_total", "", 2.0 * cost),
        ("litellm_cached_tokens_metric_total", "", 2.0 * tokens),
        ("litellm_cache_hits_metric_total", "", 2.0),
        ("litellm_cache_misses_metric_total", "", 1.0),
        ("litellm_spend_metric_total", "", cost),
        // A deployment that was not asked has answered nothing.
        ("litellm_deployment_success_responses_total", "", 1.0),
        ("meridian_cache_entries", "", 1.0),
        ("meridian_cache_lookups_total", "hit_memory", 2.0),
    ] {
        let found = world.gateway.metric(name, having).await;
        assert!((found - wanted).abs() < 1e-9, "{name}: {found}");
    }
    assert!(world.gateway.metric("meridian_cache_bytes", "").await > 100.0);
}

#[tokio::test]
async fn what_only_kept_a_connection_alive_is_not_replayed() {
    let world = World::with("keepalive_s: 1", cached).await;
    let request = Api::Chat.ask("+tokens=2+chunk_ms=2500", "silence", true);
    let first = world.send(&request).await;
    let second = world.send(&request).await;
    assert_eq!(said(&second), "hit-memory");
    let (first, second) = (first.text(), second.text());
    assert!(first.lines().any(|line| line.starts_with(':')), "{first}");
    assert!(
        !second.lines().any(|line| line.starts_with(':')),
        "{second}"
    );
    let data = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| line.starts_with("data:"));
        lines.map(str::to_owned).collect()
    };
    assert_eq!(data(&first), data(&second));
}

#[tokio::test]
async fn forms_hit_whatever_their_boundary_is() {
    let world = world().await;
    let form = |boundary: &str, file: &str| {
        let body = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nfake-w\r\n\
             --{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\
             \r\n\r\n{file}\r\n--{boundary}--\r\n"
        );
        let kind = format!("multipart/form-data; boundary={boundary}");
        let mut request = Request::new("POST", "/v1/audio/transcriptions")
            .field("content-type", &kind)
            .bearer(MASTER_KEY);
        request.body = body.into_bytes();
        request
    };
    let first = world.send(&form("one", "RIFF")).await;
    assert_eq!(
        (first.status(), said(&first)),
        (200, "miss"),
        "{}",
        first.text()
    );
    let second = world.send(&form("another", "RIFF")).await;
    assert_eq!(said(&second), "hit-memory");
    assert_eq!(first.body, second.body);
    let other = world.send(&form("one", "RIFX")).await;
    assert_eq!(said(&other), "miss");
}

#[tokio::test]
async fn no_two_tenants_share_and_the_keys_of_one_do() {
    let world = world().await;
    let gateway = &world.gateway;
    let mut answers = Vec::new();
    for number in 0..20 {
        for tenant in ["team_id", "user_id"] {
            // A team and a user of the same name are two tenants.
            let name = format!("t{number}");
            if tenant == "team_id" {
                gateway.team(&name).await;
            }
            let fields = json!({tenant: name});
            let (one, two) = (gateway.key(&fields).await, gateway.key(&fields).await);
            for (owner, expected) in [(one, "miss"), (two, "hit-memory")] {
                let answer = world
                    .send(&Api::Chat.ask_as(&owner, "", "tenant", false))
                    .await;
                assert_eq!(said(&answer), expected, "{fields}");
                answers.push(answer.text());
            }
        }
        let alone = gateway.key(&json!({})).await;
        for expected in ["miss", "hit-memory"] {
            let answer = world
                .send(&Api::Chat.ask_as(&alone, "", "tenant", false))
                .await;
            assert_eq!(said(&answer), expected);
            answers.push(answer.text());
        }
    }
    let master = world.send(&Api::Chat.ask("", "tenant", false)).await;
    assert_eq!(said(&master), "miss");
    assert!(!answers.contains(&master.text()));
    // The provider numbers its answers: each was given to one tenant, in pairs.
    let mut distinct = answers.clone();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), answers.len() / 2);
    assert_eq!(world.provider.attempts("tenant").len(), distinct.len() + 1);
}

#[tokio::test]
async fn a_stored_response_is_its_makers_alone() {
    let world = world().await;
    world.gateway.team("r").await;
    let team = json!({"team_id": "r"});
    let (one, two) = (
        world.gateway.key(&team).await,
        world.gateway.key(&team).await,
    );
    let ask = async |owner: &str| {
        let answer = world
            .send(&Api::Responses.ask_as(owner, "", "r", false))
            .await;
        let id = answer.json()["id"].as_str().unwrap().to_owned();
        (said(&answer).to_owned(), id)
    };
    let (first, made) = ask(&one).await;
    assert_eq!(first, "miss");
    assert_eq!(ask(&two).await.0, "miss");
    let (again, id) = ask(&one).await;
    assert_eq!((again.as_str(), &id), ("hit-memory", &made));
    // Whoever got it can go on from it.
    let mut body = Api::Responses.body(&Api::Responses.model(""), "r", false);
    body["previous_response_id"] = json!(id);
    let request = Request::post("/v1/responses", &body).bearer(&one);
    assert_eq!(world.send(&request).await.status(), 200);
}

#[tokio::test]
async fn scopes_other_than_the_tenant_are_obeyed() {
    for (scope, expected) in [("key", "miss"), ("global", "hit-memory")] {
        let section = format!("response_cache: {{scope: {scope}}}");
        let world = World::with(&section, cached).await;
        world.gateway.team("t").await;
        let team = json!({"team_id": "t"});
        let (one, two) = (
            world.gateway.key(&team).await,
            world.gateway.key(&team).await,
        );
        let first = world.send(&Api::Chat.ask_as(&one, "", "s", false)).await;
        assert_eq!(said(&first), "miss", "{scope}");
        let second = world.send(&Api::Chat.ask_as(&two, "", "s", false)).await;
        assert_eq!(said(&second), expected, "{scope}");
    }
}

#[tokio::test]
async fn answers_are_deleted_by_key_and_all_together() {
    let world = world().await;
    let (one, two) = (
        Api::Chat.ask("", "d1", false),
        Api::Chat.ask("", "d2", false),
    );
    let first = world.send(&one).await;
    world.send(&two).await;
    let body = json!({"keys": [key(&first)]});
    let answer = world.gateway.admin("POST", "/cache/delete", &body).await;
    assert_eq!(answer.json(), json!({"status": "success", "deleted": 1}));
    assert_eq!(said(&world.send(&one).await), "miss");
    assert_eq!(said(&world.send(&two).await), "hit-memory");
    let answer = world
        .gateway
        .admin("POST", "/cache/flushall", &json!({}))
        .await;
    assert_eq!(answer.json(), json!({"status": "success", "deleted": 2}));
    assert_eq!(said(&world.send(&two).await), "miss");
    let ping = world
        .gateway
        .admin("GET", "/cache/ping", &Value::Null)
        .await;
    assert_eq!(ping.json()["cache_type"], "local");
}

#[tokio::test]
async fn an_answer_is_asked_for_again_when_its_time_is_over() {
    let world = World::with("", |config| with(config, "type: local, ttl: 1")).await;
    let request = Api::Chat.ask("", "t", false);
    assert_eq!(said(&world.send(&request).await), "miss");
    let stored = now();
    insist(SOON, async || match said(&world.send(&request).await) {
        "miss" => Ok(()),
        other => Err(other.to_owned()),
    })
    .await;
    let lasted = stored.elapsed();
    assert!(lasted > Duration::from_millis(900), "{lasted:?}");
    assert_eq!(world.provider.attempts("t").len(), 2);
}

#[tokio::test]
async fn a_cache_that_is_turned_off_by_a_reload_is_not_asked_any_more() {
    let world = world().await;
    let request = Api::Chat.ask("", "off", false);
    world.send(&request).await;
    assert_eq!(said(&world.send(&request).await), "hit-memory");
    let config = standard(&world.provider).router("num_retries: 0");
    world.gateway.write_config(&config.yaml());
    insist(SOON, async || match said(&world.send(&request).await) {
        "nothing" => Ok(()),
        other => Err(format!("the reload has no effect: {other}")),
    })
    .await;
}

#[tokio::test]
async fn a_gateway_without_a_cache_says_nothing_of_one() {
    let world = World::new("").await;
    let request = Api::Chat.ask("", "none", false);
    for _ in 0..2 {
        let answer = world
            .send(&request.clone().field("cache-control", "s-maxage=x"))
            .await;
        assert_eq!((answer.status(), said(&answer)), (200, "nothing"));
        assert_eq!(answer.header("x-litellm-cache-key"), None);
    }
    assert_eq!(world.provider.attempts("none").len(), 2);
}
