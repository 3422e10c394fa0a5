//! What happens to the regions while keys are used: scenarios as lists of steps.

use std::time::Duration;

use meridian_testkit::regions::Regions;
use meridian_testkit::regions::load::Demand;
use meridian_testkit::wire::Wire;
use serde_json::json;

/// Something that happens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Act {
    /// Every region is alone: nothing passes, nobody is told.
    Partition,
    /// Every link is cut hard.
    Reset,
    Heal,
    KillRedis,
    StartRedis,
    FlushRedis,
    PauseRedis,
    ResumeRedis,
    /// Redis comes back without its last second.
    FailOverRedis,
    /// Redis dies in the first region, hangs in the second, forgets in the third.
    BreakRedis,
    MendRedis,
    /// One gateway of each region dies and is started again.
    KillNodes,
    /// The first gateway of each region goes fast, slow and fast by this.
    ShiftClocks(i64),
    /// Spend of the first key is set to zero, at home.
    ResetSpend,
    /// The first key gets half a dollar more, at home.
    Raise,
    /// The first key is lowered to half a dollar, not at home.
    Lower,
}

/// A scenario. Times are fractions of the load's length.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) steps: &'static [(f64, Act)],
    /// Dollars that the first key may have spent in all, in thousandths; others have $1.
    pub(crate) allowed_milli: u64,
    /// Most requests, in percent, that are refused although 2 % of the budget is left. None where
    /// nothing is promised: a budget that is raised or reset in a partition is found later.
    pub(crate) wrong_percent: Option<f64>,
    /// Whether it is part of `make test`.
    pub(crate) short: bool,
    /// Whether the gateways are started again, without a Redis, before anything is asked.
    pub(crate) boots_without_redis: bool,
}

const fn scenario(
    name: &'static str,
    steps: &'static [(f64, Act)],
    wrong_percent: Option<f64>,
) -> Scenario {
    Scenario {
        name,
        steps,
        allowed_milli: 1_000,
        wrong_percent,
        short: false,
        boots_without_redis: false,
    }
}

impl Scenario {
    const fn short(self) -> Self {
        Self {
            short: true,
            ..self
        }
    }

    const fn allowing(self, allowed_milli: u64) -> Self {
        Self {
            allowed_milli,
            ..self
        }
    }
}

const CALM: Option<f64> = Some(0.5);
const CUT: Option<f64> = Some(5.0);

/// With ten times the demand half of a budget is used at 0.05: what breaks then breaks before it is
/// used up, and lasts until 0.85.
pub(crate) const ALL: [Scenario; 15] = [
    scenario("calm", &[], CALM).short(),
    scenario(
        "partition",
        &[(0.05, Act::Partition), (0.85, Act::Heal)],
        CUT,
    )
    .short(),
    scenario("links reset", &[(0.05, Act::Reset), (0.85, Act::Heal)], CUT),
    scenario(
        "redis killed",
        &[(0.03, Act::KillRedis), (0.5, Act::StartRedis)],
        CUT,
    ),
    scenario(
        "redis flushed",
        &[
            (0.02, Act::FlushRedis),
            (0.05, Act::FlushRedis),
            (0.5, Act::FlushRedis),
        ],
        CUT,
    ),
    scenario(
        "redis paused",
        &[(0.03, Act::PauseRedis), (0.5, Act::ResumeRedis)],
        CUT,
    ),
    scenario("redis failed over", &[(0.05, Act::FailOverRedis)], CUT),
    scenario(
        "redis in three ways",
        &[(0.03, Act::BreakRedis), (0.5, Act::MendRedis)],
        CUT,
    )
    .short(),
    scenario("nodes killed", &[(0.04, Act::KillNodes)], CUT).short(),
    scenario(
        "clocks 5 s off",
        &[
            (0.02, Act::ShiftClocks(5_000)),
            (0.5, Act::ShiftClocks(-5_000)),
        ],
        CUT,
    ),
    scenario(
        "reset in the cut",
        &[
            (0.05, Act::Partition),
            (0.3, Act::ResetSpend),
            (0.85, Act::Heal),
        ],
        None,
    )
    .allowing(2_000),
    scenario(
        "raised in the cut",
        &[(0.05, Act::Partition), (0.3, Act::Raise), (0.85, Act::Heal)],
        None,
    )
    .allowing(1_500),
    scenario(
        "lowered in the cut",
        &[
            (0.01, Act::Partition),
            (0.03, Act::Lower),
            (0.85, Act::Heal),
        ],
        None,
    )
    .allowing(500),
    Scenario {
        boots_without_redis: true,
        ..scenario("redis absent at boot", &[(0.5, Act::StartRedis)], CUT).short()
    },
    scenario("everything at once", EVERYTHING, None).short(),
];

