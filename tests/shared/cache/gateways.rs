//! Two whole gateways, one Redis, one provider.

use meridian_testkit::config::{Config, MASTER_KEY};
use meridian_testkit::deadline::{SOON, insist, now};
use meridian_testkit::gateway::{Gateway, Setup};
use meridian_testkit::provider::Provider;
use meridian_testkit::raw::{Request, Response};
use serde_json::{Value, json};

use super::*;

async fn gateway(provider: &Provider, redis: &Redis) -> Gateway {
    let params = format!(
        "type: redis, url: '{}', default_in_memory_ttl: 0",
        redis.url()
    );
    let config = Config::standard(provider)
        .litellm(&format!("cache: true\ncache_params: {{{params}}}"))
        .router("num_retries: 0");
    Setup::new(env!("CARGO_BIN_EXE_meridian"), &config)
        .start()
        .await
}

fn ask(marker: &str, stream: bool) -> Request {
    let body = json!({
        "model": "fake-m+tokens=20", "stream": stream, "user": marker,
        "messages": [{"role": "user", "content": "How do tides work?"}],
    });
    Request::post("/v1/chat/completions", &body).bearer(MASTER_KEY)
}

fn said(answer: &Response) -> &str {
    answer.header("x-meridian-cache").unwrap_or("nothing")
}

/// Waits until the node says so of Redis.
async fn redis_is(gateway: &Gateway, up: bool) {
    let line = format!("meridian_cache_redis_up {}", u8::from(up));
    insist(BACK_WITHIN, async || {
        let page = gateway.admin("GET", "/metrics/", &Value::Null).await.text();
        match page.lines().any(|found| found == line) {
            true => Ok(()),
            false => Err(format!("no {line}")),
        }
    })
    .await;
}

/// Waits until Redis keeps so many answers: they are stored after the caller has them, and who asks
/// before that pays once more.
async fn keeps(redis: &Redis, answers: usize) {
    insist(SOON, async || match redis.ask(&["KEYS", "*"]) {
        keys if keys.lines().count() == answers => Ok(()),
        keys => Err(keys),
    })
    .await;
}

/// Asks until the answer is from Redis.
async fn hits(gateway: &Gateway, request: &Request) -> Response {
    insist(SOON, async || {
        let answer = gateway.send(request).await;
        assert_eq!(answer.status(), 200, "{}", answer.text());
        match said(&answer) {
            "hit-redis" => Ok(answer),
            other => Err(other.to_owned()),
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_is_paid_for_once_in_a_region_and_redis_may_go_and_come() {
    let (provider, mut redis) = (Provider::start(), Redis::start());
    let (here, there) = (
        gateway(&provider, &redis).await,
        gateway(&provider, &redis).await,
    );
    for one in [&here, &there] {
        redis_is(one, true).await;
    }
    for (number, stream) in [false, true].into_iter().enumerate() {
        let request = ask(&format!("shared-{stream}"), stream);
        let first = here.send(&request).await;
        assert_eq!(said(&first), "miss");
        keeps(&redis, number + 1).await;
        hits(&here, &request).await;
        let second = hits(&there, &request).await;
        assert_eq!(first.text(), second.text());
        assert_eq!(provider.attempts(&format!("shared-{stream}")).len(), 1);
    }
    let ping = there.admin("GET", "/cache/ping", &Value::Null).await;
    assert_eq!(
        (ping.status(), &ping.json()["cache_type"]),
        (200, &json!("redis"))
    );
    let figures = there.admin("GET", "/cache/redis/info", &Value::Null).await;
    assert!(
        figures.json()["num_clients"].as_u64().unwrap() >= 4,
        "{}",
        figures.text()
    );

    redis.kill();
    let started = now();
    for number in 0..50 {
        let answer = here.send(&ask(&format!("gone-{number}"), false)).await;
        assert_eq!((answer.status(), said(&answer)), (200, "miss"));
    }
    println!("50 requests without Redis took {:?}", started.elapsed());
    redis_is(&here, false).await;
    let ping = here.admin("GET", "/cache/ping", &Value::Null).await;
    assert_eq!(ping.status(), 503);
    assert_eq!(ping.json()["error"]["type"], "cache_ping_error");
    let flush = here.admin("POST", "/cache/flushall", &json!({})).await;
    assert_eq!(flush.status(), 503, "{}", flush.text());
    let ready = here.admin("GET", "/health/readiness", &Value::Null).await;
    assert_eq!(ready.status(), 200);

    redis.run();
    redis_is(&here, true).await;
    redis_is(&there, true).await;
    let request = ask("back", true);
    let first = here.send(&request).await;
    keeps(&redis, 1).await;
    let second = hits(&there, &request).await;
    assert_eq!(first.text(), second.text());
    let answer = there.admin("POST", "/cache/flushall", &json!({})).await;
    assert_eq!(answer.json()["deleted"], 1);
    assert_eq!(said(&here.send(&request).await), "miss");
    let log = here.log();
    let lines = log.lines().filter(|line| line.contains("cached answers"));
    assert!(lines.count() <= 4, "{log}");
    hits(&here, &request).await;
    holds_answers_alone(&redis);
}

/// Neither keys nor credentials are in Redis.
fn holds_answers_alone(redis: &Redis) {
    let keys = redis.ask(&["KEYS", "*"]);
    let names = keys
        .lines()
        .filter(|name| name.starts_with("meridian:cache:"));
    assert_eq!(names.count(), keys.lines().count(), "{keys}");
    for name in keys.lines() {
        let value = redis.ask(&["GET", name]);
        assert!(!value.contains("sk-"), "{value}");
    }
}

/// What a test of a Redis says, and the moment after: nothing of it is stored.
#[tokio::test]
async fn a_redis_is_tested_before_it_is_used() {
    let (provider, redis) = (Provider::start(), Redis::with_password("of-the-cache"));
    let config = Config::standard(&provider);
    let gateway = Setup::new(env!("CARGO_BIN_EXE_meridian"), &config)
        .start()
        .await;
    let test = async |password: &str| {
        let (host, port) = (redis.addr().ip().to_string(), redis.addr().port());
        let settings = json!({"type": "redis", "host": host, "port": port, "password": password});
        let body = json!({"cache_settings": settings});
        let answer = gateway.admin("POST", "/cache/settings/test", &body).await;
        assert_eq!(answer.status(), 200, "{}", answer.text());
        answer.json()
    };
    let right = test("of-the-cache").await;
    assert_eq!(right["status"], "success", "{right}");
    let wrong = test("another").await;
    assert_eq!(wrong["status"], "failed", "{wrong}");
    assert!(!wrong.to_string().contains("another"), "{wrong}");
    let settings = gateway.admin("GET", "/cache/settings", &Value::Null).await;
    assert_eq!(settings.json()["current_values"], json!({}));
}
