//! `CloudWatch` Logs: the operations that write and read log events of a group, with the AWS SDKs or the AWS CLI.
//!
//! A group is a file with one JSON object per event, in the order in which events were put. The logs of functions are not
//! here: they go to the output of the run.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, Write},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::post,
};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::access::{Access, refused};

/// Maximum and default of `limit` ("`FilterLogEvents`" in the API reference of `CloudWatch` Logs).
const MOST_EVENTS: usize = 10_000;

/// Log groups in a directory. Clones share them.
#[derive(Debug, Clone)]
pub struct Logs {
    directory: Arc<PathBuf>,
    /// Held while a group is read or written.
    lock: Arc<Mutex<()>>,
}

/// Log event, as it is stored and as readers get it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct LogEvent {
    log_stream_name: String,
    timestamp: i64,
    message: String,
}

impl Logs {
    /// Opens the log groups in a directory, which is created.
    pub fn open(directory: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&directory)?;
        Ok(Self { directory: Arc::new(directory), lock: Arc::default() })
    }

    fn file(&self, group: &str) -> PathBuf {
        self.directory.join(utf8_percent_encode(group, NON_ALPHANUMERIC).to_string())
    }

    fn put(&self, group: &str, events: &[LogEvent]) -> io::Result<()> {
        let mut lines = Vec::new();
        for event in events {
            serde_json::to_writer(&mut lines, event)?;
            lines.push(b'\n');
        }
        let _held = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        File::options().create(true).append(true).open(self.file(group))?.write_all(&lines)
    }

    /// Returns up to `limit` events from `skipped` events on, and whether there are more.
    fn read(&self, group: &str, asked: &Asked, skipped: usize) -> io::Result<(Vec<LogEvent>, bool)> {
        let _held = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let file = match File::open(self.file(group)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((Vec::new(), false)),
            Err(error) => return Err(error),
        };
        let mut all: Vec<LogEvent> = Vec::new();
        for line in BufReader::new(file).lines() {
            let event: LogEvent = serde_json::from_str(&line?)?;
            let is_late = asked.end_time.is_some_and(|end| event.timestamp >= end);
            if event.timestamp >= asked.start_time && !is_late {
                all.push(event);
            }
        }
        // Streams are merged by the times of their events.
        all.sort_by_key(|event| event.timestamp);
        let mut rest = all.into_iter().skip(skipped);
        let events: Vec<LogEvent> = rest.by_ref().take(asked.limit.unwrap_or(MOST_EVENTS)).collect();
        Ok((events, rest.next().is_some()))
    }
}

/// Request of any of the operations.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Asked {
    log_group_name: String,
    log_stream_name: String,
    log_events: Vec<Input>,
    start_time: i64,
    end_time: Option<i64>,
    limit: Option<usize>,
    next_token: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Input {
    timestamp: i64,
    message: String,
}

#[derive(Clone)]
struct Api {
    logs: Logs,
    access: Access,
    prefix: String,
}

/// Serves log groups. Denies functions what their roles do not allow. `prefix` is the ARN of a log group without its
/// name. [`crate::access::signed`] requires a signature.
pub fn router(logs: Logs, access: Access, prefix: String) -> Router {
    Router::new().route("/", post(answer)).with_state(Api { logs, access, prefix })
}

async fn answer(State(api): State<Api>, headers: HeaderMap, body: Bytes) -> Response {
    let target = headers.get("x-amz-target").and_then(|target| target.to_str().ok()).unwrap_or_default();
    let operation = target.rsplit('.').next().unwrap_or_default().to_owned();
    let Ok(asked) = serde_json::from_slice::<Asked>(&body) else {
        return refused(StatusCode::BAD_REQUEST, "the request cannot be read", "SerializationException");
    };
    // Policies name a group with all its streams.
    let resource = format!("{}{}:*", api.prefix, asked.log_group_name);
    if let Err(message) = api.access.check(&headers, &[(format!("logs:{operation}"), resource)]) {
        return refused(StatusCode::BAD_REQUEST, &message, "AccessDeniedException");
    }
    // File access blocks.
    match tokio::task::spawn_blocking(move || act(&api.logs, &operation, asked)).await {
        Ok(Ok(Some(answer))) => Json(answer).into_response(),
        Ok(Ok(None)) => {
            refused(StatusCode::BAD_REQUEST, "the local run has no such operation", "UnknownOperationException")
        }
        Ok(Err(error)) => {
            tracing::error!(%error, "a log group could not be used");
            refused(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string(), "ServiceUnavailableException")
        }
        Err(error) => refused(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string(), "ServiceUnavailableException"),
    }
}

