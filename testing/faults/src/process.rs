//! Signals to processes by handle. A process id may have been reused.

use std::{fs, os::fd::OwnedFd};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// A process.
#[derive(Debug)]
pub(crate) struct Process {
    handle: OwnedFd,
    pub(crate) pid: i32,
    /// Name as in the kernel: the first 15 characters.
    pub(crate) name: String,
}

impl Process {
    /// Returns the process with this id, if it exists.
    pub(crate) fn of(pid: i32) -> Option<Self> {
        let handle = pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?.trim().to_owned();
        Some(Self { handle, pid, name })
    }

    /// Returns the process's children.
    pub(crate) fn children(&self) -> Vec<Self> {
        // The children of a process are listed by its threads.
        let Ok(tasks) = fs::read_dir(format!("/proc/{}/task", self.pid)) else { return Vec::new() };
        tasks
            .flatten()
            .filter_map(|task| fs::read_to_string(task.path().join("children")).ok())
            .flat_map(|children| children.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
            .filter_map(|pid| Self::of(pid.parse().ok()?))
            .collect()
    }

    /// Sends a signal. Returns `false` if the process has ended.
    pub(crate) fn signal(&self, signal: Signal) -> bool {
        pidfd_send_signal(&self.handle, signal).is_ok()
    }

    /// Returns the resident memory in KiB (`VmRSS`).
    pub(crate) fn resident_kib(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.split_whitespace().next()?.parse().ok()
    }

    /// Returns the number of open files, sockets and pipes.
    pub(crate) fn handles(&self) -> Option<u64> {
        u64::try_from(fs::read_dir(format!("/proc/{}/fd", self.pid)).ok()?.count()).ok()
    }
}
