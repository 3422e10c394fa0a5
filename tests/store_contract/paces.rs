//! How fast models answered and how often they failed.

use std::time::Duration;

use meridian::store::{Failures, Pace, PaceQuery, Store, TimeRange};
use meridian_core::money::NanoUsd;
use meridian_core::spend::{CacheHit, EndReason, SpendRecord};

use crate::support::{DAY, NOON, apply, on_every_store, record, token};

fn asked() -> PaceQuery {
    PaceQuery {
        range: TimeRange {
            from: NOON.plus_ms(-DAY),
            to: NOON.plus_ms(2 * DAY),
        },
        model_group: None,
        api_key: None,
        end_user: None,
        slow: Duration::from_secs(60),
    }
}

on_every_store! {
    async fn means_are_of_provider_answers_per_day_and_place(store: Store) {
        let mut quick = record(1, "a", NOON, 1);
        (quick.ended, quick.usage.completion) = (NOON.plus_ms(2_000), 10);
        quick.first_byte = Some(NOON.plus_ms(500));
        let mut slow = record(2, "a", NOON, 1);
        (slow.ended, slow.usage.completion) = (NOON.plus_ms(60_000), 100);
        slow.first_byte = None;
        // Not streamed: its first byte was its last. It has no tokens either.
        let mut whole = record(3, "b", NOON, 1);
        (whole.ended, whole.usage.completion) = (NOON.plus_ms(1_000), 0);
        whole.first_byte = Some(whole.ended);
        let mut later = record(4, "b", NOON.plus_ms(DAY), 1);
        later.ended = later.started.plus_ms(3_000);
        (later.first_byte, later.usage.completion) = (None, 0);
        (later.status, later.end_reason) = (503, EndReason::ProviderError);
        let mut cached = record(5, "a", NOON, 0);
        let hit = CacheHit { key: "k".into(), saved: NanoUsd(1) };
        cached.context.cache_hit = Some(hit);
        let place = |row: &SpendRecord| (row.api_base.clone(), row.model.clone());
        let (base, model) = place(&quick);
        apply(&store, vec![quick, slow, whole, later, cached]).await;
        let paces = store.paces(asked()).await.unwrap();
        let days: Vec<(&str, u64, u64)> = paces
            .iter()
            .map(|pace| (pace.day.as_str(), pace.requests, pace.slow))
            .collect();
        assert_eq!(days, [("2026-11-18", 3, 1), ("2026-11-19", 1, 0)]);
        let Pace { per_token_s, first_token_s, api_base, .. } = &paces[0];
        assert_eq!(*api_base, base);
        // 0.2 s and 0.6 s per token.
        assert!((per_token_s.unwrap() - 0.4).abs() < 1e-6, "{per_token_s:?}");
        assert!((first_token_s.unwrap() - 0.5).abs() < 1e-6, "{first_token_s:?}");
        assert_eq!((paces[1].per_token_s, paces[1].first_token_s), (None, None));
        let failures = store.failures(asked()).await.unwrap();
        let expected = Failures { model, api_base: base, status: 503, requests: 1 };
        assert_eq!(failures, [expected]);
        for (query, requests) in [
            (PaceQuery { api_key: Some(token("b")), ..asked() }, 2),
            (PaceQuery { model_group: Some("nobody's".into()), ..asked() }, 0),
            (PaceQuery { end_user: Some("' OR 1=1 --".into()), ..asked() }, 0),
        ] {
            let paces = store.paces(query).await.unwrap();
            let sum: u64 = paces.iter().map(|pace| pace.requests).sum();
            assert_eq!(sum, requests);
        }
    }
}
