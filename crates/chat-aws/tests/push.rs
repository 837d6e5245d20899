//! The request of a push, byte for byte beside that of the SDK's client.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::{
    Credentials,
    provider::{ProvideCredentials, SharedCredentialsProvider, future},
};
use aws_sdk_apigatewaymanagement::{Client, config::Builder, primitives::Blob};
use aws_smithy_async::time::{StaticTimeSource, TimeSource};
use aws_smithy_http_client::Connector;
use aws_smithy_runtime_api::client::http::{SharedHttpConnector, http_client_fn};
use chat::ports::socket_gateway::{Pushed, SocketGateway};
use chat_aws::{ManagementApi, api_gateway};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

/// Ids of connections end with `=`. The others have further characters that a path escapes.
const IDS: [&str; 4] = ["L0SM9cOFvHcCIhw=", "plain-1.0_~", "a+b/c=", "a%3Db:@&?"];

const FRAMES: [&str; 3] = [r#"{"type":"message.created"}"#, "", "grüße 🙂"];

/// Headers that describe the SDK's client, its attempt and its invocation. The API needs none of them.
const DESCRIPTIONS: [&str; 4] = ["amz-sdk-invocation-id", "amz-sdk-request", "user-agent", "x-amz-user-agent"];

/// A request as it was received.
#[derive(Debug, PartialEq, Eq)]
struct Request {
    /// Method, path and version.
    line: String,
    /// Headers by name: their order has no meaning.
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl Request {
    /// Returns the request, if `bytes` have all of it.
    fn read(bytes: &[u8]) -> Option<Self> {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
        let head = std::str::from_utf8(&bytes[..end]).unwrap();
        let (line, rest) = head.split_once("\r\n").unwrap();
        let headers: BTreeMap<String, String> = rest
            .split("\r\n")
            .map(|header| header.split_once(": ").unwrap())
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        assert_eq!(headers.len(), rest.split("\r\n").count(), "each header is sent once: {head}");
        let length: usize = headers["content-length"].parse().unwrap();
        let body = bytes[end + 4..].to_vec();
        (body.len() == length).then(|| Self { line: line.to_owned(), headers, body })
    }

    /// Returns the names of the headers that the signature covers.
    fn signed(&self) -> BTreeSet<&str> {
        let (_, rest) = self.headers["authorization"].split_once("SignedHeaders=").unwrap();
        rest.split(',').next().unwrap().split(';').collect()
    }
}

/// A server that responds to each request with an empty `200`.
struct Server(TcpListener);

impl Server {
    async fn new() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    fn url(&self) -> String {
        format!("http://{}/prod", self.0.local_addr().unwrap())
    }

    /// Returns the next request.
    async fn receive(&self) -> Request {
        let (mut stream, _) = self.0.accept().await.unwrap();
        let mut bytes = Vec::new();
        loop {
            let mut part = [0; 4096];
            let length = stream.read(&mut part).await.unwrap();
            assert!(length > 0, "the request ended early");
            bytes.extend_from_slice(&part[..length]);
            if let Some(request) = Request::read(&bytes) {
                let response = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                stream.write_all(response).await.unwrap();
                return request;
            }
        }
    }

    /// Returns the request of this crate with a new client.
    async fn ours(&self, config: &SdkConfig, id: &str, frame: &str) -> Request {
        self.pushed(&ManagementApi::over(connector(), config, &self.url()), id, frame).await
    }

    /// Returns the request of a client of this crate.
    async fn pushed(&self, api: &ManagementApi, id: &str, frame: &str) -> Request {
        let id = id.parse().unwrap();
        let (request, pushed) = tokio::join!(self.receive(), api.push(&id, frame));
        assert_eq!(pushed.unwrap(), Pushed::Delivered);
        request
    }

    /// Returns the request of a client of the SDK.
    async fn theirs(&self, client: &Client, id: &str, frame: &str) -> Request {
        let post = client.post_to_connection().connection_id(id).data(Blob::new(frame)).send();
        let (request, posted) = tokio::join!(self.receive(), Box::pin(post));
        posted.unwrap();
        request
    }
}

fn connector() -> SharedHttpConnector {
    SharedHttpConnector::new(Connector::builder().build_http())
}

/// Returns a configuration with a fixed time.
fn config(session: Option<&str>) -> SdkConfig {
    let credentials = Credentials::new("AKID", "secret", session.map(str::to_owned), None, "test");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-west-1"))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .time_source(StaticTimeSource::from_secs(1_800_000_000))
        .build()
}

#[tokio::test]
async fn a_push_is_the_request_of_the_lean_client_of_the_sdk() {
    let server = Server::new().await;
    for session in [Some("session/token+="), None] {
        let config = config(session);
        let client = api_gateway::client(connector(), &config, &server.url());
        for (id, frame) in IDS.iter().flat_map(|id| FRAMES.map(|frame| (id, frame))) {
            let ours = server.ours(&config, id, frame).await;
            let theirs = server.theirs(&client, id, frame).await;
            assert_eq!(ours, theirs, "{id} {frame}");
            assert_eq!(ours.headers.get("x-amz-security-token").map(String::as_str), session);
            assert_eq!(ours.headers["x-amz-date"], "20270115T080000Z");
            assert_eq!(ours.headers["host"], server.0.local_addr().unwrap().to_string());
        }
        let ours = server.ours(&config, IDS[0], "{}").await;
        assert_eq!(ours.line, "POST /prod/@connections/L0SM9cOFvHcCIhw%3D HTTP/1.1");
    }
}

/// Clock of the test, in seconds since 1970.
#[derive(Debug, Clone)]
struct Clock(Arc<AtomicU64>);

impl TimeSource for Clock {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(self.0.load(Ordering::Relaxed))
    }
}

/// Credentials that change every six hours, three hours before midnight and so on.
#[derive(Debug)]
struct Renewed(Clock);

impl ProvideCredentials for Renewed {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        const HOURS: u64 = 3_600;
        let number = (self.0.0.load(Ordering::Relaxed) + 3 * HOURS) / (6 * HOURS);
        let until = SystemTime::UNIX_EPOCH + Duration::from_secs((number + 1) * 6 * HOURS - 3 * HOURS);
        let token = number.is_multiple_of(2).then(|| format!("session-{number}"));
        let credentials = Credentials::new("AKID", format!("secret-{number}"), token, Some(until), "test");
        future::ProvideCredentials::ready(Ok(credentials))
    }
}

