//! A provider's stream in, the client's stream out; bytes may be cut anywhere.

use crate::error::ErrorReply;
use crate::meter::{Amount, Facts};
use crate::relay::{Ending, Progress};
use crate::translate::client::StreamWriter;
use crate::translate::context::Reply;
use crate::translate::dialect::{Pair, ProviderDialect};
use crate::translate::event::{Finish, Piece, Sink};
use crate::translate::provider::Reader;
use crate::translate::restore::Restore;
use crate::translate::text::Text;
use crate::usage::{ServiceTier, Units, Usage};
use crate::wire::event_stream::{Content, FRAME_BYTES_MAX, FrameError, FrameReader};
use crate::wire::json::{self, JsonError};
use crate::wire::sse::{EVENT_BYTES_MAX, Event, EventScanner, SseError};

/// Why a stream cannot be told on: only [`Stream::abort`] makes sense then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// An event is over the limit.
    #[error(transparent)]
    Event(#[from] SseError),
    /// A frame arrived changed, or is none.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// An event is not what the dialect says. Its content cannot be left out in silence.
    #[error("unreadable event: {0}")]
    Unreadable(#[from] JsonError),
}

/// Translates one stream of one attempt. Whole events leave, so that something can be written
/// between two of them at any time.
#[derive(Debug)]
pub struct Stream {
    frames: Frames,
    reader: Reader,
    metered: Metered<Restore<StreamWriter>>,
    ended: Option<Ending>,
}

/// How a provider marks where its events end.
#[derive(Debug)]
enum Frames {
    /// Server-sent events.
    Sse(EventScanner),
    /// AWS event-stream frames.
    Aws(FrameReader),
}

impl Frames {
    fn of(provider: ProviderDialect) -> Self {
        match provider {
            ProviderDialect::Converse => Self::Aws(FrameReader::new(FRAME_BYTES_MAX)),
            _ => Self::Sse(EventScanner::new(EVENT_BYTES_MAX)),
        }
    }

    /// Bytes of a begun event in memory.
    fn buffered_bytes(&self) -> usize {
        match self {
            Self::Sse(scanner) => scanner.partial().len(),
            Self::Aws(reader) => reader.buffered_bytes(),
        }
    }
}

impl Stream {
    /// A stream of the provider's for the client. `None`: this pair does not stream.
    pub fn new(pair: Pair, reply: Reply) -> Option<Self> {
        let memo = reply.memo.clone();
        let writer = StreamWriter::new(pair.client, reply)?;
        Some(Self {
            frames: Frames::of(pair.provider),
            reader: Reader::new(pair.provider)?,
            metered: Metered::new(Restore::new(&memo, writer)),
            ended: None,
        })
    }

    /// Takes a chunk in; appends what to write now to `out`.
    pub fn feed(&mut self, chunk: &[u8], out: &mut Vec<u8>) -> Result<Progress, StreamError> {
        let before = self.mark();
        let read = self.read(chunk);
        self.metered.writer.inner.take_bytes(out);
        read.map(|()| self.progress(before))
    }

    fn read(&mut self, chunk: &[u8]) -> Result<(), StreamError> {
        match &mut self.frames {
            Frames::Sse(scanner) => {
                let mut at = scanner.skip_line_feed(chunk);
                while let Some(end) = scanner.next_end(chunk, at)? {
                    let event = Event::parse(scanner.event(chunk, at, end));
                    tell(&mut self.reader, &mut self.metered, &event)?;
                    at = end;
                }
            }
            Frames::Aws(frames) => {
                frames.feed(chunk);
                while let Some(message) = frames.next_frame()? {
                    match message.content() {
                        Content::Event { kind, payload } => {
                            let event = Event {
                                name: Some(kind.as_bytes()),
                                data: Some(payload.into()),
                            };
                            tell(&mut self.reader, &mut self.metered, &event)?;
                        }
                        Content::Exception { complaint, .. } => {
                            self.metered.facts.events += 1;
                            let facts = &self.metered.facts;
                            if facts.error.is_none() && !facts.terminal {
                                self.metered.take(0, Piece::Error(&complaint));
                            }
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// The upstream's body is over: appends what its end tells and says how the answer ended.
    /// After `Cut` and `Empty`, [`Self::abort`] follows.
    pub fn finish(&mut self, out: &mut Vec<u8>) -> Ending {
        if let Some(ending) = self.ended {
            return ending;
        }
        let begun = self.finish_event();
        self.metered.writer.inner.take_bytes(out);
        let facts = &self.metered.facts;
        let ending = if facts.error.is_some() {
            Ending::ProviderError
        } else if facts.terminal {
            Ending::Complete
        } else if facts.events == 0 && !begun {
            Ending::Empty
        } else {
            Ending::Cut
        };
        self.ended = Some(ending);
        ending
    }

    /// A last event without its blank line counts when nothing of its data is missing. True: an
    /// event had begun.
    fn finish_event(&mut self) -> bool {
        let scanner = match &self.frames {
            Frames::Sse(scanner) => scanner,
            Frames::Aws(frames) => {
                let begun = frames.mid_frame();
                if !begun && frames.finish().is_ok() {
                    self.reader.finish(&mut self.metered);
                }
                return begun;
            }
        };
        let event = Event::parse(scanner.partial());
        let begun = event.data.is_some();
        let whole = event
            .data
            .as_deref()
            .is_some_and(|data| data.trim_ascii() == b"[DONE]" || json::whole(data).is_ok());
        let told = !whole || tell(&mut self.reader, &mut self.metered, &event).is_ok();
        if told && (whole || !begun) {
            self.reader.finish(&mut self.metered);
        }
        begun
    }

    /// What to write when the stream ends before its time: the error in the client's dialect,
    /// never a terminal marker. Nothing is ever written after it.
    pub fn abort(&mut self, error: &ErrorReply, out: &mut Vec<u8>) {
        self.metered.writer.inner.abort(error);
        self.metered.writer.inner.take_bytes(out);
        if let Frames::Sse(scanner) = &mut self.frames {
            scanner.forget();
        }
        self.ended.get_or_insert(Ending::Cut);
    }

    /// What is known of the answer.
    pub fn facts(&self) -> &Facts {
        &self.metered.facts
    }

    /// Consumption as far as the provider reported it. `None`: estimate from the facts.
    pub fn usage(&self) -> Option<Usage> {
        self.metered.usage()
    }

    /// Bytes of a begun event in memory.
    pub fn buffered_bytes(&self) -> usize {
        self.frames.buffered_bytes()
    }

    fn mark(&self) -> (u64, u64, bool, bool) {
        let facts = &self.metered.facts;
        (
            facts.events,
            facts.content.total().bytes,
            facts.content_seen,
            facts.error.is_some(),
        )
    }

    fn progress(&self, before: (u64, u64, bool, bool)) -> Progress {
        let (events, content_bytes, content_seen, failed) = self.mark();
        Progress {
            events: events - before.0,
            content_bytes: content_bytes - before.1,
            first_content: content_seen && !before.2,
            error: failed && !before.3,
        }
    }
}

/// Tells one event. Nothing is told after an error or the dialect's own end.
fn tell(
    reader: &mut Reader,
    metered: &mut Metered<Restore<StreamWriter>>,
    event: &Event<'_>,
) -> Result<(), JsonError> {
    if event.data.is_none() {
        return Ok(());
    }
    metered.facts.events += 1;
    if metered.facts.error.is_some() || metered.facts.terminal {
        return Ok(());
    }
    reader.event(event, metered).inspect_err(|_| {
        metered.facts.malformed += 1;
        metered.facts.malformed_first |= !metered.facts.content_seen;
    })
}

/// Counts what passes to a writer.
#[derive(Debug)]
pub(super) struct Metered<W> {
    pub(super) facts: Facts,
    usage: Option<Usage>,
    /// The tier that the answer names outside of its usage.
    tier: ServiceTier,
    pub(super) writer: W,
}

impl<W> Metered<W> {
    pub(super) fn new(writer: W) -> Self {
        Self {
            facts: Facts::default(),
            usage: None,
            tier: ServiceTier::Standard,
            writer,
        }
    }

    /// Consumption as far as the provider reported it.
    pub(super) fn usage(&self) -> Option<Usage> {
        let mut usage = self.usage.clone()?;
        if usage.tier == ServiceTier::Standard {
            usage.tier = self.tier;
        }
        Some(usage)
    }

    fn count(&mut self, piece: &Piece<'_>) {
        let facts = &mut self.facts;
        let content = &mut facts.content;
        let seen = match piece {
            Piece::Text(text) | Piece::Refusal(text) => add(&mut content.text, text),
            Piece::Thinking(text) => add(&mut content.reasoning, text),
            Piece::CallStart { name, .. } => {
                add(&mut content.tools, name);
                true
            }
            Piece::CallArguments { json, .. } => {
                add(&mut content.tools, json);
                true
            }
            Piece::Block(block) => {
                // A compaction is written by the model; what its tools found is not.
                let written = block.field(b"content").and_then(Text::of);
                written.iter().for_each(|text| {
                    add(&mut content.text, text);
                });
                true
            }
            Piece::Image { .. } => true,
            _ => false,
        };
        facts.content_seen |= seen;
        match piece {
            Piece::Start { id, model } => {
                keep(&mut facts.response_id, id.as_ref());
                keep(&mut facts.model, model.as_ref());
            }
            Piece::Finish { reason, native, .. } => {
                let word = match native.is_empty() {
                    true => finish_word(*reason).into(),
                    false => native.clear(),
                };
                facts.finish_reason = Some(word.into_owned());
                facts.usage_final = self.usage.is_some();
            }
            // Zeros are what servers send that did not count.
            Piece::Usage(usage) if usage.total() > 0 || usage.units != Units::default() => {
                let usage = (*usage).clone();
                self.usage = Some(usage);
                facts.usage_final |= facts.finish_reason.is_some();
            }
            Piece::Tier(label) => self.tier = ServiceTier::from_label(&label.clear()),
            Piece::End => {
                facts.terminal = true;
                facts.usage_final = self.usage.is_some();
            }
            Piece::Error(complaint) => facts.error = Some((*complaint).clone()),
            _ => {}
        }
    }
}

impl<W: Sink> Sink for Metered<W> {
    fn take(&mut self, choice: u32, piece: Piece<'_>) {
        self.count(&piece);
        self.writer.take(choice, piece);
    }
}

fn add(amount: &mut Amount, text: &Text<'_>) -> bool {
    match text {
        Text::Escaped(inner) => amount.add_inner(inner, memchr::memchr(b'\\', inner).is_some()),
        Text::Plain(text) => amount.add_inner(text.as_bytes(), false),
    }
}

fn keep(slot: &mut Option<String>, text: Option<&Text<'_>>) {
    const NAME_BYTES_MAX: usize = 256;
    if let (None, Some(text)) = (&slot, text) {
        let clear = text.clear();
        if !clear.is_empty() && clear.len() <= NAME_BYTES_MAX {
            *slot = Some(clear.into_owned());
        }
    }
}

/// Chat's word, for providers without one of their own.
fn finish_word(reason: Finish) -> &'static str {
    match reason {
        Finish::Stop | Finish::StopSequence => "stop",
        Finish::Length | Finish::Context | Finish::Pause => "length",
        Finish::Tools => "tool_calls",
        Finish::Filter => "content_filter",
    }
}
