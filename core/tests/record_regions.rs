//! Regions on paper: they write, restrict, lift, and send each other records that arrive late,
//! twice, in any order or not at all. Nothing that was taken away comes back by itself.
#![cfg(test)]

use std::collections::{BTreeMap, BTreeSet};

use meridian_core::hlc;
use meridian_core::record::home::{self, Denied, Plan, Standing};
use meridian_core::record::versions::Versions;
use meridian_core::record::{Record, RecordKind, Restriction, Team};
use meridian_core::time::WallMs;
use serde_json::json;

const SCHEDULES: u64 = 1_000;
const STEPS: usize = 160;
const REGIONS: [&str; 3] = ["eu", "us", "ap"];
const IDS: [&str; 4] = ["a", "a/b", "c", "d"];
const START: WallMs = WallMs(1_795_003_200_000);

/// Numbers that look random and are the same every time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, count: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((word ^ (word >> 31)) % count as u64) as usize
    }
}

#[derive(Default)]
struct Region {
    records: BTreeMap<(RecordKind, String), Record>,
    versions: Versions,
    /// Records that arrive, some day.
    inbox: Vec<Record>,
    /// Deletions that were heard of here.
    gone: BTreeSet<String>,
    skew_ms: i64,
}

impl Region {
    fn get(&self, id: &str) -> Option<&Record> {
        self.records.get(&(RecordKind::Team, id.to_owned()))
    }

    fn standing(&self, id: &str) -> Vec<Standing> {
        let prefix = Restriction::id_prefix(RecordKind::Team, id);
        let records = self.records.values();
        let theirs = records
            .filter(|one| one.kind == RecordKind::Restriction && one.id.starts_with(&prefix));
        Standing::of_records((RecordKind::Team, id), theirs.cloned()).unwrap()
    }

    /// As requests here see it.
    fn allows(&self, id: &str) -> bool {
        let Some(record) = self.get(id) else {
            return false;
        };
        let standing = self.standing(id);
        let denied = Denied::of(0, standing.iter().map(|one| &one.restriction));
        let mut seen = record.clone();
        denied.apply(&mut seen);
        !seen.deleted && seen.body.get("blocked") != Some(&json!(true))
    }

    /// As a store does it: the next version.
    fn write(&mut self, mut record: Record, now: WallMs) -> Record {
        let place = (record.kind, record.id.clone());
        let before = self.records.get(&place).map_or(0, |known| known.version);
        let now = now.plus_ms(self.skew_ms);
        record.version = hlc::next(before, now, hlc::region_number(&record.home));
        self.versions.take(&record);
        self.records.insert(place, record.clone());
        record
    }

    fn merge(&mut self, record: Record) {
        if self.versions.take(&record) {
            self.records
                .insert((record.kind, record.id.clone()), record);
        }
    }
}

/// A block that was given, and whether home lifted it knowing it.
struct Block {
    id: String,
    record: Record,
    lifted: bool,
}

