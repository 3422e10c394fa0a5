//! What providers receive: path, credential, headers and body of each family, how often, and what
//! their odd answers become.

use std::time::Duration;

use meridian_testkit::config::{Config, MASTER_KEY};
use meridian_testkit::h2client::H2;
use meridian_testkit::provider::{Early, Framing, Provider, Script, UPSTREAM_KEY};
use meridian_testkit::raw::{BodyEnd, Conn, Request, free_port};
use serde_json::{Value, json};

use crate::world::{Api, World, meta, standard};

/// One family of upstreams: how it is configured and what it must receive.
struct Family {
    name: &'static str,
    upstream: &'static str,
    base: &'static str,
    more: &'static str,
    api: Api,
    target: &'static str,
    credential: (&'static str, &'static str),
    /// Model in the body.
    model: &'static str,
}

const BEARER: (&str, &str) = ("authorization", "Bearer ");

const fn openai(name: &'static str, upstream: &'static str, api: Api) -> Family {
    Family {
        name,
        upstream,
        base: "/v1",
        more: "",
        api,
        target: "",
        credential: BEARER,
        model: "fake-x",
    }
}

fn families() -> Vec<Family> {
    let dated = "api_version: \"2024-10-21\"";
    let azure = |name, api, target| Family {
        upstream: "azure/fake-x",
        base: "",
        more: dated,
        credential: ("api-key", ""),
        target,
        ..openai(name, "", api)
    };
    vec![
        openai("o-chat", "openai/fake-x", Api::Chat),
        openai("o-resp", "openai/fake-x", Api::Responses),
        openai("o-emb", "openai/fake-x", Api::Embeddings),
        openai("vllm", "hosted_vllm/fake-x", Api::Chat),
        openai("o-leg", "text-completion-openai/fake-x", Api::Completions),
        azure(
            "az-chat",
            Api::Chat,
            "/openai/deployments/fake-x/chat/completions?api-version=2024-10-21",
        ),
        azure(
            "az-emb",
            Api::Embeddings,
            "/openai/deployments/fake-x/embeddings?api-version=2024-10-21",
        ),
        azure(
            "az-resp",
            Api::Responses,
            "/openai/responses?api-version=2024-10-21",
        ),
        Family {
            more: "api_version: v1",
            ..azure("az1-chat", Api::Chat, "/openai/v1/chat/completions")
        },
        Family {
            more: "api_version: v1",
            ..azure("az1-resp", Api::Responses, "/openai/v1/responses")
        },
        Family {
            base: "",
            credential: ("x-api-key", ""),
            target: "/v1/messages",
            ..openai("claude", "anthropic/fake-x", Api::Messages)
        },
        Family {
            base: "/anthropic",
            credential: ("x-api-key", ""),
            target: "/anthropic/v1/messages",
            model: "claude-x",
            ..openai("foundry", "azure_ai/claude-x", Api::Messages)
        },
    ]
}

#[tokio::test]
async fn every_family_gets_its_path_credential_headers_and_body() {
    let provider = Provider::start();
    let url = provider.url();
    let config = families().iter().fold(Config::new(), |config, family| {
        let base = format!("{url}{}", family.base);
        config.model(family.name, family.upstream, &base, family.more)
    });
    let world = World::over(provider, config, "").await;
    let key = world.gateway.key(&json!({})).await;
    for family in families() {
        for stream in [false, true] {
            if stream && family.api == Api::Embeddings {
                continue;
            }
            check_family(&world, &family, &key, stream).await;
        }
    }
}

/// As in LiteLLM: callers' own headers go on where the operator says so, its own never.
#[tokio::test]
async fn headers_of_callers_reach_providers_where_the_configuration_says_so() {
    let provider = Provider::start();
    let config = Config::standard(&provider).general("forward_client_headers_to_llm_api: true");
    let world = World::over(provider, config, "").await;
    let key = world.gateway.key(&json!({})).await;
    let body = json!({"model": "fake-x", "messages": [{"role": "user", "content": "hello"}]});
    let request = Request::post("/v1/chat/completions", &body)
        .bearer(&key)
        .field("x-custom-thing", "7")
        .field("x-litellm-tags", "a");
    assert_eq!(world.send(&request).await.status(), 200);
    let seen = world.provider.last().request.unwrap();
    assert_eq!(seen.header("x-custom-thing").as_deref(), Some("7"));
    assert_eq!(seen.header("x-litellm-tags"), None);
}

