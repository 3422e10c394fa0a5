//! What passes without a translation: streams, batches, lists, errors, and the framing of it all.

use bytes::{Bytes, BytesMut};
use meridian_core::batch::{
    Batch, Cut, Line, Lines, MessageBatch, Requests, is_over, with_own_results,
};
use meridian_core::endpoint::Endpoint;
use meridian_core::meter::{Facts, Meter};
use meridian_core::relay::{Ending, StreamRelay};
use meridian_core::restream;
use meridian_core::time::WallMs;
use meridian_core::transcript::Transcript;
use meridian_core::wire::edit::UsageChunk;
use meridian_core::wire::http1::{BodyDecoder, Framing};
use meridian_core::wire::object_list::{self, Page, Paging, Place, Question};
use meridian_core::wire::span::BodySpans;
use meridian_core::wire::upstream_error::{ErrorAnswer, MESSAGE_BYTES_MAX};

use super::{is_json, pieces};

const RELAYED: [Endpoint; 6] = [
    Endpoint::ChatCompletions,
    Endpoint::Completions,
    Endpoint::Messages,
    Endpoint::Responses,
    Endpoint::Embeddings,
    Endpoint::AudioTranscriptions,
];

/// A stream that passes as it is arrives and is counted the same however it is cut, with the usage
/// chunk in it or without; a whole answer is read and told as a stream in whole events.
pub(crate) fn relay(data: &[u8]) {
    let Some(([which, seed], bytes)) = data.split_first_chunk::<2>() else {
        return;
    };
    let endpoint = RELAYED[usize::from(*which) % RELAYED.len()];
    for usage in [UsageChunk::Asked, UsageChunk::Injected] {
        let whole = relayed(endpoint, usage, &[bytes]);
        let cut = relayed(endpoint, usage, &pieces(bytes, *seed));
        assert_eq!(whole, cut, "{endpoint:?} {usage:?}");
    }
    let mut meter = Meter::for_endpoint(endpoint);
    meter.body(bytes);
    let events = restream::events(endpoint, bytes);
    assert!(events.is_none_or(|events| events.ends_with(b"\n\n")));
    let mut transcript = Transcript::new(endpoint, 100);
    transcript.stream(bytes);
    let texts = transcript.finish(Some(bytes));
    let kept = [texts.request, texts.response];
    assert!(
        kept.iter()
            .flatten()
            .all(|text| is_json(text.as_str().as_bytes()))
    );
}

/// What arrives, how it ends and what is known then; nothing behind bytes that cannot be read.
fn relayed(
    endpoint: Endpoint,
    usage: UsageChunk,
    chunks: &[&[u8]],
) -> Option<(Vec<u8>, Ending, Facts)> {
    let meter = Meter::for_endpoint(endpoint);
    let mut relay = StreamRelay::with_limit(endpoint, meter, usage, 1 << 16);
    let mut out = Vec::new();
    for chunk in chunks {
        relay.push(&Bytes::copy_from_slice(chunk), &mut out).ok()?;
    }
    let ending = relay.finish(&mut out);
    Some((out.concat(), ending, relay.facts().clone()))
}

/// Lines of a batch are the same however they are cut, and each is read; lists, batches and the
/// requests of one are read, and what is written of them is JSON.
pub(crate) fn batch(data: &[u8]) {
    let Some((seed, bytes)) = data.split_first() else {
        return;
    };
    let cut = |pieces: &[&[u8]]| {
        let (mut lines, mut found) = (Lines::new(1 << 12), Vec::new());
        let mut keep = |cut: Cut<'_>| match cut {
            Cut::Whole(line) => found.push(Some(line.to_vec())),
            Cut::TooLong => found.push(None),
        };
        for piece in pieces {
            lines.push(piece, &mut keep);
        }
        lines.end(&mut keep);
        found
    };
    let whole = cut(&[bytes]);
    assert_eq!(whole, cut(&pieces(bytes, *seed)));
    for line in whole.iter().flatten() {
        Line::read(line, Endpoint::ChatCompletions);
        Line::read(line, Endpoint::Embeddings);
        Line::read_message(line);
    }
    let _ = (
        Batch::read(bytes),
        MessageBatch::read(bytes),
        is_over(bytes),
    );
    if let (Some(named), true) = (with_own_results(bytes), is_json(bytes)) {
        assert!(is_json(&named));
    }
    listed(bytes);
    let spans = BodySpans::scan(bytes);
    let read = spans
        .ok()
        .and_then(|spans| Requests::read(bytes, &spans).ok());
    if let (Some(requests), true) = (read, is_json(bytes)) {
        let names = vec!["a \"name\"".to_owned(); requests.models().len()];
        let renamed = requests.renamed(bytes, &names);
        assert!(is_json(&renamed));
        assert!(renamed.len() as u64 <= requests.renamed_bytes(&names));
    }
}

/// A page of a list is told with the same objects in each way.
fn listed(bytes: &[u8]) {
    let _ = object_list::made(bytes);
    let Some(page) = Page::read(bytes).filter(|_| is_json(bytes)) else {
        return;
    };
    for paging in [Paging::After, Paging::AfterId, Paging::Cursor] {
        let written = page.write(paging);
        assert!(is_json(&written));
        let again = Page::read(&written).unwrap();
        assert_eq!(again.objects, page.objects);
    }
    let mut place = Place::default();
    while let Some(next) = place.next(&page) {
        let question = Question::read("/files?ids=1", Paging::Cursor).unwrap();
        let tail = question.tail(&next, 9);
        assert!(tail.bytes().all(|byte| byte.is_ascii_graphic()), "{tail}");
        let cursor = next.cursor_behind("a");
        let tail = format!("/files?page={cursor}");
        assert_eq!(Question::read(&tail, Paging::Cursor).unwrap().start, next);
        place = next;
    }
}

/// An error answer is read in bounded words, whatever it says.
pub(crate) fn fault(data: &[u8]) {
    let Some(([status, wait], body)) = data.split_first_chunk::<2>() else {
        return;
    };
    let waits = ["", "3", "-1", "1e9", "Wed, 21 Oct 2015 07:28:00 GMT"];
    let answer = ErrorAnswer {
        status: 200 + u16::from(*status) * 2,
        retry_after: Some(waits[usize::from(*wait) % waits.len()]),
        retry_after_ms: None,
        body,
        provider: "ProviderException",
    };
    let fault = answer.read(WallMs(1_700_000_000_000));
    assert!(fault.error.status >= 400, "{fault:?}");
    assert!(
        fault.error.message.len() <= 2 * MESSAGE_BYTES_MAX,
        "{fault:?}"
    );
}

/// The body of an answer is the same however its bytes come, whatever its framing.
pub(crate) fn body(data: &[u8]) {
    let Some(([which, seed], bytes)) = data.split_first_chunk::<2>() else {
        return;
    };
    let framing = match which % 3 {
        0 => Framing::Chunked,
        1 => Framing::Length(u64::from(*seed)),
        _ => Framing::UntilClose,
    };
    let read = |chunks: &[&[u8]]| {
        let (mut decoder, mut found) = (BodyDecoder::new(framing), Vec::new());
        let mut buffer = BytesMut::new();
        for chunk in chunks {
            buffer.extend_from_slice(chunk);
            loop {
                match decoder.decode(&mut buffer) {
                    Ok(Some(bytes)) => found.extend_from_slice(&bytes),
                    Ok(None) => break,
                    Err(fault) => return (found, Err(fault)),
                }
            }
        }
        (found, decoder.close())
    };
    assert_eq!(read(&[bytes]), read(&pieces(bytes, *seed)));
}
