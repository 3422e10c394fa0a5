//! Keys that may not leave Europe, in a gateway that is not there, with everything that could
//! tempt it: faults, fallbacks, full deployments, hedges.

use meridian_testkit::config::Config;
use meridian_testkit::gateway::{Gateway, Setup};
use meridian_testkit::provider::{Provider, Script};
use meridian_testkit::raw::{Request, Response, free_port};
use serde_json::json;

use super::{assert_good, deployment, sent_to};
use crate::dice::Dice;
use crate::world::{Api, binary, with_section};

const EU: &str = "region_name: eu-west-1";
const US: &str = "region_name: us-east-1";

/// What deployments in Europe do wrong: in streams, and in whole answers.
const FAULTS: [(&str, &str); 10] = [
    ("+reset@head", "+reset@head"),
    ("+stall@head", "+stall@head"),
    ("+stall@1", "+stall@mid0"),
    ("+status=429+retry_after=1", "+status=429+retry_after=1"),
    ("+status=500", "+status=500"),
    ("+error=500", "+error=500"),
    ("+empty", "+empty"),
    ("+malformed@0", "+truncate@mid0+framing=chunked"),
    ("+tokens=20+reset@8", "+reset@mid0"),
    ("+status=401", "+status=403"),
];

/// Two providers, one in Europe, and a gateway in America.
struct Worlds {
    eu: Provider,
    us: Provider,
    gateway: Gateway,
    key: String,
}

impl Worlds {
    async fn new(config: impl FnOnce(&str, &str) -> Config, section: &str) -> Self {
        let (eu, us) = (Provider::start(), Provider::start());
        let config = config(&eu.url(), &us.url());
        let section = format!("default_region: us-east-1\nretry_budget: 1\n{section}");
        let config = with_section(config, &section);
        let gateway = Setup::new(binary(), &config).start().await;
        let key = gateway
            .key(&json!({"allowed_regions": ["eu-west-1"]}))
            .await;
        Self {
            eu,
            us,
            gateway,
            key,
        }
    }

    async fn send(&self, api: Api, model: &str, marker: &str, stream: bool) -> Response {
        let body = api.body(model, marker, stream);
        let request = Request::post(api.path(), &body).bearer(&self.key);
        self.gateway.send(&request).await
    }

    fn assert_none_left(&self) {
        let rows = self.us.rows();
        assert!(rows.is_empty(), "left Europe: {rows:#?}");
    }
}

/// A model whose deployment in Europe fails, with every temptation to go to America.
fn faulty(
    mut config: Config,
    api: Api,
    (name, script): (&str, &str),
    (eu, us): (&str, &str),
) -> Config {
    let bad = format!("{EU}\norder: 1\ntimeout: 0.4\nstream_timeout: 0.4\norganization: {name}");
    let spare = format!("{name}-spare");
    let away = format!("{name}-away");
    let eu_bad = if script == "refuse" {
        format!("http://127.0.0.1:{}", free_port())
    } else {
        eu.to_owned()
    };
    let script = if script == "refuse" { "" } else { script };
    for (model, script, url, more) in [
        (
            name,
            format!("{name}-bad{script}"),
            eu_bad.as_str(),
            bad.as_str(),
        ),
        (name, format!("{name}-us"), us, US),
        (name, format!("{name}-nowhere"), us, ""),
        (&away, format!("{name}-away"), us, US),
        (&spare, format!("{name}-spare-us"), us, US),
        (&spare, format!("{name}-spare-eu"), eu, EU),
    ] {
        config = deployment(config, api, (model, &script), url, more);
    }
    config
}

/// Every model, its API, whether it streams, and whether its fault strikes after content.
fn cells() -> Vec<(String, Api, bool, &'static str)> {
    let mut cells = Vec::new();
    let refused = ("refuse", "refuse");
    for (number, (streamed, whole)) in FAULTS.into_iter().chain([refused]).enumerate() {
        for api in Api::STREAMING {
            for (stream, script) in [(true, streamed), (false, whole)] {
                let name = format!("m{number}-{api:?}-{stream}").to_lowercase();
                cells.push((name, api, stream, script));
            }
        }
    }
    cells
}

#[tokio::test]
async fn no_fault_sends_a_request_out_of_its_region() {
    let cells = cells();
    let config = |eu: &str, us: &str| {
        let mut config = Config::new();
        let mut fallbacks = Vec::new();
        for (name, api, _, script) in &cells {
            config = faulty(config, *api, (name, script), (eu, us));
            fallbacks.push(format!("{{{name}: [{name}-away, {name}-spare]}}"));
        }
        let fallbacks = fallbacks.join(", ");
        config.router(&format!("num_retries: 1\nfallbacks: [{fallbacks}]"))
    };
    let hedge = "hedge:\n  after_s: 0.1\n  share_max: 1\n  cost_max_usd: 1";
    let worlds = Worlds::new(config, hedge).await;
    // The node's own budget of further sends is full.
    for _ in 0..80 {
        let answer = worlds
            .send(Api::Chat, "m0-chat-true-spare", "warm", false)
            .await;
        assert_eq!(answer.status(), 200, "{}", answer.text());
    }
    let mut dice = Dice::new(7);
    for round in 0..3 {
        let requests = cells.iter().map(|(name, api, stream, script)| {
            let marker = format!("{name}r{round}");
            let worlds = &worlds;
            let pad = dice.within(0..2) as usize * 100_000;
            async move {
                let mut body = api.body(name, &marker, *stream);
                body["pad"] = json!("x".repeat(pad));
                let request = Request::post(api.path(), &body).bearer(&worlds.key);
                let answer = worlds.gateway.send(&request).await;
                if *stream && script.contains("@8") {
                    assert_eq!(answer.status(), 200, "{marker}");
                    return;
                }
                assert_good(&marker, *api, *stream, &answer);
                let rows = worlds.eu.attempts(&marker);
                assert_eq!(sent_to(&rows, "-spare-eu"), 1, "{marker}: {rows:#?}");
                assert!(rows.len() <= 6, "{marker}: {rows:#?}");
            }
        });
        futures::future::join_all(requests).await;
    }
    worlds.assert_none_left();
}

