//! A way in that can be held shut for a moment, with a count of those who are inside.

use std::time::Duration;

use tokio::sync::watch;

/// Lets everybody in unless it is held. What was let in is counted until its [`Pass`] is dropped.
#[derive(Debug, Default)]
pub struct Turnstile {
    held: watch::Sender<bool>,
    inside: watch::Sender<u64>,
}

/// Somebody who is inside.
#[derive(Debug)]
pub struct Pass<'a>(&'a Turnstile);

impl Turnstile {
    /// Goes in, after the time that it is held, but for no longer than `patience`.
    pub async fn enter(&self, patience: Duration) -> Pass<'_> {
        if *self.held.borrow() {
            let mut held = self.held.subscribe();
            // Whoever waited so long is let in: held is a courtesy, not a right.
            let _late = tokio::time::timeout(patience, held.wait_for(|held| !held)).await;
        }
        self.inside.send_modify(|inside| *inside += 1);
        Pass(self)
    }

    /// Holds it, and waits until nobody is inside; `false` if somebody still is after `patience`.
    pub async fn hold(&self, patience: Duration) -> bool {
        self.held.send_replace(true);
        let mut inside = self.inside.subscribe();
        let emptied = inside.wait_for(|inside| *inside == 0);
        matches!(tokio::time::timeout(patience, emptied).await, Ok(Ok(_)))
    }

    /// Lets in who waits.
    pub fn release(&self) {
        self.held.send_replace(false);
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        self.0
            .inside
            .send_modify(|inside| *inside = inside.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn nobody_goes_in_while_it_is_held_and_who_was_inside_is_waited_for() {
        let turnstile = Turnstile::default();
        let pass = turnstile.enter(LONG).await;
        assert!(!turnstile.hold(Duration::ZERO).await, "somebody is inside");
        drop(pass);
        assert!(turnstile.hold(LONG).await);
        let mut waiting = Box::pin(turnstile.enter(LONG));
        let early = tokio::time::timeout(Duration::ZERO, &mut waiting).await;
        assert!(early.is_err());
        turnstile.release();
        let _pass = waiting.await;
        assert!(!turnstile.hold(Duration::ZERO).await);
        let _impatient = turnstile.enter(Duration::ZERO).await;
    }
}
