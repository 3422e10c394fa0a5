//! Frames under every cut and every flipped byte; the settlement of orphans.

use super::frame::{
    FRAME_BYTES_MAX, Frames, HEADER_BYTES, Item, Kind, encode_close, encode_open, encode_progress,
};
use super::*;
use crate::endpoint::Endpoint;
use crate::ids::CallId;
use crate::spend::{Payer, RequestContext};

fn call(number: u8) -> CallId {
    CallId::from_bytes([number; 16])
}

fn record(number: u8) -> SpendRecord {
    SpendRecord {
        call_id: call(number),
        response_id: None,
        endpoint: Endpoint::ChatCompletions,
        stream: true,
        payer: Payer::default(),
        model_group: "gpt-4o".into(),
        deployment_id: "d1".into(),
        model: "gpt-4o-2024-11-20".into(),
        provider: "openai".into(),
        api_base: "https://api.openai.com/v1".into(),
        region: None,
        started: WallMs(1_000),
        ended: WallMs(1_000),
        first_byte: None,
        usage: Usage::default(),
        cost: NanoUsd::ZERO,
        price_unknown: false,
        estimated: false,
        end_reason: EndReason::Complete,
        status: 0,
        attempts: 1,
        context: RequestContext::default(),
        error: None,
        texts: None,
    }
}

fn open(number: u8) -> Open {
    Open {
        record: record(number),
        bound: Bound {
            prompt_tokens: 1_000,
            completion_tokens_max: 4_096,
            reserved: NanoUsd(43_460_000),
            rates: Rates {
                prompt_nano_per_mtok: 2_500_000_000,
                completion_nano_per_mtok: 10_000_000_000,
            },
        },
    }
}

/// Six frames of two requests, and where each of them ends.
fn segment() -> (Vec<u8>, Vec<usize>) {
    let mut bytes = Vec::new();
    let mut ends = Vec::new();
    for number in 1..=2 {
        encode_open(&mut bytes, &open(number)).unwrap();
        ends.push(bytes.len());
        encode_progress(&mut bytes, call(number), &Progress::default()).unwrap();
        ends.push(bytes.len());
        encode_close(&mut bytes, &record(number)).unwrap();
        ends.push(bytes.len());
    }
    (bytes, ends)
}

#[test]
fn frames_give_back_what_was_written() {
    let (bytes, _) = segment();
    let mut kinds = Vec::new();
    for (_, item) in Frames::new(&bytes) {
        let Item::Frame(frame) = item else {
            panic!("{item:?}");
        };
        kinds.push((frame.kind, frame.call_id));
        match frame.kind {
            Kind::Open => {
                let back: Open = serde_json::from_slice(frame.payload).unwrap();
                assert_eq!(back.record.call_id, frame.call_id);
                assert_eq!(back.bound, open(1).bound);
            }
            Kind::Progress => {
                let back: Progress = serde_json::from_slice(frame.payload).unwrap();
                assert_eq!(back, Progress::default());
            }
            Kind::Close => {
                let back: SpendRecord = serde_json::from_slice(frame.payload).unwrap();
                assert_eq!(back.model, "gpt-4o-2024-11-20");
            }
            Kind::Transfer => panic!("nobody wrote one"),
        }
    }
    let one = |number| [Kind::Open, Kind::Progress, Kind::Close].map(|kind| (kind, call(number)));
    assert_eq!(kinds, [one(1), one(2)].concat());
}

#[test]
fn a_torn_tail_is_left_alone_at_every_cut() {
    let (bytes, ends) = segment();
    for cut in 0..=bytes.len() {
        let mut frames = Frames::new(&bytes[..cut]);
        let whole = ends.iter().filter(|&&end| end <= cut).count();
        let items: Vec<_> = frames.by_ref().collect();
        assert_eq!(items.len(), whole, "cut at {cut}");
        assert!(items.iter().all(|(_, item)| matches!(item, Item::Frame(_))));
        let end = ends[..whole].last().copied().unwrap_or(0);
        assert_eq!(frames.consumed(), end, "cut at {cut}");
    }
}

