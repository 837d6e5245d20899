//! The Runtime API of one function, and its process.
//!
//! Paths and headers are those of "Using the Lambda runtime API for custom runtimes" in the Lambda developer guide.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, post},
    serve::ListenerExt,
};
use tokio::{
    sync::{Mutex, mpsc},
    task::JoinHandle,
    time::timeout,
};

use crate::{Result, program::ran, serve::listen_anywhere};

/// Timeout of an invocation, for the function and for this program.
const TIME_OUT: Duration = Duration::from_secs(30);

/// A process of a function that waits for events.
pub(crate) struct Function {
    child: Child,
    events: mpsc::UnboundedSender<Bytes>,
    steps: mpsc::UnboundedReceiver<Step>,
    server: JoinHandle<()>,
    /// Allocations until the newest invocation began, if they are counted.
    allocations: Arc<AtomicU64>,
    /// Time from exec to the first request for an event.
    pub(crate) start_up: Duration,
}

/// Measurements of one invocation.
#[derive(Debug)]
pub(crate) struct Invocation {
    /// Time from sending the event to receiving the response.
    pub(crate) answered: Duration,
    /// Processor time until the process requested the next event.
    pub(crate) cpu: Duration,
    pub(crate) answer: Bytes,
}

enum Step {
    Next,
    Sent(Instant),
    Answered(Instant, Bytes),
    Failed(Bytes),
}

struct Api {
    events: Mutex<mpsc::UnboundedReceiver<Bytes>>,
    steps: mpsc::UnboundedSender<Step>,
    arn: String,
    count: AtomicU64,
}

impl Function {
    /// Starts `binary` as the function `name`, and waits until it requests an event.
    pub(crate) async fn start(name: &str, binary: &Path, variables: &BTreeMap<String, String>) -> Result<Self> {
        let (listener, address) = listen_anywhere().await?;
        let listener = listener.tap_io(|socket| _ = socket.set_nodelay(true));
        let (events, waiting) = mpsc::unbounded_channel();
        let (tell, mut steps) = mpsc::unbounded_channel();
        let api = Arc::new(Api {
            events: Mutex::new(waiting),
            steps: tell,
            arn: format!("arn:aws:lambda:us-east-1:000000000000:function:{name}"),
            count: AtomicU64::new(0),
        });
        let router = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route("/2018-06-01/runtime/invocation/{id}/response", post(answer))
            .route("/2018-06-01/runtime/invocation/{id}/error", post(error))
            .route("/2018-06-01/runtime/init/error", post(error))
            .with_state(api);
        let server = tokio::spawn(async move {
            // Ends with the task.
            let _ = axum::serve(listener, router).await;
        });
        let mut command = Command::new(binary);
        command
            .env_clear()
            .envs(variables)
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("AWS_LAMBDA_RUNTIME_API", address.to_string())
            .env("AWS_LAMBDA_FUNCTION_NAME", name)
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256")
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ACCESS_KEY_ID", name)
            .env("AWS_SECRET_ACCESS_KEY", "local")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit());
        let began = Instant::now();
        let mut child = command.spawn().map_err(|error| format!("cannot start {}: {error}", binary.display()))?;
        let first = timeout(TIME_OUT, steps.recv()).await;
        let start_up = began.elapsed();
        let allocations = Arc::<AtomicU64>::default();
        if let Some(output) = child.stdout.take() {
            let allocations = Arc::clone(&allocations);
            let lines = BufReader::new(output).lines().map_while(std::result::Result::ok);
            std::thread::spawn(move || lines.for_each(|line| note(&allocations, &line)));
        }
        let function = Self { child, events, steps, server, allocations, start_up };
        match first {
            Ok(Some(Step::Next)) => Ok(function),
            Ok(Some(Step::Failed(error))) => Err(text(name, &error).into()),
            _ => Err(format!("{name} did not ask for an event").into()),
        }
    }

    /// Runs one event until the function requests the next one.
    pub(crate) async fn invoke(&mut self, event: Bytes) -> Result<Invocation> {
        let before = ran(self.child.id());
        self.events.send(event)?;
        let (mut sent, mut answered) = (None, None);
        loop {
            let step = timeout(TIME_OUT, self.steps.recv()).await.map_err(|_| "a function did not answer")?;
            match step.ok_or("the Runtime API has ended")? {
                Step::Sent(at) => sent = Some(at),
                Step::Answered(at, answer) => answered = Some((at, answer)),
                Step::Failed(error) => return Err(text("a function", &error).into()),
                Step::Next => break,
            }
        }
        let (Some(sent), Some((at, answer))) = (sent, answered) else {
            return Err("a function asked for the next event before it had answered".into());
        };
        Ok(Invocation { answered: at.duration_since(sent), cpu: ran(self.child.id()).saturating_sub(before), answer })
    }

    /// Returns the peak memory of the process, in MB.
    pub(crate) fn peak_memory(&self) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
        kilobytes.map_or(f64::NAN, |kilobytes| kilobytes / 1024.0)
    }

    /// Returns the allocations until the newest invocation began; zero unless the binary was built to count them.
    pub(crate) fn allocations(&self) -> u64 {
        self.allocations.load(Ordering::Acquire)
    }
}

impl Drop for Function {
    fn drop(&mut self) {
        self.server.abort();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn text(name: &str, error: &Bytes) -> String {
    format!("{name} failed: {}", String::from_utf8_lossy(error))
}

/// Stores the number of a line that reports allocations.
fn note(allocations: &AtomicU64, line: &str) {
    let count = line.strip_prefix("allocations ").and_then(|counts| counts.split_whitespace().nth(1)?.parse().ok());
    if let Some(count) = count {
        allocations.store(count, Ordering::Release);
    }
}

async fn next(State(api): State<Arc<Api>>) -> Response {
    let _ = api.steps.send(Step::Next);
    let Some(event) = api.events.lock().await.recv().await else { return StatusCode::GONE.into_response() };
    let id = api.count.fetch_add(1, Ordering::Relaxed);
    let deadline = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() + TIME_OUT;
    let headers = [
        ("lambda-runtime-aws-request-id", format!("00000000-0000-4000-8000-{id:012}")),
        ("lambda-runtime-deadline-ms", deadline.as_millis().to_string()),
        ("lambda-runtime-invoked-function-arn", api.arn.clone()),
        ("lambda-runtime-trace-id", format!("Root=1-00000000-{id:024x};Parent={id:016x};Sampled=0")),
        ("content-type", "application/json".to_owned()),
    ];
    let mut response = event.into_response();
    for (name, value) in headers {
        if let Ok(value) = value.parse() {
            response.headers_mut().insert(name, value);
        }
    }
    let _ = api.steps.send(Step::Sent(Instant::now()));
    response
}

async fn answer(State(api): State<Arc<Api>>, body: Bytes) -> StatusCode {
    let _ = api.steps.send(Step::Answered(Instant::now(), body));
    StatusCode::ACCEPTED
}

async fn error(State(api): State<Arc<Api>>, _: HeaderMap, body: Bytes) -> StatusCode {
    let _ = api.steps.send(Step::Failed(body));
    StatusCode::ACCEPTED
}
