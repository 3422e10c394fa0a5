//! Who may call: every handler names its permission as its first argument.
//!
//! `dispatch` authenticates the caller and authorizes it on the one matched route before a handler
//! runs. The permission is checked again on top of that, so a handler and its row in the table of
//! `core::routes` must both allow a call.

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::request::Parts;
use meridian_core::auth::{self, Principal, Reach, Role, Standing};
use meridian_core::error::GatewayError;
use meridian_core::ids::KeyHash;
use meridian_core::routes::{Access, Match};

use super::authorize;
use super::reply::AdminError;
use super::state::AdminState;
use crate::store::Actor;

/// LiteLLM's user of the master key.
pub(super) const ADMIN_USER: &str = "default_user_id";

/// Who changed what nobody asked for, in the audit log.
const GATEWAY: &str = "meridian";

/// An authenticated and authorized caller.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    principal: Principal,
    standing: Standing,
    reach: Reach,
    route: &'static str,
    /// `litellm-changed-by`: on whose behalf an administrator's program acts.
    changed_by: Option<String>,
}

impl Caller {
    /// The gateway itself, with the rights of the master key.
    pub(super) fn gateway() -> Self {
        Self {
            principal: Principal::Master,
            standing: Standing::master(ADMIN_USER),
            reach: Reach::Everything,
            route: "",
            changed_by: Some(GATEWAY.to_owned()),
        }
    }

    /// Finds out who calls and whether that one may call this route. A key that is not in memory
    /// is looked for.
    pub(super) async fn find(
        headers: &HeaderMap,
        found: &Match<'_>,
        state: &AdminState,
    ) -> Result<Self, AdminError> {
        match Self::of(headers, found, state).await {
            Err(AdminError::Gateway(GatewayError::UnknownKey { masked, hash })) => {
                let unknown = GatewayError::UnknownKey {
                    masked,
                    hash: hash.clone(),
                };
                let key = KeyHash::from_hex(&hash).ok_or(AdminError::Gateway(unknown))?;
                state.find_key(key).await.map_err(AdminError::Gateway)?;
                Self::of(headers, found, state).await
            }
            other => other,
        }
    }

    async fn of(
        headers: &HeaderMap,
        found: &Match<'_>,
        state: &AdminState,
    ) -> Result<Self, AdminError> {
        let rules = state.rules();
        let custom = rules.config.general.key_header.as_deref();
        let header = |name: &str| headers.get(name).map(|value| value.as_bytes());
        let credential = auth::credential(custom, header)?;
        let now = state.now();
        let lookup = |hash: &KeyHash| state.registry().get(hash, now);
        let principal = auth::authenticate(&credential, &state.master_key(), now, lookup)?;
        if let Principal::Key(key) = &principal
            && let Some(home) = key.policy.home.as_deref()
        {
            state.check_fresh(home)?;
        }
        let standing = match found.access {
            // What any key may do must not wait for a store that may be gone.
            Access::Public | Access::Inference | Access::AnyKey => own_standing(&principal),
            _ => authorize::standing(state, &principal).await?,
        };
        let reach = auth::authorize_as(&principal, standing.role, found)?;
        Ok(Self {
            principal,
            standing,
            reach,
            route: found.pattern,
            changed_by: changed_by(headers),
        })
    }

    /// Whether it may see what belongs to others.
    pub(super) fn sees_all(&self) -> bool {
        self.reach == Reach::Everything
    }

    /// Digest of its key; `None` for the master key.
    pub(super) fn key_hash(&self) -> Option<KeyHash> {
        match &self.principal {
            Principal::Master => None,
            Principal::Key(key) => Some(key.policy.token),
        }
    }

    /// Its user.
    pub(super) fn user_id(&self) -> Option<String> {
        match &self.principal {
            Principal::Master => Some(ADMIN_USER.to_owned()),
            Principal::Key(key) => key.user_id().map(str::to_owned),
        }
    }

    /// Who the audit log says changed something.
    pub(super) fn actor(&self) -> Option<Actor> {
        Some(Actor {
            changed_by: self
                .changed_by
                .clone()
                .or_else(|| self.user_id())
                .unwrap_or_default(),
            key: self.key_hash(),
        })
    }

