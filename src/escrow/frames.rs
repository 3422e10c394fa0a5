//! What nodes send each other, as signed text. All of it is absolute or a hint.

use std::collections::BTreeSet;

use meridian_core::escrow::{Actor, Book, Message, Pid, Rights, ScopeId};
use meridian_core::meters::WindowName;
use meridian_core::rate::{Beat, Counts, Grant};
use meridian_core::signature::Signer;
use meridian_core::time::WallMs;
use serde::{Deserialize, Serialize};

/// Form of the frames; one of another form is not read.
const FORM: u8 = 1;

/// What a node has to say at one moment.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Frame {
    form: u8,
    /// Who.
    pub(super) from: Actor,
    /// Its wall clock.
    pub(super) at: WallMs,
    /// It will say nothing more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) leaves: bool,
    /// It does not hear the region's Redis and wants to be told node to node.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) deaf: bool,
    /// The operator says that this region is lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) lost: Option<u8>,
    /// Actors that will not come back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) gone: Vec<Actor>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) items: Vec<Item>,
    /// Drawn by the process when it started; zero before limits were shared.
    #[serde(default)]
    pub(super) boot: u64,
    /// What it has counted of limits.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) rates: Vec<Rates>,
    /// Whether it keeps ceilings; `None` from who does not know what they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) ceilings: Option<bool>,
    /// The operator has a region fenced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) fencing: Option<Fencing>,
}

/// What a node knows of a region that is to be fenced, and what it has done about it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Fencing {
    /// Which.
    pub(super) region: u8,
    /// Tells the order from others: when it was given.
    pub(super) order: WallMs,
    /// Nodes that the store of the sender's region has ever known, with the last sign of life of
    /// each, once it has said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) nodes: Option<Vec<(u16, WallMs)>>,
    /// Nodes of the region that the sender has heard, and whether they keep ceilings.
    #[serde(default)]
    pub(super) heard: Vec<(Actor, bool)>,
    /// What became of budgets that the sender speaks for.
    #[serde(default)]
    pub(super) report: Report,
}

/// What became of budgets of which a fenced region held rights.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Report {
    /// Nothing more follows.
    pub(super) done: bool,
    /// How many rights were made anew in.
    pub(super) budgets: u64,
    /// What was made anew, in all.
    pub(super) amount: Rights,
    /// What may still be spent in the fenced region, at most.
    pub(super) left: Rights,
    /// Budgets in which nothing was made anew: somebody did not answer, or no book was written.
    pub(super) failed: u64,
    /// Those in which an earlier order is not carried out yet.
    pub(super) ordered: u64,
    /// Regions of which nobody says which nodes there are.
    pub(super) unknown: BTreeSet<u8>,
    /// Nodes that do not say that they have fenced the region.
    pub(super) silent: BTreeSet<Actor>,
    /// Nodes of the fenced region that are not known to keep ceilings.
    pub(super) open: BTreeSet<Actor>,
}

impl Report {
    /// Both.
    pub(super) fn plus(mut self, other: &Self) -> Self {
        self.done &= other.done;
        self.budgets = self.budgets.saturating_add(other.budgets);
        self.amount = self.amount.saturating_add(other.amount);
        self.left = self.left.saturating_add(other.left);
        self.failed = self.failed.saturating_add(other.failed);
        self.ordered = self.ordered.saturating_add(other.ordered);
        self.unknown.extend(&other.unknown);
        self.silent.extend(&other.silent);
        self.open.extend(&other.open);
        self
    }
}

/// Limits of one scope: what the sender has counted of them since it started.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Rates {
    #[serde(rename = "s")]
    pub(super) scope: ScopeId,
    #[serde(rename = "q", default, skip_serializing_if = "Option::is_none")]
    pub(super) requests: Option<Counts>,
    #[serde(rename = "k", default, skip_serializing_if = "Option::is_none")]
    pub(super) tokens: Option<Counts>,
    /// For the vault of its permits, with the limit as the sender knows it.
    #[serde(rename = "b", default, skip_serializing_if = "Option::is_none")]
    pub(super) beat: Option<(u32, Beat)>,
    /// Of its permits, if the sender is their vault.
    #[serde(rename = "g", default, skip_serializing_if = "Vec::is_empty")]
    pub(super) grants: Vec<Grant>,
}

