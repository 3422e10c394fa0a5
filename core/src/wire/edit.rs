//! Changes to a request body as splices: bytes outside the changed members stay as they are and
//! are not copied.

use bytes::Bytes;

use crate::wire::field::{Field, GATEWAY_ONLY};
use crate::wire::json::Kind;
use crate::wire::span::{BodySpans, ScanError, member_name};

/// What is done to one member.
#[derive(Clone, Debug)]
enum Change {
    Replace(Bytes),
    Remove,
}

/// A body with a list of pending changes. Names are compared without escapes.
#[derive(Debug)]
pub struct BodyEdit<'a> {
    body: &'a Bytes,
    spans: &'a BodySpans,
    /// Members by position; the last change of a member counts.
    changes: Vec<(usize, Change)>,
    /// New members: name and JSON value.
    inserts: Vec<(String, Bytes)>,
}

/// Who wants the usage chunk of a chat stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UsageChunk {
    /// The client asked for it: pass it on.
    #[default]
    Asked,
    /// Only the gateway asked: hide it.
    Injected,
}

/// A body made of slices of the old one and a few new pieces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EditedBody {
    parts: Vec<Bytes>,
    len: usize,
}

impl<'a> BodyEdit<'a> {
    /// Starts with no change. `spans` must come from the same `body`.
    pub fn new(body: &'a Bytes, spans: &'a BodySpans) -> Self {
        Self {
            body,
            spans,
            changes: Vec::new(),
            inserts: Vec::new(),
        }
    }

    /// Sets a member to a JSON value, replacing the one there or adding it at the end.
    pub fn set(&mut self, name: &str, json: impl Into<Bytes>) {
        let json = json.into();
        self.inserts.retain(|(inserted, _)| inserted != name);
        let Some(index) = self.position(name) else {
            self.inserts.push((name.to_owned(), json));
            return;
        };
        // Which of several equal names counts differs between readers: leave one.
        self.remove_all(|found| found == name);
        self.changes.push((index, Change::Replace(json)));
    }

    /// Sets a member to a string.
    pub fn set_text(&mut self, name: &str, text: &str) {
        self.set(name, quoted(text));
    }

    /// Adds a member that the client did not send; its own value, even `null`, is kept.
    pub fn set_default(&mut self, name: &str, json: impl Into<Bytes>) {
        let inserted = self.inserts.iter().any(|(inserted, _)| inserted == name);
        if !inserted && self.position(name).is_none() {
            self.inserts.push((name.to_owned(), json.into()));
        }
    }

    /// Removes every member that has this name.
    pub fn remove(&mut self, name: &str) {
        self.remove_all(|found| found == name);
        self.inserts.retain(|(inserted, _)| inserted != name);
    }

    /// Removes what steers the gateway alone ([`GATEWAY_ONLY`]).
    pub fn remove_gateway_only(&mut self) {
        self.remove_all(|name| GATEWAY_ONLY.binary_search(&name).is_ok());
    }

    fn remove_all(&mut self, matches: impl Fn(&str) -> bool) {
        let found = self.spans.find(self.body, matches);
        self.changes
            .extend(found.map(|index| (index, Change::Remove)));
    }

