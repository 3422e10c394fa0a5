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

impl Regions {
    /// What the provider billed for models whose names begin so, up to the first `+`.
    pub fn billed(&self, prices: Prices) -> BTreeMap<String, Sum> {
        let mut sums = BTreeMap::<String, Sum>::new();
        for row in self.provider.rows() {
            let sum = sums.entry(base(&row.model).to_owned()).or_default();
            sum.requests += 1;
            sum.cost += billed(&row, prices);
        }
        sums
    }

    /// What the regions' ledgers hold, in the same form. Stops if a Postgres does not answer.
    pub fn ledger(&self) -> BTreeMap<String, Sum> {
        const ROWS: &str = "SELECT model_group, count(*), sum(cost)::bigint, \
            count(*) FILTER (WHERE estimated), \
            coalesce(sum(cost) FILTER (WHERE estimated), 0)::bigint \
            FROM meridian.spend_log WHERE cost > 0 GROUP BY 1";
        let mut sums = BTreeMap::<String, Sum>::new();
        for region in &self.regions {
            for line in region.postgres.ask(DATABASE, ROWS).lines() {
                let fields: Vec<&str> = line.split('|').collect();
                let number = |at: usize| fields[at].parse::<u64>().expect("a number");
                let sum = sums.entry(base(fields[0]).to_owned()).or_default();
                sum.requests += number(1);
                sum.cost += number(2);
                sum.estimated += number(3);
                sum.estimated_cost += number(4);
            }
        }
        sums
    }

    /// Waits until the ledgers hold as many requests of a model as the provider served, and
    /// returns both sums: the provider's, then the ledgers'. After `limit` they are as they are.
    pub async fn settled(&self, model: &str, prices: Prices, limit: Duration) -> (Sum, Sum) {
        let began = Instant::now();
        loop {
            let of = |sums: BTreeMap<String, Sum>| sums.get(model).copied().unwrap_or_default();
            let (billed, ledger) = (of(self.billed(prices)), of(self.ledger()));
            let equal = billed.requests == ledger.requests;
            let exact = billed.cost == ledger.cost || ledger.estimated > 0;
            if equal && exact || began.elapsed() > limit {
                return (billed, ledger);
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

/// A model's name without the provider's directives.
pub fn base(model: &str) -> &str {
    model.split('+').next().unwrap_or_default()
}
