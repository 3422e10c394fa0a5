//! A deployment made ready for the request path: nothing is formatted or looked up per request.

use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use meridian_core::config::{AuthStyle, Deployment, Target as UpstreamTarget};
use meridian_core::endpoint::Endpoint;
use meridian_core::journal::{Rates, ServedBy};
use meridian_core::money::NanoUsd;
use meridian_core::price::{AdjustmentRules, BillingPlace, Ceiling, ModelPrice, PriceBook};
use meridian_core::routing::failure::Origin;
use meridian_core::routing::health::Health;
use meridian_core::routing::plan::Facts;
use meridian_core::spend::SpendRecord;
use meridian_core::translate::Capabilities;

use crate::credentials::{Credentials, Source};
use crate::routing::{self, Routing};
use crate::telemetry::metrics::{DeploymentLabels, OTHER};
use crate::upstream::Origin as Address;

/// Tokens that journal rates are quoted for.
const TOKENS_PER_RATE: u64 = 1_000_000;

/// A deployment with everything that a request needs of it.
pub struct Target {
    /// The configured entry.
    pub deployment: Arc<Deployment>,
    /// The provider's name of the model for this group.
    pub model: String,
    /// Its price; `None` is unknown, never zero.
    pub price: Option<Arc<ModelPrice>>,
    /// Facts that change the price.
    pub place: BillingPlace,
    /// Price per token as the journal's recovery needs it.
    pub rates: Rates,
    /// Where it is; `None` for canned answers and providers not served yet.
    pub door: Option<Door>,
    /// Values of response headers.
    pub header_values: HeaderValues,
    /// What its model can do, by the price map and `model_info`.
    pub capabilities: Capabilities,
    /// Base URL without credentials, for the ledger.
    pub api_base: String,
    /// What the configuration says about it, as routing needs it.
    pub facts: Facts,
    /// What is known of it.
    pub health: Arc<Health>,
}

/// How to reach an upstream.
pub struct Door {
    /// Address.
    pub origin: Address,
    /// `Host`.
    pub authority: String,
    /// Credentials and fixed headers; the values are marked sensitive.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Where credentials come from that end; they are in no header above.
    pub source: Option<Arc<Source>>,
    /// Builds paths.
    pub paths: UpstreamTarget,
}

/// Values that every answer of this deployment carries.
pub struct HeaderValues {
    /// `x-litellm-model-id`.
    pub model_id: HeaderValue,
    /// `x-litellm-model-api-base`.
    pub api_base: HeaderValue,
    /// `x-litellm-model-region`.
    pub region: Option<HeaderValue>,
}

impl Target {
    /// Makes a deployment ready for clients that ask for `name`.
    pub fn build(
        deployment: &Arc<Deployment>,
        name: &str,
        prices: &PriceBook,
        adjustments: &AdjustmentRules,
        (routing, credentials): (&Routing, &Credentials),
    ) -> Self {
        let model = deployment.upstream_model(name);
        let label = deployment.provider.label();
        let host = deployment
            .target
            .as_ref()
            .map_or("", |target| target.base.host.as_str());
        let cloud = deployment
            .target
            .as_ref()
            .and_then(|one| one.cloud.as_ref());
        let location = cloud.and_then(|cloud| cloud.location());
        let mut place = BillingPlace::of(label, host, location);
        place.adjustment = adjustments.resolve(label, &model);
        let price = price_of(deployment, &model, prices);
        let door = deployment
            .target
            .as_ref()
            .map(|target| Door::build(deployment, target, credentials));
        let api_base = door.as_ref().map(Door::base).unwrap_or_default();
        let rates = rates_of(price.as_deref(), &place);
        Self {
            facts: facts(deployment, price.as_deref(), rates),
            health: routing.health(deployment),
            rates,
            capabilities: capabilities(deployment, price.as_deref()),
            header_values: HeaderValues {
                model_id: value(&deployment.id),
                api_base: value(&api_base),
                region: deployment.region_name.as_deref().map(value),
            },
            deployment: Arc::clone(deployment),
            model,
            price,
            place,
            door,
            api_base,
        }
    }

    /// Whether it can answer this endpoint, as it is or translated.
    pub fn serves(&self, endpoint: Endpoint) -> bool {
        self.deployment.way(endpoint, &self.model).is_some()
    }

    /// Whether it keeps files that are made through the gateway.
    pub fn keeps_files(&self) -> bool {
        self.deployment.keeps_files(&self.model)
    }

