//! `/tag/dau|wau|mau|summary|distinct` and `/tag/user-agent/per-user-analytics`: how many users had
//! requests with a tag, from the roll-ups. Whose a key is, this node's records say.

use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use meridian_core::ids::KeyHash;
use meridian_core::record::RecordKind;
use meridian_core::time::WallMs;
use serde_json::{Value, json};

use super::super::access::ViewerAccess;
use super::super::draft::named;
use super::super::query::{DAY_MS, Query};
use super::super::reply::AdminError;
use super::super::state::AdminState;
use super::activity::short_date;
use super::{read, totals};
use crate::clock;
use crate::store::{CellQuery, GroupBy, SpendCell, SpendTotals, TimeRange};

/// Days, weeks and months that are told apart, as in LiteLLM.
const PERIODS: i64 = 7;
const WEEK: i64 = 7;
const MONTH: i64 = 30;
/// Most tags of `/tag/distinct`.
const TAGS_MAX: usize = 250;
/// Users of a page without `page_size`, and at most.
const USERS: (u64, u64) = (50, 1_000);

type Answer = Result<Json<Value>, AdminError>;

/// GET /tag/distinct: tags by how often they were used; of those with a colon only `User-Agent:`.
pub(in crate::admin) async fn distinct(_: ViewerAccess, State(state): State<AdminState>) -> Answer {
    state.flush_spend().await;
    let mut rows = totals(&state, GroupBy::Tag, Default::default()).await?;
    rows.retain(|row| row.group.starts_with("User-Agent:") || !row.group.contains(':'));
    rows.sort_by_key(|row| std::cmp::Reverse(row.requests));
    let tags = rows.iter().take(TAGS_MAX);
    let tags: Vec<Value> = tags.map(|row| json!({"tag": row.group})).collect();
    Ok(Json(json!({"results": tags})))
}

/// GET /tag/dau: users per tag and day of the last week.
pub(in crate::admin) async fn daily(
    _: ViewerAccess,
    State(state): State<AdminState>,
    query: Query,
) -> Answer {
    state.flush_spend().await;
    let tomorrow = tomorrow(&state);
    let range = TimeRange {
        from: tomorrow.plus_ms(-PERIODS * DAY_MS),
        to: tomorrow.plus_ms(DAY_MS),
    };
    let by = vec![GroupBy::Tag, GroupBy::Key, GroupBy::Day];
    let cells = cells(&state, &query, by, range).await?;
    let mut days: BTreeMap<&str, BTreeMap<&str, BTreeSet<String>>> = BTreeMap::new();
    for cell in &cells {
        let [tag, key, day] = cell.groups.as_slice() else {
            continue;
        };
        if let Some(user) = user_of(&state, key) {
            let tags = days.entry(day).or_default();
            tags.entry(tag).or_default().insert(user);
        }
    }
    let mut results = Vec::new();
    for (day, tags) in days.iter().rev() {
        for (tag, users) in most_first(tags) {
            results.push(row(tag, users, day, None));
        }
    }
    Ok(Json(json!({"results": results})))
}

/// GET /tag/wau
pub(in crate::admin) async fn weekly(
    _: ViewerAccess,
    State(state): State<AdminState>,
    query: Query,
) -> Answer {
    periods(&state, &query, WEEK).await
}

/// GET /tag/mau: months of thirty days.
pub(in crate::admin) async fn monthly(
    _: ViewerAccess,
    State(state): State<AdminState>,
    query: Query,
) -> Answer {
    periods(&state, &query, MONTH).await
}

/// Users per tag in the last seven periods of some days, the oldest first. Each is a question of
/// its own, so that no answer has a row for every day.
async fn periods(state: &AdminState, query: &Query, days: i64) -> Answer {
    state.flush_spend().await;
    let end = tomorrow(state);
    let mut results = Vec::new();
    for back in (0..PERIODS).rev() {
        let last = end.plus_ms(-back * days * DAY_MS);
        let first = last.plus_ms(-(days - 1) * DAY_MS);
        let range = TimeRange {
            from: first,
            to: last.plus_ms(DAY_MS),
        };
        let by = vec![GroupBy::Tag, GroupBy::Key];
        let cells = cells(state, query, by, range).await?;
        let (number, day) = (PERIODS - back, short_date(&first.day()));
        let label = match days {
            WEEK => format!("Week {number} ({day})"),
            _ => {
                let month = day.split(' ').next().unwrap_or_default();
                format!("Month {number} ({month})")
            }
        };
        for (tag, users) in most_first(&users_of(state, &cells)) {
            results.push(row(tag, users, &label, Some((first, last))));
        }
    }
    Ok(Json(json!({"results": results})))
}

