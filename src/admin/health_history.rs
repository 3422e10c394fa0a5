//! When deployments began and ceased to get requests.

use std::collections::{HashMap, HashSet, VecDeque};

use meridian_core::time::WallMs;
use serde_json::{Value, json};

use super::state::DeploymentHealth;

/// Most changes that are kept; the oldest go first.
const CHANGES_MAX: usize = 1_000;

/// The changes since this process began, as one node sees them.
#[derive(Debug, Default)]
pub(super) struct History {
    /// Whether a deployment got requests at the last look.
    known: HashMap<String, bool>,
    /// Latest first.
    changes: VecDeque<Change>,
    count: u64,
}

#[derive(Debug)]
struct Change {
    number: u64,
    at: WallMs,
    model_id: String,
    model_name: String,
    error: Option<String>,
}

impl History {
    /// Looks at every deployment that there is now; the first look at one is its first entry.
    pub(super) fn look(&mut self, all: &[DeploymentHealth], now: WallMs) {
        for one in all {
            let healthy = one.unhealthy.is_none();
            if self.known.insert(one.model_id.clone(), healthy) == Some(healthy) {
                continue;
            }
            self.count += 1;
            self.changes.truncate(CHANGES_MAX - 1);
            self.changes.push_front(Change {
                number: self.count,
                at: now,
                model_id: one.model_id.clone(),
                model_name: one.model_name.clone(),
                error: one.unhealthy.clone(),
            });
        }
        let there: HashSet<&str> = all.iter().map(|one| one.model_id.as_str()).collect();
        self.known.retain(|id, _| there.contains(id.as_str()));
    }

    /// The changes of a model (its name or its deployment's id; `None` is all) to a status.
    pub(super) fn shown(&self, model: Option<&str>, status: Option<&str>) -> Vec<Value> {
        let of_model =
            |one: &&Change| model.is_none_or(|name| one.model_name == name || one.model_id == name);
        let of_status = |one: &&Change| status.is_none_or(|status| one.status() == status);
        let found = self.changes.iter().filter(of_model).filter(of_status);
        found.map(Change::shown).collect()
    }
}

impl Change {
    fn status(&self) -> &'static str {
        match self.error {
            None => "healthy",
            Some(_) => "unhealthy",
        }
    }

    fn shown(&self) -> Value {
        let healthy = self.error.is_none();
        json!({
            "health_check_id": self.number.to_string(),
            "model_name": self.model_name,
            "model_id": self.model_id,
            "status": self.status(),
            "healthy_count": u8::from(healthy),
            "unhealthy_count": u8::from(!healthy),
            "error_message": self.error,
            "response_time_ms": null,
            "details": {},
            "checked_by": "requests and probes",
            "checked_at": self.at.to_iso(),
            "created_at": self.at.to_iso(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(id: &str, unhealthy: Option<&str>) -> DeploymentHealth {
        DeploymentHealth {
            model_id: id.into(),
            model_name: "m".into(),
            model: "openai/m".into(),
            provider: "openai".into(),
            api_base: String::new(),
            unhealthy: unhealthy.map(Into::into),
        }
    }

    #[test]
    fn changes_are_kept_and_nothing_else() {
        let mut history = History::default();
        let looks = [
            (1, None),
            (2, None),
            (3, Some("left out until 5")),
            (4, Some("left out until 7")),
            (5, None),
        ];
        for (at, unhealthy) in looks {
            history.look(&[seen("a", unhealthy), seen("b", None)], WallMs(at));
        }
        let of_a = history.shown(Some("a"), None);
        let statuses: Vec<&Value> = of_a.iter().map(|one| &one["status"]).collect();
        assert_eq!(statuses, ["healthy", "unhealthy", "healthy"]);
        assert_eq!(of_a[1]["error_message"], "left out until 5");
        assert_eq!(history.shown(None, Some("unhealthy")).len(), 1);
        assert_eq!(history.shown(Some("m"), None).len(), 4);
        // One that is gone and comes back is looked at anew.
        history.look(&[seen("b", None)], WallMs(6));
        history.look(&[seen("a", None), seen("b", None)], WallMs(7));
        assert_eq!(history.shown(Some("a"), None).len(), 4);
        for at in 0..3_000 {
            let unhealthy = (at % 2 == 0).then_some("x");
            history.look(&[seen("a", unhealthy)], WallMs(at));
        }
        assert_eq!(history.shown(None, None).len(), CHANGES_MAX);
    }
}
