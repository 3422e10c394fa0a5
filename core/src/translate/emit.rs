//! JSON appended to bytes, piece by piece; commas look after themselves.

use crate::translate::text::Text;

/// Appends JSON to a buffer. A comma is written where the last byte says that something stands
/// before: every value that is written ends in its own last byte, never in white space.
#[derive(Debug)]
pub struct Emit<'o> {
    bytes: &'o mut Vec<u8>,
}

impl<'o> Emit<'o> {
    /// Appends to these bytes; what they end with is white space or nothing.
    pub fn new(bytes: &'o mut Vec<u8>) -> Self {
        Self { bytes }
    }

    /// `{`
    pub fn open(&mut self) -> &mut Self {
        self.comma();
        self.bytes.push(b'{');
        self
    }

    /// `}`
    pub fn close(&mut self) -> &mut Self {
        self.bytes.push(b'}');
        self
    }

    /// `[`
    pub fn open_list(&mut self) -> &mut Self {
        self.comma();
        self.bytes.push(b'[');
        self
    }

    /// `]`
    pub fn close_list(&mut self) -> &mut Self {
        self.bytes.push(b']');
        self
    }

    /// Name of the next member: a word without anything to escape.
    pub fn name(&mut self, name: &str) -> &mut Self {
        self.comma();
        self.bytes.push(b'"');
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.extend_from_slice(b"\":");
        self
    }

    /// A value that is JSON already, as it stands.
    pub fn raw(&mut self, json: &[u8]) -> &mut Self {
        self.comma();
        self.bytes.extend_from_slice(json);
        self
    }

    /// Items that are written already, and the `]` after them.
    pub fn raw_tail(&mut self, items: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(items);
        self.bytes.push(b']');
        self
    }

    /// A string.
    pub fn text(&mut self, text: &Text<'_>) -> &mut Self {
        self.comma();
        self.bytes.push(b'"');
        self.inside(text);
        self.bytes.push(b'"');
        self
    }

    /// A string of several texts one after the other.
    pub fn joined<'t>(&mut self, texts: impl IntoIterator<Item = &'t Text<'t>>) -> &mut Self {
        self.comma();
        self.bytes.push(b'"');
        for text in texts {
            self.inside(text);
        }
        self.bytes.push(b'"');
        self
    }

    /// A string of clear text.
    pub fn string(&mut self, text: &str) -> &mut Self {
        self.comma();
        self.bytes.push(b'"');
        escape(text, self.bytes);
        self.bytes.push(b'"');
        self
    }

    /// A string without anything to escape: words of a dialect, ids made here.
    pub fn word(&mut self, word: &str) -> &mut Self {
        self.comma();
        self.bytes.push(b'"');
        self.bytes.extend_from_slice(word.as_bytes());
        self.bytes.push(b'"');
        self
    }

    /// A count.
    pub fn count(&mut self, count: u64) -> &mut Self {
        self.comma();
        let mut digits = [0_u8; 20];
        let (mut at, mut rest) = (digits.len(), count);
        loop {
            at -= 1;
            digits[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        self.bytes.extend_from_slice(&digits[at..]);
        self
    }

    /// `true` or `false`.
    pub fn flag(&mut self, flag: bool) -> &mut Self {
        self.raw(if flag { b"true" } else { b"false" })
    }

    /// `null`
    pub fn null(&mut self) -> &mut Self {
        self.raw(b"null")
    }

    fn comma(&mut self) {
        match self.bytes.last() {
            None | Some(b'{' | b'[' | b':' | b' ' | b'\n') => {}
            Some(_) => self.bytes.push(b','),
        }
    }

    fn inside(&mut self, text: &Text<'_>) {
        match text {
            Text::Escaped(inner) => self.bytes.extend_from_slice(inner),
            Text::Plain(text) => escape(text, self.bytes),
        }
    }
}

/// Appends clear text in the form that stands between the quotes of a JSON string.
pub fn escape(text: &str, out: &mut Vec<u8>) {
    let bytes = text.as_bytes();
    let mut done = 0;
    for (at, byte) in bytes.iter().enumerate() {
        let code = match byte {
            b'"' => b'"',
            b'\\' => b'\\',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            0..0x20 => b'u',
            _ => continue,
        };
        out.extend_from_slice(&bytes[done..at]);
        done = at + 1;
        out.extend_from_slice(&[b'\\', code]);
        if code == b'u' {
            let digit = |value: u8| {
                if value < 10 {
                    b'0' + value
                } else {
                    b'a' + value - 10
                }
            };
            out.extend_from_slice(&[b'0', b'0', digit(byte >> 4), digit(byte & 15)]);
        }
    }
    out.extend_from_slice(&bytes[done..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_stand_where_they_belong() {
        let mut bytes = b"data: ".to_vec();
        let mut emit = Emit::new(&mut bytes);
        emit.open().name("a").count(120).name("b").open_list();
        emit.flag(true)
            .null()
            .raw(b"{\"x\":1}")
            .string("q\"\n\u{1}\\é");
        emit.text(&Text::Escaped(br"a\u00e9"[..].into()));
        emit.joined(&[Text::plain("x"), Text::plain("\t")]);
        emit.close_list().name("c").open().close().close();
        let expected =
            r#"data: {"a":120,"b":[true,null,{"x":1},"q\"\n\u0001\\é","a\u00e9","x\t"],"c":{}}"#;
        assert_eq!(String::from_utf8(bytes).unwrap(), expected);
    }
}
