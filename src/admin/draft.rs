//! One change of several records: read, edited, and stored together or not at all.
//!
//! A draft knows what it has read, so that what comes out equal is not written: no new version, no
//! line in the audit log. When somebody else was faster, the caller makes the draft anew.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use meridian_core::money::NanoUsd;
use meridian_core::record::{Body, Bounds, Facet, Record, RecordKind};
use meridian_core::scope::Scope;
use meridian_core::time::WallMs;
use serde_json::{Map, Value, json};

use super::access::Caller;
use super::checks::RECORD_BYTES_MAX;
use super::keys::budget_reset_at;
use super::reply::AdminError;
use super::state::AdminState;
use super::store_refusal;
use crate::store::{
    PAGE_SIZE_MAX, RecordQuery, RecordWrite, ScopeChange, ScopePeriod, SpendChange, StoreError,
    StoredRecord,
};

/// Tries of a read-change-write when other writers get in between.
const WRITE_TRIES_MAX: usize = 5;

/// Fields that say who changed a record, not what it is.
const AUTHORS: [&str; 2] = ["created_by", "updated_by"];

/// Counts the tries of one call.
#[derive(Default)]
pub(super) struct Tries(usize);

/// A change that is being made.
pub(super) struct Draft<'a> {
    state: &'a AdminState,
    by: Option<String>,
    now: WallMs,
    entries: BTreeMap<(RecordKind, String), Entry>,
    /// What comes with the records for what is counted.
    counts: Vec<(Scope, ScopeChange)>,
    /// Authors are those of the bodies.
    as_is: bool,
    /// What was spent under a name before it had a record is its own.
    keeps_spend: bool,
}

struct Entry {
    before: Option<StoredRecord>,
    after: Option<Map<String, Value>>,
}

impl<'a> Draft<'a> {
    pub(super) fn new(state: &'a AdminState, caller: &Caller) -> Self {
        Self {
            state,
            by: caller.user_id(),
            now: state.now(),
            entries: BTreeMap::new(),
            counts: Vec::new(),
            as_is: false,
            keeps_spend: false,
        }
    }

    /// One whose new records go on with what was spent under their names before.
    pub(super) fn keeping_spend(self) -> Self {
        Self {
            keeps_spend: true,
            ..self
        }
    }

    /// One that writes bodies with the authors that are in them.
    pub(super) fn as_is(state: &'a AdminState, caller: &Caller) -> Self {
        Self {
            as_is: true,
            ..Self::new(state, caller)
        }
    }

    /// Whether the record will be written.
    pub(super) fn changes(&self, kind: RecordKind, id: &str) -> bool {
        let entry = self.entries.get(&(kind, id.to_owned()));
        entry.is_some_and(|entry| match (&entry.before, &entry.after) {
            (Some(before), Some(after)) => !same(&before.record.body, after),
            (None, None) => false,
            _ => true,
        })
    }

    /// When the change is made, on the clock of budget periods.
    pub(super) fn moment(&self) -> super::keys::Moment {
        self.state.moment()
    }

    /// The body of a record as this draft has it; `None` if there is none.
    pub(super) async fn body(
        &mut self,
        kind: RecordKind,
        id: &str,
    ) -> Result<Option<Map<String, Value>>, AdminError> {
        let place = (kind, id.to_owned());
        if !self.entries.contains_key(&place) {
            let before = live(self.state, kind, id).await?;
            self.take(place.clone(), before);
        }
        let entry = self.entries.get(&place);
        Ok(entry.and_then(|entry| entry.after.clone()))
    }

    /// Reads many records at once; the draft knows them, or that they are not there, from now on.
    pub(super) async fn read_all(
        &mut self,
        places: impl Iterator<Item = (RecordKind, String)>,
    ) -> Result<(), AdminError> {
        let mut ids: BTreeMap<RecordKind, Vec<String>> = BTreeMap::new();
        for (kind, id) in places {
            self.take((kind, id.clone()), None);
            ids.entry(kind).or_default().push(id);
        }
        for (kind, ids) in ids {
            for stored in named(self.state, kind, &ids).await? {
                self.take((kind, stored.record.id.clone()), Some(stored));
            }
        }
        Ok(())
    }

    /// The typed body of a record as this draft has it.
    pub(super) async fn read<B: Body>(&mut self, id: &str) -> Result<Option<B>, AdminError> {
        let body = self.body(B::KIND, id).await?;
        body.map(|body| typed::<B>(id, body)).transpose()
    }

    /// Every live record of a kind with this facet, as stored; the draft knows them from now on.
    pub(super) async fn all_with(
        &mut self,
        kind: RecordKind,
        facet: Facet,
        value: &str,
    ) -> Result<Vec<StoredRecord>, AdminError> {
        let found = every(self.state, &RecordQuery::all(kind).with(facet, value)).await?;
        for stored in &found {
            let place = (kind, stored.record.id.clone());
            if !self.entries.contains_key(&place) {
                self.take(place, Some(stored.clone()));
            }
        }
        Ok(found)
    }

