//! The audit log in `CloudWatch` Logs: one log event for each entry, in a log group of its own.
//!
//! A log stream has one writer: an environment of a function, or one run of a command. It is created before the first
//! entry.

use std::sync::atomic::{AtomicBool, Ordering};

use aws_config::SdkConfig;
use aws_json::{CLOUDWATCH_LOGS, CallError, call};
use futures::future::BoxFuture;
use serde::Deserialize;
use serde_json::{Value, json};
use telemetry::audit::{AuditLine, AuditSink};

use crate::env::variable;

/// Variable with the name of the log group.
const LOG_GROUP: &str = "AUDIT_LOG_GROUP";

/// Code of a log stream that exists ("`CreateLogStream`" in the `CloudWatch` Logs API reference).
const EXISTS: &str = "ResourceAlreadyExistsException";

/// Maximum number of log events of one read (`limit` of "`FilterLogEvents`", same reference).
const PAGE: u32 = 1_000;

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Audit log of a deployment or of a local run.
#[derive(Debug)]
pub struct AuditLog {
    config: SdkConfig,
    partition: String,
    group: String,
    stream: String,
    has_stream: AtomicBool,
}

/// Part of the audit log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AuditPage {
    /// Entries, oldest first.
    pub lines: Vec<AuditLine>,
    /// Token of the next part, if there is more. A part may be empty although there is more.
    pub next: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Filtered {
    #[serde(default)]
    events: Vec<FilteredEvent>,
    next_token: Option<String>,
}

#[derive(Deserialize)]
struct FilteredEvent {
    timestamp: i64,
    message: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Put {
    rejected_log_events_info: Option<Value>,
}

impl AuditLog {
    /// Returns the audit log in a log group. This process writes to the log stream `stream`.
    #[must_use]
    pub fn new(config: &SdkConfig, group: impl Into<String>, stream: impl Into<String>) -> Self {
        let (group, stream) = (group.into(), stream.into());
        // Each region is in one partition, and its name tells which.
        let region: &str = config.region().map_or("", AsRef::as_ref);
        let partition = if region.starts_with("cn-") { "aws-cn" } else { "aws" };
        let partition = partition.to_owned();
        Self { config: config.clone(), partition, group, stream, has_stream: AtomicBool::new(false) }
    }

    /// Returns the audit log of a function, if `AUDIT_LOG_GROUP` names its log group. The log stream has the name of the
    /// function's own one, which no other environment has.
    #[must_use]
    pub fn from_env(config: &SdkConfig) -> Option<Self> {
        let stream = variable("AWS_LAMBDA_LOG_STREAM_NAME").ok()?;
        Some(Self::new(config, variable(LOG_GROUP).ok()?, stream))
    }

    async fn ask<O: serde::de::DeserializeOwned>(&self, operation: &'static str, input: Value) -> Result<O, CallError> {
        call(&self.config, CLOUDWATCH_LOGS, operation, &self.partition, &input).await
    }

    /// Stores entries, in the order of their times.
    ///
    /// # Errors
    /// Fails if the service refuses one of them, or cannot be reached.
    pub async fn put(&self, lines: &[AuditLine]) -> Result<(), Error> {
        if !self.has_stream.load(Ordering::Relaxed) {
            let input = json!({ "logGroupName": self.group, "logStreamName": self.stream });
            match self.ask::<Value>("CreateLogStream", input).await {
                Ok(_) => {}
                Err(error) if error.code() == Some(EXISTS) => {}
                Err(error) => return Err(described(&error)),
            }
            self.has_stream.store(true, Ordering::Relaxed);
        }
        let events: Vec<Value> =
            lines.iter().map(|line| json!({ "timestamp": line.at, "message": line.text })).collect();
        let input = json!({ "logGroupName": self.group, "logStreamName": self.stream, "logEvents": events });
        let put: Put = self.ask("PutLogEvents", input).await.map_err(|error| described(&error))?;
        match put.rejected_log_events_info {
            None | Some(Value::Null) => Ok(()),
            Some(info) => Err(format!("log events were rejected: {info}").into()),
        }
    }

