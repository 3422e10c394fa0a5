//! Redis itself, for as long as one session with it lasts. Every call ends in time; when one
//! fails, the session is over and another one is begun.

use std::time::Duration;

use fred::interfaces::{EventInterface, KeysInterface, PubsubInterface};
use fred::prelude::{Error, ErrorKind, Expiration, SetOptions};
use fred::types::{Message as Published, Value};
use meridian_core::config::Redis;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use super::message;
use crate::redis::{self, Connection, Fault, Limits, in_time};

/// Longest wait for one command.
const CALL_TIMEOUT: Duration = Duration::from_millis(250);
/// Commands that wait to be written, two for each key that is read at once.
const COMMANDS_MAX: usize = 2 * KEYS_AT_ONCE + 16;
/// Keys that are read with one round trip.
pub(super) const KEYS_AT_ONCE: usize = 128;
/// Published messages that wait to be heard; of more, the oldest are lost and the keys are read.
const UNHEARD_MAX: usize = 1_024;

/// Limits of both connections.
const LIMITS: Limits = Limits {
    call: CALL_TIMEOUT,
    commands_max: COMMANDS_MAX,
    unheard_max: UNHEARD_MAX,
};

/// What stands under a key.
#[derive(Debug)]
pub(super) enum Standing {
    /// A value, cut where it is longer than a message may be, and how long it stands.
    Value(Vec<u8>, Duration),
    /// Something that no node has put there: another type, or without an end.
    Foreign,
}

/// Something published.
#[derive(Debug)]
pub(super) enum Heard {
    /// Its bytes.
    Message(Vec<u8>),
    /// So many came faster than they were taken.
    Lost(u64),
}

/// How to reach Redis.
#[derive(Debug)]
pub(super) struct Door {
    door: redis::Door,
}

/// Two connections: one for commands, one that listens.
pub(super) struct Session {
    commands: Connection,
    listening: Connection,
    published: broadcast::Receiver<Published>,
}

impl Door {
    /// Fails where the system's certificates cannot be read.
    pub(super) fn new(redis: &Redis) -> Result<Self, Fault> {
        let door = redis::Door::new(redis)?;
        Ok(Self { door })
    }

    /// Opens both connections.
    pub(super) async fn open(&self) -> Result<Session, Fault> {
        let connect = || self.door.connect(LIMITS);
        let (commands, listening) = futures::try_join!(connect(), connect())?;
        Ok(Session {
            published: listening.client.message_rx(),
            commands,
            listening,
        })
    }
}

impl Session {
    /// Subscribes; again and again, it shows that the listening connection lives.
    pub(super) async fn subscribe(&self, channel: &str) -> Result<(), Fault> {
        let answer = self.listening.client.subscribe(channel);
        call("SUBSCRIBE", answer).await
    }

    /// The next message; an error once a connection is gone.
    pub(super) async fn hear(&mut self) -> Result<Heard, Fault> {
        tokio::select! {
            published = self.published.recv() => match published {
                Ok(published) => Ok(Heard::Message(bytes_of(published.value))),
                Err(RecvError::Lagged(lost)) => Ok(Heard::Lost(lost)),
                Err(RecvError::Closed) => Err(Fault::Closed),
            },
            fault = self.commands.closed() => Err(fault),
            fault = self.listening.closed() => Err(fault),
        }
    }

    /// Tells everybody who listens.
    pub(super) async fn publish(&self, channel: &str, json: &str) -> Result<(), Fault> {
        call("PUBLISH", self.commands.client.publish(channel, json)).await
    }

    /// Puts a value under a key for a time, unless what is there stands longer. Two nodes at the
    /// same moment may leave the shorter one; both were published.
    pub(super) async fn put(&self, key: &str, json: &str, left: Duration) -> Result<(), Fault> {
        let client = &self.commands.client;
        let millis = i64::try_from(message::millis(left)).unwrap_or(i64::MAX);
        let set = |options| {
            let expiry = Some(Expiration::PX(millis));
            client.set::<Option<String>, _, _>(key, json, expiry, options, false)
        };
        if call("SET", set(Some(SetOptions::NX))).await?.is_some() {
            return Ok(());
        }
        let standing: i64 = call("PTTL", client.pttl(key)).await?;
        if standing < millis {
            call("SET", set(None)).await?;
        }
        Ok(())
    }

    /// What stands under each key, at most [`KEYS_AT_ONCE`] of them.
    pub(super) async fn get(&self, keys: &[String]) -> Result<Vec<Option<Standing>>, Fault> {
        let pipeline = self.commands.client.pipeline();
        let longest = message::BYTES_MAX;
        for key in keys {
            let _: Value = pipeline.getrange(key, 0, longest).await?;
            let _: Value = pipeline.pttl(key).await?;
        }
        let answers = pipeline.try_all::<Value>();
        let answers = in_time("GETRANGE and PTTL", CALL_TIMEOUT, answers).await?;
        let pair = |pair: &[Result<Value, Error>]| match pair {
            [value, left] => standing(value, left),
            _ => Err(Fault::Closed),
        };
        answers.chunks(2).map(pair).collect()
    }
}

fn standing(
    value: &Result<Value, Error>,
    left: &Result<Value, Error>,
) -> Result<Option<Standing>, Fault> {
    let value = match value {
        Ok(value) => bytes_of(value.clone()),
        // WRONGTYPE is about that key alone.
        Err(error) if is_answer(error) => return Ok(Some(Standing::Foreign)),
        Err(error) => return Err(error.clone().into()),
    };
    if value.is_empty() {
        return Ok(None);
    }
    let left = left.as_ref().map_err(|error| Fault::from(error.clone()))?;
    match left.as_i64() {
        // Over in between.
        Some(-2 | 0) => Ok(None),
        Some(millis) if millis > 0 => {
            let left = Duration::from_millis(millis.unsigned_abs());
            Ok(Some(Standing::Value(value, left)))
        }
        _ => Ok(Some(Standing::Foreign)),
    }
}

fn is_answer(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::InvalidArgument) && error.details().starts_with("WRONGTYPE")
}

fn bytes_of(value: Value) -> Vec<u8> {
    value.as_bytes().map(<[u8]>::to_vec).unwrap_or_default()
}

fn call<T>(
    what: &'static str,
    answer: impl Future<Output = Result<T, Error>>,
) -> impl Future<Output = Result<T, Fault>> {
    redis::call(what, CALL_TIMEOUT, answer)
}