#[tokio::test]
async fn a_client_that_is_kept_signs_with_the_key_of_the_day_and_the_credentials_of_the_hour() {
    const MIDNIGHT: u64 = 20_833 * 86_400;
    let server = Server::new().await;
    let clock = Clock(Arc::default());
    let config = config(None).into_builder();
    let config = config.time_source(clock.clone());
    let config = config.credentials_provider(SharedCredentialsProvider::new(Renewed(clock.clone()))).build();
    let api = ManagementApi::over(connector(), &config, &server.url());
    let mut signatures = BTreeSet::new();
    for time in [MIDNIGHT - 2, MIDNIGHT - 1, MIDNIGHT, MIDNIGHT + 5 * 3_600, MIDNIGHT + 6 * 3_600, MIDNIGHT + 86_400] {
        clock.0.store(time, Ordering::Relaxed);
        // A new client of the SDK keeps nothing.
        let client = api_gateway::client(connector(), &config, &server.url());
        let ours = server.pushed(&api, IDS[0], "{}").await;
        let theirs = server.theirs(&client, IDS[0], "{}").await;
        assert_eq!(ours, theirs, "at {time}");
        signatures.insert(ours.headers["authorization"].clone());
    }
    assert_eq!(signatures.len(), 6);
}

/// The lean client is configured by this project. An ordinary one has the defaults of the SDK.
#[tokio::test]
async fn the_ordinary_client_of_the_sdk_adds_only_descriptions_of_itself() {
    let server = Server::new().await;
    let config = config(Some("session"));
    let http = http_client_fn(|_, _| connector());
    let client = Client::from_conf(Builder::from(&config).endpoint_url(server.url()).http_client(http).build());
    for (id, frame) in IDS.iter().flat_map(|id| FRAMES.map(|frame| (id, frame))) {
        let ours = server.ours(&config, id, frame).await;
        let mut theirs = server.theirs(&client, id, frame).await;
        let described: BTreeSet<&str> =
            theirs.headers.keys().map(String::as_str).filter(|name| !ours.headers.contains_key(*name)).collect();
        assert_eq!(described, BTreeSet::from(DESCRIPTIONS), "{id} {frame}");
        // The signature covers one of them, and so it differs.
        let mut signed = ours.signed();
        signed.insert("x-amz-user-agent");
        assert_eq!(theirs.signed(), signed);
        theirs.headers.retain(|name, _| !DESCRIPTIONS.contains(&name.as_str()));
        theirs.headers.insert("authorization".to_owned(), ours.headers["authorization"].clone());
        assert_eq!(ours, theirs, "{id} {frame}");
    }
}
