//! `multipart/form-data` read in place: form fields as spans, the model's value spliced.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;
use memchr::memmem;

use crate::error::GatewayError;
use crate::wire::edit::{EditedBody, Parts};

/// Most parts that a form may have.
pub const PARTS_MAX: usize = 128;

/// Most bytes of one part's header lines.
pub const PART_HEAD_BYTES_MAX: usize = 8 * 1024;

/// Longest boundary (RFC 2046).
pub const BOUNDARY_BYTES_MAX: usize = 70;

/// Longest value of a field that is not a file and that the gateway reads.
pub const VALUE_BYTES_MAX: usize = 64 * 1024;

/// Why a form cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MultipartError {
    /// Not `multipart/form-data` or no usable boundary.
    #[error("content-type must be multipart/form-data with a boundary of 1 to 70 characters")]
    ContentType,
    /// The first boundary is not there.
    #[error("the boundary does not occur in the body")]
    NoBoundary,
    /// A boundary line with something after it.
    #[error("malformed boundary line at byte {0}")]
    BoundaryLine(usize),
    /// The body stops before its closing boundary.
    #[error("the body ends before its closing boundary")]
    Cut,
    /// A part without a readable `Content-Disposition: form-data; name=..`.
    #[error("unreadable part headers at byte {0}")]
    PartHead(usize),
    /// Too many parts or too long headers or values.
    #[error("too many parts or too long part headers")]
    TooLarge,
    /// A field that rules depend on occurs twice.
    #[error("duplicate form field '{0}'")]
    Duplicate(&'static str),
    /// A text field with a file name, an encoding or bytes that are not UTF-8.
    #[error("form field '{0}' must be plain text")]
    NotText(&'static str),
}

impl From<MultipartError> for GatewayError {
    fn from(error: MultipartError) -> Self {
        let field = match error {
            MultipartError::Duplicate(name) | MultipartError::NotText(name) => name,
            _ => "request_body",
        };
        Self::BadField {
            field: field.to_owned(),
            message: error.to_string(),
        }
    }
}

/// Form fields that rules of the gateway read: each may occur once.
const READ_FIELDS: [&str; 8] = [
    "model",
    "stream",
    "response_format",
    "user",
    "n",
    "size",
    "quality",
    "purpose",
];

/// One part of a form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormPart {
    /// Name of the field.
    pub name: String,
    /// It has a file name.
    pub is_file: bool,
    /// Where its value stands.
    pub value: Range<usize>,
    /// Where its header lines begin.
    head: usize,
    encoded: bool,
}

impl FormPart {
    /// Its header lines, with the empty line after them.
    pub fn head_of<'b>(&self, body: &'b [u8]) -> &'b [u8] {
        body.get(self.head..self.value.start).unwrap_or_default()
    }
}

/// Where the fields of a form stand. Holds offsets only: pass the same body again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormSpans {
    boundary: Vec<u8>,
    /// Start of the first boundary line.
    first: usize,
    parts: Vec<FormPart>,
}

impl FormSpans {
    /// Reads a whole form body.
    pub fn scan(body: &[u8], content_type: &str) -> Result<Self, MultipartError> {
        let boundary = boundary(content_type)?;
        let mut delimiter = b"\r\n--".to_vec();
        delimiter.extend_from_slice(boundary.as_bytes());
        let finder = memmem::Finder::new(&delimiter);
        // The first boundary may stand at the very start, without the line break.
        let first = if body.starts_with(&delimiter[2..]) {
            0
        } else {
            finder.find(body).ok_or(MultipartError::NoBoundary)? + 2
        };
        let mut form = Self {
            boundary: delimiter[2..].to_vec(),
            first,
            parts: Vec::new(),
        };
        let mut at = first + form.boundary.len();
        while let Some(start) = line_end(body, at)? {
            let (mut part, value_start) = part_head(body, start)?;
            let rest = &body[value_start..];
            let len = finder.find(rest).ok_or(MultipartError::Cut)?;
            part.value = value_start..value_start + len;
            at = part.value.end + 2 + form.boundary.len();
            form.add(part)?;
        }
        Ok(form)
    }

    fn add(&mut self, part: FormPart) -> Result<(), MultipartError> {
        if self.parts.len() >= PARTS_MAX {
            return Err(MultipartError::TooLarge);
        }
        let read = READ_FIELDS.iter().find(|name| **name == part.name);
        if let Some(name) = read
            && self.parts.iter().any(|other| other.name == *name)
        {
            return Err(MultipartError::Duplicate(name));
        }
        self.parts.push(part);
        Ok(())
    }

    /// The parts in their order.
    pub fn parts(&self) -> &[FormPart] {
        &self.parts
    }

    /// Value of a text field.
    pub fn text<'b>(
        &self,
        body: &'b [u8],
        name: &'static str,
    ) -> Result<Option<&'b str>, MultipartError> {
        let Some(part) = self.parts.iter().find(|part| part.name == name) else {
            return Ok(None);
        };
        if part.is_file || part.encoded {
            return Err(MultipartError::NotText(name));
        }
        if part.value.len() > VALUE_BYTES_MAX {
            return Err(MultipartError::TooLarge);
        }
        let value = body.get(part.value.clone()).unwrap_or_default();
        let text = std::str::from_utf8(value).map_err(|_| MultipartError::NotText(name))?;
        Ok(Some(text))
    }

    /// Sets a text field: its value is replaced, or a part is added in front. `value` must not
    /// hold the boundary; a model name from the configuration never does.
    pub fn with_text(&self, body: &Bytes, name: &str, value: &str) -> EditedBody {
        let mut parts = Parts::new(body);
        if let Some(part) = self.parts.iter().find(|part| part.name == name) {
            parts.keep_to(part.value.start);
            parts.push(Bytes::copy_from_slice(value.as_bytes()));
            parts.skip_to(part.value.end);
        } else {
            parts.keep_to(self.first);
            let mut head = self.boundary.clone();
            let field =
                format!("\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
            head.extend_from_slice(field.as_bytes());
            parts.push(head.into());
        }
        parts.finish()
    }
}

