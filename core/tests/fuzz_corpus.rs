//! The fuzzers' targets over recorded inputs, and over a few thousand mutations of them that are
//! the same in every run. `fuzz/` runs the same targets for as long as one likes.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

#[path = "../../fuzz/src/targets.rs"]
mod targets;

/// Mutations of every seed and choice of dialects.
const MUTATIONS: u32 = 6;

struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}

/// Words that matter to the readers.
const WORDS: [&str; 20] = [
    "null",
    "{}",
    "[]",
    "\"\"",
    "\\ud83d",
    "\\\"",
    "-1",
    "1e999",
    "true",
    "\n\n",
    "\r",
    "data: ",
    "\"type\":",
    "\"text\"",
    "\"content\":",
    "\"tool_calls\":[{}]",
    "\"role\":\"system\"",
    "}",
    "]",
    "\u{fffd}",
];

fn mutated(seed: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=dice.below(4) {
        let at = dice.below(bytes.len() + 1);
        match dice.below(5) {
            0 if at < bytes.len() => bytes[at] ^= 1 << dice.below(8),
            1 if at < bytes.len() => {
                let end = (at + dice.below(40)).min(bytes.len());
                bytes.drain(at..end);
            }
            2 => {
                let end = (at + dice.below(60)).min(bytes.len());
                let again = bytes[at..end].to_vec();
                let to = dice.below(bytes.len() + 1);
                bytes.splice(to..to, again);
            }
            3 => bytes.truncate(at),
            _ => {
                let word = WORDS[dice.below(WORDS.len())].as_bytes();
                bytes.splice(at..at, word.iter().copied());
            }
        }
    }
    bytes
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files(&path, found),
            false => found.push(path),
        }
    }
}

/// Recorded answers and streams, and the fuzzers' own seeds, at most 64 KB each.
fn seeds() -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    files(&root.join("tests/fixtures"), &mut paths);
    files(&root.join("../fuzz/seeds"), &mut paths);
    paths.sort();
    let seeds = paths.iter().map(|path| std::fs::read(path).unwrap());
    seeds.filter(|seed| seed.len() <= 64 * 1024).collect()
}

fn run(target: fn(&[u8]), heads: &[u8], head_bytes: usize, salt: u64) {
    let mut dice = Dice(0x9E37_79B9_7F4A_7C15 ^ salt);
    for seed in seeds() {
        for _ in 0..MUTATIONS {
            let mut input: Vec<u8> = vec![heads[dice.below(heads.len())]];
            input.resize_with(head_bytes, || dice.next() as u8);
            input.extend_from_slice(&mutated(&seed, &mut dice));
            target(&input);
        }
    }
}

fn every_pair() -> Vec<u8> {
    (0..targets::pairs().len() as u8).collect()
}

#[test]
fn readers_of_frames_hold() {
    run(targets::sse, &[0, 1, 2], 1, 1);
    run(targets::event_stream, &[0, 1, 2], 1, 2);
    run(targets::json_array, &[0, 1, 2], 1, 3);
    run(targets::alias, &[0, 1, 2], 1, 7);
}

#[test]
fn walks_through_bodies_hold() {
    run(targets::file_refs, &[0], 1, 8);
    run(targets::places, &[0, 1], 1, 9);
}

#[test]
fn counts_hold() {
    run(targets::count, &[0, 1, 2], 2, 10);
}

#[test]
fn what_passes_as_it_is_holds() {
    run(targets::relay, &[0, 1, 2, 3, 4, 5], 2, 11);
    run(targets::batch, &[0, 1, 2], 1, 12);
    run(targets::fault, &[0, 100, 150, 200], 2, 13);
    run(targets::body, &[0, 1, 2], 2, 14);
}

#[test]
fn requests_hold() {
    run(targets::request, &every_pair(), 2, 4);
}

#[test]
fn answers_hold() {
    run(targets::answer, &every_pair(), 1, 5);
}

#[test]
fn streams_hold() {
    run(targets::stream, &every_pair(), 2, 6);
}
