//! Making, changing and removing users.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use meridian_core::auth::{Action, Object, Power, Rights, exceeds};
use meridian_core::config::NewKeys;
use meridian_core::key::KeyRecord;
use meridian_core::record::{Bounds, Budget, Facet, Organization, RecordKind, User};
use meridian_core::scope::{Scope, ScopeKind};
use serde_json::{Map, Value, json};

use super::super::access::{AdminAccess, Caller, DelegatedAccess};
use super::super::authorize::{absent, check_fields, may, may_user, too_much};
use super::super::body::JsonBody;
use super::super::draft::{Draft, Tries, typed};
use super::super::fields::{Fields, Given};
use super::super::keys::write::prepare_key;
use super::super::keys::{KeyPatch, rows_of_user};
use super::super::reply::AdminError;
use super::super::rows::row_now;
use super::super::schema::{Field, Kind, Patch, of_route};
use super::super::state::AdminState;
use super::super::teams::guard_metadata;
use super::places::{Place, join_organization, join_team, teams_of};
use super::{UPDATE_FIELDS, check, check_email};
use crate::store::RecordQuery;

type Answer = Result<Json<Value>, AdminError>;

/// Most users in one call.
const USERS_MAX: usize = 500;

/// What `/user/new` says about the key that it makes.
const KEY: &[Field] = &[
    of_route("key_alias", Kind::Text),
    of_route("duration", Kind::Text),
    of_route("aliases", Kind::Object),
    of_route("config", Kind::Object),
    of_route("permissions", Kind::Object),
    of_route("team_id", Kind::Text),
    of_route("agent_id", Kind::Text),
    of_route("auto_create_key", Kind::Flag),
    of_route("send_invite_email", Kind::Flag),
    of_route("organizations", Kind::Texts),
];

/// `/user/new`, without the user's id and teams.
pub(in crate::admin) const NEW_FIELDS: &[&[Field]] =
    &[super::USER, super::BOUNDS, super::FOLDED, KEY];

/// A user that is asked for.
struct NewUser {
    id: String,
    patch: Patch,
    teams: Vec<Place>,
    organizations: Vec<String>,
}

impl NewUser {
    fn read(fields: &mut Fields) -> Self {
        let id = fields.id("user_id").value();
        let teams = teams_of(fields);
        let patch = Patch::read(fields, NEW_FIELDS);
        Self {
            id: id.unwrap_or_else(|| crate::clock::new_call_id().to_string()),
            organizations: patch.texts("organizations").unwrap_or_default(),
            teams,
            patch,
        }
    }

    /// Uses what the configuration says for what was left out. Administrators get nothing unasked.
    /// Returns the teams that the user joins because of it.
    fn fill(&mut self, rules: &NewKeys) -> Result<Vec<Place>, AdminError> {
        let is_admin = |role: String| role.starts_with("proxy_admin");
        if self.patch.text("user_role").is_some_and(is_admin) {
            return Ok(Vec::new());
        }
        let mut fields = Fields::of_object(rules.users.clone());
        let teams = teams_of(&mut fields);
        self.patch.fill(&Patch::read(&mut fields, NEW_FIELDS));
        if self.patch.text("user_role").as_deref() == Some("internal_user") {
            let mut more = Fields::of_object(rules.internal_users.clone());
            self.patch.fill(&Patch::read(&mut more, NEW_FIELDS));
        }
        fields.finish()?;
        match self.teams.is_empty() {
            true => Ok(teams),
            false => Ok(Vec::new()),
        }
    }

    /// As what the caller makes the user.
    fn admit(&self, caller: &Caller) -> Result<Power, AdminError> {
        let administrated = |id: &String| {
            let who = caller.standing();
            who.organizations.get(id) == Some(&true)
        };
        // One organization that is not the caller's makes it nobody's.
        let own = self.organizations.iter().all(administrated);
        let organizations = match own || caller.sees_all() {
            true => self.organizations.as_slice(),
            false => &[],
        };
        let object = Object {
            organizations,
            ..Object::new(RecordKind::User, &self.id)
        };
        let power = may(caller, Action::Create, &object)?;
        let mut names: Vec<&str> = self.patch.names().collect();
        if !self.teams.is_empty() {
            names.push("teams");
        }
        check_fields(RecordKind::User, power, names.into_iter())?;
        Ok(power)
    }
}

