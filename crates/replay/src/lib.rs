//! Replays what event source mappings and asynchronous invocations gave up.
//!
//! A message about a stream names records and does not hold them ("Retain discarded records for a DynamoDB event source in
//! Lambda" in the Lambda developer guide): they are read from the stream, which keeps them for 24 hours, and go through the
//! mapping's filter to the function. A message about an asynchronous invocation holds its payload. The message is deleted
//! when all of it went well, and only then; workers are idempotent, so what was done already is not done twice.

mod event;
mod invocation;
mod invocation_record;
mod records;

use std::{collections::BTreeMap, path::Path, time::Duration};

use aws_config::{BehaviorVersion, SdkConfig, stalled_stream_protection::StalledStreamProtectionConfig};
use aws_sdk_dynamodbstreams::error::DisplayErrorContext;
use aws_sdk_sqs::types::Message;

pub use self::{
    invocation_record::{InvocationRecord, StreamBatch, Unreadable},
    records::{Records, fetch},
};

/// How long a message stays with whoever replays it: longer than the longest function runs, twice.
const VISIBILITY: Duration = Duration::from_mins(15);

/// Why a replay cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A call failed.
    #[error("{operation}: {reason}")]
    Aws {
        /// Of which API.
        operation: &'static str,
        /// What the service said.
        reason: String,
    },
    /// The stream does not give what it should.
    #[error("the stream ends before record {0}")]
    StreamEnded(String),
    /// No mapping leads from the stream to the function.
    #[error("no event source mapping leads from {stream} to {function} any more: what it let through is not known")]
    NoMapping {
        /// ARN of the stream.
        stream: String,
        /// ARN of the function.
        function: String,
    },
    /// The mapping's filter cannot be read.
    #[error("the filter of the event source mapping: {0}")]
    Filter(String),
    /// A file that tells of a local run cannot be read.
    #[error("{0}")]
    ReadyFile(String),
}

impl Error {
    fn aws<E: std::error::Error + Send + Sync + 'static>(operation: &'static str, error: E) -> Self {
        Self::Aws { operation, reason: DisplayErrorContext(error).to_string() }
    }
}

/// The APIs that a replay needs.
#[derive(Debug, Clone)]
pub struct Clients {
    /// Of the queues.
    pub sqs: aws_sdk_sqs::Client,
    /// Of the streams.
    pub streams: aws_sdk_dynamodbstreams::Client,
    /// Of the functions and their mappings.
    pub lambda: aws_sdk_lambda::Client,
}

impl Clients {
    /// Those that the environment names, as for the AWS CLI.
    pub async fn from_environment() -> Self {
        Self::new(&aws_config::load_defaults(BehaviorVersion::latest()).await)
    }

    /// Those of a local run, from the file that it writes when it is ready.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn of_local_run(ready_file: &Path) -> Result<Self, Error> {
        let unreadable =
            |reason: &dyn std::fmt::Display| Error::ReadyFile(format!("{}: {reason}", ready_file.display()));
        let content = std::fs::read(ready_file).map_err(|error| unreadable(&error))?;
        let addresses: BTreeMap<String, serde_json::Value> =
            serde_json::from_slice(&content).map_err(|error| unreadable(&error))?;
        let address = |of: &str| {
            addresses
                .get(of)
                .and_then(|url| url.as_str())
                .map(str::to_owned)
                .ok_or_else(|| unreadable(&format!("no {of}")))
        };
        Ok(Self::local(&address("sqs")?, &address("dynamodb")?, &address("lambda")?).await)
    }

    /// Those of a local run, by their URLs.
    pub async fn local(sqs: &str, dynamodb: &str, lambda: &str) -> Self {
        let nobody = aws_sdk_sqs::config::Credentials::new("local", "local", None, None, "local run");
        let config = aws_config::defaults(BehaviorVersion::latest())
            .region("us-east-1")
            .credentials_provider(nobody)
            .load()
            .await;
        let mut clients = Self::new(&config);
        clients.sqs = aws_sdk_sqs::Client::from_conf(clients.sqs.config().to_builder().endpoint_url(sqs).build());
        clients.streams = aws_sdk_dynamodbstreams::Client::from_conf(
            clients.streams.config().to_builder().endpoint_url(dynamodb).build(),
        );
        clients.lambda =
            aws_sdk_lambda::Client::from_conf(clients.lambda.config().to_builder().endpoint_url(lambda).build());
        clients
    }

    fn new(config: &SdkConfig) -> Self {
        // A function may take its time before the first byte of its answer.
        let lambda = aws_sdk_lambda::config::Builder::from(config)
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .build();
        Self {
            sqs: aws_sdk_sqs::Client::new(config),
            streams: aws_sdk_dynamodbstreams::Client::new(config),
            lambda: aws_sdk_lambda::Client::from_conf(lambda),
        }
    }
}

