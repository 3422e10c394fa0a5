//! Stage 2, where answers are cached: an admitted request is answered from the cache, waits for an
//! equal one that is on its way, or goes on and keeps what it gets.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use meridian_core::cache::{
    Answer, CacheKey, CachePolicy, CacheScope, Entry, KeyMaker, Plan, Shape, Tenant,
    is_part_of_answer,
};
use meridian_core::endpoint::Endpoint;
use meridian_core::spend::EndReason;
use meridian_core::wire::field::Field;
use meridian_core::wire::json::{Kind, Value};
use pingora_core::protocols::http::ServerSession;
use tokio::sync::watch;
use tokio::time::Instant;

use super::admit::{Admitted, Content};
use super::reply::Gone;
use super::settle::Settled;
use super::{client_gone, early, outgoing};
use crate::byte_budget::ByteLease;
use crate::cache::{Cache, Followed, Join, Lead, Lookup, Place, Stage};
use crate::clock;
use crate::rules::Target;
use crate::state::State;

/// Longest wait for an equal request that brings nothing new meanwhile.
const FOLLOW_SILENCE: Duration = Duration::from_secs(60);

/// What a request has to do with the cache.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CacheUse {
    /// Key of its answer.
    pub key: CacheKey,
    /// What it found.
    pub lookup: Lookup,
    /// How long it waited for an equal request.
    pub followed: Duration,
}

/// What became of a look-up.
pub(crate) enum Looked {
    /// The answer.
    Hit(Arc<Entry>),
    /// A provider has to be asked.
    Miss,
    /// Nobody is left to answer.
    ClientGone,
}

/// Looks for the answer of a request. `cache` is there, but the request may have nothing to do
/// with it.
pub(super) async fn look(
    cache: &Cache,
    session: &mut ServerSession,
    admitted: &mut Admitted,
) -> Looked {
    let rules = Arc::clone(&admitted.rules);
    let Some(policy) = rules.config.cache.as_ref().map(|cache| &cache.policy) else {
        return Looked::Miss;
    };
    let endpoint = admitted.arrival.endpoint;
    let plan = policy.plan(endpoint, &admitted.ask.cache);
    let Some(plan) = plan.filter(|_| is_repeatable(admitted)) else {
        return Looked::Miss;
    };
    let key = key_of(session, admitted, policy);
    let keeps = |store_for| Keeping {
        key,
        store_for,
        memory_ttl: policy.memory_ttl,
        lead: None,
        recorded: Vec::new(),
        lease: ByteLease::new(&admitted.state.bytes),
        bytes_max: policy.entry_bytes_max,
        too_large: false,
    };
    let mut look = Look {
        cache,
        policy,
        plan: &plan,
        key,
        keeping: plan.store_for.map(keeps).map(Box::new),
        followed: Duration::ZERO,
    };
    let (looked, lookup) = match plan.read {
        true => look.find(session, admitted).await,
        false => (Looked::Miss, Lookup::Bypassed),
    };
    cache.counts().looked(lookup);
    admitted.cache = Some(CacheUse {
        key,
        lookup,
        followed: look.followed,
    });
    if matches!(looked, Looked::Miss) {
        admitted.keeping = look.keeping.take();
    }
    looked
}

/// Whether a second request with the same bytes gets the same answer: not from a conversation that
/// the provider keeps, and not from a job that it starts.
fn is_repeatable(admitted: &Admitted) -> bool {
    let ask = &admitted.ask;
    let is_on = |value: Value<'_>| value.raw == b"true";
    let background = ask.field(Field::Background).is_some_and(is_on);
    ask.method == http::Method::POST && !background && !has_conversation(admitted)
}

fn has_conversation(admitted: &Admitted) -> bool {
    let Content::Json(spans) = &admitted.ask.content else {
        return false;
    };
    let mut found = spans.find(&admitted.ask.body.bytes, |name| name == "conversation");
    let kind = |index: usize| spans.members().get(index).map(|member| member.kind);
    found.any(|index| kind(index) != Some(Kind::Null))
}

