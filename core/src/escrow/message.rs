//! What the state machine is told and what it wants done.

use serde::{Deserialize, Serialize};

use super::fence::Fence;
use super::ids::{Actor, Pid};
use super::row::{Rights, Row};

/// Says which syncs of the journal a [`Event::Synced`] confirms; grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub(super) u64);

/// How an actor stands in one period, beside its row. Decides nothing about money.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    /// Free rights.
    pub free: Rights,
    /// Rights asked for per second.
    pub rate: f64,
    /// Size of a typical request.
    pub need: Rights,
    /// Free in other regions, as far as they have all said; told by vaults, who hear them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beyond: Option<Rights>,
    /// The ceiling that the sender wants to be witnessed for it, where ceilings are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ceiling: Option<Rights>,
}

/// Why rights are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Want {
    /// A node asks the vault of its region for a lease.
    Lease,
    /// A vault asks a node of its region to give back what it can spare.
    Recall,
    /// The vault of another region asks for a share.
    Share,
    /// The same, and a request waits for so much of it.
    Urgent,
    /// Rights are to be destroyed: the budget was lowered.
    Burn,
    /// A ceiling is to be witnessed: that of the standing.
    Witness,
}

/// What actors tell each other. Absolute, or a hint: losing, doubling, reordering and replaying
/// them is harmless.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Message {
    /// The sender's row.
    Row {
        /// Period.
        pid: Pid,
        /// All its cells.
        row: Row,
        /// How it stands.
        standing: Standing,
        /// The sender has not seen yet that what it sent has arrived.
        answer: bool,
    },
    /// A request for rights.
    Need {
        /// Period.
        pid: Pid,
        /// What for.
        want: Want,
        /// How many.
        amount: Rights,
        /// How the asker stands; its whole region for [`Want::Share`] and [`Want::Urgent`].
        standing: Standing,
    },
    /// How the sender's whole region stands.
    View {
        /// Period.
        pid: Pid,
        /// The region's sum.
        standing: Standing,
        /// Settled in the region.
        used: Rights,
        /// Reserved there by requests that run.
        #[serde(default)]
        open: Rights,
    },
    /// An actor is fenced: the row that answers shows that it is, and for good as far as it says.
    Fence {
        /// Period.
        pid: Pid,
        /// Who is fenced.
        actor: Actor,
        /// How far.
        fence: Fence,
    },
    /// Digests, by bucket, of what sender and receiver have given each other; zeros left out.
    Digest {
        /// Bucket and digest.
        buckets: Vec<(u8, u64)>,
    },
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// Time passes: every 50 ms or so.
    Tick,
    /// Nodes that are believed to live, of all regions, this one included. A wrong belief moves
    /// rights to where they are of little use; it never makes rights.
    Members(Vec<Actor>),
    /// A scope's period is in use on this node.
    Opened(Pid),
    /// Answer to [`Effect::Claim`], or a raise: this much was created under this number, once, by
    /// `by`. Everybody else's claims are told too.
    Claimed {
        /// Period.
        pid: Pid,
        /// 0 for the plan, then raises.
        claim: u32,
        /// How much.
        amount: Rights,
        /// Who has it.
        by: Actor,
    },
    /// All of the period's rights were made here: each other region gets an idle share of them.
    Spread(Pid),
    /// A request found too few rights here.
    Short {
        /// Period.
        pid: Pid,
        /// What it needs.
        need: Rights,
    },
    /// The budget was lowered. The vault of each region sends its part to `to`, which destroys it.
    Lowered {
        /// Period.
        pid: Pid,
        /// Number of the lowering.
        lowering: u32,
        /// By how much.
        by: Rights,
        /// Who destroys.
        to: Actor,
    },
    /// This node is the one that destroys rights of the period, so many in all.
    BurnOrdered {
        /// Period.
        pid: Pid,
        /// In all, over all lowerings.
        total: Rights,
    },
    /// Credits against what this node has settled, so many in all.
    Refunded {
        /// Period.
        pid: Pid,
        /// In all.
        total: Rights,
    },
    /// The period takes no new requests: reset, blocked, revoked.
    Frozen(Pid),
    /// The period and all before it are over for good: no request of them runs, their rows were
    /// shipped and their transfers have arrived. What comes late for them is dropped, so this must
    /// be told again after a restart, before anything is received.
    Ended(Pid),
    /// This node is to stop: rights go back to the region. Give it new members first.
    Leaving,
    /// Requests that came to this node are about to come to that sibling: it gets half of what is
    /// free here, of all periods in use.
    HandOver(Actor),
    /// A node is lost with its disk: what it held counts as spent.
    WrittenOff(Actor),
    /// The scope is at home in this region: what its nodes hold is never made anew elsewhere, and
    /// has no ceiling. Told again after a restart.
    AtHome(Pid),
    /// What an actor of another region can no longer spend is to be made anew here, at home: all of
    /// `roster` take nothing more from it. That is every actor of other regions than its own that
    /// may have taken part in the period. Whoever tells this notes before how long the book is:
    /// with a later entry that takes from the actor, or names it with nothing, somebody else has
    /// decided. Otherwise what [`Escrow::reclaimable`](super::Escrow::reclaimable) says is entered,
    /// or nothing where that is not known in time, and [`Event::Reclaimed`] is told.
    Fence {
        /// Period.
        pid: Pid,
        /// Who is fenced.
        actor: Actor,
        /// Who has to agree, this node included.
        roster: Vec<Actor>,
    },
    /// The book says what the fenced actor is to destroy, in all, before it is taken from again.
    Reclaimed {
        /// Period.
        pid: Pid,
        /// Who is fenced.
        actor: Actor,
        /// In all, over all entries of the book.
        due: Rights,
    },
    /// A message arrived.
    Received {
        /// From whom.
        from: Actor,
        /// What.
        message: Message,
    },
    /// What was appended up to the [`Effect::Sync`] of this ticket is on disk.
    Synced(Ticket),
}

/// What is to be done, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Append to the journal: a frame TRANSFER. Recovery merges them.
    Journal {
        /// Period.
        pid: Pid,
        /// All cells of the own row.
        row: Row,
    },
    /// Have everything appended so far on disk (`fdatasync`; one for many is fine), then answer
    /// [`Event::Synced`].
    Sync(Ticket),
    /// Send to one actor. May be lost.
    Send {
        /// Whom.
        to: Actor,
        /// What.
        message: Message,
    },
    /// Put the own row where the nodes of the region and the mirror see it (store-max), who
    /// receive it as [`Message::Row`].
    Publish {
        /// Period.
        pid: Pid,
        /// The row.
        row: Row,
        /// How this node stands.
        standing: Standing,
    },
    /// Insert the region's claim on the period's plan, or read who has it; answer
    /// [`Event::Claimed`]. Asked for again until it is answered.
    Claim(Pid),
    /// Rights came: requests that wait for this period may try again.
    Wake(Pid),
    /// Another actor has more from this one than this one knows to have given: the own row is an
    /// older copy, put back, and what it says is free may be spent already. Said again with every
    /// such row; nothing is credited or given in this period any more.
    Outdated {
        /// Period.
        pid: Pid,
        /// Who has it.
        by: Actor,
    },
    /// A node that was written off held this much: charge it as unknown spend. Absolute; said again
    /// when the node is written off again after a restart.
    Suspense {
        /// Period.
        pid: Pid,
        /// Who is lost.
        actor: Actor,
        /// What it held, as far as is known here.
        amount: Rights,
    },
}
