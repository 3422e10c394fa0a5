//! A virtual key as it is stored: LiteLLM's `VerificationToken` row with sane types.

mod overrides;

use std::collections::BTreeMap;

pub use overrides::KeyOverrides;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::ids::KeyHash;
use crate::money::NanoUsd;
use crate::record::{BadRecord, Body, Bounds, Record, RecordKind};
use crate::time::WallMs;

/// A virtual key. Replaced whole on every change; `version` orders the replacements.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeyRecord {
    /// Digest of the clear key; its identity.
    pub token: KeyHash,
    /// What it made belongs to this identity, which lives through rotations; `None` is `token`.
    /// The gateway alone gives it: [`Self::identity`].
    #[serde(default)]
    pub lineage: Option<KeyHash>,
    /// `sk-...` plus the last four characters, for people.
    pub key_name: String,
    /// Unique name given by the owner.
    #[serde(default)]
    pub key_alias: Option<String>,
    /// When it stops working; `None` is never.
    #[serde(default)]
    pub expires: Option<WallMs>,
    /// Blocked by an administrator.
    #[serde(default)]
    pub blocked: bool,
    /// Models, wildcards and access groups it may use; empty is all.
    #[serde(default)]
    pub models: Vec<String>,
    /// Model names that this key rewrites.
    #[serde(default)]
    pub aliases: BTreeMap<String, String>,
    /// Routes, prefixes (`/x/*`) and route groups it may call; empty is all that its role may.
    #[serde(default)]
    pub allowed_routes: Vec<String>,
    /// Regions that may serve its requests; empty is all.
    #[serde(default)]
    pub allowed_regions: Vec<String>,
    /// Its user.
    #[serde(default)]
    pub user_id: Option<String>,
    /// Its team.
    #[serde(default)]
    pub team_id: Option<String>,
    /// Its organization.
    #[serde(default)]
    pub organization_id: Option<String>,
    /// Money per period.
    #[serde(default)]
    pub max_budget: Option<NanoUsd>,
    /// Alert level; never blocks.
    #[serde(default)]
    pub soft_budget: Option<NanoUsd>,
    /// Period of `max_budget` in LiteLLM's grammar (`30d`, `1mo`, ...); `None` is for ever.
    #[serde(default)]
    pub budget_duration: Option<String>,
    /// End of the running period.
    #[serde(default)]
    pub budget_reset_at: Option<WallMs>,
    /// Money per model: `{"gpt-4o": {"budget_limit": 10, "time_period": "1d"}}`.
    #[serde(default)]
    pub model_max_budget: Map<String, Value>,
    /// Spent in the running period, as of the last drain of the journal.
    #[serde(default)]
    pub spend: NanoUsd,
    /// Tokens per minute.
    #[serde(default)]
    pub tpm_limit: Option<u64>,
    /// Requests per minute.
    #[serde(default)]
    pub rpm_limit: Option<u64>,
    /// Requests at the same time.
    #[serde(default)]
    pub max_parallel_requests: Option<u64>,
    /// Free keys plus what LiteLLM folds into it (`model_rpm_limit`, `tags`, ...).
    #[serde(default)]
    pub metadata: Map<String, Value>,
    /// LiteLLM columns that are stored and shown, but do not decide anything yet.
    #[serde(default)]
    pub extra: Map<String, Value>,
    /// When it was made.
    #[serde(default)]
    pub created_at: WallMs,
    /// Who made it.
    #[serde(default)]
    pub created_by: Option<String>,
    /// When it was last changed.
    #[serde(default)]
    pub updated_at: WallMs,
    /// Who changed it last.
    #[serde(default)]
    pub updated_by: Option<String>,
    /// Grows with every change; a writer with an older one loses.
    #[serde(default)]
    pub version: u64,
    /// Region that writes it; empty where there is one region only.
    #[serde(default)]
    pub home: String,
    /// Restrictions of an older generation no longer count: [`crate::record::Restriction`].
    #[serde(default)]
    pub generation: u32,
}

/// Fields that lie in the record itself, or are counted elsewhere.
const NOT_IN_BODY: [&str; 7] = [
    "token",
    "spend",
    "version",
    "home",
    "generation",
    "created_at",
    "updated_at",
];

impl KeyRecord {
    /// Its limits.
    pub fn bounds(&self) -> Bounds {
        Bounds {
            max_budget: self.max_budget,
            soft_budget: self.soft_budget,
            budget_duration: self.budget_duration.clone(),
            budget_reset_at: self.budget_reset_at,
            tpm_limit: self.tpm_limit,
            rpm_limit: self.rpm_limit,
            max_parallel_requests: self.max_parallel_requests,
            model_max_budget: self.model_max_budget.clone(),
        }
    }

    /// Whose its files, batches, stored responses and limits per minute are: the first key of its
    /// rotations. A key whose value was chosen has one of its own, for the value may have been
    /// another key's before.
    pub fn identity(&self) -> KeyHash {
        self.lineage.unwrap_or(self.token)
    }

    /// The budget that it refers to.
    pub fn budget_id(&self) -> Option<&str> {
        self.extra.get("budget_id").and_then(Value::as_str)
    }

    /// The record that stores the key.
    pub fn to_record(&self) -> Record {
        let mut body = match serde_json::to_value(self) {
            Ok(Value::Object(fields)) => fields,
            _ => Map::new(),
        };
        body.retain(|name, value| {
            let says_nothing = value.is_null()
                || value.as_array().is_some_and(Vec::is_empty)
                || value.as_object().is_some_and(Map::is_empty);
            !says_nothing && !NOT_IN_BODY.contains(&name.as_str())
        });
        Record {
            kind: RecordKind::Key,
            id: self.token.to_string(),
            home: self.home.clone(),
            version: self.version,
            generation: self.generation,
            deleted: false,
            created_at: self.created_at,
            updated_at: self.updated_at,
            body,
        }
    }

    /// The key of a record; its spend is counted elsewhere and zero here.
    ///
    /// # Errors
    /// When a field holds what it must not.
    pub fn of_record(record: &Record) -> Result<Self, BadRecord> {
        let mut fields = record.body.clone();
        fields.insert("token".to_owned(), record.id.clone().into());
        let key: Self =
            serde_json::from_value(Value::Object(fields)).map_err(|error| BadRecord {
                kind: record.kind.as_str(),
                id: record.id.clone(),
                error,
            })?;
        Ok(Self {
            version: record.version,
            home: record.home.clone(),
            generation: record.generation,
            created_at: record.created_at,
            updated_at: record.updated_at,
            ..key
        })
    }
}

/// What a rotation left of an old digest; the id of its record is that digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RotatedKey {
    /// The key it stands for.
    pub active: KeyHash,
    /// When it stops working.
    pub revoke_at: WallMs,
}

impl Body for RotatedKey {
    const KIND: RecordKind = RecordKind::RotatedKey;
}
