//! Who made what lies at providers: responses, files, batches.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{Embedded, hash_of};
use crate::store::{Owner, StoreError};

impl Embedded {
    pub(crate) async fn find_owners(
        &self,
        ids: Vec<String>,
    ) -> Result<Vec<(String, Owner)>, StoreError> {
        self.read(move |db| {
            let mut found = Vec::new();
            for id in ids {
                if let Some(owner) = owner_of(db, &id)? {
                    found.push((id, owner));
                }
            }
            Ok(found)
        })
        .await
    }

    pub(crate) async fn keep_owner(
        &self,
        ids: Vec<String>,
        owner: Owner,
    ) -> Result<(), StoreError> {
        self.write(move |db| {
            let work = db.transaction()?;
            for id in ids {
                work.prepare_cached(
                    "INSERT INTO stored_object
                         (id, api_key, lineage, model_group, deployment_id, batch)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (id) DO NOTHING",
                )?
                .execute(params![
                    id,
                    owner.key.map(|key| key.to_string()),
                    owner.lineage.map(|key| key.to_string()),
                    owner.model_group,
                    owner.deployment_id,
                    owner.batch,
                ])?;
            }
            Ok(work.commit()?)
        })
        .await
    }
}

/// The log has a row for each request that named the object: its owner's is the first of a key,
/// for nobody else but the master key gets to see it.
fn owner_of(db: &Connection, id: &str) -> Result<Option<Owner>, StoreError> {
    const KEPT: &str = "SELECT api_key, lineage, model_group, deployment_id, batch
        FROM stored_object WHERE id = ?1";
    const LOGGED: &str = "SELECT api_key, json_extract(context, '$.lineage'), model_group,
        deployment_id, NULL FROM spend_log WHERE response_id = ?1
        ORDER BY api_key IS NULL, id LIMIT 1";
    for sql in [KEPT, LOGGED] {
        let found = db.prepare_cached(sql)?.query_row([id], owner).optional()?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

fn owner(row: &Row<'_>) -> rusqlite::Result<Owner> {
    let key = |at| -> rusqlite::Result<_> {
        let digits = row.get::<_, Option<String>>(at)?;
        Ok(digits.as_deref().and_then(hash_of))
    };
    Ok(Owner {
        key: key(0)?,
        lineage: key(1)?,
        model_group: row.get(2)?,
        deployment_id: row.get(3)?,
        batch: row.get(4)?,
    })
}
