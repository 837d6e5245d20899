//! The provider for the verifier: the running stack for requests, and an endpoint for messages. The endpoint returns
//! the frames that the states have received from real sockets.

use std::{
    collections::HashMap,
    fmt,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use anyhow::{Context, Result, bail};
use async_trait::async_trait;
use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use bytes::Bytes;
use pact_models::{bodies::OptionalBody, provider_states::ProviderState as PactState, v4::http_parts::HttpRequest};
use pact_verifier::{
    ProviderInfo, ProviderTransport,
    callback_executors::{ProviderStateExecutor, RequestFilterExecutor},
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

use crate::{
    model::{self, Model},
    stack::{Addresses, Stack},
    tokens::Bearer,
    world::{ProviderState, Values},
};

/// The provider's name in every pact.
pub const NAME: &str = "switchboard";

/// Path of the endpoint for messages.
const MESSAGES: &str = "/messages";

/// State that could not be set up, and the error.
pub type Trouble = (String, String);

/// A running stack with the state of the current interaction.
pub struct Provider {
    stack: Stack,
    model: Model,
    http: reqwest::Client,
    side: SocketAddr,
    server: JoinHandle<()>,
    shared: Arc<Shared>,
}

/// State of the interaction that is being verified; only one is verified at a time.
struct Shared {
    world: tokio::sync::Mutex<Option<ProviderState>>,
    /// Token for the request filter, which cannot wait.
    bearer: Mutex<Option<Bearer>>,
    /// Whether the interaction has been verified, so that the next state belongs to another one.
    is_over: AtomicBool,
    worlds: AtomicU64,
    troubles: Mutex<Vec<Trouble>>,
    addresses: Mutex<Option<(Addresses, Model, reqwest::Client)>>,
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Provider").field("stack", &self.stack).finish_non_exhaustive()
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Provider {
    /// Starts the stack with the binaries in `bin_dir`, the model of its agent, and the endpoint for messages.
    pub async fn start(bin_dir: &Path) -> Result<Self> {
        let (model, http) = (Model::default(), reqwest::Client::new());
        let shared = Arc::new(Shared {
            world: tokio::sync::Mutex::default(),
            bearer: Mutex::default(),
            is_over: AtomicBool::new(true),
            worlds: AtomicU64::new(0),
            troubles: Mutex::default(),
            addresses: Mutex::default(),
        });
        let router = Router::new()
            .route(MESSAGES, post(message))
            .with_state(shared.clone())
            .merge(Router::new().route("/v1/chat/completions", post(model::complete)).with_state(model.clone()));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let side = listener.local_addr()?;
        let server = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                eprintln!("the endpoint for messages ended: {error}");
            }
        });
        let stack = Stack::start(bin_dir, &format!("http://{side}/v1")).await?;
        *lock(&shared.addresses) = Some((stack.addresses.clone(), model.clone(), http.clone()));
        Ok(Self { stack, model, http, side, server, shared })
    }

    /// Returns the verifier's description of the provider. It names both transports, so that the verifier guesses
    /// none.
    pub fn info(&self) -> Result<ProviderInfo> {
        let rest: reqwest::Url = self.stack.addresses.rest.parse()?;
        let message = |transport: &str| ProviderTransport {
            transport: transport.to_owned(),
            port: Some(self.side.port()),
            path: Some(MESSAGES.to_owned()),
            scheme: Some("http".to_owned()),
        };
        let http = ProviderTransport {
            transport: "http".to_owned(),
            port: rest.port(),
            path: None,
            scheme: Some("http".to_owned()),
        };
        Ok(ProviderInfo {
            name: NAME.to_owned(),
            host: Ipv4Addr::LOCALHOST.to_string(),
            transports: vec![http, message("message"), message("async-message")],
            ..ProviderInfo::default()
        })
    }

    /// Returns a separate state, to use states without a verifier.
    #[must_use]
    pub fn world(&self, tenant: &str) -> ProviderState {
        ProviderState::new(self.stack.addresses.clone(), self.model.clone(), self.http.clone(), tenant)
    }

    /// Returns the executor that sets up states and replaces the token of requests.
    #[must_use]
    pub fn executor(&self) -> Arc<Executor> {
        Arc::new(Executor(self.shared.clone()))
    }

    /// Returns the states that could not be set up, with their errors.
    #[must_use]
    pub fn troubles(&self) -> Vec<Trouble> {
        lock(&self.shared.troubles).clone()
    }
}

