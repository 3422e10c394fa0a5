//! Limits per minute and requests at the same time, over six gateways in three regions.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use meridian_testkit::deadline::now;
use meridian_testkit::raw::{Conn, Request};
use meridian_testkit::regions::ledger::base;
use meridian_testkit::regions::load::{Demand, Load, Outcome};
use meridian_testkit::regions::{Regions, body};
use meridian_testkit::scale::scaled;
use serde_json::json;

use crate::world::World;

/// Requests per minute of the keys here.
const RPM: u64 = 600;
/// Tokens of a request: ten in, twenty out.
const TOKENS: u64 = 30;
/// Requests at the same time.
const PARALLEL: usize = 12;
/// How long a key is used.
fn length() -> Duration {
    scaled(Duration::from_secs(15), Duration::from_secs(150))
}

/// What counts, and how much of it.
#[derive(Clone, Copy, Debug)]
struct Case {
    name: &'static str,
    of: Of,
    /// Demand, in times of the limit.
    times: f64,
}

/// Whose limit it is.
#[derive(Clone, Copy, Debug)]
enum Of {
    /// A key's: a field, and its value.
    Key(&'static str, u64),
    /// That of [`DEPLOYMENT`].
    Deployment,
}

/// A model of [`DEPLOYMENT`], which has a limit of its own.
const LIMITED: &str = "limited-x";
const DEPLOYMENT: &str = "limited-*";

const CASES: [Case; 4] = [
    Case {
        name: "rpm x10",
        of: Of::Key("rpm_limit", RPM),
        times: 10.0,
    },
    Case {
        name: "tpm x10",
        of: Of::Key("tpm_limit", RPM * TOKENS),
        times: 10.0,
    },
    Case {
        name: "rpm x0.8",
        of: Of::Key("rpm_limit", RPM),
        times: 0.8,
    },
    Case {
        name: "deployment x10",
        of: Of::Deployment,
        times: 10.0,
    },
];

/// Most in any 60 seconds, in limits.
const WORST: f64 = 1.2;

/// What one gateway for all would admit of these arrivals: those that find less than the limit in
/// the minute before them.
fn ideal(arrivals: &[Instant]) -> u64 {
    let minute = Duration::from_secs(60);
    let mut within: VecDeque<Instant> = VecDeque::new();
    let mut admitted = 0;
    for at in arrivals {
        while within
            .front()
            .is_some_and(|first| at.duration_since(*first) >= minute)
        {
            within.pop_front();
        }
        if (within.len() as u64) < RPM {
            within.push_back(*at);
            admitted += 1;
        }
    }
    admitted
}

/// Most requests in any 60 seconds.
fn worst_minute(starts: &[Instant]) -> usize {
    let minute = Duration::from_secs(60);
    let within = |(first, at): (usize, &Instant)| {
        let rest = &starts[first..];
        rest.partition_point(|other| other.duration_since(*at) < minute)
    };
    starts.iter().enumerate().map(within).max().unwrap_or(0)
}

async fn rate(regions: &Regions, case: Case) -> Vec<String> {
    let (fields, asked, model) = match case.of {
        Of::Key(limit, value) => {
            let model = format!("fake-{}", case.name.replace(' ', "-"));
            (json!({limit: value}), model.clone(), model)
        }
        Of::Deployment => (json!({}), LIMITED.to_owned(), format!("fake-{LIMITED}")),
    };
    let key = regions.key(0, &fields).await;
    let per_region = RPM as f64 / 60.0 * case.times / 3.0;
    let demand = Demand {
        key,
        model: asked,
        rates: vec![per_region; 3],
        tokens: 20,
        streams: 0,
    };
    let load = Load::begin(regions.addresses(), vec![demand], length());
    let outcomes = load.finish().await;
    let arrivals: Vec<Instant> = outcomes.iter().map(|outcome| outcome.sent).collect();
    let rows = regions.provider.rows();
    let of_model = rows.iter().filter(|row| base(&row.model) == model);
    let starts: Vec<Instant> = of_model.map(|row| row.started).collect();
    let (served, ideal) = (starts.len() as u64, ideal(&arrivals));
    let refused = outcomes.iter().filter(|one| one.limited()).count();
    let failed = failed(&outcomes);
    let share = served as f64 / ideal as f64;
    let most = RPM as f64 * WORST;
    let worst = worst_minute(&starts);
    println!(
        "| {} | {} | {served} | {ideal} | {share:.3} | {worst} of {most:.0} | {refused} \
         | {failed} |",
        case.name,
        outcomes.len(),
    );
    judge(case, &outcomes, share, worst as f64 / most)
}

/// Requests that were neither served nor refused because of the limit.
fn failed(outcomes: &[Outcome]) -> usize {
    let failed = |one: &&Outcome| one.status != 200 && !one.limited();
    outcomes.iter().filter(failed).count()
}

fn judge(case: Case, outcomes: &[Outcome], share: f64, worst: f64) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut claim = |holds: bool, what: String| {
        if !holds {
            complaints.push(format!("{}: {what}", case.name));
        }
    };
    // What others took in the last moment is paid later: seconds do not show that.
    let (least, most) = scaled((0.9, WORST), (0.97, 1.07));
    claim(
        (least..=most).contains(&share),
        format!("admitted / ideal is {share:.3}"),
    );
    claim(worst <= 1.0, format!("{worst:.2} of the most in 60 s"));
    let failed = failed(outcomes);
    claim(failed == 0, format!("{failed} neither served nor refused"));
    if case.times < 1.0 {
        let refused = outcomes.iter().filter(|one| one.limited()).count();
        let percent = refused as f64 * 100.0 / outcomes.len() as f64;
        claim(
            percent <= scaled(3.0, 1.0),
            format!("{percent:.2} % refused below the limit"),
        );
    }
    complaints
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_per_minute_are_those_of_all_gateways_together() {
    let limited = (DEPLOYMENT.to_owned(), format!("rpm: {RPM}"));
    let world = World::start(|plan| plan.models.push(limited)).await;
    println!(
        "| case | asked | served | ideal | served / ideal | worst minute | refused | failed |\n\
         |---|---|---|---|---|---|---|---|"
    );
    let [first, second, third, fourth] = CASES.map(|case| rate(&world.regions, case));
    let complaints = tokio::join!(first, second, third, fourth);
    let complaints = <[Vec<String>; 4]>::from(complaints).concat();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

/// Opens a stream that goes on until its client leaves; the status, and the connection.
async fn stream(regions: &Regions, turn: usize, key: &str) -> (u16, Conn) {
    let gateway = regions.gateway(turn % 3, turn / 3 % 2);
    let mut body = body("fake-parallel", 2_000, true);
    body["model"] = json!("fake-parallel+tokens=2000+chunk_ms=100");
    let request = Request::post("/v1/chat/completions", &body).bearer(key);
    let mut conn = Conn::open(gateway.addr()).await;
    conn.send(&request.bytes()).await.expect("a gateway reads");
    let head = conn.head().await.expect("an answer");
    (head.status, conn)
}

/// Opens streams in turn on all gateways until so many in a row were refused.
async fn fill(regions: &Regions, key: &str) -> Vec<Conn> {
    let mut open = Vec::new();
    let mut refused = 0;
    for turn in 0.. {
        let (status, conn) = stream(regions, turn, key).await;
        match status {
            200 => {
                open.push(conn);
                refused = 0;
            }
            429 => refused += 1,
            other => panic!("{other} for a stream"),
        }
        if refused >= 12 {
            break;
        }
    }
    open
}

/// Waits until the whole limit can be had again, after all clients have left.
async fn comes_back(regions: &Regions, key: &str) -> Duration {
    let began = now();
    loop {
        let open = fill(regions, key).await;
        let held = open.len();
        assert!(held <= PARALLEL, "{held} at the same time");
        open.into_iter().for_each(Conn::reset);
        if held == PARALLEL {
            return began.elapsed();
        }
        let waited = began.elapsed();
        assert!(
            waited < Duration::from_secs(60),
            "{held} slots after {waited:?}"
        );
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_at_the_same_time_are_limited_and_slots_come_back() {
    let world = World::start(|_| {}).await;
    let regions = &world.regions;
    let fields = json!({"max_parallel_requests": PARALLEL});
    let key = regions.key(0, &fields).await;
    comes_back(regions, &key).await;
    let wanted = scaled(300, 10_000);
    let (mut left, mut most) = (0, 0);
    while left < wanted {
        let open = fill(regions, &key).await;
        most = most.max(open.len());
        left += open.len();
        open.into_iter().for_each(Conn::reset);
    }
    let back = comes_back(regions, &key).await;
    println!("{left} clients left; {most} at the same time at most; all slots back after {back:?}");
    assert!(most <= PARALLEL, "{most} at the same time");
}
