//! Anti-entropy: two actors compare what they have given each other, by bucket.

use std::collections::BTreeMap;

use super::account::Account;
use super::ids::{Actor, Pid};
use super::row::pair_digest;

/// The bucket of a period.
fn bucket(pid: Pid) -> u8 {
    (pid.fold() >> 56) as u8
}

/// Digests of what `me` and `peer` have given each other. Each side puts in what it has written
/// itself and what it last saw of the other: they are the same when everything has arrived.
pub(super) fn of_pair<'a>(
    me: Actor,
    peer: Actor,
    accounts: impl Iterator<Item = &'a Account>,
) -> Vec<(u8, u64)> {
    let mut buckets = BTreeMap::new();
    for account in accounts {
        let ours = account.row.sent_to(peer);
        let theirs = account.row.received_from(peer);
        let (up, down) = match me < peer {
            true => (ours, theirs),
            false => (theirs, ours),
        };
        let digest = pair_digest(account.pid, up, down);
        if digest != 0 {
            *buckets.entry(bucket(account.pid)).or_insert(0) ^= digest;
        }
    }
    buckets.into_iter().collect()
}

/// Periods in buckets that differ.
pub(super) fn differing(
    ours: &[(u8, u64)],
    theirs: &[(u8, u64)],
    pids: impl Iterator<Item = Pid>,
) -> Vec<Pid> {
    let of = |buckets: &[(u8, u64)], wanted: u8| {
        let found = buckets.iter().find(|(bucket, _)| *bucket == wanted);
        found.map_or(0, |(_, digest)| *digest)
    };
    let differs = |pid: &Pid| of(ours, bucket(*pid)) != of(theirs, bucket(*pid));
    pids.filter(differs).collect()
}
