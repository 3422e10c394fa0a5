//! Files stored at a provider that a chat, messages or Responses body names: whose they are is
//! asked before the provider reads them.

use std::collections::HashSet;

use memchr::memmem;

use super::json::{JsonError, Kind, Value, whole};
use super::span::{BodySpans, begins_with_any, start};
use super::walk::{Named, Walk, members};
use crate::error::GatewayError;

/// Most files of one request.
pub const FILES_MAX: usize = 200;
/// Most files of all requests of a batch.
pub const FILES_OF_BATCH_MAX: usize = 10_000;
/// Longest id that a store is asked for; of a longer one no more is kept than that and dots.
pub const ID_BYTES_MAX: usize = 256;
/// Top-level members below which files are named.
const ROOTS: [&str; 5] = ["input", "messages", "prompt", "system", "tools"];
/// Members below them that hold what a caller's own tools are given: no provider looks for files
/// in them. A prompt's variables may have these names, and are looked at.
const OPAQUE: [&str; 4] = ["arguments", "input", "input_schema", "parameters"];
/// Objects that name a file of the caller's by a member of their own.
const NAMING: [&str; 5] = [
    "computer_screenshot",
    "container_upload",
    "file",
    "input_file",
    "input_image",
];
/// Members whose object names one, whatever its type.
const HOLDERS: [&str; 3] = ["file", "input_image_mask", "source"];
/// How addresses begin that a chat's `file_id` may have instead of an id: nothing stored.
const ADDRESSES: [&str; 3] = ["gs://", "http://", "https://"];

/// A file that a body names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileRef {
    /// Where: `messages[0].content[1].file.file_id`.
    pub field: String,
    /// The provider's id; of a long one its start, longer than [`ID_BYTES_MAX`] all the same.
    pub id: String,
}

/// The files that a body names as its input, each once, in their order. Every member of a name
/// counts, in whatever letters it is written: readers differ in which of two they take. Ids that a
/// provider gave out itself in an earlier answer (citations, what code has written) are not among
/// them, nor are addresses in the place of ids.
///
/// # Errors
/// `InvalidJson` where what may name a file cannot be read, `BadField` for an id that is no text
/// and for more than [`FILES_MAX`].
pub fn file_refs(body: &[u8], spans: &BodySpans) -> Result<Vec<FileRef>, GatewayError> {
    let mut search = Search::new(FILES_MAX);
    if may_name_files(body) {
        search.body(body, spans, &ROOTS)?;
    }
    Ok(search.found)
}

/// The same of the requests in a batch's input, JSON lines, with the responses that they go on
/// with. In a file that is one by its `purpose`
/// a line that cannot be read and may name a file is an error; in any other it is no request.
///
/// # Errors
/// As [`file_refs`], naming the line; for more than [`FILES_OF_BATCH_MAX`].
pub fn batch_file_refs(file: &[u8], is_batch: bool) -> Result<Vec<FileRef>, GatewayError> {
    let mut search = Search::new(FILES_OF_BATCH_MAX);
    if !may_name_objects(file) {
        return Ok(search.found);
    }
    let file = file.strip_prefix(BYTE_ORDER_MARK).unwrap_or(file);
    for (line, number) in file.split(|byte| *byte == b'\n').zip(1_usize..) {
        if !may_name_objects(line) {
            continue;
        }
        let found = search.found.len();
        let read = search.at(&format!("line {number}: "), |search| search.line(line));
        match read {
            Ok(()) => {}
            Err(error) if is_batch => return Err(error),
            Err(_) => search.forget(found),
        }
    }
    Ok(search.found)
}

/// The same of a batch's lines, which may go on with a response as well. Letters of that name are
/// escaped in `\u005f` to `\u0076`.
fn may_name_objects(lines: &[u8]) -> bool {
    let is_escaped = |at: usize| lines.get(at + 4) == Some(&b'7');
    may_name_files(lines)
        || memmem::find(lines, CONTINUED.as_bytes()).is_some()
        || memmem::find_iter(lines, b"\\u00").any(is_escaped)
}

/// The member by which a Responses request goes on with another one's answer.
const CONTINUED: &str = "previous_response_id";

/// What some editors put before a text.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// Whether `file_id` can be a name in it: as it is, or with an escaped letter. Such letters are in
/// `\u005f` to `\u0069`, and who escapes only what must be escaped writes none of them.
fn may_name_files(body: &[u8]) -> bool {
    let is_escaped = |at: usize| matches!(body.get(at + 4), Some(b'5' | b'6'));
    memmem::find(body, b"file_id").is_some() || memmem::find_iter(body, b"\\u00").any(is_escaped)
}

struct Search {
    is_prompt: bool,
    path: String,
    found: Vec<FileRef>,
    /// Ids of those.
    seen: HashSet<String>,
    /// Most of them.
    most: usize,
}

impl<'a> Walk<'a> for Search {
    type Stop = GatewayError;

    fn path(&mut self) -> &mut String {
        &mut self.path
    }

