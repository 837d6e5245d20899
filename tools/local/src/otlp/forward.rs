//! Forwarding of all received telemetry to another collector, without blocking the receiver.

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

/// Maximum size of the queue in bytes. Data that exceeds it is dropped.
const QUEUE_BYTES: usize = 16 * 1024 * 1024;

/// Size of a request in the queue in addition to its body, in bytes.
const OVERHEAD_BYTES: usize = 256;

/// Maximum number of concurrent requests, so that a distant collector gets as much data as a near one.
const CONCURRENT_REQUESTS: usize = 8;

/// Timeout of one request to the other collector: 10 s, the default of exporters ("Timeout" in the specification of the
/// OTLP exporter).
const TIMEOUT: Duration = Duration::from_secs(10);

/// Reason why forwarding cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    /// The endpoint is invalid.
    #[error("{endpoint:?} is not an endpoint for OTLP: write http://HOST:PORT or https://HOST, without /v1/traces")]
    Endpoint {
        /// The given text.
        endpoint: String,
    },
    /// A header is invalid.
    #[error("{name:?} with its value cannot be sent as a header")]
    Header {
        /// Name of the header. The value may be a secret.
        name: String,
    },
    /// The HTTP client cannot be created.
    #[error("cannot send to another collector: {0}")]
    Client(#[from] reqwest::Error),
}

/// Forwarder to another collector. Clones share its queue.
///
/// Each request is tried once. The local receiver has the data anyway, and a backlog after an outage would only delay
/// new data.
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
    /// `true` if the last request to the other collector failed.
    is_away: AtomicBool,
}

#[derive(Debug)]
struct Item {
    signal: Signal,
    encoding: Encoding,
    body: Bytes,
    /// Its space in the queue, released when the request is finished.
    _room: OwnedSemaphorePermit,
}

impl Forwarder {
    /// Sends to `endpoint`, a base URL, with `headers`, in a task of `tasks`. After `stop`, accepts no more requests
    /// and ends when the queue is empty.
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

    /// Queues a body, or drops it if the queue is full. Never blocks.
    pub(super) fn offer(&self, signal: Signal, encoding: Encoding, body: Bytes) {
        let size = u32::try_from(body.len() + OVERHEAD_BYTES).unwrap_or(u32::MAX);
        let Ok(room) = self.shared.room.clone().try_acquire_many_owned(size) else {
            return self.shared.drop_one("too much is waiting to be sent");
        };
        if self.queue.unbounded_send(Item { signal, encoding, body, _room: room }).is_err() {
            self.shared.drop_one("the run ends");
        }
    }

    /// Returns the number of dropped requests.
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
                    tracing::warn!(endpoint = %self.endpoint, dropped, "the other collector accepted telemetry again");
                }
            }
            // Omits the URL, which may contain a key.
            Err(error) => self.drop_one(&error.without_url().to_string()),
        }
    }

    /// Counts a dropped request. Logs only the first one after a success.
    fn drop_one(&self, error: &str) {
        self.dropped.send_modify(|dropped| *dropped += 1);
        if !self.is_away.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                endpoint = %self.endpoint, error,
                "the other collector does not take telemetry; requests to it are dropped until it does"
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
