//! The compared systems: each accepts a message by `POST` and pushes it to sockets.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use local::token;
use serde_json::{Value, json};
use switchboard_client::{Api, Handshake, Method, Response, Socket};
use tempfile::TempDir;

use crate::{
    Result,
    program::{Program, built, free_port, own, workspace},
};

/// Switchboard's local run.
pub(crate) const SWITCHBOARD: &str = "switchboard";

/// One server that relays.
pub(crate) const FLOOR: &str = "floor";

/// The same chat in JavaScript.
pub(crate) const SERVERLESS_OFFLINE: &str = "serverless-offline";

/// A minimal chat in JavaScript.
pub(crate) const BARE: &str = "serverless-offline, bare";

/// Rate limit and burst of one user, in messages: high enough never to limit senders, but still counted.
const SEND_LIMIT: &str = "100000";

/// Duration of low load, below a twentieth of one processor, after which a system counts as idle.
const REST: Duration = Duration::from_millis(200);

/// Maximum time to wait for an idle system.
const REST_WITHIN: Duration = Duration::from_secs(10);

/// Parameter of the template that turns presence off, whose frames would be pushed too.
pub(crate) const NO_PRESENCE: &str = "PresenceSubscriptions=1";

/// Parameter of the template that turns the pace of a crowd off, so that no delivery waits for the rate of an account.
pub(crate) const NO_PACE: &str = "DeliveryRate=1000000";

/// Number of users that share the sockets, so that no user reaches a limit.
const LISTENERS: usize = 20;

/// Number of users that share the sending.
const SENDERS: usize = 100;

/// Buffer for reading one socket, in bytes. The library fills it with zeros before each read. With its default of 128
/// KB that takes processor time from the measured system.
const READ_BUFFER: usize = 8 * 1024;

/// Quotas of Switchboard's local run.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Quotas {
    /// Profile of quotas that Switchboard's local run enforces, such as aws
    #[arg(long, value_name = "PROFILE")]
    quotas: Option<String>,
    /// Quota that it enforces, such as concurrency=10; repeatable
    #[arg(long = "quota", value_name = "NAME=VALUE")]
    single_quotas: Vec<String>,
}

impl Quotas {
    /// Returns the options of the local run.
    fn arguments(&self) -> Vec<&str> {
        let profile = self.quotas.iter().flat_map(|profile| ["--quotas", profile]);
        profile.chain(self.single_quotas.iter().flat_map(|quota| ["--quota", quota])).collect()
    }
}

/// A running system. It ends when this value is dropped.
pub(crate) struct System {
    pub(crate) name: &'static str,
    /// The API with `/channels`, without kept connections: a stopped server closes idle ones when it continues.
    rest: Api,
    /// The API with `/channels/…/messages`.
    messages: Api,
    websocket: String,
    /// URL before `/@connections/…`.
    pub(crate) management: String,
    /// URL of the tables; empty if the system has none.
    pub(crate) dynamodb: String,
    /// Tokens of the senders; empty if the system checks none.
    tokens: Vec<String>,
    programs: Vec<Program>,
    _files: TempDir,
}

impl System {
    /// Starts the floor: one server that relays each `POST` to the sockets.
    pub(crate) async fn floor() -> Result<Self> {
        let files = tempfile::tempdir()?;
        let (program, address) = serve("floor", files.path()).await?;
        Ok(Self {
            name: FLOOR,
            rest: api(&format!("http://{address}"), 0)?,
            messages: api(&format!("http://{address}"), usize::MAX)?,
            websocket: format!("ws://{address}"),
            management: String::new(),
            dynamodb: String::new(),
            tokens: Vec::new(),
            programs: vec![program],
            _files: files,
        })
    }

    /// Starts Switchboard's local run from binaries in `folder`, or builds them, with parameters of the template.
    pub(crate) async fn switchboard(folder: Option<&Path>, parameters: &[&str], quotas: &Quotas) -> Result<Self> {
        Self::local(folder, parameters, &workspace()?.join("infra/backend.yaml"), &quotas.arguments()).await
    }

