//! Converse's citations in Anthropic's form.

use crate::translate::Emit;
use crate::wire::json::Value;

/// Locations: Converse's member, Anthropic's type, and (Converse's, Anthropic's) names of numbers.
type Location = (
    &'static [u8],
    &'static str,
    &'static [(&'static [u8], &'static str)],
);

const LOCATIONS: [Location; 3] = [
    (
        b"documentChar",
        "char_location",
        &[
            (b"documentIndex", "document_index"),
            (b"start", "start_char_index"),
            (b"end", "end_char_index"),
        ],
    ),
    (
        b"documentPage",
        "page_location",
        &[
            (b"documentIndex", "document_index"),
            (b"start", "start_page_number"),
            (b"end", "end_page_number"),
        ],
    ),
    (
        b"documentChunk",
        "content_block_location",
        &[
            (b"documentIndex", "document_index"),
            (b"start", "start_block_index"),
            (b"end", "end_block_index"),
        ],
    ),
];

/// One citation in Anthropic's form.
pub(super) fn anthropic(citation: Value<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut emit = Emit::new(&mut bytes);
    emit.open();
    let place = citation.field(b"location");
    let web = place.and_then(|place| place.field(b"web"));
    let title = citation.field(b"title");
    if let Some(web) = web {
        emit.name("type").string("web_search_result_location");
        member(&mut emit, "url", web.field(b"url"));
        member(&mut emit, "title", title);
    } else {
        let known = LOCATIONS
            .iter()
            .find_map(|(name, kind, numbers)| Some((place?.field(name)?, kind, numbers)));
        if let Some((place, kind, numbers)) = known {
            emit.name("type").string(kind);
            for (theirs, ours) in *numbers {
                member(&mut emit, ours, place.field(theirs));
            }
        } else {
            emit.name("type").string("search_result_location");
            member(&mut emit, "source", citation.field(b"source"));
        }
        member(&mut emit, "document_title", title);
    }
    let source = citation.field(b"sourceContent");
    let texts = source.into_iter().flat_map(Value::items);
    let texts: Vec<_> = texts
        .filter_map(|item| item.field(b"text").and_then(crate::translate::Text::of))
        .collect();
    emit.name("cited_text").joined(&texts).close();
    bytes
}

fn member(emit: &mut Emit<'_>, name: &str, value: Option<Value<'_>>) {
    if let Some(value) = value {
        emit.name(name).raw(value.raw);
    }
}
