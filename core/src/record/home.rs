//! Which region may write what: a record's home writes it, others may only take rights away.
//!
//! What another region takes away is a record of its own, a [`Restriction`], and stands until the
//! home region lifts it: by a tombstone of that very restriction, so that one which home has not
//! heard of yet stands on. A deny therefore wins against every write that did not know it.

use serde_json::{Map, Value};

use super::{BadRecord, Record, RecordKind, Restriction, Restricts};
use crate::money::NanoUsd;
use crate::time::WallMs;

/// What becomes of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// This region writes the record.
    Here,
    /// The record is another region's; these take effect instead, here and everywhere.
    Restrict(Vec<Restricts>),
    /// Only the record's home may do that.
    Elsewhere,
}

/// A restriction with its record.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// Its record.
    pub record: Record,
    /// What it says.
    pub restriction: Restriction,
}

impl Standing {
    /// Those of a record among records with the prefix of its id; tombstones are left out.
    ///
    /// # Errors
    /// When a field holds what it must not.
    pub fn of_records(
        target: (RecordKind, &str),
        records: impl IntoIterator<Item = Record>,
    ) -> Result<Vec<Self>, BadRecord> {
        let mut standing = Vec::new();
        for record in records.into_iter().filter(|record| !record.deleted) {
            let restriction: Restriction = record.read()?;
            let about = (restriction.target_kind, restriction.target_id.as_str());
            // The prefix of `a/b` begins with that of `a`.
            if about == target {
                standing.push(Self {
                    record,
                    restriction,
                });
            }
        }
        Ok(standing)
    }
}

/// A write as it is carried out.
#[derive(Clone, Debug, PartialEq)]
pub enum Plan {
    /// The record is written here.
    Here {
        /// As it is written: with its home, less what stands against it.
        record: Record,
        /// Records of restrictions that end with it.
        lifted: Vec<Record>,
    },
    /// Restrictions are written in its place.
    Restrict {
        /// The record as it counts from now on.
        shown: Record,
        /// Their records; one that stands already is not among them.
        made: Vec<Record>,
    },
    /// Refused: this is for the region named.
    Elsewhere {
        /// The record's home.
        home: String,
    },
}

/// Plans a write in region `own` (empty: there is one region only). `before` is what is stored, a
/// tombstone too, and `standing` what restricts it.
pub fn plan(
    own: &str,
    before: Option<&Record>,
    mut after: Record,
    standing: &[Standing],
    now: WallMs,
) -> Plan {
    let home = before.map_or("", |before| before.home.as_str());
    let restrictions: Vec<Restriction> = standing.iter().map(|it| it.restriction.clone()).collect();
    match judge(own, before, &after) {
        Verdict::Here => {
            after.home = own.to_owned();
            let lifted = lift(before, &mut after, &restrictions);
            let tombstone = |place: usize| {
                let mut record = standing.get(place)?.record.clone();
                // Whoever writes a record sends it to the other regions.
                own.clone_into(&mut record.home);
                Some(record)
            };
            let lifted = lifted.into_iter().filter_map(tombstone).collect();
            let record = after;
            Plan::Here { record, lifted }
        }
        Verdict::Elsewhere => Plan::Elsewhere {
            home: home.to_owned(),
        },
        Verdict::Restrict(list) => {
            // What is stored, not what was written: a deletion may say more.
            let mut shown = before.cloned().unwrap_or_else(|| after.clone());
            let (kind, id) = (shown.kind, shown.id.clone());
            let restriction = |restricts| Restriction {
                target_kind: kind,
                target_id: id.clone(),
                generation: shown.generation,
                restricts,
            };
            let new: Vec<Restriction> = list.into_iter().map(restriction).collect();
            let made = new.iter().map(|one| {
                let mut record = Record::new(one.record_id(own), one, now);
                own.clone_into(&mut record.home);
                record
            });
            let stands = |made: &Record| standing.iter().any(|one| one.record.id == made.id);
            let made = made.filter(|made| !stands(made)).collect();
            Denied::of(shown.generation, restrictions.iter().chain(&new)).apply(&mut shown);
            Plan::Restrict { shown, made }
        }
    }
}

/// A home's record with what other regions took from it, if it does not show that yet. Once it
/// does, its home can give it back.
pub fn absorb(record: &Record, standing: &[Standing]) -> Option<Record> {
    let restrictions = standing.iter().map(|one| &one.restriction);
    let mut absorbed = record.clone();
    let denied = Denied::of(record.generation, restrictions);
    denied.apply(&mut absorbed).then_some(absorbed)
}

/// Fields that say who changed a record and when, or that the store counts itself.
const BOOKKEEPING: [&str; 4] = ["updated_at", "updated_by", "budget_reset_at", "spend"];
const BLOCKED: &str = "blocked";
const MAX_BUDGET: &str = "max_budget";

/// Decides about a write in region `own` (empty: there is one region only). `before` is what is
/// stored, a tombstone too.
pub fn judge(own: &str, before: Option<&Record>, after: &Record) -> Verdict {
    let Some(before) = before else {
        return Verdict::Here;
    };
    if own.is_empty() || before.home.is_empty() || before.home == own {
        return Verdict::Here;
    }
    if before.deleted {
        // An id has one home for ever, or two regions would make it anew.
        return Verdict::Elsewhere;
    }
    match taken_away(before, after) {
        Some(restricts) if !restricts.is_empty() => Verdict::Restrict(restricts),
        _ => Verdict::Elsewhere,
    }
}

