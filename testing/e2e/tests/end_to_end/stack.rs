//! A running stack and its clients.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Stdio},
};

use aws_sdk_dynamodb::{operation::query::builders::QueryFluentBuilder, types::AttributeValue};
use local::token;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use switchboard_client::{Api, Handshake, Method, Refused, StatusCode};

use crate::{
    programs::{functions, runner},
    raw,
};

pub(crate) use crate::{
    patience::{LOST, PATIENCE, rounds, until},
    raw::answered,
    socket::Socket,
};

/// The SDKs' header `authorization`. The local run checks its format, but not the signature.
pub(crate) const SIGNATURE: &str = "AWS4-HMAC-SHA256 Credential=local/20261128/us-east-1/lambda/aws4_request, \
                                    SignedHeaders=host, Signature=0";

/// Key that a collector requires from its clients.
pub(crate) const COLLECTOR_KEY: &str = "the-key-of-the-collector";

/// A runner with its own ports.
pub(crate) struct Stack {
    pub(crate) runner: Child,
    pub(crate) addresses: Value,
    pub(crate) http: reqwest::Client,
    files: tempfile::TempDir,
}

impl Stack {
    /// Starts a stack in memory.
    pub(crate) fn in_memory() -> Self {
        Self::start(&["--in-memory"])
    }

    /// Starts a stack on a data directory.
    pub(crate) fn on(directory: &Path) -> Self {
        Self::start(&["--data-dir", directory.to_str().unwrap()])
    }

    /// Starts a stack on a data directory, with existing binaries.
    pub(crate) fn on_with(directory: &Path, binaries: &Path) -> Self {
        Self::start(&["--data-dir", directory.to_str().unwrap(), "--bin-dir", binaries.to_str().unwrap()])
    }

    /// Returns the path of the ready file.
    pub(crate) fn ready_file(&self) -> std::path::PathBuf {
        self.files.path().join("ready.json")
    }

    /// Starts a stack in memory with parameters of the template.
    pub(crate) fn with(parameters: &[(&str, String)]) -> Self {
        Self::with_environment(parameters, &[])
    }

    /// Starts a stack in memory with Bedrock at `url`.
    pub(crate) fn with_bedrock(url: &str, parameters: &[(&str, String)]) -> Self {
        Self::with_environment(parameters, &[("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", url)])
    }

    /// Starts a stack in memory with this interval between reads of its streams.
    pub(crate) fn pacing(interval: &str, parameters: &[(&str, String)]) -> Self {
        Self::with_options(&["--in-memory", "--stream-interval", interval], parameters, &[])
    }

    /// Starts a stack in memory whose streams are read out of phase, by a seed.
    pub(crate) fn out_of_phase(seed: u64) -> Self {
        Self::start(&["--in-memory", "--out-of-phase", &seed.to_string()])
    }

    /// Starts a stack in memory with options for its quotas.
    pub(crate) fn narrow(quotas: &[&str]) -> Self {
        Self::start(&[&["--in-memory"], quotas].concat())
    }

    fn with_environment(parameters: &[(&str, String)], environment: &[(&str, &str)]) -> Self {
        Self::with_options(&["--in-memory"], parameters, environment)
    }

    fn with_options(options: &[&str], parameters: &[(&str, String)], environment: &[(&str, &str)]) -> Self {
        let parameters: Vec<String> = parameters.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut options = options.to_vec();
        for parameter in &parameters {
            options.extend(["--parameter", parameter]);
        }
        Self::spawn(&options, environment, Stdio::inherit())
    }

    /// Starts a stack in memory with existing binaries.
    pub(crate) fn from_binaries(folder: &Path) -> Self {
        Self::start(&["--in-memory", "--bin-dir", folder.to_str().unwrap()])
    }

