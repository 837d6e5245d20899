//! Single operations of AWS services with the protocol AWS JSON 1.1, without the SDK's clients of the services.
//!
//! A client of the SDK is compiled whole: that of Systems Manager has 150 operations, and took an eighth of a cold
//! `cargo local` to compile. An operation runs here on the runtime of the SDK's clients, which signs, retries and times
//! out ("Common Error Types" in the API references of the services).

use aws_config::{SdkConfig, retry::RetryConfig};
use aws_runtime::{
    auth::{
        SigV4OperationSigningConfig,
        sigv4::{SCHEME_ID, SigV4AuthScheme},
    },
    retries::classifiers::AwsErrorCodeClassifier,
};
use aws_smithy_runtime::client::{
    identity::IdentityCache,
    orchestrator::operation::Operation,
    retries::classifiers::{HttpStatusCodeClassifier, TransientErrorClassifier},
};
use aws_smithy_runtime_api::{
    box_error::BoxError,
    client::{
        auth::{AuthSchemeOptionResolverParams, static_resolver::StaticAuthSchemeOptionResolver},
        orchestrator::{HttpRequest, HttpResponse, OrchestratorError, SensitiveOutput},
        result::SdkError,
        runtime_components::RuntimeComponentsBuilder,
        runtime_plugin::StaticRuntimePlugin,
    },
};
use aws_smithy_types::{
    body::SdkBody,
    config_bag::{FrozenLayer, Layer},
    error::ErrorMetadata,
};
use aws_types::{SigningName, region::SigningRegion, service_config::ServiceConfigKey};
use http::{Request, header};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tracing::{Instrument, info_span};

/// Service of AWS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Service {
    /// Name in addresses and signatures ("endpoints and quotas" of the service).
    pub name: &'static str,
    /// Id in names of settings, such as `SSM` in `AWS_ENDPOINT_URL_SSM`.
    pub id: &'static str,
    /// Prefix of the operation in `X-Amz-Target`.
    pub target: &'static str,
}

/// Systems Manager.
pub const SYSTEMS_MANAGER: Service = Service { name: "ssm", id: "SSM", target: "AmazonSSM" };

/// `CloudWatch` Logs.
pub const CLOUDWATCH_LOGS: Service = Service { name: "logs", id: "CloudWatch Logs", target: "Logs_20140328" };

/// Reason why a call failed. It does not contain the response.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The configuration has no region.
    #[error("there is no region")]
    NoRegion,
    /// The configuration has no credentials.
    #[error("there are no credentials")]
    NoCredentials,
    /// The request cannot be written as JSON.
    #[error("the request cannot be written")]
    Request(#[source] serde_json::Error),
    /// The response has another form. The text of the parser's error may contain parts of it.
    #[error("the response has another form")]
    Response,
    /// The call failed.
    #[error(transparent)]
    Call(#[from] Box<SdkError<ErrorMetadata, HttpResponse>>),
}

impl CallError {
    /// Returns the code of the service's refusal.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Call(error) => error.as_service_error()?.code(),
            _ => None,
        }
    }
}