    /// Labels of metrics; a wildcard's model is the client's choice and not shown.
    pub fn labels(&self, configured: bool) -> DeploymentLabels<'_> {
        DeploymentLabels {
            id: &self.deployment.id,
            model: if configured { &self.model } else { OTHER },
            api_base: &self.api_base,
            provider: self.deployment.provider.label(),
        }
    }

    /// Whose answers these are, as failures are judged.
    pub fn origin(&self) -> Origin {
        Origin {
            provider: self.deployment.provider,
            named_by_client: self.deployment.is_wildcard(),
        }
    }

    /// Names this deployment in a ledger record.
    pub fn name_in(&self, record: &mut SpendRecord) {
        record.deployment_id.clone_from(&self.deployment.id);
        record.model.clone_from(&self.model);
        self.deployment
            .provider
            .label()
            .clone_into(&mut record.provider);
        record.api_base.clone_from(&self.api_base);
    }

    /// The same for the journal, while a request runs.
    pub fn named(&self) -> ServedBy {
        ServedBy {
            deployment_id: self.deployment.id.clone(),
            model: self.model.clone(),
            provider: self.deployment.provider.label().to_owned(),
            api_base: self.api_base.clone(),
            rates: self.rates,
        }
    }

    /// What it makes of a request, but not where it sends it.
    pub(super) fn settings(&self) -> String {
        let deployment = &self.deployment;
        let headers = deployment.extra_headers.iter();
        let headers: Vec<(&str, &str)> = headers
            .map(|(name, value)| (name.as_str(), value.reveal()))
            .collect();
        let written = serde_json::json!([
            deployment.provider.label(),
            self.model,
            deployment.mock_response,
            deployment.default_params,
            deployment.extra_body,
            headers,
        ]);
        written.to_string()
    }

    /// Whether both use the same account of the same provider.
    pub fn same_account(&self, other: &Self) -> bool {
        let same = |(ours, theirs): (&Door, &Door)| {
            let sources = (ours.source.as_ref(), theirs.source.as_ref());
            let same_source = match sources {
                (None, None) => true,
                (Some(ours), Some(theirs)) => Arc::ptr_eq(ours, theirs),
                _ => false,
            };
            same_source && ours.origin == theirs.origin && ours.headers == theirs.headers
        };
        self.door
            .as_ref()
            .zip(other.door.as_ref())
            .is_some_and(same)
    }
}

impl Door {
    fn build(deployment: &Deployment, target: &UpstreamTarget, credentials: &Credentials) -> Self {
        let base = &target.base;
        let standard_port = if base.tls { 443 } else { 80 };
        let host = match base.host.contains(':') {
            true => format!("[{}]", base.host),
            false => base.host.clone(),
        };
        let authority = match base.port == standard_port {
            true => host,
            false => format!("{host}:{}", base.port),
        };
        let origin = Address::Tcp {
            host: base.host.clone(),
            port: base.port,
            tls: base.tls,
        };
        Self {
            origin,
            authority,
            headers: fixed_headers(deployment, target),
            source: target
                .identity
                .as_ref()
                .map(|identity| credentials.source(identity)),
            paths: target.clone(),
        }
    }

    fn base(&self) -> String {
        let base = &self.paths.base;
        let scheme = if base.tls { "https" } else { "http" };
        format!("{scheme}://{}{}", self.authority, base.path)
    }
}

fn fixed_headers(
    deployment: &Deployment,
    target: &UpstreamTarget,
) -> Vec<(HeaderName, HeaderValue)> {
    let mut headers = Vec::new();
    let mut add = |name: &str, text: &str, sensitive: bool| {
        let pair = HeaderName::try_from(name)
            .ok()
            .zip(HeaderValue::try_from(text).ok());
        if let Some((name, mut value)) = pair {
            value.set_sensitive(sensitive);
            headers.push((name, value));
        }
    };
    if let Some(key) = target.api_key.as_ref().map(|key| key.reveal()) {
        match target.auth {
            AuthStyle::Bearer => add("authorization", &format!("Bearer {key}"), true),
            AuthStyle::ApiKey => add("api-key", key, true),
            AuthStyle::XApiKey => add("x-api-key", key, true),
            AuthStyle::XApiKeyAndApiKey => {
                add("x-api-key", key, true);
                add("api-key", key, true);
            }
            AuthStyle::XGoogApiKey => add("x-goog-api-key", key, true),
            AuthStyle::Signature | AuthStyle::Token | AuthStyle::None => {}
        }
    }
    if let Some(organization) = &deployment.organization {
        add("openai-organization", organization, false);
    }
    for (name, text) in &deployment.extra_headers {
        add(name, text.reveal(), true);
    }
    headers
}

pub(super) fn price_of(
    deployment: &Deployment,
    model: &str,
    prices: &PriceBook,
) -> Option<Arc<ModelPrice>> {
    let label = deployment.provider.label();
    let listed = prices.find(label, model, deployment.base_model.as_deref());
    if deployment.prices.is_empty() {
        return listed;
    }
    let own = match &listed {
        Some(listed) => listed.with_overrides(&deployment.prices),
        None => ModelPrice::from_overrides(&deployment.prices),
    };
    match own {
        Ok(own) => Some(Arc::new(own)),
        Err(error) => {
            tracing::error!(deployment = deployment.id, %error, "custom price is not used");
            listed
        }
    }
}

fn capabilities(deployment: &Deployment, price: Option<&ModelPrice>) -> Capabilities {
    let mut fields = price.map(ModelPrice::info).unwrap_or_default();
    fields.extend(deployment.model_info.clone());
    Capabilities::of(&fields)
}

fn rates_of(price: Option<&ModelPrice>, place: &BillingPlace) -> Rates {
    let bound = |prompt, completion| {
        let ceiling = Ceiling::tokens(prompt, completion);
        price
            .and_then(|price| price.bound(&ceiling, place))
            .unwrap_or(NanoUsd::ZERO)
            .0
    };
    Rates {
        prompt_nano_per_mtok: bound(TOKENS_PER_RATE, 0),
        completion_nano_per_mtok: bound(0, TOKENS_PER_RATE),
    }
}

fn facts(deployment: &Deployment, price: Option<&ModelPrice>, rates: Rates) -> Facts {
    let nano_per_mtok = rates.prompt_nano_per_mtok + rates.completion_nano_per_mtok;
    let dollars_per_token = NanoUsd(nano_per_mtok).dollars() / TOKENS_PER_RATE as f64;
    routing::facts_of(
        deployment,
        price.map(|_| dollars_per_token),
        price.and_then(ModelPrice::max_input_tokens),
    )
}

fn value(text: &str) -> HeaderValue {
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}
