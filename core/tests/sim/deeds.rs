//! What a node's effects do to its disk, its region's stores and the network.

use meridian_core::escrow::{Actor, Effect, Event, Message, Pid, Rights, Want};
use meridian_core::time::MonoUs;

use crate::disk::Frame;
use crate::mutants::Mutant;
use crate::stores::Entry as LedgerEntry;
use crate::world::{Happening, World};

/// Between two frames of a node to another region: on average, at least, and how many may leave
/// ahead of their time.
const FRAME_US: u64 = 400_000;
const GAP_US: u64 = 20_000;
const BURST: u64 = 8;

impl World {
    pub(crate) fn step(&mut self, index: usize, event: Event) {
        if matches!(&event, Event::Synced(_)) && self.nodes[index].escrow.is_none() {
            return;
        }
        let mut out = Vec::new();
        if let Some(escrow) = &mut self.nodes[index].escrow {
            escrow.step(MonoUs(self.now), event, &mut out);
        }
        for effect in out {
            self.act(index, effect);
        }
    }

    fn act(&mut self, index: usize, effect: Effect) {
        let me = self.nodes[index].actor;
        let life = self.nodes[index].life;
        match effect {
            Effect::Journal { pid, row } => {
                self.nodes[index].disk.append(Frame::Row { pid, row });
            }
            Effect::Sync(ticket) => {
                if self.scenario.mutant == Some(Mutant::ShowsBeforeSync) {
                    self.step(index, Event::Synced(ticket));
                }
                let us = self.sync_time(index);
                let node = &mut self.nodes[index];
                node.last_sync = node.last_sync.max(self.now + us);
                let (at, up_to) = (node.last_sync, node.disk.len());
                let node = index;
                self.at(
                    at,
                    Happening::Synced {
                        node,
                        life,
                        ticket,
                        up_to,
                    },
                );
            }
            Effect::Send { to, message } => self.send(index, to, message),
            Effect::Publish { pid, row, standing } => {
                self.show(pid, me, &row);
                let region = usize::from(me.region);
                if self.redis[region].down == 0 {
                    self.redis[region].publish(pid, me, &row, standing);
                }
                let message = Message::Row {
                    pid,
                    row,
                    standing,
                    answer: false,
                };
                for other in 0..self.nodes.len() {
                    let to = self.nodes[other].actor;
                    if other != index && to.region == me.region {
                        self.send(index, to, message.clone());
                    }
                }
            }
            Effect::Claim(pid) => self.claim(index, pid),
            Effect::Wake(pid) => self.wake(index, pid),
            // Nobody's disk is put back here: a node that is called a copy of itself would throw
            // its rights away.
            Effect::Outdated { pid, by } => {
                let node = self.nodes[index].actor;
                self.fail(
                    2,
                    format!("{node} is an old copy of itself in {pid:?}, says {by}"),
                );
            }
            Effect::Suspense { .. } => {}
        }
    }

    fn claim(&mut self, index: usize, pid: Pid) {
        let (me, life) = (self.nodes[index].actor, self.nodes[index].life);
        let budgets = &self.scenario.demand.budgets;
        let Some(budget) = budgets.iter().find(|budget| budget.scope == pid.scope) else {
            return;
        };
        let amount = self.office.plan(pid, budget).part(me.region);
        let postgres = &mut self.postgres[usize::from(me.region)];
        if postgres.down > 0 {
            return;
        }
        let (by, amount) = match self.scenario.mutant {
            Some(Mutant::ClaimsTwice) => (me, amount),
            _ => postgres.claim(pid, 0, me, amount),
        };
        let event = Event::Claimed {
            pid,
            claim: 0,
            amount,
            by,
        };
        self.after(
            3_000,
            Happening::Step {
                node: index,
                life,
                event,
            },
        );
    }

    fn send(&mut self, index: usize, to: Actor, message: Message) {
        let me = self.nodes[index].actor;
        if let Message::Row { pid, row, .. } = &message {
            self.show(*pid, me, row);
        }
        let ask = matches!(
            &message,
            Message::Need {
                want: Want::Share | Want::Urgent,
                ..
            }
        );
        if self.scenario.mutant == Some(Mutant::WitnessesItself) {
            self.witness_itself(index, to, &message);
        }
        let dropped = match self.scenario.mutant {
            Some(Mutant::AsksNoRegion) => ask,
            Some(Mutant::NeverRepeats) => self.is_repeat(index, to, &message),
            _ => false,
        };
        if dropped {
            return;
        }
        let gain = self.difference(index, to, &message);
        let Some(node) = self.index_of(to) else {
            return;
        };
        if me.region != to.region {
            self.report.messages_between += 1;
        }
        self.note(|| format!("{me} -> {to} {}", brief(&message)));
        let leaves = self.leaves(index, to.region);
        for us in self.network.delays(me.region, to.region, &mut self.rng) {
            let message = message.clone();
            self.at(
                leaves + us,
                Happening::Deliver {
                    node,
                    from: me,
                    message,
                    gain,
                },
            );
        }
    }

