//! What a probe shows of a deployment that no client's request went to.
//!
//! A list of models is not an answer of a model. It shows that the host answers, and nothing
//! about limits, quotas or the model itself: a success takes back `network` failures alone.

use std::time::Duration;

use super::Health;
use super::circuit::{Circuit, Gate, Hit};
use super::flight::{Cooled, Failed, Surroundings};
use crate::routing::failure::Blame;
use crate::time::MonoUs;

impl Health {
    /// A probe got an answer. A deployment that was left out because nobody answered there is put
    /// back in use, and its share ramps up; says whether it was.
    ///
    /// It is no success otherwise: many free probes must not outvote the failures of a few
    /// requests.
    pub fn answered(&self, now: MonoUs) -> bool {
        let unreachable = self.own.gate(now) != Gate::Closed && self.own.is_unreachable();
        if unreachable {
            self.own.close(now);
            // What it was like before says nothing.
            self.forget();
        }
        unreachable
    }

    /// A probe failed. It counts as a request's failure does, except that a cooldown which is over
    /// is begun anew: the probe has tried, and no client's request has to. Says so if somebody is
    /// left out from now on.
    pub fn probe_failed(
        &self,
        now: MonoUs,
        failed: Failed,
        around: &Surroundings<'_>,
    ) -> Option<Cooled> {
        let whose = failed.verdict.blame;
        let circuit: &Circuit = match whose {
            Blame::Nobody => return None,
            Blame::Deployment => &self.own,
            Blame::Credential => &self.credential,
        };
        let hit = Hit {
            now,
            class: failed.verdict.class,
            wait: failed.wait,
            probe: circuit.take_probe(now),
            others: around.others,
            time: around.time,
            dice: around.dice,
        };
        let opened = circuit.failed(hit, around.policy);
        let time = around.time.unwrap_or(around.policy.time);
        self.penalise(now, Duration::ZERO, (time, around.decay));
        opened.map(|opened| Cooled { whose, opened })
    }
}
