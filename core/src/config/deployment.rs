//! One entry of `model_list`, resolved.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use serde_json::{Map, Value as Json};

use super::keys::{BODY_FIELDS, Section};
use super::problem::{Position, Problems};
use super::provider::Provider;
use super::routing::regions;
use super::section::{Area, to_json};
use super::target::{self, Target};
use super::tree::Node;
use super::wildcard;
use crate::endpoint::Dialect;
use crate::ids::Secret;
use crate::money::NanoUsd;

/// What can serve a model: provider model, credentials, base URL and defaults.
#[derive(Clone, Debug)]
pub struct Deployment {
    /// `model_info.id`, else 64 hex digits of a digest over the entry as written.
    pub id: String,
    /// The name clients ask for; may hold one `*`.
    pub model_name: String,
    /// Who serves it.
    pub provider: Provider,
    /// The provider's name of the model; holds one `*` when the client's name decides.
    pub model: String,
    /// Where it is; `None` when nothing is sent upstream (mocks, providers not served yet).
    pub target: Option<Target>,
    /// Its name asks for OpenAI's Responses API, also for chat requests.
    pub only_responses: bool,
    /// `OpenAI-Organization`.
    pub organization: Option<String>,
    /// Headers added to every upstream request; lower-case names.
    pub extra_headers: Vec<(String, Secret)>,
    /// Fields merged under the client's body.
    pub default_params: Map<String, Json>,
    /// Fields set over the client's body.
    pub extra_body: Map<String, Json>,
    /// Share among the deployments of a model; `None` weighs 1 beside others that say theirs.
    pub weight: Option<f64>,
    /// Limit of one attempt, where it differs from the router's.
    pub timeout: Option<Duration>,
    /// The same for streams, until the first token.
    pub stream_timeout: Option<Duration>,
    /// Longest silence in a started answer, where it differs from the gateway's.
    pub stall_timeout: Option<Duration>,
    /// Longest time from a request's arrival to the end of its answer, where it differs.
    pub total_timeout: Option<Duration>,
    /// Attempts after the first, where it differs from the router's.
    pub num_retries: Option<u32>,
    /// Canned answer; no upstream is called.
    pub mock_response: Option<String>,
    /// Region it runs in.
    pub region_name: Option<String>,
    /// Regions that may serve its model; `None` is all.
    pub allowed_regions: Option<BTreeSet<String>>,
    /// It gets no request.
    pub blocked: bool,
    /// Whether background probes include it.
    pub probed: bool,
    /// Requests per minute.
    pub rpm: Option<u64>,
    /// Tokens per minute.
    pub tpm: Option<u64>,
    /// Requests at the same time.
    pub max_parallel_requests: Option<u64>,
    /// Lower ones are used first; `None` comes last.
    pub order: Option<u64>,
    /// First time that it is left out after failures, where it differs from the router's.
    pub cooldown_time: Option<Duration>,
    /// Tags that requests choose it by.
    pub tags: Vec<String>,
    /// Tokens of the longest prompt, where the price map's figure does not hold.
    pub max_input_tokens: Option<u64>,
    /// Prices over the price map's, in the price map's form.
    pub prices: Map<String, Json>,
    /// Name to look the price up by.
    pub base_model: Option<String>,
    /// `chat`, `embedding`, ...
    pub mode: Option<String>,
    /// Names that keys may list instead of the model.
    pub access_groups: Vec<String>,
    /// `model_info` as written, for `/model/info`.
    pub model_info: Map<String, Json>,
    /// What a translation may leave out; `drop_params` is LiteLLM's global one where absent.
    pub losses: Losses,
    /// What may be spent with it.
    pub budget: Option<OwnBudget>,
    /// Where the entry begins.
    pub position: Position,
}

/// What a translation may leave out of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Parameters that the provider does not know are left out, and not refused.
    pub drop_params: Option<bool>,
    /// Parameters that are always left out.
    pub additional_drop_params: Vec<String>,
    /// Parameters that are sent whatever is known of the model.
    pub allowed_openai_params: Vec<String>,
    /// A request that would lose anything is refused.
    pub strict: Option<bool>,
}

/// What may be spent with one deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnBudget {
    /// `max_budget`, per period.
    pub limit: NanoUsd,
    /// `budget_duration`; `None` is one that never ends.
    pub duration: Option<String>,
}

