//! Answers with embeddings.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::meter::Facts;
use crate::translate::context::Reply;
use crate::translate::dialect::ProviderDialect;
use crate::translate::{Answer, Emit};
use crate::usage::Usage;
use crate::wire::json::{JsonError, Kind, Value, whole};

/// Joins the answers to all bodies of one request, in their order.
pub(crate) fn answer(
    from: ProviderDialect,
    bodies: &[&[u8]],
    reply: &Reply,
) -> Result<Answer, JsonError> {
    let mut facts = Facts::default();
    let mut tokens = None;
    let mut body = Vec::new();
    let mut emit = Emit::new(&mut body);
    emit.open().name("object").string("list");
    emit.name("data").open_list();
    let mut index = 0;
    for answer in bodies {
        let answer = whole(answer)?;
        if let (None, Some(id)) = (&facts.response_id, answer.field(b"id")) {
            facts.response_id = id.text().map(|id| id.into_owned());
        }
        each(from, answer, |vector| {
            emit.open().name("object").string("embedding");
            emit.name("index").count(index).name("embedding");
            match reply.memo.base64 {
                true => emit.string(&base64_of(vector)),
                false => emit.raw(vector.raw),
            };
            emit.close();
            index += 1;
        });
        if let Some(more) = tokens_of(from, answer) {
            tokens = Some(more.saturating_add(tokens.unwrap_or(0)));
        }
    }
    emit.close_list().name("model").string(&reply.model);
    emit.name("usage").open();
    emit.name("prompt_tokens").count(tokens.unwrap_or(0));
    emit.name("total_tokens").count(tokens.unwrap_or(0));
    emit.close().close();
    facts.content_seen = index > 0;
    facts.terminal = true;
    facts.usage_final = tokens.is_some();
    let usage = tokens.map(|prompt| Usage {
        prompt,
        ..Usage::default()
    });
    Ok(Answer { body, usage, facts })
}

/// Every vector of one answer, a list of numbers.
fn each(from: ProviderDialect, answer: Value<'_>, mut tell: impl FnMut(Value<'_>)) {
    let member = |name: &[u8]| answer.field(name);
    match from {
        ProviderDialect::TitanEmbed => {
            member(b"embedding").into_iter().for_each(&mut tell);
        }
        ProviderDialect::GeminiEmbed => {
            let list = member(b"embeddings").into_iter().flat_map(Value::items);
            list.filter_map(|item| item.field(b"values"))
                .for_each(&mut tell);
        }
        ProviderDialect::VertexEmbed => {
            let list = member(b"predictions").into_iter().flat_map(Value::items);
            list.filter_map(|item| item.field(b"embeddings")?.field(b"values"))
                .for_each(&mut tell);
        }
        _ => {
            let found = member(b"embeddings");
            let floats = found.and_then(|found| match found.kind {
                Kind::Object => found.field(b"float"),
                _ => Some(found),
            });
            let list = floats.into_iter().flat_map(Value::items);
            list.for_each(&mut tell);
        }
    }
}

/// Tokens of the texts, where the provider counts them.
fn tokens_of(from: ProviderDialect, answer: Value<'_>) -> Option<u64> {
    match from {
        ProviderDialect::TitanEmbed => answer.field(b"inputTextTokenCount")?.count(),
        ProviderDialect::GeminiEmbed => answer
            .field(b"usageMetadata")?
            .field(b"promptTokenCount")?
            .count(),
        ProviderDialect::VertexEmbed => {
            let list = answer.field(b"predictions")?.items();
            let counts = list.filter_map(|item| {
                let statistics = item.field(b"embeddings")?.field(b"statistics")?;
                statistics.field(b"token_count")?.count()
            });
            Some(counts.fold(0, u64::saturating_add))
        }
        _ => answer
            .field(b"meta")?
            .field(b"billed_units")?
            .field(b"input_tokens")?
            .count(),
    }
}

/// OpenAI's packed form: 32-bit floats, little endian, as base64.
fn base64_of(vector: Value<'_>) -> String {
    let mut bytes = Vec::new();
    for number in vector.items() {
        let number = number.number().unwrap_or(0.0) as f32;
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    STANDARD.encode(bytes)
}
