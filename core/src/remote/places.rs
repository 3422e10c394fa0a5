//! Where a request names things on the web, and the same request with their bytes in it.

use std::ops::Range;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;

use super::{Fetched, Use};
use crate::wire::json::{JsonError, Kind, Value};
use crate::wire::span::{BodySpans, begins_with_any};
use crate::wire::walk::{Named, Walk, members};

/// Most things of one request; more are left as they are, for the translation to refuse.
pub const ITEMS_MAX: usize = 100;
/// Top-level members below which they are.
const ROOTS: [&str; 3] = ["messages", "input", "system"];
/// What a caller's own tools are given.
const OPAQUE: [&str; 2] = ["input", "arguments"];

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
    // What comes behind JSON that breaks off is not looked at: no provider takes it.
    let _ = search.body(body, spans, &ROOTS);
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

/// The JSON breaks off.
struct Broken;

impl<'a> Walk<'a> for Search<'a> {
    type Stop = Broken;

    fn path(&mut self) -> &mut String {
        &mut self.path
    }

    fn broken(_: JsonError) -> Broken {
        Broken
    }

    fn object(&mut self, object: Value<'a>, below: usize) -> Result<(), Broken> {
        let kind = find(object, "type")?.and_then(|kind| kind.value.text());
        let wanted = match kind.as_deref() {
            Some("image" | "input_image" | "image_url") => Use::Image,
            _ => Use::Document,
        };
        for member in members(object) {
            let member = member.map_err(Self::broken)?;
            if OPAQUE.contains(&&*member.name) {
                continue;
            }
            let value = member.value;
            let is_object = value.kind == Kind::Object;
            self.at_member(&member.name, |search| {
                match &*member.name {
                    "image_url" if is_object => {
                        search.member(value, "url", (Use::Image, Form::Data))?;
                    }
                    "image_url" => search.add(value, value.raw, (Use::Image, Form::Data)),
                    "file_url" => search.renamed(object, &member),
                    "file" if is_object => {
                        search.member(value, "file_data", (Use::Document, Form::Data))?;
                        search.member(value, "file_id", (Use::Document, Form::FileData))?;
                    }
                    "source" if is_object => search.source(value, wanted, below)?,
                    _ => search.value(value, below)?,
                }
                Ok(())
            })?;
        }
        Ok(())
    }
}

/// The first member of this name.
fn find<'a>(object: Value<'a>, name: &str) -> Result<Option<Named<'a>>, Broken> {
    let is_it = |member: &Result<Named<'_>, JsonError>| match member {
        Ok(member) => member.name == name,
        Err(_) => true,
    };
    let found = members(object).find(is_it);
    found.transpose().map_err(Search::broken)
}

impl<'a> Search<'a> {
    /// Anthropic's: an address stands for the whole object. One of blocks may hold more of them.
    fn source(&mut self, source: Value<'a>, wanted: Use, below: usize) -> Result<(), Broken> {
        let kind = find(source, "type")?.and_then(|kind| kind.value.text());
        let url = find(source, "url")?.filter(|_| kind.as_deref() == Some("url"));
        match url {
            Some(url) => self.at_member("url", |search| {
                search.add(url.value, source.raw, (wanted, Form::Source));
                Ok(())
            }),
            None => self.value(source, below),
        }
    }

    fn member(
        &mut self,
        object: Value<'a>,
        name: &str,
        (wanted, form): (Use, Form),
    ) -> Result<(), Broken> {
        // All of that name: readers differ in which of two they take.
        for member in members(object) {
            let member = member.map_err(Self::broken)?;
            if member.name != name {
                continue;
            }
            self.at_member(name, |search| match form {
                Form::FileData => search.renamed(object, &member),
                _ => search.add(member.value, member.value.raw, (wanted, form)),
            });
        }
        Ok(())
    }

    /// A member whose name changes too: it is replaced from its name's quote on.
    fn renamed(&mut self, object: Value<'a>, member: &Named<'a>) {
        let start = self.offset(object.raw);
        let at = start + member.at.start..start + member.at.end;
        self.push(member.value, at, (Use::Document, Form::FileData));
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
}

fn is_web(url: &str) -> bool {
    begins_with_any(url, &["http://", "https://"])
}

#[cfg(test)]
mod tests;
