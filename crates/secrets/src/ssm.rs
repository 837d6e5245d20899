//! Parameters of AWS Systems Manager: the operation `GetParameter`.
//!
//! The SDK's client of Systems Manager has 150 operations, and took an eighth of a cold `cargo local` to compile. So the
//! one operation is declared here. It runs on the runtime of the SDK's clients, which signs, retries and times out.
//! The protocol is AWS JSON 1.1 ("`GetParameter`" and "Common Error Types" in the Systems Manager API reference).

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
use serde::Deserialize;
use tracing::{Instrument, info_span};

/// Name of the service in addresses and signatures ("AWS Systems Manager endpoints and quotas").
const SERVICE: &str = "ssm";

/// Returns the decrypted value of a parameter, by its ARN.
///
/// # Errors
/// Fails if the parameter cannot be read. The error does not contain its value.
pub(crate) async fn value(config: &SdkConfig, arn: &str) -> Result<Option<String>, BoxError> {
    let region = config.region().ok_or("there is no region")?;
    let credentials = config.credentials_provider().ok_or("there are no credentials")?;
    let components = RuntimeComponentsBuilder::new(SERVICE)
        .with_auth_scheme(SigV4AuthScheme::new())
        .with_auth_scheme_option_resolver(Some(StaticAuthSchemeOptionResolver::new(vec![SCHEME_ID])))
        .with_identity_cache(config.identity_cache().or_else(|| Some(IdentityCache::no_cache())))
        .with_identity_resolver(SCHEME_ID, credentials)
        .with_time_source(config.time_source());
    let plugin = StaticRuntimePlugin::new().with_config(settings(region.clone().into()));
    let mut operation = Operation::builder()
        .service_name(SERVICE)
        .operation_name("GetParameter")
        .endpoint_url(&endpoint(config, region.as_ref(), arn))
        .standard_retry(&config.retry_config().cloned().unwrap_or_else(RetryConfig::standard))
        .retry_classifier(AwsErrorCodeClassifier::<ErrorMetadata>::new())
        .retry_classifier(TransientErrorClassifier::<ErrorMetadata>::new())
        .retry_classifier(HttpStatusCodeClassifier::default())
        .runtime_plugin(plugin.with_runtime_components(components));
    if let Some(timeouts) = config.timeout_config() {
        operation = operation.timeout_config(timeouts.clone());
    }
    if let Some(client) = config.http_client() {
        operation = operation.http_client(client);
    }
    if let Some(sleep) = config.sleep_impl() {
        operation = operation.sleep_impl(sleep);
    }
    let operation = operation.serializer(request).deserializer(response).build();
    // As the SDK's own clients name their calls.
    let span = info_span!("SSM.GetParameter", rpc.service = "SSM", rpc.method = "GetParameter");
    Ok(operation.invoke(arn.to_owned()).instrument(span).await?)
}

fn settings(region: SigningRegion) -> FrozenLayer {
    let mut layer = Layer::new(SERVICE);
    layer.store_put(AuthSchemeOptionResolverParams::new(()));
    layer.store_put(SigV4OperationSigningConfig {
        region: Some(region),
        name: Some(SigningName::from_static(SERVICE)),
        ..SigV4OperationSigningConfig::default()
    });
    // Logs of the runtime never contain the response.
    layer.store_put(SensitiveOutput);
    layer.freeze()
}

/// Returns the address of the service. Settings of the environment or the profile have priority, as in the SDK.
fn endpoint(config: &SdkConfig, region: &str, arn: &str) -> String {
    let key = ServiceConfigKey::builder().service_id("SSM").env("AWS_ENDPOINT_URL").profile("endpoint_url").build();
    let own = config.service_config().zip(key.ok()).and_then(|(settings, key)| settings.load_config(key));
    own.or_else(|| config.endpoint_url().map(str::to_owned)).unwrap_or_else(|| {
        let fips = if config.use_fips() == Some(true) { "-fips" } else { "" };
        // The suffixes are from the partitions of the SDK (`partitions.json`).
        let suffix = match arn.split(':').nth(1) {
            Some("aws-cn") => "amazonaws.com.cn",
            Some("aws-eusc") => "amazonaws.eu",
            Some("aws-iso") => "c2s.ic.gov",
            Some("aws-iso-b") => "sc2s.sgov.gov",
            Some("aws-iso-e") => "cloud.adc-e.uk",
            Some("aws-iso-f") => "csp.hci.ic.gov",
            _ => "amazonaws.com",
        };
        format!("https://{SERVICE}{fips}.{region}.{suffix}")
    })
}

