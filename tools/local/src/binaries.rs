//! The functions' binaries: built from the workspace, or found in a folder.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    ffi::OsStr,
    io,
    path::{Path, PathBuf},
    process::Stdio,
};

use serde::Deserialize;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
};

/// Reason why the binaries are not available.
#[derive(Debug, thiserror::Error)]
pub enum BinariesError {
    /// Cargo could not be started.
    #[error("cannot run {cargo}: {source}; install Rust (https://rustup.rs), or name built binaries with --bin-dir")]
    NoCargo {
        /// The command.
        cargo: String,
        /// Error of the system.
        source: io::Error,
    },
    /// The build failed. Cargo has printed the reason.
    #[error("the functions do not build ({status}): the compiler's messages are above")]
    Build {
        /// Exit status of Cargo.
        status: std::process::ExitStatus,
    },
    /// A package was built but has no binary of its name.
    #[error("package {binary} builds no binary of that name: it needs a src/main.rs under services/{binary}")]
    NotBuilt {
        /// Name of the binary.
        binary: String,
    },
    /// A binary is not in the folder.
    #[error(
        "{} has no file {binary}: build it (cargo build --package {binary}) and copy it there, or leave out --bin-dir",
        folder.display()
    )]
    Missing {
        /// Name of the binary.
        binary: String,
        /// Folder that was searched.
        folder: PathBuf,
    },
    /// The file with the binary's name is not executable.
    #[error("{} is not an executable file: build {binary} again, or make it executable (chmod +x)", path.display())]
    NotExecutable {
        /// Name of the binary.
        binary: String,
        /// Path of the file.
        path: PathBuf,
    },
}

/// Builds the binaries of the Cargo workspace at `workspace` in the runner's own profile. Returns the paths of the
/// binaries `names`. Cargo shows its progress on standard error.
///
/// Selects the binaries by name and all packages of the workspace: Cargo unites the features of the selected packages. A
/// build of the functions' packages alone would compile most dependencies a second time.
pub async fn build(workspace: &Path, names: &BTreeSet<String>) -> Result<BTreeMap<String, PathBuf>, BinariesError> {
    let cargo = env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let failed = |source| BinariesError::NoCargo { cargo: cargo.clone(), source };
    let mut command = Command::new(&cargo);
    command.current_dir(workspace).args(["build", "--workspace", "--message-format=json-render-diagnostics"]);
    command.args(names.iter().flat_map(|name| ["--bin", name])).args(profile());
    eprintln!("Building {} functions", names.len());
    let mut cargo_process =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true).spawn().map_err(failed)?;

    let mut built = BTreeMap::new();
    if let Some(messages) = cargo_process.stdout.take() {
        let mut messages = BufReader::new(messages).lines();
        while let Some(message) = messages.next_line().await.map_err(failed)? {
            if let Some((name, path)) = executable(&message) {
                built.insert(name, path);
            }
        }
    }
    let status = cargo_process.wait().await.map_err(failed)?;
    if !status.success() {
        return Err(BinariesError::Build { status });
    }
    names
        .iter()
        .map(|name| match built.remove(name) {
            Some(path) => Ok((name.clone(), path)),
            None => Err(BinariesError::NotBuilt { binary: name.clone() }),
        })
        .collect()
}

/// Returns the options of Cargo that select the profile of this program, by the folder that Cargo put it in. Test programs
/// are in `deps` below that folder.
#[must_use]
pub fn profile() -> Vec<String> {
    let own = env::current_exe().unwrap_or_default();
    let folder = own.parent().and_then(|folder| folder.ancestors().find(|folder| !folder.ends_with("deps")));
    match folder.and_then(Path::file_name).and_then(OsStr::to_str) {
        Some(profile @ ("release" | "lambda")) => vec!["--profile".to_owned(), profile.to_owned()],
        _ => Vec::new(),
    }
}

/// Returns the folder of the functions that were installed with the running program, if there is one: `functions` beside
/// the program, or `lib/switchboard/functions` beside the folder of the program.
#[must_use]
pub fn installed() -> Option<PathBuf> {
    // A link in a folder of `PATH` leads to the program.
    let program = env::current_exe().ok()?.canonicalize().ok()?;
    installed_with(program.parent()?)
}

fn installed_with(folder: &Path) -> Option<PathBuf> {
    let beside = folder.join("functions");
    let library = folder.parent().map(|above| above.join("lib/switchboard/functions"));
    std::iter::once(beside).chain(library).find(|folder| folder.is_dir())
}

/// Finds the binaries `names` in `folder`.
pub fn locate(folder: &Path, names: &BTreeSet<String>) -> Result<BTreeMap<String, PathBuf>, BinariesError> {
    use std::os::unix::fs::PermissionsExt;
    names
        .iter()
        .map(|name| {
            let missing = || BinariesError::Missing { binary: name.clone(), folder: folder.to_owned() };
            let path = folder.join(name).canonicalize().map_err(|_| missing())?;
            let metadata = path.metadata().map_err(|_| missing())?;
            if metadata.is_file() && metadata.permissions().mode() & 0o111 != 0 {
                Ok((name.clone(), path))
            } else {
                Err(BinariesError::NotExecutable { binary: name.clone(), path })
            }
        })
        .collect()
}

/// Part of a Cargo message that this module reads ("External tools" in the Cargo book).
#[derive(Debug, Deserialize)]
struct Message {
    reason: String,
    target: Option<Target>,
    executable: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

fn executable(message: &str) -> Option<(String, PathBuf)> {
    let message: Message = serde_json::from_str(message).ok()?;
    let target = message.target.filter(|target| target.kind.iter().any(|kind| kind == "bin"))?;
    (message.reason == "compiler-artifact").then_some((target.name, message.executable?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_found_beside_the_program_or_in_its_library() {
        let root = tempfile::tempdir().unwrap();
        let programs = root.path().join("bin");
        std::fs::create_dir(&programs).unwrap();
        assert_eq!(installed_with(&programs), None, "a build folder has the functions beside it, in no folder");
        let library = root.path().join("lib/switchboard/functions");
        std::fs::create_dir_all(&library).unwrap();
        assert_eq!(installed_with(&programs), Some(library));
        let beside = programs.join("functions");
        std::fs::create_dir(&beside).unwrap();
        assert_eq!(installed_with(&programs), Some(beside));
    }
}