    fn take(&mut self, place: (RecordKind, String), before: Option<StoredRecord>) {
        let after = before.as_ref().map(|stored| stored.record.body.clone());
        self.entries.insert(place, Entry { before, after });
    }

    /// Gives a record that was read before another body.
    pub(super) fn write<B: Body>(&mut self, id: &str, body: &B) {
        if let Ok(Value::Object(fields)) = serde_json::to_value(body) {
            self.write_body(B::KIND, id, fields);
        }
    }

    /// As [`Self::write`], for a body that was checked to be one of its kind.
    pub(super) fn write_body(&mut self, kind: RecordKind, id: &str, fields: Map<String, Value>) {
        let place = (kind, id.to_owned());
        let entry = self.entries.entry(place).or_insert(Entry {
            before: None,
            after: None,
        });
        entry.after = Some(fields);
    }

    /// Ends a record that was read before.
    pub(super) fn delete(&mut self, kind: RecordKind, id: &str) {
        if let Some(entry) = self.entries.get_mut(&(kind, id.to_owned())) {
            entry.after = None;
        }
    }

    /// Sets the period of a scope that takes its budget from another record. An end that has
    /// passed since the budget was written is not the running period's.
    pub(super) fn set_period(&mut self, scope: Scope, bounds: &Bounds) {
        let moment = self.moment();
        let period = bounds.budget_duration.clone().map(|duration| {
            let written = bounds.budget_reset_at.filter(|ends| *ends > moment.now);
            let ends = written.or_else(|| budget_reset_at(&duration, &moment).ok());
            ScopePeriod { duration, ends }
        });
        self.counts.push((scope, ScopeChange::Period(period)));
    }

    /// What a record was before this draft.
    pub(super) fn stored(&self, kind: RecordKind, id: &str) -> Option<&Map<String, Value>> {
        let entry = self.entries.get(&(kind, id.to_owned()))?;
        Some(&entry.before.as_ref()?.record.body)
    }

    /// What a field of a record was before this draft.
    pub(super) fn before(&self, kind: RecordKind, id: &str, field: &str) -> Option<&Value> {
        self.stored(kind, id)?.get(field)
    }

    /// Sets what a scope has spent, together with the records.
    pub(super) fn set_spend(&mut self, scope: Scope, spend: NanoUsd) {
        let since = self.now;
        self.counts
            .push((scope, ScopeChange::Spent { spend, since }));
    }

    /// Stores what differs from what was read. `None`: somebody else was faster, try again.
    pub(super) async fn save(
        self,
        caller: &Caller,
        tries: &mut Tries,
    ) -> Result<Option<Vec<Record>>, AdminError> {
        let state = self.state;
        let mut writes = Vec::new();
        for ((kind, id), entry) in self.entries {
            let by = self.by.as_deref().filter(|_| !self.as_is);
            let mut write = entry.write(kind, &id, by, self.now)?;
            if let (true, Some(write)) = (self.keeps_spend, &mut write) {
                write.spend = SpendChange::Keep;
            }
            writes.extend(write);
        }
        if writes.is_empty() && self.counts.is_empty() {
            return Ok(Some(Vec::new()));
        }
        match state.write_with(writes, self.counts, caller).await {
            Ok(stored) => Ok(Some(stored)),
            Err(error) => tries.again(error).map(|()| None),
        }
    }
}

impl Tries {
    /// Whether a failed write is worth another try.
    fn again(&mut self, error: StoreError) -> Result<(), AdminError> {
        self.0 += 1;
        let taken = |text: &str| AdminError::detail(StatusCode::CONFLICT, text);
        let raced = match &error {
            StoreError::Conflict { field } => match field.as_str() {
                "version" | "id" => true,
                "email" => return Err(taken("User with this email already exists")),
                _ => return Err(taken("This name is already taken")),
            },
            StoreError::NotFound => true,
            _ => false,
        };
        match raced {
            false => Err(store_refusal(error)),
            true if self.0 < WRITE_TRIES_MAX => Ok(()),
            true => Err(taken("This is being changed by others. Try again.")),
        }
    }
}

impl Entry {
    fn write(
        self,
        kind: RecordKind,
        id: &str,
        by: Option<&str>,
        now: WallMs,
    ) -> Result<Option<RecordWrite>, AdminError> {
        match (self.before, self.after) {
            (None, None) => Ok(None),
            (Some(before), None) => {
                let mut record = before.record;
                if kind == RecordKind::Key {
                    super::keys::note_end(&mut record.body, by, now);
                }
                Ok(Some(RecordWrite::delete(record, now)))
            }
            (Some(before), Some(after)) if same(&before.record.body, &after) => Ok(None),
            (Some(before), Some(mut after)) => {
                keep_period(&before, &mut after);
                sign(kind, &mut after, &["updated_by"], by);
                check_size(kind, &after)?;
                let mut record = before.record;
                record.body = after;
                record.updated_at = now;
                Ok(Some(RecordWrite::replace(record)))
            }
            (None, Some(mut after)) => {
                sign(kind, &mut after, &AUTHORS, by);
                check_size(kind, &after)?;
                let record = Record {
                    kind,
                    id: id.to_owned(),
                    home: String::new(),
                    version: 0,
                    generation: 0,
                    deleted: false,
                    created_at: now,
                    updated_at: now,
                    body: after,
                };
                let mut write = RecordWrite::create(record);
                if kind.scope().is_some() {
                    // What an earlier holder of the id spent is not this one's.
                    write.spend = SpendChange::Start(NanoUsd::ZERO);
                }
                Ok(Some(write))
            }
        }
    }
}

