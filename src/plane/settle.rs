//! Stage 5: settle, exactly once, on every way out.
//!
//! `settle` consumes the `Admitted`; one that is dropped instead (a panic, a cancelled task)
//! settles itself as an internal error. What is billed is the termination table's
//! (`docs/TERMINATION.md`).

mod close;
mod made;
mod places;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use meridian_core::batch::Step;
use meridian_core::cache::Entry;
use meridian_core::endpoint::Endpoint;
use meridian_core::meter::Meter;
use meridian_core::money::NanoUsd;
use meridian_core::spend::{CacheHit, EndReason, SpendRecord};
use meridian_core::time::WallMs;
use meridian_core::transcript::Transcript;
use meridian_core::usage::Usage;
use tokio::time::Instant;

use self::places::Places;
use super::admit::{Admitted, Hold};
use super::forward::InFlight;
use crate::clock;
use crate::rules::Target;
use crate::state::State;
use crate::telemetry::metrics::{
    AttemptOutcome, CacheAnswer, Ended, FailedAttempt, GapSketch, OTHER, RequestLabels,
};

/// What a token of English prose has on the average.
const PROSE_BYTES_PER_TOKEN: u64 = 4;

/// How a request ended.
pub(crate) struct Outcome<'a> {
    /// Why.
    pub reason: EndReason,
    /// Status the client saw; 499 when it was gone before one was sent.
    pub status: u16,
    /// Deployment that answered or was last tried.
    pub target: Option<&'a Arc<Target>>,
    /// What the answer said.
    pub meter: Option<&'a Meter>,
    /// When the answering attempt was sent.
    pub sent_at: Option<Instant>,
    /// When the first content arrived.
    pub first_content: Option<Instant>,
    /// When the gateway had everything it needed to answer.
    pub ready_at: Option<Instant>,
    /// Gaps between the chunks of a stream.
    pub gaps: Option<&'a GapSketch>,
    /// LiteLLM's class of the error that the client saw, and what the ledger keeps of its text.
    pub error: Option<(&'static str, String)>,
    /// The answer from the cache that the client got.
    pub cached: Option<&'a Entry>,
}

impl Outcome<'_> {
    /// An ending without an answer.
    pub(crate) fn without_answer(reason: EndReason, status: u16) -> Self {
        Self {
            reason,
            status,
            target: None,
            meter: None,
            sent_at: None,
            first_content: None,
            ready_at: None,
            gaps: None,
            error: None,
            cached: None,
        }
    }
}

/// What is known once a request is settled.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settled {
    /// What it cost.
    pub cost: NanoUsd,
    /// The same before discount and margin.
    pub cost_before_margin: NanoUsd,
    /// What the answer alone cost, without attempts before it that may be billed.
    pub answer_cost: NanoUsd,
    /// Its input tokens.
    pub prompt_tokens: u64,
    /// Its output tokens.
    pub completion_tokens: u64,
    /// Spend of the key in its period, this request included.
    pub key_spend: Option<NanoUsd>,
    /// From arrival to now.
    pub duration: Duration,
    /// The gateway's own part of it.
    pub overhead: Duration,
}

/// Settles a request: meters, journal, metrics.
pub(crate) fn settle(mut admitted: Box<Admitted>, outcome: Outcome<'_>) -> Settled {
    let state = Arc::clone(&admitted.state);
    let held = Held::of(&mut admitted);
    settle_hold(&state, &admitted, held, outcome)
}

/// What a request has until it is settled.
struct Held {
    hold: Option<Hold>,
    flight: Option<InFlight>,
    texts: Option<Box<Transcript>>,
}

impl Held {
    fn of(admitted: &mut Admitted) -> Self {
        Self {
            hold: admitted.hold.take(),
            flight: admitted.flight.take(),
            texts: admitted.transcript.take(),
        }
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        if self.hold.is_some() {
            let state = Arc::clone(&self.state);
            let dispatched = self.dispatched.take();
            let outcome = Outcome {
                target: dispatched.as_ref().map(|(target, _)| target),
                sent_at: dispatched.as_ref().map(|(_, at)| *at),
                ..Outcome::without_answer(EndReason::InternalError, 500)
            };
            let held = Held::of(self);
            settle_hold(&state, self, held, outcome);
        }
    }
}

