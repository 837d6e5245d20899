//! Where the data lives, and whose it is.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags, config::DbConfig};
use tempfile::TempDir;

use super::Error;

const DATABASE_FILE: &str = "dynamodb.sqlite";
const LOCK_FILE: &str = "lock";

/// A RAM disk, where the system has one.
const SHARED_MEMORY: &str = "/dev/shm";

/// Tables that the engine keeps in every database of its own.
const ENGINE_TABLES: [&str; 2] = ["_tables", "_stream_records"];

/// How long our connections wait for one another and for the engine's.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Where tables and streams are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Storage {
    /// In this directory, which is made when missing, from run to run.
    Directory(PathBuf),
    /// Nowhere: gone with the run. Held on a RAM disk where there is one, else among temporary files.
    InMemory,
}

/// A directory that is this process's alone until dropped.
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
                fs::create_dir_all(&directory).map_err(failed)?;
                let lock = lock(&directory)?.ok_or_else(|| Error::InUse { path: directory.clone() })?;
                Ok(Self { directory, temporary: None, _lock: lock })
            }
            Storage::InMemory => Self::claim_temporary(),
        }
    }

    /// Takes a fresh directory, and clears away those of runs that were killed. Their locks went with them.
    fn claim_temporary() -> Result<Self, Error> {
        let shared = Path::new(SHARED_MEMORY);
        let base = if shared.is_dir() { shared.to_owned() } else { std::env::temp_dir() };
        // One per user: the directory of another user could be neither cleared nor written to.
        let base = base.join(format!("switchboard-local-{}", rustix::process::getuid().as_raw()));
        let failed = |source| Error::DataDirectory { path: base.clone(), source };
        fs::create_dir_all(&base).map_err(failed)?;
        // Between the making of a directory and its locking nobody else may take it for a leftover.
        let guard = File::create(base.join(LOCK_FILE)).map_err(failed)?;
        guard.lock().map_err(failed)?;
        for entry in fs::read_dir(&base).map_err(failed)?.flatten() {
            let path = entry.path();
            if path.is_dir() && lock(&path)?.is_some() {
                fs::remove_dir_all(&path).map_err(failed)?;
            }
        }
        let temporary = tempfile::Builder::new().prefix("run-").tempdir_in(&base).map_err(failed)?;
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
}

/// Locks a directory; `None` when another process has it. The lock ends with the process, however it ends.
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

/// A connection of our own to the engine's database.
pub(super) fn connect(file: &Path) -> Result<Connection, Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // A statement is planned once, and not again for each value that it is given.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(connection)
}

/// Refuses a file that is damaged or somebody else's, before the engine writes to it.
pub(super) fn check(file: &Path) -> Result<(), Error> {
    if !file.exists() {
        return Ok(());
    }
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
        let foreign = !names.is_empty() && !ENGINE_TABLES.iter().all(|table| names.iter().any(|name| name == table));
        Ok(foreign.then_some("it is a database of something else"))
    };
    match inspect() {
        Ok(None) => Ok(()),
        Ok(Some(reason)) => Err(unusable(reason)),
        Err(error) => Err(unusable(&error.to_string())),
    }
}