impl Deployment {
    /// Whether requests in this dialect pass to it as they are.
    pub fn serves(&self, dialect: Dialect) -> bool {
        self.mock_response.is_some() || self.provider.serves(dialect, &self.model)
    }

    /// Whether the management API made it, and not a file.
    pub fn is_stored(&self) -> bool {
        self.position.record().is_some()
    }

    /// Whether `model_name` is a pattern.
    pub fn is_wildcard(&self) -> bool {
        self.model_name.contains('*')
    }

    /// Whether a client that asks for `name` may be served by it.
    pub fn matches(&self, name: &str) -> bool {
        wildcard::capture(&self.model_name, name).is_some()
    }

    /// The provider's name of the model for a client that asked for `name`.
    pub fn upstream_model(&self, name: &str) -> String {
        match wildcard::capture(&self.model_name, name) {
            Some(captured) if self.model.contains('*') => self.model.replacen('*', captured, 1),
            _ => self.model.clone(),
        }
    }
}

/// What deployments inherit that do not say it themselves.
pub(super) struct Defaults<'a> {
    /// `meridian.default_region`.
    pub(super) region: Option<&'a str>,
    /// `router_settings.default_max_parallel_requests`.
    pub(super) max_parallel_requests: Option<u64>,
}

/// Resolves `model_list`. `digests` are those of its entries before variables were put in.
pub(super) fn resolve_all(
    list: &[Node],
    digests: &[String],
    defaults: &Defaults<'_>,
    env: &HashMap<String, String>,
    problems: &mut Problems,
) -> Vec<Deployment> {
    let (mut ids, mut repeats) = (HashSet::new(), HashMap::new());
    let mut deployments = Vec::new();
    for (index, node) in list.iter().enumerate() {
        let path = format!("model_list[{index}]");
        let entry = Area::new(Some(node), &node.at, path);
        let digest = digests.get(index).map_or("", String::as_str);
        let Some(mut deployment) = resolve(&entry, digest, defaults, env, problems) else {
            continue;
        };
        take_id(&entry, &mut deployment, (&mut ids, &mut repeats), problems);
        deployments.push(deployment);
    }
    check_weights(&deployments, problems);
    deployments
}

/// Two deployments never share an id: an explicit one is refused, a derived one is numbered.
fn take_id(
    entry: &Area<'_>,
    deployment: &mut Deployment,
    (ids, repeats): (&mut HashSet<String>, &mut HashMap<String, u32>),
    problems: &mut Problems,
) {
    if ids.insert(deployment.id.clone()) {
        return;
    }
    let own = entry.child("model_info");
    let (at, path) = (own.at("id"), own.path_of("id"));
    if own.text("id").is_some() {
        let message = format!(
            "`{}` is used by another deployment; ids are unique",
            deployment.id
        );
        problems.error(at, &path, message);
        return;
    }
    let message = "the same as another entry; give each a `model_info.id`, or set `weight`";
    problems.warning(entry.start(), entry.path(), message);
    let derived = deployment.id.clone();
    let number = repeats.entry(derived.clone()).or_insert(1);
    while !ids.insert(deployment.id.clone()) {
        *number += 1;
        deployment.id = format!("{derived}-{number}");
    }
}

fn check_weights(deployments: &[Deployment], problems: &mut Problems) {
    let mut heaviest: HashMap<&str, f64> = HashMap::new();
    for deployment in deployments {
        let weight = heaviest.entry(&deployment.model_name).or_default();
        *weight = weight.max(deployment.weight.unwrap_or(1.0));
    }
    let mut reported = HashSet::new();
    for Deployment {
        model_name,
        position,
        ..
    } in deployments
    {
        if heaviest.get(model_name.as_str()) == Some(&0.0) && reported.insert(model_name) {
            let message =
                format!("every deployment of `{model_name}` has weight 0; one must have more");
            problems.error(position, "model_list", message);
        }
    }
}