    /// Returns the next part of the entries from `from` until `until`, in milliseconds since the Unix epoch. `token` is
    /// the [`AuditPage::next`] of the part before.
    ///
    /// # Errors
    /// Fails if the log group does not exist, or the service cannot be reached.
    pub async fn page(&self, from: i64, until: Option<i64>, token: Option<&str>) -> Result<AuditPage, Error> {
        let mut input = json!({ "logGroupName": self.group, "startTime": from, "limit": PAGE });
        if let Some(until) = until {
            input["endTime"] = until.into();
        }
        if let Some(token) = token {
            input["nextToken"] = token.into();
        }
        let found: Filtered = self.ask("FilterLogEvents", input).await.map_err(|error| described(&error))?;
        let lines = found.events.into_iter().map(|event| AuditLine { at: event.timestamp, text: event.message });
        Ok(AuditPage { lines: lines.collect(), next: found.next_token })
    }
}

impl AuditSink for AuditLog {
    fn store<'a>(&'a self, lines: &'a [AuditLine]) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(self.put(lines))
    }
}

/// Returns an error with all its causes.
fn described(error: &CallError) -> Error {
    let first: &(dyn std::error::Error + 'static) = error;
    let causes = std::iter::successors(Some(first), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ").into()
}

#[cfg(test)]
mod tests {
    use aws_config::{BehaviorVersion, Region};
    use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
    use wiremock::{Mock, MockServer, ResponseTemplate, matchers::header};

    use super::*;

    fn log(server: &MockServer) -> AuditLog {
        let credentials = Credentials::new("AKID", "key", None, None, "test");
        let config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("eu-central-1"))
            .sleep_impl(aws_smithy_async::rt::sleep::TokioSleep::new())
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .endpoint_url(server.uri())
            .build();
        AuditLog::new(&config, "/switchboard/audit", "one")
    }

    async fn answer(server: &MockServer, operation: &str, status: u16, body: Value) {
        let target = format!("Logs_20140328.{operation}");
        let answer = ResponseTemplate::new(status).set_body_json(body);
        Mock::given(header("x-amz-target", target.as_str())).respond_with(answer).mount(server).await;
    }

    fn line(at: i64) -> AuditLine {
        AuditLine { at, text: json!({ "action": "channel_deleted" }).to_string() }
    }

    /// `chat` names the target of its events, and `telemetry` takes the events with that target.
    #[test]
    fn the_domain_and_the_log_have_one_target() {
        assert_eq!(chat::model::audit::AUDIT_TARGET, telemetry::audit::AUDIT_TARGET);
    }

    #[tokio::test]
    async fn a_stream_is_created_once_and_may_exist() {
        let server = MockServer::start().await;
        answer(&server, "CreateLogStream", 400, json!({ "__type": EXISTS, "message": "it exists" })).await;
        answer(&server, "PutLogEvents", 200, json!({})).await;
        let log = log(&server);
        for at in [1, 2] {
            log.put(&[line(at)]).await.unwrap();
        }
        let received = server.received_requests().await.unwrap();
        assert_eq!(received.len(), 3, "one stream, two puts");
        let last: Value = serde_json::from_slice(&received[2].body).unwrap();
        assert_eq!((&last["logGroupName"], &last["logStreamName"]), (&json!("/switchboard/audit"), &json!("one")));
        assert_eq!(last["logEvents"], json!([{ "timestamp": 2, "message": line(2).text }]));
    }

    #[tokio::test]
    async fn rejected_entries_and_refusals_are_errors() {
        let server = MockServer::start().await;
        answer(&server, "CreateLogStream", 200, json!({})).await;
        answer(&server, "PutLogEvents", 200, json!({ "rejectedLogEventsInfo": { "tooOldLogEventEndIndex": 1 } })).await;
        let error = log(&server).put(&[line(1)]).await.unwrap_err().to_string();
        assert!(error.contains("tooOldLogEventEndIndex"), "{error}");
        let refused = json!({ "__type": "AccessDeniedException", "message": "no" });
        let server = MockServer::start().await;
        answer(&server, "CreateLogStream", 400, refused).await;
        let error = log(&server).put(&[line(1)]).await.unwrap_err().to_string();
        assert!(error.contains("AccessDeniedException"), "{error}");
    }

    #[tokio::test]
    async fn a_part_is_read_with_its_token() {
        let server = MockServer::start().await;
        let body = json!({ "events": [{ "timestamp": 5, "message": "{}", "eventId": "1" }], "nextToken": "t" });
        answer(&server, "FilterLogEvents", 200, body).await;
        let page = log(&server).page(1, Some(9), Some("before")).await.unwrap();
        assert_eq!(
            page,
            AuditPage { lines: vec![AuditLine { at: 5, text: "{}".to_owned() }], next: Some("t".to_owned()) }
        );
        let sent: Value = serde_json::from_slice(&server.received_requests().await.unwrap()[0].body).unwrap();
        assert_eq!(
            (&sent["startTime"], &sent["endTime"], &sent["nextToken"]),
            (&json!(1), &json!(9), &json!("before"))
        );
    }
}
