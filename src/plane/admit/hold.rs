//! What is taken before a request is dispatched: budget, limits, its line in the journal.

use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

use meridian_core::auth::KeyView;
use meridian_core::config::UnknownPrice;
use meridian_core::endpoint::Endpoint;
use meridian_core::error::GatewayError;
use meridian_core::escrow::Running;
use meridian_core::journal::{Bound, Open};
use meridian_core::meters::{Admission, Due, Meters, Need};
use meridian_core::money::NanoUsd;
use meridian_core::price::Ceiling;
use meridian_core::spend::{EndReason, Payer, SpendRecord};
use meridian_core::time::WallMs;
use meridian_core::transcript::Transcript;
use meridian_core::usage::{Units, Usage, estimate_tokens};

use super::batched::Batched;
use super::choose::Chosen;
use super::{Admitted, Arrival, Ask, Hold, NotAdmitted, RouteTaken, payer_of};
use crate::clock;
use crate::escrow::{Found, WAIT_MAX};
use crate::rules::{Group, Rules, Target};
use crate::state::State;

/// Output tokens reserved when the request does not bound them: a typical long answer. What is
/// really used is settled at the end (docs/LIMITS.md).
const OUTPUT_TOKENS_RESERVED: u64 = 4_096;
/// Output tokens that a stream takes first where rights are shared.
const STREAM_FIRST_TOKENS: u64 = 512;
/// How far an estimate of input can be too low, in thousandths.
const PROMPT_ERROR_PERMILLE: u64 = 100;
/// Output that a cut stream is still billed for: so fast for so long, and one chunk.
const LATE_TOKENS_PER_S: u64 = 200;
const CUT_MS: u64 = 300;
const LATE_CHUNK_TOKENS: u64 = 64;
/// Seconds after which rights that could not be asked for are asked for again.
const RIGHTS_RETRY_S: u64 = 1;
/// Seconds after which a journal that refused is asked again.
const JOURNAL_RETRY_S: u64 = 5;

/// Takes budget and limits, writes the journal's OPEN, or says why not.
pub(super) async fn hold(
    state: &Arc<State>,
    rules: Arc<Rules>,
    arrival: Arrival,
    key: Option<Arc<KeyView>>,
    (ask, dues): (Ask, Vec<Due>),
    Chosen { group, pinned }: Chosen,
) -> Result<Box<Admitted>, NotAdmitted> {
    let (bound, priced) = bound(&rules, &arrival, &ask, &group)?;
    let meters = key.as_ref().map(|key| key.meters());
    let meters = meters.unwrap_or(&state.master_meters);
    // What cannot be bounded beforehand may still cost: budgets refuse it when they are used up.
    let tokens = tokens_of(bound);
    let (cost, covered) = first_slice(state, (&arrival, &ask), bound);
    let need = Need {
        cost,
        tokens,
        model: &group.name,
        free: costs_nothing(&arrival, &ask, (bound, priced)),
        key_alias: key.as_ref().and_then(|key| key.policy.alias.as_deref()),
        decides: state.decides(),
        excess: excess(&ask, bound, covered),
    };
    let admission = take_each(state, meters, (need, &ask), dues, arrival.wall).await?;
    let mut record = record(&arrival, &ask, key.as_deref(), &group);
    record.region.clone_from(&state.region);
    record.context.periods = admission.pids();
    let open = Open { record, bound };
    let ticket = match state.journal.append_open(&open) {
        Ok(ticket) => ticket,
        Err(error) => {
            tracing::error!(%error, "no request is accepted without its line in the journal");
            admission.release();
            return Err(GatewayError::JournalUnavailable {
                retry_after_s: JOURNAL_RETRY_S,
            }
            .into());
        }
    };
    state.reservations.fetch_add(1, Ordering::Relaxed);
    let hold = Hold {
        record: open.record,
        admission,
        ticket,
        bound,
        covered,
        past: 0,
    };
    Ok(Box::new(Admitted {
        transcript: transcript(&rules, &arrival, &ask, key.as_deref()),
        state: Arc::clone(state),
        rules,
        arrival,
        key,
        ask,
        asked_group: Arc::clone(&group),
        group,
        pinned,
        cache: None,
        keeping: None,
        route: RouteTaken::default(),
        flight: None,
        attempts: 0,
        dispatched: None,
        unanswered: Vec::new(),
        made_batch: OnceLock::new(),
        web_items: tokio::sync::Mutex::default(),
        hold: Some(hold),
    }))
}

