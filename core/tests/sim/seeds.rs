//! Runs: many seeds, one seed, and every mutant.

use crate::demand::{Demand, Load, demand, dollars};
use crate::faults::{Fault, Turn, Weather, fences, schedule};
use crate::mutants::Mutant;
use crate::rng::Rng;
use crate::shrink::run;
use crate::world::{Report, Scenario, World};

/// How many seeds, unless `SIM_SEEDS` says otherwise.
const SEEDS: u64 = 200;

/// Room that ceilings leave, in seconds of demand.
const ISOLATION_S: u64 = 10;
/// One seed of so many is run with ceilings too.
const WITH_CEILINGS: u64 = 4;

const LOAD: Load = Load {
    keys: 6,
    per_second: 12.0,
    seconds: 60,
    budget: (0.3, 1.6),
    periods: true,
    home_part: 0.7,
};

pub(crate) fn scenario(seed: u64, weather: Weather, load: Load) -> Scenario {
    let mut rng = Rng(seed);
    let demand = demand(load, &mut rng);
    let turns = schedule(weather, demand.budgets.len(), load.seconds, &mut rng);
    scenario_of(seed, (demand, turns), load.seconds)
}

fn scenario_of(seed: u64, (demand, turns): (Demand, Vec<Turn>), seconds: u64) -> Scenario {
    Scenario {
        seed,
        demand,
        turns,
        seconds,
        mutant: None,
        trace: false,
        isolation_s: None,
        late_us: 0,
    }
}

/// The same run with ceilings, and regions that are fenced. Nobody calls one lost: that would be an
/// error where it lives, which fencing is not.
fn with_ceilings(mut run: Scenario) -> Scenario {
    let mut rng = Rng(run.seed ^ 0xfe_ce);
    run.isolation_s = Some(ISOLATION_S);
    let called = |turn: &Turn| matches!(turn.what, Fault::LoseRegion { .. });
    run.turns.retain(|turn| !called(turn));
    run.turns.extend(fences(run.seconds, &mut rng));
    run.turns.sort_by_key(|turn| turn.at_us);
    run
}

/// A run that keeps every promise.
fn run_with(seed: u64, given: (Demand, Vec<Turn>), seconds: u64) -> Report {
    World::new(scenario_of(seed, given, seconds)).run().unwrap()
}

/// The weather of a seed: mostly storms.
fn weather(seed: u64) -> Weather {
    match seed % 8 {
        0 => Weather::Calm,
        1 => Weather::Partition(30),
        2 => Weather::Power,
        _ => Weather::Storm,
    }
}

fn run_seeds(seeds: impl Iterator<Item = u64>) {
    for seed in seeds {
        let outcome = run(&scenario(seed, weather(seed), LOAD));
        assert!(outcome.is_ok(), "{}", outcome.unwrap_err());
    }
}

#[test]
fn every_promise_holds_in_any_weather_for_even_seeds() {
    run_seeds((0..seeds()).step_by(2));
}

#[test]
fn every_promise_holds_in_any_weather_for_odd_seeds() {
    run_seeds((1..seeds()).step_by(2));
}

/// The same with ceilings: what is billed is within the budget, however wrongly regions are fenced.
#[test]
fn every_promise_holds_with_ceilings_whoever_is_fenced() {
    let mut reclaimed = 0;
    for seed in (1..seeds()).step_by(WITH_CEILINGS as usize) {
        match run(&with_ceilings(scenario(seed, weather(seed * 3), LOAD))) {
            Ok(report) => reclaimed += report.reclaimed,
            Err(shrunk) => panic!("{shrunk}"),
        }
    }
    println!("{reclaimed} nano-dollars of fenced regions were made anew");
    assert!(reclaimed > 0);
}

/// `SIM_SEED=17 cargo test -p meridian-core --test sim one_seed -- --nocapture`
#[test]
fn one_seed_on_demand() {
    let seed = number("SIM_SEED").unwrap_or(0);
    let outcome = match number("SIM_CEILINGS") {
        Some(_) => run(&with_ceilings(scenario(seed, weather(seed * 3), LOAD))),
        None => run(&scenario(seed, weather(seed), LOAD)),
    };
    println!("seed {seed}: {outcome:#?}");
    assert!(outcome.is_ok(), "{}", outcome.unwrap_err());
}

fn seeds() -> u64 {
    number("SIM_SEEDS").unwrap_or(SEEDS)
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test chooses its seeds by the environment"
)]
fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().expect("SIM_SEED and SIM_SEEDS are numbers"))
}

/// The same run twice is the same to the last message.
#[test]
fn a_seed_is_a_whole_run() {
    let one = || World::new(scenario(7, Weather::Storm, LOAD)).run().unwrap();
    assert_eq!(format!("{:?}", one()), format!("{:?}", one()));
}

