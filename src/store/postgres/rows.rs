//! Log rows of a batch, column by column: one statement adds them all.

use std::borrow::Cow;
use std::time::SystemTime;

use meridian_core::spend::SpendRecord;
use meridian_core::transcript::{self as kept, JsonText};
use tokio_postgres::types::{ToSql, Type};

use super::params::{clean, clean_json, digest, moment};
use super::work::Param;
use crate::store::StoreError;
use crate::store::columns::{column, extra_usage};
use crate::store::sums::{cost_of, failed};

type Texts<'a> = Vec<Option<Cow<'a, str>>>;

/// Columns, in the order of `INSERT`.
pub(super) struct LogRows<'a> {
    times: [Vec<Option<SystemTime>>; 3],
    counts: [Vec<i64>; 5],
    call_ids: Vec<String>,
    writer: i32,
    numbers: [Vec<i32>; 2],
    flags: [Vec<bool>; 4],
    api_keys: Vec<Option<Vec<u8>>>,
    texts: [Texts<'a>; 20],
}

/// Adds rows whose call id is not there yet and names these. All values come as arrays: nothing
/// has to be prepared, nothing is left behind, and a batch is one message.
pub(super) const INSERT: &str = "\
INSERT INTO meridian.spend_log (started, ended, first_byte, prompt, completion, cache_read, \
cache_write, cost, call_id, status, attempts, stream, price_unknown, estimated, failed, api_key, \
response_id, endpoint, end_reason, key_alias, user_id, team_id, organization_id, end_user, \
model_group, deployment_id, model, provider, api_base, region, session_id, usage, context, error, \
request, response, writer) \
SELECT started, ended, first_byte, prompt, completion, cache_read, cache_write, cost, \
call_id::uuid, status, attempts, stream, price_unknown, estimated, failed, api_key, response_id, \
endpoint, end_reason, key_alias, user_id, team_id, organization_id, end_user, model_group, \
deployment_id, model, provider, api_base, region, session_id, usage::jsonb, context::jsonb, \
error, request::json, response::json, $37 \
FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, \
$19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35, \
$36) AS batch (\
started, ended, first_byte, prompt, completion, cache_read, cache_write, cost, call_id, status, \
attempts, stream, price_unknown, estimated, failed, api_key, response_id, endpoint, end_reason, \
key_alias, user_id, team_id, organization_id, end_user, model_group, deployment_id, model, \
provider, api_base, region, session_id, usage, context, error, request, response) \
ON CONFLICT DO NOTHING RETURNING uuid_send(call_id)";

impl<'a> LogRows<'a> {
    /// Rows of records that `writer` adds.
    pub(super) fn of(records: &'a [SpendRecord], writer: i32) -> Result<Self, StoreError> {
        let time = |of: fn(&SpendRecord) -> Option<_>| {
            let times = records.iter().map(|one| of(one).map(moment));
            times.collect::<Vec<_>>()
        };
        let count = |of: fn(&SpendRecord) -> i64| records.iter().map(of).collect::<Vec<_>>();
        let number = |of: fn(&SpendRecord) -> u32| {
            let numbers = records
                .iter()
                .map(|one| i32::try_from(of(one)).unwrap_or(i32::MAX));
            numbers.collect::<Vec<_>>()
        };
        let flag = |of: fn(&SpendRecord) -> bool| records.iter().map(of).collect::<Vec<_>>();
        let key = |one: &SpendRecord| one.payer.key.map(|key| digest(Some(key)));
        Ok(Self {
            times: [
                time(|one| Some(one.started)),
                time(|one| Some(one.ended)),
                time(|one| one.first_byte),
            ],
            counts: [
                count(|one| column(one.usage.prompt)),
                count(|one| column(one.usage.completion)),
                count(|one| column(one.usage.cache_read)),
                count(|one| column(one.usage.cache_write)),
                count(cost_of),
            ],
            call_ids: records.iter().map(|one| one.call_id.to_string()).collect(),
            writer,
            numbers: [
                number(|one| u32::from(one.status)),
                number(|one| one.attempts),
            ],
            flags: [
                flag(|one| one.stream),
                flag(|one| one.price_unknown),
                flag(|one| one.estimated),
                flag(failed),
            ],
            api_keys: records.iter().map(key).collect(),
            texts: texts_of(records)?,
        })
    }

    /// The values of `INSERT`.
    pub(super) fn params(&self) -> Vec<Param<'_>> {
        let mut params: Vec<Param<'_>> = Vec::with_capacity(37);
        fn push<'a>(params: &mut Vec<Param<'a>>, value: &'a (dyn ToSql + Sync), kind: Type) {
            params.push((value, kind));
        }
        for times in &self.times {
            push(&mut params, times, Type::TIMESTAMPTZ_ARRAY);
        }
        for counts in &self.counts {
            push(&mut params, counts, Type::INT8_ARRAY);
        }
        push(&mut params, &self.call_ids, Type::TEXT_ARRAY);
        for numbers in &self.numbers {
            push(&mut params, numbers, Type::INT4_ARRAY);
        }
        for flags in &self.flags {
            push(&mut params, flags, Type::BOOL_ARRAY);
        }
        push(&mut params, &self.api_keys, Type::BYTEA_ARRAY);
        for texts in &self.texts {
            push(&mut params, texts, Type::TEXT_ARRAY);
        }
        push(&mut params, &self.writer, Type::INT4);
        params
    }
}

fn texts_of(records: &[SpendRecord]) -> Result<[Texts<'_>; 20], StoreError> {
    let all = |of: fn(&SpendRecord) -> Option<&str>| {
        let texts = records.iter().map(|one| of(one).map(clean));
        texts.collect::<Texts<'_>>()
    };
    let made = |of: fn(&SpendRecord) -> Result<Option<String>, StoreError>| {
        let texts = records.iter().map(|one| Ok(of(one)?.map(Cow::Owned)));
        texts.collect::<Result<Texts<'_>, StoreError>>()
    };
    // Made so that Postgres takes them as they are.
    let kept = |of: fn(&kept::Texts) -> Option<&JsonText>| {
        let texts = records.iter().map(|one| of(one.texts.as_deref()?));
        let texts = texts.map(|text| text.map(|text| Cow::Borrowed(text.as_str())));
        texts.collect::<Texts<'_>>()
    };
    Ok([
        all(|one| one.response_id.as_deref()),
        all(|one| Some(one.endpoint.label())),
        all(|one| Some(one.end_reason.label())),
        all(|one| one.payer.key_alias.as_deref()),
        all(|one| one.payer.user_id.as_deref()),
        all(|one| one.payer.team_id.as_deref()),
        all(|one| one.payer.organization_id.as_deref()),
        all(|one| one.payer.end_user.as_deref()),
        all(|one| Some(&one.model_group)),
        all(|one| Some(&one.deployment_id)),
        all(|one| Some(&one.model)),
        all(|one| Some(&one.provider)),
        all(|one| Some(&one.api_base)),
        all(|one| Some(one.region.as_deref().unwrap_or_default())),
        all(|one| one.context.session_id.as_deref()),
        made(|one| extra_usage(&one.usage))?,
        made(|one| match one.context == Default::default() {
            true => Ok(None),
            false => clean_json(&one.context).map(Some),
        })?,
        all(|one| one.error.as_deref()),
        kept(|texts| texts.request.as_ref()),
        kept(|texts| texts.response.as_ref()),
    ])
}
