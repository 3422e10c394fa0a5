//! A response body in pieces: what is written at once, and how many tokens each piece carries.

use std::fmt::Write as _;

use super::script::{Act, Point, Script};

/// One piece: the end of its bytes, and the completion tokens that it carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Offset of its end in the body.
    pub(crate) end: usize,
    /// Completion tokens in it.
    pub(crate) tokens: u32,
}

/// A response body.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Body {
    /// All bytes.
    pub(crate) bytes: Vec<u8>,
    /// Its pieces, in order; the last one ends with the body.
    pub(crate) pieces: Vec<Piece>,
}

impl Body {
    /// A body of one piece.
    pub(crate) fn whole(bytes: Vec<u8>, tokens: u32) -> Self {
        let end = bytes.len();
        let pieces = vec![Piece { end, tokens }];
        Self { bytes, pieces }
    }

    /// Appends an event with a name, as Anthropic and Responses streams have it.
    pub(crate) fn named(&mut self, name: &str, tokens: u32, data: std::fmt::Arguments<'_>) {
        self.bytes.extend_from_slice(b"event: ");
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(b'\n');
        self.event(tokens, data);
    }

    /// Appends an event without a name.
    pub(crate) fn event(&mut self, tokens: u32, data: std::fmt::Arguments<'_>) {
        let mut text = Text(&mut self.bytes);
        // Writing into memory cannot fail.
        let _ = write!(text, "data: {data}\n\n");
        self.close_piece(tokens);
    }

    fn close_piece(&mut self, tokens: u32) {
        let end = self.bytes.len();
        self.pieces.push(Piece { end, tokens });
    }

    /// The bytes of piece `index`.
    pub(crate) fn piece(&self, index: usize) -> &[u8] {
        let start = index
            .checked_sub(1)
            .map_or(0, |before| self.pieces[before].end);
        &self.bytes[start..self.pieces[index].end]
    }

    /// Cuts the body into other pieces, as the script says; tokens stay with the byte they end at.
    pub(crate) fn cut(&mut self, script: &Script) {
        let length = self.bytes.len();
        let mut ends: Vec<usize> = script
            .cuts
            .iter()
            .copied()
            .filter(|&at| at < length)
            .collect();
        if script.every > 0 {
            ends.extend(
                (1..)
                    .map(|n| n * script.every)
                    .take_while(|&end| end < length),
            );
        }
        if ends.is_empty() {
            return;
        }
        ends.push(length);
        ends.sort_unstable();
        ends.dedup();
        let mut old = self.pieces.iter().peekable();
        let mut recut = Vec::with_capacity(ends.len());
        for end in ends {
            let mut tokens = 0;
            while let Some(piece) = old.next_if(|piece| piece.end <= end) {
                tokens += piece.tokens;
            }
            recut.push(Piece { end, tokens });
        }
        self.pieces = recut;
    }

    /// Applies the faults that are a matter of content, not of the wire.
    pub(crate) fn spoil(&mut self, script: &Script, error_event: &[u8]) {
        let Some(fault) = script.fault else { return };
        let count = self.pieces.len();
        let (Point::Piece(at) | Point::Mid(at)) = fault.at else {
            return;
        };
        let mid = matches!(fault.at, Point::Mid(_));
        match fault.act {
            Act::Truncate => {
                let at = at.min(count);
                let start = at
                    .checked_sub(1)
                    .map_or(0, |before| self.pieces[before].end);
                let half = if mid && at < count {
                    self.piece(at).len() / 2
                } else {
                    0
                };
                self.pieces.truncate(at);
                self.bytes.truncate(start + half);
                if half > 0 {
                    self.close_piece(0);
                }
            }
            Act::Error => {
                self.pieces.truncate(at.min(count));
                let end = self.pieces.last().map_or(0, |piece| piece.end);
                self.bytes.truncate(end);
                self.bytes.extend_from_slice(error_event);
                self.close_piece(0);
            }
            Act::Malformed => self.insert(at.min(count), b"data: {\"id\":\"broken\",\"choi\n\n"),
            Act::Stall | Act::Reset | Act::Close | Act::BadChunk | Act::GoAway => {}
        }
    }

    fn insert(&mut self, at: usize, bytes: &[u8]) {
        let start = at
            .checked_sub(1)
            .map_or(0, |before| self.pieces[before].end);
        self.bytes.splice(start..start, bytes.iter().copied());
        for piece in &mut self.pieces[at..] {
            piece.end += bytes.len();
        }
        let end = start + bytes.len();
        self.pieces.insert(at, Piece { end, tokens: 0 });
    }
}

struct Text<'a>(&'a mut Vec<u8>);

impl std::fmt::Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three() -> Body {
        let mut body = Body::default();
        for word in ["a", "b", "c"] {
            body.event(1, format_args!("{word}"));
        }
        body
    }

    #[test]
    fn cuts_keep_bytes_and_tokens() {
        let mut body = three();
        let before = body.bytes.clone();
        body.cut(&Script {
            every: 4,
            ..Script::default()
        });
        assert_eq!(body.bytes, before);
        assert_eq!(body.piece(0), b"data");
        let tokens: u32 = body.pieces.iter().map(|piece| piece.tokens).sum();
        assert_eq!((body.pieces.len(), tokens), (before.len().div_ceil(4), 3));
    }

    #[test]
    fn content_faults_land_where_they_should() {
        for (fault, wanted) in [
            ("truncate@1", "data: a\n\n"),
            ("truncate@mid1", "data: a\n\ndata"),
            ("error@1", "data: a\n\nboom"),
            ("error@9", "data: a\n\ndata: b\n\ndata: c\n\nboom"),
        ] {
            let mut body = three();
            body.spoil(&Script::fault(fault), b"boom");
            assert_eq!(String::from_utf8_lossy(&body.bytes), wanted, "{fault}");
            assert_eq!(body.pieces.last().unwrap().end, body.bytes.len());
        }
        let mut body = three();
        body.spoil(&Script::fault("malformed@1"), b"");
        assert!(body.piece(1).starts_with(b"data: {\"id\":\"broken\""));
        assert_eq!(body.piece(2), b"data: b\n\n");
    }
}