    /// When what is said now leaves: to other regions with the next frame.
    fn leaves(&mut self, index: usize, to: u8) -> u64 {
        let node = &mut self.nodes[index];
        if node.actor.region == to {
            return self.now;
        }
        let (framed, turns) = &mut node.framed[usize::from(to)];
        // It waits for a frame that others wait for.
        if *framed > self.now {
            return *framed;
        }
        let ahead = turns.saturating_sub((BURST - 1) * FRAME_US);
        let leaves = self.now.max(*framed + GAP_US).max(ahead);
        *turns = (*turns).max(leaves) + FRAME_US;
        *framed = leaves;
        leaves
    }

    fn is_repeat(&mut self, index: usize, to: Actor, message: &Message) -> bool {
        let Message::Row { pid, row, .. } = message else {
            return matches!(message, Message::Digest { .. });
        };
        let told = self.nodes[index].told.entry((*pid, to)).or_insert(-1);
        let sent = row.sent_to(to);
        std::mem::replace(told, sent) == sent
    }

    fn difference(&mut self, index: usize, to: Actor, message: &Message) -> Option<Rights> {
        if self.scenario.mutant != Some(Mutant::SendsDifferences) {
            return None;
        }
        let Message::Row { pid, row, .. } = message else {
            return None;
        };
        let told = self.nodes[index].told.entry((*pid, to)).or_insert(0);
        let sent = row.sent_to(to);
        Some(sent - std::mem::replace(told, sent))
    }

    pub(crate) fn deliver(
        &mut self,
        node: usize,
        from: Actor,
        mut message: Message,
        gain: Option<Rights>,
    ) {
        if !self.nodes[node].is_up() {
            return;
        }
        let me = self.nodes[node].actor;
        if let (Some(gain), Message::Row { pid, row, .. }) = (gain, &mut message) {
            let own = self.nodes[node].escrow.as_ref();
            let own = own.and_then(|escrow| escrow.row(*pid)).unwrap_or_default();
            row.sent.insert(me, own.received_from(from) + gain);
        }
        self.step(node, Event::Received { from, message });
    }

    /// Rows of siblings as they are stored, old ones after a fail-over.
    pub(crate) fn read_redis(&mut self, index: usize) {
        let me = self.nodes[index].actor;
        let redis = &self.redis[usize::from(me.region)];
        if redis.down > 0 {
            return;
        }
        let rows = redis.rows().filter(|(_, actor, ..)| *actor != me);
        let messages: Vec<_> = rows
            .map(|(pid, actor, row, standing)| {
                let row = row.clone();
                (
                    actor,
                    Message::Row {
                        pid,
                        row,
                        standing,
                        answer: false,
                    },
                )
            })
            .collect();
        for (from, message) in messages {
            self.deliver(
                index,
                from,
                message,
                Some(0).filter(|_| self.is_by_difference()),
            );
        }
    }

    fn is_by_difference(&self) -> bool {
        self.scenario.mutant == Some(Mutant::SendsDifferences)
    }

    /// Ships ends of requests to Postgres; its answer may be lost.
    pub(crate) fn ship(&mut self, index: usize) {
        let node = &self.nodes[index];
        let (me, life, first) = (node.actor, node.life, node.shipped);
        let entry = |(request, pids, cost): (u64, &Vec<Pid>, Rights)| LedgerEntry {
            request,
            pids: pids.clone(),
            cost,
        };
        let room = node.disk.closes_on_disk().saturating_sub(first).min(50);
        let batch: Vec<_> = node
            .disk
            .closes()
            .skip(first)
            .take(room)
            .map(entry)
            .collect();
        let postgres = &mut self.postgres[usize::from(me.region)];
        if node.shipping || batch.is_empty() || postgres.down > 0 {
            return;
        }
        let again = self.scenario.mutant == Some(Mutant::StoresBatchesAgain);
        let acked = match again {
            true => {
                postgres
                    .ledger
                    .entry(me)
                    .or_default()
                    .extend_from_slice(&batch);
                first + batch.len()
            }
            false => postgres.ship(me, first, &batch),
        };
        // An answer that is lost: tried again, from where it was.
        if self.rng.dice() > 0.05 {
            self.nodes[index].shipping = true;
            self.after(
                5_000,
                Happening::Shipped {
                    node: index,
                    life,
                    acked,
                },
            );
        }
    }
}

/// A message in a trace.
fn brief(message: &Message) -> String {
    let scope = |pid: &Pid| {
        format!(
            "{}/{}/{}",
            pid.scope.to_string().trim_start_matches('0'),
            pid.index,
            pid.generation
        )
    };
    match message {
        Message::Row {
            pid, row, answer, ..
        } => {
            let sent: Vec<String> = row
                .sent
                .iter()
                .map(|(to, sent)| format!("{to}:{sent}"))
                .collect();
            format!(
                "ROW {} held {} sent {sent:?} answer {answer}",
                scope(pid),
                row.held()
            )
        }
        Message::Need {
            pid,
            want,
            amount,
            standing,
        } => {
            format!(
                "NEED {} {want:?} {amount} has {}",
                scope(pid),
                standing.free
            )
        }
        Message::View { pid, standing, .. } => format!("VIEW {} {standing:?}", scope(pid)),
        Message::Fence { pid, actor, fence } => format!("FENCE {} {actor} {fence:?}", scope(pid)),
        Message::Digest { buckets } => format!("DIGEST {}", buckets.len()),
    }
}
