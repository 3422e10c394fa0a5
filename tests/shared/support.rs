//! A node without its data plane: what it knows of deployments, and the task that shares it.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use meridian::routing::{CredentialId, Routing};
use meridian::shared::{Link, Sharer};
use meridian::telemetry::metrics::{CoordinationMessage, Gauges, Metrics, MetricsOptions};
use meridian_core::config::{Config, Deployment};
use meridian_core::health::Coordination;
use meridian_core::routing::failure::Blame;
use meridian_core::routing::health::{Circuit, Cooled, Gate, Opened};
use meridian_core::routing::policy::FailureClass;
use meridian_testkit::deadline::{SOON, eventually};
use meridian_testkit::redis::Redis;
use tokio::sync::watch;

/// The provider's key in every configuration.
pub(crate) const API_KEY: &str = "the-providers-own-key";
/// What deployments fail with.
pub(crate) const CAUSE: FailureClass = FailureClass::Overload;

/// Who is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    Deployment,
    Credential,
}

/// A configuration with one deployment and this Redis.
pub(crate) fn yaml(url: &str) -> String {
    with_cache(&format!("url: '{url}'"))
}

/// A configuration with one deployment and these `cache_params`.
pub(crate) fn with_cache(params: &str) -> String {
    format!(
        "general_settings: {{master_key: sk-0123456789abcdef}}\n\
         model_list: [{{model_name: m, model_info: {{id: one}}, litellm_params: {{model: \
         openai/gpt, api_base: 'https://provider.example/v1', api_key: {API_KEY}}}}}]\n\
         litellm_settings: {{cache_params: {{type: redis, {params}}}}}\n"
    )
}

/// The same with a response cache there.
pub(crate) fn with_answers(params: &str) -> String {
    with_cache(params).replace("cache_params:", "cache: true, cache_params:")
}

pub(crate) fn config(text: &str) -> Config {
    let mut read = |_: &Path| Ok(text.to_owned());
    let loaded = meridian_core::config::load(&mut read, Path::new("c.yaml"), &HashMap::new());
    loaded
        .config
        .unwrap_or_else(|| panic!("{:#?}", loaded.problems))
}

/// One node. Dropping it ends its task.
pub(crate) struct Node {
    pub(crate) routing: Arc<Routing>,
    pub(crate) link: Arc<Link>,
    metrics: Arc<Metrics>,
    deployment: Deployment,
    start: String,
    _stop: watch::Sender<bool>,
}

impl Node {
    /// Of no region.
    pub(crate) fn new(redis: &Redis) -> Self {
        Self::of(&yaml(&redis.url()), None)
    }

    pub(crate) fn of(yaml: &str, region: Option<&str>) -> Self {
        let config = config(yaml);
        let deployment = config.models[0].clone();
        let routing = Routing::new();
        // As rules do when they are built.
        routing.health(&deployment);
        let metrics = Arc::new(Metrics::new(&MetricsOptions::default()).unwrap());
        let link = Arc::new(Link::new(true));
        let sharer = Sharer::new(
            config.redis.unwrap(),
            region,
            Arc::clone(&routing),
            Arc::clone(&link),
            Arc::clone(&metrics),
        );
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(sharer.run(stopped));
        Self {
            routing,
            link,
            metrics,
            deployment,
            start: format!("meridian:{{cooldown}}:{}", region.unwrap_or_default()),
            _stop: stop,
        }
    }

    /// A new process in its place.
    pub(crate) fn restart(&mut self, redis: &Redis) {
        *self = Self::new(redis);
    }

    /// Waits until Redis answers it.
    pub(crate) async fn is_up(&self) {
        self.is(Coordination::Redis { up: true }, SOON).await;
    }

    pub(crate) async fn is(&self, state: Coordination, within: Duration) {
        let what = format!("{state:?}");
        let found = || (self.link.coordination() == state).then_some(());
        eventually(within, &what, found).await;
    }

    /// A failure leaves somebody out, as the attempt loop does it.
    pub(crate) fn cool(&self, whose: Whose, time: Duration) {
        let opened = Opened {
            until: self.routing.now().plus(time),
            cause: CAUSE,
            times: 1,
        };
        self.circuit(whose, |circuit| circuit.hear(opened.until, opened.cause));
        let whose = match whose {
            Whose::Deployment => Blame::Deployment,
            Whose::Credential => Blame::Credential,
        };
        self.routing
            .tell(&self.deployment, Cooled { whose, opened });
    }

    pub(crate) fn circuit<T>(&self, whose: Whose, look: impl FnOnce(&Circuit) -> T) -> T {
        let health = self.routing.health(&self.deployment);
        match whose {
            Whose::Deployment => look(health.circuit()),
            Whose::Credential => look(health.credential()),
        }
    }

    /// For how long it leaves somebody out, and why.
    pub(crate) fn left_out(&self, whose: Whose) -> Option<(Duration, FailureClass)> {
        let now = self.routing.now();
        match self.circuit(whose, |circuit| circuit.gate(now)) {
            Gate::Open { until, cause } => Some((self.routing.until(until), cause)),
            _ => None,
        }
    }

    /// Waits until it leaves somebody out.
    pub(crate) async fn hears(&self, whose: Whose, within: Duration) -> (Duration, FailureClass) {
        eventually(within, "a cooldown of another node", || {
            self.left_out(whose)
        })
        .await
    }

    pub(crate) async fn has_sent(&self, count: u64) {
        self.has(CoordinationMessage::Sent, count).await;
    }

    pub(crate) async fn has_heard(&self, count: u64) {
        self.has(CoordinationMessage::Heard, count).await;
    }

    async fn has(&self, what: CoordinationMessage, count: u64) {
        let wanted = format!("{count} times {what:?}");
        let found = || (self.messages(what) >= count).then_some(());
        eventually(SOON, &wanted, found).await;
    }

    /// What its metrics page says.
    pub(crate) fn messages(&self, what: CoordinationMessage) -> u64 {
        let label = format!("{what:?}").to_lowercase();
        let page = self.metrics.render(&Gauges::default());
        let page = String::from_utf8(page).unwrap();
        let start = format!("meridian_coordination_messages_total{{result=\"{label}\"}} ");
        let line = page.lines().find_map(|line| line.strip_prefix(&start));
        line.unwrap().parse::<f64>().unwrap() as u64
    }

    pub(crate) fn channel(&self) -> String {
        self.start.clone()
    }

    pub(crate) fn key(&self, whose: Whose) -> String {
        let credential = CredentialId::of(&self.deployment);
        match whose {
            Whose::Deployment => format!("{}:deployment:one:{credential}", self.start),
            Whose::Credential => format!("{}:credential::{credential}", self.start),
        }
    }
}

/// How many keys have been read from a server.
pub(crate) fn reads(redis: &Redis) -> u64 {
    let stats = redis.ask(&["INFO", "commandstats"]);
    let line = stats
        .lines()
        .find_map(|line| line.strip_prefix("cmdstat_getrange:calls="));
    let calls = line.and_then(|line| line.split(',').next());
    calls.map_or(0, |calls| calls.parse().unwrap())
}