fn settle_hold(
    state: &State,
    admitted: &Admitted,
    Held {
        hold,
        flight,
        texts,
    }: Held,
    outcome: Outcome<'_>,
) -> Settled {
    let (now, at) = (clock::now(), Instant::now());
    let duration = at - admitted.arrival.at;
    let overhead = overhead(admitted, &outcome, at);
    let Some(hold) = hold else {
        let zero = NanoUsd::ZERO;
        return Settled {
            cost: zero,
            cost_before_margin: zero,
            answer_cost: zero,
            prompt_tokens: 0,
            completion_tokens: 0,
            key_spend: None,
            duration,
            overhead,
        };
    };
    let Hold {
        mut record,
        admission,
        ticket,
        bound,
        covered: _,
        past: _,
    } = hold;
    let mut bill = bill(&outcome, admitted, bound.prompt_tokens, now);
    let answer_cost = bill.cost;
    let mut places = Places::of(outcome.target, answer_cost);
    let bills = (&mut bill, &mut places);
    add_unanswered(bills, &admitted.unanswered, bound.prompt_tokens, now);
    fill(&mut record, &outcome, &bill, admitted, now);
    record.texts = texts.map(|texts| Box::new(texts.finish(admitted.ask.json())));
    state.reservations.fetch_sub(1, Ordering::Relaxed);
    // An answer from the cache has used nothing of what limits are for.
    let tokens = match outcome.cached {
        Some(_) => 0,
        None => record.usage.total(),
    };
    let mut flight = flight;
    let funds = flight.as_mut().and_then(InFlight::take_funds);
    let charges = places.charges(state, &record.context.tags, funds, now);
    let held = (admission, charges);
    let record = close::close(state, held, ticket, (record, tokens));
    if let Some(flight) = flight {
        flight.settled(state, &outcome, &record);
    }
    made::remember(state, admitted, &record, outcome.meter);
    observe(state, admitted, &record, &outcome, duration, overhead);
    Settled {
        cost: record.cost,
        cost_before_margin: bill.before_margin,
        answer_cost,
        prompt_tokens: record.usage.prompt,
        completion_tokens: record.usage.completion,
        key_spend: admitted.key.as_ref().map(|key| key.meters().spent(now)),
        duration,
        overhead,
    }
}

/// What is charged.
struct Bill {
    usage: Usage,
    cost: NanoUsd,
    before_margin: NanoUsd,
    price_unknown: bool,
    estimated: bool,
    /// What an operator adds per request is in it.
    has_fixed: bool,
}

fn bill(outcome: &Outcome<'_>, admitted: &Admitted, prompt_estimate: u64, now: WallMs) -> Bill {
    if let Some(entry) = outcome.cached {
        return cached(entry);
    }
    let (mut usage, estimated) = usage(outcome, admitted.arrival.endpoint, prompt_estimate);
    if admitted.arrival.endpoint == Endpoint::AudioSpeech && outcome.meter.is_some() {
        usage.units.characters = admitted.ask.input_characters();
    }
    let zero = NanoUsd::ZERO;
    let nothing = Bill {
        usage: usage.clone(),
        cost: zero,
        before_margin: zero,
        price_unknown: false,
        estimated,
        has_fixed: false,
    };
    let Some(target) = outcome.target else {
        return nothing;
    };
    if usage == Usage::default() {
        return nothing;
    }
    match &target.price {
        Some(price) => {
            let cost = price.cost(&usage, &target.place.at(now));
            Bill {
                cost: cost.total,
                before_margin: cost.original,
                price_unknown: cost.price_unknown,
                has_fixed: true,
                ..nothing
            }
        }
        None => Bill {
            price_unknown: target.door.is_some(),
            ..nothing
        },
    }
}

