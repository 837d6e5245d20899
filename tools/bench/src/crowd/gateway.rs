//! The simulated part of a gateway: the quota of an account, and sockets behind `@connections`.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::{Path as Segment, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::post,
    serve::ListenerExt,
};
use tokio::sync::Notify;

use crate::{Result, program::workspace, serve::listen_anywhere};

/// Text before the number of a message in its content.
const MARK: &str = "crowd-";

/// Requests of an account: a token bucket ("API Gateway quotas": 10,000 requests a second, with a burst of 5,000).
#[derive(Debug)]
pub(super) struct Account {
    rate: f64,
    burst: f64,
    /// Tokens, and the time at which they were counted.
    bucket: Mutex<(f64, Instant)>,
}

impl Account {
    pub(super) fn new(rate: u32, burst: u32) -> Self {
        let burst = f64::from(burst);
        Self { rate: f64::from(rate), burst, bucket: Mutex::new((burst, Instant::now())) }
    }

    fn takes(&self) -> bool {
        self.takes_at(Instant::now())
    }

    fn takes_at(&self, now: Instant) -> bool {
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let gained = now.saturating_duration_since(bucket.1).as_secs_f64() * self.rate;
        let tokens = (bucket.0 + gained).min(self.burst);
        let takes = tokens >= 1.0;
        *bucket = (if takes { tokens - 1.0 } else { tokens }, now.max(bucket.1));
        takes
    }
}

#[derive(Debug)]
struct Shared {
    account: Account,
    post: Duration,
    began: Instant,
    /// Number of the message that is under way.
    expected: AtomicUsize,
    /// Whether a socket has it.
    seen: Vec<AtomicBool>,
    count: AtomicUsize,
    duplicates: AtomicUsize,
    throttled: AtomicUsize,
    /// Posts by the second since the beginning.
    seconds: Mutex<Vec<usize>>,
    all: Notify,
}

/// Server of `@connections`.
#[derive(Debug, Clone)]
pub(super) struct Gateway {
    shared: Arc<Shared>,
    url: String,
}

/// Returns the id of the `number`th connection.
pub(super) fn connection(number: usize) -> String {
    format!("crowd{number:08}=")
}

/// Returns the content of a message.
pub(super) fn content(number: usize) -> String {
    format!("{MARK}{number}-{}", "x".repeat(90))
}