#[expect(clippy::needless_pass_by_value, reason = "the runtime passes its input")]
fn request(arn: String) -> Result<HttpRequest, BoxError> {
    let body = serde_json::json!({ "Name": arn, "WithDecryption": true }).to_string();
    let request = Request::post("/")
        .header(header::CONTENT_TYPE, "application/x-amz-json-1.1")
        .header("x-amz-target", "AmazonSSM.GetParameter")
        .body(SdkBody::from(body))?;
    Ok(request.try_into()?)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Found {
    parameter: Option<Parameter>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Parameter {
    value: Option<String>,
}

#[derive(Default, Deserialize)]
struct Failed {
    /// The code, which may follow a namespace and `#`.
    #[serde(rename = "__type")]
    code: Option<String>,
    #[serde(alias = "Message")]
    message: Option<String>,
}

fn response(response: &HttpResponse) -> Result<Option<String>, OrchestratorError<ErrorMetadata>> {
    let body = response.body().bytes().unwrap_or_default();
    if response.status().is_success() {
        // The text of the parser's error may contain the value.
        let unexpected = |_| OrchestratorError::other("the response has another form");
        let found: Found = serde_json::from_slice(body).map_err(unexpected)?;
        return Ok(found.parameter.and_then(|parameter| parameter.value));
    }
    let Failed { code, message } = serde_json::from_slice(body).unwrap_or_default();
    let code = code.as_deref().map(|code| code.rsplit_once('#').map_or(code, |(_, code)| code).to_owned());
    let error = ErrorMetadata::builder().code(code.unwrap_or_else(|| response.status().as_u16().to_string()));
    let error = error.message(message.unwrap_or_default()).build();
    Err(OrchestratorError::operation(error))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use aws_config::{BehaviorVersion, Region, retry::RetryConfig};
    use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
    use serde_json::json;
    use wiremock::{Mock, MockServer, ResponseTemplate, matchers::any};

    use super::*;

    const ARN: &str = "arn:aws:ssm:eu-central-1:123456789012:parameter/switchboard/jwt";

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

    async fn server(refusals: &[(u16, &str)]) -> MockServer {
        let server = MockServer::start().await;
        for (status, code) in refusals {
            let body = json!({ "__type": format!("com.amazonaws.ssm#{code}"), "message": "told" });
            let refused = ResponseTemplate::new(*status).set_body_json(body);
            Mock::given(any()).respond_with(refused).up_to_n_times(1).mount(&server).await;
        }
        let found =
            ResponseTemplate::new(200).set_body_json(json!({ "Parameter": { "Name": ARN, "Value": "s3cret" } }));
        Mock::given(any()).respond_with(found).mount(&server).await;
        server
    }

    #[tokio::test]
    async fn a_request_is_signed_for_the_service() {
        let server = server(&[]).await;
        let value = value(&config(Some(&server.uri())), ARN).await.unwrap();
        assert_eq!(value.as_deref(), Some("s3cret"));
        let received = server.received_requests().await.unwrap().remove(0);
        let header = |name: &str| received.headers[name].to_str().unwrap();
        assert_eq!(received.url.path(), "/");
        assert_eq!(header("content-type"), "application/x-amz-json-1.1");
        assert_eq!(header("x-amz-security-token"), "session");
        let signature = header("authorization");
        assert!(signature.starts_with("AWS4-HMAC-SHA256 Credential=AKID/"), "{signature}");
        assert!(signature.contains("/eu-central-1/ssm/aws4_request"), "{signature}");
        assert!(signature.contains("x-amz-target"), "{signature}");
    }

    #[tokio::test]
    async fn throttling_and_failures_are_retried() {
        let server = server(&[(400, "ThrottlingException"), (500, "InternalServerError")]).await;
        assert_eq!(value(&config(Some(&server.uri())), ARN).await.unwrap().as_deref(), Some("s3cret"));
        assert_eq!(server.received_requests().await.unwrap().len(), 3);
    }

    #[tokio::test]
    async fn a_refusal_is_told_with_its_code_and_not_retried() {
        let server = server(&[(400, "ParameterNotFound")]).await;
        let text = crate::read(&config(Some(&server.uri())), ARN).await.unwrap_err().to_string();
        assert!(text.contains("ParameterNotFound") && text.contains("told"), "{text}");
        assert_eq!(server.received_requests().await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn an_error_does_not_contain_a_value() {
        let server = MockServer::start().await;
        let other =
            ResponseTemplate::new(200).set_body_json(json!({ "Parameter": "s3cret", "SecretString": ["s3cret"] }));
        Mock::given(any()).respond_with(other).mount(&server).await;
        for arn in [ARN, "arn:aws:secretsmanager:eu-central-1:123456789012:secret:jwt-AbCdEf"] {
            let error = crate::read(&config(Some(&server.uri())), arn).await.unwrap_err().to_string();
            assert!(!error.contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn each_partition_has_its_own_addresses() {
        let of = |arn: &str| endpoint(&config(None), "eu-central-1", arn);
        assert_eq!(of(ARN), "https://ssm.eu-central-1.amazonaws.com");
        let china = "arn:aws-cn:ssm:cn-north-1:123456789012:parameter/jwt";
        assert_eq!(endpoint(&config(None), "cn-north-1", china), "https://ssm.cn-north-1.amazonaws.com.cn");
        assert_eq!(endpoint(&config(Some("http://here")), "eu-central-1", ARN), "http://here");
    }
}
