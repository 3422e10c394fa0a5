//! Undoes in an answer what the request had to change: tool names, stand-in tools.

use crate::translate::context::Memo;
use crate::translate::event::{Finish, Piece, Sink};
use crate::translate::text::Text;
use crate::wire::json::{Value, whole};

/// Passes pieces on as the caller expects them.
#[derive(Debug)]
pub(crate) struct Restore<W> {
    memo: Memo,
    /// Calls under way that are not passed on as they come.
    open: Vec<Open>,
    /// A call reached the caller.
    called: bool,
    /// The stand-in for structured output was called.
    formatted: bool,
    pub(crate) inner: W,
}

#[derive(Debug)]
struct Open {
    call: u32,
    kind: Stand,
    json: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Stand {
    /// Its arguments are the text of the answer.
    Format,
    /// Its argument `input` is the text of a free-text tool.
    Custom,
}

impl<W: Sink> Restore<W> {
    pub(crate) fn new(memo: &Memo, inner: W) -> Self {
        let memo = Memo {
            names: memo.names.clone(),
            format_tool: memo.format_tool.clone(),
            custom_tools: match memo.custom_wrapped {
                true => memo.custom_tools.clone(),
                false => Vec::new(),
            },
            ..Memo::default()
        };
        Self {
            memo,
            open: Vec::new(),
            called: false,
            formatted: false,
            inner,
        }
    }

    fn is_plain(&self) -> bool {
        let Memo {
            names,
            format_tool,
            custom_tools,
            ..
        } = &self.memo;
        names.is_empty() && format_tool.is_none() && custom_tools.is_empty()
    }

    fn start(&mut self, choice: u32, piece: Piece<'_>) {
        let Piece::CallStart {
            call,
            id,
            name,
            signature,
        } = piece
        else {
            return;
        };
        let sent = name.clear();
        let own = self.memo.own_name(&sent).to_owned();
        if self.memo.format_tool.as_deref() == Some(&*sent) {
            self.formatted = true;
            self.hold(call, Stand::Format);
            return;
        }
        if self.memo.custom_tools.contains(&own) {
            self.hold(call, Stand::Custom);
        }
        self.called = true;
        let piece = Piece::CallStart {
            call,
            id,
            name: Text::plain(own),
            signature,
        };
        self.inner.take(choice, piece);
    }

    fn hold(&mut self, call: u32, kind: Stand) {
        self.open.push(Open {
            call,
            kind,
            json: Vec::new(),
        });
    }

    fn arguments(&mut self, choice: u32, call: u32, json: Text<'_>) {
        match self.open.iter_mut().find(|open| open.call == call) {
            Some(open) if open.kind == Stand::Custom => {
                open.json.extend_from_slice(json.clear().as_bytes());
            }
            Some(_) => {
                let clear = json.clear();
                self.inner.take(choice, Piece::Text(Text::plain(&*clear)));
            }
            None => self.inner.take(choice, Piece::CallArguments { call, json }),
        }
    }

    fn end(&mut self, choice: u32, call: u32) {
        let held = self.open.iter().position(|open| open.call == call);
        let Some(held) = held.map(|at| self.open.swap_remove(at)) else {
            self.inner.take(choice, Piece::CallEnd { call });
            return;
        };
        if held.kind == Stand::Format {
            self.inner.take(choice, Piece::BlockEnd);
            return;
        }
        let object = whole(&held.json).ok();
        let input = object.and_then(|object| object.field(b"input"));
        let json = match input.and_then(Text::of) {
            Some(text) => text,
            // The model did not keep to the one argument: all that it wrote.
            None => Text::plain(String::from_utf8_lossy(&held.json).into_owned()),
        };
        self.inner.take(choice, Piece::CallArguments { call, json });
        self.inner.take(choice, Piece::CallEnd { call });
    }
}

impl<W: Sink> Sink for Restore<W> {
    fn take(&mut self, choice: u32, piece: Piece<'_>) {
        if self.is_plain() {
            return self.inner.take(choice, piece);
        }
        match piece {
            Piece::CallStart { .. } => self.start(choice, piece),
            Piece::CallArguments { call, json } => self.arguments(choice, call, json),
            Piece::CallEnd { call } => self.end(choice, call),
            Piece::Finish {
                reason: Finish::Tools,
                native,
                sequence,
                details,
            } if self.formatted && !self.called => {
                let reason = Finish::Stop;
                self.inner.take(
                    choice,
                    Piece::Finish {
                        reason,
                        native,
                        sequence,
                        details,
                    },
                );
            }
            piece => self.inner.take(choice, piece),
        }
    }
}

/// A name that providers accept: `[a-zA-Z0-9_-]{1,64}`. `None`: it is one already.
pub(crate) fn fitting_name(name: &str, taken: &[(String, String)]) -> Option<String> {
    const NAME_BYTES_MAX: usize = 64;
    let fits = |sign: char| sign.is_ascii_alphanumeric() || matches!(sign, '_' | '-');
    if name.len() <= NAME_BYTES_MAX && !name.is_empty() && name.chars().all(fits) {
        return None;
    }
    if let Some((sent, _)) = taken.iter().find(|(_, own)| own == name) {
        return Some(sent.clone());
    }
    // The digest keeps names apart that begin alike, and is the same in every turn.
    let digest = crc32fast::hash(name.as_bytes());
    let kept = name.chars().take(NAME_BYTES_MAX - 9);
    let kept: String = kept
        .map(|sign| if fits(sign) { sign } else { '_' })
        .collect();
    Some(format!("{kept}_{digest:08x}"))
}

/// Whether a value is an object without any member.
pub(crate) fn is_empty_object(value: Value<'_>) -> bool {
    value.fields().next().is_none()
}
