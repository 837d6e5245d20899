//! Replays records and invocations that failed after all attempts, from on-failure queues.
//!
//! A message about a stream names records and does not hold them: "Retain discarded records for a DynamoDB event
//! source in Lambda" in the Lambda developer guide. The replay reads them from the stream, which keeps them for 24
//! hours, and passes them through the mapping's filter to the function. A message about an asynchronous invocation
//! holds its payload.
//!
//! The replay deletes a message only when all of it succeeded. Workers are idempotent, so records that are already
//! done have no second effect.

pub mod command;
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

/// Visibility timeout of a message during its replay: more than twice the longest timeout of a function.
const VISIBILITY: Duration = Duration::from_mins(15);

/// Reason why a replay cannot continue.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A call failed.
    #[error("{operation}: {reason}")]
    Aws {
        /// The operation.
        operation: &'static str,
        /// The service's reason.
        reason: String,
    },
    /// The stream ends before the last record of the batch.
    #[error("the stream ends before record {0}")]
    StreamEnded(String),
    /// No mapping leads from the stream to the function.
    #[error("no event source mapping leads from {stream} to {function}: its filter is unknown")]
    NoMapping {
        /// ARN of the stream.
        stream: String,
        /// ARN of the function.
        function: String,
    },
    /// The mapping's filter cannot be read.
    #[error("the filter of the event source mapping: {0}")]
    Filter(String),
    /// The ready file of a local run cannot be read.
    #[error("{0}")]
    ReadyFile(String),
}

impl Error {
    fn aws<E: std::error::Error + Send + Sync + 'static>(operation: &'static str, error: E) -> Self {
        Self::Aws { operation, reason: DisplayErrorContext(error).to_string() }
    }
}

/// Clients of the APIs that a replay needs.
#[derive(Debug, Clone)]
pub struct Clients {
    /// Client of the queues.
    pub sqs: aws_sdk_sqs::Client,
    /// Client of the streams.
    pub streams: aws_sdk_dynamodbstreams::Client,
    /// Client of the functions and their mappings.
    pub lambda: aws_sdk_lambda::Client,
}

impl Clients {
    /// Creates the clients from the environment, like the AWS CLI.
    pub async fn from_environment() -> Self {
        Self::new(&aws_config::load_defaults(BehaviorVersion::latest()).await)
    }

    /// Creates the clients of a local run from its ready file.
    ///
    /// # Errors
    /// Fails if the file cannot be read.
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

    /// Creates the clients of a local run from its URLs.
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
        // A function may take long before the first byte of its response.
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

/// Options of a replay.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Only reports: invokes no function and deletes no message.
    pub dry_run: bool,
    /// Delete messages whose records are no longer in the stream.
    pub forget_expired: bool,
    /// Maximum number of messages to take; `None`: all.
    pub limit: Option<usize>,
}

/// Result of one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplayOutcome {
    /// All records succeeded, and the message is deleted.
    Replayed {
        /// Number of records, or 1 for an invocation.
        records: usize,
    },
    /// The function failed again: the message is back in the queue.
    Failed {
        /// Failures by sequence number or request id, with the reason.
        failures: Vec<(String, String)>,
        /// Number of records that succeeded.
        done: usize,
    },
    /// The stream no longer has the records.
    Expired {
        /// Whether the message is deleted.
        forgotten: bool,
    },
    /// The message cannot be replayed.
    Unreadable(String),
    /// The result of a dry run.
    Seen {
        /// Number of records, or 1 for an invocation.
        records: usize,
    },
}

/// A message and its result.
#[derive(Debug, Clone)]
pub struct Report {
    /// `MessageId`.
    pub message_id: String,
    /// Content of the message; `None` if it is of another kind.
    pub letter: Option<InvocationRecord>,
    /// Result of its replay.
    pub outcome: ReplayOutcome,
}

/// Counts of a queue's messages after a replay.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// Messages that were deleted because all records succeeded.
    pub replayed: usize,
    /// Messages that were deleted because they can no longer be replayed.
    pub forgotten: usize,
    /// Messages that are in the queue again.
    pub left: usize,
}

/// Replays the messages of a queue, each once, and reports each.
///
/// # Errors
/// Fails if a call fails that the replay depends on. Messages that were taken become visible again by themselves.
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
    // Returned only at the end: otherwise this run would receive the message again.
    for receipt in taken.into_iter().flatten() {
        let give_back = clients.sqs.change_message_visibility().queue_url(queue_url).receipt_handle(receipt);
        // If this fails, the message becomes visible again by itself.
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