/// Whether budgets that are used up let it pass: by its endpoint, or as what is bounded beforehand
/// and costs nothing. What cannot be bounded may still cost.
fn costs_nothing(arrival: &Arrival, ask: &Ask, (bound, priced): (Bound, bool)) -> bool {
    let of_models = priced && tokens_of(bound) > 0 && bound.reserved == NanoUsd::ZERO;
    is_free(arrival, ask) || of_models
}

/// What a request is expected to cost at one deployment, never more than is held for it, and
/// whether budgets that are used up let it pass there.
pub(crate) fn need_at(admitted: &Admitted, target: &Target) -> (NanoUsd, bool) {
    let (arrival, ask) = (&admitted.arrival, &admitted.ask);
    let held = admitted.reserved();
    let ceiling = ceiling(arrival, ask);
    let cost = cost_of(target, &ceiling);
    let (prompt, completion) = token_bounds(arrival.endpoint, ask);
    let bound = Bound {
        prompt_tokens: prompt,
        completion_tokens_max: completion,
        reserved: cost.unwrap_or(held),
        ..Bound::default()
    };
    let free = costs_nothing(arrival, ask, (bound, cost.is_some()));
    (bound.reserved.min(held), free)
}

/// Tokens of prompt and longest answer together.
fn tokens_of(bound: Bound) -> u64 {
    let answer = bound.completion_tokens_max;
    bound.prompt_tokens.saturating_add(answer)
}

/// What listens to the answer, where texts are kept and nobody concerned objects.
fn transcript(
    rules: &Rules,
    arrival: &Arrival,
    ask: &Ask,
    key: Option<&KeyView>,
) -> Option<Box<Transcript>> {
    let chars = rules.config.general.prompt_chars?;
    let redacted = ask.redact || key.is_some_and(KeyView::redacts);
    (!redacted).then(|| Box::new(Transcript::new(arrival.endpoint, chars)))
}

