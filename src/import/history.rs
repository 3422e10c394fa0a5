//! What was spent before: days from LiteLLM's daily sums, later ones from its log.

use meridian_core::litellm::{
    DayRow, DayTable, History, HistoryPlan, HistoryReport, LOG_COLUMNS, LOG_METADATA, LOG_TABLE,
    Log, LogChoice, LogsReport, Report, day_of, day_row, log_record,
};
use meridian_core::spend::SpendRecord;
use meridian_core::time::WallMs;

use super::records::Importer;
use super::source::{Tables, identifier, literal, source_row};
use super::{ImportError, Options};
use crate::clock;
use crate::store::{Outside, Store, StoreError, TextRow};

const DAY_MS: i64 = 24 * 3_600_000;
/// Rows of the log in one step.
const LOG_ROWS: usize = 1_000;
/// Columns of daily sums that rows are grouped by.
const GROUPS: [&str; 6] = [
    "date",
    "api_key",
    "model",
    "model_group",
    "custom_llm_provider",
    "endpoint",
];
/// Columns that are summed.
const SUMS: [&str; 7] = [
    "spend",
    "prompt_tokens",
    "completion_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "api_requests",
    "failed_requests",
];

fn day_text(day: i64) -> String {
    WallMs(day.saturating_mul(DAY_MS)).day()
}

impl Importer<'_> {
    /// Adds the days that have to come from daily sums; gives what the log has to add.
    pub(super) async fn take_days(&mut self) -> Result<HistoryPlan, ImportError> {
        let before = self.store.import_history(&self.options.name).await?;
        let first_log = self.first_log().await?;
        let first_day = self.first_day().await?;
        let plan = before.plan(self.options.logs, self.now, first_log, first_day);
        let border = History {
            logs_from: plan.next.logs_from,
            ..before
        };
        if border != before {
            // Before anything is counted: whatever happens, this border stays.
            self.note_history(Vec::new(), border).await?;
        }
        let Some((from, to)) = plan.days else {
            return Ok(plan);
        };
        let mut report = HistoryReport {
            from: from.map(day_text).unwrap_or_default(),
            to: day_text(to),
            ..HistoryReport::default()
        };
        for day in self.days(from, to).await? {
            let rows = self.day(&day, &mut report).await?;
            let done = WallMs::parse_iso(&day).map(|at| day_of(at) + 1);
            let next = History {
                until: done.or(border.until),
                ..border
            };
            self.note_history(rows, next).await?;
        }
        let next = History {
            until: plan.next.until,
            ..border
        };
        self.note_history(Vec::new(), next).await?;
        self.report.history = Some(report);
        Ok(plan)
    }

    async fn note_history(&self, rows: Vec<DayRow>, next: History) -> Result<(), StoreError> {
        if self.options.dry_run {
            return Ok(());
        }
        self.store.add_history(&self.options.name, rows, next).await
    }

    async fn first_log(&self) -> Result<Option<WallMs>, ImportError> {
        let tables = self.source.tables();
        if !tables.has_column(LOG_TABLE, "startTime") || self.options.logs == LogChoice::None {
            return Ok(None);
        }
        let place = tables.place(LOG_TABLE);
        let sql = format!("SELECT to_json(min(\"startTime\"))#>>'{{}}' FROM {place}");
        let first = self.source.one(&sql).await?;
        Ok(first.as_deref().and_then(WallMs::parse_iso))
    }

    async fn first_day(&self) -> Result<Option<i64>, ImportError> {
        let table = DayTable::User.name();
        if !self.source.tables().has_column(table, "date") {
            return Ok(None);
        }
        let place = self.source.tables().place(table);
        let first = self
            .source
            .one(&format!("SELECT min(date) FROM {place}"))
            .await?;
        Ok(first.as_deref().and_then(WallMs::parse_iso).map(day_of))
    }

    /// Days with rows, in order.
    async fn days(&self, from: Option<i64>, to: i64) -> Result<Vec<String>, ImportError> {
        let tables = self.source.tables();
        let from = from.map(day_text).unwrap_or_default();
        let (from, to) = (literal(&from), literal(&day_text(to)));
        let there = DayTable::ALL.into_iter();
        let selects: Vec<String> = there
            .filter(|table| tables.has_column(table.name(), "date"))
            .map(|table| {
                let place = tables.place(table.name());
                format!("SELECT date FROM {place} WHERE date >= {from} AND date < {to}")
            })
            .collect();
        if selects.is_empty() {
            return Ok(Vec::new());
        }
        let sql = format!("{} ORDER BY 1", selects.join(" UNION "));
        let rows = self.source.rows(&sql).await?;
        Ok(rows.into_iter().flatten().flatten().collect())
    }

    /// All sums of a day.
    async fn day(
        &mut self,
        day: &str,
        report: &mut HistoryReport,
    ) -> Result<Vec<DayRow>, ImportError> {
        let mut taken = Vec::new();
        report.days += 1;
        for table in DayTable::ALL {
            if !self.source.tables().has_column(table.name(), "date") {
                continue;
            }
            let sql = day_query(self.source.tables(), table, day);
            for row in self.source.rows(&sql).await? {
                let row = source_row(row)?;
                report.rows += 1;
                match day_row(table, &row.id, row.fields) {
                    Ok(row) => {
                        if table == DayTable::User {
                            report.spend += row.spend.dollars();
                        }
                        taken.push(row);
                    }
                    Err(refused) => self.skip(refused),
                }
            }
        }
        Ok(taken)
    }
}

