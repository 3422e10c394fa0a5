//! `/organization/*`: what teams and users belong to.

pub(super) mod members;
pub(super) mod read;
pub(super) mod write;

use meridian_core::record::{Facet, RecordKind};

use super::draft::Draft;
use super::reply::AdminError;
use super::schema::{BOUNDS, FOLDED, Field, Kind, column, extra, of_route};

/// What is stored of an organization. Its limits are its budget's.
pub(super) const ORGANIZATION: &[Field] = &[
    column("organization_alias", Kind::Text),
    column("models", Kind::Texts),
    column("budget_id", Kind::Id),
    column("blocked", Kind::Flag),
    extra("object_permission", Kind::Object),
    of_route("spend", Kind::Money),
];

/// Limits that a request may name; they go to the budget.
pub(in crate::admin) const LIMITS: &[&[Field]] = &[BOUNDS, ALLOWED];
const ALLOWED: &[Field] = &[column("allowed_models", Kind::Texts)];

/// `/organization/new` and `/organization/update`, without id and limits.
pub(in crate::admin) const FIELDS: &[&[Field]] = &[ORGANIZATION, FOLDED];

/// Removes an organization with its teams, members and keys.
pub(super) async fn remove(draft: &mut Draft<'_>, id: &str) -> Result<bool, AdminError> {
    if draft.body(RecordKind::Organization, id).await?.is_none() {
        return Ok(false);
    }
    let teams = draft.all_with(RecordKind::Team, Facet::OrganizationId, id);
    for team in teams.await? {
        super::teams::remove(draft, &team.record.id).await?;
    }
    super::keys::delete_all_with(draft, Facet::OrganizationId, id).await?;
    let members = draft.all_with(RecordKind::OrganizationMember, Facet::OrganizationId, id);
    for member in members.await? {
        let user_id = member.record.body.get("user_id").and_then(|id| id.as_str());
        let user_id = user_id.unwrap_or_default().to_owned();
        super::users::leave_organization(draft, id, &user_id).await?;
    }
    draft.delete(RecordKind::Organization, id);
    Ok(true)
}
