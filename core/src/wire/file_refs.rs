//! Files stored at a provider that a chat, messages or Responses body names: whose they are is
//! asked before the provider reads them.

use std::borrow::Cow;
use std::collections::HashSet;

use memchr::memmem;

use super::json::{JsonError, Kind, Members, Reader, Value, whole};
use super::span::{BodySpans, begins_with_any, clipped, member_name, start};
use crate::error::GatewayError;

/// Most files of one request.
pub const FILES_MAX: usize = 200;
/// Most files of all requests of a batch.
pub const FILES_OF_BATCH_MAX: usize = 10_000;
/// Longest id that a store is asked for; of a longer one no more is kept than that and dots.
pub const ID_BYTES_MAX: usize = 256;
/// Longest name with escapes that is read: longer than any known one with an escape per letter.
const ESCAPED_MAX: usize = 512;
/// Levels below a top-level member at which dialects name files, and some more.
const LEVELS_MAX: usize = 16;
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
    let mut walk = Walk::new(FILES_MAX);
    if may_name_files(body) {
        walk.body(body, spans)?;
    }
    Ok(walk.found)
}

/// The same of the requests in a batch's input, JSON lines. In a file that is one by its `purpose`
/// a line that cannot be read and may name a file is an error; in any other it is no request.
///
/// # Errors
/// As [`file_refs`], naming the line; for more than [`FILES_OF_BATCH_MAX`].
pub fn batch_file_refs(file: &[u8], is_batch: bool) -> Result<Vec<FileRef>, GatewayError> {
    let mut walk = Walk::new(FILES_OF_BATCH_MAX);
    if !may_name_files(file) {
        return Ok(walk.found);
    }
    let file = file.strip_prefix(BYTE_ORDER_MARK).unwrap_or(file);
    for (line, number) in file.split(|byte| *byte == b'\n').zip(1_usize..) {
        if !may_name_files(line) {
            continue;
        }
        let found = walk.found.len();
        let read = walk.at(&format!("line {number}: "), |walk| walk.line(line));
        match read {
            Ok(()) => {}
            Err(error) if is_batch => return Err(error),
            Err(_) => walk.forget(found),
        }
    }
    Ok(walk.found)
}

/// What some editors put before a text.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// Whether `file_id` can be a name in it: as it is, or with an escaped letter. Such letters are in
/// `\u005f` to `\u0069`, and who escapes only what must be escaped writes none of them.
fn may_name_files(body: &[u8]) -> bool {
    let is_escaped = |at: usize| matches!(body.get(at + 4), Some(b'5' | b'6'));
    memmem::find(body, b"file_id").is_some() || memmem::find_iter(body, b"\\u00").any(is_escaped)
}

struct Walk {
    is_prompt: bool,
    path: String,
    found: Vec<FileRef>,
    /// Ids of those.
    seen: HashSet<String>,
    /// Most of them.
    most: usize,
}

impl Walk {
    fn new(most: usize) -> Self {
        Self {
            is_prompt: false,
            path: String::new(),
            found: Vec::new(),
            seen: HashSet::new(),
            most,
        }
    }

    /// A whole request.
    fn body(&mut self, body: &[u8], spans: &BodySpans) -> Result<(), GatewayError> {
        for member in spans.members() {
            let Some(name) = member_name(body, *member) else {
                continue;
            };
            let raw = body.get(member.value.range());
            if let (true, Some(raw)) = (ROOTS.contains(&&*name), raw) {
                let kind = member.kind;
                self.is_prompt = name == "prompt";
                self.at(&name, |walk| walk.value(Value { raw, kind }, LEVELS_MAX))?;
            }
        }
        Ok(())
    }

    /// A line of a batch: its request is the member `body`.
    fn line(&mut self, line: &[u8]) -> Result<(), GatewayError> {
        let unread = |walk: &Self, why: &str| walk.bad(format!("'{}'{why}", walk.path));
        let Ok(object) = whole(line.trim_ascii()) else {
            return Err(unread(self, "is no JSON object, and may name a file"));
        };
        if object.kind != Kind::Object {
            return Err(unread(self, "is no JSON object, and may name a file"));
        }
        for member in members(object) {
            let (name, value) = member?;
            if name != "body" || value.kind != Kind::Object {
                continue;
            }
            let spans = BodySpans::scan(value.raw).map_err(GatewayError::from)?;
            self.at("body.", |walk| walk.body(value.raw, &spans))?;
        }
        Ok(())
    }

