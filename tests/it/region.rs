//! A gateway that is told where Redis is: what operators see, and that no request depends on it.

use meridian_testkit::config::{Config, MASTER_KEY};
use meridian_testkit::deadline::{SOON, eventually, insist, now, within};
use meridian_testkit::gateway::{Gateway, Setup};
use meridian_testkit::provider::{Provider, UPSTREAM_KEY};
use meridian_testkit::raw::{Request, free_port};
use meridian_testkit::redis::Redis;
use serde_json::Value;

use crate::world::{Api, binary, scripted};

/// A gateway with these `cache_params`.
fn with_cache(provider: &Provider, params: &str) -> Config {
    scripted(provider).litellm(&format!("cache_params: {{type: redis, {params}}}"))
}

async fn coordination(gateway: &Gateway) -> Value {
    let details = gateway.admin("GET", "/health/readiness/details", &Value::Null);
    details.await.json()["coordination"].clone()
}

/// Waits until the gateway says that Redis is `up` or `down`, in its details and its metrics.
async fn is(gateway: &Gateway, state: &str) {
    insist(SOON, async || match coordination(gateway).await {
        found if found["state"] == state => Ok(()),
        found => Err(found.to_string()),
    })
    .await;
    let page = gateway.admin("GET", "/metrics/", &Value::Null).await.text();
    let line = format!("meridian_coordination_mode{{mode=\"redis\",state=\"{state}\"}} 1");
    assert!(page.contains(&line), "{line} is not in {page}");
    let nobody = Request::post(Api::Chat.path(), &Value::Null).bearer("sk-nobody");
    let refused = gateway.send(&nobody).await;
    let said = refused.header("x-meridian-coordination");
    assert_eq!(said, Some(format!("redis-{state}").as_str()));
}

/// A request is served as fast as ever.
async fn serves(gateway: &Gateway) {
    let body = Api::Chat.body("fake-m", "marker", false);
    let request = Request::post(Api::Chat.path(), &body).bearer(MASTER_KEY);
    let started = now();
    let answer = gateway.send(&request).await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    // As it is now, also while Redis comes or goes; errors say it too.
    let said = answer.header("x-meridian-coordination").unwrap().to_owned();
    assert!(["none", "redis-up", "redis-down"].contains(&said.as_str()));
    println!("served in {:?}", started.elapsed());
    assert!(gateway.is_ready().await);
}

/// A model of two deployments, one of which nobody serves.
fn half_dead(provider: &Provider, redis: &Redis) -> String {
    let (url, nobody) = (provider.url(), free_port());
    format!(
        "general_settings: {{master_key: {MASTER_KEY}}}\n\
         litellm_settings: {{cache_params: {{type: redis, url: '{}'}}}}\n\
         router_settings: {{num_retries: 3, allowed_fails: 0, cooldown_time: 120}}\n\
         model_list:\n\
         - model_name: fake-m\n  model_info: {{id: alive}}\n  litellm_params: \
         {{model: openai/fake-m, api_base: '{url}/v1', api_key: {UPSTREAM_KEY}}}\n\
         - model_name: fake-m\n  model_info: {{id: dead}}\n  litellm_params: \
         {{model: openai/fake-m, api_base: 'http://127.0.0.1:{nobody}/v1', api_key: unused}}\n",
        redis.url()
    )
}

