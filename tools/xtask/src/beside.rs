//! Work of a complete run beside its main lane: steps of the other lanes, and a build.
//!
//! Many steps wait for one process or for time, so that one of two processors is idle.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use xshell::{Cmd, cmd};

use crate::Result;
use crate::steps::{Lane, Step};
use crate::workspace::Workspace;

/// Step that builds and tests the workspace. The build of the contracts begins with it, and the lane
/// [`Lane::WithBinaries`] after it.
pub(crate) const TESTS: &str = "test";

/// First step that waits for the other lanes. It shares installed programs with one of them.
pub(crate) const AFTER: &str = "permissions";

/// Copies this program into the target folder, and returns the path of the copy. The step with the tests builds the
/// program again, which removes the file that it was started from.
pub(crate) fn copy_program(workspace: &Workspace) -> Result<PathBuf> {
    let copy = workspace.target().join("xtask-of-lanes");
    // A file that still runs cannot be written, but it can be replaced.
    if copy.exists() {
        fs::remove_file(&copy)?;
    }
    fs::copy(env::current_exe()?, &copy)?;
    Ok(copy)
}

/// A program that runs beside the steps. Its messages are in a log.
pub(crate) struct Beside {
    program: Child,
    /// Path of the log, relative to the root of the repository.
    log: &'static str,
}

impl Beside {
    /// Starts the build of the contracts' tests, at the lowest priority. Their workspace shares no artifact with the others.
    /// The step `contracts` waits for it by Cargo's lock.
    pub(crate) fn build(workspace: &Workspace) -> Result<Self> {
        let contracts = ["--manifest-path", "contracts/Cargo.toml", "--workspace", "--locked"];
        let build = cmd!(workspace.shell, "nice -n 19 cargo test {contracts...} --no-run");
        Self::start(workspace, build, "target/ahead.log")
    }

    /// Starts the steps of a lane, one after another, by a copy of this program.
    pub(crate) fn steps<'a>(
        workspace: &Workspace,
        copy: &Path,
        lane: Lane,
        steps: impl Iterator<Item = &'a Step>,
    ) -> Result<Self> {
        let names = steps.map(|step| step.name);
        let (nice, log) = match lane {
            Lane::NoBinaries => ("19", "target/beside.log"),
            Lane::Main | Lane::WithBinaries => ("0", "target/with-binaries.log"),
        };
        Self::start(workspace, cmd!(workspace.shell, "nice -n {nice} {copy} ci").args(names), log)
    }

    fn start(workspace: &Workspace, command: Cmd<'_>, log: &'static str) -> Result<Self> {
        fs::create_dir_all(workspace.file("target"))?;
        let file = File::create(workspace.file(log))?;
        let mut command = workspace.command(command);
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        Ok(Self { program: command.spawn()?, log })
    }

    /// Returns an error if the program has already failed.
    pub(crate) fn check(&mut self, workspace: &Workspace) -> Result {
        match self.program.try_wait()? {
            Some(status) if !status.success() => self.finish(workspace),
            _ => Ok(()),
        }
    }

    /// Waits for the end of the program, and prints its log. Returns an error if it failed.
    pub(crate) fn finish(&mut self, workspace: &Workspace) -> Result {
        let status = self.program.wait()?;
        print!("{}", String::from_utf8_lossy(&fs::read(workspace.file(self.log))?));
        if status.success() { Ok(()) } else { Err(format!("steps of another lane: {status}").into()) }
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        // It has usually ended. After a failed step, it is of no use.
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}