    /// Starts the local run of a template, with further options of it.
    pub(crate) async fn local(
        folder: Option<&Path>,
        parameters: &[&str],
        template: &Path,
        further: &[&str],
    ) -> Result<Self> {
        let binaries = built(folder, &["local"]).await?;
        let files = tempfile::tempdir()?;
        let ready = files.path().join("ready.json");
        let runner = &binaries["local"];
        let mut command = Command::new(runner);
        command
            .args(["--in-memory", "--log-level", "error", "--rest-port", "0", "--websocket-port", "0"])
            .args(["--dynamodb-port", "0", "--page-port", "0", "--ready-file"])
            .arg(&ready)
            .arg("--bin-dir")
            .arg(runner.parent().ok_or("no folder")?)
            .arg("--template")
            .arg(template)
            .args(further);
        // A secret that `mint` knows. Everything else is as in `cargo local`, with logs, metrics and traces.
        command.arg("--parameter").arg(format!("JwtHs256Secret={}", token::DEVELOPMENT_SECRET));
        for limit in ["SendRate", "SendBurst"] {
            command.arg("--parameter").arg(format!("{limit}={SEND_LIMIT}"));
        }
        for parameter in parameters {
            command.args(["--parameter", parameter]);
        }
        let mut program = Program::start(&mut command)?;
        let addresses: Value =
            program.until(|| fs::read(&ready).ok().and_then(|text| serde_json::from_slice(&text).ok())).await?;
        let address = |name: &str| addresses[name].as_str().unwrap_or_default().to_owned();
        Ok(Self {
            name: SWITCHBOARD,
            rest: api(&address("rest"), 0)?,
            messages: api(&address("rest"), usize::MAX)?,
            websocket: address("websocket"),
            management: address("management"),
            dynamodb: address("dynamodb"),
            tokens: tokens()?,
            programs: vec![program],
            _files: files,
        })
    }

    /// Starts the same chat in JavaScript on serverless-offline. Its tables are in the engine that Switchboard uses
    /// too.
    pub(crate) async fn serverless_offline() -> Result<Self> {
        Self::in_javascript(SERVERLESS_OFFLINE, "").await
    }

    /// Starts a minimal chat on serverless-offline.
    pub(crate) async fn bare() -> Result<Self> {
        Self::in_javascript(BARE, "/bare").await
    }

    /// Starts the project beside this crate, with messages at `path`.
    async fn in_javascript(name: &'static str, path: &str) -> Result<Self> {
        let project = workspace()?.join("tools/bench/serverless-offline");
        let changed = |file: &str| fs::metadata(project.join(file)).and_then(|file| file.modified()).ok();
        if changed("node_modules/.package-lock.json") < changed("package-lock.json") {
            let status = Command::new(project.join("set-up.sh")).status()?;
            if !status.success() {
                return Err(
                    "serverless-offline could not be set up; leave it out with --without-serverless-offline".into()
                );
            }
        }
        let files = tempfile::tempdir()?;
        let (dynamodb, address) = serve("dynamodb", files.path()).await?;
        let [http, websocket, lambda] = [free_port()?, free_port()?, free_port()?];
        let mut command = Command::new("node");
        command
            .current_dir(&project)
            .args(["node_modules/serverless/bin/serverless.js", "offline", "start"])
            .env("DYNAMODB_URL", format!("http://{address}"))
            .env("HTTP_PORT", http.to_string())
            .env("WEBSOCKET_PORT", websocket.to_string())
            .env("LAMBDA_PORT", lambda.to_string())
            .env("JWT_ISSUER", token::ISSUER)
            .env("JWT_AUDIENCE", token::AUDIENCE)
            .env("JWT_HS256_SECRET", token::DEVELOPMENT_SECRET)
            .env("SEND_RATE", SEND_LIMIT)
            .env("SEND_BURST", SEND_LIMIT)
            // Suppresses Node's deprecation warnings.
            .env("NODE_NO_WARNINGS", "1")
            .stderr(fs::File::create(files.path().join("log"))?);
        let mut program = Program::start(&mut command)?;
        let log = files.path().join("log");
        program.until(|| fs::read_to_string(&log).ok()?.contains("Server ready").then_some(())).await?;
        Ok(Self {
            name,
            rest: api(&format!("http://127.0.0.1:{http}"), 0)?,
            messages: api(&format!("http://127.0.0.1:{http}{path}"), usize::MAX)?,
            websocket: format!("ws://127.0.0.1:{websocket}"),
            management: format!("http://127.0.0.1:{websocket}"),
            dynamodb: String::new(),
            tokens: tokens()?,
            programs: vec![program, dynamodb],
            _files: files,
        })
    }

