//! Parameters of AWS Systems Manager: the operation `GetParameter`.

use aws_config::SdkConfig;
use aws_json::{CallError, SYSTEMS_MANAGER, call};
use serde::Deserialize;
use serde_json::json;

/// Returns the decrypted value of a parameter, by its ARN ("`GetParameter`" in the Systems Manager API reference).
///
/// # Errors
/// Fails if the parameter cannot be read. The error does not contain its value.
pub(crate) async fn value(config: &SdkConfig, arn: &str) -> Result<Option<String>, CallError> {
    let partition = arn.split(':').nth(1).unwrap_or_default();
    let input = json!({ "Name": arn, "WithDecryption": true });
    let found: Found = call(config, SYSTEMS_MANAGER, "GetParameter", partition, &input).await?;
    Ok(found.parameter.and_then(|parameter| parameter.value))
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
}
