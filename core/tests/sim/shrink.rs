//! Makes a failing run small: without faults that do not matter, then without requests.

use crate::world::{Report, Scenario, Violation, World};

/// Runs at most this often while it shrinks.
const TRIES_MAX: usize = 150;

/// Runs; a failure is shrunk and comes back with its trace.
pub(crate) fn run(scenario: &Scenario) -> Result<Report, String> {
    let violation = match World::new(scenario.clone()).run() {
        Ok(report) => return Ok(report),
        Err(violation) => violation,
    };
    let mut small = scenario.clone();
    let mut tries = 0;
    let mut fails = |candidate: &Scenario| {
        tries += 1;
        let again = World::new(candidate.clone()).run().err();
        tries < TRIES_MAX && again.is_some_and(|again| again.checker == violation.checker)
    };
    let mut at = 0;
    while at < small.turns.len() {
        let mut candidate = small.clone();
        candidate.turns.remove(at);
        match fails(&candidate) {
            true => small = candidate,
            false => at += 1,
        }
    }
    let mut keep = small.demand.arrivals.len() / 2;
    while keep > 0 {
        let mut candidate = small.clone();
        candidate.demand.arrivals.truncate(keep);
        if !fails(&candidate) {
            break;
        }
        small = candidate;
        keep /= 2;
    }
    small.trace = true;
    let last = World::new(small.clone()).run().err().unwrap_or(violation);
    Err(describe(&small, &last))
}

fn describe(scenario: &Scenario, violation: &Violation) -> String {
    let turns: Vec<String> = scenario
        .turns
        .iter()
        .map(|turn| format!("{turn:?}"))
        .collect();
    format!(
        "SIM_SEED={} breaks promise {}: {}\nfaults left after shrinking ({} requests):\n  {}\nlast steps:\n  {}",
        scenario.seed,
        violation.checker,
        violation.text,
        scenario.demand.arrivals.len(),
        turns.join("\n  "),
        violation.trace.join("\n  "),
    )
}
