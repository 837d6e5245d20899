//! Everything that was received, sent on to another collector, without ever being waited for.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::{StreamExt, channel::mpsc};
use http::{HeaderMap, HeaderName, HeaderValue, header::CONTENT_TYPE};
use reqwest::{Client, Url};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::receive::{Encoding, Signal};

/// What may wait, in bytes; what comes when this is full is dropped.
const QUEUE_BYTES: usize = 16 * 1024 * 1024;

/// What a request takes of the queue beside its body.
const OVERHEAD_BYTES: usize = 256;

/// Requests under way at once: a collector far away is as good as one that is near.
const CONCURRENT_REQUESTS: usize = 8;

/// How long the other collector may take for one request. The default of exporters ("Timeout" in the specification of
/// the OTLP exporter) is 10 s.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Why nothing can be sent on.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    /// The endpoint is none.
    #[error("{endpoint:?} is no endpoint for OTLP: write http://HOST:PORT or https://HOST, without /v1/traces")]
    Endpoint {
        /// What was given.
        endpoint: String,
    },
    /// A header cannot be sent.
    #[error("{name:?} with its value cannot be sent as a header")]
    Header {
        /// Its name; the value may be a secret.
        name: String,
    },
    /// The HTTP client cannot be made.
    #[error("cannot send to another collector: {0}")]
    Client(#[from] reqwest::Error),
}

/// Hands on to another collector. Clones share its queue.
///
/// Each request is tried once: the receiver at this end has the data anyway, and what piled up while the other was
/// away would only delay what is new.
#[derive(Debug, Clone)]
pub struct Forwarder {
    shared: Arc<Shared>,
    queue: mpsc::UnboundedSender<Item>,
}

#[derive(Debug)]
struct Shared {
    endpoint: Url,
    room: Arc<Semaphore>,
    dropped: watch::Sender<u64>,
    /// Whether the last that is known of the other collector is that it takes nothing.
    is_away: AtomicBool,
}

#[derive(Debug)]
struct Item {
    signal: Signal,
    encoding: Encoding,
    body: Bytes,
    /// Its place in the queue, given back when it is done.
    _room: OwnedSemaphorePermit,
}

impl Forwarder {
    /// Sends to `endpoint`, a base URL, with `headers`, in a task of `tasks`. After `stop` it takes nothing more and
    /// ends when the queue is empty.
    pub fn start(
        endpoint: &str,
        headers: &[(String, String)],
        tasks: &TaskTracker,
        stop: CancellationToken,
    ) -> Result<Self, ForwardError> {
        let wrong = || ForwardError::Endpoint { endpoint: endpoint.to_owned() };
        let url = Url::parse(endpoint).map_err(|_| wrong())?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() || url.path().ends_with("/v1/traces") {
            return Err(wrong());
        }
        let client = Client::builder().timeout(TIMEOUT).default_headers(header_map(headers)?).build()?;
        let shared = Arc::new(Shared {
            endpoint: url,
            room: Arc::new(Semaphore::new(QUEUE_BYTES)),
            dropped: watch::Sender::new(0),
            is_away: AtomicBool::new(false),
        });
        let (queue, waiting) = mpsc::unbounded();
        let sender = shared.clone();
        let sending = waiting.for_each_concurrent(CONCURRENT_REQUESTS, move |item| {
            let (sender, client) = (sender.clone(), client.clone());
            async move { sender.send(&client, item).await }
        });
        let closing = queue.clone();
        tasks.spawn(async move {
            let closed = async {
                stop.cancelled().await;
                closing.close_channel();
            };
            tokio::join!(sending, closed);
        });
        Ok(Self { shared, queue })
    }

    /// Takes a body for sending, or drops it when too many wait. Never waits itself.
    pub(super) fn offer(&self, signal: Signal, encoding: Encoding, body: Bytes) {
        let size = u32::try_from(body.len() + OVERHEAD_BYTES).unwrap_or(u32::MAX);
        let Ok(room) = self.shared.room.clone().try_acquire_many_owned(size) else {
            return self.shared.drop_one("too much is waiting to be sent");
        };
        if self.queue.unbounded_send(Item { signal, encoding, body, _room: room }).is_err() {
            self.shared.drop_one("the run ends");
        }
    }

    /// How many requests the other collector did not get, and will not.
    #[must_use]
    pub fn dropped(&self) -> watch::Receiver<u64> {
        self.shared.dropped.subscribe()
    }
}

impl Shared {
    async fn send(&self, client: &Client, item: Item) {
        let mut url = self.endpoint.clone();
        url.set_path(&format!("{}{}", self.endpoint.path().trim_end_matches('/'), item.signal.path()));
        let request = client.post(url).header(CONTENT_TYPE, item.encoding.content_type()).body(item.body.clone());
        match request.send().await.and_then(reqwest::Response::error_for_status) {
            Ok(_) => {
                if self.is_away.swap(false, Ordering::Relaxed) {
                    let dropped = *self.dropped.borrow();
                    tracing::warn!(endpoint = %self.endpoint, dropped, "the other collector takes telemetry again");
                }
            }
            // Without the URL, which may hold a key.
            Err(error) => self.drop_one(&error.without_url().to_string()),
        }
    }

    /// Says so once, and again only after something went through.
    fn drop_one(&self, error: &str) {
        self.dropped.send_modify(|dropped| *dropped += 1);
        if !self.is_away.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                endpoint = %self.endpoint, error,
                "the other collector does not take telemetry; it is dropped, and only kept here, until it does"
            );
        }
    }
}

fn header_map(headers: &[(String, String)]) -> Result<HeaderMap, ForwardError> {
    headers
        .iter()
        .map(|(name, value)| {
            let wrong = || ForwardError::Header { name: name.clone() };
            let mut value = HeaderValue::from_str(value).map_err(|_| wrong())?;
            value.set_sensitive(true);
            Ok((HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong())?, value))
        })
        .collect()
}
