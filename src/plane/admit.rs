//! Stage 1: admit. Whoever holds an `Admitted` was authenticated, authorized, metered and is in
//! the journal; no inference route reaches an upstream without one.

mod ask;
mod banned;
mod batched;
mod caller;
mod choose;
mod client_ip;
mod cover;
pub(super) mod hold;
mod limits;
mod named;
mod overrides;
mod scopes;

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method};
use meridian_core::auth::KeyView;
use meridian_core::config::OnDisconnect;
use meridian_core::endpoint::Endpoint;
use meridian_core::error::GatewayError;
use meridian_core::ids::CallId;
use meridian_core::journal::{Bound, Open, Progress};
use meridian_core::meter::Meter;
use meridian_core::meters::Admission;
use meridian_core::money::NanoUsd;
use meridian_core::relay::{Alias, Line, StreamRelay};
use meridian_core::routes::Match;
use meridian_core::routing::plan::Why;
use meridian_core::routing::policy::FailureClass;
use meridian_core::spend::{EndReason, Payer, SpendRecord};
use meridian_core::time::WallMs;
use meridian_core::transcript::Transcript;
use meridian_core::wire::edit::UsageChunk;
use pingora_core::protocols::http::ServerSession;
use tokio::time::Instant;

use super::body::{self, BodyError, BodyLimits};
use super::forward::InFlight;
use super::lookup::{CacheUse, Keeping};
use crate::journal::OpenTicket;
use crate::remote::Items;
use crate::rules::{Group, Rules, Target};
use crate::state::State;

pub(crate) use ask::{Ask, Content};
pub(crate) use caller::payer_of;
use caller::{authenticate, look_up};
pub(crate) use choose::owner_unknown;
pub(crate) use limits::headers as limit_headers;

/// Most attempts after the first that anybody may ask for.
const RETRIES_MAX: u32 = 10;
/// Stands for a timer that is off: no request lives a year.
const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// A request before it is known whose it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    /// Its identity.
    pub call_id: CallId,
    /// When its head was read.
    pub at: Instant,
    /// The same on the wall clock.
    pub wall: WallMs,
    /// When its body was read.
    pub body_at: Instant,
    /// What it asks for.
    pub endpoint: Endpoint,
    /// Canonical path of its route.
    pub canonical: &'static str,
}

impl Arrival {
    /// A request whose head was just read.
    pub(crate) fn new(
        call_id: CallId,
        at: Instant,
        wall: WallMs,
        endpoint: Endpoint,
        canonical: &'static str,
    ) -> Self {
        Self {
            call_id,
            at,
            wall,
            body_at: at,
            endpoint,
            canonical,
        }
    }

    /// A later moment of this request on the wall clock.
    pub(crate) fn wall_of(&self, later: Instant) -> WallMs {
        self.wall.plus_ms((later - self.at).as_millis() as i64)
    }
}

/// An admitted request: settled exactly once, by `settle::settle` or by being dropped.
pub(crate) struct Admitted {
    /// Shared state.
    pub state: Arc<State>,
    /// The rules it runs under.
    pub rules: Arc<Rules>,
    /// When and what.
    pub arrival: Arrival,
    /// Who; `None` for the master key.
    pub key: Option<Arc<KeyView>>,
    /// What exactly.
    pub ask: Ask,
    /// The model that is asked now.
    pub group: Arc<Group>,
    /// The model that the client asked for.
    pub asked_group: Arc<Group>,
    /// Only the deployments of this group have what the request is about.
    pub pinned: bool,
    /// What it has to do with the response cache; `None` for nothing.
    pub cache: Option<CacheUse>,
    /// Where its answer goes beside the client.
    pub keeping: Option<Box<Keeping>>,
    /// Listens to its answer, where what is asked and answered is kept.
    pub transcript: Option<Box<Transcript>>,
    /// How it came to where it is.
    pub route: RouteTaken,
    /// The deployment that runs it.
    pub flight: Option<InFlight>,
    /// Upstream sends so far.
    pub attempts: u32,
    /// The deployment that has the request now, and since when.
    pub dispatched: Option<(Arc<Target>, Instant)>,
    /// Deployments that got it before and did not answer in time: they may bill the prompt.
    pub unanswered: Vec<Arc<Target>>,
    /// The provider's id of the batch that it made, also where nobody waits for the answer.
    pub made_batch: OnceLock<String>,
    /// What its body names on the web, once an attempt has fetched it for all.
    pub web_items: tokio::sync::Mutex<Option<Arc<Items>>>,
    pub(super) hold: Option<Hold>,
}

