//! Budgets of $1 under ten times the demand, through every fault: what the provider billed is
//! within the budget and the bound that the gateways compute, ledgers say what the provider says,
//! and money that is left is found.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use meridian_testkit::deadline::now;
use meridian_testkit::regions::ledger::{Accounts, base, billed};
use meridian_testkit::regions::load::{Demand, Load, Outcome};
use meridian_testkit::regions::{PRICES, Regions};
use meridian_testkit::scale::scaled;
use serde_json::json;

use crate::bound::bound;
use crate::faults::{ALL, Scenario, boot_without_redis};
use crate::world::{SETTLED_WITHIN, World};

/// Every key's budget, in nano-dollars.
const BUDGET: u64 = 1_000_000_000;
/// Completion tokens of a request: in full length 2 % of a budget are four requests, so that what
/// is left of one in each of six gateways is less.
fn tokens() -> u32 {
    scaled(20, 10)
}

/// What a request is expected to cost: these tokens out, 10 in.
fn cost() -> u64 {
    u64::from(tokens()) * PRICES.output + 10 * PRICES.input
}

/// How many budgets are asked for.
const DEMAND: u64 = 10;
/// Regions.
const REGIONS: usize = 3;
/// How long keys are used: two minutes of partition are 0.8 of it.
fn length() -> Duration {
    scaled(Duration::from_secs(6), Duration::from_secs(150))
}

/// What one scenario did to its keys.
#[derive(Debug, Default)]
struct Figures {
    asked: usize,
    admitted: usize,
    refused: usize,
    /// Refused although 2 % of the budget, and what the request needs, was left.
    wrong: usize,
    /// Neither served nor refused for money, by status and error type.
    failed: BTreeMap<String, usize>,
}

/// The parts of a run that are the same for all its keys.
struct Run {
    demands: Vec<Demand>,
    outcomes: Vec<Outcome>,
    /// Largest bound that was seen, by demand; none if the gateways know none.
    bounds: Vec<Option<u64>>,
}

async fn demands(regions: &Regions, scenario: &Scenario) -> Vec<Demand> {
    let keys = scaled(2, 3);
    let per_region = (DEMAND * BUDGET / cost()) as f64 / length().as_secs_f64() / REGIONS as f64;
    let mut demands = Vec::new();
    for number in 0..keys {
        let key = regions.key(number, &json!({"max_budget": 1.0})).await;
        demands.push(Demand {
            key,
            model: format!("fake-{}-{number}", scenario.name.replace(' ', "-")),
            rates: vec![per_region; REGIONS],
            tokens: tokens(),
            streams: if number == 0 { 0 } else { 4 },
        });
    }
    demands
}

