//! Routing, end to end: what callers notice of deployments that fail, and what providers notice of
//! callers.

mod cooldown;
mod fallbacks;
mod hedge;
mod kill;
mod loopholes;
mod matrix;
mod pools;
mod residency;
mod spent;
mod tenants;

use meridian_testkit::config::Config;
use meridian_testkit::provider::Row;
use meridian_testkit::raw::{BodyEnd, Response};

use crate::endings::{terminal, told_in_stream};
use crate::world::Api;

/// Above what a transport might keep to send a body again.
const LARGE_BODY_BYTES: usize = 100_000;

/// Adds a deployment of `name` in the dialect of `api`; `script` is its model at the provider,
/// after `fake-`.
fn deployment(
    config: Config,
    api: Api,
    (name, script): (&str, &str),
    url: &str,
    more: &str,
) -> Config {
    match api {
        Api::Messages => config.model(name, &format!("anthropic/fake-{script}"), url, more),
        _ => config.model(
            name,
            &format!("openai/fake-{script}"),
            &format!("{url}/v1"),
            more,
        ),
    }
}

/// The client has one whole answer of five tokens and no error.
fn assert_good(case: &str, api: Api, stream: bool, answer: &Response) {
    let text = answer.text();
    assert_eq!(answer.status(), 200, "{case}: {text}");
    assert_eq!(answer.end, BodyEnd::Complete, "{case}: {text}");
    if !stream {
        assert!(answer.json()["usage"].is_object(), "{case}: {text}");
        return;
    }
    told_in_stream(case, api, answer, false);
    assert_eq!(
        text.matches(terminal(api)).count(),
        terminals(api),
        "{case}: {text}"
    );
    let fifth = text.matches("\" jumps\"").count();
    assert_eq!(fifth, 1, "{case}: {text}");
}

/// How often the name of the last event is in a stream: in its `event:` and its `type`.
fn terminals(api: Api) -> usize {
    match api {
        Api::Chat | Api::Completions | Api::Embeddings => 1,
        Api::Messages | Api::Responses => 2,
    }
}

/// How many of these rows went to models with this in their names.
fn sent_to(rows: &[Row], part: &str) -> usize {
    rows.iter().filter(|row| row.model.contains(part)).count()
}
