//! What configuration is in force: the files, and over them the models, credentials and settings
//! that the management API stored. The one place that opens sealed values.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use meridian_core::config::overlay::{StoredCredential, StoredModel, StoredSetting};
use meridian_core::config::{Config, Laid, LeftOut, Overlay, Source};
use meridian_core::ids::Secret;
use meridian_core::record::{BadRecord, Body, Credential, Model, Record, RecordKind, Setting};
use meridian_core::sealed::{NONCE_BYTES, SealKey, Unopened};
use serde_json::{Map, Value};

use crate::clock;
use crate::store::{Store, StoreError};

/// Section whose values are sealed in its record.
pub const SEALED_SECTION: &str = "environment_variables";

/// Files and records. Asked when one of them changes and by management, never by a request.
pub struct Merged {
    inner: Mutex<Inner>,
}

struct Inner {
    source: Source,
    /// The master key where the files name none: the one that the data directory keeps.
    master_key: Option<Secret>,
    /// The newest version of each record, tombstones too.
    records: HashMap<(RecordKind, String), Record>,
    left_out: Vec<LeftOut>,
}

impl Merged {
    /// Files, no records yet. `master_key` counts where the files name none.
    pub fn new(source: Source, master_key: Option<Secret>) -> Self {
        let inner = Inner {
            source,
            master_key,
            records: HashMap::new(),
            left_out: Vec::new(),
        };
        Self {
            inner: Mutex::new(inner),
        }
    }

    /// Takes every record that the store has.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn load(&self, store: &Store) -> Result<(), StoreError> {
        for kind in [
            RecordKind::Model,
            RecordKind::Credential,
            RecordKind::Setting,
        ] {
            let records = store.live_records(kind).await?;
            self.take(&records);
        }
        Ok(())
    }

    /// Takes records that were written, here or elsewhere: those that are newer than what is known.
    /// Whether one of them has a part in the configuration, which is then to be put in force.
    pub fn take<'a>(&self, records: impl IntoIterator<Item = &'a Record>) -> bool {
        let mut inner = self.inner();
        let mut taken = false;
        for record in records.into_iter().filter(|record| counts(record.kind)) {
            let key = (record.kind, record.id.clone());
            let known = inner.records.get(&key).map_or(0, |known| known.version);
            if record.version > known {
                inner.records.insert(key, record.clone());
                taken = true;
            }
        }
        taken
    }

    /// Takes files that were read anew.
    pub fn set_source(&self, source: Source) {
        self.inner().source = source;
    }

    /// The configuration that is to be in force; `None` when the files have errors. Records that
    /// cannot be used are left out, and the log says so once.
    pub fn config(&self) -> Option<Config> {
        let mut inner = self.inner();
        let (mut laid, unreadable) = inner.lay(&HashMap::new());
        laid.left_out.extend(unreadable);
        for one in laid
            .left_out
            .iter()
            .filter(|one| !inner.left_out.contains(one))
        {
            tracing::warn!(record = %one, "a stored record is not in force");
        }
        inner.left_out = laid.left_out;
        laid.config
    }

    /// Whether these records could be put in force: what would be left out then that is not now.
    ///
    /// # Errors
    /// The records that would be left out, with their reasons.
    pub fn check(&self, candidates: &[Record]) -> Result<(), Vec<LeftOut>> {
        self.trial(candidates).map(|_| ())
    }

    /// The configuration that there would be with these records.
    ///
    /// # Errors
    /// The records that would be left out, with their reasons.
    pub fn trial(&self, candidates: &[Record]) -> Result<Option<Config>, Vec<LeftOut>> {
        let inner = self.inner();
        let with: HashMap<(RecordKind, &str), &Record> = candidates
            .iter()
            .map(|record| ((record.kind, record.id.as_str()), record))
            .collect();
        let (laid, unreadable) = inner.lay(&with);
        let known = |one: &LeftOut| {
            let own = with.contains_key(&(one.kind, one.id.as_str()));
            let before = |old: &LeftOut| old.kind == one.kind && old.id == one.id;
            !own && inner.left_out.iter().any(before)
        };
        let mut new = laid.left_out;
        new.extend(unreadable);
        new.retain(|one| !known(one));
        match new.is_empty() {
            true => Ok(laid.config),
            false => Err(new),
        }
    }

    /// Records that are stored and not in force.
    pub fn left_out(&self) -> Vec<LeftOut> {
        self.inner().left_out.clone()
    }

    /// A live record as it was taken.
    pub fn record(&self, kind: RecordKind, id: &str) -> Option<Record> {
        let inner = self.inner();
        let found = inner.records.get(&(kind, id.to_owned()))?;
        (!found.deleted).then(|| found.clone())
    }

    /// Every live record of a kind, by id.
    pub fn records(&self, kind: RecordKind) -> Vec<Record> {
        let inner = self.inner();
        let live = |record: &&Record| record.kind == kind && !record.deleted;
        let mut found: Vec<Record> = inner.records.values().filter(live).cloned().collect();
        found.sort_by(|a, b| a.id.cmp(&b.id));
        found
    }

    /// What the files write under a key of a section.
    pub fn written(&self, section: &str, key: &str) -> Option<Value> {
        self.inner().source.written(section, key)
    }

    /// Seals every string of an object.
    pub fn seal(&self, clear: &Map<String, Value>) -> Map<String, Value> {
        let key = self.inner().seal_key();
        key.seal_strings(clear, &mut nonce)
    }

    /// Opens every sealed string of an object.
    ///
    /// # Errors
    /// The field that the salt key does not open.
    pub fn open(&self, sealed: &Map<String, Value>) -> Result<Map<String, Value>, Unopened> {
        self.inner().seal_key().open_strings(sealed)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// What values at rest are sealed with, by the files as they are now.
    fn seal_key(&self) -> SealKey {
        let general = self.source.with(&Overlay::default()).config;
        let general = general.map(|config| config.general);
        let of_files = general.and_then(|general| general.salt_key.or(general.master_key));
        let salt = of_files.or_else(|| self.master_key.clone());
        SealKey::of_salt(salt.as_ref().map_or("", Secret::reveal))
    }

    /// Files with the records, `over` in place of those with the same identity. What cannot be
    /// read comes beside it.
    fn lay(&self, over: &HashMap<(RecordKind, &str), &Record>) -> (Laid, Vec<LeftOut>) {
        let mut laid = self.source.with(&Overlay::default());
        let general = laid.config.as_ref().map(|config| &config.general);
        let mut unreadable = Vec::new();
        let counts = general.is_some_and(|general| general.store_model_in_db);
        // A trial is about records, in force or not.
        if counts || !over.is_empty() {
            let key = self.seal_key();
            let mut overlay = Overlay::default();
            let known = self
                .records
                .values()
                .filter(|record| !over.contains_key(&(record.kind, record.id.as_str())));
            let mut live: Vec<&Record> = known
                .chain(over.values().copied())
                .filter(|record| !record.deleted)
                .collect();
            live.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
            for record in live {
                if let Err(why) = add(&mut overlay, record, &key) {
                    unreadable.push(why);
                }
            }
            laid = self.source.with(&overlay);
        }
        if let Some(config) = &mut laid.config {
            let own = config.general.master_key.take();
            config.general.master_key = own.or_else(|| self.master_key.clone());
        }
        (laid, unreadable)
    }
}

