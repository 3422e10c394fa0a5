//! The request as one deployment gets it: its path, its credentials, an edited body.

mod door;
mod proof;
mod told;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use meridian_core::config::{Cloud, General, Way};
use meridian_core::endpoint::{Dialect, Endpoint};
use meridian_core::error::GatewayError;
use meridian_core::translate::{self, Counter, Loss, Losses, Memo, Operation, Pair, Weight};
use meridian_core::wire::edit::{BodyEdit, UsageChunk};
use meridian_core::wire::field::Field;
use meridian_core::wire::span::BodySpans;

use super::admit::{Admitted, Content};
use super::forward::Inlined;
use crate::credentials::Token;
use crate::rules::{Door, Target};
use crate::upstream::{RequestHead, is_hop_by_hop};

/// Version that is sent when a client names none.
const ANTHROPIC_VERSION: &str = "2023-06-01";
/// Client headers that never reach a provider: framing, the caller's credentials and identity,
/// what belongs to this hop.
const NOT_FORWARDED: [&str; 24] = [
    "accept-encoding",
    "api-key",
    "authorization",
    "cf-connecting-ip",
    "content-length",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "ocp-apim-subscription-key",
    "openai-organization",
    "openai-project",
    "origin",
    "referer",
    "true-client-ip",
    "via",
    "x-api-key",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-goog-api-key",
    "x-real-ip",
    "x-request-start",
];
/// LiteLLM's own headers, and ours.
const OWN_PREFIXES: [&str; 2] = ["x-litellm-", "x-meridian-"];
/// Beginnings of `x-` headers that mean something to a provider. The others are between callers and
/// this gateway, and go on only where the configuration says so, as in LiteLLM.
const PROVIDER_PREFIXES: [&str; 4] = ["x-amzn-", "x-client-request-id", "x-goog-", "x-ms-"];

/// The member that holds the requests of a Message Batch.
const REQUESTS: &str = "requests";

/// A request ready to be sent.
pub(super) struct Outgoing {
    /// Head with this deployment's path and credentials.
    pub(super) head: RequestHead,
    /// Edited body as slices of the client's.
    pub(super) body: Vec<Bytes>,
    /// Further requests, where the provider takes one request's texts in several.
    pub(super) more: Vec<(RequestHead, Vec<Bytes>)>,
    /// Who asked for the usage chunk of a stream.
    pub(super) usage_chunk: UsageChunk,
    /// What has to be done with the answer.
    pub(super) telling: Telling,
    /// What the provider does not get of the request.
    pub(super) losses: Vec<Loss>,
}

/// What has to be done with an answer before the client gets it.
#[derive(Debug, Default)]
pub(crate) enum Telling {
    /// Nothing: it is in the client's dialect.
    #[default]
    AsIs,
    /// Its stream comes in Bedrock's frames.
    Frames,
    /// It is told in the client's dialect.
    Told {
        /// From which to which.
        pair: Pair,
        /// What the request's translation left for it.
        memo: Box<Memo>,
        /// Its stream comes in Bedrock's frames.
        frames: bool,
    },
    /// A count of tokens in the provider's own words.
    Counted {
        /// How it was counted.
        counter: Counter,
        /// The provider.
        provider: &'static str,
        /// The model as the provider calls it.
        model: String,
    },
}

/// Body, path and headers of one way.
#[derive(Default)]
struct Body {
    parts: Vec<Bytes>,
    /// Bodies that follow it under the same path and headers.
    more: Vec<Bytes>,
    /// `None`: the path of the endpoint.
    path: Option<String>,
    usage_chunk: UsageChunk,
    telling: Telling,
    losses: Vec<Loss>,
    /// Headers of the client's that do not go on.
    removes: &'static [&'static str],
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Body {
    /// Adds a header; an empty or impossible value adds none.
    fn header(&mut self, name: &'static str, value: &str) {
        let value = HeaderValue::try_from(value).ok();
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            self.headers.push((HeaderName::from_static(name), value));
        }
    }
}