/// Where a mutant is looked for.
fn hunting_ground(mutant: Mutant) -> Weather {
    match mutant {
        Mutant::ShowsBeforeSync => Weather::Power,
        Mutant::SpendsWithoutRights | Mutant::AsksNoRegion => Weather::Calm,
        _ => Weather::Storm,
    }
}

fn usability(report: &Report) -> f64 {
    report.wrong as f64 / (report.admitted + report.refused) as f64
}

#[test]
fn every_mutant_is_bitten_by_its_checker() {
    for (mutant, checker) in Mutant::ALL {
        if checker == 7 {
            continue;
        }
        let bitten = (0..60).any(|seed| {
            let mut run = scenario(seed, hunting_ground(mutant), LOAD);
            if checker == 6 {
                run = cut_off_alive(seed, Some(1), true);
            }
            run.mutant = Some(mutant);
            let violation = World::new(run).run().err();
            violation.is_some_and(|violation| violation.checker == checker)
        });
        assert!(bitten, "{mutant:?} passes checker {checker}");
    }
}

/// Checker 7, and the mutant that it bites.
#[test]
fn money_that_is_left_is_found() {
    // Budgets of some hundred requests: of one with a dozen, 2 % are no request at all.
    let load = Load {
        keys: 3,
        per_second: 40.0,
        budget: (0.5, 1.2),
        periods: false,
        home_part: 0.85,
        ..LOAD
    };
    let wrong = |weather, mutant| {
        let of = |seed| {
            let mut run = scenario(seed, weather, load);
            run.mutant = mutant;
            usability(&World::new(run).run().unwrap())
        };
        (0..20).map(of).sum::<f64>() / 20.0
    };
    let calm = wrong(Weather::Calm, None);
    let cut = wrong(Weather::Partition(30), None);
    let mutant = wrong(Weather::Calm, Some(Mutant::AsksNoRegion));
    println!("wrongly refused: calm {calm:.5}, in a partition {cut:.5}, mutant {mutant:.5}");
    assert!(calm <= 0.005, "{calm}");
    assert!(cut <= 0.05, "{cut}");
    assert!(mutant > 0.01, "{mutant}");
}

/// Budgets of a dollar under ten times the demand, in every region alike.
#[test]
fn a_dollar_is_used_to_its_end_by_ten_times_the_demand() {
    let load = Load {
        keys: 3,
        per_second: 50.0,
        budget: (0.1, 0.1),
        periods: false,
        home_part: 0.0,
        ..LOAD
    };
    for (weather, most) in [(Weather::Calm, 0.005), (Weather::Partition(50), 0.05)] {
        let run = |seed| World::new(scenario(seed, weather, load)).run().unwrap();
        let all: Vec<Report> = (0..10).map(run).collect();
        let wrong = all.iter().map(usability).sum::<f64>() / all.len() as f64;
        let sum = |of: fn(&Report) -> i64| all.iter().map(of).sum::<i64>() as f64;
        let unused = sum(|one| one.unused) / sum(|one| one.exhausted).max(1.0);
        let waited = sum(|one| one.waited as i64) / sum(|one| (one.admitted + one.refused) as i64);
        println!("{weather:?}: wrongly refused {wrong:.4}, unused {unused:.4}, waited {waited:.4}");
        assert!(wrong <= most, "{weather:?}: {wrong}");
    }
}

/// The same with requests that are all alike, cut off when half of the budget is used: what was on
/// its way between regions then serves nobody until they are joined again. Where nodes are busy it
/// is on its way for longer.
#[test]
fn what_is_left_of_a_dollar_is_used_by_regions_that_are_cut_off() {
    const SECONDS: u64 = 150;
    const LATE_US: [u64; 2] = [0, 400_000];
    const CUT: u64 = 120;
    for (weather, most) in [(Weather::Calm, 0.005), (Weather::Partition(CUT), 0.05)] {
        for late_us in LATE_US {
            let run = |seed| {
                let mut rng = Rng(seed);
                let demand = dollars(3, 30.0, SECONDS, &mut rng);
                let turns = schedule(weather, demand.budgets.len(), SECONDS, &mut rng);
                let run = Scenario {
                    late_us,
                    ..scenario_of(seed, (demand, turns), SECONDS)
                };
                usability(&World::new(run).run().unwrap())
            };
            let all: Vec<f64> = (0..6).map(run).collect();
            let worst = all.iter().copied().fold(0.0, f64::max);
            println!("{weather:?}, late by {late_us} us: wrongly refused {worst:.4} at worst");
            // In every run: of one budget that is not used up three quarters are refused.
            assert!(worst <= most, "{weather:?}: {all:.4?}");
        }
    }
}

