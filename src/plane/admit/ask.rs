//! What exactly a request asks for: read once, from path, headers and the body's top level.

use std::collections::BTreeSet;
use std::sync::Arc;

use http::{HeaderMap, Method};
use meridian_core::cache::CacheControls;
use meridian_core::endpoint::Endpoint;
use meridian_core::error::GatewayError;
use meridian_core::party::View;
use meridian_core::routes::Match;
use meridian_core::spend::{RequestContext, kept_metadata};
use meridian_core::usage::ServiceTier;
use meridian_core::wire::field::Field;
use meridian_core::wire::json::{Kind, Value};
use meridian_core::wire::multipart::FormSpans;
use meridian_core::wire::span::BodySpans;
use pingora_core::protocols::http::ServerSession;

use super::batched::Batched;
use super::overrides::{Overrides, header};
use super::{Arrival, banned, client_ip};
use crate::plane::body::BufferedBody;
use crate::plane::request;
use crate::rules::Rules;

/// Longest tag, session or customer id that is kept.
const LABEL_BYTES_MAX: usize = 256;
/// Most tags of one request.
const TAGS_MAX: usize = 64;
/// Largest `spend_logs_metadata`.
const SPEND_METADATA_BYTES_MAX: usize = 4_096;
/// Query parameters that are ours or the deployment's.
const OWN_QUERY: [&str; 3] = ["api-version", "key", "model"];

/// A request as the attempt loop needs it.
pub(crate) struct Ask {
    /// Method towards the provider.
    pub method: Method,
    /// The client's body.
    pub body: BufferedBody,
    /// What stands where in it.
    pub content: Content,
    /// Name that the client asked for.
    pub requested_model: String,
    /// The same after aliases.
    pub(crate) model: String,
    /// Whether the client asked for a stream.
    pub stream: bool,
    /// Whether the client itself asked for the usage chunk.
    pub wants_usage: bool,
    /// Most output tokens the request allows, over all answers.
    pub completion_max: Option<u64>,
    /// The request's own deadlines, retries and fallbacks.
    pub overrides: Overrides,
    /// What it asks and is answered is not to be kept.
    pub redact: bool,
    /// What it asks of the response cache.
    pub cache: CacheControls,
    /// Facts for reports; its tags also select deployments.
    pub context: RequestContext,
    /// The caller's customer.
    pub end_user: Option<String>,
    /// Its tags that have records.
    pub(crate) tags_recorded: Vec<(String, Arc<View>)>,
    /// Regions that the customer's requests must stay in.
    pub(crate) regions_of_customer: Option<Arc<BTreeSet<String>>>,
    /// Operation below `/v1` with id and query: `/responses/resp_1?include=x`.
    pub tail: String,
    /// `{id}` of the path.
    pub id: Option<String>,
    /// The provider's own id of the response that is continued, where the caller has LiteLLM's.
    pub previous_response: Option<String>,
    /// What the requests of a Message Batch ask for, of one that makes such.
    pub(crate) batched: Option<Batched>,
}

/// How a body can be edited.
pub(crate) enum Content {
    /// A JSON object.
    Json(BodySpans),
    /// A form.
    Form(FormSpans),
    /// Passed on as it is.
    Bytes,
}

impl Ask {
    /// Whether it makes a batch, whose requests are billed when they are done.
    pub(crate) fn makes_batch(&self, endpoint: Endpoint) -> bool {
        endpoint.has_batches() && self.method == Method::POST && self.id.is_none()
    }

