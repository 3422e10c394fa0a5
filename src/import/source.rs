//! Questions to a LiteLLM database. Tables and columns differ between versions: what is not there
//! is not asked for.

use std::collections::{BTreeMap, BTreeSet};

use meridian_core::config::Database;
use meridian_core::litellm::{Elsewhere, NotImported, Table, elsewhere};
use serde_json::{Map, Value};

use super::ImportError;
use crate::store::{Reading, TextRow};

/// Rows of one step.
const FETCH: usize = 500;
/// Rows of a table without counterpart are counted up to here.
const COUNT_MAX: u64 = 1_000_000;

/// Tables and their columns.
pub(super) struct Tables {
    schema: String,
    columns: BTreeMap<String, BTreeSet<String>>,
}

/// A LiteLLM database at one moment.
pub(super) struct Source {
    reading: Reading,
    name: String,
    tables: Tables,
}

/// A row with its primary key, for messages.
pub(super) struct SourceRow {
    pub(super) id: String,
    pub(super) fields: Map<String, Value>,
}

pub(super) fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

pub(super) fn literal(text: &str) -> String {
    // No text column holds NUL.
    format!("'{}'", text.replace('\0', "").replace('\'', "''"))
}

impl Tables {
    pub(super) fn has(&self, table: &str) -> bool {
        self.columns.contains_key(table)
    }

    pub(super) fn has_column(&self, table: &str, column: &str) -> bool {
        let columns = self.columns.get(table);
        columns.is_some_and(|columns| columns.contains(column))
    }

    pub(super) fn place(&self, table: &str) -> String {
        format!("{}.{}", identifier(&self.schema), identifier(table))
    }

    /// The rows of a table as JSON, with the columns that the mapping wants beside its own.
    fn query(&self, table: Table) -> String {
        let mapping = table.mapping();
        let own = self.columns.get(mapping.name).into_iter().flatten();
        let mut columns: Vec<String> = own.map(|column| read_column(table, column)).collect();
        let mut joins = String::new();
        if mapping.budget && self.has_column(mapping.name, "budget_id") {
            self.join_budget(&mut columns, &mut joins);
        }
        self.add_columns(table, &mut columns, &mut joins);
        let id: Vec<String> = mapping
            .id
            .iter()
            .map(|column| format!("r.{}::text", identifier(column)))
            .collect();
        let (select, filter) = self.filter(table);
        format!(
            "SELECT concat_ws('/', {}), row_to_json(r)::text FROM (SELECT {select}{} FROM {} t\
             {joins}{filter}) r",
            id.join(", "),
            columns.join(", "),
            self.place(mapping.name),
        )
    }

    fn join_budget(&self, columns: &mut Vec<String>, joins: &mut String) {
        const BUDGETS: &str = "LiteLLM_BudgetTable";
        if self.has_column(BUDGETS, "budget_duration") {
            columns.push("b.budget_duration AS meridian_budget_duration".to_owned());
            columns.push("b.budget_reset_at AS meridian_budget_reset_at".to_owned());
            let budgets = self.place(BUDGETS);
            joins.push_str(&format!(
                " LEFT JOIN {budgets} b ON b.budget_id = t.budget_id"
            ));
        }
    }

    fn add_columns(&self, table: Table, columns: &mut Vec<String>, joins: &mut String) {
        let name = table.mapping().name;
        // Of several with the same name the oldest is the first.
        let rank = |column: &str, id: &str, rank: &str| {
            let age = match self.has_column(name, "created_at") {
                true => "t.created_at NULLS FIRST, ",
                false => "",
            };
            format!(
                "CASE WHEN COALESCE(t.{column}, '') = '' THEN 1 ELSE row_number() OVER \
                 (PARTITION BY t.{column} ORDER BY {age}t.{id}) END AS {rank}"
            )
        };
        match table {
            Table::Keys if self.has_column(name, "key_alias") => {
                columns.push(rank("key_alias", "token", "meridian_alias_rank"));
            }
            Table::Users if self.has_column(name, "user_email") => {
                columns.push(rank("user_email", "user_id", "meridian_email_rank"));
            }
            Table::Teams if self.has_column(name, "model_id") => {
                let aliases = ["aliases", "model_aliases"].into_iter();
                let mut aliases =
                    aliases.filter(|column| self.has_column("LiteLLM_ModelTable", column));
                if let Some(column) = aliases.next() {
                    columns.push(format!("m.{column} AS meridian_model_aliases"));
                    let models = self.place("LiteLLM_ModelTable");
                    joins.push_str(&format!(" LEFT JOIN {models} m ON m.id = t.model_id"));
                }
            }
            _ => {}
        }
        let groups = "LiteLLM_AccessGroupTable";
        if matches!(table, Table::Keys | Table::Teams)
            && self.has_column(name, "access_group_ids")
            && self.has_column(groups, "access_model_names")
        {
            columns.push(format!(
                "(SELECT array_agg(DISTINCT g.model ORDER BY g.model) FROM (SELECT \
                 unnest(access_model_names) AS model FROM {} WHERE access_group_id = \
                 ANY (t.access_group_ids)) g) AS meridian_group_models",
                self.place(groups)
            ));
        }
    }

    /// A key that was deleted twice is read once, and not at all if it lives again.
    fn filter(&self, table: Table) -> (&'static str, String) {
        let keys = Table::Keys.mapping().name;
        match table {
            Table::DeletedKeys => (
                "DISTINCT ON (t.token) ",
                format!(
                    " WHERE NOT EXISTS (SELECT 1 FROM {} k WHERE k.token = t.token) \
                     ORDER BY t.token, t.deleted_at DESC",
                    self.place(keys)
                ),
            ),
            _ => ("", String::new()),
        }
    }
}

