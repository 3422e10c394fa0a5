//! Where Postgres is: every form that people write, and every mistake.

use meridian_core::config::{Database, TlsMode};

use super::*;

const MODELS: &str = "model_list: [{model_name: m, litellm_params: {model: mock/m}}]\n";

fn text_of(general: &str) -> String {
    format!("{MODELS}general_settings: {{master_key: sk-0123456789abcdef{general}}}\n")
}

fn database(general: &str, variables: &[(&str, &str)]) -> Option<Database> {
    good(&text_of(general), variables).0.database
}

fn by_url(url: &str) -> Database {
    database("", &[("DATABASE_URL", url)]).unwrap()
}

#[test]
fn without_one_there_is_none() {
    assert!(database("", &[]).is_none());
    assert!(database("", &[("DATABASE_HOST", "h"), ("DATABASE_NAME", "n")]).is_none());
}

#[test]
fn a_url_is_taken_apart() {
    let found = by_url(
        "postgresql://a%40b:p%2Fq@db.example:6543/llm?sslmode=verify-full&sslrootcert=/ca.pem\
         &schema=proxy&connection_limit=7&pool_timeout=3&pgbouncer=true",
    );
    let server = &found.primary;
    assert_eq!(server.to_string(), "db.example:6543/llm");
    let password = server.password.as_ref().map(|password| password.0.reveal());
    assert_eq!((server.user.as_str(), password), ("a@b", Some("p/q")));
    assert_eq!(server.tls, TlsMode::VerifyFull);
    assert_eq!(server.root_cert.as_deref(), Some("/ca.pem"));
    assert_eq!(
        (found.pool_limit, found.views_schema.as_str()),
        (7, "proxy")
    );
    assert_eq!(found.pool_wait, Duration::from_secs(3));
    let plain = by_url("postgres://u@h/n");
    assert_eq!(plain.primary.to_string(), "h:5432/n");
    assert!(plain.primary.password.is_none() && plain.replica.is_none());
    assert_eq!(
        (plain.primary.tls, plain.views_schema.as_str()),
        (TlsMode::Prefer, "public")
    );
    let socket = by_url("postgres://u@/n?host=/run/postgresql");
    assert_eq!(socket.primary.host, "/run/postgresql");
    assert_eq!(by_url("postgres://u@[::1]:5433/n").primary.host, "::1");
}

#[test]
fn the_file_wins_over_the_url_and_the_url_over_its_parts() {
    let parts = [
        ("DATABASE_HOST", "parts"),
        ("DATABASE_PORT", "6000"),
        ("DATABASE_USERNAME", "u@x"),
        ("DATABASE_PASSWORD", "p/w"),
        ("DATABASE_NAME", "n"),
        ("DATABASE_SCHEMA", "s"),
    ];
    let found = database("", &parts).unwrap();
    assert_eq!(found.primary.to_string(), "parts:6000/n");
    assert_eq!(
        (found.primary.user.as_str(), found.views_schema.as_str()),
        ("u@x", "s")
    );
    let mut all = parts.to_vec();
    all.push(("DATABASE_URL", "postgresql://u:p@url/n"));
    assert_eq!(database("", &all).unwrap().primary.host, "url");
    let file = ", database_url: 'postgresql://u:p@file/n', database_connection_pool_limit: 3, \
                database_connection_timeout: 1.5";
    let found = database(file, &all).unwrap();
    assert_eq!((found.primary.host.as_str(), found.pool_limit), ("file", 3));
    assert_eq!(found.pool_wait, Duration::from_millis(1_500));
}

#[test]
fn reports_have_their_own_server_and_tokens_need_tls() {
    let mut variables = vec![
        (
            "DATABASE_URL",
            "postgresql://u@a.b.eu-west-1.rds.amazonaws.com/n",
        ),
        (
            "DATABASE_URL_READ_REPLICA",
            "postgresql://u@replica/n?sslmode=disable",
        ),
        ("IAM_TOKEN_DB_AUTH", "True"),
        ("AWS_ACCESS_KEY_ID", "AKIA1"),
        ("AWS_REGION", "us-east-1"),
    ];
    let text = text_of("");
    let without = shown(&load_files(&[("c.yaml", &text)], &variables)).join("\n");
    assert!(without.contains("`AWS_SECRET_ACCESS_KEY`"), "{without}");
    variables.push(("AWS_SECRET_ACCESS_KEY", "secret-text"));
    let found = database("", &variables).unwrap();
    let (replica, iam) = (found.replica.clone().unwrap(), found.iam.clone().unwrap());
    assert_eq!(
        (replica.host.as_str(), iam.region.as_str()),
        ("replica", "eu-west-1")
    );
    assert_eq!(
        (found.primary.tls, replica.tls),
        (TlsMode::Require, TlsMode::Require)
    );
    assert!(!format!("{found:?}").contains("secret-text"));
}

#[test]
fn a_mistake_is_named_where_it_was_made_and_shows_no_password() {
    for (url, said) in [
        ("mysql://u:secret-text@h/n", "begins with `postgresql://`"),
        ("postgresql://h/n", "`user:password@`"),
        ("postgresql://u:secret-text/1@h/n", "%2F"),
        ("postgresql://u:secret-text@h1,h2/n", "one host name"),
        ("postgresql://u:secret-text@h:0/n", "a port from 1 to 65535"),
        ("postgresql://u:secret-text@h", "name of a database"),
        ("postgresql://u:secret-text%4@h/n", "not percent-encoded"),
        (
            "postgresql://u:secret-text@h/n?sslmode=yes",
            "`sslmode` is one of",
        ),
        (
            "postgresql://u:secret-text@h/n?connection_limit=x",
            "whole numbers",
        ),
    ] {
        let text = text_of(&format!(", database_url: '{url}'"));
        let loaded = load_files(&[("c.yaml", &text)], &[]);
        assert!(loaded.config.is_none(), "{url}");
        let found = shown(&loaded).join("\n");
        let place = "error: general_settings.database_url: ";
        assert!(
            found.contains(place) && found.contains(said),
            "{url}: {found}"
        );
        assert!(!found.contains("secret-text"), "{found}");
    }
    let text = text_of(", database_url: 'postgresql://u@h/n?options=x'");
    let (_, problems) = good(&text, &[]);
    assert!(
        problems
            .iter()
            .any(|one| one.contains("`options` is not read")),
        "{problems:?}"
    );
}
