//! The end of a request's holds: budgets, and its CLOSE in the journal.

use std::sync::Arc;

use meridian_core::meters::Admission;
use meridian_core::scope::{Scope, ScopeKind};
use meridian_core::spend::SpendRecord;

use super::places::Charge;
use crate::journal::OpenTicket;
use crate::state::State;

/// Gives back what was held, charges the budgets of where the request ran, and writes the CLOSE.
/// `tokens` are those that limits count.
pub(super) fn close(
    state: &State,
    (admission, charges): (Admission, Vec<Charge>),
    ticket: OpenTicket,
    (mut record, tokens): (SpendRecord, u64),
) -> Arc<SpendRecord> {
    record.context.periods = admission.pids();
    for (held, cost) in &charges {
        match *cost == record.cost {
            true => record.context.periods.extend(held.pids()),
            false => {
                let parts = held.pids().into_iter().map(|pid| (pid, *cost));
                record.context.periods_in_part.extend(parts);
            }
        }
    }
    let customer = record.payer.end_user.as_deref();
    let counts = customer.is_none_or(|id| admission.holds(ScopeKind::EndUser, id));
    if !counts {
        state.registry.note_uncounted(record.call_id);
    }
    let closing = state.closing();
    let crossings = admission.settle(record.cost, tokens);
    for (held, cost) in charges {
        held.settle(cost, 0);
    }
    let record = Arc::new(record);
    if let Err(error) = state.journal.append_close_shared(ticket, &record) {
        tracing::error!(call_id = %record.call_id, %error, "spend record is not in the journal");
    }
    drop(closing);
    if !counts {
        count_newcomer(state, &record);
    }
    state.report_crossings(&crossings);
    record
}

/// The customer's record was made while its request ran. Looked for behind the CLOSE: who makes a
/// record takes in what the journal has by then.
fn count_newcomer(state: &State, record: &SpendRecord) {
    let customer = record.payer.end_user.as_deref().unwrap_or_default();
    let scope = Scope::new(ScopeKind::EndUser, customer);
    let now = record.ended;
    let Some(meters) = state.registry.meters_of(&scope, now) else {
        return;
    };
    if state.registry.take_uncounted(&record.call_id) {
        let counted = meters.count(&record.model_group, Vec::new(), state.decides(), now);
        state.report_crossings(&counted.settle(record.cost, 0));
    }
}
