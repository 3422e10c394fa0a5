//! Requests for embeddings.

use crate::translate::Emit;
use crate::translate::context::{Context, Memo, Operation, Request};
use crate::translate::dialect::{Platform, ProviderDialect};
use crate::translate::loss::{Losses, Refusal, Weight};
use crate::translate::text::Text;
use crate::wire::json::{Kind, Value, whole};

/// Most texts that Cohere takes at once.
const COHERE_TEXTS_MAX: usize = 96;
/// Most texts that `batchEmbedContents` takes at once.
const GEMINI_TEXTS_MAX: usize = 100;
/// Most texts that Vertex takes at once.
const VERTEX_TEXTS_MAX: usize = 250;
/// Most texts of one request, as OpenAI has it: each may become a request of its own.
const TEXTS_MAX: usize = 2_048;

/// A request, read.
struct Wanted<'a> {
    texts: Vec<Text<'a>>,
    dimensions: Option<u64>,
    /// Cohere's word for what the embeddings are for.
    input_type: Option<Text<'a>>,
    truncate: Option<Value<'a>>,
    base64: bool,
}

/// Tells a request. Texts above a provider's limit go into further bodies.
pub(crate) fn request(
    to: ProviderDialect,
    body: &[u8],
    context: &Context<'_>,
    losses: &mut Losses<'_>,
) -> Result<Request, Refusal> {
    let wanted = read(body, losses)?;
    let (at_once, operation) = match to {
        ProviderDialect::TitanEmbed => (1, Operation::InvokeEmbed),
        ProviderDialect::GeminiEmbed => (GEMINI_TEXTS_MAX, Operation::BatchEmbedContents),
        ProviderDialect::VertexEmbed => (VERTEX_TEXTS_MAX, Operation::Predict),
        _ if context.platform == Platform::BedrockInvoke => {
            (COHERE_TEXTS_MAX, Operation::InvokeEmbed)
        }
        _ => (COHERE_TEXTS_MAX, Operation::CohereEmbed),
    };
    account(to, &wanted, losses);
    let mut bodies = wanted.texts.chunks(at_once).map(|texts| {
        let mut body = Vec::new();
        let mut emit = Emit::new(&mut body);
        match to {
            ProviderDialect::TitanEmbed => titan(texts, &wanted, &mut emit),
            ProviderDialect::GeminiEmbed => gemini(texts, &wanted, context, &mut emit),
            ProviderDialect::VertexEmbed => vertex(texts, &wanted, &mut emit),
            _ => cohere(texts, &wanted, context, &mut emit),
        }
        body
    });
    let body = bodies.next().unwrap_or_default();
    Ok(Request {
        body,
        more: bodies.collect(),
        operation,
        headers: Vec::new(),
        stream: false,
        losses: Vec::new(),
        memo: Memo {
            base64: wanted.base64,
            ..Memo::default()
        },
    })
}

fn read<'a>(body: &'a [u8], losses: &mut Losses<'_>) -> Result<Wanted<'a>, Refusal> {
    let object = whole(body).ok().filter(|value| value.kind == Kind::Object);
    let object = object.ok_or_else(|| Refusal::wrong("body", "a JSON object"))?;
    let mut wanted = Wanted {
        texts: Vec::new(),
        dimensions: None,
        input_type: None,
        truncate: None,
        base64: false,
    };
    for (name, value) in object.fields() {
        let name = String::from_utf8_lossy(name);
        if value.kind == Kind::Null {
            continue;
        }
        match &*name {
            "model" => {}
            "input" => wanted.texts = texts(value)?,
            "dimensions" => {
                let count = value.count().filter(|count| *count > 0);
                let wrong = || Refusal::wrong("dimensions", "a positive integer");
                wanted.dimensions = Some(count.ok_or_else(wrong)?);
            }
            "encoding_format" => {
                wanted.base64 = match value.inner() {
                    Some(b"base64") => true,
                    Some(b"float") => false,
                    _ => return Err(Refusal::wrong("encoding_format", "'float' or 'base64'")),
                };
            }
            "input_type" => wanted.input_type = Text::of(value),
            "truncate" => wanted.truncate = Some(value),
            "user" => losses.drop(Weight::Hint, "user", "the provider has no such field"),
            _ => {
                let why = "the provider has no such parameter";
                losses.drop(Weight::Parameter, name.into_owned(), why);
            }
        }
    }
    if wanted.texts.is_empty() {
        return Err(Refusal::wrong(
            "input",
            "a text or a list of texts, not empty",
        ));
    }
    Ok(wanted)
}