/// An answer from the cache shows its tokens and costs nothing.
fn cached(entry: &Entry) -> Bill {
    let usage = Usage {
        prompt: entry.answer.prompt_tokens,
        completion: entry.answer.completion_tokens,
        ..Usage::default()
    };
    Bill {
        usage,
        cost: NanoUsd::ZERO,
        before_margin: NanoUsd::ZERO,
        price_unknown: false,
        estimated: false,
        has_fixed: false,
    }
}

/// Adds the prompt of each earlier attempt that was not answered in time. The row's tokens stay
/// those of the last one, which is what the client was told.
fn add_unanswered(
    (bill, places): (&mut Bill, &mut Places),
    targets: &[Arc<Target>],
    prompt_estimate: u64,
    now: WallMs,
) {
    if prompt_estimate == 0 {
        return;
    }
    let usage = Usage {
        prompt: prompt_estimate,
        ..Usage::default()
    };
    for target in targets {
        bill.estimated = true;
        let Some(price) = &target.price else {
            bill.price_unknown = true;
            continue;
        };
        let mut place = target.place.at(now);
        if std::mem::replace(&mut bill.has_fixed, true) {
            place.adjustment = place.adjustment.without_fixed();
        }
        let cost = price.cost(&usage, &place);
        places.add(target, cost.total);
        bill.cost = bill.cost.saturating_add(cost.total);
        bill.before_margin = bill.before_margin.saturating_add(cost.original);
        bill.price_unknown |= cost.price_unknown;
    }
}

/// The provider's usage if it came; else what the termination table says, marked estimated.
fn usage(outcome: &Outcome<'_>, endpoint: Endpoint, prompt_estimate: u64) -> (Usage, bool) {
    let Some(meter) = outcome.meter else {
        // Sent and never answered: the provider has read the prompt, as far as anybody knows.
        let dispatched = outcome.sent_at.is_some() && prompt_estimate > 0;
        let prompt = if dispatched { prompt_estimate } else { 0 };
        let usage = Usage {
            prompt,
            ..Usage::default()
        };
        return (usage, dispatched);
    };
    let facts = meter.facts();
    let reported = meter.usage();
    let content = facts.content.tokens();
    // The first usage of a stream may be its last; one below prose of this length is not.
    let prose = facts.content.total().bytes.div_ceil(PROSE_BYTES_PER_TOKEN);
    let is_final = facts.usage_final
        || (outcome.reason == EndReason::Complete
            && reported
                .as_ref()
                .is_some_and(|usage| usage.completion >= prose));
    match reported {
        Some(usage) if is_final => (usage, false),
        None if !counts_tokens(endpoint) => (Usage::default(), false),
        reported => {
            let mut usage = reported.unwrap_or_default();
            if usage.prompt == 0 {
                usage.prompt = prompt_estimate;
            }
            usage.completion = usage.completion.max(content);
            (usage, true)
        }
    }
}

/// Whether an answer without usage must have consumed tokens all the same.
fn counts_tokens(endpoint: Endpoint) -> bool {
    matches!(
        endpoint,
        Endpoint::ChatCompletions
            | Endpoint::Completions
            | Endpoint::Responses
            | Endpoint::Messages
            | Endpoint::Embeddings
    )
}

fn overhead(admitted: &Admitted, outcome: &Outcome<'_>, now: Instant) -> Duration {
    let before = outcome.sent_at.unwrap_or(now) - admitted.arrival.body_at;
    let after = outcome.ready_at.map_or(Duration::ZERO, |ready| now - ready);
    // What an equal request waited for is the provider's time, not ours.
    let followed = admitted
        .cache
        .map_or(Duration::ZERO, |cache| cache.followed);
    (before + after).saturating_sub(followed)
}

