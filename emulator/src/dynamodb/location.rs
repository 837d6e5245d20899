//! Location of the data, and its lock.

use std::{
    ffi::OsString,
    fs::{self, DirBuilder, File, TryLockError},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    time::Duration,
};

use dynoxide::Database;
use rusqlite::{Connection, OpenFlags, config::DbConfig};
use tempfile::TempDir;

use super::Error;
use crate::user_directory;

/// Beginning of the names of temporary directories.
const TEMPORARY: &str = "run-";

const DATABASE_FILE: &str = "dynamodb.sqlite";
const LOCK_FILE: &str = "lock";

/// Temporary name of a database that is not complete.
const UNFINISHED_FILE: &str = "dynamodb.sqlite.new";

/// Suffixes of SQLite's additional files ("Temporary Files Used By SQLite").
const BESIDE: [&str; 3] = ["-wal", "-shm", "-journal"];

/// Tables that the engine creates in each of its databases.
const ENGINE_TABLES: [&str; 2] = ["_tables", "_stream_records"];

/// Maximum wait of this module's connections for another connection's lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Storage of tables and streams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Storage {
    /// Permanent, in this directory, which is created if it is missing.
    Directory(PathBuf),
    /// Temporary, until the run ends: on a RAM disk if there is one, otherwise among temporary files.
    InMemory,
}

/// Directory that this process owns until the value is dropped.
pub(super) struct Location {
    directory: PathBuf,
    temporary: Option<TempDir>,
    _lock: File,
}

impl Location {
    pub(super) fn claim(storage: Storage) -> Result<Self, Error> {
        match storage {
            Storage::Directory(directory) => {
                let failed = |source| Error::DataDirectory { path: directory.clone(), source };
                // Only this user may enter it, even if the parent directory is readable.
                DirBuilder::new().recursive(true).mode(0o700).create(&directory).map_err(failed)?;
                let lock = lock(&directory)?.ok_or_else(|| Error::InUse { path: directory.clone() })?;
                Ok(Self { directory, temporary: None, _lock: lock })
            }
            Storage::InMemory => Self::claim_temporary(),
        }
    }

    /// Creates a temporary directory, and removes those of runs that were killed. Such runs hold no locks.
    fn claim_temporary() -> Result<Self, Error> {
        let base = user_directory::path();
        let failed = |source| Error::DataDirectory { path: base.clone(), source };
        user_directory::create().map_err(failed)?;
        // The guard prevents that another run removes a directory between its creation and its lock.
        let guard = File::create(base.join(LOCK_FILE)).map_err(failed)?;
        guard.lock().map_err(failed)?;
        remove_killed(&base)?;
        let temporary = tempfile::Builder::new().prefix(TEMPORARY).tempdir_in(&base).map_err(failed)?;
        let directory = temporary.path().to_owned();
        let lock = lock(&directory)?.ok_or_else(|| Error::InUse { path: directory.clone() })?;
        Ok(Self { directory, temporary: Some(temporary), _lock: lock })
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(super) fn database(&self) -> PathBuf {
        self.directory.join(DATABASE_FILE)
    }

    pub(super) fn is_temporary(&self) -> bool {
        self.temporary.is_some()
    }

    /// Opens the database, or creates it if it is missing.
    ///
    /// A database gets its name when it is complete. A file with that name that is empty or truncated was damaged
    /// later. It is rejected and its content is kept.
    pub(super) fn open(&self) -> Result<Database, Error> {
        let file = self.database();
        let unusable = |reason: String| Error::Unusable { path: file.clone(), reason };
        match fs::symlink_metadata(&file) {
            Ok(found) if found.is_file() && found.len() == 0 => return Err(unusable("it is empty".to_owned())),
            Ok(_) => check(&file)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.create()?,
            Err(error) => return Err(unusable(error.to_string())),
        }
        open(&file)
    }

    fn create(&self) -> Result<(), Error> {
        let (unfinished, file) = (self.directory.join(UNFINISHED_FILE), self.database());
        let failed = |source| Error::DataDirectory { path: self.directory.clone(), source };
        for ending in ["-wal", "-journal"] {
            let path = beside(&file, ending);
            if fs::metadata(&path).is_ok_and(|found| found.len() > 0) {
                let reason = format!("it is missing, while {} holds changes of it", path.display());
                return Err(Error::Unusable { path: file, reason });
            }
        }
        // A killed run may have left these files, including the index of a removed log.
        let left = BESIDE.iter().flat_map(|ending| [beside(&unfinished, ending), beside(&file, ending)]);
        for path in left.chain([unfinished.clone()]) {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
                _ => {}
            }
        }
        // When the last connection closes, SQLite moves all data to the file itself.
        drop(open(&unfinished)?);
        if fs::metadata(beside(&unfinished, "-wal")).is_ok_and(|found| found.len() > 0) {
            return Err(Error::Engine("a new database could not be closed".to_owned()));
        }
        let publish = || -> io::Result<()> {
            if !self.is_temporary() {
                File::open(&unfinished)?.sync_all()?;
            }
            fs::rename(&unfinished, &file)?;
            if !self.is_temporary() {
                File::open(&self.directory)?.sync_all()?;
            }
            Ok(())
        };
        publish().map_err(failed)
    }
}

