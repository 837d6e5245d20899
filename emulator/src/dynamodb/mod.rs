//! DynamoDB: an embedded engine with an HTTP API for the ordinary SDK, and streams for [`crate::event_source`].
//!
//! The engine is `dynoxide`, which stores all data in one SQLite file. This module adds three features through its own
//! SQLite connections to that file. An index keeps writes fast while a stream grows. Stream records are removed after
//! their retention. Streams are read without waiting for the engine's only lock.

mod direct;
mod front;
mod item_size;
mod key_condition;
mod location;
mod metered;
mod partition_keys;
mod server;
mod stream;
mod sweeper;
mod table;
mod throttled;
mod worker;

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::Router;
use bytes::Bytes;
use dynoxide::Database;
use http::{Request, Response, StatusCode};
use tokio::{net::TcpListener, sync::oneshot};
use tokio_util::sync::CancellationToken;

#[cfg(test)]
pub(crate) use self::front::operation;
use self::{
    location::Location,
    metered::Metered,
    partition_keys::PartitionKeys,
    server::Server,
    stream::{Tail, Watcher},
    sweeper::BackgroundSweeper,
};
use crate::{
    doors::{self, Door, Limits},
    quotas::Quotas,
    stack,
};

pub(crate) use self::{
    front::{Named, router},
    stream::BatchWait,
};
pub use self::{
    location::Storage,
    stream::{Position, Record, Records, Stream, StreamReader},
};

/// Retention of stream records, from "Change data capture for DynamoDB Streams" in the DynamoDB developer guide.
pub const STREAM_RETENTION: Duration = Duration::from_hours(24);

/// Maximum time for running requests to finish after the stop of the server.
const SERVER_STOP_GRACE: Duration = Duration::from_secs(2);

/// Options of the local DynamoDB.
#[derive(Debug, Clone)]
pub struct Options {
    /// Region in ARNs and events.
    pub region: String,
    /// Account in ARNs.
    pub account_id: String,
    /// Minimum interval between deletions of expired items. It is longer for large tables. AWS can take days, so no code
    /// may rely on the interval.
    pub ttl_sweep_interval: Duration,
    /// Interval between removals of stream records older than [`STREAM_RETENTION`].
    pub trim_interval: Duration,
    /// Polling interval of streams during writes.
    pub busy_poll_interval: Duration,
    /// Polling interval of streams without recent writes.
    pub idle_poll_interval: Duration,
    /// Quotas of the account. With them, the units of each partition key are counted.
    pub quotas: Quotas,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            region: "us-east-1".to_owned(),
            account_id: "000000000000".to_owned(),
            ttl_sweep_interval: Duration::from_secs(10),
            trim_interval: Duration::from_mins(1),
            busy_poll_interval: Duration::from_millis(1),
            idle_poll_interval: Duration::from_millis(10),
            quotas: Quotas::default(),
        }
    }
}

/// Reason why DynamoDB is not available.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The data directory cannot be created or written.
    #[error("cannot use the data directory {path}: {source}; choose another --data-dir")]
    DataDirectory {
        /// Path of the directory, or of the file in it.
        path: PathBuf,
        /// Error of the operating system.
        source: std::io::Error,
    },
    /// Another runner uses the data directory.
    #[error("another local run is using {path}: stop it, or choose another --data-dir")]
    InUse {
        /// Path of the directory.
        path: PathBuf,
    },
    /// The file is damaged, or was not created by a local run.
    #[error(
        "{path} cannot be used: {reason}; restore a copy of it, or delete it with {path}-wal and {path}-shm to start \
         with empty tables, or choose another --data-dir"
    )]
    Unusable {
        /// Path of the file.
        path: PathBuf,
        /// Reason for the failure.
        reason: String,
    },
    /// A stored table differs from the template.
    #[error(
        "table {table} in {path} differs from the template ({differences}); delete the file with {path}-wal and \
         {path}-shm to start with empty tables, or choose another --data-dir"
    )]
    SchemaDiffers {
        /// Name of the table.
        table: String,
        /// Path of the file.
        path: PathBuf,
        /// Each property that differs, as stored and as in the template.
        differences: String,
    },
    /// DynamoDB rejects a table of the template.
    #[error("table {table} cannot be created: {reason}")]
    Table {
        /// Name of the table.
        table: String,
        /// Reason of DynamoDB.
        reason: String,
    },
    /// The table does not exist, or has no stream.
    #[error("table {0} has no stream; give it a StreamSpecification")]
    NoStream(String),
    /// The engine has stopped, and its streams with it.
    #[error("DynamoDB has stopped")]
    Stopped,
    /// The database failed during use.
    #[error("the DynamoDB database failed: {0}")]
    Database(#[from] rusqlite::Error),
    /// The engine failed during use.
    #[error("DynamoDB failed: {0}")]
    Engine(String),
}

