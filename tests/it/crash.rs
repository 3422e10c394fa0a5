//! The ledger after the worst: 50 times kill -9 under load, then every token is accounted for.

mod load;
mod postgres;
mod start;
mod stop;

use std::collections::HashMap;
use std::time::Duration;

use meridian_core::journal::PROGRESS_TOKENS;
use meridian_testkit::deadline::{SOON, insist, now, within};
use meridian_testkit::gateway::{Gateway, Setup};
use meridian_testkit::provider::{Provider, Row};
use serde_json::{Value, json};

use self::load::{Fate, Load};
use crate::dice::Dice;
use crate::ledger;
use crate::world::scripted;

/// How often the gateway is killed.
const KILLS: usize = 50;
/// Virtual keys that share the load.
const KEYS: usize = 4;
/// Clients that send at the same time.
const CLIENTS: usize = 8;
/// Shortest and longest life of a process under load, in milliseconds.
const LIFE_MS: std::ops::Range<u64> = 60..420;
/// Every random choice of this test follows from this.
const SEED: u64 = 0x5eed_0fba_d1de_a000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_kills_under_load_lose_nothing_and_count_nothing_twice() {
    let provider = Provider::start();
    let setup = Setup::new(env!("CARGO_BIN_EXE_meridian"), &scripted(&provider));
    let mut gateway = setup.start().await;
    let mut keys = Vec::new();
    for number in 0..KEYS {
        let fields = json!({"key_alias": format!("crash-{number}")});
        keys.push(gateway.key(&fields).await);
    }
    let load = Load::start(gateway.addr(), &keys, CLIENTS, SEED);
    let mut dice = Dice::new(SEED);
    let started = now();
    for _ in 0..KILLS {
        tokio::time::sleep(Duration::from_millis(dice.within(LIFE_MS))).await;
        gateway.kill().await;
        gateway.start().await;
    }
    let fates = within(Duration::from_secs(60), "the load", load.finish()).await;
    let served = provider.settled().await;
    let rows = ledger::rows(&gateway).await;
    let figures = compare(&fates, &served, &rows, KILLS);
    eprintln!("{KILLS} kills in {:?}: {figures}", started.elapsed());
    spend_is_the_sum_of_the_rows(&gateway, &keys, &rows).await;
    assert!(gateway.stop(Duration::from_secs(30)).await.success());
    gateway.start().await;
    assert_eq!(
        ledger::rows(&gateway).await.len(),
        rows.len(),
        "a start in order adds nothing"
    );
}

/// Holds the ledger against the provider's count and what clients saw, request by request.
pub(super) fn compare(
    fates: &HashMap<String, Fate>,
    served: &[Row],
    rows: &[Value],
    kills: usize,
) -> String {
    let mut ledger: HashMap<&str, &Value> = HashMap::new();
    for row in rows {
        let marker = row["end_user"].as_str().expect("a marker");
        let twice = ledger.insert(marker, row);
        assert!(twice.is_none(), "{marker} twice: {row} {twice:?}");
    }
    let (mut exact, mut estimated) = (0, 0);
    let mut seen = HashMap::new();
    for truth in served {
        let marker = truth.marker.as_deref().expect("a marker");
        assert!(seen.insert(marker, ()).is_none(), "{marker} was sent twice");
        let row = ledger.get(marker);
        let row = row.unwrap_or_else(|| panic!("{marker} is missing: {truth:?}"));
        let fate = &fates[marker];
        let (prompt, completion) = (&row["prompt_tokens"], &row["completion_tokens"]);
        if row["metadata"]["estimated"] == true {
            estimated += 1;
            assert_eq!(row["metadata"]["end_reason"], "crashed", "{row}");
            assert!(!fate.complete, "{marker} was answered whole: {row}");
            assert!(
                prompt.as_u64() >= Some(truth.usage.prompt),
                "{row} {truth:?}"
            );
            assert!(completion.as_u64() >= Some(fate.tokens), "{row} {fate:?}");
            let floor = billed_at_least(truth);
            assert!(completion.as_u64() >= Some(floor), "{row} {truth:?}");
        } else {
            exact += 1;
            let usage = (json!(truth.usage.prompt), json!(truth.usage.completion));
            assert_eq!(
                (prompt, completion),
                (&usage.0, &usage.1),
                "{row} {truth:?}"
            );
        }
    }
    let mut unsent = 0;
    for (marker, row) in &ledger {
        if !seen.contains_key(marker) {
            unsent += 1;
            let fate = &fates[*marker];
            assert!(
                !fate.complete && row["metadata"]["estimated"] == true,
                "{row}"
            );
        }
    }
    for (marker, fate) in fates.iter().filter(|(_, fate)| fate.complete) {
        assert!(ledger.contains_key(marker.as_str()), "{marker}: {fate:?}");
    }
    assert!(
        exact > 100 && estimated + unsent <= CLIENTS * kills,
        "{exact} {estimated}"
    );
    format!("{exact} exact, {estimated} estimated, {unsent} killed before they were sent")
}

/// Output tokens that an estimate may not be below. What a provider sent ahead of everybody who
/// reads is in no file: of a stream an estimate holds one interval of it.
fn billed_at_least(truth: &Row) -> u64 {
    match truth.stream {
        true => truth.sent_tokens.min(PROGRESS_TOKENS - 1),
        false => truth.usage.completion,
    }
}

async fn spend_is_the_sum_of_the_rows(gateway: &Gateway, keys: &[String], rows: &[Value]) {
    let mut total = 0;
    for (number, key) in keys.iter().enumerate() {
        let alias = json!(format!("crash-{number}"));
        let own = rows.iter().map(|row| &row["metadata"]);
        let own = own.filter(|metadata| metadata["user_api_key_alias"] == alias);
        let sum: i64 = own.filter_map(|one| one["cost_nano_usd"].as_i64()).sum();
        assert!(sum > 0, "{alias} was used");
        // What the store took while a node looked at it counts twice until its next look.
        insist(SOON, async || match ledger::key_spend(gateway, key).await {
            spend if spend == sum => Ok(()),
            spend => Err(format!("{alias}: {spend} instead of {sum}")),
        })
        .await;
        total += sum;
    }
    let all = gateway.report("/global/spend").await;
    assert_eq!(ledger::nano(&all.json()["spend"]), total, "{}", all.text());
}
