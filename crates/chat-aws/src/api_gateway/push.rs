//! The request of a push, which is signed here.
//!
//! A fan-out sends one small request per socket. `docs/reports/performance.md` has the processor time of the SDK's client
//! beside that of this code. `tests/push.rs` compares their requests byte for byte.

use aws_config::SdkConfig;
use aws_credential_types::{
    Credentials,
    provider::{ProvideCredentials, SharedCredentialsProvider},
};
use aws_smithy_async::time::SharedTimeSource;
use aws_smithy_runtime_api::{
    client::{
        http::{HttpConnector, SharedHttpConnector},
        identity::Identity,
    },
    http::Request as HttpRequest,
};
use aws_smithy_types::body::SdkBody;
use chat::{
    model::{error::StoreError, id::ConnectionId, limits::PUSH_DURATION},
    ports::socket_gateway::Pushed,
};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use percent_encoding::utf8_percent_encode;
use tokio::time::timeout;

use super::{
    identity::OneIdentity,
    signature::{CONTENT_TYPE, ESCAPED, Signature, Signer},
};
use crate::sdk::is_transient;

/// Name of the operation ("`PostToConnection`" in the reference of the management API).
const OPERATION: &str = "PostToConnection";

/// Maximum number of bytes of a response that are read. An error's text is logged.
pub(super) const RESPONSE_BYTES: usize = 16 * 1024;

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Sender of frames to the sockets of one stage.
#[derive(Debug)]
pub(super) struct Pusher {
    /// The URL before the id of a connection.
    url: String,
    signer: Signer,
    connector: SharedHttpConnector,
    credentials: Option<SharedCredentialsProvider>,
    identity: OneIdentity,
    clock: SharedTimeSource,
}

impl Pusher {
    /// Creates a sender with the region, the credentials and the clock of `config`.
    pub(super) fn new(identity: OneIdentity, connector: SharedHttpConnector, config: &SdkConfig, url: &str) -> Self {
        let url = format!("{}/@connections/", url.trim_end_matches('/'));
        Self {
            signer: Signer::new(config.region().map(ToString::to_string).unwrap_or_default(), &url),
            url,
            connector,
            credentials: config.credentials_provider(),
            identity,
            clock: config.time_source().unwrap_or_default(),
        }
    }

    /// Sends a frame. Fails after [`PUSH_DURATION`].
    pub(super) async fn push(&self, id: &ConnectionId, frame: &str) -> Result<Pushed, StoreError> {
        let lost = |source: Error| StoreError { operation: OPERATION, retryable: true, source };
        let answered = async {
            let request = self.request(id, frame).await?;
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
            200..300 => Ok(Pushed::Delivered),
            410 => Ok(Pushed::Gone),
            _ => {
                // `Code:` may be followed by the address of its documentation.
                let code = code.split(':').next().unwrap_or_default();
                let retryable = is_transient(status, code);
                let source = format!("{status} {code}: {body}").into();
                Err(StoreError { operation: OPERATION, retryable, source })
            }
        }
    }

    async fn request(&self, id: &ConnectionId, frame: &str) -> Result<HttpRequest, Error> {
        let identity = self.identity().await?;
        let credentials = identity.data::<Credentials>().ok_or("the identity has no credentials")?;
        let id = utf8_percent_encode(id.as_str(), ESCAPED).to_string();
        let Signature { date, authorization } = self.signer.sign(credentials, self.clock.now(), &id, frame)?;
        let mut request = HttpRequest::new(SdkBody::from(frame));
        request.set_method("POST")?;
        request.set_uri(format!("{}{id}", self.url))?;
        let headers = request.headers_mut();
        headers.try_insert("content-type", CONTENT_TYPE)?;
        headers.try_insert("content-length", frame.len().to_string())?;
        headers.try_insert("x-amz-date", date)?;
        headers.try_insert("authorization", authorization)?;
        if let Some(token) = credentials.session_token() {
            headers.try_insert("x-amz-security-token", token.to_owned())?;
        }
        Ok(request)
    }

    async fn identity(&self) -> Result<Identity, Error> {
        if let Some(known) = self.identity.fresh(self.clock.now()) {
            return Ok(known);
        }
        let credentials = self.credentials.as_ref().ok_or("there are no credentials to sign with")?;
        let identity = Identity::from(credentials.provide_credentials().await?);
        self.identity.keep(identity.clone());
        Ok(identity)
    }
}
