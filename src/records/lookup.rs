//! A key that is not in memory: was it made a moment ago elsewhere, or is it nobody's?
//!
//! Only a store that was asked may say no. One task asks for all requests: each key once, few at
//! a time and only so many a second, so that somebody who tries keys does not reach the store.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use meridian_core::ids::KeyHash;
use meridian_core::key::RotatedKey;
use meridian_core::record::{Facet, Record, RecordKind};
use meridian_core::scope::Scope;
use tokio::sync::{mpsc, oneshot, watch};

use super::{Records, StoreState};
use crate::clock;
use crate::store::{Store, StoreError, StoredRecord};
use crate::telemetry::metrics::{Metrics, RecordEvent};

/// Longest wait of a request.
const WAIT_MAX: Duration = Duration::from_millis(250);
/// Requests whose question waits to be read.
const QUESTIONS_MAX: usize = 256;
/// Keys that are looked for at the same time.
const AT_ONCE_MAX: usize = 4;
/// Keys that are looked for in a second, and at once after a quiet second.
const PER_SECOND: f64 = 50.0;
/// How long it is remembered that there is no such key.
const ABSENT: Duration = Duration::from_secs(3);
/// Most keys of which that is remembered.
const ABSENT_MAX: usize = 10_000;

/// What is known of a key that was not in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is in memory now.
    Known,
    /// There is no such key.
    Absent,
    /// The store cannot be asked now.
    Unavailable,
}

impl Answer {
    /// When one that is unavailable may be asked again: nodes find a store that is back within
    /// seconds.
    pub const RETRY_AFTER_S: u64 = 2;
}

/// Where requests ask.
#[derive(Clone, Debug)]
pub struct Lookups(mpsc::Sender<Question>);

#[derive(Debug)]
struct Question {
    key: KeyHash,
    answer: oneshot::Sender<Answer>,
}

impl Lookups {
    /// With the one who answers.
    pub fn new(records: Arc<Records>, store: Store, metrics: Arc<Metrics>) -> (Self, Seeker) {
        let (questions, asked) = mpsc::channel(QUESTIONS_MAX);
        let seeker = Seeker {
            records,
            store,
            metrics,
            asked,
            waiting: HashMap::new(),
            absent: HashMap::new(),
            running: FuturesUnordered::new(),
            credit: PER_SECOND,
            credited: clock::mono(),
        };
        (Self(questions), seeker)
    }

    /// Looks for a key that is not in memory.
    pub async fn find(&self, key: KeyHash) -> Answer {
        let (answer, answered) = oneshot::channel();
        if self.0.try_send(Question { key, answer }).is_err() {
            return Answer::Unavailable;
        }
        let answered = tokio::time::timeout(WAIT_MAX, answered).await;
        answered
            .ok()
            .and_then(Result::ok)
            .unwrap_or(Answer::Unavailable)
    }
}

/// Asks the store for all requests.
pub struct Seeker {
    records: Arc<Records>,
    store: Store,
    metrics: Arc<Metrics>,
    asked: mpsc::Receiver<Question>,
    waiting: HashMap<KeyHash, Vec<oneshot::Sender<Answer>>>,
    absent: HashMap<KeyHash, Instant>,
    running: FuturesUnordered<BoxFuture<'static, (KeyHash, Answer)>>,
    credit: f64,
    credited: Instant,
}