    /// Stops the system or lets it continue, so that its idle load does not affect the measurement of another one.
    /// Switchboard's functions are separate processes, which only wait while their runner is stopped.
    pub(crate) fn set_running(&self, is_running: bool) -> Result<()> {
        self.programs.iter().try_for_each(|program| program.set_running(is_running))
    }

    /// Waits until the system is idle, for at most [`REST_WITHIN`]. A system that is stopped during its work would
    /// finish it during its next measurement.
    pub(crate) async fn come_to_rest(&self) {
        let ran = || -> Duration { self.programs.iter().map(Program::ran).sum() };
        let began = Instant::now();
        while began.elapsed() < REST_WITHIN {
            let before = ran();
            tokio::time::sleep(REST).await;
            if ran().saturating_sub(before) < REST / 20 {
                return;
            }
        }
    }

    /// Creates a public channel, if the system requires channels.
    pub(crate) async fn open_channel(&self, channel: &str) -> Result<()> {
        self.open(channel, "public").await
    }

    /// Creates a public channel whose agent replies to each message.
    pub(crate) async fn open_answered_channel(&self, channel: &str) -> Result<()> {
        self.create(channel, "public", "always").await
    }

    /// Creates a channel of the first sender, if the system requires channels.
    pub(crate) async fn open(&self, channel: &str, visibility: &str) -> Result<()> {
        self.create(channel, visibility, "off").await
    }

    async fn create(&self, channel: &str, visibility: &str, agent: &str) -> Result<()> {
        let Some(token) = self.tokens.first() else { return Ok(()) };
        let channel =
            json!({ "channel_id": channel, "name": channel, "visibility": visibility, "agent": { "mode": agent } });
        let body = channel.to_string();
        self.rest.with_token(token).ask(Method::POST, "/channels", &[], Some(&body)).await?.accepted()?;
        Ok(())
    }

    /// Sends one message as the `number`th sender.
    pub(crate) async fn post(&self, channel: &str, number: usize, content: &str) -> Result<()> {
        let message = json!({ "content": content });
        self.ask(channel, self.token(number), &message, None).await?.accepted()?;
        Ok(())
    }

    /// Sends `message` with a token, which may be empty, and with a key of the request.
    pub(crate) async fn ask(&self, channel: &str, token: &str, message: &Value, key: Option<&str>) -> Result<Response> {
        let headers: Vec<(&str, &str)> = key.iter().map(|key| ("idempotency-key", *key)).collect();
        let (path, body) = (format!("/channels/{channel}/messages"), message.to_string());
        Ok(self.messages.with_token(token).ask(Method::POST, &path, &headers, Some(&body)).await?)
    }