/// What is asked of a deployment.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    /// The client's request.
    pub(super) admitted: &'a Admitted,
    /// Its body with the bytes of what it names on the web, where the deployment wants them.
    pub(super) inlined: Option<&'a Inlined>,
    /// The requests of a Message Batch with the deployment's names of their models.
    pub(super) requests: Option<&'a Bytes>,
}

impl<'a> Asked<'a> {
    /// Its JSON body.
    fn json(self) -> Result<(&'a Bytes, &'a BodySpans), GatewayError> {
        match (self.inlined, &self.admitted.ask.content) {
            (Some(inlined), _) => Ok((&inlined.bytes, &inlined.spans)),
            (None, Content::Json(spans)) => Ok((&self.admitted.ask.body.bytes, spans)),
            (None, Content::Form(_) | Content::Bytes) => Err(not_json()),
        }
    }
}

/// Makes the request for one deployment; `token` is what its identity gives, `tail` the path of
/// its endpoint where no translation gives another.
pub(super) fn build(
    asked: Asked<'_>,
    target: &Target,
    door: &Door,
    client: &HeaderMap,
    token: Option<&Token>,
    tail: &str,
) -> Result<Outgoing, GatewayError> {
    let admitted = asked.admitted;
    let endpoint = admitted.arrival.endpoint;
    let way = target.deployment.way(endpoint, &target.model);
    let made = match way {
        Some(Way::Door(dialect)) => door::build(asked, target, door, client, dialect)?,
        Some(Way::Told(pair)) => told::build(asked, target, door, client, pair)?,
        Some(Way::Counted(Counter::Messages)) if endpoint == Endpoint::CountTokens => {
            door::count(asked, target, door, client)?
        }
        Some(Way::Counted(counter)) => told::count(asked, target, door, client, counter)?,
        Some(Way::Pass | Way::Estimated) | None => passed(asked, target, endpoint)?,
    };
    let path = match &made.path {
        None => door.paths.path(endpoint, tail, &target.model),
        Some(path) => fill_project(path, token),
    };
    let headers = headers(admitted, door, client, &made);
    let head = |mut headers: Vec<_>, path: String, parts: &[Bytes]| {
        let method = admitted.ask.method.clone();
        if let Some(token) = token {
            headers.extend(proof::headers(door, token, &method, &path, parts));
        }
        let authority = door.authority.clone();
        RequestHead {
            method,
            path,
            authority,
            headers,
        }
    };
    let more = made.more.into_iter().map(|body| {
        let parts = vec![body];
        (head(headers.clone(), path.clone(), &parts), parts)
    });
    Ok(Outgoing {
        more: more.collect(),
        head: head(headers, path, &made.parts),
        body: made.parts,
        usage_chunk: made.usage_chunk,
        telling: made.telling,
        losses: made.losses,
    })
}

fn headers(
    admitted: &Admitted,
    door: &Door,
    client: &HeaderMap,
    made: &Body,
) -> Vec<(HeaderName, HeaderValue)> {
    let mut headers = forwarded(client, &admitted.rules.config.general, door);
    let is_own = made.path.is_some() || !made.removes.is_empty();
    if is_own || !matches!(made.telling, Telling::AsIs) {
        let json = HeaderValue::from_static("application/json");
        headers.retain(|(name, _)| {
            *name != http::header::CONTENT_TYPE
                && *name != http::header::ACCEPT
                && !made.removes.contains(&name.as_str())
        });
        headers.push((http::header::CONTENT_TYPE, json));
    }
    let speaks_messages = admitted.arrival.endpoint.dialect() == Dialect::Anthropic;
    let names_version =
        client.contains_key("anthropic-version") || made.removes.contains(&"anthropic-version");
    if speaks_messages && !names_version {
        let version = HeaderValue::from_static(ANTHROPIC_VERSION);
        headers.push((HeaderName::from_static("anthropic-version"), version));
    }
    // The tee reads what passes: it must not be compressed.
    headers.push((
        http::header::ACCEPT_ENCODING,
        HeaderValue::from_static("identity"),
    ));
    headers.extend(made.headers.iter().cloned());
    headers.extend(door.headers.iter().cloned());
    headers
}