/// Boundary of a `Content-Type` value.
fn boundary(content_type: &str) -> Result<String, MultipartError> {
    let (media, parameters) = content_type
        .split_once(';')
        .ok_or(MultipartError::ContentType)?;
    if !media.trim().eq_ignore_ascii_case("multipart/form-data") {
        return Err(MultipartError::ContentType);
    }
    let found = parameter(parameters, "boundary").map_err(|()| MultipartError::ContentType)?;
    let boundary = found.ok_or(MultipartError::ContentType)?.into_owned();
    let fits = (1..=BOUNDARY_BYTES_MAX).contains(&boundary.len());
    let plain = boundary.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    if !fits || !plain || boundary.ends_with(' ') {
        return Err(MultipartError::ContentType);
    }
    Ok(boundary)
}

/// Value of one parameter of a header (`; name=value; name="value"`). An error when a parameter
/// cannot be read or the name occurs twice: another reader might then see another value.
fn parameter<'t>(text: &'t str, name: &str) -> Result<Option<Cow<'t, str>>, ()> {
    let mut rest = text.trim_start_matches([' ', '\t', ';']);
    let mut found = None;
    while !rest.is_empty() {
        let (key, after) = rest.split_once('=').ok_or(())?;
        let (value, after) = match after.trim_start().strip_prefix('"') {
            Some(inner) => quoted_value(inner).ok_or(())?,
            None => {
                let end = after.find(';').unwrap_or(after.len());
                (Cow::Borrowed(after[..end].trim()), &after[end..])
            }
        };
        let after = after.trim_start();
        if !after.is_empty() && !after.starts_with(';') {
            return Err(());
        }
        if key.trim().eq_ignore_ascii_case(name) && found.replace(value).is_some() {
            return Err(());
        }
        rest = after.trim_start_matches([' ', '\t', ';']);
    }
    Ok(found)
}

/// Text up to the closing quote without backslashes, and what follows the quote.
fn quoted_value(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let mut owned = String::new();
    let mut chars = text.char_indices();
    while let Some((at, ch)) = chars.next() {
        match ch {
            '"' => return Some((Cow::Owned(owned), &text[at + 1..])),
            '\\' => owned.push(chars.next()?.1),
            _ => owned.push(ch),
        }
    }
    None
}

/// What follows a boundary: the start of the next part, or `None` after the last one.
fn line_end(body: &[u8], at: usize) -> Result<Option<usize>, MultipartError> {
    let rest = &body[at..];
    if rest.starts_with(b"--") {
        return Ok(None);
    }
    let padding = rest
        .iter()
        .take_while(|b| matches!(b, b' ' | b'\t'))
        .count();
    match rest.get(padding..padding + 2) {
        Some(b"\r\n") => Ok(Some(at + padding + 2)),
        Some(_) => Err(MultipartError::BoundaryLine(at)),
        None => Err(MultipartError::Cut),
    }
}

/// Reads the header lines that start at `start`: the part and where its value starts.
fn part_head(body: &[u8], start: usize) -> Result<(FormPart, usize), MultipartError> {
    let unreadable = || MultipartError::PartHead(start);
    let rest = &body[start..];
    let window = &rest[..rest.len().min(PART_HEAD_BYTES_MAX)];
    let len = match memmem::find(window, b"\r\n\r\n") {
        Some(len) => len,
        None if rest.len() > PART_HEAD_BYTES_MAX => return Err(MultipartError::TooLarge),
        None => return Err(MultipartError::Cut),
    };
    let head = std::str::from_utf8(&rest[..len]).map_err(|_| unreadable())?;
    let (mut found, mut encoded) = (None, false);
    for line in head.split("\r\n") {
        let (header, value) = line.split_once(':').ok_or_else(unreadable)?;
        if header.eq_ignore_ascii_case("content-disposition") {
            let (kind, parameters) = value.split_once(';').ok_or_else(unreadable)?;
            let is_form = kind.trim().eq_ignore_ascii_case("form-data");
            let name = parameter(parameters, "name").map_err(|()| unreadable())?;
            let file = parameter(parameters, "filename").map_err(|()| unreadable())?;
            let star = parameter(parameters, "filename*").map_err(|()| unreadable())?;
            let is_file = file.is_some() || star.is_some();
            let name = name.filter(|_| is_form && found.is_none());
            found = Some((name.ok_or_else(unreadable)?.into_owned(), is_file));
        } else if header.eq_ignore_ascii_case("content-transfer-encoding") {
            let value = value.trim().to_ascii_lowercase();
            encoded = !matches!(value.as_str(), "7bit" | "8bit" | "binary");
        }
    }
    let (name, is_file) = found.ok_or_else(unreadable)?;
    let part = FormPart {
        name,
        is_file,
        value: 0..0,
        head: start,
        encoded,
    };
    Ok((part, start + len + 4))
}

#[cfg(test)]
mod tests;
