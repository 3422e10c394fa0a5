//! Appending: threads, limits, damage, one process per directory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use meridian::journal::{
    Fsync, InspectOptions, Journal, JournalError, JournalOptions, inspect, verify,
};
use meridian_core::journal::{Position, Progress};
use meridian_core::spend::EndReason;
use meridian_core::time::WallMs;

use super::support::{call, journal, open, record, request, small};

fn segment_files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir.join("journal")).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn eight_threads_and_constant_rotation_lose_no_frame() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = journal(dir.path(), small());
    std::thread::scope(|scope| {
        for thread in 0..8u64 {
            let journal = &journal;
            scope.spawn(move || {
                for number in 0..500 {
                    request(journal, call(thread << 32 | number));
                }
            });
        }
    });
    assert_eq!(journal.appended(), 8_000);
    assert!(journal.segments() > 50, "{} segments", journal.segments());
    drop(journal);
    let found = verify(dir.path(), &mut Vec::new()).unwrap();
    assert_eq!((found.opened, found.closed), (4_000, 4_000));
    assert_eq!(
        (found.running, found.torn_bytes, found.corrupt_bytes),
        (0, 0, 0)
    );
}

#[test]
fn group_commit_serves_many_threads() {
    let dir = tempfile::tempdir().unwrap();
    let options = JournalOptions {
        fsync: Fsync::Always,
        ..small()
    };
    let (journal, _) = journal(dir.path(), options);
    std::thread::scope(|scope| {
        for thread in 0..8u64 {
            let journal = &journal;
            scope.spawn(move || (0..20).for_each(|n| request(journal, call(thread << 32 | n))));
        }
    });
    assert!(journal.healthy());
    assert_eq!(journal.appended(), 320);
}

#[test]
fn a_full_journal_refuses_new_requests_and_lets_running_ones_end() {
    let dir = tempfile::tempdir().unwrap();
    let options = JournalOptions {
        segment_bytes: 4 * 1024,
        bytes_max: 20 * 1024,
        fsync: Fsync::Never,
    };
    let (journal, _) = journal(dir.path(), options);
    let mut tickets = Vec::new();
    let refusal = loop {
        let number = tickets.len() as u64;
        match journal.append_open(&open(call(number))) {
            Ok(ticket) => tickets.push(ticket),
            Err(refusal) => break refusal,
        }
    };
    assert!(
        matches!(
            refusal,
            JournalError::Full {
                bytes_max: 20_480,
                ..
            }
        ),
        "{refusal}"
    );
    let running = tickets.len();
    assert!(running > 15, "{running} requests fit");
    journal.append_close(None, &record(call(500))).unwrap();
    for (number, ticket) in tickets.into_iter().enumerate() {
        journal
            .append_close(Some(ticket), &record(call(number as u64)))
            .unwrap();
    }
    assert_eq!(journal.parked(), 0, "whoever was let in can always end");
    assert!(
        journal
            .append_progress(call(0), &Progress::default())
            .is_err()
    );
    journal.append_close(None, &record(call(501))).unwrap();
    assert_eq!(
        journal.parked(),
        1,
        "what never had an OPEN waits in memory"
    );
    // The consumer catches up: segments go, and what was parked is written.
    while journal.parked() > 0 {
        journal.consumed("test", journal.end());
        std::thread::yield_now();
    }
    request(&journal, call(1_000));
}

#[test]
fn a_long_stream_does_not_keep_the_journal_from_being_trimmed() {
    let dir = tempfile::tempdir().unwrap();
    let (first, _) = journal(dir.path(), small());
    let mut stream = open(call(1));
    stream.record.stream = true;
    let mut ticket = first.append_open(&stream).unwrap();
    let progress = Progress {
        completion_tokens: 50,
        ..Progress::default()
    };
    first.append_progress(call(1), &progress).unwrap();
    assert!(!first.wants_renewal(&ticket));
    (100..400).for_each(|number| request(&first, call(number)));
    assert!(first.wants_renewal(&ticket));
    first.renew(&mut ticket, &stream).unwrap();
    first.append_progress(call(1), &progress).unwrap();
    first.consumed("test", first.end());
    assert!(first.segments() <= 2);
    drop(first);
    let (_second, recovery) = journal(dir.path(), small());
    let settled: Vec<_> = recovery
        .settled
        .iter()
        .map(|record| record.usage.completion)
        .collect();
    assert_eq!(settled, [50 + 63]);
}

#[test]
fn a_segment_stays_while_it_holds_an_open_request() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = journal(dir.path(), small());
    let ticket = journal.append_open(&open(call(1))).unwrap();
    (100..300).for_each(|number| request(&journal, call(number)));
    let before = journal.segments();
    journal.consumed("test", journal.end());
    assert_eq!(journal.segments(), before, "the first segment holds call 1");
    journal
        .append_close(Some(ticket), &record(call(1)))
        .unwrap();
    journal.consumed("test", journal.end());
    assert_eq!(journal.segments(), 1);
}

