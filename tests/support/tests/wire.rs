//! The relay: what passes, when, and what its peers see when it does not.

use std::time::Duration;

use meridian_testkit::deadline::{SOON, now, within};
use meridian_testkit::redis::Redis;
use meridian_testkit::wire::{Relay, Wire};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const PING: &[u8] = b"*1\r\n$4\r\nPING\r\n";

async fn ask(stream: &mut TcpStream) -> std::io::Result<String> {
    stream.write_all(PING).await?;
    let mut answer = [0; 7];
    stream.read_exact(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).trim().to_owned())
}

async fn open(relay: &Relay) -> TcpStream {
    TcpStream::connect(relay.addr()).await.unwrap()
}

#[tokio::test]
async fn a_question_and_its_answer_take_the_round_trip_and_are_counted() {
    let redis = Redis::start();
    let round_trip = Duration::from_millis(160);
    let relay = Relay::with_round_trip(redis.addr(), round_trip).await;
    let mut stream = open(&relay).await;
    for _ in 0..2 {
        let began = now();
        assert_eq!(ask(&mut stream).await.unwrap(), "+PONG");
        assert!(began.elapsed() >= round_trip);
    }
    let traffic = relay.traffic();
    assert_eq!(
        (traffic.connections, traffic.bytes_up),
        (1, 2 * PING.len() as u64)
    );
    assert_eq!(traffic.bytes_down, 14);
    assert_eq!(traffic.commands, [("PING".to_owned(), 2)].into());
    assert_eq!(traffic.frames(), 0);
}

#[tokio::test]
async fn what_was_stalled_arrives_when_the_wire_is_whole() {
    let redis = Redis::start();
    let relay = Relay::to(redis.addr()).await;
    let mut stream = open(&relay).await;
    assert_eq!(ask(&mut stream).await.unwrap(), "+PONG");
    relay.set(Wire::Stalled);
    let mut asking = tokio::spawn(async move { ask(&mut stream).await.unwrap() });
    let mut late = open(&relay).await;
    let silence = Duration::from_millis(300);
    assert!(tokio::time::timeout(silence, &mut asking).await.is_err());
    relay.set(Wire::Whole);
    assert_eq!(within(SOON, "the answer", asking).await.unwrap(), "+PONG");
    assert_eq!(
        within(SOON, "an answer", ask(&mut late)).await.unwrap(),
        "+PONG"
    );
}

#[tokio::test]
async fn a_connection_that_lost_something_ends_when_the_wire_is_whole() {
    let redis = Redis::start();
    let relay = Relay::to(redis.addr()).await;
    let (mut lost, mut quiet) = (open(&relay).await, open(&relay).await);
    for stream in [&mut lost, &mut quiet] {
        assert_eq!(ask(stream).await.unwrap(), "+PONG");
    }
    relay.set(Wire::BlackHole);
    let silence = Duration::from_millis(300);
    assert!(tokio::time::timeout(silence, ask(&mut lost)).await.is_err());
    relay.set(Wire::Whole);
    let ended = within(SOON, "the end", lost.read(&mut [0; 8])).await;
    assert!(ended.is_err(), "{ended:?}");
    assert_eq!(
        within(SOON, "an answer", ask(&mut quiet)).await.unwrap(),
        "+PONG"
    );
}

#[tokio::test]
async fn a_cut_resets_what_is_open_and_what_comes() {
    let redis = Redis::start();
    let relay = Relay::to(redis.addr()).await;
    let mut held = open(&relay).await;
    assert_eq!(ask(&mut held).await.unwrap(), "+PONG");
    relay.set(Wire::Cut);
    let ended = within(SOON, "the end", held.read(&mut [0; 8])).await;
    assert!(ended.is_err(), "{ended:?}");
    if let Ok(mut late) = TcpStream::connect(relay.addr()).await {
        let answer = within(SOON, "the end", ask(&mut late)).await;
        assert!(answer.is_err(), "{answer:?}");
    }
    relay.set(Wire::Whole);
    assert_eq!(ask(&mut open(&relay).await).await.unwrap(), "+PONG");
}