    /// LiteLLM's name of its role.
    pub(super) fn role_name(&self) -> &'static str {
        self.standing.role.as_str()
    }

    /// What it is to the objects of the management API.
    pub(super) fn standing(&self) -> &Standing {
        &self.standing
    }

    /// The pattern of the route that it calls.
    pub(super) fn route(&self) -> &'static str {
        self.route
    }

    /// Who it is.
    pub(super) fn principal(&self) -> &Principal {
        &self.principal
    }

    fn admin_only(&self) -> AdminError {
        let user_id = self.standing.user_id.as_deref();
        let refusal = auth::admin_only(self.route, self.standing.role, user_id);
        AdminError::Gateway(refusal)
    }
}

/// What is known of a caller without asking the store.
fn own_standing(principal: &Principal) -> Standing {
    match principal {
        Principal::Master => Standing::master(ADMIN_USER),
        Principal::Key(key) => Standing {
            role: key.role(),
            user_id: key.user_id().map(str::to_owned),
            key: Some(key.policy.token),
            key_team: key.policy.team_id.as_deref().map(str::to_owned),
            ..Standing::default()
        },
    }
}

/// Longest name in `litellm-changed-by` that is kept.
const CHANGED_BY_CHARS_MAX: usize = 200;

fn changed_by(headers: &HeaderMap) -> Option<String> {
    let named = headers.get("litellm-changed-by")?.to_str().ok()?;
    let named: String = named.chars().take(CHANGED_BY_CHARS_MAX).collect();
    (!named.is_empty()).then_some(named)
}

/// Administrators.
pub(super) struct AdminAccess(pub(super) Caller);
/// Administrators and those who may look at everything.
pub(super) struct ViewerAccess;
/// Whoever may change something; what exactly, the objects decide.
pub(super) struct DelegatedAccess(pub(super) Caller);
/// Any valid key; what it sees of others is up to its reach.
pub(super) struct OwnOrViewerAccess(pub(super) Caller);
/// Any valid key.
pub(super) struct AnyKeyAccess(pub(super) Caller);
/// The master key alone.
pub(super) struct MasterAccess;
/// Everyone. Only for routes that the table calls public.
pub(super) struct Public;

impl<S: Sync> FromRequestParts<S> for AdminAccess {
    type Rejection = AdminError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, AdminError> {
        let caller = caller(parts)?;
        match caller.standing.role {
            Role::ProxyAdmin => Ok(Self(caller)),
            _ => Err(caller.admin_only()),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for DelegatedAccess {
    type Rejection = AdminError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, AdminError> {
        let caller = caller(parts)?;
        match caller.standing.may_write() {
            true => Ok(Self(caller)),
            false => Err(caller.admin_only()),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for ViewerAccess {
    type Rejection = AdminError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, AdminError> {
        let caller = caller(parts)?;
        match caller.standing.role {
            Role::ProxyAdmin | Role::ProxyAdminViewer => Ok(Self),
            _ => Err(caller.admin_only()),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for OwnOrViewerAccess {
    type Rejection = AdminError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, AdminError> {
        caller(parts).map(Self)
    }
}

impl<S: Sync> FromRequestParts<S> for AnyKeyAccess {
    type Rejection = AdminError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, AdminError> {
        caller(parts).map(Self)
    }
}

impl<S: Sync> FromRequestParts<S> for MasterAccess {
    type Rejection = AdminError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, AdminError> {
        let caller = caller(parts)?;
        match caller.principal {
            Principal::Master => Ok(Self),
            Principal::Key(_) => Err(AdminError::Gateway(GatewayError::MasterKeyOnly {
                route: caller.route.to_owned(),
            })),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Public {
    type Rejection = AdminError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, AdminError> {
        match parts.extensions.get::<Access>() {
            Some(Access::Public) => Ok(Self),
            _ => Err(AdminError::Gateway(GatewayError::NoKey)),
        }
    }
}

/// Everyone or any valid key, as the setting for this route says.
pub(super) struct SettingDecides;

impl<S: Sync> FromRequestParts<S> for SettingDecides {
    type Rejection = AdminError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, AdminError> {
        match parts.extensions.get::<Access>() {
            Some(Access::Public) => Ok(Self),
            _ => caller(parts).map(|_| Self),
        }
    }
}

/// `{key}`, `{id}` or `{model}` of the path, decoded, if its route has one.
#[derive(Clone, Default)]
pub(super) struct PathParameter(pub(super) Option<String>);

impl<S: Sync> FromRequestParts<S> for PathParameter {
    type Rejection = AdminError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, AdminError> {
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or_default())
    }
}

/// What `dispatch` found out. Absent means that nobody was let in.
fn caller(parts: &Parts) -> Result<Caller, AdminError> {
    let found = parts.extensions.get::<Caller>().cloned();
    found.ok_or(AdminError::Gateway(GatewayError::NoKey))
}
