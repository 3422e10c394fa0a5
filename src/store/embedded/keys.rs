//! Virtual keys: rows of `virtual_key`, `deleted_key` and `deprecated_key`.

use meridian_core::ids::KeyHash;
use meridian_core::key::KeyRecord;
use meridian_core::money::NanoUsd;
use meridian_core::time::WallMs;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, named_params, params};

use super::{Embedded, column, hash_of};
use crate::store::{
    DeprecatedKey, KeyPage, KeyQuery, KeySort, PAGE_SIZE_MAX, SKIP_ROWS_MAX, StoreError,
};

/// Keys per page when the caller does not say.
const PAGE_SIZE: u32 = 10;
/// Most keys of one `keys_after`.
const KEYS_READ_MAX: u32 = 10_000;
/// A replaced token is remembered this long after its end, for records that arrive late.
const DEPRECATED_KEPT_MS: i64 = 30 * 24 * 3600 * 1000;

/// Columns that `key_of` reads, in its order.
const COLUMNS: &str = "record, spend, version, budget_reset_at, allowed_regions";

impl Embedded {
    pub(crate) async fn load_keys(&self) -> Result<Vec<KeyRecord>, StoreError> {
        // At start, of any size: no time limit.
        self.read_within(None, |db| {
            let mut select = db.prepare(&format!("SELECT {COLUMNS} FROM virtual_key"))?;
            collect(select.query([])?)
        })
        .await
    }

