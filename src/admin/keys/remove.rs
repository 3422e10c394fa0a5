//! Taking keys out of use: with everything that stands for them, in one write.

use meridian_core::ids::KeyHash;
use meridian_core::record::{Facet, RecordKind};
use serde_json::{Value, json};

use super::super::access::Caller;
use super::super::draft::{Draft, Tries};
use super::super::reply::AdminError;
use super::super::state::AdminState;

/// Deletes keys, all or none. One that is gone already does not count.
pub(super) async fn delete(
    state: &AdminState,
    caller: &Caller,
    keys: &[KeyHash],
) -> Result<(), AdminError> {
    let mut tries = Tries::default();
    loop {
        let mut draft = Draft::new(state, caller);
        for key in keys {
            let id = key.to_string();
            draft.body(RecordKind::Key, &id).await?;
            delete_one(&mut draft, &id).await?;
        }
        if draft.save(caller, &mut tries).await?.is_some() {
            return Ok(());
        }
    }
}

/// Deletes every key of a user, a team or an organization.
pub(in crate::admin) async fn delete_all_with(
    draft: &mut Draft<'_>,
    facet: Facet,
    value: &str,
) -> Result<(), AdminError> {
    for stored in draft.all_with(RecordKind::Key, facet, value).await? {
        delete_one(draft, &stored.record.id).await?;
    }
    Ok(())
}

/// Deletes the keys that a user has in a team.
pub(in crate::admin) async fn delete_of_member(
    draft: &mut Draft<'_>,
    team_id: &str,
    user_id: &str,
) -> Result<(), AdminError> {
    for stored in draft
        .all_with(RecordKind::Key, Facet::UserId, user_id)
        .await?
    {
        let team = stored.record.body.get("team_id").and_then(Value::as_str);
        if team == Some(team_id) {
            delete_one(draft, &stored.record.id).await?;
        }
    }
    Ok(())
}

async fn delete_one(draft: &mut Draft<'_>, id: &str) -> Result<(), AdminError> {
    let stands_for = draft.all_with(RecordKind::RotatedKey, Facet::Alias, id);
    for replaced in stands_for.await? {
        draft.delete(RecordKind::RotatedKey, &replaced.record.id);
    }
    draft.delete(RecordKind::Key, id);
    Ok(())
}

/// What a deleted key says about its end.
pub(in crate::admin) fn note_end(
    body: &mut serde_json::Map<String, Value>,
    by: Option<&str>,
    now: meridian_core::time::WallMs,
) {
    let extra = body.entry("extra").or_insert_with(|| json!({}));
    if let Value::Object(extra) = extra {
        extra.insert("deleted_at".to_owned(), json!(now));
        extra.insert("deleted_by".to_owned(), json!(by));
    }
}