fn counts(kind: RecordKind) -> bool {
    matches!(
        kind,
        RecordKind::Model | RecordKind::Credential | RecordKind::Setting
    )
}

fn add(overlay: &mut Overlay, record: &Record, key: &SealKey) -> Result<(), LeftOut> {
    let id = || record.id.clone();
    match record.kind {
        RecordKind::Model => {
            let model: Model = typed(record)?;
            overlay.models.push(StoredModel {
                id: id(),
                litellm_params: opened(record, &model.litellm_params, key)?,
                model_name: model.model_name,
                model_info: model.model_info,
                blocked: model.blocked,
            });
        }
        RecordKind::Credential => {
            let credential: Credential = typed(record)?;
            overlay.credentials.push(StoredCredential {
                name: id(),
                values: opened(record, &credential.credential_values, key)?,
            });
        }
        RecordKind::Setting => {
            let setting: Setting = typed(record)?;
            let values = match record.id.as_str() {
                SEALED_SECTION => opened(record, &setting.param_value, key)?,
                _ => setting.param_value,
            };
            overlay.settings.push(StoredSetting {
                section: id(),
                values,
            });
        }
        _ => {}
    }
    Ok(())
}

fn typed<B: Body>(record: &Record) -> Result<B, LeftOut> {
    let read = record.read();
    read.map_err(|error: BadRecord| left_out(record, error.error.to_string()))
}

fn opened(
    record: &Record,
    sealed: &Map<String, Value>,
    key: &SealKey,
) -> Result<Map<String, Value>, LeftOut> {
    let opened = key.open_strings(sealed);
    opened.map_err(|unopened| left_out(record, unopened.to_string()))
}

fn left_out(record: &Record, why: String) -> LeftOut {
    LeftOut {
        kind: record.kind,
        id: record.id.clone(),
        problems: vec![why],
    }
}

fn nonce() -> [u8; NONCE_BYTES] {
    let (a, b) = (clock::random_bytes(), clock::random_bytes());
    std::array::from_fn(|at| *a.get(at).unwrap_or(&b[at % b.len()]))
}

#[cfg(test)]
mod tests;
