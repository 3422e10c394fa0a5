//! What was asked and answered: kept with its row, read by who asks for it, gone with the row.

use meridian::store::{SpendQuery, Store};
use meridian_core::endpoint::Endpoint;
use meridian_core::spend::SpendRecord;
use meridian_core::transcript::Transcript;

use crate::support::{DAY, NOON, apply, call, on_every_store, record};

fn with_texts(number: u64, request: &str, response: &str) -> SpendRecord {
    let mut transcript = Transcript::new(Endpoint::ChatCompletions, 100);
    transcript.whole(response.as_bytes());
    let texts = transcript.finish(Some(request.as_bytes()));
    let mut record = record(number, "a", NOON.plus_ms(number as i64), 1);
    record.texts = Some(Box::new(texts));
    record
}

on_every_store! {
    async fn texts_are_read_by_who_asks_for_them_and_go_with_their_row(store: Store) {
        // What a database may refuse: NUL, half of a pair, nesting, the same name twice.
        let odd = "{\"a\\u0000\":\"\\ud800x\",\"a\":[[[{}]]],\"a\":1e400,\"b\":\"\u{1f600}\"}";
        let first = with_texts(1, odd, "{\"id\":\"r\"}");
        let second = with_texts(2, "not json", "[]");
        let plain = record(3, "a", NOON.plus_ms(2 * DAY), 1);
        let all = vec![first.clone(), second.clone(), plain.clone()];
        assert_eq!(apply(&store, all.clone()).await, 3);
        assert_eq!(apply(&store, all).await, 0);
        let listed = store.spend_logs(SpendQuery::default()).await.unwrap();
        assert!(listed.rows.iter().all(|row| row.texts.is_none()));
        let asked = SpendQuery {
            with_texts: true,
            ascending: true,
            ..SpendQuery::default()
        };
        let found = store.spend_logs(asked.clone()).await.unwrap();
        assert_eq!(found.rows, [first, second.clone(), plain.clone()]);
        assert!(found.rows[0].texts.is_some() && second.texts.unwrap().request.is_none());
        let one = SpendQuery {
            request_id: Some(call(1).to_string()),
            ..asked.clone()
        };
        assert_eq!(store.spend_logs(one).await.unwrap().rows.len(), 1);
        store.drop_logs_before(NOON.plus_ms(DAY)).await.unwrap();
        let left = store.spend_logs(asked).await.unwrap();
        assert_eq!(left.rows, [plain]);
    }
}

#[tokio::test]
async fn a_page_with_texts_is_short() {
    let (_dir, store) = crate::support::embedded().await;
    let many = (0..150)
        .map(|number| with_texts(number, "{}", "{}"))
        .collect();
    apply(&store, many).await;
    let asked = SpendQuery {
        with_texts: true,
        size: 1_000,
        ..SpendQuery::default()
    };
    let page = store.spend_logs(asked).await.unwrap();
    assert_eq!((page.rows.len(), page.total), (100, Some(150)));
    assert!(page.next.is_some());
}