async fn check_family(world: &World, family: &Family, key: &str, stream: bool) {
    let case = family.name;
    let mut body = family.api.body(family.name, "who", stream);
    body["x_unknown"] = json!({"deep": [1, null, "\u{e9}"]});
    let mut request = Request::post(family.api.path(), &body)
        .field("x-custom-thing", "7")
        .field("x-client-request-id", "8")
        .field("anthropic-beta", "b1,b2")
        .field("openai-beta", "assistants=v2")
        .field("cookie", "session=secret-cookie")
        .field("x-forwarded-for", "203.0.113.9");
    request = match family.api {
        Api::Messages => request
            .field("x-api-key", key)
            .field("anthropic-version", "2023-01-01"),
        _ => request.bearer(key).field("api-key", "client-secret"),
    };
    let answer = world.send(&request).await;
    assert_eq!(answer.status(), 200, "{case}: {}", answer.text());
    let row = world.provider.last();
    let target = match family.target {
        "" => family.api.path(),
        target => target,
    };
    assert_eq!(row.target, target, "{case}");
    let seen = row.request.unwrap();
    let (header, prefix) = family.credential;
    let credential = format!("{prefix}{UPSTREAM_KEY}");
    assert_eq!(seen.header(header), Some(credential), "{case}");
    assert_eq!(seen.header("x-custom-thing"), None, "{case}");
    let named = seen.header("x-client-request-id");
    assert_eq!(named.as_deref(), Some("8"), "{case}");
    assert_eq!(seen.header("anthropic-beta").as_deref(), Some("b1,b2"));
    assert_eq!(seen.header("openai-beta").as_deref(), Some("assistants=v2"));
    if family.api == Api::Messages {
        let version = seen.header("anthropic-version");
        assert_eq!(version.as_deref(), Some("2023-01-01"), "{case}");
    }
    let head = String::from_utf8_lossy(&seen.head).into_owned();
    for secret in [key, "client-secret", "secret-cookie", "203.0.113.9"] {
        assert!(!head.contains(secret), "{case}: {head}");
    }
    let got = seen.json();
    assert_eq!(got["model"], family.model, "{case}");
    assert_eq!(got["x_unknown"], body["x_unknown"], "{case}");
    if stream && matches!(family.api, Api::Chat | Api::Completions) {
        body["stream_options"] = json!({"include_usage": true});
    }
    body["model"] = json!(family.model);
    assert_eq!(got, body, "{case}");
}

/// A group of two deployments of which one fails like this, and retries as LiteLLM has them.
async fn pair(bad: &str) -> World {
    let provider = Provider::start();
    let url = format!("{}/v1", provider.url());
    let nobody = format!("http://127.0.0.1:{}/v1", free_port());
    let bad_url = if bad == "refused" { &nobody } else { &url };
    let config = standard(&provider)
        // Asked first as good as always.
        .model(
            "pair",
            &format!("openai/fake-bad{bad}"),
            bad_url,
            "weight: 1000000000",
        )
        // An account of its own: one that is refused puts out every deployment that has it.
        .model("pair", "openai/fake-good", &url, "organization: org-2")
        .router("num_retries: 2\nstream_timeout: 2\ntimeout: 2");
    World::over(provider, config, "").await
}

#[tokio::test]
async fn failures_before_content_go_to_another_deployment() {
    for bad in [
        "+status=500",
        "+status=429",
        "+status=401",
        "+reset@head",
        "+close@head",
        "+empty",
        "+error=500",
        "+stall@head",
        "refused",
    ] {
        let world = pair(bad).await;
        let mut failed = 0;
        for round in 0..6 {
            let marker = format!("r{round}");
            let stream = round % 2 == 0;
            let mut body = Api::Chat.body("pair", &marker, stream);
            // Larger than any buffer that a transport could replay.
            body["pad"] = json!("x".repeat(if round < 3 { 10 } else { 200_000 }));
            let request = Request::post("/v1/chat/completions", &body).bearer(MASTER_KEY);
            let answer = world.send(&request).await;
            assert_eq!(answer.status(), 200, "{bad} {round}: {}", answer.text());
            let attempts = world.provider.attempts(&marker);
            assert!((1..=2).contains(&attempts.len()), "{bad}: {attempts:#?}");
            assert_eq!(attempts.last().unwrap().model, "fake-good", "{bad}");
            let sent = attempts.last().unwrap().request.clone().unwrap().json();
            assert_eq!(sent["pad"], body["pad"], "{bad}");
            let retries = answer.header("x-litellm-attempted-retries").unwrap();
            failed += retries.parse::<usize>().unwrap();
            world.row(&marker).await;
        }
        assert!(
            (1..=6).contains(&failed),
            "{bad}: {failed} of 6 tried the bad one"
        );
    }
}