/// Uses the keys while everything happens, and looks at the bounds meanwhile.
async fn run(regions: &mut Regions, scenario: &Scenario) -> Run {
    let demands = demands(regions, scenario).await;
    if scenario.boots_without_redis {
        boot_without_redis(regions, &demands).await;
    }
    let (length, began) = (length(), now());
    let load = Load::begin(regions.addresses(), demands.clone(), length);
    let mut bounds = vec![None; demands.len()];
    let mut steps = scenario.steps.iter().peekable();
    while began.elapsed() < length {
        let passed = began.elapsed().as_secs_f64() / length.as_secs_f64();
        if let Some((_, act)) = steps.next_if(|(at, _)| *at <= passed) {
            act.happen(regions, &demands[0]).await;
            continue;
        }
        look(regions, &demands, &mut bounds).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let outcomes = load.finish().await;
    for (_, act) in steps {
        act.happen(regions, &demands[0]).await;
    }
    look(regions, &demands, &mut bounds).await;
    for clock in regions.regions.iter().flat_map(|region| &region.nodes) {
        clock.clock.iter().for_each(|clock| clock.shift_ms(0));
    }
    Run {
        demands,
        outcomes,
        bounds,
    }
}

async fn look(regions: &Regions, demands: &[Demand], bounds: &mut [Option<u64>]) {
    for (demand, held) in demands.iter().zip(bounds) {
        *held = (*held).max(bound(regions, &demand.key).await);
    }
}

/// What the provider had billed for a model, request by request in order of arrival.
fn bills(regions: &Regions, model: &str) -> Vec<(Instant, u64)> {
    let rows = regions.provider.rows();
    let of_model = rows.iter().filter(|row| base(&row.model) == model);
    of_model
        .map(|row| (row.started, billed(row, PRICES)))
        .collect()
}

fn figures(outcomes: &[&Outcome], bills: &[(Instant, u64)], allowed: u64) -> Figures {
    let mut figures = Figures {
        asked: outcomes.len(),
        ..Figures::default()
    };
    for outcome in outcomes {
        let spent = bills.iter().filter(|(at, _)| *at <= outcome.answered);
        let left = allowed.saturating_sub(spent.map(|(_, cost)| cost).sum());
        match outcome.status {
            200 => figures.admitted += 1,
            _ if outcome.out_of_budget() => {
                figures.refused += 1;
                figures.wrong += usize::from(left >= (allowed / 50).max(cost()));
            }
            status => {
                let why = format!("{status} {}", outcome.why);
                *figures.failed.entry(why).or_default() += 1;
            }
        }
    }
    figures
}

fn percent(part: u64, whole: u64) -> f64 {
    part as f64 * 100.0 / whole.max(1) as f64
}

/// Checks a scenario and prints its line for each key.
async fn check(regions: &Regions, scenario: &Scenario, run: &Run) -> Vec<String> {
    let mut complaints = Vec::new();
    for (number, demand) in run.demands.iter().enumerate() {
        let allowed = match number {
            0 => scenario.allowed_milli * (BUDGET / 1_000),
            _ => BUDGET,
        };
        let settled = regions.settled(&demand.model, PRICES, SETTLED_WITHIN);
        let accounts = settled.await;
        let (billed, ledger) = (accounts.billed, accounts.ledger);
        let outcomes = run.outcomes.iter().filter(|one| one.demand == number);
        let outcomes: Vec<&Outcome> = outcomes.collect();
        let bills = bills(regions, &demand.model);
        let figures = figures(&outcomes, &bills, allowed);
        let wrong = percent(figures.wrong as u64, figures.asked as u64);
        println!(
            "| {} | {number} | {} | {} | {} | {:.4} | {:.4} | {:.1} | {} | {:.2} | {:?} | {}/{} |",
            scenario.name,
            figures.asked,
            figures.admitted,
            figures.refused,
            dollars(allowed),
            dollars(billed.cost),
            percent(billed.cost.saturating_sub(allowed), allowed),
            run.bounds[number].map_or("-".to_owned(), |bound| format!("{:.4}", dollars(bound))),
            wrong,
            figures.failed,
            ledger.cost as i64 - billed.cost as i64,
            ledger.estimated,
        );
        let name = format!("{} {number}", scenario.name);
        complaints.extend(over(&name, billed.cost, allowed, run.bounds[number]));
        complaints.extend(unequal(&name, &accounts, &outcomes));
        // Who serves nobody passes no budget either.
        if figures.admitted == 0 {
            complaints.push(format!("{name}: nobody was served"));
        }
        let wanted = scaled(None, scenario.wrong_percent);
        if wanted.is_some_and(|most| wrong > most) {
            complaints.push(format!("{name}: {wrong:.2} % wrongly refused"));
        }
    }
    complaints
}

fn over(name: &str, billed: u64, allowed: u64, bound: Option<u64>) -> Option<String> {
    let Some(bound) = bound else {
        return Some(format!("{name}: the gateways tell no bound"));
    };
    let (spent, most) = (dollars(billed), dollars(allowed + bound));
    (billed > allowed + bound).then(|| format!("{name}: ${spent} spent of ${most} at most"))
}

/// Every answer has its row and every row its answer. A request that was killed with its gateway
/// has a row by estimate, whether the provider got it or not: of those there are not more than
/// requests that nobody answered.
fn unequal(name: &str, accounts: &Accounts, outcomes: &[&Outcome]) -> Option<String> {
    let lost = outcomes.iter().map(|one| one.lost()).sum::<u64>();
    let wrong = !accounts.wrong.is_empty() || accounts.unsent > lost;
    wrong.then(|| format!("{name}: {lost} without an answer, {accounts:?}"))
}

fn dollars(nano: u64) -> f64 {
    nano as f64 / 1e9
}

fn header() {
    println!(
        "| scenario | key | asked | admitted | refused | may spend $ | billed $ | over % | bound $ \
         | wrongly refused % | failed | ledger - billed (nano$)/estimated |\n\
         |---|---|---|---|---|---|---|---|---|---|---|---|"
    );
}

/// Scenarios to run: the short ones, or all in full length; those whose names hold the text in
/// `MERIDIAN_SCENARIO`, if there is one.
fn chosen() -> Vec<Scenario> {
    let only = std::env::var_os("MERIDIAN_SCENARIO");
    let wanted = |one: &&Scenario| match &only {
        Some(only) => one.name.contains(only.to_string_lossy().as_ref()),
        None => one.short || scaled(false, true),
    };
    ALL.iter().filter(wanted).copied().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn budgets_hold_through_every_fault() {
    let mut world = World::start(|plan| plan.clocks = true).await;
    header();
    let mut complaints = Vec::new();
    for scenario in chosen() {
        let run = run(&mut world.regions, &scenario).await;
        complaints.extend(check(&world.regions, &scenario, &run).await);
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}
