//! The tables of docs/BUDGETS.md: this design beside counters, under one demand.

use meridian_core::escrow::Rights;

use crate::counters::{Design, Outcome, run};
use crate::demand::Load;
use crate::faults::Weather;
use crate::seeds::scenario;
use crate::world::World;

const SEEDS: u64 = 5;

/// Budgets of some hundred requests that run out, keys that are used in every region.
const LOAD: Load = Load {
    keys: 4,
    per_second: 25.0,
    seconds: 90,
    budget: (0.35, 0.7),
    periods: false,
    home_part: 0.4,
};

fn percent(part: Rights, whole: Rights) -> f64 {
    100.0 * part as f64 / whole.max(1) as f64
}

fn row(label: &str, all: &[Outcome]) {
    let sum = |of: fn(&Outcome) -> Rights| all.iter().map(of).sum::<Rights>();
    let worst = all.iter().map(|one| one.worst).max().unwrap_or(0);
    let asked = sum(|one| (one.admitted + one.refused) as Rights);
    println!(
        "| {label:40} | {:7.3} | {:9.4} | {:9.3} |",
        percent(sum(|one| one.over), sum(|one| one.budget)),
        worst as f64 / 1e9,
        percent(sum(|one| one.wrong as Rights), asked),
    );
}

/// This design: over the budgets is what was billed beyond them, whatever the bound allows.
fn escrow(weather: Weather, seed: u64) -> Outcome {
    let report = World::new(scenario(seed, weather, LOAD)).run().unwrap();
    Outcome {
        budget: report.budget,
        billed: report.billed,
        over: report.over.max(0),
        worst: report.over.max(0),
        admitted: report.admitted,
        refused: report.refused,
        wrong: report.wrong,
    }
}

#[test]
fn counters_overspend_where_rights_do_not() {
    for weather in [Weather::Calm, Weather::Partition(60)] {
        println!("\n{weather:?}");
        println!("| design | over % | worst over $ | wrongly refused % |");
        let ours: Vec<Outcome> = (0..SEEDS).map(|seed| escrow(weather, seed)).collect();
        row("rights (this design)", &ours);
        let mut worst = 0;
        for design in Design::ALL {
            let one = |seed| {
                let scenario = scenario(seed, weather, LOAD);
                run(design, &scenario.demand, &scenario.turns)
            };
            let theirs: Vec<Outcome> = (0..SEEDS).map(one).collect();
            row(design.label(), &theirs);
            worst = worst.max(theirs.iter().map(|one| one.worst).max().unwrap_or(0));
        }
        // What requests cost over their reservations: their input was estimated 1 % too low.
        let over = ours.iter().map(|one| one.over).max().unwrap_or(0);
        assert!(over < 5_000_000, "{over}");
        assert!(worst > 100 * over.max(1_000_000), "{worst}");
    }
}
