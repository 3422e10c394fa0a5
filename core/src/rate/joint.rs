//! The limits of one scope, as this node keeps them for all.

use super::minute::{Full, Minute, Second};
use super::permits::Permits;
use crate::time::WallMs;

/// Requests and tokens of the last minute, and permits for parallel requests.
#[derive(Debug)]
pub struct Joint {
    /// Requests per minute.
    pub requests: Minute,
    /// Tokens per minute.
    pub tokens: Minute,
    /// Requests at the same time.
    pub permits: Permits,
}

/// What one request took of it. To be given back to the same one.
#[derive(Clone, Copy, Debug)]
pub struct Taken {
    requests: Option<Second>,
    tokens: Option<(Second, u64)>,
}

/// Which limit has no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRoom {
    /// Requests.
    Requests(Full),
    /// Tokens.
    Tokens(Full),
}

impl Default for Joint {
    fn default() -> Self {
        Self {
            requests: Minute::new(None),
            tokens: Minute::new(None),
            permits: Permits::default(),
        }
    }
}

impl Joint {
    /// Takes a request and its estimated tokens, or nothing.
    ///
    /// # Errors
    /// What has no room: requests first.
    pub fn take(&self, tokens: u64, now: WallMs) -> Result<Taken, NoRoom> {
        let limited = |minute: &Minute| minute.limit().is_some();
        let requests = match limited(&self.requests) {
            true => Some(self.requests.take(1, now).map_err(NoRoom::Requests)?),
            false => None,
        };
        if !limited(&self.tokens) {
            let tokens = None;
            return Ok(Taken { requests, tokens });
        }
        match self.tokens.take(tokens, now) {
            Ok(second) => Ok(Taken {
                requests,
                tokens: Some((second, tokens)),
            }),
            Err(full) => {
                if let Some(second) = requests {
                    self.requests.give_back(1, second);
                }
                Err(NoRoom::Tokens(full))
            }
        }
    }

    /// Whether a request would find room, without counting it.
    ///
    /// # Errors
    /// What has no room: requests first.
    pub fn room(&self, tokens: u64, now: WallMs) -> Result<(), NoRoom> {
        self.requests.would_take(1, now).map_err(NoRoom::Requests)?;
        self.tokens.would_take(tokens, now).map_err(NoRoom::Tokens)
    }

    /// The request is over and used `tokens`.
    pub fn settle(&self, taken: Taken, tokens: u64) {
        if let Some((second, estimate)) = taken.tokens {
            self.tokens.correct(second, estimate, tokens);
        }
    }

    /// The request was never sent.
    pub fn release(&self, taken: Taken) {
        if let Some((second, estimate)) = taken.tokens {
            self.tokens.correct(second, estimate, 0);
        }
        if let Some(second) = taken.requests {
            self.requests.give_back(1, second);
        }
    }
}