fn resolve(
    entry: &Area<'_>,
    digest: &str,
    defaults: &Defaults<'_>,
    env: &HashMap<String, String>,
    problems: &mut Problems,
) -> Option<Deployment> {
    let (params, facts) = (entry.child("litellm_params"), entry.child("model_info"));
    let model_name = required(entry, "model_name", "the name clients ask for", problems);
    let written = required(&params, "model", "`provider/model`", problems);
    let (model_name, written) = (model_name?, written?);
    let (provider, model) = match Provider::of_model(written, params.text("custom_llm_provider")) {
        Ok((provider, model)) => (provider, model.to_owned()),
        Err(why) => {
            problems.error(params.at("model"), &params.path_of("model"), why);
            return None;
        }
    };
    check_names(entry, &params, (model_name, written), provider, problems);
    let mock_response = mock(&params, provider);
    let mut model = model;
    let target = match mock_response {
        Some(_) => None,
        None => target::resolve(&params, provider, &mut model, env, problems),
    };
    let limit = |key| params.count(key).or_else(|| entry.count(key));
    let region = regions::name(&params, "region_name", problems).or(defaults.region);
    let parallel = params.count("max_parallel_requests");
    let retries = params.count("num_retries").or(params.count("max_retries"));
    Some(Deployment {
        id: facts.text("id").unwrap_or(digest).to_owned(),
        model_name: model_name.to_owned(),
        provider,
        model,
        target,
        only_responses: only_responses(written, provider, facts.text("mode")),
        organization: params.text("organization").map(str::to_owned),
        extra_headers: extra_headers(&params, problems),
        default_params: default_params(&params),
        extra_body: params.json_map("extra_body"),
        weight: params.number("weight"),
        timeout: params.seconds("timeout"),
        stream_timeout: params.seconds("stream_timeout"),
        stall_timeout: params.seconds("stall_timeout"),
        total_timeout: params.seconds("total_timeout"),
        num_retries: retries.map(|count| u32::try_from(count).unwrap_or(u32::MAX)),
        mock_response,
        region_name: region.map(str::to_owned),
        allowed_regions: allowed_regions(&params, &facts, problems),
        blocked: facts.bool("blocked").unwrap_or(false),
        probed: facts.bool("disable_background_health_check") != Some(true),
        rpm: limit("rpm"),
        tpm: limit("tpm"),
        max_parallel_requests: parallel.or(defaults.max_parallel_requests),
        order: params.count("order").or_else(|| facts.count("order")),
        cooldown_time: params.seconds("cooldown_time"),
        tags: owned(params.texts("tags")),
        max_input_tokens: facts.count("max_input_tokens"),
        prices: prices(&params, &facts),
        base_model: facts.text("base_model").map(str::to_owned),
        mode: facts.text("mode").map(str::to_owned),
        access_groups: owned(facts.texts("access_groups")),
        model_info: entry.json_map("model_info"),
        losses: losses(&params),
        budget: budget(&params, problems),
        position: entry.start().clone(),
    })
}

fn required<'a>(
    area: &Area<'a>,
    key: &str,
    what: &str,
    problems: &mut Problems,
) -> Option<&'a str> {
    let text = area.text(key);
    if text.is_none() {
        let message = format!("required: {what}");
        problems.error(area.at(key), &area.path_of(key), message);
    }
    text
}

fn check_names(
    entry: &Area<'_>,
    params: &Area<'_>,
    (model_name, written): (&str, &str),
    provider: Provider,
    problems: &mut Problems,
) {
    for (area, key, name) in [
        (entry, "model_name", model_name),
        (params, "model", written),
    ] {
        if name.matches('*').count() > 1 {
            problems.error(area.at(key), &area.path_of(key), "only one `*` is possible");
        }
    }
    let (at, path) = (params.at("model"), params.path_of("model"));
    if written.contains('*') && !model_name.contains('*') {
        let message =
            format!("`*` needs a `*` in the model name `{model_name}`, to be filled from");
        problems.error(at, &path, message);
    }
    if written == "*" && params.text("custom_llm_provider").is_none() {
        problems.warning(at, &path, "no provider; `openai/*` is used, write that");
    }
    if !provider.is_served() {
        let message = format!(
            "`{}` is not served by this version; requests get 400",
            provider.label()
        );
        problems.warning(at, &path, message);
    }
}

fn mock(params: &Area<'_>, provider: Provider) -> Option<String> {
    const DEFAULT: &str = "This is a canned answer: no provider was called.";
    let text = params.get("mock_response").map(|node| match node.scalar() {
        Some(scalar) => scalar.text().to_owned(),
        None => to_json(node).to_string(),
    });
    text.or_else(|| (provider == Provider::Mock).then(|| DEFAULT.to_owned()))
}

