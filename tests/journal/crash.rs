//! `kill -9` again and again, also during recovery and drain: nothing lost, nothing twice.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use meridian::clock;
use meridian::journal::{Drain, Journal};
use meridian::store::{SpendPageAt, SpendQuery, Store};
use meridian_core::ids::CallId;
use meridian_core::money::NanoUsd;
use meridian_core::spend::EndReason;

use super::support::{COST, RESERVED, journal, open, payer_key, record, small};

/// Processes that are killed.
const KILLS: usize = 25;
/// A process is killed after at most this many acknowledgements.
const LINES_MAX: u16 = 600;
const DIR_VARIABLE: &str = "MERIDIAN_CRASH_DIR";

/// Body of the processes that are killed: recovers, drains, and serves requests until it dies.
/// Says `O id` when an OPEN is acknowledged and `C id` when a CLOSE is.
#[test]
fn child_that_is_killed() {
    let Some(dir) = clock::environment().remove(DIR_VARIABLE) else {
        return;
    };
    let dir = Path::new(&dir).to_owned();
    let (journal, _) = journal(&dir, small());
    let journal = Arc::new(journal);
    for _ in 0..4 {
        let journal = Arc::clone(&journal);
        std::thread::spawn(move || {
            loop {
                serve_one(&journal);
            }
        });
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let store = Store::open_embedded(&dir).await.unwrap();
        let drain = Drain::new(journal, store, "store");
        loop {
            drain.flush(Duration::from_secs(60)).await;
        }
    });
}

fn serve_one(journal: &Journal) {
    let call_id = clock::new_call_id();
    let ticket = journal.append_open(&open(call_id)).unwrap();
    say('O', call_id);
    journal
        .append_close(Some(ticket), &record(call_id))
        .unwrap();
    say('C', call_id);
}

/// One `write` below the size that a pipe takes whole.
fn say(what: char, call_id: CallId) {
    let line = format!("{what} {call_id}\n");
    let mut out = std::io::stdout().lock();
    out.write_all(line.as_bytes()).unwrap();
}

/// Runs a process, kills it after so many acknowledgements, and notes all that it had given:
/// `true` for requests whose CLOSE was acknowledged.
fn run_and_kill(dir: &Path, lines: u16, acknowledged: &mut HashMap<CallId, bool>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::child_that_is_killed", "--nocapture"])
        .env(DIR_VARIABLE, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    let mut count = 0;
    for line in out.lines().map_while(Result::ok) {
        let Some((what @ ("O" | "C"), id)) = line.split_once(' ') else {
            continue;
        };
        let Some(call_id) = CallId::parse(id) else {
            continue;
        };
        *acknowledged.entry(call_id).or_default() |= what == "C";
        count += 1;
        if count == lines.max(1) {
            child.kill().unwrap();
        }
    }
    child.kill().unwrap();
    let status = child.wait().unwrap();
    assert_eq!(status.code(), None, "killed, not failed: {status}");
}

#[tokio::test]
async fn killed_again_and_again_the_ledger_is_exact() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = HashMap::new();
    for _ in 0..KILLS {
        let [high, low, ..] = clock::random_bytes();
        let lines = u16::from_be_bytes([high, low]) % LINES_MAX;
        println!("killed after {lines} lines");
        run_and_kill(dir.path(), lines, &mut acknowledged);
    }
    let (journal, _) = journal(dir.path(), small());
    let store = Store::open_embedded(dir.path()).await.unwrap();
    let drain = Drain::new(Arc::new(journal), store.clone(), "store");
    assert!(drain.flush(Duration::from_secs(60)).await);

    let stored = all_records(&store).await;
    let missing = acknowledged.keys().filter(|id| !stored.contains_key(id));
    assert_eq!(missing.count(), 0, "of {}", acknowledged.len());
    let mut sum = 0;
    for (call_id, (cost, end_reason)) in &stored {
        sum += cost.0;
        match acknowledged.get(call_id) {
            Some(true) => assert_eq!((cost.0, *end_reason), (COST, EndReason::Complete)),
            // Not acknowledged as closed: either the CLOSE got there or recovery settled it.
            _ => assert!(
                [(COST, EndReason::Complete), (RESERVED, EndReason::Crashed)]
                    .contains(&(cost.0, *end_reason)),
                "{call_id} {cost} {end_reason:?}"
            ),
        }
    }
    assert_eq!(store.global_spend(None).await.unwrap(), NanoUsd(sum));
    let crashed = stored
        .values()
        .filter(|(_, end)| *end == EndReason::Crashed);
    assert!(crashed.count() > 0, "no kill hit a running request");
    assert!(acknowledged.len() > KILLS);
}

async fn all_records(store: &Store) -> HashMap<CallId, (NanoUsd, EndReason)> {
    let mut stored = HashMap::new();
    let mut query = SpendQuery {
        api_key: Some(payer_key()),
        size: 1_000,
        ..SpendQuery::default()
    };
    loop {
        let page = store.spend_logs(query.clone()).await.unwrap();
        for record in page.rows {
            let twice = stored.insert(record.call_id, (record.cost, record.end_reason));
            assert_eq!(twice, None);
        }
        match page.next {
            Some(next) => query.page = SpendPageAt::After(next),
            None => return stored,
        }
    }
}
