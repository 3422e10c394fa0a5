//! The key of an answer: a digest of everything that decides what the answer says and whose it is.
//!
//! Bytes are bytes: two requests that mean the same and are written differently have two keys. A
//! wrong answer is worse than a missed one.

use std::fmt;

use sha2::{Digest, Sha256};

use crate::ids::KeyHash;
use crate::wire::field::{Field, GATEWAY_ONLY};
use crate::wire::multipart::FormSpans;
use crate::wire::span::{BodySpans, member_name};

/// Begins every digest: answers of another way to make keys are never found.
const FORM: &[u8] = b"meridian cache key 1";

/// Client headers that reach a provider and change no answer: who asks with which program, and
/// how the call is traced.
const NO_PART: [&str; 24] = [
    "accept",
    "accept-charset",
    "accept-language",
    "b3",
    "baggage",
    "cache-control",
    "content-type",
    "date",
    "dnt",
    "from",
    "idempotency-key",
    "if-none-match",
    "pragma",
    "priority",
    "sentry-trace",
    "te",
    "traceparent",
    "tracestate",
    "uber-trace-id",
    "user-agent",
    "x-app",
    "x-cloud-trace-context",
    "x-goog-api-client",
    "x-ms-date",
];
/// The same, by how they begin.
const NO_PART_STARTS: [&str; 6] = [
    "amz-sdk-",
    "sec-",
    "x-b3-",
    "x-datadog-",
    "x-forwarded-",
    "x-stainless-",
];
/// The same, by how they end.
const NO_PART_ENDS: [&str; 6] = [
    "correlation-id",
    "request-id",
    "requestid",
    "session-id",
    "span-id",
    "trace-id",
];

/// Identity of a cached answer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CacheKey([u8; 32]);

impl CacheKey {
    /// Reads the 64-digit hex form; `None` for anything else.
    pub fn from_hex(text: &str) -> Option<Self> {
        KeyHash::from_hex(text).map(|digest| Self(*digest.as_bytes()))
    }

    /// The raw digest.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<[u8; 32]> for CacheKey {
    fn from(digest: [u8; 32]) -> Self {
        Self(digest)
    }
}

impl fmt::Display for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CacheKey({self})")
    }
}

/// Who shares an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tenant<'a> {
    /// The master key, alone.
    Master,
    /// All keys of a team.
    Team(&'a str),
    /// All keys of a user who is in no team.
    User(&'a str),
    /// One key.
    Key(&'a KeyHash),
    /// Everybody.
    Everyone,
}

/// What a piece of a key is. Each has its own number, so that no two pieces can be mistaken.
#[derive(Clone, Copy)]
enum Piece {
    Tenant = 1,
    Namespace = 2,
    Operation = 3,
    Group = 4,
    Settings = 5,
    Header = 6,
    Region = 7,
    Tag = 8,
    Name = 9,
    Value = 10,
    PartHead = 11,
    Bytes = 12,
}

/// Makes one key, piece by piece. The order of the calls is part of it.
#[derive(Clone)]
pub struct KeyMaker {
    digest: Sha256,
}

impl KeyMaker {
    /// Starts with whose answer it is and the namespace within.
    pub fn new(tenant: Tenant<'_>, namespace: Option<&str>) -> Self {
        let mut maker = Self {
            digest: Sha256::new(),
        };
        maker.digest.update(FORM);
        match tenant {
            Tenant::Master => maker.piece(Piece::Tenant, b"master"),
            Tenant::Everyone => maker.piece(Piece::Tenant, b"everyone"),
            Tenant::Team(id) => maker.pair(Piece::Tenant, b"team", id.as_bytes()),
            Tenant::User(id) => maker.pair(Piece::Tenant, b"user", id.as_bytes()),
            Tenant::Key(hash) => maker.pair(Piece::Tenant, b"key", hash.as_bytes()),
        }
        if let Some(namespace) = namespace {
            maker.piece(Piece::Namespace, namespace.as_bytes());
        }
        maker
    }

    /// What is done: endpoint, and its path below `/v1` with the query.
    pub fn operation(&mut self, endpoint: &str, tail: &str) {
        self.pair(Piece::Operation, endpoint.as_bytes(), tail.as_bytes());
    }

    /// The model, aliases applied.
    pub fn group(&mut self, name: &str) {
        self.piece(Piece::Group, name.as_bytes());
    }

    /// What the configuration makes of the request: one text per way in which it may leave.
    pub fn settings(&mut self, text: &[u8]) {
        self.piece(Piece::Settings, text);
    }

    /// A header that reaches the provider.
    pub fn header(&mut self, name: &str, value: &[u8]) {
        self.pair(Piece::Header, name.as_bytes(), value);
    }

    /// A region that the request is bound to.
    pub fn region(&mut self, name: &str) {
        self.piece(Piece::Region, name.as_bytes());
    }

    /// A tag that selects deployments.
    pub fn tag(&mut self, tag: &str) {
        self.piece(Piece::Tag, tag.as_bytes());
    }

    /// Every member of a JSON body that reaches a provider, in its order, byte for byte. The
    /// model's own name is not among them: the group stands for it.
    pub fn json(&mut self, body: &[u8], spans: &BodySpans) {
        for member in spans.members() {
            let name = member_name(body, *member);
            let name = name.as_deref().unwrap_or_default();
            if name == Field::Model.name() || GATEWAY_ONLY.binary_search(&name).is_ok() {
                continue;
            }
            let value = body.get(member.value.range()).unwrap_or_default();
            self.piece(Piece::Name, name.as_bytes());
            self.piece(Piece::Value, value);
        }
    }

    /// Every part of a form with its headers, without the boundary, which is another one each
    /// time.
    pub fn form(&mut self, body: &[u8], form: &FormSpans) {
        for part in form.parts() {
            if part.name == Field::Model.name() {
                continue;
            }
            self.piece(Piece::PartHead, part.head_of(body));
            self.piece(
                Piece::Value,
                body.get(part.value.clone()).unwrap_or_default(),
            );
        }
    }

    /// A body that is passed on as it is.
    pub fn bytes(&mut self, body: &[u8]) {
        self.piece(Piece::Bytes, body);
    }

    /// The key.
    pub fn finish(self) -> CacheKey {
        CacheKey(self.digest.finalize().into())
    }

    fn piece(&mut self, piece: Piece, bytes: &[u8]) {
        self.digest.update([piece as u8]);
        self.digest.update((bytes.len() as u64).to_le_bytes());
        self.digest.update(bytes);
    }

    fn pair(&mut self, piece: Piece, first: &[u8], second: &[u8]) {
        self.piece(piece, first);
        self.piece(piece, second);
    }
}

/// Whether a header that reaches the provider may change its answer. One that is not known may.
pub fn is_part_of_answer(header: &str) -> bool {
    NO_PART.binary_search(&header).is_err()
        && !NO_PART_STARTS.iter().any(|start| header.starts_with(start))
        && !NO_PART_ENDS.iter().any(|end| header.ends_with(end))
}