/// A region is lost for good while keys are used everywhere: the others use what it held once the
/// operator has said so, and what they may have missed of its spend is all that can be over.
#[test]
fn what_a_lost_region_held_is_used_by_the_others() {
    const SECONDS: u64 = 120;
    const LOST_US: u64 = 10_000_000;
    let run = |seed, told: bool| {
        let mut rng = Rng(seed);
        let mut demand = dollars(3, 15.0, SECONDS, &mut rng);
        for budget in &mut demand.budgets {
            budget.home %= 2;
        }
        let for_us = SECONDS * 1_000_000;
        let dies = |what| Turn {
            at_us: LOST_US,
            what,
        };
        let turns = match told {
            true => vec![dies(Fault::LoseRegion { region: 2, for_us })],
            false => [4, 5]
                .map(|node| dies(Fault::Kill { node, for_us }))
                .to_vec(),
        };
        run_with(seed, (demand, turns), SECONDS)
    };
    // Each request is in two budgets: its key's and the team's.
    let spent = |report: &Report| report.billed as f64 / 2e9;
    for seed in 0..6 {
        let (told, silent) = (run(seed, true), run(seed, false));
        let (with, without) = (spent(&told), spent(&silent));
        println!(
            "spent {with:.3} of 3 $, {without:.3} if nobody says so, over {} nano$",
            told.over
        );
        assert!(with >= 2.9 && without <= 2.6, "{with} {without}");
        assert!(with <= 3.0 * 1.05 && told.regained > 0, "{with} {told:?}");
    }
}

/// Keys of a dollar under ten times the demand, of which a region is cut off for good while it
/// lives; somewhat later it may be fenced.
fn cut_off_alive(seed: u64, isolation_s: Option<u64>, fenced: bool) -> Scenario {
    const SECONDS: u64 = 120;
    const CUT_US: u64 = 10_000_000;
    let mut rng = Rng(seed);
    let mut demand = dollars(3, 15.0, SECONDS, &mut rng);
    for budget in &mut demand.budgets {
        budget.home %= 2;
    }
    let (region, for_us) = (2, SECONDS * 1_000_000);
    let at = |after_us, what| Turn {
        at_us: CUT_US + after_us,
        what,
    };
    let mut turns = vec![at(0, Fault::Isolate { region, for_us })];
    if fenced {
        let for_us = 30_000_000;
        turns.push(at(5_000_000, Fault::Fence { region, for_us }));
    }
    let mut run = scenario_of(seed, (demand, turns), SECONDS);
    run.isolation_s = isolation_s;
    run
}

/// A region is cut off while it lives and fenced: the others use what it cannot, and together no
/// more is billed than the budget, with no slack at all.
#[test]
fn a_region_that_is_wrongly_fenced_costs_nothing_but_rights_that_it_could_not_use() {
    let run = |seed, isolation_s, fenced| {
        let run = cut_off_alive(seed, isolation_s, fenced);
        World::new(run).run().unwrap()
    };
    for seed in 0..4 {
        let (fenced, cut, without) = (
            run(seed, Some(1), true),
            run(seed, Some(1), false),
            run(seed, None, false),
        );
        for (name, one) in [("fenced", &fenced), ("cut", &cut), ("without", &without)] {
            println!(
                "{name}: billed {:.3} of 3 $, made anew {:.3}, wrong {:.4}, over {}, proposals {}",
                one.billed as f64 / 2e9,
                one.reclaimed as f64 / 2e9,
                usability(one),
                one.over,
                one.proposals
            );
        }
        assert!(fenced.reclaimed > 0, "{fenced:?}");
        assert!(fenced.over <= fenced.bound, "{fenced:?}");
        assert!(fenced.billed >= cut.billed, "{fenced:?} {cut:?}");
    }
}

/// What ceilings cost where nothing is fenced.
#[test]
fn ceilings_cost_little_while_regions_are_joined() {
    let load = Load {
        keys: 3,
        per_second: 40.0,
        budget: (0.5, 1.2),
        periods: false,
        home_part: 0.85,
        ..LOAD
    };
    for weather in [Weather::Calm, Weather::Partition(30)] {
        for isolation_s in [None, Some(1), Some(10)] {
            let of = |seed| {
                let mut run = scenario(seed, weather, load);
                run.isolation_s = isolation_s;
                World::new(run).run().unwrap()
            };
            let all: Vec<Report> = (0..10).map(of).collect();
            let wrong = all.iter().map(usability).sum::<f64>() / 10.0;
            let proposals = all.iter().map(|one| one.proposals).sum::<u64>() as f64 / 40.0;
            let messages = all.iter().map(|one| one.messages_between).sum::<u64>() / 10;
            println!(
                "{weather:?}, room {isolation_s:?} s: wrongly refused {wrong:.4}, {proposals:.1} \
                 proposals a budget, {messages} messages between regions"
            );
            assert!(weather != Weather::Calm || wrong <= 0.01, "{wrong}");
        }
    }
}