/// Calls an operation of a service. `partition` is the partition of the account, such as `aws`, which decides the
/// address.
///
/// # Errors
/// Fails if the service refuses the call or cannot be reached. The error does not contain the response.
pub async fn call<I: Serialize + Sync, O: DeserializeOwned>(
    config: &SdkConfig,
    service: Service,
    operation: &'static str,
    partition: &str,
    input: &I,
) -> Result<O, CallError> {
    let region = config.region().ok_or(CallError::NoRegion)?;
    let credentials = config.credentials_provider().ok_or(CallError::NoCredentials)?;
    let body = serde_json::to_string(input).map_err(CallError::Request)?;
    let components = RuntimeComponentsBuilder::new(service.name)
        .with_auth_scheme(SigV4AuthScheme::new())
        .with_auth_scheme_option_resolver(Some(StaticAuthSchemeOptionResolver::new(vec![SCHEME_ID])))
        .with_identity_cache(config.identity_cache().or_else(|| Some(IdentityCache::no_cache())))
        .with_identity_resolver(SCHEME_ID, credentials)
        .with_time_source(config.time_source());
    let plugin = StaticRuntimePlugin::new().with_config(settings(service, region.clone().into()));
    let mut builder = Operation::builder()
        .service_name(service.name)
        .operation_name(operation)
        .endpoint_url(&endpoint(config, service, region.as_ref(), partition))
        .standard_retry(&config.retry_config().cloned().unwrap_or_else(RetryConfig::standard))
        .retry_classifier(AwsErrorCodeClassifier::<ErrorMetadata>::new())
        .retry_classifier(TransientErrorClassifier::<ErrorMetadata>::new())
        .retry_classifier(HttpStatusCodeClassifier::default())
        .runtime_plugin(plugin.with_runtime_components(components));
    if let Some(timeouts) = config.timeout_config() {
        builder = builder.timeout_config(timeouts.clone());
    }
    if let Some(client) = config.http_client() {
        builder = builder.http_client(client);
    }
    if let Some(sleep) = config.sleep_impl() {
        builder = builder.sleep_impl(sleep);
    }
    let target = format!("{}.{operation}", service.target);
    let built = builder.serializer(move |body| request(&target, body)).deserializer(response).build();
    // As the SDK's own clients name their calls.
    let span = info_span!(
        "call",
        otel.name = format_args!("{}.{operation}", service.id),
        rpc.service = service.id,
        rpc.method = operation
    );
    let answer = built.invoke(body).instrument(span).await.map_err(Box::new)?;
    // Some operations respond with an empty body.
    let answer = if answer.0.is_empty() { b"{}".as_slice() } else { answer.0.as_slice() };
    serde_json::from_slice(answer).map_err(|_| CallError::Response)
}

/// Body of a response.
#[derive(Debug)]
struct Answer(Vec<u8>);

fn settings(service: Service, region: SigningRegion) -> FrozenLayer {
    let mut layer = Layer::new(service.name);
    layer.store_put(AuthSchemeOptionResolverParams::new(()));
    layer.store_put(SigV4OperationSigningConfig {
        region: Some(region),
        name: Some(SigningName::from_static(service.name)),
        ..SigV4OperationSigningConfig::default()
    });
    // Logs of the runtime never contain the response.
    layer.store_put(SensitiveOutput);
    layer.freeze()
}

/// Returns the address of a service. Settings of the environment or the profile have priority, as in the SDK.
fn endpoint(config: &SdkConfig, service: Service, region: &str, partition: &str) -> String {
    let key =
        ServiceConfigKey::builder().service_id(service.id).env("AWS_ENDPOINT_URL").profile("endpoint_url").build();
    let own = config.service_config().zip(key.ok()).and_then(|(settings, key)| settings.load_config(key));
    own.or_else(|| config.endpoint_url().map(str::to_owned)).unwrap_or_else(|| {
        let fips = if config.use_fips() == Some(true) { "-fips" } else { "" };
        // The suffixes are from the partitions of the SDK (`partitions.json`).
        let suffix = match partition {
            "aws-cn" => "amazonaws.com.cn",
            "aws-eusc" => "amazonaws.eu",
            "aws-iso" => "c2s.ic.gov",
            "aws-iso-b" => "sc2s.sgov.gov",
            "aws-iso-e" => "cloud.adc-e.uk",
            "aws-iso-f" => "csp.hci.ic.gov",
            _ => "amazonaws.com",
        };
        format!("https://{}{fips}.{region}.{suffix}", service.name)
    })
}

fn request(target: &str, body: String) -> Result<HttpRequest, BoxError> {
    let request = Request::post("/")
        .header(header::CONTENT_TYPE, "application/x-amz-json-1.1")
        .header("x-amz-target", target)
        .body(SdkBody::from(body))?;
    Ok(request.try_into()?)
}

