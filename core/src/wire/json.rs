//! JSON read in place: members and items as slices of the input, no tree, no recursion.

mod cursor;

use std::borrow::Cow;
use std::ops::Range;

use cursor::Cursor;

/// Deepest nesting of arrays and objects below the top level that is accepted.
pub const DEPTH_MAX: u32 = 127;

/// Where and why JSON could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem} at byte {at}")]
pub struct JsonError {
    /// Offset into the input.
    pub at: usize,
    /// What was wrong there.
    pub problem: Problem,
}

/// What is wrong with a piece of JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The input stops too early.
    #[error("unexpected end of input")]
    End,
    /// No value starts here.
    #[error("expected a value")]
    Value,
    /// No member name starts here.
    #[error("expected a string as member name")]
    Name,
    /// A member name without its colon.
    #[error("expected ':'")]
    Colon,
    /// Neither a comma nor the end of the container.
    #[error("expected ',' or the end of the container")]
    Comma,
    /// A closing bracket without its opening one.
    #[error("mismatched bracket")]
    Bracket,
    /// A backslash before something that cannot be escaped.
    #[error("invalid escape")]
    Escape,
    /// A string that is not UTF-8, or half of a surrogate pair.
    #[error("invalid text")]
    Text,
    /// Nesting over [`DEPTH_MAX`].
    #[error("nested too deeply")]
    Depth,
    /// Something after the value.
    #[error("unexpected text after the value")]
    Trailing,
}

/// Type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `{..}`
    Object,
    /// `[..]`
    Array,
    /// `".."`; true when it has a backslash.
    String(bool),
    /// A number; its grammar is checked when it is read.
    Number,
    /// `true` or `false`.
    Bool,
    /// `null`
    Null,
}

/// A value as a slice of the input.
#[derive(Clone, Copy, Debug)]
pub struct Value<'a> {
    /// Its bytes: quotes and brackets included.
    pub raw: &'a [u8],
    /// Its type.
    pub kind: Kind,
}

impl<'a> Value<'a> {
    /// Whether other values may be in it.
    pub fn is_deep(self) -> bool {
        matches!(self.kind, Kind::Object | Kind::Array)
    }

    /// Bytes between the quotes of a string, escapes untouched.
    pub fn inner(self) -> Option<&'a [u8]> {
        match self.kind {
            Kind::String(_) => self.raw.get(1..self.raw.len().saturating_sub(1)),
            _ => None,
        }
    }

    /// Text of a string; `None` for other types and for invalid text.
    pub fn text(self) -> Option<Cow<'a, str>> {
        match self.kind {
            Kind::String(true) => serde_json::from_slice(self.raw).ok().map(Cow::Owned),
            Kind::String(false) => std::str::from_utf8(self.inner()?).ok().map(Cow::Borrowed),
            _ => None,
        }
    }

    /// A count: a number that is not negative; fractions (`214.0`) are cut.
    pub fn count(self) -> Option<u64> {
        if self.kind != Kind::Number {
            return None;
        }
        // Nineteen digits always fit.
        if self.raw.len() <= 19 && self.raw.iter().all(u8::is_ascii_digit) {
            let digits = self.raw.iter().map(|digit| u64::from(digit - b'0'));
            return Some(digits.fold(0, |count, digit| count * 10 + digit));
        }
        let text = std::str::from_utf8(self.raw).ok()?;
        text.parse().ok().or_else(|| {
            let number: f64 = text.parse().ok()?;
            (number.is_finite() && (0.0..1e18).contains(&number)).then_some(number as u64)
        })
    }

    /// A finite number.
    pub fn number(self) -> Option<f64> {
        if self.kind != Kind::Number {
            return None;
        }
        let number: f64 = std::str::from_utf8(self.raw).ok()?.parse().ok()?;
        number.is_finite().then_some(number)
    }

    /// Members of an object; nothing for other types. Stops silently where it is malformed.
    pub fn fields(self) -> impl Iterator<Item = (&'a [u8], Value<'a>)> {
        Fields {
            cursor: Cursor::new(self.raw),
            started: false,
            ended: self.kind != Kind::Object,
        }
    }

    /// Items of an array; nothing for other types. Stops silently where it is malformed.
    pub fn items(self) -> Items<'a> {
        Items {
            cursor: Cursor::new(self.raw),
            started: false,
            ended: self.kind != Kind::Array,
        }
    }

    /// First member of an object with this name.
    pub fn field(self, name: &[u8]) -> Option<Value<'a>> {
        self.fields()
            .find(|(found, _)| *found == name)
            .map(|(_, value)| value)
    }
}

/// Members of an object without where they stand: what every event of a stream is read with.
struct Fields<'a> {
    cursor: Cursor<'a>,
    started: bool,
    ended: bool,
}

impl<'a> Fields<'a> {
    fn step(&mut self) -> Option<(&'a [u8], Value<'a>)> {
        let cursor = &mut self.cursor;
        cursor.space();
        let before = if self.started { b',' } else { b'{' };
        cursor.eat(before, Problem::Comma).ok()?;
        self.started = true;
        cursor.space();
        let (name, _) = cursor.name().ok()?;
        let value = cursor.value().ok()?;
        Some((&cursor.bytes[name], value))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = (&'a [u8], Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let found = if self.ended { None } else { self.step() };
        self.ended = found.is_none();
        found
    }
}

/// Reads `bytes` as exactly one value with white space around it.
pub fn whole(bytes: &[u8]) -> Result<Value<'_>, JsonError> {
    let mut reader = Reader::new(bytes);
    let value = reader.value()?;
    reader.end().map(|()| value)
}