#[tokio::test]
async fn what_one_gateway_found_out_costs_the_other_no_attempt() {
    let provider = Provider::start();
    let redis = Redis::start();
    let yaml = half_dead(&provider, &redis);
    let start = || Setup::with_yaml(binary(), &yaml).arg("--region=eu").start();
    let (here, there) = (start().await, start().await);
    is(&here, "up").await;
    is(&there, "up").await;
    let out = "left out after failures";
    let finding_out = async {
        while !here.log().contains(out) {
            serves(&here).await;
        }
    };
    within(SOON, out, finding_out).await;
    let heard = "meridian_coordination_messages_total";
    insist(SOON, async || {
        let count = there.metric(heard, "result=\"heard\"").await;
        (count >= 1.0)
            .then_some(())
            .ok_or("nothing was heard".to_owned())
    })
    .await;
    for _ in 0..30 {
        serves(&there).await;
    }
    let (attempts, dead) = ("meridian_upstream_attempts_total", "deployment=\"dead\"");
    assert!(here.metric(attempts, dead).await >= 1.0);
    assert_eq!(there.metric(attempts, dead).await, 0.0);
    assert!(
        redis
            .ask(&["KEYS", "*"])
            .starts_with("meridian:{cooldown}:eu:deployment:dead:")
    );
}

#[tokio::test]
async fn a_wrong_password_is_said_once_and_stops_nothing() {
    let provider = Provider::start();
    let redis = Redis::with_password("the-right-one");
    let port = redis.addr().port();
    let params = format!("host: 127.0.0.1, port: {port}, password: the-wrong-one");
    let setup = Setup::new(binary(), &with_cache(&provider, &params));
    let gateway = setup.start().await;
    let line = "Redis is not used until it answers";
    eventually(SOON, line, || gateway.log().contains(line).then_some(())).await;
    is(&gateway, "down").await;
    serves(&gateway).await;
    // Tries go on, and each would have its line if lines were not for changes.
    let figure = |section: &str, start: &str| -> Option<u64> {
        let page = redis.ask(&["INFO", section]);
        let line = page.lines().find_map(|line| line.strip_prefix(start));
        line?.trim().parse().ok()
    };
    let refused = || figure("errorstats", "errorstat_WRONGPASS:count=").filter(|it| *it >= 12);
    eventually(2 * SOON, "more tries", refused).await;
    // Each try closes its connections; one of three is this test's own.
    eventually(SOON, "closed connections", || {
        figure("clients", "connected_clients:").filter(|open| *open <= 3)
    })
    .await;
    let log = gateway.log();
    assert_eq!(log.matches(line).count(), 1, "{log}");
    assert!(log.contains("WRONGPASS"), "{log}");
    assert!(!log.contains("the-wrong-one"), "{log}");
    assert!(log.contains(&format!("127.0.0.1:{port}")), "{log}");
    redis.ask(&["CONFIG", "SET", "requirepass", "the-wrong-one"]);
    is(&gateway, "up").await;
}

#[tokio::test]
async fn over_tls_with_a_certificate_that_the_system_trusts() {
    let provider = Provider::start();
    let names = vec!["localhost".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    let (cert, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let redis = Redis::tls(&cert, &key);
    let dir = tempfile::tempdir().unwrap();
    let trusted = dir.path().join("trusted.pem");
    std::fs::write(&trusted, &cert).unwrap();
    let params = format!("url: 'rediss://localhost:{}'", redis.addr().port());
    let config = with_cache(&provider, &params);
    let setup = Setup::new(binary(), &config);
    let gateway = setup
        .env("SSL_CERT_FILE", &trusted.display().to_string())
        .start()
        .await;
    is(&gateway, "up").await;
    // A certificate that nobody vouches for is refused, and said so.
    let gateway = Setup::new(binary(), &config).start().await;
    let line = "Redis is not used until it answers";
    eventually(SOON, line, || gateway.log().contains(line).then_some(())).await;
    let log = gateway.log().to_lowercase();
    assert!(log.contains("certificate"), "{log}");
    serves(&gateway).await;
}

#[tokio::test]
async fn without_redis_a_gateway_is_alone_and_says_so() {
    let provider = Provider::start();
    let gateway = Setup::new(binary(), &scripted(&provider)).start().await;
    let said = coordination(&gateway).await;
    assert_eq!(said, serde_json::json!({"mode": "none", "state": "off"}));
    let answer = gateway.send(&Api::Chat.ask("", "alone", false)).await;
    assert_eq!(answer.header("x-meridian-coordination"), Some("none"));
    serves(&gateway).await;
}
