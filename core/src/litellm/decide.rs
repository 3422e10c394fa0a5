//! Whether a row is written: what it says now, what the last import left, what stands here now.

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::SourceSpend;
use crate::money::NanoUsd;
use crate::record::Record;
use crate::time::WallMs;

/// What the last import left of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// [`digest`] of what the row said; empty when the row was gone.
    pub digest: String,
    /// Version of the record as the import left it.
    pub version: u64,
    /// What was added to its spend.
    pub spend: SpendMark,
}

/// What the last import added to the spend of a scope.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpendMark {
    /// The source's sum that is counted here.
    pub counted: NanoUsd,
    /// End of the period in which it is counted; `None` is never.
    pub ends: Option<WallMs>,
}

/// What stands in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// [`digest`] of the record.
    pub digest: String,
    /// Its version.
    pub version: u64,
    /// It is a tombstone.
    pub deleted: bool,
}

impl Known {
    /// What is known of a stored record.
    pub fn of(record: &Record) -> Self {
        Self {
            digest: digest(record),
            version: record.version,
            deleted: record.deleted,
        }
    }
}

/// What is to be done with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Nothing: the source says what it said.
    Unchanged,
    /// Nothing but to remember it: the store has it already.
    Adopt,
    /// Store it as new.
    Create,
    /// Store it in place of this version of a live record.
    Replace(u64),
    /// Nothing: it was changed on both sides, or is not the import's.
    Conflict(&'static str),
}

/// Name of what a record says, whatever its version and the moment of its last change.
pub fn digest(record: &Record) -> String {
    let mut body = record.body.clone();
    body.remove("updated_at");
    let mut hash = Sha256::new();
    hash.update(record.kind.as_str());
    hash.update([0, u8::from(record.deleted)]);
    hash.update(&record.id);
    hash.update([0]);
    hash.update(sorted(&body));
    let bytes: [u8; 32] = hash.finalize().into();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// JSON with the fields of every object in order, whatever order the map keeps.
fn sorted(fields: &Map<String, Value>) -> String {
    let mut names: Vec<&String> = fields.keys().collect();
    names.sort_unstable();
    let mut text = String::from("{");
    for name in names {
        text.push_str(&Value::String(name.clone()).to_string());
        text.push(':');
        text.push_str(&fields.get(name).map(sorted_value).unwrap_or_default());
        text.push(',');
    }
    text.push('}');
    text
}

fn sorted_value(value: &Value) -> String {
    match value {
        Value::Object(fields) => sorted(fields),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(sorted_value).collect();
            format!("[{}]", items.join(","))
        }
        scalar => scalar.to_string(),
    }
}

/// Decides about a row that was read. With `force` the source wins over changes made here.
pub fn decide(row: &Record, mark: Option<&Mark>, known: Option<&Known>, force: bool) -> Decision {
    let now = digest(row);
    let same_source = mark.is_some_and(|mark| mark.digest == now);
    let Some(known) = known else {
        // Nothing was ever purged: without a record there was no import of it.
        return Decision::Create;
    };
    let ours = mark.is_some_and(|mark| mark.version == known.version);
    let equal = known.digest == now || (row.deleted && known.deleted);
    if same_source && (ours || equal || !force) {
        return Decision::Unchanged;
    }
    if equal {
        return Decision::Adopt;
    }
    match (ours || force, known.deleted) {
        (true, true) => Decision::Create,
        (true, false) => Decision::Replace(known.version),
        (false, true) => Decision::Conflict("it was deleted in Meridian"),
        (false, false) if mark.is_some() => {
            Decision::Conflict("it was changed in Meridian since the last import")
        }
        (false, false) => Decision::Conflict("Meridian has one of its own with this id"),
    }
}

/// Decides about a record that an import made and whose row is gone: `Replace` is to delete it.
pub fn gone(mark: &Mark, known: Option<&Known>, force: bool) -> Decision {
    match known {
        None => Decision::Adopt,
        Some(known) if known.deleted => Decision::Adopt,
        Some(known) if force || known.version == mark.version => Decision::Replace(known.version),
        Some(_) => Decision::Conflict(
            "it was deleted in LiteLLM, but changed in Meridian since the last import",
        ),
    }
}

/// What to add to a scope's spend so that it holds the source's sum once. `ends` is the end of the
/// period that runs here: a sum that was counted in an earlier one is not part of what is shown.
pub fn spend_to_add(
    source: SourceSpend,
    counted: Option<SpendMark>,
    ends: Option<WallMs>,
    now: WallMs,
) -> NanoUsd {
    let counted = counted.filter(|counted| counted.ends == ends);
    let counted = counted.map_or(NanoUsd::ZERO, |counted| counted.counted);
    source.running(now).saturating_sub(counted)
}
