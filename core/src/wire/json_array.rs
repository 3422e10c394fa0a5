//! One JSON array that arrives as a stream, handed out item by item: Gemini without `alt=sse`.

/// Default limit of one item in bytes.
pub const ITEM_BYTES_MAX: usize = 8 * 1024 * 1024;

/// A buffer that grew beyond this is given back once it is empty.
const BUFFER_KEPT_BYTES: usize = 64 * 1024;

/// Why an array cannot be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArrayError {
    /// One item is over the limit.
    #[error("item is larger than {limit} bytes")]
    ItemTooLarge {
        /// The limit.
        limit: usize,
    },
    /// A byte that cannot stand there.
    #[error("unexpected byte {byte:#04x} in a JSON array, at byte {at} of the stream")]
    Unexpected {
        /// The byte.
        byte: u8,
        /// Offset into the whole stream.
        at: u64,
    },
    /// The stream ended before the array did.
    #[error("JSON array ended after {at} bytes without its bracket")]
    Truncated {
        /// Bytes that came.
        at: u64,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Before the array.
    Start,
    /// After `[`: an item or the end.
    First,
    /// After a comma: an item.
    Next,
    /// In an item.
    Item,
    /// After an item: a comma or the end.
    After,
    /// After the array; or after the one object that came in its stead.
    End,
}

/// Splits the array: [`ArraySplitter::feed`] every chunk, then [`ArraySplitter::next_item`] until
/// it has no more, [`ArraySplitter::finish`] at the end. Items are objects or arrays, neither
/// parsed nor checked inside. A stream that is one object is that one item: so do errors come.
#[derive(Clone, Debug)]
pub struct ArraySplitter {
    buffer: Vec<u8>,
    /// Bytes of `buffer` that have been looked at.
    looked: usize,
    /// Where the running item begins in `buffer`.
    item_start: usize,
    /// Bytes of the stream before `buffer`.
    before: u64,
    place: Place,
    /// The running item is the whole stream.
    alone: bool,
    depth: usize,
    in_string: bool,
    escaped: bool,
    failed: Option<ArrayError>,
    item_bytes_max: usize,
}

impl ArraySplitter {
    /// A splitter at the start of a stream.
    pub fn new(item_bytes_max: usize) -> Self {
        Self {
            buffer: Vec::new(),
            looked: 0,
            item_start: 0,
            before: 0,
            place: Place::Start,
            alone: false,
            depth: 0,
            in_string: false,
            escaped: false,
            failed: None,
            item_bytes_max,
        }
    }

    /// Takes in the next bytes of the stream.
    pub fn feed(&mut self, chunk: &[u8]) {
        if self.failed.is_some() {
            return;
        }
        let keep_from = match self.place {
            Place::Item => self.item_start,
            _ => self.looked,
        };
        self.buffer.drain(..keep_from);
        if self.buffer.is_empty() && self.buffer.capacity() > BUFFER_KEPT_BYTES {
            self.buffer = Vec::new();
        }
        self.before += keep_from as u64;
        self.looked -= keep_from;
        self.item_start = 0;
        self.buffer.extend_from_slice(chunk);
    }

    /// The next whole item. `Ok(None)`: more bytes are needed, or the array has ended.
    pub fn next_item(&mut self) -> Result<Option<&[u8]>, ArrayError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        match self.scan() {
            Ok(true) => Ok(Some(&self.buffer[self.item_start..self.looked])),
            Ok(false) => Ok(None),
            Err(error) => {
                self.failed = Some(error);
                self.buffer = Vec::new();
                Err(error)
            }
        }
    }

    /// To be called when the stream has ended: an error if the array had not.
    pub fn finish(&self) -> Result<(), ArrayError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        if self.place == Place::End {
            return Ok(());
        }
        let at = self.before + self.buffer.len() as u64;
        Err(ArrayError::Truncated { at })
    }

    /// Looks on until an item ends (true) or the bytes do.
    fn scan(&mut self) -> Result<bool, ArrayError> {
        while let Some(&byte) = self.buffer.get(self.looked) {
            if self.place == Place::Item {
                self.looked += 1;
                if self.item_ends(byte) {
                    self.place = if self.alone { Place::End } else { Place::After };
                    return self.bounded().map(|()| true);
                }
                continue;
            }
            self.between(byte)?;
            self.looked += 1;
        }
        if self.place == Place::Item {
            self.bounded()?;
        }
        Ok(false)
    }

    /// A byte outside of items.
    fn between(&mut self, byte: u8) -> Result<(), ArrayError> {
        self.place = match (self.place, byte) {
            (place, b' ' | b'\t' | b'\r' | b'\n') => place,
            (Place::Start, b'[') => Place::First,
            (Place::First | Place::After, b']') => Place::End,
            (Place::After, b',') => Place::Next,
            (Place::Start | Place::First | Place::Next, b'{')
            | (Place::First | Place::Next, b'[') => {
                self.alone = self.place == Place::Start;
                self.item_start = self.looked;
                self.depth = 1;
                Place::Item
            }
            _ => {
                let at = self.before + self.looked as u64;
                return Err(ArrayError::Unexpected { byte, at });
            }
        };
        Ok(())
    }

    /// Whether this byte of an item is its last.
    fn item_ends(&mut self, byte: u8) -> bool {
        if self.in_string {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
            return false;
        }
        match byte {
            b'"' => self.in_string = true,
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => self.depth -= 1,
            _ => {}
        }
        self.depth == 0
    }

    fn bounded(&self) -> Result<(), ArrayError> {
        let limit = self.item_bytes_max;
        if self.looked - self.item_start > limit {
            return Err(ArrayError::ItemTooLarge { limit });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
