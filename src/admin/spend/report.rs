//! `/global/spend/report`: what finance asks for.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use meridian_core::ids::KeyHash;
use serde_json::{Value, json};

use super::super::access::ViewerAccess;
use super::super::query::Query;
use super::super::reply::AdminError;
use super::super::state::AdminState;
use super::global::team_name;
use super::row::MASTER_KEY_ALIAS;
use super::{days, read, required_range};
use crate::store::{CellQuery, GroupBy, SpendCell, SpendTotals, TimeRange};

type Answer = Result<Json<Value>, AdminError>;

/// GET /global/spend/report
pub(in crate::admin) async fn report(
    _: ViewerAccess,
    State(state): State<AdminState>,
    query: Query,
) -> Answer {
    let range = required_range(&query)?;
    state.flush_spend().await;
    let key = query
        .text("api_key")
        .map(|key| KeyHash::from_key_or_hex(&key));
    if let Some(user) = query.text("internal_user_id") {
        return by_key(&state, range, Some((GroupBy::User, user))).await;
    }
    match (key, query.text("group_by").as_deref()) {
        (None, None | Some("team")) => by_team(&state, range, query.text("team_id")).await,
        (None, Some("customer")) => by_customer(&state, range, query.text("customer_id")).await,
        (None, Some("api_key")) => by_key(&state, range, None).await,
        (Some(key), _) => by_key(&state, range, Some((GroupBy::Key, key.to_string()))).await,
        (None, Some(_)) => {
            let text = "group_by must be one of: team, customer, api_key";
            Err(AdminError::detail(StatusCode::BAD_REQUEST, text))
        }
    }
}

/// One question to the store, however many days, teams and keys the answer has: it is answered
/// within the time of one, or refused.
async fn cells(
    state: &AdminState,
    range: TimeRange,
    by: &[GroupBy],
    only: Option<(GroupBy, String)>,
) -> Result<Vec<SpendCell>, AdminError> {
    // Said as such, before the store is asked.
    days(range)?;
    let only = only.map(|(group, wanted)| (group, vec![wanted]));
    let asked = CellQuery {
        by: by.to_vec(),
        range: Some(range),
        only: only.into_iter().collect(),
        ..CellQuery::default()
    };
    read(state.store().spend_cells(asked).await)
}

/// Cells that share a group, the dearest first.
#[derive(Default)]
struct Part<'a> {
    total: SpendTotals,
    cells: Vec<&'a SpendCell>,
}

impl<'a> Part<'a> {
    fn add(&mut self, cell: &'a SpendCell) {
        let (sum, one) = (&mut self.total, &cell.totals);
        sum.spend = sum.spend.saturating_add(one.spend);
        sum.prompt = sum.prompt.saturating_add(one.prompt);
        sum.completion = sum.completion.saturating_add(one.completion);
        self.cells.push(cell);
    }

    /// Parts by the group at a place, the dearest first, and the cells of each too.
    fn by(cells: impl Iterator<Item = &'a SpendCell>, place: usize) -> Vec<(&'a str, Self)> {
        let mut parts: BTreeMap<&str, Self> = BTreeMap::new();
        for cell in cells {
            let group = cell.groups.get(place).map_or("", String::as_str);
            parts.entry(group).or_default().add(cell);
        }
        let mut parts: Vec<(&str, Self)> = parts.into_iter().collect();
        parts.sort_by_key(|(_, part)| Reverse(part.total.spend));
        for (_, part) in &mut parts {
            part.cells.sort_by_key(|cell| Reverse(cell.totals.spend));
        }
        parts
    }
}

/// Days in their order.
fn by_day(cells: &[SpendCell]) -> BTreeMap<&str, Vec<&SpendCell>> {
    let mut days: BTreeMap<&str, Vec<&SpendCell>> = BTreeMap::new();
    for cell in cells {
        let day = cell.groups.first().map_or("", String::as_str);
        days.entry(day).or_default().push(cell);
    }
    days
}

async fn by_team(state: &AdminState, range: TimeRange, only: Option<String>) -> Answer {
    let by = [GroupBy::Day, GroupBy::Team, GroupBy::ModelGroup];
    let only = only.map(|team| (GroupBy::Team, team));
    let cells = cells(state, range, &by, only).await?;
    let days = by_day(&cells).into_iter().map(|(day, cells)| {
        let teams = Part::by(cells.into_iter(), 1);
        let teams = teams.iter().map(|(team, part)| {
            json!({
                "team_name": team_name(team),
                "total_spend": part.total.spend.dollars(),
                "metadata": part.cells.iter().map(|cell| model_of_team(cell)).collect::<Vec<_>>(),
            })
        });
        json!({"group_by_day": day, "teams": teams.collect::<Vec<_>>()})
    });
    Ok(Json(days.collect()))
}

fn model_of_team(cell: &SpendCell) -> Value {
    let sums = &cell.totals;
    json!({
        "model": cell.groups.last(), "spend": sums.spend.dollars(),
        "total_tokens": sums.prompt.saturating_add(sums.completion),
    })
}

async fn by_customer(state: &AdminState, range: TimeRange, only: Option<String>) -> Answer {
    let by = [GroupBy::Day, GroupBy::EndUser];
    let only = only.map(|customer| (GroupBy::EndUser, customer));
    let cells = cells(state, range, &by, only).await?;
    let mut out = Vec::new();
    for (day, cells) in by_day(&cells) {
        let customers = Part::by(cells.into_iter(), 1);
        let named = customers
            .iter()
            .filter(|(customer, _)| !customer.is_empty());
        let customer = |(customer, part): &(&str, Part<'_>)| {
            let spend = part.total.spend.dollars();
            let tokens = part.total.prompt.saturating_add(part.total.completion);
            json!({
                "customer": customer, "total_spend": spend,
                "metadata": [{"spend": spend, "total_tokens": tokens}],
            })
        };
        let customers: Vec<Value> = named.map(customer).collect();
        if !customers.is_empty() {
            out.push(json!({"group_by_day": day, "customers": customers}));
        }
    }
    Ok(Json(Value::Array(out)))
}

async fn by_key(state: &AdminState, range: TimeRange, only: Option<(GroupBy, String)>) -> Answer {
    let by = [GroupBy::Key, GroupBy::ModelGroup];
    let cells = cells(state, range, &by, only).await?;
    let keys = Part::by(cells.iter(), 0);
    let keys = keys.iter().map(|(key, part)| {
        let shown = if key.is_empty() {
            MASTER_KEY_ALIAS
        } else {
            key
        };
        json!({
            "api_key": shown,
            "total_cost": part.total.spend.dollars(),
            "total_input_tokens": part.total.prompt,
            "total_output_tokens": part.total.completion,
            "model_details": part.cells.iter().map(|cell| model_of_key(cell)).collect::<Vec<_>>(),
        })
    });
    Ok(Json(keys.collect()))
}

fn model_of_key(cell: &SpendCell) -> Value {
    json!({
        "model": cell.groups.last(),
        "total_cost": cell.totals.spend.dollars(),
        "total_input_tokens": cell.totals.prompt,
        "total_output_tokens": cell.totals.completion,
    })
}