impl Rates {
    /// Whether requests use it where this comes from: counts are told of what was counted, a beat
    /// also where nobody asks.
    pub(super) fn is_in_use(&self) -> bool {
        let beats = self
            .beat
            .is_some_and(|(_, beat)| beat.in_use > 0 || beat.wanted > 1);
        self.requests.is_some() || self.tokens.is_some() || beats
    }

    pub(super) fn of(scope: ScopeId) -> Self {
        Self {
            scope,
            requests: None,
            tokens: None,
            beat: None,
            grants: Vec::new(),
        }
    }

    /// Whether it says nothing.
    pub(super) fn is_empty(&self) -> bool {
        let counts = self.requests.is_some() || self.tokens.is_some();
        !counts && self.beat.is_none() && self.grants.is_empty()
    }

    /// Takes over what is newer.
    pub(super) fn merge(&mut self, newer: Self) {
        let merged = |older: Option<Counts>, newer: Option<Counts>| {
            let past = older.and_then(|counts| counts.past);
            newer.map(|counts| Counts {
                past: counts.past.or(past),
                ..counts
            })
        };
        self.requests = merged(self.requests, newer.requests).or(self.requests);
        self.tokens = merged(self.tokens, newer.tokens).or(self.tokens);
        self.beat = newer.beat.or(self.beat);
        let is_newer = |to: u64| newer.grants.iter().any(|grant| grant.to == to);
        self.grants.retain(|grant| !is_newer(grant.to));
        self.grants.extend(newer.grants);
    }
}

/// One thing, for one node or for all that hear it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Item {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) to: Option<Actor>,
    pub(super) says: Says,
}

/// What is said.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Says {
    /// For the state machine.
    Message(Message),
    /// What home decided about a period.
    Book(Book),
    /// A budget is used somewhere: home makes its rights if nobody has.
    Opened {
        /// Which budget.
        name: WindowName,
        /// Its period.
        pid: Pid,
    },
}

impl Frame {
    pub(super) fn new(from: Actor, at: WallMs, items: Vec<Item>) -> Self {
        Self {
            form: FORM,
            from,
            at,
            leaves: false,
            deaf: false,
            lost: None,
            gone: Vec::new(),
            items,
            boot: 0,
            rates: Vec::new(),
            ceilings: None,
            fencing: None,
        }
    }

    /// As signed text.
    pub(super) fn write(&self, signer: &Signer) -> String {
        // Numbers, texts and lists: it does not fail.
        signer.sign_text(&serde_json::to_string(self).unwrap_or_default())
    }

    /// From signed text; `None` for what no node of the installation has written.
    pub(super) fn read(signer: &Signer, text: &[u8]) -> Option<Self> {
        let frame: Self = serde_json::from_slice(signer.verified(text)?).ok()?;
        (frame.form == FORM).then_some(frame)
    }
}

#[cfg(test)]
mod tests {
    use meridian_core::ids::Secret;
    use meridian_core::signature::Purpose;

    use super::*;

    const ME: Actor = Actor {
        region: 1,
        node: 1,
        incarnation: 0,
    };

    /// What the version before reads of a frame.
    #[derive(Serialize, Deserialize)]
    struct Before {
        form: u8,
        from: Actor,
        at: WallMs,
        items: Vec<Item>,
        #[serde(default)]
        boot: u64,
    }

    #[test]
    fn the_version_before_reads_frames_and_is_read() {
        let signer = Signer::new(&Secret::new("sk-test".to_owned()), Purpose::Rights);
        let says = Says::Message(Message::Digest {
            buckets: vec![(1, 2)],
        });
        let mut frame = Frame::new(ME, WallMs(5), vec![Item { to: None, says }]);
        frame.ceilings = Some(true);
        frame.fencing = Some(Fencing {
            region: 2,
            order: WallMs(4),
            nodes: Some(vec![(7, WallMs(3))]),
            heard: vec![(ME, true)],
            report: Report::default(),
        });
        let text = frame.write(&signer);
        let before: Before =
            serde_json::from_slice(signer.verified(text.as_bytes()).unwrap()).unwrap();
        assert_eq!((before.from, before.items.len()), (ME, 1));
        let read = Frame::read(&signer, text.as_bytes()).unwrap();
        assert_eq!(read.fencing, frame.fencing);

        let text = signer.sign_text(&serde_json::to_string(&before).unwrap());
        let read = Frame::read(&signer, text.as_bytes()).unwrap();
        assert_eq!((read.from, read.ceilings), (ME, None));
        assert!(read.fencing.is_none());
    }
}
