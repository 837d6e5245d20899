//! Secrets by reference, over the protocols of the services.

use aws_config::{BehaviorVersion, Region};
use aws_sdk_ssm::config::{Credentials, SharedCredentialsProvider};
use wiremock::matchers::{body_partial_json, header};

use super::*;

fn config(server: &MockServer) -> SdkConfig {
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-central-1"))
        .credentials_provider(SharedCredentialsProvider::new(Credentials::new("id", "key", None, None, "test")))
        .endpoint_url(server.uri())
        .build()
}

const SECRET_ARN: &str = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:jwt-AbCdEf";
const PARAMETER_ARN: &str = "arn:aws:ssm:eu-central-1:123456789012:parameter/switchboard/jwt";

async fn resolved(server: &MockServer, reference: &str) -> Result<Issuer, SettingsError> {
    let mut issuer = Issuer { secret: None, secret_ref: Some(reference.into()), ..issuer() };
    issuer.resolve_secret(&config(server)).await.map(|()| issuer)
}

#[tokio::test]
async fn a_secret_is_read_from_where_its_reference_says() {
    let server = MockServer::start().await;
    Mock::given(header("x-amz-target", "secretsmanager.GetSecretValue"))
        .and(body_partial_json(json!({ "SecretId": SECRET_ARN })))
        .respond_with(ResponseTemplate::new(200).set_body_json(json!({ "SecretString": SECRET })))
        .mount(&server)
        .await;
    Mock::given(header("x-amz-target", "AmazonSSM.GetParameter"))
        .and(body_partial_json(json!({ "Name": PARAMETER_ARN, "WithDecryption": true })))
        .respond_with(ResponseTemplate::new(200).set_body_json(json!({ "Parameter": { "Value": SECRET } })))
        .mount(&server)
        .await;
    for reference in [SECRET_ARN, PARAMETER_ARN] {
        let verifier = Verifier::new(vec![resolved(&server, reference).await.unwrap()]).unwrap();
        assert!(verifier.verify(&hs256(&claims()), NOW).await.is_ok(), "{reference}");
    }
}

#[tokio::test]
async fn a_reference_that_leads_nowhere_is_told_by_issuer() {
    let server = MockServer::start().await;
    let denied = ResponseTemplate::new(400).set_body_json(json!({ "__type": "AccessDeniedException" }));
    Mock::given(method("POST")).respond_with(denied).mount(&server).await;
    for reference in [SECRET_ARN, PARAMETER_ARN, "arn:aws:s3:::bucket", "jwt"] {
        let error = resolved(&server, reference).await.unwrap_err().to_string();
        assert!(error.contains("issuer issuer"), "{error}");
    }
    let mut both = Issuer { secret_ref: Some(SECRET_ARN.into()), ..issuer() };
    let error = both.resolve_secret(&config(&server)).await;
    assert!(matches!(error, Err(SettingsError::TwoSecrets(_))));
}
