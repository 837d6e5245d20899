//! Sockets: the API Gateway management API (`@connections`).
//!
//! Requests are sent without an SDK client. A fan-out sends one small request per socket, and the client's overhead was
//! more than half of its cost: see `docs/reports/performance.md`. The requests follow "Use @connections commands in
//! your backend service" in the API Gateway developer guide. The SDK's signer signs them, and they use the connections
//! of its clients. The caller retries, because it knows the deadline.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, SystemTime},
};

use aws_config::SdkConfig;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningSettings, sign},
    sign::v4,
};
use aws_smithy_runtime_api::{
    client::{
        http::{HttpConnector, SharedHttpConnector},
        identity::Identity,
    },
    http::Request as HttpRequest,
};
use aws_smithy_types::body::SdkBody;
use chat::{
    model::{error::StoreError, id::ConnectionId, limits::PUSH_DURATION, push_report::PushReport},
    ports::socket_gateway::{Pushed, SocketGateway},
};
use http::{Method, Request, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use telemetry::metrics;
use tokio::time::timeout;

use crate::sdk::{Sdk, is_transient};

/// Service name in signatures ("Service authorization reference", Amazon API Gateway).
const SERVICE: &str = "execute-api";

/// Time before the expiry of credentials at which they are renewed.
const RENEW_BEFORE: Duration = Duration::from_mins(5);

/// Maximum number of bytes of a response that are read. An error's text is logged. `GetConnection` returns the client's
/// `User-Agent`, which has less than 10 KB.
const RESPONSE_BYTES: usize = 16 * 1024;

/// Characters that are not escaped in a path (RFC 3986, unreserved characters).
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

type Error = Box<dyn std::error::Error + Send + Sync>;

/// The sockets of one stage of a WebSocket API. Clones share credentials and connections.
#[derive(Debug, Clone)]
pub struct ManagementApi {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// The URL before `/@connections`.
    url: String,
    region: String,
    connector: SharedHttpConnector,
    credentials: Option<SharedCredentialsProvider>,
    identity: RwLock<Option<Identity>>,
}

impl ManagementApi {
    /// Creates a gateway for the sockets behind `url`, `https://<api id>.execute-api.<region>.amazonaws.com/<stage>`.
    #[must_use]
    pub fn new(sdk: &Sdk, url: &str) -> Self {
        Self::over(sdk.connector(), sdk, url)
    }

    /// Creates a gateway with the given connector, and the region and credentials of `config`.
    #[must_use]
    pub fn over(connector: SharedHttpConnector, config: &SdkConfig, url: &str) -> Self {
        let inner = Inner {
            url: url.trim_end_matches('/').to_owned(),
            region: config.region().map(ToString::to_string).unwrap_or_default(),
            connector,
            credentials: config.credentials_provider(),
            identity: RwLock::default(),
        };
        Self { inner: Arc::new(inner) }
    }
}

impl Inner {
    /// Sends `method` for a connection. Returns whether the connection exists. Fails after [`PUSH_DURATION`].
    async fn ask(
        &self,
        operation: &'static str,
        method: Method,
        id: &ConnectionId,
        data: &str,
    ) -> Result<bool, StoreError> {
        let lost = |source: Error| StoreError { operation, retryable: true, source };
        let answered = async {
            let request = self.request(method, id, data).await?;
            let response = self.connector.call(request).await?;
            let status = response.status().as_u16();
            let code = response.headers().get("x-amzn-errortype").unwrap_or_default().to_owned();
            // A connection is reused only if its response was read to the end.
            let body = match Limited::new(response.into_body(), RESPONSE_BYTES).collect().await {
                Ok(body) => String::from_utf8_lossy(&body.to_bytes()).into_owned(),
                // The status decides.
                Err(error) if error.is::<LengthLimitError>() => format!("more than {RESPONSE_BYTES} bytes"),
                Err(error) => return Err(error),
            };
            Ok::<_, Error>((status, code, body))
        };
        let answered = timeout(PUSH_DURATION, answered).await.map_err(|elapsed| lost(elapsed.into()))?;
        let (status, code, body) = answered.map_err(lost)?;
        match status {
            200..300 => Ok(true),
            410 => Ok(false),
            _ => {
                // `Code:` may be followed by the address of its documentation.
                let code = code.split(':').next().unwrap_or_default();
                let retryable = is_transient(status, code);
                let source = format!("{status} {code}: {body}").into();
                Err(StoreError { operation, retryable, source })
            }
        }
    }

    async fn request(&self, method: Method, id: &ConnectionId, data: &str) -> Result<HttpRequest, Error> {
        let identity = self.identity().await?;
        let url = format!("{}/@connections/{}", self.url, utf8_percent_encode(id.as_str(), UNRESERVED));
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name(SERVICE)
            .time(SystemTime::now())
            .settings(SigningSettings::default())
            .build()?
            .into();
        let body = SignableBody::Bytes(data.as_bytes());
        let signable = SignableRequest::new(method.as_str(), url.as_str(), std::iter::empty(), body)?;
        let (signature, _) = sign(signable, &parameters)?.into_parts();
        let mut request = Request::builder().method(method).uri(url);
        if !data.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/octet-stream");
        }
        let mut request = request.body(SdkBody::from(data))?;
        signature.apply_to_request_http1x(&mut request);
        Ok(HttpRequest::try_from(request)?)
    }

    async fn identity(&self) -> Result<Identity, Error> {
        let until = SystemTime::now() + RENEW_BEFORE;
        let is_fresh = |identity: &&Identity| identity.expiration().is_none_or(|expiration| expiration > until);
        let known = self.identity.read().unwrap_or_else(PoisonError::into_inner).as_ref().filter(is_fresh).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let credentials = self.credentials.as_ref().ok_or("there are no credentials to sign with")?;
        let identity = Identity::from(credentials.provide_credentials().await?);
        *self.identity.write().unwrap_or_else(PoisonError::into_inner) = Some(identity.clone());
        Ok(identity)
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
        let is_there = self.inner.ask("PostToConnection", Method::POST, id, frame).await?;
        Ok(if is_there { Pushed::Delivered } else { Pushed::Gone })
    }

    async fn is_open(&self, id: &ConnectionId) -> Result<bool, StoreError> {
        self.inner.ask("GetConnection", Method::GET, id, "").await
    }

    async fn close(&self, id: &ConnectionId) -> Result<bool, StoreError> {
        self.inner.ask("DeleteConnection", Method::DELETE, id, "").await
    }
}

#[cfg(test)]
mod tests {
    use aws_config::Region;
    use aws_credential_types::Credentials;
    use aws_smithy_runtime_api::client::http::HttpConnectorSettings;
    use wiremock::{Mock, MockServer, Request as Received, ResponseTemplate, matchers::any};

    use super::*;
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
            .name(SERVICE)
            .time(date)
            .settings(SigningSettings::default())
            .build()
            .unwrap()
            .into();
        let url = format!("http://{}{}", header("host"), request.url.path());
        let body = SignableBody::Bytes(&request.body);
        let signable = SignableRequest::new(request.method.as_str(), &url, std::iter::empty(), body).unwrap();
        let (signature, _) = sign(signable, &parameters).unwrap().into_parts();
        signature.headers().find(|(name, _)| *name == "authorization").unwrap().1.to_owned()
    }
}