struct World {
    regions: Vec<Region>,
    dice: Dice,
    now: WallMs,
    blocks: Vec<Block>,
    seed: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let mut regions: Vec<Region> = REGIONS.map(|_| Region::default()).into();
        for region in &mut regions {
            region.skew_ms = dice.below(800) as i64 - 400;
        }
        Self {
            regions,
            dice,
            now: START,
            blocks: Vec::new(),
            seed,
        }
    }

    fn step(&mut self) {
        self.now = self.now.plus_ms(self.dice.below(300) as i64);
        let place = self.dice.below(REGIONS.len());
        match self.dice.below(10) {
            0..4 => self.change(place),
            4..8 => self.deliver(place),
            8 => self.send_again(place),
            _ => self.absorb(place),
        }
        self.check();
    }

    /// Some write that a management call in this region may ask for.
    fn change(&mut self, place: usize) {
        let id = IDS[self.dice.below(IDS.len())];
        let known = self.regions[place].get(id).cloned();
        let Some(before) = known else {
            // Every id is made in one region, as ids of people's choice should be.
            if IDS.iter().position(|one| *one == id).unwrap() % REGIONS.len() == place {
                self.carry_out(place, Record::new(id.into(), &Team::default(), self.now));
            }
            return;
        };
        if before.deleted {
            return;
        }
        let mut after = before.clone();
        match self.dice.below(6) {
            0 => drop(after.body.insert("blocked".into(), json!(true))),
            1 => drop(after.body.insert("blocked".into(), json!(false))),
            2 | 3 => {
                let amount = self.dice.below(9);
                after.body.insert("max_budget".into(), json!(amount));
            }
            4 => drop(after.body.insert("team_alias".into(), json!(self.now.0))),
            _ if self.dice.below(6) == 0 => after.deleted = true,
            _ => {}
        }
        self.carry_out(place, after);
    }

    fn carry_out(&mut self, place: usize, after: Record) {
        let (id, own, now) = (after.id.clone(), REGIONS[place], self.now);
        let region = &self.regions[place];
        let standing = region.standing(&id);
        let mut written = Vec::new();
        match home::plan(own, region.get(&id), after, &standing, now) {
            Plan::Elsewhere { home } => assert_ne!(home, own),
            Plan::Here { record, lifted } => {
                for mut one in lifted {
                    self.note_lifted(&one);
                    one.deleted = true;
                    written.push(self.regions[place].write(one, now));
                }
                written.push(self.regions[place].write(record, now));
            }
            Plan::Restrict { made, .. } => {
                for one in made {
                    let record = self.regions[place].write(one, now);
                    if record.id.contains("/blocked/") {
                        self.blocks.push(Block {
                            id: id.clone(),
                            record: record.clone(),
                            lifted: false,
                        });
                    }
                    written.push(record);
                }
            }
        }
        self.send(place, &written);
    }

    /// Home lifts this version of a restriction, and so every earlier one.
    fn note_lifted(&mut self, seen: &Record) {
        for block in &mut self.blocks {
            let same = block.record.id == seen.id;
            block.lifted |= same && block.record.version <= seen.version;
        }
    }

    fn send(&mut self, from: usize, records: &[Record]) {
        for to in (0..REGIONS.len()).filter(|to| *to != from) {
            for record in records {
                // Lost, once, or twice.
                for _ in 0..self.dice.below(3) {
                    self.regions[to].inbox.push(record.clone());
                }
            }
        }
    }

    fn own(&self, place: usize) -> Vec<Record> {
        let records = self.regions[place].records.values();
        records
            .filter(|record| record.home == REGIONS[place])
            .cloned()
            .collect()
    }

    fn send_again(&mut self, place: usize) {
        let own = self.own(place);
        self.send(place, &own);
    }

    fn deliver(&mut self, place: usize) {
        for _ in 0..4 {
            let waiting = self.regions[place].inbox.len();
            if waiting == 0 {
                return;
            }
            let which = self.dice.below(waiting);
            let record = self.regions[place].inbox.swap_remove(which);
            self.regions[place].merge(record);
        }
    }

    fn absorb(&mut self, place: usize) {
        let mut written = Vec::new();
        for id in IDS {
            let region = &mut self.regions[place];
            let Some(record) = region.get(id).filter(|one| one.home == REGIONS[place]) else {
                continue;
            };
            if let Some(absorbed) = home::absorb(record, &region.standing(id)) {
                written.push(region.write(absorbed, self.now));
            }
        }
        self.send(place, &written);
    }

    /// What holds at every moment in every region.
    fn check(&mut self) {
        for region in &mut self.regions {
            for id in IDS {
                let standing = region.standing(id);
                let denied = Denied::of(0, standing.iter().map(|one| &one.restriction));
                if denied.revoked || region.get(id).is_some_and(|record| record.deleted) {
                    region.gone.insert(id.to_owned());
                }
            }
            for id in &region.gone {
                assert!(!region.allows(id), "seed {}: {id} is back", self.seed);
            }
            for block in self.blocks.iter().filter(|block| !block.lifted) {
                let heard = region.versions.has(&block.record);
                let denied = !heard || !region.allows(&block.id);
                assert!(denied, "seed {}: {} works", self.seed, block.id);
            }
        }
    }

    /// The network heals: everybody hears everything, and home absorbs what it heard.
    fn settle(&mut self) {
        for _ in 0..3 {
            for place in 0..REGIONS.len() {
                let own = self.own(place);
                for to in (0..REGIONS.len()).filter(|to| *to != place) {
                    for record in &own {
                        self.regions[to].merge(record.clone());
                    }
                }
            }
            for place in 0..REGIONS.len() {
                self.absorb(place);
            }
        }
        self.check();
    }
}

#[test]
fn a_thousand_schedules_converge_and_nothing_comes_back() {
    let (mut blocks, mut lifted, mut gone) = (0, 0, 0);
    for seed in 0..SCHEDULES {
        let mut world = World::new(seed);
        for _ in 0..STEPS {
            world.step();
        }
        world.settle();
        let first = &world.regions[0].records;
        for (region, name) in world.regions.iter().zip(REGIONS) {
            assert_eq!(region.records, *first, "seed {seed}: {name}");
            for home in REGIONS {
                let sums = world.regions[0].versions.digest(home);
                assert_eq!(region.versions.digest(home), sums, "seed {seed}");
            }
        }
        blocks += world.blocks.len();
        lifted += world.blocks.iter().filter(|block| block.lifted).count();
        gone += world.regions[0].gone.len();
    }
    println!("{SCHEDULES} schedules: {blocks} blocks, {lifted} lifted, {gone} deletions");
    // The schedules reach what they are about.
    assert!(blocks > 1_000 && lifted > 100 && gone > 500);
}