/// The client's headers that reach whichever provider is asked.
pub(super) fn passed_on<'a>(
    client: &'a HeaderMap,
    general: &General,
) -> impl Iterator<Item = (&'a HeaderName, &'a HeaderValue)> {
    client
        .iter()
        .filter(move |(name, _)| !stays(name, client, general))
}

/// Whether a header is for this hop alone.
fn stays(name: &HeaderName, client: &HeaderMap, general: &General) -> bool {
    let text = name.as_str();
    let begins_with = |prefixes: &[&str]| prefixes.iter().any(|prefix| text.starts_with(prefix));
    let is_callers = text.starts_with("x-") && !begins_with(&PROVIDER_PREFIXES);
    NOT_FORWARDED.binary_search(&text).is_ok()
        || begins_with(&OWN_PREFIXES)
        || (is_callers && !general.forwards_client_headers)
        || general.key_header.as_deref() == Some(text)
        || is_hop_by_hop(name, client)
}

fn forwarded(client: &HeaderMap, general: &General, door: &Door) -> Vec<(HeaderName, HeaderValue)> {
    let replaced = |name: &HeaderName| door.headers.iter().any(|(own, _)| own == name);
    let mut headers = Vec::with_capacity(client.len() + door.headers.len() + 2);
    let passed = passed_on(client, general).filter(|(name, _)| !replaced(name));
    headers.extend(passed.map(|(name, value)| (name.clone(), value.clone())));
    headers
}

/// Path of an operation at a cloud's door, below its base. A project that the credentials name is
/// filled in when they are there.
fn cloud_path(door: &Door, operation: Operation, model: &str) -> Option<String> {
    let cloud = door.paths.cloud.as_ref()?;
    let path = cloud.path(operation, model, learned(door));
    Some(format!("{}{path}", door.paths.base.path))
}

/// The same of a count of tokens.
fn count_path(door: &Door, counter: Counter, target: &Target) -> Option<String> {
    let cloud = door.paths.cloud.as_ref()?;
    let behind = target.deployment.base_model.as_deref();
    let model = match cloud {
        Cloud::Bedrock { .. } => behind.unwrap_or(&target.model),
        _ => &target.model,
    };
    let path = cloud.count_path(counter, model, learned(door))?;
    Some(format!("{}{path}", door.paths.base.path))
}

/// Stands where the credentials' project will be; no project is called so.
const LEARNED: &str = "{project}";
/// The same, percent-encoded as a part of a path.
const LEARNED_ENCODED: &str = "%7Bproject%7D";

fn learned(door: &Door) -> Option<&'static str> {
    door.source.as_ref().map(|_| LEARNED)
}

fn fill_project(path: &str, token: Option<&Token>) -> String {
    if !path.contains(LEARNED_ENCODED) {
        return path.to_owned();
    }
    let project = token.and_then(|token| token.project.as_deref());
    if project.is_none() {
        tracing::error!("the credentials name no project: write `vertex_project`");
    }
    path.replace(LEARNED_ENCODED, project.unwrap_or("-"))
}

fn not_json() -> GatewayError {
    GatewayError::InvalidJson {
        detail: "expected a JSON object".to_owned(),
    }
}

/// The deployment's own fields under and over the client's.
fn defaults(edit: &mut BodyEdit<'_>, target: &Target) {
    defaults_under(edit, target);
    set_over(edit, target);
}

fn defaults_under(edit: &mut BodyEdit<'_>, target: &Target) {
    for (name, value) in &target.deployment.default_params {
        edit.set_default(name, value.to_string());
    }
}

fn set_over(edit: &mut BodyEdit<'_>, target: &Target) {
    for (name, value) in &target.deployment.extra_body {
        edit.set(name, value.to_string());
    }
}