    /// Returns the `number`th request to a channel and its status: by turns a message is sent and the newest are read.
    pub(crate) fn beside(&self, channel: &str, number: usize) -> impl Future<Output = Result<u16>> + Send + use<> {
        let api = self.messages.with_token(self.token(number));
        let path = format!("/channels/{channel}/messages");
        async move {
            let body = json!({ "content": "Shall we meet at the station at half past six?" }).to_string();
            let (method, body) =
                if number.is_multiple_of(2) { (Method::GET, None) } else { (Method::POST, Some(body)) };
            Ok(api.ask(method, &path, &[], body.as_deref()).await?.status.as_u16())
        }
    }

    /// Returns the request that the `number`th sender is typing in a channel, and its status.
    pub(crate) fn typing(&self, channel: &str, number: usize) -> impl Future<Output = Result<u16>> + Send + use<> {
        let api = self.messages.with_token(self.token(number));
        let path = format!("/channels/{channel}/typing");
        async move { Ok(api.ask(Method::POST, &path, &[], None).await?.status.as_u16()) }
    }

    /// Returns the id of the first process of the system.
    pub(crate) fn process(&self) -> u32 {
        self.programs.first().map_or(0, Program::id)
    }

    /// Returns the token of the `number`th sender; empty if the system checks none.
    pub(crate) fn token(&self, number: usize) -> &str {
        self.tokens.get(number % SENDERS).map_or("", String::as_str)
    }

    /// Opens the socket of the `number`th listener.
    pub(crate) async fn listen(&self, channel: &str, number: usize) -> Result<Socket> {
        if self.tokens.is_empty() {
            return Ok(self.handshake(channel).open().await?);
        }
        self.listen_as(channel, &format!("listener-{}", number % LISTENERS)).await
    }

    /// Returns the opening of a socket of a user.
    pub(crate) fn listen_as(&self, channel: &str, user: &str) -> impl Future<Output = Result<Socket>> + Send + use<> {
        let (handshake, token) = (self.handshake(channel), mint(user));
        async move { Ok(handshake.bearer(&token?).open().await?) }
    }

    fn handshake(&self, channel: &str) -> Handshake {
        Handshake::for_channels(&self.websocket, &[channel]).read_buffer(READ_BUFFER)
    }
}

fn mint(user: &str) -> Result<String> {
    Ok(token::mint(user, token::DEFAULT_TTL, jiff::Timestamp::now())?)
}

/// Returns one token for each sender.
fn tokens() -> Result<Vec<String>> {
    (0..SENDERS).map(|number| mint(&sender(number))).collect()
}

/// Returns the name of the `number`th sender.
pub(crate) fn sender(number: usize) -> String {
    format!("sender-{}", number % SENDERS)
}

/// Returns the API at `url` with up to `connections` idle connections.
fn api(url: &str, connections: usize) -> Result<Api> {
    let client = reqwest::Client::builder().tcp_nodelay(true).timeout(Duration::from_mins(2));
    Ok(Api::with(client.pool_max_idle_per_host(connections).build()?, url, ""))
}

/// Starts this program as a server of the given kind.
pub(crate) async fn serve(kind: &str, files: &Path) -> Result<(Program, String)> {
    let ready = files.join(format!("{kind}.ready"));
    let file = ready.to_str().ok_or("a path that is text")?;
    let mut program = Program::start(&mut own(&["serve", kind, "--ready-file", file])?)?;
    let address = program.until(|| fs::read_to_string(&ready).ok()).await?;
    Ok((program, address))
}

/// Describes this machine.
pub(crate) fn machine() -> BTreeMap<&'static str, String> {
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let after = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
    let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
    BTreeMap::from([
        ("cores", cores.to_string()),
        ("processor", after(&read("/proc/cpuinfo"), "model name").unwrap_or_default()),
        ("memory", after(&read("/proc/meminfo"), "MemTotal").unwrap_or_default()),
        ("kernel", read("/proc/sys/kernel/osrelease").trim().to_owned()),
        ("profile", profile.to_owned()),
        ("at", jiff::Timestamp::now().strftime("%Y-%m-%d").to_string()),
    ])
}
