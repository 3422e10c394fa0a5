//! The bill of a batch: journal, budgets, metrics. It refuses nothing: it was used.

use std::sync::Arc;
use std::time::Duration;

use meridian_core::endpoint::Endpoint;
use meridian_core::meters::{Admission, Due, Meters};
use meridian_core::scope::ScopeKind;
use meridian_core::spend::SpendRecord;

use crate::clock;
use crate::escrow::WAIT_MAX;
use crate::journal::JournalError;
use crate::state::State;
use crate::telemetry::metrics::{Ended, GapSketch, OTHER, RequestLabels};

/// Writes a bill into the journal and counts it in the budgets of who pays.
pub(super) async fn charge(state: &State, record: SpendRecord) -> Result<(), JournalError> {
    let admission = rights(state, &record).await;
    settle(state, admission, record)
}

/// The budgets that it counts in. Where nodes share them, this one first needs a part in each, or
/// nobody else would hear of it.
async fn rights(state: &State, record: &SpendRecord) -> Admission {
    let (first, others) = scopes(state, record);
    let count = || {
        let others = others.clone();
        first.count(&record.model_group, others, state.decides(), clock::now())
    };
    let mut admission = count();
    let Some(rights) = &state.rights else {
        return admission;
    };
    let lacking = admission.without_rights(clock::now());
    if lacking.is_empty() {
        return admission;
    }
    admission.release();
    for one in lacking {
        rights.wait(&one, clock::mono() + WAIT_MAX).await;
    }
    count()
}

/// Counters of the key and of everything else that it is charged to. Those of a key that was
/// deleted meanwhile are gone; the ledger has its sum.
fn scopes(state: &State, record: &SpendRecord) -> (Arc<Meters>, Vec<Due>) {
    let now = clock::now();
    let mut first = None;
    let mut others = Vec::new();
    for (scope, meters) in state.registry.charged(record, now) {
        match scope.kind {
            ScopeKind::Key => first = Some(meters),
            _ => others.push(Due::of(meters)),
        }
    }
    others.extend_from_slice(&state.shared_budgets);
    let tags = &record.context.tags;
    let routed = state.registry.routed();
    others.extend(routed.dues(&record.provider, &record.deployment_id, tags));
    let first = first.unwrap_or_else(|| Arc::clone(&state.master_meters));
    (first, others)
}

fn settle(
    state: &State,
    admission: Admission,
    mut record: SpendRecord,
) -> Result<(), JournalError> {
    record.context.periods = admission.pids();
    let closing = state.closing();
    if let Err(error) = state.journal.append_close(None, &record) {
        admission.release();
        return Err(error);
    }
    let crossings = admission.settle(record.cost, 0);
    drop(closing);
    state.report_crossings(&crossings);
    observe(state, &record);
    Ok(())
}

/// Sums of the metrics equal the ledger, so its rows are counted.
fn observe(state: &State, record: &SpendRecord) {
    let group = state.rules.load().group(&record.model_group);
    let configured = group.is_some_and(|group| !group.is_wildcard);
    // Names that a provider or a caller chose are no labels.
    let shown = |name| if configured { name } else { OTHER };
    let labels = RequestLabels {
        route: match record.endpoint {
            Endpoint::MessageBatches => "/v1/messages/batches",
            _ => "/v1/batches",
        },
        requested_model: shown(&record.model_group),
        model: shown(&record.model),
        ..RequestLabels::default()
    };
    let provider = &record.provider;
    state.metrics.batch_billed(labels.requested_model, provider);
    state.metrics.observe(&Ended {
        record,
        labels: &labels,
        total: Duration::ZERO,
        overhead: Duration::ZERO,
        upstream: None,
        ttft: None,
        gaps: &GapSketch::default(),
        cache: None,
    });
}
