//! Views under LiteLLM's table names, so that queries which people have keep running.
//!
//! A name that something else has is left alone: both programs may use one database for a while.

use tokio_postgres::types::Type;

use super::work::Work;
use crate::store::StoreError;

/// Comment by which a view is known to be ours.
const MARK: &str = "Meridian: made by `meridian migrate`";

macro_rules! view {
    ($name:literal) => {
        (
            $name,
            include_str!(concat!(
                "../../../migrations/postgres/views/",
                $name,
                ".sql"
            )),
        )
    };
}

/// Name and query.
const VIEWS: &[(&str, &str)] = &[
    view!("LiteLLM_SpendLogs"),
    view!("LiteLLM_TeamTable"),
    view!("LiteLLM_VerificationToken"),
    view!("LiteLLM_UserTable"),
    view!("LiteLLM_OrganizationTable"),
    view!("LiteLLM_DailyUserSpend"),
    view!("LiteLLM_DailyTeamSpend"),
    view!("LiteLLM_DailyTagSpend"),
];

/// Who has a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holder {
    Nobody,
    We,
    SomebodyElse,
}

/// Makes or renews the views whose names are free; returns the names that are not. New versions of
/// a view only add columns at its end.
pub(super) async fn publish(work: &Work, schema: &str) -> Result<Vec<String>, StoreError> {
    let mut taken = Vec::new();
    if !may_create(work, schema).await? {
        taken.extend(VIEWS.iter().map(|(name, _)| format!("{schema}.{name}")));
        return Ok(taken);
    }
    for (name, query) in VIEWS {
        let place = format!("{}.{}", quoted(schema), quoted(name));
        if holder(work, &place).await? == Holder::SomebodyElse {
            taken.push(format!("{schema}.{name}"));
            continue;
        }
        let sql = format!(
            "CREATE OR REPLACE VIEW {place} AS {query}; COMMENT ON VIEW {place} IS '{MARK}'"
        );
        work.batch(&sql).await?;
    }
    Ok(taken)
}

/// Takes our views away, before what they show goes.
pub(super) async fn withdraw(work: &Work, schema: &str) -> Result<(), StoreError> {
    for (name, _) in VIEWS {
        let place = format!("{}.{}", quoted(schema), quoted(name));
        if holder(work, &place).await? == Holder::We {
            work.batch(&format!("DROP VIEW {place}")).await?;
        }
    }
    Ok(())
}

async fn may_create(work: &Work, schema: &str) -> Result<bool, StoreError> {
    let sql = "SELECT has_schema_privilege(oid, 'CREATE') FROM pg_namespace WHERE nspname = $1";
    let row = work.row(sql, &[(&schema, Type::TEXT)]).await?;
    Ok(row.is_some_and(|row| row.get(0)))
}

async fn holder(work: &Work, place: &str) -> Result<Holder, StoreError> {
    let sql = "SELECT COALESCE(obj_description(to_regclass($1), 'pg_class') = $2, false) \
        WHERE to_regclass($1) IS NOT NULL";
    let row = work
        .row(sql, &[(&place, Type::TEXT), (&MARK, Type::TEXT)])
        .await?;
    Ok(match row.map(|row| row.get(0)) {
        None => Holder::Nobody,
        Some(true) => Holder::We,
        Some(false) => Holder::SomebodyElse,
    })
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
