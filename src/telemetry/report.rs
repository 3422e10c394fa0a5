//! Lines about something that comes and goes.

use std::time::{Duration, Instant};

/// Shortest time between two lines: a server that comes and goes fills no log.
const LINE_GAP: Duration = Duration::from_secs(15);

/// Writes a line when the state has changed, and not more often than [`LINE_GAP`]: a change that
/// comes sooner is written when it still holds then.
#[derive(Debug, Default)]
pub struct Report {
    shown: Option<bool>,
    shown_at: Option<Instant>,
    unshown: u64,
    last: Option<bool>,
}

/// A line to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// Changes since the line before that were not written.
    pub unshown: u64,
}

impl Report {
    /// What to write about the state that holds `now`. Called again and again.
    pub fn line(&mut self, up: bool, now: Instant) -> Option<Line> {
        let changed = self.last.replace(up) != Some(up);
        let recent = |at: Instant| now.saturating_duration_since(at) < LINE_GAP;
        if self.shown == Some(up) || self.shown_at.is_some_and(recent) {
            self.unshown += u64::from(changed);
            return None;
        }
        self.shown = Some(up);
        self.shown_at = Some(now);
        // A change that had to wait for its line was counted, and is shown now.
        let waited = u64::from(!changed);
        let unshown = std::mem::take(&mut self.unshown).saturating_sub(waited);
        Some(Line { unshown })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_written_at_once_but_a_flapping_redis_fills_no_log() {
        let start = crate::clock::mono();
        let at = |s: u64| start + Duration::from_secs(s);
        let mut report = Report::default();
        assert_eq!(report.line(false, at(0)), Some(Line { unshown: 0 }));
        // An outage of minutes, tried every few seconds.
        assert!((1..20).all(|second| report.line(false, at(second)).is_none()));
        assert_eq!(report.line(true, at(20)), Some(Line { unshown: 0 }));
        // Down too soon after that for a line: it waits for its time.
        assert!((21..35).all(|second| report.line(false, at(second)).is_none()));
        assert_eq!(report.line(false, at(35)), Some(Line { unshown: 0 }));
        // Up and down every second for a minute.
        let lines = (36..96).filter_map(|second| report.line(second % 2 == 0, at(second)));
        let lines: Vec<Line> = lines.collect();
        assert!((1..=4).contains(&lines.len()), "{lines:?}");
        assert!(lines.iter().all(|line| line.unshown >= 13), "{lines:?}");
        // What holds in the end is said.
        assert!(
            (96..120)
                .filter_map(|second| report.line(true, at(second)))
                .count()
                <= 1
        );
        assert_eq!(report.shown, Some(true));
    }
}
