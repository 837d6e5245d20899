//! The stream of a table, as its readers see it.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use dynoxide::{Database, streams};
use jiff::Timestamp;
use rusqlite::{Connection, Row, params};
use serde_json::{Map, Value, json};
use tokio::sync::watch;
use tracing::warn;

use super::{Error, Options, location::connect, worker::Worker};

/// What the engine adds to a stored sequence number to show it in the 21 digits that DynamoDB uses.
const SEQUENCE_NUMBER_OFFSET: u128 = 100_000_000_000_000_000_000;

/// Bytes of records after which a read ends, from "`GetRecords`" in the `DynamoDB` Streams API reference.
const READ_BYTES: usize = 1024 * 1024;

/// Looks that are left out after a change: who reads it now is not back before.
const AFTER_CHANGE: u32 = 5;

/// How long after a write the streams count as busy.
const BUSY_FOR: Duration = Duration::from_secs(1);

/// A place in a stream: just after the record of this number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(i64);

impl Position {
    /// Before the oldest record.
    pub const TRIM_HORIZON: Self = Self(0);

    /// From the number that the engine stores.
    #[must_use]
    pub fn from_stored(number: i64) -> Self {
        Self(number)
    }

    /// The number that the engine stores.
    #[must_use]
    pub fn stored(self) -> i64 {
        self.0
    }

    /// `SequenceNumber`, as the API and events show it.
    #[must_use]
    pub fn sequence_number(self) -> String {
        (SEQUENCE_NUMBER_OFFSET + u128::from(self.0.unsigned_abs())).to_string()
    }
}

/// A change of an item.
#[derive(Debug, Clone)]
pub struct Record {
    /// Where the record ends.
    pub position: Position,
    /// `ApproximateCreationDateTime`, in whole seconds.
    pub created_at: Timestamp,
    /// The item's partition key, as JSON: equal for records that must be kept in order.
    pub partition_key: String,
    /// The record as a function sees it among the `Records` of its event.
    pub event: Value,
}

/// What is the same for all records of a stream.
#[derive(Debug)]
pub struct Stream {
    /// The table's name.
    pub table: String,
    /// `LatestStreamArn`, with the region and account of this run.
    pub arn: String,
    /// The stream's only shard.
    pub shard_id: String,
    region: String,
    view_type: String,
    partition_key: String,
}

impl Stream {
    pub(super) fn of(database: &Database, table: &str, options: &Options) -> Result<Self, Error> {
        let none = || Error::NoStream(table.to_owned());
        let metadata = database
            .get_table_metadata(table)
            .map_err(|error| Error::Engine(error.to_string()))?
            .filter(|metadata| metadata.stream_enabled)
            .ok_or_else(none)?;
        let label = metadata.stream_label.ok_or_else(none)?;
        let key_schema: Value =
            serde_json::from_str(&metadata.key_schema).map_err(|error| Error::Engine(error.to_string()))?;
        let partition_key = key_schema
            .as_array()
            .into_iter()
            .flatten()
            .find(|key| key["KeyType"] == "HASH")
            .and_then(|key| key["AttributeName"].as_str())
            .ok_or_else(|| Error::Engine(format!("table {table} has no partition key")))?;
        Ok(Self {
            arn: format!("arn:aws:dynamodb:{}:{}:table/{table}/stream/{label}", options.region, options.account_id),
            shard_id: streams::shard_id(table),
            region: options.region.clone(),
            view_type: metadata.stream_view_type.unwrap_or_else(|| "NEW_AND_OLD_IMAGES".to_owned()),
            partition_key: partition_key.to_owned(),
            table: table.to_owned(),
        })
    }

    /// Shapes a stored record like the example in "Using AWS Lambda with Amazon DynamoDB" in the Lambda
    /// developer guide. TTL deletions carry the `userIdentity` of "Time to Live" in the DynamoDB one.
    fn record(&self, row: &StoredRecord) -> Result<Record, Error> {
        let parse = |text: &str| {
            serde_json::from_str::<Value>(text)
                .map_err(|error| Error::Engine(format!("record {} is damaged: {error}", row.number)))
        };
        let position = Position(row.number);
        let keys = parse(&row.keys)?;
        let partition_key = keys[&self.partition_key].to_string();
        let mut change = Map::from_iter([
            ("ApproximateCreationDateTime".to_owned(), json!(row.created_at)),
            ("Keys".to_owned(), keys),
            ("SequenceNumber".to_owned(), json!(position.sequence_number())),
            ("SizeBytes".to_owned(), json!(row.size())),
            ("StreamViewType".to_owned(), json!(self.view_type)),
        ]);
        for (name, image) in [("NewImage", &row.new_image), ("OldImage", &row.old_image)] {
            if let Some(image) = image {
                change.insert(name.to_owned(), parse(image)?);
            }
        }
        let mut event = json!({
            "eventID": row.event_id.clone().unwrap_or_else(|| row.number.to_string()),
            "eventName": row.event_name,
            "eventVersion": "1.1",
            "eventSource": "aws:dynamodb",
            "awsRegion": self.region,
            "dynamodb": change,
            "eventSourceARN": self.arn,
        });
        if let Some(identity) = &row.user_identity {
            event["userIdentity"] = parse(identity)?;
        }
        let created_at = Timestamp::from_second(row.created_at).map_err(|error| Error::Engine(error.to_string()))?;
        Ok(Record { position, created_at, partition_key, event })
    }
}

