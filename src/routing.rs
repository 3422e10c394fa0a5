//! What this node knows of its deployments: how fast they are, what failed, who is left out. Kept
//! over reloads, because a new configuration makes no provider healthy.

mod subject;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dashmap::DashMap;
use meridian_core::config::Deployment;
use meridian_core::ids::KeyHash;
use meridian_core::limit::Limits;
use meridian_core::routing::affinity::DeploymentHash;
use meridian_core::routing::failure::Blame;
use meridian_core::routing::health::{Circuit, Cooled, Health};
use meridian_core::routing::plan::Facts;
use meridian_core::routing::share::ShareBucket;
use meridian_core::time::MonoUs;
use tokio::sync::broadcast;

use crate::clock;
pub use subject::Subject;

/// The order of a deployment that names none: after all that do.
const ORDER_LAST: u64 = u64::MAX;
/// Times out that a listener may be behind before it misses some.
const NEWS_MAX: usize = 256;

/// One credential, without saying which: deployments with the same one fail together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CredentialId(u64);

impl CredentialId {
    /// Of the headers and the host that a deployment's requests go out with; one without a key
    /// stands for itself.
    pub fn of(deployment: &Deployment) -> Self {
        let key = deployment.target.as_ref().and_then(|target| {
            if let Some(identity) = &target.identity {
                return Some(format!(
                    "{}\n{:?}",
                    target.base.host, identity.fingerprint.0
                ));
            }
            let key = target.api_key.as_ref()?.reveal();
            let organization = deployment.organization.as_deref().unwrap_or_default();
            Some(format!("{}\n{key}\n{organization}", target.base.host))
        });
        let digest = KeyHash::of_secret(key.as_deref().unwrap_or(&deployment.id));
        let word = digest.as_bytes().iter().take(8);
        Self(word.fold(0, |word, byte| word << 8 | u64::from(*byte)))
    }
}

impl std::fmt::Display for CredentialId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A deployment or credential that was just left out, for whoever passes it on.
#[derive(Clone, Debug)]
pub struct News {
    /// The deployment that failed.
    pub deployment_id: String,
    /// Its credential.
    pub credential: CredentialId,
    /// Who is left out, until when, and why.
    pub cooled: Cooled,
}

/// Health of every deployment, and the node's own shares of extra sends.
pub struct Routing {
    started: Instant,
    deployments: DashMap<(String, CredentialId), Arc<Health>>,
    credentials: DashMap<CredentialId, Arc<Circuit>>,
    /// Retries and fallbacks.
    pub retries: ShareBucket,
    /// Hedges.
    pub hedges: ShareBucket,
    news: broadcast::Sender<News>,
}

impl Routing {
    /// Nothing is known yet.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            started: clock::mono(),
            deployments: DashMap::new(),
            credentials: DashMap::new(),
            retries: ShareBucket::with_floor(MonoUs(0)),
            hedges: ShareBucket::strict(),
            news: broadcast::Sender::new(NEWS_MAX),
        })
    }

    /// Now, on the clock that health is kept by.
    pub fn now(&self) -> MonoUs {
        MonoUs::default().plus(self.started.elapsed())
    }

    /// Time from now to a moment of that clock; zero when it is over.
    pub fn until(&self, moment: MonoUs) -> Duration {
        moment.since(self.now())
    }

    /// What is known of a deployment with its credential, with the limits that it has from now on.
    pub fn health(&self, deployment: &Deployment) -> Arc<Health> {
        let credential = CredentialId::of(deployment);
        let key = (deployment.id.clone(), credential);
        let now = self.now();
        let circuit = self.circuit(credential);
        let health = || Arc::new(Health::new(circuit, now));
        let health = Arc::clone(&self.deployments.entry(key).or_insert_with(health));
        health.rates().set(limits_of(deployment));
        health
    }

    /// The circuit of a credential.
    fn circuit(&self, credential: CredentialId) -> Arc<Circuit> {
        let now = self.now();
        let new = || Arc::new(Circuit::new(now));
        Arc::clone(&self.credentials.entry(credential).or_insert_with(new))
    }

    /// Forgets what no configuration names any more.
    pub fn retain<'a>(&self, deployments: impl Iterator<Item = &'a Deployment>) {
        let known: HashSet<(String, CredentialId)> = deployments
            .map(|one| (one.id.clone(), CredentialId::of(one)))
            .collect();
        self.deployments.retain(|key, _| known.contains(key));
        self.credentials
            .retain(|id, _| known.iter().any(|(_, credential)| credential == id));
    }

    /// A failure left somebody out.
    pub fn tell(&self, deployment: &Deployment, cooled: Cooled) {
        // Without listeners there is nobody to tell.
        let _ = self.news.send(News {
            deployment_id: deployment.id.clone(),
            credential: CredentialId::of(deployment),
            cooled,
        });
    }

    /// Times out as they begin, from now on.
    pub fn listen(&self) -> broadcast::Receiver<News> {
        self.news.subscribe()
    }

    /// What another node of the region found out: nothing is known here of what it does not name.
    pub fn hear(&self, news: &News) {
        let (until, cause) = (news.cooled.opened.until, news.cooled.opened.cause);
        match news.cooled.whose {
            Blame::Nobody => {}
            Blame::Credential => {
                if let Some(circuit) = self.credentials.get(&news.credential) {
                    circuit.hear(until, cause);
                }
            }
            Blame::Deployment => {
                let key = (news.deployment_id.clone(), news.credential);
                if let Some(health) = self.deployments.get(&key) {
                    health.circuit().hear(until, cause);
                }
            }
        }
    }
}

/// What the configuration says about a deployment, as decisions need it. `price` is in dollars for
/// an input and an output token together; `max_input_tokens` is the price map's.
pub fn facts_of(
    deployment: &Deployment,
    price: Option<f64>,
    max_input_tokens: Option<u64>,
) -> Facts {
    Facts {
        hash: DeploymentHash::of_id(&deployment.id),
        region: deployment.region_name.clone(),
        order: deployment.order.unwrap_or(ORDER_LAST),
        tags: deployment.tags.clone(),
        weight: deployment.weight,
        limits: limits_of(deployment),
        max_input_tokens: deployment.max_input_tokens.or(max_input_tokens),
        price,
        blocked: deployment.blocked,
    }
}

fn limits_of(deployment: &Deployment) -> Limits {
    Limits {
        rpm: deployment.rpm,
        tpm: deployment.tpm,
        parallel: deployment.max_parallel_requests,
    }
}
