//! Pages of records in LiteLLM's shape.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::query::Query;
use super::reply::AdminError;
use super::state::AdminState;
use super::store_refusal;
use crate::store::{RecordQuery, RecordSort, StoredRecord};

/// One page as it was read.
pub(super) struct Page {
    /// The records.
    pub(super) records: Vec<StoredRecord>,
    total: u64,
    page: u64,
    size: u64,
}

/// One page as it is shown.
pub(super) struct Listed {
    rows: Vec<Value>,
    total: u64,
    page: u64,
    size: u64,
}

/// Reads one page.
pub(super) async fn page_of(
    state: &AdminState,
    asked: RecordQuery,
    page: u64,
    size: u64,
) -> Result<Page, AdminError> {
    let asked = RecordQuery {
        page: u32::try_from(page).unwrap_or(u32::MAX),
        size: u32::try_from(size).unwrap_or(u32::MAX),
        ..asked
    };
    let found = state.store().list_records(asked).await;
    let found = found.map_err(store_refusal)?;
    Ok(Page {
        records: found.records,
        total: found.total,
        page,
        size,
    })
}

impl Listed {
    /// The rows of a page.
    pub(super) fn new(rows: Vec<Value>, of: &Page) -> Self {
        Self {
            rows,
            total: of.total,
            page: of.page,
            size: of.size,
        }
    }

    /// A page of nothing.
    pub(super) fn empty(page: u64, size: u64) -> Self {
        Self {
            rows: Vec::new(),
            total: 0,
            page,
            size,
        }
    }

    /// LiteLLM's answer, the rows under this name.
    pub(super) fn named(self, name: &str) -> Value {
        json!({
            name: self.rows, "total": self.total, "page": self.page, "page_size": self.size,
            "total_pages": self.total.div_ceil(self.size.max(1)),
        })
    }
}

/// `sort_by` and `sort_order`, over these columns.
pub(super) fn sorted(
    query: &Query,
    asked: RecordQuery,
    columns: &[(&str, RecordSort)],
) -> Result<RecordQuery, AdminError> {
    let refuse = |text: String| AdminError::detail(StatusCode::BAD_REQUEST, text);
    let sort_by = match query.text("sort_by") {
        None => RecordSort::CreatedAt,
        Some(name) => match columns.iter().find(|(column, _)| *column == name) {
            Some((_, sort)) => *sort,
            None => {
                let names: Vec<&str> = columns.iter().map(|(column, _)| *column).collect();
                let names = names.join(", ");
                return Err(refuse(format!(
                    "Invalid sort column. Must be one of: {names}"
                )));
            }
        },
    };
    let descending = match query.text("sort_order").as_deref() {
        Some("asc") => false,
        None | Some("desc") => true,
        Some(_) => {
            return Err(refuse(
                "Invalid sort order. Must be 'asc' or 'desc'".to_owned(),
            ));
        }
    };
    Ok(RecordQuery {
        sort_by,
        descending,
        ..asked
    })
}