    /// Starts a stack with all logs in a file, and with a collector.
    pub(crate) fn talkative(directory: &Path, log: &Path, collector: &str) -> Self {
        let directory = directory.to_str().unwrap();
        let (endpoint, key) = (format!("OtlpEndpoint={collector}"), format!("OtlpHeaders=x-key={COLLECTOR_KEY}"));
        let options = [
            ["--data-dir", directory],
            ["--log-level", "trace"],
            ["--parameter", "LogLevel=trace"],
            ["--parameter", "TokenInUrl=true"],
            ["--parameter", &endpoint],
            ["--parameter", &key],
        ]
        .concat();
        Self::spawn(&options, &[], std::fs::File::create(log).unwrap().into())
    }

    /// Starts a stack in memory with parameters of the template, and with the functions' logs in a file.
    pub(crate) fn logging(parameters: &[(&str, &str)], log: &Path) -> Self {
        let parameters: Vec<String> = parameters.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut options = vec!["--in-memory", "--log-level", "debug"];
        for parameter in &parameters {
            options.extend(["--parameter", parameter]);
        }
        Self::spawn(&options, &[], std::fs::File::create(log).unwrap().into())
    }

    /// Starts a stack with its own random secret. [`Stack::mint`] returns its tokens.
    pub(crate) fn secretive(options: &[&str], environment: &[(&str, &str)]) -> Self {
        Self::run(options, environment, Stdio::inherit())
    }

    fn start(options: &[&str]) -> Self {
        Self::spawn(options, &[], Stdio::inherit())
    }

    /// Starts a stack that accepts the tokens of [`token_of`].
    fn spawn(options: &[&str], environment: &[(&str, &str)], log: Stdio) -> Self {
        let secret = format!("JwtHs256Secret={}", token::DEVELOPMENT_SECRET);
        // Placed before the others, because the last parameter of a name counts.
        Self::run(&[&["--parameter", &secret], options].concat(), environment, log)
    }