/// Sums of a day with team and organization of their keys.
fn day_query(tables: &Tables, table: DayTable, day: &str) -> String {
    let name = table.name();
    let there = |column: &&str| tables.has_column(name, column);
    let entity = table.entity();
    let mut groups: Vec<String> = std::iter::once(entity)
        .chain(GROUPS)
        .filter(there)
        .map(|column| format!("d.{}", identifier(column)))
        .collect();
    let mut joins = String::new();
    if table == DayTable::User {
        let keys = tables.place("LiteLLM_VerificationToken");
        joins = format!(" LEFT JOIN {keys} k ON k.token = d.api_key");
        let mut teams = vec!["k.team_id"];
        let mut organizations = vec!["k.organization_id"];
        let deleted = "LiteLLM_DeletedVerificationToken";
        if tables.has_column(deleted, "organization_id") {
            joins.push_str(&format!(
                " LEFT JOIN (SELECT DISTINCT ON (token) token, team_id, organization_id \
                 FROM {} ORDER BY token, deleted_at DESC) x ON x.token = d.api_key",
                tables.place(deleted)
            ));
            teams.push("x.team_id");
            organizations.push("x.organization_id");
        }
        let team = format!("COALESCE({})", teams.join(", "));
        joins.push_str(&format!(
            " LEFT JOIN {} g ON g.team_id = {team}",
            tables.place("LiteLLM_TeamTable")
        ));
        organizations.push("g.organization_id");
        let organization = format!("COALESCE({})", organizations.join(", "));
        groups.push(format!("{team} AS meridian_team_id"));
        groups.push(format!("{organization} AS meridian_organization_id"));
    }
    let sums: Vec<String> = SUMS
        .into_iter()
        .filter(there)
        .map(|column| format!("sum(d.{column}) AS {column}"))
        .collect();
    let numbers: Vec<String> = (1..=groups.len())
        .map(|number| number.to_string())
        .collect();
    format!(
        "SELECT concat_ws('/', r.date, r.{entity}, r.api_key), row_to_json(r)::text FROM \
         (SELECT {}, {} FROM {} d{joins} WHERE d.date = {} GROUP BY {}) r",
        groups.join(", "),
        sums.join(", "),
        tables.place(name),
        literal(day),
        numbers.join(", ")
    )
}

