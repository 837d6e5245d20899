//! Bedrock's event stream, which the SDK reads from a local server.

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_bedrockruntime::config::{Credentials, SharedCredentialsProvider};
use models::Bedrock;
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::method};

use crate::bedrock_support::{Case, assert_request, cases, check, read, reply};

/// Returns a client of a server at this URL.
pub(crate) fn client(url: &str) -> Bedrock {
    let credentials = Credentials::new("id", "key", None, None, "test");
    let config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-central-1"))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .endpoint_url(url)
        .build();
    Bedrock::new(&config)
}

/// Returns a server that responds like Bedrock, and its client.
async fn answering(status: u16, error_type: Option<&str>, body: &[Vec<u8>]) -> (MockServer, Bedrock) {
    let content_type = if error_type.is_some() { "application/json" } else { "application/vnd.amazon.eventstream" };
    let mut answer = ResponseTemplate::new(status).set_body_raw(body.concat(), content_type);
    if let Some(error_type) = error_type {
        answer = answer.insert_header("x-amzn-errortype", error_type);
    }
    let server = MockServer::start().await;
    // One call is one request: the agent counts calls, and decides on retries.
    Mock::given(method("POST")).respond_with(answer).expect(1).mount(&server).await;
    let bedrock = client(&server.uri());
    (server, bedrock)
}

#[tokio::test]
async fn the_conversation_goes_out_and_the_words_come_back() {
    let (server, bedrock) = answering(200, None, &reply()).await;
    assert_eq!(read(&bedrock).await.0, "Héllo");
    let request = server.received_requests().await.unwrap().remove(0);
    assert_request(request.url.path(), &request.body);
}

#[tokio::test]
async fn every_end_of_a_reply_is_told_apart() {
    for case in cases() {
        let Case { status, error_type, body, .. } = &case;
        let (_server, bedrock) = answering(*status, *error_type, body).await;
        check(&case, &bedrock).await;
    }
}
