//! The transfer protocol between regions as a model: every order, loss and doubling of messages,
//! witnessed ceilings, fencing of a region and its return (docs/BUDGETS.md, "Model").
//!
//! It is the protocol that is checked here, bounded, and not the code: `core/tests/sim` runs that.
#![cfg(test)]

use std::collections::BTreeSet;

use stateright::{Checker, Model, Property};

const REGIONS: usize = 3;
/// States that one search looks at; a quarter of them are new. Every injected bug is found in
/// fewer.
const STATES: usize = 8_000_000;

/// What is broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bug {
    /// A transfer of a fenced incarnation is accepted.
    AcceptsFenced,
    /// Spending goes on above the witnessed ceiling.
    IgnoresCeiling,
    /// One survivor of two is enough to fence.
    FencesAlone,
    /// Transfers are differences and not totals.
    SendsDifferences,
}

/// A message: once sent it may arrive at any time, any number of times, or never.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Message {
    /// `total` is all that incarnation `epoch` of `from` ever sent to incarnation `to_epoch`.
    Transfer {
        from: u8,
        to: u8,
        epoch: u8,
        to_epoch: u8,
        total: u8,
    },
    /// `from` wants to use up to `ceiling` in all.
    Propose { from: u8, epoch: u8, ceiling: u8 },
    /// A witness has stored it.
    Stored { to: u8, epoch: u8, ceiling: u8 },
    /// What a survivor knows of the fenced region; it will take nothing more of that epoch.
    Frozen {
        from: u8,
        of: u8,
        received: u8,
        sent: u8,
        ceiling: u8,
    },
    /// The fenced region's old incarnation may have used this much; the rest was reclaimed.
    Fenced { region: u8, ceiling: u8 },
}

/// One region: its running incarnation and what it knows of others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Region {
    epoch: u8,
    minted: u8,
    sent: [u8; REGIONS],
    received: [u8; REGIONS],
    used: u8,
    /// Used by the incarnation before.
    used_before: u8,
    /// Witnessed.
    ceiling: u8,
    proposed: u8,
    /// Ceilings of others that were stored here.
    witness: [u8; REGIONS],
    /// Regions whose first incarnation is fenced here.
    fenced: [bool; REGIONS],
    reclaimed: bool,
}

impl Region {
    fn held(&self) -> u8 {
        let gained = self.minted + self.received.iter().sum::<u8>();
        gained.saturating_sub(self.sent.iter().sum::<u8>() + self.used)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    regions: [Region; REGIONS],
    messages: BTreeSet<Message>,
    raises: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Spend(usize),
    Send { from: usize, to: usize },
    Propose(usize),
    Deliver(Message),
    Fence { by: usize, region: usize },
    Reclaim { by: usize, region: usize },
    Raise,
}

struct Protocol {
    /// What each region mints from the plan.
    plan: [u8; REGIONS],
    raises: u8,
    bug: Option<Bug>,
}

impl Protocol {
    /// The plan's ceilings count as witnessed by everybody, so that a period can begin in a cut.
    fn first_ceiling(&self, region: usize) -> u8 {
        self.plan[region].min(1)
    }

    /// Only the first incarnation of region 0 is ever fenced: the others are survivors.
    fn survivors(&self) -> [usize; 2] {
        [1, 2]
    }

    fn deliver(&self, state: &mut State, message: Message) {
        match message {
            Message::Transfer {
                from,
                to,
                epoch,
                to_epoch,
                total,
            } => {
                let region = &mut state.regions[usize::from(to)];
                let fenced = region.fenced[usize::from(from)] && epoch == 0;
                if region.epoch != to_epoch || (fenced && self.bug != Some(Bug::AcceptsFenced)) {
                    return;
                }
                let cell = &mut region.received[usize::from(from)];
                *cell = match self.bug {
                    Some(Bug::SendsDifferences) => *cell + 1,
                    _ => (*cell).max(total),
                };
            }
            Message::Propose {
                from,
                epoch,
                ceiling,
            } => self.witness(state, usize::from(from), epoch, ceiling),
            Message::Stored { to, epoch, ceiling } => {
                let region = &mut state.regions[usize::from(to)];
                if region.epoch == epoch {
                    region.ceiling = region.ceiling.max(ceiling);
                }
            }
            Message::Fenced { region, ceiling } => {
                let back = &mut state.regions[usize::from(region)];
                if back.epoch == 0 {
                    // The old incarnation ends; what it could have used and did not comes back.
                    *back = Region {
                        epoch: 1,
                        minted: ceiling.saturating_sub(back.used),
                        used_before: back.used,
                        ceiling: ceiling.saturating_sub(back.used),
                        proposed: ceiling.saturating_sub(back.used),
                        witness: back.witness,
                        ..Region::default()
                    };
                }
            }
            // Read by `reclaim` from the set of messages.
            Message::Frozen { .. } => {}
        }
    }

