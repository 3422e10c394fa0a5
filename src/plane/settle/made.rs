//! Who made what an answer left at the provider: its stored response, and files that code wrote.

use meridian_core::endpoint::Endpoint;
use meridian_core::meter::Meter;
use meridian_core::spend::SpendRecord;

use crate::owners::Owner;
use crate::plane::admit::Admitted;
use crate::state::State;

/// A stored response is found again by its owner, also before the ledger has the record; files that
/// code wrote while it was made are kept once it is delivered. What an upload or a batch made was
/// kept before its answer went on.
pub(super) fn remember(
    state: &State,
    admitted: &Admitted,
    record: &SpendRecord,
    meter: Option<&Meter>,
) {
    let owner = || Owner {
        key: record.payer.key,
        lineage: record.context.lineage,
        deployment_id: record.deployment_id.clone(),
        model_group: record.model_group.clone(),
        batch: None,
    };
    let stores = admitted.arrival.endpoint == Endpoint::Responses;
    if let Some(id) = record.response_id.as_ref().filter(|_| stores) {
        state.owners.remember(id, owner());
    }
    let files = meter.map_or(&[][..], |meter| &meter.facts().files);
    if !files.is_empty() {
        state.owners.note_written(files.to_vec(), owner());
    }
}
