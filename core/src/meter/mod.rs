//! Bytes of an answer in, facts out: usage, id, finish reason, content seen, errors, the end.

pub mod usage;

mod chat;
mod content;
mod messages;
mod other;
mod responses;

pub use content::{Amount, Content};
pub use usage::UsageStyle;

use crate::endpoint::Endpoint;
use crate::usage::{ServiceTier, Units, Usage};
use crate::wire::json::{JsonError, Kind, Member, Value, whole};
use crate::wire::sse::Event;
use crate::wire::upstream_error::{Complaint, ERROR_BODY_BYTES_MAX};

/// Longest id, model name or finish reason that is kept, in bytes.
const NAME_BYTES_MAX: usize = 256;

/// Most files of one answer whose maker is kept.
const FILES_MAX: usize = 200;

/// What is known of an answer so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// The provider's id of the answer.
    pub response_id: Option<String>,
    /// The model that the provider says it used.
    pub model: Option<String>,
    /// Why generation ended: `finish_reason`, `stop_reason` or the status of a response.
    pub finish_reason: Option<String>,
    /// Files that the provider wrote while it answered, and names in what its tools returned.
    pub files: Vec<String>,
    /// Generated content, for estimates: deltas only, never error text.
    pub content: Content,
    /// A delta of any kind was seen: text, reasoning, refusal or a tool call.
    pub content_seen: bool,
    /// The last count of output tokens is the provider's final one.
    pub usage_final: bool,
    /// The dialect's own end was seen: `[DONE]`, `message_stop`, `response.completed`, ...
    pub terminal: bool,
    /// The provider reported an error.
    pub error: Option<Complaint>,
    /// Events with data.
    pub events: u64,
    /// Events whose data could not be read.
    pub malformed: u64,
    /// One of them came before any delta.
    pub malformed_first: bool,
}

/// What one event turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// The chunk that carries usage and no choices, which only a client that asked expects.
    UsageChunk,
    /// Anything else.
    Other,
}

/// What a whole body turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// An answer.
    Good,
    /// An error, whatever the HTTP status said.
    Error,
    /// No byte or only white space.
    Empty,
    /// JSON that breaks off.
    Broken,
    /// Not a JSON object: audio, files, text.
    NotJson,
}

/// Reads one answer, event by event or as a whole body.
#[derive(Clone, Debug)]
pub struct Meter {
    endpoint: Endpoint,
    shape: Shape,
    style: UsageStyle,
    facts: Facts,
    usage: Option<Usage>,
    anthropic: usage::AnthropicUsage,
    tier: Option<ServiceTier>,
    web_searches: u32,
    images: u32,
    audio_ms: u64,
    /// Bit per choice with an index under 64: begun, finished.
    begun: u64,
    finished: u64,
    /// Last `sequence_number` of a Responses stream.
    sequence: Option<u64>,
    /// `created_at` of a response, for an error event about it.
    created_at: Option<u64>,
}

/// Which answer an endpoint gives.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Shape {
    Chat,
    Messages,
    Responses,
    Other,
}

impl Meter {
    /// A meter for an answer of this endpoint by a provider that counts like this.
    pub fn new(endpoint: Endpoint, style: UsageStyle) -> Self {
        let shape = match endpoint {
            Endpoint::ChatCompletions | Endpoint::Completions => Shape::Chat,
            Endpoint::Messages => Shape::Messages,
            Endpoint::Responses | Endpoint::ResponsesItem => Shape::Responses,
            _ => Shape::Other,
        };
        Self {
            endpoint,
            shape,
            style,
            facts: Facts::default(),
            usage: None,
            anthropic: usage::AnthropicUsage::default(),
            tier: None,
            web_searches: 0,
            images: 0,
            audio_ms: 0,
            begun: 0,
            finished: 0,
            sequence: None,
            created_at: None,
        }
    }

    /// A meter for an answer in the endpoint's own dialect.
    pub fn for_endpoint(endpoint: Endpoint) -> Self {
        let style = match endpoint {
            Endpoint::Messages => UsageStyle::Anthropic,
            _ => UsageStyle::Inclusive,
        };
        Self::new(endpoint, style)
    }

    /// What is known so far.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Takes what the translation of an answer knows of it: the provider's own words, of which
    /// the client's dialect may have no place for some.
    pub fn adopt(&mut self, facts: &Facts, usage: Option<Usage>) {
        self.facts.clone_from(facts);
        self.usage = usage;
    }

    /// Takes the facts out at the end.
    pub fn into_facts(self) -> Facts {
        self.facts
    }

    /// Consumption as far as the provider reported it. `None`: it never did, estimate from
    /// [`Facts::content`]. Fetching a stored response or counting tokens consumes nothing.
    pub fn usage(&self) -> Option<Usage> {
        if self.is_free() {
            return None;
        }
        let counts_units = self.images > 0 || self.audio_ms > 0;
        let mut usage = match &self.usage {
            Some(usage) => usage.clone(),
            None if counts_units => Usage::default(),
            None => return None,
        };
        if let Some(tier) = self.tier {
            usage.tier = tier;
        }
        usage.units.web_searches = usage.units.web_searches.max(self.web_searches);
        usage.units.images = usage.units.images.max(self.images);
        usage.units.audio_ms = usage.units.audio_ms.max(self.audio_ms);
        Some(usage)
    }

