//! Times out that begin here are told to the region, and those of others are heard.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use meridian_core::config::Redis;
use meridian_core::routing::failure::Blame;
use meridian_core::routing::health::{Cooled, Opened};
use meridian_core::time::MonoUs;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::client::{Door, Heard, KEYS_AT_ONCE, Session, Standing};
use super::link::Link;
use super::message::{LEFT_MAX, Message, NodeId};
use super::names::Names;
use crate::clock;
use crate::redis::{Backoff, Fault};
use crate::routing::{News, Routing, Subject};
use crate::telemetry::Report;
use crate::telemetry::metrics::{CoordinationMessage, Metrics};

/// Between two reads of what stands: how late a node learns what it did not hear.
const READ_EVERY: Duration = Duration::from_secs(5);
/// Times out of this node that are remembered while Redis does not have them.
const TOLD_MAX: usize = 4_096;

/// Tells the region what this node finds out, and hears what others find out.
pub struct Sharer {
    routing: Arc<Routing>,
    metrics: Arc<Metrics>,
    link: Arc<Link>,
    redis: Redis,
    names: Names,
    /// Listened to from the start: what is found out before Redis answers is told then.
    news: broadcast::Receiver<News>,
    node: NodeId,
    numbers: u64,
    /// What this node found out and what still stands of it.
    told: HashMap<Subject, Told>,
    /// The last message of others about each; it is taken in once, so that a deployment which
    /// proved well since then is not left out again for the same reason.
    heard: HashMap<Subject, Mark>,
    report: Report,
}

struct Told {
    opened: Opened,
    number: u64,
    published: bool,
}

struct Mark {
    node: NodeId,
    number: u64,
    until: MonoUs,
}

impl Sharer {
    /// `region` is this node's own: regions that share a Redis do not share times out.
    pub fn new(
        redis: Redis,
        region: Option<&str>,
        routing: Arc<Routing>,
        link: Arc<Link>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let random = clock::random_bytes();
        let half = random.iter().take(8);
        Self {
            names: Names::new("cooldown", redis.namespace.as_deref(), region),
            news: routing.listen(),
            routing,
            metrics,
            link,
            redis,
            node: NodeId(half.fold(0, |word, byte| word << 8 | u64::from(*byte))),
            numbers: 0,
            told: HashMap::new(),
            heard: HashMap::new(),
            report: Report::default(),
        }
    }

