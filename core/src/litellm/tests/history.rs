//! Days and logs: every day once, whatever runs follow each other.

use serde_json::json;

use super::super::*;
use super::{NOW, object, token};
use crate::endpoint::Endpoint;
use crate::ids::KeyHash;
use crate::spend::EndReason;

const DAY: i64 = 24 * 3_600_000;
const TODAY: i64 = 1_795_003_200_000 / DAY;

#[test]
fn without_logs_only_days_that_have_ended_are_taken_each_once() {
    let first = History::default().plan(LogChoice::None, NOW, None, Some(TODAY - 90));
    assert_eq!(first.days, Some((None, TODAY)));
    assert_eq!(first.logs_since, None);
    let again = first
        .next
        .plan(LogChoice::None, NOW, None, Some(TODAY - 90));
    assert_eq!((again.days, again.next), (None, first.next));
    let later = first
        .next
        .plan(LogChoice::None, NOW.plus_ms(2 * DAY), None, None);
    assert_eq!(later.days, Some((Some(TODAY), TODAY + 2)));
    // Shortly after midnight the last sums of the day before are not there yet.
    let midnight = WallMs((TODAY + 1) * DAY + 60_000);
    let early = History::default().plan(LogChoice::None, midnight, None, None);
    assert_eq!(early.days, Some((None, TODAY)));
}

#[test]
fn with_logs_the_days_before_them_come_from_sums_and_the_border_never_moves() {
    let log_since = Some(WallMs((TODAY - 40) * DAY));
    let begun = Some(TODAY - 90);
    let first = History::default().plan(LogChoice::Days(7), NOW, log_since, begun);
    assert_eq!(first.logs_since, Some(WallMs((TODAY - 6) * DAY)));
    assert_eq!(first.days, Some((None, TODAY - 6)));
    // What was read is not read again, but for requests that may have been running.
    let read_again = Some(NOW.plus_ms(-2 * DAY));
    for choice in [LogChoice::Days(30), LogChoice::All, LogChoice::Days(1)] {
        let later = first
            .next
            .plan(choice, NOW.plus_ms(5 * DAY), log_since, begun);
        assert_eq!(
            (later.days, later.logs_since),
            (None, read_again),
            "{choice:?}"
        );
        assert_eq!(later.next.logs_from, Some(TODAY - 6));
    }
    // Without logs in this run nothing is taken from sums that the log holds.
    let later = first
        .next
        .plan(LogChoice::None, NOW.plus_ms(5 * DAY), log_since, begun);
    assert_eq!((later.days, later.logs_since), (None, None));
}

#[test]
fn logs_never_reach_into_days_that_were_taken_as_sums() {
    let sums = History::default().plan(LogChoice::None, NOW, None, None);
    let log_since = Some(WallMs((TODAY - 40) * DAY));
    let logs = sums.next.plan(LogChoice::Days(30), NOW, log_since, None);
    assert_eq!((logs.days, logs.next.logs_from), (None, Some(TODAY)));
    // Where LiteLLM keeps no log there is none to take.
    let none = History::default().plan(LogChoice::Days(1), NOW, None, None);
    assert_eq!((none.days, none.logs_since), (Some((None, TODAY)), None));
}

#[test]
fn a_log_that_was_cut_counts_from_its_first_whole_day() {
    let cut_at = Some(WallMs((TODAY - 3) * DAY + 5));
    let whole = |choice, first_day| {
        let plan = History::default().plan(choice, NOW, cut_at, first_day);
        plan.next.logs_from.unwrap()
    };
    assert_eq!(whole(LogChoice::All, Some(TODAY - 90)), TODAY - 2);
    assert_eq!(whole(LogChoice::Days(30), Some(TODAY - 90)), TODAY - 2);
    // It was not cut: the installation is that young.
    assert_eq!(whole(LogChoice::All, Some(TODAY - 3)), TODAY - 3);
}

#[test]
fn choices_are_read() {
    assert_eq!(LogChoice::parse("none"), Some(LogChoice::None));
    assert_eq!(LogChoice::parse("all"), Some(LogChoice::All));
    assert_eq!(LogChoice::parse("7"), Some(LogChoice::Days(7)));
    for text in ["0", "-1", "week", ""] {
        assert_eq!(LogChoice::parse(text), None, "{text}");
    }
}

#[test]
fn spend_is_counted_once_over_runs_and_periods() {
    let ends = Some(NOW.plus_ms(DAY));
    let source = |dollars: i64, ends| SourceSpend {
        spend: NanoUsd(dollars),
        ends,
    };
    let counted = |dollars: i64, ends| {
        Some(SpendMark {
            counted: NanoUsd(dollars),
            ends,
        })
    };
    assert_eq!(spend_to_add(source(10, ends), None, None, NOW), NanoUsd(10));
    // The same again, then more, then LiteLLM's own reset by hand.
    assert_eq!(
        spend_to_add(source(10, ends), counted(10, ends), ends, NOW),
        NanoUsd(0)
    );
    assert_eq!(
        spend_to_add(source(15, ends), counted(10, ends), ends, NOW),
        NanoUsd(5)
    );
    assert_eq!(
        spend_to_add(source(2, ends), counted(10, ends), ends, NOW),
        NanoUsd(-8)
    );
    // Meridian is in the next period, LiteLLM has not reset yet; then it has.
    let (next, later) = (Some(NOW.plus_ms(2 * DAY)), NOW.plus_ms(DAY + 1));
    assert_eq!(
        spend_to_add(source(15, ends), counted(10, ends), next, later),
        NanoUsd(0)
    );
    assert_eq!(
        spend_to_add(source(3, next), counted(10, ends), next, later),
        NanoUsd(3)
    );
    // A sum without a period.
    assert_eq!(
        spend_to_add(source(7, None), counted(4, None), None, NOW),
        NanoUsd(3)
    );
}

