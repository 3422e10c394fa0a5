//! Who calls, and whether that one may call this route.
//!
//! A credential is taken out of the headers once, whatever header carried it; from there on only
//! the [`Principal`] and the matched route decide.

use std::sync::Arc;

use crate::error::GatewayError;
use crate::ids::{KeyHash, Secret};
use crate::routes::{Access, Match};
use crate::time::WallMs;

mod carrier;
mod decision;
mod policy;
mod rights;
mod view;
mod writable;

pub use carrier::{CREDENTIAL_BYTES_MAX, Credential, credential};
pub use policy::{KeyPolicy, Shared};
pub use view::{Counters, KeyView, PartiesOfKey};

pub use decision::{Action, Object, Power, Standing, decide};
pub use rights::{Rights, exceeds, fill, fits};
pub use writable::writable;

/// What a caller may do in general. A key is an internal user unless its user says otherwise; its
/// own metadata never raises it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Role {
    /// Everything but what is for the master key.
    ProxyAdmin,
    /// Sees everything, changes nothing.
    ProxyAdminViewer,
    /// Administrates an organization.
    OrgAdmin,
    /// Calls models, sees its own.
    #[default]
    InternalUser,
    /// Sees its own.
    InternalUserViewer,
    /// A team's own key.
    Team,
    /// A customer of the caller.
    Customer,
}

impl Role {
    /// Every role, for tests that walk them all.
    pub const ALL: [Self; 7] = [
        Self::ProxyAdmin,
        Self::ProxyAdminViewer,
        Self::OrgAdmin,
        Self::InternalUser,
        Self::InternalUserViewer,
        Self::Team,
        Self::Customer,
    ];

    /// Reads [`Self::as_str`].
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == text)
    }

    /// Whether it changes anything at all; how much, the objects decide.
    pub fn may_write(self) -> bool {
        match self {
            Self::ProxyAdmin | Self::OrgAdmin | Self::InternalUser | Self::Team => true,
            Self::ProxyAdminViewer | Self::InternalUserViewer | Self::Customer => false,
        }
    }

    /// LiteLLM's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ProxyAdmin => "proxy_admin",
            Self::ProxyAdminViewer => "proxy_admin_viewer",
            Self::OrgAdmin => "org_admin",
            Self::InternalUser => "internal_user",
            Self::InternalUserViewer => "internal_user_viewer",
            Self::Team => "team",
            Self::Customer => "customer",
        }
    }
}

/// Who calls.
#[derive(Clone, Debug)]
pub enum Principal {
    /// The master key.
    Master,
    /// A virtual key.
    Key(Arc<KeyView>),
}

impl Principal {
    /// Its role.
    pub fn role(&self) -> Role {
        match self {
            Self::Master => Role::ProxyAdmin,
            Self::Key(key) => key.role(),
        }
    }
}

/// How far an allowed call reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Every object.
    Everything,
    /// Only the caller's own key, spend and models.
    Own,
}

/// Finds out who calls. `lookup` knows keys by digest, rotated ones in their grace period included.
///
/// # Errors
/// `NotAVirtualKey`, `UnknownKey`, `KeyBlocked`, `KeyExpired`, `ScopeBlocked`, `ScopeDeleted`.
pub fn authenticate(
    credential: &Credential<'_>,
    master: &Secret,
    now: WallMs,
    lookup: impl FnOnce(&KeyHash) -> Option<Arc<KeyView>>,
) -> Result<Principal, GatewayError> {
    let clear = credential.reveal();
    // An empty master key would let an empty credential in; the server refuses to start with one.
    if !master.reveal().is_empty() && master.matches(clear) {
        return Ok(Principal::Master);
    }
    if !clear.starts_with("sk-") {
        let masked = carrier::masked_middle(clear);
        return Err(GatewayError::NotAVirtualKey { masked });
    }
    let hash = KeyHash::of_secret(clear);
    let Some(key) = lookup(&hash) else {
        return Err(GatewayError::UnknownKey {
            masked: carrier::masked_head(clear),
            hash: hash.to_string(),
        });
    };
    if key.policy.blocked {
        return Err(GatewayError::KeyBlocked);
    }
    match key.policy.expires() {
        Some(expired) if expired < now => Err(GatewayError::KeyExpired {
            masked: carrier::masked_head(clear),
            expired,
            now,
        }),
        _ => {
            key.check_parties()?;
            Ok(Principal::Key(key))
        }
    }
}

/// Decides whether the caller may call the route: first the key's `allowed_routes`, then the
/// route's access against the role.
///
/// # Errors
/// `RouteNotAllowed`, `AdminOnly`, `MasterKeyOnly`.
pub fn authorize(principal: &Principal, found: &Match<'_>) -> Result<Reach, GatewayError> {
    authorize_as(principal, principal.role(), found)
}

/// As [`authorize`], for a caller whose user's role was looked up.
///
/// # Errors
/// `RouteNotAllowed`, `AdminOnly`, `MasterKeyOnly`.
pub fn authorize_as(
    principal: &Principal,
    role: Role,
    found: &Match<'_>,
) -> Result<Reach, GatewayError> {
    let key = match principal {
        Principal::Master => return Ok(Reach::Everything),
        Principal::Key(key) => key,
    };
    if found.access != Access::Public {
        key.policy.check_route(found)?;
    }
    let sees_all = matches!(role, Role::ProxyAdmin | Role::ProxyAdminViewer);
    let reach = if sees_all {
        Reach::Everything
    } else {
        Reach::Own
    };
    match found.access {
        Access::Public | Access::Inference | Access::AnyKey | Access::OwnKeyOrAdmin => Ok(reach),
        Access::Delegated if role.may_write() => Ok(reach),
        Access::AdminViewer if sees_all => Ok(reach),
        Access::Admin if role == Role::ProxyAdmin => Ok(reach),
        Access::Delegated | Access::AdminViewer | Access::Admin => {
            Err(admin_only(found.pattern, role, key.user_id()))
        }
        Access::MasterKey => Err(GatewayError::MasterKeyOnly {
            route: found.pattern.to_owned(),
        }),
    }
}

/// Whether the route needs a caller at all; a public one is served whatever key came with it.
pub fn wants_credential(found: &Match<'_>) -> bool {
    found.access != Access::Public
}

/// The refusal of a route for administrators.
pub fn admin_only(route: &str, role: Role, user_id: Option<&str>) -> GatewayError {
    GatewayError::AdminOnly {
        route: route.to_owned(),
        role: role.as_str().to_owned(),
        user_id: masked_user(user_id),
    }
}

fn masked_user(user_id: Option<&str>) -> String {
    user_id.map_or_else(|| "None".to_owned(), |id| carrier::masked(id, 2, 5))
}

#[cfg(test)]
mod tests;