fn open(file: &Path) -> Result<Database, Error> {
    let unusable = |reason: String| Error::Unusable { path: file.to_owned(), reason };
    let path = file.to_str().ok_or_else(|| unusable("its path is not UTF-8".to_owned()))?;
    Database::new(path).map_err(|error| unusable(error.to_string()))
}

/// Returns the path of one of SQLite's additional files.
fn beside(file: &Path, ending: &str) -> PathBuf {
    let mut path = OsString::from(file);
    path.push(ending);
    path.into()
}

/// Removes the temporary directories of runs that were killed. Other directories stay, and a run that ends at the same time
/// removes its own.
fn remove_killed(base: &Path) -> Result<(), Error> {
    let failed = |source| Error::DataDirectory { path: base.to_owned(), source };
    for entry in fs::read_dir(base).map_err(failed)?.flatten() {
        let path = entry.path();
        if !entry.file_name().as_encoded_bytes().starts_with(TEMPORARY.as_bytes()) || !path.is_dir() {
            continue;
        }
        let removed = match lock(&path) {
            Ok(None) => continue,
            Ok(Some(_lock)) => fs::remove_dir_all(&path),
            Err(Error::DataDirectory { source, .. }) => Err(source),
            Err(error) => return Err(error),
        };
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
    }
    Ok(())
}

/// Locks a directory. Returns `None` if another process holds the lock. The lock ends with the process in all cases.
fn lock(directory: &Path) -> Result<Option<File>, Error> {
    let path = directory.join(LOCK_FILE);
    let failed = |source: io::Error| Error::DataDirectory { path: path.clone(), source };
    let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// Opens a connection to the engine's database, in addition to the engine's own.
pub(super) fn connect(file: &Path) -> Result<Connection, Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // Plans a statement once instead of once per parameter value.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(connection)
}

/// Rejects a file that is damaged or was not created by a local run, before the engine writes to it.
fn check(file: &Path) -> Result<(), Error> {
    let unusable = |reason: &str| Error::Unusable { path: file.to_owned(), reason: reason.to_owned() };
    let inspect = || -> Result<Option<&str>, Error> {
        let connection = connect(file)?;
        let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        if verdict != "ok" {
            return Ok(Some("it is damaged"));
        }
        let names = connection
            .prepare("SELECT name FROM sqlite_master WHERE type = 'table'")?
            .query_map([], |row| row.get(0))?
            .collect::<Result<Vec<String>, _>>()?;
        let is_ours = ENGINE_TABLES.iter().all(|table| names.iter().any(|name| name == table));
        let reason = if names.is_empty() { "it has no tables" } else { "it is a database of something else" };
        Ok((!is_ours).then_some(reason))
    };
    match inspect() {
        Ok(None) => Ok(()),
        Ok(Some(reason)) => Err(unusable(reason)),
        Err(error) => Err(unusable(&error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_temporary_directories_of_killed_runs_are_removed() {
        let base = tempfile::tempdir().unwrap();
        let directory = |name: &str| {
            let path = base.path().join(name);
            fs::create_dir(&path).unwrap();
            path
        };
        let (killed, running, other) = (directory("run-killed"), directory("run-running"), directory("in-memory"));
        let _lock = lock(&running).unwrap().unwrap();
        remove_killed(base.path()).unwrap();
        assert!(!killed.exists(), "a directory without a lock is left of a killed run");
        assert!(running.exists() && other.exists());
    }
}