fn extra_headers(params: &Area<'_>, problems: &mut Problems) -> Vec<(String, Secret)> {
    let headers = params.child("extra_headers");
    let mut list = Vec::new();
    for entry in params.get("extra_headers").map_or(&[][..], Node::entries) {
        let path = headers.path_of(&entry.key);
        let in_name = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        if entry.key.is_empty() || !entry.key.chars().all(in_name) {
            problems.error(&entry.key_at, &path, "not a header name");
            continue;
        }
        let value = entry.value.scalar().map(|scalar| scalar.text());
        match value.filter(|text| !text.contains(|c: char| c.is_control() && c != '\t')) {
            Some(text) => list.push((entry.key.to_ascii_lowercase(), Secret::new(text))),
            None if entry.value.is_null() => {}
            None => problems.error(&entry.value.at, &path, "expected one line of text"),
        }
    }
    list
}

/// `openai/responses/...` and `mode: responses`.
fn only_responses(written: &str, provider: Provider, mode: Option<&str>) -> bool {
    let may = matches!(provider, Provider::OpenAi | Provider::Azure);
    may && (mode == Some("responses") || written.contains("/responses/"))
}

/// Everything in `litellm_params` that is not a setting is a request field, as in LiteLLM.
fn default_params(params: &Area<'_>) -> Map<String, Json> {
    let is_field = |name: &str| {
        BODY_FIELDS.binary_search(&name).is_ok() || Section::Params.find(name).is_none()
    };
    let mut fields = params.all_json();
    fields.retain(|name, value| is_field(name) && !value.is_null());
    fields
}

/// Price fields of both places; those of `litellm_params` win. Numeric texts become numbers.
fn prices(params: &Area<'_>, facts: &Area<'_>) -> Map<String, Json> {
    const NAMES: [&str; 3] = ["cost_per_", "token_cost", "tiered_pricing"];
    let is_price =
        |name: &str| name.starts_with("regional_") || NAMES.iter().any(|part| name.contains(part));
    let mut prices = facts.all_json();
    prices.append(&mut params.all_json());
    prices.retain(|name, value| is_price(name) && !value.is_null());
    prices.values_mut().for_each(number_of_text);
    prices
}

fn number_of_text(value: &mut Json) {
    match value {
        Json::String(text) => {
            let number = text
                .trim()
                .parse()
                .ok()
                .and_then(serde_json::Number::from_f64);
            if let Some(number) = number {
                *value = Json::Number(number);
            }
        }
        Json::Array(items) => items.iter_mut().for_each(number_of_text),
        Json::Object(map) => map.values_mut().for_each(number_of_text),
        _ => {}
    }
}

/// An empty list says nothing.
fn allowed_regions(
    params: &Area<'_>,
    facts: &Area<'_>,
    problems: &mut Problems,
) -> Option<BTreeSet<String>> {
    const KEY: &str = "allowed_regions";
    let place = if params.has(KEY) { params } else { facts };
    let names: BTreeSet<String> = regions::names(place, KEY, problems).into_iter().collect();
    (!names.is_empty()).then_some(names)
}

fn losses(params: &Area<'_>) -> Losses {
    Losses {
        drop_params: params.bool("drop_params"),
        additional_drop_params: owned(params.texts("additional_drop_params")),
        allowed_openai_params: owned(params.texts("allowed_openai_params")),
        strict: params.bool("strict_translation"),
    }
}

fn budget(params: &Area<'_>, problems: &mut Problems) -> Option<OwnBudget> {
    const KEY: &str = "max_budget";
    let limit = NanoUsd::from_dollars(params.number(KEY)?);
    let Some(limit) = limit.filter(|limit| *limit >= NanoUsd::ZERO) else {
        let message = "expected dollars, at least 0";
        problems.error(params.at(KEY), &params.path_of(KEY), message);
        return None;
    };
    Some(OwnBudget {
        limit,
        duration: params.text("budget_duration").map(str::to_owned),
    })
}

fn owned(texts: Vec<(&str, &Position)>) -> Vec<String> {
    texts.into_iter().map(|(text, _)| text.to_owned()).collect()
}
