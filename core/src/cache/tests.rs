//! Keys, controls, policies and entries.

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::endpoint::Endpoint;
use crate::error::GatewayError;
use crate::ids::KeyHash;
use crate::money::NanoUsd;
use crate::time::WallMs;
use crate::wire::multipart::FormSpans;
use crate::wire::span::BodySpans;

fn of_json(tenant: Tenant<'_>, body: &str) -> CacheKey {
    let mut maker = KeyMaker::new(tenant, None);
    maker.operation("acompletion", "/chat/completions");
    maker.group("gpt-4o");
    maker.json(body.as_bytes(), &BodySpans::scan(body.as_bytes()).unwrap());
    maker.finish()
}

#[test]
fn every_byte_that_reaches_a_provider_makes_another_key() {
    let bodies = [
        r#"{"model":"m","messages":[]}"#,
        r#"{"model":"m","messages":[ ]}"#,
        r#"{"model":"m","messages":[],"temperature":0}"#,
        r#"{"model":"m","messages":[],"temperature":0.0}"#,
        r#"{"model":"m","temperature":0,"messages":[]}"#,
        r#"{"model":"m","messages":[],"stream":true}"#,
        r#"{"model":"m","messages":[],"stream":false}"#,
        r#"{"model":"m","messages":[],"stream":true,"stream_options":{"include_usage":true}}"#,
        r#"{"model":"m","messages":[],"unheard_of":1}"#,
        r#"{"model":"m","messages":[],"user":"a"}"#,
        r#"{"model":"m","messages":[],"user":"b"}"#,
        r#"{"model":"m","messages":"","user":""}"#,
        r#"{"model":"m"}"#,
    ];
    let keys = bodies.map(|body| of_json(Tenant::Master, body));
    assert_eq!(HashSet::from(keys).len(), bodies.len());
}

