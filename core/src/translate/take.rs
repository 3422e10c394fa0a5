//! Members of a request read with the type that they must have; a refusal names the field.

use crate::translate::loss::Refusal;
use crate::translate::text::Text;
use crate::wire::json::{Kind, Members, Value};

/// Every member of the body that is not null, by its name. A name with an escape in it is no
/// name that means something.
pub(crate) fn top<'a>(
    body: &'a [u8],
    mut each: impl FnMut(&'a str, Value<'a>) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    for member in Members::new(body) {
        let member = member.map_err(|error| Refusal::new("request_body", error.to_string()))?;
        if member.value.kind != Kind::Null {
            each(
                std::str::from_utf8(member.name).unwrap_or_default(),
                member.value,
            )?;
        }
    }
    Ok(())
}

/// Members of an object that are not null.
pub(crate) fn members<'a>(value: Value<'a>) -> impl Iterator<Item = (&'a str, Value<'a>)> {
    let named = value.fields().filter(|(_, value)| value.kind != Kind::Null);
    named.map(|(name, value)| (std::str::from_utf8(name).unwrap_or_default(), value))
}

/// A member that is not null.
pub(crate) fn member<'a>(value: Value<'a>, name: &str) -> Option<Value<'a>> {
    let found = value.field(name.as_bytes());
    found.filter(|value| value.kind != Kind::Null)
}

pub(crate) fn text<'a>(value: Value<'a>, field: &str) -> Result<Text<'a>, Refusal> {
    Text::of(value).ok_or_else(|| Refusal::wrong(field, "a string"))
}

pub(crate) fn list(value: Value<'_>, field: &str) -> Result<(), Refusal> {
    match value.kind {
        Kind::Array => Ok(()),
        _ => Err(Refusal::wrong(field, "a list")),
    }
}

pub(crate) fn object<'a>(value: Value<'a>, field: &str) -> Result<Value<'a>, Refusal> {
    match value.kind {
        Kind::Object => Ok(value),
        _ => Err(Refusal::wrong(field, "an object")),
    }
}

pub(crate) fn flag(value: Value<'_>, field: &str) -> Result<bool, Refusal> {
    match value.kind {
        Kind::Bool => Ok(value.raw == b"true"),
        _ => Err(Refusal::wrong(field, "true or false")),
    }
}

pub(crate) fn count(value: Value<'_>, field: &str) -> Result<u64, Refusal> {
    let count = value.count();
    count.ok_or_else(|| Refusal::wrong(field, "a number that is not negative"))
}

/// A text member; absent and null are `None`.
pub(crate) fn text_member<'a>(
    value: Value<'a>,
    name: &str,
    field: &str,
) -> Result<Option<Text<'a>>, Refusal> {
    member(value, name)
        .map(|value| text(value, field))
        .transpose()
}

/// A text member that must be there.
pub(crate) fn needed<'a>(value: Value<'a>, name: &str, field: &str) -> Result<Text<'a>, Refusal> {
    text_member(value, name, field)?
        .ok_or_else(|| Refusal::new(field, format!("Missing required parameter: '{field}'.")))
}

/// The word in `type`; empty when there is none.
pub(crate) fn kind_of(value: Value<'_>) -> &[u8] {
    let kind = value.field(b"type").and_then(Value::inner);
    kind.unwrap_or_default()
}
