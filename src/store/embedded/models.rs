//! What scopes spent by model: the roll-ups have whole days, the log has the rest of the first.

use meridian_core::money::NanoUsd;
use meridian_core::scope::ScopeKind;
use meridian_core::time::WallMs;
use rusqlite::{Connection, params};

use super::Embedded;
use crate::store::StoreError;
use crate::store::sums::DAY_MS;

/// Scope, model, amount.
type ModelSpend = (String, String, NanoUsd);

/// Where a kind of scope stands in a roll-up and in the log.
struct Place {
    daily: &'static str,
    logged: &'static str,
}

/// A digest that a rotation replaced pays into its successor.
const KEY: &str = "SELECT COALESCE((SELECT json_extract(body, '$.active') FROM record
    WHERE record.kind = 'rotated_key' AND record.id = api_key), api_key) AS scope";
const MEMBER: &str = "SELECT team_id || char(31) || user_id AS scope";
const ORGANIZATION_MEMBER: &str = "SELECT organization_id || char(31) || user_id AS scope";

impl Place {
    fn of(kind: ScopeKind) -> Self {
        let (daily, logged) = match kind {
            ScopeKind::Key => (KEY, KEY),
            ScopeKind::User => ("SELECT user_id AS scope", "SELECT user_id AS scope"),
            ScopeKind::Team => ("SELECT team_id AS scope", "SELECT team_id AS scope"),
            ScopeKind::Organization => (
                "SELECT organization_id AS scope",
                "SELECT organization_id AS scope",
            ),
            ScopeKind::TeamMember => (MEMBER, MEMBER),
            ScopeKind::OrganizationMember => (ORGANIZATION_MEMBER, ORGANIZATION_MEMBER),
            ScopeKind::EndUser => ("SELECT entity AS scope", "SELECT end_user AS scope"),
            ScopeKind::Tag => ("SELECT entity AS scope", "SELECT tag.value AS scope"),
        };
        Self { daily, logged }
    }
}

impl Embedded {
    pub(crate) async fn model_spends(
        &self,
        kind: ScopeKind,
        ids: Vec<String>,
        since: Option<WallMs>,
    ) -> Result<Vec<ModelSpend>, StoreError> {
        let ids = serde_json::to_string(&ids)?;
        self.read_within(None, move |db| {
            let since = since.filter(|since| since.0 > 0);
            let Some(since) = since else {
                return by_day(db, kind, &ids, "");
            };
            if since.0 % DAY_MS == 0 || !is_logged(db, since)? {
                return by_day(db, kind, &ids, &since.day());
            }
            let next = WallMs((since.0 / DAY_MS + 1) * DAY_MS);
            let mut spends = by_request(db, kind, &ids, (since, next))?;
            spends.extend(by_day(db, kind, &ids, &next.day())?);
            Ok(spends)
        })
        .await
    }
}

/// Whether the log reaches back to a moment.
fn is_logged(db: &Connection, at: WallMs) -> Result<bool, StoreError> {
    let first = "SELECT MIN(started) FROM spend_log";
    let first: Option<i64> = db.query_row(first, [], |row| row.get(0))?;
    Ok(first.is_some_and(|first| first <= at.0))
}

fn by_day(
    db: &Connection,
    kind: ScopeKind,
    ids: &str,
    from: &str,
) -> Result<Vec<ModelSpend>, StoreError> {
    let table = match kind {
        ScopeKind::EndUser | ScopeKind::Tag => "daily_entity_spend WHERE kind = ?3 AND",
        _ => "daily_spend WHERE ?3 = ?3 AND",
    };
    let sql = format!(
        "{}, model_group, SUM(spend) FROM {table} day >= ?2
             AND scope IN (SELECT value FROM json_each(?1)) GROUP BY 1, 2",
        Place::of(kind).daily
    );
    rows(db, &sql, params![ids, from, kind.label()])
}

fn by_request(
    db: &Connection,
    kind: ScopeKind,
    ids: &str,
    (from, to): (WallMs, WallMs),
) -> Result<Vec<ModelSpend>, StoreError> {
    let tags = match kind {
        ScopeKind::Tag => ", json_each(spend_log.context, '$.tags') AS tag",
        _ => "",
    };
    let sql = format!(
        "{}, model_group, SUM(cost) FROM spend_log{tags} WHERE started >= ?2 AND started < ?3
             AND scope IN (SELECT value FROM json_each(?1)) GROUP BY 1, 2",
        Place::of(kind).logged
    );
    rows(db, &sql, params![ids, from.0, to.0])
}

fn rows(
    db: &Connection,
    sql: &str,
    params: &[&dyn rusqlite::ToSql],
) -> Result<Vec<ModelSpend>, StoreError> {
    let mut select = db.prepare(sql)?;
    let rows = select.query_map(params, |row| {
        Ok((row.get(0)?, row.get(1)?, NanoUsd(row.get(2)?)))
    })?;
    let spends: Vec<ModelSpend> = rows.collect::<Result<_, _>>()?;
    Ok(spends)
}