#[test]
fn what_never_reaches_a_provider_makes_no_other_key() {
    let plain = of_json(Tenant::Master, r#"{"model":"m","messages":[]}"#);
    for body in [
        r#"{"model":"an alias","messages":[]}"#,
        r#"{ "messages":[],  "cache":{"ttl":5}, "timeout":3, "tags":["x"], "num_retries":1 }"#,
        r#"{"messages":[],"c\u0061che":{"ttl":9},"litellm_metadata":{"trace_id":"1"}}"#,
    ] {
        assert_eq!(of_json(Tenant::Master, body), plain, "{body}");
    }
}

#[test]
fn no_two_tenants_share_a_key_whatever_they_are_called() {
    let hash = KeyHash::of_secret("sk-1");
    let body = r#"{"messages":[]}"#;
    let tenants = [
        Tenant::Master,
        Tenant::Everyone,
        Tenant::Team("a"),
        Tenant::User("a"),
        Tenant::Key(&hash),
        Tenant::Team("master"),
        Tenant::User(""),
        Tenant::Team(""),
    ];
    let mut keys: HashSet<CacheKey> = tenants.iter().map(|one| of_json(*one, body)).collect();
    for number in 0..1_000 {
        keys.insert(of_json(Tenant::Team(&number.to_string()), body));
        keys.insert(of_json(Tenant::User(&number.to_string()), body));
    }
    assert_eq!(keys.len(), tenants.len() + 2_000);
}

#[test]
fn pieces_cannot_slide_into_each_other() {
    let key = |make: &dyn Fn(&mut KeyMaker)| {
        let mut maker = KeyMaker::new(Tenant::Master, None);
        make(&mut maker);
        maker.finish()
    };
    let keys = [
        key(&|maker| maker.group("ab")),
        key(&|maker| ["a", "b"].iter().for_each(|one| maker.group(one))),
        key(&|maker| maker.header("a", b"b")),
        key(&|maker| maker.header("ab", b"")),
        key(&|maker| maker.operation("ab", "")),
        key(&|maker| maker.region("ab")),
        key(&|maker| maker.tag("ab")),
        key(&|maker| maker.settings(b"ab")),
        key(&|maker| maker.bytes(b"ab")),
        KeyMaker::new(Tenant::Master, Some("ab")).finish(),
        KeyMaker::new(Tenant::Master, None).finish(),
    ];
    assert_eq!(HashSet::from(keys).len(), 11);
}

#[test]
fn a_form_is_its_parts_and_not_its_boundary() {
    let form = |boundary: &str, file: &str, name: &str, model: &str| {
        let body = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\n{model}\r\n\
             --{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\
             \r\nContent-Type: audio/wav\r\n\r\n{file}\r\n--{boundary}--\r\n"
        );
        let kind = format!("multipart/form-data; boundary={boundary}");
        let mut maker = KeyMaker::new(Tenant::Master, None);
        let spans = FormSpans::scan(body.as_bytes(), &kind).unwrap();
        maker.form(body.as_bytes(), &spans);
        maker.finish()
    };
    let plain = form("one", "RIFF", "a.wav", "m");
    assert_eq!(form("another", "RIFF", "a.wav", "alias"), plain);
    assert_ne!(form("one", "RIFX", "a.wav", "m"), plain);
    // The provider chooses the decoder by it.
    assert_ne!(form("one", "RIFF", "a.mp3", "m"), plain);
}

#[test]
fn a_header_counts_unless_it_is_known_to_say_nothing() {
    for header in [
        "anthropic-beta",
        "openai-beta",
        "x-unheard-of",
        "anthropic-version",
    ] {
        assert!(is_part_of_answer(header), "{header}");
    }
    for header in [
        "user-agent",
        "traceparent",
        "x-stainless-retry-count",
        "x-request-id",
        "x-client-request-id",
        "x-ms-client-request-id",
        "x-amzn-requestid",
        "x-ms-date",
        "amz-sdk-invocation-id",
        "x-goog-api-client",
        "x-claude-code-session-id",
        "cache-control",
    ] {
        assert!(!is_part_of_answer(header), "{header}");
    }
}

#[test]
fn a_key_is_64_hex_digits_and_read_back() {
    let key = of_json(Tenant::Master, "{}");
    let text = key.to_string();
    assert_eq!(text.len(), 64);
    assert_eq!(CacheKey::from_hex(&text), Some(key));
    assert_eq!(CacheKey::from_hex(&text[1..]), None);
}

fn controls(body: &str) -> Result<CacheControls, GatewayError> {
    CacheControls::read(Some(body.as_bytes()), None)
}

#[test]
fn controls_are_litellms() {
    let read = controls(
        r#"{"ttl":10,"s-maxage":5.5,"no-cache":true,"no-store":false,"namespace":"n",
            "use-cache":true}"#,
    );
    let expected = CacheControls {
        no_cache: true,
        no_store: false,
        use_cache: true,
        ttl: Some(Duration::from_secs(10)),
        max_age: Some(Duration::from_millis(5_500)),
        namespace: Some("n".to_owned()),
    };
    assert_eq!(read, Ok(expected));
    assert_eq!(controls("{}"), Ok(CacheControls::default()));
    let aliased = controls(r#"{"s-max-age":3,"ttl":null}"#).unwrap();
    assert_eq!(
        (aliased.max_age, aliased.ttl),
        (Some(Duration::from_secs(3)), None)
    );
    let header = "private, no-cache, no-store, max-age=0, s-maxage=30";
    let of_header = CacheControls::read(None, Some(header)).unwrap();
    assert!(of_header.no_cache && of_header.no_store);
    assert_eq!(of_header.ttl, Some(Duration::from_secs(30)));
    let body = br#"{"no-cache":false,"ttl":1}"#;
    let both = CacheControls::read(Some(body), Some(header)).unwrap();
    assert!(!both.no_cache && both.no_store);
    assert_eq!(both.ttl, Some(Duration::from_secs(1)));
}

#[test]
fn a_control_that_cannot_be_understood_is_named() {
    for (body, field) in [
        ("true", "cache"),
        (r#"{"no-cache" true}"#, "cache"),
        (r#"{"no-cache":"yes"}"#, "cache.no-cache"),
        (r#"{"no-store":1}"#, "cache.no-store"),
        (r#"{"ttl":-1}"#, "cache.ttl"),
        (r#"{"ttl":"10"}"#, "cache.ttl"),
        (r#"{"ttl":1e300}"#, "cache.ttl"),
        (r#"{"s-maxage":[]}"#, "cache.s-maxage"),
        (r#"{"namespace":""}"#, "cache.namespace"),
        (r#"{"namespace":7}"#, "cache.namespace"),
        (r#"{"nocache":true}"#, "cache.nocache"),
    ] {
        match controls(body) {
            Err(GatewayError::BadField { field: named, .. }) => assert_eq!(named, field, "{body}"),
            other => panic!("{body}: {other:?}"),
        }
    }
    for header in ["s-maxage=soon", "s-maxage", "no-cache, s-maxage=-1"] {
        let read = CacheControls::read(None, Some(header));
        assert!(
            matches!(&read, Err(GatewayError::BadField { field, .. }) if field == "cache-control"),
            "{header}: {read:?}"
        );
    }
}

#[test]
fn a_key_may_be_kept_to_some_controls() {
    let allowed: [Box<str>; 2] = ["ttl".into(), "no-cache".into()];
    let outside = |body| controls(body).unwrap().first_outside(&allowed);
    assert_eq!(outside(r#"{"ttl":1,"no-cache":true}"#), None);
    assert_eq!(outside(r#"{"ttl":1,"no-store":true}"#), Some("no-store"));
    assert_eq!(outside(r#"{"namespace":"x"}"#), Some("namespace"));
}

fn of_key(fields: serde_json::Value) -> Option<KeyCache> {
    let mut record = serde_json::json!({"token": KeyHash::of_secret("sk-a"), "key_name": "a"});
    let more = fields.as_object().unwrap().clone();
    record.as_object_mut().unwrap().extend(more);
    KeyCache::of(&serde_json::from_value(record).unwrap())
}

#[test]
fn what_a_key_says_counts_for_all_of_its_requests() {
    use serde_json::json;
    assert_eq!(of_key(json!({})), None);
    assert_eq!(of_key(json!({"metadata": {"cache": "nonsense"}})), None);
    let own = of_key(json!({"metadata": {"cache": {"no-store": true, "ttl": 9}}})).unwrap();
    let mut asked = controls(r#"{"ttl":1,"s-maxage":2}"#).unwrap();
    own.apply(&mut asked).unwrap();
    assert!(asked.no_store);
    assert_eq!(asked.ttl, Some(Duration::from_secs(9)));
    assert_eq!(asked.max_age, Some(Duration::from_secs(2)));
    let narrow = of_key(json!({"extra": {"allowed_cache_controls": ["ttl"]}})).unwrap();
    assert!(narrow.apply(&mut controls(r#"{"ttl":1}"#).unwrap()).is_ok());
    let refused = narrow.apply(&mut controls(r#"{"no-cache":true}"#).unwrap());
    let control = "no-cache";
    assert_eq!(
        refused,
        Err(GatewayError::CacheControlNotAllowed { control })
    );
}

fn policy(mode: CacheMode) -> CachePolicy {
    CachePolicy {
        mode,
        ttl: Duration::from_secs(60),
        memory_ttl: Duration::from_secs(5),
        scope: CacheScope::Tenant,
        endpoints: vec![Endpoint::ChatCompletions],
        entry_bytes_max: 1 << 20,
        single_flight: true,
    }
}

#[test]
fn what_a_request_does_follows_from_mode_endpoint_and_controls() {
    let plan = |mode, endpoint, body: &str| {
        let plan = policy(mode).plan(endpoint, &controls(body).unwrap());
        plan.map(|plan| (plan.read, plan.store_for.map(|time| time.as_secs())))
    };
    use CacheMode::{DefaultOff, DefaultOn};
    use Endpoint::{ChatCompletions as Chat, Embeddings};
    for (mode, endpoint, body, expected) in [
        (DefaultOn, Chat, "{}", Some((true, Some(60)))),
        (DefaultOn, Embeddings, "{}", None),
        (DefaultOff, Chat, "{}", None),
        (
            DefaultOff,
            Chat,
            r#"{"use-cache":true}"#,
            Some((true, Some(60))),
        ),
        (
            DefaultOn,
            Chat,
            r#"{"no-cache":true}"#,
            Some((false, Some(60))),
        ),
        (DefaultOn, Chat, r#"{"no-store":true}"#, Some((true, None))),
        (
            DefaultOn,
            Chat,
            r#"{"no-store":true,"no-cache":true}"#,
            None,
        ),
        (DefaultOn, Chat, r#"{"ttl":7}"#, Some((true, Some(7)))),
        (DefaultOn, Chat, r#"{"ttl":0}"#, Some((true, None))),
    ] {
        assert_eq!(
            plan(mode, endpoint, body),
            expected,
            "{mode:?} {endpoint:?} {body}"
        );
    }
}

#[test]
fn call_types_are_litellms_names_with_and_without_a() {
    assert_eq!(call_type("acompletion"), Some(Endpoint::ChatCompletions));
    assert_eq!(call_type("completion"), Some(Endpoint::ChatCompletions));
    assert_eq!(call_type("text_completion"), Some(Endpoint::Completions));
    assert_eq!(call_type("responses"), Some(Endpoint::Responses));
    assert_eq!(call_type("anthropic_messages"), Some(Endpoint::Messages));
    assert_eq!(
        call_type("transcription"),
        Some(Endpoint::AudioTranscriptions)
    );
    // An object at a provider is made anew each time.
    assert_eq!(call_type("afile"), None);
    assert_eq!(call_type("nthropic_messages"), None);
}

fn entry() -> Entry {
    Entry {
        key: of_json(Tenant::Master, "{}"),
        stored_at: WallMs(1_000),
        expires_at: WallMs(61_000),
        answer: Answer {
            shape: Shape::Stream,
            content_type: "text/event-stream".to_owned(),
            deployment_id: "d".to_owned(),
            model: "gpt-4o".to_owned(),
            provider: "openai".to_owned(),
            response_id: "é".repeat(2_000),
            prompt_tokens: 7,
            completion_tokens: 9,
            cost: NanoUsd(42),
        },
        body: Bytes::from_static(b"data: [DONE]\n\n"),
    }
}

#[test]
fn an_entry_is_read_back_and_a_cut_or_foreign_one_is_not() {
    let mut entry = entry();
    let bytes = Bytes::from(entry.encode());
    // Longer texts are cut, never refused.
    entry.answer.response_id.truncate(1_024);
    assert_eq!(Entry::decode(entry.key, &bytes), Ok(entry.clone()));
    assert!(entry.weight() <= bytes.len() && bytes.len() <= entry.weight() + 16);
    for end in 0..bytes.len() - entry.body.len() {
        assert!(
            Entry::decode(entry.key, &bytes.slice(..end)).is_err(),
            "{end}"
        );
    }
    let other = of_json(Tenant::Team("a"), "{}");
    assert_eq!(Entry::decode(other, &bytes), Err(EntryError::OtherKey));
    let mut newer = bytes.to_vec();
    newer[3] = 2;
    assert_eq!(
        Entry::decode(entry.key, &newer.into()),
        Err(EntryError::Foreign)
    );
    let json = Bytes::from_static(br#"{"timestamp": 1.0, "response": "{}"}"#);
    assert_eq!(Entry::decode(entry.key, &json), Err(EntryError::Foreign));
}

#[test]
fn an_entry_is_over_at_its_time_and_too_old_before_where_that_is_asked_for() {
    let entry = entry();
    let second = Duration::from_secs(1);
    assert_eq!(entry.left(WallMs(60_000), None), Some(second));
    assert_eq!(entry.left(WallMs(61_000), None), None);
    assert_eq!(
        entry.left(WallMs(6_000), Some(5 * second)),
        Some(55 * second)
    );
    assert_eq!(entry.left(WallMs(6_001), Some(5 * second)), None);
    // Another node's clock is ahead of ours.
    assert_eq!(entry.age(WallMs(0)), Duration::ZERO);
}
