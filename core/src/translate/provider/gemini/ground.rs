//! What Gemini found on the web as OpenAI's annotations, and its log probabilities as chat's.

use crate::translate::Emit;
use crate::translate::event::{Piece, Sink};
use crate::translate::text::Text;
use crate::wire::json::{Kind, Value};

/// Tells `groundingMetadata`: one annotation for each source of each supported segment. `said` is
/// the text of the answer so far: Gemini counts bytes, OpenAI characters.
pub(super) fn annotations(choice: u32, found: Value<'_>, said: &str, sink: &mut dyn Sink) {
    let list = |name: &[u8]| found.field(name).into_iter().flat_map(Value::items);
    let chunks: Vec<Value<'_>> = list(b"groundingChunks").collect();
    for support in list(b"groundingSupports") {
        let segment = support.field(b"segment");
        let offset = |name: &[u8]| {
            let bytes = segment.and_then(|segment| segment.field(name)?.count());
            characters(said, bytes.unwrap_or(0))
        };
        let (start, end) = (offset(b"startIndex"), offset(b"endIndex"));
        let indices = support.field(b"groundingChunkIndices");
        for index in indices.into_iter().flat_map(Value::items) {
            let index = index.count().and_then(|index| usize::try_from(index).ok());
            let web = index.and_then(|index| chunks.get(index)?.field(b"web"));
            let Some(web) = web else {
                continue;
            };
            let mut raw = Vec::new();
            let mut emit = Emit::new(&mut raw);
            emit.open().name("type").string("url_citation");
            emit.name("url_citation").open();
            emit.name("start_index").count(start);
            emit.name("end_index").count(end);
            for (theirs, ours) in [(b"uri".as_slice(), "url"), (b"title".as_slice(), "title")] {
                if let Some(text) = web.field(theirs).and_then(Text::of) {
                    emit.name(ours).text(&text);
                }
            }
            emit.close().close();
            let kind = Kind::Object;
            sink.take(choice, Piece::Annotation(Value { raw: &raw, kind }));
        }
    }
}

/// How many searches the provider ran.
pub(super) fn searches(found: Value<'_>) -> u32 {
    let queries = found.field(b"webSearchQueries");
    let count = queries.into_iter().flat_map(Value::items).count();
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn characters(text: &str, bytes: u64) -> u64 {
    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    let within = text
        .char_indices()
        .take_while(|(at, _)| *at < bytes)
        .count();
    within as u64
}

/// Tells `logprobsResult`.
pub(super) fn logprobs(choice: u32, result: Value<'_>, sink: &mut dyn Sink) {
    let list = |name: &[u8]| result.field(name).into_iter().flat_map(Value::items);
    let mut tops = list(b"topCandidates");
    let mut raw = Vec::new();
    let mut emit = Emit::new(&mut raw);
    emit.open_list();
    for chosen in list(b"chosenCandidates") {
        emit.open();
        token(chosen, &mut emit);
        emit.name("top_logprobs").open_list();
        let top = tops.next().and_then(|top| top.field(b"candidates"));
        for candidate in top.into_iter().flat_map(Value::items) {
            emit.open();
            token(candidate, &mut emit);
            emit.close();
        }
        emit.close_list().close();
    }
    emit.close_list();
    let kind = Kind::Array;
    sink.take(choice, Piece::Logprobs(Value { raw: &raw, kind }));
}

fn token(candidate: Value<'_>, emit: &mut Emit<'_>) {
    let text = candidate.field(b"token").and_then(Text::of);
    let text = text.unwrap_or(Text::plain(""));
    emit.name("token").text(&text);
    let probability = candidate.field(b"logProbability");
    let raw = probability
        .filter(|value| value.kind == Kind::Number)
        .map_or(b"0.0".as_slice(), |value| value.raw);
    emit.name("logprob").raw(raw);
    emit.name("bytes").open_list();
    for byte in text.clear().bytes() {
        emit.count(u64::from(byte));
    }
    emit.close_list();
}