fn key_of(session: &ServerSession, admitted: &Admitted, policy: &CachePolicy) -> CacheKey {
    let (ask, config) = (&admitted.ask, &admitted.rules.config);
    let mut maker = KeyMaker::new(
        tenant(admitted, policy.scope),
        ask.cache.namespace.as_deref(),
    );
    maker.operation(admitted.arrival.endpoint.label(), &ask.tail);
    maker.group(&admitted.group.name);
    maker.settings(admitted.group.settings());
    if config.general.always_include_stream_usage {
        maker.settings(b"always_include_stream_usage");
    }
    for bound in admitted.residency() {
        bound.iter().for_each(|region| maker.region(region));
        maker.region("");
    }
    if config.routing.tags.is_some() {
        let of_key = admitted.key.iter().flat_map(|key| key.policy.tags().iter());
        let of_key = of_key.map(|tag| &**tag);
        let of_ask = ask.context.tags.iter().map(String::as_str);
        of_ask.chain(of_key).for_each(|tag| maker.tag(tag));
    }
    let passed = outgoing::passed_on(&session.req_header().headers, &config.general);
    let mut parts: Vec<(&str, &[u8])> = passed
        .map(|(name, value)| (name.as_str(), value.as_bytes()))
        .filter(|(name, _)| is_part_of_answer(name))
        .collect();
    // Their order means nothing.
    parts.sort_unstable();
    for (name, value) in parts {
        maker.header(name, value);
    }
    let body = &ask.body.bytes;
    match &ask.content {
        Content::Json(spans) => maker.json(body, spans),
        Content::Form(form) => maker.form(body, form),
        Content::Bytes => maker.bytes(body),
    }
    maker.finish()
}

/// A response that the provider stores belongs to the key that made it: another key of the team
/// could not go on from it.
fn tenant(admitted: &Admitted, scope: CacheScope) -> Tenant<'_> {
    let stored = admitted.arrival.endpoint == Endpoint::Responses;
    let Some(view) = admitted.key.as_deref() else {
        return match scope {
            CacheScope::Global if !stored => Tenant::Everyone,
            _ => Tenant::Master,
        };
    };
    let key = &view.policy;
    match (scope, &key.team_id, view.user_id()) {
        (CacheScope::Key, ..) => Tenant::Key(&key.token),
        _ if stored => Tenant::Key(&key.token),
        (CacheScope::Global, ..) => Tenant::Everyone,
        (CacheScope::Tenant, Some(team), _) => Tenant::Team(team),
        (CacheScope::Tenant, None, Some(user)) => Tenant::User(user),
        (CacheScope::Tenant, None, None) => Tenant::Key(&key.token),
    }
}

/// One look-up.
struct Look<'a> {
    cache: &'a Cache,
    policy: &'a CachePolicy,
    plan: &'a Plan,
    key: CacheKey,
    keeping: Option<Box<Keeping>>,
    followed: Duration,
}

/// How waiting for an equal request ended.
enum Waited {
    Followed(Followed),
    ClientGone,
}

