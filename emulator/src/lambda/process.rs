//! The process of a function: its environment variables, its output, its end.

use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    io,
    net::SocketAddr,
    path::Path,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use jiff::Timestamp;
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader},
    process::{Child, Command},
    task::JoinHandle,
    time::timeout,
};
use tracing::info;
use uuid::Uuid;

use super::{VERSION, limits::MAX_LOG_LINE_BYTES};
use crate::stack::Function;

/// Variables that the process inherits: those that it needs to run, and the endpoint of a substitute for Bedrock.
/// `HOME` is excluded, because the SDK would find the developer's AWS profile there.
const INHERITED: [&str; 7] = [
    "PATH",
    "TMPDIR",
    "LD_LIBRARY_PATH",
    "DYLD_LIBRARY_PATH",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "AWS_ENDPOINT_URL_BEDROCK_RUNTIME",
];

/// Maximum wait for output after the end of a process. A grandchild can hold the pipe open.
const TRAILING_OUTPUT: Duration = Duration::from_secs(1);

/// Running process of a function.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    output: Vec<JoinHandle<()>>,
}

impl Process {
    /// Starts `command` in the process group `group`.
    pub(super) fn start(mut command: Command, group: i32, function: &str) -> io::Result<Self> {
        let mut child = command
            .process_group(group)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let mut output = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            output.push(tokio::spawn(log(stdout, function.to_owned())));
        }
        if let Some(stderr) = child.stderr.take() {
            output.push(tokio::spawn(log(stderr, function.to_owned())));
        }
        Ok(Self { child, output })
    }

    /// Waits until the process ends by itself. Cancel safe.
    pub(super) async fn ended(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Ends the process immediately, or with SIGTERM and, after `notice`, SIGKILL.
    pub(super) async fn end(mut self, notice: Option<Duration>) {
        if let Some(notice) = notice {
            // The id stays reserved until the process has been waited for, so it cannot belong to another process.
            let id = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
            if let Some(id) = id {
                let _ = kill_process(id, Signal::TERM);
                let _ = timeout(notice, self.child.wait()).await;
            }
        }
        let _ = self.child.kill().await;
        let _ = timeout(TRAILING_OUTPUT, async {
            for lines in &mut self.output {
                let _ = lines.await;
            }
        })
        .await;
    }
}

/// Returns the command that starts `binary` as `function`, with the variables of "Defined runtime environment
/// variables" in the Lambda developer guide.
pub(super) fn command(
    function: &Function,
    binary: &Path,
    region: &str,
    added: &BTreeMap<String, String>,
    runtime_api: SocketAddr,
) -> Command {
    let inherited = INHERITED.iter().filter_map(|name| Some((OsString::from(name), env::var_os(name)?)));
    let task_root = binary.parent().unwrap_or(Path::new("/"));
    let log_stream = format!("{}/[{VERSION}]{}", Timestamp::now().strftime("%Y/%m/%d"), Uuid::new_v4().simple());
    let mut command = Command::new(binary);
    command
        .env_clear()
        .envs(inherited)
        .env("LANG", "en_US.UTF-8")
        .env("TZ", ":UTC")
        .envs(&function.environment)
        .envs(added)
        .env("_HANDLER", &function.binary)
        // The access key identifies the function. It is not a secret here.
        .env("AWS_ACCESS_KEY_ID", &function.name)
        .env("AWS_SECRET_ACCESS_KEY", "local")
        .env("AWS_REGION", region)
        .env("AWS_DEFAULT_REGION", region)
        .env("AWS_LAMBDA_FUNCTION_NAME", &function.name)
        .env("AWS_LAMBDA_FUNCTION_VERSION", VERSION)
        .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", function.memory_mb.to_string())
        .env("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand")
        .env("AWS_LAMBDA_LOG_GROUP_NAME", &function.log_group)
        .env("AWS_LAMBDA_LOG_STREAM_NAME", log_stream)
        .env("AWS_LAMBDA_RUNTIME_API", runtime_api.to_string())
        .env("LAMBDA_TASK_ROOT", task_root)
        .current_dir(task_root);
    command
}

/// Describes the end of a runtime in the words of the Lambda logs.
pub(super) fn describe(status: &io::Result<ExitStatus>) -> String {
    match status {
        Ok(status) if status.success() => "Runtime exited without providing a reason".into(),
        Ok(status) => format!("Runtime exited with error: {}", reason(*status)),
        Err(error) => format!("Runtime exited with error: {error}"),
    }
}

fn reason(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(9)) => "signal: killed".into(),
        (None, Some(signal)) => format!("signal: {signal}"),
        (None, None) => status.to_string(),
    }
}

async fn log(output: impl AsyncRead + Unpin, function: String) {
    let mut output = BufReader::new(output);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut output).take(MAX_LOG_LINE_BYTES).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {
                let line = String::from_utf8_lossy(&line);
                let line = line.trim_end();
                info!(target: "function::output", name = function, "{line}");
            }
        }
    }
}
