//! Questions to the store and its answers.

use meridian_core::auth::KeyPolicy;
use meridian_core::ids::KeyHash;
use meridian_core::key::KeyRecord;
use meridian_core::money::NanoUsd;
use meridian_core::spend::SpendRecord;
use meridian_core::time::WallMs;

/// Most rows of one page of keys or logs.
pub const PAGE_SIZE_MAX: u32 = 1_000;
/// Most rows of a page of logs with what was asked and answered.
pub const TEXT_ROWS_MAX: u32 = 100;
/// Most rows of a report.
pub const REPORT_ROWS_MAX: u32 = 50_000;
/// Rows of a page of logs when the caller does not say.
const LOG_ROWS: u32 = 50;
/// Rows that a numbered page may skip, and where counting stops: go on with a cursor from there.
pub const SKIP_ROWS_MAX: u64 = 100_000;

/// Which keys to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyQuery {
    /// From 1; 0 is taken as 1.
    pub page: u32,
    /// Keys per page, at most `PAGE_SIZE_MAX`; 0 is taken as 10.
    pub size: u32,
    /// Only this user's.
    pub user_id: Option<String>,
    /// Only this team's.
    pub team_id: Option<String>,
    /// Only this organization's.
    pub organization_id: Option<String>,
    /// Only this one.
    pub key_hash: Option<KeyHash>,
    /// Only this alias.
    pub key_alias: Option<String>,
    /// Order.
    pub sort_by: KeySort,
    /// Largest or latest first.
    pub descending: bool,
    /// Keys that were deleted instead of those that work.
    pub deleted: bool,
}

/// Order of a list of keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeySort {
    /// By creation.
    #[default]
    CreatedAt,
    /// By last change.
    UpdatedAt,
    /// By alias.
    Alias,
    /// By spend of the running period.
    Spend,
    /// By budget.
    MaxBudget,
    /// By expiry.
    Expires,
    /// By user.
    UserId,
}

/// One page of keys.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KeyPage {
    /// The keys.
    pub keys: Vec<KeyRecord>,
    /// How many there are on all pages.
    pub total: u64,
}

/// A token that a rotation replaced and that works until `revoke_at`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeprecatedKey {
    /// The old token.
    pub token: KeyHash,
    /// The key it stands for.
    pub active: KeyHash,
    /// When it stops working.
    pub revoke_at: WallMs,
}

/// From (inclusive) to (exclusive).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeRange {
    /// First moment.
    pub from: WallMs,
    /// First moment after it.
    pub to: WallMs,
}

/// Which spend log rows to read. Absent filters let everything pass.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SpendQuery {
    /// Requests of this key.
    pub api_key: Option<KeyHash>,
    /// Requests of keys with this alias.
    pub key_alias: Option<String>,
    /// Requests of this user.
    pub user_id: Option<String>,
    /// Requests of this team.
    pub team_id: Option<String>,
    /// Requests of this organization.
    pub organization_id: Option<String>,
    /// Requests for this customer.
    pub end_user: Option<String>,
    /// The request with this response id or call id.
    pub request_id: Option<String>,
    /// Requests of this session.
    pub session_id: Option<String>,
    /// Requests for this model group or provider model.
    pub model: Option<String>,
    /// Requests that this deployment answered.
    pub deployment_id: Option<String>,
    /// Requests that failed (`true`) or did not.
    pub failed: Option<bool>,
    /// Requests with this HTTP status.
    pub status: Option<u16>,
    /// Requests that cost at least this.
    pub spend_min: Option<NanoUsd>,
    /// Requests that cost at most this.
    pub spend_max: Option<NanoUsd>,
    /// Requests that started in here.
    pub range: Option<TimeRange>,
    /// Reads what was asked and answered too; such pages have `TEXT_ROWS_MAX` rows at most.
    pub with_texts: bool,
    /// Order.
    pub sort_by: SpendSort,
    /// Oldest or smallest first; the default is latest first.
    pub ascending: bool,
    /// Rows per page, at most `PAGE_SIZE_MAX`; 0 is taken as 50.
    pub size: u32,
    /// Which page.
    pub page: SpendPageAt,
}

