//! One connection: HTTP/1.1 by hyper, with limits for waits on the client.
//!
//! hyper has one limit for an idle connection and for a request's head. This module has two: an idle connection may
//! last long, a head must arrive quickly. It also limits the body, and clients that do not read.

use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::{Router, body::Body, extract::ConnectInfo};
use bytes::Bytes;
use futures::FutureExt;
use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::{
    body::{Body as HttpBody, Frame, Incoming, SizeHint},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf},
    sync::{Notify, OwnedSemaphorePermit},
    time::{Instant, Sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tower::Service;

use super::{Door, Limits, guard};

/// Settings and state shared by all connections of a listener.
pub(super) struct Shared {
    pub(super) router: Router,
    pub(super) door: Door,
    pub(super) limits: Limits,
    /// Ends connections after their running requests.
    pub(super) stop: CancellationToken,
    /// State of waiting connections.
    pub(super) crowd: Crowd,
}

/// Flag that new connections wait for a place. Connections without a request then close earlier.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    is_waiting: AtomicBool,
    changed: Notify,
}

impl Crowd {
    pub(super) fn set(&self, is_waiting: bool) {
        self.is_waiting.store(is_waiting, Ordering::Relaxed);
        self.changed.notify_waiters();
    }

    fn is_waiting(&self) -> bool {
        self.is_waiting.load(Ordering::Relaxed)
    }
}

/// Maximum idle time of a connection while others wait for its place. It is long enough for a client that is about to
/// send.
const IDLE_IN_CROWD: Duration = Duration::from_secs(1);

/// Event that a connection waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The first byte.
    New { since: Instant },
    /// The rest of a request's head.
    Head { since: Instant },
    /// The next request.
    Idle { since: Instant },
    /// The response, including the request's body.
    Request,
    /// None: the connection is a socket with its own limits.
    Socket,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    /// Time since which the client has not read.
    stuck_since: Option<Instant>,
    /// `true` if a body did not arrive in time.
    is_body_late: bool,
}

/// State of a connection, shared by the parts that change it.
#[derive(Debug, Clone)]
struct Progress {
    state: Arc<Mutex<State>>,
    limits: Limits,
}

/// Reason why a connection is overdue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Overdue {
    Head,
    Idle,
    Write,
}

impl Progress {
    fn new(limits: Limits) -> Self {
        let phase = Phase::New { since: Instant::now() };
        Self { state: Arc::new(Mutex::new(State { phase, stuck_since: None, is_body_late: false })), limits }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn received(&self) {
        let mut state = self.state();
        if matches!(state.phase, Phase::New { .. } | Phase::Idle { .. }) {
            state.phase = Phase::Head { since: Instant::now() };
        }
    }

    fn began(&self) {
        let mut state = self.state();
        state.phase = Phase::Request;
        state.is_body_late = false;
    }

    fn answered(&self) {
        let mut state = self.state();
        if state.phase == Phase::Request {
            state.phase = Phase::Idle { since: Instant::now() };
        }
    }

    fn wrote(&self, is_stuck: bool) {
        let mut state = self.state();
        // hyper takes a response's body before it has written it, so idle time starts with the write.
        if let Phase::Idle { since } = &mut state.phase {
            *since = Instant::now();
        }
        state.stuck_since = is_stuck.then(|| state.stuck_since.unwrap_or_else(Instant::now));
    }

    /// Returns the time at which the connection becomes overdue, and the reason.
    fn due(&self, is_crowded: bool) -> Option<(Instant, Overdue)> {
        let state = self.state();
        let idle = if is_crowded { self.limits.idle.min(IDLE_IN_CROWD) } else { self.limits.idle };
        let by_phase = match state.phase {
            Phase::New { since } => Some((since + self.limits.head, Overdue::Idle)),
            Phase::Head { since } => Some((since + self.limits.head, Overdue::Head)),
            Phase::Idle { since } => Some((since + idle, Overdue::Idle)),
            Phase::Request => None,
            Phase::Socket => return None,
        };
        let by_write = state.stuck_since.map(|since| (since + self.limits.write_pause, Overdue::Write));
        by_phase.into_iter().chain(by_write).min_by_key(|(due, _)| *due)
    }
}

/// Serves a connection until its end.
pub(super) async fn serve<Io>(shared: Arc<Shared>, io: Io, peer: SocketAddr, place: OwnedSemaphorePermit)
where
    Io: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let progress = Progress::new(shared.limits);
    let io = MonitoredIo { io, progress: progress.clone(), _place: place };
    let service = service_fn(|request| answer(&shared, &progress, peer, request));
    let mut connection = http1::Builder::new().serve_connection(TokioIo::new(io), service).with_upgrades();
    let mut is_ending = false;
    let mut timer = None;
    let overdue = loop {
        tokio::select! {
            biased;
            ended = &mut connection => {
                if let Err(error) = ended {
                    tracing::trace!(%error, "a connection was interrupted");
                }
                return;
            }
            // Polled after the connection itself, so that its latest progress counts.
            why = overdue(&shared, &progress, &mut timer) => match why {
                Overdue::Idle if !is_ending => {}
                why => break why,
            },
            () = shared.stop.cancelled(), if !is_ending => {}
            () = shared.crowd.changed.notified() => continue,
        }
        is_ending = true;
        Pin::new(&mut connection).graceful_shutdown();
    };
    tracing::debug!(?overdue, %peer, "a connection was closed, because its client exceeded a time limit");
    if let (Overdue::Head, Some(parts)) = (overdue, connection.into_parts()) {
        say_late(parts.io.into_inner());
    }
}