/// POST /user/new
pub(in crate::admin) async fn new(
    DelegatedAccess(caller): DelegatedAccess,
    State(state): State<AdminState>,
    JsonBody(mut fields): JsonBody,
) -> Answer {
    let mut asked = NewUser::read(&mut fields);
    fields.finish()?;
    asked.patch.check()?;
    let power = asked.admit(&caller)?;
    let joined = asked.fill(&state.rules().config.new_keys)?;
    let personal = asked.patch.get("team_id").value().is_none();
    let may_have = !(personal && state.rules().config.new_keys.only_of_teams);
    let wants_key = asked.patch.flag("auto_create_key").unwrap_or(may_have);
    let key = match wants_key {
        true => Some(own_key(&state, &caller, &asked).await?),
        false => None,
    };
    let mut tries = Tries::default();
    loop {
        let mut draft = Draft::new(&state, &caller);
        build(&mut draft, &asked, power, &caller).await?;
        for place in &joined {
            // The configuration says so, whoever asks.
            join_team(&mut draft, place, &asked.id, Power::Proxy).await?;
        }
        if let Some((record, _)) = &key {
            let record = record.to_record();
            draft.write_body(RecordKind::Key, &record.id, record.body);
        }
        if draft.save(&caller, &mut tries).await?.is_some() {
            break;
        }
    }
    let mut out = row_now(&state, RecordKind::User, &asked.id).await?;
    let (token, clear) = key.unzip();
    out.insert("token".to_owned(), json!(token.map(|key| key.token)));
    out.insert("key".to_owned(), json!(clear));
    Ok(Json(Value::Object(out)))
}

/// The key that comes with a new user: its models, its name, nothing of its budget, which the
/// user has.
async fn own_key(
    state: &AdminState,
    caller: &Caller,
    asked: &NewUser,
) -> Result<(KeyRecord, String), AdminError> {
    let mut object = Map::new();
    for name in [
        "key_alias",
        "duration",
        "aliases",
        "config",
        "permissions",
        "team_id",
        "agent_id",
    ] {
        if let Given::Value(value) = asked.patch.get(name) {
            object.insert(name.to_owned(), value.clone());
        }
    }
    if let Some(models) = asked.patch.texts("models") {
        object.insert("models".to_owned(), json!(models));
    }
    object.insert("user_id".to_owned(), json!(asked.id));
    if let Some(organization) = asked.organizations.first() {
        object.insert("organization_id".to_owned(), json!(organization));
    }
    let mut fields = Fields::of_object(object);
    let patch = KeyPatch::read(&mut fields);
    fields.finish()?;
    let names = ["key_alias", "models", "user_id"].map(str::to_owned);
    prepare_key(state, caller, patch, None, &names).await
}

async fn build(
    draft: &mut Draft<'_>,
    asked: &NewUser,
    power: Power,
    caller: &Caller,
) -> Result<(), AdminError> {
    let id = &asked.id;
    if draft.body(RecordKind::User, id).await?.is_some() {
        let text = format!("User with id {id} already exists");
        return Err(AdminError::detail(StatusCode::CONFLICT, text));
    }
    let mut patch = asked.patch.clone();
    guard_metadata(&mut patch, &Map::new(), RecordKind::User, power)?;
    let body = patch.whole_body(&Bounds::default(), &draft.moment())?;
    let mut user: User = typed(id, body)?;
    check(&user)?;
    check_email(draft, id, &user).await?;
    if power == Power::Organization {
        check_organizations(draft, asked, &mut user).await?;
    }
    draft.write(id, &user);
    for place in &asked.teams {
        if power != Power::Proxy {
            may_add_to(draft, caller, &place.team_id).await?;
        }
        join_team(draft, place, id, power).await?;
    }
    let role = match user.user_role.as_deref() {
        Some("internal_user_viewer") => "internal_user_viewer",
        _ => "internal_user",
    };
    for organization in &asked.organizations {
        join_organization(draft, organization, id, role, &Patch::default()).await?;
    }
    Ok(())
}

async fn may_add_to(draft: &mut Draft<'_>, caller: &Caller, id: &str) -> Result<(), AdminError> {
    let team = draft.read::<meridian_core::record::Team>(id).await?;
    super::super::authorize::may_team(caller, Action::Members, id, team.as_ref())?;
    Ok(())
}

