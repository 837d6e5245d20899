//! Signals to processes that are what they were when they were found: by a handle, as a number may be another's by now.

use std::{fs, os::fd::OwnedFd};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// A process.
#[derive(Debug)]
pub(crate) struct Process {
    handle: OwnedFd,
    pub(crate) pid: i32,
    /// As the kernel has it: the first 15 characters.
    pub(crate) name: String,
}

impl Process {
    /// The process with this number, if there is one.
    pub(crate) fn of(pid: i32) -> Option<Self> {
        let handle = pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?.trim().to_owned();
        Some(Self { handle, pid, name })
    }

    /// Its children.
    pub(crate) fn children(&self) -> Vec<Self> {
        // A process has the children of each of its threads.
        let Ok(tasks) = fs::read_dir(format!("/proc/{}/task", self.pid)) else { return Vec::new() };
        tasks
            .flatten()
            .filter_map(|task| fs::read_to_string(task.path().join("children")).ok())
            .flat_map(|children| children.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
            .filter_map(|pid| Self::of(pid.parse().ok()?))
            .collect()
    }

    /// Whether it could be sent: it may have ended.
    pub(crate) fn signal(&self, signal: Signal) -> bool {
        pidfd_send_signal(&self.handle, signal).is_ok()
    }

    /// Memory that it holds, in KiB (`VmRSS`).
    pub(crate) fn resident_kib(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.split_whitespace().next()?.parse().ok()
    }

    /// Files, sockets and pipes that it has open.
    pub(crate) fn handles(&self) -> Option<u64> {
        u64::try_from(fs::read_dir(format!("/proc/{}/fd", self.pid)).ok()?.count()).ok()
    }
}
