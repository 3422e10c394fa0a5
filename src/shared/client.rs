//! Redis itself, for as long as one session with it lasts. Every call ends in time; when one
//! fails, the session is over and another one is begun.

use std::collections::HashMap;
use std::time::Duration;

use fred::interfaces::{EventInterface, KeysInterface, PubsubInterface, StreamsInterface};
use fred::prelude::{Error, Expiration, SetOptions};
use fred::types::{Message as Published, Value};
use meridian_core::config::Redis;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use super::message;
use crate::redis::{self, Connection, Distance, Fault, Limits, in_time, is_answer};

/// Longest wait for one command.
const CALL_TIMEOUT: Duration = Duration::from_millis(250);
/// The same for a Redis in another region, a quarter of a second away.
const FAR_CALL_TIMEOUT: Duration = Duration::from_secs(2);
/// Commands that wait to be written, two for each key that is read at once.
const COMMANDS_MAX: usize = 2 * KEYS_AT_ONCE + 16;
/// Keys that are read with one round trip.
pub(super) const KEYS_AT_ONCE: usize = 128;
/// Published messages that wait to be heard; of more, the oldest are lost and the keys are read.
const UNHEARD_MAX: usize = 1_024;
/// Field of a stream's entries.
const ENTRY_FIELD: &str = "m";
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
    limits: Limits,
}

/// Two connections: one for commands, one that listens.
pub(super) struct Session {
    commands: Connection,
    listening: Connection,
    published: broadcast::Receiver<Published>,
    call: Duration,
}

impl Door {
    /// Fails where the system's certificates cannot be read.
    pub(super) fn new(redis: &Redis) -> Result<Self, Fault> {
        Self::at(redis, Distance::Near, CALL_TIMEOUT)
    }

    /// To a Redis in another region.
    pub(super) fn far(redis: &Redis) -> Result<Self, Fault> {
        Self::at(redis, Distance::Far, FAR_CALL_TIMEOUT)
    }

    fn at(redis: &Redis, distance: Distance, call: Duration) -> Result<Self, Fault> {
        let limits = Limits {
            call,
            commands_max: COMMANDS_MAX,
            unheard_max: UNHEARD_MAX,
            distance,
        };
        let door = redis::Door::new(redis)?;
        Ok(Self { door, limits })
    }

    /// Opens both connections.
    pub(super) async fn open(&self) -> Result<Session, Fault> {
        let connect = || self.door.connect(self.limits);
        let (commands, listening) = futures::try_join!(connect(), connect())?;
        Ok(Session {
            published: listening.client.message_rx(),
            commands,
            listening,
            call: self.limits.call,
        })
    }
}

impl Session {
    /// Subscribes; again and again, it shows that the listening connection lives.
    pub(super) async fn subscribe(&self, channel: &str) -> Result<(), Fault> {
        let answer = self.listening.client.subscribe(channel);
        self.call("SUBSCRIBE", answer).await
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
        self.call("PUBLISH", self.commands.client.publish(channel, json))
            .await
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
        if self.call("SET", set(Some(SetOptions::NX))).await?.is_some() {
            return Ok(());
        }
        let standing: i64 = self.call("PTTL", client.pttl(key)).await?;
        if standing < millis {
            self.call("SET", set(None)).await?;
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
        let answers = in_time("GETRANGE and PTTL", self.call, answers).await?;
        let pair = |pair: &[Result<Value, Error>]| match pair {
            [value, left] => standing(value, left),
            _ => Err(Fault::Closed),
        };
        answers.chunks(2).map(pair).collect()
    }

    /// The text under a key.
    pub(super) async fn get_text(&self, key: &str) -> Result<Option<String>, Fault> {
        self.call("GET", self.commands.client.get(key)).await
    }

    /// Puts a text under a key, for ever.
    pub(super) async fn set_text(&self, key: &str, text: &str) -> Result<(), Fault> {
        let set = self.commands.client.set(key, text, None, None, false);
        self.call("SET", set).await
    }

    /// Removes a key.
    pub(super) async fn delete(&self, key: &str) -> Result<(), Fault> {
        self.call("DEL", self.commands.client.del(key)).await
    }

    /// Takes a key for oneself, or keeps it, for a time; whether one has it now.
    pub(super) async fn hold(&self, key: &str, who: &str, time: Duration) -> Result<bool, Fault> {
        let client = &self.commands.client;
        let millis = i64::try_from(message::millis(time)).unwrap_or(i64::MAX);
        let set = |options| {
            let expiry = Some(Expiration::PX(millis));
            client.set::<Option<String>, _, _>(key, who, expiry, Some(options), false)
        };
        if self.call("SET", set(SetOptions::NX)).await?.is_some() {
            return Ok(true);
        }
        let holder: Option<String> = self.call("GET", client.get(key)).await?;
        let ours = holder.as_deref() == Some(who);
        if ours {
            self.call("SET", set(SetOptions::XX)).await?;
        }
        Ok(ours)
    }

    /// Appends a text to a stream that keeps about so many.
    pub(super) async fn append(&self, stream: &str, text: &str, max: u64) -> Result<(), Fault> {
        let cap = ("MAXLEN", "~", max.to_string());
        let fields = (ENTRY_FIELD, text);
        let add = self.commands.client.xadd(stream, false, cap, "*", fields);
        self.call("XADD", add).await
    }

    /// Up to `count` entries of a stream behind one, with their ids.
    pub(super) async fn entries(
        &self,
        stream: &str,
        after: &str,
        count: u64,
    ) -> Result<Vec<(String, String)>, Fault> {
        let client = &self.commands.client;
        // Not XREAD: where nothing is new it answers with nothing at all.
        let behind = format!("({after}");
        let read = client.xrange_values::<String, String, String, _, _, _>(
            stream,
            behind,
            "+",
            Some(count),
        );
        let entries = self.call("XRANGE", read).await?;
        let text = |(id, mut fields): (String, HashMap<String, String>)| {
            // Somebody else's entry is passed over as one that cannot be read.
            (id, fields.remove(ENTRY_FIELD).unwrap_or_default())
        };
        Ok(entries.into_iter().map(text).collect())
    }

    fn call<T>(
        &self,
        what: &'static str,
        answer: impl Future<Output = Result<T, Error>>,
    ) -> impl Future<Output = Result<T, Fault>> {
        redis::call(what, self.call, answer)
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

fn bytes_of(value: Value) -> Vec<u8> {
    value.as_bytes().map(<[u8]>::to_vec).unwrap_or_default()
}
