//! Equal requests at the same time: one goes to the provider, whatever happens to it.

use std::time::Duration;

use futures::future::join_all;
use meridian_testkit::deadline::SOON;
use meridian_testkit::provider::Row;
use meridian_testkit::raw::{BodyEnd, Conn, Request};

use super::{Api, World, cached, said, with, world};

const MANY: usize = 50;

/// Sends the same request many times at once, and gives back what was said of the cache.
async fn at_once(world: &World, request: &Request, count: usize) -> Vec<(u16, String, Vec<u8>)> {
    let answers = join_all((0..count).map(|_| world.send(request))).await;
    let answers = answers.into_iter().map(|answer| {
        assert_eq!(answer.end, BodyEnd::Complete);
        (answer.status(), said(&answer).to_owned(), answer.body)
    });
    answers.collect()
}

/// Waits until the provider has so many requests with this marker.
async fn asked(world: &World, marker: &str, count: usize) {
    let of_marker = |rows: &[Row]| {
        let rows = rows
            .iter()
            .filter(|row| row.marker.as_deref() == Some(marker));
        rows.count() >= count
    };
    world.provider.wait(SOON, of_marker).await;
}

/// Waits until so many requests wait for another one.
async fn in_flight(world: &World, count: usize) {
    let started = meridian_testkit::deadline::now();
    while world
        .gateway
        .metric("meridian_reservations_outstanding", "")
        .await
        < count as f64
    {
        assert!(started.elapsed() < SOON, "they never came");
    }
}

#[tokio::test]
async fn fifty_equal_requests_are_one_for_the_provider() {
    let world = world().await;
    for stream in [false, true] {
        let marker = format!("fifty-{stream}");
        let request = Api::Chat.ask("+head_ms=3000+tokens=20", &marker, stream);
        let answers = at_once(&world, &request, MANY).await;
        assert_eq!(world.provider.attempts(&marker).len(), 1, "stream {stream}");
        let mut followed = 0;
        for (status, said, body) in &answers {
            assert_eq!(*status, 200);
            assert_eq!(body, &answers[0].2);
            followed += usize::from(said == "followed");
        }
        assert!(followed >= MANY - 10, "{followed}");
    }
}

#[tokio::test]
async fn a_first_one_whose_client_leaves_fails_nobody() {
    let world = world().await;
    for stream in [false, true] {
        let marker = format!("left-{stream}");
        let request = Api::Chat.ask("+head_ms=3000", &marker, stream);
        let mut first = Conn::open(world.gateway.addr()).await;
        first.send(&request.bytes()).await.unwrap();
        asked(&world, &marker, 1).await;
        let followers = at_once(&world, &request, 10);
        let leaves = async {
            in_flight(&world, 11).await;
            first.reset();
        };
        let (answers, ()) = futures::future::join(followers, leaves).await;
        assert!(
            answers.iter().all(|(status, ..)| *status == 200),
            "{answers:?}"
        );
        // One of them went instead, and the others waited for that one.
        assert_eq!(world.provider.attempts(&marker).len(), 2, "stream {stream}");
        assert!(answers.iter().all(|(_, _, body)| *body == answers[0].2));
    }
}

#[tokio::test]
async fn when_the_first_one_fails_the_others_go_themselves_at_once() {
    let world = world().await;
    let request = Api::Chat.ask("+head_ms=2000+status=500", "fails", false);
    let answers = at_once(&world, &request, 8).await;
    assert!(
        answers.iter().all(|(status, ..)| *status >= 500),
        "{answers:?}"
    );
    let rows = world.provider.settled().await;
    assert_eq!(rows.len(), 8, "{rows:#?}");
    // Not one after the other.
    let together = |pair: &[Row]| pair[0].ended.is_some_and(|ended| pair[1].started < ended);
    assert!(rows[1..].windows(2).any(together), "{rows:#?}");
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_waited_for_no_longer_than_it_takes_to_see_that() {
    let section = "response_cache: {entry_bytes_max: 4096}";
    let world = World::with(section, cached).await;
    // 60 events of 2 KiB, 100 ms apart: six seconds.
    let request = Api::Chat.ask("+tokens=60+huge=2048+chunk_ms=100", "large", true);
    let (answers, ()) = futures::future::join(at_once(&world, &request, 2), async {
        // The second one does not wait for the end of the first.
        asked(&world, "large", 2).await;
        let rows = world.provider.attempts("large");
        let apart = rows[1].started - rows[0].started;
        assert!(apart < Duration::from_secs(3), "{apart:?}");
    })
    .await;
    assert!(answers.iter().all(|(status, ..)| *status == 200));
    assert_eq!(
        said(&world.send(&Api::Chat.ask("+huge=8192", "l2", true)).await),
        "miss"
    );
    assert_eq!(
        said(&world.send(&Api::Chat.ask("+huge=8192", "l2", true)).await),
        "miss"
    );
    let counted = world
        .gateway
        .metric("meridian_cache_stored_total", "too_large")
        .await;
    assert!(counted >= 4.0, "{counted}");
}

#[tokio::test]
async fn whoever_has_little_time_goes_before_it_is_over() {
    let world = world().await;
    let request = Api::Chat.ask("+head_ms=3000", "hurry", false);
    let first = world.send(&request);
    let second = async {
        asked(&world, "hurry", 1).await;
        let quick = Api::Chat.ask("+head_ms=3000", "hurry", false);
        world.send(&quick.field("x-litellm-timeout", "2")).await
    };
    let (first, second) = futures::future::join(first, second).await;
    assert_eq!(first.status(), 200);
    // Its own deadline is too short for this provider, but it had its try.
    assert_eq!(second.status(), 408, "{}", second.text());
    assert_eq!(world.provider.attempts("hurry").len(), 2);
}

#[tokio::test]
async fn without_single_flight_each_goes_itself() {
    let section = "response_cache: {single_flight: false}";
    let world = World::with(section, |config| with(config, "type: local")).await;
    let request = Api::Chat.ask("+head_ms=500", "each", false);
    at_once(&world, &request, 5).await;
    assert_eq!(world.provider.attempts("each").len(), 5);
    assert_eq!(said(&world.send(&request).await), "hit-memory");
}