/// Runs an operation. Returns `None` for one that is not supported.
fn act(logs: &Logs, operation: &str, asked: Asked) -> io::Result<Option<Value>> {
    match operation {
        // A stream exists from its first event on.
        "CreateLogStream" => Ok(Some(json!({}))),
        "PutLogEvents" => {
            let Asked { log_group_name, log_stream_name, log_events, .. } = asked;
            let events = log_events.into_iter().map(|Input { timestamp, message }| {
                let log_stream_name = log_stream_name.clone();
                LogEvent { log_stream_name, timestamp, message }
            });
            logs.put(&log_group_name, &events.collect::<Vec<_>>())?;
            Ok(Some(json!({})))
        }
        "FilterLogEvents" => {
            let skipped = asked.next_token.as_deref().and_then(|token| token.parse().ok()).unwrap_or_default();
            let (events, has_more) = logs.read(&asked.log_group_name, &asked, skipped)?;
            let next = has_more.then(|| (skipped + events.len()).to_string());
            let mut answer = json!({ "events": events, "searchedLogStreams": [] });
            if let Some(next) = next {
                answer["nextToken"] = next.into();
            }
            Ok(Some(answer))
        }
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn run(logs: &Logs, operation: &str, asked: Value) -> Value {
        act(logs, operation, serde_json::from_value(asked).unwrap()).unwrap().unwrap()
    }

    #[test]
    fn events_of_all_streams_are_read_by_time_page_by_page_and_stay() {
        let directory = tempfile::tempdir().unwrap();
        let logs = Logs::open(directory.path().join("logs")).unwrap();
        for (group, stream, times) in [("/s/audit", "a", [5, 7]), ("/s/audit", "b", [6, 9]), ("/s/other", "a", [5, 6])]
        {
            let events = times.map(|time| json!({ "timestamp": time, "message": format!("{stream}{time}") }));
            let stream = json!({ "logGroupName": group, "logStreamName": stream });
            run(&logs, "CreateLogStream", stream.clone());
            let mut put = stream;
            put["logEvents"] = json!(events);
            run(&logs, "PutLogEvents", put);
        }
        // As after a restart.
        let logs = Logs::open(directory.path().join("logs")).unwrap();
        let mut asked = json!({ "logGroupName": "/s/audit", "startTime": 6, "limit": 2 });
        let texts = |page: &Value| -> Vec<String> {
            let events = page["events"].as_array().unwrap().iter();
            events.map(|event| event["message"].as_str().unwrap().to_owned()).collect()
        };
        let page = run(&logs, "FilterLogEvents", asked.clone());
        assert_eq!(texts(&page), ["b6", "a7"]);
        asked["nextToken"] = page["nextToken"].clone();
        let page = run(&logs, "FilterLogEvents", asked.clone());
        assert_eq!((texts(&page), page.get("nextToken")), (vec!["b9".to_owned()], None));
        let bounded = json!({ "logGroupName": "/s/audit", "endTime": 7 });
        assert_eq!(texts(&run(&logs, "FilterLogEvents", bounded)), ["a5", "b6"]);
        let unknown = json!({ "logGroupName": "/s/none" });
        assert_eq!(texts(&run(&logs, "FilterLogEvents", unknown)), Vec::<String>::new());
        assert!(act(&logs, "DeleteLogGroup", Asked::default()).unwrap().is_none());
    }
}