    /// Runs until `stop` turns true; without Redis it tries again, for ever.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        tokio::select! {
            () = self.sessions() => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
        self.link.set(false);
    }

    async fn sessions(&mut self) {
        let mut backoff = Backoff::default();
        loop {
            let fault = match self.session(&mut backoff).await {
                Err(fault) => fault,
                Ok(never) => match never {},
            };
            self.say(false, Some(&fault));
            if !self.pause(backoff.next(clock::dice())).await {
                return;
            }
        }
    }

    /// One session with Redis, until it fails.
    async fn session(&mut self, backoff: &mut Backoff) -> Result<std::convert::Infallible, Fault> {
        let mut session = Door::new(&self.redis)?.open().await?;
        session.subscribe(self.names.channel()).await?;
        self.read(&session).await?;
        self.publish(&session).await?;
        self.say(true, None);
        let mut turns = interval_at(Instant::now() + READ_EVERY, READ_EVERY);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                one = self.news.recv() => {
                    if !self.note(one) {
                        return Err(Fault::Closed);
                    }
                    self.publish(&session).await?;
                }
                heard = session.hear() => match heard? {
                    Heard::Message(bytes) => self.take_in(&bytes),
                    Heard::Lost(count) => {
                        self.metrics.coordination_messages(CoordinationMessage::Lost, count);
                        self.read(&session).await?;
                    }
                },
                _ = turns.tick() => {
                    session.subscribe(self.names.channel()).await?;
                    self.read(&session).await?;
                    self.publish(&session).await?;
                    self.say(true, None);
                    // Only one that lasts is a success.
                    backoff.reset();
                }
            }
        }
    }

    /// Waits, and remembers what this node finds out meanwhile. False when there will be no more.
    async fn pause(&mut self, time: Duration) -> bool {
        let until = Instant::now() + time;
        loop {
            tokio::select! {
                one = self.news.recv() => if !self.note(one) {
                    return false;
                },
                () = tokio::time::sleep_until(until) => return true,
            }
        }
    }

    /// Remembers what this node found out. False when there will be no more.
    fn note(&mut self, news: Result<News, RecvError>) -> bool {
        let news = match news {
            Ok(news) => news,
            Err(RecvError::Lagged(lost)) => {
                self.count(CoordinationMessage::Lost, lost);
                return true;
            }
            Err(RecvError::Closed) => return false,
        };
        let Some(subject) = Subject::of(&news) else {
            return true;
        };
        if self.told.len() >= TOLD_MAX && !self.told.contains_key(&subject) {
            self.count(CoordinationMessage::Lost, 1);
            return true;
        }
        self.numbers += 1;
        let told = Told {
            opened: news.cooled.opened,
            number: self.numbers,
            published: false,
        };
        self.told.insert(subject, told);
        true
    }

    /// Writes and publishes what Redis does not have yet.
    async fn publish(&mut self, session: &Session) -> Result<(), Fault> {
        let unpublished = self.told.iter().filter(|(_, told)| !told.published);
        let subjects: Vec<Subject> = unpublished.map(|(subject, _)| subject.clone()).collect();
        for subject in subjects {
            let Some(message) = self.message(&subject) else {
                self.told.remove(&subject);
                continue;
            };
            let Some(json) = message.to_json() else {
                // An id that is too long.
                self.told.remove(&subject);
                self.count(CoordinationMessage::Lost, 1);
                continue;
            };
            session
                .put(&self.names.key(&subject), &json, message.left)
                .await?;
            session.publish(self.names.channel(), &json).await?;
            self.count(CoordinationMessage::Sent, 1);
            if let Some(told) = self.told.get_mut(&subject) {
                told.published = true;
            }
        }
        Ok(())
    }

    /// What to say of somebody; `None` when nothing stands any more.
    fn message(&self, subject: &Subject) -> Option<Message> {
        let told = self.told.get(subject)?;
        let left = self.routing.until(told.opened.until);
        let stands = !left.is_zero() && self.routing.leaves_out(subject) == Some(true);
        stands.then(|| Message {
            subject: subject.clone(),
            cause: told.opened.cause,
            left: left.min(LEFT_MAX),
            node: self.node,
            number: told.number,
        })
    }

    /// Reads what stands for everybody whom this node knows. What it has told and Redis has lost
    /// (a restart, FLUSHALL) is written again.
    async fn read(&mut self, session: &Session) -> Result<(), Fault> {
        self.forget();
        let mut missing: HashSet<Subject> = self.told.keys().cloned().collect();
        for subjects in self.routing.subjects().chunks(KEYS_AT_ONCE) {
            let keys: Vec<String> = subjects.iter().map(|one| self.names.key(one)).collect();
            for (subject, standing) in subjects.iter().zip(session.get(&keys).await?) {
                let Some(standing) = standing else { continue };
                missing.remove(subject);
                self.take_in_standing(subject, standing);
            }
        }
        for subject in missing {
            if let Some(told) = self.told.get_mut(&subject) {
                told.published = false;
            }
        }
        Ok(())
    }

    fn take_in_standing(&mut self, subject: &Subject, standing: Standing) {
        let message = match &standing {
            Standing::Value(bytes, _) => Message::parse(bytes).ok(),
            Standing::Foreign => None,
        };
        match (message, standing) {
            (Some(message), Standing::Value(_, left)) if message.subject == *subject => {
                // What was left when it was written says nothing now.
                self.hear(Message { left, ..message }, false);
            }
            _ => self.count(CoordinationMessage::Malformed, 1),
        }
    }

    fn take_in(&mut self, bytes: &[u8]) {
        match Message::parse(bytes) {
            Ok(message) => self.hear(message, true),
            Err(_) => self.count(CoordinationMessage::Malformed, 1),
        }
    }

    /// Takes in what another node found out, once. Reads see the same again and again; only what
    /// is published (`live`) is counted when it is not taken in.
    fn hear(&mut self, message: Message, live: bool) {
        let known = self.heard.get(&message.subject);
        let again =
            known.is_some_and(|mark| mark.node == message.node && mark.number == message.number);
        if message.node == self.node || again {
            return;
        }
        if self.routing.leaves_out(&message.subject).is_none() {
            self.count(CoordinationMessage::Unknown, u64::from(live));
            return;
        }
        let until = self.routing.now().plus(message.left.min(LEFT_MAX));
        self.routing.hear(&news_of(&message, until));
        self.count(CoordinationMessage::Heard, 1);
        let mark = Mark {
            node: message.node,
            number: message.number,
            until,
        };
        self.heard.insert(message.subject, mark);
    }

    /// Drops what is over.
    fn forget(&mut self) {
        let now = self.routing.now();
        self.told.retain(|_, told| told.opened.until > now);
        self.heard.retain(|_, mark| mark.until > now);
    }

    fn count(&self, what: CoordinationMessage, count: u64) {
        self.metrics.coordination_messages(what, count);
    }

    fn say(&mut self, up: bool, fault: Option<&Fault>) {
        self.link.set(up);
        let Some(line) = self.report.line(up, clock::mono()) else {
            return;
        };
        let (place, unshown) = (&self.redis.place, line.unshown);
        match fault {
            None => {
                tracing::info!(%place, unshown, "Redis answers; cooldowns are shared");
            }
            Some(error) => tracing::warn!(
                %place, %error, unshown,
                "Redis is not used until it answers; this node knows its own cooldowns only"
            ),
        }
    }
}

fn news_of(message: &Message, until: MonoUs) -> News {
    let (whose, deployment_id, credential) = match &message.subject {
        Subject::Deployment { id, credential } => (Blame::Deployment, id.clone(), *credential),
        Subject::Credential(credential) => (Blame::Credential, String::new(), *credential),
    };
    News {
        deployment_id,
        credential,
        cooled: Cooled {
            whose,
            opened: Opened {
                until,
                cause: message.cause,
                times: 1,
            },
        },
    }
}
