//! What of a client's request decides where it goes: read from its body and its key, once, for
//! sending and for explaining.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::auth::KeyView;
use crate::endpoint::Endpoint;
use crate::error::GatewayError;
use crate::key::KeyOverrides;
use crate::routing::affinity::AffinityKey;
use crate::routing::attempts::Overrides;
use crate::routing::plan::Ask;
use crate::routing::policy::{AffinityPolicy, RoutingPolicy};
use crate::usage::estimate_tokens;
use crate::wire::fallbacks::Fallbacks;
use crate::wire::field::Field;
use crate::wire::span::BodySpans;

/// Output tokens that are expected of a request that does not bound them: a typical long answer.
const OUTPUT_TOKENS_USUAL: u64 = 4_096;

/// Fields that hold a prompt; the first that is there counts for affinity.
const PROMPT_FIELDS: [Field; 3] = [Field::Messages, Field::Input, Field::Prompt];
/// Tenant of requests with the master key.
const MASTER_TENANT: &[u8] = b"master";

/// What a JSON body says about routing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// Retries and fallbacks.
    pub overrides: Overrides,
    /// Tags in the order in which they were named.
    pub tags: Vec<String>,
    /// Its conversation, if the body names one.
    pub session: Option<String>,
    /// Estimated length of the prompt in tokens.
    pub prompt_tokens: u64,
    /// Output tokens that it allows or that are usual, over all answers.
    pub completion_tokens: u64,
    /// Beginning of the prompt, when affinity goes by it.
    pub prefix: Vec<u8>,
}

impl Wish {
    /// Reads the body of a request for `model`.
    ///
    /// # Errors
    /// `BadField` naming the field.
    pub fn read(
        endpoint: Endpoint,
        (spans, body): (&BodySpans, &[u8]),
        model: &str,
        affinity: &AffinityPolicy,
    ) -> Result<Self, GatewayError> {
        let mut wish = Self {
            overrides: overrides(spans, body, model)?,
            tags: spans.texts(body, Field::Tags)?,
            prefix: match affinity {
                AffinityPolicy::On { prefix_bytes, .. } => prefix(spans, body, *prefix_bytes),
                AffinityPolicy::Off => Vec::new(),
            },
            ..Self::default()
        };
        (wish.prompt_tokens, wish.completion_tokens) = tokens(endpoint, spans, body)?;
        for metadata in [Field::Metadata, Field::LitellmMetadata] {
            let Some(metadata) = spans.value(body, metadata) else {
                continue;
            };
            let tags = metadata.field(b"tags").into_iter();
            let tags = tags
                .flat_map(|tags| tags.items())
                .filter_map(|tag| tag.text());
            wish.tags.extend(tags.map(|tag| tag.into_owned()));
            let names: [&[u8]; 2] = [b"session_id", b"trace_id"];
            let named = || names.iter().find_map(|name| metadata.field(name)?.text());
            wish.session = wish.session.take().or_else(|| Some(named()?.into_owned()));
        }
        Ok(wish)
    }

    /// Takes what the key says about requests of `model` where the request says nothing.
    pub fn inherit(&mut self, key: &KeyOverrides, model: &str) {
        let own = &mut self.overrides;
        own.num_retries = own.num_retries.or(key.num_retries);
        for (own, list) in [
            (&mut own.fallbacks, &key.fallbacks),
            (&mut own.context_window, &key.context_window_fallbacks),
            (&mut own.content_policy, &key.content_policy_fallbacks),
        ] {
            let names = || list.as_ref().map(|list| list.for_model(model));
            // A key's list that says nothing about this model leaves it to the configuration.
            *own = own
                .take()
                .or_else(|| names().filter(|names| !names.is_empty()));
        }
        own.disable_fallbacks |= key.disable_fallbacks;
    }
}

/// What stays the same over all decisions about one request.
#[derive(Clone, Debug)]
pub struct Request {
    /// Regions that its key allows; each set must hold.
    pub residency: Vec<Arc<BTreeSet<String>>>,
    /// Its tags and its key's, each once.
    pub tags: Vec<String>,
    /// Estimated length of the prompt in tokens.
    pub prompt_tokens: u64,
    /// Prompt and expected answer in tokens.
    pub tokens: u64,
    /// Its conversation.
    pub affinity: Option<AffinityKey>,
}

/// What differs from one decision about a request to the next.
#[derive(Clone, Copy, Debug)]
pub struct Turn<'a> {
    /// The model group as policies name it: for a wildcard its pattern.
    pub group: &'a str,
    /// Indices of its deployments that the request was sent to.
    pub tried: &'a [usize],
    /// It cannot be sent a second time.
    pub once: bool,
    /// Fallbacks are used up.
    pub last_resort: bool,
    /// Time that it has waited for a deployment.
    pub waited: Duration,
}

