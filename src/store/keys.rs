//! Virtual keys as records: the only place that knows how a rotation is stored.

use meridian_core::ids::KeyHash;
use meridian_core::key::{KeyRecord, RotatedKey};
use meridian_core::record::{Facet, Record, RecordKind};
use meridian_core::time::WallMs;

use super::{
    Actor, DeprecatedKey, KeyPage, KeyQuery, KeySort, RecordQuery, RecordSort, RecordWrite,
    SpendChange, Store, StoreError, StoredRecord,
};

/// Records of one step while everything is read.
const WALK_RECORDS: u32 = 10_000;

impl Store {
    /// Every key. With very many keys prefer `records_after`, which bounds the memory.
    pub async fn load_keys(&self) -> Result<Vec<KeyRecord>, StoreError> {
        let live = self.walk(RecordKind::Key).await?;
        live.iter().map(key_of).collect()
    }

    /// One key that works.
    pub async fn get_key(&self, token: KeyHash) -> Result<Option<KeyRecord>, StoreError> {
        let stored = self.get_record(RecordKind::Key, token.to_string()).await?;
        let live = stored.filter(|stored| !stored.record.deleted);
        live.as_ref().map(key_of).transpose()
    }

    /// Adds a key; `Conflict` names `token` or `key_alias`. Returns it as stored.
    pub async fn insert_key(
        &self,
        key: KeyRecord,
        actor: Option<Actor>,
    ) -> Result<KeyRecord, StoreError> {
        let written = self
            .write_records(vec![Self::key_creation(&key)], actor)
            .await;
        let written = written.map_err(in_words_of_keys)?;
        self.written_key(&written, key.token).await
    }

    /// The write that makes a key.
    pub fn key_creation(key: &KeyRecord) -> RecordWrite {
        let mut write = RecordWrite::create(key.to_record());
        // A value that was deleted before starts anew.
        write.spend = SpendChange::Start(key.spend);
        write
    }

    /// Replaces a key if its stored version is still `key.version`; spend is not touched. Returns
    /// the key as stored.
    pub async fn update_key(
        &self,
        key: KeyRecord,
        actor: Option<Actor>,
    ) -> Result<KeyRecord, StoreError> {
        let write = RecordWrite::replace(key.to_record());
        let written = self.write_records(vec![write], actor).await;
        let written = written.map_err(in_words_of_keys)?;
        self.written_key(&written, key.token).await
    }

    /// Moves a key, and what it replaced, out of use; returns it.
    pub async fn delete_key(
        &self,
        token: KeyHash,
        by: String,
        now: WallMs,
        actor: Option<Actor>,
    ) -> Result<KeyRecord, StoreError> {
        let key = self.get_key(token).await?.ok_or(StoreError::NotFound)?;
        let writes = self.deletion_of(&key, by, now).await?;
        let written = self.write_records(writes, actor).await;
        written.map_err(in_words_of_keys)?;
        Ok(key)
    }

    /// The writes that end a key, and what it replaced.
    pub async fn key_deletion(
        &self,
        token: KeyHash,
        by: String,
        now: WallMs,
    ) -> Result<Vec<RecordWrite>, StoreError> {
        let key = self.get_key(token).await?.ok_or(StoreError::NotFound)?;
        self.deletion_of(&key, by, now).await
    }

    async fn deletion_of(
        &self,
        key: &KeyRecord,
        by: String,
        now: WallMs,
    ) -> Result<Vec<RecordWrite>, StoreError> {
        let mut last = key.clone();
        last.extra.insert("deleted_at".to_owned(), now.0.into());
        last.extra.insert("deleted_by".to_owned(), by.into());
        let mut writes = vec![RecordWrite::delete(last.to_record(), now)];
        let replaced = self.rotated_to(key.token).await?;
        writes.extend(
            replaced
                .into_iter()
                .map(|old| RecordWrite::delete(old, now)),
        );
        Ok(writes)
    }

    /// Gives a key a new token (`new.token`) if its stored version is still `new.version`. Its
    /// spend and what it made go on. The old token is listed as deprecated until `revoke_at`.
    pub async fn rotate_key(
        &self,
        old: KeyHash,
        new: KeyRecord,
        revoke_at: WallMs,
        actor: Option<Actor>,
    ) -> Result<KeyRecord, StoreError> {
        let writes = self.key_rotation(old, &new, revoke_at).await?;
        let written = self.write_records(writes, actor).await;
        let written = written.map_err(in_words_of_keys)?;
        self.written_key(&written, new.token).await
    }

    /// The writes of a rotation.
    pub async fn key_rotation(
        &self,
        old: KeyHash,
        new: &KeyRecord,
        revoke_at: WallMs,
    ) -> Result<Vec<RecordWrite>, StoreError> {
        let now = new.updated_at;
        let new = &KeyRecord {
            lineage: Some(new.lineage.unwrap_or(old)),
            ..new.clone()
        };
        let mut ended = new.to_record();
        ended.id = old.to_string();
        let mut begun = RecordWrite::create(new.to_record());
        begun.record.version = 0;
        begun.spend = SpendChange::Move(old.to_string());
        let mut writes = vec![RecordWrite::delete(ended, now), begun];
        for mut replaced in self.rotated_to(old).await? {
            let body: RotatedKey = replaced.read()?;
            let active = new.token;
            replaced = replaced.with(&RotatedKey { active, ..body }, now);
            writes.push(RecordWrite::replace(replaced));
        }
        let active = new.token;
        let rotated = RotatedKey { active, revoke_at };
        writes.push(RecordWrite::create(Record::new(
            old.to_string(),
            &rotated,
            now,
        )));
        // A value that was replaced before and is taken up again is nobody's predecessor.
        writes.extend(self.revived(new.token, now).await?);
        Ok(writes)
    }

