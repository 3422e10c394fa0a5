//! `/global/activity/exceptions*` and `/cache_hits`: refused requests and answers from the cache.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use meridian_core::ids::KeyHash;
use meridian_core::spend::SpendRecord;
use serde_json::{Value, json};

use super::super::access::ViewerAccess;
use super::super::query::Query;
use super::super::reply::AdminError;
use super::super::state::AdminState;
use super::activity::short_date;
use super::row::MASTER_KEY_ALIAS;
use super::{days, read, required_range};
use crate::clock;
use crate::store::{PAGE_SIZE_MAX, SpendPageAt, SpendQuery, TimeRange};

/// Most questions to the store for one report: days times deployments.
const QUESTIONS_MAX: usize = 400;
/// Most rows of the log that one report reads.
const LOG_ROWS_MAX: usize = 20_000;
/// What LiteLLM counts as an exception here.
const RATE_LIMITED: u16 = 429;

type Answer = Result<Json<Value>, AdminError>;

/// GET /global/activity/exceptions: requests for a model that ended with 429, per day.
pub(in crate::admin) async fn exceptions(
    _: ViewerAccess,
    State(state): State<AdminState>,
    query: Query,
) -> Answer {
    let range = required_range(&query)?;
    let model = model_group(&query)?;
    let days = days(range)?;
    check(days.len())?;
    state.flush_spend().await;
    let asked = SpendQuery {
        model: Some(model),
        ..SpendQuery::default()
    };
    daily(&state, &days, &asked).await.map(Json)
}

/// GET /global/activity/exceptions/deployment: the same for each deployment of the model.
pub(in crate::admin) async fn by_deployment(
    _: ViewerAccess,
    State(state): State<AdminState>,
    query: Query,
) -> Answer {
    let range = required_range(&query)?;
    let model = model_group(&query)?;
    let days = days(range)?;
    let rules = state.routes().rules;
    let group = rules.group(rules.alias(&model));
    let targets = group.map(|group| group.targets().to_vec());
    let targets = targets.unwrap_or_default();
    check(days.len() * targets.len().max(1))?;
    state.flush_spend().await;
    let mut out = Vec::new();
    for target in targets {
        let asked = SpendQuery {
            deployment_id: Some(target.deployment.id.clone()),
            ..SpendQuery::default()
        };
        let mut row = daily(&state, &days, &asked).await?;
        row["api_base"] = json!(target.api_base);
        row["model_id"] = json!(target.deployment.id);
        out.push(row);
    }
    Ok(Json(Value::Array(out)))
}

fn model_group(query: &Query) -> Result<String, AdminError> {
    query.text("model_group").ok_or_else(|| {
        let text = "Please provide model_group";
        AdminError::detail(StatusCode::BAD_REQUEST, text)
    })
}

fn check(questions: usize) -> Result<(), AdminError> {
    match questions <= QUESTIONS_MAX {
        true => Ok(()),
        false => {
            let text = format!("Too many days: {QUESTIONS_MAX} days times deployments at most");
            Err(AdminError::detail(StatusCode::BAD_REQUEST, text))
        }
    }
}

/// Counts per day; days without any are left out, as in LiteLLM.
async fn daily(
    state: &AdminState,
    days: &[(String, TimeRange)],
    asked: &SpendQuery,
) -> Result<Value, AdminError> {
    let (mut daily, mut sum) = (Vec::new(), 0);
    for (day, range) in days {
        let asked = SpendQuery {
            status: Some(RATE_LIMITED),
            range: Some(*range),
            size: 1,
            ..asked.clone()
        };
        let count = read(state.store().spend_logs(asked).await)?
            .total
            .unwrap_or(0);
        if count > 0 {
            daily.push(json!({"date": short_date(day), "num_rate_limit_exceptions": count}));
        }
        sum += count;
    }
    Ok(json!({"daily_data": daily, "sum_num_rate_limit_exceptions": sum}))
}

/// GET /global/activity/cache_hits: requests and cached answers by key, endpoint and model. The
/// roll-ups do not tell them apart, so the log is read, and only so much of it.
pub(in crate::admin) async fn cache_hits(
    _: ViewerAccess,
    State(state): State<AdminState>,
    query: Query,
) -> Answer {
    let range = required_range(&query)?;
    state.flush_spend().await;
    let mut sums: BTreeMap<(Option<KeyHash>, &'static str, String), Hits> = BTreeMap::new();
    let (mut asked, mut read_rows) = (log_of(range), 0);
    loop {
        let page = read(state.store().spend_logs(asked).await)?;
        read_rows += page.rows.len();
        for record in &page.rows {
            let group = (
                record.payer.key,
                record.endpoint.label(),
                record.model.clone(),
            );
            sums.entry(group).or_default().add(record);
        }
        let Some(next) = page.next else { break };
        if read_rows >= LOG_ROWS_MAX {
            let text = format!("More than {LOG_ROWS_MAX} requests: narrow the dates");
            return Err(AdminError::detail(StatusCode::BAD_REQUEST, text));
        }
        asked = SpendQuery {
            page: SpendPageAt::After(next),
            ..log_of(range)
        };
    }
    let shown = sums.iter().map(|((key, endpoint, model), hits)| {
        json!({
            "api_key": key_name(&state, *key),
            "call_type": endpoint,
            "model": model,
            "total_rows": hits.rows,
            "cache_hit_true_rows": hits.hits,
            "cached_completion_tokens": hits.cached,
            "generated_completion_tokens": hits.generated,
        })
    });
    Ok(Json(shown.collect()))
}

/// Requests of one key, endpoint and model.
#[derive(Default)]
struct Hits {
    rows: u64,
    hits: u64,
    cached: u64,
    generated: u64,
}

impl Hits {
    fn add(&mut self, record: &SpendRecord) {
        self.rows += 1;
        let tokens = record.usage.completion;
        match record.context.cache_hit {
            Some(_) => {
                self.hits += 1;
                self.cached += tokens;
            }
            None => self.generated += tokens,
        }
    }
}

fn log_of(range: TimeRange) -> SpendQuery {
    SpendQuery {
        range: Some(range),
        size: PAGE_SIZE_MAX,
        ..SpendQuery::default()
    }
}

fn key_name(state: &AdminState, key: Option<KeyHash>) -> String {
    let Some(hash) = key else {
        return MASTER_KEY_ALIAS.to_owned();
    };
    let known = state.registry().get(&hash, clock::now());
    let alias = known.and_then(|known| known.policy.alias.as_deref().map(str::to_owned));
    alias.unwrap_or_else(|| "Unnamed Key".to_owned())
}
