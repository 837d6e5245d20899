//! Measured programs and their servers: starts, waits for and ends them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Write,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use local::binaries;
use rustix::process::{Pid, Signal, kill_process};

use crate::Result;

/// Maximum time until a program is ready.
const READY_WITHIN: Duration = Duration::from_mins(1);

/// Interval between checks for readiness.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A running program. It is killed when this value is dropped.
pub(crate) struct Program {
    child: Child,
}

impl Program {
    /// Starts a program. Its standard output is discarded.
    pub(crate) fn start(command: &mut Command) -> Result<Self> {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        Ok(Self { child: child.map_err(|error| format!("cannot start {}: {error}", command.get_program().display()))? })
    }

    /// Returns the id of the process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Stops the process (SIGSTOP) or lets it continue. Its own children are not affected.
    pub(crate) fn set_running(&self, is_running: bool) -> Result<()> {
        let signal = if is_running { Signal::CONT } else { Signal::STOP };
        Ok(kill_process(Pid::from_child(&self.child), signal)?)
    }

    /// Returns the processor time of the process, without its children.
    pub(crate) fn ran(&self) -> Duration {
        ran(self.child.id())
    }

    /// Waits until `ready` returns a value.
    pub(crate) async fn until<T>(&mut self, mut ready: impl FnMut() -> Option<T>) -> Result<T> {
        let began = Instant::now();
        while began.elapsed() < READY_WITHIN {
            if let Some(ready) = ready() {
                return Ok(ready);
            }
            if let Some(status) = self.child.try_wait()? {
                return Err(format!("a program ended before it was ready: {status}").into());
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Err("a program was not ready in time".into())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // The process may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Finds binaries beside this program or in `folder`; otherwise builds the workspace in this program's own profile.
pub(crate) async fn built(folder: Option<&Path>, names: &[&str]) -> Result<BTreeMap<String, PathBuf>> {
    let names: BTreeSet<String> = names.iter().map(|&name| name.to_owned()).collect();
    match folder {
        Some(folder) => Ok(binaries::locate(folder, &names)?),
        None => Ok(binaries::build(&workspace()?, &names).await?),
    }
}

/// Returns the folder of the workspace: from Cargo's environment, or from the current directory upwards.
pub(crate) fn workspace() -> Result<PathBuf> {
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let starts = [manifest, std::env::current_dir().ok()].into_iter().flatten();
    let mut folders = starts.flat_map(|start| start.ancestors().map(Path::to_owned).collect::<Vec<_>>());
    Ok(folders
        .find(|folder| folder.join("infra/backend.yaml").is_file())
        .ok_or("run this in Switchboard's repository")?)
}

/// Returns a command that runs this program with a hidden subcommand.
pub(crate) fn own(arguments: &[&str]) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(arguments);
    Ok(command)
}

/// Returns the processor time of a process: the first number of each thread's `schedstat`, in nanoseconds (Linux,
/// "Scheduler Statistics"). Threads that have ended are not counted.
pub(crate) fn ran(process: u32) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let ran = tasks.filter_map(|task| {
        let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(ran.sum())
}

/// Returns a port that is free at the time of the call.
pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Writes a server's address to a file, for other programs of this crate. The file appears only with its full content.
pub(crate) fn tell_address(file: &Path, address: SocketAddr) -> Result<()> {
    let folder = file.parent().ok_or("a file in a folder")?;
    let mut temporary = tempfile::NamedTempFile::new_in(folder)?;
    write!(temporary, "{address}")?;
    temporary.persist(file)?;
    Ok(())
}

/// Raises the limit of open files of this process and its children to the system's maximum, and returns it.
pub(crate) fn raise_file_limit() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}
