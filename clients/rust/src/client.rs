//! A client that runs on tokio.

use std::{
    collections::HashMap,
    fmt,
    hash::{BuildHasher, Hasher, RandomState},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::future::BoxFuture;
use reqwest::Method;
use tokio::{
    sync::{Notify, broadcast, mpsc, watch},
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

use crate::{
    Action, Answer, Api, Connection, Core, End, Error, Frame, Handshake, Input, Message, NewMessage, Refused, Request,
    Socket, chance::milliseconds,
};

/// Number of frames that a slow listener may be behind.
const FRAMES: usize = 256;

/// Timeout of a token's fetch.
const TOKEN_WITHIN: Duration = Duration::from_secs(30);

/// Time that a closing handshake may take.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);

/// Time without a deadline after which the client looks again.
const IDLE: Duration = Duration::from_hours(1);

/// Source of tokens. `None` means that there is none now.
type TokenSource = Arc<dyn Fn() -> BoxFuture<'static, Option<String>> + Send + Sync>;

/// Addresses, subscription and tokens of a client.
#[derive(Clone)]
pub struct Options {
    /// Address of the REST API.
    pub rest: String,
    /// Address of the WebSocket API.
    pub websocket: String,
    /// Channels to listen to; if there are none, all of the user.
    pub channels: Vec<String>,
    token: TokenSource,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rest, websocket, channels, .. } = self;
        f.debug_struct("Options")
            .field("rest", rest)
            .field("websocket", websocket)
            .field("channels", channels)
            .finish_non_exhaustive()
    }
}