fn texts(input: Value<'_>) -> Result<Vec<Text<'_>>, Refusal> {
    if let Some(text) = Text::of(input) {
        return Ok(vec![text]);
    }
    let mut texts = Vec::new();
    for item in input.items() {
        let Some(text) = Text::of(item) else {
            let message = "'input' must be text: this provider does not take tokens";
            return Err(Refusal::new("input", message));
        };
        if texts.len() == TEXTS_MAX {
            let message = format!("'input' holds more than {TEXTS_MAX} texts");
            return Err(Refusal::new("input", message));
        }
        texts.push(text);
    }
    Ok(texts)
}

/// What the provider has no word for.
fn account(to: ProviderDialect, wanted: &Wanted<'_>, losses: &mut Losses<'_>) {
    let (takes_type, takes_truncate) = match to {
        ProviderDialect::CohereEmbed => (true, true),
        ProviderDialect::GeminiEmbed | ProviderDialect::VertexEmbed => (true, false),
        _ => (false, false),
    };
    let why = "the provider has no such parameter";
    if wanted.input_type.is_some() && !takes_type {
        losses.drop(Weight::Parameter, "input_type", why);
    }
    if wanted.truncate.is_some() && !takes_truncate {
        losses.drop(Weight::Parameter, "truncate", why);
    }
}

fn cohere(texts: &[Text<'_>], wanted: &Wanted<'_>, context: &Context<'_>, emit: &mut Emit<'_>) {
    emit.open();
    if context.platform != Platform::BedrockInvoke {
        emit.name("model").string(context.model);
    }
    emit.name("texts").open_list();
    for text in texts {
        emit.text(text);
    }
    emit.close_list().name("input_type");
    match &wanted.input_type {
        Some(kind) => emit.text(kind),
        None => emit.string("search_document"),
    };
    emit.name("embedding_types").open_list();
    emit.string("float").close_list();
    if let Some(count) = wanted.dimensions {
        emit.name("output_dimension").count(count);
    }
    if let Some(truncate) = wanted.truncate {
        emit.name("truncate").raw(truncate.raw);
    }
    emit.close();
}

fn titan(texts: &[Text<'_>], wanted: &Wanted<'_>, emit: &mut Emit<'_>) {
    emit.open().name("inputText").joined(texts);
    if let Some(count) = wanted.dimensions {
        emit.name("dimensions").count(count);
    }
    emit.close();
}

/// Google's word for Cohere's `input_type`; its own words pass.
fn task<'t>(kind: &'t Text<'_>) -> Text<'t> {
    let own = match &*kind.clear() {
        "search_document" => "RETRIEVAL_DOCUMENT",
        "search_query" => "RETRIEVAL_QUERY",
        "classification" => "CLASSIFICATION",
        "clustering" => "CLUSTERING",
        _ => return kind.borrowed(),
    };
    Text::plain(own)
}

fn gemini(texts: &[Text<'_>], wanted: &Wanted<'_>, context: &Context<'_>, emit: &mut Emit<'_>) {
    let model = context.model.trim_start_matches("models/");
    let model = format!("models/{model}");
    emit.open().name("requests").open_list();
    for text in texts {
        emit.open().name("model").string(&model);
        emit.name("content").open().name("parts").open_list();
        emit.open().name("text").text(text).close();
        emit.close_list().close();
        if let Some(kind) = &wanted.input_type {
            emit.name("taskType").text(&task(kind));
        }
        if let Some(count) = wanted.dimensions {
            emit.name("outputDimensionality").count(count);
        }
        emit.close();
    }
    emit.close_list().close();
}

fn vertex(texts: &[Text<'_>], wanted: &Wanted<'_>, emit: &mut Emit<'_>) {
    emit.open().name("instances").open_list();
    for text in texts {
        emit.open().name("content").text(text);
        if let Some(kind) = &wanted.input_type {
            emit.name("task_type").text(&task(kind));
        }
        emit.close();
    }
    emit.close_list().name("parameters").open();
    if let Some(count) = wanted.dimensions {
        emit.name("outputDimensionality").count(count);
    }
    emit.close().close();
}
