//! The process reaper: ends the functions when the runner ends, even if the runner was killed with SIGKILL.
//!
//! The reaper is a small child process, started from the runner's own executable. It leads the process group that all
//! functions join, and reads a pipe that only the runner holds open. When the pipe ends, the reaper kills its group and
//! itself. The separate group also keeps a terminal's Ctrl-C from the functions, so that the runner can let them
//! finish.

use std::{
    env,
    ffi::OsStr,
    io::{self, Read},
    path::{Path, PathBuf},
    process::{self, Stdio},
    time::Duration,
};

use rustix::process::{Signal, kill_current_process_group};
use tokio::{
    process::{Child, Command},
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{error, warn};

/// Environment variable that marks the process reaper, with any value.
const ROLE: &str = "SWITCHBOARD_LOCAL_GUARDIAN";

/// If the reaper dies within this time, its restart is delayed.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// Maximum time from the end of the pipe to the end of the reaper. Then it is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// Runs the process reaper and ends the process, if the process was started for that; otherwise returns at once. An
/// executable that creates a [`super::Lambda`] must call this first in its `main`.
pub fn guardian_main() {
    if env::var_os(ROLE).is_none() {
        return;
    }
    // No process writes to the pipe. The read ends with the pipe.
    let _ = io::stdin().read_to_end(&mut Vec::new());
    let _ = kill_current_process_group(Signal::KILL);
    process::exit(0);
}

/// Process group that functions join. `None` while no reaper is running.
pub(super) type Group = Option<i32>;

/// Handle of the running process reaper.
#[derive(Debug, Clone)]
pub(super) struct ProcessReaper {
    group: watch::Receiver<Group>,
    stop: CancellationToken,
}

impl ProcessReaper {
    /// Starts `executable` as the process reaper, and restarts it when it dies.
    pub(super) fn start(executable: &Path, tasks: &TaskTracker) -> io::Result<Self> {
        let first = spawn(executable)?;
        let (publish, group) = watch::channel(group_of(&first));
        let stop = CancellationToken::new();
        tasks.spawn(restart_reaper(executable.to_owned(), first, publish, stop.clone()));
        Ok(Self { group, stop })
    }

    /// Returns the group to start functions in. Waits while the process reaper restarts.
    pub(super) async fn group(&self) -> io::Result<i32> {
        let gone = || io::Error::other("the local run is stopping");
        self.group.clone().wait_for(Option::is_some).await.ok().and_then(|group| *group).ok_or_else(gone)
    }

    /// Waits until `group` is no longer the reaper's group.
    pub(super) async fn replaced(&self, group: i32) {
        let _ = self.group.clone().wait_for(|current| *current != Some(group)).await;
    }

    /// Ends the process reaper, which kills the remaining processes of the group.
    pub(super) fn stop(&self) {
        self.stop.cancel();
    }
}

fn spawn(executable: &Path) -> io::Result<Child> {
    let inherited = ["PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"];
    Command::new(executable)
        .env_clear()
        .envs(inherited.iter().filter_map(|name| Some((OsStr::new(name), env::var_os(name)?))))
        .env(ROLE, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
}

fn group_of(guardian: &Child) -> Group {
    guardian.id().and_then(|id| i32::try_from(id).ok())
}

async fn restart_reaper(
    executable: PathBuf,
    mut guardian: Child,
    publish: watch::Sender<Group>,
    stop: CancellationToken,
) {
    loop {
        let started = Instant::now();
        tokio::select! {
            () = stop.cancelled() => {
                drop(guardian.stdin.take());
                if timeout(STOP_TIMEOUT, guardian.wait()).await.is_err() {
                    let _ = guardian.kill().await;
                }
                return;
            }
            _ = wait_keeping_the_pipe(&mut guardian) => {}
        }
        publish.send_replace(None);
        warn!("the process reaper ended; starting another");
        if started.elapsed() < RESTART_PAUSE {
            sleep(RESTART_PAUSE).await;
        }
        guardian = loop {
            if stop.is_cancelled() {
                return;
            }
            match spawn(&executable) {
                Ok(next) => break next,
                Err(reason) => {
                    error!(%reason, executable = %executable.display(), "the process reaper could not be started");
                    sleep(RESTART_PAUSE).await;
                }
            }
        };
        publish.send_replace(group_of(&guardian));
    }
}

/// Waits for the reaper with its pipe open. [`Child::wait`] would close the pipe, on which the reaper kills its group.
async fn wait_keeping_the_pipe(guardian: &mut Child) -> io::Result<process::ExitStatus> {
    let pipe = guardian.stdin.take();
    let status = guardian.wait().await;
    drop(pipe);
    status
}
