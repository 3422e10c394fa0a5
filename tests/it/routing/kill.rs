//! Two of three deployments die under load, and come back.

use std::time::{Duration, Instant};

use meridian_testkit::config::{Config, MASTER_KEY};
use meridian_testkit::deadline::now;
use meridian_testkit::gateway::{Gateway, Setup};
use meridian_testkit::provider::{Mode, Options, Provider, Script};
use meridian_testkit::raw::Request;
use tokio::task::JoinSet;

use crate::world::{Api, binary, with_section};

/// Requests in a second, whatever becomes of them.
const RATE: u32 = 300;
/// When the two die, after the first request.
const DIES: Duration = Duration::from_millis(3_000);
/// When they listen again.
const BACK: Duration = Duration::from_millis(5_500);
/// When the last request is sent.
const END: Duration = Duration::from_millis(10_500);
/// What traffic is counted by.
const WINDOW: Duration = Duration::from_millis(100);

/// Left out for a second at a time, back to full within two.
const SECTION: &str = "cooldown:\n  time_max_s: 1\n  ramp_s: 2";

#[tokio::test]
async fn callers_of_simple_shuffle_do_not_notice() {
    two_of_three("simple-shuffle").await;
}

#[tokio::test]
async fn callers_of_latency_based_routing_do_not_notice() {
    two_of_three("latency-based-routing").await;
}

/// One request as its caller saw it.
struct Seen {
    sent: Instant,
    status: u16,
    whole: bool,
    retries: u32,
    /// Where the provider that answered is.
    by: String,
}

async fn two_of_three(strategy: &str) {
    let providers: Vec<Provider> = (0..3).map(|_| provider()).collect();
    let config = providers.iter().fold(Config::new(), |config, provider| {
        let url = format!("{}/v1", provider.url());
        config.model("m", "openai/fake-x", &url, "")
    });
    let router = format!("routing_strategy: {strategy}\nnum_retries: 2\ncooldown_time: 1");
    let config = with_section(config.router(&router), SECTION);
    let gateway = Setup::new(binary(), &config).start().await;
    let begun = now();
    let kill = async {
        tokio::time::sleep_until((begun + DIES).into()).await;
        let died = now();
        providers[..2].iter().for_each(|one| one.mode(Mode::Dead));
        tokio::time::sleep_until((begun + BACK).into()).await;
        let back = now();
        providers[..2].iter().for_each(|one| one.mode(Mode::Serve));
        (died, back)
    };
    let (seen, (died, back)) = tokio::join!(load(&gateway, begun), kill);
    let sent: Vec<Vec<Instant>> = providers
        .iter()
        .map(|provider| provider.rows().iter().map(|row| row.started).collect())
        .collect();
    unnoticed(&seen, died);
    let living = providers[2].url();
    rebalanced(&seen, (&sent[2], &living), died, back);
    no_spike(&sent, back, begun + END);
}

fn provider() -> Provider {
    let options = Options {
        record: false,
        ..Options::default()
    };
    let provider = Provider::start_with(options).unwrap();
    let script = Script {
        head_ms: 60,
        ..Script::default()
    };
    provider.script("*", [script]);
    provider
}

/// Open loop: a request is sent when it is due, however the ones before it fare.
async fn load(gateway: &Gateway, begun: Instant) -> Vec<Seen> {
    let addr = gateway.addr();
    let mut running = JoinSet::new();
    for number in 0.. {
        let due = begun + Duration::from_secs(1) * number / RATE;
        if due >= begun + END {
            break;
        }
        tokio::time::sleep_until(due.into()).await;
        running.spawn(async move {
            let body = Api::Chat.body("m", "load", number % 2 == 0);
            let request = Request::post(Api::Chat.path(), &body).bearer(MASTER_KEY);
            let sent = now();
            let answer = request.send(addr).await;
            let whole = match number % 2 {
                0 => answer.events().last().is_some_and(|last| last == "[DONE]"),
                _ => answer.text().ends_with('}'),
            };
            let retries = answer.header("x-litellm-attempted-retries");
            Seen {
                sent,
                status: answer.status(),
                whole,
                retries: retries.map_or(0, |retries| retries.parse().unwrap()),
                by: answer
                    .header("x-litellm-model-api-base")
                    .unwrap_or_default()
                    .to_owned(),
            }
        });
    }
    running.join_all().await
}

/// No error from a connection that could not be made; hardly any from one that broke.
fn unnoticed(seen: &[Seen], died: Instant) {
    let failed = |seen: &&Seen| seen.status != 200 || !seen.whole;
    let after = seen.iter().filter(|one| one.sent > died + WINDOW);
    let refused = after.filter(failed).count();
    let all = seen.iter().filter(failed).count();
    assert_eq!(
        refused,
        0,
        "of {} failed after the death, in all {all}",
        seen.len()
    );
    assert!(all * 1_000 <= seen.len(), "{all} of {} failed", seen.len());
}

/// A second after the death hardly a request goes to the dead, and the living one has them all.
fn rebalanced(seen: &[Seen], living: (&[Instant], &str), died: Instant, back: Instant) {
    let (sent, url) = living;
    let from = died + Duration::from_secs(1);
    let later: Vec<&Seen> = seen
        .iter()
        .filter(|one| one.sent > from && one.sent < back)
        .collect();
    let again = later.iter().filter(|one| one.retries > 0).count();
    let most = later.len() * 3 / 100;
    assert!(again <= most, "{again} of {} were sent again", later.len());
    let windows = (back - from).as_millis() / WINDOW.as_millis();
    for number in 0..windows as u32 {
        let start = from + WINDOW * number;
        // A busy machine may be late with a window, but not with two.
        let taken = count(sent, start, start + WINDOW * 2);
        assert!(taken > 0, "nothing in window {number} after the death");
    }
    let taken = later.iter().filter(|one| one.by.starts_with(url)).count();
    let offered = later.len();
    assert!(
        taken * 10 >= offered * 9,
        "{taken} of {offered} at the living one"
    );
}

/// Those that are back begin with few requests, never have more than their share in a second, and
/// have it at the end.
fn no_spike(sent: &[Vec<Instant>], back: Instant, end: Instant) {
    let fair = RATE as usize / 3;
    for (number, sent) in sent[..2].iter().enumerate() {
        let first = *sent
            .iter()
            .find(|at| **at > back)
            .expect("it is used again");
        let early = count(sent, first, first + WINDOW * 5);
        assert!(
            early <= fair / 3,
            "{number}: {early} in the first half second"
        );
        let mut start = back;
        while start + Duration::from_secs(1) < end {
            let busy = count(sent, start, start + Duration::from_secs(1));
            assert!(busy <= fair * 2, "{number}: {busy} in one second");
            start += WINDOW;
        }
        let late = count(sent, end - Duration::from_secs(1), end);
        assert!(late >= fair / 3, "{number}: {late} in the last second");
    }
}

fn count(sent: &[Instant], from: Instant, to: Instant) -> usize {
    sent.iter().filter(|at| **at >= from && **at < to).count()
}
