//! Event source mappings on the real engine: the guarantees of Lambda's own pollers.

use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use emulator::{
    dynamodb::Storage,
    event_source::{Checkpoints, Destination, Mapping, Options},
    lambda::{FunctionError, Invocation, Invoke, InvokeError},
    stack::{EventSourceMapping, StartingPosition},
};
use futures::{FutureExt, future::BoxFuture};
use serde_json::{Value, json};
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::database::{Database, TABLE};

pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// One record as the function received it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Seen {
    channel: String,
    pub(crate) seq: u64,
    sequence_number: String,
}

pub(crate) type Answer = Result<Value, FunctionError>;

/// A function in this process that records each batch and returns a given response.
pub(crate) struct Function<F> {
    pub(crate) batches: mpsc::UnboundedSender<Vec<Seen>>,
    pub(crate) answer: F,
}

impl<F> Invoke for Function<F>
where
    F: Fn(&[Seen]) -> BoxFuture<'static, Answer> + Send + Sync + 'static,
{
    fn invoke(&self, _: &str, payload: Bytes) -> BoxFuture<'static, Result<Invocation, InvokeError>> {
        let event: Value = serde_json::from_slice(&payload).unwrap();
        let batch: Vec<Seen> = event["Records"].as_array().unwrap().iter().map(seen).collect();
        let answer = (self.answer)(&batch);
        let batches = self.batches.clone();
        async move {
            let outcome = answer.await.map(|answer| Bytes::from(answer.to_string()));
            // Recorded at the end, so that the order is that of completion.
            let _ = batches.send(batch);
            Ok(Invocation { request_id: "request".into(), outcome })
        }
        .boxed()
    }
}

fn seen(record: &Value) -> Seen {
    let change = &record["dynamodb"];
    Seen {
        channel: change["Keys"]["channel"]["S"].as_str().unwrap().into(),
        seq: change["Keys"]["seq"]["N"].as_str().unwrap().parse().unwrap(),
        sequence_number: change["SequenceNumber"].as_str().unwrap().into(),
    }
}

pub(crate) fn mapping() -> EventSourceMapping {
    EventSourceMapping {
        logical_id: "Mapping".into(),
        function: "function".into(),
        table: TABLE.into(),
        enabled: true,
        starting_position: StartingPosition::TrimHorizon,
        batch_size: 100,
        batching_window: Duration::ZERO,
        parallelization_factor: 1,
        filters: Vec::new(),
        maximum_retry_attempts: Some(2),
        maximum_record_age: None,
        bisect_batch_on_function_error: false,
        report_batch_item_failures: true,
        on_failure: Some("arn:aws:sqs:us-east-1:000000000000:failed".into()),
    }
}

/// A running mapping.
pub(crate) struct Running {
    batches: mpsc::UnboundedReceiver<Vec<Seen>>,
    given_up: mpsc::UnboundedReceiver<Value>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

pub(crate) fn run<F>(database: &Database, checkpoints: &Path, config: EventSourceMapping, answer: F) -> Running
where
    F: Fn(&[Seen]) -> BoxFuture<'static, Answer> + Send + Sync + 'static,
{
    run_with_pauses(database, checkpoints, config, Duration::from_millis(1), answer)
}

fn run_with_pauses<F>(
    database: &Database,
    checkpoints: &Path,
    config: EventSourceMapping,
    pause: Duration,
    answer: F,
) -> Running
where
    F: Fn(&[Seen]) -> BoxFuture<'static, Answer> + Send + Sync + 'static,
{
    let (batches, noted) = mpsc::unbounded_channel();
    let (given_up, lost) = mpsc::unbounded_channel();
    let destination: Destination = Arc::new(move |_, message| given_up.send(message).map_err(std::io::Error::other));
    let options = Options { retry_base: pause, retry_cap: 2 * pause, ..Options::default() };
    let mapping = Mapping::new(
        config,
        database.engine.stream(TABLE).unwrap(),
        Arc::new(Function { batches, answer }),
        destination,
        Checkpoints::open(checkpoints).unwrap(),
        options,
    )
    .unwrap();
    let stop = CancellationToken::new();
    let task = tokio::spawn(mapping.run(stop.clone()));
    Running { batches: noted, given_up: lost, stop, task }
}

impl Running {
    pub(crate) async fn batch(&mut self) -> Vec<Seen> {
        tokio::time::timeout(PATIENCE, self.batches.recv()).await.expect("no further batch").unwrap()
    }

    /// Returns batches until `records` records were seen, including repeats.
    async fn records(&mut self, records: usize) -> Vec<Seen> {
        let mut all = Vec::new();
        while all.len() < records {
            all.extend(self.batch().await);
        }
        all
    }