/// One member of an object.
#[derive(Clone, Debug)]
pub struct Member<'a> {
    /// Bytes between the quotes of its name.
    pub name: &'a [u8],
    /// The name has a backslash.
    pub name_escaped: bool,
    /// Where the name stands, quotes included.
    pub name_at: Range<usize>,
    /// Its value.
    pub value: Value<'a>,
    /// Where the value stands.
    pub value_at: Range<usize>,
}

/// Walks over the members of an object without descending.
pub struct Members<'a> {
    cursor: Cursor<'a>,
    state: Walk,
}

#[derive(Clone, Copy, PartialEq)]
enum Walk {
    Opening,
    Inside,
    Ended,
}

impl<'a> Members<'a> {
    /// Walks over the object that `bytes` starts with (white space before it is fine).
    pub fn new(bytes: &'a [u8]) -> Self {
        Self::at(bytes, 0)
    }

    /// Walks over the object at `offset` of `bytes`; positions count from the start of `bytes`.
    pub fn at(bytes: &'a [u8], offset: usize) -> Self {
        Self {
            cursor: Cursor { bytes, at: offset },
            state: Walk::Opening,
        }
    }

    /// Offset just past what was read: past `}` when the walk has ended without an error.
    pub fn offset(&self) -> usize {
        self.cursor.at
    }

    fn step(&mut self) -> Result<Option<Member<'a>>, JsonError> {
        let cursor = &mut self.cursor;
        cursor.space();
        let mut may_end = true;
        if self.state == Walk::Opening {
            cursor.eat(b'{', Problem::Value)?;
        } else if cursor.peek() == Some(b',') {
            cursor.at += 1;
            may_end = false;
        } else if cursor.peek() != Some(b'}') {
            return Err(cursor.error(Problem::Comma));
        }
        cursor.space();
        if may_end && cursor.peek() == Some(b'}') {
            cursor.at += 1;
            return Ok(None);
        }
        self.state = Walk::Inside;
        cursor.member().map(Some)
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = Result<Member<'a>, JsonError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.state == Walk::Ended {
            return None;
        }
        let step = self.step().transpose();
        if !matches!(step, Some(Ok(_))) {
            self.state = Walk::Ended;
        }
        step
    }
}

/// Reads values in one pass, descending where the caller wants to. Every callback must take
/// exactly one value: with [`Reader::value`], or by descending into it.
pub struct Reader<'a> {
    cursor: Cursor<'a>,
}

impl<'a> Reader<'a> {
    /// A reader before the value in `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        let cursor = Cursor::new(bytes);
        Self { cursor }
    }

    /// Takes the next value whole.
    pub fn value(&mut self) -> Result<Value<'a>, JsonError> {
        self.cursor.space();
        self.cursor.value()
    }

    /// Descends into an object: name and reader for every member. A value of another type is
    /// skipped; false says so.
    pub fn members(
        &mut self,
        mut each: impl FnMut(&mut Self, &'a [u8]) -> Result<(), JsonError>,
    ) -> Result<bool, JsonError> {
        if !self.enter(b'{')? {
            return Ok(false);
        }
        if self.leave(b'}') {
            return Ok(true);
        }
        loop {
            let (name, _) = self.cursor.name()?;
            each(self, &self.cursor.bytes[name])?;
            if !self.next(b'}')? {
                return Ok(true);
            }
        }
    }

    /// Descends into an array; like [`Reader::members`].
    pub fn items(
        &mut self,
        mut each: impl FnMut(&mut Self) -> Result<(), JsonError>,
    ) -> Result<bool, JsonError> {
        if !self.enter(b'[')? {
            return Ok(false);
        }
        if self.leave(b']') {
            return Ok(true);
        }
        loop {
            each(self)?;
            if !self.next(b']')? {
                return Ok(true);
            }
        }
    }

    /// Checks that nothing but white space follows.
    pub fn end(&mut self) -> Result<(), JsonError> {
        self.cursor.space();
        match self.cursor.peek() {
            None => Ok(()),
            Some(_) => Err(self.cursor.error(Problem::Trailing)),
        }
    }

    fn enter(&mut self, bracket: u8) -> Result<bool, JsonError> {
        self.cursor.space();
        if self.cursor.peek() != Some(bracket) {
            return self.cursor.value().map(|_| false);
        }
        self.cursor.at += 1;
        self.cursor.space();
        Ok(true)
    }

    fn leave(&mut self, bracket: u8) -> bool {
        let leaves = self.cursor.peek() == Some(bracket);
        self.cursor.at += usize::from(leaves);
        leaves
    }

    /// After a member or item: true when a further one follows.
    fn next(&mut self, bracket: u8) -> Result<bool, JsonError> {
        self.cursor.space();
        if self.leave(bracket) {
            return Ok(false);
        }
        self.cursor.eat(b',', Problem::Comma)?;
        self.cursor.space();
        Ok(true)
    }
}

/// Walks over the items of an array without descending.
pub struct Items<'a> {
    cursor: Cursor<'a>,
    started: bool,
    ended: bool,
}

impl<'a> Iterator for Items<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Value<'a>> {
        if self.ended {
            return None;
        }
        let separator = if self.started { b',' } else { b'[' };
        self.cursor.space();
        self.started = true;
        let item = self
            .cursor
            .eat(separator, Problem::Comma)
            .and_then(|()| {
                self.cursor.space();
                self.cursor.value()
            })
            .ok();
        self.ended = item.is_none();
        item
    }
}

#[cfg(test)]
mod tests;