/// Takes the log from where it was left.
pub(super) async fn take_logs(
    options: &Options,
    store: &Store,
    outside: &Outside,
    tables: &Tables,
    plan: HistoryPlan,
    report: &mut Report,
) -> Result<(), ImportError> {
    let Some(since) = plan.logs_since else {
        return Ok(());
    };
    if !tables.has_column(LOG_TABLE, "startTime") {
        return Ok(());
    }
    let mut done = LogsReport {
        from: since.day(),
        ..LogsReport::default()
    };
    let until = clock::now();
    let mut behind: Option<(String, String)> = None;
    loop {
        let sql = log_query(tables, since, until, behind.as_ref());
        let rows = read_page(options, outside, &sql).await?;
        let full = rows.len() == LOG_ROWS;
        behind = rows.last().and_then(|row| match row.as_slice() {
            [Some(id), _, Some(started)] => Some((started.clone(), id.clone())),
            _ => None,
        });
        let records = read_logs(rows, report, &mut done)?;
        if !options.dry_run {
            done.added += store.add_logs(records).await? as u64;
        }
        if !full || behind.is_none() {
            break;
        }
    }
    if !options.dry_run {
        store
            .add_history(&options.name, Vec::new(), plan.next)
            .await?;
    }
    report.logs = Some(done);
    Ok(())
}

/// One page in a transaction of its own: the source is not held for as long as all of them take.
async fn read_page(
    options: &Options,
    outside: &Outside,
    sql: &str,
) -> Result<Vec<TextRow>, ImportError> {
    let of_source = |error| ImportError::Source(options.from.primary.to_string(), error);
    let reading = outside.read().await.map_err(of_source)?;
    let rows = reading.rows(sql).await.map_err(of_source)?;
    reading.end().await;
    Ok(rows)
}

fn read_logs(
    rows: Vec<TextRow>,
    report: &mut Report,
    done: &mut LogsReport,
) -> Result<Vec<SpendRecord>, ImportError> {
    let mut records = Vec::with_capacity(rows.len());
    for row in rows {
        let row = source_row(row)?;
        done.read += 1;
        match log_record(&row.id, row.fields) {
            Ok(Log::Record(record)) => records.push(*record),
            Ok(Log::Foreign(call, cost)) => {
                let foreign = done.foreign.entry(call).or_default();
                foreign.0 += 1;
                foreign.1 += cost.dollars();
            }
            Err(refused) => report.skip(refused),
        }
    }
    Ok(records)
}

/// A page of the log in the order of its index. Prompts and answers are not read.
fn log_query(
    tables: &Tables,
    since: WallMs,
    until: WallMs,
    behind: Option<&(String, String)>,
) -> String {
    let there = |column: &&str| tables.has_column(LOG_TABLE, column);
    let mut columns: Vec<String> = LOG_COLUMNS
        .into_iter()
        .filter(there)
        .map(|column| format!("t.{}", identifier(column)))
        .collect();
    if tables.has_column(LOG_TABLE, "metadata") {
        let fields: Vec<String> = LOG_METADATA
            .iter()
            .map(|name| format!("'{name}', t.metadata->'{name}'"))
            .collect();
        columns.push(format!(
            "CASE WHEN jsonb_typeof(t.metadata) = 'object' THEN jsonb_build_object({}) END \
             AS metadata",
            fields.join(", ")
        ));
    }
    let moment = |at: WallMs| format!("{}::timestamp", literal(at.to_iso().trim_end_matches('Z')));
    let mut condition = format!(
        "t.\"startTime\" >= {} AND t.\"startTime\" <= {}",
        moment(since),
        moment(until)
    );
    if let Some((started, id)) = behind {
        condition.push_str(&format!(
            " AND (t.\"startTime\", t.request_id) > ({}::timestamp, {})",
            literal(started),
            literal(id)
        ));
    }
    format!(
        "SELECT r.request_id, row_to_json(r)::text, r.\"startTime\"::text FROM (SELECT {} FROM \
         {} t WHERE {condition} ORDER BY t.\"startTime\", t.request_id LIMIT {LOG_ROWS}) r \
         ORDER BY r.\"startTime\", r.request_id",
        columns.join(", "),
        tables.place(LOG_TABLE)
    )
}
