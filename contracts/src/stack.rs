//! A local run of the stack, for one verification.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

use crate::tokens;

/// Timeout for the start of the stack, without building it.
const PATIENCE: Duration = Duration::from_mins(2);

/// Addresses of a stack.
#[derive(Debug, Clone, Deserialize)]
pub struct Addresses {
    /// The REST API.
    pub rest: String,
    /// The WebSocket API.
    pub websocket: String,
    /// The embedded DynamoDB.
    pub dynamodb: String,
}

/// A running stack. It ends when this value is dropped.
#[derive(Debug)]
pub struct Stack {
    /// Addresses of the stack.
    pub addresses: Addresses,
    _runner: Child,
    _files: tempfile::TempDir,
}

impl Stack {
    /// Starts the `local` binary in `bin_dir` on free ports, with empty tables. Its agent uses the model at
    /// `model_url`.
    pub async fn start(bin_dir: &Path, model_url: &str) -> Result<Self> {
        let files = tempfile::tempdir()?;
        let ready = files.path().join("ready.json");
        let mut runner = Command::new(bin_dir.join("local"))
            .args(["--in-memory", "--rest-port", "0", "--websocket-port", "0", "--dynamodb-port", "0"])
            .args(["--page-port", "0", "--model", "scripted", "--model-url", model_url])
            // As in Lambda. Without an interval, hardly two changes are in one batch.
            .args(["--stream-interval", "250ms"])
            .arg("--template")
            .arg(repository().join("infra/backend.yaml"))
            .arg("--bin-dir")
            .arg(bin_dir)
            .arg("--ready-file")
            .arg(&ready)
            .args(["--parameter", &format!("JwtIssuers={}", tokens::issuers()), "--parameter", "JwtHs256Secret="])
            // A token without the scope `chat:add` only invites.
            .args(["--parameter", "MemberAdditions=scope"])
            // Waiting is off by default. A longer wait is refused.
            .args(["--parameter", "MaxWaitSeconds=2"])
            // The maintenance function closes the sockets of expired tokens. It runs every minute, which is too long here.
            .env("SWITCHBOARD_LOCAL_SCHEDULE_SECONDS", "2")
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot run {}", bin_dir.join("local").display()))?;
        let mut lines = BufReader::new(runner.stdout.take().context("no output of the stack")?).lines();
        let up = async {
            while let Some(line) = lines.next_line().await? {
                if line.starts_with("Switchboard is up") {
                    return Ok(());
                }
            }
            bail!("the stack did not start; the reason is printed above")
        };
        tokio::time::timeout(PATIENCE, up).await.context("the stack did not start in time")??;
        // Reads the remaining output, so that the runner never waits for a full pipe.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let addresses = serde_json::from_slice(&std::fs::read(&ready)?)?;
        Ok(Self { addresses, _runner: runner, _files: files })
    }
}

/// Builds the stack of the working copy, and returns the folder of its binaries.
pub async fn build() -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(repository())
        .args(["build", "--workspace", "--bins", "--locked", "--quiet", "--message-format=json-render-diagnostics"])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .output()
        .await?;
    if !output.status.success() {
        bail!("the stack does not build; the compiler's messages are above");
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let mut executables = text.lines().filter_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let path = PathBuf::from(message.get("executable")?.as_str()?);
        (path.file_stem()? == "local").then(|| path.parent().map(Path::to_path_buf))?
    });
    executables.next().context("the build made no binary called local")
}

/// Returns the working copy that this program was compiled in.
#[must_use]
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}