/// What a write takes away, if it does nothing else.
fn taken_away(before: &Record, after: &Record) -> Option<Vec<Restricts>> {
    if after.deleted {
        return deletes_rights(after.kind).then(|| vec![Restricts::Revoked]);
    }
    if rest(&before.body) != rest(&after.body) {
        return None;
    }
    let mut restricts = Vec::new();
    match (is_blocked(before), is_blocked(after)) {
        (false, true) => restricts.push(Restricts::Blocked),
        (true, false) => return None,
        _ => {}
    }
    match (budget(before), budget(after)) {
        (None, Some(lower)) => restricts.push(Restricts::Lowered(lower)),
        (Some(old), Some(new)) if new < old => restricts.push(Restricts::Lowered(new)),
        (old, new) if old == new => {}
        _ => return None,
    }
    Some(restricts)
}

/// Whether a deletion takes rights away and gives none: without a budget, a customer or a tag
/// others may do more than with it.
fn deletes_rights(kind: RecordKind) -> bool {
    match kind {
        RecordKind::Key
        | RecordKind::RotatedKey
        | RecordKind::Organization
        | RecordKind::Team
        | RecordKind::User
        | RecordKind::TeamMember
        | RecordKind::OrganizationMember
        | RecordKind::Model
        | RecordKind::Credential => true,
        RecordKind::Restriction
        | RecordKind::Budget
        | RecordKind::Customer
        | RecordKind::Tag
        | RecordKind::Setting => false,
    }
}

/// A body without what restrictions can change, and without what nobody decides by.
fn rest(body: &Map<String, Value>) -> Map<String, Value> {
    let decides =
        |name: &str| !BOOKKEEPING.contains(&name) && !matches!(name, BLOCKED | MAX_BUDGET);
    let said = |(name, value): &(&String, &Value)| decides(name) && !value.is_null();
    let said = body.iter().filter(said);
    said.map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

fn is_blocked(record: &Record) -> bool {
    record.body.get(BLOCKED) == Some(&Value::Bool(true))
}

fn budget(record: &Record) -> Option<NanoUsd> {
    let amount = record.body.get(MAX_BUDGET)?.as_i64()?;
    Some(NanoUsd(amount))
}

/// What stands against a record: all its restrictions together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Denied {
    /// It is deleted.
    pub revoked: bool,
    /// It is blocked.
    pub blocked: bool,
    /// Most money per period.
    pub budget_max: Option<NanoUsd>,
}

impl Denied {
    /// What these come to for a record of this generation.
    pub fn of<'a>(generation: u32, standing: impl IntoIterator<Item = &'a Restriction>) -> Self {
        let mut denied = Self::default();
        for one in standing.into_iter().filter(|one| one.binds(generation)) {
            denied.add(one.restricts);
        }
        denied
    }

    /// One more.
    pub fn add(&mut self, restricts: Restricts) {
        match restricts {
            Restricts::Revoked => self.revoked = true,
            Restricts::Blocked => self.blocked = true,
            Restricts::Lowered(amount) => {
                let lowest = self.budget_max.map_or(amount, |known| known.min(amount));
                self.budget_max = Some(lowest);
            }
        }
    }

    /// Whether nothing stands against it.
    pub fn is_nothing(self) -> bool {
        self == Self::default()
    }

    /// Takes it from a record; whether that changed anything.
    pub fn apply(self, record: &mut Record) -> bool {
        let mut changed = false;
        if self.revoked && !record.deleted {
            record.deleted = true;
            changed = true;
        }
        if self.blocked && !is_blocked(record) {
            record.body.insert(BLOCKED.to_owned(), true.into());
            changed = true;
        }
        let higher = |max: &NanoUsd| budget(record).is_none_or(|own| own > *max);
        if let Some(max) = self.budget_max.filter(higher) {
            record.body.insert(MAX_BUDGET.to_owned(), max.0.into());
            changed = true;
        }
        changed
    }
}

/// A write of the home region against what stands: restrictions that the stored record already
/// shows and that the write undoes are lifted; all others are taken from what is written. Returns
/// the places in `standing` of those that are lifted.
pub fn lift(before: Option<&Record>, after: &mut Record, standing: &[Restriction]) -> Vec<usize> {
    let mut lifted = Vec::new();
    let mut denied = Denied::default();
    for (place, one) in standing.iter().enumerate() {
        let undone = before.is_some_and(|before| undoes(before, after, one.restricts));
        match undone {
            true => lifted.push(place),
            false if one.binds(after.generation) => denied.add(one.restricts),
            false => {}
        }
    }
    denied.apply(after);
    lifted
}

fn undoes(before: &Record, after: &Record, restricts: Restricts) -> bool {
    if before.deleted || after.deleted {
        return false;
    }
    match restricts {
        Restricts::Revoked => false,
        Restricts::Blocked => is_blocked(before) && !is_blocked(after),
        Restricts::Lowered(amount) => {
            let shown = budget(before).is_some_and(|budget| budget <= amount);
            shown && budget(after).is_none_or(|budget| budget > amount)
        }
    }
}

#[cfg(test)]
mod tests;