    /// Takes back what was found since there were so many.
    fn forget(&mut self, found: usize) {
        for file in self.found.drain(found..) {
            self.seen.remove(&file.id);
        }
    }

    fn value(&mut self, value: Value<'_>, levels: usize) -> Result<(), GatewayError> {
        let Some(below) = levels.checked_sub(1) else {
            return Ok(());
        };
        match value.kind {
            Kind::Object => self.object(value, below),
            Kind::Array => self.items(
                value,
                |walk, item| walk.value(item, below),
                |item| item.is_deep(),
            ),
            _ => Ok(()),
        }
    }

    /// Does something with those items of a list that are wanted, one after the other: a list may
    /// have millions.
    fn items(
        &mut self,
        list: Value<'_>,
        mut each: impl FnMut(&mut Self, Value<'_>) -> Result<(), GatewayError>,
        wanted: fn(Value<'_>) -> bool,
    ) -> Result<(), GatewayError> {
        let mut failure = None;
        let mut index = 0_usize;
        let read = Reader::new(list.raw).items(|reader| {
            let item = reader.value()?;
            if failure.is_none() && wanted(item) {
                let step = format!("[{index}]");
                failure = self.at(&step, |walk| each(walk, item)).err();
            }
            index += 1;
            Ok(())
        });
        read.map_err(unreadable)?;
        failure.map_or(Ok(()), Err)
    }

    fn object(&mut self, object: Value<'_>, below: usize) -> Result<(), GatewayError> {
        let mut is_naming = false;
        // Whose they are is known at the object's end.
        let mut ids = Vec::new();
        for member in members(object) {
            let (name, value) = member?;
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
            self.at(&format!(".{}", clipped(&name)), |walk| match &*name {
                "container" => walk.held(value, "file_ids"),
                _ if is_holder => {
                    walk.held(value, "file_id")?;
                    walk.value(value, below)
                }
                _ => walk.value(value, below),
            })?;
        }
        if is_naming {
            return self.at(".file_id", |walk| match ids.len() > FILES_MAX {
                true => Err(walk.too_many()),
                false => ids.into_iter().try_for_each(|id| walk.id(id)),
            });
        }
        Ok(())
    }

    /// The ids that an object has under a name.
    fn held(&mut self, object: Value<'_>, wanted: &str) -> Result<(), GatewayError> {
        if object.kind != Kind::Object {
            return Ok(());
        }
        for member in members(object) {
            let (name, value) = member?;
            if name != wanted {
                continue;
            }
            self.at(&format!(".{wanted}"), |walk| match value.kind {
                Kind::Array if wanted == "file_ids" => walk.items(value, Self::id, |_| true),
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

    fn at<T>(&mut self, step: &str, then: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.path.len();
        self.path.push_str(step);
        let done = then(self);
        self.path.truncate(length);
        done
    }
}

fn is_address(id: &str) -> bool {
    begins_with_any(id, &ADDRESSES)
}

/// Members with their names as they are meant.
pub(crate) fn members<'a>(
    object: Value<'a>,
) -> impl Iterator<Item = Result<(Cow<'a, str>, Value<'a>), GatewayError>> {
    Members::new(object.raw).map(|member| {
        let member = member.map_err(unreadable)?;
        let name = match member.name_escaped {
            false => String::from_utf8_lossy(member.name),
            // Nobody knows a name of that length.
            true if member.name.len() > ESCAPED_MAX => Cow::Borrowed(""),
            true => {
                let quoted = [b"\"", member.name, b"\""].concat();
                let name: Option<String> = serde_json::from_slice(&quoted).ok();
                // Half of a surrogate pair: no name that anybody knows.
                Cow::Owned(name.unwrap_or_default())
            }
        };
        Ok((name, member.value))
    })
}

fn unreadable(error: JsonError) -> GatewayError {
    GatewayError::InvalidJson {
        detail: error.to_string(),
    }
}

#[cfg(test)]
mod tests;