#[tokio::test]
async fn attempts_never_exceed_the_budget() {
    let config = |config: Config| config.router("num_retries: 2");
    let world = World::with("", config).await;
    /// Fault, request headers, attempts that the provider may see.
    type Row = (&'static str, &'static [(&'static str, &'static str)], usize);
    let table: [Row; 8] = [
        ("+status=500", &[], 3),
        ("+reset@head", &[], 3),
        ("+status=500", &[("x-litellm-num-retries", "0")], 1),
        ("+status=500", &[("x-litellm-num-retries", "1")], 2),
        ("+status=400", &[], 1),
        ("+status=404", &[], 1),
        ("+status=429+retry_after=3600", &[], 1),
        ("+tokens=20+reset@8", &[], 1),
    ];
    for (number, (script, headers, attempts)) in table.into_iter().enumerate() {
        for stream in [false, true] {
            let script = match (stream, script) {
                (false, "+tokens=20+reset@8") => continue,
                _ => script,
            };
            let marker = format!("a{number}{stream}");
            let mut request = Api::Chat.ask(script, &marker, stream);
            for (name, value) in headers {
                request = request.field(name, value);
            }
            world.send(&request).await;
            let row = world.row(&marker).await;
            let seen = world.provider.attempts(&marker).len();
            assert_eq!(seen, attempts, "{script} {headers:?}");
            assert_eq!(meta(&row, "attempted_retries"), attempts - 1, "{script}");
        }
    }
}

#[tokio::test]
async fn an_h2_connection_that_goes_away_is_no_reason_to_send_twice() {
    let provider = Provider::start_tls();
    let directory = tempfile::tempdir().unwrap();
    let ca = directory.path().join("ca.pem");
    std::fs::write(&ca, provider.ca_pem().unwrap()).unwrap();
    let config = standard(&provider);
    let section = format!("upstream_ca_file: {}", ca.display());
    let world = World::over(provider, config, &section).await;
    for (number, (script, retries, status, attempts)) in [
        ("+goaway@2", "0", 200, 1),
        ("+goaway@after", "0", 200, 1),
        ("+reset@head", "0", 500, 1),
        ("+close@head", "0", 500, 1),
        ("+close@head", "1", 500, 2),
        ("+reset@head", "1", 500, 2),
    ]
    .into_iter()
    .enumerate()
    {
        for stream in [false, true] {
            let marker = format!("h{number}{stream}");
            let request = Api::Chat.ask(script, &marker, stream);
            let request = request.field("x-litellm-num-retries", retries);
            let answer = world.send(&request).await;
            assert_eq!(answer.status(), status, "{script}: {}", answer.text());
            let rows = world.provider.attempts(&marker);
            assert_eq!(rows.len(), attempts, "{script} {retries}: {rows:#?}");
            assert!(rows.iter().all(|row| row.h2), "{script}");
        }
    }
    // GOAWAY after the body and before an answer (pingora#979): an answer or an error, one send.
    for stream in [false, true] {
        let marker = format!("h979{stream}");
        let request = Api::Chat.ask("+goaway@head", &marker, stream);
        let request = request.field("x-litellm-num-retries", "0");
        let answer = world.send(&request).await;
        assert!(matches!(answer.status(), 200 | 500), "{}", answer.text());
        assert_eq!(world.provider.attempts(&marker).len(), 1);
        world.row(&marker).await;
    }
    // Clients that leave reset the stream, not the connection that others share.
    let request = Api::Chat.ask("+head_ms=20000", "left", false);
    let mut h2 = H2::open(world.gateway.addr()).await;
    let stream = h2.start(&request).await;
    let sent = |rows: &[_]| rows.iter().any(|row| marked(row, "left"));
    world.provider.wait(Duration::from_secs(10), sent).await;
    stream.reset(h2::Reason::CANCEL);
    let ended = |rows: &[meridian_testkit::provider::Row]| {
        rows.iter()
            .any(|row| marked(row, "left") && row.cancelled())
    };
    world.provider.wait(Duration::from_secs(2), ended).await;
}

