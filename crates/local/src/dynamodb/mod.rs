//! DynamoDB: an embedded engine, served over HTTP to the ordinary SDK, with streams for
//! [`crate::event_source`].
//!
//! The engine is `dynoxide`, which keeps everything in one SQLite file. Three things it leaves to its host
//! are done here, through SQLite connections of our own to the same file: an index without which writes slow
//! down as a stream grows, the removal of stream records past their retention, and reading streams without
//! queueing for the engine's only lock.

mod direct;
mod front;
mod location;
mod server;
mod stream;
mod sweeper;
mod table;
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
    server::Server,
    stream::{Tail, Watcher},
    sweeper::BackgroundSweeper,
};
use crate::{
    doors::{self, Door, Limits},
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

/// How long a record stays in a stream, from "Change data capture for DynamoDB Streams" in the DynamoDB
/// developer guide.
pub const STREAM_RETENTION: Duration = Duration::from_hours(24);

/// How long requests under way may take to finish once the server was told to stop.
const SERVER_STOP_GRACE: Duration = Duration::from_secs(2);

/// What a local run can decide about its DynamoDB.
#[derive(Debug, Clone)]
pub struct Options {
    /// Region in ARNs and events.
    pub region: String,
    /// Account in ARNs.
    pub account_id: String,
    /// How often expired items are deleted. AWS takes days at times; nothing may rely on its speed.
    pub ttl_sweep_interval: Duration,
    /// How often stream records past [`STREAM_RETENTION`] are removed.
    pub trim_interval: Duration,
    /// How often streams are looked at while they are being written to.
    pub busy_poll_interval: Duration,
    /// How often streams are looked at after a quiet while.
    pub idle_poll_interval: Duration,
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
        }
    }
}

/// Why DynamoDB cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The data directory cannot be made or written to.
    #[error("cannot use the data directory {path}: {source}; choose another --data-dir")]
    DataDirectory {
        /// The directory, or the file in it.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// Another runner holds the data directory.
    #[error("another local run is using {path}: stop it, or choose another --data-dir")]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The file is damaged, or was not made by a local run.
    #[error(
        "{path} cannot be used: {reason}; put back a copy of it, or delete it with {path}-wal and {path}-shm to start \
         anew, or choose another --data-dir"
    )]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A stored table is not the one that the template describes.
    #[error(
        "table {table} in {path} differs from the template ({differences}); delete the file with {path}-wal and \
         {path}-shm to start anew, or choose another --data-dir"
    )]
    SchemaDiffers {
        /// The table.
        table: String,
        /// The file.
        path: PathBuf,
        /// Each property that differs, as stored and as in the template.
        differences: String,
    },
    /// The template describes a table that DynamoDB refuses.
    #[error("table {table} cannot be created: {reason}")]
    Table {
        /// The table.
        table: String,
        /// DynamoDB's reason.
        reason: String,
    },
    /// The table is not there, or has no stream.
    #[error("table {0} has no stream; give it a StreamSpecification")]
    NoStream(String),
    /// The engine is gone, and its streams with it.
    #[error("DynamoDB has stopped")]
    Stopped,
    /// The database failed in use.
    #[error("the DynamoDB database failed: {0}")]
    Database(#[from] rusqlite::Error),
    /// The engine failed in use.
    #[error("DynamoDB failed: {0}")]
    Engine(String),
}

/// The embedded DynamoDB. Clones share it; the last one to go stops its sweeper and lets the data directory go.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

/// Fields are dropped in order: what uses the files before the files.
struct Shared {
    server: Server,
    watcher: Watcher,
    /// By table.
    tails: Mutex<HashMap<String, Arc<Tail>>>,
    _sweeper: BackgroundSweeper,
    database: Database,
    options: Options,
    location: Location,
}

impl Engine {
    /// Opens the database, or makes a new one.
    ///
    /// Every acknowledged write has been committed with `synchronous=FULL` (SQLite's default): it survives
    /// the death of the process, and of the machine.
    pub fn open(storage: Storage, options: Options) -> Result<Self, Error> {
        let location = Location::claim(storage)?;
        let file = location.database();
        let unusable = |reason: String| Error::Unusable { path: file.clone(), reason };
        let database = location.open()?;
        if location.is_temporary() {
            // Nothing is kept, so nothing is gained by waiting for a disk where there is no RAM disk.
            database.enable_bulk_loading().map_err(|error| unusable(error.to_string()))?;
        }
        sweeper::index_streams(&file)?;
        let sweeper = BackgroundSweeper::start(&file, database.clone(), &options)?;
        let watcher = Watcher::start(&file, &options)?;
        let server = Server::start(database.clone())?;
        let tails = Mutex::default();
        Ok(Self { shared: Arc::new(Shared { server, watcher, tails, _sweeper: sweeper, database, options, location }) })
    }

