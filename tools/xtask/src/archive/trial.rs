//! Tries an archive: unpacks it, starts its program, and lets its smoke test talk to it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::Value;
use tempfile::TempDir;
use xshell::{Cmd, cmd};

use super::PROGRAM;
use super::pack::Archive;
use crate::Result;
use crate::install;
use crate::local_run::Process;
use crate::workspace::Workspace;

/// Options of a local run with free ports, which keeps no data.
const OPTIONS: &str = "--in-memory --rest-port 0 --websocket-port 0 --dynamodb-port 0 --page-port 0";

/// File in which the local run writes its addresses, in the folder of the archive.
const READY_FILE: &str = "ready.json";

/// Script of a shell that runs a program in its own folder.
const IN_ITS_FOLDER: &str = r#"cd "$(dirname "$0")" && exec "$0" "$@""#;

/// The folder that an archive is unpacked in.
struct Unpacked<'a> {
    workspace: &'a Workspace,
    root: TempDir,
    /// The place of temporary files and of the runs of one user. The commands of one trial share it.
    shared: TempDir,
    /// Folder of the archive below the root.
    folder: String,
    /// Program that runs a command in a root of its own. A Mac has none.
    bubblewrap: Option<PathBuf>,
}

/// Runs the program of the archive. On Linux the root folder has no other file, and the environment no variable.
pub(super) fn run(workspace: &Workspace, archive: &Archive) -> Result {
    let unpacked = Unpacked::new(workspace, archive)?;
    let options = OPTIONS.split(' ').chain(["--ready-file", READY_FILE]);
    let local = unpacked.command(&[], ["local"].into_iter().chain(options));
    let (ready_file, log) = (unpacked.path().join(READY_FILE), unpacked.shared.path().join("local.log"));
    let began = Instant::now();
    let _process = Process::start(workspace.command(local), &ready_file, &log)?;
    println!("The local run was ready after {:.1} s.", began.elapsed().as_secs_f64());
    let ready: Value = serde_json::from_slice(&fs::read(&ready_file)?)?;
    let address = |name: &str| ready[name].as_str().ok_or_else(|| format!("{READY_FILE} has no address {name:?}"));

    let mut tokens = Vec::new();
    for user in ["one", "two"] {
        let token = unpacked.command(&[], ["token", "--ready-file", READY_FILE, "--user", user]);
        tokens.push(workspace.read(token)?);
    }
    let smoke = ["smoke", "--rest", address("rest")?, "--websocket", address("websocket")?];
    // Not printed, since it has tokens.
    workspace.run(unpacked.command(&[("SMOKE_TOKENS", tokens.join(","))], smoke).quiet())?;
    println!("A chat was held {:.1} s after the start.", began.elapsed().as_secs_f64());

    install::apt(workspace, "curl")?;
    let page = address("page")?;
    let page = workspace.read(cmd!(workspace.shell, "curl --fail --silent --show-error {page}/"))?;
    if page.contains("<title>Switchboard</title>") { Ok(()) } else { Err("the page is not served".into()) }
}

impl<'a> Unpacked<'a> {
    /// Unpacks an archive into an empty folder.
    fn new(workspace: &'a Workspace, archive: &Archive) -> Result<Self> {
        let (root, shared) = (tempfile::tempdir()?, tempfile::tempdir()?);
        let (path, folder) = (archive.path(), root.path());
        workspace.run(cmd!(workspace.shell, "tar -xzf {path} -C {folder}"))?;
        let bubblewrap = if cfg!(target_os = "linux") {
            Some(install::apt_package(workspace, "bwrap", "bubblewrap")?)
        } else {
            None
        };
        Ok(Self { workspace, root, shared, folder: archive.folder().to_owned(), bubblewrap })
    }

    /// Returns the unpacked folder.
    fn path(&self) -> PathBuf {
        self.root.path().join(&self.folder)
    }

    /// Returns the command that runs the program in its folder with these variables only.
    fn command<'b>(&self, variables: &[(&str, String)], arguments: impl IntoIterator<Item = &'b str>) -> Cmd<'a> {
        let shell = &self.workspace.shell;
        if let Some(bubblewrap) = &self.bubblewrap {
            let variables = variables.iter().flat_map(|(name, value)| ["--setenv", *name, value.as_str()]);
            let (isolation, folder) = (self.isolation(), format!("/{}", self.folder));
            cmd!(shell, "{bubblewrap} {isolation...} --chdir {folder} --clearenv {variables...} --")
                .arg(format!("./{PROGRAM}"))
                .args(arguments)
        } else {
            let program = self.path().join(PROGRAM);
            let variables = variables.iter().map(|(name, value)| format!("{name}={value}"));
            cmd!(shell, "env -i {variables...} sh -c {IN_ITS_FOLDER} {program}").args(arguments)
        }
    }

    /// Returns the options of an empty root, with the devices and folders that each container has.
    fn isolation(&self) -> Vec<&Path> {
        let [root, shared] = [self.root.path(), self.shared.path()];
        let own = ["--unshare-pid", "--die-with-parent", "--bind"].map(Path::new);
        let system = ["/", "--proc", "/proc", "--dev", "/dev", "--bind"].map(Path::new);
        let places = [shared, Path::new("/dev/shm"), Path::new("--tmpfs"), Path::new("/tmp")];
        own.into_iter().chain([root]).chain(system).chain(places).collect()
    }
}
