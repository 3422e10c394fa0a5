//! How a budget stands, for `/budget/state`.

use std::collections::{BTreeMap, BTreeSet};

use meridian_core::escrow::{Actor, Book, Exposure, Fence, Rights, Row, Standing};
use meridian_core::meters::WindowName;
use serde_json::{Map, Value, json};

use super::Desk;
use crate::clock;
use crate::escrow::windows::Opened;

/// Budgets in one answer.
const SHOWN_MAX: usize = 1_000;

impl Desk {
    /// How nodes of the region reach each other.
    pub(super) fn mode(&self) -> &'static str {
        match (self.mail.is_near_up(), self.members.near() > 1) {
            (true, _) => "redis",
            (false, true) => "nodes",
            (false, false) => "alone",
        }
    }

    /// One budget and its models', or all in use.
    pub(super) fn show(&mut self, name: Option<&WindowName>) -> Value {
        if let Some(name) = name
            && let Some(window) = self.find(name)
            && window.limit(clock::now()).is_some()
        {
            let scope = window.scope_id();
            self.open(&window, scope);
        }
        let wanted = |opened: &&Opened| {
            name.is_none_or(|name| (&opened.name.kind, &opened.name.id) == (&name.kind, &name.id))
        };
        let shown = self.windows.values().filter(wanted).take(SHOWN_MAX);
        let budgets: Vec<Value> = shown.map(|opened| self.budget(opened)).collect();
        let shown = self.windows.values().filter(wanted).take(SHOWN_MAX);
        let bounds = shown.map(|opened| self.exposure(opened));
        let bound = bounds.fold(Exposure::default(), Exposure::plus);
        let links = self.mail.links();
        let links = links
            .iter()
            .map(|(region, up, sent)| json!({"region": region, "up": up, "frames_sent": sent}));
        let live = self.members.live().iter().map(ToString::to_string);
        json!({
            "actor": self.me.to_string(),
            "region": self.region,
            "coordination": self.mode(),
            "out_of_reach": self.out_of_reach(),
            "nodes": live.collect::<Vec<_>>(),
            "links": links.collect::<Vec<_>>(),
            "configured_otherwise": self.unlike(),
            "bound": bound_of(bound),
            "fencing": self.fencing_shown(),
            "budgets": budgets,
            "why": null,
        })
    }

    /// The bound of a budget on this node. A lowering that home has not written into the book yet
    /// is told by the vault of each region that knows of it, and what a lost region is to destroy
    /// by that of home.
    pub(super) fn exposure(&self, opened: &Opened) -> Exposure {
        let pid = opened.pid;
        let mut bound = self.escrow.exposure(pid);
        let book = self.books.get(&pid.scope).filter(|book| book.pid == pid);
        let limit = opened.window.limit(clock::now());
        if self.escrow.vault(pid.scope) == Some(self.me)
            && let (Some(book), Some(limit)) = (book, limit)
        {
            let unwritten = book.limit().saturating_sub(limit.0).max(0);
            let at_home = opened.home == self.me.region;
            let owed = if at_home { self.owed_by_lost(book) } else { 0 };
            let pending = unwritten.saturating_add(owed);
            bound.pending_decrease = bound.pending_decrease.saturating_add(pending);
        }
        bound.unsynced = opened.unsynced();
        bound
    }

    /// What regions that were called lost are still to destroy, as far as it is known here.
    fn owed_by_lost(&self, book: &Book) -> i64 {
        let mut owed: BTreeMap<u8, i64> = BTreeMap::new();
        let fences = self.escrow.fences(book.pid);
        // Who is fenced cannot spend what it is to destroy.
        let is_fenced = |one: &Actor| fences.iter().any(|(actor, _)| actor == one);
        let counts = |one: &Actor| one.region != self.me.region && !is_fenced(one);
        let entries = book.entries.iter();
        for entry in entries.filter(|entry| entry.amount < 0 && counts(&entry.by)) {
            let before = owed.entry(entry.by.region).or_default();
            *before = before.saturating_sub(entry.amount);
        }
        for (actor, _, row) in self.escrow.peers(book.pid) {
            if let Some(owed) = owed.get_mut(&actor.region).filter(|_| counts(&actor)) {
                *owed = owed.saturating_sub(row.burned);
            }
        }
        let owed = owed.into_values().map(|sum| sum.max(0));
        owed.fold(0, i64::saturating_add)
    }

    fn budget(&self, opened: &Opened) -> Value {
        let (pid, slot, wall) = (opened.pid, opened.grant.slot(), clock::now());
        let bound = self.exposure(opened);
        let book = self.books.get(&pid.scope).filter(|book| book.pid == pid);
        let rows = self.rows(pid);
        let ceilings = self.keeps_ceilings().then_some(opened.home);
        let ceilings = Ceilings {
            rows: &rows,
            home: ceilings,
        };
        let peers = self.escrow.peers(pid).into_iter();
        let standings = peers.map(|(actor, standing, _)| (actor, standing));
        let own = self
            .escrow
            .standing(pid)
            .map(|standing| (self.me, standing));
        let mut nodes = Map::new();
        for (actor, standing) in standings.chain(own) {
            if let Some(row) = rows.get(&actor) {
                let ceiling = ceilings.of(actor, row, standing);
                nodes.insert(actor.to_string(), node((actor, row), standing, ceiling));
            }
        }
        // Whom nobody here has dealt with is fenced all the same.
        for (actor, fence) in self.escrow.fences(pid) {
            let unknown = || json!({"ceiling": {"fenced": fence.word()}});
            nodes.entry(actor.to_string()).or_insert_with(unknown);
        }
        let regions = self.escrow.regions(pid).into_iter();
        let regions = regions.map(|(number, standing, used)| {
            json!({
                "number": number,
                "free": dollars(standing.free),
                "used": dollars(used),
                "rate_per_s": standing.rate / 1e9,
                "ceiling": ceilings.of_region(number),
                "fenced": ceilings.is_fenced(number),
            })
        });
        let limit = opened.window.limit(wall);
        let policy = opened.window.policy(**self.rights.policy.load());
        json!({
            "scope": {
                "kind": opened.name.kind,
                "id": opened.name.id,
                "model": opened.name.model,
                "limit": opened.name.limit,
            },
            "budget": pid.scope.to_string(),
            "resets_at": opened.window.resets_at(wall).map(|at| at.to_iso()),
            "generation": pid.generation,
            "home": opened.home,
            "limit": limit.map(|limit| dollars(limit.0)),
            "rights_made_for": book.map(|book| dollars(book.limit())),
            "used": dollars(opened.grant.used().0),
            "free_here": dollars(slot.avail()),
            "reserved_here": dollars(slot.reserved()),
            "waiting": opened.waiters.len(),
            "frozen": slot.is_frozen(),
            "store_failed": opened.failed,
            "on_exhausted": policy.on_exhausted.word(),
            "degraded_policy": policy.degraded.word(),
            "cut_off": self.is_cut_off(opened.home),
            "closed": opened.grant.is_closed(),
            "overdraft_granted": dollars(slot.granted()),
            "bound": bound_of(bound),
            "nodes": nodes,
            "regions": regions.collect::<Vec<_>>(),
        })
    }
}

