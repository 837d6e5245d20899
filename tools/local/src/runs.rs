//! Running local runs, for the other commands of the same user.
//!
//! A run creates a file with its address and its secret in a directory that only its user can enter. It locks the file
//! while it runs. A file without a lock belongs to a run that was killed.

use std::{
    ffi::OsStr,
    fs::{self, File, TryLockError},
    io::{self, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use emulator::user_directory;

use crate::secret::{Secret, SecretError};

/// Extension of the files.
const EXTENSION: &str = "run";

/// Directory of the secret of runs in memory.
const IN_MEMORY: &str = "in-memory";

/// Address of a run with the default port of the REST API.
const DEFAULT_REST: &str = "http://127.0.0.1:3000";

/// Returns the secret that all runs in memory of this user share until the machine restarts. A token is valid for each
/// of these runs.
pub(crate) fn secret_in_memory() -> Result<Secret, SecretError> {
    let base = user_directory::create().map_err(|source| SecretError::File { path: user_directory::path(), source })?;
    let directory = base.join(IN_MEMORY);
    let unusable = |source| SecretError::File { path: directory.clone(), source };
    fs::create_dir_all(&directory).map_err(unusable)?;
    // The lock lets one run at a time create the secret.
    let lock = File::open(&directory).map_err(unusable)?;
    lock.lock().map_err(unusable)?;
    Secret::of_directory(&directory)
}

/// A running local run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Base URL of the REST API.
    pub rest: String,
    /// Directory of its data.
    pub directory: PathBuf,
    /// Secret that signs its tokens.
    pub secret: Secret,
}

/// File of a run, which is removed on drop.
#[derive(Debug)]
pub struct Entry {
    path: PathBuf,
    _lock: File,
}

impl Run {
    /// Registers the run for other commands.
    pub fn announce(&self) -> io::Result<Entry> {
        self.announce_in(&user_directory::create()?)
    }

    fn announce_in(&self, directory: &Path) -> io::Result<Entry> {
        // Other commands ignore the temporary name. The file is locked before it gets its final name.
        let mut file = tempfile::NamedTempFile::new_in(directory)?;
        file.as_file().lock()?;
        writeln!(file, "{}", serde_json::to_string(self)?)?;
        let port = self.rest.rsplit(':').next().unwrap_or_default();
        let path = directory.join(format!("{port}-{}.{EXTENSION}", std::process::id()));
        let lock = file.persist(&path).map_err(|error| error.error)?;
        Ok(Entry { path, _lock: lock })
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        // The lock alone marks a running run, so a failed removal is harmless.
        let _ = fs::remove_file(&self.path);
    }
}

/// Returns the running runs of this user. Removes the files of runs that were killed.
fn all(directory: &Path) -> io::Result<Vec<Run>> {
    let mut runs = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension() != Some(OsStr::new(EXTENSION)) {
            continue;
        }
        // The run may have removed the file since the listing.
        let Ok(file) = File::open(&path) else { continue };
        match file.try_lock_shared() {
            Ok(()) => {
                let _ = fs::remove_file(&path);
            }
            Err(TryLockError::WouldBlock) => runs.extend(serde_json::from_reader::<_, Run>(file).ok()),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    runs.sort_by(|one, other| one.rest.cmp(&other.rest));
    Ok(runs)
}

/// Selector of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted<'a> {
    /// The running one. Of several with different secrets, the one with the default port. If none is running, the one
    /// of this data directory.
    Default(&'a Path),
    /// The one with this data directory, running or not.
    DataDirectory(&'a Path),
    /// The one that wrote this ready file.
    ReadyFile(&'a Path),
}

/// Reason why the secret of a run was not found.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// The directory of the runs cannot be read.
    #[error("cannot look for local runs: {0}")]
    Runs(#[from] io::Error),
    /// The ready file cannot be read.
    #[error("cannot read the ready file {path}: {reason}")]
    ReadyFile {
        /// The file.
        path: PathBuf,
        /// Reason for the failure.
        reason: String,
    },
    /// The run of the ready file has ended.
    #[error("the local run at {rest} has ended: start it again")]
    Ended {
        /// Address of the run.
        rest: String,
    },
    /// No run has used the directory.
    #[error("no local run is up, and {directory} has no secret: start one with cargo local, or name its --data-dir")]
    None {
        /// Data directory.
        directory: PathBuf,
    },
    /// Several runs with different secrets are running, and none of them has the default port.
    #[error("several local runs are up ({runs}): name one with --data-dir or --ready-file")]
    Several {
        /// Their addresses and directories.
        runs: String,
    },
    /// The secret of the data directory cannot be used.
    #[error(transparent)]
    Secret(#[from] SecretError),
}

/// Returns the secret of a run.
pub fn secret(wanted: Wanted<'_>) -> Result<Secret, FindError> {
    // No run is registered if the directory does not exist.
    let runs = user_directory::create().and_then(|directory| all(&directory));
    match wanted {
        // The data directory may contain the secret if no run is registered.
        Wanted::DataDirectory(_) => select(runs.unwrap_or_default(), wanted),
        _ => select(runs?, wanted),
    }
}

fn select(mut runs: Vec<Run>, wanted: Wanted<'_>) -> Result<Secret, FindError> {
    match wanted {
        Wanted::Default(directory) => {
            if runs.len() > 1
                && let Some(default) = runs.iter().position(|run| run.rest == DEFAULT_REST)
            {
                return Ok(runs.swap_remove(default).secret);
            }
            // Runs in memory share their secret.
            let mut known = Vec::new();
            runs.retain(|run| {
                let is_new = !known.contains(&run.secret);
                known.push(run.secret.clone());
                is_new
            });
            match (runs.pop(), runs.is_empty()) {
                (Some(run), true) => Ok(run.secret),
                (None, _) => {
                    Secret::read(directory)?.ok_or_else(|| FindError::None { directory: directory.to_owned() })
                }
                (Some(last), false) => {
                    let described = |run: &Run| format!("{} on {}", run.rest, run.directory.display());
                    let runs: Vec<String> = runs.iter().chain([&last]).map(described).collect();
                    Err(FindError::Several { runs: runs.join(", ") })
                }
            }
        }
        Wanted::DataDirectory(directory) => {
            // A parameter of the template may have replaced the secret of the directory.
            let whole = directory.canonicalize().unwrap_or_else(|_| directory.to_owned());
            if let Some(run) = runs.into_iter().find(|run| run.directory == whole) {
                return Ok(run.secret);
            }
            Secret::read(directory)?.ok_or_else(|| FindError::None { directory: directory.to_owned() })
        }
        Wanted::ReadyFile(path) => {
            let unreadable = |reason: &dyn std::fmt::Display| FindError::ReadyFile {
                path: path.to_owned(),
                reason: reason.to_string(),
            };
            let content = fs::read(path).map_err(|error| unreadable(&error))?;
            let ready: serde_json::Value = serde_json::from_slice(&content).map_err(|error| unreadable(&error))?;
            let rest = ready["rest"].as_str().ok_or_else(|| unreadable(&"it names no address of the REST API"))?;
            let run = runs.into_iter().find(|run| run.rest == rest);
            run.map(|run| run.secret).ok_or_else(|| FindError::Ended { rest: rest.to_owned() })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn run(port: u16, directory: &str, secret: &str) -> Run {
        Run { rest: format!("http://127.0.0.1:{port}"), directory: directory.into(), secret: Secret::given(secret) }
    }

    #[test]
    fn a_run_is_found_while_it_lives() {
        let directory = tempfile::tempdir().unwrap();
        let (one, other) = (run(3000, "/a", "one"), run(4000, "/b", "other"));
        let entry = one.announce_in(directory.path()).unwrap();
        let second = other.announce_in(directory.path()).unwrap();
        assert_eq!(fs::metadata(&entry.path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(all(directory.path()).unwrap(), [one, other.clone()]);
        drop(entry);
        assert_eq!(all(directory.path()).unwrap(), [other]);
        drop(second);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn the_file_of_a_killed_run_counts_as_none_and_goes() {
        let directory = tempfile::tempdir().unwrap();
        let left = directory.path().join("3000-1.run");
        fs::write(&left, serde_json::to_string(&run(3000, "/a", "one")).unwrap()).unwrap();
        assert_eq!(all(directory.path()).unwrap(), []);
        assert!(!left.exists());
    }

    #[test]
    fn the_default_is_the_run_that_is_up_or_the_one_with_the_default_port() {
        let nowhere = Path::new("/nowhere");
        let of = |runs: &[Run]| select(runs.to_vec(), Wanted::Default(nowhere));
        let (default, another, third) = (run(3000, "/a", "one"), run(4000, "/b", "other"), run(5000, "/c", "third"));
        assert_eq!(of(std::slice::from_ref(&another)).unwrap(), another.secret);
        assert_eq!(of(&[another.clone(), default.clone(), third.clone()]).unwrap(), default.secret);
        let error = of(&[another, third]).unwrap_err().to_string();
        assert!(error.contains("http://127.0.0.1:4000 on /b") && error.contains("--ready-file"), "{error}");
        let in_memory = [run(4000, "/m1", "shared"), run(5000, "/m2", "shared"), run(6000, "/m3", "shared")];
        assert_eq!(of(&in_memory).unwrap(), Secret::given("shared"));
        let mixed = [in_memory[0].clone(), run(5000, "/d", "own"), in_memory[2].clone()];
        assert!(matches!(select(mixed.to_vec(), Wanted::Default(nowhere)), Err(FindError::Several { .. })));
        assert!(of(&[]).unwrap_err().to_string().contains("/nowhere"));
        // No run is running: the secret is that of the directory.
        let directory = tempfile::tempdir().unwrap();
        let kept = Secret::of_directory(directory.path()).unwrap();
        assert_eq!(select(Vec::new(), Wanted::Default(directory.path())).unwrap(), kept);
        assert_eq!(select(vec![default.clone()], Wanted::Default(directory.path())).unwrap(), default.secret);
    }

    #[test]
    fn a_data_directory_and_a_ready_file_name_a_run() {
        let directory = tempfile::tempdir().unwrap();
        let kept = Secret::of_directory(directory.path()).unwrap();
        let wanted = Wanted::DataDirectory(directory.path());
        assert_eq!(select(vec![run(3000, "/a", "one")], wanted).unwrap(), kept);
        let whole = directory.path().canonicalize().unwrap();
        assert_eq!(select(vec![run(3000, whole.to_str().unwrap(), "given")], wanted).unwrap(), Secret::given("given"));
        assert!(matches!(select(Vec::new(), Wanted::DataDirectory(Path::new("/a"))), Err(FindError::None { .. })));

        let file = directory.path().join("ready.json");
        let wanted = Wanted::ReadyFile(&file);
        fs::write(&file, r#"{"rest":"http://127.0.0.1:4000"}"#).unwrap();
        let runs = vec![run(3000, "/a", "one"), run(4000, "/b", "other")];
        assert_eq!(select(runs, wanted).unwrap(), Secret::given("other"));
        assert!(matches!(select(Vec::new(), wanted), Err(FindError::Ended { .. })));
        fs::write(&file, "{}").unwrap();
        assert!(matches!(select(Vec::new(), wanted), Err(FindError::ReadyFile { .. })));
    }
}