    /// Whether generation came to its own end: the dialect's terminal event, or a finish reason
    /// of every choice from a provider that sends none.
    pub fn is_finished(&self) -> bool {
        let all_choices = self.begun != 0 && self.begun & !self.finished == 0;
        self.facts.terminal || all_choices
    }

    /// `sequence_number` that the next event of a Responses stream would have.
    pub fn next_sequence(&self) -> u64 {
        self.sequence.map_or(0, |last| last.saturating_add(1))
    }

    /// `created_at` of a response in seconds, if it was seen.
    pub fn created_at(&self) -> Option<u64> {
        self.created_at
    }

    fn is_free(&self) -> bool {
        let of_account = matches!(
            self.endpoint,
            Endpoint::ResponsesItem
                | Endpoint::Files
                | Endpoint::Batches
                | Endpoint::MessageBatches
                | Endpoint::AnthropicFiles
        );
        of_account || self.endpoint.counts()
    }

    /// Takes one event in. Never fails: an event that cannot be read is counted.
    pub fn event(&mut self, event: &Event<'_>) -> Seen {
        let Some(data) = event.data.as_deref() else {
            return Seen::Other;
        };
        self.facts.events += 1;
        if data.trim_ascii() == b"[DONE]" {
            self.facts.terminal |= matches!(self.shape, Shape::Chat | Shape::Other);
            return Seen::Other;
        }
        if event.name == Some(b"error") {
            self.complain(data);
        }
        let mut seen = Seen::Other;
        match self.shape {
            Shape::Chat => seen = self.chat(data),
            Shape::Messages => self.messages(data),
            Shape::Responses => self.responses(data),
            Shape::Other => self.other(data),
        }
        self.facts.malformed_first |= self.facts.malformed > 0 && !self.facts.content_seen;
        seen
    }

    /// Takes a whole answer that was not streamed in.
    pub fn body(&mut self, body: &[u8]) -> Answer {
        let body = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body);
        match body.trim_ascii_start().first() {
            None => return Answer::Empty,
            Some(b'{') => {}
            // Google wraps errors in an array.
            Some(b'[') if wraps_error(body) => {
                self.complain(body);
                return Answer::Error;
            }
            Some(_) => return Answer::NotJson,
        }
        match self.shape {
            Shape::Chat => {
                self.chat(body);
            }
            Shape::Messages => self.messages(body),
            Shape::Responses => self.responses(body),
            Shape::Other => self.other(body),
        }
        if self.facts.error.is_some() {
            return Answer::Error;
        }
        if self.facts.malformed > 0 {
            return Answer::Broken;
        }
        self.facts.terminal = true;
        Answer::Good
    }

    /// Name and value of a member; data that breaks off is counted.
    fn readable<'d>(
        &mut self,
        member: Result<Member<'d>, JsonError>,
    ) -> Option<(&'d [u8], Value<'d>)> {
        match member {
            Ok(member) => Some((member.name, member.value)),
            Err(_) => {
                self.facts.malformed += 1;
                None
            }
        }
    }

    fn complain(&mut self, data: &[u8]) {
        if self.facts.error.is_none() {
            let data = &data[..data.len().min(ERROR_BODY_BYTES_MAX)];
            self.facts.error = Some(Complaint::read(data, 200));
        }
    }

    fn set_usage(&mut self, object: Value<'_>) {
        if object.kind != Kind::Object {
            return;
        }
        let usage = match self.style {
            UsageStyle::Inclusive => usage::inclusive(object),
            UsageStyle::Converse => usage::converse(object),
            UsageStyle::Anthropic => {
                self.anthropic.merge(object);
                self.anthropic.usage()
            }
        };
        // Zeros are what servers send that did not count: they neither report nor override.
        let counted = usage.total() > 0 || usage.units != Units::default();
        if counted {
            self.usage = Some(usage);
        }
    }
}

fn wraps_error(body: &[u8]) -> bool {
    let first = whole(body).ok().and_then(|list| list.items().next());
    first.is_some_and(|item| item.field(b"error").is_some())
}

/// Keeps a short text once it has one.
fn keep_first(slot: &mut Option<String>, value: Value<'_>) {
    if slot.is_none() {
        keep_last(slot, value);
    }
}

/// Keeps the last short text that is not empty.
fn keep_last(slot: &mut Option<String>, value: Value<'_>) {
    let text = value.text().filter(|text| !text.is_empty());
    if let Some(text) = text.filter(|text| text.len() <= NAME_BYTES_MAX) {
        *slot = Some(text.into_owned());
    }
}

#[cfg(test)]
mod tests;
