//! Names in Redis, and what management does with them.

use std::collections::BTreeMap;
use std::time::Duration;

use fred::interfaces::{ClientLike, KeysInterface};
use fred::prelude::{Client, Expiration};
use fred::types::scan::Scanner;
use fred::types::{ClusterHash, CustomCommand, Key};
use futures::TryStreamExt;
use meridian_core::cache::CacheKey;
use meridian_core::config::Place;

use super::{CacheError, Remote, WRITE_TIMEOUT};
use crate::redis::{Fault, call, in_time};

/// Names looked at with one round trip.
const SCAN_COUNT: u32 = 1_000;
/// Names deleted with one round trip.
const DELETE_AT_ONCE: usize = 256;
/// Longest time that deleting everything may take.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the value of a ping stands.
const PING_TTL_S: i64 = 10;

/// What Redis says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RedisFigures {
    /// One line of `CLIENT LIST` each, by field.
    pub clients: Vec<BTreeMap<String, String>>,
    /// `INFO`, by field.
    pub fields: BTreeMap<String, String>,
}

/// What the names of answers begin with.
pub(super) fn start(namespace: Option<&str>) -> String {
    match namespace {
        Some(namespace) => format!("{namespace}:meridian:cache:"),
        None => "meridian:cache:".to_owned(),
    }
}

/// A beginning as a pattern of SCAN: what has a meaning there loses it.
fn pattern(start: &str) -> String {
    let mut pattern = String::with_capacity(start.len() + 1);
    for letter in start.chars() {
        if matches!(letter, '*' | '?' | '[' | ']' | '^' | '-' | '\\') {
            pattern.push('\\');
        }
        pattern.push(letter);
    }
    pattern.push('*');
    pattern
}

impl Remote {
    pub(super) fn name(&self, key: &CacheKey) -> String {
        format!("{}{key}", self.start)
    }

    fn client(&self) -> Result<Client, CacheError> {
        let session = self.session.load();
        let session = session.as_ref().ok_or(CacheError::Down)?;
        Ok(session.writes.clone())
    }

    /// Deletes answers; how many were there.
    pub(in crate::cache) async fn delete(&self, keys: &[CacheKey]) -> Result<u64, CacheError> {
        let client = self.client()?;
        let names = keys.iter().map(|key| Key::from(self.name(key))).collect();
        Ok(self.unlink(&client, names).await?)
    }

    /// Deletes every answer and nothing else; how many there were.
    pub(in crate::cache) async fn flush(&self) -> Result<u64, CacheError> {
        let client = self.client()?;
        let deleted = in_time("deleting", FLUSH_TIMEOUT, self.delete_all(&client));
        Ok(deleted.await??)
    }

    async fn delete_all(&self, client: &Client) -> Result<u64, Fault> {
        let (pattern, mut deleted) = (pattern(&self.start), 0);
        let pages: futures::stream::BoxStream<'_, Result<_, _>> =
            if matches!(self.redis.place, Place::Cluster(_)) {
                Box::pin(client.scan_cluster(pattern, Some(SCAN_COUNT), None))
            } else {
                Box::pin(client.scan(pattern, Some(SCAN_COUNT), None))
            };
        let mut pages = pages;
        while let Some(mut page) = pages.try_next().await? {
            let names = page.take_results().unwrap_or_default();
            deleted += self.unlink(client, names).await?;
            page.next();
        }
        Ok(deleted)
    }

    async fn unlink(&self, client: &Client, names: Vec<Key>) -> Result<u64, Fault> {
        let mut deleted = 0;
        let cluster = matches!(self.redis.place, Place::Cluster(_));
        // Names of one command have to be in one slot of a cluster.
        let at_once = if cluster { 1 } else { DELETE_AT_ONCE };
        for names in names.chunks(at_once) {
            let unlink = client.unlink::<u64, _>(names.to_vec());
            deleted += call("UNLINK", WRITE_TIMEOUT, unlink).await?;
        }
        Ok(deleted)
    }

    /// Writes a value and reads it.
    pub(in crate::cache) async fn ping(&self) -> Result<(), CacheError> {
        let client = self.client()?;
        let name = format!("{}ping", self.start);
        let expiry = Some(Expiration::EX(PING_TTL_S));
        let set = client.set::<(), _, _>(&name, "1", expiry, None, false);
        call("SET", WRITE_TIMEOUT, set).await?;
        let get = client.getrange::<Option<String>, _>(&name, 0, 0);
        let found = call("GETRANGE", WRITE_TIMEOUT, get).await?;
        match found.as_deref() {
            Some("1") => Ok(()),
            _ => Err(CacheError::Failed("what was written is not there".into())),
        }
    }

    /// `CLIENT LIST` and `INFO`; of a cluster those of one node.
    pub(in crate::cache) async fn figures(&self) -> Result<RedisFigures, CacheError> {
        let client = self.client()?;
        let ask = async |words: &'static str, argument: Option<&'static str>| {
            let command = CustomCommand::new_static(words, ClusterHash::Random, false);
            let arguments: Vec<&str> = argument.into_iter().collect();
            let answer = client.custom::<String, &str>(command, arguments);
            call(words, WRITE_TIMEOUT, answer).await
        };
        let fields = ask("INFO", None).await?;
        let clients = ask("CLIENT", Some("LIST")).await?;
        Ok(RedisFigures {
            clients: clients.lines().map(client_of).collect(),
            fields: fields.lines().filter_map(|line| pair(line, ':')).collect(),
        })
    }
}

fn client_of(line: &str) -> BTreeMap<String, String> {
    line.split(' ')
        .filter_map(|field| pair(field, '='))
        .collect()
}

fn pair(text: &str, between: char) -> Option<(String, String)> {
    let (name, value) = text.trim_end().split_once(between)?;
    Some((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_begin_with_the_namespace_and_a_pattern_means_them_alone() {
        assert_eq!(start(None), "meridian:cache:");
        assert_eq!(
            start(Some("litellm.caching")),
            "litellm.caching:meridian:cache:"
        );
        assert_eq!(pattern("a*[b]?\\:"), "a\\*\\[b\\]\\?\\\\:*");
    }

    #[test]
    fn what_redis_says_is_read_by_field() {
        let client = client_of("id=3 addr=127.0.0.1:1 name= db=0");
        assert_eq!(client["addr"], "127.0.0.1:1");
        assert_eq!(client["name"], "");
        assert_eq!(pair("redis_version:7.0.15\r", ':').unwrap().1, "7.0.15");
        assert_eq!(pair("# Server", ':'), None);
    }
}
