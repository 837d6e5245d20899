//! Starts a stack, runs it, and stops it.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use axum::Router;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing_subscriber::EnvFilter;

use crate::{
    binaries,
    cli::RunOptions,
    otlp::{Collector, Forwarder, Limits},
    page::{self, PageConfig},
    runs::{self, Entry, Run},
    secret::Secret,
    token,
};
use emulator::{
    access::{self, Access},
    doors::{self, Door, Limits as DoorLimits, Origin},
    dynamodb::{self, Engine, Storage},
    event_source::{self, Checkpoints, Destination, Mapping},
    lambda::{self, Invoke, Lambda, LambdaConfig, OnFailure, Queues},
    rest, schedule,
    stack::{Queue, Stack},
    template::{self, Deployment},
    websocket,
};

/// Error that ends the run, as text for the user of the terminal.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

const REGION: &str = "us-east-1";
const ACCOUNT_ID: &str = "000000000000";
const STAGE: &str = "local";

/// Port of the page if it is free, so that a bookmark stays valid after a restart.
const PAGE_PORT: u16 = 3002;

/// Limit of open files: connections, two pipes for each function, SQLite and the servers of the functions.
const OPEN_FILES: u64 = 65_536;

/// Maximum time for sockets, functions and mappings to finish their work, for each of the three.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// Channel that is created at the start, so that the first message has a channel.
const FIRST_CHANNEL: &str = "lobby";

/// Runs until Ctrl-C or SIGTERM.
pub fn run(options: RunOptions) -> Result<(), Error> {
    let log_level = &options.log_level;
    // The runner filters the output of functions only if their own log level does not.
    let functions = if function_log_level(log_level) == log_level { "function::output=info," } else { "" };
    // The engine logs a lost race for a channel's next `seq` as an error. It is part of normal operation.
    let filter = EnvFilter::try_new(format!("dynoxide=error,{functions}{log_level}"))
        .map_err(|error| format!("--log-level {log_level}: {error}; use error, warn, info, debug or trace"))?;
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    raise_file_limit();
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(stack(options))
}

async fn stack(options: RunOptions) -> Result<(), Error> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let stopped = async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    };
    tokio::pin!(stopped);
    let running = tokio::select! {
        running = Running::start(&options) => running?,
        // Dropping the handles stops the parts that are already started.
        () = &mut stopped => return Ok(()),
    };
    if let Some(file) = &options.ready_file {
        write_whole(file, &running.addresses.to_json())?;
    }
    running.addresses.print_addresses(&running.secret)?;
    stopped.await;
    eprintln!("Stopping");
    running.stop().await;
    if let Some(file) = &options.ready_file {
        // The stack of the ready file is stopped. The user may have removed the file already.
        let _ = std::fs::remove_file(file);
    }
    Ok(())
}

/// Addresses of the stack.
#[derive(Debug, Clone)]
struct Addresses {
    rest: String,
    websocket: String,
    management: String,
    dynamodb: String,
    lambda: String,
    sqs: String,
    otlp: String,
    page: String,
    /// URLs of the queues, by their logical ids.
    queues: BTreeMap<String, String>,
}

impl Addresses {
    fn to_json(&self) -> Value {
        json!({
            "rest": self.rest,
            "websocket": self.websocket,
            "management": self.management,
            "dynamodb": self.dynamodb,
            "lambda": self.lambda,
            "sqs": self.sqs,
            "queues": self.queues,
            "otlp": self.otlp,
            "page": self.page,
            "pid": std::process::id(),
        })
    }