/// How a request came to its deployment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RouteTaken {
    /// Further sends to the same model.
    pub retries: u32,
    /// Other models that were asked.
    pub fallbacks: u32,
    /// Why this deployment; `None` before one was chosen.
    pub why: Option<Why>,
    /// What the attempt before failed with.
    pub after: Option<FailureClass>,
}

/// What is held for a request until it is settled.
pub(super) struct Hold {
    pub(super) record: SpendRecord,
    pub(super) admission: Admission,
    pub(super) ticket: OpenTicket,
    pub(super) bound: Bound,
    /// Output tokens that money is held for; a stream grows slice by slice.
    pub(super) covered: u64,
    /// Those of them that were taken past the end of a budget.
    pub(super) past: u64,
}

/// Why a request was not admitted.
pub(crate) enum NotAdmitted {
    /// Answer with this.
    Refused {
        /// Why.
        error: GatewayError,
        /// Whose request it was, once that is known.
        key: Option<Arc<KeyView>>,
    },
    /// Nobody is left to answer.
    ClientGone,
}

impl NotAdmitted {
    fn by(self, key: &Option<Arc<KeyView>>) -> Self {
        match self {
            Self::Refused { error, .. } => Self::Refused {
                error,
                key: key.clone(),
            },
            Self::ClientGone => Self::ClientGone,
        }
    }
}

impl From<GatewayError> for NotAdmitted {
    fn from(error: GatewayError) -> Self {
        Self::Refused { error, key: None }
    }
}

impl From<BodyError> for NotAdmitted {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::Refused(error) => error.into(),
            BodyError::ClientGone => Self::ClientGone,
        }
    }
}

/// Admits a request or says why not.
pub(crate) async fn admit(
    state: &Arc<State>,
    session: &mut ServerSession,
    arrival: Arrival,
    matched: &Match<'_>,
) -> Result<Box<Admitted>, NotAdmitted> {
    let rules = state.rules.load_full();
    let key = match authenticate(state, &rules, session, matched, arrival.wall) {
        Err(GatewayError::UnknownKey { hash, .. }) if state.lookups.is_some() => {
            look_up(state, &hash).await?;
            authenticate(state, &rules, session, matched, arrival.wall)?
        }
        other => other?,
    };
    let admitted = admit_caller(state, session, arrival, matched, rules, key.clone()).await;
    admitted.map_err(|refused| refused.by(&key))
}

async fn admit_caller(
    state: &Arc<State>,
    session: &mut ServerSession,
    mut arrival: Arrival,
    matched: &Match<'_>,
    rules: Arc<Rules>,
    key: Option<Arc<KeyView>>,
) -> Result<Box<Admitted>, NotAdmitted> {
    let limits = BodyLimits {
        bytes_max: rules.config.meridian.body_bytes_max,
        idle_timeout: rules.config.meridian.body_timeout,
    };
    let body = body::read_body(session, limits, &state.bytes).await?;
    arrival.body_at = Instant::now();
    let mut ask = Ask::read(session, matched, &arrival, body, &rules)?;
    if let Some(own) = key.as_ref().and_then(|key| key.policy.cache.as_deref()) {
        own.apply(&mut ask.cache)?;
    }
    scopes::inherit_tags(state, key.as_deref(), &mut ask);
    let customer = scopes::customer(state, &rules, &mut ask)?;
    ask.require_fields(&arrival)?;
    let chosen = choose::group(state, &rules, key.as_deref(), &mut ask, &arrival).await?;
    let dues = scopes::dues(state, key.as_deref(), &ask, customer.as_ref());
    let mut admitted = hold::hold(state, rules, arrival, key, (ask, dues), chosen).await?;
    admitted.tell_excess();
    Ok(admitted)
}

