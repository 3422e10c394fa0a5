//! `PUT` by a stable id: makes or replaces, and the same body twice changes nothing.
//!
//! What a body does not say is not there afterwards, spend, members' limits and authors excepted.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use meridian_core::record::RecordKind;
use serde_json::Value;

use super::access::{AdminAccess, Caller, PathParameter};
use super::body::JsonBody;
use super::checks::id_fault;
use super::draft::{Draft, Tries};
use super::fields::Fields;
use super::reply::AdminError;
use super::rows::row_now;
use super::schema::Patch;
use super::state::AdminState;
use super::teams::write::NewTeam;
use super::{budgets, customers, organizations, tags, teams, users};

type Answer = Result<Json<Value>, AdminError>;

/// What a body says a record is.
enum Wanted {
    Team(Box<NewTeam>),
    User(Patch),
    Organization(Patch, Patch),
    Budget(Patch),
    Customer(Patch),
    Tag(Patch),
}

impl Wanted {
    fn read(kind: RecordKind, fields: &mut Fields) -> Result<Self, AdminError> {
        let wanted = match kind {
            RecordKind::Team => Self::Team(Box::new(NewTeam::read(fields))),
            RecordKind::User => Self::User(Patch::read(fields, users::UPDATE_FIELDS)),
            RecordKind::Organization => Self::Organization(
                Patch::read(fields, organizations::FIELDS),
                Patch::read(fields, organizations::LIMITS),
            ),
            RecordKind::Budget => Self::Budget(Patch::read(fields, budgets::FIELDS)),
            RecordKind::Customer => Self::Customer(Patch::read(fields, customers::FIELDS)),
            _ => Self::Tag(Patch::read(fields, tags::FIELDS)),
        };
        Ok(wanted)
    }

    fn check(&self) -> Result<(), AdminError> {
        match self {
            Self::Team(team) => team.patch.check(),
            Self::Organization(patch, limits) => patch.check().and_then(|()| limits.check()),
            Self::User(patch) | Self::Budget(patch) | Self::Customer(patch) | Self::Tag(patch) => {
                patch.check()
            }
        }
    }

    async fn put(&self, draft: &mut Draft<'_>, id: &str, state: &AdminState) -> Put {
        match self {
            Self::Team(team) => teams::write::put(draft, id, team, state).await,
            Self::User(patch) => users::write::put(draft, id, patch).await,
            Self::Organization(patch, limits) => {
                organizations::write::put(draft, id, patch, limits).await
            }
            Self::Budget(patch) => budgets::put(draft, id, patch).await,
            Self::Customer(patch) => customers::put(draft, id, patch).await,
            Self::Tag(patch) => tags::put(draft, id, patch).await,
        }
    }
}

type Put = Result<(), AdminError>;

async fn put(
    state: &AdminState,
    caller: &Caller,
    kind: RecordKind,
    id: Option<String>,
    mut fields: Fields,
) -> Answer {
    let id = id.unwrap_or_default();
    if let Some(fault) = id_fault(&id) {
        return Err(AdminError::detail(StatusCode::BAD_REQUEST, fault));
    }
    let wanted = Wanted::read(kind, &mut fields)?;
    fields.finish()?;
    wanted.check()?;
    let mut tries = Tries::default();
    loop {
        let mut draft = Draft::new(state, caller);
        wanted.put(&mut draft, &id, state).await?;
        if draft.save(caller, &mut tries).await?.is_some() {
            let row = row_now(state, kind, &id).await?;
            return Ok(Json(Value::Object(row)));
        }
    }
}

macro_rules! handlers {
    ($($(#[$doc:meta])* $name:ident: $kind:ident;)*) => {
        $(
            $(#[$doc])*
            pub(super) async fn $name(
                AdminAccess(caller): AdminAccess,
                State(state): State<AdminState>,
                PathParameter(id): PathParameter,
                JsonBody(fields): JsonBody,
            ) -> Answer {
                put(&state, &caller, RecordKind::$kind, id, fields).await
            }
        )*
    };
}

handlers! {
    /// PUT /team/{id}
    team: Team;
    /// PUT /user/{id}
    user: User;
    /// PUT /organization/{id}
    organization: Organization;
    /// PUT /budget/{id}
    budget: Budget;
    /// PUT /customer/{id}
    customer: Customer;
    /// PUT /tag/{id}
    tag: Tag;
}
