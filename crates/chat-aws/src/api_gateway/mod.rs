//! Sockets: the API Gateway management API (`@connections`).
//!
//! Closing a connection and looking at one go through the SDK's client ([`client()`]). A push is signed by this crate,
//! because it is the most frequent request by far: see decision 0041. Both share credentials and connections. The
//! caller retries, because it knows the deadline.

mod client;
mod identity;
mod push;
mod signature;

use std::sync::{Arc, LazyLock};

use aws_config::SdkConfig;
use aws_sdk_apigatewaymanagement::{
    Client,
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
};
use aws_smithy_runtime_api::client::http::SharedHttpConnector;
use chat::{
    model::{error::StoreError, id::ConnectionId, limits::PUSH_DURATION, push_report::PushReport},
    ports::socket_gateway::{Pushed, SocketGateway},
};
use telemetry::metrics;
use tokio::time::{error::Elapsed, timeout};

pub use client::client;

use identity::OneIdentity;
use push::Pusher;

use crate::sdk::{Sdk, sdk_error};

/// The sockets of one stage of a WebSocket API. Clones share credentials and connections.
#[derive(Debug, Clone)]
pub struct ManagementApi {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    pusher: Pusher,
    /// Created before its first call: a client reads all partitions of AWS then, and most environments only push.
    client: LazyLock<Client, Box<dyn FnOnce() -> Client + Send>>,
}

impl ManagementApi {
    /// Creates a gateway for the sockets behind `url`, `https://<api id>.execute-api.<region>.amazonaws.com/<stage>`.
    #[must_use]
    pub fn new(sdk: &Sdk, url: &str) -> Self {
        Self::over(sdk.connector(), sdk, url)
    }

    /// Creates a gateway with the given connector, and the region, credentials and clock of `config`.
    #[must_use]
    pub fn over(connector: SharedHttpConnector, config: &SdkConfig, url: &str) -> Self {
        let identity = OneIdentity::default();
        let pusher = Pusher::new(identity.clone(), connector.clone(), config, url);
        let (config, url) = (config.clone(), url.to_owned());
        let client =
            LazyLock::new(Box::new(move || client::with_identity(identity, connector, &config, &url)) as Box<_>);
        Self { inner: Arc::new(Inner { pusher, client }) }
    }
}

/// Returns whether the connection of an answered request exists.
fn is_there<T, E>(
    operation: &'static str,
    answered: Result<Result<T, SdkError<E, HttpResponse>>, Elapsed>,
) -> Result<bool, StoreError>
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let lost = |elapsed: Elapsed| StoreError { operation, retryable: true, source: elapsed.into() };
    let Err(error) = answered.map_err(lost)? else { return Ok(true) };
    match error.raw_response().map(|response| response.status().as_u16()) {
        // The status decides about a body that the client cannot read.
        Some(200..300) => Ok(true),
        Some(410) => Ok(false),
        _ => Err(sdk_error(operation, error)),
    }
}

/// Counts the outcomes of pushes.
pub fn count(outcome: &PushReport) {
    metrics::count(&metrics::PUSHES_DELIVERED, outcome.delivered);
    metrics::count(&metrics::PUSHES_GONE, outcome.gone);
    metrics::count(&metrics::PUSHES_RETRIED, outcome.retried);
    metrics::count(&metrics::PUSHES_FAILED, outcome.failed);
    metrics::count(&metrics::PUSHES_HANDED_OVER, outcome.requeued);
}

impl SocketGateway for ManagementApi {
    const SYSTEM: &'static str = "aws-api";

    const SERVICE: &'static str = "ApiGatewayManagementApi";

    async fn push(&self, id: &ConnectionId, frame: &str) -> Result<Pushed, StoreError> {
        self.inner.pusher.push(id, frame).await
    }

    async fn is_open(&self, id: &ConnectionId) -> Result<bool, StoreError> {
        // The SDK's futures are large.
        let asked = Box::pin(self.inner.client.get_connection().connection_id(id.as_str()).send());
        is_there("GetConnection", timeout(PUSH_DURATION, asked).await)
    }

