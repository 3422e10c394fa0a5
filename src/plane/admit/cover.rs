//! Money for a stream that grows past what was held for it, a slice at a time.

use meridian_core::budget::policy::{OnExhausted, Policy};
use meridian_core::meters::{Covered, Grows};
use meridian_core::money::NanoUsd;

use super::{Admitted, Hold};
use crate::clock;

/// Output tokens that a stream is let grow by at a time.
const STREAM_SLICE_TOKENS: u64 = 1_024;
/// Where rights are shared a stream asks for its next slice with so many tokens left, so that
/// there is time to fetch some from another node.
const AHEAD_TOKENS: u64 = 128;

impl Admitted {
    /// Tells budgets that let streams end what this one can cost past them. A request that is not
    /// streamed is held for in full.
    pub(super) fn tell_excess(&mut self) {
        let is_bounded = self.ask.completion_max.is_some();
        let all = self.rules.config.meridian.budget_policy;
        if let Some(hold) = self.hold.as_mut().filter(|_| self.ask.stream) {
            hold.expose(is_bounded, all);
        }
    }

    /// Holds money for a stream that grew past what was held for it; `false` when a budget has none
    /// left and lets no stream end. One that has its own bound is held for in full in the end.
    pub(crate) fn cover(&mut self, completion_tokens: u64) -> bool {
        let is_bounded = self.ask.completion_max.is_some();
        let all = self.rules.config.meridian.budget_policy;
        let Some(hold) = &mut self.hold else {
            return true;
        };
        let whole = hold.bound.completion_tokens_max;
        let ahead = match self.state.rights {
            Some(_) => AHEAD_TOKENS,
            None => 0,
        };
        let is_whole = is_bounded && hold.covered >= whole;
        if is_whole || completion_tokens.saturating_add(ahead) <= hold.covered {
            return true;
        }
        let short = completion_tokens.saturating_sub(hold.covered);
        let mut slice = STREAM_SLICE_TOKENS.max(short);
        if is_bounded {
            slice = slice.min(whole.saturating_sub(hold.covered));
        }
        let (more, now) = (hold.output(slice), clock::now());
        if let Err(lacking) = hold.admission.extend(more, now) {
            let asks = lacking.meters.policy(all).on_exhausted != OnExhausted::RefuseOnly;
            if let Some(rights) = self.state.rights.as_ref().filter(|_| asks) {
                rights.hint(&lacking);
            }
            if completion_tokens <= hold.covered {
                return true;
            }
            let may_finish = is_bounded || hold.past.saturating_add(slice) <= all.finish_tokens;
            let grows = Grows {
                more,
                may_finish,
                all,
            };
            match hold.admission.grow(grows, now) {
                Err(_) => return false,
                Ok(Covered::Past) => hold.past += slice,
                Ok(Covered::Within) => {}
            }
        }
        if let Some(flight) = &mut self.flight {
            flight.fund(more, now);
        }
        hold.covered += slice;
        hold.expose(is_bounded, all);
        if hold.covered > whole {
            let beyond = hold.covered - whole;
            hold.bound.completion_tokens_max = hold.covered;
            let beyond = hold.bound.rates.cost(0, beyond);
            hold.bound.reserved = hold.bound.reserved.saturating_add(beyond);
        }
        true
    }
}

impl Hold {
    /// Tells budgets that let streams end what this one can still cost past them.
    fn expose(&mut self, is_bounded: bool, all: Policy) {
        let tokens = match is_bounded {
            true => self
                .bound
                .completion_tokens_max
                .saturating_sub(self.covered),
            false => all.finish_tokens.saturating_sub(self.past),
        };
        let past = self.output(tokens);
        self.admission.expose(past, all);
    }

    /// What so much output costs.
    fn output(&self, tokens: u64) -> NanoUsd {
        let nano = i128::from(self.bound.rates.completion_nano_per_mtok) * i128::from(tokens);
        NanoUsd(i64::try_from(nano / 1_000_000).unwrap_or(i64::MAX))
    }
}
