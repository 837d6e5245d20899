//! The systems that are compared: each takes a message by `POST` and pushes it to sockets.

use std::{collections::BTreeMap, fs, path::Path, process::Command, time::Duration};

use http::{HeaderValue, Request};
use local::token;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async_with_config,
    tungstenite::{client::IntoClientRequest, protocol::WebSocketConfig},
};

use crate::{
    Result,
    program::{Program, built, free_port, own, workspace},
};

/// A client's end of a socket.
pub(crate) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Users among whom the sockets are divided, so that no limit of one user is met.
const LISTENERS: usize = 20;

/// Users among whom the senders are divided.
const SENDERS: usize = 100;

/// Buffer for reading one socket, in bytes. The library fills it with zeros before each read: with its default of 128 KB that is
/// time which whatever is measured lacks.
const READ_BUFFER: usize = 8 * 1024;

/// A system under load; ends with this value.
pub(crate) struct System {
    pub(crate) name: &'static str,
    /// Before `/channels/…`.
    rest: String,
    websocket: String,
    /// Before `/@connections/…`.
    pub(crate) management: String,
    /// Of those who send; empty where nobody asks for them.
    tokens: Vec<String>,
    client: reqwest::Client,
    programs: Vec<Program>,
    _files: TempDir,
}

impl System {
    /// The floor: one server that relays each `POST` to the sockets.
    pub(crate) async fn floor() -> Result<Self> {
        let files = tempfile::tempdir()?;
        let (program, address) = serve("floor", files.path()).await?;
        Ok(Self {
            name: "floor",
            rest: format!("http://{address}"),
            websocket: format!("ws://{address}"),
            management: String::new(),
            tokens: Vec::new(),
            client: client()?,
            programs: vec![program],
            _files: files,
        })
    }

    /// Switchboard's local run, of binaries in `folder` or built now, with parameters of the template.
    pub(crate) async fn switchboard(folder: Option<&Path>, parameters: &[&str]) -> Result<Self> {
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
            .arg(workspace()?.join("infra/backend.yaml"));
        // Senders are not limited. The rest is as `cargo local` has it: logs, metrics and traces included.
        for parameter in ["SendRate=100000", "SendBurst=100000"].iter().chain(parameters) {
            command.args(["--parameter", parameter]);
        }
        let mut program = Program::start(&mut command)?;
        let addresses: Value =
            program.until(|| fs::read(&ready).ok().and_then(|text| serde_json::from_slice(&text).ok())).await?;
        let address = |name: &str| addresses[name].as_str().unwrap_or_default().to_owned();
        Ok(Self {
            name: "switchboard",
            rest: address("rest"),
            websocket: address("websocket"),
            management: address("management"),
            tokens: (0..SENDERS).map(|number| mint(&format!("sender-{number}"))).collect::<Result<_>>()?,
            client: client()?,
            programs: vec![program],
            _files: files,
        })
    }

    /// The same chat in JavaScript on serverless-offline, its tables in the engine that Switchboard uses too.
    pub(crate) async fn serverless_offline() -> Result<Self> {
        let project = workspace()?.join("crates/bench/serverless-offline");
        if !project.join("node_modules").is_dir() {
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
            // Node's warnings about its own age.
            .env("NODE_NO_WARNINGS", "1")
            .stderr(fs::File::create(files.path().join("log"))?);
        let mut program = Program::start(&mut command)?;
        let log = files.path().join("log");
        program.until(|| fs::read_to_string(&log).ok()?.contains("Server ready").then_some(())).await?;
        Ok(Self {
            name: "serverless-offline",
            rest: format!("http://127.0.0.1:{http}"),
            websocket: format!("ws://127.0.0.1:{websocket}"),
            management: format!("http://127.0.0.1:{websocket}"),
            tokens: Vec::new(),
            client: client()?,
            programs: vec![program, dynamodb],
            _files: files,
        })
    }

    /// Stops it where it is, or has it go on: what it does when nobody asks for anything does not count against another.
    /// Switchboard's functions are processes of their own, which only wait while their runner is stopped.
    pub(crate) fn set_running(&self, is_running: bool) -> Result<()> {
        self.programs.iter().try_for_each(|program| program.set_running(is_running))
    }

    /// Makes a channel, where there has to be one.
    pub(crate) async fn open_channel(&self, channel: &str) -> Result<()> {
        let Some(token) = self.tokens.first() else { return Ok(()) };
        let channel =
            json!({ "channel_id": channel, "name": channel, "visibility": "public", "agent": { "mode": "off" } });
        let request = self.client.post(format!("{}/channels", self.rest)).bearer_auth(token).json(&channel);
        request.send().await?.error_for_status()?;
        Ok(())
    }

    /// Sends one message, by the `number`th sender.
    pub(crate) async fn post(&self, channel: &str, number: usize, content: &str) -> Result<()> {
        let mut request = self.client.post(format!("{}/channels/{channel}/messages", self.rest));
        if let Some(token) = self.tokens.get(number % SENDERS) {
            request = request.bearer_auth(token);
        }
        request.json(&json!({ "content": content })).send().await?.error_for_status()?.bytes().await?;
        Ok(())
    }

    /// Opens the socket of the `number`th listener.
    pub(crate) async fn listen(&self, channel: &str, number: usize) -> Result<Socket> {
        let mut request: Request<()> = format!("{}/?channels={channel}", self.websocket).into_client_request()?;
        if !self.tokens.is_empty() {
            let token = mint(&format!("listener-{}", number % LISTENERS))?;
            request.headers_mut().insert("authorization", HeaderValue::from_str(&format!("Bearer {token}"))?);
        }
        let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER);
        // A handshake is a large future.
        Ok(Box::pin(connect_async_with_config(request, Some(config), true)).await?.0)
    }
}

fn mint(user: &str) -> Result<String> {
    Ok(token::mint(user, token::DEFAULT_TTL, jiff::Timestamp::now())?)
}

fn client() -> Result<reqwest::Client> {
    Ok(reqwest::Client::builder().tcp_nodelay(true).timeout(Duration::from_mins(2)).build()?)
}

/// Starts this program as a server of some kind.
async fn serve(kind: &str, files: &Path) -> Result<(Program, String)> {
    let ready = files.join(format!("{kind}.ready"));
    let file = ready.to_str().ok_or("a path that is text")?;
    let mut program = Program::start(&mut own(&["serve", kind, "--ready-file", file])?)?;
    let address = program.until(|| fs::read_to_string(&ready).ok()).await?;
    Ok((program, address))
}

/// What this machine is.
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