    fn run(options: &[&str], environment: &[(&str, &str)], log: Stdio) -> Self {
        let files = tempfile::tempdir().unwrap();
        let ready = files.path().join("ready.json");
        let mut command = runner();
        if !options.contains(&"--bin-dir") {
            command.arg("--bin-dir").arg(functions());
        }
        let mut runner = command
            .args(["--rest-port", "0", "--websocket-port", "0", "--dynamodb-port", "0", "--page-port", "0"])
            .arg("--ready-file")
            .arg(&ready)
            .args(options)
            // The maintenance function runs every minute, which is too long for tests.
            .env("SWITCHBOARD_LOCAL_SCHEDULE_SECONDS", "0.2")
            // Allowed and used actions of the functions, which infra/check.py compares with their roles.
            .env("SWITCHBOARD_LOCAL_CALLS", calls())
            .envs(environment.iter().copied())
            .stderr(log)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(runner.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().starts_with("Switchboard is up")), "the stack did not come up");
        // Reads the output, so that the runner never waits for a full pipe.
        std::thread::spawn(move || lines.for_each(drop));
        let addresses = serde_json::from_slice(&std::fs::read(&ready).unwrap()).unwrap();
        Self { runner, addresses, http: raw::http(), files }
    }

    /// Returns a token of the command line for this stack.
    pub(crate) fn mint(&self, user: &str) -> String {
        let output = runner().args(["token", "--user", user, "--ready-file"]).arg(self.ready_file()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    pub(crate) fn address(&self, of: &str) -> &str {
        self.addresses[of].as_str().unwrap()
    }

    /// Returns the API for a user.
    fn api(&self, user: &str) -> Api {
        Api::with(self.http.clone(), self.address("rest"), &token_of(user))
    }

    /// Returns the status of a response, and its JSON.
    pub(crate) async fn ask(&self, user: &str, method: Method, path: &str, body: Value) -> (u16, Value) {
        let body = (!body.is_null()).then(|| body.to_string());
        let response = self.api(user).ask(method, path, &[], body.as_deref()).await.unwrap();
        (response.status.as_u16(), response.json())
    }

    /// Opens a socket with a token.
    pub(crate) async fn connect(&self, token: &str, query: &str) -> Result<Socket, StatusCode> {
        let url = format!("{}/{query}", self.address("websocket"));
        let authorization = format!("Bearer {token}");
        self.handshake(&url, &[("authorization", &authorization)]).await.map(|(socket, _)| socket)
    }

    /// Creates a channel with this visibility and this mode of the agent.
    pub(crate) async fn create_channel(&self, owner: &str, channel: &str, visibility: &str, agent: &str) {
        let body =
            json!({ "channel_id": channel, "name": channel, "visibility": visibility, "agent": { "mode": agent } });
        assert_eq!(self.ask(owner, Method::POST, "/channels", body).await.0, 201);
    }

    /// Sends a message, and returns it as it is in the history: without the channel's number of changes.
    pub(crate) async fn send(&self, user: &str, channel: &str, content: &str) -> Value {
        let path = format!("/channels/{channel}/messages");
        let (status, mut message) = self.ask(user, Method::POST, &path, json!({ "content": content })).await;
        assert_eq!(status, 201);
        message.as_object_mut().unwrap().remove("rev");
        message
    }

    /// Returns the complete history, oldest first, read page by page.
    pub(crate) async fn history(&self, user: &str, channel: &str) -> Vec<Value> {
        let (mut all, mut after) = (Vec::new(), json!(0));
        loop {
            let path = format!("/channels/{channel}/messages?after={after}&limit=100");
            let (_, page) = self.ask(user, Method::GET, &path, Value::Null).await;
            all.extend(page["messages"].as_array().unwrap().iter().cloned());
            if page["has_more"] == false {
                return all;
            }
            after = page["next"]["after"].clone();
        }
    }

    /// Returns the key of the current channel with an id, as in the tables.
    pub(crate) async fn channel_key(&self, channel: &str) -> String {
        let s = |text: &str| AttributeValue::S(text.to_owned());
        let get = self.dynamodb().await.get_item().table_name("chat_channels");
        let meta = get.key("channel_id", s(channel)).key("sk", s("meta")).consistent_read(true).send().await.unwrap();
        format!("{channel}@{}", meta.item.unwrap()["incarnation"].as_s().unwrap())
    }

    /// Opens a socket of a user who can read the channel. It has the events of what is sent and changed from now on.
    pub(crate) async fn socket(&self, user: &str, channel: &str) -> Socket {
        let (_, newest) =
            self.ask(user, Method::GET, &format!("/channels/{channel}/messages?limit=1"), Value::Null).await;
        let position =
            [&newest["messages"][0]["seq"], &newest["rev"]].map(|number| number.as_u64().unwrap_or_default());
        let url = format!("{}/?channels={channel}", self.address("websocket"));
        let socket = self.handshake(&url, &[("authorization", &format!("Bearer {}", token_of(user)))]).await.unwrap().0;
        socket.after(position[0], position[1])
    }

    pub(crate) async fn handshake(
        &self,
        url: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<(Socket, Option<String>), StatusCode> {
        let handshake = Handshake::new(url).within(PATIENCE);
        match headers.iter().fold(handshake, |handshake, (name, value)| handshake.header(name, value)).open().await {
            Ok(socket) => {
                let subprotocol = socket.subprotocol().map(str::to_owned);
                Ok((Socket::new(socket), subprotocol))
            }
            Err(Refused::Status { status, .. }) => Err(StatusCode::from_u16(status).unwrap()),
            Err(error) => panic!("{error}"),
        }
    }

    pub(crate) async fn dynamodb(&self) -> aws_sdk_dynamodb::Client {
        aws_sdk_dynamodb::Client::from_conf(
            aws_sdk_dynamodb::config::Builder::from(&aws().await).endpoint_url(self.address("dynamodb")).build(),
        )
    }

    pub(crate) async fn management(&self) -> aws_sdk_apigatewaymanagement::Client {
        aws_sdk_apigatewaymanagement::Client::from_conf(
            aws_sdk_apigatewaymanagement::config::Builder::from(&aws().await)
                .endpoint_url(self.address("management"))
                .build(),
        )
    }

    /// Invokes a function by its name in the template without `Function`. Returns the response of the function, or its
    /// error.
    pub(crate) async fn invoke(&self, function: &str, event: &Value) -> (StatusCode, Value) {
        let name = format!("switchboard-{function}Function");
        let url = format!("{}/2015-03-31/functions/{name}/invocations", self.address("lambda"));
        let request = self.http.post(url).header("authorization", SIGNATURE).json(event);
        let response = request.send().await.unwrap();
        (response.status(), response.json().await.unwrap())
    }

    /// Invokes the maintenance function, as its schedule does every minute.
    pub(crate) async fn maintain(&self) -> StatusCode {
        self.invoke("Maintenance", &json!({})).await.0
    }

    /// Counts the pending ends.
    pub(crate) async fn pending_ends(&self) -> usize {
        let pages = pending_ends(&self.dynamodb().await).into_paginator().items().send();
        pages.collect::<Result<Vec<_>, _>>().await.unwrap().len()
    }

    /// Counts the environments of the functions whose names begin with `name`.
    pub(crate) fn environments(&self, name: &str) -> usize {
        self.functions().iter().filter(|(_, known)| known.starts_with(name)).count()
    }

    /// Returns the running functions by process id, with the beginning of their names.
    pub(crate) fn functions(&self) -> Vec<(Pid, String)> {
        // Each thread of a process has its own children.
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.runner.id())).unwrap();
        tasks
            .flatten()
            .filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok())
            .flat_map(|children| children.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
            .filter_map(|pid| {
                let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
                Some((Pid::from_raw(pid.parse().ok()?)?, name.trim().to_owned()))
            })
            .filter(|(_, name)| name != "local")
            .collect()
    }

    /// Kills the runner with SIGKILL.
    pub(crate) fn kill(mut self) {
        self.runner.kill().unwrap();
        self.runner.wait().unwrap();
    }

    /// Stops the runner with SIGTERM.
    pub(crate) fn stop(mut self) {
        let pid = Pid::from_child(&self.runner);
        kill_process(pid, Signal::TERM).unwrap();
        assert!(self.runner.wait().unwrap().success());
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // The runner may have been stopped already.
        let _ = self.runner.kill();
        let _ = self.runner.wait();
    }
}

