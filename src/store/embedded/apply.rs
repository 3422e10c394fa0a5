//! The drain's transaction: new log rows, roll-ups, key spend and the journal cursor, or nothing.

use std::collections::HashSet;

use meridian_core::journal::Position;
use meridian_core::spend::SpendRecord;
use meridian_core::transcript::{JsonText, Texts};
use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::{Embedded, batches, column, rollups, set_durable};
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
        if !batches::is_first(&work, record)? {
            continue;
        }
        let is_new = match batch.keeps_logs {
            true => insert_log(&work, record, cost_of(record))?,
            // Without a log only the cursor keeps a record from counting twice.
            false => seen.insert(record.call_id),
        };
        if is_new {
            added += 1;
            sums.add(record);
            batches::add(&work, record)?;
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
    // Places, not names: SQLite finds a name by comparing it with all others, for each row.
    let inserted = work
        .prepare_cached(
            "INSERT INTO spend_log (call_id, response_id, started, ended, first_byte, endpoint,
                 stream, api_key, key_alias, user_id, team_id, organization_id, end_user,
                 model_group, deployment_id, model, provider, api_base, prompt, completion,
                 cache_read, cache_write, usage, cost, price_unknown, estimated, end_reason,
                 status, failed, attempts, session_id, context, error, request, response)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17,
                 ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25, ?26, ?27, ?28, ?29, ?30, ?31, ?32, ?33,
                 ?34, ?35)
             ON CONFLICT (call_id) DO NOTHING",
        )?
        .execute(params![
            record.call_id.to_bytes(),
            record.response_id,
            record.started.0,
            record.ended.0,
            record.first_byte.map(|at| at.0),
            to_text(&record.endpoint)?,
            record.stream,
            payer.key.map(|key| key.to_string()),
            payer.key_alias,
            payer.user_id,
            payer.team_id,
            payer.organization_id,
            payer.end_user,
            record.model_group,
            record.deployment_id,
            record.model,
            record.provider,
            record.api_base,
            column(usage.prompt),
            column(usage.completion),
            column(usage.cache_read),
            column(usage.cache_write),
            extra_usage(usage)?,
            cost,
            record.price_unknown,
            record.estimated,
            record.end_reason.label(),
            record.status,
            failed(record),
            record.attempts,
            record.context.session_id,
            context,
            record.error,
            text(|texts| texts.request.as_ref()),
            text(|texts| texts.response.as_ref()),
        ])?;
    Ok(inserted == 1)
}
