//! At most ten warnings or errors of one kind per second; the rest are counted.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;

/// Lines of one kind that are shown per window.
pub(super) const LINES_PER_WINDOW: u32 = 10;

/// Length of a window.
pub(super) const WINDOW: Duration = Duration::from_secs(1);

/// Kinds that are told apart; further ones share a limit.
const KINDS_MAX: usize = 512;

/// Kind of everything beyond `KINDS_MAX`.
const OTHER_KINDS: u64 = 0;

/// Bytes of a message that say what kind it is.
const MESSAGE_BYTES: usize = 80;

/// Counts lines by kind.
#[derive(Default)]
pub(super) struct Flood {
    state: RandomState,
    kinds: Mutex<HashMap<u64, Window>>,
}

/// What was written of one kind since `since`.
struct Window {
    since: Instant,
    shown: u32,
    suppressed: u64,
    sample: String,
}

/// Lines that were not written.
#[derive(Debug, PartialEq)]
pub(super) struct Suppressed {
    /// How many.
    pub(super) count: u64,
    /// Message of the first line of that kind.
    pub(super) sample: String,
}

impl Flood {
    /// Whether a line may be written. Lines are of one kind when their target and message are
    /// the same but for digits, so that ports, times and counts do not make a new kind.
    pub(super) fn admits(&self, target: &str, message: &str, now: Instant) -> bool {
        let kind = self.kind(target, message);
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        let full = kinds.len() >= KINDS_MAX && !kinds.contains_key(&kind);
        let kind = if full { OTHER_KINDS } else { kind };
        let window = kinds.entry(kind).or_insert_with(|| Window {
            since: now,
            shown: 0,
            suppressed: 0,
            sample: message.chars().take(MESSAGE_BYTES).collect(),
        });
        if now.saturating_duration_since(window.since) >= WINDOW {
            window.since = now;
            window.shown = 0;
        }
        let admitted = window.shown < LINES_PER_WINDOW;
        if admitted {
            window.shown += 1;
        } else {
            window.suppressed += 1;
        }
        admitted
    }

    fn kind(&self, target: &str, message: &str) -> u64 {
        let head = message.bytes().take(MESSAGE_BYTES);
        let without_digits: Vec<u8> = head.filter(|byte| !byte.is_ascii_digit()).collect();
        let kind = self.state.hash_one((target, without_digits));
        kind.max(OTHER_KINDS + 1)
    }

    /// What was suppressed since the last call. Forgets the kinds that have become quiet.
    pub(super) fn take_suppressed(&self, now: Instant) -> Vec<Suppressed> {
        let mut taken = Vec::new();
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        kinds.retain(|_, window| {
            if window.suppressed > 0 {
                taken.push(Suppressed {
                    count: std::mem::take(&mut window.suppressed),
                    sample: window.sample.clone(),
                });
            }
            now.saturating_duration_since(window.since) < WINDOW
        });
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_lines_of_a_kind_pass_each_second_and_the_rest_are_counted() {
        let flood = Flood::default();
        let start = crate::clock::mono();
        let mut shown = 0;
        for at in 0..5_000u32 {
            let now = start + Duration::from_micros(u64::from(at) * 500);
            let message = format!("store is down, port {at}");
            shown += u32::from(flood.admits("meridian::store", &message, now));
        }
        assert_eq!(shown, 30);
        assert!(flood.admits("meridian::store", "another message", start));
        let end = start + Duration::from_secs(3);
        let expected = Suppressed {
            count: 4_970,
            sample: "store is down, port 0".into(),
        };
        assert_eq!(flood.take_suppressed(end), [expected]);
        assert_eq!(flood.take_suppressed(end), []);
        assert!(flood.kinds.lock().unwrap().len() <= 1);
    }

    #[test]
    fn messages_that_never_repeat_share_a_limit_in_the_end() {
        let flood = Flood::default();
        let now = crate::clock::mono();
        let invented = |at: u32| {
            let letters = (0..8).map(|place| char::from(b'a' + (at >> (4 * place) & 15) as u8));
            letters.collect::<String>()
        };
        let admitted = (0..20_000)
            .filter(|at| flood.admits("t", &invented(*at), now))
            .count();
        assert_eq!(admitted, KINDS_MAX + LINES_PER_WINDOW as usize);
        let suppressed = flood.take_suppressed(now);
        let suppressed: u64 = suppressed.iter().map(|it| it.count).sum();
        assert_eq!(suppressed + admitted as u64, 20_000);
    }
}
