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
mod tests {
    use super::*;

    fn refs(body: &str) -> Result<Vec<(String, String)>, String> {
        let spans = BodySpans::scan(body.as_bytes()).unwrap();
        let found = file_refs(body.as_bytes(), &spans).map_err(|error| error.to_string())?;
        let pair = |one: FileRef| (one.field, one.id);
        Ok(found.into_iter().map(pair).collect())
    }

    #[test]
    fn each_dialect_names_its_files() {
        let table = [
            (
                r#"{"messages":[{"content":"hi"},{"content":[{"type":"text"},{"type":"file","file":{"file_id":"f"}}]}]}"#,
                "messages[1].content[1].file.file_id",
            ),
            (
                r#"{"input":[{"role":"user","content":[{"type":"input_file","file_id":"f"}]}]}"#,
                "input[0].content[0].file_id",
            ),
            (
                r#"{"input":[{"type":"function_call_output","output":[{"type":"input_image","file_id":"f"}]}]}"#,
                "input[0].output[0].file_id",
            ),
            (
                r#"{"messages":[{"content":[{"type":"document","source":{"type":"file","file_id":"f"}}]}]}"#,
                "messages[0].content[0].source.file_id",
            ),
            (
                r#"{"messages":[{"content":[{"type":"tool_result","content":[{"type":"image","source":{"type":"file","file_id":"f"}}]}]}]}"#,
                "messages[0].content[0].content[0].source.file_id",
            ),
            (
                r#"{"messages":[{"content":[{"type":"container_upload","file_id":"f"}]}]}"#,
                "messages[0].content[0].file_id",
            ),
            (
                r#"{"tools":[{"type":"code_interpreter","container":{"type":"auto","file_ids":["f"]}}]}"#,
                "tools[0].container.file_ids[0]",
            ),
            (
                r#"{"prompt":{"id":"p","variables":{"input":{"type":"input_file","file_id":"f"}}}}"#,
                "prompt.variables.input.file_id",
            ),
        ];
        for (body, field) in table {
            let expected = vec![(field.to_owned(), "f".to_owned())];
            assert_eq!(refs(body), Ok(expected), "{body}");
        }
    }

    #[test]
    fn every_spelling_of_a_name_counts() {
        let part = |inner: &str| format!(r#"{{"input":[{{"content":[{{{inner}}}]}}]}}"#);
        for inner in [
            r#""type":"input_file","file_id":"mine","file_id":"f""#,
            r#""type":"input_file","file_id":"f","file_id":"mine""#,
            r#""type":"input_file","file\u005fid":"f""#,
            r#""\u0074ype":"input_file","file_id":"f""#,
            r#""type":"x","type":"input_f\u0069le","file_id":"\u0066""#,
            r#""file":{"file_id":"x"},"f\u0069le":{"file_id":"f"}"#,
        ] {
            let found = refs(&part(inner)).unwrap();
            assert!(found.iter().any(|(_, id)| id == "f"), "{inner}: {found:?}");
        }
        let bom = format!("\u{feff}{}", part(r#""type":"input_image","file_id":"f""#));
        assert_eq!(refs(&bom).unwrap().len(), 1);
        let twice =
            r#"{"messages":[],"input":[],"messages":[{"content":[{"file":{"file_id":"f"}}]}]}"#;
        let spans = BodySpans::scan(twice.as_bytes());
        let read = spans.map(|spans| file_refs(twice.as_bytes(), &spans).unwrap().len());
        assert!(!matches!(read, Ok(0)), "refused or found");
    }

    #[test]
    fn what_cannot_be_read_is_refused_and_not_skipped() {
        for inner in [
            r#"{"x":NaN,"type":"input_file","file_id":"f"}"#,
            r#"{"type":"input_file","file_id":["f"]}"#,
            r#"{"type":"input_file","file_id":7}"#,
            r#"{"type" "input_file","file_id":"f"}"#,
        ] {
            let read = refs(&format!(r#"{{"input":[{inner}]}}"#));
            assert!(read.is_err(), "{inner}: {read:?}");
        }
        let many = vec![r#"{"type":"input_file","file_id":"f"}"#; FILES_MAX + 1].join(",");
        assert!(refs(&format!(r#"{{"input":[{many}]}}"#)).is_err());
    }

    #[test]
    fn data_of_tools_and_what_a_provider_said_itself_are_no_references() {
        for body in [
            r#"{"messages":[{"content":[{"type":"tool_use","input":{"file":{"file_id":"f"}}}]}]}"#,
            r#"{"messages":[{"content":[{"type":"code_execution_output","file_id":"f"}]}]}"#,
            r#"{"input":[{"content":[{"type":"output_text","annotations":[{"type":"file_citation","file_id":"f"}]}]}]}"#,
            r#"{"tools":[{"parameters":{"properties":{"file":{"file_id":"f"}}}}]}"#,
            r#"{"metadata":{"file":{"file_id":"f"}},"messages":"file_id"}"#,
            r#"{"input":[{"type":"input_file","file_id":null}]}"#,
            r#"{"input":[{"type":"input_text","text":"caf\u00e9"}]}"#,
        ] {
            assert_eq!(refs(body), Ok(vec![]), "{body}");
        }
    }
}
