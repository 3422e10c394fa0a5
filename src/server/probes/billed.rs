//! The billed probe: a short question to the model itself. It is a request like a client's, with a
//! place at the deployment, a line in the journal and a row in the ledger; nobody's key pays.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method};
use meridian_core::config::Provider;
use meridian_core::endpoint::{Dialect, Endpoint};
use meridian_core::error::GatewayError;
use meridian_core::journal::{Bound, Open};
use meridian_core::meter::{self, Meter};
use meridian_core::meters::{Admission, Need};
use meridian_core::money::NanoUsd;
use meridian_core::price::Ceiling;
use meridian_core::routing::failure::{Judged, Silence, of_answer, of_complaint};
use meridian_core::routing::health::{Awaited, Entry, Failed, Flight, Gate};
use meridian_core::routing::probe::{BILLED_TOKENS, Last};
use meridian_core::spend::{EndReason, SpendRecord};
use meridian_core::usage::{Usage, estimate_tokens};
use serde_json::{Map, Value, json};

use super::bill::{record, settle};
use super::{Ended, Probe, lock};
use crate::clock;
use crate::journal::OpenTicket;
use crate::rules::Target;
use crate::server::call::{Answer, NoAnswer, call, can_prove, headers};
use crate::state::State;
use crate::upstream::RequestHead;

/// What is asked.
const QUESTION: &str = "ping";
/// Kind of model that can be asked it.
const MODE: &str = "chat";

/// Everything that is held for a probe until it is settled.
pub(super) struct Prepared {
    flight: Flight,
    admission: Admission,
    ticket: OpenTicket,
    record: SpendRecord,
    bound: Bound,
    body: Bytes,
    _running: Running,
}

/// Counts as a running request, which a shutdown waits for.
struct Running(Arc<State>);

