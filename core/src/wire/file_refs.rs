//! Files stored at a provider that a chat, messages or Responses body names: whose they are is
//! asked before the provider reads them.

use std::borrow::Cow;

use memchr::memmem;

use super::json::{JsonError, Kind, Members, Reader, Value};
use super::span::{BodySpans, member_name};
use crate::error::GatewayError;

/// Most files of one request.
pub const FILES_MAX: usize = 200;
/// Levels below a top-level member at which dialects name files, and some more.
const LEVELS_MAX: usize = 16;
/// Top-level members below which files are named.
const ROOTS: [&str; 5] = ["input", "messages", "prompt", "system", "tools"];
/// Members below them that hold what a caller's own tools are given: no provider looks for files
/// in them. A prompt's variables may have these names, and are looked at.
const OPAQUE: [&str; 4] = ["arguments", "input", "input_schema", "parameters"];
/// Objects that name a file of the caller's by a member of their own.
const NAMING: [&str; 4] = [
    "computer_screenshot",
    "container_upload",
    "input_file",
    "input_image",
];
/// Members whose object names one, whatever its type.
const HOLDERS: [&str; 3] = ["file", "input_image_mask", "source"];

/// A file that a body names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileRef {
    /// Where: `messages[0].content[1].file.file_id`.
    pub field: String,
    /// The provider's id.
    pub id: String,
}

/// The files that a body names as its input, in their order. Every member of a name counts, in
/// whatever letters it is written: readers differ in which of two they take. Ids that a provider
/// gave out itself in an earlier answer (citations, what code has written) are not among them.
///
/// # Errors
/// `InvalidJson` where what may name a file cannot be read, `BadField` for an id that is no text
/// and for more than [`FILES_MAX`].
pub fn file_refs(body: &[u8], spans: &BodySpans) -> Result<Vec<FileRef>, GatewayError> {
    let mut found = Vec::new();
    if !may_name_files(body) {
        return Ok(found);
    }
    for member in spans.members() {
        let Some(name) = member_name(body, *member) else {
            continue;
        };
        let raw = body.get(member.value.range());
        if let (true, Some(raw)) = (ROOTS.contains(&&*name), raw) {
            let kind = member.kind;
            let mut walk = Walk {
                is_prompt: name == "prompt",
                path: name.into_owned(),
                found: &mut found,
            };
            walk.value(Value { raw, kind }, LEVELS_MAX)?;
        }
    }
    Ok(found)
}

/// Whether `file_id` can be a name in it: as it is, or with an escaped letter. Such letters are in
/// `\u005f` to `\u0069`, and who escapes only what must be escaped writes none of them.
fn may_name_files(body: &[u8]) -> bool {
    let is_escaped = |at: usize| matches!(body.get(at + 4), Some(b'5' | b'6'));
    memmem::find(body, b"file_id").is_some() || memmem::find_iter(body, b"\\u00").any(is_escaped)
}

struct Walk<'f> {
    is_prompt: bool,
    path: String,
    found: &'f mut Vec<FileRef>,
}

impl Walk<'_> {
    fn value(&mut self, value: Value<'_>, levels: usize) -> Result<(), GatewayError> {
        let Some(below) = levels.checked_sub(1) else {
            return Ok(());
        };
        match value.kind {
            Kind::Object => self.object(&members(value)?, below),
            Kind::Array => self.items(value, |walk, item| walk.value(item, below)),
            _ => Ok(()),
        }
    }

    fn items(
        &mut self,
        list: Value<'_>,
        mut each: impl FnMut(&mut Self, Value<'_>) -> Result<(), GatewayError>,
    ) -> Result<(), GatewayError> {
        let mut items = Vec::new();
        let mut reader = Reader::new(list.raw);
        let read = reader.items(|reader| {
            items.push(reader.value()?);
            Ok(())
        });
        read.map_err(unreadable)?;
        for (index, item) in items.into_iter().enumerate() {
            self.at(&format!("[{index}]"), |walk| each(walk, item))?;
        }
        Ok(())
    }

    fn object(
        &mut self,
        members: &[(Cow<'_, str>, Value<'_>)],
        below: usize,
    ) -> Result<(), GatewayError> {
        let is_naming = members.iter().any(|(name, value)| {
            let kind = value.text().filter(|_| name == "type");
            kind.is_some_and(|kind| NAMING.contains(&&*kind))
        });
        for (name, value) in members {
            if OPAQUE.contains(&&**name) && !self.is_prompt {
                continue;
            }
            let is_holder = HOLDERS.contains(&&**name);
            self.at(&format!(".{name}"), |walk| match &**name {
                "file_id" if is_naming => walk.id(*value),
                "container" => walk.held(*value, "file_ids"),
                _ if is_holder => {
                    walk.held(*value, "file_id")?;
                    walk.value(*value, below)
                }
                _ => walk.value(*value, below),
            })?;
        }
        Ok(())
    }

    /// The ids that an object has under a name.
    fn held(&mut self, object: Value<'_>, wanted: &str) -> Result<(), GatewayError> {
        if object.kind != Kind::Object {
            return Ok(());
        }
        for (_, value) in members(object)?.iter().filter(|(name, _)| name == wanted) {
            self.at(&format!(".{wanted}"), |walk| match value.kind {
                Kind::Array if wanted == "file_ids" => walk.items(*value, Self::id),
                _ => walk.id(*value),
            })?;
        }
        Ok(())
    }

    fn id(&mut self, value: Value<'_>) -> Result<(), GatewayError> {
        if value.kind == Kind::Null {
            return Ok(());
        }
        let field = self.path.clone();
        let bad = |message: String| GatewayError::BadField {
            field: self.path.clone(),
            message,
        };
        let Some(id) = value.text() else {
            return Err(bad(format!("'{field}' must be the id of a file")));
        };
        let id = id.into_owned();
        // An object of two kinds names the same one twice.
        let file = FileRef { field, id };
        if !self.found.contains(&file) {
            if self.found.len() >= FILES_MAX {
                return Err(bad(format!("more than {FILES_MAX} files in one request")));
            }
            self.found.push(file);
        }
        Ok(())
    }

    fn at<T>(&mut self, step: &str, then: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.path.len();
        self.path.push_str(step);
        let done = then(self);
        self.path.truncate(length);
        done
    }
}

/// Members with their names as they are meant.
fn members(object: Value<'_>) -> Result<Vec<(Cow<'_, str>, Value<'_>)>, GatewayError> {
    let mut found = Vec::new();
    for member in Members::new(object.raw) {
        let member = member.map_err(unreadable)?;
        let name = match member.name_escaped {
            false => String::from_utf8_lossy(member.name),
            true => {
                let quoted = [b"\"", member.name, b"\""].concat();
                let name: Option<String> = serde_json::from_slice(&quoted).ok();
                // Half of a surrogate pair: no name that anybody knows.
                Cow::Owned(name.unwrap_or_default())
            }
        };
        found.push((name, member.value));
    }
    Ok(found)
}

fn unreadable(error: JsonError) -> GatewayError {
    GatewayError::InvalidJson {
        detail: error.to_string(),
    }
}

#[cfg(test)]
mod tests;