impl SpendQuery {
    /// Rows of a page.
    pub(super) fn rows_max(&self) -> u32 {
        let most = match self.with_texts {
            true => TEXT_ROWS_MAX,
            false => PAGE_SIZE_MAX,
        };
        match self.size {
            0 => LOG_ROWS.min(most),
            size => size.min(most),
        }
    }
}

/// Order of spend log rows. Only the order by start is backed by an index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SpendSort {
    /// By start.
    #[default]
    Started,
    /// By end.
    Ended,
    /// By cost.
    Spend,
    /// By tokens.
    TotalTokens,
}

/// How a page of spend logs is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpendPageAt {
    /// By number from 1, with a count of all rows (up to `SKIP_ROWS_MAX`).
    Number(u32),
    /// Behind a row of the last page; only in the order by start. Reaches any depth.
    After(SpendCursor),
}

impl Default for SpendPageAt {
    fn default() -> Self {
        Self::Number(1)
    }
}

/// A row of the log in the order by start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpendCursor {
    /// Its start.
    pub started: WallMs,
    /// Its number among those with the same start.
    pub id: u128,
}

/// One page of spend logs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SpendPage {
    /// The rows.
    pub rows: Vec<SpendRecord>,
    /// Where the next page goes on, if this one is full and ordered by start.
    pub next: Option<SpendCursor>,
    /// Rows on all pages, for numbered pages; `SKIP_ROWS_MAX` means "so many or more".
    pub total: Option<u64>,
}

/// What a report groups by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupBy {
    /// UTC day, in ascending order; everything else is ordered by spend.
    Day,
    /// Key (hex digest, empty for the master key).
    Key,
    /// User.
    User,
    /// Team.
    Team,
    /// Organization.
    Organization,
    /// Name that clients asked for.
    ModelGroup,
    /// The provider's model.
    Model,
    /// Provider.
    Provider,
    /// Deployment.
    Deployment,
    /// Endpoint.
    Endpoint,
    /// The caller's customers.
    EndUser,
    /// Tags; a request with two tags counts for both.
    Tag,
}

/// What a report covers. Absent filters let everything pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReportQuery {
    /// UTC days that this range touches.
    pub range: Option<TimeRange>,
    /// One key.
    pub api_key: Option<KeyHash>,
    /// One user. Not for reports by end user or tag.
    pub user_id: Option<String>,
    /// One team. Not for reports by end user or tag.
    pub team_id: Option<String>,
    /// Most rows, at most `REPORT_ROWS_MAX`; 0 is taken as that.
    pub limit: u32,
}

/// Sums of a group of requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpendTotals {
    /// The group.
    pub group: String,
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

/// One day of `/spend/logs` with `summarize`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DaySpend {
    /// `YYYY-MM-DD`, UTC.
    pub day: String,
    /// Cost of the day.
    pub spend: NanoUsd,
    /// Cost per user.
    pub users: Vec<(String, NanoUsd)>,
    /// Cost per provider model.
    pub models: Vec<(String, NanoUsd)>,
}

/// Who made something that lies at a provider, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Key that made it; `None` for the master key.
    pub key: Option<KeyHash>,
    /// Whose what that key made is, where it is not the key itself.
    pub lineage: Option<KeyHash>,
    /// Name that the client asked for; empty if it named none.
    pub model_group: String,
    /// Deployment that holds it.
    pub deployment_id: String,
    /// The batch that wrote it, of a batch's output.
    pub batch: Option<String>,
}

impl Owner {
    /// Whether it is the key's own: also one that a rotation replaced made what is the key's.
    pub fn is(&self, key: &KeyPolicy) -> bool {
        self.lineage.or(self.key) == Some(key.identity())
    }
}
