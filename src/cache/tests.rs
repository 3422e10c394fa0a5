//! Memory and single flight; the way to Redis is tested in `tests/shared`.

use bytes::Bytes;
use meridian_core::cache::{Answer, CacheMode, CachePolicy, CacheScope, Shape};
use meridian_core::endpoint::Endpoint;
use meridian_core::money::NanoUsd;

use super::*;

const MIB: usize = 1 << 20;
const MINUTE: Duration = Duration::from_secs(60);

fn key(number: u64) -> CacheKey {
    let mut digest = [7; 32];
    digest[..8].copy_from_slice(&number.to_le_bytes());
    CacheKey::from(digest)
}

fn entry(number: u64, bytes: usize, now: WallMs) -> Arc<Entry> {
    Arc::new(Entry {
        key: key(number),
        stored_at: now,
        expires_at: now.plus_ms(60_000),
        answer: Answer {
            shape: Shape::Whole,
            content_type: "application/json".to_owned(),
            deployment_id: "d".to_owned(),
            model: "m".to_owned(),
            provider: "openai".to_owned(),
            response_id: String::new(),
            prompt_tokens: 3,
            completion_tokens: 4,
            cost: NanoUsd(5_000),
        },
        body: Bytes::from(vec![b'x'; bytes]),
    })
}

fn cache(memory_bytes_max: u64) -> Cache {
    Cache::new(&ResponseCache {
        policy: CachePolicy {
            mode: CacheMode::DefaultOn,
            ttl: MINUTE,
            memory_ttl: Duration::from_secs(5),
            scope: CacheScope::Tenant,
            endpoints: vec![Endpoint::ChatCompletions],
            entry_bytes_max: MIB,
            single_flight: true,
        },
        memory_bytes_max,
        redis: None,
    })
}

#[test]
fn memory_stays_within_its_bytes_and_holds_the_largest_answer() {
    let (cache, now) = (cache(16 * MIB as u64), WallMs(1_000));
    for number in 0..64 {
        cache.keep(&entry(number, MIB, now), MINUTE, now);
        // The latest one is always there, however full it is.
        assert!(
            cache.in_memory(&key(number), now, None).is_some(),
            "{number}"
        );
        assert!(cache.gauges().bytes <= 16 * MIB as u64);
    }
    for number in 100..100_000 {
        cache.keep(&entry(number, 10, now), MINUTE, now);
    }
    let gauges = cache.gauges();
    assert!(gauges.bytes <= 16 * MIB as u64, "{gauges:?}");
    assert!(gauges.entries > 1_000, "{gauges:?}");
}

#[test]
fn an_answer_is_gone_when_its_time_is_over_and_its_bytes_with_it() {
    let (cache, now) = (cache(MIB as u64), WallMs(1_000));
    cache.keep(&entry(1, 100, now), MINUTE, now);
    let later = now.plus_ms(59_999);
    assert!(cache.in_memory(&key(1), later, None).is_some());
    assert!(
        cache
            .in_memory(&key(1), later, Some(Duration::from_secs(9)))
            .is_none()
    );
    assert!(
        cache
            .in_memory(&key(1), now.plus_ms(60_000), None)
            .is_none()
    );
    cache.memory.forget(now.plus_ms(60_000));
    assert_eq!((cache.gauges().entries, cache.gauges().bytes), (0, 0));
}

#[tokio::test]
async fn answers_are_deleted_one_by_one_and_all_at_once() {
    let (cache, now) = (cache(MIB as u64), WallMs(1_000));
    for number in 0..5 {
        cache.keep(&entry(number, 100, now), MINUTE, now);
    }
    assert_eq!(cache.delete(&[key(0), key(1), key(77)]).await.unwrap(), 2);
    assert!(cache.in_memory(&key(0), now, None).is_none());
    assert!(cache.in_memory(&key(2), now, None).is_some());
    assert_eq!(cache.flush().await.unwrap(), 3);
    assert_eq!(cache.gauges().entries, 0);
    assert!(cache.ping().await.is_ok() && !cache.is_shared());
    assert_eq!(cache.redis_figures().await.unwrap(), None);
}

fn lead(cache: &Cache, number: u64) -> Lead {
    match cache.join(key(number)) {
        Join::Lead(lead) => lead,
        Join::Follow(_) => panic!("somebody leads already"),
    }
}

fn follow(cache: &Cache, number: u64) -> watch::Receiver<Stage> {
    match cache.join(key(number)) {
        Join::Follow(stages) => stages,
        Join::Lead(_) => panic!("nobody leads"),
    }
}

#[tokio::test]
async fn followers_hear_how_the_first_one_gets_on_and_ends() {
    let (cache, now) = (cache(MIB as u64), WallMs(1_000));
    let first = lead(&cache, 1);
    let mut stages = follow(&cache, 1);
    first.progress(17);
    stages.changed().await.unwrap();
    assert!(matches!(*stages.borrow_and_update(), Stage::Running(17)));
    let answer = entry(1, 10, now);
    first.stored(&answer);
    stages.changed().await.unwrap();
    assert!(matches!(&*stages.borrow(), Stage::Stored(entry) if Arc::ptr_eq(entry, &answer)));
    // The place is free again.
    lead(&cache, 1).alone();
    let one = lead(&cache, 1);
    let stages = follow(&cache, 1);
    one.alone();
    assert!(matches!(*stages.borrow(), Stage::Alone));
}

#[tokio::test]
async fn a_first_one_that_leaves_makes_room_for_exactly_one() {
    let cache = cache(MIB as u64);
    let first = lead(&cache, 1);
    let followers: Vec<_> = (0..10).map(|_| follow(&cache, 1)).collect();
    drop(first);
    assert!(
        followers
            .iter()
            .all(|one| matches!(*one.borrow(), Stage::Left))
    );
    let places: Vec<Join> = followers.iter().map(|_| cache.join(key(1))).collect();
    let leads = places.iter().filter(|one| matches!(one, Join::Lead(_)));
    assert_eq!(leads.count(), 1);
    // Others with other keys are nobody's business.
    drop(lead(&cache, 2));
}
