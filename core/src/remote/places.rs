//! Where a request names things on the web, and the same request with their bytes in it.

use std::ops::Range;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;

use super::{Fetched, Use};
use crate::wire::json::{Kind, Value};
use crate::wire::span::{BodySpans, begins_with_any, clipped};

/// Most things of one request; more are left as they are, for the translation to refuse.
pub const ITEMS_MAX: usize = 100;
/// Levels below a top-level member at which dialects name such things, and some more.
const LEVELS_MAX: usize = 16;
/// Top-level members below which they are.
const ROOTS: [&str; 3] = ["messages", "input", "system"];
/// What a caller's own tools are given.
const OPAQUE: [&[u8]; 2] = [b"input", b"arguments"];

/// A thing on the web, where a request names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// `messages[0].content[1].image_url.url`.
    pub field: String,
    /// Its address.
    pub url: String,
    /// What it is for.
    pub wanted: Use,
    form: Form,
    /// What of the body is replaced.
    at: Range<usize>,
}

/// How the dialect says bytes instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// A `data:` URL in its place.
    Data,
    /// The member `file_data`, in place of the one that has an address.
    FileData,
    /// Anthropic's source object.
    Source,
}

/// The things on the web that a chat, messages or Responses body names, in their order.
pub fn places(body: &[u8], spans: &BodySpans) -> Vec<Place> {
    let mut search = Search {
        body,
        path: String::new(),
        found: Vec::new(),
    };
    for root in ROOTS {
        for index in spans.find(body, |name| name == root) {
            let Some(member) = spans.members().get(index) else {
                continue;
            };
            if let Some(raw) = body.get(member.value.range()) {
                let kind = member.kind;
                search.at(root, |search| search.value(Value { raw, kind }, LEVELS_MAX));
            }
        }
    }
    search.found.sort_by_key(|place| place.at.start);
    search.found
}

/// The body with bytes in the places of addresses; `items` are in the order of [`places`].
pub fn filled<B: AsRef<[u8]>>(body: &[u8], items: &[(Place, Fetched<B>)]) -> Vec<u8> {
    let more: usize = items
        .iter()
        .map(|(_, item)| item.bytes.as_ref().len() / 3 * 4 + 128)
        .sum();
    let mut out = Vec::with_capacity(body.len() + more);
    let mut from = 0;
    for (place, item) in items {
        out.extend_from_slice(body.get(from..place.at.start).unwrap_or_default());
        place.form.write(item, &mut out);
        from = place.at.end;
    }
    out.extend_from_slice(body.get(from..).unwrap_or_default());
    out
}

impl Form {
    fn write<B: AsRef<[u8]>>(self, item: &Fetched<B>, out: &mut Vec<u8>) {
        let (media, bytes) = (item.media, item.bytes.as_ref());
        let data_url = |out: &mut Vec<u8>| {
            out.extend_from_slice(format!("\"data:{media};base64,").as_bytes());
            out.extend_from_slice(BASE64_STANDARD.encode(bytes).as_bytes());
            out.push(b'"');
        };
        match self {
            Self::Data => data_url(out),
            Self::FileData => {
                out.extend_from_slice(b"\"file_data\":");
                data_url(out);
            }
            Self::Source if media.starts_with("text/") => {
                let text = String::from_utf8_lossy(bytes);
                let source = json!({"type": "text", "media_type": "text/plain", "data": text});
                out.extend_from_slice(source.to_string().as_bytes());
            }
            Self::Source => {
                let head = format!("{{\"type\":\"base64\",\"media_type\":\"{media}\",\"data\":\"");
                out.extend_from_slice(head.as_bytes());
                out.extend_from_slice(BASE64_STANDARD.encode(bytes).as_bytes());
                out.extend_from_slice(b"\"}");
            }
        }
    }
}

struct Search<'a> {
    body: &'a [u8],
    path: String,
    found: Vec<Place>,
}