fn fill(
    record: &mut SpendRecord,
    outcome: &Outcome<'_>,
    bill: &Bill,
    admitted: &Admitted,
    now: WallMs,
) {
    record.ended = now;
    record.end_reason = outcome.reason;
    record.status = outcome.status;
    record.attempts = admitted.attempts;
    record.usage = bill.usage.clone();
    record.cost = bill.cost;
    record.price_unknown = bill.price_unknown;
    record.estimated = bill.estimated;
    record.error = outcome.error.as_ref().map(|(_, text)| text.clone());
    if let Some(target) = outcome.target.or(admitted.unanswered.last()) {
        target.name_in(record);
    }
    if let Some(entry) = outcome.cached {
        fill_cached(record, entry);
    }
    if let Some(meter) = outcome.meter {
        record.response_id.clone_from(&meter.facts().response_id);
    }
    let noted = admitted.made_batch.get();
    if let Some(id) = noted {
        // The provider works on it, whatever its caller got to see.
        record.response_id = Some(id.clone());
    }
    let is_good = record.status < 300 || noted.is_some();
    let has_made = admitted.makes_batch() && is_good && record.response_id.is_some();
    record.context.batch = has_made.then_some(Step::Made);
    record.first_byte = outcome
        .first_content
        .map(|first| admitted.arrival.wall_of(first));
}

/// The provider's response id stays with the request that it was given to.
fn fill_cached(record: &mut SpendRecord, entry: &Entry) {
    let answer = &entry.answer;
    record.deployment_id.clone_from(&answer.deployment_id);
    record.model.clone_from(&answer.model);
    record.provider.clone_from(&answer.provider);
    record.context.cache_hit = Some(CacheHit {
        key: entry.key.to_string(),
        saved: answer.cost,
    });
}

/// An answer that its deployment broke off after it was committed.
fn broken_attempt(reason: EndReason) -> Option<AttemptOutcome> {
    match reason {
        EndReason::UpstreamReset => Some(AttemptOutcome::Reset),
        EndReason::Stall => Some(AttemptOutcome::Stall),
        EndReason::ProviderError => Some(AttemptOutcome::StreamError),
        _ => None,
    }
}

fn observe(
    state: &State,
    admitted: &Admitted,
    record: &SpendRecord,
    outcome: &Outcome<'_>,
    total: Duration,
    overhead: Duration,
) {
    let configured = !admitted.asked_group.is_wildcard;
    let labels = RequestLabels {
        route: admitted.arrival.canonical,
        requested_model: if configured {
            &admitted.asked_group.name
        } else {
            OTHER
        },
        model: match outcome.target {
            Some(target) if configured => &target.model,
            Some(_) => OTHER,
            None => "",
        },
        exception_class: outcome.error.as_ref().map(|(class, _)| *class),
        ..RequestLabels::default()
    };
    if let Some((outcome, target)) = broken_attempt(record.end_reason).zip(outcome.target) {
        let status = if outcome == AttemptOutcome::StreamError {
            500
        } else {
            502
        };
        let deployment = target.labels(configured);
        let payer = &record.payer;
        let labels = &labels;
        let attempt = FailedAttempt {
            payer,
            labels,
            deployment: &deployment,
            outcome,
            status,
        };
        state.metrics.attempt_failed(&attempt);
    }
    let none = GapSketch::default();
    let since_arrival = |at: Instant| at - admitted.arrival.at;
    let is_stream = record.stream && !record.endpoint.counts();
    state.metrics.observe(&Ended {
        record,
        labels: &labels,
        total,
        overhead,
        upstream: outcome
            .sent_at
            .map(|sent| outcome.ready_at.unwrap_or_else(Instant::now) - sent),
        ttft: outcome
            .first_content
            .filter(|_| is_stream)
            .map(since_arrival),
        gaps: outcome.gaps.unwrap_or(&none),
        cache: admitted.cache.map(|cache| match cache.lookup.is_hit() {
            true => CacheAnswer::Hit,
            false => CacheAnswer::Miss,
        }),
    });
}
