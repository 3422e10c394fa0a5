//! Pages of records.

use meridian_core::record::RecordKind;
use tokio_postgres::types::Type;

use super::Postgres;
use super::params::{Values, clean};
use super::records::{COLUMNS, COUNTED, stored_of};
use super::work::{Access, Work};
use crate::store::columns::{count, page_bounds};
use crate::store::{RecordPage, RecordQuery, RecordSort, StoreError};

impl Postgres {
    pub(crate) async fn list_records(&self, query: RecordQuery) -> Result<RecordPage, StoreError> {
        let work = self.work(Access::Read).await?;
        let page = select_page(&work, &query).await;
        work.finish(page).await
    }
}

async fn select_page(work: &Work, query: &RecordQuery) -> Result<RecordPage, StoreError> {
    let (clause, values) = filters(query);
    let (size, skip) = page_bounds(query.page, query.size)?;
    let sql = format!("SELECT count(*) FROM meridian.record r WHERE {clause}");
    let total = work.row(&sql, &values.params()).await?;
    let total = total.map_or(0, |row| count(row.get(0)));
    let order = match query.sort_by {
        RecordSort::Id => "r.id".to_owned(),
        RecordSort::Spend => "spend".to_owned(),
        other => format!("r.{}", other.column()),
    };
    // What has no value comes first, as in the embedded store.
    let direction = match query.descending {
        true => "DESC NULLS LAST",
        false => "ASC NULLS FIRST",
    };
    let sql = format!(
        "SELECT {COLUMNS}, {COUNTED} FROM meridian.record r WHERE {clause} \
         ORDER BY {order} {direction}, r.id {direction} LIMIT {size} OFFSET {skip}"
    );
    let rows = work.rows(&sql, &values.params()).await?;
    let records = rows.iter().map(stored_of).collect::<Result<_, _>>()?;
    Ok(RecordPage { records, total })
}

fn filters(query: &RecordQuery) -> (String, Values) {
    let mut values = Values::default();
    let kind = values.add(query.kind.as_str(), Type::TEXT);
    let mut clause = format!("r.kind = {kind} AND r.deleted = {}", query.deleted);
    if query.deleted && query.kind == RecordKind::Key {
        // A key that was rotated lives on under another digest.
        clause.push_str(
            " AND NOT EXISTS (SELECT 1 FROM meridian.record AS other \
             WHERE other.kind = 'rotated_key' AND other.id = r.id)",
        );
    }
    for (facet, value) in &query.facets {
        let place = values.add(clean(value).into_owned(), Type::TEXT);
        clause.push_str(&format!(" AND r.{} = {place}", facet.column()));
    }
    if !query.ids.is_empty() {
        let ids: Vec<String> = query.ids.iter().map(|id| clean(id).into_owned()).collect();
        let place = values.add(ids, Type::TEXT_ARRAY);
        clause.push_str(&format!(" AND r.id = ANY ({place})"));
    }
    if let Some(search) = &query.search {
        let place = values.add(clean(search).to_lowercase(), Type::TEXT);
        clause.push_str(&format!(
            " AND (strpos(lower(r.id), {place}) > 0 OR strpos(lower(r.alias), {place}) > 0 \
             OR strpos(lower(r.email), {place}) > 0)"
        ));
    }
    (clause, values)
}