#[test]
fn a_flipped_byte_costs_one_frame_and_is_reported() {
    let (clean, ends) = segment();
    for at in 0..clean.len() {
        let mut bytes = clean.clone();
        bytes[at] ^= 0x41;
        let hit = ends.iter().filter(|&&end| end <= at).count();
        let start = hit.checked_sub(1).map_or(0, |before| ends[before]);
        let mut frames = Frames::new(&bytes);
        let items: Vec<_> = frames.by_ref().collect();
        let good = items
            .iter()
            .filter(|(_, item)| matches!(item, Item::Frame(_)));
        assert_eq!(good.count(), ends.len() - 1, "byte {at}");
        if hit == ends.len() - 1 {
            assert_eq!(frames.consumed(), start, "byte {at}: nothing valid follows");
            continue;
        }
        let damage = Item::Corrupt {
            bytes: ends[hit] - start,
        };
        assert!(items.contains(&(start, damage)), "byte {at}: {items:?}");
        assert_eq!(frames.consumed(), bytes.len());
    }
}

#[test]
fn a_half_written_frame_in_the_middle_hides_none_of_its_neighbours() {
    let (clean, ends) = segment();
    for cut in 1..ends[0] {
        let bytes = [&clean[..ends[0]], &clean[..cut], &clean[ends[0]..]].concat();
        let items: Vec<_> = Frames::new(&bytes).collect();
        assert_eq!(items.len(), ends.len() + 1);
        assert_eq!(items[1], (ends[0], Item::Corrupt { bytes: cut }));
    }
}

#[test]
fn zeros_of_a_power_loss_and_noise_never_panic() {
    let (clean, _) = segment();
    let zeros = vec![0; 5_000];
    let bytes = [&zeros, &clean[..]].concat();
    let items: Vec<_> = Frames::new(&bytes).map(|(_, item)| item).collect();
    assert_eq!(items[0], Item::Corrupt { bytes: 5_000 });
    assert_eq!(items.len(), 7);
    let mut noise = 1u32;
    let junk: Vec<u8> = std::iter::repeat_with(|| {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (noise >> 24) as u8
    })
    .take(100_000)
    .collect();
    assert_eq!(Frames::new(&junk).count(), 0);
}

#[test]
fn a_frame_of_a_newer_version_is_named_as_such() {
    let (mut bytes, ends) = segment();
    bytes[4] = 9;
    let crc = {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&bytes[4..28]);
        hasher.update(&bytes[HEADER_BYTES..ends[0]]);
        hasher.finalize()
    };
    bytes[28..32].copy_from_slice(&crc.to_le_bytes());
    assert_eq!(Frames::new(&bytes).next(), Some((0, Item::Newer)));
    assert_eq!(Frames::new(&bytes).count(), 6);
}

#[test]
fn a_monstrous_record_is_shortened_but_keeps_its_money() {
    let mut record = record(7);
    record.cost = NanoUsd(123);
    record.usage.completion = 456;
    record.error = Some("é".repeat(200_000));
    record.context.user_agent = Some("\u{1}".repeat(100_000));
    record.context.tags = vec!["t".repeat(10_000); 100];
    record.context.spend_logs_metadata = Some(serde_json::json!({ "a": "b".repeat(100_000) }));
    let mut bytes = Vec::new();
    encode_close(&mut bytes, &record).unwrap();
    assert!(bytes.len() < FRAME_BYTES_MAX / 8, "{}", bytes.len());
    let Some((0, Item::Frame(frame))) = Frames::new(&bytes).next() else {
        panic!("no frame");
    };
    let back: SpendRecord = serde_json::from_slice(frame.payload).unwrap();
    assert_eq!((back.cost, back.usage.completion), (NanoUsd(123), 456));
    assert_eq!(back.error.unwrap().len(), 256);
    assert_eq!(back.context.tags.len(), 16);
}

#[test]
fn a_record_with_metadata_that_no_reader_follows_keeps_its_money() {
    let deep = |levels: usize| {
        let text = format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        serde_json::from_str::<serde_json::Value>(&text).unwrap()
    };
    for (levels, kept) in [(32, true), (33, false), (127, false)] {
        let mut record = record(7);
        record.context.spend_logs_metadata = Some(deep(levels));
        let mut bytes = Vec::new();
        encode_close(&mut bytes, &record).unwrap();
        let open = Open {
            record: record.clone(),
            bound: Bound::default(),
        };
        encode_open(&mut bytes, &open).unwrap();
        let payloads: Vec<_> = Frames::new(&bytes)
            .map(|(_, item)| match item {
                Item::Frame(frame) => frame.payload.to_vec(),
                other => panic!("{other:?}"),
            })
            .collect();
        let back: SpendRecord = serde_json::from_slice(&payloads[0]).unwrap();
        assert_eq!((back.call_id, back.cost), (record.call_id, record.cost));
        assert_eq!(back.context.spend_logs_metadata.is_some(), kept, "{levels}");
        let back: Open = serde_json::from_slice(&payloads[1]).unwrap();
        assert_eq!(back.record.call_id, record.call_id);
    }
}