    /// Prints all addresses, and a command that works when pasted.
    fn print_addresses(&self, secret: &Secret) -> Result<(), Error> {
        let token = token::sign(secret, "you", token::DEFAULT_TTL, jiff::Timestamp::now())?;
        let Self { rest, websocket, management, dynamodb, lambda, sqs, otlp, page, .. } = self;
        println!(
            "\nSwitchboard is up. Open the page in two tabs:\n\n  {page}\n\n\
             REST API      {rest}\nWebSocket API {websocket}\n@connections  {management}\n\
             DynamoDB      {dynamodb}\nLambda        {lambda}\nSQS           {sqs}\nOTLP          {otlp}\n\n\
             Send a message from here:\n\n  \
             curl -sS {rest}/channels/{FIRST_CHANNEL}/messages -H 'Authorization: Bearer {token}' \
             -H 'Content-Type: application/json' -d '{{\"content\":\"Hello from the terminal\"}}'\n\n\
             A token for another user: cargo local -- token --user alice\nCtrl-C stops."
        );
        std::io::stdout().flush()?;
        Ok(())
    }
}

/// A running stack.
struct Running {
    addresses: Addresses,
    secret: Secret,
    _entry: Option<Entry>,
    sockets: websocket::Gateway,
    lambda: Lambda,
    mappings: TaskTracker,
    servers: TaskTracker,
    stop_intake: CancellationToken,
    stop_mappings: CancellationToken,
    stop_services: CancellationToken,
    _engine: Engine,
}