/// GET /tag/summary: users, requests, tokens and spend per tag.
pub(in crate::admin) async fn summary(
    _: ViewerAccess,
    State(state): State<AdminState>,
    query: Query,
) -> Answer {
    let Some((from, to)) = query.dates()? else {
        let text = "Please provide start_date and end_date";
        return Err(AdminError::detail(StatusCode::BAD_REQUEST, text));
    };
    state.flush_spend().await;
    let range = TimeRange { from, to };
    let by = vec![GroupBy::Tag, GroupBy::Key];
    let cells = cells(&state, &query, by, range).await?;
    let users = users_of(&state, &cells);
    let mut tags: BTreeMap<&str, SpendTotals> = BTreeMap::new();
    for cell in &cells {
        let tag = cell.groups.first().map_or("", String::as_str);
        add(tags.entry(tag).or_default(), &cell.totals);
    }
    let mut tags: Vec<_> = tags.into_iter().collect();
    tags.sort_by_key(|(_, sums)| std::cmp::Reverse(sums.requests));
    let shown = tags.iter().map(|(tag, sums)| {
        json!({
            "tag": tag,
            "unique_users": users.get(tag).map_or(0, BTreeSet::len),
            "total_requests": sums.requests,
            "successful_requests": sums.requests.saturating_sub(sums.failed),
            "failed_requests": sums.failed,
            "total_tokens": sums.prompt.saturating_add(sums.completion),
            "total_spend": sums.spend.dollars(),
        })
    });
    Ok(Json(json!({"results": shown.collect::<Vec<_>>()})))
}

/// GET /tag/user-agent/per-user-analytics: what each user had under these tags in thirty days.
pub(in crate::admin) async fn per_user(
    _: ViewerAccess,
    State(state): State<AdminState>,
    query: Query,
) -> Answer {
    let page = query.whole("page", 1, 1_000_000)?.unwrap_or(1);
    let size = query.whole("page_size", 1, USERS.1)?.unwrap_or(USERS.0);
    state.flush_spend().await;
    let end = tomorrow(&state).plus_ms(DAY_MS);
    let range = TimeRange {
        from: end.plus_ms(-(MONTH + 1) * DAY_MS),
        to: end,
    };
    let by = vec![GroupBy::Tag, GroupBy::Key];
    let cells = cells(&state, &query, by, range).await?;
    let mut users: BTreeMap<String, (String, SpendTotals)> = BTreeMap::new();
    for cell in &cells {
        let [tag, key] = cell.groups.as_slice() else {
            continue;
        };
        if let Some(user) = user_of(&state, key) {
            let new = || (tag.clone(), SpendTotals::default());
            add(&mut users.entry(user).or_insert_with(new).1, &cell.totals);
        }
    }
    let mut users: Vec<_> = users.into_iter().collect();
    let answered = |sums: &SpendTotals| sums.requests.saturating_sub(sums.failed);
    users.sort_by_key(|(_, (_, sums))| std::cmp::Reverse(answered(sums)));
    let total = users.len() as u64;
    let skip = usize::try_from((page - 1).saturating_mul(size)).unwrap_or(usize::MAX);
    let shown: Vec<_> = users.into_iter().skip(skip).take(size as usize).collect();
    let ids: Vec<String> = shown.iter().map(|(user, _)| user.clone()).collect();
    let emails = emails(&state, &ids).await?;
    let rows = shown.iter().map(|(user, (tag, sums))| {
        json!({
            "user_id": user,
            "user_email": emails.get(user),
            "user_agent": tag,
            "successful_requests": answered(sums),
            "failed_requests": sums.failed,
            "total_requests": sums.requests,
            "total_tokens": sums.prompt.saturating_add(sums.completion),
            "spend": sums.spend.dollars(),
        })
    });
    Ok(Json(json!({
        "results": rows.collect::<Vec<_>>(),
        "total_count": total, "page": page, "page_size": size,
        "total_pages": total.div_ceil(size),
    })))
}