#[derive(Default, Deserialize)]
struct Failed {
    /// The code, which may follow a namespace and `#`.
    #[serde(rename = "__type")]
    code: Option<String>,
    #[serde(alias = "Message")]
    message: Option<String>,
}

fn response(response: &HttpResponse) -> Result<Answer, OrchestratorError<ErrorMetadata>> {
    let body = response.body().bytes().unwrap_or_default();
    if response.status().is_success() {
        return Ok(Answer(body.to_vec()));
    }
    let Failed { code, message } = serde_json::from_slice(body).unwrap_or_default();
    let code = code.as_deref().map(|code| code.rsplit_once('#').map_or(code, |(_, code)| code).to_owned());
    let error = ErrorMetadata::builder().code(code.unwrap_or_else(|| response.status().as_u16().to_string()));
    let error = error.message(message.unwrap_or_default()).build();
    Err(OrchestratorError::operation(error))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Duration;

    use aws_config::{BehaviorVersion, Region};
    use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
    use serde_json::{Value, json};
    use wiremock::{Mock, MockServer, ResponseTemplate, matchers::any};

    use super::*;

    fn config(url: Option<&str>) -> SdkConfig {
        let credentials = Credentials::new("AKID", "key", Some("session".to_owned()), None, "test");
        let mut config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("eu-central-1"))
            .retry_config(RetryConfig::standard().with_initial_backoff(Duration::from_millis(1)))
            .sleep_impl(aws_smithy_async::rt::sleep::TokioSleep::new())
            .credentials_provider(SharedCredentialsProvider::new(credentials));
        config.set_endpoint_url(url.map(str::to_owned));
        config.build()
    }

    async fn asked(server: &MockServer) -> Result<Value, CallError> {
        call(&config(Some(&server.uri())), CLOUDWATCH_LOGS, "CreateLogStream", "aws", &json!({ "a": 1 })).await
    }

    #[tokio::test]
    async fn a_request_is_signed_for_its_service_and_names_its_operation() {
        let server = MockServer::start().await;
        Mock::given(any()).respond_with(ResponseTemplate::new(200)).mount(&server).await;
        assert_eq!(asked(&server).await.unwrap(), json!({}), "an empty response");
        let received = server.received_requests().await.unwrap().remove(0);
        let header = |name: &str| received.headers[name].to_str().unwrap();
        assert_eq!(header("x-amz-target"), "Logs_20140328.CreateLogStream");
        assert!(header("authorization").contains("/eu-central-1/logs/aws4_request"));
        assert_eq!(serde_json::from_slice::<Value>(&received.body).unwrap(), json!({ "a": 1 }));
    }

    #[tokio::test]
    async fn throttling_is_retried_and_a_refusal_has_its_code() {
        let server = MockServer::start().await;
        for code in ["ThrottlingException", "ResourceAlreadyExistsException"] {
            let refused = ResponseTemplate::new(400).set_body_json(json!({ "__type": code, "message": "told" }));
            Mock::given(any()).respond_with(refused).up_to_n_times(1).mount(&server).await;
        }
        let error = asked(&server).await.unwrap_err();
        assert_eq!(error.code(), Some("ResourceAlreadyExistsException"), "{error}");
        assert_eq!(server.received_requests().await.unwrap().len(), 2);
    }

    #[test]
    fn each_partition_has_its_own_addresses() {
        let of = |partition: &str| endpoint(&config(None), SYSTEMS_MANAGER, "r-1", partition);
        assert_eq!(of("aws"), "https://ssm.r-1.amazonaws.com");
        assert_eq!(of("aws-cn"), "https://ssm.r-1.amazonaws.com.cn");
        let logs = |url| endpoint(&config(url), CLOUDWATCH_LOGS, "r-1", "aws");
        assert_eq!(logs(None), "https://logs.r-1.amazonaws.com");
        assert_eq!(logs(Some("http://here")), "http://here");
    }
}