#[test]
fn the_slowest_consumer_keeps_the_segments() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = journal(dir.path(), small());
    journal.consumed("slow", Position::default());
    (0..300).for_each(|number| request(&journal, call(number)));
    let before = journal.segments();
    journal.consumed("fast", journal.end());
    assert_eq!(journal.segments(), before);
    journal.consumed("slow", journal.end());
    assert_eq!(journal.segments(), 1);
}

#[test]
fn a_second_process_on_a_directory_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let (first, _) = journal(dir.path(), small());
    let refused = Journal::open(dir.path(), small()).unwrap_err().to_string();
    let pid = std::process::id();
    let start = format!("another meridian process (pid {pid}) uses this directory: ");
    assert!(refused.starts_with(&start), "{refused}");
    drop(first);
    assert!(Journal::open(dir.path(), small()).is_ok());
}

#[test]
fn requests_left_open_are_settled_once_however_often_one_starts() {
    let dir = tempfile::tempdir().unwrap();
    let (first, _) = journal(dir.path(), small());
    request(&first, call(1));
    let mut streamed = open(call(2));
    streamed.record.stream = true;
    let _lost = first.append_open(&streamed).unwrap();
    let progress = |completion_tokens| Progress {
        at: WallMs(1_795_000_000_900),
        completion_tokens,
        ..Progress::default()
    };
    first.append_progress(call(2), &progress(10)).unwrap();
    first.append_progress(call(2), &progress(25)).unwrap();
    let _lost_too = first.append_open(&open(call(3))).unwrap();
    drop(first);

    let (second, recovery) = journal(dir.path(), small());
    let settled: Vec<_> = recovery
        .settled
        .iter()
        .map(|record| (record.call_id, record.cost.0, record.end_reason))
        .collect();
    let stream_cost = 120 * 2_500 + (25 + 63) * 10_000;
    let crashed = EndReason::Crashed;
    let expected = [
        (call(2), stream_cost, crashed),
        (call(3), super::support::RESERVED, crashed),
    ];
    assert_eq!(settled.len(), 2);
    assert!(
        expected.iter().all(|entry| settled.contains(entry)),
        "{settled:?}"
    );
    drop(second);
    let (_third, recovery) = journal(dir.path(), small());
    assert_eq!(recovery.settled, []);
    assert_eq!(recovery.frames, 8);
}

#[test]
fn a_torn_tail_is_cut_at_every_length() {
    let dir = tempfile::tempdir().unwrap();
    let (first, _) = journal(dir.path(), small());
    request(&first, call(1));
    let whole = first.end().offset as usize;
    request(&first, call(2));
    drop(first);
    let path = segment_files(dir.path())[0].clone();
    let bytes = fs::read(&path).unwrap();
    for cut in (whole..bytes.len()).step_by(7) {
        let copy = tempfile::tempdir().unwrap();
        fs::create_dir(copy.path().join("journal")).unwrap();
        let copied = copy.path().join("journal").join(path.file_name().unwrap());
        fs::write(&copied, &bytes[..cut]).unwrap();
        let (again, recovery) = journal(copy.path(), small());
        let closed = recovery.frames - u64::from(recovery.settled.len() == 1);
        assert_eq!(closed, 2, "cut at {cut}");
        assert_eq!(recovery.corrupt, []);
        let kept = fs::metadata(&copied).unwrap().len();
        assert_eq!(recovery.torn_bytes, cut as u64 - kept);
        drop(again);
        assert!(verify(copy.path(), &mut Vec::new()).unwrap().torn_bytes == 0);
    }
}

#[test]
fn damage_in_the_middle_is_reported_and_costs_only_its_frame() {
    let dir = tempfile::tempdir().unwrap();
    let (first, _) = journal(dir.path(), small());
    (0..10).for_each(|number| request(&first, call(number)));
    drop(first);
    let path = segment_files(dir.path())[0].clone();
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    fs::write(&path, &bytes).unwrap();

    let mut lines = Vec::new();
    let found = verify(dir.path(), &mut lines).unwrap();
    assert!(!found.sound() && found.corrupt_bytes > 100);
    assert!(String::from_utf8(lines).unwrap().ends_with("DAMAGED\n"));
    let (again, recovery) = journal(dir.path(), small());
    assert_eq!(recovery.corrupt.len(), 1);
    assert_eq!(recovery.frames, 19);
    assert!(again.damaged_bytes() > 100);
    let settled = recovery.settled.len();
    assert!(settled <= 1, "only a lost CLOSE leaves an orphan");
}