    /// Makes the provider send usage at the end of a chat stream. Fails when `stream_options` is
    /// not an object.
    pub fn request_usage(&mut self) -> Result<UsageChunk, ScanError> {
        let name = Field::StreamOptions.name();
        let Some(options) = self.spans.value(self.body, Field::StreamOptions) else {
            self.set(name, Bytes::from_static(br#"{"include_usage":true}"#));
            return Ok(UsageChunk::Injected);
        };
        if options.kind != Kind::Object {
            let expected = "an object";
            return Err(ScanError::Type { name, expected });
        }
        if self.spans.asks_for_usage(self.body) {
            return Ok(UsageChunk::Asked);
        }
        let inner = self.body.slice_ref(options.raw);
        let inner_spans = BodySpans::scan(&inner)?;
        let mut edit = BodyEdit::new(&inner, &inner_spans);
        edit.set("include_usage", Bytes::from_static(b"true"));
        let changed = edit.finish().into_bytes();
        self.set(name, changed);
        Ok(UsageChunk::Injected)
    }

    /// The changed body. An unchanged one is the old allocation.
    pub fn finish(mut self) -> EditedBody {
        let mut parts = Parts::new(self.body);
        // Stable: among changes of one member the last one wins.
        self.changes.sort_by_key(|(index, _)| *index);
        let members = self.spans.members();
        let removed = |index: usize| {
            let last = self.changes.iter().rfind(|(changed, _)| *changed == index);
            matches!(last, Some((_, Change::Remove)))
        };
        let survivor = (0..members.len()).rev().find(|index| !removed(*index));
        for (position, (index, change)) in self.changes.iter().enumerate() {
            let overruled = self.changes.get(position + 1);
            if overruled.is_some_and(|(next, _)| next == index) {
                continue;
            }
            let value = members[*index].value.range();
            match change {
                Change::Replace(json) => {
                    parts.keep_to(value.start);
                    parts.push(json.clone());
                    parts.skip_to(value.end);
                }
                // With a member after it goes the comma between them.
                Change::Remove if survivor.is_some_and(|last| *index < last) => {
                    parts.keep_to(members[*index].name.range().start);
                    parts.skip_to(members[index + 1].name.range().start);
                }
                Change::Remove => break,
            }
        }
        let tail_removed = survivor != members.len().checked_sub(1);
        if tail_removed || !self.inserts.is_empty() {
            let end = survivor.map(|last| members[last].value.range().end);
            parts.keep_to(end.unwrap_or(self.spans.open()));
        }
        self.push_inserts(&mut parts, survivor.is_some());
        if let Some(last) = members.last().filter(|_| tail_removed) {
            parts.skip_to(last.value.range().end);
        }
        parts.finish()
    }

    fn push_inserts(&self, parts: &mut Parts<'_>, mut comma: bool) {
        for (name, json) in &self.inserts {
            let mut head = if comma { vec![b','] } else { Vec::new() };
            head.extend_from_slice(&quoted(name));
            head.push(b':');
            parts.push(head.into());
            parts.push(json.clone());
            comma = true;
        }
    }

    fn position(&self, name: &str) -> Option<usize> {
        match Field::from_name(name.as_bytes()) {
            Some(field) => self.spans.index(field),
            None => {
                let mut members = self.spans.members().iter();
                members.position(|m| member_name(self.body, *m).as_deref() == Some(name))
            }
        }
    }
}

/// A JSON string with its quotes.
pub fn quoted(text: &str) -> Vec<u8> {
    // Writing a string to memory cannot fail; an empty string is the harmless answer if it did.
    serde_json::to_vec(text).unwrap_or_else(|_| b"\"\"".to_vec())
}

/// The new body while it is put together: kept slices of the old one and new pieces.
pub(crate) struct Parts<'a> {
    body: &'a Bytes,
    at: usize,
    parts: Vec<Bytes>,
}

impl<'a> Parts<'a> {
    pub(crate) fn new(body: &'a Bytes) -> Self {
        let (at, parts) = (0, Vec::new());
        Self { body, at, parts }
    }

    /// Keeps the old bytes up to `end`.
    pub(crate) fn keep_to(&mut self, end: usize) {
        if end > self.at {
            self.parts.push(self.body.slice(self.at..end));
            self.at = end;
        }
    }

    /// Leaves the old bytes up to `end` out.
    pub(crate) fn skip_to(&mut self, end: usize) {
        self.at = self.at.max(end);
    }

    /// Adds new bytes.
    pub(crate) fn push(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.parts.push(bytes);
        }
    }

    /// Keeps the rest.
    pub(crate) fn finish(mut self) -> EditedBody {
        self.keep_to(self.body.len());
        let len = self.parts.iter().map(Bytes::len).sum();
        EditedBody {
            parts: self.parts,
            len,
        }
    }
}

impl EditedBody {
    /// The pieces in their order, none of them empty.
    pub fn parts(&self) -> &[Bytes] {
        &self.parts
    }

    /// Length of all pieces together: `Content-Length`.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is not a single byte.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// One piece; copies only when there are several.
    pub fn into_bytes(mut self) -> Bytes {
        if self.parts.len() == 1 {
            return self.parts.swap_remove(0);
        }
        let mut joined = Vec::with_capacity(self.len);
        for part in &self.parts {
            joined.extend_from_slice(part);
        }
        joined.into()
    }
}

#[cfg(test)]
mod tests;