    pub(crate) async fn keys_after(
        &self,
        after: Option<KeyHash>,
        limit: u32,
    ) -> Result<Vec<KeyRecord>, StoreError> {
        self.read(move |db| {
            let after = after.map_or_else(String::new, |token| token.to_string());
            let mut select = db.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM virtual_key WHERE token > ?1 ORDER BY token LIMIT ?2"
            ))?;
            collect(select.query(params![after, limit.min(KEYS_READ_MAX)])?)
        })
        .await
    }

    pub(crate) async fn get_key(&self, token: KeyHash) -> Result<Option<KeyRecord>, StoreError> {
        self.read(move |db| select_key(db, token)).await
    }

    pub(crate) async fn insert_key(&self, key: KeyRecord) -> Result<(), StoreError> {
        self.write(move |db| {
            db.prepare_cached(
                "INSERT INTO virtual_key (token, key_alias, user_id, team_id, organization_id,
                     expires, max_budget, budget_reset_at, spend, created_at, updated_at,
                     version, record, allowed_regions)
                 VALUES (:token, :key_alias, :user_id, :team_id, :organization_id, :expires,
                     :max_budget, :budget_reset_at, :spend, :created_at, :updated_at,
                     :version, :record, :allowed_regions)",
            )?
            .execute(named_params! {
                ":token": key.token.to_string(),
                ":key_alias": key.key_alias,
                ":user_id": key.user_id,
                ":team_id": key.team_id,
                ":organization_id": key.organization_id,
                ":expires": key.expires.map(|at| at.0),
                ":max_budget": key.max_budget.map(|budget| budget.0),
                ":budget_reset_at": key.budget_reset_at.map(|at| at.0),
                ":spend": key.spend.0,
                ":created_at": key.created_at.0,
                ":updated_at": key.updated_at.0,
                ":version": column(key.version),
                ":record": serde_json::to_string(&key)?,
                ":allowed_regions": regions_column(&key)?,
            })?;
            Ok(())
        })
        .await
    }

    pub(crate) async fn update_key(&self, key: KeyRecord) -> Result<KeyRecord, StoreError> {
        self.write(move |db| {
            let work = db.transaction()?;
            let stored = replace_key(&work, key.token, &key)?;
            work.commit()?;
            Ok(stored)
        })
        .await
    }

    pub(crate) async fn delete_key(
        &self,
        token: KeyHash,
        by: String,
        now: WallMs,
    ) -> Result<KeyRecord, StoreError> {
        self.write(move |db| {
            let work = db.transaction()?;
            let key = select_key(&work, token)?.ok_or(StoreError::NotFound)?;
            let text = token.to_string();
            work.execute(
                "INSERT INTO deleted_key (token, key_alias, user_id, team_id, organization_id,
                     expires, max_budget, budget_reset_at, period_start, spend, created_at,
                     updated_at, version, record, allowed_regions, deleted_at, deleted_by)
                 SELECT token, key_alias, user_id, team_id, organization_id, expires, max_budget,
                     budget_reset_at, period_start, spend, created_at, updated_at, version,
                     record, allowed_regions, ?2, ?3 FROM virtual_key WHERE token = ?1",
                params![text, now.0, by],
            )?;
            work.execute("DELETE FROM virtual_key WHERE token = ?1", [&text])?;
            work.execute("DELETE FROM deprecated_key WHERE active = ?1", [&text])?;
            work.commit()?;
            Ok(key)
        })
        .await
    }

    pub(crate) async fn rotate_key(
        &self,
        old: KeyHash,
        new: KeyRecord,
        revoke_at: WallMs,
    ) -> Result<KeyRecord, StoreError> {
        self.write(move |db| {
            let work = db.transaction()?;
            let stored = replace_key(&work, old, &new)?;
            let (old, active) = (old.to_string(), new.token.to_string());
            work.execute(
                "UPDATE deprecated_key SET active = ?2 WHERE active = ?1",
                params![old, active],
            )?;
            work.execute(
                "DELETE FROM deprecated_key WHERE revoke_at < ?1 OR token = ?2",
                params![new.updated_at.plus_ms(-DEPRECATED_KEPT_MS).0, active],
            )?;
            work.execute(
                "INSERT OR REPLACE INTO deprecated_key (token, active, revoke_at)
                 VALUES (?1, ?2, ?3)",
                params![old, active, revoke_at.0],
            )?;
            work.commit()?;
            Ok(stored)
        })
        .await
    }

    pub(crate) async fn load_deprecated_keys(
        &self,
        now: WallMs,
    ) -> Result<Vec<DeprecatedKey>, StoreError> {
        self.read(move |db| {
            let mut select = db.prepare_cached(
                "SELECT token, active, revoke_at FROM deprecated_key WHERE revoke_at > ?1",
            )?;
            let mut rows = select.query([now.0])?;
            let mut keys = Vec::new();
            while let Some(row) = rows.next()? {
                let (token, active): (String, String) = (row.get(0)?, row.get(1)?);
                if let (Some(token), Some(active)) = (hash_of(&token), hash_of(&active)) {
                    let revoke_at = WallMs(row.get(2)?);
                    keys.push(DeprecatedKey {
                        token,
                        active,
                        revoke_at,
                    });
                }
            }
            Ok(keys)
        })
        .await
    }

    pub(crate) async fn list_keys(&self, query: KeyQuery) -> Result<KeyPage, StoreError> {
        self.read(move |db| select_page(db, &query)).await
    }
}

/// Replaces the row of `token` by `new` (which may have another token) if the version fits.
fn replace_key(
    work: &Transaction<'_>,
    token: KeyHash,
    new: &KeyRecord,
) -> Result<KeyRecord, StoreError> {
    let changed = work
        .prepare_cached(
            "UPDATE virtual_key SET token = :new_token, key_alias = :key_alias,
                 user_id = :user_id, team_id = :team_id, organization_id = :organization_id,
                 expires = :expires, max_budget = :max_budget,
                 budget_reset_at = :budget_reset_at, updated_at = :updated_at,
                 version = version + 1, record = :record, allowed_regions = :allowed_regions
             WHERE token = :token AND version = :version",
        )?
        .execute(named_params! {
            ":token": token.to_string(),
            ":version": column(new.version),
            ":new_token": new.token.to_string(),
            ":key_alias": new.key_alias,
            ":user_id": new.user_id,
            ":team_id": new.team_id,
            ":organization_id": new.organization_id,
            ":expires": new.expires.map(|at| at.0),
            ":max_budget": new.max_budget.map(|budget| budget.0),
            ":budget_reset_at": new.budget_reset_at.map(|at| at.0),
            ":updated_at": new.updated_at.0,
            ":record": serde_json::to_string(new)?,
            ":allowed_regions": regions_column(new)?,
        })?;
    if changed == 1 {
        return select_key(work, new.token)?.ok_or(StoreError::NotFound);
    }
    match select_key(work, token)? {
        Some(_) => Err(StoreError::Conflict {
            field: "version".into(),
        }),
        None => Err(StoreError::NotFound),
    }
}