/// The sums of tags that `tag_filters` (whole names) or `tag_filter` (a part of one) lets through.
async fn cells(
    state: &AdminState,
    query: &Query,
    by: Vec<GroupBy>,
    range: TimeRange,
) -> Result<Vec<SpendCell>, AdminError> {
    let whole = query.texts("tag_filters");
    let part = query.text("tag_filter").filter(|_| whole.is_empty());
    let asked = CellQuery {
        by,
        range: Some(range),
        only: vec![(GroupBy::Tag, whole)],
        ..CellQuery::default()
    };
    let mut cells = read(state.store().spend_cells(asked).await)?;
    if let Some(part) = part.map(|part| part.to_lowercase()) {
        let fits = |tag: &String| tag.to_lowercase().contains(&part);
        cells.retain(|cell| cell.groups.first().is_some_and(fits));
    }
    Ok(cells)
}

/// The user of a key, as this node knows it.
fn user_of(state: &AdminState, key: &str) -> Option<String> {
    let known = state
        .registry()
        .get(&KeyHash::from_hex(key)?, clock::now())?;
    known.user_id().map(str::to_owned)
}

/// Users of each tag of cells by tag and key.
fn users_of<'a>(state: &AdminState, cells: &'a [SpendCell]) -> BTreeMap<&'a str, BTreeSet<String>> {
    let mut tags: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for cell in cells {
        let [tag, key] = cell.groups.as_slice() else {
            continue;
        };
        if let Some(user) = user_of(state, key) {
            tags.entry(tag).or_default().insert(user);
        }
    }
    tags
}

/// Tags and how many users each has, those with most first.
fn most_first<'a>(tags: &BTreeMap<&'a str, BTreeSet<String>>) -> Vec<(&'a str, usize)> {
    let mut counts: Vec<(&str, usize)> = tags
        .iter()
        .map(|(tag, users)| (*tag, users.len()))
        .collect();
    counts.sort_by_key(|(_, users)| std::cmp::Reverse(*users));
    counts
}

fn row(tag: &str, users: usize, date: &str, period: Option<(WallMs, WallMs)>) -> Value {
    let midnight = |at: WallMs| format!("{} 00:00:00", at.day());
    json!({
        "tag": tag, "active_users": users, "date": date,
        "period_start": period.map(|(first, _)| midnight(first)),
        "period_end": period.map(|(_, last)| midnight(last)),
    })
}

fn add(sums: &mut SpendTotals, other: &SpendTotals) {
    sums.spend = sums.spend.saturating_add(other.spend);
    sums.prompt += other.prompt;
    sums.completion += other.completion;
    sums.requests += other.requests;
    sums.failed += other.failed;
}

/// The start of the next UTC day, which LiteLLM's windows end with.
fn tomorrow(state: &AdminState) -> WallMs {
    let today = state.now().0.div_euclid(DAY_MS);
    WallMs((today + 1) * DAY_MS)
}

async fn emails(
    state: &AdminState,
    users: &[String],
) -> Result<BTreeMap<String, Value>, AdminError> {
    let found = named(state, RecordKind::User, users).await?;
    let email = |stored: &crate::store::StoredRecord| {
        let email = stored.record.body.get("user_email").cloned();
        (stored.record.id.clone(), email.unwrap_or_default())
    };
    Ok(found.iter().map(email).collect())
}

/// GET /global/all_end_users
pub(in crate::admin) async fn end_users(
    _: ViewerAccess,
    State(state): State<AdminState>,
) -> Answer {
    state.flush_spend().await;
    let rows = totals(&state, GroupBy::EndUser, Default::default()).await?;
    let mut names: Vec<&str> = rows.iter().map(|row| row.group.as_str()).collect();
    names.sort_unstable();
    Ok(Json(json!({"end_users": names})))
}