impl Shared {
    async fn set_up(&self, state: &PactState) -> Result<Values> {
        let mut world = self.world.lock().await;
        if self.is_over.swap(false, Ordering::SeqCst) || world.is_none() {
            let (addresses, model, http) = lock(&self.addresses).clone().context("the stack is not up")?;
            let tenant = format!("w{}-{}", self.worlds.fetch_add(1, Ordering::SeqCst), std::process::id());
            *world = Some(ProviderState::new(addresses, model, http, &tenant));
        }
        let Some(world) = world.as_mut() else { bail!("no world") };
        let outcome = world.set_up(&state.name, state.params.clone().into_iter().collect()).await;
        *lock(&self.bearer) = Some(world.bearer().clone());
        outcome
    }
}

/// No thread panics while it holds the lock.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Callbacks of the verifier.
#[derive(Debug)]
pub struct Executor(Arc<Shared>);

#[async_trait]
impl ProviderStateExecutor for Executor {
    async fn call(
        self: Arc<Self>,
        _: Option<String>,
        state: &PactState,
        setup: bool,
        _: Option<&reqwest::Client>,
    ) -> Result<HashMap<String, Value>> {
        if !setup {
            return Ok(HashMap::new());
        }
        self.0.set_up(state).await.inspect_err(|error| {
            self.0.is_over.store(true, Ordering::SeqCst);
            lock(&self.0.troubles).push((state.name.clone(), format!("{error:#}")));
        })
    }

    fn teardown(&self) -> bool {
        false
    }
}

impl RequestFilterExecutor for Executor {
    /// Replaces the pact's token with a valid one.
    fn call(self: Arc<Self>, request: &HttpRequest) -> HttpRequest {
        self.0.is_over.store(true, Ordering::SeqCst);
        let mut request = request.clone();
        let bearer = lock(&self.0.bearer).clone();
        let token = bearer.and_then(|bearer| bearer.token().ok()).unwrap_or_default();
        for (name, values) in request.headers.iter_mut().flatten() {
            if name.eq_ignore_ascii_case("authorization") {
                *values = vec![format!("Bearer {token}")];
            }
        }
        request
    }

    fn call_non_http(
        &self,
        body: &OptionalBody,
        metadata: &HashMap<String, itertools::Either<Value, Bytes>>,
    ) -> (OptionalBody, HashMap<String, itertools::Either<Value, Bytes>>) {
        (body.clone(), metadata.clone())
    }
}

/// Returns the frame of the interaction. "Verifying messages" in the documentation of the Pact verifier: it sends a
/// `POST` with the description and the states, and the response is the message's content.
async fn message(State(shared): State<Arc<Shared>>, Json(asked): Json<Value>) -> Response {
    shared.is_over.store(true, Ordering::SeqCst);
    let world = shared.world.lock().await;
    match world.as_ref().and_then(ProviderState::frame) {
        Some(frame) => ([(header::CONTENT_TYPE, "application/json")], frame.to_string()).into_response(),
        None => {
            let description = &asked["description"];
            let detail =
                format!("no state of {description} makes a frame; `cargo contracts states` lists those that do");
            lock(&shared.troubles).push((description.as_str().unwrap_or_default().to_owned(), detail.clone()));
            (StatusCode::NOT_FOUND, Json(json!({ "detail": detail }))).into_response()
        }
    }
}
