//! Token servers that are away or hang while requests go on.

use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use meridian_core::time::WallMs;
use meridian_testkit::config::MASTER_KEY;
use meridian_testkit::deadline::{SOON, now};
use meridian_testkit::fake::{Asked, Fake, Reply};
use meridian_testkit::gateway::{Gateway, Setup};
use meridian_testkit::raw::Request;
use serde_json::{Value, json};

/// A token is not used in its last seconds: `core/src/identity/refresh.rs`.
const MARGIN: Duration = Duration::from_secs(5);
/// What a machine that is busy may lose between two steps of a test.
const SLACK: Duration = Duration::from_millis(1_500);
/// A request that waited for its token server would take longer.
const NO_WAIT: Duration = Duration::from_secs(4);

/// How the token servers behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    Well = 0,
    Refusing = 1,
    Mute = 2,
}

/// Token servers of Google, AWS and Entra, and the models that ask for their tokens.
struct Tokens {
    fake: Fake,
    mood: Arc<AtomicU8>,
    given: Arc<AtomicU32>,
    /// When the first token was given.
    first: Arc<Mutex<Option<Instant>>>,
}

impl Tokens {
    /// Tokens live this long.
    async fn start(life: Duration) -> Self {
        let mood = Arc::new(AtomicU8::new(Mood::Well as u8));
        let given = Arc::new(AtomicU32::new(0));
        let first: Arc<Mutex<Option<Instant>>> = Arc::default();
        let (its_mood, its_given, its_first) =
            (Arc::clone(&mood), Arc::clone(&given), Arc::clone(&first));
        let fake = Fake::start(move |asked| {
            if !is_token(asked) {
                return Reply::json(200, &answer(asked));
            }
            match its_mood.load(Ordering::SeqCst) {
                mood if mood == Mood::Well as u8 => {
                    its_given.fetch_add(1, Ordering::SeqCst);
                    its_first.lock().unwrap().get_or_insert_with(now);
                    token(asked, life)
                }
                mood if mood == Mood::Mute as u8 => Reply::never(),
                _ => Reply::json(503, &json!({"error": "away"})),
            }
        })
        .await;
        Self {
            fake,
            mood,
            given,
            first,
        }
    }

    fn turn(&self, mood: Mood) {
        self.mood.store(mood as u8, Ordering::SeqCst);
    }

    /// Since when the oldest token is held.
    fn age(&self) -> Duration {
        self.first.lock().unwrap().expect("a token").elapsed()
    }

    fn given(&self) -> u32 {
        self.given.load(Ordering::SeqCst)
    }

    async fn gateway(&self) -> Gateway {
        let url = &self.fake.url;
        let pem = include_str!("../../../src/credentials/tests/client.pem");
        let account = json!({
            "type": "service_account", "client_email": "e@p1.iam", "private_key": pem,
            "token_uri": format!("{url}/google/token"),
        });
        let yaml = format!(
            "general_settings: {{master_key: {MASTER_KEY}}}\nrouter_settings: {{num_retries: 0}}\n\
             model_list:\n\
             \x20 - model_name: google\n    litellm_params: {{model: vertex_ai/claude-x, \
             vertex_project: p1, vertex_location: europe-west1, api_base: '{url}', \
             vertex_credentials: '{account}'}}\n\
             \x20 - model_name: aws\n    litellm_params: {{model: bedrock/anthropic.claude-x-v1:0, \
             aws_region_name: eu-west-1, api_base: '{url}', aws_access_key_id: AKIA, \
             aws_secret_access_key: s, aws_role_name: 'arn:aws:iam::1:role/r', \
             aws_session_name: s, aws_sts_endpoint: '{url}/sts'}}\n\
             \x20 - model_name: entra\n    litellm_params: {{model: azure_ai/claude-x, \
             api_base: '{url}', api_version: v1, tenant_id: t, client_id: c, client_secret: s}}\n"
        );
        let setup = Setup::with_yaml(crate::world::binary(), &yaml);
        setup.env("AZURE_AUTHORITY_HOST", url).start().await
    }
}

fn is_token(asked: &Asked) -> bool {
    asked.path().contains("/token") || asked.path().starts_with("/sts")
}

fn token(asked: &Asked, life: Duration) -> Reply {
    if !asked.path().starts_with("/sts") {
        let body = json!({"access_token": "t", "token_type": "Bearer",
            "expires_in": life.as_secs()});
        return Reply::json(200, &body);
    }
    let unix = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap() + life;
    let until = WallMs(i64::try_from(unix.as_millis()).unwrap()).to_iso();
    let body = format!(
        "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>ASIA</AccessKeyId>\
         <SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken>\
         <Expiration>{until}</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>"
    );
    Reply::of(200, "text/xml", body.into_bytes())
}