fn passed(asked: Asked<'_>, target: &Target, endpoint: Endpoint) -> Result<Body, GatewayError> {
    let admitted = asked.admitted;
    let json = admitted.ask.json();
    let pruned = pruned(admitted, target, json)?;
    let (parts, usage_chunk) = match &pruned {
        Some(one) => json_body(asked, target, endpoint, (&one.bytes, &one.spans))?,
        None => body(asked, target, endpoint)?,
    };
    Ok(Body {
        parts,
        usage_chunk,
        losses: pruned.map(|one| one.losses).unwrap_or_default(),
        ..Body::default()
    })
}

/// A caller's JSON without what the deployment takes out of every request.
struct Pruned {
    bytes: Bytes,
    spans: BodySpans,
    losses: Vec<Loss>,
}

/// `None`: nothing is taken out.
fn pruned(
    admitted: &Admitted,
    target: &Target,
    json: Option<&[u8]>,
) -> Result<Option<Pruned>, GatewayError> {
    let paths = &target.deployment.losses.additional_drop_params;
    let Some(json) = json.filter(|_| !paths.is_empty()) else {
        return Ok(None);
    };
    let (body, taken) = translate::without(json, paths);
    if taken.is_empty() {
        return Ok(None);
    }
    let policy = told::policy(admitted, target);
    let mut losses = Losses::new(&policy);
    for loss in taken {
        losses.drop(Weight::Hint, loss.field, loss.reason);
    }
    let losses = losses.settle(target.deployment.provider.label(), &target.model)?;
    let bytes = Bytes::from(body.into_owned());
    let spans = BodySpans::scan(&bytes)?;
    Ok(Some(Pruned {
        bytes,
        spans,
        losses,
    }))
}

fn body(
    asked: Asked<'_>,
    target: &Target,
    endpoint: Endpoint,
) -> Result<(Vec<Bytes>, UsageChunk), GatewayError> {
    let admitted = asked.admitted;
    let bytes = &admitted.ask.body.bytes;
    match &admitted.ask.content {
        Content::Bytes => Ok((vec![bytes.clone()], UsageChunk::Asked)),
        Content::Form(_) if admitted.ask.model.is_empty() => {
            Ok((vec![bytes.clone()], UsageChunk::Asked))
        }
        Content::Form(form) => {
            let edited = form.with_text(bytes, "model", &target.model);
            Ok((edited.parts().to_vec(), UsageChunk::Asked))
        }
        Content::Json(spans) => json_body(asked, target, endpoint, (bytes, spans)),
    }
}

fn json_body(
    asked: Asked<'_>,
    target: &Target,
    endpoint: Endpoint,
    (bytes, spans): (&Bytes, &BodySpans),
) -> Result<(Vec<Bytes>, UsageChunk), GatewayError> {
    let admitted = asked.admitted;
    let mut edit = BodyEdit::new(bytes, spans);
    if endpoint == Endpoint::MessageBatches {
        // Its requests have models of their own; what a deployment sets belongs into none of them.
        if let Some(list) = asked.requests {
            edit.set(REQUESTS, list.clone());
        }
        edit.remove_gateway_only();
        return Ok((edit.finish().parts().to_vec(), UsageChunk::Asked));
    }
    let named = spans.text(bytes, Field::Model)?;
    let names_model = !admitted.ask.model.is_empty()
        && !matches!(
            endpoint,
            Endpoint::Files
                | Endpoint::AnthropicFiles
                | Endpoint::Batches
                | Endpoint::ResponsesItem
        );
    if names_model && named.as_deref() != Some(&target.model) {
        edit.set_text("model", &target.model);
    }
    edit.remove_gateway_only();
    if let Some(id) = &admitted.ask.previous_response {
        edit.set_text(Field::PreviousResponseId.name(), id);
    }
    defaults(&mut edit, target);
    let streams_chat = matches!(endpoint, Endpoint::ChatCompletions | Endpoint::Completions);
    let usage_chunk = match admitted.ask.stream && streams_chat {
        true if admitted.rules.config.general.always_include_stream_usage => {
            edit.request_usage()?;
            UsageChunk::Asked
        }
        true => edit.request_usage()?,
        false => UsageChunk::Asked,
    };
    Ok((edit.finish().parts().to_vec(), usage_chunk))
}