    /// Creates the tables that are missing, enables their TTL, and checks those that are there against
    /// their description.
    pub fn ensure_tables(&self, tables: &[stack::Table]) -> Result<(), Error> {
        tables.iter().try_for_each(|table| table::ensure(&self.shared.database, &self.shared.location, table))
    }

    /// A reader of the table's stream.
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

    /// The directory of this run's data, held by this engine: a place for what belongs to the same run.
    #[must_use]
    pub fn directory(&self) -> PathBuf {
        self.shared.location.directory().to_owned()
    }

    /// Deletes expired items now and returns how many; the engine does so by itself every
    /// [`Options::ttl_sweep_interval`]. Blocks while it works.
    pub fn sweep_expired(&self) -> Result<usize, Error> {
        self.shared.database.sweep_ttl().map_err(|error| Error::Engine(error.to_string()))
    }

    /// Removes stream records created before `horizon` and returns how many; the engine does so by itself
    /// every [`Options::trim_interval`]. Blocks while it works.
    ///
    /// As on AWS it does not matter whether anybody has read them. The newest record of a stream stays,
    /// because the engine counts on from it.
    pub fn trim_streams(&self, horizon: jiff::Timestamp) -> Result<usize, Error> {
        sweeper::trim_streams(&self.shared.location.database(), horizon)
    }

    /// Answers an operation, such as `GetItem`, with a status and a JSON body; blocks while it works. `None` for what
    /// [`Engine::serve`] has to answer: operations that functions do not make all the time, and requests that it refuses
    /// for other reasons than a condition. Nothing has been changed then.
    ///
    /// `tables` are those that the request names: who reads their streams is told at once of what was written.
    pub(crate) fn answer<'a>(
        &self,
        operation: &str,
        body: &[u8],
        tables: impl IntoIterator<Item = &'a str>,
    ) -> Option<(StatusCode, String)> {
        let answer = direct::answer(&self.shared.database, operation, body);
        if direct::writes(operation) && answer.as_ref().is_some_and(|(status, _)| status.is_success()) {
            tables.into_iter().for_each(|table| self.shared.watcher.announce(table));
        }
        answer
    }

    /// Answers any request to the DynamoDB and DynamoDB Streams APIs, in DynamoDB's words.
    pub(crate) async fn ask(&self, request: Request<Bytes>) -> Result<Response<Bytes>, Error> {
        self.shared.server.ask(request).await
    }

    /// Answers the DynamoDB and DynamoDB Streams APIs on `listener`, to programs that sign their requests, until `stop`;
    /// then lets requests under way finish within a short grace.
    pub async fn serve(&self, listener: TcpListener, stop: CancellationToken) -> Result<(), Error> {
        self.serve_all(listener, doors::LIMITS, stop).await
    }

    /// The same with limits of its own.
    pub(crate) async fn serve_all(
        &self,
        listener: TcpListener,
        limits: Limits,
        stop: CancellationToken,
    ) -> Result<(), Error> {
        self.serve_front(listener, front::router(self.clone(), |_, _, _| Ok(())), limits, stop).await
    }

    /// The same by a [`router`] with conditions of its own.
    ///
    /// The engine commits on the thread that received the request, so it gets a thread of its own: a slow disk must not
    /// hold up the gateways and the functions. More threads would wait for the engine's only lock.
    pub(crate) async fn serve_front(
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
                // Not a plain drop: that would wait for connections of clients who never finish a request.
                runtime.shutdown_background();
                let _ = finished.send(served);
            })
            .map_err(cannot_run)?;
        result.await.map_err(|_| Error::Stopped)?
    }
}

#[expect(clippy::needless_pass_by_value, reason = "what map_err hands on")]
fn cannot_run(error: std::io::Error) -> Error {
    Error::Engine(format!("its server cannot run: {error}"))
}

/// Until requests under way have had their time after `stop`.
async fn overdue(stop: CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(SERVER_STOP_GRACE).await;
}
