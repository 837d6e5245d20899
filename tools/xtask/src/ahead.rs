//! A build for a later step, beside the steps before it.

use std::fs::{self, File};
use std::process::{Child, Stdio};

use xshell::cmd;

use crate::Result;
use crate::workspace::Workspace;

/// Step during which the build begins. Its tests wait for processes and time, so that the processors are often idle.
pub(crate) const BESIDE: &str = "test";

/// Build of the contracts' tests. Their workspace shares no artifact with the others. It runs at the lowest priority, so
/// that it takes no time from the tests. The step `contracts` waits for it by Cargo's lock.
pub(crate) struct Ahead(Child);

impl Ahead {
    /// Starts the build. It writes its messages to `target/ahead.log`.
    pub(crate) fn start(workspace: &Workspace) -> Result<Self> {
        let folder = workspace.file("target");
        fs::create_dir_all(&folder)?;
        let log = File::create(folder.join("ahead.log"))?;
        let contracts = ["--manifest-path", "contracts/Cargo.toml", "--workspace", "--locked"];
        let build = cmd!(workspace.shell, "nice -n 19 cargo test {contracts...} --no-run");
        let mut command = workspace.command(build);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        Ok(Self(command.spawn()?))
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        // It has usually ended. After a failed step, it is of no use.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
