//! Heads of answers: the upstream's own headers plus LiteLLM's (reference/litellm.md 2.6).

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

use foldhash::fast::RandomState;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use meridian_core::cache::{Entry, Shape};
use meridian_core::routing::plan::Why;
use meridian_core::routing::policy::FailureClass;
use meridian_core::translate::header_value;

use crate::clock;
use crate::plane::admit::Admitted;
use crate::plane::forward::Answer;
use crate::plane::reply;
use crate::plane::settle::Settled;
use crate::rules::Target;
use crate::upstream::{ResponseHead, is_hop_by_hop};

/// Deployment that gave the answer.
const MODEL_ID: HeaderName = HeaderName::from_static("x-litellm-model-id");

const fn name(text: &'static str) -> HeaderName {
    HeaderName::from_static(text)
}

/// The LiteLLM version whose wire behaviour this is.
const COMPATIBLE_VERSION: &str = "1.87.1";
/// Prefix under which LiteLLM shows the upstream's headers.
const UPSTREAM_PREFIX: &str = "llm_provider-";
/// Content type of a stream.
const EVENTS: &str = "text/event-stream; charset=utf-8";
/// Names that one thread keeps with that prefix.
const PREFIXED_NAMES_MAX: usize = 512;
/// Headers that the gateway adds to an answer of usual keys.
const OWN_HEADERS_MAX: usize = 23;
/// Most upstream headers passed on.
const UPSTREAM_HEADERS_MAX: usize = 64;

/// Head of an answer that is not an event stream.
pub(super) fn of_answer(admitted: &Admitted, answer: &Answer) -> ResponseHead {
    let upstream = answer.head.headers.len().min(UPSTREAM_HEADERS_MAX);
    let mut head = ResponseHead::with_room(answer.head.status, 2 * upstream + OWN_HEADERS_MAX);
    copy_upstream(&mut head, &answer.head.headers);
    add_identity(&mut head, admitted, &answer.target);
    if !answer.losses.is_empty() {
        head.set(
            name("x-meridian-dropped"),
            text(header_value(&answer.losses)),
        );
    }
    head
}

/// Head of a stream that begins before its provider has answered; names the deployment that was
/// asked by then.
pub(crate) fn early_head(admitted: &Admitted, target: &Target) -> ResponseHead {
    let mut head = reply::head_of(200);
    add_identity(&mut head, admitted, target);
    unbuffered(&mut head);
    head
}

/// Head of an event stream: nothing between here and the client may hold it back.
pub(super) fn of_stream(admitted: &Admitted, answer: &Answer) -> ResponseHead {
    let mut head = of_answer(admitted, answer);
    unbuffered(&mut head);
    head
}

/// Head of an answer from the cache; `target` is the deployment that once gave it, if it is still
/// there.
pub(super) fn of_cached(
    admitted: &Admitted,
    entry: &Entry,
    target: Option<&Target>,
) -> ResponseHead {
    let mut head = ResponseHead::with_room(StatusCode::OK, OWN_HEADERS_MAX);
    if let Ok(content_type) = HeaderValue::try_from(entry.answer.content_type.as_str()) {
        head.set(CONTENT_TYPE, content_type);
    }
    match target {
        Some(target) => add_identity(&mut head, admitted, target),
        None => {
            head.set(MODEL_ID, text(&entry.answer.deployment_id));
            add_own(&mut head, admitted);
        }
    }
    let age = entry.age(clock::now()).as_secs();
    head.set(http::header::AGE, HeaderValue::from(age));
    if entry.answer.shape == Shape::Stream {
        unbuffered(&mut head);
    }
    head
}

fn unbuffered(head: &mut ResponseHead) {
    let is_events = |value: &HeaderValue| value.as_bytes().starts_with(b"text/event-stream");
    if !head.headers.get(CONTENT_TYPE).is_some_and(is_events) {
        head.set(CONTENT_TYPE, HeaderValue::from_static(EVENTS));
    }
    let no_transform = HeaderValue::from_static("no-cache, no-transform");
    head.set(http::header::CACHE_CONTROL, no_transform);
    head.set(name("x-accel-buffering"), HeaderValue::from_static("no"));
}

/// What is known once the request is settled.
pub(super) fn add_cost(head: &mut ResponseHead, settled: &Settled) {
    head.set(reply::RESPONSE_COST, text(settled.cost));
    head.set(
        name("x-litellm-response-cost-original"),
        text(settled.cost_before_margin),
    );
    if let Some((name, value)) = reply::key_spend(settled.key_spend) {
        head.set(name, value);
    }
    head.set(
        name("x-litellm-response-duration-ms"),
        millis(settled.duration),
    );
    head.set(
        name("x-litellm-overhead-duration-ms"),
        millis(settled.overhead),
    );
}