#[tokio::test]
async fn without_an_allowed_deployment_the_error_says_so() {
    let config = |_: &str, us: &str| {
        let mut config = Config::new();
        for api in Api::STREAMING {
            let name = format!("{api:?}").to_lowercase();
            config = deployment(config, api, (&name, "us"), us, US);
            config = deployment(config, api, (&name, "none"), us, "");
            let away = format!("{name}-away");
            config = deployment(config, api, (&away, "away"), us, US);
        }
        config.router("default_fallbacks: [chat-away, responses-away, messages-away]")
    };
    let worlds = Worlds::new(config, "").await;
    for api in Api::STREAMING {
        for stream in [true, false] {
            let name = format!("{api:?}").to_lowercase();
            let answer = worlds.send(api, &name, &name, stream).await;
            assert_eq!(answer.status(), 403, "{}", answer.text());
            crate::endings::told_in_error(&name, api, &answer);
            let body = answer.json();
            let message = body["error"]["message"].as_str().unwrap();
            assert!(message.contains("eu-west-1"), "{message}");
        }
    }
    worlds.assert_none_left();
    // Whoever is not bound is served.
    let free = worlds.gateway.key(&json!({})).await;
    let body = Api::Chat.body("chat", "free", false);
    let request = Request::post(Api::Chat.path(), &body).bearer(&free);
    assert_eq!(worlds.gateway.send(&request).await.status(), 200);
}

#[tokio::test]
async fn full_and_slow_deployments_send_nobody_out_of_the_region() {
    let config = |eu: &str, us: &str| {
        let narrow = format!("{EU}\nmax_parallel_requests: 2");
        let config = deployment(Config::new(), Api::Chat, ("full", "eu"), eu, &narrow);
        let config = deployment(config, Api::Chat, ("full", "us"), us, US);
        let config = deployment(config, Api::Chat, ("slow", "slow"), eu, EU);
        let config = deployment(config, Api::Chat, ("slow", "us2"), us, US);
        config.router("num_retries: 2\ndefault_fallbacks: [slow]")
    };
    let hedge = "hedge:\n  after_s: 0.1\n  share_max: 1\n  cost_max_usd: 1";
    let worlds = Worlds::new(config, hedge).await;
    let late = Script {
        head_ms: 700,
        ..Script::default()
    };
    worlds.eu.script("*", [late]);
    let all = (0..12).map(|_| worlds.send(Api::Chat, "full", "full", false));
    for answer in futures::future::join_all(all).await {
        assert_eq!(answer.status(), 200, "{}", answer.text());
    }
    let rows = worlds.eu.attempts("full");
    assert_eq!(sent_to(&rows, "fake-eu"), 2, "{rows:#?}");
    assert_eq!(sent_to(&rows, "fake-slow"), 10, "{rows:#?}");
    let answer = worlds.send(Api::Chat, "slow", "alone", true).await;
    assert_good("alone", Api::Chat, true, &answer);
    assert_eq!(worlds.eu.attempts("alone").len(), 1, "a hedge");
    worlds.assert_none_left();
}

#[tokio::test]
async fn a_team_is_bound_by_the_configuration() {
    let config = |eu: &str, us: &str| {
        let config = Config::new();
        let config = deployment(config, Api::Chat, ("m", "m-us"), us, US);
        let config = deployment(config, Api::Chat, ("m", "m-eu"), eu, EU);
        deployment(config, Api::Chat, ("away", "away-us"), us, US)
    };
    let mut worlds = Worlds::new(config, "regions: {teams: {t-eu: [eu-west-1]}}").await;
    for team in ["t-eu", "t-us"] {
        let made = json!({"team_id": team});
        let made = worlds.gateway.admin("POST", "/team/new", &made).await;
        assert_eq!(made.status(), 200, "{}", made.text());
    }
    worlds.key = worlds.gateway.key(&json!({"team_id": "t-eu"})).await;
    for round in 0..8 {
        let marker = format!("team{round}");
        let answer = worlds.send(Api::Chat, "m", &marker, round % 2 == 0).await;
        assert_eq!(answer.status(), 200, "{}", answer.text());
    }
    let answer = worlds.send(Api::Chat, "away", "away", false).await;
    assert_eq!(answer.status(), 403, "{}", answer.text());
    assert!(answer.text().contains("eu-west-1"), "{}", answer.text());
    worlds.assert_none_left();
    worlds.key = worlds.gateway.key(&json!({"team_id": "t-us"})).await;
    let answer = worlds.send(Api::Chat, "away", "free", false).await;
    assert_eq!(answer.status(), 200, "another team is free");
}