fn log_row() -> serde_json::Value {
    json!({
        "request_id": "chatcmpl-1", "call_type": "acompletion", "api_key": token("sk-a"),
        "spend": 0.0125, "prompt_tokens": 100, "completion_tokens": 20,
        "startTime": "2026-11-18T10:00:00.250", "endTime": "2026-11-18T10:00:02.500",
        "completionStartTime": "2026-11-18T10:00:01", "model": "gpt-4o-2024-11-20",
        "model_id": "m1", "model_group": "gpt-4o", "custom_llm_provider": "openai",
        "api_base": "https://api.openai.com/v1", "user": "u1", "request_tags": ["a", "b"],
        "team_id": "t1", "organization_id": "", "end_user": "acme", "session_id": "s1",
        "status": "success", "requester_ip_address": "10.0.0.1",
        "metadata": {"user_api_key_alias": "alice",
            "usage_object": {"prompt_tokens_details": {"cached_tokens": 64}}},
    })
}

fn record(row: serde_json::Value) -> crate::spend::SpendRecord {
    match log_record("x", object(row)) {
        Ok(Log::Record(record)) => *record,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_row_of_the_log_is_a_request_of_the_ledger_and_the_same_each_time() {
    let one = record(log_row());
    assert_eq!(one, record(log_row()));
    assert_eq!(one.endpoint, Endpoint::ChatCompletions);
    assert_eq!(one.payer.key, Some(KeyHash::of_secret("sk-a")));
    assert_eq!(
        (one.payer.team_id.as_deref(), one.payer.organization_id),
        (Some("t1"), None)
    );
    assert_eq!(one.cost, NanoUsd(12_500_000));
    assert_eq!((one.usage.prompt, one.usage.cache_read), (100, 64));
    assert_eq!((one.end_reason, one.status), (EndReason::Complete, 200));
    assert_eq!(one.response_id.as_deref(), Some("chatcmpl-1"));
    let mut other = log_row();
    other["request_id"] = json!("chatcmpl-2");
    assert_ne!(one.call_id, record(other).call_id);
}

#[test]
fn failures_the_master_key_and_foreign_calls_are_told_apart() {
    let mut row = log_row();
    row["status"] = json!("failure");
    row["api_key"] = json!("litellm_proxy_master_key");
    row["metadata"] = json!({"error_information": {"error_code": "429",
        "error_class": "RateLimitError", "error_message": "a secret prompt"}});
    let failed = record(row);
    assert_eq!(
        (failed.end_reason, failed.status),
        (EndReason::UpstreamFailed, 429)
    );
    assert_eq!(failed.error.as_deref(), Some("RateLimitError"));
    assert_eq!(failed.payer.key, None);

    let mut row = log_row();
    row["call_type"] = json!("call_mcp_tool");
    let foreign = log_record("x", object(row)).unwrap();
    assert_eq!(
        foreign,
        Log::Foreign("call_mcp_tool".to_owned(), NanoUsd(12_500_000))
    );

    let mut row = log_row();
    row["spend"] = json!("Infinity");
    assert_eq!(log_record("x", object(row)).unwrap_err().column, "spend");
}

#[test]
fn sums_of_a_day_become_roll_ups() {
    let row = json!({
        "id": "1", "user_id": "u1", "date": "2026-11-17", "api_key": token("sk-a"),
        "model": "gpt-4o-2024-11-20", "model_group": "gpt-4o", "custom_llm_provider": "openai",
        "endpoint": "/v1/chat/completions", "prompt_tokens": 10, "completion_tokens": 2,
        "spend": 0.5, "api_requests": 4, "successful_requests": 3, "failed_requests": 1,
        "meridian_team_id": "t1", "meridian_organization_id": null,
    });
    let day = day_row(DayTable::User, "1", object(row)).unwrap();
    assert_eq!(
        (day.day, day.user_id.as_str(), day.team_id.as_str()),
        (TODAY - 1, "u1", "t1")
    );
    assert_eq!(day.endpoint, "acompletion");
    assert_eq!(
        (day.requests, day.failed, day.spend),
        (4, 1, NanoUsd(500_000_000))
    );
    let row = json!({"tag": "a", "date": "2026-11-17", "api_key": "", "spend": 1.0});
    let tag = day_row(DayTable::Tag, "1", object(row)).unwrap();
    assert_eq!(
        (tag.entity.as_str(), tag.user_id.as_str(), tag.key),
        ("a", "", None)
    );
    let bad = json!({"user_id": "u", "date": "yesterday", "api_key": ""});
    assert_eq!(
        day_row(DayTable::User, "1", object(bad))
            .unwrap_err()
            .column,
        "date"
    );
}