impl Options {
    /// Creates options of a client that listens to all channels of its user. `token` is called for each token, never twice
    /// at once.
    pub fn new<F>(rest: &str, websocket: &str, token: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Option<String>> + Send + 'static,
    {
        let token: TokenSource = Arc::new(move || -> BoxFuture<'static, Option<String>> { Box::pin(token()) });
        Self { rest: rest.to_owned(), websocket: websocket.to_owned(), channels: Vec::new(), token }
    }
}

/// State that the client's user and its driver share.
struct Shared {
    core: Mutex<Core>,
    epoch: Instant,
    wake: Notify,
    changed: watch::Sender<u64>,
    frames: broadcast::Sender<Arc<Frame>>,
}

impl Shared {
    fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> u64 {
        milliseconds(self.epoch.elapsed())
    }

    fn handle(&self, input: Input) {
        let now = self.now();
        self.core().handle(input, now);
    }
}

/// A client of one user: it stays connected, keeps the open channels complete, and sends. It ends when it is dropped.
pub struct Client {
    shared: Arc<Shared>,
    api: Api,
    driver: JoinHandle<()>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("state", &self.state()).finish_non_exhaustive()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Client {
    /// Starts a client on the current runtime.
    ///
    /// # Errors
    /// Fails if the HTTP client cannot be created.
    pub fn start(options: Options) -> Result<Self, Error> {
        let api = Api::new(&options.rest, "")?;
        // The standard library seeds its hashes with random numbers of the system.
        let seed = RandomState::new().build_hasher().finish();
        let shared = Arc::new(Shared {
            core: Mutex::new(Core::new(seed, "", &options.channels)),
            epoch: Instant::now(),
            wake: Notify::new(),
            changed: watch::Sender::new(0),
            frames: broadcast::Sender::new(FRAMES),
        });
        shared.handle(Input::Time);
        let (inputs, received) = mpsc::unbounded_channel();
        let driver = Driver { shared: Arc::clone(&shared), api: api.clone(), options, inputs, sockets: HashMap::new() };
        Ok(Self { shared, api, driver: tokio::spawn(driver.run(received)) })
    }

    /// Opens a channel: its messages are read and kept complete. [`Client::read`] has them.
    pub fn open(&self, channel: &str) {
        self.change(|core, now| core.open(channel, now));
    }

    /// Sends a message after those before it, until it is stored or refused. Returns its key in [`Core::outbox`].
    pub fn send(&self, channel: &str, message: impl Into<NewMessage>) -> String {
        self.change(|core, now| core.send(channel, message.into(), now))
    }

    /// Sends a refused message again.
    pub fn retry(&self, channel: &str, key: &str) {
        self.change(|core, now| core.retry(channel, key, now));
    }

    /// Drops a message that is not stored yet.
    pub fn discard(&self, channel: &str, key: &str) {
        self.change(|core, _| core.discard(channel, key));
    }

    /// Reads a page of messages before the oldest held one.
    pub fn load_earlier(&self, channel: &str) {
        self.change(|core, now| core.load_earlier(channel, now));
    }

    /// Connects and reads again, also after refusals: at once, or when the server's `Retry-After` has passed.
    pub fn retry_now(&self) {
        self.change(Core::retry_now);
    }

    /// Checks that the sockets still work, such as after a sleep of the device.
    pub fn check(&self) {
        self.change(Core::check);
    }

    /// Sets whether the device has a network.
    pub fn set_online(&self, is_online: bool) {
        self.change(|core, now| core.handle(Input::Online(is_online), now));
    }

    /// Returns the state of the connection.
    #[must_use]
    pub fn state(&self) -> Connection {
        self.shared.core().state()
    }

    /// Passes the state of the client to `look`: [`Core::log`], [`Core::outbox`] and [`Core::refusal`] of a channel.
    pub fn read<T>(&self, look: impl FnOnce(&Core) -> T) -> T {
        look(&self.shared.core())
    }

    /// Waits until `look` returns something. It is called after each change of a channel or of the connection.
    ///
    /// # Errors
    /// Fails with [`Error::Closed`].
    pub async fn until<T>(&self, mut look: impl FnMut(&Core) -> Option<T>) -> Result<T, Error> {
        let mut changes = self.shared.changed.subscribe();
        loop {
            changes.mark_unchanged();
            if let Some(found) = look(&self.shared.core()) {
                return Ok(found);
            }
            if self.driver.is_finished() || changes.changed().await.is_err() {
                return Err(Error::Closed);
            }
        }
    }

    /// Returns the frames from now on. A listener that is more than 256 behind misses some.
    #[must_use]
    pub fn frames(&self) -> broadcast::Receiver<Arc<Frame>> {
        self.shared.frames.subscribe()
    }

    /// Sends a request with a valid token. If the server does not accept the token, sends it once more with another one.
    ///
    /// # Errors
    /// Fails with the error of the request, or with [`Error::Closed`].
    pub async fn request<T, F>(&self, request: impl Fn(Api) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let api = self.api().await?;
        let answer = request(api.clone()).await;
        if !answer.as_ref().is_err_and(Error::needs_another_token) {
            return answer;
        }
        self.change(|core, now| core.refuse_token(api.token(), now));
        request(self.api().await?).await
    }

    /// Edits a message. The open channel shows the edit at once.
    ///
    /// # Errors
    /// Fails like [`Client::request`].
    pub async fn edit(&self, channel: &str, seq: u64, tag: &str, content: &str) -> Result<Message, Error> {
        let edited = self.request(|api| async move { api.edit(channel, seq, tag, content).await }).await?;
        self.change(|core, _| core.take_message(channel, edited.clone()));
        Ok(edited)
    }

    /// Closes the sockets with a closing handshake.
    pub async fn close(self) {
        self.change(|core, _| core.close());
        let _ = self.until(|core| matches!(core.state(), Connection::Closed { .. }).then_some(())).await;
    }

    /// Returns the API with a valid token.
    async fn api(&self) -> Result<Api, Error> {
        self.change(Core::want_token);
        let token = self.until(|core| core.token().map(str::to_owned)).await?;
        Ok(self.api.with_token(&token))
    }

    fn change<T>(&self, change: impl FnOnce(&mut Core, u64) -> T) -> T {
        let now = self.shared.now();
        let result = change(&mut self.shared.core(), now);
        self.shared.wake.notify_one();
        result
    }
}

/// Does what the core orders.
struct Driver {
    shared: Arc<Shared>,
    api: Api,
    options: Options,
    inputs: mpsc::UnboundedSender<Input>,
    /// Frames to send, by socket. A socket closes when its sender is dropped.
    sockets: HashMap<u64, mpsc::UnboundedSender<String>>,
}

impl Driver {
    async fn run(mut self, mut received: mpsc::UnboundedReceiver<Input>) {
        loop {
            self.act();
            let (now, deadline) = (self.shared.now(), self.shared.core().deadline());
            let wait = deadline.map_or(IDLE, |at| Duration::from_millis(at.saturating_sub(now)).min(IDLE));
            tokio::select! {
                input = received.recv() => match input {
                    Some(input) => self.shared.handle(input),
                    None => return,
                },
                () = self.shared.wake.notified() => {}
                () = sleep(wait) => self.shared.handle(Input::Time),
            }
        }
    }

    /// Returns the next order. The core is locked no longer than that.
    fn next_action(&self) -> Option<Action> {
        self.shared.core().next_action()
    }

    fn act(&mut self) {
        let mut is_changed = false;
        while let Some(action) = self.next_action() {
            match action {
                Action::Fetch(request) => {
                    let (api, inputs) = (self.api.with_token(&request.token), self.inputs.clone());
                    tokio::spawn(async move { inputs.send(fetch(api, request).await) });
                }
                Action::Open { socket, channels, token } => {
                    let handshake = Handshake::for_channels(&self.options.websocket, &channels).bearer(&token);
                    let (frames, orders) = mpsc::unbounded_channel();
                    self.sockets.insert(socket, frames);
                    tokio::spawn(converse(socket, handshake, orders, self.inputs.clone()));
                }
                Action::Send { socket, text } => {
                    if let Some(frames) = self.sockets.get(&socket) {
                        // A socket that has ended reports its end.
                        let _ = frames.send(text);
                    }
                }
                Action::Close { socket } => {
                    self.sockets.remove(&socket);
                }
                Action::Token => {
                    let (token, inputs) = ((self.options.token)(), self.inputs.clone());
                    tokio::spawn(async move {
                        let token = timeout(TOKEN_WITHIN, token).await.ok().flatten();
                        inputs.send(Input::Token(token))
                    });
                }
                Action::State(_) | Action::Changed { .. } => is_changed = true,
                Action::Frame(frame) => {
                    // Without a listener, frames are dropped.
                    let _ = self.shared.frames.send(Arc::from(frame));
                }
            }
        }
        // A token that came changes no channel, but requests wait for it.
        let has_token = self.shared.core().token().is_some();
        if is_changed || has_token {
            self.shared.changed.send_modify(|version| *version = version.wrapping_add(1));
        }
    }
}

/// Sends a request of the core.
async fn fetch(api: Api, request: Request) -> Input {
    let Request { id, method, path, query, key, body, .. } = request;
    let query: Vec<String> = query.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let path = if query.is_empty() { path } else { format!("{path}?{}", query.join("&")) };
    let headers: Vec<(&str, &str)> = key.iter().map(|key| ("idempotency-key", key.as_str())).collect();
    let Ok(method) = Method::from_bytes(method.as_bytes()) else { return Input::NoAnswer { id } };
    let body = body.map(|body| body.to_string());
    match api.ask(method, &path, &headers, body.as_deref()).await {
        Ok(response) => Input::Answer(Answer {
            id,
            status: response.status.as_u16(),
            retry_after: response.retry_after(),
            date: response.header("date").map(str::to_owned),
            body: response.body,
        }),
        Err(_) => Input::NoAnswer { id },
    }
}

/// Opens a socket and reports its frames and its end, until `orders` ends.
async fn converse(
    number: u64,
    handshake: Handshake,
    mut orders: mpsc::UnboundedReceiver<String>,
    inputs: mpsc::UnboundedSender<Input>,
) {
    let opened = tokio::select! {
        opened = handshake.open() => opened,
        // It was closed before it opened. Nothing is sent to a socket that is not open.
        _ = orders.recv() => return,
    };
    let end = match opened {
        Ok(socket) => listen(number, socket, orders, &inputs).await,
        Err(Refused::Status { status, retry_after }) => {
            Some(End { code: None, status: Some(status), retry_after: retry_after.map(milliseconds) })
        }
        // As a busy server: the token is not the reason.
        Err(Refused::Failed(_)) => Some(End { status: Some(503), ..End::default() }),
    };
    if let Some(end) = end {
        // Without a receiver, the driver has ended.
        let _ = inputs.send(Input::Closed { socket: number, end });
    }
}

/// Returns the end of the socket; `None` if this side closed it.
async fn listen(
    number: u64,
    mut socket: Socket,
    mut orders: mpsc::UnboundedReceiver<String>,
    inputs: &mpsc::UnboundedSender<Input>,
) -> Option<End> {
    inputs.send(Input::Opened { socket: number }).ok()?;
    loop {
        let ended = tokio::select! {
            frame = socket.hear() => match frame {
                Ok(text) => {
                    inputs.send(Input::Frame { socket: number, text }).ok()?;
                    continue;
                }
                Err(ended) => ended,
            },
            order = orders.recv() => {
                let Some(text) = order else {
                    let _ = timeout(CLOSE_WITHIN, socket.close()).await;
                    return None;
                };
                match socket.say(&text).await {
                    Ok(()) => continue,
                    Err(ended) => ended,
                }
            }
        };
        return Some(End { code: ended.code, ..End::default() });
    }
}
