//! Cores and CPU time, from Linux's /proc.

use std::collections::HashMap;
use std::fs;

/// User and system time of a process so far, with all its threads and children, in seconds (of 10 ms steps).
///
/// A child that ends meanwhile and is waited for is counted as well: its time moves to its parent's cutime.
pub fn cpu_seconds(root: u32) -> Result<f64, String> {
    let mut processes: HashMap<u32, (u32, u64)> = HashMap::new();
    let entries = fs::read_dir("/proc").map_err(|error| format!("/proc: {error}"))?;
    for pid in entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()) {
        if let Some(found) = stat(pid) {
            processes.insert(pid, found);
        }
    }
    if !processes.contains_key(&root) {
        return Err(format!("there is no process {root}"));
    }
    let is_in_tree = |mut pid: u32| loop {
        if pid == root {
            return true;
        }
        match processes.get(&pid) {
            Some(&(parent, _)) => pid = parent,
            None => return false,
        }
    };
    let ticks: u64 = processes.iter().filter(|(&pid, _)| is_in_tree(pid)).map(|(_, &(_, ticks))| ticks).sum();
    // SAFETY: sysconf takes a number and has no other effect.
    Ok(ticks as f64 / unsafe { libc::sysconf(libc::_SC_CLK_TCK) } as f64)
}

/// The parent and utime + stime + cutime + cstime in ticks: fields 4 and 14 to 17 of proc_pid_stat(5).
fn stat(pid: u32) -> Option<(u32, u64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = text[text.rfind(')')? + 2..].split(' ').collect(); // the name may hold anything
    let ticks = fields[11..15].iter().filter_map(|field| field.parse::<u64>().ok()).sum();
    Some((fields[1].parse().ok()?, ticks))
}

pub fn stay_on(core: usize) -> Result<(), String> {
    if core >= libc::CPU_SETSIZE as usize {
        return Err(format!("there is no core {core}"));
    }
    // SAFETY: cpu_set_t is plain memory for which zeros are valid, and `core` is within it.
    let failed = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(core, &mut set);
        libc::sched_setaffinity(0, std::mem::size_of::<libc::cpu_set_t>(), &set) != 0
    };
    match failed {
        true => Err(format!("core {core}: {}", std::io::Error::last_os_error())),
        false => Ok(()),
    }
}

/// Open as many files as the hard limit allows: connections are files.
pub fn allow_descriptors() {
    // SAFETY: rlimit is plain memory, to which both calls have a valid pointer. Without more we make do with what we have.
    unsafe {
        let mut limit: libc::rlimit = std::mem::zeroed();
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
        }
    }
}
