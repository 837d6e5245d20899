//! The repository, and the ways to run a program in it.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use serde_json::Value;
use xshell::{Cmd, Shell, cmd};

use crate::Result;

/// Prefix of the names of the test logs, in `target/`.
const LOG: &str = "tests";

/// Variable that a complete run sets once the binaries are built.
const BUILT: &str = "SWITCHBOARD_CI_BUILT";

/// The repository. Programs run in its root folder.
pub(crate) struct Workspace {
    pub(crate) shell: Shell,
    root: PathBuf,
    target: PathBuf,
    /// Variables that `cargo run` sets for this program, and that no other program may see: a build script that reads
    /// one would run again.
    hidden: Vec<OsString>,
}

impl Workspace {
    /// Finds the workspace of the current folder.
    pub(crate) fn open() -> Result<Self> {
        let shell = Shell::new()?;
        let metadata = cmd!(shell, "cargo metadata --format-version 1 --no-deps --locked").quiet().read()?;
        let metadata: Value = serde_json::from_str(&metadata)?;
        let folder = |field: &str| {
            let path = metadata[field].as_str().ok_or_else(|| format!("cargo metadata has no {field}"))?;
            Ok::<_, String>(PathBuf::from(path))
        };
        let (root, target) = (folder("workspace_root")?, folder("target_directory")?);
        shell.change_dir(&root);
        let hidden = env::vars_os().map(|(name, _)| name).filter(|name| is_of_cargo_run(&name.to_string_lossy()));
        Ok(Self { shell, root, target, hidden: hidden.collect() })
    }

    /// Lets clippy compile the members of a workspace in all later builds, with warnings denied. Without it, a complete
    /// run compiles each dependency twice: for clippy, and for the tests.
    pub(crate) fn lint_builds(&self) {
        self.shell.set_var("RUSTC_WORKSPACE_WRAPPER", "clippy-driver");
        // `cargo clippy -- -D warnings` passes the option to its driver in this form.
        self.shell.set_var("CLIPPY_ARGS", "-Dwarnings__CLIPPY_HACKERY__");
    }

    /// Returns the path of a file of the repository.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Returns Cargo's target folder.
    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    /// Returns the folder of the debug binaries.
    pub(crate) fn binaries(&self) -> PathBuf {
        self.target.join("debug")
    }

    /// Builds the binaries of the workspace for all later steps of a complete run. A step that asks Cargo would wait for
    /// the builds of another lane.
    pub(crate) fn keep_binaries(&self) -> Result {
        self.build_binaries()?;
        self.shell.set_var(BUILT, "1");
        Ok(())
    }

    /// Builds the binaries of the workspace, with the features that its tests use, unless a complete run has built them.
    pub(crate) fn build_binaries(&self) -> Result<PathBuf> {
        if self.shell.var_os(BUILT).is_some() {
            return Ok(self.binaries());
        }
        self.run(cmd!(self.shell, "cargo build --workspace --bins --locked"))?;
        Ok(self.binaries())
    }

    /// Runs a program. Fails if it does.
    pub(crate) fn run(&self, command: Cmd<'_>) -> Result {
        Ok(self.without_hidden(command).run()?)
    }

    /// Runs a program, and returns its output without the last line break.
    pub(crate) fn read(&self, command: Cmd<'_>) -> Result<String> {
        Ok(self.without_hidden(command).quiet().read()?)
    }

    /// Starts no program, but returns the command for one.
    pub(crate) fn command(&self, command: Cmd<'_>) -> Command {
        Command::from(self.without_hidden(command))
    }

    /// Runs a program, and writes its output to the terminal and to the log.
    pub(crate) fn tee(&self, command: Cmd<'_>, log: &mut File) -> Result {
        let text = command.to_string();
        eprintln!("$ {text}");
        let (reader, writer) = io::pipe()?;
        let mut command = self.command(command);
        command.stdout(writer.try_clone()?).stderr(writer);
        let mut child = command.spawn().map_err(|error| format!("{text}: {error}"))?;
        // Holds the writing ends of the pipe, which would never be closed.
        drop(command);
        let copied = copy(reader, log);
        let status = child.wait()?;
        copied?;
        if status.success() { Ok(()) } else { Err(format!("{text}: {status}").into()) }
    }

    /// Creates an empty log for the tests of a step. The step `test` writes `target/tests.log`.
    pub(crate) fn log(&self, step: &str) -> Result<File> {
        let folder = self.file("target");
        fs::create_dir_all(&folder)?;
        let name = if step == "test" { format!("{LOG}.log") } else { format!("{LOG}-{step}.log") };
        Ok(File::create(folder.join(name))?)
    }

    /// Returns the paths of all logs.
    pub(crate) fn logs(&self) -> Result<Vec<PathBuf>> {
        let folder = self.file("target");
        if !folder.exists() {
            return Ok(Vec::new());
        }
        let mut found = Vec::new();
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if path.extension().is_some_and(|extension| extension == "log") && name.starts_with(LOG) {
                found.push(path);
            }
        }
        Ok(found)
    }

    fn without_hidden<'a>(&self, command: Cmd<'a>) -> Cmd<'a> {
        self.hidden.iter().fold(command, Cmd::env_remove)
    }
}

/// Returns whether Cargo sets the variable for the program of `cargo run`.
fn is_of_cargo_run(name: &str) -> bool {
    name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") || name == "CARGO_PRIMARY_PACKAGE"
}

/// Copies lines to the standard output and to the log, until the program has closed its output.
fn copy(reader: impl io::Read, log: &mut File) -> io::Result<()> {
    let (mut reader, mut line) = (BufReader::new(reader), Vec::new());
    while reader.read_until(b'\n', &mut line)? > 0 {
        io::stdout().write_all(&line)?;
        log.write_all(&line)?;
        line.clear();
    }
    Ok(())
}
