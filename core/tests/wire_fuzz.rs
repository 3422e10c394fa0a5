//! Garbage of every sort: no panic, no lost byte, the same outcome however it is cut.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use bytes::Bytes;
use meridian_core::endpoint::Endpoint;
use meridian_core::meter::Meter;
use meridian_core::relay::{Ending, StreamRelay, abort_reply};
use meridian_core::spend::EndReason;
use meridian_core::wire::edit::UsageChunk;
use proptest::prelude::*;

const PIECES: [&str; 20] = [
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"h\u{e9}\"}}]}",
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}",
    "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}",
    "data: {\"error\":{\"message\":\"m\"}}",
    "data: [DONE]",
    "data:",
    "data: {\"choices\"",
    ":",
    "event: error",
    "event: message_start",
    "data: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":3}}}",
    "data: {\"type\":\"message_stop\"}",
    "data: {\"type\":\"response.completed\",\"response\":{}}",
    "\n",
    "\r",
    "\r\n",
    "\n\n",
    "\r\n\r\n",
    "\u{feff}",
    ": comment",
];

const ENDPOINTS: [Endpoint; 5] = [
    Endpoint::ChatCompletions,
    Endpoint::Completions,
    Endpoint::Messages,
    Endpoint::Responses,
    Endpoint::ImagesGenerations,
];

fn stream() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        8 => prop::sample::select(&PIECES[..]).prop_map(|piece| piece.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..6),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

/// Relays in pieces of these sizes (then the rest): output, ending and the relay.
fn run(
    endpoint: Endpoint,
    usage_chunk: UsageChunk,
    bytes: &[u8],
    sizes: &[usize],
) -> (Vec<u8>, Ending, StreamRelay) {
    let mut relay = StreamRelay::new(endpoint, Meter::for_endpoint(endpoint), usage_chunk);
    let mut rest = Bytes::copy_from_slice(bytes);
    let mut out = Vec::new();
    for size in sizes {
        let piece = rest.split_to((*size).min(rest.len()));
        relay.push(&piece, &mut out).unwrap();
    }
    relay.push(&rest, &mut out).unwrap();
    let ending = relay.finish(&mut out);
    assert!(out.iter().all(|piece| !piece.is_empty()));
    (out.concat(), ending, relay)
}

fn config() -> ProptestConfig {
    ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(2000)
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn bytes_and_facts_do_not_depend_on_the_cuts(
        bytes in stream(),
        sizes in prop::collection::vec(0usize..30, 0..30),
        endpoint in prop::sample::select(&ENDPOINTS[..]),
    ) {
        let (whole, whole_ending, whole_relay) = run(endpoint, UsageChunk::Asked, &bytes, &[]);
        prop_assert_eq!(&whole, &bytes);
        let (got, ending, relay) = run(endpoint, UsageChunk::Asked, &bytes, &sizes);
        prop_assert_eq!(&got, &bytes);
        prop_assert_eq!(ending, whole_ending);
        prop_assert_eq!(relay.facts(), whole_relay.facts());
        prop_assert_eq!(relay.meter().usage(), whole_relay.meter().usage());
    }

    #[test]
    fn hiding_removes_the_same_bytes_at_any_cut(
        bytes in stream(),
        sizes in prop::collection::vec(0usize..30, 0..30),
    ) {
        let chat = Endpoint::ChatCompletions;
        let (whole, whole_ending, _) = run(chat, UsageChunk::Injected, &bytes, &[]);
        let (got, ending, relay) = run(chat, UsageChunk::Injected, &bytes, &sizes);
        prop_assert!(is_subsequence(&got, &bytes));
        prop_assert_eq!(ending, whole_ending);
        let (_, _, shown) = run(chat, UsageChunk::Asked, &bytes, &sizes);
        prop_assert_eq!(relay.facts(), shown.facts());
        prop_assert_eq!(got, whole);
    }

    #[test]
    fn an_abort_is_an_event_of_its_own(
        bytes in stream(),
        sizes in prop::collection::vec(0usize..30, 0..30),
        endpoint in prop::sample::select(&ENDPOINTS[..]),
        hide in any::<bool>(),
        finished in any::<bool>(),
    ) {
        let usage_chunk = if hide { UsageChunk::Injected } else { UsageChunk::Asked };
        let mut relay = StreamRelay::new(endpoint, Meter::for_endpoint(endpoint), usage_chunk);
        let mut rest = Bytes::copy_from_slice(&bytes);
        let mut out = Vec::new();
        for size in sizes {
            let piece = rest.split_to(size.min(rest.len()));
            relay.push(&piece, &mut out).unwrap();
        }
        if finished {
            relay.finish(&mut out);
        }
        out.push(relay.abort(&abort_reply(EndReason::UpstreamReset), "r"));
        let text = String::from_utf8_lossy(&out.concat()).replace("\r\n", "\n");
        let text = text.replace('\r', "\n");
        let is_closed = text.ends_with("}\n\n");
        prop_assert!(is_closed);
        let last = text.trim_end().rsplit("\n\n").next().unwrap_or_default();
        let data = last.lines().find_map(|line| line.strip_prefix("data: "));
        let event: serde_json::Value = serde_json::from_str(data.unwrap_or_default()).unwrap();
        prop_assert!(!event["error"].is_null() || event["type"] == "response.failed");
    }
}

fn is_subsequence(part: &[u8], whole: &[u8]) -> bool {
    let mut rest = whole.iter();
    part.iter().all(|byte| rest.any(|other| other == byte))
}
