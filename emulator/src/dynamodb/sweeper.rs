//! Maintenance that the engine does not do itself.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use dynoxide::Database;
use jiff::Timestamp;
use rusqlite::{Connection, TransactionBehavior, params};
use tracing::warn;

use super::{Error, Options, STREAM_RETENTION, location::connect, worker::Worker};

/// Maximum number of records removed under one write lock, so that requests wait a few milliseconds at most.
const TRIM_BATCH: i64 = 500;

/// Minimum pause between two sweeps, as a multiple of the last one's duration. A sweep reads every item under the engine's
/// lock, page by page, and so delays requests. DynamoDB deletes expired items "within a few days" ("Using time to live
/// (TTL) in DynamoDB").
const SWEEP_PAUSE: u32 = 200;

/// Creates an index by sequence number. The engine looks up the last number of a table on each write, and the records
/// after a number, without reading the whole stream.
pub(super) fn index_streams(file: &Path) -> Result<(), Error> {
    connect(file)?.execute_batch(
        "CREATE INDEX IF NOT EXISTS _stream_records_by_sequence_number
         ON _stream_records (table_name, CAST(sequence_number AS INTEGER))",
    )?;
    Ok(())
}

/// Background task that deletes expired items and old stream records.
pub(super) struct BackgroundSweeper {
    _worker: Worker,
}

impl BackgroundSweeper {
    pub(super) fn start(file: &Path, database: Database, options: &Options) -> Result<Self, Error> {
        let file = file.to_owned();
        let (sweep_interval, trim_interval) = (options.ttl_sweep_interval, options.trim_interval);
        let mut next_trim = Instant::now();
        let mut next_sweep = next_trim;
        let worker = Worker::start("dynamodb-sweeper", move || {
            if Instant::now() >= next_sweep {
                let began = Instant::now();
                if let Err(error) = database.sweep_ttl() {
                    warn!(%error, "expired items could not be deleted; trying again later");
                }
                next_sweep = Instant::now() + sweep_interval.max(began.elapsed() * SWEEP_PAUSE);
            }
            if Instant::now() >= next_trim {
                if let Err(error) = trim_expired(&file) {
                    warn!(%error, "old stream records could not be removed; trying again later");
                }
                next_trim = Instant::now() + trim_interval;
            }
            next_sweep.min(next_trim).saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
        })
        .map_err(|error| Error::Engine(format!("no thread for its sweeper: {error}")))?;
        Ok(Self { _worker: worker })
    }
}

fn trim_expired(file: &Path) -> Result<usize, Error> {
    let horizon = Timestamp::now().checked_sub(STREAM_RETENTION).map_err(|error| Error::Engine(error.to_string()))?;
    trim_streams(file, horizon)
}

/// Removes the records of every stream that were created before `horizon`, except each stream's newest.
pub(super) fn trim_streams(file: &Path, horizon: Timestamp) -> Result<usize, Error> {
    let mut connection = connect(file)?;
    let tables = connection
        .prepare("SELECT table_name FROM _tables WHERE stream_enabled = 1")?
        .query_map([], |row| row.get(0))?
        .collect::<Result<Vec<String>, _>>()?;
    let mut removed = 0;
    for table in tables {
        loop {
            let batch = trim_batch(&mut connection, &table, horizon)?;
            removed += batch;
            if batch == 0 {
                break;
            }
        }
    }
    Ok(removed)
}

/// Removes the oldest records, up to the first that must stay. Records are checked in order of their numbers, so a
/// stream without old records costs the reading of one batch.
fn trim_batch(connection: &mut Connection, table: &str, horizon: Timestamp) -> Result<usize, Error> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let removed = transaction.execute(
        "DELETE FROM _stream_records WHERE id IN (
             SELECT id FROM (
                 SELECT id, created_at, CAST(sequence_number AS INTEGER) AS number FROM _stream_records
                 WHERE table_name = ?1 ORDER BY CAST(sequence_number AS INTEGER) LIMIT ?3
             )
             WHERE created_at < ?2 AND number < (
                 SELECT MAX(CAST(sequence_number AS INTEGER)) FROM _stream_records WHERE table_name = ?1
             )
         )",
        params![table, horizon.as_second(), TRIM_BATCH],
    )?;
    transaction.commit()?;
    Ok(removed)
}