impl<'a> Search<'a> {
    fn value(&mut self, value: Value<'a>, levels: usize) {
        let Some(below) = levels.checked_sub(1) else {
            return;
        };
        match value.kind {
            Kind::Object => self.object(value, below),
            Kind::Array => {
                let items = value.items().enumerate();
                for (index, item) in items.filter(|(_, item)| item.is_deep()) {
                    let step = format!("[{index}]");
                    self.at(&step, |search| search.value(item, below));
                }
            }
            _ => {}
        }
    }

    fn object(&mut self, object: Value<'a>, below: usize) {
        let kind = object.field(b"type").and_then(Value::inner);
        let wanted = match kind {
            Some(b"image" | b"input_image" | b"image_url") => Use::Image,
            _ => Use::Document,
        };
        for (name, value) in object.fields() {
            if OPAQUE.contains(&name) {
                continue;
            }
            let step = format!(".{}", clipped(&String::from_utf8_lossy(name)));
            self.at(&step, |search| match name {
                b"image_url" if value.kind == Kind::Object => {
                    search.member(value, b"url", (Use::Image, Form::Data));
                }
                b"image_url" => search.add(value, value.raw, (Use::Image, Form::Data)),
                b"file_url" => search.renamed(name, value),
                b"file" if value.kind == Kind::Object => {
                    search.member(value, b"file_data", (Use::Document, Form::Data));
                    search.member(value, b"file_id", (Use::Document, Form::FileData));
                }
                b"source" if value.kind == Kind::Object => search.source(value, wanted, below),
                _ => search.value(value, below),
            });
        }
    }

    /// Anthropic's: an address stands for the whole object. One of blocks may hold more of them.
    fn source(&mut self, source: Value<'a>, wanted: Use, below: usize) {
        let url = source.field(b"url");
        let is_url = source.field(b"type").and_then(Value::inner) == Some(b"url");
        match url.filter(|_| is_url) {
            Some(url) => self.at(".url", |search| {
                search.add(url, source.raw, (wanted, Form::Source));
            }),
            None => self.value(source, below),
        }
    }

    fn member(&mut self, object: Value<'a>, name: &[u8], (wanted, form): (Use, Form)) {
        let Some(value) = object.field(name) else {
            return;
        };
        let step = format!(".{}", String::from_utf8_lossy(name));
        self.at(&step, |search| match form {
            Form::FileData => search.renamed(name, value),
            _ => search.add(value, value.raw, (wanted, form)),
        });
    }

    /// A member whose name changes too: it is replaced from its name's quote on.
    fn renamed(&mut self, name: &[u8], value: Value<'a>) {
        let (start, end) = (
            self.offset(value.raw),
            self.offset(value.raw) + value.raw.len(),
        );
        // The name is the last thing in quotes before the value.
        let quoted = [b"\"", name, b"\""].concat();
        let before = self.body.get(..start).unwrap_or_default();
        if let Some(named) = memchr::memmem::rfind(before, &quoted) {
            self.push(value, named..end, (Use::Document, Form::FileData));
        }
    }

    fn add(&mut self, url: Value<'a>, replaced: &'a [u8], how: (Use, Form)) {
        let start = self.offset(replaced);
        self.push(url, start..start + replaced.len(), how);
    }

    fn push(&mut self, url: Value<'a>, at: Range<usize>, (wanted, form): (Use, Form)) {
        let Some(url) = url.text().filter(|url| is_web(url)) else {
            return;
        };
        if self.found.len() < ITEMS_MAX {
            self.found.push(Place {
                field: self.path.clone(),
                url: url.into_owned(),
                wanted,
                form,
                at,
            });
        }
    }

    /// Where a part of the body stands in it.
    fn offset(&self, part: &'a [u8]) -> usize {
        part.as_ptr()
            .addr()
            .saturating_sub(self.body.as_ptr().addr())
    }

    fn at<T>(&mut self, step: &str, then: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.path.len();
        self.path.push_str(step);
        let done = then(self);
        self.path.truncate(length);
        done
    }
}

fn is_web(url: &str) -> bool {
    begins_with_any(url, &["http://", "https://"])
}

#[cfg(test)]
mod tests;