/// A password is not even read.
fn read_column(table: Table, column: &str) -> String {
    let name = identifier(column);
    match (table, column) {
        (Table::Users, "password") => {
            format!("NULLIF(COALESCE(t.{name}, '') <> '', false) AS {name}")
        }
        _ => format!("t.{name}"),
    }
}

impl Source {
    /// Looks what there is.
    pub(super) async fn open(reading: Reading, from: &Database) -> Result<Self, ImportError> {
        let name = from.primary.to_string();
        let schema = from.views_schema.clone();
        // Views under LiteLLM's names are Meridian's own.
        let sql = format!(
            "SELECT c.table_name, c.column_name FROM information_schema.columns c \
             JOIN information_schema.tables t USING (table_schema, table_name) \
             WHERE c.table_schema = {} AND t.table_type = 'BASE TABLE' \
             AND c.table_name LIKE 'LiteLLM\\_%'",
            literal(&schema)
        );
        let mut columns: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let rows = reading.rows(&sql).await;
        let rows = rows.map_err(|error| ImportError::Source(name.clone(), error))?;
        for row in rows {
            if let [Some(table), Some(column)] = row.as_slice() {
                columns
                    .entry(table.clone())
                    .or_default()
                    .insert(column.clone());
            }
        }
        let tables = Tables { schema, columns };
        if !tables.has_column(Table::Keys.mapping().name, "token") {
            return Err(ImportError::NotLiteLlm(name, tables.schema));
        }
        Ok(Self {
            reading,
            name,
            tables,
        })
    }

    pub(super) fn tables(&self) -> &Tables {
        &self.tables
    }

    /// Ends the reading of this moment.
    pub(super) async fn end(self) -> Tables {
        self.reading.end().await;
        self.tables
    }

    pub(super) async fn rows(&self, sql: &str) -> Result<Vec<TextRow>, ImportError> {
        let rows = self.reading.rows(sql).await;
        rows.map_err(|error| ImportError::Source(self.name.clone(), error))
    }

    /// The first column of the first row.
    pub(super) async fn one(&self, sql: &str) -> Result<Option<String>, ImportError> {
        let row = self.rows(sql).await?.into_iter().next();
        Ok(row.and_then(|row| row.into_iter().next().flatten()))
    }

    /// Begins to read a table.
    pub(super) async fn declare(&self, table: Table) -> Result<(), ImportError> {
        let query = self.tables.query(table);
        let sql = format!("DECLARE meridian_rows NO SCROLL CURSOR FOR {query}");
        self.rows(&sql).await.map(|_| ())
    }

    /// The next rows of that table; none at its end. A row that is no JSON that we can read has
    /// no fields.
    pub(super) async fn fetch(&self) -> Result<Vec<SourceRow>, ImportError> {
        let sql = format!("FETCH FORWARD {FETCH} FROM meridian_rows");
        let rows = self.rows(&sql).await?;
        if rows.is_empty() {
            self.rows("CLOSE meridian_rows").await?;
        }
        rows.into_iter().map(source_row).collect()
    }

    /// Which of these ids still have a row.
    pub(super) async fn existing(
        &self,
        table: Table,
        ids: &[String],
    ) -> Result<BTreeSet<String>, ImportError> {
        let mapping = table.mapping();
        let columns: Vec<String> = mapping
            .id
            .iter()
            .map(|column| format!("t.{}", identifier(column)))
            .collect();
        // As ids of members are joined.
        let id = columns.join(" || chr(31) || ");
        let asked: Vec<String> = ids.iter().map(|id| literal(id)).collect();
        let sql = format!(
            "SELECT {id} FROM {} t WHERE {id} = ANY (ARRAY[{}]::text[])",
            self.tables.place(mapping.name),
            asked.join(", ")
        );
        let rows = self.rows(&sql).await?;
        Ok(rows.into_iter().flatten().flatten().collect())
    }

    /// Tables that become no records, with what that means.
    pub(super) async fn others(&self) -> Result<Vec<NotImported>, ImportError> {
        let mut others = Vec::new();
        for table in self.tables.columns.keys() {
            if Table::named(table).is_some() {
                continue;
            }
            let meaning = match elsewhere(table) {
                Some(Elsewhere::Internal | Elsewhere::Read(_)) => continue,
                Some(Elsewhere::Missing(meaning)) => meaning,
                None => "a table that this version of Meridian does not know",
            };
            let rows = self.count(table).await?;
            if rows != Some(0) {
                others.push(NotImported {
                    table: table.clone(),
                    rows,
                    meaning: meaning.to_owned(),
                });
            }
        }
        Ok(others)
    }

    async fn count(&self, table: &str) -> Result<Option<u64>, ImportError> {
        let place = self.tables.place(table);
        let may = format!("SELECT has_table_privilege({}, 'SELECT')", literal(&place));
        if self.one(&may).await?.as_deref() != Some("t") {
            return Ok(None);
        }
        let sql = format!("SELECT count(*) FROM (SELECT 1 FROM {place} LIMIT {COUNT_MAX}) r");
        let count = self.one(&sql).await?;
        Ok(count.and_then(|count| count.parse().ok()))
    }
}

pub(super) fn source_row(row: TextRow) -> Result<SourceRow, ImportError> {
    let mut texts = row.into_iter();
    let (id, json) = (texts.next().flatten(), texts.next().flatten());
    let id = id.unwrap_or_default();
    let json = json.unwrap_or_default();
    match serde_json::from_str(&json) {
        Ok(fields) => Ok(SourceRow { id, fields }),
        Err(error) => Err(ImportError::Unexpected(format!("row {id}: {error}"))),
    }
}