/// Resolves when the connection is overdue. The timer is reset only after it has expired or if it must expire earlier.
/// Ordinary requests do not reset it.
async fn overdue(shared: &Shared, progress: &Progress, timer: &mut Option<Pin<Box<Sleep>>>) -> Overdue {
    poll_fn(|cx| {
        loop {
            let Some((due, why)) = progress.due(shared.crowd.is_waiting()) else { return Poll::Pending };
            let timer = timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
            if timer.deadline() > due || timer.is_elapsed() {
                timer.as_mut().reset(due);
            }
            match timer.as_mut().poll(cx) {
                Poll::Ready(()) if Instant::now() >= due => return Poll::Ready(why),
                Poll::Ready(()) => {}
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await
}

/// Sends `408 Request Timeout` to the client, without waiting.
fn say_late(mut io: impl AsyncWrite + Unpin) {
    let body = problem_of_late_request();
    let answer = format!(
        "HTTP/1.1 408 Request Timeout\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n{body}",
        body.len()
    );
    // Writes only as much as the client accepts at once.
    let told = async {
        io.write_all(answer.as_bytes()).await?;
        io.shutdown().await
    };
    let _ = told.now_or_never();
}

fn problem_of_late_request() -> String {
    json!({
        "type": "about:blank", "title": "Request Timeout", "status": 408,
        "detail": "The request did not arrive in time. Send it whole, and at once.",
    })
    .to_string()
}

async fn answer(
    shared: &Shared,
    progress: &Progress,
    peer: SocketAddr,
    request: Request<Incoming>,
) -> Result<Response<Answer>, Infallible> {
    progress.began();
    let mut response = if let Some(refusal) = shared.door.refuse(&request) {
        refusal
    } else {
        let mut request = request.map(|body| Timed::new(body, progress.clone()));
        request.extensions_mut().insert(ConnectInfo(peer));
        shared.router.clone().call(request).await?
    };
    {
        let mut state = progress.state();
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            state.phase = Phase::Socket;
        } else if state.is_body_late {
            response = guard::problem(StatusCode::REQUEST_TIMEOUT, &problem_of_late_request());
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        } else if shared.crowd.is_waiting() {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
    }
    Ok(response.map(|body| Answer { body, progress: progress.clone() }))
}

/// A request's body that fails if it does not arrive in time.
struct Timed {
    body: Incoming,
    progress: Progress,
    /// Deadline of the body, set when the body is first read.
    end: Option<Instant>,
    /// Timer for the next piece of the body.
    timer: Option<Pin<Box<Sleep>>>,
}

/// Error: a body did not arrive in time.
#[derive(Debug, thiserror::Error)]
#[error("the body did not arrive in time")]
struct Late;

impl Timed {
    fn new(body: Incoming, progress: Progress) -> Self {
        Self { body, progress, end: None, timer: None }
    }

    fn is_late(&mut self, cx: &mut Context<'_>) -> bool {
        let limits = self.progress.limits;
        let now = Instant::now();
        let end = *self.end.get_or_insert_with(|| now + limits.body);
        let due = end.min(now + limits.body_pause);
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
        timer.as_mut().poll(cx).is_ready()
    }
}

impl HttpBody for Timed {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Ready(frame) => {
                this.timer = None;
                Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
            }
            Poll::Pending if this.is_late(cx) => {
                this.progress.state().is_body_late = true;
                Poll::Ready(Some(Err(Late.into())))
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A response's body. The connection becomes idle when hyper has taken all of it.
struct Answer {
    body: Body,
    progress: Progress,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.progress.answered();
    }
}

/// A stream that records the progress of the client. It holds the connection's place on the listener.
struct MonitoredIo<Io> {
    io: Io,
    progress: Progress,
    _place: OwnedSemaphorePermit,
}

impl<Io: AsyncRead + Unpin> AsyncRead for MonitoredIo<Io> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.io).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.progress.received();
        }
        read
    }
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for MonitoredIo<Io> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.progress.wrote(written.is_pending());
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, slices);
        self.progress.wrote(written.is_pending());
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use axum::{
        body::{Bytes as Whole, to_bytes},
        extract::Request as Incoming,
        response::IntoResponse,
        routing::{any, post},
    };
    use tokio::{
        io::{AsyncReadExt, DuplexStream, duplex},
        sync::Semaphore,
        task::JoinHandle,
        time::sleep,
    };

    use super::*;

    const LIMITS: Limits = super::super::LIMITS;
    const SLOW: Duration = Duration::from_hours(1);
    const LARGE: usize = 1024 * 1024;

    struct Client {
        io: DuplexStream,
        shared: Arc<Shared>,
        served: JoinHandle<()>,
        began: Instant,
    }

    impl Client {
        fn connect() -> Self {
            Self::with_buffer(64 * 1024)
        }

        /// Creates a client with a receive buffer of `bytes`.
        fn with_buffer(bytes: usize) -> Self {
            let router = Router::new()
                .route("/", any(async || "hello"))
                .route("/length", post(async |body: Whole| body.len().to_string()))
                .route("/deaf", post(async |_: Incoming| "no matter"))
                .route("/large", any(async || "x".repeat(LARGE)))
                .route("/slow", any(async || sleep(SLOW).await))
                .route(
                    "/swallow",
                    post(async |body: Incoming| {
                        // The handler ignores the failure of the body.
                        let _ = to_bytes(body.into_body(), usize::MAX).await;
                        StatusCode::CREATED.into_response()
                    }),
                );
            let shared = Arc::new(Shared {
                router,
                door: Door::programs(),
                limits: LIMITS,
                stop: CancellationToken::new(),
                crowd: Crowd::default(),
            });
            let (io, server) = duplex(bytes);
            let place = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
            let served = tokio::spawn(serve(Arc::clone(&shared), server, ([127, 0, 0, 1], 1).into(), place));
            Self { io, shared, served, began: Instant::now() }
        }

        async fn say(&mut self, text: &str) {
            self.io.write_all(text.as_bytes()).await.unwrap();
        }

        /// Reads until the end of the connection. Returns the text and the time since the start.
        async fn end(mut self) -> (String, Duration) {
            let mut said = String::new();
            self.io.read_to_string(&mut said).await.unwrap();
            let took = self.began.elapsed();
            self.served.await.unwrap();
            (said, took)
        }

        /// Reads the next response, whose body is `body`.
        async fn hear(&mut self, body: &str) {
            let mut said = Vec::new();
            while !said.ends_with(body.as_bytes()) {
                said.push(self.io.read_u8().await.unwrap());
            }
            assert!(said.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&said));
        }
    }

    fn head(path: &str, rest: &str) -> String {
        format!("POST {path} HTTP/1.1\r\nhost: localhost\r\n{rest}\r\n")
    }

    fn is_late(said: &str) -> bool {
        said.starts_with("HTTP/1.1 408 ") && said.contains("connection: close") && said.ends_with('}')
    }

    #[tokio::test(start_paused = true)]
    async fn half_a_head_is_waited_for_so_long() {
        let mut client = Client::connect();
        sleep(Duration::from_secs(3)).await;
        client.say("GET / HTTP/1.1\r\nhost: local").await;
        let (said, took) = client.end().await;
        assert!(is_late(&said), "{said}");
        assert_eq!(took, Duration::from_secs(3) + LIMITS.head);
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_trickles_in_has_no_more_time() {
        let mut client = Client::connect();
        for byte in "GET / HT".chars() {
            client.say(&byte.to_string()).await;
            sleep(Duration::from_secs(1)).await;
        }
        let (said, took) = client.end().await;
        assert!(is_late(&said), "{said}");
        assert_eq!(took, LIMITS.head);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_a_byte_ends_without_a_word() {
        // The server closes without a response: browsers open connections in advance, and would take it for the
        // response to their next request.
        let (said, took) = Client::connect().end().await;
        assert_eq!((said.as_str(), took), ("", LIMITS.head));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_stops_is_waited_for_so_long() {
        for path in ["/length", "/swallow"] {
            let mut client = Client::connect();
            client.say(&head(path, "content-length: 10\r\n")).await;
            client.say("12345").await;
            let (said, took) = client.end().await;
            assert!(is_late(&said), "{path}: {said}");
            assert_eq!(took, LIMITS.body_pause, "{path}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_trickles_in_has_so_long_in_all() {
        let mut client = Client::connect();
        client.say(&head("/length", "transfer-encoding: chunked\r\n")).await;
        let (mut reading, mut writing) = tokio::io::split(client.io);
        let trickle = tokio::spawn(async move {
            while writing.write_all(b"1\r\nx\r\n").await.is_ok() {
                sleep(LIMITS.body_pause / 2).await;
            }
        });
        let mut said = String::new();
        reading.read_to_string(&mut said).await.unwrap();
        assert!(is_late(&said), "{said}");
        assert_eq!(client.began.elapsed(), LIMITS.body);
        trickle.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_within_the_limits_is_read_to_its_end() {
        let mut client = Client::connect();
        client.say(&head("/length", "content-length: 5\r\n")).await;
        for byte in "12345".chars() {
            sleep(LIMITS.body_pause / 2).await;
            client.say(&byte.to_string()).await;
        }
        client.hear("\r\n\r\n5").await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_nobody_reads_does_not_hold_the_connection() {
        let mut client = Client::connect();
        client.say(&head("/deaf", "content-length: 10\r\n")).await;
        let (said, took) = client.end().await;
        assert!(said.ends_with("no matter"), "{said}");
        assert_eq!(took, Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_ends_and_one_that_is_used_does_not() {
        let almost = LIMITS.idle.saturating_sub(Duration::from_secs(1));
        let mut client = Client::connect();
        for _ in 0..5 {
            client.say("GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
            client.hear("hello").await;
            sleep(almost).await;
        }
        let (said, took) = client.end().await;
        assert_eq!((said.as_str(), took), ("", almost * 4 + LIMITS.idle));
    }

    #[tokio::test(start_paused = true)]
    async fn half_a_head_after_an_answer_is_waited_for_no_longer() {
        let mut client = Client::connect();
        client.say("GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
        client.hear("hello").await;
        sleep(LIMITS.idle / 2).await;
        client.say("G").await;
        let (said, took) = client.end().await;
        assert!(is_late(&said), "{said}");
        assert_eq!(took, LIMITS.idle / 2 + LIMITS.head);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_may_take_as_long_as_it_takes() {
        let mut client = Client::connect();
        client.say("GET /slow HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
        client.hear("\r\n\r\n").await;
        assert_eq!(client.began.elapsed(), SLOW);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_read_is_left() {
        let mut client = Client::with_buffer(1024);
        client.say("GET /large HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
        (&mut client.served).await.unwrap();
        assert_eq!(client.began.elapsed(), LIMITS.write_pause);
        // A client that reads has the full time for each piece.
        let mut client = Client::with_buffer(64 * 1024);
        client.say("GET /large HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
        let mut read = 0;
        while read < LARGE {
            sleep(LIMITS.write_pause / 2).await;
            let piece = client.io.read(&mut vec![0; 64 * 1024]).await.unwrap();
            assert!(piece > 0, "it was left after {read} bytes");
            read += piece;
        }
        assert!(client.began.elapsed() > LIMITS.write_pause);
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_no_request_makes_room_in_a_crowd() {
        let mut client = Client::connect();
        client.say("GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
        client.hear("hello").await;
        let shared = Arc::clone(&client.shared);
        let crowd = tokio::spawn(async move {
            sleep(Duration::from_millis(100)).await;
            shared.crowd.set(true);
        });
        let (said, took) = client.end().await;
        assert_eq!((said.as_str(), took), ("", IDLE_IN_CROWD));
        crowd.await.unwrap();
        // A client with a running request makes room after it.
        let mut client = Client::connect();
        client.shared.crowd.set(true);
        client.say("GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
        let (said, took) = client.end().await;
        assert!(said.contains("connection: close\r\n") && said.ends_with("hello"), "{said}");
        assert_eq!(took, Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_ends_idle_connections_and_lets_requests_finish() {
        let mut idle = Client::connect();
        idle.say("GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
        idle.hear("hello").await;
        idle.shared.stop.cancel();
        assert_eq!(idle.end().await, (String::new(), Duration::ZERO));
        let mut busy = Client::connect();
        busy.say("GET /slow HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
        sleep(Duration::from_secs(1)).await;
        busy.shared.stop.cancel();
        let (said, took) = busy.end().await;
        assert!(said.starts_with("HTTP/1.1 200 "), "{said}");
        assert_eq!(took, SLOW);
    }
}