pub(super) fn select_key(db: &Connection, token: KeyHash) -> Result<Option<KeyRecord>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM virtual_key WHERE token = ?1");
    let mut select = db.prepare_cached(&sql)?;
    select
        .query_row([token.to_string()], |row| Ok(key_of(row)))
        .optional()?
        .transpose()
}

/// A key from a row of `COLUMNS`: columns that others write win over the stored record.
fn key_of(row: &Row<'_>) -> Result<KeyRecord, StoreError> {
    let mut key: KeyRecord = serde_json::from_str(row.get_ref(0)?.as_str().unwrap_or_default())?;
    key.spend = NanoUsd(row.get(1)?);
    key.version = super::count(row.get(2)?);
    key.budget_reset_at = row.get::<_, Option<i64>>(3)?.map(WallMs);
    let regions: Option<String> = row.get(4)?;
    key.allowed_regions = regions.map_or(Ok(Vec::new()), |list| serde_json::from_str(&list))?;
    Ok(key)
}

/// NULL for all regions.
fn regions_column(key: &KeyRecord) -> Result<Option<String>, StoreError> {
    let list = &key.allowed_regions;
    let limited = (!list.is_empty()).then(|| serde_json::to_string(list));
    Ok(limited.transpose()?)
}

fn collect(mut rows: rusqlite::Rows<'_>) -> Result<Vec<KeyRecord>, StoreError> {
    let mut keys = Vec::new();
    while let Some(row) = rows.next()? {
        keys.push(key_of(row)?);
    }
    Ok(keys)
}

fn select_page(db: &Connection, query: &KeyQuery) -> Result<KeyPage, StoreError> {
    let KeyQuery {
        page,
        size,
        user_id,
        team_id,
        organization_id,
        key_hash,
        key_alias,
        sort_by,
        descending,
        deleted,
    } = query;
    let hash = key_hash.map(|hash| hash.to_string());
    let filters = [
        ("user_id", user_id),
        ("team_id", team_id),
        ("organization_id", organization_id),
        ("token", &hash),
        ("key_alias", key_alias),
    ];
    let mut clause = String::from("1");
    let mut values = Vec::new();
    for (name, value) in filters {
        if let Some(value) = value {
            values.push(Value::from(value.clone()));
            clause.push_str(&format!(" AND {name} = ?{}", values.len()));
        }
    }
    let table = if *deleted {
        "deleted_key"
    } else {
        "virtual_key"
    };
    let size = if *size == 0 { PAGE_SIZE } else { *size }.min(PAGE_SIZE_MAX);
    let skip = u64::from(page.saturating_sub(1)) * u64::from(size);
    if skip > SKIP_ROWS_MAX {
        return Err(StoreError::TooMuch);
    }
    let order = sort_column(*sort_by);
    let direction = if *descending { "DESC" } else { "ASC" };
    let sql = format!("SELECT COUNT(*) FROM {table} WHERE {clause}");
    let total: i64 = db.query_row(&sql, rusqlite::params_from_iter(&values), |row| row.get(0))?;
    let mut select = db.prepare(&format!(
        "SELECT {COLUMNS} FROM {table} WHERE {clause}
         ORDER BY {order} {direction}, id {direction} LIMIT {size} OFFSET {skip}"
    ))?;
    let keys = collect(select.query(rusqlite::params_from_iter(&values))?)?;
    Ok(KeyPage {
        keys,
        total: super::count(total),
    })
}

fn sort_column(sort: KeySort) -> &'static str {
    match sort {
        KeySort::CreatedAt => "created_at",
        KeySort::UpdatedAt => "updated_at",
        KeySort::Alias => "key_alias",
        KeySort::Spend => "spend",
        KeySort::MaxBudget => "max_budget",
        KeySort::Expires => "expires",
        KeySort::UserId => "user_id",
    }
}