impl Running {
    #[expect(clippy::too_many_lines, reason = "a sequence of steps that depend on the earlier ones")]
    async fn start(options: &RunOptions) -> Result<Self, Error> {
        let rest_listener = bind(options.rest_port, "--rest-port").await?;
        let websocket_listener = bind(options.websocket_port, "--websocket-port").await?;
        let dynamodb_listener = bind(options.dynamodb_port, "--dynamodb-port").await?;
        let lambda_listener = bind(0, "the Lambda API").await?;
        let sqs_listener = bind(0, "the SQS API").await?;
        let gate_listener = bind(0, "the functions' DynamoDB").await?;
        let otlp_listener = bind(options.otlp_port, "--otlp-port").await?;
        let page_listener = match options.page_port {
            Some(port) => bind(port, "--page-port").await?,
            None => match bind(PAGE_PORT, "--page-port").await {
                Ok(listener) => listener,
                Err(_) => bind(0, "--page-port").await?,
            },
        };
        let websocket_address = websocket_listener.local_addr()?;
        let mut addresses = Addresses {
            rest: format!("http://{}", rest_listener.local_addr()?),
            websocket: format!("ws://{websocket_address}"),
            management: format!("http://{websocket_address}"),
            dynamodb: format!("http://{}", dynamodb_listener.local_addr()?),
            lambda: format!("http://{}", lambda_listener.local_addr()?),
            sqs: format!("http://{}", sqs_listener.local_addr()?),
            otlp: format!("http://{}", otlp_listener.local_addr()?),
            page: format!("http://{}", page_listener.local_addr()?),
            queues: BTreeMap::new(),
        };

        let template = template_path(options)?;
        let described = template::load(&template)?;
        let storage = if options.in_memory { Storage::InMemory } else { Storage::Directory(options.data_dir.clone()) };
        let engine_options =
            dynamodb::Options { region: REGION.into(), account_id: ACCOUNT_ID.into(), ..Default::default() };
        let engine = Engine::open(storage, engine_options)?;
        let directory = engine.directory();
        let secret = match Secret::of_parameters(&options.parameters.iter().cloned().collect()) {
            Some(given) => given,
            None if options.in_memory => runs::secret_in_memory()?,
            None => Secret::of_directory(&directory)?,
        };
        let stack = described.resolve(&deployment(&addresses, &secret, options))?;
        let url = |queue: &Queue| format!("{}/{ACCOUNT_ID}/{}", addresses.sqs, queue.name);
        addresses.queues = stack.queues.iter().map(|queue| (queue.logical_id.clone(), url(queue))).collect();
        engine.ensure_tables(&stack.tables)?;

        let names: BTreeSet<String> = stack.functions.iter().map(|function| function.binary.clone()).collect();
        let binaries = match &options.bin_dir {
            Some(folder) => binaries::locate(folder, &names)?,
            None => binaries::build(&workspace(&template), &names).await?,
        };

        let limits = door_limits();
        eprintln!("Starting {} functions and {} tables", stack.functions.len(), stack.tables.len());
        let queues = Arc::new(Queues::open(directory.join("queues"))?);
        let lambda = Lambda::new(LambdaConfig {
            environment: function_environment(
                &addresses,
                &format!("http://{}", gate_listener.local_addr()?),
                function_log_level(&options.log_level),
            ),
            pending_dir: Some(directory.join("pending")),
            runtime_limits: DoorLimits { head: limits.head, ..doors::RUNTIME_LIMITS },
            ..LambdaConfig::new(stack.functions.clone(), binaries, REGION, queues.clone())
        })?;
        let invoke: Arc<dyn Invoke> = Arc::new(lambda.clone());

        let (servers, mappings) = (TaskTracker::new(), TaskTracker::new());
        let [stop_intake, stop_mappings, stop_services] = std::array::from_fn(|_| CancellationToken::new());
        let dynamodb = engine.clone();
        let stop = stop_services.clone();
        servers.spawn(async move {
            if let Err(error) = dynamodb.serve_all(dynamodb_listener, limits, stop).await {
                tracing::error!(%error, "DynamoDB ended");
            }
        });
        let access = access(&stack)?;
        let gate = access::gate(access.clone(), engine.clone(), arn("dynamodb", "table/"));
        let (dynamodb, stop) = (engine.clone(), stop_services.clone());
        servers.spawn(async move {
            if let Err(error) = dynamodb.serve_front(gate_listener, gate, limits, stop).await {
                tracing::error!(%error, "DynamoDB ended for the functions");
            }
        });
        let functions = arn("lambda", "function:");
        let reading = event_source::Options {
            region: REGION.into(),
            account_id: ACCOUNT_ID.into(),
            read_interval: options.stream_interval,
            ..Default::default()
        };
        let ready = prepare_mappings(&stack, &engine, &invoke, &queues, &reading)?;
        let described = event_source::router(ready.iter().map(Mapping::description).collect());
        let lambda_api = lambda::router(lambda.clone()).merge(described);
        let lambda_api = access::signed(access::guarded(lambda_api, access.clone(), "AccessDeniedException", {
            move |parts| access::invocation(&functions, parts)
        }));
        let serve =
            |listener: TcpListener, door: Door, limits: DoorLimits, router: Router, stop: &CancellationToken| {
                servers.spawn(doors::serve(listener, door, limits, router, stop.clone()));
            };
        serve(lambda_listener, Door::programs(), limits, lambda_api, &stop_services);
        let names = stack.queues.iter().map(|queue| queue.name.clone()).collect();
        let sqs_api = access::signed(lambda::sqs_router(queues, names));
        serve(sqs_listener, Door::programs(), limits, sqs_api, &stop_services);

        let rest_api = rest::Gateway::new(stack.rest_api.clone(), REGION, ACCOUNT_ID, invoke.clone());
        let apis = Door::pages_of(pages(&addresses.page, &options.allowed_origins)?);
        serve(rest_listener, apis.clone(), limits, rest_api.router(), &stop_intake);
        let sockets = websocket::Gateway::new(stack.websocket_api.clone(), REGION, invoke.clone(), websocket_options());
        let websocket_api = &stack.websocket_api;
        let stage = arn("execute-api", &format!("{}/{}/", websocket_api.id, websocket_api.stage));
        let management = access::guarded(sockets.router(), access, "ForbiddenException", move |parts| {
            access::connection(&stage, parts)
        });
        let socket_limits = DoorLimits { connections: doors::WEBSOCKET_CONNECTIONS, ..limits };
        serve(websocket_listener, apis, socket_limits, management, &stop_services);
        let forwarder = match &options.otlp_endpoint {
            Some(url) => Some(Forwarder::start(url, &options.otlp_headers, &servers, stop_services.clone())?),
            None => None,
        };
        let collector = Collector::new(Limits::default(), forwarder);
        serve(otlp_listener, Door::programs(), limits, collector.router(), &stop_services);
        let page_config = PageConfig {
            rest_url: addresses.rest.clone(),
            websocket_url: addresses.websocket.clone(),
            secret: secret.clone(),
        };
        serve(page_listener, Door::own_page(), limits, page::router(page_config, collector), &stop_intake);

        for mapping in ready {
            mappings.spawn(mapping.run(stop_mappings.clone()));
        }
        for schedule in stack.schedules.clone() {
            let every = seconds("SWITCHBOARD_LOCAL_SCHEDULE_SECONDS").unwrap_or(schedule.every);
            let (invoke, stop) = (invoke.clone(), stop_mappings.clone());
            mappings.spawn(schedule::run(schedule, every, (REGION, ACCOUNT_ID), invoke, stop));
        }
        mappings.close();
        servers.close();
        let entry = announce(&addresses, &directory, &secret);
        let running = Self {
            addresses,
            secret,
            _entry: entry,
            sockets,
            lambda,
            mappings,
            servers,
            stop_intake,
            stop_mappings,
            stop_services,
            _engine: engine,
        };
        running.make_first_channel().await?;
        Ok(running)
    }