impl Running {
    fn new(state: &Arc<State>) -> Self {
        state.in_flight.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(state))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Most that a billed probe of this deployment can cost. `None`: it cannot be made now, or nobody
/// knows what it costs.
pub(super) fn cost(probe: &Probe) -> Option<NanoUsd> {
    let target = &probe.target;
    let price = target.price.as_ref()?;
    // Doors of clouds want bodies and signatures of their own.
    let door = target.door.as_ref()?;
    if door.paths.cloud.is_some() || !can_prove(door) {
        return None;
    }
    let mode = target.deployment.mode.as_deref().unwrap_or(price.mode());
    let is_chat = mode.is_empty() || mode == MODE;
    if !is_chat || target.model.contains('*') {
        return None;
    }
    let tokens = tokens(&body(target));
    entry(probe)?;
    let full = target.health.full(tokens.0 + tokens.1, clock::now());
    let ceiling = Ceiling::tokens(tokens.0, tokens.1);
    price
        .bound(&ceiling, &target.place)
        .filter(|_| full.is_none())
}

/// How the probe goes there; one that is left out is not asked.
fn entry(probe: &Probe) -> Option<Entry> {
    let (now, policy) = (
        probe.state.routing.now(),
        &probe.rules.config.routing.cooldown,
    );
    match probe.target.health.gate(now, policy) {
        Gate::Closed => Some(Entry::Usual),
        Gate::HalfOpen => Some(Entry::Probe),
        Gate::Probing | Gate::Open { .. } => None,
    }
}

/// Takes everything that a probe needs; `None` when something is not to be had.
pub(super) fn prepare(probe: &Probe) -> Option<Prepared> {
    let (state, target) = (&probe.state, &probe.target);
    let (wall, cap) = (clock::now(), probe.policy.billed_per_day?);
    let body = body(target);
    let (prompt, completion) = tokens(&body);
    let bound = Bound {
        prompt_tokens: prompt,
        completion_tokens_max: completion,
        reserved: cost(probe)?,
        rates: target.rates,
    };
    let flight = Flight::begin(
        &target.health,
        entry(probe)?,
        wall,
        (prompt + completion, Awaited::Whole),
        (state.routing.now(), &probe.rules.config.routing.cooldown),
    )?;
    let group = &target.deployment.model_name;
    let need = Need {
        cost: bound.reserved,
        tokens: prompt + completion,
        model: group,
        free: bound.reserved == NanoUsd::ZERO,
        key_alias: None,
        decides: state.decides(),
        excess: NanoUsd::ZERO,
    };
    let admission = state
        .master_meters
        .admit(need, state.shared_budgets.clone(), wall)
        .ok()?;
    let mut record = record(target);
    record.region.clone_from(&state.region);
    record.context.periods = admission.pids();
    let open = Open { record, bound };
    if !lock(&probe.spending).reserve(cap, bound.reserved, wall) {
        admission.release();
        return None;
    }
    let Ok(ticket) = state.journal.append_open(&open) else {
        lock(&probe.spending).settle(bound.reserved, NanoUsd::ZERO, wall);
        admission.release();
        return None;
    };
    state.reservations.fetch_add(1, Ordering::Relaxed);
    Some(Prepared {
        flight,
        admission,
        ticket,
        record: open.record,
        bound,
        body,
        _running: Running::new(state),
    })
}

/// How it went.
pub(super) struct Outcome {
    pub(super) reason: EndReason,
    pub(super) usage: Usage,
    pub(super) estimated: bool,
    pub(super) error: Option<GatewayError>,
    pub(super) last: Last,
}

/// What it shows of its deployment.
enum Shown {
    /// It answers; tokens in all and of the answer.
    Good(Option<u64>, Option<u64>),
    /// It does not. The status is the provider's, or stands for the failure.
    Failed(Failed, u16),
}

/// Asks and settles, but takes nothing in: settings that are tried out say nothing about what is
/// in use. Gives what went wrong.
pub(super) async fn try_out(probe: Probe, prepared: Prepared) -> Option<String> {
    let Prepared {
        flight,
        mut admission,
        ticket,
        record,
        bound,
        body,
        _running,
    } = prepared;
    drop(flight);
    let began = clock::mono();
    admission.mark_sent();
    let answered = ask(&probe, body).await;
    let (outcome, _) = judge(&probe, answered, bound.prompt_tokens);
    let error = outcome.error.as_ref().map(ToString::to_string);
    settle(&probe, (admission, ticket, record), bound, outcome, began);
    error
}

/// Asks, takes in what that shows, and settles.
pub(super) async fn run(probe: Probe, prepared: Prepared) -> Ended {
    let Prepared {
        flight,
        mut admission,
        ticket,
        record,
        bound,
        body,
        _running,
    } = prepared;
    let began = clock::mono();
    admission.mark_sent();
    let answered = ask(&probe, body).await;
    let (outcome, shown) = judge(&probe, answered, bound.prompt_tokens);
    match shown {
        Shown::Good(total, completion) => {
            let now = probe.state.routing.now();
            flight.finished(now, (total, completion), &probe.around());
        }
        Shown::Failed(failed, status) => take_in(&probe, flight, failed, status),
    }
    let last = outcome.last;
    settle(&probe, (admission, ticket, record), bound, outcome, began);
    let (policy, now) = (&probe.rules.config.routing, probe.state.routing.now());
    let report = probe
        .target
        .health
        .report(now, &policy.cooldown, &probe.args());
    Ended {
        last,
        own_heard_at: Some(report.heard_at),
    }
}

async fn ask(probe: &Probe, body: Bytes) -> Result<Answer, NoAnswer> {
    let target = &probe.target;
    let unreachable = NoAnswer {
        silence: Silence::Unreachable,
        sent: false,
    };
    let door = target.door.as_ref().ok_or(unreachable)?;
    let (endpoint, tail) = operation(target);
    let mut headers = headers(target, door);
    headers.retain(|(name, _)| *name != http::header::CONTENT_TYPE);
    let json = HeaderValue::from_static("application/json");
    headers.push((http::header::CONTENT_TYPE, json));
    let head = RequestHead {
        method: Method::POST,
        path: door.paths.path(endpoint, tail, &target.model),
        authority: door.authority.clone(),
        headers,
    };
    let mut cut = probe.state.cut.subscribe();
    let asked = call(&probe.state, door, (&head, body), probe.policy.timeout);
    tokio::select! {
        answered = asked => answered,
        // The process ends: this is nobody's failure, and the provider may bill it.
        _ = cut.wait_for(|cut| *cut) => {
            let silence = Silence::CallerGone;
            Err(NoAnswer { silence, sent: true })
        }
    }
}

fn judge(
    probe: &Probe,
    answered: Result<Answer, NoAnswer>,
    prompt_tokens: u64,
) -> (Outcome, Shown) {
    let prompt = |sent: bool| Usage {
        prompt: if sent { prompt_tokens } else { 0 },
        ..Usage::default()
    };
    match answered {
        Ok(answer) if answer.head.status.is_success() => {
            let mut meter = Meter::for_endpoint(operation(&probe.target).0);
            let read = meter.body(&answer.body);
            match read {
                meter::Answer::Good => good(&meter, prompt(true)),
                meter::Answer::Error => {
                    let complaint = meter.into_facts().error.unwrap_or_default();
                    let status = answer.head.status.as_u16();
                    let judged = of_complaint(probe.target.origin(), complaint, status, None, None);
                    refused(judged)
                }
                meter::Answer::Empty => silent(probe, Silence::Empty, prompt(true)),
                meter::Answer::Broken | meter::Answer::NotJson => {
                    silent(probe, Silence::Malformed, prompt(true))
                }
            }
        }
        Ok(answer) => {
            let exception = probe.target.deployment.provider.exception();
            let error = answer.as_error(&exception);
            refused(of_answer(probe.target.origin(), &error, None, clock::now()))
        }
        Err(NoAnswer { silence, sent }) => silent(probe, silence, prompt(sent)),
    }
}

fn good(meter: &Meter, prompt: Usage) -> (Outcome, Shown) {
    let reported = meter.usage();
    let estimated = reported.is_none();
    let usage = reported.unwrap_or_else(|| Usage {
        completion: meter.facts().content.tokens(),
        ..prompt
    });
    let shown = Shown::Good(Some(usage.total()), Some(usage.completion));
    let outcome = Outcome {
        reason: EndReason::Complete,
        usage,
        estimated,
        error: None,
        last: Last::Answered,
    };
    (outcome, shown)
}

/// A provider bills no refusal.
fn refused(judged: Judged) -> (Outcome, Shown) {
    let wait = judged.fault.error.retry_after_s.map(Duration::from_secs);
    let failed = Failed {
        verdict: judged.verdict,
        wait,
    };
    let error = GatewayError::Upstream(Box::new(judged.fault.error));
    let shown = Shown::Failed(failed, error.reply().status);
    let outcome = Outcome {
        reason: EndReason::UpstreamFailed,
        usage: Usage::default(),
        estimated: false,
        error: Some(error),
        last: Last::Failed,
    };
    (outcome, shown)
}

fn silent(probe: &Probe, silence: Silence, usage: Usage) -> (Outcome, Shown) {
    let limit_s = probe.policy.timeout.as_secs_f64();
    let provider = probe.target.deployment.provider.exception().into_owned();
    let (reason, error) = match silence {
        Silence::Deadline => {
            let error = GatewayError::UpstreamTimeout {
                limit_s,
                taken_s: limit_s,
                deployment_s: None,
            };
            (EndReason::Timeout, error)
        }
        Silence::CallersDeadline | Silence::CallerGone => {
            let error = GatewayError::UpstreamUnreachable { provider };
            (EndReason::ClientGoneBeforeFirstByte, error)
        }
        Silence::Unreachable | Silence::Lost | Silence::Malformed | Silence::Empty => {
            let error = GatewayError::UpstreamUnreachable { provider };
            (EndReason::UpstreamFailed, error)
        }
    };
    let failed = Failed {
        verdict: silence.verdict(),
        wait: None,
    };
    let shown = Shown::Failed(failed, error.reply().status);
    let outcome = Outcome {
        reason,
        estimated: usage.prompt > 0,
        usage,
        error: Some(error),
        last: Last::Failed,
    };
    (outcome, shown)
}

fn take_in(probe: &Probe, flight: Flight, failed: Failed, status: u16) {
    let (id, class) = (&probe.target.deployment.id, failed.verdict.class.as_str());
    tracing::warn!(deployment = id, class, status, "billed probe failed");
    let now = probe.state.routing.now();
    if let Some(cooled) = flight.failed(now, failed, &probe.around()) {
        probe.left_out(cooled, status);
    }
}

/// What is asked for: chat, or messages of deployments that speak only those.
pub(super) fn operation(target: &Target) -> (Endpoint, &'static str) {
    match target.deployment.serves(Dialect::OpenAi) {
        true => (Endpoint::ChatCompletions, "/chat/completions"),
        false => (Endpoint::Messages, "/messages"),
    }
}

/// The deployment's own fields under and over the question, as for every request.
fn body(target: &Target) -> Bytes {
    let deployment = &target.deployment;
    let mut fields: Map<String, Value> = deployment.default_params.clone();
    fields.extend(deployment.extra_body.clone());
    // OpenAI's reasoning models take no `max_tokens`, most other servers nothing else.
    let bound = match deployment.provider {
        Provider::OpenAi | Provider::Azure => "max_completion_tokens",
        _ => "max_tokens",
    };
    for other in [
        "max_tokens",
        "max_completion_tokens",
        "n",
        "stream",
        "stream_options",
    ] {
        fields.remove(other);
    }
    fields.insert("model".to_owned(), json!(target.model));
    fields.insert(bound.to_owned(), json!(BILLED_TOKENS));
    let messages = json!([{"role": "user", "content": QUESTION}]);
    fields.insert("messages".to_owned(), messages);
    Bytes::from(Value::Object(fields).to_string())
}

/// Most tokens of prompt and answer.
fn tokens(body: &[u8]) -> (u64, u64) {
    (estimate_tokens(body), BILLED_TOKENS)
}
