//! `docs/TRANSLATION.md`: what becomes of every field, found out by asking. `UPDATE_DOCS=1`
//! writes it.

use std::fmt::Write;
use std::path::Path;

use meridian_core::translate::{Change, ClientDialect, Pair, ProviderDialect, Request};
use serde_json::{Value, json};

use crate::fixtures::{World, json_of};
use crate::probes::probes;

fn with(client: ClientDialect, patch: &Value) -> Value {
    let mut body = match client {
        ClientDialect::Chat => json!({"messages": [{"role": "user", "content": "x"}]}),
        ClientDialect::Messages => {
            json!({"max_tokens": 100, "messages": [{"role": "user", "content": "x"}]})
        }
        _ => json!({"input": [{"role": "user", "content": "x"}]}),
    };
    body["model"] = json!("m");
    for (name, value) in patch.as_object().unwrap() {
        body[name.as_str()] = value.clone();
    }
    body
}

/// A word and why.
fn outcome(pair: Pair, patch: &Value) -> (&'static str, String) {
    let body = with(pair.client, patch);
    let world = World::of(pair.provider);
    let (request, word) = match world.tell(pair, &body) {
        Ok(request) => (request, ""),
        Err(refused) => match World::of(pair.provider).drops().tell(pair, &body) {
            Ok(request) => (request, "400, or with `drop_params` "),
            Err(_) => return ("rejected", refused.message),
        },
    };
    let losses = |change| {
        let found = request.losses.iter().find(|loss| loss.change == change);
        found.map(|loss| loss.reason.to_owned())
    };
    if let Some(why) = losses(Change::Dropped) {
        return match word.is_empty() {
            true => ("dropped", why),
            false => ("dropped with `drop_params`, else rejected", why),
        };
    }
    if let Some(why) = losses(Change::Changed) {
        return match word.is_empty() {
            true => ("mapped", why),
            false => ("mapped with `drop_params`, else rejected", why),
        };
    }
    match is_kept(&request, patch) {
        true => ("kept", String::new()),
        false => ("mapped", String::new()),
    }
}

/// Whether every member is there under its own name with its own value.
fn is_kept(request: &Request, patch: &Value) -> bool {
    let told = json_of(&request.body);
    let patch = patch.as_object().unwrap();
    patch
        .iter()
        .all(|(name, value)| told.get(name) == Some(value))
}

/// Every pair of dialects that generate text.
fn all_pairs() -> Vec<Pair> {
    let mut found = Vec::new();
    for client in ClientDialect::ALL {
        let generates = ProviderDialect::ALL.into_iter().filter(|to| to.generates());
        found.extend(generates.filter_map(|provider| Pair::new(client, provider)));
    }
    found
}

fn document() -> String {
    let mut text = String::from(
        "# Translation between dialects\n\n\
        Requests of one dialect reach providers of another (`core/src/translate`). What becomes of \
        every field is found out by asking the translator: this file is written by \
        `UPDATE_DOCS=1 cargo test -p meridian-core --test translate coverage`, for a model \
        of which the price map knows nothing, at the dialect's own provider.\n\n\
        - **kept**: the same name and value. **mapped**: told in the provider's own way; a reason \
        says what is not quite the same. **dropped**: left out. **rejected**: 400 that names the \
        field.\n\
        - Everything dropped, and everything mapped with a reason, is named in \
        `x-meridian-dropped` (changed fields with a `~` before them).\n\
        - Under a strict policy any of them is a 400. `drop_params` lets parameters go that would \
        else be a 400; `additional_drop_params` takes fields out before anything else; \
        `allowed_openai_params` passes a field under its own name.\n\
        - Flags of the price map (`supports_sampling_params`, `supports_forced_tool_use`, \
        `supports_adaptive_thinking`, ...) decide for the models that have them.\n\
        - Web addresses that a provider does not take are rejected here only where the gateway was \
        told to fetch nothing: else they arrive as bytes ([PROVIDERS](PROVIDERS.md)).\n",
    );
    for pair in all_pairs() {
        let (client, provider) = (pair.client.label(), pair.provider.label());
        let _ = write!(
            text,
            "\n## {client} -> {provider}\n\n| Field | | |\n|---|---|---|\n"
        );
        for (field, patch) in probes(pair.client) {
            let (word, why) = outcome(pair, &patch);
            let why = why.replace('|', "\\|").replace('\n', " ");
            let _ = writeln!(text, "| `{field}` | {word} | {why} |");
        }
    }
    text
}

#[test]
fn the_document_says_what_the_translator_does() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/TRANSLATION.md");
    let wanted = document();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, &wanted).unwrap();
        return;
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        written == wanted,
        "run UPDATE_DOCS=1 cargo test -p meridian-core --test translate coverage"
    );
}

#[test]
fn nothing_is_lost_in_silence() {
    // A loss must be told: what is neither kept nor told must be somewhere in the request.
    for pair in all_pairs() {
        for (field, patch) in probes(pair.client) {
            let body = with(pair.client, &patch);
            let bare = World::of(pair.provider).tell(pair, &with(pair.client, &json!({})));
            let told = World::of(pair.provider).drops().tell(pair, &body);
            let (Ok(bare), Ok(told)) = (bare, told) else {
                continue;
            };
            // What is so anyway: usage comes, thoughts come back, the model decides.
            let quiet = [
                "stream_options",
                "include: reasoning.encrypted_content",
                "thinking: adaptive",
            ];
            if told.losses.is_empty() && !quiet.contains(&field.as_str()) {
                assert!(bare.body != told.body, "{pair:?} {field}");
            }
        }
    }
}
