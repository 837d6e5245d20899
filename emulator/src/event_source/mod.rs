//! Event source mappings: deliver the records of a table's stream to a function, as Lambda does.
//!
//! A [`Mapping`] reads the stream, filters the records, and distributes them to lanes by partition key
//! (`ParallelizationFactor`). A lane invokes the function with one batch at a time, so records of one key stay in
//! order. The checkpoint follows the oldest unfinished record. After a stop, a crash or a `kill -9`, the mapping
//! continues there and skips no record.
//!
//! The rules are those of the Lambda developer guide: "Using AWS Lambda with Amazon DynamoDB", "Process DynamoDB
//! records with Lambda", "Configuring partial batch response with DynamoDB and Lambda", "Retain discarded records for a
//! DynamoDB event source in Lambda", and "Using event filtering with a DynamoDB event source".

mod api;
mod batches;
mod checkpoints;
mod discard;
mod phase;
mod progress;
mod retry;
mod settings;
mod verdict;

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use event_filter::Filters;
use jiff::Timestamp;
use serde_json::Value;
use tokio::{
    sync::{Notify, mpsc},
    task::JoinSet,
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use self::{
    batches::BatchWorker,
    phase::{Phase, until_next},
    progress::Progress,
    settings::Settings,
};
use crate::{
    dynamodb::{self, BatchWait, Position, Record, Records, StreamReader},
    lambda::Invoke,
    stack::{EventSourceMapping, StartingPosition},
};

pub use self::{api::router, checkpoints::Checkpoints};
pub use event_filter::FilterError;

/// Limits of the mapping's properties, from "DynamoDB parameters" in the Lambda developer guide.
const BATCH_SIZES: std::ops::RangeInclusive<usize> = 1..=10_000;
const PARALLELIZATION_FACTORS: std::ops::RangeInclusive<usize> = 1..=10;

/// Maximum number of records in one read of the stream, from "`GetRecords`" in the DynamoDB Streams API reference.
const READ_RECORDS: usize = 1000;

/// Minimum time between two reads of a stream without a read interval, unless [`READ_WRITES`] writes come sooner.
/// Writes in that time form one batch: one invocation and one frame instead of several. AWS reads a shard four times a
/// second and batches in the same way. The timer of the runtime rounds the time up to the next whole millisecond.
const READ_PAUSE: Duration = Duration::from_millis(2);

/// Number of writes that are read at once. Waiting for a third would delay the first and save little.
const READ_WRITES: u64 = 2;

/// Maximum delay of a saved checkpoint. Each save is a transaction. Records that are delivered again after a crash are
/// harmless.
const CHECKPOINT_PAUSE: Duration = Duration::from_millis(20);

/// Pause after a failed read of a stream.
const READ_RETRY: Duration = Duration::from_secs(1);

/// Destination of discarded records: receives the ARN of an on-failure destination and the message. The mapping retries
/// while it fails, so that no record is discarded without a message.
pub type Destination = Arc<dyn Fn(&str, Value) -> std::io::Result<()> + Send + Sync>;

/// Source of the current time.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Options of the local mappings.
#[derive(Clone)]
pub struct Options {
    /// Region in function ARNs.
    pub region: String,
    /// Account in function ARNs.
    pub account_id: String,
    /// Pause after the first failure. It doubles with each further one.
    pub retry_base: Duration,
    /// Maximum pause between retries.
    pub retry_cap: Duration,
    /// Interval between two reads of the stream. With zero, a read starts as soon as there is a record and
    /// [`READ_PAUSE`] has passed. Lambda polls a shard of `DynamoDB` four times a second ("Polling and batching
    /// streams").
    pub read_interval: Duration,
    /// Seed that puts the mappings out of phase, as on AWS. Each starts late, polls on its own clock, and sometimes leaves
    /// polls out. So a batch has several records, and one mapping of a stream overtakes another. Without a read interval,
    /// a mapping then polls as often as Lambda does. `None`: all mappings read at once.
    pub out_of_phase: Option<u64>,
    /// Maximum time for a running invocation to finish after the stop.
    pub stop_grace: Duration,
    /// Maximum number of records in process or waiting, counted from the oldest unfinished one.
    pub read_ahead_records: usize,
    /// Maximum number of bytes of unfinished records in memory.
    pub read_ahead_bytes: usize,
    /// Clock for the age of records.
    pub clock: Clock,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            region: "us-east-1".to_owned(),
            account_id: "000000000000".to_owned(),
            retry_base: Duration::from_millis(250),
            retry_cap: Duration::from_secs(30),
            read_interval: Duration::ZERO,
            out_of_phase: None,
            stop_grace: Duration::from_secs(5),
            read_ahead_records: 10_000,
            read_ahead_bytes: 64 * 1024 * 1024,
            clock: Arc::new(Timestamp::now),
        }
    }
}