/// A period that is not changed is the one that runs, not the one that ran when it was written.
fn keep_period(before: &StoredRecord, after: &mut Map<String, Value>) {
    let was = &before.record.body;
    let same = ["budget_duration", "budget_reset_at"]
        .iter()
        .all(|name| was.get(*name) == after.get(*name));
    if let (Some(ends), true) = (
        before.resets_at,
        same && was.contains_key("budget_duration"),
    ) {
        after.insert("budget_reset_at".to_owned(), json!(ends));
    }
}

/// Whether two bodies say the same about the thing itself.
fn same(before: &Map<String, Value>, after: &Map<String, Value>) -> bool {
    let said = |body: &Map<String, Value>| {
        let mut body = body.clone();
        body.retain(|name, _| !AUTHORS.contains(&name.as_str()));
        body
    };
    said(before) == said(after)
}

fn sign(kind: RecordKind, body: &mut Map<String, Value>, authors: &[&str], by: Option<&str>) {
    let unsigned = matches!(
        kind,
        RecordKind::TeamMember | RecordKind::OrganizationMember | RecordKind::RotatedKey
    );
    if let (false, Some(by)) = (unsigned, by) {
        for author in authors {
            body.insert((*author).to_owned(), json!(by));
        }
    }
}

/// Members of teams are many; everything else is as small as a key.
fn check_size(kind: RecordKind, body: &Map<String, Value>) -> Result<(), AdminError> {
    let most = match kind {
        RecordKind::Team | RecordKind::User => 16 * RECORD_BYTES_MAX,
        _ => RECORD_BYTES_MAX,
    };
    let bytes = serde_json::to_vec(body).map_or(usize::MAX, |text| text.len());
    if bytes <= most {
        return Ok(());
    }
    let text = format!("A {} may have {most} bytes", kind.as_str());
    Err(AdminError::detail(StatusCode::BAD_REQUEST, text))
}

/// A record that lives.
pub(super) async fn live(
    state: &AdminState,
    kind: RecordKind,
    id: &str,
) -> Result<Option<StoredRecord>, AdminError> {
    let found = state.store().get_record(kind, id).await;
    let found = found.map_err(store_refusal)?;
    Ok(found.filter(|stored| !stored.record.deleted))
}

/// The typed body of a record that lives.
pub(super) async fn find<B: Body>(state: &AdminState, id: &str) -> Result<Option<B>, AdminError> {
    let found = live(state, B::KIND, id).await?;
    found.map(|stored| body_of(&stored)).transpose()
}

/// Every record that a question finds, on all pages.
pub(super) async fn every(
    state: &AdminState,
    query: &RecordQuery,
) -> Result<Vec<StoredRecord>, AdminError> {
    let mut all = Vec::new();
    for page in 1.. {
        let query = RecordQuery {
            page,
            size: PAGE_SIZE_MAX,
            ..query.clone()
        };
        let found = state.store().list_records(query).await;
        let found = found.map_err(store_refusal)?.records;
        let last = found.len() < PAGE_SIZE_MAX as usize;
        all.extend(found);
        if last {
            break;
        }
    }
    Ok(all)
}

/// Those of the named records that live, in the order of their ids.
pub(super) async fn named(
    state: &AdminState,
    kind: RecordKind,
    ids: &[String],
) -> Result<Vec<StoredRecord>, AdminError> {
    let mut all = Vec::new();
    for ids in ids.chunks(500) {
        let query = RecordQuery {
            ids: ids.to_vec(),
            ..RecordQuery::all(kind)
        };
        all.extend(every(state, &query).await?);
    }
    Ok(all)
}

/// The typed body of a stored record.
pub(super) fn body_of<B: Body>(stored: &StoredRecord) -> Result<B, AdminError> {
    let body = stored.record.read::<B>();
    body.map_err(|error| store_refusal(StoreError::Record(error)))
}

/// A body as its kind has it, with every default and nothing else.
pub(super) fn typed<B: Body>(id: &str, body: Map<String, Value>) -> Result<B, AdminError> {
    serde_json::from_value(Value::Object(body)).map_err(|error| {
        let text = format!("{} {id}: {error}", B::KIND.as_str());
        AdminError::detail(StatusCode::BAD_REQUEST, text)
    })
}