impl Look<'_> {
    async fn find(&mut self, session: &mut ServerSession, admitted: &Admitted) -> (Looked, Lookup) {
        let give_up_at = give_up_at(admitted);
        let mut keepalive = early::first_due(admitted);
        loop {
            if let Some(entry) = self.in_memory() {
                return (Looked::Hit(entry), Lookup::Hit(Place::Memory));
            }
            let waits = self.policy.single_flight && Instant::now() < give_up_at;
            let Some(keeping) = self.keeping.as_mut().filter(|_| waits) else {
                return hit_in_redis(self.in_redis().await);
            };
            let stages = match self.cache.join(self.key) {
                Join::Lead(lead) => {
                    keeping.lead = Some(lead);
                    return self.lead().await;
                }
                Join::Follow(stages) => stages,
            };
            let since = Instant::now();
            let waited = follow(session, admitted, stages, give_up_at, &mut keepalive).await;
            self.followed += since.elapsed();
            match waited {
                Waited::ClientGone => return (Looked::ClientGone, Lookup::Miss),
                Waited::Followed(Followed::Answer(entry)) if self.will_do(session, &entry) => {
                    return (Looked::Hit(entry), Lookup::Followed);
                }
                Waited::Followed(Followed::Answer(_) | Followed::Alone) => {
                    return (Looked::Miss, Lookup::Miss);
                }
                Waited::Followed(Followed::Left) => {}
            }
        }
    }

    /// The first of several equal requests asks Redis for all of them.
    async fn lead(&mut self) -> (Looked, Lookup) {
        // The last one may have ended between the look into memory and now.
        let found = match self.in_memory() {
            Some(entry) => Some((entry, Place::Memory)),
            None => self.in_redis().await.map(|entry| (entry, Place::Redis)),
        };
        let Some((entry, place)) = found else {
            return (Looked::Miss, Lookup::Miss);
        };
        if let Some(lead) = self
            .keeping
            .take()
            .and_then(|mut keeping| keeping.lead.take())
        {
            lead.stored(&entry);
        }
        (Looked::Hit(entry), Lookup::Hit(place))
    }

    /// A begun stream cannot go on with an answer in one piece.
    fn will_do(&self, session: &ServerSession, entry: &Entry) -> bool {
        let fits = entry.answer.shape == Shape::Stream || !early::is_open(session);
        fits && entry.left(clock::now(), self.plan.max_age).is_some()
    }

    fn in_memory(&self) -> Option<Arc<Entry>> {
        let max_age = self.plan.max_age;
        self.cache.in_memory(&self.key, clock::now(), max_age)
    }

    async fn in_redis(&self) -> Option<Arc<Entry>> {
        let max_age = self.plan.max_age;
        let memory_ttl = self.policy.memory_ttl;
        let found = self
            .cache
            .in_redis(self.key, memory_ttl, clock::now(), max_age);
        found.await
    }
}

fn hit_in_redis(found: Option<Arc<Entry>>) -> (Looked, Lookup) {
    match found {
        Some(entry) => (Looked::Hit(entry), Lookup::Hit(Place::Redis)),
        None => (Looked::Miss, Lookup::Miss),
    }
}

/// Until when an equal request is waited for: half of the caller's own time is left to go and ask.
fn give_up_at(admitted: &Admitted) -> Instant {
    let now = Instant::now();
    let first = admitted.group.targets().first();
    let configured = first.map(|target| admitted.arrival.at + admitted.timeout(target));
    let deadline = admitted.deadline().or(configured).unwrap_or(now);
    now + deadline.saturating_duration_since(now) / 2
}

/// Waits for the answer of an equal request while that one gets on.
async fn follow(
    session: &mut ServerSession,
    admitted: &Admitted,
    mut stages: watch::Receiver<Stage>,
    give_up_at: Instant,
    keepalive: &mut Option<Instant>,
) -> Waited {
    let mut silent_until = Instant::now() + FOLLOW_SILENCE;
    loop {
        tokio::select! {
            biased;
            changed = stages.changed() => {
                let stage = stages.borrow_and_update().clone();
                match (changed, stage) {
                    (Ok(()), Stage::Running(_)) => silent_until = Instant::now() + FOLLOW_SILENCE,
                    (_, Stage::Stored(entry)) => return Waited::Followed(Followed::Answer(entry)),
                    (_, Stage::Alone) => return Waited::Followed(Followed::Alone),
                    (Err(_), Stage::Running(_)) | (_, Stage::Left) => {
                        return Waited::Followed(Followed::Left);
                    }
                }
            }
            () = client_gone(session) => return Waited::ClientGone,
            () = tokio::time::sleep_until(silent_until.min(give_up_at)) => {
                return Waited::Followed(Followed::Alone);
            }
            () = early::due(*keepalive) => {
                let Some(target) = admitted.group.targets().first() else {
                    *keepalive = None;
                    continue;
                };
                match early::bridge(session, admitted, target).await {
                    Ok(next) => *keepalive = Some(next),
                    Err(Gone) => return Waited::ClientGone,
                }
            }
        }
    }
}

/// An answer on its way into the cache. Dropped, it is not kept, and one of those who wait for it
/// goes first.
pub(crate) struct Keeping {
    key: CacheKey,
    store_for: Duration,
    memory_ttl: Duration,
    lead: Option<Lead>,
    recorded: Vec<u8>,
    /// Bytes of it that are held in memory, beside those of everybody else.
    lease: ByteLease,
    bytes_max: usize,
    too_large: bool,
}