    /// Witness 1 stands for any one of them: one acknowledgement is needed (a_w = 1).
    fn witness(&self, state: &mut State, from: usize, epoch: u8, ceiling: u8) {
        for by in (0..REGIONS).filter(|by| *by != from) {
            let region = &mut state.regions[by];
            let fenced = region.fenced[from] && epoch == 0;
            if fenced || region.witness[from] >= ceiling {
                continue;
            }
            region.witness[from] = ceiling;
            let to = from as u8;
            state
                .messages
                .insert(Message::Stored { to, epoch, ceiling });
            return;
        }
    }

    fn fence(&self, state: &mut State, by: usize, region: usize) {
        let me = &mut state.regions[by];
        me.fenced[region] = true;
        let frozen = Message::Frozen {
            from: by as u8,
            of: region as u8,
            received: me.received[region],
            sent: me.sent[region],
            ceiling: me.witness[region].max(self.first_ceiling(region)),
        };
        state.messages.insert(frozen);
    }

    /// What survivors said, if there are enough of them.
    fn frozen(&self, state: &State, region: usize) -> Option<(u8, u8, u8)> {
        let needed = match self.bug {
            Some(Bug::FencesAlone) => 1,
            _ => self.survivors().len(),
        };
        let of = |message: &Message| match *message {
            Message::Frozen {
                of,
                received,
                sent,
                ceiling,
                ..
            } if usize::from(of) == region => Some((received, sent, ceiling)),
            _ => None,
        };
        let said: Vec<_> = state.messages.iter().filter_map(of).collect();
        let sum =
            |(r, s, c): (u8, u8, u8), one: &(u8, u8, u8)| (r + one.0, s + one.1, c.max(one.2));
        (said.len() >= needed).then(|| said.iter().fold((0, 0, 0), sum))
    }

    fn reclaim(&self, state: &mut State, by: usize, region: usize) {
        let Some((received, sent, ceiling)) = self.frozen(state, region) else {
            return;
        };
        let rights = self.plan[region] + if region == 0 { state.raises } else { 0 } + sent;
        let gain = rights.saturating_sub(received + ceiling);
        state.regions[by].minted += gain;
        state.regions[by].reclaimed = true;
        let ceiling = ceiling.min(rights.saturating_sub(received));
        let region = region as u8;
        state.messages.insert(Message::Fenced { region, ceiling });
    }

