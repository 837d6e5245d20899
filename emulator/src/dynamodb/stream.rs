//! The stream of a table and its readers.

use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use dynoxide::{Database, streams};
use jiff::Timestamp;
use rusqlite::{Connection, Row, params};
use serde_json::{Map, Value, json};
use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};
use tracing::warn;

use super::{Error, Options, item_size, location::connect, worker::Worker};

/// Offset between the engine's stored sequence numbers and the shown 21 digits of DynamoDB.
const SEQUENCE_NUMBER_OFFSET: u128 = 100_000_000_000_000_000_000;

/// Maximum bytes of records in a read, from "`GetRecords`" in the `DynamoDB` Streams API reference.
const READ_BYTES: usize = 1024 * 1024;

/// Number of polls that are skipped after a change. Frequent writers notify through [`Watcher::announce`].
const AFTER_CHANGE: u32 = 10;

/// Time after a write during which the streams count as busy.
const BUSY_FOR: Duration = Duration::from_secs(1);

/// Position in a stream: directly after the record with this number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(i64);

impl Position {
    /// Position before the oldest record.
    pub const TRIM_HORIZON: Self = Self(0);

    /// Creates a position from the number that the engine stores.
    #[must_use]
    pub fn from_stored(number: i64) -> Self {
        Self(number)
    }

    /// Returns the number that the engine stores.
    #[must_use]
    pub fn stored(self) -> i64 {
        self.0
    }

    /// Returns the `SequenceNumber` of the API and of events.
    #[must_use]
    pub fn sequence_number(self) -> String {
        (SEQUENCE_NUMBER_OFFSET + u128::from(self.0.unsigned_abs())).to_string()
    }
}

/// Change of an item.
#[derive(Debug, Clone)]
pub struct Record {
    /// Position directly after the record.
    pub position: Position,
    /// `ApproximateCreationDateTime`, in whole seconds.
    pub created_at: Timestamp,
    /// Partition key of the item, as JSON. Records with the same key must stay in order.
    pub partition_key: String,
    /// The record as a function receives it among the `Records` of its event.
    pub event: Value,
    /// The same record as text.
    pub json: Arc<str>,
}

/// Properties shared by all records of a stream.
#[derive(Debug)]
pub struct Stream {
    /// Name of the table.
    pub table: String,
    /// `LatestStreamArn`, with the region and account of this run.
    pub arn: String,
    /// Id of the stream's only shard.
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

    /// Converts a stored record to the form of the example in "Using AWS Lambda with Amazon DynamoDB" in the Lambda
    /// developer guide. TTL deletions carry the `userIdentity` of "Time to Live" in the DynamoDB developer guide.
    ///
    /// Returns `None` for a write without a change.
    fn record(&self, row: &StoredRecord) -> Result<Option<Record>, Error> {
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
            ("StreamViewType".to_owned(), json!(self.view_type)),
        ]);
        for (name, image) in [("NewImage", &row.new_image), ("OldImage", &row.old_image)] {
            if let Some(image) = image {
                change.insert(name.to_owned(), parse(image)?);
            }
        }
        // Recorded at AWS: a write that leaves an item as it was has no record.
        if row.event_name == "MODIFY" && change.get("NewImage").is_some_and(|new| change.get("OldImage") == Some(new)) {
            return Ok(None);
        }
        let parts = ["Keys", "NewImage", "OldImage"].iter().filter_map(|part| change.get(*part));
        let size: usize = parts.map(item_size::of_item).sum();
        change.insert("SizeBytes".to_owned(), json!(size));
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
        let json = event.to_string().into();
        Ok(Some(Record { position, created_at, partition_key, event, json }))
    }
}

/// Row of the engine's stream table.
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

    /// Returns the number of bytes of its JSON.
    fn size(&self) -> usize {
        let image = |image: &Option<String>| image.as_ref().map_or(0, String::len);
        self.keys.len() + image(&self.new_image) + image(&self.old_image)
    }
}

/// Condition for which a read waits, so that several records are read together. It ends when one of the two limits is
/// reached.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BatchWait {
    /// Latest end of the wait.
    pub(crate) until: Instant,
    /// Number of writes since the last read.
    pub(crate) writes: u64,
}

/// Number of writes to a table, for one reader of its stream.
struct Writes {
    noticed: watch::Receiver<u64>,
    /// Number of writes at the last read.
    read: u64,
}

impl Writes {
    fn new(noticed: watch::Receiver<u64>) -> Self {
        Self { noticed, read: 0 }
    }

