//! The SDK's configuration and its errors.

pub(crate) mod http;
mod spans;

use std::{ops::Deref, time::Duration};

use aws_config::{
    BehaviorVersion, ConfigLoader, SdkConfig,
    environment::{EnvironmentVariableCredentialsProvider, EnvironmentVariableRegionProvider},
    stalled_stream_protection::StalledStreamProtectionConfig,
    timeout::TimeoutConfig,
};
use aws_credential_types::Credentials;
use aws_sdk_dynamodb::{
    config::http::HttpResponse,
    error::{DisplayErrorContext, ProvideErrorMetadata, SdkError},
};
use aws_smithy_runtime_api::client::http::{HttpConnectorSettings, SharedHttpConnector};
use chat::model::error::StoreError;

use crate::sdk::{http::Http, spans::SpanAttributes};

/// Time-out of one attempt at a call.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(4);

/// Time-out of all attempts at a call. It is shorter than the time-outs of the functions.
const CALL_TIMEOUT: Duration = Duration::from_secs(8);

/// Time-out of opening a connection to a service.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// The configuration that all clients of a function share. It is created once per cold start.
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
    /// Returns the connections of the SDK's clients, for requests that this crate signs itself.
    pub(crate) fn connector(&self) -> SharedHttpConnector {
        self.http.shared(&connector_settings())
    }
}

/// Reads region, credentials and endpoints from the environment.
///
/// If the environment has region and credentials, as Lambda's has ("Defined runtime environment variables" in the Lambda
/// developer guide), only they are read. The SDK's chains would use them too, after they have set up their other sources:
/// profiles, web identity, and the metadata services of ECS and EC2.
pub async fn config() -> Sdk {
    let mut loader = aws_config::defaults(BehaviorVersion::latest());
    if are_set(&["AWS_REGION"]) {
        loader = loader.region(EnvironmentVariableRegionProvider::new());
    }
    if are_set(&["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]) {
        loader = loader.credentials_provider(EnvironmentVariableCredentialsProvider::new());
    }
    load(loader).await
}

/// Returns the configuration of a program that names its region and its credentials, such as those of a local run.
pub async fn config_of(region: &'static str, credentials: Credentials) -> Sdk {
    load(aws_config::defaults(BehaviorVersion::latest()).region(region).credentials_provider(credentials)).await
}

async fn load(defaults: ConfigLoader) -> Sdk {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .operation_timeout(CALL_TIMEOUT)
        .build();
    let http = Http::default();
    if !is_plain() {
        http.prepare_tls(&connector_settings());
    }
    Sdk { config: defaults.timeout_config(timeouts).http_client(http.clone()).load().await, http }
}

/// Returns whether the environment has a value for each of the variables.
fn are_set(variables: &[&str]) -> bool {
    variables.iter().all(|name| std::env::var(name).is_ok_and(|value| !value.trim().is_empty()))
}

/// Returns the connection settings that an SDK client derives from the time-outs above.
fn connector_settings() -> HttpConnectorSettings {
    HttpConnectorSettings::builder().connect_timeout(CONNECT_TIMEOUT).build()
}

/// Returns whether the services are called without TLS, as in a local run ("Service-specific endpoints" in the AWS SDKs
/// and Tools reference guide).
fn is_plain() -> bool {
    let names = ["AWS_ENDPOINT_URL_DYNAMODB", "AWS_ENDPOINT_URL"];
    names.iter().find_map(|name| std::env::var(name).ok()).is_some_and(|url| url.starts_with("http:"))
}

/// Creates a DynamoDB client whose calls are spans.
#[must_use]
pub fn dynamodb(config: &SdkConfig) -> aws_sdk_dynamodb::Client {
    let config = aws_sdk_dynamodb::config::Builder::from(config)
        .interceptor(SpanAttributes)
        .stalled_stream_protection(unwatched());
    let config = config.build();
    aws_sdk_dynamodb::Client::from_conf(config)
}

/// Creates a Lambda client whose calls are spans.
#[must_use]
pub(crate) fn lambda(config: &SdkConfig) -> aws_sdk_lambda::Client {
    let config = aws_sdk_lambda::config::Builder::from(config)
        .interceptor(SpanAttributes)
        .stalled_stream_protection(unwatched());
    let config = config.build();
    aws_sdk_lambda::Client::from_conf(config)
}

/// Disables the SDK's check of the transfer rate. Bodies are small, and [`CALL_TIMEOUT`] ends every call.
fn unwatched() -> StalledStreamProtectionConfig {
    StalledStreamProtectionConfig::disabled()
}

/// Returns the error of a failed call, and whether a retry can succeed.
pub(crate) fn sdk_error<E>(operation: &'static str, error: SdkError<E, HttpResponse>) -> StoreError
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let retryable = match &error {
        SdkError::ConstructionFailure(_) => false,
        SdkError::ServiceError(context) => {
            is_transient(context.raw().status().as_u16(), context.err().code().unwrap_or_default())
        }
        // Time-out, request not sent, or invalid response.
        _ => true,
    };
    StoreError { operation, retryable, source: DisplayErrorContext(error).to_string().into() }
}

/// Returns whether a retry may succeed. The codes are from "Error handling with DynamoDB" and the error lists of the
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

/// Returns the error of an item that this code could not have written.
pub(crate) fn decode_error(
    operation: &'static str,
    error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> StoreError {
    StoreError { operation, retryable: false, source: error.into() }
}
