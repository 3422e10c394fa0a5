//! 10,000 random mutations of path, Host, credentials and headers: the gateway's decision is that
//! of a reference written without a look at its code, and nothing brings it down.

mod mutate;
mod reference;

use std::collections::BTreeMap;

use meridian_testkit::config::MASTER_KEY;
use meridian_testkit::gateway::{Gateway, Setup};
use meridian_testkit::provider::Provider;
use meridian_testkit::raw::Conn;
use serde_json::json;

use self::mutate::{Callers, Probe};
use crate::dice::Dice;
use crate::world::scripted;

/// Requests sent.
const REQUESTS: usize = 10_000;
/// Connections that send at the same time.
const CONNECTIONS: usize = 4;
/// Every random choice follows from this.
const SEED: u64 = 0xf022_ed00_0000_0001;

async fn callers(gateway: &Gateway) -> Callers {
    let blocked = gateway.key(&json!({})).await;
    let block = gateway
        .admin("POST", "/key/block", &json!({"key": blocked}))
        .await;
    assert_eq!(block.status(), 200);
    Callers {
        master: MASTER_KEY.to_owned(),
        key: gateway.key(&json!({"user_id": "u1"})).await,
        narrow: gateway
            .key(&json!({"allowed_routes": ["/v1/models"]}))
            .await,
        blocked,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_mutations_are_decided_as_the_reference_decides() {
    let provider = Provider::start();
    let setup = Setup::new(env!("CARGO_BIN_EXE_meridian"), &scripted(&provider));
    let gateway = setup.start().await;
    let callers = callers(&gateway).await;
    let mut tasks = Vec::new();
    for number in 0..CONNECTIONS {
        let (addr, callers) = (gateway.addr(), callers.clone());
        tasks.push(tokio::spawn(async move {
            let mut dice = Dice::new(SEED + number as u64);
            let mut decided = BTreeMap::new();
            let mut conn = None;
            let mut before = None;
            for _ in 0..REQUESTS / CONNECTIONS {
                let probe = Probe::roll(&mut dice, &callers);
                let mut open = match conn.take() {
                    Some(open) => open,
                    None => Conn::open(addr).await,
                };
                let status = send(&mut open, &probe, before.as_ref()).await;
                let found = reference::class_of(status.0);
                let expected = reference::decide(&probe);
                assert_eq!(found, expected, "{} for {probe:?}", status.0);
                *decided.entry(found).or_insert(0usize) += 1;
                conn = status.1.then_some(open);
                before = status.1.then_some((probe, status.0));
            }
            decided
        }));
    }
    let mut decided: BTreeMap<&str, usize> = BTreeMap::new();
    for task in tasks {
        for (class, count) in task.await.expect("no mismatch") {
            *decided.entry(class).or_default() += count;
        }
    }
    eprintln!("{REQUESTS} requests: {decided:?}");
    let every = ["401", "403", "404", "405", "passed"];
    assert!(
        every.iter().all(|class| decided.get(class) > Some(&100)),
        "{decided:?}"
    );
    assert!(gateway.is_ready().await, "it still serves");
    assert!(!gateway.log().contains("panicked"), "nothing panicked");
    assert_eq!(provider.rows().len(), 0, "no probe was a whole request");
}

#[tokio::test]
async fn what_is_no_request_is_answered_400() {
    let provider = Provider::start();
    let setup = Setup::new(env!("CARGO_BIN_EXE_meridian"), &scripted(&provider));
    let gateway = setup.start().await;
    let heads = [
        "GET /v1/models HTTP/1.1\r\nHost: a@b\r\n\r\n",
        "GET /v1/models HTTP/1.1\r\nHost: a\r\nna me: x\r\n\r\n",
        "GET /v1/models HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n",
        "GET http://localhost/v1/models HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        "GET /v1/models HTTP/x.y\r\nHost: a\r\n\r\n",
        "\u{1}\u{2}\u{3}\r\n\r\n",
    ];
    for probe in ["GET / HTTP/1.0\r\n\r\n", "GET / HTTP/1.1\r\nHost:a\r\n\r\n"] {
        let mut conn = Conn::open(gateway.addr()).await;
        conn.send(probe.as_bytes()).await.unwrap();
        let head = conn.head().await.expect("an answer to a short request");
        assert_eq!(head.status, 200);
    }
    for head in heads {
        let mut conn = Conn::open(gateway.addr()).await;
        conn.send(head.as_bytes()).await.unwrap();
        let answer = conn.response().await;
        assert_eq!(answer.status(), 400, "{head:?}");
        assert_eq!(
            answer.json()["error"]["type"],
            "invalid_request_error",
            "{head:?}"
        );
    }
    assert!(gateway.is_ready().await);
}

/// Status of the answer, and whether the connection may be used again.
async fn send(conn: &mut Conn, probe: &Probe, before: Option<&(Probe, u16)>) -> (u16, bool) {
    // A server that refuses early may have closed its side; the answer still counts.
    let _ = conn.send(&probe.bytes()).await;
    let head = match conn.head().await {
        Ok(head) => head,
        Err(end) => panic!("no answer ({end:?}) to {probe:?} after {before:?}"),
    };
    let answer = conn.rest_of(head).await;
    let closes = answer
        .header("connection")
        .is_some_and(|value| value.eq_ignore_ascii_case("close"));
    (answer.status(), !closes)
}