    /// Waits until the condition of `BatchWait` is met. If the watcher has stopped, returns at once; the following read
    /// then returns the error.
    async fn company(&mut self, BatchWait { until, writes }: BatchWait) {
        let enough = self.read + writes;
        let _ = timeout_at(until, self.noticed.wait_for(|noticed| *noticed >= enough)).await;
    }
}

/// Reader of one stream. It can read from any position, any number of times.
pub struct StreamReader {
    tail: Arc<Tail>,
    writes: Writes,
}

impl StreamReader {
    pub(super) fn new(tail: Arc<Tail>, changes: watch::Receiver<u64>) -> Self {
        Self { tail, writes: Writes::new(changes) }
    }

    /// Returns the properties of the stream.
    #[must_use]
    pub fn stream(&self) -> &Arc<Stream> {
        &self.tail.stream
    }

    /// Returns the position after the newest record.
    pub fn latest(&self) -> Result<Position, Error> {
        let newest: Option<i64> = self.tail.lock().connection.query_row(
            "SELECT MAX(CAST(sequence_number AS INTEGER)) FROM _stream_records WHERE table_name = ?1",
            [&self.tail.stream.table],
            |row| row.get(0),
        )?;
        Ok(newest.map_or(Position::TRIM_HORIZON, Position))
    }

    /// Returns the next records after `position`, in order: at least one, at most `limit` or about 1 MB. Waits until a
    /// record is available. Cancel safe.
    ///
    /// Fails with [`Error::Stopped`] when the engine has stopped.
    pub async fn next(&mut self, position: Position, limit: usize) -> Result<Records, Error> {
        self.next_with(None, position, limit).await
    }

    /// Returns the next records as [`StreamReader::next`] does, after waiting for `company` (a [`BatchWait`]).
    pub(crate) async fn next_with(
        &mut self,
        company: Option<BatchWait>,
        position: Position,
        limit: usize,
    ) -> Result<Records, Error> {
        loop {
            if let Some(company) = company {
                self.writes.company(company).await;
            }
            // Marks the writes as seen before the read, so that a later write wakes the reader.
            self.writes.noticed.borrow_and_update();
            let tail = Arc::clone(&self.tail);
            let read = tokio::task::spawn_blocking(move || tail.read(position, limit));
            let records = read.await.map_err(|_| Error::Stopped)??;
            if !records.is_empty() {
                self.writes.read = *self.writes.noticed.borrow();
                return Ok(records);
            }
            self.writes.noticed.changed().await.map_err(|_| Error::Stopped)?;
        }
    }
}

/// Records of one read, in order.
pub type Records = Arc<[Record]>;

/// A stream, shared by all its readers. Readers are at similar positions, so the result of one read is cached for the
/// next.
///
/// It has its own connection: with SQLite's write-ahead log, reads run while the engine writes.
pub(super) struct Tail {
    stream: Arc<Stream>,
    reading: Mutex<Reading>,
}

struct Reading {
    connection: Connection,
    /// Last result that was not empty, with its position and limit.
    last: Option<(Position, usize, Records)>,
}

impl Tail {
    pub(super) fn new(file: &Path, stream: Stream) -> Result<Self, Error> {
        let reading = Mutex::new(Reading { connection: connect(file)?, last: None });
        Ok(Self { stream: Arc::new(stream), reading })
    }

    fn lock(&self) -> MutexGuard<'_, Reading> {
        self.reading.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the records after `position`. Records never change, so the cached records after a position stay valid.
    fn read(&self, position: Position, limit: usize) -> Result<Records, Error> {
        let mut reading = self.lock();
        if let Some((_, _, records)) = reading.last.as_ref().filter(|(at, most, _)| (*at, *most) == (position, limit)) {
            return Ok(Arc::clone(records));
        }
        let records: Records = read(&reading.connection, &self.stream, position, limit)?.into();
        if !records.is_empty() {
            reading.last = Some((position, limit, Arc::clone(&records)));
        }
        Ok(records)
    }
}

/// Returns up to `limit` records after `position`, or none at the end of the stream.
fn read(connection: &Connection, stream: &Stream, mut position: Position, limit: usize) -> Result<Vec<Record>, Error> {
    loop {
        let (records, last) = read_page(connection, stream, position, limit)?;
        // A page of writes without a change is not the end.
        match last.filter(|_| records.is_empty()) {
            Some(last) => position = last,
            None => return Ok(records),
        }
    }
}