/// Returns a query of the pending ends.
pub(crate) fn pending_ends(client: &aws_sdk_dynamodb::Client) -> QueryFluentBuilder {
    let query = client.query().table_name("chat_channels").key_condition_expression("channel_id = :pending");
    query.expression_attribute_values(":pending", AttributeValue::S("pending#".to_owned()))
}

/// Returns the folder in which the runners of all tests record the calls of functions.
fn calls() -> std::path::PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("calls");
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

pub(crate) fn token_of(user: &str) -> String {
    token::mint(user, token::DEFAULT_TTL, jiff::Timestamp::now()).unwrap()
}

/// Returns the claims of a token that the local run accepts. Tests change them.
pub(crate) fn claims_of(user: &str, seconds: i64) -> Value {
    let now = jiff::Timestamp::now().as_second();
    json!({ "sub": user, "iss": token::ISSUER, "aud": token::AUDIENCE, "iat": now - 1, "nbf": now - 1, "exp": now + seconds })
}

/// Signs claims with a shared secret.
pub(crate) fn signed(claims: &Value, secret: &str) -> String {
    let key = jsonwebtoken::EncodingKey::from_secret(secret.as_bytes());
    jsonwebtoken::encode(&jsonwebtoken::Header::default(), claims, &key).unwrap()
}

async fn aws() -> aws_config::SdkConfig {
    let credentials = aws_sdk_dynamodb::config::Credentials::new("local", "local", None, None, "test");
    aws_config::defaults(aws_config::BehaviorVersion::latest())
        .region("us-east-1")
        .credentials_provider(credentials)
        .load()
        .await
}

/// Returns the `seq` of messages.
pub(crate) fn seqs(messages: &[Value]) -> Vec<u64> {
    messages.iter().map(|message| message["seq"].as_u64().unwrap()).collect()
}