fn answer(_: &Asked) -> Value {
    json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x",
        "content": [{"type": "text", "text": "Moon."}], "stop_reason": "end_turn",
        "stop_sequence": null, "usage": {"input_tokens": 1, "output_tokens": 1}})
}

async fn ask(gateway: &Gateway, model: &str) -> u16 {
    let body = json!({"model": model, "max_tokens": 9,
        "messages": [{"role": "user", "content": "tides?"}]});
    let request = Request::post("/v1/messages", &body).bearer(MASTER_KEY);
    gateway.send(&request).await.status()
}

const MODELS: [&str; 3] = ["google", "aws", "entra"];

/// Tokens of this life; their servers go away after `from` and are back `back` after the first
/// token was given, while what is held is valid.
async fn outage(life: Duration, from: Duration, back: Duration, mood: Mood) {
    let usable = life - MARGIN;
    assert!(
        life / 2 < back && back + SLACK <= usable,
        "the outage covers a refresh"
    );
    let tokens = Tokens::start(life).await;
    let gateway = tokens.gateway().await;
    for model in MODELS {
        assert_eq!(
            ask(&gateway, model).await,
            200,
            "{model}: {}",
            gateway.log()
        );
    }
    assert_eq!(tokens.given(), 3);
    let (mut requests, mut slowest) = (0, Duration::ZERO);
    while tokens.age() < back {
        if tokens.age() >= from {
            tokens.turn(mood);
        }
        for model in MODELS {
            let sent = now();
            let status = ask(&gateway, model).await;
            if tokens.age() < usable {
                let when = tokens.age();
                assert_eq!(status, 200, "{model} at {when:?}: {}", gateway.log());
                slowest = slowest.max(sent.elapsed());
                requests += 1;
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(tokens.given(), 3, "nobody gave another token");
    assert!(
        requests > 100 && slowest < NO_WAIT,
        "{requests} requests, slowest {slowest:?}"
    );
    eprintln!("{mood:?}: {requests} requests, 0 failed, slowest {slowest:?}");
    honest_afterwards(&tokens, &gateway, usable).await;
}

/// With nothing valid requests fail at once, unsent, and go on when the servers are back.
async fn honest_afterwards(tokens: &Tokens, gateway: &Gateway, usable: Duration) {
    tokens.turn(Mood::Refusing);
    let sent = tokens
        .fake
        .asked()
        .iter()
        .filter(|one| !is_token(one))
        .count();
    let until = now() + usable + SOON;
    let mut failed = [false; 3];
    while failed.contains(&false) {
        assert!(now() < until, "a token that ended still works: {failed:?}");
        for (model, failed) in MODELS.iter().zip(&mut failed) {
            let status = ask(gateway, model).await;
            assert!(matches!(status, 200 | 500..=503), "{model}: {status}");
            *failed |= status != 200;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let asked = tokens.fake.asked();
    let before = asked.iter().filter(|one| !is_token(one)).count();
    for model in MODELS {
        assert_ne!(ask(gateway, model).await, 200, "{model}");
    }
    let asked = tokens.fake.asked();
    let then = asked.iter().filter(|one| !is_token(one)).count();
    assert!(
        before >= sent && then == before,
        "a request without credentials was sent"
    );
    tokens.turn(Mood::Well);
    let until = now() + 2 * SOON;
    for model in MODELS {
        while ask(gateway, model).await != 200 {
            assert!(now() < until, "{model}: {}", gateway.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

#[tokio::test]
async fn token_servers_that_refuse_while_tokens_are_valid_cost_no_request() {
    let (life, back) = (Duration::from_secs(14), Duration::from_millis(7_500));
    outage(life, Duration::ZERO, back, Mood::Refusing).await;
}

#[tokio::test]
async fn token_servers_that_hang_while_tokens_are_valid_cost_no_request() {
    let (life, back) = (Duration::from_secs(14), Duration::from_millis(7_500));
    outage(life, Duration::ZERO, back, Mood::Mute).await;
}

/// Ten minutes, over the whole of which a new token is due. With `MERIDIAN_LONG`; takes 22 minutes.
#[tokio::test]
async fn ten_minutes_without_token_servers_cost_no_request() {
    if std::env::var_os("MERIDIAN_LONG").is_some() {
        let from = Duration::from_secs(11 * 60 - 75);
        let back = from + Duration::from_secs(10 * 60);
        outage(Duration::from_secs(22 * 60), from, back, Mood::Refusing).await;
    }
}
