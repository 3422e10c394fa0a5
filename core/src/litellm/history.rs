//! What was spent before the import: whole days from LiteLLM's daily sums, the days after them from
//! its logs. A day comes from one of the two, for good, so that no run counts it twice.

use serde_json::{Map, Value};

use super::logs::endpoint_of_path;
use super::row::{Refused, Row};
use crate::ids::KeyHash;
use crate::money::NanoUsd;
use crate::time::WallMs;

const DAY_MS: i64 = 24 * 3_600_000;
/// LiteLLM writes a day's last sums a while after its end.
const LATE_MS: i64 = 3_600_000;
/// A row is written when its request has ended: one that started so long ago has.
const REQUEST_MAX_MS: i64 = 2 * DAY_MS;

/// A table with sums of days.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DayTable {
    /// Every request once.
    User,
    /// Every request once per tag.
    Tag,
    /// Requests for a customer.
    EndUser,
}

impl DayTable {
    /// The tables that are read.
    pub const ALL: [Self; 3] = [Self::User, Self::Tag, Self::EndUser];

    /// The table's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::User => "LiteLLM_DailyUserSpend",
            Self::Tag => "LiteLLM_DailyTagSpend",
            Self::EndUser => "LiteLLM_DailyEndUserSpend",
        }
    }

    /// The column with what it counts for.
    pub fn entity(self) -> &'static str {
        match self {
            Self::User => "user_id",
            Self::Tag => "tag",
            Self::EndUser => "end_user_id",
        }
    }
}

/// How many days of the log are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogChoice {
    /// None: only sums of days that have ended.
    None,
    /// This day and those before it, so many in all.
    Days(u32),
    /// All that there is.
    All,
}

impl LogChoice {
    /// Reads `none`, `all` or a number of days.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "none" => Some(Self::None),
            "all" => Some(Self::All),
            days => days.parse().ok().filter(|days| *days > 0).map(Self::Days),
        }
    }
}

/// What earlier runs took. Days are counted from 1970, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// Days before this one were taken from daily sums, or never will be.
    pub until: Option<i64>,
    /// From this day on the log is taken.
    pub logs_from: Option<i64>,
    /// When it was last read to its end.
    pub logs_read: Option<WallMs>,
}

/// What a run takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryPlan {
    /// Days to be taken from daily sums: from (inclusive, `None` is the first) and to (exclusive).
    pub days: Option<(Option<i64>, i64)>,
    /// Moment from which the log is read: rows that started earlier are there already.
    pub logs_since: Option<WallMs>,
    /// What the next run has to know.
    pub next: History,
}

/// The UTC day of a moment, counted from 1970.
pub fn day_of(at: WallMs) -> i64 {
    at.0.div_euclid(DAY_MS)
}

impl History {
    /// What a run at `now` takes. `first_log` and `first_day` are where the source's log and its
    /// daily sums begin: a log that begins later was cut, and its first day may not be whole.
    pub fn plan(
        self,
        choice: LogChoice,
        now: WallMs,
        first_log: Option<WallMs>,
        first_day: Option<i64>,
    ) -> HistoryPlan {
        let whole_from = first_log.map(day_of).map(|day| {
            let cut = first_day.is_some_and(|first| first < day);
            day + i64::from(cut)
        });
        let today = day_of(now);
        // An empty log is none: its days come as sums.
        let asked = match choice {
            LogChoice::None => None,
            LogChoice::All => whole_from,
            LogChoice::Days(days) => whole_from.map(|whole| whole.max(today + 1 - i64::from(days))),
        };
        let asked = asked.map(|from| self.until.map_or(from, |until| from.max(until)));
        let logs_from = self.logs_from.or(asked);
        let ended = day_of(now.plus_ms(-LATE_MS));
        let to = logs_from.unwrap_or(ended);
        let days = self.until.is_none_or(|until| until < to);
        let days = days.then_some((self.until, to));
        let reads = choice != LogChoice::None;
        let since = logs_from.map(|from| {
            let again = self.logs_read.map(|read| read.plus_ms(-REQUEST_MAX_MS));
            again
                .unwrap_or(WallMs(0))
                .max(WallMs(from.saturating_mul(DAY_MS)))
        });
        HistoryPlan {
            days,
            logs_since: since.filter(|_| reads),
            next: History {
                until: Some(self.until.map_or(to, |until| until.max(to))),
                logs_from,
                logs_read: if reads { Some(now) } else { self.logs_read },
            },
        }
    }
}

/// Sums of one day, in the words of the roll-ups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DayRow {
    /// The table it comes from.
    pub table: DayTable,
    /// Day, counted from 1970.
    pub day: i64,
    /// Tag or customer; empty for sums of users.
    pub entity: String,
    /// The key; `None` for the master key.
    pub key: Option<KeyHash>,
    /// User, only of the sums of users.
    pub user_id: String,
    /// Team of the key.
    pub team_id: String,
    /// Organization of the key.
    pub organization_id: String,
    /// Name that clients asked for.
    pub model_group: String,
    /// The provider's model.
    pub model: String,
    /// The provider.
    pub provider: String,
    /// Metric label of the endpoint; LiteLLM's path where it has none.
    pub endpoint: String,
    /// Cost.
    pub spend: NanoUsd,
    /// Input tokens.
    pub prompt: u64,
    /// Output tokens.
    pub completion: u64,
    /// Input tokens from a cache.
    pub cache_read: u64,
    /// Input tokens written to a cache.
    pub cache_write: u64,
    /// Requests.
    pub requests: u64,
    /// Requests that failed.
    pub failed: u64,
}

/// Reads a row of daily sums; the query adds team and organization of its key.
///
/// # Errors
/// When a column holds what cannot be counted.
pub fn day_row(table: DayTable, id: &str, fields: Map<String, Value>) -> Result<DayRow, Refused> {
    let mut row = Row::new(table.name(), id, fields);
    let text = |row: &mut Row, column: &str| row.text(column).map(Option::unwrap_or_default);
    let count = |row: &mut Row, column: &str| row.count(column).map(Option::unwrap_or_default);
    let date = row.required("date")?;
    let Some(midnight) = WallMs::parse_iso(&date) else {
        return Err(row.refuse("date", "expected YYYY-MM-DD"));
    };
    let entity = text(&mut row, table.entity())?;
    let (entity, user_id) = match table {
        DayTable::User => (String::new(), entity),
        DayTable::Tag | DayTable::EndUser => (entity, String::new()),
    };
    let path = text(&mut row, "endpoint")?;
    Ok(DayRow {
        table,
        day: day_of(midnight),
        entity,
        key: row.text("api_key")?.as_deref().and_then(KeyHash::from_hex),
        user_id,
        team_id: text(&mut row, "meridian_team_id")?,
        organization_id: text(&mut row, "meridian_organization_id")?,
        model_group: text(&mut row, "model_group")?,
        model: text(&mut row, "model")?,
        provider: text(&mut row, "custom_llm_provider")?,
        endpoint: match endpoint_of_path(&path) {
            Some(endpoint) => endpoint.label().to_owned(),
            None => path,
        },
        spend: row.spent("spend")?,
        prompt: count(&mut row, "prompt_tokens")?,
        completion: count(&mut row, "completion_tokens")?,
        cache_read: count(&mut row, "cache_read_input_tokens")?,
        cache_write: count(&mut row, "cache_creation_input_tokens")?,
        requests: count(&mut row, "api_requests")?,
        failed: count(&mut row, "failed_requests")?,
    })
}
