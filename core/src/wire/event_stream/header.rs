//! Headers of an event-stream frame: a name and a value of one of ten types.

/// Why a header cannot be read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderProblem {
    /// The headers end inside of one.
    #[error("cut off")]
    Cut,
    /// A name without a character, or one that is no text, or longer than 255 bytes.
    #[error("name is empty, too long or not text")]
    Name,
    /// A type that does not exist.
    #[error("unknown type {0}")]
    Type(u8),
    /// A text that is not UTF-8.
    #[error("value is not text")]
    Text,
    /// A value that does not fit its length field.
    #[error("value is longer than 65535 bytes")]
    TooLong,
}

/// A value of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderValue<'a> {
    /// True or false: the type alone.
    Bool(bool),
    /// Eight bits.
    Byte(i8),
    /// Sixteen bits.
    Short(i16),
    /// Thirty-two bits.
    Int(i32),
    /// Sixty-four bits.
    Long(i64),
    /// Bytes.
    Bytes(&'a [u8]),
    /// Text.
    Text(&'a str),
    /// Milliseconds since 1970.
    Timestamp(i64),
    /// A UUID.
    Uuid([u8; 16]),
}

/// A name and its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its value.
    pub value: HeaderValue<'a>,
}

impl<'a> Header<'a> {
    /// A header with a text.
    pub fn text(name: &'a str, value: &'a str) -> Self {
        Self {
            name,
            value: HeaderValue::Text(value),
        }
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) -> Result<(), HeaderProblem> {
        let name_len = u8::try_from(self.name.len()).map_err(|_| HeaderProblem::Name)?;
        if name_len == 0 {
            return Err(HeaderProblem::Name);
        }
        let counted = match self.value {
            HeaderValue::Bytes(bytes) => bytes,
            HeaderValue::Text(text) => text.as_bytes(),
            _ => &[],
        };
        let len = u16::try_from(counted.len()).map_err(|_| HeaderProblem::TooLong)?;
        out.push(name_len);
        out.extend_from_slice(self.name.as_bytes());
        out.push(self.value.code());
        match self.value {
            HeaderValue::Bool(_) => {}
            HeaderValue::Byte(number) => out.extend_from_slice(&number.to_be_bytes()),
            HeaderValue::Short(number) => out.extend_from_slice(&number.to_be_bytes()),
            HeaderValue::Int(number) => out.extend_from_slice(&number.to_be_bytes()),
            HeaderValue::Long(number) | HeaderValue::Timestamp(number) => {
                out.extend_from_slice(&number.to_be_bytes());
            }
            HeaderValue::Uuid(bytes) => out.extend_from_slice(&bytes),
            HeaderValue::Bytes(_) | HeaderValue::Text(_) => {
                out.extend_from_slice(&len.to_be_bytes());
                out.extend_from_slice(counted);
            }
        }
        Ok(())
    }
}

impl HeaderValue<'_> {
    fn code(self) -> u8 {
        match self {
            Self::Bool(true) => 0,
            Self::Bool(false) => 1,
            Self::Byte(_) => 2,
            Self::Short(_) => 3,
            Self::Int(_) => 4,
            Self::Long(_) => 5,
            Self::Bytes(_) => 6,
            Self::Text(_) => 7,
            Self::Timestamp(_) => 8,
            Self::Uuid(_) => 9,
        }
    }
}

/// Headers of a frame whose bytes have been verified.
#[derive(Clone, Copy, Debug)]
pub struct Headers<'a> {
    bytes: &'a [u8],
}

impl<'a> Headers<'a> {
    /// Reads every header once.
    pub(super) fn verify(bytes: &[u8]) -> Result<(), HeaderProblem> {
        let mut rest = bytes;
        while !rest.is_empty() {
            read(&mut rest)?;
        }
        Ok(())
    }

    pub(super) fn checked(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// All of them, in order.
    pub fn iter(self) -> impl Iterator<Item = Header<'a>> {
        let mut rest = self.bytes;
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            read(&mut rest).ok()
        })
    }

    /// Text of the first header with this name; `None` when there is none or it is no text.
    pub fn text(self, name: &str) -> Option<&'a str> {
        let header = self.iter().find(|header| header.name == name)?;
        match header.value {
            HeaderValue::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// Takes one header off the front.
fn read<'a>(rest: &mut &'a [u8]) -> Result<Header<'a>, HeaderProblem> {
    let [name_len] = array(rest)?;
    let name = text(take(rest, usize::from(name_len))?).ok_or(HeaderProblem::Name)?;
    if name.is_empty() {
        return Err(HeaderProblem::Name);
    }
    let [code] = array(rest)?;
    let value = match code {
        0 => HeaderValue::Bool(true),
        1 => HeaderValue::Bool(false),
        2 => HeaderValue::Byte(i8::from_be_bytes(array(rest)?)),
        3 => HeaderValue::Short(i16::from_be_bytes(array(rest)?)),
        4 => HeaderValue::Int(i32::from_be_bytes(array(rest)?)),
        5 => HeaderValue::Long(i64::from_be_bytes(array(rest)?)),
        6 => HeaderValue::Bytes(counted(rest)?),
        7 => HeaderValue::Text(text(counted(rest)?).ok_or(HeaderProblem::Text)?),
        8 => HeaderValue::Timestamp(i64::from_be_bytes(array(rest)?)),
        9 => HeaderValue::Uuid(array(rest)?),
        other => return Err(HeaderProblem::Type(other)),
    };
    Ok(Header { name, value })
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

fn counted<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], HeaderProblem> {
    let len = u16::from_be_bytes(array(rest)?);
    take(rest, usize::from(len))
}

fn take<'a>(rest: &mut &'a [u8], len: usize) -> Result<&'a [u8], HeaderProblem> {
    let (taken, after) = rest.split_at_checked(len).ok_or(HeaderProblem::Cut)?;
    *rest = after;
    Ok(taken)
}

fn array<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], HeaderProblem> {
    let (taken, after) = rest.split_first_chunk().ok_or(HeaderProblem::Cut)?;
    *rest = after;
    Ok(*taken)
}
