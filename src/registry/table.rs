//! A map whose readers take no lock and write nothing that other threads read, for objects that
//! have their key in them: an object costs nine bytes here, at two places each.
//!
//! Open addressing. A tag of each place says whether anything is there and which few keys it can
//! be, so that a look-up goes to one object, seldom to two. Objects never move to another place of
//! the same places: a reader that runs beside writers finds what is there all the time.

use std::hash::RandomState;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU8, AtomicUsize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::{ArcSwap, ArcSwapOption, Guard};

/// An object that is found by a part of itself.
pub(super) trait Keyed {
    /// What it is found by.
    type Key: PartialEq + ?Sized;

    fn key(&self) -> &Self::Key;

    /// The hash of a key; one that is uniform already needs no `state`.
    fn hash(key: &Self::Key, state: &RandomState) -> u64;
}

/// The map. Writers come one at a time.
#[derive(Debug)]
pub(super) struct Table<T> {
    places: ArcSwap<Places<T>>,
    len: AtomicUsize,
    state: RandomState,
    writer: Mutex<Writer<T>>,
}

#[derive(Debug)]
struct Writer<T> {
    /// Places with a tag other than [`EMPTY`].
    used: usize,
    /// What somebody still reads of what grew; dropped here, never by a reader.
    outgrown: Vec<Arc<Places<T>>>,
}

#[derive(Debug)]
struct Places<T> {
    tags: Box<[AtomicU8]>,
    objects: Box<[ArcSwapOption<T>]>,
}

/// Nothing was ever here: a look-up ends.
const EMPTY: u8 = 0;
/// Something was here: a look-up goes on.
const GONE: u8 = 1;
/// Set in the tags of objects.
const HELD: u8 = 0x80;
/// Places of an empty map.
const PLACES_MIN: usize = 8;

impl<T> Places<T> {
    fn new(count: usize) -> Self {
        Self {
            tags: (0..count).map(|_| AtomicU8::new(EMPTY)).collect(),
            objects: (0..count).map(|_| ArcSwapOption::empty()).collect(),
        }
    }

    /// Every place from that of a hash on.
    fn from(&self, hash: u64) -> impl Iterator<Item = usize> {
        let mask = self.tags.len() - 1;
        let first = hash as usize & mask;
        (first..=mask).chain(0..first)
    }

    /// Puts an object where no other is.
    fn put(&self, at: usize, hash: u64, object: Option<Arc<T>>) {
        self.objects[at].store(object);
        // Behind the object: who sees the tag finds it.
        self.tags[at].store(tag_of(hash), Release);
    }

    fn all(&self) -> impl Iterator<Item = Arc<T>> {
        self.objects.iter().filter_map(ArcSwapOption::load_full)
    }
}

fn tag_of(hash: u64) -> u8 {
    (hash >> 57) as u8 | HELD
}

impl<T: Keyed> Places<T> {
    fn find(&self, hash: u64, key: &T::Key) -> Option<(usize, Arc<T>)> {
        for at in self.from(hash) {
            match self.tags[at].load(Acquire) {
                EMPTY => return None,
                tag if tag == tag_of(hash) => {
                    let object = self.objects[at].load();
                    if object.as_ref().is_some_and(|object| object.key() == key) {
                        return Guard::into_inner(object).map(|object| (at, object));
                    }
                }
                _ => {}
            }
        }
        None
    }

    /// The first place that holds nothing.
    fn free(&self, hash: u64) -> Option<usize> {
        let mut places = self.from(hash);
        places.find(|at| self.tags[*at].load(Relaxed) < HELD)
    }
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self {
            places: ArcSwap::from_pointee(Places::new(PLACES_MIN)),
            len: AtomicUsize::new(0),
            state: RandomState::new(),
            writer: Mutex::new(Writer {
                used: 0,
                outgrown: Vec::new(),
            }),
        }
    }
}

impl<T> Table<T> {
    pub(super) fn len(&self) -> usize {
        self.len.load(Relaxed)
    }

    /// Every object; one that comes or goes meanwhile may be among them or not.
    pub(super) fn iter(&self) -> impl Iterator<Item = Arc<T>> {
        let places = self.places.load_full();
        (0..places.objects.len()).filter_map(move |at| places.objects[at].load_full())
    }

    fn writer(&self) -> MutexGuard<'_, Writer<T>> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drops what readers held when the map grew.
    pub(super) fn sweep(&self) {
        let mut writer = self.writer();
        writer
            .outgrown
            .retain(|places| Arc::strong_count(places) > 1);
    }
}

impl<T: Keyed> Table<T> {
    pub(super) fn get(&self, key: &T::Key) -> Option<Arc<T>> {
        let hash = T::hash(key, &self.state);
        self.places.load().find(hash, key).map(|(_, object)| object)
    }

    pub(super) fn contains(&self, key: &T::Key) -> bool {
        self.get(key).is_some()
    }

    /// Puts an object in the place of that with the same key, which is returned.
    pub(super) fn insert(&self, object: Arc<T>) -> Option<Arc<T>> {
        let mut writer = self.writer();
        let hash = T::hash(object.key(), &self.state);
        let mut places = self.places.load_full();
        if let Some((at, before)) = places.find(hash, object.key()) {
            places.objects[at].store(Some(object));
            return Some(before);
        }
        if (writer.used + 1) * 4 > places.tags.len() * 3 {
            places = self.grow(&mut writer);
        }
        // A quarter of the places is free.
        if let Some(at) = places.free(hash) {
            writer.used += usize::from(places.tags[at].load(Relaxed) == EMPTY);
            places.put(at, hash, Some(object));
            self.len.fetch_add(1, Relaxed);
        }
        None
    }