    /// Creates the first channel through the REST API. A response shows that all parts from the API to the table work.
    async fn make_first_channel(&self) -> Result<(), Error> {
        let token = token::sign(&self.secret, "switchboard", token::DEFAULT_TTL, jiff::Timestamp::now())?;
        let channel = json!({ "channel_id": FIRST_CHANNEL, "name": "Lobby", "visibility": "public" });
        let url = format!("{}/channels", self.addresses.rest);
        let response = reqwest::Client::new().post(url).bearer_auth(token).json(&channel).send().await?;
        match response.status().as_u16() {
            // 409: the channel exists from an earlier run.
            201 | 409 => Ok(()),
            status => Err(format!(
                "the stack does not work: creating the channel {FIRST_CHANNEL} answered {status}: {}; run with \
                 --log-level info to see why",
                response.text().await.unwrap_or_default()
            )
            .into()),
        }
    }

    /// Stops the parts from the outside in, so that no new requests arrive while accepted ones finish.
    async fn stop(self) {
        self.stop_intake.cancel();
        self.sockets.shutdown(STOP_GRACE).await;
        self.stop_mappings.cancel();
        self.mappings.wait().await;
        self.lambda.shutdown(STOP_GRACE).await;
        self.stop_services.cancel();
        // A client that keeps its connection open must not delay the end of the run.
        let _ = tokio::time::timeout(STOP_GRACE, self.servers.wait()).await;
    }
}

fn arn(service: &str, resource: &str) -> String {
    format!("arn:aws:{service}:{REGION}:{ACCOUNT_ID}:{resource}")
}

/// Returns the permissions of the functions. If this variable names a folder, allowed calls are written to a file in
/// it.
fn access(stack: &Stack) -> Result<Access, Error> {
    let access = Access::new(stack.grants.clone());
    match std::env::var_os("SWITCHBOARD_LOCAL_CALLS") {
        Some(folder) => Ok(access.with_call_log(&Path::new(&folder).join(std::process::id().to_string()))?),
        None => Ok(access),
    }
}

