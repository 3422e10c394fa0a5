//! A request body read at depth one: which members it has and where they stand.

use std::borrow::Cow;
use std::ops::Range;

use crate::error::GatewayError;
use crate::wire::field::Field;
use crate::wire::json::{JsonError, Kind, Members, Problem, Value, whole};

/// Most members that a request body may have at its top level.
pub const MEMBERS_MAX: usize = 512;

/// Largest body in bytes that spans can point into.
pub const BODY_BYTES_MAX: usize = u32::MAX as usize;

/// Why a request body cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScanError {
    /// Not a JSON object.
    #[error("{0}")]
    Json(#[from] JsonError),
    /// A field that rules depend on occurs twice: gateway and provider might read different ones.
    #[error("duplicate member '{0}'")]
    Duplicate(&'static str),
    /// More than [`MEMBERS_MAX`] members, or more than [`BODY_BYTES_MAX`] bytes.
    #[error("too many members or bytes")]
    TooLarge,
    /// A field has a value of the wrong type.
    #[error("'{name}' must be {expected}")]
    Type {
        /// The field.
        name: &'static str,
        /// `a string`, `true or false`, ...
        expected: &'static str,
    },
}

impl From<ScanError> for GatewayError {
    fn from(error: ScanError) -> Self {
        let message = error.to_string();
        match error {
            ScanError::Type { name, .. } => Self::BadField {
                field: name.to_owned(),
                message,
            },
            _ => Self::InvalidJson { detail: message },
        }
    }
}

/// A range of the body. 32 bits: bodies are far smaller than 4 GiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    start: u32,
    end: u32,
}

impl Span {
    fn new(range: Range<usize>) -> Self {
        // `BodySpans::scan` has refused bodies that do not fit.
        Self {
            start: range.start as u32,
            end: range.end as u32,
        }
    }

    /// As offsets into the body.
    pub fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// Place and type of one top-level member.
#[derive(Clone, Copy, Debug)]
pub struct MemberSpan {
    /// Its name with quotes.
    pub name: Span,
    /// The name has a backslash.
    pub name_escaped: bool,
    /// Its value.
    pub value: Span,
    /// Type of the value.
    pub kind: Kind,
}

/// What stands where in a JSON request body. Holds offsets only: pass the same body again.
#[derive(Clone, Debug)]
pub struct BodySpans {
    members: Vec<MemberSpan>,
    /// Position in `members` plus one; zero is absent.
    fields: [u16; Field::COUNT],
    open: usize,
}

impl BodySpans {
    /// Reads the body once, in linear time, without descending.
    pub fn scan(body: &[u8]) -> Result<Self, ScanError> {
        if body.len() > BODY_BYTES_MAX {
            return Err(ScanError::TooLarge);
        }
        let start = if body.starts_with(b"\xEF\xBB\xBF") {
            3
        } else {
            0
        };
        let mut spans = Self {
            members: Vec::with_capacity(16),
            fields: [0; Field::COUNT],
            open: start,
        };
        let mut walk = Members::at(body, start);
        for member in walk.by_ref() {
            let member = member?;
            spans.add(
                body,
                MemberSpan {
                    name: Span::new(member.name_at),
                    name_escaped: member.name_escaped,
                    value: Span::new(member.value_at),
                    kind: member.value.kind,
                },
            )?;
        }
        let is_space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
        spans.open += body[start..].iter().take_while(|b| is_space(b)).count() + 1;
        let rest = &body[walk.offset()..];
        if let Some(extra) = rest.iter().position(|byte| !is_space(byte)) {
            let at = walk.offset() + extra;
            let problem = Problem::Trailing;
            return Err(JsonError { at, problem }.into());
        }
        Ok(spans)
    }

    fn add(&mut self, body: &[u8], member: MemberSpan) -> Result<(), ScanError> {
        if self.members.len() >= MEMBERS_MAX {
            return Err(ScanError::TooLarge);
        }
        self.members.push(member);
        let name = member_name(body, member);
        if let Some(field) = name.and_then(|name| Field::from_name(name.as_bytes())) {
            let slot = &mut self.fields[field as usize];
            if *slot != 0 {
                return Err(ScanError::Duplicate(field.name()));
            }
            *slot = self.members.len() as u16;
        }
        Ok(())
    }

    /// All members in their order.
    pub fn members(&self) -> &[MemberSpan] {
        &self.members
    }

    /// Offset just past the opening brace.
    pub(crate) fn open(&self) -> usize {
        self.open
    }

    /// Whether the field is there, whatever its value.
    pub fn has(&self, field: Field) -> bool {
        self.fields[field as usize] != 0
    }