    /// Puts all objects in new places: twice as many, or as many where half of them held nothing.
    fn grow(&self, writer: &mut Writer<T>) -> Arc<Places<T>> {
        let count = (self.len() * 2 + 1).next_power_of_two().max(PLACES_MIN);
        let (before, places) = (self.places.load_full(), Arc::new(Places::new(count)));
        for object in before.all() {
            let hash = T::hash(object.key(), &self.state);
            if let Some(at) = places.free(hash) {
                places.put(at, hash, Some(object));
            }
        }
        writer.used = self.len();
        self.places.store(Arc::clone(&places));
        writer.outgrown.push(before);
        writer
            .outgrown
            .retain(|places| Arc::strong_count(places) > 1);
        places
    }

    pub(super) fn remove(&self, key: &T::Key) -> Option<Arc<T>> {
        let _writer = self.writer();
        let hash = T::hash(key, &self.state);
        let places = self.places.load();
        let (at, object) = places.find(hash, key)?;
        places.tags[at].store(GONE, Release);
        places.objects[at].store(None);
        self.len.fetch_sub(1, Relaxed);
        Some(object)
    }

    /// Removes what does not fit.
    pub(super) fn retain(&self, fits: impl Fn(&Arc<T>) -> bool) {
        let places = self.places.load_full();
        for object in places.objects.iter().map(ArcSwapOption::load) {
            let Some(object) = object.as_ref().filter(|object| !fits(object)) else {
                continue;
            };
            self.remove(object.key());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    struct One {
        key: u64,
        value: u64,
    }

    impl Keyed for One {
        type Key = u64;

        fn key(&self) -> &u64 {
            &self.key
        }

        /// Few first places and tags: keys lie in each other's way.
        fn hash(key: &u64, _: &RandomState) -> u64 {
            (key % 7) | ((key % 3) << 57)
        }
    }

    fn one(key: u64, value: u64) -> Arc<One> {
        Arc::new(One { key, value })
    }

    #[test]
    fn it_says_what_a_plain_map_says() {
        let table: Table<One> = Table::default();
        let mut plain = std::collections::HashMap::new();
        let mut dice = 1u64;
        for value in 0..20_000 {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let key = dice >> 40 & 127;
            let before = match dice >> 62 {
                0 => {
                    let before = table.remove(&key);
                    assert_eq!(before.as_ref().map(|one| one.value), plain.remove(&key));
                    continue;
                }
                1 => table.get(&key).map(|one| one.value),
                _ => {
                    let before = table.insert(one(key, value));
                    assert_eq!(
                        before.as_ref().map(|one| one.value),
                        plain.insert(key, value)
                    );
                    Some(value)
                }
            };
            assert_eq!(before, plain.get(&key).copied());
            assert_eq!(table.len(), plain.len());
        }
        assert_eq!(table.iter().count(), plain.len());
        assert!(
            table.places.load().tags.len() <= 512,
            "places are used again"
        );
        table.retain(|one| one.key % 2 == 0);
        plain.retain(|key, _| key % 2 == 0);
        assert!((0..128).all(|key| table.contains(&key) == plain.contains_key(&key)));
        assert_eq!(table.len(), plain.len());
    }

    /// Readers beside a writer that adds, replaces, removes and grows: a key that is there all the
    /// time is always found, with what it was at some time; what is gone before is never found.
    #[test]
    fn readers_find_what_is_there_while_it_grows_and_shrinks() {
        const STAY: u64 = 100;
        let table: Table<One> = Table::default();
        (0..STAY).for_each(|key| drop(table.insert(one(key, key))));
        drop(table.insert(one(99_999, 0)));
        table.remove(&99_999);
        let done = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for reader in 0..3 {
                let (table, done) = (&table, &done);
                scope.spawn(move || {
                    let mut at = reader;
                    while done.load(Relaxed) == 0 {
                        at = (at + 1) % STAY;
                        let found = table.get(&at).unwrap();
                        assert_eq!((found.key, found.value % STAY), (at, at));
                        assert!(table.get(&99_999).is_none());
                    }
                });
            }
            for turn in 0..30 {
                for key in STAY..STAY + 300 {
                    drop(table.insert(one(key, key)));
                    let stays = (key + turn) % STAY;
                    drop(table.insert(one(stays, stays + STAY * turn)));
                }
                (STAY..STAY + 300).for_each(|key| drop(table.remove(&key)));
            }
            done.store(1, Relaxed);
        });
        assert_eq!(table.len(), STAY as usize);
        table.sweep();
        assert!(table.writer().outgrown.is_empty());
    }

    /// What is removed or replaced is let go of at once: a view of a key holds its scopes.
    #[test]
    fn nothing_is_kept_that_is_gone() {
        let table: Table<One> = Table::default();
        let (first, second) = (one(1, 1), one(1, 2));
        drop(table.insert(Arc::clone(&first)));
        assert_eq!(Arc::strong_count(&first), 2);
        drop(table.insert(Arc::clone(&second)));
        assert_eq!(Arc::strong_count(&first), 1);
        drop(table.remove(&1));
        assert_eq!(Arc::strong_count(&second), 1);
    }
}