/// Reason why a mapping cannot be created or cannot continue.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Lambda would not accept a filter.
    #[error("event source mapping {mapping}: {source}")]
    Filter {
        /// Logical id of the mapping.
        mapping: String,
        /// The filter and its error.
        source: FilterError,
    },
    /// A property exceeds Lambda's limits.
    #[error("event source mapping {mapping}: {property} is {value}, Lambda allows {limits}")]
    Limit {
        /// Logical id of the mapping.
        mapping: String,
        /// The CloudFormation property.
        property: &'static str,
        /// Its value.
        value: usize,
        /// The minimum and the maximum.
        limits: String,
    },
    /// The checkpoints cannot be read or written.
    #[error(
        "the checkpoints in {path} cannot be used: {source}; delete the file to read the streams again from \
         their starting positions"
    )]
    Checkpoints {
        /// Path of the file.
        path: PathBuf,
        /// Error of the database.
        source: rusqlite::Error,
    },
    /// The stream cannot be read.
    #[error(transparent)]
    Stream(#[from] dynamodb::Error),
}

/// An event source mapping that is ready to run.
pub struct Mapping {
    reader: StreamReader,
    checkpoints: Checkpoints,
    /// Position of the mapping's first read.
    start: Position,
    /// The first read begins with the records that are written after it starts.
    starts_at_latest: bool,
    filters: Filters,
    settings: Arc<Settings>,
}

impl Mapping {
    /// Prepares `config` to read from `reader`.
    ///
    /// A mapping without a checkpoint gets its starting position in this call. With `LATEST`, records that are written
    /// after this call are delivered, even if the run ends before they are read. With [`Options::out_of_phase`], such a
    /// mapping misses what is written before its first poll, as on AWS.
    pub fn new(
        config: EventSourceMapping,
        reader: StreamReader,
        invoke: Arc<dyn Invoke>,
        destination: Destination,
        checkpoints: Checkpoints,
        options: Options,
    ) -> Result<Self, Error> {
        check_limit(&config, "BatchSize", config.batch_size, BATCH_SIZES)?;
        check_limit(&config, "ParallelizationFactor", config.parallelization_factor, PARALLELIZATION_FACTORS)?;
        let filters = Filters::compile(&config.filters)
            .map_err(|source| Error::Filter { mapping: config.logical_id.clone(), source })?;
        let stream = Arc::clone(reader.stream());
        let saved = checkpoints.load(&config.logical_id, &stream.arn)?;
        let is_latest = config.starting_position == StartingPosition::Latest;
        let starts_at_latest = saved.is_none() && is_latest && options.out_of_phase.is_some();
        let start = if let Some(position) = saved {
            position
        } else {
            let start = match config.starting_position {
                StartingPosition::TrimHorizon => Position::TRIM_HORIZON,
                StartingPosition::Latest => reader.latest()?,
            };
            checkpoints.save(&config.logical_id, &stream.arn, start)?;
            start
        };
        let settings = Arc::new(Settings { config, stream, invoke, destination, options });
        Ok(Self { reader, checkpoints, start, starts_at_latest, filters, settings })
    }

    /// Returns the mapping in the form of the Lambda API, for [`router`].
    #[must_use]
    pub fn description(&self) -> Value {
        api::description(&self.settings)
    }

