//! Cohere's rerank, as LiteLLM serves it, told to Cohere v2, Bedrock and vLLM.

use crate::meter::Facts;
use crate::translate::context::{Context, Memo, Operation, Reply, Request};
use crate::translate::dialect::ProviderDialect;
use crate::translate::loss::{Losses, Refusal, Weight};
use crate::translate::text::Text;
use crate::translate::{Answer, Emit};
use crate::usage::Usage;
use crate::wire::json::{JsonError, Kind, Value, whole};

/// Documents that one billed search covers.
const DOCUMENTS_PER_SEARCH: u64 = 100;

/// A request, read.
struct Wanted<'a> {
    query: Text<'a>,
    documents: Vec<Value<'a>>,
    top_n: Option<u64>,
    max_tokens_per_doc: Option<Value<'a>>,
    return_documents: bool,
    /// vLLM's own parameters.
    rest: Vec<(String, Value<'a>)>,
}

/// Tells a request.
pub(crate) fn request(
    to: ProviderDialect,
    body: &[u8],
    context: &Context<'_>,
    losses: &mut Losses<'_>,
) -> Result<Request, Refusal> {
    let wanted = read(body, losses)?;
    let texts = wanted.documents.iter().map(|document| text_of(*document));
    let texts: Vec<Text<'_>> = texts.collect();
    let mut bytes = Vec::new();
    let mut emit = Emit::new(&mut bytes);
    let operation = match to {
        ProviderDialect::BedrockRerank => {
            account(&wanted, to, losses);
            bedrock(&wanted, context, &mut emit);
            Operation::BedrockRerank
        }
        _ => {
            account(&wanted, to, losses);
            plain(&wanted, &texts, to, context, &mut emit);
            match to {
                ProviderDialect::VllmRerank => Operation::VllmRerank,
                _ => Operation::CohereRerank,
            }
        }
    };
    let kept = match wanted.return_documents {
        true => texts.iter().map(|text| text.clear().into_owned()).collect(),
        false => Vec::new(),
    };
    Ok(Request {
        body: bytes,
        more: Vec::new(),
        operation,
        headers: Vec::new(),
        stream: false,
        losses: Vec::new(),
        memo: Memo {
            documents: kept,
            document_count: wanted.documents.len() as u64,
            ..Memo::default()
        },
    })
}

fn read<'a>(body: &'a [u8], losses: &mut Losses<'_>) -> Result<Wanted<'a>, Refusal> {
    let object = whole(body).ok().filter(|value| value.kind == Kind::Object);
    let object = object.ok_or_else(|| Refusal::wrong("body", "a JSON object"))?;
    let mut query = None;
    let mut wanted = Wanted {
        query: Text::plain(""),
        documents: Vec::new(),
        top_n: None,
        max_tokens_per_doc: None,
        return_documents: false,
        rest: Vec::new(),
    };
    for (name, value) in object.fields() {
        let name = String::from_utf8_lossy(name);
        if value.kind == Kind::Null {
            continue;
        }
        match &*name {
            "model" => {}
            "query" => query = Text::of(value),
            "documents" => wanted.documents = value.items().collect(),
            "top_n" => {
                let count = value.count().filter(|count| *count > 0);
                let wrong = || Refusal::wrong("top_n", "a positive integer");
                wanted.top_n = Some(count.ok_or_else(wrong)?);
            }
            "max_tokens_per_doc" => wanted.max_tokens_per_doc = Some(value),
            "return_documents" => wanted.return_documents = value.raw == b"true",
            "rank_fields" | "max_chunks_per_doc" => {
                let why = "of Cohere's first version alone";
                losses.drop(Weight::Parameter, name.into_owned(), why);
            }
            "user" => losses.drop(Weight::Hint, "user", "the provider has no such field"),
            _ => wanted.rest.push((name.into_owned(), value)),
        }
    }
    wanted.query = query.ok_or_else(|| Refusal::wrong("query", "a text"))?;
    let fits = |value: &Value<'_>| matches!(value.kind, Kind::String(_) | Kind::Object);
    if wanted.documents.is_empty() || !wanted.documents.iter().all(fits) {
        let expected = "a list of texts or objects, not empty";
        return Err(Refusal::wrong("documents", expected));
    }
    Ok(wanted)
}

fn account(wanted: &Wanted<'_>, to: ProviderDialect, losses: &mut Losses<'_>) {
    let is_object = |value: &&Value<'_>| {
        value.kind == Kind::Object && value.field(b"text").and_then(Text::of).is_none()
    };
    if to != ProviderDialect::BedrockRerank && wanted.documents.iter().any(|it| is_object(&it)) {
        let why = "objects are told as their JSON";
        losses.change(Weight::Hint, "documents", why);
    }
    if to != ProviderDialect::VllmRerank {
        for (name, _) in &wanted.rest {
            let why = "the provider has no such parameter";
            losses.drop(Weight::Parameter, name.clone(), why);
        }
    }
    if wanted.max_tokens_per_doc.is_some() && to != ProviderDialect::CohereRerank {
        let why = "the provider has no such parameter";
        losses.drop(Weight::Parameter, "max_tokens_per_doc", why);
    }
}