impl Request {
    /// A wish of a key; `None` is the master key.
    pub fn of(wish: &Wish, key: Option<&KeyView>, policy: &RoutingPolicy) -> Self {
        let mut tags: Vec<String> = Vec::new();
        let of_scopes = key.map(KeyView::tags_of_scopes).unwrap_or_default();
        let of_key = key.into_iter().flat_map(|key| key.policy.tags().iter());
        let all = wish.tags.iter().map(String::as_str);
        for tag in all.chain(of_key.chain(&of_scopes).map(|tag| &**tag)) {
            if !tags.iter().any(|known| known == tag) {
                tags.push(tag.to_owned());
            }
        }
        let tenant = key.map_or(MASTER_TENANT, |key| key.policy.token.as_bytes());
        let session = wish.session.as_deref();
        Self {
            residency: policy.regions.bounds(key),
            tags,
            prompt_tokens: wish.prompt_tokens,
            tokens: wish.prompt_tokens.saturating_add(wish.completion_tokens),
            affinity: AffinityKey::of(&policy.affinity, tenant, session, &wish.prefix),
        }
    }

    /// The question of one turn.
    pub fn ask<'b>(&'b self, turn: Turn<'b>) -> Ask<'b> {
        Ask {
            group: turn.group,
            residency: &self.residency,
            tags: &self.tags,
            prompt_tokens: self.prompt_tokens,
            tokens: self.tokens,
            affinity: self.affinity,
            tried: turn.tried,
            once: turn.once,
            last_resort: turn.last_resort,
            waited: turn.waited,
        }
    }
}

fn overrides(spans: &BodySpans, body: &[u8], model: &str) -> Result<Overrides, GatewayError> {
    let retries = match spans.count(body, Field::NumRetries)? {
        None => spans.count(body, Field::MaxRetries)?,
        own => own,
    };
    let names = |field: Field| match spans.value(body, field).map(Fallbacks::read) {
        None => Ok(None),
        Some(Ok(list)) => Ok(Some(list.for_model(model))),
        Some(Err(why)) => Err(GatewayError::BadField {
            field: field.name().to_owned(),
            message: format!("'{}' {why}", field.name()),
        }),
    };
    Ok(Overrides {
        num_retries: retries.map(|count| u32::try_from(count).unwrap_or(u32::MAX)),
        fallbacks: names(Field::Fallbacks)?,
        context_window: names(Field::ContextWindowFallbacks)?,
        content_policy: names(Field::ContentPolicyFallbacks)?,
        disable_fallbacks: spans.flag(body, Field::DisableFallbacks)?.unwrap_or(false),
        once: false,
    })
}

/// Tokens of the prompt and of the answer.
fn tokens(endpoint: Endpoint, spans: &BodySpans, body: &[u8]) -> Result<(u64, u64), GatewayError> {
    let mut most = None;
    for bound in [
        Field::MaxTokens,
        Field::MaxCompletionTokens,
        Field::MaxOutputTokens,
    ] {
        most = most.max(spans.count(body, bound)?);
    }
    let answers = spans.count(body, Field::N)?.unwrap_or(1).max(1);
    let completion = most.map_or(OUTPUT_TOKENS_USUAL, |most| most.saturating_mul(answers));
    Ok(match endpoint {
        Endpoint::ChatCompletions
        | Endpoint::Completions
        | Endpoint::Responses
        | Endpoint::ResponsesTool
        | Endpoint::Messages => (estimate_tokens(body), completion),
        Endpoint::Embeddings | Endpoint::Rerank | Endpoint::ImagesGenerations => {
            (estimate_tokens(body), 0)
        }
        Endpoint::ResponsesItem
        | Endpoint::CountTokens
        | Endpoint::InputTokens
        | Endpoint::TokenCounter
        | Endpoint::Moderations
        | Endpoint::ImagesEdits
        | Endpoint::AudioSpeech
        | Endpoint::AudioTranscriptions
        | Endpoint::Files
        | Endpoint::Batches
        | Endpoint::MessageBatches
        | Endpoint::AnthropicFiles => (0, 0),
    })
}

