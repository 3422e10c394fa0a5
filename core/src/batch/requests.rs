//! The requests that make a Message Batch of Anthropic's: which models they ask for, and where
//! they name them.

use std::collections::HashMap;
use std::ops::Range;

use crate::error::GatewayError;
use crate::wire::edit::quoted;
use crate::wire::json::{JsonError, Kind, Reader, Value};
use crate::wire::span::{BodySpans, member_name};
use crate::wire::walk::{Named, members};

/// Most requests of one batch: Anthropic's own number.
pub const REQUESTS_MAX: usize = 100_000;
/// Most models of one batch.
pub const MODELS_MAX: usize = 64;
/// Longest name of a model.
const NAME_BYTES_MAX: usize = 512;
/// The member that holds them.
const REQUESTS: &str = "requests";

/// What the requests of a batch ask for. Holds offsets only: pass the same body again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requests {
    /// Each once, in the order in which they come.
    models: Vec<String>,
    /// Where the list stands.
    list: Range<usize>,
    /// Where each request names its model, with quotes, and which one.
    places: Vec<(u32, u32, u16)>,
}

impl Requests {
    /// Reads the body of a request that makes a batch. Whoever reads it after this must find the
    /// same models: a member that is there twice is refused.
    ///
    /// # Errors
    /// `BadField` that names the request and what is wrong with it, `InvalidJson`.
    pub fn read(body: &[u8], spans: &BodySpans) -> Result<Self, GatewayError> {
        let named = |member: &&_| member_name(body, **member).is_some_and(|name| name == REQUESTS);
        let mut lists = spans.members().iter().filter(named);
        let (first, second) = (lists.next(), lists.next());
        let list = first.filter(|list| second.is_none() && list.kind == Kind::Array);
        let raw = list.and_then(|list| body.get(list.value.range()));
        let (Some(list), Some(raw)) = (list, raw) else {
            return Err(bad(REQUESTS, "must be there once, a list of requests"));
        };
        let mut reading = Reading {
            body,
            known: HashMap::new(),
            requests: Self {
                models: Vec::new(),
                list: list.value.range(),
                places: Vec::new(),
            },
        };
        let mut failure = None;
        let read = Reader::new(raw).items(|reader| {
            let request = reader.value()?;
            if failure.is_none() {
                failure = reading.request(request).err();
            }
            Ok(())
        });
        read.map_err(unreadable)?;
        match failure {
            Some(failure) => Err(failure),
            None if reading.requests.places.is_empty() => Err(bad(REQUESTS, "is empty")),
            None => Ok(reading.requests),
        }
    }

    /// The models that are asked for, each once.
    pub fn models(&self) -> &[String] {
        &self.models
    }

    /// At most so many bytes has the list with these names of its models.
    pub fn renamed_bytes(&self, names: &[String]) -> u64 {
        let longest = names.iter().map(|name| quoted(name).len()).max();
        let names = self
            .places
            .len()
            .saturating_mul(longest.unwrap_or_default());
        self.list.len().saturating_add(names) as u64
    }

    /// The list with other names of its models, by their place in [`Self::models`].
    pub fn renamed(&self, body: &[u8], names: &[String]) -> Vec<u8> {
        let names: Vec<Vec<u8>> = names.iter().map(|name| quoted(name)).collect();
        let mut list = Vec::with_capacity(self.list.len() + self.places.len() * 16);
        let mut from = self.list.start;
        for (start, end, model) in &self.places {
            let (start, end) = (*start as usize, *end as usize);
            list.extend_from_slice(body.get(from..start).unwrap_or_default());
            match names.get(usize::from(*model)) {
                Some(name) => list.extend_from_slice(name),
                None => list.extend_from_slice(body.get(start..end).unwrap_or_default()),
            }
            from = end;
        }
        list.extend_from_slice(body.get(from..self.list.end).unwrap_or_default());
        list
    }
}

/// Requests that are being read.
struct Reading<'b> {
    body: &'b [u8],
    known: HashMap<String, u16>,
    requests: Requests,
}

impl Reading<'_> {
    fn request(&mut self, request: Value<'_>) -> Result<(), GatewayError> {
        let index = self.requests.places.len();
        if index >= REQUESTS_MAX {
            let why = format!("has more than {REQUESTS_MAX} requests");
            return Err(bad(REQUESTS, &why));
        }
        let field = format!("{REQUESTS}[{index}]");
        let params = only(request, "params", &field)?;
        let field = format!("{field}.params");
        let model = only(params, "model", &field)?;
        let field = format!("{field}.model");
        let name = model.text().filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| bad(&field, "must be the name of a model"))?;
        if name.len() > NAME_BYTES_MAX {
            return Err(bad(&field, "is longer than the name of any model"));
        }
        let model_index = self.index_of(&name, &field)?;
        let start = model.raw.as_ptr().addr() - self.body.as_ptr().addr();
        let place = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        let (start, end) = (place(start), place(start + model.raw.len()));
        self.requests.places.push((start, end, model_index));
        Ok(())
    }

    fn index_of(&mut self, name: &str, field: &str) -> Result<u16, GatewayError> {
        if let Some(known) = self.known.get(name) {
            return Ok(*known);
        }
        let index = self.requests.models.len();
        if index >= MODELS_MAX {
            let why = format!("is one more than the {MODELS_MAX} models that one batch may have");
            return Err(bad(field, &why));
        }
        let index = u16::try_from(index).unwrap_or(u16::MAX);
        self.known.insert(name.to_owned(), index);
        self.requests.models.push(name.to_owned());
        Ok(index)
    }
}

/// The only member of this name.
fn only<'v>(object: Value<'v>, wanted: &str, field: &str) -> Result<Value<'v>, GatewayError> {
    if object.kind != Kind::Object {
        return Err(bad(field, "must be an object"));
    }
    let mut found = None;
    for member in members(object) {
        let Named { name, value, .. } = member.map_err(unreadable)?;
        if name != wanted {
            continue;
        }
        if found.is_some() {
            return Err(bad(&format!("{field}.{wanted}"), "is there twice"));
        }
        found = Some(value);
    }
    found.ok_or_else(|| bad(&format!("{field}.{wanted}"), "is missing"))
}

fn bad(field: &str, why: &str) -> GatewayError {
    GatewayError::BadField {
        field: field.to_owned(),
        message: format!("'{field}' {why}"),
    }
}
fn unreadable(error: JsonError) -> GatewayError {
    GatewayError::InvalidJson {
        detail: error.to_string(),
    }
}