/// What is known of an answer that is complete.
pub(crate) struct Complete<'a> {
    /// Deployment that gave it.
    pub target: &'a Target,
    /// The provider's head.
    pub head: &'a crate::upstream::ResponseHead,
    /// What it came to.
    pub settled: &'a Settled,
    /// How it was framed.
    pub shape: Shape,
    /// The provider's response id.
    pub response_id: Option<String>,
}

impl Keeping {
    /// Takes bytes that go to the client, as long as there is room for them.
    pub(crate) fn record(&mut self, state: &State, bytes: &[u8]) {
        if self.too_large {
            return;
        }
        let fits = self.recorded.len() + bytes.len() <= self.bytes_max;
        if !fits || !self.lease.grow(bytes.len() as u64) {
            self.too_large = true;
            self.recorded = Vec::new();
            if let Some(cache) = &state.cache {
                cache.counts().too_large();
            }
            // Nobody has to wait for its end.
            if let Some(lead) = self.lead.take() {
                lead.alone();
            }
            return;
        }
        self.recorded.extend_from_slice(bytes);
        if let Some(lead) = &self.lead {
            lead.progress(self.recorded.len() as u64);
        }
    }

    /// The answer may not be kept: those who wait for it go themselves.
    pub(crate) fn alone(mut self) {
        if let Some(lead) = self.lead.take() {
            lead.alone();
        }
    }

    /// The answer is whole: keeps it, and gives it to those who wait.
    pub(crate) fn complete(mut self, state: &State, answer: Complete<'_>) {
        let Some(cache) = state.cache.as_ref().filter(|_| !self.too_large) else {
            return;
        };
        let now = clock::now();
        let millis = i64::try_from(self.store_for.as_millis()).unwrap_or(i64::MAX);
        let mut body = std::mem::take(&mut self.recorded);
        body.shrink_to_fit();
        let entry = Arc::new(Entry {
            key: self.key,
            stored_at: now,
            expires_at: now.plus_ms(millis),
            answer: answer.described(),
            body: Bytes::from(body),
        });
        cache.keep(&entry, self.memory_ttl, now);
        if let Some(lead) = self.lead.take() {
            lead.stored(&entry);
        }
    }
}

impl Complete<'_> {
    fn described(self) -> Answer {
        let content_type = self.head.headers.get(http::header::CONTENT_TYPE);
        let content_type = content_type.and_then(|value| value.to_str().ok());
        let deployment = &self.target.deployment;
        Answer {
            shape: self.shape,
            content_type: content_type.unwrap_or_default().to_owned(),
            deployment_id: deployment.id.clone(),
            model: self.target.model.clone(),
            provider: deployment.provider.label().to_owned(),
            response_id: self.response_id.unwrap_or_default(),
            prompt_tokens: self.settled.prompt_tokens,
            completion_tokens: self.settled.completion_tokens,
            cost: self.settled.answer_cost,
        }
    }
}

/// What is kept of an answer that has ended: one that is whole, of the model that was asked for.
/// Why it ended decides what those do who wait for it.
pub(super) fn kept(
    keeping: Option<Box<Keeping>>,
    admitted: &Admitted,
    reason: EndReason,
    status: u16,
) -> Option<Box<Keeping>> {
    let keeping = keeping?;
    match reason {
        EndReason::Complete => {
            let own_model = Arc::ptr_eq(&admitted.group, &admitted.asked_group);
            if own_model && status == 200 {
                return Some(keeping);
            }
            keeping.alone();
        }
        // The caller's own fate: dropped, another one goes first.
        EndReason::ClientGoneBeforeFirstByte
        | EndReason::ClientGoneMidStream
        | EndReason::BudgetCut
        | EndReason::Revoked
        | EndReason::InternalError
        | EndReason::Crashed => drop(keeping),
        EndReason::UpstreamReset
        | EndReason::Stall
        | EndReason::ProviderError
        | EndReason::UpstreamFailed
        | EndReason::Timeout => keeping.alone(),
    }
    None
}
