//! Between regions: a vault that runs low asks the richest other one, which decides.

use std::time::Duration;

use super::account::{Account, Claim, Scene, has_moved};
use super::ids::Actor;
use super::message::{Effect, Message, Standing, Want};
use super::row::Rights;
use crate::time::MonoUs;

/// A region with less than this part of its fair share asks, also above its low water.
const FAIR_PART: f64 = 0.7;
/// After this long without a request a region fetches nothing ahead.
const DEMAND_FADES: Duration = Duration::from_secs(10);
/// A region that says it has something is asked again after this.
const STIR_PAUSE: Duration = Duration::from_millis(100);
/// Pause between two requests for rights to destroy.
const BURN_PAUSE: Duration = Duration::from_secs(1);

/// What is known of another region.
#[derive(Debug, Default)]
pub(super) struct Region {
    pub(super) standing: Option<Standing>,
    pub(super) used: Rights,
    /// Whether it was heard how the whole region stands since this node speaks for its own.
    pub(super) viewed: bool,
    /// Reserved by requests that run.
    pub(super) open: Rights,
    /// Who spoke for it last.
    pub(super) speaker: Option<Actor>,
    /// What it has sent here, and what was sent to it, since it said how it stands.
    pub(super) sent: Rights,
    pub(super) given: Rights,
    /// The gifts that came lately: words that were sent before them may come after them.
    pub(super) lately: Vec<(MonoUs, Rights)>,
    /// Not asked again before, and how long the next pause is.
    pub(super) quiet: Option<(MonoUs, Duration)>,
}

impl Account {
    /// What the vault does: claim, watch the region's level, tell the others.
    pub(super) fn tend_pool(&mut self, cx: &mut Scene<'_>) {
        self.claim(cx);
        self.ask_regions(cx, None);
        self.view(cx);
    }

    fn claim(&mut self, cx: &mut Scene<'_>) {
        if let Claim::Open(at) = self.claim
            && cx.is_since(at, cx.settings.claim_retry)
        {
            self.claim = Claim::Open(Some(cx.now));
            cx.out.push(Effect::Claim(self.pid));
        }
    }

    /// Asks another region for a share if this one is low; `waiting` is what a request waits for.
    pub(super) fn ask_regions(&mut self, cx: &mut Scene<'_>, waiting: Option<Rights>) {
        let ours = self.region_standing(cx);
        let low = cx.settings.region_low(ours);
        let (want, amount) = match waiting {
            Some(need) => (Want::Urgent, need),
            // Rates fade slowly; without demand nothing is fetched ahead.
            None if cx.is_since(self.region_asked, DEMAND_FADES) => return,
            None if ours.free >= low && !self.is_behind(cx, ours) => return,
            None => (Want::Share, low - ours.free),
        };
        if let Some((region, vault)) = self.richest(cx, ours, waiting.is_some()) {
            let ours = Standing {
                ceiling: self.wanted_ceiling(cx, waiting.unwrap_or(0)),
                ..ours
            };
            self.ask(cx, vault, want, amount, ours);
            self.quiet(cx, region);
        }
    }

    /// Whether the region has clearly less than demand would give it.
    fn is_behind(&self, cx: &Scene<'_>, ours: Standing) -> bool {
        let others = self.regions.values().filter_map(|region| region.standing);
        let (free, rate) = others.fold((ours.free, ours.rate), |(free, rate), other| {
            (free + other.free.max(0), rate + other.rate)
        });
        if rate <= 0.0 {
            return false;
        }
        let most = 1.0 - cx.settings.idle_share;
        let fair = free as f64 * (ours.rate / rate).min(most);
        let gap = fair - ours.free as f64;
        (ours.free as f64) < FAIR_PART * fair && gap > 4.0 * ours.need as f64
    }