fn marked(row: &meridian_testkit::provider::Row, marker: &str) -> bool {
    row.marker.as_deref() == Some(marker)
}

#[tokio::test]
async fn odd_framings_and_interim_heads_are_no_matter() {
    let world = World::new("").await;
    for framing in [Framing::Length, Framing::Chunked, Framing::Close] {
        for stream in [false, true] {
            let script = Script {
                framing: Some(framing),
                interim: vec![100, 103],
                trailers: vec![("x-t".to_owned(), "1".to_owned())],
                ..Script::default()
            };
            world.provider.script("fake-m", [script]);
            for round in 0..2 {
                let answer = world.send(&Api::Chat.ask("", "f", stream)).await;
                let case = format!("{framing:?} {stream} {round}");
                assert_eq!(answer.status(), 200, "{case}: {}", answer.text());
                assert_eq!(answer.end, BodyEnd::Complete, "{case}");
                assert!(answer.head.interim.is_empty(), "{case}");
                match stream {
                    true => assert_eq!(answer.events().last().unwrap(), "[DONE]"),
                    false => assert_eq!(answer.json()["object"], "chat.completion"),
                }
            }
        }
    }
}

#[tokio::test]
async fn an_answer_that_comes_before_the_body_is_read_is_passed_on() {
    let world = World::with("", |config| config.router("num_retries: 0")).await;
    let mut body = Api::Chat.body("fake-m", "early", false);
    body["pad"] = json!("x".repeat(6 << 20));
    let request = Request::post("/v1/chat/completions", &body).bearer(MASTER_KEY);
    for early in [Early::AnswerThenRead, Early::Answer] {
        let script = Script {
            early,
            ..Script::status(413)
        };
        world.provider.script("*", [script]);
        let mut conn = Conn::open(world.gateway.addr()).await;
        let answer = conn.exchange(&request).await;
        assert_eq!(answer.status(), 413, "{early:?}: {}", answer.text());
    }
}

#[tokio::test]
async fn json_for_a_stream_becomes_a_stream() {
    let world = World::new("").await;
    for (api, end) in [
        (Api::Chat, "[DONE]"),
        (Api::Messages, "message_stop"),
        (Api::Responses, "response.completed"),
    ] {
        let marker = format!("j{api:?}");
        let request = api.ask("+kind=json+tokens=7", &marker, true);
        let answer = world.send(&request).await;
        assert_eq!(answer.status(), 200, "{}", answer.text());
        let kind = answer.header("content-type").unwrap();
        assert!(kind.starts_with("text/event-stream"), "{api:?}: {kind}");
        let text = answer.text();
        assert!(text.contains(" the quick brown fox jumps over a"), "{text}");
        assert!(text.contains(end), "{text}");
        let row = world.row(&marker).await;
        assert_eq!(row["completion_tokens"], 7, "{row:#}");
        assert_eq!(meta(&row, "estimated"), false);
        assert_eq!(meta(&row, "end_reason"), "complete");
    }
}

#[tokio::test]
async fn events_for_a_whole_answer_are_passed_on_as_what_they_are() {
    let world = World::new("").await;
    for api in Api::STREAMING {
        let marker = format!("s{api:?}");
        let answer = world
            .send(&api.ask("+kind=sse+usage=always", &marker, false))
            .await;
        let kind = answer.header("content-type").unwrap_or_default().to_owned();
        assert!(kind.starts_with("text/event-stream"), "{api:?}: {kind}");
        assert!(answer.events().len() > 5, "{}", answer.text());
        let row = world.row(&marker).await;
        assert_eq!(row["completion_tokens"], 5, "{row:#}");
        assert_ne!(row["spend"], Value::from(0.0), "{row:#}");
    }
}
