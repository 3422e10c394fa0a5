//! An import that is killed between two of its batches, and goes on.

use std::process::{Child, Stdio};
use std::time::Duration;

use meridian_testkit::deadline::eventually;
use meridian_testkit::postgres;

use crate::litellm::{LiteLlm, Version};
use crate::support::{Run, Target, audit_lines, everything};
use crate::{HELD, check_first};

/// Rows that were imported when the process is stopped to be killed: in the first batch, in
/// another table's, and after the first 500 keys.
const STOPPED_BEHIND: [u64; 3] = [0, 100, 700];
/// A process on a busy machine comes to its batch within this time.
const SOON: Duration = Duration::from_secs(60);

/// From now on a batch that reaches so many rows waits before its commit.
fn wait_behind(database: &str, rows: u64) {
    postgres::shared().ask(
        database,
        &format!(
            "CREATE OR REPLACE FUNCTION meridian.wait() RETURNS trigger LANGUAGE plpgsql AS $$ \
             BEGIN IF (SELECT count(*) FROM meridian.import_mark) > {rows} \
             THEN PERFORM pg_sleep(600); END IF; RETURN NULL; END $$; \
             CREATE OR REPLACE TRIGGER wait AFTER INSERT ON meridian.import_mark \
             FOR EACH STATEMENT EXECUTE FUNCTION meridian.wait()"
        ),
    );
}

fn count(database: &str, sql: &str) -> u64 {
    postgres::shared().ask(database, sql).parse().unwrap()
}

/// Kills the process when it waits in the middle of a batch; what its batch had written is gone
/// with the connection.
async fn kill_in_a_batch(database: &str, mut import: Child) {
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
        AND wait_event = 'PgSleep'";
    let waiting = || (count(database, waits) > 0).then_some(());
    eventually(SOON, "a batch that waits", waiting).await;
    import.kill().unwrap();
    assert!(!import.wait().unwrap().success());
    // The server would find out when it wants to answer.
    let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
        WHERE datname = current_database() AND wait_event = 'PgSleep'";
    count(database, end);
    let gone = || (count(database, waits) == 0).then_some(());
    eventually(SOON, "the end of its connection", gone).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_was_killed_between_batches_is_completed_by_the_next_one() {
    let litellm = LiteLlm::filled(Version::V1_87);
    let target = Target::postgres().await;
    let database = target.name().to_owned();
    let marks = "SELECT count(*) FROM meridian.import_mark";
    let mut held = Vec::new();
    for rows in STOPPED_BEHIND {
        wait_behind(&database, rows);
        let mut command = target.command_from(&litellm);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        kill_in_a_batch(&database, command.spawn().unwrap()).await;
        held.push(count(&database, marks));
    }
    assert_eq!(held[0], 0, "a batch is stored whole or not at all");
    assert!(
        held[1] <= 100 && held[2] <= 700 && held[1] < held[2],
        "{held:?}"
    );
    postgres::shared().ask(&database, "DROP FUNCTION meridian.wait() CASCADE");

    let run: Run = target.import(&litellm, &[]).succeeded();
    assert_eq!(run.sum("skipped") + run.sum("conflicts"), 0);
    let unchanged = run.sum("unchanged");
    assert_eq!(unchanged, held[2], "what was stored is not written again");
    let keys = run.table("VerificationToken");
    let (created, kept) = (&keys["created"], &keys["unchanged"]);
    assert_eq!(created.as_u64().unwrap() + kept.as_u64().unwrap(), HELD);
    check_first(&target).await;

    let store = target.store().await;
    let (before, lines) = (everything(&store).await, audit_lines(&store).await);
    let run = target.import(&litellm, &[]).succeeded();
    assert_eq!(run.sum("unchanged"), run.sum("read") - run.sum("left"));
    assert_eq!(run.sum("spend_moved"), 0);
    assert_eq!(everything(&store).await, before);
    assert_eq!(audit_lines(&store).await, lines);
}
