//! `/config/export` and `/config/import`: every record as JSON, out and in again.
//!
//! Sealed values stay sealed, keys are digests. What is imported is checked whole before any of it
//! is written, and what is there already is not written again.

use axum::Json;
use axum::extract::{FromRequest, Request, State};
use axum::http::StatusCode;
use meridian_core::error::GatewayError;
use meridian_core::ids::KeyHash;
use meridian_core::key::{KeyRecord, RotatedKey};
use meridian_core::meters::check_rules;
use meridian_core::record::{
    Body, Budget, Credential, Customer, Model, Organization, OrganizationMember, Record,
    RecordKind, Restriction, Setting, Tag, Team, TeamMember, User,
};
use meridian_core::scope::Scope;
use serde_json::{Map, Value, json};

use super::access::AdminAccess;
use super::body::LargeBody;
use super::checks::id_fault;
use super::draft::{Draft, Tries};
use super::fields::{problem, read_json};
use super::reply::AdminError;
use super::state::AdminState;
use super::store_refusal;
use crate::store::RecordPlace;

type Answer = Result<Json<Value>, AdminError>;

/// What the document says it is.
const FORMAT: &str = "meridian-records";
/// Version of its shape.
const VERSION: u64 = 1;
/// Records of one step while everything is read.
const STEP: u32 = 1_000;
/// Most faults that one answer names.
const FAULTS_MAX: usize = 100;

/// GET /config/export
pub(super) async fn export(_: AdminAccess, State(state): State<AdminState>) -> Answer {
    let mut records = Vec::new();
    let mut after: Option<RecordPlace> = None;
    loop {
        let step = state.store().records_after(after, STEP).await;
        let step = step.map_err(store_refusal)?;
        let Some(last) = step.last() else {
            break;
        };
        after = Some((last.record.kind, last.record.id.clone()));
        let live = step.into_iter().filter(|stored| !stored.record.deleted);
        records.extend(live.map(|stored| shown(&stored.record)));
    }
    Ok(Json(
        json!({"format": FORMAT, "version": VERSION, "records": records}),
    ))
}

fn shown(record: &Record) -> Value {
    json!({"kind": record.kind, "id": record.id, "body": record.body})
}

/// A record that is to be there.
struct Wanted {
    kind: RecordKind,
    id: String,
    body: Map<String, Value>,
}

/// POST /config/import
pub(super) async fn import(
    AdminAccess(caller): AdminAccess,
    State(state): State<AdminState>,
    request: Request,
) -> Answer {
    let LargeBody(body) = LargeBody::from_request(request, &state).await?;
    let wanted = read(read_json(&body)?)?;
    let total = wanted.len();
    let mut tries = Tries::default();
    loop {
        let mut draft = Draft::as_is(&state, &caller);
        for record in &wanted {
            draft.body(record.kind, &record.id).await?;
            draft.write_body(record.kind, &record.id, record.body.clone());
        }
        for record in &wanted {
            follow_budget(&mut draft, record).await?;
        }
        if let Some(stored) = draft.save(&caller, &mut tries).await? {
            let written = stored.len();
            return Ok(Json(json!({
                "records": total, "written": written, "unchanged": total - written,
            })));
        }
    }
}

/// What refers to a budget has its period.
async fn follow_budget(draft: &mut Draft<'_>, wanted: &Wanted) -> Result<(), AdminError> {
    let own = wanted.body.contains_key("budget_duration");
    let budget = wanted.body.get("budget_id").and_then(Value::as_str);
    let (Some(budget), false, true) = (budget, own, draft.changes(wanted.kind, &wanted.id)) else {
        return Ok(());
    };
    let scope = wanted.kind.scope();
    let scope = scope.map(|kind| Scope::new(kind, wanted.id.as_str()));
    if let (Some(budget), Some(scope)) = (draft.read::<Budget>(budget).await?, scope) {
        draft.set_period(scope, &budget.bounds);
    }
    Ok(())
}

