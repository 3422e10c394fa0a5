//! `/config/export` and `/config/import`: every record as JSON, out and in again.
//!
//! Sealed values stay sealed, keys are digests. Neither needs memory for all of it: what goes out
//! is read step by step; what comes in is put aside on disk, checked whole, and then written some
//! records at a time. What is there already is not written again, so that an import that was broken
//! off goes on where it was when it is sent once more.

mod document;
mod identity;
mod spool;

use axum::Json;
use axum::body::{Body as HttpBody, Bytes};
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::stream;
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

use identity::Identities;

use super::access::{AdminAccess, Caller};
use super::checks::id_fault;
use super::draft::{Draft, Tries};
use super::query::Query;
use super::reply::AdminError;
use super::state::AdminState;
use super::store_refusal;
use crate::store::{RecordPlace, Store, StoreError, StoredRecord};

type Answer = Result<Json<Value>, AdminError>;

/// What the document says it is.
const FORMAT: &str = "meridian-records";
/// Version of its shape.
const VERSION: u64 = 1;
/// Records of one step while everything is read.
const STEP: u32 = 1_000;
/// Records that are written together.
const WRITTEN_TOGETHER: usize = 500;

/// GET /config/export: all records, or `limit` of them behind `after_kind` and `after_id`; then
/// `next` says where to go on.
pub(super) async fn export(
    _: AdminAccess,
    State(state): State<AdminState>,
    query: Query,
) -> Result<Response, AdminError> {
    let after = match query.text("after_kind") {
        None => None,
        Some(kind) => {
            let known = RecordKind::parse(&kind);
            let kind = known.ok_or_else(|| {
                let text = format!("after_kind={kind} is none of this gateway's");
                AdminError::detail(StatusCode::BAD_REQUEST, text)
            })?;
            Some((kind, query.text("after_id").unwrap_or_default()))
        }
    };
    let mut walk = Walk {
        store: state.store().clone(),
        after,
        left: query.whole("limit", 1, u64::MAX)?,
        begun: false,
        any: false,
        done: false,
    };
    // A store that does not answer is told with a status; later, only by breaking off.
    let first = walk.step().await.map_err(store_refusal)?;
    let rest = stream::unfold(walk, |mut walk| async move {
        match walk.done {
            true => None,
            false => Some((walk.step().await, walk)),
        }
    });
    let all = futures::StreamExt::chain(stream::iter([Ok(first)]), rest);
    let json = [(header::CONTENT_TYPE, "application/json")];
    Ok((json, HttpBody::from_stream(all)).into_response())
}

/// A walk over all records.
struct Walk {
    store: Store,
    after: Option<RecordPlace>,
    /// Records that may still be shown; `None` is all.
    left: Option<u64>,
    /// The document was begun.
    begun: bool,
    /// A record was shown.
    any: bool,
    done: bool,
}

impl Walk {
    /// The next part of the document.
    async fn step(&mut self) -> Result<Bytes, StoreError> {
        let step = self.store.records_after(self.after.clone(), STEP).await?;
        let mut part = match std::mem::replace(&mut self.begun, true) {
            true => String::new(),
            false => format!("{{\"format\":\"{FORMAT}\",\"version\":{VERSION},\"records\":["),
        };
        let mut cut = false;
        let live = |stored: &&StoredRecord| !stored.record.deleted;
        for stored in step.iter().filter(live) {
            cut = self.left == Some(0);
            if cut {
                break;
            }
            self.left = self.left.map(|left| left - 1);
            self.after = Some((stored.record.kind, stored.record.id.clone()));
            if std::mem::replace(&mut self.any, true) {
                part.push(',');
            }
            part.push_str(&shown(&stored.record).to_string());
        }
        let last = step.last().filter(|_| !cut);
        if let Some(last) = last {
            self.after = Some((last.record.kind, last.record.id.clone()));
        }
        if cut || last.is_none() {
            self.done = true;
            part.push(']');
            if let (true, Some((kind, id))) = (cut, &self.after) {
                part.push_str(&format!(",\"next\":{}", json!({"kind": kind, "id": id})));
            }
            part.push('}');
        }
        Ok(Bytes::from(part))
    }
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
    let spooled = spool::of_body(request.into_body()).await?;
    let total = document::check(&spooled).await?;
    let mut records = document::Records::of(&spooled)?;
    let (mut written, mut identities) = (0, Identities::default());
    loop {
        let (rest, batch) = document::next(records, WRITTEN_TOGETHER).await?;
        records = rest;
        if batch.is_empty() {
            return Ok(Json(json!({
                "records": total, "written": written, "unchanged": total - written,
            })));
        }
        written += write(&state, &caller, &batch, &mut identities).await?;
    }
}

/// Writes some records together; gives how many were not there.
async fn write(
    state: &AdminState,
    caller: &Caller,
    batch: &[Wanted],
    identities: &mut Identities,
) -> Result<usize, AdminError> {
    let mut tries = Tries::default();
    loop {
        let mut draft = Draft::as_is(state, caller);
        let places = batch.iter().map(|record| (record.kind, record.id.clone()));
        draft.read_all(places).await?;
        for record in batch {
            let body = identities.settled(state.store(), &draft, record).await?;
            draft.write_body(record.kind, &record.id, body);
        }
        for record in batch {
            follow_budget(&mut draft, record).await?;
        }
        if let Some(stored) = draft.save(caller, &mut tries).await? {
            return Ok(stored.len());
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
