//! Figures of the process from `/proc`, under the names that Prometheus clients use.

use std::fs;

use super::exposition::Page;
use super::plain;

/// Kernel ticks per second in `/proc`: the same on every Linux platform we build for.
const TICKS_PER_SECOND: f64 = 100.0;

/// Adds what can be read; a figure that cannot is left out.
pub(super) fn write(page: &mut Page) {
    if let Ok(status) = fs::read_to_string("/proc/self/status") {
        let kib = |field| Some(field_of(&status, field)? * 1024.0);
        page.value(&plain::RESIDENT, kib("VmRSS:"));
        page.value(&plain::VIRTUAL, kib("VmSize:"));
        page.value(&plain::THREADS, field_of(&status, "Threads:"));
    }
    if let Ok(stat) = fs::read_to_string("/proc/self/stat") {
        page.value(&plain::CPU, cpu_seconds(&stat));
        let boot = fs::read_to_string("/proc/stat").ok();
        let boot = boot.and_then(|text| field_of(&text, "btime"));
        let start = boot.and_then(|boot| Some(boot + ticks(&stat, START_FIELD)?));
        page.value(&plain::START_TIME, start);
    }
    let open = fs::read_dir("/proc/self/fd").ok().map(Iterator::count);
    // The directory that is being listed is one of them.
    page.value(
        &plain::OPEN_FDS,
        open.map(|open| open.saturating_sub(1) as f64),
    );
    if let Ok(limits) = fs::read_to_string("/proc/self/limits") {
        page.value(&plain::MAX_FDS, field_of(&limits, "Max open files"));
    }
}

// Positions in /proc/self/stat after the command's closing bracket (proc(5) counts from 1 before).
const UTIME_FIELD: usize = 11;
const STIME_FIELD: usize = 12;
const START_FIELD: usize = 19;

fn ticks(stat: &str, field: usize) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let ticks: f64 = fields.split_ascii_whitespace().nth(field)?.parse().ok()?;
    Some(ticks / TICKS_PER_SECOND)
}

fn cpu_seconds(stat: &str) -> Option<f64> {
    Some(ticks(stat, UTIME_FIELD)? + ticks(stat, STIME_FIELD)?)
}

/// First number after the field's name at the start of a line.
fn field_of(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_kernels_own_format() {
        let stat = "7 (a) b) c) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 4 0 1234 5 6";
        assert_eq!(cpu_seconds(stat), Some(3.0));
        assert_eq!(ticks(stat, START_FIELD), Some(12.34));
        let limits = "Limit    Soft  Hard\nMax open files            1024    4096   files\n";
        assert_eq!(field_of(limits, "Max open files"), Some(1024.0));
        assert_eq!(field_of("VmRSS:\t  12 kB\n", "VmRSS:"), Some(12.0));
        assert_eq!(cpu_seconds("nonsense"), None);
    }
}
