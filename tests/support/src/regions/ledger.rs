//! What the provider billed and what the ledgers of all regions say, by model.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::{DATABASE, Regions};
use crate::config::Prices;
use crate::provider::Row;

/// Sums of one model. Money in nano-dollars.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// Requests that were answered, or charged.
    pub requests: u64,
    /// What they cost.
    pub cost: u64,
    /// Of them, requests whose cost the gateway could only estimate.
    pub estimated: u64,
    /// What those cost.
    pub estimated_cost: u64,
}

/// What a provider bills for a row: all of an answer that is written at once, even when its client
/// has gone; of a stream what was sent.
pub fn billed(row: &Row, prices: Prices) -> u64 {
    let completion = match row.stream {
        true => row.sent_tokens,
        false => row.usage.completion,
    };
    match row.status {
        200..400 => row.usage.prompt * prices.input + completion * prices.output,
        _ => 0,
    }
}

/// One model at the provider and in the ledgers of all regions.
#[derive(Clone, Debug, Default)]
pub struct Accounts {
    /// What the provider billed.
    pub billed: Sum,
    /// What the ledgers hold.
    pub ledger: Sum,
    /// Answers without a row, rows of no answer, and rows whose cost is not the bill, in words.
    pub wrong: Vec<String>,
    /// Rows by estimate of requests that the provider never got: their gateway was killed after it
    /// had written down that it would ask, and cannot know whether it did.
    pub unsent: u64,
}

/// A row of a ledger.
struct Charge {
    /// Empty if no answer had begun when it was written.
    response_id: String,
    cost: u64,
    estimated: bool,
}

impl Accounts {
    /// Finds the row of every answer. A row by estimate may have no id: such rows are as many as
    /// the answers that no other row names, and cost as much, or more.
    fn of(answers: &[(u64, u64)], charges: &[Charge]) -> Self {
        let mut accounts = Self::default();
        let mut open: BTreeMap<String, u64> = BTreeMap::new();
        for (seq, cost) in answers {
            accounts.billed.requests += 1;
            accounts.billed.cost += cost;
            open.insert(format!("chatcmpl-fake{seq}"), *cost);
        }
        let mut nameless = Sum::default();
        for charge in charges {
            let Charge {
                response_id,
                cost,
                estimated,
            } = charge;
            accounts.ledger.requests += 1;
            accounts.ledger.cost += cost;
            if *estimated {
                accounts.ledger.estimated += 1;
                accounts.ledger.estimated_cost += cost;
            }
            match open.remove(response_id) {
                Some(bill) if *cost == bill || *estimated && *cost > bill => {}
                None if *estimated && response_id.is_empty() => {
                    nameless.requests += 1;
                    nameless.cost += cost;
                }
                bill => {
                    let why = format!("{response_id:?}: ${cost} nano, billed {bill:?}");
                    accounts.wrong.push(why);
                }
            }
        }
        let (requests, cost) = (open.len() as u64, open.values().sum::<u64>());
        if nameless.requests < requests || nameless.cost < cost {
            let why = format!("no rows of {open:?}, by estimate {nameless:?}");
            accounts.wrong.push(why);
        }
        accounts.unsent = nameless.requests.saturating_sub(requests);
        accounts
    }
}

impl Regions {
    /// One model's answers and rows as they are now. Stops if a Postgres does not answer.
    pub fn accounts(&self, model: &str, prices: Prices) -> Accounts {
        let rows = self.provider.rows();
        let of_model = rows.iter().filter(|row| base(&row.model) == model);
        let answers = of_model.map(|row| (row.seq, billed(row, prices)));
        let answers: Vec<(u64, u64)> = answers.filter(|(_, cost)| *cost > 0).collect();
        let ask = format!(
            "SELECT coalesce(response_id, ''), cost, estimated FROM meridian.spend_log \
             WHERE cost > 0 AND split_part(model_group, '+', 1) = '{model}'"
        );
        let mut charges = Vec::new();
        for region in &self.regions {
            for line in region.postgres.ask(DATABASE, &ask).lines() {
                let fields: Vec<&str> = line.split('|').collect();
                charges.push(Charge {
                    response_id: fields[0].to_owned(),
                    cost: fields[1].parse().expect("nano-dollars"),
                    estimated: fields[2] == "t",
                });
            }
        }
        Accounts::of(&answers, &charges)
    }

    /// Waits until every answer of a model has its row, and no row is too many, and returns the
    /// accounts. After `limit` they are as they are.
    pub async fn settled(&self, model: &str, prices: Prices, limit: Duration) -> Accounts {
        let began = Instant::now();
        loop {
            let accounts = self.accounts(model, prices);
            if accounts.wrong.is_empty() || began.elapsed() > limit {
                return accounts;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

/// A model's name without the provider's directives.
pub fn base(model: &str) -> &str {
    model.split('+').next().unwrap_or_default()
}
