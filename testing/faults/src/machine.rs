//! The real stack: the runner and its functions as processes, with files and fixed ports.

use std::{
    fs::{self, File},
    io,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use local::secret::Secret;
use rand::{RngExt, rngs::StdRng};
use rustix::process::Signal;
use serde_json::Value;
use tokio::{
    process::{Child, Command},
    sync::Mutex,
    time::{Instant, sleep, timeout},
};

use crate::{process::Process, skew::Skew};

/// Maximum time until the runner is up, over all attempts.
const START_PATIENCE: Duration = Duration::from_mins(2);

/// Range of the ports. It is below the ephemeral ports, so that no process takes one while the runner is down.
const PORTS: std::ops::Range<u16> = 15_000..32_000;

/// Parts of a run.
#[derive(Debug)]
pub(crate) struct Setup {
    /// Folder with the binaries of the workspace.
    pub(crate) binaries: PathBuf,
    /// Folder of the stack's data.
    pub(crate) data: PathBuf,
    /// Folder of the run's own files.
    pub(crate) work: PathBuf,
    /// Options of the runner for its quotas.
    pub(crate) quotas: Vec<String>,
    /// Clocks of the functions.
    pub(crate) skew: Skew,
}

/// The runner, which may be killed and started again.
#[derive(Debug)]
pub(crate) struct Machine {
    setup: Setup,
    functions: PathBuf,
    ports: [u16; 4],
    runner: Mutex<Option<Child>>,
}

impl Machine {
    /// Prepares the run without starting the runner.
    pub(crate) fn new(setup: Setup, chance: &mut StdRng) -> io::Result<Self> {
        let functions = setup.skew.wrap(&setup.binaries, &setup.work.join("functions"))?;
        Ok(Self { functions, ports: ports(chance)?, setup, runner: Mutex::default() })
    }

    pub(crate) fn skew(&self) -> &Skew {
        &self.setup.skew
    }

    pub(crate) fn rest(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports[0])
    }

    pub(crate) fn websocket(&self) -> String {
        format!("ws://127.0.0.1:{}", self.ports[1])
    }

    pub(crate) fn dynamodb(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports[2])
    }

    /// Returns the secret that the stack signs tokens with.
    pub(crate) fn secret(&self) -> Result<Secret, String> {
        let secret = Secret::read(&self.setup.data).map_err(|error| error.to_string())?;
        secret.ok_or_else(|| format!("{} holds no secret", self.setup.data.display()))
    }

    /// Returns the path of the runner's log.
    pub(crate) fn log(&self) -> PathBuf {
        self.setup.work.join("runner.log")
    }

    fn ready_file(&self) -> PathBuf {
        self.setup.work.join("ready.json")
    }

    /// Returns the content of the runner's ready file.
    pub(crate) fn addresses(&self) -> Result<Value, String> {
        let content = fs::read(self.ready_file()).map_err(|error| format!("the ready file: {error}"))?;
        serde_json::from_slice(&content).map_err(|error| format!("the ready file: {error}"))
    }

    /// Starts the runner, repeatedly until it is up. Returns the number of failed starts.
    pub(crate) async fn start(&self) -> Result<u64, String> {
        let mut runner = self.runner.lock().await;
        let (began, mut failures) = (Instant::now(), 0);
        while began.elapsed() < START_PATIENCE {
            let _ = fs::remove_file(self.ready_file());
            let mut child = self.spawn().map_err(|error| format!("the runner cannot be started: {error}"))?;
            loop {
                if self.ready_file().exists() {
                    *runner = Some(child);
                    return Ok(failures);
                }
                if child.try_wait().map_err(|error| error.to_string())?.is_some() {
                    break;
                }
                if began.elapsed() >= START_PATIENCE {
                    let _ = child.kill().await;
                    break;
                }
                sleep(Duration::from_millis(50)).await;
            }
            failures += 1;
            sleep(Duration::from_millis(500)).await;
        }
        Err(format!("the runner does not come up; its log is {}", self.log().display()))
    }

    fn spawn(&self) -> io::Result<Child> {
        let log = File::options().create(true).append(true).open(self.log())?;
        let [rest, websocket, dynamodb, page] = self.ports.map(|port| port.to_string());
        // Without the signal, exceeding the limit of file sizes is an error of the write.
        let mut command = Command::new("/bin/sh");
        command.args(["-c", r#"trap "" XFSZ; exec "$0" "$@""#]).arg(self.setup.binaries.join("local"));
        command
            .args(["--rest-port", &rest, "--websocket-port", &websocket, "--dynamodb-port", &dynamodb])
            .args(["--page-port", &page, "--log-level", "warn"])
            .args(&self.setup.quotas)
            .arg("--data-dir")
            .arg(&self.setup.data)
            .arg("--bin-dir")
            .arg(&self.functions)
            .arg("--ready-file")
            .arg(self.ready_file())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
    }

    /// Kills the runner with SIGKILL.
    pub(crate) async fn kill(&self) {
        if let Some(mut child) = self.runner.lock().await.take() {
            let _ = child.kill().await;
        }
    }

    /// Stops the runner as Ctrl-C does. Returns whether it exited successfully.
    pub(crate) async fn stop(&self) -> bool {
        let Some(mut child) = self.runner.lock().await.take() else { return false };
        let process = child.id().and_then(|pid| Process::of(i32::try_from(pid).ok()?));
        if !process.is_some_and(|process| process.signal(Signal::TERM)) {
            return false;
        }
        matches!(timeout(Duration::from_mins(1), child.wait()).await, Ok(Ok(status)) if status.success())
    }

    /// Returns the runner's process.
    pub(crate) async fn runner(&self) -> Option<Process> {
        let pid = self.runner.lock().await.as_ref()?.id()?;
        Process::of(i32::try_from(pid).ok()?)
    }

    /// Returns the processes of functions.
    pub(crate) async fn functions(&self) -> Vec<Process> {
        self.children(|name| name != "local" && name != "sh").await
    }

    /// Returns the process reaper, which ends the functions when the runner is killed.
    pub(crate) async fn reaper(&self) -> Option<Process> {
        self.children(|name| name == "local").await.pop()
    }

    async fn children(&self, wanted: impl Fn(&str) -> bool) -> Vec<Process> {
        let Some(runner) = self.runner().await else { return Vec::new() };
        runner.children().into_iter().filter(|child| wanted(&child.name)).collect()
    }
}

/// Returns free ports.
fn ports(chance: &mut StdRng) -> io::Result<[u16; 4]> {
    let mut found = [0; 4];
    for index in 0..found.len() {
        found[index] = (0..200)
            .map(|_| chance.random_range(PORTS))
            .find(|port| !found.contains(port) && TcpListener::bind(("127.0.0.1", *port)).is_ok())
            .ok_or_else(|| io::Error::other("no free port was found"))?;
    }
    Ok(found)
}

/// Builds all binaries of the workspace with the Cargo that runs this program, and returns their folder.
pub(crate) fn build() -> Result<PathBuf, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = std::process::Command::new(cargo);
    command.args(["build", "--quiet", "--workspace", "--bins", "--locked"]).args(local::binaries::profile());
    let status = command
        .status()
        .map_err(|error| format!("Cargo cannot be run: {error}; name built binaries with --bin-dir"))?;
    if !status.success() {
        return Err("the workspace does not build".to_owned());
    }
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    own.parent().map(Path::to_path_buf).ok_or_else(|| "the path of this program has no parent folder".to_owned())
}
