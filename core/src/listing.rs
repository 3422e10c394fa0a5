//! Answers to `GET /v1/models` and `/v1/models/{id}`, for both dialects.
//!
//! Pure functions over the configuration, so that the data plane and the management API give the
//! same answer.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use crate::access::ModelFacts;
use crate::auth::KeyView;
use crate::config::{Config, Deployment};
use crate::endpoint::Dialect;
use crate::price::PriceBook;

/// LiteLLM gives every model this creation time, in seconds since the epoch.
const CREATED_S: u64 = 1_677_610_602;
/// The same moment for Anthropic's clients.
const CREATED_AT: &str = "2023-02-28T18:56:42Z";

/// What a client may ask of a list of models.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListOptions {
    /// Patterns (`openai/*`) are listed too (`return_wildcard_routes`).
    pub wildcards: bool,
    /// Access groups are listed too (`include_model_access_groups`).
    pub groups: bool,
    /// Nothing but access groups (`only_model_access_groups`).
    pub only_groups: bool,
}

/// Names that a caller may use, in the order of the configuration. `key` is the caller's;
/// `None` is the master key. A pattern stands for the models of the price map that it covers.
pub fn visible_models(
    config: &Config,
    prices: &PriceBook,
    key: Option<&KeyView>,
    options: ListOptions,
) -> Vec<String> {
    let mut names = Names::default();
    for deployment in &config.models {
        if options.only_groups {
            break;
        }
        if !deployment.is_wildcard() {
            names.push_if(
                &deployment.model_name,
                may_use(key, config, &deployment.model_name),
            );
            continue;
        }
        if options.wildcards {
            let allowed = may_use(key, config, &deployment.model_name);
            names.push_if(&deployment.model_name, allowed);
        }
        for name in covered(deployment, prices) {
            names.push_if(&name, may_use(key, config, &name));
        }
    }
    for (alias, meant) in &config.aliases {
        if !options.only_groups && !meant.hidden {
            names.push_if(alias, may_use(key, config, &meant.model));
        }
    }
    if options.groups || options.only_groups {
        for deployment in &config.models {
            let allowed = may_use(key, config, &deployment.model_name);
            for group in &deployment.access_groups {
                names.push_if(group, allowed);
            }
        }
    }
    names.list
}

/// Whether the caller may use a model and the gateway has one of that name.
pub fn is_visible(config: &Config, key: Option<&KeyView>, name: &str) -> bool {
    let meant = config.aliases.get(name).map_or(name, |alias| &alias.model);
    let allowed = |name: &str| may_use(key, config, name);
    config.group_of(name).is_some() && (allowed(meant) || allowed(name))
}

/// Body of `/v1/models`.
pub fn models_body(names: &[String], dialect: Dialect) -> Value {
    let data: Vec<Value> = names.iter().map(|name| model_body(name, dialect)).collect();
    let mut body = json!({"data": data, "object": "list"});
    if dialect == Dialect::Anthropic {
        body["has_more"] = json!(false);
        body["first_id"] = json!(names.first());
        body["last_id"] = json!(names.last());
    }
    body
}

/// Body of `/v1/models/{id}`. Anthropic's clients get the fields of both dialects: both read it.
pub fn model_body(name: &str, dialect: Dialect) -> Value {
    let mut body = Map::new();
    body.insert("id".into(), json!(name));
    body.insert("object".into(), json!("model"));
    body.insert("created".into(), json!(CREATED_S));
    body.insert("owned_by".into(), json!("openai"));
    if dialect == Dialect::Anthropic {
        body.insert("type".into(), json!("model"));
        body.insert("display_name".into(), json!(name));
        body.insert("created_at".into(), json!(CREATED_AT));
    }
    Value::Object(body)
}

/// Dialect of a list: Anthropic's clients always send their version.
pub fn dialect_of(anthropic_version: Option<&[u8]>) -> Dialect {
    match anthropic_version {
        Some(_) => Dialect::Anthropic,
        None => Dialect::OpenAi,
    }
}

/// Names in the order of their first appearance.
#[derive(Default)]
struct Names {
    list: Vec<String>,
    seen: HashSet<String>,
}

impl Names {
    fn push_if(&mut self, name: &str, allowed: bool) {
        if allowed && self.seen.insert(name.to_owned()) {
            self.list.push(name.to_owned());
        }
    }
}

fn may_use(key: Option<&KeyView>, config: &Config, name: &str) -> bool {
    let Some(key) = key else {
        return true;
    };
    let group = config.group_of(name);
    let members = || {
        let models = config.models.iter();
        models.filter(move |deployment| Some(deployment.model_name.as_str()) == group)
    };
    let groups: Vec<String> = members()
        .flat_map(|deployment| deployment.access_groups.clone())
        .collect();
    let providers: Vec<String> = members()
        .map(|deployment| deployment.provider.label().to_owned())
        .collect();
    key.allows_model(ModelFacts {
        name,
        groups: &groups,
        providers: &providers,
    })
}

/// Models of the price map that a pattern `provider/*` covers, in alphabetical order. Other
/// patterns cover too much to be listed.
fn covered(deployment: &Deployment, prices: &PriceBook) -> Vec<String> {
    let label = deployment.provider.label();
    let prefix = format!("{label}/");
    if deployment.model_name != format!("{prefix}*") {
        return Vec::new();
    }
    let own = prices.iter().filter(|(_, price)| price.provider() == label);
    let mut names: Vec<String> = own
        .map(|(key, _)| match key.starts_with(&prefix) {
            true => key.to_owned(),
            false => format!("{prefix}{key}"),
        })
        .collect();
    names.sort_unstable();
    names
}

#[cfg(test)]
mod tests;