fn copy_upstream(head: &mut ResponseHead, upstream: &HeaderMap) {
    for (header, value) in upstream.iter().take(UPSTREAM_HEADERS_MAX) {
        if is_framing(header) || is_hop_by_hop(header, upstream) {
            continue;
        }
        if let Some(prefixed) = prefixed(header) {
            head.headers.append(prefixed, value.clone());
        }
        head.headers.append(header.clone(), value.clone());
    }
}

/// The name under which LiteLLM shows an upstream's header. Names repeat from answer to answer,
/// so each thread keeps those that it has made.
fn prefixed(header: &HeaderName) -> Option<HeaderName> {
    thread_local! {
        static MADE: RefCell<HashMap<HeaderName, HeaderName, RandomState>> = RefCell::default();
    }
    MADE.with_borrow_mut(|made| {
        if let Some(name) = made.get(header) {
            return Some(name.clone());
        }
        let name = HeaderName::try_from([UPSTREAM_PREFIX, header.as_str()].concat()).ok()?;
        if made.len() < PREFIXED_NAMES_MAX {
            made.insert(header.clone(), name.clone());
        }
        Some(name)
    })
}

fn is_framing(header: &HeaderName) -> bool {
    *header == http::header::CONTENT_LENGTH
        || *header == http::header::SET_COOKIE
        || *header == http::header::ALT_SVC
        || *header == http::header::STRICT_TRANSPORT_SECURITY
}

fn add_identity(head: &mut ResponseHead, admitted: &Admitted, target: &Target) {
    head.set(MODEL_ID, target.header_values.model_id.clone());
    head.set(
        name("x-litellm-model-api-base"),
        target.header_values.api_base.clone(),
    );
    if let Some(region) = &target.header_values.region {
        head.set(name("x-litellm-model-region"), region.clone());
    }
    if admitted.rules.config.meridian.explain_header {
        head.set(name("x-meridian-route"), explanation(admitted, target));
    }
    add_own(head, admitted);
}

/// What does not depend on the deployment.
fn add_own(head: &mut ResponseHead, admitted: &Admitted) {
    head.set(reply::CALL_ID, text(admitted.arrival.call_id));
    head.set(
        name("x-litellm-model-group"),
        text(admitted.model_in_force()),
    );
    head.set(
        name("x-litellm-version"),
        HeaderValue::from_static(COMPATIBLE_VERSION),
    );
    head.set(
        name("x-litellm-attempted-retries"),
        HeaderValue::from(admitted.route.retries),
    );
    head.set(
        name("x-litellm-attempted-fallbacks"),
        HeaderValue::from(admitted.route.fallbacks),
    );
    if admitted.attempts > 1 {
        head.set(
            name("x-litellm-max-retries"),
            HeaderValue::from(admitted.retries()),
        );
    }
    head.set(
        http::header::ACCESS_CONTROL_ALLOW_ORIGIN,
        HeaderValue::from_static("*"),
    );
    let (header, mode) = reply::coordination(admitted.state.link.coordination());
    head.set(header, mode);
    if let Some(cache) = &admitted.cache {
        head.set(name("x-litellm-cache-key"), text(cache.key));
        let said = HeaderValue::from_static(cache.lookup.label());
        head.set(name("x-meridian-cache"), said);
    }
    for (header, value) in admitted.limit_headers() {
        head.set(header, value);
    }
}

/// How the request came to its deployment.
fn explanation(admitted: &Admitted, target: &Target) -> HeaderValue {
    let route = &admitted.route;
    let region = target.deployment.region_name.as_deref().unwrap_or("-");
    let (attempts, retries, fallbacks) = (admitted.attempts, route.retries, route.fallbacks);
    let why = route.why.map_or("-", Why::as_str);
    let after = route.after.map_or("-", FailureClass::as_str);
    text(format_args!(
        "deployment={}; region={region}; why={why}; attempts={attempts}; retries={retries}; \
         fallbacks={fallbacks}; after={after}",
        target.deployment.id
    ))
}

fn text(value: impl std::fmt::Display) -> HeaderValue {
    HeaderValue::try_from(value.to_string()).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// Milliseconds with three decimals.
fn millis(time: Duration) -> HeaderValue {
    let micros = (time.as_nanos() + 500) / 1_000;
    text(format_args!("{}.{:03}", micros / 1_000, micros % 1_000))
}