    pub(crate) async fn given_up(&mut self) -> Value {
        tokio::time::timeout(PATIENCE, self.given_up.recv()).await.expect("no record was discarded").unwrap()
    }

    pub(crate) async fn stop(mut self) -> Vec<Seen> {
        self.stop.cancel();
        self.task.await.unwrap();
        let mut rest = Vec::new();
        while let Ok(batch) = self.batches.try_recv() {
            rest.extend(batch);
        }
        rest
    }
}

pub(crate) fn seqs(records: &[Seen]) -> Vec<u64> {
    records.iter().map(|record| record.seq).collect()
}

pub(crate) fn ok() -> BoxFuture<'static, Answer> {
    async { Ok(json!({ "batchItemFailures": [] })) }.boxed()
}

pub(crate) fn failed_from(record: &Seen) -> BoxFuture<'static, Answer> {
    let answer = json!({ "batchItemFailures": [{ "itemIdentifier": record.sequence_number }] });
    async { Ok(answer) }.boxed()
}

pub(crate) fn error() -> BoxFuture<'static, Answer> {
    async { Err(FunctionError { error_type: "Error".into(), message: "poison".into() }) }.boxed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn ten_lanes_keep_the_order_of_every_key() {
    let database = Database::open(Storage::InMemory).await;
    for seq in 1..=20 {
        for channel in 0..10 {
            database.put(&format!("c{channel}"), seq, "user").await;
        }
    }
    let checkpoints = tempfile::tempdir().unwrap();
    let config = EventSourceMapping { parallelization_factor: 10, batch_size: 3, ..mapping() };
    let under_way = Arc::new(Mutex::new((0, 0)));
    let lanes = Arc::clone(&under_way);
    let mut running = run(&database, checkpoints.path(), config, move |batch| {
        // Some batches take longer than later ones in other lanes.
        let turns = if batch[0].seq % 3 == 0 { 50 } else { 1 };
        let lanes = Arc::clone(&lanes);
        async move {
            {
                let mut lanes = lanes.lock().unwrap();
                lanes.0 += 1;
                lanes.1 = lanes.1.max(lanes.0);
            }
            for _ in 0..turns {
                tokio::task::yield_now().await;
            }
            lanes.lock().unwrap().0 -= 1;
            Ok(json!({ "batchItemFailures": [] }))
        }
        .boxed()
    });
    let records = running.records(200).await;
    let mut last: HashMap<&str, u64> = HashMap::new();
    for record in &records {
        let last = last.entry(&record.channel).or_default();
        assert_eq!(record.seq, *last + 1, "{record:?}");
        *last = record.seq;
    }
    assert_eq!(running.stop().await, []);
    assert!(under_way.lock().unwrap().1 <= 10);
}

#[tokio::test]
async fn a_reported_record_and_all_after_it_come_again() {
    let database = Database::open(Storage::InMemory).await;
    for seq in 1..=5 {
        database.put("a", seq, "user").await;
    }
    let checkpoints = tempfile::tempdir().unwrap();
    let failures = Mutex::new(1);
    let mut running = run(&database, checkpoints.path(), mapping(), move |batch| {
        let mut failures = failures.lock().unwrap();
        match batch.iter().find(|record| record.seq == 3).filter(|_| *failures > 0) {
            Some(record) => {
                *failures -= 1;
                failed_from(record)
            }
            None => ok(),
        }
    });
    assert_eq!(seqs(&running.batch().await), [1, 2, 3, 4, 5]);
    assert_eq!(seqs(&running.batch().await), [3, 4, 5]);
    assert_eq!(running.stop().await, []);
}

#[tokio::test]
async fn an_identifier_that_is_not_in_the_batch_fails_all_of_it() {
    let database = Database::open(Storage::InMemory).await;
    for seq in 1..=2 {
        database.put("a", seq, "user").await;
    }
    for identifier in [json!(""), json!("400000000000000000000"), Value::Null] {
        let checkpoints = tempfile::tempdir().unwrap();
        let answer = json!({ "batchItemFailures": [{ "itemIdentifier": identifier }] });
        let first = Mutex::new(true);
        let mut running = run(&database, checkpoints.path(), mapping(), move |_| {
            let answer = answer.clone();
            if std::mem::take(&mut *first.lock().unwrap()) { async { Ok(answer) }.boxed() } else { ok() }
        });
        assert_eq!(seqs(&running.batch().await), [1, 2], "{identifier}");
        assert_eq!(seqs(&running.batch().await), [1, 2], "{identifier}");
        running.stop().await;
    }
}