    fn broken(error: JsonError) -> GatewayError {
        GatewayError::InvalidJson {
            detail: error.to_string(),
        }
    }

    fn enter(&mut self, root: &str) {
        self.is_prompt = root == "prompt";
    }

    fn object(&mut self, object: Value<'a>, below: usize) -> Result<(), GatewayError> {
        let mut is_naming = false;
        // Whose they are is known at the object's end.
        let mut ids = Vec::new();
        for member in members(object) {
            let Named { name, value, .. } = member.map_err(Self::broken)?;
            match &*name {
                "type" => {
                    let kind = value.text();
                    is_naming |= kind.is_some_and(|kind| NAMING.contains(&&*kind));
                }
                "file_id" if ids.len() <= FILES_MAX => ids.push(value),
                _ => {}
            }
            let is_opaque = OPAQUE.contains(&&*name) && !self.is_prompt;
            if is_opaque || !value.is_deep() {
                continue;
            }
            let is_holder = HOLDERS.contains(&&*name);
            self.at_member(&name, |walk| match &*name {
                "container" => walk.held(value, "file_ids"),
                _ if is_holder => {
                    walk.held(value, "file_id")?;
                    walk.value(value, below)
                }
                _ => walk.value(value, below),
            })?;
        }
        if is_naming {
            return self.at_member("file_id", |walk| match ids.len() > FILES_MAX {
                true => Err(walk.too_many()),
                false => ids.into_iter().try_for_each(|id| walk.id(id)),
            });
        }
        Ok(())
    }
}

impl Search {
    fn new(most: usize) -> Self {
        Self {
            is_prompt: false,
            path: String::new(),
            found: Vec::new(),
            seen: HashSet::new(),
            most,
        }
    }

    /// A line of a batch: its request is the member `body`.
    fn line(&mut self, line: &[u8]) -> Result<(), GatewayError> {
        let object = whole(line.trim_ascii()).ok();
        let Some(object) = object.filter(|object| object.kind == Kind::Object) else {
            let message = format!("'{}'is no JSON object, and may name a file", self.path);
            return Err(self.bad(message));
        };
        for member in members(object) {
            let Named { name, value, .. } = member.map_err(Self::broken)?;
            if name != "body" || value.kind != Kind::Object {
                continue;
            }
            let spans = BodySpans::scan(value.raw).map_err(GatewayError::from)?;
            self.at("body.", |search| {
                search.body(value.raw, &spans, &ROOTS)?;
                search.continued(value)
            })?;
        }
        Ok(())
    }

    /// The response that a request goes on with: the provider gives it to whoever names it.
    fn continued(&mut self, body: Value<'_>) -> Result<(), GatewayError> {
        for member in members(body) {
            let Named { name, value, .. } = member.map_err(Self::broken)?;
            if name == CONTINUED {
                self.at(CONTINUED, |search| search.id(value))?;
            }
        }
        Ok(())
    }

    /// Takes back what was found since there were so many.
    fn forget(&mut self, found: usize) {
        for file in self.found.drain(found..) {
            self.seen.remove(&file.id);
        }
    }

    /// The ids that an object has under a name.
    fn held(&mut self, object: Value<'_>, wanted: &str) -> Result<(), GatewayError> {
        if object.kind != Kind::Object {
            return Ok(());
        }
        for member in members(object) {
            let Named { name, value, .. } = member.map_err(Self::broken)?;
            if name != wanted {
                continue;
            }
            self.at_member(wanted, |walk| match value.kind {
                Kind::Array if wanted == "file_ids" => walk.items(value, |_| true, Self::id),
                _ => walk.id(value),
            })?;
        }
        Ok(())
    }

    fn id(&mut self, value: Value<'_>) -> Result<(), GatewayError> {
        if value.kind == Kind::Null {
            return Ok(());
        }
        let Some(id) = value.text() else {
            return Err(self.bad(format!("'{}' must be the id of a file", self.path)));
        };
        if is_address(&id) {
            return Ok(());
        }
        let id = match id.len() > ID_BYTES_MAX {
            false => id.into_owned(),
            true => format!("{}...", start(&id, ID_BYTES_MAX)),
        };
        // An object of two kinds names the same one twice, and a conversation in each turn.
        if self.seen.contains(&id) {
            return Ok(());
        }
        if self.found.len() >= self.most {
            return Err(self.too_many());
        }
        self.seen.insert(id.clone());
        self.found.push(FileRef {
            field: self.path.clone(),
            id,
        });
        Ok(())
    }

    fn too_many(&self) -> GatewayError {
        let most = self.most;
        self.bad(match most {
            FILES_MAX => format!("more than {most} files in one request"),
            _ => format!("more than {most} files in one batch, or {FILES_MAX} in one object"),
        })
    }

    fn bad(&self, message: String) -> GatewayError {
        GatewayError::BadField {
            field: self.path.clone(),
            message,
        }
    }
}

fn is_address(id: &str) -> bool {
    begins_with_any(id, &ADDRESSES)
}

#[cfg(test)]
mod tests;