fn prefix(spans: &BodySpans, body: &[u8], bytes_max: usize) -> Vec<u8> {
    let mut fields = PROMPT_FIELDS.into_iter();
    let value = fields.find_map(|field| spans.value(body, field));
    value.map_or_else(Vec::new, |value| {
        value.raw[..value.raw.len().min(bytes_max)].to_vec()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use jiff::tz::TimeZone;

    use crate::ids::KeyHash;
    use crate::key::KeyRecord;
    use crate::meters::Meters;
    use crate::time::WallMs;

    const ON: AffinityPolicy = AffinityPolicy::On {
        prefix_bytes: 30,
        load_max: 1.25,
    };

    fn read(body: &str) -> Result<Wish, GatewayError> {
        let spans = BodySpans::scan(body.as_bytes())?;
        let parts = (&spans, body.as_bytes());
        Wish::read(Endpoint::ChatCompletions, parts, "a", &ON)
    }

    fn key(record: serde_json::Value) -> KeyView {
        let mut fields = json!({"token": KeyHash::of_secret("k"), "key_name": "k"});
        for (name, value) in record.as_object().unwrap() {
            fields[name] = value.clone();
        }
        let record: KeyRecord = serde_json::from_value(fields).unwrap();
        let meters = Meters::of_key(&record, &TimeZone::UTC, WallMs(0));
        KeyView::alone(&record, Arc::new(meters))
    }

    #[test]
    fn a_body_says_what_decides_its_way() {
        let wish = read(
            r#"{"model": "a", "messages": [{"role": "user", "content": "hello hello hello"}],
            "max_tokens": 100, "n": 2, "max_retries": 4, "fallbacks": [{"a": ["b"]}],
            "context_window_fallbacks": ["long"], "disable_fallbacks": true, "tags": ["x"],
            "metadata": {"tags": ["y"], "session_id": "s1"},
            "litellm_metadata": {"trace_id": "t1"}}"#,
        );
        let wish = wish.unwrap();
        let overrides = Overrides {
            num_retries: Some(4),
            fallbacks: Some(vec!["b".to_owned()]),
            context_window: Some(vec!["long".to_owned()]),
            content_policy: None,
            disable_fallbacks: true,
            once: false,
        };
        assert_eq!(wish.overrides, overrides);
        assert_eq!(wish.tags, ["x", "y"]);
        assert_eq!(wish.session.as_deref(), Some("s1"));
        assert!(wish.prompt_tokens > 10);
        assert_eq!(wish.completion_tokens, 200);
        assert_eq!(wish.prefix, br#"[{"role": "user", "content": ""#);
        let bare = read(r#"{"model": "a"}"#).unwrap();
        assert_eq!((bare.completion_tokens, bare.prefix.len()), (4_096, 0));
    }

    #[test]
    fn what_is_malformed_is_named() {
        for (body, field) in [
            (r#"{"fallbacks": "b"}"#, "fallbacks"),
            (r#"{"tags": "b"}"#, "tags"),
            (r#"{"num_retries": -1}"#, "num_retries"),
            (r#"{"disable_fallbacks": 1}"#, "disable_fallbacks"),
            (r#"{"max_tokens": "many"}"#, "max_tokens"),
        ] {
            let error = read(body).unwrap_err();
            assert!(error.to_string().contains(field), "{body}: {error}");
        }
    }

    #[test]
    fn a_key_binds_tags_and_fills_in() {
        let key = key(json!({
            "allowed_regions": ["eu-west-1"], "team_id": "t", "metadata": {"tags": ["y", "z"]},
            "extra": {"router_settings": {"num_retries": 1, "fallbacks": [{"a": ["k"]}]}},
        }));
        let mut wish = read(r#"{"num_retries": 0, "tags": ["y"], "messages": "hello"}"#).unwrap();
        wish.inherit(key.policy.overrides.as_deref().unwrap(), "a");
        assert_eq!(wish.overrides.num_retries, Some(0));
        assert_eq!(wish.overrides.fallbacks, Some(vec!["k".to_owned()]));
        let mut policy = RoutingPolicy {
            affinity: ON,
            ..RoutingPolicy::default()
        };
        let only = |region: &str| Arc::new(BTreeSet::from([region.to_owned()]));
        let teams = &mut policy.regions.allowed_of_team;
        teams.insert("t".to_owned(), only("eu-west-1"));
        teams.insert("other".to_owned(), only("us-east-1"));
        let request = Request::of(&wish, Some(&key), &policy);
        assert_eq!(request.tags, ["y", "z"]);
        assert_eq!(request.residency, [only("eu-west-1"), only("eu-west-1")]);
        assert_eq!(request.tokens, wish.prompt_tokens + wish.completion_tokens);
        let master = Request::of(&wish, None, &policy);
        assert!(master.residency.is_empty());
        assert_ne!(master.affinity, request.affinity, "tenants share no home");
        let turn = Turn {
            group: "a",
            tried: &[2],
            once: false,
            last_resort: true,
            waited: Duration::ZERO,
        };
        let ask = request.ask(turn);
        assert_eq!(
            (ask.group, ask.tried, ask.tokens),
            ("a", &[2][..], request.tokens)
        );
        assert!(ask.last_resort);
    }
}