const EVERYTHING: &[(f64, Act)] = &[
    (0.02, Act::ShiftClocks(5_000)),
    (0.03, Act::KillRedis),
    (0.04, Act::KillNodes),
    (0.05, Act::Partition),
    (0.3, Act::StartRedis),
    (0.4, Act::KillNodes),
    (0.5, Act::Heal),
    (0.6, Act::FailOverRedis),
    (0.7, Act::Reset),
    (0.8, Act::Heal),
];

impl Act {
    pub(crate) async fn happen(self, regions: &mut Regions, first: &Demand) {
        match self {
            Self::Partition => regions.cut_all(Wire::BlackHole),
            Self::Reset => regions.cut_all(Wire::Cut),
            Self::Heal => regions.heal(),
            Self::KillRedis => regions.regions.iter_mut().for_each(|one| one.redis.kill()),
            Self::StartRedis => regions.regions.iter_mut().for_each(|one| one.redis.run()),
            Self::FlushRedis => {
                for region in &regions.regions {
                    region.redis.ask(&["FLUSHALL"]);
                }
            }
            Self::PauseRedis => regions.regions.iter().for_each(|one| one.redis.pause()),
            Self::ResumeRedis => regions.regions.iter().for_each(|one| one.redis.resume()),
            Self::FailOverRedis => fail_over(regions),
            Self::BreakRedis => {
                regions.regions[0].redis.kill();
                regions.regions[1].redis.pause();
                regions.regions[2].redis.ask(&["FLUSHALL"]);
            }
            Self::MendRedis => {
                regions.regions[0].redis.run();
                regions.regions[1].redis.resume();
            }
            Self::KillNodes => kill_nodes(regions).await,
            Self::ShiftClocks(by) => {
                for (number, region) in regions.regions.iter().enumerate() {
                    let clock = region.nodes[0].clock.as_ref();
                    let by = if number == 1 { -by } else { by };
                    clock.expect("the plan has clocks").shift_ms(by);
                }
            }
            Self::ResetSpend => {
                let target = format!("/key/{}/reset_spend", first.key);
                regions.done(0, &target, &json!({"reset_to": 0.0})).await;
            }
            Self::Raise => change(regions, 0, first, 1.5).await,
            Self::Lower => change(regions, 1, first, 0.5).await,
        }
    }
}

/// Ends all Redis and starts every gateway again, with what its store and snapshot have.
pub(crate) async fn boot_without_redis(regions: &mut Regions, demands: &[Demand]) {
    regions.regions.iter_mut().for_each(|one| one.redis.kill());
    for region in &mut regions.regions {
        for node in &mut region.nodes {
            node.gateway.kill().await;
            node.gateway.start().await;
        }
    }
    for demand in demands {
        regions.known(&demand.key).await;
    }
}

async fn change(regions: &Regions, region: usize, demand: &Demand, budget: f64) {
    let fields = json!({"key": demand.key, "max_budget": budget});
    regions.done(region, "/key/update", &fields).await;
}

/// All at the same time, or the last would lose its second much later than the first.
fn fail_over(regions: &mut Regions) {
    std::thread::scope(|scope| {
        for region in &mut regions.regions {
            scope.spawn(move || region.redis.fail_over(Duration::from_secs(1)));
        }
    });
}

async fn kill_nodes(regions: &mut Regions) {
    for region in &mut regions.regions {
        region.nodes[1].gateway.kill().await;
    }
    for region in &mut regions.regions {
        region.nodes[1].gateway.start().await;
    }
}
