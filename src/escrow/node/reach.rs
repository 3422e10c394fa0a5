//! Who decides about budgets and is out of reach, and what budgets do meanwhile.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use meridian_core::budget::policy::Degraded;
use meridian_core::escrow::ScopeId;

use super::Desk;
use crate::clock;

/// What was granted beyond rights is withdrawn so long after everybody is heard again: rights for
/// what runs are on their way meanwhile.
const WITHDRAW: Duration = Duration::from_secs(5);

/// Who is out of reach.
#[derive(Debug, Default)]
pub(super) struct Reach {
    /// Nodes of this region.
    near: bool,
    /// Other regions.
    far: BTreeSet<u8>,
}

impl Reach {
    /// Whether those are who decide about a budget that is at home there: its region, and the node
    /// that speaks for the own one.
    fn decides(&self, home: u8) -> bool {
        self.near || self.far.contains(&home)
    }

    fn is_any(&self) -> bool {
        self.near || !self.far.is_empty()
    }
}

impl Desk {
    /// Looks who is out of reach, and tells the log when that changes.
    pub(super) fn look_around(&mut self, now: Instant) {
        let began = self.began;
        let known = match self.mail.is_near_up() {
            true => std::sync::Arc::default(),
            false => self.mail.neighbour_numbers(),
        };
        let near = self.members.is_near_lost(&known, now);
        let far = self
            .mail
            .far()
            .map(|(number, _, is_open)| (number, is_open));
        let lost = far.filter(|way| self.members.is_lost(*way, began, now));
        let far: BTreeSet<u8> = lost.map(|(number, _)| number).collect();
        let changed = (near, &far) != (self.reach.near, &self.reach.far);
        self.reach = Reach { near, far };
        match self.out_of_reach() {
            lost if changed && !lost.is_empty() => tracing::warn!(
                lost = lost.join(", "),
                "some who share budgets are out of reach: each budget follows its degraded_policy"
            ),
            _ if changed => tracing::info!("all who share budgets are in reach"),
            _ => {}
        }
    }

    /// Their names.
    pub(super) fn out_of_reach(&self) -> Vec<String> {
        let near = self.reach.near.then(|| "nodes of this region".to_owned());
        let far = self.mail.far();
        let far = far.filter(|(number, ..)| self.reach.far.contains(number));
        let far = far.map(|(_, name, _)| format!("region {name}"));
        near.into_iter().chain(far).collect()
    }

    /// Whether those who decide about a budget are out of reach.
    pub(super) fn is_cut_off(&self, home: u8) -> bool {
        self.reach.decides(home)
    }

    /// Puts in force what a budget's policy says of those who are out of reach.
    pub(super) fn follow_policy(&mut self, scope: ScopeId, now: Instant) {
        let all = **self.rights.policy.load();
        let Some(opened) = self.windows.get_mut(&scope) else {
            return;
        };
        let policy = opened.window.policy(all);
        let closes = policy.degraded == Degraded::FailClosed;
        let closed = closes && self.reach.decides(opened.home);
        opened.grant.set_closed(closed);
        if self.reach.is_any() {
            opened.open_until = Some(now + WITHDRAW);
        }
        let open = opened.open_until.is_some_and(|until| now < until);
        let limit = opened.window.limit(clock::now()).unwrap_or_default();
        let granted = match open {
            true => policy.overdraft(limit).0,
            false => 0,
        };
        opened.grant.slot().set_granted(granted);
    }
}
