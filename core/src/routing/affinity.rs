//! Which deployment has a conversation's prompt cache: rendezvous hashing, bounded by load.
//!
//! Every gateway of a fleet comes to the same answer without talking to another one, and when a
//! deployment goes or comes, only its own conversations move.

use sha2::{Digest, Sha256};

use crate::routing::policy::AffinityPolicy;

/// What requests of one conversation have in common. Two tenants never share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AffinityKey(u64);

impl AffinityKey {
    /// The key of a request: of its session if it names one, else of the beginning of its prompt.
    /// `tenant` identifies who pays (a key's digest, a team). `None` when affinity is off or there
    /// is nothing to go by.
    pub fn of(
        policy: &AffinityPolicy,
        tenant: &[u8],
        session: Option<&str>,
        prompt: &[u8],
    ) -> Option<Self> {
        let AffinityPolicy::On { prefix_bytes, .. } = policy else {
            return None;
        };
        let (kind, common) = match session.filter(|session| !session.is_empty()) {
            Some(session) => (b"s", session.as_bytes()),
            None => (b"p", &prompt[..prompt.len().min(*prefix_bytes)]),
        };
        if common.is_empty() {
            return None;
        }
        let tenant_len = (tenant.len() as u64).to_be_bytes();
        let digest = Sha256::new()
            .chain_update(kind)
            .chain_update(tenant_len)
            .chain_update(tenant)
            .chain_update(common)
            .finalize();
        Some(Self(first_word(&digest)))
    }

    /// A uniform number in `[0, 1)` that this key always has for this deployment, and that says
    /// nothing about whether it is its home.
    pub fn dice(self, deployment: DeploymentHash) -> f64 {
        unit(mix(self.0.rotate_left(32) ^ mix(deployment.0)))
    }
}

/// A deployment's place in the hashing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeploymentHash(u64);

impl DeploymentHash {
    /// Of its id: the same on every node.
    pub fn of_id(id: &str) -> Self {
        Self(first_word(&Sha256::digest(id.as_bytes())))
    }
}

/// A deployment, as affinity sees it.
#[derive(Clone, Copy, Debug)]
pub struct Home {
    /// Its place in the list that was asked about.
    pub index: usize,
    /// Its place in the hashing.
    pub hash: DeploymentHash,
    /// Its share of the conversations.
    pub weight: f64,
    /// Requests that run there.
    pub in_flight: u32,
}

/// What chance alone puts above a mean, in roots of it: independent requests are within three
/// almost always. Without it, a few requests would count as an overload.
const CHANCE: f64 = 3.0;

/// The home of a conversation. One that has more than `load_max` times the mean of requests in
/// flight, and more than chance explains, is passed over for the next in line. `None` when there
/// are none.
pub fn home(key: AffinityKey, homes: &[Home], load_max: f64) -> Option<usize> {
    let running: u32 = homes
        .iter()
        .fold(0, |sum, home| sum.saturating_add(home.in_flight));
    let mean = (f64::from(running) + 1.0) / homes.len().max(1) as f64;
    let most = load_max.max(1.0) * mean + CHANCE * mean.sqrt();
    let mut ranked: Vec<(f64, &Home)> = homes.iter().map(|home| (rank(key, home), home)).collect();
    ranked.sort_by(|a, b| b.0.total_cmp(&a.0));
    let room = |(_, home): &&(f64, &Home)| f64::from(home.in_flight) + 1.0 <= most;
    let found = ranked.iter().find(room).or(ranked.first());
    found.map(|(_, home)| home.index)
}

/// Highest wins; a home of twice the weight wins twice as often.
fn rank(key: AffinityKey, home: &Home) -> f64 {
    let dice = unit(mix(key.0 ^ mix(home.hash.0))).max(f64::MIN_POSITIVE);
    -home.weight.max(0.0) / dice.ln()
}

fn first_word(digest: &[u8]) -> u64 {
    let mut word = [0; 8];
    word.iter_mut()
        .zip(digest)
        .for_each(|(to, from)| *to = *from);
    u64::from_be_bytes(word)
}

/// A word as a number in `[0, 1)`: 53 bits are what a double holds.
fn unit(word: u64) -> f64 {
    (word >> 11) as f64 / (1_u64 << 53) as f64
}

/// Spreads every bit over the word (the finaliser of splitmix64).
fn mix(word: u64) -> u64 {
    let word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ word >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    const ON: AffinityPolicy = AffinityPolicy::On {
        prefix_bytes: 8,
        load_max: 1.25,
    };

    fn key(tenant: &str, session: &str) -> AffinityKey {
        AffinityKey::of(&ON, tenant.as_bytes(), Some(session), b"").unwrap()
    }

    fn homes(count: usize) -> Vec<Home> {
        let home = |index| Home {
            index,
            hash: DeploymentHash::of_id(&format!("deployment-{index}")),
            weight: 1.0,
            in_flight: 0,
        };
        (0..count).map(home).collect()
    }

    #[test]
    fn a_conversation_stays_and_only_those_of_a_lost_home_move() {
        let (all, mut moved, mut lost) = (homes(5), 0, 0);
        let fewer: Vec<Home> = all.iter().copied().filter(|home| home.index != 2).collect();
        for n in 0..2_000 {
            let key = key("t", &format!("s{n}"));
            let before = home(key, &all, 1.25).unwrap();
            assert_eq!(home(key, &all, 1.25), Some(before));
            let after = home(key, &fewer, 1.25).unwrap();
            lost += usize::from(before == 2);
            moved += usize::from(before != after);
        }
        assert_eq!(moved, lost);
        assert!((300..500).contains(&lost), "a fifth: {lost}");
    }

    #[test]
    fn tenants_prefixes_and_sessions_are_kept_apart() {
        assert_ne!(key("a", "s"), key("b", "s"));
        assert_ne!(key("ab", "c"), key("a", "bc"));
        let prefix = |prompt: &[u8]| AffinityKey::of(&ON, b"t", None, prompt);
        assert_eq!(prefix(b"12345678 and this"), prefix(b"12345678 and that"));
        assert_ne!(prefix(b"1234567x"), prefix(b"1234567y"));
        assert_eq!(prefix(b""), None);
        assert_ne!(prefix(b"s"), Some(key("t", "s")));
        let off = AffinityKey::of(&AffinityPolicy::Off, b"t", Some("s"), b"p");
        assert_eq!(off, None);
    }

    #[test]
    fn a_full_home_passes_on_to_the_next_and_an_even_load_does_not() {
        let key = key("t", "s");
        let mut all = homes(4);
        let first = home(key, &all, 1.25).unwrap();
        all.iter_mut().for_each(|home| home.in_flight = 10);
        assert_eq!(home(key, &all, 1.25), Some(first));
        all[first].in_flight = 40;
        let second = home(key, &all, 1.25).unwrap();
        assert_ne!(second, first);
        assert_eq!(home(key, &all, 9.0), Some(first));
        assert_eq!(home(key, &[], 1.25), None);
    }

    #[test]
    fn weights_share_out_the_conversations() {
        let mut all = homes(2);
        all[0].weight = 3.0;
        let first = (0..4_000).filter(|n| home(key("t", &n.to_string()), &all, 1.25) == Some(0));
        let share = first.count();
        assert!((2_800..3_200).contains(&share), "{share}");
    }
}