    /// Reads a request; errors name the field.
    pub(crate) fn read(
        session: &ServerSession,
        matched: &Match<'_>,
        arrival: &Arrival,
        body: BufferedBody,
        rules: &Rules,
    ) -> Result<Self, GatewayError> {
        let asked = session.req_header();
        let headers = &asked.headers;
        let content = content(arrival, headers, &body)?;
        if let Content::Json(spans) = &content {
            banned::check(spans, &body.bytes, rules)?;
        }
        let mut ask = Self {
            method: asked.method.clone(),
            requested_model: String::new(),
            model: String::new(),
            stream: false,
            wants_usage: false,
            completion_max: None,
            overrides: Overrides::from_headers(headers)?,
            redact: redact(headers),
            cache: CacheControls::default(),
            context: context_from_headers(headers)?,
            end_user: None,
            tags_recorded: Vec::new(),
            regions_of_customer: None,
            tail: tail(matched, asked.uri.query()),
            id: matched.id.as_deref().map(str::to_owned),
            previous_response: None,
            batched: None,
            body,
            content,
        };
        let peer = session.client_addr().and_then(|peer| peer.as_inet());
        ask.context.client_ip = peer.map(|peer| {
            client_ip::of(peer.ip(), headers, &rules.config.meridian.trusted_proxies).to_string()
        });
        ask.read_model(matched, asked.uri.query())?;
        ask.read_body_fields()?;
        ask.read_cache_controls(headers, rules)?;
        ask.end_user = ask.customer(headers, rules)?;
        Ok(ask)
    }

    /// A JSON field's value.
    pub(crate) fn field(&self, field: Field) -> Option<Value<'_>> {
        match &self.content {
            Content::Json(spans) => spans.value(&self.body.bytes, field),
            Content::Form(_) | Content::Bytes => None,
        }
    }

    /// The body, if it is JSON.
    pub(crate) fn json(&self) -> Option<&[u8]> {
        matches!(self.content, Content::Json(_)).then_some(&self.body.bytes[..])
    }

    /// Price tier that the request names.
    pub(crate) fn service_tier(&self) -> ServiceTier {
        let named = self.field(Field::ServiceTier).and_then(Value::text);
        named.map_or(ServiceTier::Standard, |name| ServiceTier::from_label(&name))
    }

    /// Whether the request asks for Anthropic's fast mode.
    pub(crate) fn is_fast(&self) -> bool {
        self.field(Field::Speed)
            .and_then(Value::text)
            .is_some_and(|speed| speed == "fast")
    }

    /// Answers that the request asks for.
    pub(crate) fn answers_max(&self) -> u32 {
        let answers = self.field(Field::N).and_then(Value::count).unwrap_or(1);
        u32::try_from(answers.max(1)).unwrap_or(u32::MAX)
    }

    /// Characters of a text-to-speech input.
    pub(crate) fn input_characters(&self) -> u64 {
        let input = self.field(Field::Input).and_then(Value::text);
        input.map_or(0, |text| text.chars().count() as u64)
    }

    fn read_model(&mut self, matched: &Match<'_>, query: Option<&str>) -> Result<(), GatewayError> {
        let from_body = match &self.content {
            Content::Json(spans) => spans
                .text(&self.body.bytes, Field::Model)?
                .map(|text| text.into_owned()),
            Content::Form(form) => form.text(&self.body.bytes, "model")?.map(str::to_owned),
            Content::Bytes => None,
        };
        let from_path = matched.path_model.as_deref().map(str::to_owned);
        let from_query = || query_value(query?, "model");
        let model = from_path
            .or(from_body)
            .or_else(from_query)
            .unwrap_or_default();
        self.requested_model.clone_from(&model);
        self.model = model;
        Ok(())
    }

    /// Whether everything is named that must be; the customer may have a default model.
    pub(super) fn require_fields(&self, arrival: &Arrival) -> Result<(), GatewayError> {
        let optional = matches!(
            arrival.endpoint,
            Endpoint::Files
                | Endpoint::AnthropicFiles
                | Endpoint::Batches
                | Endpoint::MessageBatches
                | Endpoint::ResponsesItem
                | Endpoint::Moderations
        );
        if self.model.is_empty() && !optional {
            return Err(GatewayError::MissingField {
                route: arrival.canonical,
                field: "model",
            });
        }
        match &self.content {
            Content::Json(spans) => require(spans, arrival),
            _ => Ok(()),
        }
    }

    fn read_body_fields(&mut self) -> Result<(), GatewayError> {
        let Content::Json(spans) = &self.content else {
            if let Content::Form(form) = &self.content {
                self.stream = form.text(&self.body.bytes, "stream")? == Some("true");
            }
            return Ok(());
        };
        let body = &self.body.bytes;
        self.stream = spans.flag(body, Field::Stream)?.unwrap_or(false);
        self.wants_usage = spans.asks_for_usage(body);
        let bounds = [
            Field::MaxTokens,
            Field::MaxCompletionTokens,
            Field::MaxOutputTokens,
        ];
        let mut completion_max = None;
        for bound in bounds {
            completion_max = completion_max.max(spans.count(body, bound)?);
        }
        let answers = spans.count(body, Field::N)?.unwrap_or(1).max(1);
        self.completion_max = completion_max.map(|max| max.saturating_mul(answers));
        let asked = &self.requested_model;
        self.overrides.read_body(spans, body, asked)?;
        let tags = spans.texts(body, Field::Tags)?;
        add_tags(&mut self.context.tags, tags.into_iter());
        for field in [Field::Metadata, Field::LitellmMetadata] {
            if let Some(metadata) = spans
                .value(body, field)
                .filter(|one| one.kind == Kind::Object)
            {
                read_metadata(&mut self.context, metadata);
            }
        }
        Ok(())
    }

    /// A header that proxies and browsers send as well is looked at only where there is a cache; a
    /// field that a caller wrote is always understood.
    fn read_cache_controls(
        &mut self,
        headers: &HeaderMap,
        rules: &Rules,
    ) -> Result<(), GatewayError> {
        let is_on = rules.config.cache.is_some();
        let header = headers
            .get(http::header::CACHE_CONTROL)
            .filter(|_| is_on)
            .and_then(|value| value.to_str().ok());
        let body = self.field(Field::Cache).map(|value| value.raw);
        if header.is_some() || body.is_some() {
            self.cache = CacheControls::read(body, header)?;
        }
        Ok(())
    }

    /// LiteLLM's order: its own headers, the configured header, then the body.
    fn customer(&self, headers: &HeaderMap, rules: &Rules) -> Result<Option<String>, GatewayError> {
        let general = &rules.config.general;
        let configured = general.user_header.as_deref();
        // An id without them: a record's id has none, and what has no record has no budget.
        let label = |text: &str| label(&text.replace(char::is_control, ""));
        let from_headers = ["x-litellm-customer-id", "x-litellm-end-user-id"]
            .into_iter()
            .chain(configured)
            .find_map(|name| label(request::header(headers, name)?.to_str().ok()?));
        let in_metadata = |field: Field, name: &[u8]| self.field(field)?.field(name)?.text();
        let customer = from_headers
            .or_else(|| label(&self.field(Field::User)?.text()?))
            .or_else(|| label(&in_metadata(Field::LitellmMetadata, b"user")?))
            .or_else(|| label(&in_metadata(Field::Metadata, b"user_id")?))
            .or_else(|| label(&self.field(Field::SafetyIdentifier)?.text()?));
        if general.enforce_user_param && customer.is_none() {
            return Err(GatewayError::BadField {
                field: "user".to_owned(),
                message: "BadRequest please pass param=user".to_owned(),
            });
        }
        Ok(customer)
    }
}