    /// The region that would give most of those that may be asked now.
    fn richest(&self, cx: &Scene<'_>, ours: Standing, urgent: bool) -> Option<(u8, Actor)> {
        let may = |region: &u8| {
            let quiet = self.regions.get(region).and_then(|region| region.quiet);
            *region != cx.me.region && quiet.is_none_or(|(until, _)| cx.now >= until)
        };
        // One that was never heard of is worth a question before one that has nothing to spare.
        let gives = |region: u8| {
            let known = self.regions.get(&region).and_then(|region| region.standing);
            known.map_or(1, |theirs| match urgent {
                true => theirs.free,
                false => cx.settings.grant(theirs, ours),
            })
        };
        let asked = cx.members.regions().into_iter().filter(may);
        let (gives, region) = asked.map(|region| (gives(region), region)).max()?;
        let vault = cx.members.vault(self.pid.scope, region)?;
        (urgent || gives > 0).then_some((region, vault))
    }

    fn quiet(&mut self, cx: &Scene<'_>, region: u8) {
        let (first, longest) = cx.settings.back_off;
        let region = self.regions.entry(region).or_default();
        let pause = region.quiet.map_or(first, |(_, pause)| pause);
        region.quiet = Some((cx.now.plus(pause), (pause * 2).min(longest)));
    }

    /// Another region gave something: it may be asked again at once.
    pub(super) fn thank(&mut self, region: u8) {
        if let Some(region) = self.regions.get_mut(&region) {
            region.quiet = None;
        }
    }

    /// Another region has something: it may be asked again soon.
    fn stir(&mut self, cx: &Scene<'_>, region: u8) {
        let region = self.regions.entry(region).or_default();
        if let Some((until, _)) = region.quiet {
            let soon = cx.now.plus(STIR_PAUSE);
            region.quiet = Some((until.min(soon), cx.settings.back_off.0));
        }
    }

    /// Another region asks for a share.
    pub(super) fn share_with(
        &mut self,
        cx: &mut Scene<'_>,
        asker: Actor,
        theirs: Standing,
        waiting: Option<Rights>,
    ) {
        self.regions
            .entry(asker.region)
            .or_default()
            .hear(cx.now, asker, theirs);
        if self.row.fence_of(asker).holds() {
            return self.send_view(cx, asker);
        }
        let news = self.witness(cx, asker, theirs);
        let ours = self.region_standing(cx);
        // A request that waits there is worth more than one that may come here.
        // Where one waits more will come: of plenty a few more are given along.
        let free = ours.free.max(0);
        let asked = waiting.unwrap_or(0);
        // What would not be enough flows one way only, or all would pass crumbs around.
        let is_enough = free >= asked || asker.region < cx.me.region;
        let waiting = if is_enough { asked.min(free) } else { 0 };
        let along = waiting.saturating_mul(4).min(free / 3);
        // It asks for what it needs until the gift before has arrived.
        let coming = self.on_the_way_to(cx, asker.region);
        let theirs = Standing {
            free: theirs.free.saturating_add(coming),
            ..theirs
        };
        let grant = cx.settings.grant(ours, theirs).max(waiting).max(along);
        let given = self.donate(cx, asker, grant);
        if news && given == 0 {
            self.send_row(cx, asker, false);
        }
        if given < grant {
            let until = cx.now.plus(cx.settings.waiting);
            self.waiting.insert(asker, (grant - given, until));
            self.recall(cx, grant - given, None);
        } else if asked > given && self.claim != Claim::Known {
            // The period's rights are about to be made.
            let until = cx.now.plus(cx.settings.waiting);
            self.waiting.insert(asker, (asked - given, until));
        }
        self.send_view(cx, asker);
    }

    /// Rights were made: every other region gets its idle share, to have some when it is cut off.
    pub(super) fn spread(&mut self, cx: &mut Scene<'_>) {
        let free = self.free().max(0);
        let share = (free as f64 * cx.settings.idle_share) as Rights;
        for region in cx.members.regions() {
            let vault = cx.members.vault(self.pid.scope, region);
            if let Some(vault) = vault.filter(|_| region != cx.me.region) {
                self.witness_share(cx, vault, share);
                self.donate(cx, vault, share);
            }
        }
    }