/// Embedded DynamoDB. Clones share it. When the last one is dropped, the sweeper stops and the data directory is
/// unlocked.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

/// The order of the fields is the order of drops: users of the files before the files.
struct Shared {
    server: Server,
    watcher: Watcher,
    /// Streams by table.
    tails: Mutex<HashMap<String, Arc<Tail>>>,
    partition_keys: PartitionKeys,
    _sweeper: BackgroundSweeper,
    database: Database,
    options: Options,
    location: Location,
}

impl Engine {
    /// Opens the database, or creates one.
    ///
    /// Each acknowledged write is committed with `synchronous=FULL` (SQLite's default), so it survives the death of the
    /// process and of the machine.
    pub fn open(storage: Storage, options: Options) -> Result<Self, Error> {
        let location = Location::claim(storage)?;
        let file = location.database();
        let unusable = |reason: String| Error::Unusable { path: file.clone(), reason };
        let database = location.open()?;
        if location.is_temporary() {
            // Data is temporary, so waiting for a disk has no benefit if there is no RAM disk.
            database.enable_bulk_loading().map_err(|error| unusable(error.to_string()))?;
        }
        sweeper::index_streams(&file)?;
        let sweeper = BackgroundSweeper::start(&file, database.clone(), &options)?;
        let watcher = Watcher::start(&file, &options)?;
        let server = Server::start(database.clone())?;
        let (tails, partition_keys) = (Mutex::default(), PartitionKeys::default());
        let shared = Shared { server, watcher, tails, partition_keys, _sweeper: sweeper, database, options, location };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Creates the missing tables, enables their TTL, and checks the existing ones against the template.
    pub fn ensure_tables(&self, tables: &[stack::Table]) -> Result<(), Error> {
        tables.iter().try_for_each(|table| table::ensure(&self.shared.database, &self.shared.location, table))
    }

    /// Returns a reader of the table's stream.
    pub fn stream(&self, table: &str) -> Result<StreamReader, Error> {
        let Shared { watcher, tails, database, options, location, .. } = &*self.shared;
        let mut tails = tails.lock().unwrap_or_else(PoisonError::into_inner);
        let tail = if let Some(tail) = tails.get(table) {
            Arc::clone(tail)
        } else {
            let tail = Arc::new(Tail::new(&location.database(), Stream::of(database, table, options)?)?);
            tails.insert(table.to_owned(), Arc::clone(&tail));
            tail
        };
        Ok(StreamReader::new(tail, watcher.changes(table)))
    }

    /// Returns the directory of this run's data, which this engine has locked. Other data of the run can be stored in
    /// it.
    #[must_use]
    pub fn directory(&self) -> PathBuf {
        self.shared.location.directory().to_owned()
    }

    /// Deletes expired items and returns their number. The engine also does so every [`Options::ttl_sweep_interval`].
    /// Blocks while it works.
    pub fn sweep_expired(&self) -> Result<usize, Error> {
        self.shared.database.sweep_ttl().map_err(|error| Error::Engine(error.to_string()))
    }

    /// Removes stream records created before `horizon` and returns their number. The engine also does so every
    /// [`Options::trim_interval`]. Blocks while it works.
    ///
    /// As on AWS, unread records are removed as well. The newest record of a stream stays, because the engine derives
    /// the next number from it.
    pub fn trim_streams(&self, horizon: jiff::Timestamp) -> Result<usize, Error> {
        sweeper::trim_streams(&self.shared.location.database(), horizon)
    }

    /// Executes an operation such as `GetItem` and returns its status and a JSON body. Blocks while it works. Returns
    /// `None`, without any change, for requests that [`Engine::serve`] must execute: rare operations, and requests that
    /// fail for other reasons than a condition.
    ///
    /// `tables` are the tables of the request. Readers of their streams are notified of the write immediately.
    pub(crate) fn answer<'a>(
        &self,
        operation: &str,
        body: &[u8],
        tables: impl IntoIterator<Item = &'a str>,
    ) -> Option<(StatusCode, String)> {
        let answer = self.metered(operation, body);
        if direct::writes(operation) && answer.as_ref().is_some_and(|(status, _)| status.is_success()) {
            tables.into_iter().for_each(|table| self.shared.watcher.announce(table));
        }
        answer
    }