/// Reads a document; every fault is told at once.
fn read(document: Value) -> Result<Vec<Wanted>, AdminError> {
    let version = document.get("version").and_then(Value::as_u64);
    if document.get("format") != Some(&json!(FORMAT)) || version != Some(VERSION) {
        let text = format!("Expected a document with format={FORMAT} and version={VERSION}");
        return Err(AdminError::detail(StatusCode::BAD_REQUEST, text));
    }
    let Some(records) = document.get("records").and_then(Value::as_array) else {
        return Err(AdminError::Invalid(vec![problem(
            &["body", "records"],
            "list_type",
            "Input should be a valid list",
            &Value::Null,
        )]));
    };
    let (mut wanted, mut faults) = (Vec::new(), Vec::new());
    let mut seen = std::collections::HashSet::new();
    for (at, record) in records.iter().enumerate() {
        let read = wanted_of(record).and_then(|one| {
            let new = seen.insert((one.kind, one.id.clone()));
            new.then_some(one)
                .ok_or_else(|| "is there twice".to_owned())
        });
        match read {
            Ok(one) => wanted.push(one),
            Err(fault) => {
                let place = ["body", "records", &at.to_string()];
                faults.push(problem(&place, "value_error", &fault, &Value::Null));
            }
        }
    }
    match faults.is_empty() {
        true => Ok(wanted),
        false => {
            faults.truncate(FAULTS_MAX);
            Err(AdminError::Invalid(faults))
        }
    }
}

fn wanted_of(record: &Value) -> Result<Wanted, String> {
    let text = |name: &str| record.get(name).and_then(Value::as_str);
    let kind = text("kind").and_then(RecordKind::parse);
    let kind = kind.ok_or("kind is none of this gateway's")?;
    let id = text("id").ok_or("id is missing")?.to_owned();
    let body = record.get("body").and_then(Value::as_object);
    let body = body.ok_or("body is missing")?.clone();
    let fault = match kind {
        RecordKind::Key | RecordKind::RotatedKey => KeyHash::from_hex(&id)
            .is_none()
            .then_some("id is no digest"),
        RecordKind::TeamMember | RecordKind::OrganizationMember | RecordKind::Restriction => {
            id.is_empty().then_some("id is empty")
        }
        _ => id_fault(&id),
    };
    match fault {
        Some(fault) => Err(fault.to_owned()),
        None => Ok(Wanted {
            body: canonical(kind, &id, body)?,
            kind,
            id,
        }),
    }
}

/// The body as this gateway writes it: what its kind does not have is not taken.
fn canonical(
    kind: RecordKind,
    id: &str,
    body: Map<String, Value>,
) -> Result<Map<String, Value>, String> {
    match kind {
        RecordKind::Restriction => of::<Restriction>(body),
        RecordKind::RotatedKey => of::<RotatedKey>(body),
        RecordKind::Budget => of::<Budget>(body),
        RecordKind::Organization => of::<Organization>(body),
        RecordKind::Team => of::<Team>(body),
        RecordKind::User => of::<User>(body),
        RecordKind::Customer => of::<Customer>(body),
        RecordKind::Tag => of::<Tag>(body),
        RecordKind::Model => of::<Model>(body),
        RecordKind::Credential => of::<Credential>(body),
        RecordKind::Setting => of::<Setting>(body),
        RecordKind::Key => key_body(id, body),
        RecordKind::TeamMember => {
            let member: TeamMember = typed(body.clone())?;
            let own = Scope::team_member(&member.team_id, &member.user_id).id;
            same_id(&own, id)?;
            of::<TeamMember>(body)
        }
        RecordKind::OrganizationMember => {
            let member: OrganizationMember = typed(body.clone())?;
            let own = Scope::organization_member(&member.organization_id, &member.user_id).id;
            same_id(&own, id)?;
            of::<OrganizationMember>(body)
        }
    }
}

fn same_id(own: &str, id: &str) -> Result<(), String> {
    match own == id {
        true => Ok(()),
        false => Err("id is not made of the member's parts".to_owned()),
    }
}

fn typed<B: serde::de::DeserializeOwned>(body: Map<String, Value>) -> Result<B, String> {
    serde_json::from_value(Value::Object(body)).map_err(|error| error.to_string())
}

fn of<B: Body>(body: Map<String, Value>) -> Result<Map<String, Value>, String> {
    let body: B = typed(body)?;
    match serde_json::to_value(body) {
        Ok(Value::Object(body)) => Ok(body),
        _ => Err("body cannot be written".to_owned()),
    }
}

fn key_body(id: &str, body: Map<String, Value>) -> Result<Map<String, Value>, String> {
    let record = Record {
        kind: RecordKind::Key,
        id: id.to_owned(),
        home: String::new(),
        version: 0,
        generation: 0,
        deleted: false,
        created_at: Default::default(),
        updated_at: Default::default(),
        body,
    };
    let key = KeyRecord::of_record(&record).map_err(|error| error.to_string())?;
    check_rules(&key).map_err(|error: GatewayError| error.to_string())?;
    Ok(key.to_record().body)
}