    /// Delivers until `stop`, or until the stream's engine has stopped.
    ///
    /// After the stop, running invocations have [`Options::stop_grace`] to finish. The next run delivers the unfinished
    /// records again.
    pub async fn run(self, stop: CancellationToken) {
        let Self { reader, checkpoints, start, starts_at_latest, filters, settings } = self;
        let mapping = settings.config.logical_id.clone();
        if !settings.config.enabled {
            info!(mapping, "event source mapping is disabled");
            return;
        }
        let progress = Arc::new(Shared::new(start));
        let (finished, finishes) = mpsc::unbounded_channel();
        let mut lanes = JoinSet::new();
        let inboxes = (0..settings.config.parallelization_factor)
            .map(|_| {
                let (inbox, records) = mpsc::unbounded_channel();
                lanes.spawn(BatchWorker::new(Arc::clone(&settings), records, finished.clone(), stop.clone()).run());
                inbox
            })
            .collect();
        let options = &settings.options;
        let phase = options.out_of_phase.map(|seed| Phase::new(seed, &mapping, options.read_interval));
        let feeder = StreamPoller {
            reader,
            filters,
            settings: Arc::clone(&settings),
            progress: Arc::clone(&progress),
            inboxes,
            finished,
            phase,
            starts_at_latest,
            read_at: None,
        };
        let keeper = tokio::spawn(run_checkpointer(finishes, progress, checkpoints, Arc::clone(&settings)));
        feeder.run(start, &stop).await;

        let drained = async { while lanes.join_next().await.is_some() {} };
        if tokio::time::timeout(settings.options.stop_grace, drained).await.is_err() {
            info!(mapping, "an invocation was still running; its records will be delivered again");
            lanes.shutdown().await;
        }
        // The lanes have ended and dropped the checkpointer's senders. It saves the last checkpoint and ends.
        if let Err(error) = keeper.await {
            error!(mapping, %error, "the last checkpoint was not saved");
        }
    }
}

fn check_limit(
    config: &EventSourceMapping,
    property: &'static str,
    value: usize,
    limits: std::ops::RangeInclusive<usize>,
) -> Result<(), Error> {
    if limits.contains(&value) {
        return Ok(());
    }
    Err(Error::Limit {
        mapping: config.logical_id.clone(),
        property,
        value,
        limits: format!("{} to {}", limits.start(), limits.end()),
    })
}

/// Record that is not finished.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    position: Position,
    created_at: Timestamp,
    /// The record as it is in the `Records` of the event.
    json: Arc<str>,
}

/// Progress, shared by the poller and the checkpointer.
struct Shared {
    progress: Mutex<Progress>,
    room: Notify,
}

impl Shared {
    fn new(start: Position) -> Self {
        Self { progress: Mutex::new(Progress::new(start)), room: Notify::new() }
    }

