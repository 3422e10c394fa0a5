//! How a budget stands, for `/budget/state`.

use std::collections::BTreeMap;

use meridian_core::escrow::{Actor, Book, Exposure, Row, Standing};
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
        let afar = |region: u8| region != self.me.region;
        let entries = book.entries.iter();
        for entry in entries.filter(|entry| entry.amount < 0 && afar(entry.by.region)) {
            let before = owed.entry(entry.by.region).or_default();
            *before = before.saturating_sub(entry.amount);
        }
        let burned = |region: u8| self.escrow.burned_by(book.pid, region);
        let owed = owed
            .into_iter()
            .map(|(region, sum)| sum.saturating_sub(burned(region)).max(0));
        owed.fold(0, i64::saturating_add)
    }

    fn budget(&self, opened: &Opened) -> Value {
        let (pid, slot, wall) = (opened.pid, opened.grant.slot(), clock::now());
        let bound = self.exposure(opened);
        let book = self.books.get(&pid.scope).filter(|book| book.pid == pid);
        let mut nodes = Map::new();
        if let (Some(row), Some(standing)) = (self.escrow.row(pid), self.escrow.standing(pid)) {
            nodes.insert(self.me.to_string(), node(self.me, &row, standing));
        }
        for (actor, standing, row) in self.escrow.peers(pid) {
            nodes.insert(actor.to_string(), node(actor, row, standing));
        }
        let regions = self.escrow.regions(pid).into_iter();
        let regions = regions.map(|(number, standing, used)| {
            json!({
                "number": number,
                "free": dollars(standing.free),
                "used": dollars(used),
                "rate_per_s": standing.rate / 1e9,
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

fn node(actor: Actor, row: &Row, standing: Standing) -> Value {
    json!({
        "region": actor.region,
        "free": dollars(standing.free),
        "used": dollars(row.used),
        "made": dollars(row.minted_total()),
        "sent": dollars(row.sent_total()),
        "received": dollars(row.received_total()),
        "destroyed": dollars(row.burned),
        "rate_per_s": standing.rate / 1e9,
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