/// Whether the client asks that nothing of it is kept.
fn redact(headers: &HeaderMap) -> bool {
    const NAMES: [&str; 2] = [
        "x-litellm-enable-message-redaction",
        "litellm-enable-message-redaction",
    ];
    let is_on = |name| {
        request::header(headers, name)
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"true"))
    };
    NAMES.into_iter().any(is_on)
}

fn content(
    arrival: &Arrival,
    headers: &HeaderMap,
    body: &BufferedBody,
) -> Result<Content, GatewayError> {
    let kind = headers
        .get(http::header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    if let Some(kind) = kind.filter(|kind| kind.starts_with("multipart/form-data")) {
        return Ok(Content::Form(FormSpans::scan(&body.bytes, kind)?));
    }
    let endpoint = arrival.endpoint;
    let stores = endpoint.has_files() || endpoint.has_batches();
    if body.bytes.is_empty() && (stores || endpoint == Endpoint::ResponsesItem) {
        return Ok(Content::Bytes);
    }
    Ok(Content::Json(BodySpans::scan(&body.bytes)?))
}

/// Fields without which no provider can answer: said at once, in LiteLLM's words.
fn require(spans: &BodySpans, arrival: &Arrival) -> Result<(), GatewayError> {
    let required = match arrival.endpoint {
        Endpoint::ChatCompletions | Endpoint::Messages | Endpoint::CountTokens => Field::Messages,
        Endpoint::Completions | Endpoint::ImagesGenerations => Field::Prompt,
        Endpoint::Embeddings | Endpoint::Moderations | Endpoint::AudioSpeech => Field::Input,
        _ => return Ok(()),
    };
    let is_there = match required {
        Field::Messages => spans.has_list(required)?,
        _ => spans.has(required),
    };
    match is_there {
        true => Ok(()),
        false => {
            let field = required.name();
            Err(GatewayError::MissingField {
                route: arrival.canonical,
                field,
            })
        }
    }
}

fn context_from_headers(headers: &HeaderMap) -> Result<RequestContext, GatewayError> {
    let text = |name: &str| request::header(headers, name)?.to_str().ok();
    let mut context = RequestContext {
        user_agent: text("user-agent").and_then(label),
        session_id: [
            "x-litellm-session-id",
            "x-litellm-trace-id",
            "x-claude-code-session-id",
        ]
        .into_iter()
        .find_map(|name| label(text(name)?)),
        ..RequestContext::default()
    };
    let tags = header(headers, "x-litellm-tags")?
        .unwrap_or_default()
        .split(',')
        .map(str::trim);
    add_tags(&mut context.tags, tags.map(str::to_owned));
    let metadata = text("x-litellm-spend-logs-metadata");
    context.spend_logs_metadata = metadata.and_then(|text| bounded_json(text.as_bytes()));
    Ok(context)
}

fn read_metadata(context: &mut RequestContext, metadata: Value<'_>) {
    if let Some(tags) = metadata.field(b"tags") {
        let tags = tags
            .items()
            .filter_map(Value::text)
            .map(|tag| tag.into_owned());
        add_tags(&mut context.tags, tags);
    }
    if context.session_id.is_none() {
        let names: [&[u8]; 2] = [b"session_id", b"trace_id"];
        context.session_id = names
            .iter()
            .find_map(|name| label(&metadata.field(name)?.text()?));
    }
    if context.spend_logs_metadata.is_none() {
        let own = metadata.field(b"spend_logs_metadata");
        context.spend_logs_metadata = own.and_then(|own| bounded_json(own.raw));
    }
}

fn bounded_json(bytes: &[u8]) -> Option<serde_json::Value> {
    if bytes.len() > SPEND_METADATA_BYTES_MAX {
        return None;
    }
    serde_json::from_slice(bytes).ok().and_then(kept_metadata)
}

pub(super) fn add_tags(tags: &mut Vec<String>, more: impl Iterator<Item = String>) {
    for tag in more.filter_map(|tag| label(&tag)) {
        if tags.len() < TAGS_MAX && !tags.contains(&tag) {
            tags.push(tag);
        }
    }
}

/// A short text as an owned label; empty ones are none, long ones are cut.
fn label(text: &str) -> Option<String> {
    let mut end = text.len().min(LABEL_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    (end > 0).then(|| text[..end].to_owned())
}

/// The operation below `/v1`, with its id and the client's query.
fn tail(matched: &Match<'_>, query: Option<&str>) -> String {
    let operation = matched
        .canonical
        .strip_prefix("/v1")
        .unwrap_or(matched.canonical);
    let mut tail = match &matched.id {
        Some(id) => operation.replacen("{id}", id, 1),
        None => operation.to_owned(),
    };
    let own = |pair: &&str| !OWN_QUERY.contains(&pair.split('=').next().unwrap_or_default());
    let kept = query
        .unwrap_or_default()
        .split('&')
        .filter(|pair| !pair.is_empty())
        .filter(own);
    for (index, pair) in kept.enumerate() {
        tail.push(if index == 0 { '?' } else { '&' });
        tail.push_str(pair);
    }
    tail
}

fn query_value(query: &str, name: &str) -> Option<String> {
    let value = query
        .split('&')
        .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))?;
    Some(value.replace("%2F", "/").replace("%2f", "/"))
}
