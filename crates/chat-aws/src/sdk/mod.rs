//! The SDK's configuration and its errors.

pub(crate) mod http;
mod spans;

use std::{ops::Deref, time::Duration};

use aws_config::{
    BehaviorVersion, SdkConfig, stalled_stream_protection::StalledStreamProtectionConfig, timeout::TimeoutConfig,
};
use aws_sdk_dynamodb::{
    config::http::HttpResponse,
    error::{DisplayErrorContext, ProvideErrorMetadata, SdkError},
};
use aws_smithy_runtime_api::client::http::{HttpConnectorSettings, SharedHttpConnector};
use chat::model::error::StoreError;

use crate::sdk::{http::Http, spans::SpanAttributes};

/// One attempt at one call.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(4);

/// All attempts at one call; below the time-outs of the functions.
const CALL_TIMEOUT: Duration = Duration::from_secs(8);

/// Opening a connection to a service.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// What all clients of a function share: made once per cold start.
#[derive(Debug, Clone)]
pub struct Sdk {
    config: SdkConfig,
    http: Http,
}

impl Deref for Sdk {
    type Target = SdkConfig;

    fn deref(&self) -> &SdkConfig {
        &self.config
    }
}

impl Sdk {
    /// The connections of the SDK's clients, for requests that are signed here.
    pub(crate) fn connector(&self) -> SharedHttpConnector {
        self.http.shared(&connector_settings())
    }
}

/// Reads region, credentials and endpoints from the environment.
pub async fn config() -> Sdk {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .operation_timeout(CALL_TIMEOUT)
        .build();
    let http = Http::default();
    if !is_plain() {
        http.prepare_tls(&connector_settings());
    }
    let defaults = aws_config::defaults(BehaviorVersion::latest()).timeout_config(timeouts);
    Sdk { config: defaults.http_client(http.clone()).load().await, http }
}

/// What a client of the SDK makes of the time-outs above for its connections.
fn connector_settings() -> HttpConnectorSettings {
    HttpConnectorSettings::builder().connect_timeout(CONNECT_TIMEOUT).build()
}

/// Whether the services are called without TLS, as in a local run ("Service-specific endpoints" in the AWS SDKs and Tools
/// reference guide).
fn is_plain() -> bool {
    let names = ["AWS_ENDPOINT_URL_DYNAMODB", "AWS_ENDPOINT_URL"];
    names.iter().find_map(|name| std::env::var(name).ok()).is_some_and(|url| url.starts_with("http:"))
}

/// A client of DynamoDB whose calls are spans.
#[must_use]
pub fn dynamodb(config: &SdkConfig) -> aws_sdk_dynamodb::Client {
    let config = aws_sdk_dynamodb::config::Builder::from(config)
        .interceptor(SpanAttributes)
        .stalled_stream_protection(unwatched());
    let config = config.build();
    aws_sdk_dynamodb::Client::from_conf(config)
}

/// A client of Lambda whose calls are spans.
#[must_use]
pub(crate) fn lambda(config: &SdkConfig) -> aws_sdk_lambda::Client {
    let config = aws_sdk_lambda::config::Builder::from(config)
        .interceptor(SpanAttributes)
        .stalled_stream_protection(unwatched());
    let config = config.build();
    aws_sdk_lambda::Client::from_conf(config)
}

/// Bodies that are small, and calls that are over after [`CALL_TIMEOUT`], need nobody who measures how fast bytes come.
fn unwatched() -> StalledStreamProtectionConfig {
    StalledStreamProtectionConfig::disabled()
}

/// A failed call, with whether to repeat it.
pub(crate) fn sdk_error<E>(operation: &'static str, error: SdkError<E, HttpResponse>) -> StoreError
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let retryable = match &error {
        SdkError::ConstructionFailure(_) => false,
        SdkError::ServiceError(context) => {
            is_transient(context.raw().status().as_u16(), context.err().code().unwrap_or_default())
        }
        // Timed out, not sent, or no answer that makes sense.
        _ => true,
    };
    StoreError { operation, retryable, source: DisplayErrorContext(error).to_string().into() }
}

/// Whether a refusal may be none the next time. The codes are from "Error handling with DynamoDB" and the error lists of the
/// operations.
pub(crate) fn is_transient(status: u16, code: &str) -> bool {
    let of_code = matches!(
        code,
        "LimitExceededException"
            | "ProvisionedThroughputExceededException"
            | "RequestLimitExceeded"
            | "ThrottlingException"
            | "TooManyRequestsException"
            | "TransactionConflictException"
            | "TransactionInProgressException"
    );
    of_code || status >= 500 || status == 429
}

/// What came from the table is not what the code writes there.
pub(crate) fn decode_error(
    operation: &'static str,
    error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> StoreError {
    StoreError { operation, retryable: false, source: error.into() }
}