    /// Whether the field is there; an error where it is something else than a list.
    pub fn has_list(&self, field: Field) -> Result<bool, ScanError> {
        let Some(index) = self.index(field) else {
            return Ok(false);
        };
        match self.members[index].kind {
            Kind::Array => Ok(true),
            _ => Err(wrong(field, "a list")),
        }
    }

    /// Position of a field among the members.
    pub(crate) fn index(&self, field: Field) -> Option<usize> {
        usize::from(self.fields[field as usize]).checked_sub(1)
    }

    /// Positions of the members with a name that satisfies `matches`.
    pub fn find<'s>(
        &'s self,
        body: &'s [u8],
        matches: impl Fn(&str) -> bool + 's,
    ) -> impl Iterator<Item = usize> + 's {
        let named = self.members.iter().enumerate();
        named.filter_map(move |(index, member)| {
            let name = member_name(body, *member)?;
            matches(&name).then_some(index)
        })
    }

    /// The first member name that satisfies `banned`.
    pub fn first_banned(&self, body: &[u8], banned: impl Fn(&str) -> bool) -> Option<String> {
        let mut names = self.members.iter().filter_map(|m| member_name(body, *m));
        names.find(|name| banned(name)).map(Cow::into_owned)
    }

    /// A field's value. `null` counts as absent.
    pub fn value<'b>(&self, body: &'b [u8], field: Field) -> Option<Value<'b>> {
        let member = self.members[self.index(field)?];
        let raw = body.get(member.value.range())?;
        let kind = member.kind;
        (kind != Kind::Null).then_some(Value { raw, kind })
    }

    /// A text field.
    pub fn text<'b>(
        &self,
        body: &'b [u8],
        field: Field,
    ) -> Result<Option<Cow<'b, str>>, ScanError> {
        let value = self.value(body, field);
        let text = value.map(|value| value.text().ok_or_else(|| wrong(field, "a string")));
        text.transpose()
    }

    /// A switch.
    pub fn flag(&self, body: &[u8], field: Field) -> Result<Option<bool>, ScanError> {
        match self.value(body, field) {
            None => Ok(None),
            Some(value) if value.kind == Kind::Bool => Ok(Some(value.raw == b"true")),
            Some(_) => Err(wrong(field, "true or false")),
        }
    }

    /// A count.
    pub fn count(&self, body: &[u8], field: Field) -> Result<Option<u64>, ScanError> {
        let value = self.value(body, field);
        let count = value.map(|value| {
            let count = value.count();
            count.ok_or_else(|| wrong(field, "a number that is not negative"))
        });
        count.transpose()
    }

    /// A number such as seconds.
    pub fn number(&self, body: &[u8], field: Field) -> Result<Option<f64>, ScanError> {
        let value = self.value(body, field);
        let number = value.map(|value| value.number().ok_or_else(|| wrong(field, "a number")));
        number.transpose()
    }

    /// A list of strings.
    pub fn texts(&self, body: &[u8], field: Field) -> Result<Vec<String>, ScanError> {
        match self.value(body, field) {
            None => Ok(Vec::new()),
            Some(value) if value.kind == Kind::Array => {
                let text = |item: Value<'_>| item.text().map(Cow::into_owned);
                let texts = value.items().map(text).collect::<Option<_>>();
                texts.ok_or_else(|| wrong(field, "a list of strings"))
            }
            Some(_) => Err(wrong(field, "a list of strings")),
        }
    }

    /// Whether the client itself asked for the usage chunk of a stream.
    pub fn asks_for_usage(&self, body: &[u8]) -> bool {
        self.value(body, Field::StreamOptions)
            .and_then(|options| options.field(b"include_usage"))
            .is_some_and(|value| value.raw == b"true")
    }
}

fn wrong(field: Field, expected: &'static str) -> ScanError {
    let name = field.name();
    ScanError::Type { name, expected }
}

/// Bytes of a member's name that are shown where a place in a body is named.
const SHOWN_MAX: usize = 64;

/// Whether a text begins with one of these schemes, written in any case.
pub(crate) fn begins_with_any(text: &str, schemes: &[&str]) -> bool {
    schemes.iter().any(|scheme| {
        let start = text.get(..scheme.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    })
}

/// A member's name as it is shown: names may be megabytes long.
pub(crate) fn clipped(name: &str) -> Cow<'_, str> {
    match name.len() > SHOWN_MAX {
        false => Cow::Borrowed(name),
        true => Cow::Owned(format!("{}...", start(name, SHOWN_MAX))),
    }
}