/// How nodes stand to their ceilings.
struct Ceilings<'a> {
    rows: &'a BTreeMap<Actor, Row>,
    /// The region whose nodes have none; `None` where none are kept.
    home: Option<u8>,
}

impl Ceilings<'_> {
    fn has(&self, actor: Actor) -> bool {
        self.home.is_some_and(|home| home != actor.region)
    }

    /// What an actor may spend of what it brought into its region, by its own word and by all that
    /// have witnessed it.
    fn limit(&self, actor: Actor) -> Rights {
        let own = self.rows.get(&actor).map(|row| row.ceiling);
        let others = self.rows.values().map(|row| row.witnessed_for(actor));
        others.chain(own).max().unwrap_or(0)
    }

    fn of(&self, actor: Actor, row: &Row, standing: Standing) -> Value {
        if !self.has(actor) {
            return Value::Null;
        }
        let (brought, ceiling) = (row.brought_in(actor), self.limit(actor));
        let above = brought.saturating_sub(ceiling).max(0);
        let used = brought.saturating_sub(above).saturating_sub(standing.free);
        json!({
            "ceiling": dollars(ceiling),
            "used": dollars(used.max(0)),
            "above": dollars(above),
            "fenced": self.fence(actor).word(),
        })
    }

    /// How far others have fenced an actor, by the latest that is known here: rows of some may be
    /// old.
    fn fence(&self, actor: Actor) -> Fence {
        let all = self.rows.values().map(|row| row.fence_of(actor));
        all.max().unwrap_or_default()
    }

    fn of_region(&self, region: u8) -> Value {
        let witnessed = self.rows.values().flat_map(|row| row.witnessed.keys());
        let all: BTreeSet<Actor> = witnessed.copied().collect();
        let there = all.into_iter().filter(|actor| actor.region == region);
        let there = there.filter(|actor| self.has(*actor));
        let limits = there.map(|actor| self.limit(actor));
        match self.home.is_some_and(|home| home != region) {
            true => dollars(limits.fold(0, Rights::saturating_add)),
            false => Value::Null,
        }
    }

    fn is_fenced(&self, region: u8) -> bool {
        let fenced = self.rows.values().flat_map(|row| row.fences.keys());
        let mut there = fenced.filter(|actor| actor.region == region);
        there.any(|actor| self.fence(*actor).holds())
    }
}

fn node((actor, row): (Actor, &Row), standing: Standing, ceiling: Value) -> Value {
    json!({
        "region": actor.region,
        "free": dollars(standing.free),
        "used": dollars(row.used),
        "made": dollars(row.minted_total()),
        "sent": dollars(row.sent_total()),
        "received": dollars(row.received_total()),
        "destroyed": dollars(row.burned),
        "rate_per_s": standing.rate / 1e9,
        "ceiling": ceiling,
    })
}

/// How far spend can be over a budget, as far as this node has caused it.
fn bound_of(bound: Exposure) -> Value {
    json!({
        "total_nano_usd": bound.total(),
        "metering": dollars(bound.metering),
        "running": dollars(bound.running),
        "overdraft": dollars(bound.overdraft),
        "pending_decrease": dollars(bound.pending_decrease),
        "unsynced": dollars(bound.unsynced),
    })
}

fn dollars(nano: i64) -> Value {
    json!(nano as f64 / 1e9)
}
