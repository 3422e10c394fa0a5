//! A token server that is slow, away or wrong, and who notices.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use super::server::Server;
use super::*;

/// Life of a token in the tests: what is an hour elsewhere.
const LIFE_S: u64 = 18;

fn answer(life_s: u64, number: u32) -> (u16, String) {
    let body = format!(r#"{{"access_token":"t{number}","expires_in":{life_s}}}"#);
    (200, body)
}

#[tokio::test]
async fn a_token_server_that_is_away_for_a_sixth_of_a_life_costs_no_request() {
    let (away, given) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU32::new(0)),
    );
    let refused = Arc::new(AtomicU32::new(0));
    let (away_too, given_too, refused_too) =
        (Arc::clone(&away), Arc::clone(&given), Arc::clone(&refused));
    let server = Server::start(move |asked| {
        if !asked.head.contains("/token") {
            return Some((404, String::new()));
        }
        if away_too.load(Ordering::SeqCst) {
            refused_too.fetch_add(1, Ordering::SeqCst);
            return None;
        }
        Some(answer(LIFE_S, given_too.fetch_add(1, Ordering::SeqCst) + 1))
    })
    .await;
    let running = start();
    let source = running.credentials.source(&machine_of(&server.url));
    assert_eq!(bearer(&source.token().await.unwrap()), "t1");
    // Away from before the refresh is due until it was tried in vain for three seconds.
    away.store(true, Ordering::SeqCst);
    let mut first_refusal = None;
    let mut asked = 0;
    loop {
        let token = source.token().await.expect("a request failed");
        asked += 1;
        let now = crate::clock::mono();
        if refused.load(Ordering::SeqCst) > 0 {
            let since = *first_refusal.get_or_insert(now);
            if now - since > Duration::from_secs(LIFE_S / 6) {
                away.store(false, Ordering::SeqCst);
            }
        }
        if bearer(&token) == "t2" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(asked > 100 && refused.load(Ordering::SeqCst) >= 2);
    let report = running.credentials.report();
    assert!(report[0].usable && report[0].error.is_none(), "{report:?}");
}

#[tokio::test]
async fn many_requests_without_a_token_wait_for_one_fetch() {
    let server = Server::start(|asked| match asked.head.contains("/token") {
        true => Some(answer(3_600, 1)),
        false => Some((404, String::new())),
    })
    .await;
    let running = start();
    let source = running.credentials.source(&machine_of(&server.url));
    let waiting = (0..50).map(|_| source.token());
    let tokens = futures::future::join_all(waiting).await;
    assert!(tokens.iter().all(|token| token.is_ok()));
    let fetches = server.asked();
    let fetches = fetches.iter().filter(|one| one.head.contains("/token"));
    assert_eq!(fetches.count(), 1);
    // Equal settings are one source, also after a reload.
    let again = running.credentials.source(&machine_of(&server.url));
    assert!(Arc::ptr_eq(&source, &again));
}

#[tokio::test]
async fn a_refusal_is_named_and_not_repeated_for_every_request() {
    let body = r#"{"error":"invalid_grant","error_description":"Invalid JWT Signature."}"#;
    let server = Server::start(move |_| Some((400, body.to_owned()))).await;
    let running = start();
    let source = running.credentials.source(&machine_of(&server.url));
    let first = source.token().await.unwrap_err();
    assert!(
        first
            .to_string()
            .contains("answered 400: Invalid JWT Signature."),
        "{first}"
    );
    for _ in 0..200 {
        source.token().await.unwrap_err();
    }
    assert!(server.asked().len() < 20, "{}", server.asked().len());
    let report = running.credentials.report();
    assert!(!report[0].usable);
    assert!(report[0].error.as_deref().unwrap().contains("Invalid JWT"));
}

#[tokio::test]
async fn a_token_that_its_provider_refuses_is_replaced_once() {
    let given = AtomicU32::new(0);
    let server = Server::start(move |asked| match asked.head.contains("/token") {
        true => Some(answer(3_600, given.fetch_add(1, Ordering::SeqCst) + 1)),
        false => Some((404, String::new())),
    })
    .await;
    let running = start();
    let source = running.credentials.source(&machine_of(&server.url));
    let old = source.token().await.unwrap();
    for _ in 0..20 {
        source.distrust(&old);
    }
    while bearer(&source.token().await.unwrap()) == "t1" {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let new = source.token().await.unwrap();
    assert_eq!(bearer(&new), "t2");
    // An answer to a request with the old one says nothing about the new one.
    source.distrust(&old);
    source.distrust(&new);
    tokio::task::yield_now().await;
    assert_eq!(bearer(&source.token().await.unwrap()), "t2");
}
