//! A request told in its provider's dialect. Each attempt tells the caller's own words anew, so
//! that a fallback never sees what another provider's dialect made of them.

use bytes::Bytes;
use http::HeaderMap;
use meridian_core::endpoint::Endpoint;
use meridian_core::error::GatewayError;
use meridian_core::translate::{
    self, Context, CountClient, Counter, Operation, Pair, Platform, Policy, ProviderDialect,
    Request,
};
use meridian_core::wire::edit::BodyEdit;
use meridian_core::wire::span::BodySpans;

use super::{Asked, Body, Telling, defaults_under, set_over};
use crate::plane::admit::Admitted;
use crate::rules::{Door, Target};

/// A request in the provider's dialect.
pub(super) fn build(
    asked: Asked<'_>,
    target: &Target,
    door: &Door,
    client: &HeaderMap,
    pair: Pair,
) -> Result<Body, GatewayError> {
    let policy = policy(asked.admitted, target);
    let context = context(target, client, pair.provider, &policy);
    let request = translate::request(pair, &own(asked, target)?, &context)?;
    finish(target, door, pair, context.platform, request)
}

/// A provider's own count of the tokens of a request.
pub(super) fn count(
    asked: Asked<'_>,
    target: &Target,
    door: &Door,
    client: &HeaderMap,
    counter: Counter,
) -> Result<Body, GatewayError> {
    let endpoint = asked.admitted.arrival.endpoint;
    let by = CountClient::of(endpoint).ok_or(GatewayError::Internal)?;
    let policy = policy(asked.admitted, target);
    let context = context(target, client, counter.dialect(), &policy);
    let question = by.ask(counter, &own(asked, target)?, &context)?;
    let path = super::count_path(door, counter, target).unwrap_or_else(|| {
        let (endpoint, tail) = match counter {
            Counter::Responses => (Endpoint::InputTokens, "/responses/input_tokens"),
            _ => (Endpoint::CountTokens, "/messages/count_tokens"),
        };
        door.paths.path(endpoint, tail, &target.model)
    });
    let mut body = Body {
        parts: vec![question.body.into()],
        path: Some(path),
        losses: question.losses,
        telling: number(counter, target),
        removes: &["anthropic-beta", "anthropic-version"],
        ..Body::default()
    };
    for (name, value) in &question.headers {
        body.header(name, value);
    }
    Ok(body)
}

/// What has to be done with a provider's number.
pub(super) fn number(counter: Counter, target: &Target) -> Telling {
    Telling::Counted {
        counter,
        provider: target.deployment.provider.label(),
        model: target.model.clone(),
    }
}

/// The caller's body with the deployment's own fields under it.
fn own(asked: Asked<'_>, target: &Target) -> Result<Bytes, GatewayError> {
    let (bytes, spans) = asked.json()?;
    let mut edit = BodyEdit::new(bytes, spans);
    edit.remove_gateway_only();
    defaults_under(&mut edit, target);
    Ok(edit.finish().into_bytes())
}

fn context<'c>(
    target: &'c Target,
    client: &'c HeaderMap,
    dialect: ProviderDialect,
    policy: &'c Policy,
) -> Context<'c> {
    let header = |name: &str| client.get(name).and_then(|value| value.to_str().ok());
    Context {
        model: &target.model,
        provider: target.deployment.provider.label(),
        platform: target.deployment.platform(dialect),
        capabilities: &target.capabilities,
        policy,
        betas: header("anthropic-beta"),
        anthropic_version: header("anthropic-version"),
    }
}

fn finish(
    target: &Target,
    door: &Door,
    pair: Pair,
    platform: Platform,
    request: Request,
) -> Result<Body, GatewayError> {
    let with_own = |body: Vec<u8>| -> Result<Bytes, GatewayError> {
        let body = Bytes::from(body);
        if target.deployment.extra_body.is_empty() {
            return Ok(body);
        }
        let spans = BodySpans::scan(&body)?;
        let mut edit = BodyEdit::new(&body, &spans);
        set_over(&mut edit, target);
        Ok(edit.finish().into_bytes())
    };
    let bytes = with_own(request.body)?;
    let more = request.more.into_iter().map(with_own);
    let path = match door.paths.cloud {
        Some(_) => super::cloud_path(door, request.operation, &target.model),
        None => {
            let (endpoint, tail) = plain(request.operation);
            Some(door.paths.path(endpoint, tail, &target.model))
        }
    };
    let frames = platform == Platform::BedrockInvoke && request.stream;
    let mut body = Body {
        parts: vec![bytes],
        more: more.collect::<Result<_, _>>()?,
        path,
        losses: request.losses,
        telling: Telling::Told {
            pair,
            memo: Box::new(request.memo),
            frames,
        },
        removes: &["anthropic-beta", "anthropic-version"],
        ..Body::default()
    };
    for (name, value) in &request.headers {
        body.header(name, value);
    }
    Ok(body)
}

/// Where an operation is on a provider without doors of its own.
fn plain(operation: Operation) -> (Endpoint, &'static str) {
    match operation {
        Operation::Responses => (Endpoint::Responses, "/responses"),
        Operation::Messages | Operation::MessagesStream => (Endpoint::Messages, "/messages"),
        Operation::VllmRerank | Operation::CohereRerank => (Endpoint::Rerank, "/rerank"),
        _ => (Endpoint::ChatCompletions, "/chat/completions"),
    }
}

/// When a loss refuses the request: the deployment's word, the key's, the installation's.
pub(super) fn policy(admitted: &Admitted, target: &Target) -> Policy {
    let own = &target.deployment.losses;
    let of_key = admitted.key.as_ref();
    let of_key = of_key.and_then(|key| key.policy.overrides.as_deref());
    let global = admitted.rules.config.settings.drop_params;
    Policy {
        strict: own.strict.unwrap_or(false) || of_key.is_some_and(|key| key.strict_translation),
        drop_params: own.drop_params.unwrap_or(global),
        additional_drop_params: own.additional_drop_params.clone(),
        allowed_openai_params: own.allowed_openai_params.clone(),
    }
}
