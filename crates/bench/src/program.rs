//! Programs that are measured, and that measure: started, awaited, ended.

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

/// How long a program may take to say that it is ready.
const READY_WITHIN: Duration = Duration::from_mins(1);

/// Looks for readiness this often.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A running program; ends with this value.
pub(crate) struct Program {
    child: Child,
}

impl Program {
    /// Starts one; what it says goes nowhere unless it is an error.
    pub(crate) fn start(command: &mut Command) -> Result<Self> {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        Ok(Self { child: child.map_err(|error| format!("cannot start {}: {error}", command.get_program().display()))? })
    }

    /// Stops it where it is, or has it go on from there. What it started itself goes on regardless.
    pub(crate) fn set_running(&self, is_running: bool) -> Result<()> {
        let signal = if is_running { Signal::CONT } else { Signal::STOP };
        Ok(kill_process(Pid::from_child(&self.child), signal)?)
    }

    /// How long it has run on a processor, without what it started itself.
    pub(crate) fn ran(&self) -> Duration {
        ran(self.child.id())
    }

    /// Waits for `ready`.
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
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Finds what is built beside this program or in `folder`, or builds the workspace in this program's own profile.
pub(crate) async fn built(folder: Option<&Path>, names: &[&str]) -> Result<BTreeMap<String, PathBuf>> {
    let names: BTreeSet<String> = names.iter().map(|&name| name.to_owned()).collect();
    match folder {
        Some(folder) => Ok(binaries::locate(folder, &names)?),
        None => Ok(binaries::build(&workspace()?, &names).await?),
    }
}

/// The folder of the workspace: from where Cargo runs this, or from the current directory upwards.
pub(crate) fn workspace() -> Result<PathBuf> {
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let starts = [manifest, std::env::current_dir().ok()].into_iter().flatten();
    let mut folders = starts.flat_map(|start| start.ancestors().map(Path::to_owned).collect::<Vec<_>>());
    Ok(folders
        .find(|folder| folder.join("infra/backend.yaml").is_file())
        .ok_or("run this in Switchboard's repository")?)
}

/// A command that runs this program with a hidden subcommand.
pub(crate) fn own(arguments: &[&str]) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(arguments);
    Ok(command)
}

/// How long a process has run on a processor: the first number of each thread's `schedstat`, in nanoseconds (Linux,
/// "Scheduler Statistics"). Threads that have ended no longer count.
pub(crate) fn ran(process: u32) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let ran = tasks.filter_map(|task| {
        let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(ran.sum())
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Where something listens now, as other programs of this crate tell it: in a file that is there only as a whole.
pub(crate) fn tell_address(file: &Path, address: SocketAddr) -> Result<()> {
    let folder = file.parent().ok_or("a file in a folder")?;
    let mut temporary = tempfile::NamedTempFile::new_in(folder)?;
    write!(temporary, "{address}")?;
    temporary.persist(file)?;
    Ok(())
}

/// Lets this process, and those that it starts, have as many open files as the system allows, and says how many that is.
pub(crate) fn raise_file_limit() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}