    /// Executes an operation within the units of its partitions.
    fn metered(&self, operation: &str, body: &[u8]) -> Option<(StatusCode, String)> {
        let Shared { database, options, partition_keys, .. } = &*self.shared;
        if !options.quotas.counts_units() {
            return direct::answer(database, operation, body);
        }
        let Some(mut metered) = Metered::new(operation, body, |table| partition_keys.of(database, table)) else {
            return direct::answer(database, operation, body);
        };
        if let Some(refusal) = metered.admit(options) {
            return Some((StatusCode::BAD_REQUEST, refusal));
        }
        let (status, answer) = direct::answer(database, operation, &metered.body())?;
        Some((status, metered.settle(&options.quotas, answer)))
    }

    /// Executes any request to the DynamoDB and DynamoDB Streams APIs, with DynamoDB's error messages.
    pub(crate) async fn ask(&self, request: Request<Bytes>) -> Result<Response<Bytes>, Error> {
        self.shared.server.ask(request).await
    }

    /// Serves the DynamoDB and DynamoDB Streams APIs on `listener` to programs that sign their requests, until `stop`.
    /// Then running requests have 2 s to finish.
    pub async fn serve(&self, listener: TcpListener, stop: CancellationToken) -> Result<(), Error> {
        self.serve_all(listener, doors::LIMITS, stop).await
    }

    /// Serves the APIs as [`Engine::serve`] does, with other limits.
    pub async fn serve_all(&self, listener: TcpListener, limits: Limits, stop: CancellationToken) -> Result<(), Error> {
        self.serve_front(listener, front::router(self.clone(), |_, _, _| Ok(())), limits, stop).await
    }

    /// Serves the APIs by a [`router`] with its own checks.
    ///
    /// The engine commits on the thread that received the request, so it gets its own thread: a slow disk must not
    /// delay the gateways and the functions. More threads would wait for the engine's only lock.
    pub async fn serve_front(
        &self,
        listener: TcpListener,
        front: Router,
        limits: Limits,
        stop: CancellationToken,
    ) -> Result<(), Error> {
        self.on_own_thread(listener, stop.clone(), move |listener| async move {
            doors::serve(listener, Door::programs(), limits, front, stop).await;
            Ok(())
        })
        .await
    }

    async fn on_own_thread<Served>(
        &self,
        listener: TcpListener,
        stop: CancellationToken,
        serve: impl FnOnce(TcpListener) -> Served + Send + 'static,
    ) -> Result<(), Error>
    where
        Served: Future<Output = Result<(), Error>>,
    {
        let listener = listener.into_std().map_err(cannot_run)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(cannot_run)?;
        let (finished, result) = oneshot::channel();
        std::thread::Builder::new()
            .name("dynamodb".to_owned())
            .spawn(move || {
                let served = runtime.block_on(async {
                    let served = serve(TcpListener::from_std(listener).map_err(cannot_run)?);
                    tokio::select! {
                        served = served => served,
                        () = overdue(stop) => Ok(()),
                    }
                });
                // A plain drop would wait for connections of clients that never finish a request.
                runtime.shutdown_background();
                let _ = finished.send(served);
            })
            .map_err(cannot_run)?;
        result.await.map_err(|_| Error::Stopped)?
    }
}

#[expect(clippy::needless_pass_by_value, reason = "map_err passes it by value")]
fn cannot_run(error: std::io::Error) -> Error {
    Error::Engine(format!("its server cannot run: {error}"))
}

/// Waits until the grace of running requests after `stop` is over.
async fn overdue(stop: CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(SERVER_STOP_GRACE).await;
}