fn prepare_mappings(
    stack: &Stack,
    engine: &Engine,
    invoke: &Arc<dyn Invoke>,
    queues: &Arc<Queues>,
    options: &event_source::Options,
) -> Result<Vec<Mapping>, Error> {
    let checkpoints = Checkpoints::open(&engine.directory())?;
    let destination: Destination = {
        let queues = queues.clone();
        Arc::new(move |arn: &str, body: Value| queues.send(arn, body))
    };
    let mut mappings = Vec::new();
    for config in &stack.event_source_mappings {
        let reader = engine.stream(&config.table)?;
        let (invoke, destination, options) = (invoke.clone(), destination.clone(), options.clone());
        mappings.push(Mapping::new(config.clone(), reader, invoke, destination, checkpoints.clone(), options)?);
    }
    Ok(mappings)
}

/// Returns the duration in seconds that an environment variable sets.
fn seconds(name: &str) -> Option<Duration> {
    Duration::try_from_secs_f64(std::env::var(name).ok()?.parse().ok()?).ok().filter(|set| !set.is_zero())
}

/// Returns the time limits of the listeners. This variable shortens them, so that tests need not wait for ten seconds.
fn door_limits() -> DoorLimits {
    match seconds("SWITCHBOARD_LOCAL_REQUEST_SECONDS") {
        Some(limit) => DoorLimits { head: limit, body_pause: limit, body: limit, ..doors::LIMITS },
        None => doors::LIMITS,
    }
}

/// Returns the origins of pages that may call the two APIs: the run's own page by both of its names, and the given
/// ones.
fn pages(page: &str, allowed: &[Origin]) -> Result<Vec<Origin>, Error> {
    let own = [page.to_owned(), page.replace("127.0.0.1", "localhost")];
    let own: Vec<Origin> = own.iter().map(|origin| origin.parse()).collect::<Result<_, _>>()?;
    Ok(own.into_iter().chain(allowed.iter().cloned()).collect())
}

/// Registers the run for the other commands of this user. If that fails, the commands need the data directory.
fn announce(addresses: &Addresses, directory: &Path, secret: &Secret) -> Option<Entry> {
    let directory = directory.canonicalize().unwrap_or_else(|_| directory.to_owned());
    let run = Run { rest: addresses.rest.clone(), directory, secret: secret.clone() };
    run.announce()
        .inspect_err(|error| {
            tracing::warn!(%error, "the run could not be registered; name its --data-dir to cargo local -- token");
        })
        .ok()
}

/// Raises the limit of open files to `OPEN_FILES`, or to the system's maximum. The functions inherit the limit.
fn raise_file_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = maximum.map_or(OPEN_FILES, |maximum| maximum.min(OPEN_FILES));
    if current.is_some_and(|current| current < wanted) {
        // If it fails, the limit of connections is lower.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum });
    }
}

/// Returns the limits of API Gateway. These variables shorten them, so that tests of reconnects need not wait for
/// hours.
fn websocket_options() -> websocket::WebSocketOptions {
    let defaults = websocket::WebSocketOptions::default();
    websocket::WebSocketOptions {
        idle_timeout: seconds("SWITCHBOARD_LOCAL_IDLE_SECONDS").unwrap_or(defaults.idle_timeout),
        maximum_duration: seconds("SWITCHBOARD_LOCAL_CONNECTION_SECONDS").unwrap_or(defaults.maximum_duration),
        ..defaults
    }
}

