//! The request as one deployment gets it: its path, its credentials, an edited body.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use meridian_core::endpoint::{Dialect, Endpoint};
use meridian_core::error::GatewayError;
use meridian_core::wire::edit::{BodyEdit, UsageChunk};
use meridian_core::wire::field::Field;
use meridian_core::wire::span::BodySpans;

use super::admit::{Admitted, Content};
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

/// A request ready to be sent.
pub(super) struct Outgoing {
    /// Head with this deployment's path and credentials.
    pub(super) head: RequestHead,
    /// Edited body as slices of the client's.
    pub(super) body: Vec<Bytes>,
    /// Who asked for the usage chunk of a stream.
    pub(super) usage_chunk: UsageChunk,
}

/// Makes the request for one deployment.
pub(super) fn build(
    admitted: &Admitted,
    target: &Target,
    door: &Door,
    client: &HeaderMap,
) -> Result<Outgoing, GatewayError> {
    let endpoint = admitted.arrival.endpoint;
    let key_header = admitted.rules.config.general.key_header.as_deref();
    let mut headers = forwarded(client, key_header, door);
    if endpoint.dialect() == Dialect::Anthropic && !client.contains_key("anthropic-version") {
        let version = HeaderValue::from_static(ANTHROPIC_VERSION);
        headers.push((HeaderName::from_static("anthropic-version"), version));
    }
    // The tee reads what passes: it must not be compressed.
    headers.push((
        http::header::ACCEPT_ENCODING,
        HeaderValue::from_static("identity"),
    ));
    headers.extend(door.headers.iter().cloned());
    let head = RequestHead {
        method: admitted.ask.method.clone(),
        path: door.paths.path(endpoint, &admitted.ask.tail, &target.model),
        authority: door.authority.clone(),
        headers,
    };
    let (body, usage_chunk) = body(admitted, target, endpoint)?;
    Ok(Outgoing {
        head,
        body,
        usage_chunk,
    })
}

/// The client's headers that reach whichever provider is asked.
pub(super) fn passed_on<'a>(
    client: &'a HeaderMap,
    key_header: Option<&str>,
) -> impl Iterator<Item = (&'a HeaderName, &'a HeaderValue)> {
    client
        .iter()
        .filter(move |(name, _)| !stays(name, client, key_header))
}

/// Whether a header is for this hop alone.
fn stays(name: &HeaderName, client: &HeaderMap, key_header: Option<&str>) -> bool {
    let text = name.as_str();
    NOT_FORWARDED.binary_search(&text).is_ok()
        || OWN_PREFIXES.iter().any(|own| text.starts_with(own))
        || key_header == Some(text)
        || is_hop_by_hop(name, client)
}

fn forwarded(
    client: &HeaderMap,
    key_header: Option<&str>,
    door: &Door,
) -> Vec<(HeaderName, HeaderValue)> {
    let replaced = |name: &HeaderName| door.headers.iter().any(|(own, _)| own == name);
    let mut headers = Vec::with_capacity(client.len() + door.headers.len() + 2);
    let passed = passed_on(client, key_header).filter(|(name, _)| !replaced(name));
    headers.extend(passed.map(|(name, value)| (name.clone(), value.clone())));
    headers
}

fn body(
    admitted: &Admitted,
    target: &Target,
    endpoint: Endpoint,
) -> Result<(Vec<Bytes>, UsageChunk), GatewayError> {
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
        Content::Json(spans) => json_body(admitted, target, endpoint, bytes, spans),
    }
}

fn json_body(
    admitted: &Admitted,
    target: &Target,
    endpoint: Endpoint,
    bytes: &Bytes,
    spans: &BodySpans,
) -> Result<(Vec<Bytes>, UsageChunk), GatewayError> {
    let mut edit = BodyEdit::new(bytes, spans);
    let named = spans.text(bytes, Field::Model)?;
    let names_model = !admitted.ask.model.is_empty()
        && !matches!(
            endpoint,
            Endpoint::Files | Endpoint::Batches | Endpoint::ResponsesItem
        );
    if names_model && named.as_deref() != Some(&target.model) {
        edit.set_text("model", &target.model);
    }
    edit.remove_gateway_only();
    let deployment = &target.deployment;
    for (name, value) in &deployment.default_params {
        edit.set_default(name, value.to_string());
    }
    for (name, value) in &deployment.extra_body {
        edit.set(name, value.to_string());
    }
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