impl Admitted {
    /// Whether it makes a batch.
    pub(crate) fn makes_batch(&self) -> bool {
        self.ask.makes_batch(self.arrival.endpoint)
    }

    /// Attempts after the first that this request may make.
    pub(crate) fn retries(&self) -> u32 {
        let of_deployment = self
            .group
            .targets()
            .iter()
            .find_map(|one| one.deployment.num_retries);
        let configured = self.rules.config.routing.retries.retries;
        self.ask
            .overrides
            .num_retries
            .or(of_deployment)
            .unwrap_or(configured)
            .min(RETRIES_MAX)
    }

    /// Name of the model that answers; empty for what names none.
    pub(crate) fn model_in_force(&self) -> &str {
        match self.ask.model.is_empty() {
            true => "",
            false => &self.group.name,
        }
    }

    /// Sets of regions that the request must stay in, beside its model's own.
    pub(crate) fn residency(&self) -> Vec<Arc<BTreeSet<String>>> {
        self.rules
            .config
            .routing
            .regions
            .bounds(self.key.as_deref())
    }

    /// Estimated tokens of the prompt, and of prompt and longest answer together.
    pub(crate) fn expected_tokens(&self) -> (u64, u64) {
        let bound = self
            .hold
            .as_ref()
            .map(|hold| hold.bound)
            .unwrap_or_default();
        let answer = bound.completion_tokens_max;
        (
            bound.prompt_tokens,
            bound.prompt_tokens.saturating_add(answer),
        )
    }

    /// Most that it may cost where it is dearest; `None` when nobody knows.
    pub(crate) fn most_expensive(&self) -> Option<NanoUsd> {
        let priced = |target: &Arc<Target>| target.price.is_some();
        let hold = self.hold.as_ref()?;
        self.group
            .targets()
            .iter()
            .all(priced)
            .then_some(hold.bound.reserved)
    }

    /// Cost that is held for it.
    pub(crate) fn reserved(&self) -> NanoUsd {
        let hold = self.hold.as_ref();
        hold.map_or(NanoUsd::ZERO, |hold| hold.admission.reserved())
    }

    /// Whether its key or a scope of it was blocked or deleted since it was admitted.
    pub(crate) fn is_revoked(&self) -> bool {
        let hold = self.hold.as_ref();
        hold.is_some_and(|hold| hold.admission.has_ended())
    }

    /// Whether a second send does no harm: an object would be made twice.
    pub(crate) fn may_repeat(&self) -> bool {
        let makes_object = matches!(
            self.arrival.endpoint,
            Endpoint::Files
                | Endpoint::Batches
                | Endpoint::MessageBatches
                | Endpoint::AnthropicFiles
                | Endpoint::ResponsesItem
        );
        !(makes_object && self.ask.method == Method::POST)
    }

    /// Limit of one attempt until it is committed.
    pub(crate) fn timeout(&self, target: &Target) -> Duration {
        let (asked, own) = self.timeouts(target);
        asked.unwrap_or(own)
    }

    /// The same as configured, whatever the caller asked for.
    pub(crate) fn configured_timeout(&self, target: &Target) -> Duration {
        self.timeouts(target).1
    }

