//! A walk through a request's JSON that knows where it is, in the caller's words:
//! `messages[0].content[1]`. What is looked for there is the walker's business.

use std::borrow::Cow;
use std::ops::Range;

use super::json::{JsonError, Kind, Members, Reader, Value};
use super::span::{BodySpans, clipped, member_name};

/// Levels below a top-level member at which dialects name files and addresses, and some more.
pub(crate) const LEVELS_MAX: usize = 16;
/// Longest name with escapes that is read: longer than any known one with an escape per letter.
const ESCAPED_MAX: usize = 512;

/// A member with its name as it is meant.
pub(crate) struct Named<'a> {
    /// Its name; empty where it is too long to be known, or no text.
    pub(crate) name: Cow<'a, str>,
    /// Its value.
    pub(crate) value: Value<'a>,
    /// From its name's first quote to the value's end, in the object.
    pub(crate) at: Range<usize>,
}

/// Goes through values, its path with it.
pub(crate) trait Walk<'a>: Sized {
    /// Why it goes no further.
    type Stop;

    /// Where it is.
    fn path(&mut self) -> &mut String;

    /// What follows where the JSON breaks off.
    fn broken(error: JsonError) -> Self::Stop;

    /// Meets an object; goes on into its members by [`Self::value`] with `below`.
    fn object(&mut self, object: Value<'a>, below: usize) -> Result<(), Self::Stop>;

    /// Begins below a top-level member.
    fn enter(&mut self, _root: &str) {}

    /// Goes through those top-level members.
    fn body(
        &mut self,
        body: &'a [u8],
        spans: &BodySpans,
        roots: &[&str],
    ) -> Result<(), Self::Stop> {
        for member in spans.members() {
            let name = member_name(body, *member).filter(|name| roots.contains(&&**name));
            if let Some((name, raw)) = name.zip(body.get(member.value.range())) {
                let kind = member.kind;
                self.enter(&name);
                self.at(&name, |walk| walk.value(Value { raw, kind }, LEVELS_MAX))?;
            }
        }
        Ok(())
    }

    /// Goes into a value, `levels` deep at most.
    fn value(&mut self, value: Value<'a>, levels: usize) -> Result<(), Self::Stop> {
        let Some(below) = levels.checked_sub(1) else {
            return Ok(());
        };
        match value.kind {
            Kind::Object => self.object(value, below),
            Kind::Array => self.items(value, Value::is_deep, |walk, item| walk.value(item, below)),
            _ => Ok(()),
        }
    }

    /// Does something with those items of a list that are wanted, one after the other: a list may
    /// have millions.
    fn items(
        &mut self,
        list: Value<'a>,
        wanted: fn(Value<'a>) -> bool,
        mut each: impl FnMut(&mut Self, Value<'a>) -> Result<(), Self::Stop>,
    ) -> Result<(), Self::Stop> {
        let mut stop = None;
        let mut index = 0_usize;
        let read = Reader::new(list.raw).items(|reader| {
            let item = reader.value()?;
            if stop.is_none() && wanted(item) {
                let step = format!("[{index}]");
                stop = self.at(&step, |walk| each(walk, item)).err();
            }
            index += 1;
            Ok(())
        });
        read.map_err(Self::broken)?;
        stop.map_or(Ok(()), Err)
    }

    /// Does something one step further.
    fn at<T>(&mut self, step: &str, then: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.path().len();
        self.path().push_str(step);
        let done = then(self);
        self.path().truncate(length);
        done
    }

    /// Does something at a member.
    fn at_member<T>(&mut self, name: &str, then: impl FnOnce(&mut Self) -> T) -> T {
        self.at(&format!(".{}", clipped(name)), then)
    }
}

/// Members of an object, their names as they are meant, in whatever letters they are written.
pub(crate) fn members<'a>(object: Value<'a>) -> impl Iterator<Item = Result<Named<'a>, JsonError>> {
    Members::new(object.raw).map(|member| {
        let member = member?;
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
        Ok(Named {
            name,
            value: member.value,
            at: member.name_at.start..member.value_at.end,
        })
    })
}
