//! The local run, for steps that send requests to it.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use xshell::cmd;

use crate::Result;
use crate::workspace::Workspace;

/// Time to become ready.
const START_TIMEOUT: Duration = Duration::from_mins(1);
/// Time between a request to end and the signal that ends at once.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);
/// Time between two looks.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Returns a port that no program listens on. The local run must know the page's origin before the page is served.
pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// A process that ends when the value is dropped, also if a step fails.
pub(crate) struct Process(Child);

impl Process {
    /// Starts a local run, and returns when it has written its ready file. The log gets its output.
    pub(crate) fn start(mut command: Command, ready_file: &Path, log: &Path) -> Result<Self> {
        let output = File::create(log)?;
        command.stdout(output.try_clone()?).stderr(output);
        let program = command.get_program().to_string_lossy().into_owned();
        let mut process = Self(command.spawn().map_err(|error| format!("{program}: {error}"))?);
        let began = Instant::now();
        while !ready_file.exists() {
            let state = match process.0.try_wait()? {
                Some(status) => format!("ended, {status}"),
                None if began.elapsed() > START_TIMEOUT => format!("was not ready after {START_TIMEOUT:?}"),
                None => {
                    thread::sleep(POLL_INTERVAL);
                    continue;
                }
            };
            let log = fs::read(log)?;
            return Err(format!("the local run {state}:\n{}", String::from_utf8_lossy(&log)).into());
        }
        Ok(process)
    }

    /// Returns whether the process ends within `timeout`.
    fn ends_within(&mut self, timeout: Duration) -> bool {
        let began = Instant::now();
        while began.elapsed() < timeout {
            if !matches!(self.0.try_wait(), Ok(None)) {
                return true;
            }
            thread::sleep(POLL_INTERVAL);
        }
        false
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The local run ends its functions when it is asked to end, not when it is killed.
        let asked =
            matches!(self.0.try_wait(), Ok(None)) && kill_process(Pid::from_child(&self.0), Signal::TERM).is_ok();
        if asked && !self.ends_within(STOP_TIMEOUT) {
            let _ = self.0.kill();
        }
        let _ = self.0.wait();
    }
}

/// A local run with free ports, and with tables in memory.
pub(crate) struct LocalRun<'a> {
    workspace: &'a Workspace,
    // Dropped before the folder that the process writes to.
    _process: Process,
    folder: TempDir,
    ready: Value,
}

impl<'a> LocalRun<'a> {
    /// Builds the local run, starts it with further options, and returns when it is ready.
    pub(crate) fn start(workspace: &'a Workspace, options: &[&str]) -> Result<Self> {
        let binaries = workspace.build_binaries()?;
        let folder = tempfile::tempdir()?;
        let (ready_file, log) = (folder.path().join("ready.json"), folder.path().join("local.log"));
        let local = binaries.join("local");
        let command = cmd!(
            workspace.shell,
            "{local} --in-memory --rest-port 0 --websocket-port 0 --dynamodb-port 0 --page-port 0
             --bin-dir {binaries} --ready-file {ready_file} {options...}"
        );
        let process = Process::start(workspace.command(command), &ready_file, &log)?;
        let ready = serde_json::from_slice(&fs::read(&ready_file)?)?;
        Ok(Self { workspace, _process: process, folder, ready })
    }

    /// Returns the path of the file with the addresses.
    pub(crate) fn ready_file(&self) -> PathBuf {
        self.folder.path().join("ready.json")
    }

    /// Returns an address of the local run: `rest`, `websocket`.
    pub(crate) fn address(&self, name: &str) -> Result<&str> {
        self.ready[name].as_str().ok_or_else(|| format!("the ready file has no address {name:?}").into())
    }

    /// Returns tokens of users, with commas between them.
    pub(crate) fn tokens(&self, users: &[String]) -> Result<String> {
        let (local, ready_file) = (self.workspace.binaries().join("local"), self.ready_file());
        let mut tokens = Vec::new();
        for user in users {
            let command = cmd!(self.workspace.shell, "{local} token --ready-file {ready_file} --user {user}");
            tokens.push(self.workspace.read(command)?);
        }
        Ok(tokens.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_process_has_ended() -> Result {
        let child = Command::new("sleep").arg("600").spawn()?;
        let id = Pid::from_child(&child);
        drop(Process(child));
        assert!(kill_process(id, Signal::TERM).is_err());
        Ok(())
    }

    #[test]
    fn a_process_that_has_ended_is_left_alone() -> Result {
        let mut process = Process(Command::new("true").spawn()?);
        assert!(process.ends_within(STOP_TIMEOUT));
        Ok(())
    }
}