impl Seeker {
    /// Runs until `stop` turns true.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                question = self.asked.recv() => match question {
                    Some(question) => self.take(question),
                    None => return,
                },
                Some((key, answer)) = self.running.next() => self.answer(key, answer),
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    fn take(&mut self, Question { key, answer }: Question) {
        let now = clock::mono();
        if self.absent.get(&key).is_some_and(|until| now < *until) {
            let _left = answer.send(Answer::Absent);
            return;
        }
        if let Some(others) = self.waiting.get_mut(&key) {
            others.push(answer);
            return;
        }
        // One that was never reached has not told either what other regions take away.
        let up = self.records.status().store() == StoreState::Up;
        if !up || self.running.len() >= AT_ONCE_MAX || !self.spend(now) {
            self.count(Answer::Unavailable);
            let _left = answer.send(Answer::Unavailable);
            return;
        }
        self.waiting.insert(key, vec![answer]);
        let (records, store) = (Arc::clone(&self.records), self.store.clone());
        let found = async move {
            let found = tokio::time::timeout(WAIT_MAX, fetch(&records, &store, key)).await;
            let answer = match found {
                Ok(Ok(true)) => Answer::Known,
                Ok(Ok(false)) => Answer::Absent,
                Ok(Err(error)) => {
                    tracing::debug!(%error, "a key is not looked up");
                    Answer::Unavailable
                }
                Err(_) => Answer::Unavailable,
            };
            (key, answer)
        };
        self.running.push(Box::pin(found));
    }

    fn answer(&mut self, key: KeyHash, answer: Answer) {
        let now = clock::mono();
        self.count(answer);
        if answer == Answer::Absent {
            if self.absent.len() >= ABSENT_MAX {
                self.absent.retain(|_, until| now < *until);
            }
            if self.absent.len() < ABSENT_MAX {
                self.absent.insert(key, now + ABSENT);
            }
        }
        for waiting in self.waiting.remove(&key).into_iter().flatten() {
            let _left = waiting.send(answer);
        }
    }

    fn count(&self, answer: Answer) {
        let event = match answer {
            Answer::Known => RecordEvent::KeyFound,
            Answer::Absent => RecordEvent::KeyAbsent,
            Answer::Unavailable => RecordEvent::KeyUnavailable,
        };
        self.metrics.record_events(event, 1);
    }

    /// Takes the right to one question, if there is one.
    fn spend(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.credited).as_secs_f64();
        self.credited = now;
        self.credit = (self.credit + passed * PER_SECOND).min(PER_SECOND);
        let may = self.credit >= 1.0;
        self.credit -= f64::from(u8::from(may));
        may
    }
}

/// Brings a key into memory with all that decides about it; `false` when there is none.
async fn fetch(records: &Records, store: &Store, key: KeyHash) -> Result<bool, StoreError> {
    let id = key.to_string();
    let mut found = Vec::new();
    let mut stored = store.get_record(RecordKind::Key, id.as_str()).await?;
    if !stored.as_ref().is_some_and(is_live) {
        let rotated = store.get_record(RecordKind::RotatedKey, id).await?;
        let Some(rotated) = rotated.filter(is_live) else {
            return Ok(false);
        };
        let RotatedKey { active, .. } = rotated.record.read()?;
        stored = store
            .get_record(RecordKind::Key, active.to_string())
            .await?;
        found.push(rotated);
    }
    let Some(stored) = stored.filter(is_live) else {
        return Ok(false);
    };
    let standing = store.standing(RecordKind::Key, &stored.record.id).await?;
    found.extend(
        standing
            .into_iter()
            .map(|one| super::without_spend(one.record)),
    );
    for (kind, id) in parents(&stored.record) {
        found.extend(store.get_record(kind, id).await?);
    }
    found.push(stored);
    records.take(found);
    Ok(true)
}

fn is_live(stored: &StoredRecord) -> bool {
    !stored.record.deleted
}

/// Whatever a key refers to.
fn parents(key: &Record) -> Vec<(RecordKind, String)> {
    let named = |facet| key.facet(facet).map(str::to_owned);
    let (user, team) = (named(Facet::UserId), named(Facet::TeamId));
    let organization = named(Facet::OrganizationId);
    let mut found = Vec::new();
    if let (Some(team), Some(user)) = (&team, &user) {
        found.push((RecordKind::TeamMember, Scope::team_member(team, user).id));
    }
    if let (Some(organization), Some(user)) = (&organization, &user) {
        let member = Scope::organization_member(organization, user).id;
        found.push((RecordKind::OrganizationMember, member));
    }
    let ids = [
        (RecordKind::Budget, named(Facet::BudgetId)),
        (RecordKind::Organization, organization),
        (RecordKind::Team, team),
        (RecordKind::User, user),
    ];
    found.extend(ids.into_iter().filter_map(|(kind, id)| Some((kind, id?))));
    found
}
