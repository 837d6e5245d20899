//! AWS as seen by the functions' SDK, without a network. DynamoDB is the embedded one of the local run, `@connections`
//! accepts every frame, and Lambda accepts every dispatch.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use aws_config::{BehaviorVersion, Region, SdkConfig, retry::RetryConfig};
use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use aws_smithy_runtime_api::{
    client::{
        http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn},
        orchestrator::{HttpRequest, HttpResponse},
    },
    http::StatusCode,
};
use aws_smithy_types::body::SdkBody;
use dynoxide::{Database, errors::DynoxideError};
use serde::{Serialize, de::DeserializeOwned};

/// URL of `@connections` for the functions.
pub const MANAGEMENT_URL: &str = "https://sockets.localhost/chat";

/// A frame posted to a socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Posted {
    /// The connection.
    pub connection: String,
    /// The frame.
    pub frame: String,
}

/// All services that the SDK calls.
#[derive(Clone)]
pub struct Aws {
    pub database: Database,
    written: Arc<AtomicBool>,
    posted: Arc<Mutex<Vec<Posted>>>,
}

impl std::fmt::Debug for Aws {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Aws")
    }
}

impl Aws {
    pub fn new(database: Database) -> Self {
        Self { database, written: Arc::default(), posted: Arc::default() }
    }

    /// Returns a configuration that sends all calls to this value.
    pub fn config(&self) -> SdkConfig {
        let connector = SharedHttpConnector::new(self.clone());
        SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .credentials_provider(SharedCredentialsProvider::new(Credentials::new("key", "secret", None, None, "fuzz")))
            .retry_config(RetryConfig::disabled())
            .http_client(http_client_fn(move |_, _| connector.clone()))
            .build()
    }

    /// Returns whether a table was written to since the last call of this method.
    pub fn take_written(&self) -> bool {
        self.written.swap(false, Ordering::Relaxed)
    }

    /// Returns the frames posted since the last call of this method.
    pub fn take_posted(&self) -> Vec<Posted> {
        std::mem::take(&mut self.posted.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn answer(&self, request: &HttpRequest) -> (u16, String) {
        let body = request.body().bytes().unwrap_or_default();
        if let Some(target) = request.headers().get("x-amz-target") {
            let operation = target.rsplit('.').next().unwrap_or_default();
            return match self.dynamodb(operation, body) {
                Ok(answer) => (200, answer),
                Err(error) => (error.status_code(), error.to_json()),
            };
        }
        let Some((_, path)) = request.uri().split_once("/@connections/") else {
            // Lambda's `Invoke`, whose response the functions ignore.
            return (202, String::new());
        };
        // Some sockets are gone.
        if path.starts_with("gone") {
            return (410, r#"{"message":"gone"}"#.to_owned());
        }
        if request.method() == "POST" {
            let frame = std::str::from_utf8(body).expect("a frame is text").to_owned();
            let posted = Posted { connection: path.to_owned(), frame };
            self.posted.lock().unwrap_or_else(PoisonError::into_inner).push(posted);
        }
        (200, r#"{"connectedAt":"2026-11-25T00:00:00Z","lastActiveAt":"2026-11-25T00:00:00Z"}"#.to_owned())
    }

    fn dynamodb(&self, operation: &str, body: &[u8]) -> Result<String, DynoxideError> {
        let database = &self.database;
        let written =
            matches!(operation, "PutItem" | "UpdateItem" | "DeleteItem" | "BatchWriteItem" | "TransactWriteItems");
        self.written.fetch_or(written, Ordering::Relaxed);
        match operation {
            "GetItem" => run(body, |request| database.get_item(request)),
            "PutItem" => run(body, |request| database.put_item(request)),
            "UpdateItem" => run(body, |request| database.update_item(request)),
            "DeleteItem" => run(body, |request| database.delete_item(request)),
            "Query" => run(body, |request| database.query(request)),
            "BatchGetItem" => run(body, |request| database.batch_get_item(request)),
            "BatchWriteItem" => run(body, |request| database.batch_write_item(request)),
            "TransactWriteItems" => run(body, |request| database.transact_write_items(request)),
            "DescribeTable" => run(body, |request| database.describe_table(request)),
            other => panic!("unexpected call: {other}"),
        }
    }
}

fn run<Request: DeserializeOwned, Answer: Serialize>(
    body: &[u8],
    operation: impl FnOnce(Request) -> Result<Answer, DynoxideError>,
) -> Result<String, DynoxideError> {
    let refused = |error: serde_json::Error| DynoxideError::ValidationException(error.to_string());
    let answer = operation(serde_json::from_slice(body).map_err(refused)?)?;
    serde_json::to_string(&answer).map_err(refused)
}

impl HttpConnector for Aws {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (status, body) = self.answer(&request);
        let status = StatusCode::try_from(status).expect("a status");
        let mut response = HttpResponse::new(status, SdkBody::from(body));
        if status.as_u16() == 410 {
            response.headers_mut().insert("x-amzn-errortype", "GoneException");
        }
        HttpConnectorFuture::ready(Ok(response))
    }
}
