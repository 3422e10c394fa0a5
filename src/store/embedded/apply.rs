//! The drain's transaction: new log rows, roll-ups, key spend and the journal cursor, or nothing.

use std::collections::HashSet;

use meridian_core::journal::Position;
use meridian_core::spend::SpendRecord;
use meridian_core::transcript::{JsonText, Texts};
use rusqlite::{Connection, OptionalExtension, Transaction, named_params, params};

use super::{Embedded, column, rollups, set_durable};
use crate::store::columns::{extra_usage, to_text};
use crate::store::sums::{Sums, cost_of, failed};
use crate::store::{SpendBatch, StoreError};

impl Embedded {
    pub(crate) async fn journal_position(
        &self,
        writer: &str,
    ) -> Result<Option<Position>, StoreError> {
        let writer = writer.to_owned();
        self.read(move |db| select_position(db, &writer)).await
    }

    pub(crate) async fn apply_spend(&self, batch: SpendBatch) -> Result<usize, StoreError> {
        self.write(move |db| {
            let before = select_position(db, &batch.writer)?;
            if before.unwrap_or_default() != batch.from {
                return Err(StoreError::Moved);
            }
            // Segments before the cursor's are deleted after this commit: it must be on disk.
            let durable = before.is_none_or(|before| before.segment != batch.next.segment);
            set_durable(db, durable)?;
            let outcome = apply(db, &batch);
            set_durable(db, true)?;
            outcome
        })
        .await
    }
}

fn select_position(db: &Connection, consumer: &str) -> Result<Option<Position>, StoreError> {
    let position = db
        .prepare_cached("SELECT segment, \"offset\" FROM journal_cursor WHERE consumer = ?1")?
        .query_row([consumer], |row| {
            Ok(Position {
                segment: super::count(row.get(0)?),
                offset: super::count(row.get(1)?),
            })
        })
        .optional()?;
    Ok(position)
}

fn apply(db: &mut Connection, batch: &SpendBatch) -> Result<usize, StoreError> {
    let work = db.transaction()?;
    let mut sums = Sums::default();
    let mut seen = HashSet::new();
    let mut added = 0;
    for record in &batch.records {
        let is_new = match batch.keeps_logs {
            true => insert_log(&work, record, cost_of(record))?,
            // Without a log only the cursor keeps a record from counting twice.
            false => seen.insert(record.call_id),
        };
        if is_new {
            added += 1;
            sums.add(record);
        }
    }
    rollups::write(&sums, &work)?;
    let next = batch.next;
    work.prepare_cached(
        "INSERT INTO journal_cursor (consumer, segment, \"offset\") VALUES (?1, ?2, ?3)
         ON CONFLICT (consumer) DO UPDATE SET segment = ?2, \"offset\" = ?3",
    )?
    .execute(params![
        batch.writer,
        i64::try_from(next.segment).unwrap_or(i64::MAX),
        i64::try_from(next.offset).unwrap_or(i64::MAX)
    ])?;
    work.commit()?;
    Ok(added)
}

/// Adds a row; `false` if its call id is already there.
pub(super) fn insert_log(
    work: &Transaction<'_>,
    record: &SpendRecord,
    cost: i64,
) -> Result<bool, StoreError> {
    let payer = &record.payer;
    let usage = &record.usage;
    let context = match record.context == Default::default() {
        true => None,
        false => Some(serde_json::to_string(&record.context)?),
    };
    let text = |of: fn(&Texts) -> Option<&JsonText>| {
        let texts = record.texts.as_deref();
        texts.and_then(of).map(JsonText::as_str)
    };
    let inserted = work
        .prepare_cached(
            "INSERT INTO spend_log (call_id, response_id, started, ended, first_byte, endpoint,
                 stream, api_key, key_alias, user_id, team_id, organization_id, end_user,
                 model_group, deployment_id, model, provider, api_base, prompt, completion,
                 cache_read, cache_write, usage, cost, price_unknown, estimated, end_reason,
                 status, failed, attempts, session_id, context, error, request, response)
             VALUES (:call_id, :response_id, :started, :ended, :first_byte, :endpoint,
                 :stream, :api_key, :key_alias, :user_id, :team_id, :organization_id, :end_user,
                 :model_group, :deployment_id, :model, :provider, :api_base, :prompt, :completion,
                 :cache_read, :cache_write, :usage, :cost, :price_unknown, :estimated, :end_reason,
                 :status, :failed, :attempts, :session_id, :context, :error, :request, :response)
             ON CONFLICT (call_id) DO NOTHING",
        )?
        .execute(named_params! {
            ":call_id": record.call_id.to_bytes(),
            ":response_id": record.response_id,
            ":started": record.started.0,
            ":ended": record.ended.0,
            ":first_byte": record.first_byte.map(|at| at.0),
            ":endpoint": to_text(&record.endpoint)?,
            ":stream": record.stream,
            ":api_key": payer.key.map(|key| key.to_string()),
            ":key_alias": payer.key_alias,
            ":user_id": payer.user_id,
            ":team_id": payer.team_id,
            ":organization_id": payer.organization_id,
            ":end_user": payer.end_user,
            ":model_group": record.model_group,
            ":deployment_id": record.deployment_id,
            ":model": record.model,
            ":provider": record.provider,
            ":api_base": record.api_base,
            ":prompt": column(usage.prompt),
            ":completion": column(usage.completion),
            ":cache_read": column(usage.cache_read),
            ":cache_write": column(usage.cache_write),
            ":usage": extra_usage(usage)?,
            ":cost": cost,
            ":price_unknown": record.price_unknown,
            ":estimated": record.estimated,
            ":end_reason": record.end_reason.label(),
            ":status": record.status,
            ":failed": failed(record),
            ":attempts": record.attempts,
            ":session_id": record.context.session_id,
            ":context": context,
            ":error": record.error,
            ":request": text(|texts| texts.request.as_ref()),
            ":response": text(|texts| texts.response.as_ref()),
        })?;
    Ok(inserted == 1)
}
