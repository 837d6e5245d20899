//! The SDK's configuration and its errors.

use std::time::Duration;

use aws_config::{BehaviorVersion, SdkConfig, timeout::TimeoutConfig};
use aws_sdk_dynamodb::{
    config::http::HttpResponse,
    error::{DisplayErrorContext, ProvideErrorMetadata, SdkError},
};
use aws_smithy_runtime_api::client::http::HttpConnectorSettings;
use chat::error::StoreError;

use crate::{calls::Calls, http::Http};

/// One attempt at one call.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(4);

/// All attempts at one call; below the time-outs of the functions.
const CALL_TIMEOUT: Duration = Duration::from_secs(8);

/// Opening a connection to a service.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// The configuration that all clients of a function share: made once per cold start.
pub async fn config() -> SdkConfig {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .operation_timeout(CALL_TIMEOUT)
        .build();
    let http = Http::default();
    if !is_plain() {
        http.prepare_tls(&HttpConnectorSettings::builder().connect_timeout(CONNECT_TIMEOUT).build());
    }
    aws_config::defaults(BehaviorVersion::latest()).timeout_config(timeouts).http_client(http).load().await
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
    let config = aws_sdk_dynamodb::config::Builder::from(config).interceptor(Calls).build();
    aws_sdk_dynamodb::Client::from_conf(config)
}

/// A client of Lambda whose calls are spans.
#[must_use]
pub(crate) fn lambda(config: &SdkConfig) -> aws_sdk_lambda::Client {
    let config = aws_sdk_lambda::config::Builder::from(config).interceptor(Calls).build();
    aws_sdk_lambda::Client::from_conf(config)
}

/// A failed call, with whether to repeat it.
pub(crate) fn failed<E>(operation: &'static str, error: SdkError<E, HttpResponse>) -> StoreError
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let retryable = match &error {
        SdkError::ConstructionFailure(_) => false,
        SdkError::ServiceError(context) => {
            let status = context.raw().status().as_u16();
            status >= 500 || status == 429 || context.err().code().is_some_and(is_transient)
        }
        // Timed out, not sent, or no answer that makes sense.
        _ => true,
    };
    StoreError { operation, retryable, source: DisplayErrorContext(error).to_string().into() }
}

/// From "Error handling with DynamoDB" and the error lists of the operations.
fn is_transient(code: &str) -> bool {
    matches!(
        code,
        "LimitExceededException"
            | "ProvisionedThroughputExceededException"
            | "RequestLimitExceeded"
            | "ThrottlingException"
            | "TooManyRequestsException"
            | "TransactionConflictException"
            | "TransactionInProgressException"
    )
}

/// What came from the table is not what the code writes there.
pub(crate) fn unreadable(
    operation: &'static str,
    error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> StoreError {
    StoreError { operation, retryable: false, source: error.into() }
}
