//! The APIs for one function process: the Runtime API, and the Extensions API for internal extensions. A process of its
//! own can have no other kind. An internal extension may register for INVOKE events only; instead of a SHUTDOWN event,
//! the process gets a SIGTERM. A process is idle, and AWS would freeze it, when its runtime and each extension have
//! requested the next event. The caller gets its response earlier.
//!
//! Paths, statuses and headers follow "Using the Lambda runtime API for custom runtimes" and "Using the Lambda
//! Extensions API to create extensions" in the Lambda developer guide. Error types are those of AWS's Runtime Interface
//! Emulator.

use std::{
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{
    Json, Router,
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use uuid::Uuid;

use super::{
    FunctionError,
    body::{self, Refused},
    limits::MAX_RESPONSE_BYTES,
};
use crate::doors::{self, Door, Limits};

const ERROR_TYPE: &str = "lambda-runtime-function-error-type";
const EXTENSION_NAME: &str = "lambda-extension-name";
const EXTENSION_ID: &str = "lambda-extension-identifier";
const EXTENSION_ERROR_TYPE: &str = "lambda-extension-function-error-type";

/// Invocation as the function receives it.
#[derive(Debug, Clone)]
pub(super) struct Event {
    pub(super) request_id: String,
    pub(super) payload: Bytes,
    pub(super) trace_id: String,
    pub(super) timeout: Duration,
}

/// Step of a function process. Steps are reported in order.
#[derive(Debug)]
pub(super) enum Step {
    /// The process and each of its extensions requested the next event. The init phase or the previous event is
    /// finished.
    Next,
    /// The process failed to initialize.
    InitFailed(FunctionError),
    /// The process responded to its event.
    Answered(Result<Bytes, FunctionError>),
    /// An extension failed, which ends the environment.
    ExtensionFailed(FunctionError),
}

/// Names of the function that the APIs return to the process.
#[derive(Debug, Clone)]
struct Identity {
    function_name: String,
    function_arn: String,
    handler: String,
}

#[derive(Debug)]
enum Phase {
    Init,
    /// The runtime waits for an event. `is_told` is `true` when all its extensions wait as well.
    Waiting {
        is_told: bool,
    },
    Running {
        request_id: String,
    },
    Answered {
        request_id: String,
    },
}

#[derive(Debug)]
struct Extension {
    name: String,
    wants_invocations: bool,
    /// `true` when the extension has requested its next event.
    is_ready: bool,
    deliver: mpsc::UnboundedSender<Value>,
    /// Events that the extension has not fetched. The queue stays empty if the extension registered for no events.
    events: Arc<tokio::sync::Mutex<mpsc::UnboundedReceiver<Value>>>,
}

#[derive(Debug)]
struct Shared {
    identity: Identity,
    phase: Mutex<Phase>,
    steps: mpsc::UnboundedSender<Step>,
    events: tokio::sync::Mutex<mpsc::UnboundedReceiver<Event>>,
    extensions: Mutex<BTreeMap<Uuid, Extension>>,
}

impl Shared {
    fn phase(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn extensions(&self) -> MutexGuard<'_, BTreeMap<Uuid, Extension>> {
        self.extensions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Applies `change`. Reports [`Step::Next`] once the runtime and all its extensions wait for the next event.
    fn advance(&self, change: impl FnOnce(&mut Phase, &mut BTreeMap<Uuid, Extension>)) {
        // The locks are always taken in this order.
        let (mut phase, mut extensions) = (self.phase(), self.extensions());
        change(&mut phase, &mut extensions);
        if matches!(*phase, Phase::Waiting { is_told: false }) && extensions.values().all(|one| one.is_ready) {
            *phase = Phase::Waiting { is_told: true };
            let _ = self.steps.send(Step::Next);
        }
    }
}

/// Runtime API of one environment, on its own port.
#[derive(Debug)]
pub(super) struct RuntimeApi {
    /// `AWS_LAMBDA_RUNTIME_API`.
    pub(super) address: SocketAddr,
    /// Steps of the process.
    pub(super) steps: mpsc::UnboundedReceiver<Step>,
    events: mpsc::UnboundedSender<Event>,
    shared: Arc<Shared>,
    _server: AbortOnDropHandle<()>,
}

impl RuntimeApi {
    /// Listens on a free port of the loopback interface.
    pub(super) async fn listen(name: &str, arn: &str, handler: &str, limits: Limits) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (report, steps) = mpsc::unbounded_channel();
        let (events, pending) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            identity: Identity { function_name: name.into(), function_arn: arn.into(), handler: handler.into() },
            phase: Mutex::new(Phase::Init),
            steps: report,
            events: tokio::sync::Mutex::new(pending),
            extensions: Mutex::default(),
        });
        let router = router(Arc::clone(&shared));
        let stop = CancellationToken::new();
        let server = tokio::spawn(doors::serve(listener, Door::programs(), limits, router, stop));
        Ok(Self { address, steps, events, shared, _server: AbortOnDropHandle::new(server) })
    }

    /// Sends an event to the waiting process.
    pub(super) fn run(&self, event: Event) {
        *self.shared.phase() = Phase::Running { request_id: event.request_id.clone() };
        for extension in self.shared.extensions().values_mut().filter(|extension| extension.wants_invocations) {
            extension.is_ready = false;
            let _ = extension.deliver.send(json!({
                "eventType": "INVOKE",
                "deadlineMs": u64::try_from(deadline_ms(event.timeout)).unwrap_or(u64::MAX),
                "requestId": event.request_id,
                "invokedFunctionArn": self.shared.identity.function_arn,
                "tracing": { "type": "X-Amzn-Trace-Id", "value": event.trace_id },
            }));
        }
        let _ = self.events.send(event);
    }

    /// Returns `true` if an extension is registered.
    pub(super) fn has_extensions(&self) -> bool {
        !self.shared.extensions().is_empty()
    }
}

fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/2018-06-01/runtime/invocation/next", get(next))
        .route("/2018-06-01/runtime/invocation/{request_id}/response", post(answer))
        .route("/2018-06-01/runtime/invocation/{request_id}/error", post(fail))
        .route("/2018-06-01/runtime/init/error", post(fail_init))
        .route("/2020-01-01/extension/register", post(register_extension))
        .route("/2020-01-01/extension/event/next", get(next_extension_event))
        .route("/2020-01-01/extension/init/error", post(fail_extension))
        .route("/2020-01-01/extension/exit/error", post(fail_extension))
        .with_state(shared)
}

async fn next(State(shared): State<Arc<Shared>>) -> Response {
    if matches!(*shared.phase(), Phase::Running { .. }) {
        return invalid_transition();
    }
    shared.advance(|phase, _| {
        // A repeated request: the connection of the first one was lost.
        if !matches!(phase, Phase::Waiting { .. }) {
            *phase = Phase::Waiting { is_told: false };
        }
    });
    let Some(event) = shared.events.lock().await.recv().await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let headers = [
        ("content-type", "application/json".to_owned()),
        ("lambda-runtime-aws-request-id", event.request_id),
        ("lambda-runtime-deadline-ms", deadline_ms(event.timeout).to_string()),
        ("lambda-runtime-invoked-function-arn", shared.identity.function_arn.clone()),
        ("lambda-runtime-trace-id", event.trace_id),
    ];
    (headers, event.payload).into_response()
}