    async fn close(&self, id: &ConnectionId) -> Result<bool, StoreError> {
        let asked = Box::pin(self.inner.client.delete_connection().connection_id(id.as_str()).send());
        is_there("DeleteConnection", timeout(PUSH_DURATION, asked).await)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use aws_config::Region;
    use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
    use aws_sigv4::{
        http_request::{SignableBody, SignableRequest, SigningSettings, sign},
        sign::v4,
    };
    use aws_smithy_runtime_api::client::{http::HttpConnectorSettings, identity::Identity};
    use http::header;
    use wiremock::{Mock, MockServer, Request as Received, ResponseTemplate, matchers::any};

    use super::{push::RESPONSE_BYTES, *};
    use crate::sdk::http::Http;

    const ID: &str = "L0SM9cOFvHcCIhw=";

    fn credentials() -> Credentials {
        Credentials::new("AKID", "secret", Some("session".to_owned()), None, "test")
    }

    fn api(url: &str, credentials: Option<Credentials>) -> ManagementApi {
        let mut config = SdkConfig::builder().region(Region::new("eu-west-1"));
        config.set_credentials_provider(credentials.map(SharedCredentialsProvider::new));
        let connector = Http::default().shared(&HttpConnectorSettings::builder().build());
        ManagementApi::over(connector, &config.build(), &format!("{url}/prod"))
    }

    async fn server(answer: ResponseTemplate) -> MockServer {
        let server = MockServer::start().await;
        Mock::given(any()).respond_with(answer).mount(&server).await;
        server
    }

    fn id() -> ConnectionId {
        ID.parse().unwrap()
    }

    /// The statuses and codes are from "`PostToConnection`" in the reference of the management API.
    #[tokio::test]
    async fn an_answer_tells_whether_the_socket_is_there_and_whether_to_try_again() {
        for (status, code, expected) in [
            (200, "", Ok(Pushed::Delivered)),
            (410, "GoneException", Ok(Pushed::Gone)),
            (429, "LimitExceededException", Err(true)),
            (500, "InternalServerErrorException", Err(true)),
            (400, "ThrottlingException:http://internal.amazon.com/", Err(true)),
            (403, "ForbiddenException", Err(false)),
            (413, "PayloadTooLargeException", Err(false)),
        ] {
            let answer = ResponseTemplate::new(status).insert_header("x-amzn-errortype", code).set_body_string("why");
            let server = server(answer).await;
            let api = api(&server.uri(), Some(credentials()));
            let pushed = api.push(&id(), "{}").await;
            assert_eq!(pushed.as_ref().copied().map_err(|error| error.retryable), expected);
            if let Err(error) = pushed {
                let told = error.to_string() + &error.source.to_string();
                assert!(told.contains("PostToConnection") && told.contains("why"), "{told}");
            }
        }
    }

    /// The statuses and codes are from "`GetConnection`" and "`DeleteConnection`" in the same reference.
    #[tokio::test]
    async fn a_connection_that_is_looked_at_or_closed_is_there_or_gone_or_nothing_is_known() {
        for (status, code, body, expected) in [
            (200, "", r#"{"connectedAt":"2026-11-30T00:53:20.120Z"}"#, Ok(true)),
            (200, "", "not what the client expects", Ok(true)),
            (204, "", "", Ok(true)),
            (410, "GoneException", "", Ok(false)),
            (410, "", "", Ok(false)),
            (429, "LimitExceededException", "", Err(true)),
            (500, "", "", Err(true)),
            (403, "ForbiddenException", "", Err(false)),
        ] {
            let answer = ResponseTemplate::new(status).insert_header("x-amzn-errortype", code).set_body_string(body);
            let server = server(answer).await;
            let api = api(&server.uri(), Some(credentials()));
            let case = format!("{status} {code} {body}");
            let told = |told: Result<bool, StoreError>| told.map_err(|error| error.retryable);
            assert_eq!(told(api.is_open(&id()).await), expected, "look: {case}");
            assert_eq!(told(api.close(&id()).await), expected, "close: {case}");
            assert_eq!(server.received_requests().await.unwrap().len(), 2, "no attempt is repeated: {case}");
        }
    }

    #[tokio::test]
    async fn the_status_decides_about_a_long_response() {
        for (status, expected) in
            [(200, Ok(Pushed::Delivered)), (410, Ok(Pushed::Gone)), (500, Err(true)), (403, Err(false))]
        {
            let server = server(ResponseTemplate::new(status).set_body_string("x".repeat(RESPONSE_BYTES + 1))).await;
            let pushed = api(&server.uri(), Some(credentials())).push(&id(), "{}").await;
            assert_eq!(pushed.as_ref().copied().map_err(|error| error.retryable), expected);
            let text = pushed.err().map(|error| error.source.to_string()).unwrap_or_default();
            assert!(text.len() < 64, "{text}");
        }
    }

    #[tokio::test]
    async fn nobody_who_answers_and_no_credentials_are_worth_another_attempt() {
        let nobody = api("http://127.0.0.1:1", Some(credentials()));
        assert!(nobody.push(&id(), "{}").await.unwrap_err().retryable);
        let server = server(ResponseTemplate::new(200)).await;
        let unsigned = api(&server.uri(), None).push(&id(), "{}").await.unwrap_err();
        assert!(unsigned.retryable && unsigned.source.to_string().contains("credentials"), "{unsigned:?}");
        assert!(server.received_requests().await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn what_arrives_is_what_was_signed() {
        let server = server(ResponseTemplate::new(204)).await;
        let api = api(&server.uri(), Some(credentials()));
        api.push(&id(), r#"{"events":[]}"#).await.unwrap();
        assert!(api.is_open(&id()).await.unwrap() && api.close(&id()).await.unwrap());
        let requests = server.received_requests().await.unwrap();
        let methods: Vec<_> = requests.iter().map(|request| request.method.as_str()).collect();
        assert_eq!(methods, ["POST", "GET", "DELETE"]);
        assert_eq!(requests[0].body, br#"{"events":[]}"#);
        for request in &requests {
            assert_eq!(request.url.path(), "/prod/@connections/L0SM9cOFvHcCIhw%3D");
            assert!(!request.headers.contains_key(header::USER_AGENT), "{request:?}");
            assert_eq!(request.headers["x-amz-security-token"], "session");
            let signature = request.headers[header::AUTHORIZATION].to_str().unwrap();
            assert_eq!(signature, signed_anew(request), "{request:?}");
            assert!(signature.contains("/eu-west-1/execute-api/aws4_request"), "{signature}");
        }
    }

    /// Computes the signature of a received request.
    fn signed_anew(request: &Received) -> String {
        let header = |name: &str| request.headers[name].to_str().unwrap().to_owned();
        let date = header("x-amz-date").replace('Z', "+0000");
        let date = jiff::Timestamp::strptime("%Y%m%dT%H%M%S%z", date).unwrap().as_second();
        let date = SystemTime::UNIX_EPOCH + Duration::from_secs(date.try_into().unwrap());
        let identity = Identity::from(credentials());
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region("eu-west-1")
            .name("execute-api")
            .time(date)
            .settings(SigningSettings::default())
            .build()
            .unwrap()
            .into();
        let url = format!("http://{}{}", header("host"), request.url.path());
        let body = SignableBody::Bytes(&request.body);
        let authorization = header("authorization");
        let (_, signed) = authorization.split_once("SignedHeaders=").unwrap();
        let signed = signed.split(',').next().unwrap();
        // The signer adds the others. A request without a body has neither of these.
        let headers = ["content-length", "content-type"].into_iter().filter(|name| signed.contains(name));
        let headers: Vec<_> = headers.map(|name| (name, header(name))).collect();
        let headers = headers.iter().map(|(name, value)| (*name, value.as_str()));
        let signable = SignableRequest::new(request.method.as_str(), &url, headers, body).unwrap();
        let (signature, _) = sign(signable, &parameters).unwrap().into_parts();
        signature.headers().find(|(name, _)| *name == "authorization").unwrap().1.to_owned()
    }
}
