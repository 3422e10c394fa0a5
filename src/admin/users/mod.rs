//! `/user/*`: people and programs that own keys.

mod places;
pub(super) mod read;
pub(super) mod write;

use axum::http::StatusCode;
use meridian_core::record::{Facet, RecordKind, User};

pub(super) use places::{join_organization, leave_organization};

use super::draft::Draft;
use super::reply::AdminError;
use super::schema::{BOUNDS, FOLDED, Field, Kind, column, extra, of_route};

/// Roles that a user may be given.
pub(super) const ROLES: &[&str] = &[
    "proxy_admin",
    "proxy_admin_viewer",
    "internal_user",
    "internal_user_viewer",
];

/// What is stored of a user.
pub(super) const USER: &[Field] = &[
    column("user_alias", Kind::Text),
    column("user_email", Kind::Text),
    column("user_role", Kind::Word(ROLES)),
    column("models", Kind::Texts),
    extra("sso_user_id", Kind::Text),
    extra("allowed_cache_controls", Kind::Texts),
    extra("budget_limits", Kind::BudgetLimits),
    extra("object_permission", Kind::Object),
    of_route("spend", Kind::Money),
];

/// `/user/update`, without the user's id.
pub(in crate::admin) const UPDATE_FIELDS: &[&[Field]] = &[USER, BOUNDS, FOLDED];

/// Longest address.
const EMAIL_BYTES_MAX: usize = 320;

/// What a user may not be, whoever says so.
fn check(user: &User) -> Result<(), AdminError> {
    let Some(email) = &user.user_email else {
        return Ok(());
    };
    let bad = email.len() > EMAIL_BYTES_MAX
        || email.is_empty()
        || email
            .chars()
            .any(|letter| letter.is_control() || letter.is_whitespace());
    if bad {
        let text = "user_email must have 1 to 320 bytes and no spaces";
        return Err(AdminError::detail(StatusCode::BAD_REQUEST, text));
    }
    Ok(())
}

/// Refuses an address that somebody else has.
async fn check_email(draft: &mut Draft<'_>, id: &str, user: &User) -> Result<(), AdminError> {
    let Some(email) = &user.user_email else {
        return Ok(());
    };
    let known = draft
        .all_with(RecordKind::User, Facet::Email, email)
        .await?;
    if known.iter().any(|other| other.record.id != id) {
        let text = format!("User with email {email} already exists");
        return Err(AdminError::detail(StatusCode::CONFLICT, text));
    }
    Ok(())
}

/// Removes a user with its keys and its places.
pub(super) async fn remove(draft: &mut Draft<'_>, id: &str) -> Result<bool, AdminError> {
    let Some(user) = draft.read::<User>(id).await? else {
        return Ok(false);
    };
    super::keys::delete_all_with(draft, Facet::UserId, id).await?;
    for team_id in &user.teams {
        let team = draft.read::<meridian_core::record::Team>(team_id).await?;
        if let Some(mut team) = team {
            super::teams::joining::leave(draft, team_id, &mut team, id).await?;
            draft.write(team_id, &team);
        }
    }
    for kind in [RecordKind::TeamMember, RecordKind::OrganizationMember] {
        for place in draft.all_with(kind, Facet::UserId, id).await? {
            draft.delete(kind, &place.record.id);
        }
    }
    draft.delete(RecordKind::User, id);
    Ok(true)
}
