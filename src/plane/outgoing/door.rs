//! The client's own dialect through a cloud's door: the body passes, a few fields are moved.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::HeaderMap;
use meridian_core::endpoint::Endpoint;
use meridian_core::error::GatewayError;
use meridian_core::translate::{
    Change, Counter, Loss, Operation, Platform, ProviderDialect, betas,
};
use meridian_core::wire::edit::{BodyEdit, UsageChunk, quoted};
use meridian_core::wire::field::Field;
use meridian_core::wire::json::{Kind, Value};
use meridian_core::wire::span::BodySpans;

use super::{Asked, Body, Telling, defaults, told};
use crate::rules::{Door, Target};

/// Version that a body names where the caller named no newer one.
const BEDROCK_VERSION: &str = "bedrock-2023-05-31";
const VERTEX_VERSION: &str = "vertex-2023-10-16";
/// First version of Anthropic's own that the clouds take in the body as it is.
const OWN_VERSION_FROM: &str = "2026-10-21";
/// Text that begins the block by which Claude Code is billed: it differs from session to session
/// and would spoil every prompt cache.
const BILLING: &[u8] = b"x-anthropic-billing-header";

/// A request through a door.
pub(super) fn build(
    asked: Asked<'_>,
    target: &Target,
    door: &Door,
    client: &HeaderMap,
    dialect: ProviderDialect,
) -> Result<Body, GatewayError> {
    let admitted = asked.admitted;
    let (bytes, spans) = asked.json()?;
    let pruned = super::pruned(admitted, target, Some(&bytes[..]))?;
    let (bytes, spans) = match &pruned {
        Some(one) => (&one.bytes, &one.spans),
        None => (bytes, spans),
    };
    let stream = admitted.ask.stream;
    let mut edit = BodyEdit::new(bytes, spans);
    edit.remove_gateway_only();
    defaults(&mut edit, target);
    let platform = target.deployment.platform(dialect);
    let mut body = Body::default();
    let operation = match dialect {
        ProviderDialect::Messages => {
            messages(&mut edit, (bytes, spans), platform, client, &mut body);
            match stream {
                true => Operation::MessagesStream,
                false => Operation::Messages,
            }
        }
        ProviderDialect::Responses => Operation::Responses,
        _ => Operation::ChatCompletions,
    };
    let moves_model = matches!(platform, Platform::BedrockInvoke)
        || platform == Platform::Vertex && dialect == ProviderDialect::Messages;
    match moves_model {
        true => edit.remove("model"),
        false => edit.set_text("model", &target.model),
    }
    if platform == Platform::BedrockInvoke {
        edit.remove("stream");
        body.telling = match stream {
            true => Telling::Frames,
            false => Telling::AsIs,
        };
    }
    let chat = operation == Operation::ChatCompletions;
    if stream && chat {
        let always = admitted.rules.config.general.always_include_stream_usage;
        let asked = edit.request_usage()?;
        body.usage_chunk = if always { UsageChunk::Asked } else { asked };
    }
    body.parts = edit.finish().parts().to_vec();
    body.losses
        .extend(pruned.map(|one| one.losses).unwrap_or_default());
    body.path = super::cloud_path(door, operation, &target.model);
    Ok(body)
}

/// Anthropic's version and betas, where the platform wants them; mantle takes its headers.
fn messages(
    edit: &mut BodyEdit<'_>,
    (bytes, spans): (&Bytes, &BodySpans),
    platform: Platform,
    client: &HeaderMap,
    body: &mut Body,
) {
    let header = |name: &str| client.get(name).and_then(|value| value.to_str().ok());
    let listed = header("anthropic-beta").unwrap_or_default();
    let (taken, refused) = betas::split(platform, listed);
    body.losses.extend(refused.iter().map(|beta| Loss {
        field: format!("anthropic-beta: {beta}").into(),
        change: Change::Dropped,
        reason: "the platform does not take it",
    }));
    if let Some(system) = spans.value(bytes, Field::System)
        && let Some(rest) = without_billing(bytes, system)
    {
        edit.set("system", rest);
    }
    let usual = match platform {
        Platform::BedrockInvoke => BEDROCK_VERSION,
        Platform::Vertex => VERTEX_VERSION,
        _ => {
            body.removes = &["anthropic-beta"];
            body.header("anthropic-beta", &taken.join(","));
            return;
        }
    };
    let is_date = |own: &&str| own.len() == OWN_VERSION_FROM.len() && *own >= OWN_VERSION_FROM;
    let named = header("anthropic-version").filter(is_date).unwrap_or(usual);
    edit.set_default("anthropic_version", quoted(named));
    match platform {
        Platform::BedrockInvoke if !taken.is_empty() => {
            let list: Vec<String> = taken.iter().map(|beta| format!("\"{beta}\"")).collect();
            edit.set_default("anthropic_beta", format!("[{}]", list.join(",")));
        }
        Platform::Vertex => body.header("anthropic-beta", &taken.join(",")),
        _ => {}
    }
    body.removes = &["anthropic-beta", "anthropic-version"];
}

/// The system blocks without the one for billing; `None` where there is none.
fn without_billing(body: &Bytes, system: Value<'_>) -> Option<Vec<u8>> {
    if system.kind != Kind::Array {
        return None;
    }
    let is_billing = |block: &Value<'_>| {
        let text = block.field(b"text").and_then(Value::inner);
        text.is_some_and(|text| text.starts_with(BILLING))
    };
    if !system.items().any(|block| is_billing(&block)) {
        return None;
    }
    let kept = system.items().filter(|block| !is_billing(block));
    let kept: Vec<&[u8]> = kept.map(|block| block.raw).collect();
    let mut list = Vec::with_capacity(body.len().min(1 << 16));
    list.push(b'[');
    list.extend_from_slice(&kept.join(&b","[..]));
    list.push(b']');
    Some(list)
}

/// A count of tokens by the provider itself.
pub(super) fn count(
    asked: Asked<'_>,
    target: &Target,
    door: &Door,
    client: &HeaderMap,
) -> Result<Body, GatewayError> {
    debug_assert_eq!(asked.admitted.arrival.endpoint, Endpoint::CountTokens);
    let (bytes, spans) = asked.json()?;
    let mut edit = BodyEdit::new(bytes, spans);
    edit.remove_gateway_only();
    let mut body = Body::default();
    let platform = target.deployment.platform(ProviderDialect::Messages);
    messages(&mut edit, (bytes, spans), platform, client, &mut body);
    match platform {
        Platform::BedrockInvoke => {
            edit.remove("model");
            edit.remove("stream");
            // Bedrock counts whole invocations, which must say how long the answer may be.
            edit.set_default("max_tokens", "1");
            body.telling = told::number(Counter::Converse, target);
        }
        Platform::Vertex => {
            edit.remove("anthropic_version");
            edit.set_text("model", &target.model);
        }
        _ => edit.set_text("model", &target.model),
    }
    body.parts = edit.finish().parts().to_vec();
    if platform == Platform::BedrockInvoke {
        let whole = body.parts.concat();
        let text = BASE64_STANDARD.encode(whole);
        let wrapped = format!(r#"{{"input":{{"invokeModel":{{"body":"{text}"}}}}}}"#);
        body.parts = vec![wrapped.into()];
    }
    body.path = super::count_path(door, Counter::Messages, target);
    Ok(body)
}