/// A row of the engine's stream table.
struct StoredRecord {
    number: i64,
    event_id: Option<String>,
    event_name: String,
    keys: String,
    new_image: Option<String>,
    old_image: Option<String>,
    created_at: i64,
    user_identity: Option<String>,
}

impl StoredRecord {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            number: row.get(0)?,
            event_id: row.get(1)?,
            event_name: row.get(2)?,
            keys: row.get(3)?,
            new_image: row.get(4)?,
            old_image: row.get(5)?,
            created_at: row.get(6)?,
            user_identity: row.get(7)?,
        })
    }

    fn size(&self) -> usize {
        let image = |image: &Option<String>| image.as_ref().map_or(0, String::len);
        self.keys.len() + image(&self.new_image) + image(&self.old_image)
    }
}

/// Reads one stream, from any place on, as often as wanted.
///
/// It reads through a connection of its own: SQLite's write-ahead log lets it go on while the engine writes.
pub struct StreamReader {
    connection: Arc<Mutex<Connection>>,
    stream: Arc<Stream>,
    changes: watch::Receiver<i64>,
}

impl StreamReader {
    pub(super) fn new(file: &Path, stream: Stream, changes: watch::Receiver<i64>) -> Result<Self, Error> {
        Ok(Self { connection: Arc::new(Mutex::new(connect(file)?)), stream: Arc::new(stream), changes })
    }

    /// What is read.
    #[must_use]
    pub fn stream(&self) -> &Arc<Stream> {
        &self.stream
    }

    /// The place after the newest record.
    pub fn latest(&self) -> Result<Position, Error> {
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let newest: Option<i64> = connection.query_row(
            "SELECT MAX(CAST(sequence_number AS INTEGER)) FROM _stream_records WHERE table_name = ?1",
            [&self.stream.table],
            |row| row.get(0),
        )?;
        Ok(newest.map_or(Position::TRIM_HORIZON, Position))
    }

    /// The next records after `position`, in order, at least one and at most `limit` or about 1 MB; waits until
    /// there is one. Safe to cancel.
    ///
    /// Fails with [`Error::Stopped`] once the engine is gone.
    pub async fn next(&mut self, position: Position, limit: usize) -> Result<Vec<Record>, Error> {
        loop {
            // Before the read: a write that comes after it must wake us.
            self.changes.borrow_and_update();
            let records = self.read(position, limit).await?;
            if !records.is_empty() {
                return Ok(records);
            }
            self.changes.changed().await.map_err(|_| Error::Stopped)?;
        }
    }

    async fn read(&self, position: Position, limit: usize) -> Result<Vec<Record>, Error> {
        let (connection, stream) = (Arc::clone(&self.connection), Arc::clone(&self.stream));
        let read = move || {
            let connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
            read(&connection, &stream, position, limit)
        };
        tokio::task::spawn_blocking(read).await.map_err(|_| Error::Stopped)?
    }
}

fn read(connection: &Connection, stream: &Stream, position: Position, limit: usize) -> Result<Vec<Record>, Error> {
    let mut statement = connection.prepare_cached(
        "SELECT CAST(sequence_number AS INTEGER), event_id, event_name, keys_json, new_image, old_image,
                created_at, user_identity
         FROM _stream_records
         WHERE table_name = ?1 AND CAST(sequence_number AS INTEGER) > ?2
         ORDER BY CAST(sequence_number AS INTEGER)
         LIMIT ?3",
    )?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = statement.query_map(params![stream.table, position.0, limit], StoredRecord::read)?;
    let mut records = Vec::new();
    let mut bytes = 0;
    for row in rows {
        let row = row?;
        bytes += row.size();
        records.push(stream.record(&row)?);
        if bytes >= READ_BYTES {
            break;
        }
    }
    Ok(records)
}

/// Tells readers that something was written.
///
/// The engine has no hook for it, but SQLite counts commits: asking for the count takes microseconds, so it is
/// asked for every millisecond while there is traffic and less often when there is none.
pub(super) struct Watcher {
    changes: watch::Receiver<i64>,
    _worker: Worker,
}

impl Watcher {
    pub(super) fn start(file: &Path, options: &Options) -> Result<Self, Error> {
        let connection = connect(file)?;
        let (busy, idle) = (options.busy_poll_interval, options.idle_poll_interval);
        let after_change = busy * AFTER_CHANGE;
        let (announce, changes) = watch::channel(data_version(&connection)?);
        let mut last_change = Instant::now();
        let worker = Worker::start("dynamodb-streams", move || {
            match data_version(&connection) {
                Ok(version) => {
                    if announce.send_if_modified(|known| std::mem::replace(known, version) != version) {
                        last_change = Instant::now();
                        return after_change;
                    }
                }
                Err(error) => {
                    warn!(%error, "the streams cannot be watched; readers look for themselves");
                    announce.send_modify(|_| ());
                    return BUSY_FOR;
                }
            }
            if last_change.elapsed() < BUSY_FOR { busy } else { idle }
        })
        .map_err(|error| Error::Engine(format!("no thread to watch its streams: {error}")))?;
        Ok(Self { changes, _worker: worker })
    }

    pub(super) fn changes(&self) -> watch::Receiver<i64> {
        self.changes.clone()
    }
}

/// Changes whenever another connection commits; see SQLite's documentation of the pragma.
fn data_version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))
}
