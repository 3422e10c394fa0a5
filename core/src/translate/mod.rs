//! Requests, answers and streams told in another dialect, with account of what is lost.
//!
//! A client's reader makes a [`prompt::Prompt`], a provider's writer takes it; a provider's
//! reader tells an answer in [`Piece`]s, a client's writer takes them. Neither knows the other:
//! n + m modules serve n * m pairs.

pub mod betas;
pub mod capability;
pub mod loss;
pub mod prompt;

mod client;
mod context;
mod count;
mod dialect;
mod embeddings;
mod emit;
mod event;
mod names;
mod proof;
mod provider;
mod prune;
mod rerank;
mod restore;
mod schema;
mod stream;
mod take;
mod text;
mod usage_out;

pub use capability::{Capabilities, Flag};
pub use context::{Context, Memo, Operation, Reply, Request};
pub use count::{Count, CountClient, CountRequest, Counter};
pub use dialect::{ClientDialect, Pair, Platform, ProviderDialect};
pub use emit::{Emit, escape};
pub use event::{Finish, Piece, Sink};
pub use loss::{Change, Loss, Losses, Policy, Refusal, Weight, header_value};
pub use proof::is_own;
pub use prune::without;
pub use stream::{Stream, StreamError};
pub use text::Text;

use serde::de::IgnoredAny;

use crate::meter::Facts;
use crate::translate::client::BodyWriter;
use crate::translate::provider::Reader;
use crate::translate::restore::Restore;
use crate::translate::stream::Metered;
use crate::usage::Usage;
use crate::wire::json::JsonError;

/// Tells a request in the provider's dialect. The refusal names the field at fault in the
/// caller's words.
pub fn request(pair: Pair, body: &[u8], context: &Context<'_>) -> Result<Request, Refusal> {
    // Pieces of the body are read without a look at the rest: all of it must be JSON.
    // What is passed over is not looked at for UTF-8 by the parser.
    let text = std::str::from_utf8(body).map_err(|error| not_json(&error))?;
    serde_json::from_str::<IgnoredAny>(text).map_err(|error| not_json(&error))?;
    let (body, taken) = prune::without(body, &context.policy.additional_drop_params);
    let mut losses = Losses::new(context.policy);
    for loss in taken {
        losses.drop(Weight::Hint, loss.field, loss.reason);
    }
    let to = pair.provider;
    let special = match pair.client {
        ClientDialect::Embeddings => Some(embeddings::request(to, &body, context, &mut losses)),
        ClientDialect::Rerank => Some(rerank::request(to, &body, context, &mut losses)),
        ClientDialect::Chat | ClientDialect::Messages | ClientDialect::Responses => None,
    };
    if let Some(written) = special {
        let mut request = written?;
        request.losses = losses.settle(context.provider, context.model)?;
        return Ok(request);
    }
    let Some(prompt) = client::read(pair.client, &body, &mut losses) else {
        return Err(no_such_pair(pair));
    };
    let Some(written) = provider::write(pair.provider, prompt?, context, &mut losses) else {
        return Err(no_such_pair(pair));
    };
    let mut request = written?;
    request.losses = losses.settle(context.provider, context.model)?;
    Ok(request)
}

fn not_json(error: &dyn std::error::Error) -> Refusal {
    Refusal::new("request_body", format!("Invalid JSON payload: {error}"))
}

fn no_such_pair(pair: Pair) -> Refusal {
    let (client, provider) = (pair.client.label(), pair.provider.label());
    Refusal::new(
        "model",
        format!("'model' is served in the dialect {provider}, to which {client} is not translated"),
    )
}

/// A whole answer in the client's dialect, and what it says.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its body.
    pub body: Vec<u8>,
    /// What it consumed, if it says so.
    pub usage: Option<Usage>,
    /// Id, model, finish reason, content; `error` where the provider put one into a 200.
    pub facts: Facts,
}

/// Tells a whole answer with a status below 400 in the client's dialect. Error bodies go through
/// [`crate::wire::upstream_error`], whose reply is written in either dialect.
pub fn response(pair: Pair, body: &[u8], reply: Reply) -> Result<Answer, JsonError> {
    match pair.client {
        ClientDialect::Embeddings => return joined(pair, &[body], &reply),
        ClientDialect::Rerank => return rerank::answer(body, &reply),
        ClientDialect::Chat | ClientDialect::Messages | ClientDialect::Responses => {}
    }
    let memo = reply.memo.clone();
    let reader = Reader::new(pair.provider);
    let writer = BodyWriter::new(pair.client, reply);
    let (Some(mut reader), Some(writer)) = (reader, writer) else {
        return Ok(Answer {
            body: body.to_vec(),
            usage: None,
            facts: Facts::default(),
        });
    };
    let mut metered = Metered::new(Restore::new(&memo, writer));
    reader.body(body, &mut metered)?;
    let usage = metered.usage();
    let facts = metered.facts;
    let body = metered.writer.inner.finish();
    Ok(Answer { body, usage, facts })
}

/// Joins the answers to [`Request::body`] and every one of [`Request::more`], in their order: one
/// answer with all embeddings.
pub fn joined(pair: Pair, bodies: &[&[u8]], reply: &Reply) -> Result<Answer, JsonError> {
    embeddings::answer(pair.provider, bodies, reply)
}