    /// When the caller's own deadline passes, counted from the arrival of its request.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let asked = &self.ask.overrides;
        let limit = match self.ask.stream {
            true => asked.stream_timeout.or(asked.timeout),
            false => asked.timeout,
        };
        limit.map(|limit| self.arrival.at + limit)
    }

    /// What the caller asked for, and what is configured.
    fn timeouts(&self, target: &Target) -> (Option<Duration>, Duration) {
        let (asked, deployment) = (&self.ask.overrides, &target.deployment);
        let router = &self.rules.config.router;
        if self.ask.stream {
            let asked = asked.stream_timeout.or(asked.timeout);
            let own = deployment.stream_timeout.or(deployment.timeout);
            return (asked, own.unwrap_or(router.stream_timeout));
        }
        let own = deployment.timeout.unwrap_or(router.timeout);
        (asked.timeout, own)
    }

    /// Silence after which a stream gets a keepalive; longer than any request when it is off.
    pub(crate) fn keepalive(&self) -> Duration {
        match self.rules.config.meridian.keepalive {
            Duration::ZERO => NEVER,
            every => every,
        }
    }

    /// Longest silence of the upstream in a started answer, and how such an answer ends: a caller
    /// that is less patient than the configuration shows no fault of the deployment.
    pub(crate) fn stall_timeout(&self, target: &Target) -> (Duration, EndReason) {
        let configured = target.deployment.stall_timeout;
        let own = configured.unwrap_or(self.rules.config.meridian.stall_timeout);
        match self.ask.overrides.stall_timeout {
            Some(asked) if asked < own => (asked, EndReason::Timeout),
            _ => (own, EndReason::Stall),
        }
    }

    /// When the whole answer must be there; a year from now where that is not limited.
    pub(crate) fn ends_at(&self, target: &Target) -> Instant {
        let general = self.rules.config.meridian.total_timeout;
        let general = (!general.is_zero()).then_some(general);
        let configured = target.deployment.total_timeout.or(general);
        let limits = [self.ask.overrides.total_timeout, configured];
        let limit = limits.into_iter().flatten().min();
        self.arrival.at + limit.unwrap_or(NEVER)
    }

    /// Whether an answer is read to its end when nobody wants it any more.
    pub(crate) fn drains_after_disconnect(&self) -> bool {
        self.rules.config.meridian.response_on_disconnect == OnDisconnect::Drain
    }

    /// Headers that tell the key's limits.
    pub(crate) fn limit_headers(&self) -> Vec<(HeaderName, HeaderValue)> {
        limits::headers(self.key.as_deref(), self.arrival.wall)
    }

    /// Who pays.
    pub(crate) fn payer(&self) -> &Payer {
        static NOBODY: Payer = Payer::nobody();
        self.hold
            .as_ref()
            .map_or(&NOBODY, |hold| &hold.record.payer)
    }

    /// From now on a provider may bill this request.
    pub(crate) fn mark_sent(&mut self, target: &Arc<Target>) {
        self.dispatched = Some((Arc::clone(target), Instant::now()));
        if let Some(hold) = &mut self.hold {
            hold.admission.mark_sent();
        }
    }

    /// Writes how far a stream has come. A failure costs precision after a crash and nothing
    /// else; the journal itself reports that it cannot be written.
    pub(crate) fn note_progress(&mut self, progress: &Progress) {
        let journal = &self.state.journal;
        let Some(hold) = &mut self.hold else { return };
        if journal.wants_renewal(&hold.ticket) {
            let open = Open {
                record: hold.record.clone(),
                bound: hold.bound,
            };
            if let Err(error) = journal.renew(&mut hold.ticket, &open) {
                tracing::debug!(%error, "an old segment of the journal is kept for a long request");
            }
        }
        if let Err(error) = journal.append_progress(self.arrival.call_id, progress) {
            tracing::debug!(%error, "the progress of a stream is not in the journal");
        }
    }

    /// A meter for an answer.
    pub(crate) fn meter(&self) -> Meter {
        Meter::for_endpoint(self.arrival.endpoint)
    }

    /// The caller's own name for the model, where it may compare it to give thoughts back.
    pub(crate) fn alias(&self) -> Option<Alias> {
        let Content::Json(spans) = &self.ask.content else {
            return None;
        };
        let is_messages = self.arrival.endpoint == Endpoint::Messages;
        let mut thinks = spans.find(&self.ask.body.bytes, |name| name == "thinking");
        let thinks = is_messages && thinks.next().is_some();
        thinks.then(|| Alias::new(&self.ask.requested_model))
    }

    /// A relay for a stream that passes as it is.
    pub(crate) fn stream_relay(&self, usage_chunk: UsageChunk) -> Line {
        let endpoint = self.arrival.endpoint;
        Line::plain(StreamRelay::new(endpoint, self.meter(), usage_chunk))
    }
}