    /// Rights are wanted to be destroyed, or given back: as much as is free.
    pub(super) fn give_up(&mut self, cx: &mut Scene<'_>, to: Actor, amount: Rights) {
        let given = self.donate(cx, to, amount);
        if given < amount && cx.vault(self.pid) == Some(cx.me) {
            let until = cx.now.plus(cx.settings.waiting);
            self.waiting.insert(to, (amount - given, until));
            self.recall(cx, amount - given, Some(to));
        }
    }

    /// The budget was lowered: this region's part of it goes to the one that destroys it.
    pub(super) fn lower(&mut self, cx: &mut Scene<'_>, by: Rights, to: Actor) {
        // Who is away gets nothing sent, and pulls it when it is back.
        let away = !cx.members.is_live(to);
        if to == cx.me || away || cx.vault(self.pid) != Some(cx.me) {
            return;
        }
        let ours = self.region_standing(cx).free.max(0);
        let others = self.regions.values().filter_map(|region| region.standing);
        let all = others.fold(ours, |sum, other| sum + other.free.max(0));
        let part = i128::from(by) * i128::from(ours) / i128::from(all.max(1));
        let part = Rights::try_from(part).unwrap_or(Rights::MAX);
        self.give_up(cx, to, part);
    }

    /// Pulls what is still to be destroyed from whoever has it.
    pub(super) fn pull_burn(&mut self, cx: &mut Scene<'_>) {
        let missing = self.burn(cx);
        if missing <= 0 || !cx.is_since(self.asked, BURN_PAUSE) {
            return;
        }
        self.asked = Some(cx.now);
        let own = self.standing();
        for holder in self.holders(cx) {
            self.ask(cx, holder, Want::Burn, missing, own);
        }
    }

    /// Siblings, and the vaults of the other regions.
    fn holders(&self, cx: &Scene<'_>) -> Vec<Actor> {
        let siblings = cx.members.of_region(cx.me.region);
        let others = cx.members.regions().into_iter();
        let others = others.filter(|region| *region != cx.me.region);
        let vaults = others.filter_map(|region| cx.members.vault(self.pid.scope, region));
        let all = siblings.chain(vaults);
        all.filter(|holder| *holder != cx.me).collect()
    }

    fn view(&mut self, cx: &mut Scene<'_>) {
        let ours = self.region_standing(cx);
        let due = match self.viewed {
            None => ours.free > 0 || ours.rate > 0.0,
            Some((at, told)) => {
                let moved = has_moved(told, ours) && cx.is_since(Some(at), Duration::from_secs(1));
                moved || (self.is_asked_for(cx) && cx.is_since(Some(at), cx.settings.view))
            }
        };
        if !due {
            return;
        }
        self.viewed = Some((cx.now, ours));
        for region in cx.members.regions() {
            let vault = cx.members.vault(self.pid.scope, region);
            if let Some(vault) = vault.filter(|_| region != cx.me.region) {
                self.send_view(cx, vault);
            }
        }
    }

    fn send_view(&mut self, cx: &mut Scene<'_>, to: Actor) {
        let message = Message::View {
            pid: self.pid,
            standing: self.region_standing(cx),
            used: self.region_used(cx),
            open: self.region_open(cx),
        };
        cx.out.push(Effect::Send { to, message });
    }

    /// Another region says how it stands.
    pub(super) fn hear_view(
        &mut self,
        cx: &Scene<'_>,
        from: Actor,
        standing: Standing,
        (used, open): (Rights, Rights),
    ) {
        let known = self.regions.entry(from.region).or_default();
        known.hear(cx.now, from, standing);
        (known.open, known.viewed) = (open, true);
        known.used = known.used.max(used);
        if standing.free >= self.standing().need {
            self.stir(cx, from.region);
        }
    }
}