#[test]
fn an_orphaned_stream_costs_what_it_may_have_sent() {
    let progress = Progress {
        at: WallMs(5_000),
        completion_tokens: 30,
        prompt_tokens: Some(900),
        first_byte: Some(WallMs(2_000)),
        response_id: Some("msg_1".into()),
        served_by: None,
    };
    let settled = orphan_settlement(&open(1), Some(&progress), WallMs(9_000));
    assert_eq!((settled.usage.prompt, settled.usage.completion), (900, 93));
    assert_eq!(settled.cost, NanoUsd(900 * 2_500 + 93 * 10_000));
    assert_eq!((settled.ended, settled.status), (WallMs(5_000), 200));
    assert!(settled.estimated && settled.end_reason == EndReason::Crashed);
}

#[test]
fn an_orphaned_stream_costs_no_more_than_the_request_allowed() {
    let mut open = open(1);
    open.bound.completion_tokens_max = 40;
    let at = |completion_tokens| Progress {
        completion_tokens,
        ..Progress::default()
    };
    let completion = |progress| {
        let settled = orphan_settlement(&open, Some(&progress), WallMs(9_000));
        settled.usage.completion
    };
    assert_eq!(completion(at(30)), 40);
    assert_eq!(completion(at(50)), 50, "what was sent was sent");
}

#[test]
fn an_orphaned_stream_that_nobody_saw_content_of_costs_its_prompt_and_one_interval() {
    let mut open = open(1);
    let settled = orphan_settlement(&open, None, WallMs(9_000));
    let usage = (settled.usage.prompt, settled.usage.completion);
    assert_eq!(usage, (1_000, PROGRESS_TOKENS - 1));
    assert_eq!(settled.cost, NanoUsd(2_500_000 + 63 * 10_000));
    open.bound.completion_tokens_max = 5;
    let short = orphan_settlement(&open, None, WallMs(9_000));
    assert_eq!(short.usage.completion, 5, "no more than it allowed");
    assert_eq!((settled.ended, settled.status), (WallMs(9_000), 500));
}

#[test]
fn an_orphan_that_does_not_stream_costs_its_reservation() {
    let mut open = open(1);
    open.record.stream = false;
    let settled = orphan_settlement(&open, None, WallMs(9_000));
    assert_eq!(settled.cost, NanoUsd(43_460_000));
    assert_eq!(settled.usage.completion, 4_096);
}

#[test]
fn a_fallback_is_charged_at_its_own_price() {
    let served_by = ServedBy {
        deployment_id: "d2".into(),
        model: "claude".into(),
        provider: "anthropic".into(),
        api_base: "https://api.anthropic.com/v1".into(),
        rates: Rates {
            prompt_nano_per_mtok: 12_500_000,
            completion_nano_per_mtok: 1,
        },
    };
    let progress = Progress {
        completion_tokens: 4_096,
        served_by: Some(served_by),
        ..Progress::default()
    };
    let settled = orphan_settlement(&open(1), Some(&progress), WallMs(9_000));
    assert_eq!(settled.deployment_id, "d2");
    assert_eq!(settled.cost, NanoUsd(12_501), "rounded up, never down");
}

#[test]
fn a_batch_that_was_made_is_billed_when_it_is_over_and_not_by_its_orphan() {
    let mut open = open(1);
    open.record.stream = false;
    open.record.endpoint = Endpoint::MessageBatches;
    let lost = orphan_settlement(&open, None, WallMs(9_000));
    assert_eq!((lost.status, lost.context.batch), (500, None));
    let progress = Progress {
        response_id: Some("msgbatch_1".into()),
        ..Progress::default()
    };
    let made = orphan_settlement(&open, Some(&progress), WallMs(9_000));
    assert_eq!(made.context.batch, Some(Step::Made));
    assert_eq!(made.response_id.as_deref(), Some("msgbatch_1"));
    assert_eq!((made.status, made.cost), (200, NanoUsd::ZERO));
}
