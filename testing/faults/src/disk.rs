//! A disk that can be filled.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    process::Command,
};

use rustix::process::{Pid, Resource, Rlimit, getuid, prlimit};

/// Method of filling the disk.
#[derive(Debug)]
enum Way {
    /// The data is on a separate file system in memory, which a second file fills.
    FileSystem,
    /// The runner may not let any file grow.
    FileSize,
}

/// The folder of the stack's data.
#[derive(Debug)]
pub(crate) struct Disk {
    way: Way,
    root: PathBuf,
}

impl Disk {
    /// Mounts a file system of `megabytes` at `root` if the system allows it; otherwise uses the folder itself.
    pub(crate) fn new(root: PathBuf, megabytes: u64) -> io::Result<Self> {
        fs::create_dir_all(&root)?;
        let mounted = getuid().is_root()
            && Command::new("mount")
                .args(["-t", "tmpfs", "-o", &format!("size={megabytes}m"), "switchboard-faults"])
                .arg(&root)
                .status()
                .is_ok_and(|status| status.success());
        Ok(Self { way: if mounted { Way::FileSystem } else { Way::FileSize }, root })
    }

    /// Describes how the disk is filled.
    pub(crate) fn describe(&self) -> &'static str {
        match self.way {
            Way::FileSystem => "a file system in memory that is filled",
            Way::FileSize => "no file may grow (nothing can be mounted here)",
        }
    }

    /// Returns the folder for data.
    pub(crate) fn data(&self) -> PathBuf {
        self.root.join("data")
    }

    fn ballast(&self) -> PathBuf {
        self.root.join("ballast")
    }

    /// Fills the disk for `runner`. Blocks while it writes.
    pub(crate) fn fill(&self, runner: i32) -> io::Result<()> {
        match self.way {
            Way::FileSystem => {
                let mut file = File::create(self.ballast())?;
                // Large pieces first, then the rest.
                for size in [1 << 20, 4096, 1] {
                    let piece = vec![0; size];
                    while file.write_all(&piece).is_ok() {}
                }
                Ok(())
            }
            // Every file of the run is larger already.
            Way::FileSize => limit(runner, Some(4096)),
        }
    }

    /// Frees the space.
    pub(crate) fn free(&self, runner: Option<i32>) -> io::Result<()> {
        match (&self.way, runner) {
            (Way::FileSystem, _) => match fs::remove_file(self.ballast()) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            },
            (Way::FileSize, Some(runner)) => limit(runner, None),
            (Way::FileSize, None) => Ok(()),
        }
    }
}

fn limit(runner: i32, bytes: Option<u64>) -> io::Result<()> {
    // The hard limit stays, so that the soft limit can be raised again.
    prlimit(Pid::from_raw(runner), Resource::Fsize, Rlimit { current: bytes, maximum: None })?;
    Ok(())
}

impl Drop for Disk {
    fn drop(&mut self) {
        if matches!(self.way, Way::FileSystem) {
            unmount(&self.root);
        }
    }
}

fn unmount(root: &Path) {
    let done = Command::new("umount").arg(root).status().is_ok_and(|status| status.success());
    if !done {
        // A process still uses the file system: it is unmounted when that process ends.
        let _ = Command::new("umount").arg("--lazy").arg(root).status();
    }
}