/// What to do besides.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Only look: nothing is invoked, nothing deleted.
    pub dry_run: bool,
    /// Delete messages whose records are no longer in the stream.
    pub forget_expired: bool,
    /// Messages to take at most; `None`: all.
    pub limit: Option<usize>,
}

/// What came of one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplayOutcome {
    /// All went well, and the message is deleted.
    Replayed {
        /// Records, or 1 for an invocation.
        records: usize,
    },
    /// The function failed again: the message is back in the queue.
    Failed {
        /// What failed, by sequence number or request id, and why.
        failures: Vec<(String, String)>,
        /// Records that went well.
        done: usize,
    },
    /// The stream no longer has the records.
    Expired {
        /// Whether the message is deleted.
        forgotten: bool,
    },
    /// Nothing that can be replayed.
    Unreadable(String),
    /// What would be invoked.
    Seen {
        /// Records, or 1 for an invocation.
        records: usize,
    },
}

/// One message and what came of it.
#[derive(Debug, Clone)]
pub struct Report {
    /// `MessageId`.
    pub message_id: String,
    /// What it says; `None` when it is of another kind.
    pub letter: Option<InvocationRecord>,
    /// What came of it.
    pub outcome: ReplayOutcome,
}

/// How a queue was left.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// Messages that are deleted because all went well.
    pub replayed: usize,
    /// Messages that are deleted because they can no longer be replayed.
    pub forgotten: usize,
    /// Messages that are in the queue again.
    pub left: usize,
}

/// Replays the messages of a queue, each once, and tells of each.
///
/// # Errors
/// When a call fails that nothing can be done without. Messages that were taken come back by themselves.
pub async fn replay(
    clients: &Clients,
    queue_url: &str,
    options: Options,
    mut tell: impl FnMut(&Report),
) -> Result<Summary, Error> {
    let mut summary = Summary::default();
    let mut taken = Vec::new();
    while options.limit.is_none_or(|limit| taken.len() < limit) {
        let Some(message) = receive(clients, queue_url).await? else { break };
        let (message_id, receipt) =
            (message.message_id.unwrap_or_default(), message.receipt_handle.unwrap_or_default());
        let letter = InvocationRecord::read(message.body.as_deref().unwrap_or_default());
        let outcome = match &letter {
            Ok(letter) => one(clients, letter, options).await?,
            Err(error) => ReplayOutcome::Unreadable(error.to_string()),
        };
        match &outcome {
            ReplayOutcome::Replayed { .. } => summary.replayed += 1,
            ReplayOutcome::Expired { forgotten: true } => summary.forgotten += 1,
            _ => summary.left += 1,
        }
        if matches!(outcome, ReplayOutcome::Replayed { .. } | ReplayOutcome::Expired { forgotten: true }) {
            let delete = clients.sqs.delete_message().queue_url(queue_url).receipt_handle(&receipt);
            delete.send().await.map_err(|error| Error::aws("DeleteMessage", error))?;
            taken.push(None);
        } else {
            taken.push(Some(receipt));
        }
        tell(&Report { message_id, letter: letter.ok(), outcome });
    }
    // Only now: given back earlier, a message would come again in this very run.
    for receipt in taken.into_iter().flatten() {
        let give_back = clients.sqs.change_message_visibility().queue_url(queue_url).receipt_handle(receipt);
        // If it fails, the message comes back by itself.
        let _ = give_back.visibility_timeout(0).send().await;
    }
    Ok(summary)
}

async fn receive(clients: &Clients, queue_url: &str) -> Result<Option<Message>, Error> {
    let visibility = i32::try_from(VISIBILITY.as_secs()).unwrap_or(i32::MAX);
    let receive = clients.sqs.receive_message().queue_url(queue_url).max_number_of_messages(1).wait_time_seconds(2);
    let received = receive.visibility_timeout(visibility).send().await;
    Ok(received.map_err(|error| Error::aws("ReceiveMessage", error))?.messages.unwrap_or_default().pop())
}

async fn one(clients: &Clients, letter: &InvocationRecord, options: Options) -> Result<ReplayOutcome, Error> {
    match letter {
        InvocationRecord::Stream { function, batch } => {
            let records = match fetch(clients, function, batch).await? {
                Records::Found { events, batch_size } => (events, batch_size),
                Records::Expired => {
                    return Ok(ReplayOutcome::Expired { forgotten: options.forget_expired && !options.dry_run });
                }
            };
            let (events, batch_size) = records;
            if options.dry_run {
                return Ok(ReplayOutcome::Seen { records: events.len() });
            }
            invocation::replay_records(&clients.lambda, function, events, batch_size).await
        }
        InvocationRecord::Invocation { .. } if options.dry_run => Ok(ReplayOutcome::Seen { records: 1 }),
        InvocationRecord::Invocation { function, request_id, payload } => {
            invocation::replay_payload(&clients.lambda, function, request_id, payload).await
        }
    }
}