/// A user that an organization's admin makes has no role of the proxy and no more than each of
/// its organizations.
async fn check_organizations(
    draft: &mut Draft<'_>,
    asked: &NewUser,
    user: &mut User,
) -> Result<(), AdminError> {
    if matches!(user.user_role.as_deref(), Some(role) if role.starts_with("proxy_admin")) {
        return Err(too_much("user_role", "an organization's admin"));
    }
    if user.models.is_empty() {
        user.models.push("no-default-models".to_owned());
    }
    for id in &asked.organizations {
        let organization = draft.read::<Organization>(id).await?;
        let organization = organization.ok_or_else(|| absent(RecordKind::Organization, id))?;
        let budget = match &organization.budget_id {
            Some(budget) => draft.read::<Budget>(budget).await?.unwrap_or_default(),
            None => Budget::default(),
        };
        if user.bounds.max_budget.is_none() {
            user.bounds.max_budget = budget.bounds.max_budget;
            user.bounds
                .budget_duration
                .clone_from(&budget.bounds.budget_duration);
            user.bounds.budget_reset_at = budget.bounds.budget_reset_at;
        }
        user.bounds = user.bounds.or(&budget.bounds);
        let ceiling = Rights::of_bounds(&organization.models, &budget.bounds);
        if let Some(field) = exceeds(&Rights::of_user(user), &ceiling) {
            return Err(too_much(field, "the organization"));
        }
    }
    Ok(())
}

/// POST /user/update
pub(in crate::admin) async fn update(
    DelegatedAccess(caller): DelegatedAccess,
    State(state): State<AdminState>,
    JsonBody(fields): JsonBody,
) -> Answer {
    let (id, row) = update_one(&state, &caller, fields).await?;
    Ok(Json(json!({"user_id": id, "data": row})))
}

async fn update_one(
    state: &AdminState,
    caller: &Caller,
    mut fields: Fields,
) -> Result<(String, Map<String, Value>), AdminError> {
    let id = fields.text("user_id").value();
    let password = fields.has("password");
    let patch = Patch::read(&mut fields, UPDATE_FIELDS);
    fields.finish()?;
    patch.check()?;
    if password {
        let text = "password: this gateway has no logins with passwords";
        return Err(AdminError::detail(StatusCode::BAD_REQUEST, text));
    }
    let id = match id {
        Some(id) => id,
        None => id_by_email(state, &patch).await?,
    };
    change(state, caller, &id, &patch).await?;
    let row = row_now(state, RecordKind::User, &id).await?;
    Ok((id, row))
}

/// LiteLLM takes the address where no id is given.
async fn id_by_email(state: &AdminState, patch: &Patch) -> Result<String, AdminError> {
    let Some(email) = patch.text("user_email") else {
        let text = "Either user_id or user_email must be provided";
        return Err(AdminError::detail(StatusCode::BAD_REQUEST, text));
    };
    let query = RecordQuery::all(RecordKind::User).with(Facet::Email, email.as_str());
    let found = super::super::draft::every(state, &query).await?;
    let found = found.into_iter().next().map(|user| user.record.id);
    found.ok_or_else(|| {
        let text = format!("User not found, passed user_email={email}");
        AdminError::detail(StatusCode::NOT_FOUND, text)
    })
}

async fn change(
    state: &AdminState,
    caller: &Caller,
    id: &str,
    patch: &Patch,
) -> Result<(), AdminError> {
    let power = may_user(state, caller, Action::Change, id).await?;
    check_fields(RecordKind::User, power, patch.names())?;
    let mut tries = Tries::default();
    loop {
        let mut draft = Draft::new(state, caller);
        let body = draft.body(RecordKind::User, id).await?;
        let mut body = body.ok_or_else(|| absent(RecordKind::User, id))?;
        patch.apply(&mut body, &draft.moment())?;
        let user: User = typed(id, body)?;
        check(&user)?;
        check_email(&mut draft, id, &user).await?;
        draft.write(id, &user);
        if let Given::Value(spend) = patch.money("spend") {
            draft.set_spend(Scope::new(ScopeKind::User, id), spend);
        }
        if draft.save(caller, &mut tries).await?.is_some() {
            return Ok(());
        }
    }
}

