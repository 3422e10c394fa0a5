//! Which regions are allowed, and how far they are.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::auth::KeyView;
use crate::routing::policy::RegionPolicy;

impl RegionPolicy {
    /// Sorts regions: own, then the listed ones in their order, then the rest by name.
    pub(super) fn distance<'a>(&self, region: Option<&'a str>) -> (usize, &'a str) {
        let Some(region) = region else {
            return (0, "");
        };
        if self.own.as_deref() == Some(region) {
            return (0, "");
        }
        match self.nearest.iter().position(|near| near == region) {
            Some(place) => (place + 1, ""),
            None if self.own.is_none() && self.nearest.is_empty() => (0, ""),
            None => (usize::MAX, region),
        }
    }

    /// Sets of regions that a caller is bound to: its key's and its team's, by the team's record
    /// and by the configuration. `None` is the master key.
    pub fn bounds(&self, key: Option<&KeyView>) -> Vec<Arc<BTreeSet<String>>> {
        let Some(key) = key else { return Vec::new() };
        let team = key.policy.team_id.as_deref();
        let of_team = team.and_then(|team| self.allowed_of_team.get(team));
        key.regions().chain(of_team.cloned()).collect()
    }

    /// Regions that every set allows, the group's own included; `None` when nothing is demanded.
    pub fn allowed(
        &self,
        group: &str,
        residency: &[Arc<BTreeSet<String>>],
    ) -> Option<BTreeSet<String>> {
        let own = self.allowed_of_group.get(group);
        let mut sets = residency.iter().map(|set| &**set).chain(own);
        let first = sets.next()?.clone();
        Some(sets.fold(first, |all, set| all.intersection(set).cloned().collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_are_sorted_by_the_configured_distance() {
        let policy = RegionPolicy {
            own: Some("eu-west-1".into()),
            nearest: vec!["us-east-1".into()],
            ..RegionPolicy::default()
        };
        let mut regions = ["zz", "us-east-1", "ap-southeast-1", "eu-west-1"];
        regions.sort_by_key(|region| policy.distance(Some(region)));
        assert_eq!(regions, ["eu-west-1", "us-east-1", "ap-southeast-1", "zz"]);
        let unset = RegionPolicy::default();
        assert_eq!(unset.distance(Some("a")), unset.distance(Some("b")));
    }

    #[test]
    fn every_set_must_allow_a_region() {
        let set = |names: &[&str]| -> BTreeSet<String> {
            names.iter().map(|name| (*name).to_owned()).collect()
        };
        let policy = RegionPolicy {
            allowed_of_group: [("m".to_owned(), set(&["eu", "us"]))].into(),
            ..RegionPolicy::default()
        };
        let shared = |names: &[&str]| Arc::new(set(names));
        let (key, team) = (shared(&["eu", "ap"]), shared(&["eu", "us", "ap"]));
        assert_eq!(policy.allowed("m", &[key, team]), Some(set(&["eu"])));
        assert_eq!(policy.allowed("other", &[]), None);
        assert_eq!(policy.allowed("m", &[shared(&[])]), Some(set(&[])));
    }
}