    /// Replaced tokens that still work at `now`.
    pub async fn load_deprecated_keys(
        &self,
        now: WallMs,
    ) -> Result<Vec<DeprecatedKey>, StoreError> {
        let mut keys = Vec::new();
        for stored in self.walk(RecordKind::RotatedKey).await? {
            let RotatedKey { active, revoke_at } = stored.record.read()?;
            let token = KeyHash::from_hex(&stored.record.id);
            if let Some(token) = token.filter(|_| revoke_at > now) {
                keys.push(DeprecatedKey {
                    token,
                    active,
                    revoke_at,
                });
            }
        }
        Ok(keys)
    }

    /// One page of keys.
    pub async fn list_keys(&self, query: KeyQuery) -> Result<KeyPage, StoreError> {
        let page = self.list_records(record_query(query)).await?;
        let keys: Result<_, _> = page.records.iter().map(key_of).collect();
        Ok(KeyPage {
            keys: keys?,
            total: page.total,
        })
    }

    /// Every live record of a kind.
    /// Every live record of a kind, for kinds of which there are few.
    pub async fn live_records(&self, kind: RecordKind) -> Result<Vec<Record>, StoreError> {
        let live = self.walk(kind).await?;
        Ok(live.into_iter().map(|stored| stored.record).collect())
    }

    async fn walk(&self, kind: RecordKind) -> Result<Vec<StoredRecord>, StoreError> {
        let mut found = Vec::new();
        let mut after = (kind, String::new());
        loop {
            let step = self.records_after(Some(after), WALK_RECORDS).await?;
            let Some(last) = step.last().map(|last| &last.record) else {
                return Ok(found);
            };
            let done = last.kind != kind;
            after = (last.kind, last.id.clone());
            let live = |one: &StoredRecord| one.record.kind == kind && !one.record.deleted;
            found.extend(step.into_iter().filter(live));
            if done {
                return Ok(found);
            }
        }
    }

    /// Records of the digests that stand for this key.
    async fn rotated_to(&self, active: KeyHash) -> Result<Vec<Record>, StoreError> {
        let query = RecordQuery::all(RecordKind::RotatedKey).with(Facet::Alias, active.to_string());
        let query = RecordQuery {
            size: super::PAGE_SIZE_MAX,
            ..query
        };
        let page = self.list_records(query).await?;
        Ok(page.records.into_iter().map(|one| one.record).collect())
    }

    async fn revived(
        &self,
        token: KeyHash,
        now: WallMs,
    ) -> Result<Option<RecordWrite>, StoreError> {
        let stored = self
            .get_record(RecordKind::RotatedKey, token.to_string())
            .await?;
        let live = stored.filter(|stored| !stored.record.deleted);
        Ok(live.map(|stored| RecordWrite::delete(stored.record, now)))
    }

    /// The key that was just written, with what is counted for it.
    pub async fn written_key(
        &self,
        written: &[Record],
        token: KeyHash,
    ) -> Result<KeyRecord, StoreError> {
        let id = token.to_string();
        let record = written
            .iter()
            .find(|one| one.kind == RecordKind::Key && one.id == id);
        let stored = self.get_key(token).await?.ok_or(StoreError::NotFound)?;
        match record {
            // What counts: another region's key shows what was taken from it here.
            Some(record) => Ok(KeyRecord {
                spend: stored.spend,
                budget_reset_at: stored.budget_reset_at,
                ..KeyRecord::of_record(record)?
            }),
            None => Ok(stored),
        }
    }
}

/// A key with what is counted for it.
fn key_of(stored: &StoredRecord) -> Result<KeyRecord, StoreError> {
    let key = KeyRecord::of_record(&stored.record)?;
    Ok(KeyRecord {
        spend: stored.spend,
        budget_reset_at: stored.resets_at,
        ..key
    })
}

fn record_query(query: KeyQuery) -> RecordQuery {
    let facets = [
        (Facet::UserId, query.user_id),
        (Facet::TeamId, query.team_id),
        (Facet::OrganizationId, query.organization_id),
        (Facet::Alias, query.key_alias),
    ];
    let facets = facets.into_iter();
    RecordQuery {
        facets: facets
            .filter_map(|(facet, value)| Some((facet, value?)))
            .collect(),
        ids: query.key_hash.iter().map(ToString::to_string).collect(),
        deleted: query.deleted,
        sort_by: match query.sort_by {
            KeySort::CreatedAt => RecordSort::CreatedAt,
            KeySort::UpdatedAt => RecordSort::UpdatedAt,
            KeySort::Alias => RecordSort::Facet(Facet::Alias),
            KeySort::Spend => RecordSort::Spend,
            KeySort::MaxBudget => RecordSort::MaxBudget,
            KeySort::Expires => RecordSort::Expires,
            KeySort::UserId => RecordSort::Facet(Facet::UserId),
        },
        descending: query.descending,
        page: query.page,
        size: query.size,
        ..RecordQuery::all(RecordKind::Key)
    }
}

/// Fields of keys have their own names.
pub fn in_words_of_keys(error: StoreError) -> StoreError {
    let StoreError::Conflict { field } = error else {
        return error;
    };
    let field = match field.as_str() {
        "id" => "token".to_owned(),
        "alias" => "key_alias".to_owned(),
        _ => field,
    };
    StoreError::Conflict { field }
}
