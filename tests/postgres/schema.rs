//! The schema: up, down, side by side with another version, and refused when it does not fit.

use meridian::store::{Direction, MigrateError, Store, StoreError, migrate};
use meridian_testkit::run::Run;
use meridian_testkit::{pgbouncer, postgres};

use super::support::{NOON, apply, ask, database, record};

/// Everything that makes up a schema, as text.
fn shape(name: &str) -> String {
    let columns = "SELECT table_schema, table_name, column_name, data_type, is_nullable, \
        column_default FROM information_schema.columns \
        WHERE table_schema NOT IN ('pg_catalog', 'information_schema') \
        AND table_name <> 'schema_history' ORDER BY 1, 2, 3";
    let indexes = "SELECT indexdef FROM pg_indexes WHERE schemaname = 'meridian' \
        AND tablename <> 'schema_history' ORDER BY 1";
    let functions = "SELECT proname FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace \
        WHERE nspname = 'meridian' ORDER BY 1";
    [columns, indexes, functions]
        .map(|sql| ask(name, sql))
        .join("\n--\n")
}

#[tokio::test]
async fn every_step_goes_up_and_down_again_and_leaves_nothing() {
    let name = postgres::shared().fresh();
    let database = database(&postgres::shared().url(&name));
    let empty = shape(&name);
    let up = migrate(&database, Direction::Up).await.unwrap();
    assert_eq!(up.schema.version, up.schema.own);
    assert_eq!(up.steps.len() as i64, up.schema.own);
    let full = shape(&name);
    assert_ne!(full, empty);
    let again = migrate(&database, Direction::Up).await.unwrap();
    assert_eq!((again.steps.len(), shape(&name)), (0, full.clone()));
    // With rows in it.
    let store = Store::postgres(&database).unwrap();
    apply(&store, vec![record(1, NOON, 5)]).await.unwrap();
    for version in (0..up.schema.own).rev() {
        let down = migrate(&database, Direction::Down).await.unwrap();
        assert_eq!((down.steps.len(), down.schema.version), (1, version));
    }
    assert_eq!(shape(&name), empty);
    let bottom = migrate(&database, Direction::Down).await;
    assert!(matches!(bottom, Err(MigrateError::AtBottom)), "{bottom:?}");
    migrate(&database, Direction::Up).await.unwrap();
    let without_days = full.lines().filter(|line| !line.contains("_202"));
    assert!(without_days.eq(shape(&name).lines()));
}

#[tokio::test]
async fn two_at_once_and_one_behind_a_pooler_make_one_schema() {
    let name = postgres::shared().fresh();
    let direct = database(&postgres::shared().url(&name));
    let pooled = database(&pgbouncer::shared().url(&name));
    let all = [&direct, &pooled, &direct, &pooled].map(|one| migrate(one, Direction::Up));
    let [a, b, c, d] = all;
    let (a, b, c, d) = tokio::join!(a, b, c, d);
    let steps = [a, b, c, d].map(|one| one.unwrap().steps.len());
    let mut sorted = steps;
    sorted.sort_unstable();
    assert_eq!(sorted[..3], [0, 0, 0], "{steps:?}");
}

#[tokio::test]
async fn a_schema_that_does_not_fit_is_refused_with_the_command_that_helps() {
    let name = postgres::shared().fresh();
    let database = database(&postgres::shared().url(&name));
    let refused = |store: Store| async move {
        match store.journal_position("test").await {
            Err(StoreError::Schema(text)) => text,
            other => panic!("{other:?}"),
        }
    };
    let open = || Store::postgres(&database).unwrap();
    let none = refused(open()).await;
    assert!(none.contains("`meridian migrate up`"), "{none}");
    let up = migrate(&database, Direction::Up).await.unwrap();
    let own = up.schema.own;
    open().journal_position("test").await.unwrap();
    migrate(&database, Direction::Down).await.unwrap();
    let old = refused(open()).await;
    assert!(old.contains(&format!("version {}", own - 1)), "{old}");
    migrate(&database, Direction::Up).await.unwrap();
    // A newer program has been here: first one that this one gets along with, then another.
    let newer = own + 1;
    let note = format!(
        "INSERT INTO meridian.schema_history VALUES ({newer}, 'later', '2026-11-18T00:00:00Z', '1')"
    );
    ask(&name, &note);
    open().journal_position("test").await.unwrap();
    let status = migrate(&database, Direction::Up).await.unwrap();
    assert_eq!((status.steps.len(), status.schema.version), (0, newer));
    let down = migrate(&database, Direction::Down).await;
    assert!(matches!(down, Err(MigrateError::Unknown(_))), "{down:?}");
    ask(
        &name,
        &format!("UPDATE meridian.compatibility SET since = {newer}"),
    );
    let apart = refused(open()).await;
    assert!(apart.contains("use a newer one"), "{apart}");
}

#[tokio::test]
async fn the_command_migrates_what_the_environment_names() {
    let name = postgres::shared().fresh();
    let url = postgres::shared().url(&name);
    let run = |way: &str| {
        Run::new(env!("CARGO_BIN_EXE_meridian"))
            .arg("migrate")
            .arg(way)
            .env("DATABASE_URL", &url)
    };
    let status = run("status").succeed().await;
    assert!(status.contains("no schema"), "{status}");
    let up = run("up").succeed().await;
    assert!(up.contains("applied: V1__ledger"), "{up}");
    let again = run("up").succeed().await;
    assert!(!again.contains("applied"), "{again}");
    let down = run("down").succeed().await;
    assert!(down.contains("taken back"), "{down}");
    let without = Run::new(env!("CARGO_BIN_EXE_meridian"))
        .arg("migrate")
        .finish()
        .await;
    assert_eq!(without.code, Some(1));
    assert!(
        without.stderr.contains("DATABASE_URL"),
        "{}",
        without.stderr
    );
}
