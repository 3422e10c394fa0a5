//! Whose what keys made is, where keys are imported: a document can give nobody another's things.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use meridian_core::record::RecordKind;
use serde_json::{Map, Value};

use super::super::draft::Draft;
use super::super::keys::new_lineage;
use super::super::reply::AdminError;
use super::super::store_refusal;
use super::{STEP, Wanted};
use crate::store::{Store, StoredRecord};

/// A key's field.
const LINEAGE: &str = "lineage";

/// Who has which identity, of the live keys; known from the first new key on. Digests of both,
/// for there may be millions.
#[derive(Default)]
pub(super) struct Identities {
    keys: Option<HashMap<u64, u64>>,
}

impl Identities {
    /// The body that is written: a key that is there keeps its identity, a new one has what it
    /// comes with, or one of its own where another live key has that.
    pub(super) async fn settled(
        &mut self,
        store: &Store,
        draft: &Draft<'_>,
        wanted: &Wanted,
    ) -> Result<Map<String, Value>, AdminError> {
        let mut body = wanted.body.clone();
        if wanted.kind != RecordKind::Key {
            return Ok(body);
        }
        let lineage = match draft.stored(wanted.kind, &wanted.id) {
            Some(stored) => stored.get(LINEAGE).cloned(),
            None => match self.take(store, &wanted.id, &body).await? {
                true => return Ok(body),
                false => Some(Value::String(new_lineage().to_string())),
            },
        };
        match lineage {
            Some(lineage) => drop(body.insert(LINEAGE.to_owned(), lineage)),
            None => drop(body.remove(LINEAGE)),
        }
        Ok(body)
    }

    /// Whether a new key may have the identity that its body says; then it has.
    async fn take(
        &mut self,
        store: &Store,
        id: &str,
        body: &Map<String, Value>,
    ) -> Result<bool, AdminError> {
        let keys = match self.keys.take() {
            Some(keys) => keys,
            None => known(store).await?,
        };
        let keys = self.keys.insert(keys);
        let own = digest(id);
        Ok(*keys.entry(identity(id, body)).or_insert(own) == own)
    }
}

async fn known(store: &Store) -> Result<HashMap<u64, u64>, AdminError> {
    let mut keys = HashMap::new();
    let mut after = Some((RecordKind::Key, String::new()));
    loop {
        let step = store.records_after(after.clone(), STEP).await;
        let step = step.map_err(store_refusal)?;
        let is_key = |stored: &&StoredRecord| stored.record.kind == RecordKind::Key;
        for stored in step.iter().take_while(is_key) {
            let record = &stored.record;
            if !record.deleted {
                keys.insert(identity(&record.id, &record.body), digest(&record.id));
            }
        }
        match step.last() {
            Some(last) if is_key(&last) => {
                after = Some((RecordKind::Key, last.record.id.clone()));
            }
            _ => return Ok(keys),
        }
    }
}

fn identity(id: &str, body: &Map<String, Value>) -> u64 {
    digest(body.get(LINEAGE).and_then(Value::as_str).unwrap_or(id))
}

fn digest(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}