#[test]
fn inspect_shows_the_frames_of_one_request() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = journal(dir.path(), small());
    (0..3).for_each(|number| request(&journal, call(number)));
    let options = InspectOptions {
        frames: false,
        call_id: Some(call(1)),
    };
    let mut lines = Vec::new();
    inspect(dir.path(), options, &mut lines).unwrap();
    let text = String::from_utf8(lines).unwrap();
    let of_call = format!("{} {{", call(1));
    assert_eq!(text.matches(&of_call).count(), 2, "{text}");
    assert!(text.starts_with("segment 1") && text.contains("\"model_group\":\"gpt-4o\""));
}

/// Body of the next test's child: every file may only grow to 32 KiB, so that writes are cut
/// short and refused; the journal must go on in new files.
#[test]
fn child_with_short_files() {
    let Some(dir) = meridian::clock::environment().remove("MERIDIAN_SHORT_FILES") else {
        return;
    };
    let options = JournalOptions {
        segment_bytes: 1024 * 1024,
        ..small()
    };
    let (journal, _) = journal(Path::new(&dir), options);
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let journal = &journal;
            scope.spawn(move || {
                for number in 0..200 {
                    let id = call(thread << 32 | number);
                    while journal.append_open(&open(id)).is_err() {}
                    journal.append_close(None, &record(id)).unwrap();
                }
            });
        }
    });
    while journal.parked() > 0 {
        std::thread::yield_now();
    }
}

/// What a child said, for the message of a failed assertion. A child under a limit writes to
/// pipes: what it inherits may be a log file that is already over its limit.
fn said(child: &Output) -> String {
    let out = String::from_utf8_lossy(&child.stdout);
    let err = String::from_utf8_lossy(&child.stderr);
    format!("{}\n{out}\n{err}", child.status)
}

#[test]
fn writes_that_the_disk_cuts_short_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let child = Command::new("sh")
        .arg("-c")
        .arg("trap '' XFSZ; ulimit -f 64; exec \"$0\" --exact append::child_with_short_files")
        .arg(std::env::current_exe().unwrap())
        .env("MERIDIAN_SHORT_FILES", dir.path())
        .output()
        .unwrap();
    assert!(child.status.success(), "{}", said(&child));
    let found = verify(dir.path(), &mut Vec::new()).unwrap();
    assert_eq!((found.opened, found.closed, found.running), (800, 800, 0));
    assert!(found.segments > 10, "{found:?}");
    assert!(found.torn_bytes + found.corrupt_bytes > 0, "{found:?}");
}

/// Body of the next test's child: the disk is full, then it is not.
#[test]
fn child_on_a_full_disk() {
    let Some(dir) = meridian::clock::environment().remove("MERIDIAN_FULL_DISK") else {
        return;
    };
    let dir = Path::new(&dir);
    let ballast = dir.join("ballast");
    let (journal, _) = journal(dir, small());
    fs::write(&ballast, vec![0; 160 * 1024]).unwrap();
    let mut tickets = Vec::new();
    let refusal = loop {
        match journal.append_open(&open(call(tickets.len() as u64))) {
            Ok(ticket) => tickets.push(ticket),
            Err(refusal) => break refusal,
        }
    };
    assert!(matches!(refusal, JournalError::Io(_)), "{refusal}");
    assert!(!journal.healthy());
    let running = tickets.len() as u64;
    for (number, ticket) in (0..).zip(tickets) {
        journal
            .append_close(Some(ticket), &record(call(number)))
            .unwrap();
    }
    assert!(journal.parked() > 10, "CLOSE frames wait for the disk");
    fs::remove_file(ballast).unwrap();
    while journal.parked() > 0 || !journal.healthy() {
        std::thread::yield_now();
    }
    drop(journal);
    let found = verify(dir, &mut Vec::new()).unwrap();
    assert_eq!((found.closed, found.running), (running, 0));
}

#[test]
fn a_full_disk_refuses_requests_and_heals_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let script = "mount -t tmpfs -o size=256k none \"$MERIDIAN_FULL_DISK\" || exit 77; \
        exec \"$0\" --exact append::child_on_a_full_disk";
    let child = |unshare: &[&str]| {
        Command::new(unshare[0])
            .args(&unshare[1..])
            .args(["sh", "-c", script])
            .arg(std::env::current_exe().unwrap())
            .env("MERIDIAN_FULL_DISK", dir.path())
            .output()
            .ok()
    };
    // A small file system of its own: as a user where that is allowed, else as root.
    let children = [child(&["unshare", "-rm"]), child(&["unshare", "-m"])];
    let codes = children
        .each_ref()
        .map(|child| child.as_ref()?.status.code());
    if codes.contains(&Some(0)) {
        return;
    }
    let said: Vec<String> = children.iter().flatten().map(said).collect();
    assert!(!codes.contains(&Some(101)), "the child failed: {said:#?}");
    println!("SKIPPED: no small file system can be mounted here ({codes:?})");
}
