//! The drain's transaction: new log rows, roll-ups, key spend and the journal cursor, or nothing.

use meridian_core::journal::Position;
use meridian_core::spend::{EndReason, SpendRecord};
use rusqlite::{Connection, OptionalExtension, Transaction, named_params, params};

use super::logs::{extra_usage, to_text};
use super::sums::Sums;
use super::{Embedded, column, set_durable};
use crate::store::StoreError;

/// More than a request can cost (nine million dollars): keeps sums inside 64 bits.
const COST_NANO_MAX: i64 = 9_000_000_000_000_000;

impl Embedded {
    pub(crate) async fn journal_position(
        &self,
        consumer: &'static str,
    ) -> Result<Option<Position>, StoreError> {
        self.read(move |db| select_position(db, consumer)).await
    }

    pub(crate) async fn apply_spend(
        &self,
        consumer: &'static str,
        records: Vec<SpendRecord>,
        next: Position,
    ) -> Result<usize, StoreError> {
        self.write(move |db| {
            let before = select_position(db, consumer)?;
            // Segments before the cursor's are deleted after this commit: it must be on disk.
            let durable = before.is_none_or(|before| before.segment != next.segment);
            set_durable(db, durable)?;
            let outcome = apply(db, consumer, &records, next);
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

fn apply(
    db: &mut Connection,
    consumer: &str,
    records: &[SpendRecord],
    next: Position,
) -> Result<usize, StoreError> {
    let work = db.transaction()?;
    let mut sums = Sums::default();
    let mut added = 0;
    for record in records {
        let cost = cost_of(record);
        if insert_log(&work, record, cost)? {
            added += 1;
            sums.add(record, cost, failed(record));
        }
    }
    sums.write(&work)?;
    work.prepare_cached(
        "INSERT INTO journal_cursor (consumer, segment, \"offset\") VALUES (?1, ?2, ?3)
         ON CONFLICT (consumer) DO UPDATE SET segment = ?2, \"offset\" = ?3",
    )?
    .execute(params![
        consumer,
        i64::try_from(next.segment).unwrap_or(i64::MAX),
        i64::try_from(next.offset).unwrap_or(i64::MAX)
    ])?;
    work.commit()?;
    Ok(added)
}

/// Cost as it is stored: never negative, never so large that a sum could overflow.
fn cost_of(record: &SpendRecord) -> i64 {
    let cost = record.cost.0.clamp(0, COST_NANO_MAX);
    if cost != record.cost.0 {
        tracing::error!(call_id = %record.call_id, cost = record.cost.0, "impossible cost");
    }
    cost
}

/// Whether a request counts as failed in reports. One that the client broke off after content
/// arrived does not.
fn failed(record: &SpendRecord) -> bool {
    match record.end_reason {
        EndReason::Complete => record.status >= 400,
        EndReason::ClientGoneMidStream => false,
        EndReason::ClientGoneBeforeFirstByte
        | EndReason::UpstreamReset
        | EndReason::Stall
        | EndReason::ProviderError
        | EndReason::UpstreamFailed
        | EndReason::Timeout
        | EndReason::BudgetCut
        | EndReason::InternalError
        | EndReason::Crashed => true,
    }
}

/// Adds a row; `false` if its call id is already there.
fn insert_log(work: &Transaction<'_>, record: &SpendRecord, cost: i64) -> Result<bool, StoreError> {
    let payer = &record.payer;
    let usage = &record.usage;
    let context = match record.context == Default::default() {
        true => None,
        false => Some(serde_json::to_string(&record.context)?),
    };
    let inserted = work
        .prepare_cached(
            "INSERT INTO spend_log (call_id, response_id, started, ended, first_byte, endpoint,
                 stream, api_key, key_alias, user_id, team_id, organization_id, end_user,
                 model_group, deployment_id, model, provider, api_base, prompt, completion,
                 cache_read, cache_write, usage, cost, price_unknown, estimated, end_reason,
                 status, failed, attempts, session_id, context, error)
             VALUES (:call_id, :response_id, :started, :ended, :first_byte, :endpoint,
                 :stream, :api_key, :key_alias, :user_id, :team_id, :organization_id, :end_user,
                 :model_group, :deployment_id, :model, :provider, :api_base, :prompt, :completion,
                 :cache_read, :cache_write, :usage, :cost, :price_unknown, :estimated, :end_reason,
                 :status, :failed, :attempts, :session_id, :context, :error)
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
        })?;
    Ok(inserted == 1)
}
