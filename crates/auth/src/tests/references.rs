//! Secrets by reference, over the protocols of the services.

use aws_config::{BehaviorVersion, Region};
use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
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

/// Returns a verifier of an issuer with a secret by reference, and of the issuer `other` with its own secret.
fn deferred(server: &MockServer) -> Verifier {
    let by_reference = Issuer { secret: None, secret_ref: Some(SECRET_ARN.into()), ..issuer() };
    let other = Issuer { issuer: "other".into(), secret: Some(Secret::new("o".repeat(32))), ..issuer() };
    Verifier::configured(vec![by_reference, other], Some(&config(server)), Timing::default()).unwrap()
}

#[tokio::test]
async fn a_lost_secret_refuses_only_the_tokens_of_its_issuer() {
    let server = MockServer::start().await;
    let denied = ResponseTemplate::new(400).set_body_json(json!({ "__type": "AccessDeniedException" }));
    Mock::given(method("POST")).respond_with(denied).up_to_n_times(1).expect(1).mount(&server).await;
    let found = ResponseTemplate::new(200).set_body_json(json!({ "SecretString": SECRET }));
    Mock::given(method("POST")).respond_with(found).expect(1).mount(&server).await;
    let verifier = deferred(&server);
    let key = EncodingKey::from_secret("o".repeat(32).as_bytes());
    let of_other = encode(&Header::new(Algorithm::HS256), &with("iss", "other"), &key).unwrap();
    assert!(verifier.verify(&of_other, NOW).await.is_ok());
    // The second token starts no read.
    for _ in 0..2 {
        let refused = verifier.verify(&hs256(&claims()), NOW).await;
        assert_eq!(refused.unwrap_err(), AuthError::KeysUnavailable);
    }
    let later = NOW.plus(crate::configured::RETRY_INTERVAL);
    for _ in 0..2 {
        assert!(verifier.verify(&hs256(&claims()), later).await.is_ok());
    }
    assert!(verifier.verify(&of_other, later).await.is_ok());
}

#[tokio::test]
async fn a_secret_by_reference_of_two_issuers_is_refused() {
    let server = MockServer::start().await;
    let found = ResponseTemplate::new(200).set_body_json(json!({ "SecretString": "o".repeat(32) }));
    Mock::given(method("POST")).respond_with(found).mount(&server).await;
    let refused = deferred(&server).verify(&hs256(&claims()), NOW).await;
    assert_eq!(refused.unwrap_err(), AuthError::KeysUnavailable);
}