    fn with<T>(&self, use_it: impl FnOnce(&mut Progress) -> T) -> T {
        use_it(&mut self.progress.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until the unfinished records are below the limits of `options`.
    async fn room(&self, options: &Options) {
        loop {
            let freed = self.room.notified();
            if self.with(|progress| {
                progress.records() < options.read_ahead_records && progress.bytes() < options.read_ahead_bytes
            }) {
                return;
            }
            freed.await;
        }
    }
}

/// Poller that reads the stream and distributes its records to the lanes.
struct StreamPoller {
    reader: StreamReader,
    filters: Filters,
    settings: Arc<Settings>,
    progress: Arc<Shared>,
    inboxes: Vec<mpsc::UnboundedSender<Vec<Item>>>,
    finished: mpsc::UnboundedSender<Vec<Position>>,
    phase: Option<Phase>,
    starts_at_latest: bool,
    /// Time of the last read.
    read_at: Option<Instant>,
}

impl StreamPoller {
    async fn run(mut self, start: Position, stop: &CancellationToken) {
        let mut position = start;
        let started = Instant::now();
        let deliver = async {
            if let Some(phase) = &self.phase {
                tokio::time::sleep(phase.start_delay()).await;
            }
            if self.starts_at_latest {
                position = self.reader.latest().unwrap_or(position);
            }
            loop {
                self.progress.room(&self.settings.options).await;
                match self.next(position, started).await {
                    Ok(records) => {
                        position = records.last().map_or(position, |record| record.position);
                        self.deal(&records);
                    }
                    Err(dynamodb::Error::Stopped) => return,
                    Err(error) => {
                        let mapping = &self.settings.config.logical_id;
                        error!(mapping, %error, "the stream could not be read; trying again");
                        tokio::time::sleep(READ_RETRY).await;
                    }
                }
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = deliver => {}
        }
    }

    /// Returns the records from `position` on that are available at the time of the next read.
    async fn next(&mut self, position: Position, started: Instant) -> Result<Records, dynamodb::Error> {
        let interval = self.settings.options.read_interval;
        if self.phase.is_some() || !interval.is_zero() {
            self.reader.next(position, 1).await?;
            let passed = started.elapsed();
            let phase = self.phase.as_mut();
            let wait = phase.map_or_else(|| until_next(interval, passed), |phase| phase.until_poll(passed));
            tokio::time::sleep(wait).await;
        }
        let company = self.read_at.map(|read_at| BatchWait { until: read_at + READ_PAUSE, writes: READ_WRITES });
        let records = self.reader.next_with(company, position, READ_RECORDS).await?;
        self.read_at = Some(Instant::now());
        Ok(records)
    }

    fn deal(&mut self, records: &[Record]) {
        let mut hands: HashMap<usize, Vec<Item>> = HashMap::new();
        let mut filtered_out = Vec::new();
        for record in records {
            let Record { position, created_at, partition_key, event, json } = record;
            let (position, created_at) = (*position, *created_at);
            self.progress.with(|progress| progress.start(position, json.len()));
            if self.filters.match_any(event) {
                let lane = lane_of(partition_key, self.inboxes.len());
                hands.entry(lane).or_default().push(Item { position, created_at, json: Arc::clone(json) });
            } else {
                filtered_out.push(position);
            }
        }
        for (lane, items) in hands {
            // A lane ends only when the mapping stops.
            let _ = self.inboxes[lane].send(items);
        }
        if !filtered_out.is_empty() {
            let _ = self.finished.send(filtered_out);
        }
    }
}

/// Returns the lane of all records of `partition_key`.
fn lane_of(partition_key: &str, lanes: usize) -> usize {
    let mut hasher = DefaultHasher::new();
    partition_key.hash(&mut hasher);
    let lanes = u64::try_from(lanes).unwrap_or(1);
    usize::try_from(hasher.finish() % lanes).unwrap_or(0)
}

/// Saves the checkpoint when records finish. Records that finish within [`CHECKPOINT_PAUSE`], or during a save, share
/// the next save.
async fn run_checkpointer(
    mut finishes: mpsc::UnboundedReceiver<Vec<Position>>,
    shared: Arc<Shared>,
    checkpoints: Checkpoints,
    settings: Arc<Settings>,
) {
    let mut saved = shared.with(|progress| progress.checkpoint());
    let mut due = None;
    let mut is_over = false;
    while !is_over {
        tokio::select! {
            finished = finishes.recv() => match finished {
                Some(finished) => {
                    shared.with(|progress| finished.into_iter().for_each(|position| progress.finish(position)));
                    shared.room.notify_one();
                    due.get_or_insert_with(|| Instant::now() + CHECKPOINT_PAUSE);
                    continue;
                }
                None => is_over = true,
            },
            () = at(due) => {}
        }
        due = None;
        let checkpoint = shared.with(|progress| progress.checkpoint());
        if checkpoint == saved {
            continue;
        }
        let (checkpoints, settings) = (checkpoints.clone(), Arc::clone(&settings));
        let save = move || checkpoints.save(&settings.config.logical_id, &settings.stream.arn, checkpoint);
        match tokio::task::spawn_blocking(save).await {
            Ok(Ok(())) => saved = checkpoint,
            Ok(Err(error)) => {
                error!(%error, "a checkpoint was not saved; its records may be delivered again");
            }
            Err(error) => {
                error!(%error, "a checkpoint was not saved; its records may be delivered again");
            }
        }
    }
}

/// Waits until `time`. With `None`, waits forever.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
