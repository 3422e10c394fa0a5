//! A document of records, read one record at a time.

use std::collections::HashSet;
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufReader, Read};

use axum::http::StatusCode;
use serde_json::{Value, json};
use tokio::task::spawn_blocking;

use super::super::fields::problem;
use super::super::reply::AdminError;
use super::spool::Spooled;
use super::{FORMAT, VERSION, Wanted, wanted_of};

/// Longest record.
const RECORD_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Most bytes that stand before and behind the records.
const AROUND_BYTES_MAX: usize = 64 * 1024;
/// Most faults that one answer names.
const FAULTS_MAX: usize = 100;

/// Reads all of a document; every fault is told at once. Gives how many records it has.
pub(super) async fn check(spooled: &Spooled) -> Result<usize, AdminError> {
    let mut records = Records::of(spooled)?;
    let checked = spawn_blocking(move || {
        let (mut seen, mut faults) = (HashSet::new(), Vec::new());
        while let Some(record) = records.next()? {
            let read = wanted_of(&record).and_then(|one| {
                let mut hasher = DefaultHasher::new();
                (one.kind, &one.id).hash(&mut hasher);
                match seen.insert(hasher.finish()) {
                    true => Ok(()),
                    false => Err("is there twice".to_owned()),
                }
            });
            if let (Err(fault), true) = (read, faults.len() < FAULTS_MAX) {
                let at = (records.count - 1).to_string();
                let place = ["body", "records", &at];
                faults.push(problem(&place, "value_error", &fault, &Value::Null));
            }
        }
        match faults.is_empty() {
            true => Ok(records.count),
            false => Err(AdminError::Invalid(faults)),
        }
    });
    checked.await.map_err(|_died| AdminError::unavailable())?
}

/// Up to `count` more records of a document that was checked.
pub(super) async fn next(
    mut records: Records,
    count: usize,
) -> Result<(Records, Vec<Wanted>), AdminError> {
    let read = spawn_blocking(move || {
        let mut batch = Vec::new();
        while batch.len() < count {
            match records.next()? {
                Some(record) => batch.push(
                    wanted_of(&record)
                        .map_err(|fault| AdminError::detail(StatusCode::BAD_REQUEST, fault))?,
                ),
                None => break,
            }
        }
        Ok((records, batch))
    });
    read.await.map_err(|_died| AdminError::unavailable())?
}

/// The records of a document: `{"format": .., "version": .., "records": [..], ..}`.
pub(super) struct Records {
    file: BufReader<File>,
    part: Part,
    /// What was read of the document besides its records.
    said: Vec<u8>,
    /// How many were read.
    count: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum Part {
    Before,
    Within,
    Behind,
}

impl Records {
    /// From the first one on.
    pub(super) fn of(spooled: &Spooled) -> Result<Self, AdminError> {
        Ok(Self {
            file: BufReader::with_capacity(1 << 16, spooled.open()?),
            part: Part::Before,
            said: Vec::new(),
            count: 0,
        })
    }

    /// The next one; `None` behind the last, when the rest of the document was read too.
    fn next(&mut self) -> Result<Option<Value>, AdminError> {
        if self.part == Part::Before {
            self.head()?;
        }
        if self.part == Part::Behind {
            return Ok(None);
        }
        let mut first = self.visible()?;
        if first == b',' && self.count > 0 {
            first = self.visible()?;
        } else if self.count > 0 && first != b']' {
            return Err(broken("expected a comma between records"));
        }
        match first {
            b']' => {
                self.tail()?;
                Ok(None)
            }
            b'{' => {
                let text = self.value(first)?;
                self.count += 1;
                let read = serde_json::from_slice(&text);
                read.map(Some).map_err(|error| broken(&error.to_string()))
            }
            _ => Err(broken("records are objects")),
        }
    }

    /// Reads up to the bracket that opens the records.
    fn head(&mut self) -> Result<(), AdminError> {
        if self.visible()? != b'{' {
            return Err(not_ours());
        }
        self.said.push(b'{');
        loop {
            let first = self.visible()?;
            let quote = match first {
                b',' if self.said.len() > 1 => self.visible()?,
                first => first,
            };
            if quote != b'"' {
                return Err(not_ours());
            }
            let name = self.value(quote)?;
            if self.visible()? != b':' {
                return Err(not_ours());
            }
            let first = self.visible()?;
            if name == br#""records""# {
                if first != b'[' {
                    return Err(AdminError::Invalid(vec![problem(
                        &["body", "records"],
                        "list_type",
                        "Input should be a valid list",
                        &Value::Null,
                    )]));
                }
                self.part = Part::Within;
                return Ok(());
            }
            let value = self.value(first)?;
            self.said
                .extend([&name[..], b":", &value[..], b","].concat());
            if self.said.len() > AROUND_BYTES_MAX {
                return Err(not_ours());
            }
        }
    }

    /// Reads what follows the records, and what the document says it is.
    fn tail(&mut self) -> Result<(), AdminError> {
        self.part = Part::Behind;
        self.said.extend(br#""records":[]"#);
        let mut bounded = (&mut self.file).take(AROUND_BYTES_MAX as u64);
        bounded.read_to_end(&mut self.said).map_err(|_| torn())?;
        let said = serde_json::from_slice::<Value>(&self.said);
        let said = said.map_err(|error| broken(&error.to_string()))?;
        let version = said.get("version").and_then(Value::as_u64);
        match said.get("format") == Some(&json!(FORMAT)) && version == Some(VERSION) {
            true => Ok(()),
            false => Err(not_ours()),
        }
    }

    /// The bytes of a value that begins with `first`; a number or a word up to what ends it.
    fn value(&mut self, first: u8) -> Result<Vec<u8>, AdminError> {
        let mut text = vec![first];
        let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
        let mut byte = first;
        loop {
            match byte {
                _ if escaped => escaped = false,
                b'\\' if quoted => escaped = true,
                b'"' => quoted = !quoted,
                b'{' | b'[' if !quoted => depth += 1,
                b'}' | b']' if !quoted => depth = depth.saturating_sub(1),
                _ => {}
            }
            let plain = !matches!(first, b'{' | b'[' | b'"');
            if depth == 0 && !quoted && (!plain || self.ends_plain()?) {
                return Ok(text);
            }
            if text.len() > RECORD_BYTES_MAX {
                return Err(broken("a record is too long"));
            }
            byte = self.byte()?;
            text.push(byte);
        }
    }

    /// Whether a number or a word is over.
    fn ends_plain(&mut self) -> Result<bool, AdminError> {
        use std::io::BufRead;
        let ahead = self.file.fill_buf().map_err(|_| torn())?;
        let ends = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b',' | b'}' | b']');
        Ok(ahead.first().is_none_or(ends))
    }

    /// The next byte that is no white space.
    fn visible(&mut self) -> Result<u8, AdminError> {
        loop {
            let byte = self.byte()?;
            if !byte.is_ascii_whitespace() {
                return Ok(byte);
            }
        }
    }

    fn byte(&mut self) -> Result<u8, AdminError> {
        let mut byte = [0];
        self.file.read_exact(&mut byte).map_err(|_| torn())?;
        Ok(byte[0])
    }
}

fn torn() -> AdminError {
    broken("the document ends before its end")
}

fn broken(why: &str) -> AdminError {
    let text = format!("Invalid JSON payload: {why}");
    AdminError::detail(StatusCode::BAD_REQUEST, text)
}

fn not_ours() -> AdminError {
    let text = format!("Expected a document with format={FORMAT} and version={VERSION}");
    AdminError::detail(StatusCode::BAD_REQUEST, text)
}