/// Returns the records of the next rows after `position`, and the position of the last row.
fn read_page(
    connection: &Connection,
    stream: &Stream,
    position: Position,
    limit: usize,
) -> Result<(Vec<Record>, Option<Position>), Error> {
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
    let (mut records, mut last) = (Vec::new(), None);
    let mut bytes = 0;
    for row in rows {
        let row = row?;
        bytes += row.size();
        last = Some(Position(row.number));
        records.extend(stream.record(&row)?);
        if bytes >= READ_BYTES {
            break;
        }
    }
    Ok((records, last))
}

/// Notifies readers of writes.
///
/// Writes through [`Engine::answer`](super::Engine::answer) are announced directly. The engine has no hook for the
/// others, but SQLite counts commits. Reading the count takes microseconds, so it is polled often during traffic and
/// less often without.
pub(super) struct Watcher {
    changes: Changes,
    _worker: Worker,
}

/// Numbers of noticed writes, by table.
type Changes = Arc<Mutex<HashMap<String, watch::Sender<u64>>>>;

impl Watcher {
    pub(super) fn start(file: &Path, options: &Options) -> Result<Self, Error> {
        let connection = connect(file)?;
        let (busy, idle) = (options.busy_poll_interval, options.idle_poll_interval);
        let after_change = busy * AFTER_CHANGE;
        let changes = Changes::default();
        let of_worker = Arc::clone(&changes);
        let announce = move || of(&of_worker).values().for_each(|changes| changes.send_modify(|writes| *writes += 1));
        let mut known = data_version(&connection)?;
        let mut last_change = std::time::Instant::now();
        let worker = Worker::start("dynamodb-streams", move || {
            match data_version(&connection) {
                Ok(version) => {
                    if std::mem::replace(&mut known, version) != version {
                        announce();
                        last_change = std::time::Instant::now();
                        return after_change;
                    }
                }
                Err(error) => {
                    warn!(%error, "the streams could not be watched; readers poll instead");
                    announce();
                    return BUSY_FOR;
                }
            }
            if last_change.elapsed() < BUSY_FOR { busy } else { idle }
        })
        .map_err(|error| Error::Engine(format!("no thread to watch its streams: {error}")))?;
        Ok(Self { changes, _worker: worker })
    }

    /// Notifies the readers of a table of a write.
    pub(super) fn announce(&self, table: &str) {
        if let Some(changes) = of(&self.changes).get(table) {
            changes.send_modify(|writes| *writes += 1);
        }
    }

    /// Returns the receiver of notifications of writes to a table.
    pub(super) fn changes(&self, table: &str) -> watch::Receiver<u64> {
        of(&self.changes).entry(table.to_owned()).or_default().subscribe()
    }
}

impl Drop for Watcher {
    /// Ends the waits of all readers.
    fn drop(&mut self) {
        of(&self.changes).clear();
    }
}

fn of(changes: &Changes) -> MutexGuard<'_, HashMap<String, watch::Sender<u64>>> {
    changes.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns a number that changes whenever another connection commits; see SQLite's documentation of the pragma.
fn data_version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_millis(2);

    /// Returns the time that a reader waits for two writes, if `read` writes were read before and `come` have arrived
    /// since.
    async fn waits(read: u64, come: u64) -> Duration {
        let (table, noticed) = watch::channel(read + come);
        let mut writes = Writes { noticed, read };
        let began = Instant::now();
        writes.company(BatchWait { until: began + PAUSE, writes: 2 }).await;
        drop(table);
        began.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_waits_for_another_and_no_longer_than_it_may() {
        assert!(waits(7, 0).await >= PAUSE);
        assert!(waits(7, 1).await >= PAUSE);
        assert_eq!(waits(7, 2).await, Duration::ZERO);
        assert_eq!(waits(0, 5).await, Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn the_second_write_ends_the_wait() {
        let (table, noticed) = watch::channel(1);
        let mut writes = Writes::new(noticed);
        let began = Instant::now();
        let later = async {
            tokio::time::sleep(PAUSE / 2).await;
            table.send_modify(|writes| *writes += 1);
        };
        tokio::join!(writes.company(BatchWait { until: began + PAUSE * 10, writes: 2 }), later);
        assert!(began.elapsed() < PAUSE * 10);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_writes_of_an_engine_that_has_gone() {
        let (table, noticed) = watch::channel(0);
        drop(table);
        let began = Instant::now();
        Writes::new(noticed).company(BatchWait { until: began + PAUSE, writes: 2 }).await;
        assert_eq!(began.elapsed(), Duration::ZERO);
    }
}