#[tokio::test]
async fn bisection_finds_the_poison_and_gives_up_nothing_else() {
    let database = Database::open(Storage::InMemory).await;
    for seq in 1..=16 {
        database.put("a", seq, "user").await;
    }
    let checkpoints = tempfile::tempdir().unwrap();
    let config = EventSourceMapping { bisect_batch_on_function_error: true, ..mapping() };
    let succeeded = Arc::new(Mutex::new(Vec::new()));
    let done = Arc::clone(&succeeded);
    let mut running = run(&database, checkpoints.path(), config, move |batch| {
        if batch.iter().any(|record| record.seq == 11) {
            return error();
        }
        done.lock().unwrap().extend(seqs(batch));
        ok()
    });
    let message = running.given_up().await;
    assert_eq!(message["requestContext"]["condition"], "RetryAttemptsExhausted");
    assert_eq!(message["DDBStreamBatchInfo"]["batchSize"], 1);
    assert_eq!(message["responseContext"]["functionError"], "Unhandled");
    while succeeded.lock().unwrap().len() < 15 {
        running.batch().await;
    }
    let expected: Vec<u64> = (1..=16).filter(|seq| *seq != 11).collect();
    assert_eq!(*succeeded.lock().unwrap(), expected);
    running.stop().await;
}

#[tokio::test]
async fn a_poisoned_record_is_singled_out_without_a_pause_when_the_function_names_it() {
    let database = Database::open(Storage::InMemory).await;
    for seq in 1..=9 {
        database.put("a", seq, "user").await;
    }
    let checkpoints = tempfile::tempdir().unwrap();
    let config =
        EventSourceMapping { bisect_batch_on_function_error: true, maximum_retry_attempts: Some(0), ..mapping() };
    // A lane that pauses between two halves would not continue before the test has failed.
    let pause = PATIENCE * 100;
    let poison = |batch: &[Seen]| match batch.iter().find(|seen| seen.seq == 3) {
        Some(seen) => {
            let failures = json!({ "batchItemFailures": [{ "itemIdentifier": seen.sequence_number }] });
            async { Ok(failures) }.boxed()
        }
        None => ok(),
    };
    let mut running = run_with_pauses(&database, checkpoints.path(), config, pause, poison);
    let message = running.given_up().await;
    assert_eq!(message["DDBStreamBatchInfo"]["batchSize"], 1);
    let mut done = std::collections::BTreeSet::new();
    while done.len() < 8 {
        done.extend(running.batch().await.iter().map(|seen| seen.seq).filter(|seq| *seq != 3));
    }
    running.stop().await;
}

