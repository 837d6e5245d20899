//! Cost of tracing for a `POST` of a message, as ratios to the run without it.
//!
//! ```sh
//! cargo build --profile lambda --workspace --bins
//! cargo run --profile lambda --package local --example telemetry_cost -- target/lambda 1000
//! ```
//!
//! One stack for each kind of collector runs at the same time, with alternating requests, so that other load on the
//! machine affects all of them equally. Latency is measured by the client. CPU is the time of the processes of
//! `SendChannelMessages`, including work after their responses. Allocations are counted by functions with a separate
//! build, whose CPU and latency are not meaningful:
//!
//! ```sh
//! cargo build --profile lambda --workspace --bins --features telemetry/count-allocations
//! ```

use std::{
    collections::BTreeMap,
    error::Error,
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{Router, http::StatusCode, routing::post};
use local::token;
use serde_json::{Value, json};
use tokio::net::TcpListener;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Requests before the measurement: environments start, and missing collectors are detected.
const WARM_UP: usize = 50;

const FUNCTION: &str = "send-channel-me";

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().ok_or("say where the binaries are: target/lambda")?);
    let requests: usize = arguments.next().as_deref().unwrap_or("1000").parse()?;

    let mut stacks = Vec::new();
    for (kind, endpoint) in collectors().await? {
        stacks.push(Stack::start(&folder, kind, &endpoint).await?);
    }
    for _ in 0..WARM_UP {
        for stack in &mut stacks {
            stack.send().await?;
        }
    }
    let before: Vec<Duration> = stacks.iter().map(Stack::cpu).collect();
    for stack in &mut stacks {
        stack.latencies.clear();
    }
    for _ in 0..requests {
        for stack in &mut stacks {
            stack.send().await?;
        }
    }

    let cpu: Vec<f64> =
        stacks.iter().zip(before).map(|(stack, before)| stack.cpu().saturating_sub(before).as_secs_f64()).collect();
    print_costs(&stacks, &cpu, requests);
    print_allocations(&stacks);
    Ok(())
}