/// POST /user/bulk_update: every user by itself; one failure does not undo the others.
pub(in crate::admin) async fn bulk_update(
    AdminAccess(caller): AdminAccess,
    State(state): State<AdminState>,
    JsonBody(mut fields): JsonBody,
) -> Answer {
    let users = fields.any("users").value();
    let everybody = fields.flag("all_users").value().unwrap_or(false);
    let updates = fields.object("user_updates").value().unwrap_or_default();
    fields.finish()?;
    let items = match (users, everybody) {
        (Some(Value::Array(items)), false) => items,
        (_, true) => every_user(&state, &updates).await?,
        _ => Vec::new(),
    };
    if items.is_empty() || items.len() > USERS_MAX {
        let text = format!("Must specify 1 to {USERS_MAX} users");
        return Err(AdminError::detail(StatusCode::BAD_REQUEST, text));
    }
    let total = items.len();
    let mut results = Vec::new();
    for item in items {
        let named = |name: &str| item.get(name).cloned().unwrap_or(Value::Null);
        let (user_id, user_email) = (named("user_id"), named("user_email"));
        let done = match item {
            Value::Object(item) => update_one(&state, &caller, Fields::of_object(item)).await,
            _ => Err(AdminError::detail(
                StatusCode::BAD_REQUEST,
                "Expected an object",
            )),
        };
        results.push(match done {
            Ok((id, row)) => json!({
                "user_id": id, "user_email": row.get("user_email"), "success": true,
                "error": null, "updated_user": row,
            }),
            Err(error) => json!({
                "user_id": user_id, "user_email": user_email, "success": false,
                "error": error.text(), "updated_user": null,
            }),
        });
    }
    let good = results.iter().filter(|one| one["success"] == true).count();
    Ok(Json(json!({
        "results": results, "total_requested": total, "successful_updates": good,
        "failed_updates": total - good,
    })))
}

async fn every_user(
    state: &AdminState,
    updates: &Map<String, Value>,
) -> Result<Vec<Value>, AdminError> {
    let users = super::super::draft::every(state, &RecordQuery::all(RecordKind::User)).await?;
    let item = |id: String| {
        let mut item = updates.clone();
        item.insert("user_id".to_owned(), json!(id));
        Value::Object(item)
    };
    Ok(users.into_iter().map(|user| item(user.record.id)).collect())
}

/// POST /user/delete
pub(in crate::admin) async fn delete(
    AdminAccess(caller): AdminAccess,
    State(state): State<AdminState>,
    JsonBody(mut fields): JsonBody,
) -> Answer {
    let ids = fields.texts("user_ids").value().unwrap_or_default();
    fields.finish()?;
    if ids.is_empty() || ids.len() > USERS_MAX {
        let text = format!("user_ids must name 1 to {USERS_MAX} users");
        return Err(AdminError::detail(StatusCode::BAD_REQUEST, text));
    }
    let mut tries = Tries::default();
    loop {
        let mut draft = Draft::new(&state, &caller);
        for id in &ids {
            if !super::remove(&mut draft, id).await? {
                return Err(absent(RecordKind::User, id));
            }
        }
        if draft.save(&caller, &mut tries).await?.is_some() {
            return Ok(Json(json!(ids.len())));
        }
    }
}

/// The user as a `PUT` says it is: its places in teams are theirs to say.
pub(in crate::admin) async fn put(
    draft: &mut Draft<'_>,
    id: &str,
    patch: &Patch,
) -> Result<(), AdminError> {
    let before = draft.read::<User>(id).await?.unwrap_or_default();
    let body = patch.whole_body(&before.bounds, &draft.moment())?;
    let user = User {
        teams: before.teams.clone(),
        organization_id: before.organization_id.clone(),
        created_by: before.created_by.clone(),
        updated_by: before.updated_by.clone(),
        ..typed(id, body)?
    };
    check(&user)?;
    check_email(draft, id, &user).await?;
    draft.write(id, &user);
    Ok(())
}

/// Keys of a user, for its answers.
pub(super) async fn keys_of(state: &AdminState, id: &str) -> Result<Vec<Value>, AdminError> {
    rows_of_user(state, id).await
}