    fn spends(&self, region: &Region) -> bool {
        let under = region.used < region.ceiling || self.bug == Some(Bug::IgnoresCeiling);
        region.held() > 0 && under
    }
}

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let region = |index: usize| Region {
            minted: self.plan[index],
            ceiling: self.first_ceiling(index),
            proposed: self.first_ceiling(index),
            ..Region::default()
        };
        vec![State {
            regions: [region(0), region(1), region(2)],
            messages: BTreeSet::new(),
            raises: 0,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for (index, region) in state.regions.iter().enumerate() {
            if self.spends(region) {
                actions.push(Action::Spend(index));
            }
            if region.held() > 0 {
                let to = (0..REGIONS).filter(|to| *to != index && !region.fenced[*to]);
                actions.extend(to.map(|to| Action::Send { from: index, to }));
            }
            let most: u8 = self.plan.iter().sum::<u8>() + self.raises;
            if region.proposed == region.ceiling && region.proposed < most {
                actions.push(Action::Propose(index));
            }
        }
        actions.extend(state.messages.iter().map(|one| Action::Deliver(*one)));
        for by in self.survivors() {
            if !state.regions[by].fenced[0] {
                actions.push(Action::Fence { by, region: 0 });
            }
        }
        // The lowest survivor coordinates; alone it may be the only one that fenced.
        let reclaimed = self
            .survivors()
            .iter()
            .any(|by| state.regions[*by].reclaimed);
        for by in self.survivors() {
            if !reclaimed && state.regions[by].fenced[0] && self.frozen(state, 0).is_some() {
                actions.push(Action::Reclaim { by, region: 0 });
            }
        }
        if state.raises < self.raises && state.regions[0].epoch == 0 {
            let unfenced = self
                .survivors()
                .iter()
                .all(|by| !state.regions[*by].fenced[0]);
            actions.extend(unfenced.then_some(Action::Raise));
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Spend(index) => state.regions[index].used += 1,
            Action::Send { from, to } => {
                state.regions[from].sent[to] += 1;
                let to_epoch = if to == 0 && state.regions[from].fenced[0] {
                    1
                } else {
                    0
                };
                state.messages.insert(Message::Transfer {
                    from: from as u8,
                    to: to as u8,
                    epoch: state.regions[from].epoch,
                    to_epoch,
                    total: state.regions[from].sent[to],
                });
            }
            Action::Propose(index) => {
                let region = &mut state.regions[index];
                region.proposed += 1;
                state.messages.insert(Message::Propose {
                    from: index as u8,
                    epoch: region.epoch,
                    ceiling: region.proposed,
                });
            }
            Action::Deliver(message) => self.deliver(&mut state, message),
            Action::Fence { by, region } => self.fence(&mut state, by, region),
            Action::Reclaim { by, region } => self.reclaim(&mut state, by, region),
            Action::Raise => {
                state.raises += 1;
                state.regions[0].minted += 1;
            }
        }
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("no overspend", |model: &Self, state: &State| {
                spent(state) <= model.plan.iter().sum::<u8>() + state.raises
            }),
            Property::sometimes(
                "all of the budget can be used",
                |model: &Self, state: &State| {
                    spent(state) == model.plan.iter().sum::<u8>() + model.raises
                },
            ),
            Property::sometimes("and also after a reclaim", |model: &Self, state: &State| {
                let reclaimed = state.regions.iter().any(|region| region.reclaimed);
                reclaimed && spent(state) == model.plan.iter().sum::<u8>() + model.raises
            }),
            Property::sometimes(
                "and by the region that came back",
                |_: &Self, state: &State| state.regions[0].epoch == 1 && state.regions[0].used > 0,
            ),
        ]
    }
}

fn spent(state: &State) -> u8 {
    let used = |region: &Region| region.used + region.used_before;
    state.regions.iter().map(used).sum()
}

/// States seen, depth, and the steps to the first overspend.
fn search(plan: [u8; REGIONS], raises: u8, bug: Option<Bug>) -> (usize, usize, Option<usize>) {
    let model = Protocol { plan, raises, bug };
    let checker = model
        .checker()
        .target_state_count(STATES)
        .spawn_bfs()
        .join();
    for name in ["all of the budget can be used", "and also after a reclaim"] {
        let found = checker.discovery(name).is_some();
        assert!(
            found || bug.is_some() || raises > 0,
            "{plan:?}: never: {name}"
        );
    }
    let trace = checker.discovery("no overspend");
    let steps = trace.map(|path| path.into_actions());
    if let (Some(steps), Some(bug)) = (&steps, bug) {
        println!("{bug:?}: {steps:?}");
    }
    let steps = steps.map(|steps| steps.len());
    (checker.unique_state_count(), checker.max_depth(), steps)
}

#[test]
fn no_order_of_messages_overspends() {
    for (plan, raises) in [([2, 0, 0], 0), ([2, 1, 0], 0), ([1, 0, 0], 1)] {
        let (states, depth, overspend) = search(plan, raises, None);
        println!("{plan:?} with {raises} raises: {states} states, depth {depth}");
        assert_eq!(overspend, None, "{plan:?}");
    }
}

#[test]
fn every_injected_bug_is_found() {
    for bug in [
        Bug::AcceptsFenced,
        Bug::IgnoresCeiling,
        Bug::FencesAlone,
        Bug::SendsDifferences,
    ] {
        let (states, _, overspend) = search([2, 0, 0], 0, Some(bug));
        println!("{bug:?}: {overspend:?} steps, {states} states");
        assert!(overspend.is_some(), "{bug:?} is not found");
    }
}