/// Starts a collector of each kind. Returns their names and addresses.
async fn collectors() -> Result<[(&'static str, String); 5]> {
    let slow = post(async || {
        tokio::time::sleep(Duration::from_secs(10)).await;
        StatusCode::OK
    });
    Ok([
        ("off", String::new()),
        ("on", serve(Router::new().fallback(post(async || StatusCode::OK))).await?),
        ("no listener", nobody().await?),
        ("answers after 10 s", serve(Router::new().fallback(slow)).await?),
        ("answers 500", serve(Router::new().fallback(post(async || StatusCode::INTERNAL_SERVER_ERROR))).await?),
    ])
}

/// Prints latency and CPU of each stack. `cpu` has the seconds of each stack for all requests.
fn print_costs(stacks: &[Stack], cpu: &[f64], requests: usize) {
    println!("{requests} requests each\n");
    println!(
        "{:20} {:>9} {:>7} {:>9} {:>7} {:>9} {:>7}",
        "collector", "p50 ms", "ratio", "p99 ms", "ratio", "CPU ms", "ratio"
    );
    let base = (stacks[0].quantile(0.5), stacks[0].quantile(0.99), cpu[0]);
    for (stack, cpu) in stacks.iter().zip(cpu) {
        let (half, most) = (stack.quantile(0.5), stack.quantile(0.99));
        #[expect(clippy::cast_precision_loss, reason = "a handful of thousands")]
        let each = cpu * 1000.0 / requests as f64;
        println!(
            "{:20} {half:9.2} {:7.2} {most:9.2} {:7.2} {each:9.2} {:7.2}",
            stack.kind,
            half / base.0,
            most / base.1,
            cpu / base.2,
        );
    }
}

/// Prints the allocations of each stack, if they are counted.
fn print_allocations(stacks: &[Stack]) {
    if let Some(base) = stacks[0].allocations() {
        println!();
        for stack in stacks {
            if let Some(each) = stack.allocations() {
                #[expect(clippy::cast_precision_loss, reason = "a handful of thousands")]
                let ratio = each as f64 / base as f64;
                println!("{:20} {each:9} allocations {ratio:7.2}", stack.kind);
            }
        }
    }
}

/// A running stack with one channel.
struct Stack {
    kind: &'static str,
    runner: Child,
    url: String,
    token: String,
    client: reqwest::Client,
    latencies: Vec<Duration>,
    /// Numbers of allocations before each invocation, by process.
    allocations: Arc<Mutex<BTreeMap<String, Vec<u64>>>>,
    _files: tempfile::TempDir,
}

impl Stack {
    async fn start(folder: &Path, kind: &'static str, endpoint: &str) -> Result<Self> {
        let files = tempfile::tempdir()?;
        let ready = files.path().join("ready.json");
        let mut runner = Command::new(folder.join("local"))
            .args(["--in-memory", "--log-level", "info", "--rest-port", "0", "--websocket-port", "0"])
            .args(["--dynamodb-port", "0", "--page-port", "0", "--otlp-port", "0"])
            .arg("--bin-dir")
            .arg(folder)
            .arg("--ready-file")
            .arg(&ready)
            .args(["--parameter", &format!("OtlpEndpoint={endpoint}"), "--parameter", "LogLevel=error"])
            .args(["--parameter", &format!("JwtHs256Secret={}", token::DEVELOPMENT_SECRET)])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let allocations = Arc::default();
        let noted = Arc::clone(&allocations);
        let said = BufReader::new(runner.stderr.take().ok_or("no log")?).lines();
        std::thread::spawn(move || said.map_while(std::result::Result::ok).for_each(|line| note(&noted, &line)));
        let mut lines = BufReader::new(runner.stdout.take().ok_or("no output")?).lines();
        lines
            .find(|line| line.as_ref().is_ok_and(|line| line.contains("is up")))
            .ok_or("the stack did not come up")??;
        std::thread::spawn(move || lines.for_each(drop));
        let addresses: Value = serde_json::from_slice(&fs::read(&ready)?)?;
        let rest = addresses["rest"].as_str().ok_or("no address")?;
        let token = token::mint("alice", token::DEFAULT_TTL, jiff::Timestamp::now())?;
        let client = reqwest::Client::new();
        let channel =
            json!({ "channel_id": "cost", "name": "cost", "visibility": "public", "agent": { "mode": "off" } });
        let created = client.post(format!("{rest}/channels")).bearer_auth(&token).json(&channel).send().await?;
        created.error_for_status()?;
        let url = format!("{rest}/channels/cost/messages");
        Ok(Self { kind, runner, url, token, client, latencies: Vec::new(), allocations, _files: files })
    }

    async fn send(&mut self) -> Result<()> {
        let began = Instant::now();
        let request = self.client.post(&self.url).bearer_auth(&self.token).json(&json!({ "content": "hello" }));
        request.send().await?.error_for_status()?.bytes().await?;
        self.latencies.push(began.elapsed());
        Ok(())
    }

    /// Returns a quantile in milliseconds.
    fn quantile(&self, part: f64) -> f64 {
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable();
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "an index"
        )]
        let index = ((sorted.len() as f64 * part) as usize).min(sorted.len().saturating_sub(1));
        sorted.get(index).map_or(f64::NAN, |latency| latency.as_secs_f64() * 1000.0)
    }

    /// Returns the allocations per invocation, if they are counted.
    fn allocations(&self) -> Option<u64> {
        let noted = self.allocations.lock().ok()?;
        let each = noted.values().filter(|totals| totals.len() > WARM_UP);
        let (sum, count) = each.fold((0, 0), |(sum, count), totals| {
            let after = &totals[WARM_UP / 2..];
            (sum + after[after.len() - 1] - after[0], count + after.len() as u64 - 1)
        });
        sum.checked_div(count)
    }

    /// Returns the run time of the function's processes: the first number of each one's `schedstat`, in nanoseconds.
    /// The processes have one thread.
    fn cpu(&self) -> Duration {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.runner.id())).into_iter().flatten().flatten();
        let children = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
        let pids: Vec<String> =
            children.flat_map(|pids| pids.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).collect();
        let is_it =
            |pid: &&String| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == FUNCTION);
        let ran = pids.iter().filter(is_it).filter_map(|pid| {
            let text = fs::read_to_string(format!("/proc/{pid}/schedstat")).ok()?;
            text.split_whitespace().next()?.parse::<u64>().ok()
        });
        Duration::from_nanos(ran.sum())
    }
}

/// Records the number of allocations in a line of the runner's log, if there is one.
fn note(noted: &Mutex<BTreeMap<String, Vec<u64>>>, line: &str) {
    let Some((_, counts)) = line.split_once("allocations ") else { return };
    let mut counts = counts.split_whitespace();
    if let (true, Some(process), Some(Ok(count)), Ok(mut noted)) =
        (line.contains("SendChannelMessages"), counts.next(), counts.next().map(str::parse), noted.lock())
    {
        noted.entry(process.to_owned()).or_default().push(count);
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        let _ = self.runner.kill();
        let _ = self.runner.wait();
    }
}

async fn serve(router: Router) -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(address)
}

/// Returns an address that refuses connections.
async fn nobody() -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    Ok(format!("http://{}", listener.local_addr()?))
}
