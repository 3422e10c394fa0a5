//! Places and memory of fetches.

use meridian_core::wire::span::BodySpans;

use super::*;

fn a_place() -> Vec<Place> {
    let body =
        br#"{"messages":[{"content":[{"type":"image_url","image_url":"http://192.0.2.1/"}]}]}"#;
    meridian_core::remote::places(body, &BodySpans::scan(body).unwrap())
}

async fn asked(remote: &Remote, key: Option<KeyHash>, timeout: Duration) -> NotFetched {
    let bounds = Bounds {
        bytes_max: 9,
        timeout,
        reach: &Reach::default(),
        key,
        budget: &ByteBudget::new(100),
    };
    remote.fetch(a_place(), bounds).await.map(drop).unwrap_err()
}

const SHORT: Duration = Duration::from_millis(20);
const LONG: Duration = Duration::from_secs(300);

fn is_busy(why: &NotFetched) -> bool {
    matches!(
        why,
        NotFetched::Failed(GatewayError::Overloaded {
            retry_after_s: 1,
            ..
        })
    )
}

#[tokio::test]
async fn without_a_free_place_the_gateway_is_busy_and_no_key_takes_all() {
    let remote = Remote::default();
    let (one, other) = (KeyHash::of_secret("sk-a"), KeyHash::of_secret("sk-b"));
    let own = OfKey::of(&remote, Some(one));
    let held = own.slots.acquire_many(16).await.unwrap();
    assert!(is_busy(&asked(&remote, Some(one), SHORT).await));
    let why = asked(&remote, Some(other), LONG).await;
    assert!(matches!(why, NotFetched::Refused(_)), "tried: {why:?}");
    drop(held);
    drop(own);
    assert!(remote.of_keys.is_empty(), "keys at rest are forgotten");
    let _all = remote.slots.acquire_many(64).await.unwrap();
    assert!(is_busy(&asked(&remote, Some(other), SHORT).await));
    assert!(is_busy(&asked(&remote, None, SHORT).await));
}

#[test]
fn bytes_count_as_they_come_and_are_given_back() {
    let budget = ByteBudget::new(25);
    let stock = Stock::of(Bounds {
        bytes_max: 30,
        timeout: Duration::ZERO,
        reach: &Reach::default(),
        key: None,
        budget: &budget,
    });
    assert!(stock.take(10).is_ok());
    assert_eq!(budget.used(), 10);
    assert!(matches!(stock.take(21), Err(GetError::TooLarge(30))));
    assert!(matches!(stock.take(16), Err(GetError::NoRoom)));
    assert_eq!(budget.used(), 10);
    drop(stock);
    assert_eq!(budget.used(), 0);
}
