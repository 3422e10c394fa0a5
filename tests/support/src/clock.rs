//! A wall clock that is wrong: a small library, preloaded into a gateway, adds an offset to it that
//! the test changes while the gateway runs.

use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// What is preloaded, built with the system's C compiler once per process.
const SOURCE: &str = include_str!("clock_shift.c");

/// The wall clock of one gateway. It is right until it is shifted.
#[derive(Debug)]
pub struct Clock {
    offset: tempfile::NamedTempFile,
}

impl Clock {
    /// A clock that is right.
    pub fn right() -> Self {
        let offset = tempfile::NamedTempFile::new().expect("a temporary file");
        let clock = Self { offset };
        clock.shift_ms(0);
        clock
    }

    /// Sets how far it is off from now on: positive is fast. Readers see it at once.
    pub fn shift_ms(&self, by: i64) {
        let bytes = (by * 1_000_000).to_ne_bytes();
        let written = self.offset.as_file().write_all_at(&bytes, 0);
        written.expect("a writable temporary file");
    }

    /// What a process needs in its environment to go by this clock.
    pub fn environment(&self) -> [(&'static str, String); 2] {
        let path = self.offset.path().display().to_string();
        let library = library().display().to_string();
        [("LD_PRELOAD", library), ("MERIDIAN_TEST_CLOCK", path)]
    }
}

fn library() -> &'static PathBuf {
    static BUILT: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, library) = BUILT.get_or_init(|| {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (source, library) = (dir.path().join("shift.c"), dir.path().join("shift.so"));
        std::fs::write(&source, SOURCE).expect("a writable directory");
        let mut compiler = Command::new("cc");
        compiler
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(&library);
        let built = compiler.arg(&source).arg("-ldl").output();
        let built = built.expect("a C compiler: scripts/setup.sh build");
        let said = String::from_utf8_lossy(&built.stderr);
        assert!(built.status.success(), "clock_shift.c: {said}");
        (dir, library)
    });
    library
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(clock: &Clock) -> i64 {
        let mut date = Command::new("date");
        let shown = date.arg("+%s").envs(clock.environment()).output();
        let shown = String::from_utf8(shown.expect("date runs").stdout).expect("digits");
        shown.trim().parse().expect("digits")
    }

    #[test]
    fn a_process_goes_by_the_clock_that_it_is_given() {
        let (right, wrong) = (Clock::right(), Clock::right());
        for shift in [3_600, -3_600] {
            wrong.shift_ms(shift * 1_000 + 1);
            let off = seconds(&wrong) - seconds(&right);
            assert!((off - shift).abs() <= 30, "{off} instead of {shift}");
        }
    }
}
