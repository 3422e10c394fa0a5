//! The dials of the protocol. None of them can break a budget; they trade traffic for refusals.

use std::time::Duration;

use super::message::Standing;
use super::row::Rights;

/// The dials.
#[derive(Clone, Debug)]
pub struct Settings {
    /// A lease lasts this long at the node's rate.
    pub lease: Duration,
    /// A node that was asked for nothing this long gives its lease back.
    pub holding: Duration,
    /// Part of the rights that a region without demand keeps, 0 to 1.
    pub idle_share: f64,
    /// A region asks for more when it has less than this long at its rate.
    pub low_water: Duration,
    /// Time constant of demand.
    pub rate_tau: Duration,
    /// Rows are published at most this often.
    pub publish: Duration,
    /// Views are sent at least this often while there is demand.
    pub view: Duration,
    /// Digests are exchanged this often.
    pub digest: Duration,
    /// First and longest pause after another region gave nothing.
    pub back_off: (Duration, Duration),
    /// First and longest pause before a transfer that was not confirmed is sent again.
    pub resend: (Duration, Duration),
    /// Pause between two claims on one plan.
    pub claim_retry: Duration,
    /// A request for rights that was not met is forgotten after this.
    pub waiting: Duration,
    /// Where ceilings are kept: a region that is cut off can go on for so long at its rate, at
    /// least, and what it holds above can be made anew elsewhere. Without, no ceiling is kept.
    pub isolation: Option<Duration>,
    /// A node whose journal is new takes nothing from other regions for so long, where ceilings
    /// are kept: it may not have heard yet who is fenced.
    pub listening: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        let ms = Duration::from_millis;
        Self {
            lease: ms(600_000),
            holding: ms(900_000),
            idle_share: 0.02,
            low_water: ms(120_000),
            rate_tau: ms(60_000),
            publish: ms(200),
            view: ms(10_000),
            digest: ms(30_000),
            back_off: (ms(500), ms(64_000)),
            resend: (ms(1_000), ms(8_000)),
            claim_retry: ms(2_000),
            waiting: ms(1_000),
            isolation: None,
            listening: Duration::ZERO,
        }
    }
}

/// Size of a pair's last mile, in requests: with less left, halves would serve neither.
const LAST_MILE_NEEDS: Rights = 6;

/// One side is clearly faster if it is so by this factor.
const CLEARLY: f64 = 1.25;

/// Who has less than so many requests' worth gets its fair share at once, whatever the other sees.
const EMPTY_NEEDS: Rights = 3;
/// Who has more gets something if it lacks this part of the smaller fair share, and only of what
/// lasts so many seconds at the demand of both. What is on its way serves nobody, and those who are
/// cut off from each other lose it: it must be worth it.
const LACKS_PART: f64 = 0.25;
const LASTS_S: f64 = 20.0;

/// At most one of so many parts of what both have is given at a time, or so many requests' worth:
/// demand is known little by little, and what was too much would come back. Who is empty gets much
/// at once: many small gifts would be under way for longer than one large one.
const PARTS: Rights = 8;
const EMPTY_PARTS: Rights = 2;
const PART_NEEDS: Rights = 2;

/// A region's demand is taken to be one request more in so many seconds.
const UNSEEN_S: f64 = 5.0;

impl Settings {
    /// What a node should hold at this demand: `lease` at its rate, four requests at least.
    pub(super) fn lease_target(&self, standing: Standing) -> Rights {
        let at_rate = (standing.rate * self.lease.as_secs_f64()) as Rights;
        at_rate.max(standing.need.saturating_mul(4))
    }

    /// Below this a region asks the others.
    pub(super) fn region_low(&self, standing: Standing) -> Rights {
        let at_rate = (standing.rate * self.low_water.as_secs_f64()) as Rights;
        at_rate.max(standing.need.saturating_mul(4))
    }

    /// What region `ours` gives to region `theirs`: shares of what both have go by demand, and the
    /// last mile to the faster side.
    pub(super) fn grant(&self, ours: Standing, theirs: Standing) -> Rights {
        let both = ours.free.max(0).saturating_add(theirs.free.max(0));
        let need = ours.need.max(theirs.need).max(1);
        if both < need {
            // Whoever had it could not serve a request.
            return 0;
        }
        if both < need.saturating_mul(LAST_MILE_NEEDS) {
            let all = ours.free.max(0);
            let faster = theirs.rate > CLEARLY * ours.rate;
            let richer = theirs.free > ours.free && ours.rate <= CLEARLY * theirs.rate;
            return if faster || richer { all } else { 0 };
        }
        // One request is no picture of demand: both sides start with some that never came.
        let unseen = need as f64 / UNSEEN_S;
        let part = (theirs.rate + unseen) / (ours.rate + theirs.rate + 2.0 * unseen);
        let part = part.clamp(self.idle_share, 1.0 - self.idle_share);
        let fair = (both as f64 * part) as Rights;
        let lacking = (fair - theirs.free).clamp(0, ours.free.max(0));
        let is_empty = theirs.free < need.saturating_mul(EMPTY_NEEDS);
        let lacks = lacking as f64 > LACKS_PART * fair.min(both - fair) as f64;
        let lasts = both as f64 >= LASTS_S * (ours.rate + theirs.rate);
        let is_worth_it = is_empty || lacks && lasts;
        if !is_worth_it {
            return 0;
        }
        let parts = if is_empty { EMPTY_PARTS } else { PARTS };
        let most = (both / parts).max(need.saturating_mul(PART_NEEDS));
        let grant = lacking.min(most);
        grant - grant % need
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side(free: Rights, rate: f64) -> Standing {
        Standing {
            free,
            rate,
            need: 10,
            ..Standing::default()
        }
    }

    #[test]
    fn what_moves_is_worth_the_way() {
        let grant = |ours, theirs| Settings::default().grant(ours, theirs);
        // Who has nothing gets its share at once; who is rich gets nothing.
        assert_eq!(grant(side(16_000, 1.0), side(0, 1.0)), 8_000);
        assert_eq!(grant(side(0, 1.0), side(16_000, 1.0)), 0);
        // Who lacks a little goes on with what it has, and who lacks much does not.
        assert_eq!(grant(side(9_000, 1.0), side(8_000, 1.0)), 0);
        assert_eq!(grant(side(10_100, 1.0), side(5_900, 1.0)), 2_000);
        assert_eq!(grant(side(8_200, 1.0), side(7_000, 2.0)), 1_680);
        // What is gone in seconds is better spent where it is, unless somebody has nothing.
        assert_eq!(grant(side(10_000, 1_000.0), side(6_000, 1_000.0)), 0);
        assert_eq!(grant(side(10_000, 1_000.0), side(20, 1_000.0)), 4_990);
        // Less than a request is of no use to anybody.
        assert_eq!(grant(side(5, 1.0), side(4, 9.0)), 0);
        assert_eq!(grant(side(8, 1.0), side(4, 9.0)), 8);
    }
}