/// The text of a document: of a string, of an object's `text`, or the object's JSON.
fn text_of(document: Value<'_>) -> Text<'_> {
    let text = Text::of(document).or_else(|| document.field(b"text").and_then(Text::of));
    text.unwrap_or_else(|| Text::plain(String::from_utf8_lossy(document.raw)))
}

/// Cohere's form, which vLLM and Jina speak too.
fn plain(
    wanted: &Wanted<'_>,
    texts: &[Text<'_>],
    to: ProviderDialect,
    context: &Context<'_>,
    emit: &mut Emit<'_>,
) {
    emit.open().name("model").string(context.model);
    emit.name("query").text(&wanted.query);
    emit.name("documents").open_list();
    for text in texts {
        emit.text(text);
    }
    emit.close_list();
    if let Some(count) = wanted.top_n {
        emit.name("top_n").count(count);
    }
    if to == ProviderDialect::VllmRerank {
        for (name, value) in &wanted.rest {
            emit.name(name).raw(value.raw);
        }
    } else if let Some(value) = wanted.max_tokens_per_doc {
        emit.name("max_tokens_per_doc").raw(value.raw);
    }
    emit.close();
}

/// Bedrock's form. The model is an ARN.
fn bedrock(wanted: &Wanted<'_>, context: &Context<'_>, emit: &mut Emit<'_>) {
    emit.open().name("queries").open_list();
    emit.open().name("type").string("TEXT");
    emit.name("textQuery").open();
    emit.name("text").text(&wanted.query);
    emit.close().close().close_list();
    emit.name("sources").open_list();
    for document in &wanted.documents {
        emit.open().name("type").string("INLINE");
        emit.name("inlineDocumentSource").open();
        if document.kind == Kind::Object && document.field(b"text").is_none() {
            emit.name("type").string("JSON");
            emit.name("jsonDocument").raw(document.raw);
        } else {
            emit.name("type").string("TEXT");
            emit.name("textDocument").open();
            emit.name("text").text(&text_of(*document)).close();
        }
        emit.close().close();
    }
    emit.close_list().name("rerankingConfiguration").open();
    emit.name("type").string("BEDROCK_RERANKING_MODEL");
    emit.name("bedrockRerankingConfiguration").open();
    if let Some(count) = wanted.top_n {
        emit.name("numberOfResults").count(count);
    }
    emit.name("modelConfiguration").open();
    emit.name("modelArn").string(context.model);
    emit.close().close().close().close();
}

/// Tells an answer in Cohere's form.
pub(crate) fn answer(body: &[u8], reply: &Reply) -> Result<Answer, JsonError> {
    let answer = whole(body)?;
    let mut facts = Facts::default();
    let mut out = Vec::new();
    let mut emit = Emit::new(&mut out);
    let id = answer.field(b"id").and_then(Text::of);
    let id = id.unwrap_or_else(|| Text::plain(reply.id("rerank-", 0)));
    facts.response_id = Some(id.clear().into_owned());
    emit.open().name("id").text(&id);
    emit.name("results").open_list();
    let results = answer.field(b"results");
    for result in results.into_iter().flat_map(Value::items) {
        let score = result.field(b"relevance_score");
        let score = score.or_else(|| result.field(b"relevanceScore"));
        let (Some(index), Some(score)) = (result.field(b"index"), score) else {
            continue;
        };
        emit.open().name("index").raw(index.raw);
        emit.name("relevance_score").raw(score.raw);
        let at = index.count().and_then(|at| usize::try_from(at).ok());
        if let Some(text) = at.and_then(|at| reply.memo.documents.get(at)) {
            emit.name("document")
                .open()
                .name("text")
                .string(text)
                .close();
        }
        emit.close();
        facts.content_seen = true;
    }
    emit.close_list().name("meta").open();
    let usage = consumption(answer, reply);
    if usage.units.queries > 0 {
        emit.name("billed_units").open();
        let count = u64::from(usage.units.queries);
        emit.name("search_units").count(count).close();
    }
    if usage.prompt > 0 {
        emit.name("tokens").open();
        emit.name("input_tokens").count(usage.prompt).close();
    }
    emit.close().close();
    facts.terminal = true;
    facts.usage_final = true;
    Ok(Answer {
        body: out,
        usage: Some(usage),
        facts,
    })
}

/// What it consumed: searches as the provider counts them, or one for each hundred documents.
fn consumption(answer: Value<'_>, reply: &Reply) -> Usage {
    let member = |path: &[&[u8]]| {
        let mut value = answer;
        for name in path {
            value = value.field(name)?;
        }
        value.count()
    };
    let tokens = member(&[b"meta", b"tokens", b"input_tokens"])
        .or_else(|| member(&[b"usage", b"total_tokens"]));
    let searches = member(&[b"meta", b"billed_units", b"search_units"]);
    // Servers that count tokens bill these.
    let searches = searches.unwrap_or_else(|| match tokens {
        Some(_) => 0,
        None => reply.memo.document_count.div_ceil(DOCUMENTS_PER_SEARCH),
    });
    let mut usage = Usage {
        prompt: tokens.unwrap_or(0),
        ..Usage::default()
    };
    usage.units.queries = u32::try_from(searches).unwrap_or(u32::MAX);
    usage
}
