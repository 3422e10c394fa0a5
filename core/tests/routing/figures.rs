//! What is read off a simulated run.

use crate::world::{Send, World};

impl World {
    /// Sends to a provider between two seconds.
    pub(crate) fn sent_to(&self, provider: usize, from: f64, to: f64) -> usize {
        let there = |send: &&Send| send.provider == provider && (from..to).contains(&send.at);
        self.sends.iter().filter(there).count()
    }

    /// Share of all sends between two seconds that went to a provider.
    pub(crate) fn share(&self, provider: usize, from: f64, to: f64) -> f64 {
        let all = self
            .sends
            .iter()
            .filter(|send| (from..to).contains(&send.at));
        self.sent_to(provider, from, to) as f64 / all.count().max(1) as f64
    }

    /// Callers that got no answer.
    pub(crate) fn errors(&self) -> usize {
        self.got.iter().filter(|got| got.result.is_err()).count()
    }

    /// The time to first token that this part of the answered callers did not exceed.
    pub(crate) fn quantile(&self, part: f64) -> f64 {
        let mut times: Vec<f64> = self.got.iter().filter_map(|got| got.result.ok()).collect();
        times.sort_by(f64::total_cmp);
        times[((times.len() as f64 * part) as usize).min(times.len() - 1)]
    }
}
