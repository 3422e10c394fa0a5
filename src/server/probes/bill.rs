//! The bill of a billed probe: journal, ledger, installation's budget, day's cap, metrics.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use meridian_core::endpoint::Endpoint;
use meridian_core::error::GatewayError;
use meridian_core::journal::Bound;
use meridian_core::meters::Admission;
use meridian_core::money::NanoUsd;
use meridian_core::routing::probe::TAG;
use meridian_core::spend::{EndReason, Payer, RequestContext, SpendRecord};
use meridian_core::usage::Usage;

use super::billed::{Outcome, operation};
use super::{Probe, lock};
use crate::clock;
use crate::journal::OpenTicket;
use crate::rules::Target;
use crate::telemetry::metrics::{
    AttemptOutcome, Ended, FailedAttempt, GapSketch, OTHER, RequestLabels,
};

/// Settles a probe: once, however it went.
pub(super) fn settle(
    probe: &Probe,
    (admission, ticket, mut record): (Admission, OpenTicket, SpendRecord),
    bound: Bound,
    outcome: Outcome,
    began: Instant,
) {
    let (state, target, wall) = (&probe.state, &probe.target, clock::now());
    let price = target.price.as_ref();
    let cost = price.map(|price| price.cost(&outcome.usage, &target.place.at(wall)));
    let cost = cost.map_or(NanoUsd::ZERO, |cost| cost.total);
    record.ended = wall;
    record.cost = cost;
    record.estimated = outcome.estimated;
    record.end_reason = outcome.reason;
    record.attempts = 1;
    record.status = outcome
        .error
        .as_ref()
        .map_or(200, |error| error.reply().status);
    record.error = outcome.error.as_ref().map(|error| error.class().to_owned());
    record.usage = outcome.usage;
    state.reservations.fetch_sub(1, Ordering::Relaxed);
    let closing = state.closing();
    admission.settle(cost, record.usage.total());
    if let Err(error) = state.journal.append_close(Some(ticket), &record) {
        tracing::error!(call_id = %record.call_id, %error, "spend record is not in the journal");
    }
    drop(closing);
    lock(&probe.spending).settle(bound.reserved, cost, wall);
    observe(probe, &record, outcome.error.as_ref(), began);
}

/// Sums of the metrics equal the ledger, so its rows are counted.
fn observe(probe: &Probe, record: &SpendRecord, error: Option<&GatewayError>, began: Instant) {
    let (metrics, target) = (&probe.state.metrics, &probe.target);
    let configured = !target.deployment.is_wildcard();
    let route = match operation(target).0 {
        Endpoint::Messages => "/v1/messages",
        _ => "/chat/completions",
    };
    let labels = RequestLabels {
        route,
        requested_model: if configured {
            &record.model_group
        } else {
            OTHER
        },
        model: if configured { &target.model } else { OTHER },
        exception_class: error.map(GatewayError::class),
        ..RequestLabels::default()
    };
    let took = clock::mono() - began;
    if error.is_some() && record.end_reason != EndReason::ClientGoneBeforeFirstByte {
        metrics.attempt_failed(&FailedAttempt {
            payer: &record.payer,
            labels: &labels,
            deployment: &target.labels(configured),
            outcome: AttemptOutcome::of_status(record.status),
            status: record.status,
        });
    }
    metrics.observe(&Ended {
        record,
        labels: &labels,
        total: took,
        overhead: Duration::ZERO,
        upstream: Some(took),
        ttft: None,
        gaps: &GapSketch::default(),
        cache: None,
    });
}

/// The record of a probe as far as it is known before it is sent.
pub(super) fn record(target: &Target) -> SpendRecord {
    let now = clock::now();
    let mut record = SpendRecord {
        call_id: clock::new_call_id(),
        response_id: None,
        endpoint: operation(target).0,
        stream: false,
        payer: Payer::nobody(),
        model_group: target.deployment.model_name.clone(),
        deployment_id: String::new(),
        model: String::new(),
        provider: String::new(),
        api_base: String::new(),
        region: None,
        started: now,
        ended: now,
        first_byte: None,
        usage: Usage::default(),
        cost: NanoUsd::ZERO,
        price_unknown: false,
        estimated: false,
        end_reason: EndReason::Crashed,
        status: 500,
        attempts: 0,
        context: RequestContext {
            tags: vec![TAG.to_owned()],
            ..RequestContext::default()
        },
        error: None,
        texts: None,
    };
    target.name_in(&mut record);
    record
}
