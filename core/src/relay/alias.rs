//! An answer of Anthropic's dialect under the name that its caller has for the model.
//!
//! Claude Code gives signed thoughts back only to the model that it finds in the answer. Behind a
//! name of the gateway's own that is another one than it asks, and every thought would be lost.

use bytes::Bytes;
use memchr::memchr;

use crate::price::undated;
use crate::wire::edit::quoted;
use crate::wire::json::Members;
use crate::wire::sse::EventScanner;

/// A stream whose first event is longer passes as it is.
const HELD_BYTES_MAX: usize = 64 * 1024;

/// Writes the caller's name into the one place where an answer names its model.
#[derive(Clone, Debug)]
pub struct Alias {
    asked: String,
    /// What came of a stream and has not left; `None` once its beginning is through.
    held: Option<Vec<u8>>,
}

/// What the beginning of a stream is.
enum Beginning {
    /// Nothing that names a model yet; so many bytes of it are whole events.
    Unknown(usize),
    /// The model is not to be renamed.
    Plain,
    /// The name stands here.
    Named(std::ops::Range<usize>),
}

impl Alias {
    /// For one answer; `asked` is the caller's name of the model.
    pub fn new(asked: &str) -> Self {
        Self {
            asked: asked.to_owned(),
            held: Some(Vec::new()),
        }
    }

    /// A whole message under the caller's name; `None`: it is so already.
    pub fn body(&self, body: &[u8]) -> Option<Bytes> {
        let at = self.name_in(body, 0)?;
        Some(self.named(body, at).into())
    }

    /// Whether the beginning of a stream is not through yet.
    pub fn holds(&self) -> bool {
        self.held.is_some()
    }

    /// Takes a slice of a stream; appends what to write now.
    pub fn push(&mut self, slice: Bytes, out: &mut Vec<Bytes>) {
        let Some(held) = &mut self.held else {
            out.push(slice);
            return;
        };
        held.extend_from_slice(&slice);
        let written = match self.beginning() {
            Beginning::Unknown(0) => return,
            Beginning::Unknown(whole) => self.held.as_mut().map(|held| {
                let rest = held.split_off(whole);
                std::mem::replace(held, rest)
            }),
            Beginning::Plain => self.held.take(),
            Beginning::Named(at) => self.held.take().map(|held| self.named(&held, at)),
        };
        out.extend(written.map(Bytes::from));
    }

    /// The stream is over: what was held leaves as it is.
    pub fn finish(&mut self, out: &mut Vec<Bytes>) {
        let held = self.held.take().filter(|held| !held.is_empty());
        out.extend(held.map(Bytes::from));
    }

    fn beginning(&self) -> Beginning {
        let held = self.held.as_deref().unwrap_or_default();
        let mut at = 0;
        loop {
            let mut scanner = EventScanner::new(HELD_BYTES_MAX);
            let end = match scanner.next_end(held, at) {
                Ok(Some(end)) => end,
                Ok(None) => return Beginning::Unknown(at),
                Err(_) => return Beginning::Plain,
            };
            // JSON that breaks off goes on in no other event.
            let upto = held.get(..end).unwrap_or_default();
            let event = upto.get(at..).unwrap_or_default();
            let object = memchr(b'{', event).map(|start| at + start);
            match object.map(|start| message_in(upto, start)) {
                Some(Kind::Start(start)) => {
                    let name = self.name_in(upto, start);
                    return name.map_or(Beginning::Plain, Beginning::Named);
                }
                Some(Kind::Ping) | None => at = end,
                Some(Kind::Other) => return Beginning::Plain,
            }
        }
    }

    /// Where the message that begins at `start` has a name that is not the caller's. The
    /// provider's own date behind the caller's name is no other name.
    fn name_in(&self, bytes: &[u8], start: usize) -> Option<std::ops::Range<usize>> {
        let mut members = Members::at(bytes, start).map_while(Result::ok);
        let model = members.find(|member| member.name == b"model")?;
        let name = model.value.text()?;
        let is_other = name != self.asked && undated(&name) != self.asked;
        is_other.then_some(model.value_at)
    }

    fn named(&self, bytes: &[u8], at: std::ops::Range<usize>) -> Vec<u8> {
        let (before, after) = (bytes.get(..at.start), bytes.get(at.end..));
        let parts = [
            before.unwrap_or_default(),
            &quoted(&self.asked),
            after.unwrap_or_default(),
        ];
        parts.concat()
    }
}

/// An event of a stream's beginning.
enum Kind {
    /// `message_start`; its message begins here.
    Start(usize),
    Ping,
    Other,
}

fn message_in(bytes: &[u8], start: usize) -> Kind {
    let (mut is_start, mut is_ping, mut message) = (false, false, None);
    for member in Members::at(bytes, start).map_while(Result::ok) {
        match member.name {
            b"type" => {
                is_start = member.value.inner() == Some(b"message_start");
                is_ping = member.value.inner() == Some(b"ping");
            }
            b"message" => message = Some(member.value_at.start),
            _ => {}
        }
    }
    match message.filter(|_| is_start) {
        Some(message) => Kind::Start(message),
        None if is_ping => Kind::Ping,
        None => Kind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = "event: ping\ndata: {\"type\": \"ping\"}\n\n\
        event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\
        \"model\":\"claude-x-20260101\",\"content\":[]}}\n\nevent: content_block_delta\n\
        data: {\"type\":\"content_block_delta\",\"delta\":{\"model\":\"claude-x-20260101\"}}\n\n";

    fn pushed(asked: &str, stream: &str, cut: usize) -> String {
        let mut alias = Alias::new(asked);
        let mut out = Vec::new();
        for part in stream.as_bytes().chunks(cut) {
            alias.push(Bytes::copy_from_slice(part), &mut out);
        }
        alias.finish(&mut out);
        assert!(out.iter().all(|slice| !slice.is_empty()));
        String::from_utf8(out.concat()).unwrap()
    }

    #[test]
    fn the_first_name_is_the_callers_wherever_the_stream_is_cut() {
        let renamed = STREAM.replacen("claude-x-20260101", "best", 1);
        for cut in 1..=STREAM.len() {
            assert_eq!(pushed("best", STREAM, cut), renamed, "{cut}");
        }
    }

    #[test]
    fn what_names_no_other_model_passes_as_it_is() {
        let broken = "event: message_start\ndata: {\"type\":\"message_start\",\"mess";
        let open = "data: {\"type\":\"message_start\",\"message\":{\"id\":{\n\n},\
            \"model\":\"claude-x\"}}\n\n";
        let error = "event: error\ndata: {\"type\":\"error\",\"error\":{}}\n\n";
        let long = format!(": {}\n\n{STREAM}", "x".repeat(HELD_BYTES_MAX));
        for (asked, stream) in [
            ("claude-x-20260101", STREAM),
            ("claude-x", STREAM),
            ("best", broken),
            ("best", open),
            ("best", error),
            ("best", "\n\n\n"),
            ("best", &long),
        ] {
            for cut in [1, 7, stream.len()] {
                assert_eq!(pushed(asked, stream, cut), stream);
            }
        }
    }

    #[test]
    fn a_whole_message_has_the_callers_name() {
        let alias = Alias::new("be\"st");
        let body = br#"{"id":"m","model":"claude-x","content":[{"model":"claude-x"}]}"#;
        let named = alias.body(body).unwrap();
        let expected = r#"{"id":"m","model":"be\"st","content":[{"model":"claude-x"}]}"#;
        assert_eq!(named, expected.as_bytes());
        assert_eq!(Alias::new("claude-x").body(body), None);
        assert_eq!(alias.body(b"<html>"), None);
    }
}
