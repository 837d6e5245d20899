//! A disk that can be full.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    process::Command,
};

use rustix::process::{Pid, Resource, Rlimit, getuid, prlimit};

/// How the disk is made full.
#[derive(Debug)]
enum Way {
    /// The data is on a file system of its own in memory, which a second file fills up.
    FileSystem,
    /// The runner may not let any file grow.
    FileSize,
}

/// Where the stack keeps its data.
#[derive(Debug)]
pub(crate) struct Disk {
    way: Way,
    root: PathBuf,
}

impl Disk {
    /// A file system of `megabytes` at `root` when the system lets us mount one, else the folder itself.
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

    /// How it is made full, in words.
    pub(crate) fn describe(&self) -> &'static str {
        match self.way {
            Way::FileSystem => "a file system in memory that is filled up",
            Way::FileSize => "no file may grow (nothing can be mounted here)",
        }
    }

    /// Where data goes.
    pub(crate) fn data(&self) -> PathBuf {
        self.root.join("data")
    }

    fn ballast(&self) -> PathBuf {
        self.root.join("ballast")
    }

    /// Makes it full for `runner`. Blocks while it writes.
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
            // What every file of the run is larger than already.
            Way::FileSize => limit(runner, Some(4096)),
        }
    }

    /// Makes room again.
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
    // The hard limit stays, so that the other can be raised again.
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
        // Somebody is still in it: it goes when they do.
        let _ = Command::new("umount").arg("--lazy").arg(root).status();
    }
}
