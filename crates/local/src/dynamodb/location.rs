//! Where the data lives, and whose it is.

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
use crate::runs;

const DATABASE_FILE: &str = "dynamodb.sqlite";
const LOCK_FILE: &str = "lock";

/// What a database is called until it is whole.
const UNFINISHED_FILE: &str = "dynamodb.sqlite.new";

/// Endings of the files that SQLite keeps beside a database ("Temporary Files Used By SQLite").
const BESIDE: [&str; 3] = ["-wal", "-shm", "-journal"];

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
                // Others have no business in it, whoever may read the directory above.
                DirBuilder::new().recursive(true).mode(0o700).create(&directory).map_err(failed)?;
                let lock = lock(&directory)?.ok_or_else(|| Error::InUse { path: directory.clone() })?;
                Ok(Self { directory, temporary: None, _lock: lock })
            }
            Storage::InMemory => Self::claim_temporary(),
        }
    }

    /// Takes a fresh directory, and clears away those of runs that were killed. Their locks went with them.
    fn claim_temporary() -> Result<Self, Error> {
        let base = runs::user_directory_path();
        let failed = |source| Error::DataDirectory { path: base.clone(), source };
        runs::user_directory().map_err(failed)?;
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

    /// Opens the database, or makes one where there is none.
    ///
    /// A database gets its name when it is whole. So a file with that name that is empty or cut off was damaged later: it
    /// is refused, and what it may still hold is left alone.
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
        // From a run that was killed; the index of a log that has gone, too.
        let left = BESIDE.iter().flat_map(|ending| [beside(&unfinished, ending), beside(&file, ending)]);
        for path in left.chain([unfinished.clone()]) {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
                _ => {}
            }
        }
        // With its last connection, SQLite moves everything to the file itself.
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

/// A file that SQLite keeps beside a database.
fn beside(file: &Path, ending: &str) -> PathBuf {
    let mut path = OsString::from(file);
    path.push(ending);
    path.into()
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