async fn answer(State(shared): State<Arc<Shared>>, Path(request_id): Path<String>, body: Body) -> Response {
    match body::read(body, MAX_RESPONSE_BYTES).await {
        Ok(payload) => conclude(&shared, &request_id, Ok(payload)),
        Err(Refused::Truncated) => {
            refuse(StatusCode::BAD_REQUEST, "TruncatedHTTPRequest", "the body ended before its announced length")
        }
        Err(Refused::TooLarge(_)) => {
            let message =
                format!("Response payload size exceeded maximum allowed payload size ({MAX_RESPONSE_BYTES} bytes).");
            let error = FunctionError { error_type: "Function.ResponseSizeTooLarge".into(), message: message.clone() };
            let answer = conclude(&shared, &request_id, Err(error));
            if answer.status().is_success() {
                return refuse(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge", &message);
            }
            answer
        }
    }
}

async fn fail(
    State(shared): State<Arc<Shared>>,
    Path(request_id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    conclude(&shared, &request_id, Err(reported_error(&headers, body).await))
}

async fn fail_init(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Body) -> Response {
    let error = reported_error(&headers, body).await;
    if !matches!(*shared.phase(), Phase::Init) {
        return invalid_transition();
    }
    let _ = shared.steps.send(Step::InitFailed(error));
    accepted()
}

fn conclude(shared: &Shared, request_id: &str, outcome: Result<Bytes, FunctionError>) -> Response {
    let mut phase = shared.phase();
    match &*phase {
        Phase::Running { request_id: current } if current == request_id => {
            *phase = Phase::Answered { request_id: request_id.to_owned() };
            let _ = shared.steps.send(Step::Answered(outcome));
            accepted()
        }
        Phase::Answered { request_id: current } if current == request_id => invalid_transition(),
        _ => refuse(StatusCode::BAD_REQUEST, "InvalidRequestID", "Invalid request ID"),
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ErrorReport {
    error_type: Option<String>,
    error_message: Option<String>,
}

async fn reported_error(headers: &HeaderMap, body: Body) -> FunctionError {
    let body = body::read(body, MAX_RESPONSE_BYTES).await.unwrap_or_default();
    let report: ErrorReport = serde_json::from_slice(&body).unwrap_or_else(|_| ErrorReport {
        error_message: Some(String::from_utf8_lossy(&body).into_owned()),
        ..ErrorReport::default()
    });
    let in_header = || headers.get(ERROR_TYPE).and_then(|value| value.to_str().ok()).map(str::to_owned);
    FunctionError {
        error_type: report.error_type.or_else(in_header).unwrap_or_else(|| "Runtime.Unknown".into()),
        message: report.error_message.unwrap_or_default(),
    }
}

#[derive(Debug, Deserialize)]
struct Registration {
    #[serde(default)]
    events: Vec<String>,
}

async fn register_extension(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    let Some(name) = headers.get(EXTENSION_NAME).and_then(|value| value.to_str().ok()).filter(|name| !name.is_empty())
    else {
        return refuse(StatusCode::FORBIDDEN, "Extension.InvalidExtensionName", "the extension has no name");
    };
    let Ok(registration) = serde_json::from_slice::<Registration>(&body) else {
        return refuse(StatusCode::BAD_REQUEST, "InvalidRequestFormat", "the body is not {\"events\": [...]}");
    };
    if registration.events.iter().any(|event| event == "SHUTDOWN") {
        let kind = "ShutdownEventNotSupportedForInternalExtension";
        return refuse(StatusCode::FORBIDDEN, kind, "an internal extension gets no SHUTDOWN event, but a SIGTERM");
    }
    if registration.events.iter().any(|event| event != "INVOKE") {
        return refuse(StatusCode::FORBIDDEN, "Extension.InvalidEventType", "the events are INVOKE and SHUTDOWN");
    }
    if !matches!(*shared.phase(), Phase::Init) {
        return refuse(StatusCode::FORBIDDEN, "Extension.RegistrationClosed", "extensions register during init");
    }
    let mut extensions = shared.extensions();
    if extensions.values().any(|extension| extension.name == name) {
        return refuse(StatusCode::FORBIDDEN, "Extension.AlreadyRegistered", "the name is taken");
    }
    let (deliver, events) = mpsc::unbounded_channel();
    let id = Uuid::new_v4();
    extensions.insert(
        id,
        Extension {
            name: name.to_owned(),
            wants_invocations: registration.events.iter().any(|event| event == "INVOKE"),
            is_ready: false,
            deliver,
            events: Arc::new(tokio::sync::Mutex::new(events)),
        },
    );
    let answer = json!({
        "functionName": shared.identity.function_name,
        "functionVersion": super::VERSION,
        "handler": shared.identity.handler,
    });
    ([(EXTENSION_ID, id.to_string())], Json(answer)).into_response()
}

/// Returns the id of the calling extension.
fn extension_id(shared: &Shared, headers: &HeaderMap) -> Result<Uuid, Box<Response>> {
    let Some(id) = headers.get(EXTENSION_ID) else {
        let kind = "Extension.MissingExtensionIdentifier";
        return Err(Box::new(refuse(StatusCode::FORBIDDEN, kind, "the header Lambda-Extension-Identifier is missing")));
    };
    let id = id.to_str().ok().and_then(|id| id.parse::<Uuid>().ok());
    id.filter(|id| shared.extensions().contains_key(id)).ok_or_else(|| {
        let kind = "Extension.UnknownExtensionIdentifier";
        Box::new(refuse(StatusCode::FORBIDDEN, kind, "no extension has registered with this identifier"))
    })
}

async fn next_extension_event(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    let id = match extension_id(&shared, &headers) {
        Ok(id) => id,
        Err(refused) => return *refused,
    };
    let mut events = None;
    shared.advance(|_, extensions| {
        if let Some(extension) = extensions.get_mut(&id) {
            extension.is_ready = true;
            events = Some(Arc::clone(&extension.events));
        }
    });
    let Some(events) = events else { return StatusCode::INTERNAL_SERVER_ERROR.into_response() };
    let event = events.lock().await.recv().await;
    event.map_or_else(|| StatusCode::INTERNAL_SERVER_ERROR.into_response(), |event| Json(event).into_response())
}

/// `init/error` and `exit/error`: both end the environment. The error type is in a header, and may be in the body.
async fn fail_extension(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Body) -> Response {
    if let Err(refused) = extension_id(&shared, &headers) {
        return *refused;
    }
    let in_header = headers.get(EXTENSION_ERROR_TYPE).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let Some(error_type) = in_header else {
        let kind = "Extension.MissingHeader";
        return refuse(StatusCode::BAD_REQUEST, kind, "the header Lambda-Extension-Function-Error-Type is missing");
    };
    let message = reported_error(&headers, body).await.message;
    let _ = shared.steps.send(Step::ExtensionFailed(FunctionError { error_type, message }));
    accepted()
}

fn accepted() -> Response {
    (StatusCode::ACCEPTED, Json(json!({ "status": "OK" }))).into_response()
}

fn invalid_transition() -> Response {
    refuse(StatusCode::FORBIDDEN, "InvalidStateTransition", "State transition is not allowed")
}

fn refuse(status: StatusCode, error_type: &str, message: &str) -> Response {
    (status, Json(json!({ "errorType": error_type, "errorMessage": message }))).into_response()
}

fn deadline_ms(timeout: Duration) -> u128 {
    (SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() + timeout).as_millis()
}
