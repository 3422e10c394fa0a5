//! From a request as received to the answer it will get, for both HTTP versions.

use std::time::Instant;

use bytes::Bytes;

use super::answer::{Answer, Question};
use super::ask::{Ask, Family, Operation, Route};
use super::body::Body;
use super::meter::{End, Recorded, Row};
use super::script::Script;
use super::{POOR_KEY, Shared, errors, other};

/// A request, read to its end (or as far as an early answer lets it be read).
pub(crate) struct Received<'a> {
    pub(crate) connection: u64,
    pub(crate) h2: bool,
    pub(crate) method: &'a str,
    pub(crate) target: &'a str,
    pub(crate) head: Bytes,
    pub(crate) body: Bytes,
    pub(crate) header: &'a (dyn Fn(&str) -> Option<String> + Sync),
}

/// What to write, and the row to account it to.
pub(crate) struct Decided {
    pub(crate) seq: u64,
    pub(crate) script: Script,
    pub(crate) answer: Answer,
}

impl Shared {
    /// Decides the answer and opens its row.
    pub(crate) fn decide(&self, received: &Received<'_>) -> Decided {
        let seq = self.meter.next_seq();
        let started = Instant::now();
        let route = Route::from_target(received.target);
        let (decided, ask) = self.decided(received, &route, seq);
        let header_marker = || (received.header)("x-marker");
        let row = Row {
            seq,
            connection: received.connection,
            marker: ask.marker.or_else(header_marker),
            method: received.method.to_owned(),
            target: received.target.to_owned(),
            model: ask.model,
            h2: received.h2,
            stream: ask.stream,
            status: decided.answer.status,
            usage: decided.answer.usage,
            sent_tokens: 0,
            sent_pieces: 0,
            sent_bytes: 0,
            end: End::Running,
            started,
            ended: None,
            request: self.options.record.then(|| Recorded {
                head: received.head.clone(),
                body: received.body.clone(),
            }),
        };
        self.meter.begin(row, received.body.len());
        decided
    }

    fn decided(&self, received: &Received<'_>, route: &Route, seq: u64) -> (Decided, Ask) {
        let refuse = |status: u16| {
            let body = errors::body(route.family, status, seq);
            let mut answer = Answer::of(status, Body::whole(body, 0));
            let kind = "application/json".to_owned();
            answer.headers.push(("content-type".to_owned(), kind));
            let script = Script::status(status);
            Decided {
                seq,
                script,
                answer,
            }
        };
        let mut ask = match ask(received) {
            Some(ask) => ask,
            None => return (refuse(400), Ask::default()),
        };
        if let Some(deployment) = &route.deployment {
            ask.model.clone_from(deployment);
        }
        if let Some(status) = self.credential_status(received, route) {
            return (refuse(status), ask);
        }
        let script = match self.script(&ask.model) {
            Ok(script) => script,
            Err(why) => {
                let mut decided = refuse(400);
                decided.answer.body = Body::whole(format!("{{\"error\":{why:?}}}").into(), 0);
                return (decided, ask);
            }
        };
        let replay = script.replay.as_ref().map(|path| self.fixture(path));
        let question = Question {
            route,
            method: received.method,
            ask: &ask,
            script: &script,
            seq,
            body: &received.body,
            replay,
        };
        let answer = question.answer();
        (
            Decided {
                seq,
                script,
                answer,
            },
            ask,
        )
    }

    /// The status that the credential deserves; `None` lets the request pass.
    fn credential_status(&self, received: &Received<'_>, route: &Route) -> Option<u16> {
        if route.operation == Operation::Root {
            return None;
        }
        let mut family = route.family;
        // The model list is asked for in both dialects.
        if (received.header)("anthropic-version").is_some() && family == Family::OpenAi {
            family = Family::Anthropic;
        }
        let poor = [POOR_KEY.to_owned()];
        if other::credential_accepted(family, received.header, &poor) {
            return Some(429);
        }
        let accepted = other::credential_accepted(family, received.header, &self.options.keys);
        (!accepted).then_some(401)
    }

    fn fixture(&self, path: &str) -> Vec<u8> {
        let root = self.options.fixtures.clone().unwrap_or_default();
        let path = root.join(path);
        std::fs::read(&path).unwrap_or_else(|error| {
            format!("fake provider: no fixture {}: {error}", path.display()).into_bytes()
        })
    }
}

fn ask(received: &Received<'_>) -> Option<Ask> {
    let kind = (received.header)("content-type").unwrap_or_default();
    if kind.starts_with("multipart/") {
        return Some(Ask::from_multipart(&received.body));
    }
    if received.body.is_empty() {
        return Some(Ask::default());
    }
    Ask::from_json(&received.body)
}