/// Returns the template's parameters for one machine. The rate limits are high, to allow load tests; a deployment uses
/// the defaults of the template.
fn deployment(addresses: &Addresses, secret: &Secret, options: &RunOptions) -> Deployment {
    let parameters = [
        ("Stage", STAGE),
        ("TablePrefix", ""),
        ("Disposable", "true"),
        ("JwtIssuer", token::ISSUER),
        ("JwtAudience", token::AUDIENCE),
        ("JwtHs256Secret", secret.as_str()),
        ("SendRate", "1000"),
        ("SendBurst", "1000"),
        ("ConnectRate", "1000"),
        ("ConnectBurst", "1000"),
        ("ConnectionsPerUser", "1000"),
        ("ChannelsPerUser", "1000000"),
        ("ChannelsPerMinute", "100000"),
        ("MembersPerMinute", "100000"),
        ("ActionRate", "1000"),
        ("ActionBurst", "1000"),
        ("FrameRate", "10000"),
        ("FrameBurst", "10000"),
        ("RepliesPerUser", "10000"),
        ("RepliesPerChannel", "10000"),
        ("TokensPerDay", "1000000000"),
        ("OtlpEndpoint", &addresses.otlp),
        ("LogLevel", function_log_level(&options.log_level)),
    ];
    let mut parameters: BTreeMap<String, String> =
        parameters.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    if let (Some(url), Some(model)) = (&options.model_url, &options.model) {
        let chosen = [("ModelProvider", "openai"), ("ModelUrl", url.as_str()), ("Model", model.as_str())];
        parameters.extend(chosen.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
    parameters.extend(options.parameters.iter().cloned());
    Deployment {
        stack_name: "switchboard".to_owned(),
        region: REGION.to_owned(),
        account_id: ACCOUNT_ID.to_owned(),
        parameters,
        rest_url: addresses.rest.clone(),
        websocket_url: addresses.websocket.clone(),
        management_url: addresses.management.clone(),
    }
}

/// Returns the log level of the functions: the level of the run. It cannot be derived from a filter.
fn function_log_level(log_level: &str) -> &str {
    match log_level {
        "off" => "error",
        "error" | "warn" | "info" | "debug" | "trace" => log_level,
        _ => "info",
    }
}

/// Returns the variables that point the SDK of the functions to this machine ("Service-specific endpoints" in the AWS
/// SDKs and Tools reference guide), and the other settings of a local run.
fn function_environment(addresses: &Addresses, dynamodb: &str, log_level: &str) -> BTreeMap<String, String> {
    let mut variables = vec![
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("AWS_ENDPOINT_URL_DYNAMODB", dynamodb),
        ("AWS_ENDPOINT_URL_LAMBDA", &addresses.lambda),
        // Delay of span exports in milliseconds. Local functions are never frozen, so a delay is possible: a busy
        // function sends fewer requests. 20 ms does not delay a message noticeably.
        ("OTEL_BSP_SCHEDULE_DELAY", "20"),
    ];
    if !matches!(log_level, "debug" | "trace") {
        // The log lines for CloudWatch metrics are useful at debug level only, because the collector has the metrics.
        variables.push(("METRICS_NAMESPACE", ""));
    }
    variables.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

async fn bind(port: u16, option: &str) -> Result<TcpListener, Error> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(|error| {
        format!("cannot listen on port {port}: {error}; stop what listens there, or choose another port with {option}")
            .into()
    })
}

/// Returns the given template, or that of the workspace. The workspace is found from Cargo's manifest directory, or
/// from the current directory upwards.
fn template_path(options: &RunOptions) -> Result<PathBuf, Error> {
    if let Some(path) = &options.template {
        return Ok(path.clone());
    }
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let current = std::env::current_dir().ok();
    let found = [manifest, current].into_iter().flatten().find_map(|start| {
        start.ancestors().map(|folder| folder.join("infra/backend.yaml")).find(|path| path.is_file())
    });
    found.ok_or_else(|| "there is no infra/backend.yaml here or above; name the template with --template".into())
}

/// Returns the workspace of a template, whose folder `infra/` is in the workspace.
fn workspace(template: &Path) -> PathBuf {
    let absolute = template.canonicalize().unwrap_or_else(|_| template.to_owned());
    absolute.ancestors().nth(2).map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

/// Writes a file atomically, so that a waiting reader never reads a partial file.
fn write_whole(file: &Path, content: &Value) -> Result<(), Error> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let failed = |error: std::io::Error| format!("cannot write the ready file {}: {error}", file.display());
    let mut temporary = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    writeln!(temporary, "{content}").map_err(failed)?;
    temporary.persist(file).map_err(|error| failed(error.error))?;
    Ok(())
}
