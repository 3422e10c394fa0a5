//! Which fields of an object a caller may write: allow-lists, so that a new field is nobody's but
//! the administrators' until it is named here.

use super::Power;
use crate::record::RecordKind;

/// Fields of a key that whoever may make it may set. What would lift a limit or a guard
/// (`spend`, `temp_budget_increase`, `guardrails`, `permissions`, `budget_id`, ...) is not there.
const KEY: &[&str] = &[
    "aliases",
    "allowed_regions",
    "allowed_routes",
    "budget_duration",
    "duration",
    "enforced_params",
    "key",
    "key_alias",
    "key_type",
    "max_budget",
    "max_parallel_requests",
    "metadata",
    "model_max_budget",
    "model_rpm_limit",
    "model_tpm_limit",
    "models",
    "new_key",
    "rpm_limit",
    "rpm_limit_type",
    "soft_budget",
    "tags",
    "team_id",
    "tpm_limit",
    "tpm_limit_type",
    "user_id",
];

/// What a team's own administrators may say about it: nothing that gives it more.
const TEAM_OF_TEAM: &[&str] = &[
    "default_team_member_models",
    "metadata",
    "tags",
    "team_alias",
    "team_id",
    "team_member_budget",
    "team_member_budget_duration",
    "team_member_key_duration",
    "team_member_rpm_limit",
    "team_member_tpm_limit",
];

/// What an organization's administrators may say about its teams, within the organization's rights.
const TEAM_OF_ORGANIZATION: &[&str] = &[
    "admins",
    "blocked",
    "budget_duration",
    "default_team_member_models",
    "max_budget",
    "max_parallel_requests",
    "members",
    "members_with_roles",
    "metadata",
    "model_aliases",
    "model_rpm_limit",
    "model_tpm_limit",
    "models",
    "organization_id",
    "rpm_limit",
    "soft_budget",
    "tags",
    "team_alias",
    "team_id",
    "team_member_budget",
    "team_member_budget_duration",
    "team_member_key_duration",
    "team_member_permissions",
    "team_member_rpm_limit",
    "team_member_tpm_limit",
    "tpm_limit",
];

/// What a user may say about itself.
const USER_OF_ITSELF: &[&str] = &["user_alias", "user_email", "user_id"];

/// What an organization's administrators may say about a user that they make.
const USER_OF_ORGANIZATION: &[&str] = &[
    "auto_create_key",
    "budget_duration",
    "key_alias",
    "max_budget",
    "max_parallel_requests",
    "metadata",
    "models",
    "organizations",
    "rpm_limit",
    "send_invite_email",
    "soft_budget",
    "teams",
    "tpm_limit",
    "user_alias",
    "user_email",
    "user_id",
    "user_role",
];

/// Fields that may be set with this power; `None` is all.
pub fn writable(kind: RecordKind, power: Power) -> Option<&'static [&'static str]> {
    match (kind, power) {
        (_, Power::Proxy) => None,
        (RecordKind::Key, _) => Some(KEY),
        (RecordKind::Team, Power::Organization) => Some(TEAM_OF_ORGANIZATION),
        (RecordKind::Team, Power::Team) => Some(TEAM_OF_TEAM),
        (RecordKind::User, Power::Organization) => Some(USER_OF_ORGANIZATION),
        (RecordKind::User, Power::Owner) => Some(USER_OF_ITSELF),
        _ => Some(&[]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_but_administrators_writes_what_lifts_a_limit() {
        let lifting = [
            "spend",
            "temp_budget_increase",
            "guardrails",
            "permissions",
            "object_permission",
            "budget_id",
            "router_settings",
            "allowed_passthrough_routes",
        ];
        for kind in RecordKind::ALL {
            for power in [Power::Organization, Power::Team, Power::Owner] {
                let Some(fields) = writable(kind, power) else {
                    panic!("{kind:?} {power:?}")
                };
                assert!(lifting.iter().all(|field| !fields.contains(field)));
                assert!(fields.is_sorted(), "{kind:?} {power:?}");
            }
            assert_eq!(writable(kind, Power::Proxy), None);
        }
        let itself = writable(RecordKind::User, Power::Owner).unwrap();
        for field in ["user_role", "max_budget", "models", "teams"] {
            assert!(!itself.contains(&field), "{field}");
        }
        let team = writable(RecordKind::Team, Power::Team).unwrap();
        for field in ["max_budget", "models", "organization_id", "tpm_limit"] {
            assert!(!team.contains(&field), "{field}");
        }
    }
}
