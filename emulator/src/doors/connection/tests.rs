use std::time::Duration;

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

use super::{progress::IDLE_IN_CROWD, *};

const LIMITS: Limits = crate::doors::LIMITS;
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

#[tokio::test(start_paused = true)]
async fn a_long_head_is_refused() {
    for (lines, length) in [(101, 1), (60, 8_000)] {
        let mut client = Client::connect();
        let line = format!("x: {}\r\n", "y".repeat(length));
        let head = format!("GET / HTTP/1.1\r\nhost: localhost\r\n{}\r\n", line.repeat(lines));
        // The server may close the connection before the end.
        let _ = client.io.write_all(head.as_bytes()).await;
        let (said, _) = client.end().await;
        assert!(said.starts_with("HTTP/1.1 431 "), "{lines} lines: {said}");
    }
}