impl Gateway {
    /// Starts the server for this number of sockets, each of whose posts takes `post`.
    pub(super) async fn start(account: Account, sockets: usize, post_takes: Duration) -> Result<Self> {
        let shared = Arc::new(Shared {
            account,
            post: post_takes,
            began: Instant::now(),
            expected: AtomicUsize::new(0),
            seen: (0..sockets).map(|_| AtomicBool::new(false)).collect(),
            count: AtomicUsize::new(0),
            duplicates: AtomicUsize::new(0),
            throttled: AtomicUsize::new(0),
            seconds: Mutex::default(),
            all: Notify::new(),
        });
        let router = Router::new().route("/@connections/{id}", post(receive)).with_state(Arc::clone(&shared));
        let (listener, address) = listen_anywhere().await?;
        let listener = listener.tap_io(|socket| _ = socket.set_nodelay(true));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { shared, url: format!("http://{address}") })
    }

    /// Writes a copy of the template into `folder` whose functions post to this server.
    pub(super) fn template(&self, folder: &Path) -> Result<PathBuf> {
        const NAME: &str = "MANAGEMENT_URL:";
        let template = fs::read_to_string(workspace()?.join("infra/backend.yaml"))?;
        let lines = template.lines().map(|line| match line.split_once(NAME) {
            Some((indentation, _)) => format!("{indentation}{NAME} '{}'", self.url),
            None => line.to_owned(),
        });
        let file = folder.join("backend.yaml");
        fs::write(&file, lines.collect::<Vec<_>>().join("\n"))?;
        Ok(file)
    }

    /// Takes a request from the account.
    pub(super) fn takes(&self) -> bool {
        self.shared.account.takes()
    }

    /// Begins to count the sockets that get a message.
    pub(super) fn expect(&self, number: usize) {
        self.shared.seen.iter().for_each(|seen| seen.store(false, Ordering::Release));
        self.shared.count.store(0, Ordering::Release);
        self.shared.expected.store(number, Ordering::Release);
    }

    /// Waits until each socket has the message.
    pub(super) async fn reached(&self) {
        loop {
            let all = self.shared.all.notified();
            if self.count() >= self.shared.seen.len() {
                return;
            }
            // Another notification may have come before this one was awaited.
            let _ = tokio::time::timeout(Duration::from_millis(20), all).await;
        }
    }

    pub(super) fn count(&self) -> usize {
        self.shared.count.load(Ordering::Acquire)
    }

    pub(super) fn duplicates(&self) -> usize {
        self.shared.duplicates.load(Ordering::Acquire)
    }

    pub(super) fn throttled(&self) -> usize {
        self.shared.throttled.load(Ordering::Acquire)
    }

    pub(super) fn most_in_a_second(&self) -> usize {
        let seconds = self.shared.seconds.lock().unwrap_or_else(PoisonError::into_inner);
        seconds.iter().copied().max().unwrap_or_default()
    }

    /// Forgets what was counted.
    pub(super) fn forget(&self) {
        self.shared.duplicates.store(0, Ordering::Release);
        self.shared.throttled.store(0, Ordering::Release);
        self.shared.seconds.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

async fn receive(State(shared): State<Arc<Shared>>, Segment(id): Segment<String>, frame: String) -> Response {
    if !shared.account.takes() {
        shared.throttled.fetch_add(1, Ordering::AcqRel);
        let error = [("x-amzn-errortype", "LimitExceededException")];
        return (StatusCode::TOO_MANY_REQUESTS, error, r#"{"message":"Too Many Requests"}"#).into_response();
    }
    let number = id.strip_prefix("crowd").and_then(|rest| rest.strip_suffix('=')?.parse::<usize>().ok());
    let Some(seen) = number.and_then(|number| shared.seen.get(number)) else {
        return (StatusCode::GONE, [("x-amzn-errortype", "GoneException")]).into_response();
    };
    shared.count_second();
    tokio::time::sleep(shared.post).await;
    let expected = shared.expected.load(Ordering::Acquire);
    if numbers(&frame).any(|number| number == expected) {
        if seen.swap(true, Ordering::AcqRel) {
            shared.duplicates.fetch_add(1, Ordering::AcqRel);
        } else if shared.count.fetch_add(1, Ordering::AcqRel) + 1 >= shared.seen.len() {
            shared.all.notify_waiters();
        }
    }
    StatusCode::OK.into_response()
}

impl Shared {
    fn count_second(&self) {
        let second = usize::try_from(self.began.elapsed().as_secs()).unwrap_or_default();
        let mut seconds = self.seconds.lock().unwrap_or_else(PoisonError::into_inner);
        if seconds.len() <= second {
            seconds.resize(second + 1, 0);
        }
        seconds[second] += 1;
    }
}

/// Returns the numbers of the messages in a frame, without parsing its JSON.
fn numbers(frame: &str) -> impl Iterator<Item = usize> {
    frame.split(MARK).skip(1).filter_map(|rest| rest.split_once('-')?.0.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_refuses_what_exceeds_its_burst_and_rate() {
        let account = Account::new(1_000, 50);
        let began = Instant::now();
        let taken = |at: Instant| (0..200).filter(|_| account.takes_at(at)).count();
        let first = taken(began);
        assert!((50..=51).contains(&first), "{first}");
        let later = taken(began + Duration::from_millis(20));
        assert!((19..=21).contains(&later), "{later}");
        assert_eq!(taken(began + Duration::from_secs(9)), 50);
    }

    #[test]
    fn a_frame_of_a_message_has_its_number() {
        assert_eq!(
            numbers(&format!(r#"{{"events":["{}","{}"]}}"#, content(3), content(12))).collect::<Vec<_>>(),
            [3, 12]
        );
    }
}
