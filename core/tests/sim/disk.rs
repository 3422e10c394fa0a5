//! A node's journal: a kill keeps what was written, a power loss what was synced.

use std::collections::BTreeMap;

use meridian_core::escrow::{Pid, Rights, Row};

use crate::demand::STEP;

#[derive(Clone, Debug)]
pub(crate) enum Frame {
    /// TRANSFER.
    Row { pid: Pid, row: Row },
    /// OPEN: what the request may cost by its estimate.
    Open {
        request: u64,
        pids: Vec<Pid>,
        input: Rights,
        price: Rights,
        output: u64,
    },
    /// PROGRESS.
    Progress { request: u64, tokens: u64 },
    /// CLOSE.
    Close {
        request: u64,
        pids: Vec<Pid>,
        cost: Rights,
    },
}

#[derive(Debug, Default)]
pub(crate) struct Disk {
    pub(crate) frames: Vec<Frame>,
    synced: usize,
}

/// What a journal says.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    pub(crate) rows: BTreeMap<Pid, Row>,
    /// Requests without an end, with what they are charged.
    pub(crate) orphans: Vec<(u64, Vec<Pid>, Rights)>,
}

impl Disk {
    pub(crate) fn append(&mut self, frame: Frame) {
        self.frames.push(frame);
    }

    pub(crate) fn len(&self) -> usize {
        self.frames.len()
    }

    pub(crate) fn sync(&mut self, up_to: usize) {
        self.synced = self.synced.max(up_to.min(self.frames.len()));
    }

    /// Requests whose frames are lost with the power.
    pub(crate) fn lose_tail(&mut self) -> Vec<u64> {
        let tail = self.frames.split_off(self.synced);
        let of = |frame: &Frame| match frame {
            Frame::Row { .. } => None,
            Frame::Open { request, .. }
            | Frame::Progress { request, .. }
            | Frame::Close { request, .. } => Some(*request),
        };
        tail.iter().filter_map(of).collect()
    }

    /// Ends of requests, in order: their place is their number in the ledger.
    pub(crate) fn closes(&self) -> impl Iterator<Item = (u64, &Vec<Pid>, Rights)> {
        self.frames.iter().filter_map(|frame| match frame {
            Frame::Close {
                request,
                pids,
                cost,
            } => Some((*request, pids, *cost)),
            _ => None,
        })
    }

    /// Ends that are on disk. Others must not be shipped: a power loss would make the ledger know
    /// more than the journal, and the next end would take a number that is in use.
    pub(crate) fn closes_on_disk(&self) -> usize {
        let synced = self.frames[..self.synced].iter();
        synced
            .filter(|frame| matches!(frame, Frame::Close { .. }))
            .count()
    }

    pub(crate) fn replay(&self) -> Replay {
        let mut replay = Replay::default();
        let mut open = BTreeMap::new();
        for frame in &self.frames {
            match frame {
                Frame::Row { pid, row } => replay.rows.entry(*pid).or_default().merge(row),
                Frame::Open { request, .. } => {
                    open.insert(*request, (frame, 0));
                }
                Frame::Progress { request, tokens } => {
                    if let Some((_, seen)) = open.get_mut(request) {
                        *seen = *tokens;
                    }
                }
                Frame::Close { request, .. } => {
                    open.remove(request);
                }
            }
        }
        for (request, (frame, seen)) in open {
            let Frame::Open {
                pids,
                input,
                price,
                output,
                ..
            } = frame
            else {
                continue;
            };
            let tokens = (seen + STEP).min(*output);
            let charge = input + tokens as Rights * price;
            replay.orphans.push((request, pids.clone(), charge));
        }
        replay
    }
}
