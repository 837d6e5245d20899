//! Positions from which mappings continue after a restart.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rusqlite::{Connection, OptionalExtension, params};

use super::Error;
use crate::dynamodb::Position;

const FILE: &str = "checkpoints.sqlite";

const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Checkpoints of all mappings, in a small separate database, so that saving one never waits for the tables. Clones
/// share it.
#[derive(Clone)]
pub struct Checkpoints {
    connection: Arc<Mutex<Connection>>,
    path: Arc<PathBuf>,
}

impl Checkpoints {
    /// Opens or creates the file in `directory`.
    ///
    /// A checkpoint survives the death of the process. After a power failure an older checkpoint may be found. Records
    /// are then delivered again and never skipped.
    pub fn open(directory: &Path) -> Result<Self, Error> {
        let path = directory.join(FILE);
        let open = || {
            let connection = Connection::open(&path)?;
            connection.busy_timeout(BUSY_TIMEOUT)?;
            connection.pragma_update(None, "journal_mode", "WAL")?;
            connection.pragma_update(None, "synchronous", "NORMAL")?;
            connection.execute_batch(
                "CREATE TABLE IF NOT EXISTS checkpoints (
                     mapping TEXT NOT NULL,
                     stream_arn TEXT NOT NULL,
                     sequence_number INTEGER NOT NULL,
                     PRIMARY KEY (mapping, stream_arn)
                 ) WITHOUT ROWID",
            )?;
            Ok(connection)
        };
        match open() {
            Ok(connection) => Ok(Self { connection: Arc::new(Mutex::new(connection)), path: Arc::new(path) }),
            Err(source) => Err(Error::Checkpoints { path, source }),
        }
    }

    /// Returns the position up to which `mapping` has processed the stream, or `None` if it never read it.
    pub fn load(&self, mapping: &str, stream_arn: &str) -> Result<Option<Position>, Error> {
        self.with(|connection| {
            connection
                .prepare_cached("SELECT sequence_number FROM checkpoints WHERE mapping = ?1 AND stream_arn = ?2")?
                .query_row([mapping, stream_arn], |row| row.get(0))
                .optional()
        })
        .map(|number| number.map(Position::from_stored))
    }

    /// Saves that `mapping` has processed all records up to `position`.
    pub fn save(&self, mapping: &str, stream_arn: &str, position: Position) -> Result<(), Error> {
        self.with(|connection| {
            connection
                .prepare_cached("INSERT OR REPLACE INTO checkpoints VALUES (?1, ?2, ?3)")?
                .execute(params![mapping, stream_arn, position.stored()])
                .map(drop)
        })
    }

    fn with<T>(&self, use_it: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, Error> {
        use_it(&self.connection.lock().unwrap_or_else(PoisonError::into_inner))
            .map_err(|source| Error::Checkpoints { path: (*self.path).clone(), source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checkpoints_are_kept_per_mapping_and_stream() {
        let directory = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints::open(directory.path()).unwrap();
        checkpoints.save("agent", "stream/1", Position::from_stored(7)).unwrap();
        checkpoints.save("agent", "stream/2", Position::from_stored(8)).unwrap();
        checkpoints.save("agent", "stream/1", Position::from_stored(9)).unwrap();
        drop(checkpoints);

        let checkpoints = Checkpoints::open(directory.path()).unwrap();
        assert_eq!(checkpoints.load("agent", "stream/1").unwrap(), Some(Position::from_stored(9)));
        assert_eq!(checkpoints.load("agent", "stream/2").unwrap(), Some(Position::from_stored(8)));
        assert_eq!(checkpoints.load("delivery", "stream/1").unwrap(), None);
    }

    #[test]
    fn a_damaged_file_is_named() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(FILE), "not a database at all".repeat(100)).unwrap();

        let error = Checkpoints::open(directory.path()).err().unwrap().to_string();
        assert!(error.contains(FILE) && error.contains("delete"), "{error}");
    }
}
