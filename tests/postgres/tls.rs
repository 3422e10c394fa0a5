//! `sslmode` means what it means in libpq.

use std::path::Path;

use meridian::store::{Direction, MigrateError, StoreError, migrate};
use meridian_testkit::postgres::{self, Postgres};

use super::support::database;

/// What a connection with this mode comes to: nothing, or why not.
async fn outcome(server: &Postgres, host: &str, mode: &str) -> Result<(), String> {
    let port = server.addr().port();
    let url = format!("postgresql://postgres@{host}:{port}/postgres?{mode}");
    match migrate(&database(&url), Direction::Status).await {
        Ok(_) => Ok(()),
        Err(MigrateError::Store(StoreError::Unavailable(why) | StoreError::Settings(why))) => {
            Err(why)
        }
        Err(other) => panic!("{other:?}"),
    }
}

fn refused(outcome: Result<(), String>, why: &str) {
    let said = outcome.expect_err(why);
    assert!(said.contains(why), "{said}");
}

/// A certificate for `localhost` and its key, in PEM.
fn certificate() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}

fn write(dir: &Path, name: &str, text: &str) -> String {
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

#[tokio::test]
async fn each_mode_checks_what_it_says() {
    let (cert, key) = certificate();
    let server = Postgres::tls(&cert, &key);
    let dir = tempfile::tempdir().unwrap();
    let right = write(dir.path(), "right.pem", &cert);
    let wrong = write(dir.path(), "wrong.pem", &certificate().0);
    let with = |mode: &str, root: &str| format!("sslmode={mode}&sslrootcert={root}");
    for (host, mode) in [
        ("127.0.0.1", "sslmode=disable".to_owned()),
        ("127.0.0.1", "sslmode=prefer".to_owned()),
        ("127.0.0.1", "sslmode=require".to_owned()),
        ("127.0.0.1", with("require", &right)),
        ("127.0.0.1", with("verify-ca", &right)),
        ("localhost", with("verify-full", &right)),
    ] {
        assert_eq!(outcome(&server, host, &mode).await, Ok(()), "{host} {mode}");
    }
    let by_address = outcome(&server, "127.0.0.1", &with("verify-full", &right)).await;
    refused(by_address, "certificate");
    for mode in ["require", "verify-ca", "verify-full"] {
        let outcome = outcome(&server, "localhost", &with(mode, &wrong)).await;
        refused(outcome, "certificate");
    }
    let nobody = outcome(&server, "localhost", "sslmode=verify-full").await;
    refused(nobody, "certificate");
    let missing = outcome(&server, "localhost", "sslmode=require&sslrootcert=/none").await;
    refused(missing, "sslrootcert /none");
}

#[tokio::test]
async fn a_server_without_tls_is_refused_where_tls_is_required() {
    let server = postgres::shared();
    assert_eq!(outcome(server, "127.0.0.1", "sslmode=prefer").await, Ok(()));
    let refusal = outcome(server, "127.0.0.1", "sslmode=require").await;
    refused(refusal, "does not support TLS");
}
