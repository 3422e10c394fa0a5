//! One stream on its way, however its provider speaks: passed on, taken out of frames, told.

use bytes::Bytes;

use super::{Alias, Ending, InvokeFrames, StreamRelay, keepalive_bytes};
use crate::endpoint::Dialect;
use crate::error::ErrorReply;
use crate::meter::{Facts, Meter};
use crate::translate::{Stream, StreamError};
use crate::wire::event_stream::FrameError;
use crate::wire::sse::SseError;

/// Why a stream cannot be read on; only [`Line::abort`] makes sense then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// An event is over the limit.
    #[error(transparent)]
    Event(#[from] SseError),
    /// A frame arrived changed.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// An event is not what its dialect says.
    #[error(transparent)]
    Told(#[from] StreamError),
}

/// Relays one stream of one attempt.
#[derive(Debug)]
pub struct Line {
    frames: Option<Box<InvokeFrames>>,
    told: Option<Told>,
    alias: Option<Box<Alias>>,
    plain: StreamRelay,
    endpoint_dialect: Dialect,
}

/// A stream that is translated, and what is known of it.
#[derive(Debug)]
struct Told {
    stream: Box<Stream>,
    meter: Meter,
    ended: Option<Ending>,
}

impl Line {
    /// A stream that passes as it is.
    pub fn plain(relay: StreamRelay) -> Self {
        Self {
            frames: None,
            told: None,
            alias: None,
            endpoint_dialect: relay.dialect(),
            plain: relay,
        }
    }

    /// The same out of Bedrock's frames.
    #[must_use]
    pub fn in_frames(mut self) -> Self {
        self.frames = Some(Box::default());
        self
    }

    /// The same under the caller's name of the model.
    #[must_use]
    pub fn under(mut self, alias: Option<Alias>) -> Self {
        self.alias = alias.map(Box::new);
        self
    }

    /// The same told in the client's dialect.
    #[must_use]
    pub fn told(mut self, stream: Stream) -> Self {
        self.told = Some(Told {
            stream: Box::new(stream),
            meter: self.plain.meter().clone(),
            ended: None,
        });
        self
    }

    /// Takes a chunk; appends what to write now to `out`, never an empty slice.
    ///
    /// # Errors
    /// The stream cannot be read on.
    pub fn push(&mut self, chunk: &Bytes, out: &mut Vec<Bytes>) -> Result<(), Unreadable> {
        let events = match &mut self.frames {
            None => chunk.clone(),
            Some(frames) => {
                let mut events = Vec::with_capacity(chunk.len());
                // What came whole before a broken frame is still the client's.
                let read = frames.push(chunk, &mut events);
                self.read(&Bytes::from(events), out)?;
                return Ok(read?);
            }
        };
        self.read(&events, out)
    }

    fn read(&mut self, events: &Bytes, out: &mut Vec<Bytes>) -> Result<(), Unreadable> {
        let Some(told) = &mut self.told else {
            let begun = out.len();
            let read = self.plain.push(events, out);
            if let Some(alias) = self.alias.as_mut().filter(|alias| alias.holds()) {
                let passed: Vec<Bytes> = out.drain(begun..).collect();
                passed.into_iter().for_each(|slice| alias.push(slice, out));
            }
            return Ok(read.map(drop)?);
        };
        let mut bytes = Vec::with_capacity(events.len());
        let fed = told.stream.feed(events, &mut bytes);
        told.take_in(bytes, out);
        Ok(fed.map(drop)?)
    }

    /// The upstream's body is over; see [`StreamRelay::finish`].
    pub fn finish(&mut self, out: &mut Vec<Bytes>) -> Ending {
        let cut = self
            .frames
            .as_ref()
            .is_some_and(|frames| frames.mid_frame());
        let ending = match &mut self.told {
            None => {
                if let Some(alias) = &mut self.alias {
                    alias.finish(out);
                }
                self.plain.finish(out)
            }
            Some(told) => {
                let mut bytes = Vec::new();
                let ending = told.stream.finish(&mut bytes);
                told.take_in(bytes, out);
                *told.ended.get_or_insert(ending)
            }
        };
        match ending {
            Ending::Complete if cut => Ending::Cut,
            ending => ending,
        }
    }

    /// What to write when the stream ends before its time; see [`StreamRelay::abort`].
    pub fn abort(&mut self, error: &ErrorReply, request_id: &str) -> Bytes {
        match &mut self.told {
            None => self.plain.abort(error, request_id),
            Some(told) => {
                let mut bytes = Vec::new();
                told.stream.abort(error, &mut bytes);
                bytes.into()
            }
        }
    }

    /// Whether something can be written between two events now.
    pub fn at_event_boundary(&self) -> bool {
        self.told.is_some() || self.plain.at_event_boundary()
    }

    /// What keeps the connection alive.
    pub fn keepalive(&self) -> &'static [u8] {
        keepalive_bytes(self.endpoint_dialect)
    }

    /// What is known of the answer.
    pub fn facts(&self) -> &Facts {
        self.meter().facts()
    }

    /// The meter, for its usage.
    pub fn meter(&self) -> &Meter {
        match &self.told {
            None => self.plain.meter(),
            Some(told) => &told.meter,
        }
    }
}

impl Told {
    fn take_in(&mut self, bytes: Vec<u8>, out: &mut Vec<Bytes>) {
        if !bytes.is_empty() {
            out.push(bytes.into());
        }
        self.meter.adopt(self.stream.facts(), self.stream.usage());
    }
}