#[tokio::test]
async fn what_a_destination_does_not_take_is_offered_again() {
    let database = Database::open(Storage::InMemory).await;
    database.put("a", 1, "user").await;
    let checkpoints = tempfile::tempdir().unwrap();
    let (batches, _noted) = mpsc::unbounded_channel();
    let (offered, mut offers) = mpsc::unbounded_channel();
    let options =
        Options { retry_base: Duration::from_millis(1), retry_cap: Duration::from_millis(2), ..Options::default() };
    let config = EventSourceMapping { maximum_retry_attempts: Some(0), ..mapping() };
    let mut full = 3;
    let full = Mutex::new(move || {
        full -= 1;
        full >= 0
    });
    let destination: Destination = Arc::new(move |_, message| {
        offered.send(message).map_err(std::io::Error::other)?;
        if full.lock().unwrap()() { Err(std::io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    });
    let saved = Checkpoints::open(checkpoints.path()).unwrap();
    let reader = database.engine.stream(TABLE).unwrap();
    let (arn, latest) = (reader.stream().arn.clone(), reader.latest().unwrap());
    let function = Arc::new(Function { batches, answer: |_: &[Seen]| error() });
    let mapping = Mapping::new(config, reader, function, destination, saved.clone(), options).unwrap();
    let stop = CancellationToken::new();
    let task = tokio::spawn(mapping.run(stop.clone()));
    let first = offers.recv().await.unwrap();
    for _ in 0..3 {
        assert_ne!(saved.load("Mapping", &arn).unwrap(), Some(latest), "a record finishes when its message is stored");
        assert_eq!(offers.recv().await.unwrap(), first);
    }
    stop.cancel();
    task.await.unwrap();
    assert_eq!(saved.load("Mapping", &arn).unwrap(), Some(latest));
}

#[tokio::test]
async fn a_batch_that_keeps_failing_goes_to_the_destination_and_the_next_one_runs() {
    let database = Database::open(Storage::InMemory).await;
    for seq in 1..=3 {
        database.put("a", seq, "user").await;
    }
    let checkpoints = tempfile::tempdir().unwrap();
    let config = EventSourceMapping { batch_size: 2, ..mapping() };
    let mut running =
        run(&database, checkpoints.path(), config, |batch| if batch[0].seq == 1 { error() } else { ok() });
    let message = running.given_up().await;
    let mut order = Vec::new();
    for _ in 0..4 {
        order.push(seqs(&running.batch().await));
    }
    // One attempt, and two retries by `MaximumRetryAttempts: 2`.
    assert_eq!(order, [vec![1, 2], vec![1, 2], vec![1, 2], vec![3]]);
    assert_eq!(message["requestContext"]["approximateInvokeCount"], 3);
    assert_eq!(message["DDBStreamBatchInfo"]["batchSize"], 2);
    running.stop().await;
}

#[tokio::test]
async fn records_past_their_age_are_given_up_unseen() {
    let database = Database::open(Storage::InMemory).await;
    database.put("a", 1, "user").await;
    let checkpoints = tempfile::tempdir().unwrap();
    let (given_up, mut lost) = mpsc::unbounded_channel();
    let (batches, mut noted) = mpsc::unbounded_channel();
    let later = || jiff::Timestamp::now() + jiff::SignedDuration::from_mins(10);
    let mapping = Mapping::new(
        EventSourceMapping { maximum_record_age: Some(Duration::from_mins(5)), ..mapping() },
        database.engine.stream(TABLE).unwrap(),
        Arc::new(Function { batches, answer: |_: &[Seen]| ok() }),
        Arc::new(move |_, message| given_up.send(message).map_err(std::io::Error::other)),
        Checkpoints::open(checkpoints.path()).unwrap(),
        Options { clock: Arc::new(later), ..Options::default() },
    )
    .unwrap();
    let stop = CancellationToken::new();
    let task = tokio::spawn(mapping.run(stop.clone()));
    let message = tokio::time::timeout(PATIENCE, lost.recv()).await.unwrap().unwrap();
    assert_eq!(message["requestContext"]["condition"], "RecordAgeExceeded");
    stop.cancel();
    task.await.unwrap();
    assert!(noted.recv().await.is_none());
}

#[tokio::test]
async fn a_restart_carries_on_where_the_last_run_ended() {
    let database = Database::open(Storage::InMemory).await;
    let checkpoints = tempfile::tempdir().unwrap();
    for seq in 1..=3 {
        database.put("a", seq, "user").await;
    }
    let mut first = run(&database, checkpoints.path(), mapping(), |_| ok());
    assert_eq!(seqs(&first.records(3).await), [1, 2, 3]);
    first.stop().await;
    for seq in 4..=5 {
        database.put("a", seq, "user").await;
    }
    let mut second = run(&database, checkpoints.path(), mapping(), |_| ok());
    assert_eq!(seqs(&second.records(2).await), [4, 5]);
    second.stop().await;
}

#[tokio::test]
async fn what_was_under_way_when_the_run_died_comes_again() {
    let database = Database::open(Storage::InMemory).await;
    let checkpoints = tempfile::tempdir().unwrap();
    database.put("a", 1, "user").await;
    let (reached, mut reaches) = mpsc::unbounded_channel();
    let first = run(&database, checkpoints.path(), mapping(), move |_| {
        reached.send(()).unwrap();
        futures::future::pending().boxed()
    });
    reaches.recv().await.unwrap();
    first.task.abort();
    let _ = first.task.await;
    let mut second = run(&database, checkpoints.path(), mapping(), |_| ok());
    assert_eq!(seqs(&second.records(1).await), [1]);
    second.stop().await;
}

#[tokio::test]
async fn a_filter_keeps_other_records_from_the_function_and_does_not_hold_the_checkpoint() {
    let database = Database::open(Storage::InMemory).await;
    let checkpoints = tempfile::tempdir().unwrap();
    for (seq, role) in [(1, "assistant"), (2, "user"), (3, "assistant"), (4, "user")] {
        database.put("a", seq, role).await;
    }
    let config = || EventSourceMapping {
        filters: vec![json!({ "eventName": ["INSERT"], "dynamodb": { "NewImage": { "role": { "S": ["user"] } } } })],
        ..mapping()
    };
    let mut first = run(&database, checkpoints.path(), config(), |_| ok());
    assert_eq!(seqs(&first.records(2).await), [2, 4]);
    first.stop().await;
    database.put("a", 5, "user").await;
    let mut second = run(&database, checkpoints.path(), config(), |_| ok());
    assert_eq!(seqs(&second.records(1).await), [5]);
    second.stop().await;
}