/// The start of a text: no more than that many bytes, of whole characters.
pub(crate) fn start(text: &str, bytes_max: usize) -> &str {
    let mut ends = (0..=bytes_max.min(text.len())).rev();
    ends.find_map(|end| text.get(..end)).unwrap_or_default()
}

/// Name of a member without quotes and escapes; `None` when it is not valid text, which no name
/// that means something is.
pub(crate) fn member_name(body: &[u8], member: MemberSpan) -> Option<Cow<'_, str>> {
    let quoted = body.get(member.name.range())?;
    if member.name_escaped {
        return whole(quoted).ok()?.text();
    }
    let inner = quoted.get(1..quoted.len().saturating_sub(1))?;
    std::str::from_utf8(inner).ok().map(Cow::Borrowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(body: &str) -> Result<BodySpans, ScanError> {
        BodySpans::scan(body.as_bytes())
    }

    #[test]
    fn fields_are_typed_and_null_is_absent() {
        let body = r#"{"model":"gpt-4o","stream":true,"max_tokens":16.0,"timeout":1.5,
            "user":null,"tags":["a","b"],"stream_options":{"include_usage":true}}"#;
        let (spans, bytes) = (scan(body).unwrap(), body.as_bytes());
        assert_eq!(spans.text(bytes, Field::Model).unwrap().unwrap(), "gpt-4o");
        assert_eq!(spans.flag(bytes, Field::Stream), Ok(Some(true)));
        assert_eq!(spans.count(bytes, Field::MaxTokens), Ok(Some(16)));
        assert_eq!(spans.number(bytes, Field::Timeout), Ok(Some(1.5)));
        assert_eq!(spans.text(bytes, Field::User), Ok(None));
        assert!(spans.has(Field::User));
        assert_eq!(spans.texts(bytes, Field::Tags).unwrap(), ["a", "b"]);
        assert!(spans.asks_for_usage(bytes));
        let mixed = r#"{"tags":["a",1]}"#;
        let error = scan(mixed).unwrap().texts(mixed.as_bytes(), Field::Tags);
        assert_eq!(
            error.unwrap_err().to_string(),
            "'tags' must be a list of strings"
        );
        let wrong_type = spans.flag(bytes, Field::Model).unwrap_err();
        assert_eq!(wrong_type.to_string(), "'model' must be true or false");
    }

    #[test]
    fn a_second_model_is_refused_however_it_is_spelled() {
        for body in [
            r#"{"model":"a","model":"b"}"#,
            r#"{"model":"a","mod\u0065l":"b"}"#,
            r#"{"\u006dodel":"a","x":1,"model":"b"}"#,
        ] {
            let error = scan(body).unwrap_err();
            assert_eq!(error, ScanError::Duplicate("model"), "{body}");
        }
        assert!(scan(r#"{"x":1,"x":2,"Model":1,"model":"a"}"#).is_ok());
    }

    #[test]
    fn banned_names_are_seen_through_escapes() {
        let body = r#"{"model":"a","api\u005fbase":"http://x"}"#;
        let spans = scan(body).unwrap();
        let banned = |name: &str| name == "api_base";
        let found = spans.first_banned(body.as_bytes(), banned);
        assert_eq!(found.as_deref(), Some("api_base"));
        assert_eq!(spans.first_banned(b"", |_| true), None);
    }

    #[test]
    fn odd_bodies_end_in_an_error_that_says_where() {
        let text = |body: &str| scan(body).unwrap_err().to_string();
        assert_eq!(text(""), "unexpected end of input at byte 0");
        assert_eq!(text("[]"), "expected a value at byte 0");
        assert_eq!(text("{} x"), "unexpected text after the value at byte 3");
        assert_eq!(text("\u{feff}{\"a\" 1}"), "expected ':' at byte 8");
        let many = format!("{{{}\"z\":1}}", "\"a\":1,".repeat(MEMBERS_MAX));
        assert_eq!(scan(&many).unwrap_err(), ScanError::TooLarge);
        assert!(scan("\u{feff} {\"model\":\"a\"} \r\n").is_ok());
    }

    #[test]
    fn names_and_fields_are_one_table() {
        let mut found = 0;
        for name in crate::wire::field::GATEWAY_ONLY {
            found += usize::from(Field::from_name(name.as_bytes()).is_some());
        }
        assert!(found >= 14);
        for body in ["model", "quality", "mock_response", "tags"] {
            let field = Field::from_name(body.as_bytes()).unwrap();
            assert_eq!(field.name(), body);
        }
    }
}