/// The same for each model of a batch, which must have something left: nothing is held while it
/// runs.
async fn take_each(
    state: &State,
    meters: &Arc<Meters>,
    (need, ask): (Need<'_>, &Ask),
    dues: Vec<Due>,
    wall: WallMs,
) -> Result<Admission, GatewayError> {
    for other in ask.batched.iter().flat_map(Batched::others) {
        let model = &other.name;
        let need = Need { model, ..need };
        let admission = take(state, meters, need, dues.clone(), wall).await?;
        admission.release();
    }
    take(state, meters, need, dues, wall).await
}

/// Takes what a request needs. Where nodes share budgets, one that would be refused for want of
/// rights on this node waits a moment for those of others.
async fn take(
    state: &State,
    meters: &Arc<Meters>,
    need: Need<'_>,
    dues: Vec<Due>,
    wall: WallMs,
) -> Result<Admission, GatewayError> {
    let Some(rights) = &state.rights else {
        return meters.admit(need, dues, wall).map_err(|no| *no.error);
    };
    let until = clock::mono() + WAIT_MAX;
    loop {
        let denied = match meters.admit(need, dues.clone(), wall) {
            Ok(admission) => {
                rights.share_limits(&admission);
                return Ok(admission);
            }
            Err(denied) => denied,
        };
        let Some(lacking) = denied.lacking.filter(|_| clock::mono() < until) else {
            return Err(*denied.error);
        };
        match rights.wait(&lacking, until).await {
            Found::Some => {}
            Found::Nothing => return Err(*denied.error),
            Found::Unknown => return Err(rights_unknown()),
        }
    }
}

/// Nobody can say whether a budget has room.
pub(crate) fn rights_unknown() -> GatewayError {
    GatewayError::Overloaded {
        what: "The budget's rights cannot be asked for",
        retry_after_s: RIGHTS_RETRY_S,
    }
}

/// What a request can cost over what is held for it: input that was estimated too low, and for a
/// stream that may be cut what comes until its provider notices.
fn excess(ask: &Ask, bound: Bound, covered: u64) -> NanoUsd {
    let may_be_cut =
        ask.stream && (ask.completion_max.is_none() || covered < bound.completion_tokens_max);
    let (tokens_per_s, chunk_tokens) = match may_be_cut {
        true => (LATE_TOKENS_PER_S, LATE_CHUNK_TOKENS),
        false => (0, 0),
    };
    let running = Running {
        prompt_tokens: bound.prompt_tokens,
        prompt_error_permille: PROMPT_ERROR_PERMILLE,
        tokens_per_s,
        cut_ms: CUT_MS,
        chunk_tokens,
        rates: bound.rates,
    };
    running.excess()
}

/// Cost that is held at first, and the output tokens that it is for: where rights are shared a
/// stream takes a slice and grows, so that little lies idle.
fn first_slice(state: &State, (arrival, ask): (&Arrival, &Ask), bound: Bound) -> (NanoUsd, u64) {
    let whole = bound.completion_tokens_max;
    // What a batch will cost nobody knows: it is let in while its budgets have anything left.
    if ask.makes_batch(arrival.endpoint) {
        return (bound.reserved.max(NanoUsd(1)), whole);
    }
    if state.rights.is_none() || !ask.stream || whole <= STREAM_FIRST_TOKENS {
        return (bound.reserved, whole);
    }
    let later = bound.rates.cost(0, whole - STREAM_FIRST_TOKENS);
    let cost = bound.reserved.saturating_sub(later).max(NanoUsd::ZERO);
    (cost, STREAM_FIRST_TOKENS)
}

/// Moves an admitted request on to another model, holding more money where that is dearer; `false`
/// when a budget or the key's own limits of that model have no room for it, or it has no price and
/// must have one.
pub(crate) fn enter(admitted: &mut Admitted, group: Arc<Group>) -> bool {
    let bound = bound(&admitted.rules, &admitted.arrival, &admitted.ask, &group);
    let Ok((bound, _)) = bound else { return false };
    let Some(hold) = &mut admitted.hold else {
        return false;
    };
    let tokens = tokens_of(bound);
    let now = clock::now();
    if !hold
        .admission
        .enter(&group.name, bound.reserved, tokens, now)
    {
        return false;
    }
    hold.record.model_group.clone_from(&group.name);
    let periods = hold.admission.pids();
    let moved = hold.record.context.periods != periods;
    hold.record.context.periods = periods;
    if moved || bound.reserved > hold.bound.reserved {
        hold.bound = bound;
        hold.covered = hold.covered.max(bound.completion_tokens_max);
        let open = Open {
            record: hold.record.clone(),
            bound,
        };
        // Recovery would charge what the first model had cost.
        if let Err(error) = admitted.state.journal.renew(&mut hold.ticket, &open) {
            tracing::debug!(%error, "a dearer model is not in the journal");
        }
    }
    admitted.group = group;
    true
}

/// Holds money for a second request beside the first one; `false` when a budget has no room.
pub(crate) fn reserve_hedge(admitted: &mut Admitted) -> bool {
    let Some(hold) = &mut admitted.hold else {
        return false;
    };
    let more = hold.bound.reserved;
    hold.admission.extend(more, clock::now()).is_ok()
}

/// The most that this request is expected to consume at the dearest deployment that may serve it,
/// and whether all of them have a price.
fn bound(
    rules: &Rules,
    arrival: &Arrival,
    ask: &Ask,
    group: &Group,
) -> Result<(Bound, bool), GatewayError> {
    let (prompt, completion) = token_bounds(arrival.endpoint, ask);
    let ceiling = ceiling(arrival, ask);
    let mut bound = Bound {
        prompt_tokens: prompt,
        completion_tokens_max: completion,
        ..Bound::default()
    };
    let mut priced = true;
    for target in group.targets() {
        let cost = cost_of(target, &ceiling);
        let unpriced = cost.is_none() && target.door.is_some() && prompt > 0;
        priced &= !unpriced;
        if unpriced && rules.config.meridian.unknown_price == UnknownPrice::Reject {
            return Err(GatewayError::BadField {
                field: "model".to_owned(),
                message: format!(
                    "model={} has no price and `unknown_price: reject` is set",
                    ask.model
                ),
            });
        }
        if cost.unwrap_or(NanoUsd::ZERO) >= bound.reserved {
            bound.reserved = cost.unwrap_or(NanoUsd::ZERO);
            bound.rates = target.rates;
        }
    }
    Ok((bound, priced))
}

/// The most that a request may use, as prices need it.
fn ceiling(arrival: &Arrival, ask: &Ask) -> Ceiling {
    let (prompt, completion) = token_bounds(arrival.endpoint, ask);
    Ceiling {
        tier: ask.service_tier(),
        fast: ask.is_fast(),
        units: units_bound(arrival.endpoint, ask),
        ..Ceiling::tokens(prompt, completion)
    }
}

/// Operations that no provider bills by themselves.
fn is_free(arrival: &Arrival, ask: &Ask) -> bool {
    let endpoint = arrival.endpoint;
    let of_account = matches!(
        endpoint,
        Endpoint::ResponsesItem
            | Endpoint::Files
            | Endpoint::Batches
            | Endpoint::MessageBatches
            | Endpoint::AnthropicFiles
            | Endpoint::Moderations
    );
    endpoint.counts() || of_account && !ask.makes_batch(endpoint)
}

/// Most units that are not tokens.
fn units_bound(endpoint: Endpoint, ask: &Ask) -> Units {
    let mut units = Units::default();
    match endpoint {
        Endpoint::ImagesGenerations | Endpoint::ImagesEdits => units.images = ask.answers_max(),
        Endpoint::AudioSpeech => units.characters = ask.input_characters(),
        _ => {}
    }
    units
}

fn cost_of(target: &Target, ceiling: &Ceiling) -> Option<NanoUsd> {
    target.price.as_ref()?.bound(ceiling, &target.place)
}

/// Estimated input and reserved output tokens of an endpoint.
fn token_bounds(endpoint: Endpoint, ask: &Ask) -> (u64, u64) {
    // Looked at only where it counts: files and audio may be large.
    let prompt = || estimate_tokens(&ask.body.bytes);
    let completion = ask.completion_max.unwrap_or(OUTPUT_TOKENS_RESERVED);
    match endpoint {
        Endpoint::ChatCompletions
        | Endpoint::Completions
        | Endpoint::Responses
        | Endpoint::ResponsesTool
        | Endpoint::Messages => (prompt(), completion),
        Endpoint::Embeddings | Endpoint::Rerank | Endpoint::ImagesGenerations => (prompt(), 0),
        Endpoint::ResponsesItem
        | Endpoint::CountTokens
        | Endpoint::InputTokens
        | Endpoint::TokenCounter
        | Endpoint::Moderations
        | Endpoint::ImagesEdits
        | Endpoint::AudioSpeech
        | Endpoint::AudioTranscriptions
        | Endpoint::Files
        | Endpoint::Batches
        | Endpoint::MessageBatches
        | Endpoint::AnthropicFiles => (0, 0),
    }
}

/// The record as far as it is known before dispatch; recovery settles a dead process's from it.
fn record(arrival: &Arrival, ask: &Ask, key: Option<&KeyView>, group: &Group) -> SpendRecord {
    let payer = Payer {
        end_user: ask.end_user.clone(),
        ..payer_of(key)
    };
    let mut record = SpendRecord {
        call_id: arrival.call_id,
        response_id: None,
        endpoint: arrival.endpoint,
        stream: ask.stream,
        payer,
        model_group: group.name.clone(),
        deployment_id: String::new(),
        model: String::new(),
        provider: String::new(),
        api_base: String::new(),
        region: None,
        started: arrival.wall,
        ended: arrival.wall,
        first_byte: None,
        usage: Usage::default(),
        cost: NanoUsd::ZERO,
        price_unknown: false,
        estimated: false,
        end_reason: EndReason::Crashed,
        status: 500,
        attempts: 0,
        context: ask.context.clone(),
        error: None,
        texts: None,
    };
    record.context.lineage = key.and_then(|key| key.policy.lineage());
    if let Some(target) = group.targets().first() {
        target.name_in(&mut record);
    }
    record
}
