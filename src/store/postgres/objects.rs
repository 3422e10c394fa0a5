//! Who made what lies at providers: responses, files, batches.

use std::collections::HashSet;

use meridian_core::ids::KeyHash;
use tokio_postgres::types::Type;

use super::Postgres;
use super::params::{clean, digest, digest_of};
use super::work::{Access, Param};
use crate::store::{Owner, StoreError};

impl Postgres {
    pub(crate) async fn find_owners(
        &self,
        ids: Vec<String>,
    ) -> Result<Vec<(String, Owner)>, StoreError> {
        // What was asked for, not what was looked up, is the name of what is found. The log, in all
        // of its partitions, is asked only for what is not kept.
        let kept = "SELECT asked.place, o.api_key, o.lineage, o.model_group, o.deployment_id, \
                o.batch \
            FROM unnest($1) WITH ORDINALITY AS asked (id, place) \
                JOIN meridian.stored_object o ON o.id = asked.id";
        let logged = "SELECT asked.place, one.api_key, one.lineage, one.model_group, \
            one.deployment_id, NULL::text \
            FROM unnest($1) WITH ORDINALITY AS asked (id, place) CROSS JOIN LATERAL ( \
                SELECT l.api_key, l.context ->> 'lineage' AS lineage, l.model_group, \
                    l.deployment_id \
                FROM meridian.spend_log l WHERE l.response_id = asked.id \
                ORDER BY length(COALESCE(l.api_key, '')) = 0, l.started LIMIT 1) AS one";
        let mut found = self.owners_of(kept, &ids).await?;
        let known: HashSet<&String> = found.iter().map(|(id, _)| id).collect();
        let mut others = ids.clone();
        others.retain(|id| !known.contains(id));
        if !others.is_empty() {
            found.extend(self.owners_of(logged, &others).await?);
        }
        Ok(found)
    }

    async fn owners_of(
        &self,
        sql: &str,
        ids: &[String],
    ) -> Result<Vec<(String, Owner)>, StoreError> {
        let cleaned: Vec<String> = ids.iter().map(|id| clean(id).into_owned()).collect();
        let work = self.work(Access::Read).await?;
        let rows = work.rows(sql, &[(&cleaned, Type::TEXT_ARRAY)]).await;
        let rows = work.finish(rows).await?;
        let found = rows.iter().filter_map(|row| {
            let place = usize::try_from(row.get::<_, i64>(0)).ok()?.checked_sub(1)?;
            let owner = Owner {
                key: row.get::<_, Option<&[u8]>>(1).and_then(digest_of),
                lineage: row.get::<_, Option<&str>>(2).and_then(KeyHash::from_hex),
                model_group: row.get(3),
                deployment_id: row.get(4),
                batch: row.get(5),
            };
            Some((ids.get(place)?.clone(), owner))
        });
        Ok(found.collect())
    }

    pub(crate) async fn keep_owner(
        &self,
        ids: Vec<String>,
        owner: Owner,
    ) -> Result<(), StoreError> {
        let ids: Vec<String> = ids.iter().map(|id| clean(id).into_owned()).collect();
        let key = digest(owner.key);
        let lineage = owner.lineage.map(|key| key.to_string());
        let (group, deployment) = (clean(&owner.model_group), clean(&owner.deployment_id));
        let batch = owner.batch.as_deref().map(clean);
        let params: [Param<'_>; 6] = [
            (&ids, Type::TEXT_ARRAY),
            (&key, Type::BYTEA),
            (&group, Type::TEXT),
            (&deployment, Type::TEXT),
            (&lineage, Type::TEXT),
            (&batch, Type::TEXT),
        ];
        let sql = "INSERT INTO meridian.stored_object \
                (id, api_key, model_group, deployment_id, lineage, batch) \
            SELECT id, $2, $3, $4, $5, $6 FROM unnest($1) AS asked (id) \
            ON CONFLICT (id) DO NOTHING";
        let work = self.work(Access::Write).await?;
        let kept = work.change(sql, &params).await;
        work.finish(kept).await?;
        Ok(())
    }
}
