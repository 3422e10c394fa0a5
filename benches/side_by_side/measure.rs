//! CPU time and memory of processes, from /proc.

use std::time::Duration;

/// Kernel clock ticks per second: fixed at 100 on Linux for user space.
const TICKS_PER_S: u64 = 100;

/// User and system time of `pids` so far.
pub(crate) fn cpu(pids: &[u32]) -> Duration {
    let ticks: u64 = pids.iter().map(|pid| ticks_of(*pid)).sum();
    Duration::from_millis(ticks * 1000 / TICKS_PER_S)
}

/// Resident bytes of `pids`.
pub(crate) fn rss_bytes(pids: &[u32]) -> u64 {
    let rss = |pid: &u32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .unwrap_or("0 0 kB");
        line.split_whitespace()
            .nth(1)
            .and_then(|kib| kib.parse::<u64>().ok())
            .unwrap_or(0)
            * 1024
    };
    pids.iter().map(rss).sum()
}

/// The process and its children.
pub(crate) fn tree(root: u32) -> Vec<u32> {
    let children = std::fs::read_to_string(format!("/proc/{root}/task/{root}/children"));
    let mut pids = vec![root];
    for child in children
        .unwrap_or_default()
        .split_whitespace()
        .flat_map(str::parse)
    {
        pids.extend(tree(child));
    }
    pids
}

fn ticks_of(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The command name may hold spaces; fields count from behind its closing parenthesis.
    let Some((_, fields)) = stat.rsplit_once(')') else {
        return 0;
    };
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let field = |at: usize| {
        fields
            .get(at)
            .and_then(|text| text.parse::<u64>().ok())
            .unwrap_or(0)
    };
    field(11) + field(12)
}
