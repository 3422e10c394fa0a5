//! An answer as it passes: a whole body, or events that are put together again.

use serde_json::Value;

use super::choices::Choices;
use super::events::{Message, Response};
use super::{JsonText, excerpt};
use crate::endpoint::Endpoint;
use crate::wire::sse::{Event, EventScanner};

/// A longer event ends listening: what was heard until then is kept.
const EVENT_BYTES_MAX: usize = 1024 * 1024;

/// What the mark of a text that was cut already may add to it.
const MARK_CHARS: usize = 64;

/// An answer as far as it has passed.
#[derive(Debug)]
pub(super) struct Answer {
    heard: Heard,
    scanner: EventScanner,
    /// An event was too long.
    deaf: bool,
    chars_max: usize,
}

#[derive(Debug)]
enum Heard {
    /// Of an endpoint without streams.
    Nothing,
    Whole(JsonText),
    Choices(Choices),
    Message(Message),
    Response(Response),
}

impl Answer {
    pub(super) fn new(endpoint: Endpoint, chars_max: usize) -> Self {
        let heard = match endpoint {
            Endpoint::ChatCompletions | Endpoint::Completions => Heard::Choices(Choices::default()),
            Endpoint::Messages => Heard::Message(Message::default()),
            Endpoint::Responses | Endpoint::ResponsesItem => Heard::Response(Response::default()),
            _ => Heard::Nothing,
        };
        Self {
            heard,
            scanner: EventScanner::new(EVENT_BYTES_MAX),
            deaf: false,
            chars_max,
        }
    }

    pub(super) fn whole(&mut self, body: Option<JsonText>) {
        self.heard = body.map_or(Heard::Nothing, Heard::Whole);
    }

    pub(super) fn stream(&mut self, bytes: &[u8]) {
        let mut from = self.scanner.skip_line_feed(bytes);
        while !self.deaf {
            match self.scanner.next_end(bytes, from) {
                Ok(Some(end)) => {
                    let event = Event::parse(self.scanner.event(bytes, from, end));
                    if let Some(data) = event.data.as_deref() {
                        self.heard.event(data, self.chars_max);
                    }
                    from = end;
                }
                Ok(None) => return,
                Err(_too_long) => self.deaf = true,
            }
        }
    }

    pub(super) fn finish(self) -> Option<JsonText> {
        let put_together = match self.heard {
            Heard::Nothing => None,
            Heard::Whole(text) => return Some(text),
            Heard::Choices(choices) => choices.finish(),
            Heard::Message(message) => message.finish(),
            Heard::Response(response) => response.finish(),
        };
        let chars_max = self.chars_max.saturating_add(MARK_CHARS);
        excerpt(put_together?.to_string().as_bytes(), chars_max)
    }
}

impl Heard {
    /// Data that is not JSON (`[DONE]`) says nothing.
    fn event(&mut self, data: &[u8], chars_max: usize) {
        let Ok(mut event) = serde_json::from_slice::<Value>(data) else {
            return;
        };
        match self {
            Self::Nothing | Self::Whole(_) => {}
            Self::Choices(choices) => choices.chunk(&event, chars_max),
            Self::Message(message) => message.event(&event, chars_max),
            Self::Response(response) => response.event(&mut event, chars_max),
        }
    }
}
