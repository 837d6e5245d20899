//! Measures the cost of each function behind the Runtime API, against a function that does nothing.

mod aws;
pub(crate) mod events;
mod harness;
mod runtime_api;

use std::{path::PathBuf, time::Duration};

use bytes::Bytes;
use clap::Args;
use serde::Serialize;
use serde_json::{Value, json};

use self::aws::Waited;
use crate::{
    Result,
    report::Report,
    stats::{Sample, Summary, microseconds, real},
    table::{Table, short},
};

pub(crate) use self::{
    events::{SocketEvents, newest, socket},
    harness::{Harness, worked},
    runtime_api::Function,
};

const EMPTY: &str = "empty-function";
const SDK: &str = "sdk-function";
const CHANNEL: &str = "bench";

/// Number of sockets that receive a message and a push batch.
const SOCKETS: usize = 10;

/// Options of `overhead`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Runs few events and few starts
    #[arg(long)]
    quick: bool,
    /// Events for each function
    #[arg(long, default_value_t = 2000)]
    events: usize,
    /// Unmeasured events before the measurement
    #[arg(long, default_value_t = 200)]
    warm_up: usize,
    /// Starts of each function
    #[arg(long, default_value_t = 40)]
    starts: usize,
    /// Binary of a function to measure beside the two baselines. Repeatable. Default: all
    #[arg(long, value_name = "FUNCTION")]
    only: Vec<String>,
    /// Folder of built binaries, to use instead of building them
    #[arg(long)]
    bin_dir: Option<PathBuf>,
}

impl Options {
    /// Returns whether the function with this binary is measured.
    fn covers(&self, binary: &str) -> bool {
        self.only.is_empty() || matches!(binary, EMPTY | SDK) || self.only.iter().any(|name| name == binary)
    }
}

/// One kind of event for one function.
struct Case {
    binary: &'static str,
    /// Description of the event.
    what: String,
    /// The event, by its number.
    event: Box<dyn Fn(usize) -> Bytes>,
    /// Event of another function that runs before each event, unmeasured.
    before: Option<(&'static str, Bytes)>,
}

/// One function with one kind of event.
#[derive(Debug, Serialize)]
struct Warm {
    function: &'static str,
    what: String,
    /// Time from sending the event to receiving the response, in microseconds.
    answered_us: Summary,
    /// Part of it during which a call was in progress, in microseconds.
    waited_us: Summary,
    /// The remaining time, in microseconds.
    rest_us: Summary,
    /// Number of calls of AWS per event.
    calls: f64,
    /// Number of round trips per event: calls side by side are one.
    round_trips: f64,
    /// Processor time per event, in microseconds.
    cpu_us: f64,
    /// The median rest as a multiple of the empty function's.
    times_empty: f64,
    /// The median rest without the cost of the calls, in microseconds. That cost is measured with a function that makes
    /// one call by the SDK.
    own_us: f64,
    /// The same as a multiple of the empty function's rest.
    times_empty_without_sdk: f64,
    /// Allocations per event, if they are counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    allocations: Option<f64>,
    /// Peak memory of the process, in MB.
    peak_mb: f64,
}

/// Start of a function.
#[derive(Debug, Serialize)]
struct Start {
    function: String,
    /// Time from exec to the first request for an event, in milliseconds.
    took_ms: Summary,
    /// The median as a multiple of the empty function's.
    times_empty: f64,
    /// The median as a multiple of that of a function with the SDK and nothing else.
    times_sdk: f64,
    /// The median without the empty function's, in milliseconds.
    own_ms: f64,
    /// Peak memory of the process when it requests its first event, in MB.
    peak_mb: f64,
    /// Size of the binary, in MB.
    size_mb: f64,
}

/// All results.
#[derive(Debug, Serialize)]
struct Lists {
    warm: Vec<Warm>,
    starts: Vec<Start>,
}

pub(crate) async fn run(mut options: Options) -> Result<Report> {
    if options.quick {
        (options.events, options.warm_up, options.starts) = (options.events.min(100), 20, options.starts.min(5));
    }
    let harness = Harness::start(options.bin_dir.as_deref(), &[]).await?;
    let mut warm = Vec::new();
    for case in cases(&harness).await?.into_iter().filter(|case| options.covers(case.binary)) {
        eprintln!("{}: {}", case.binary, case.what);
        warm.push(measure(&harness, case, &options).await?);
    }
    compare(&mut warm);
    let starts = starts(&harness, &options).await?;
    let table = format!("{}\n{}", warm_table(&warm), start_table(&starts));
    Report::with("overhead", table, &Lists { warm, starts })
}

/// Returns one event for each function, for a stack with data.
async fn cases(harness: &Harness) -> Result<Vec<Case>> {
    let stack = &harness.stack;
    let mut channels = harness.function("channels").await?;
    harness.open_channel(&mut channels, CHANNEL).await?;
    let life = socket(stack, CHANNEL).await?;
    let mut on_connect = harness.function("on-connect").await?;
    for number in 0..SOCKETS {
        connect(&mut on_connect, &life, &format!("listener{number}=")).await?;
    }
    let mut send = harness.function("send-channel-messages").await?;
    let path = format!("/channels/{CHANNEL}/messages");
    let message = json!({ "content": "Shall we meet at the station at half past six?" });
    for _ in 0..50 {
        harness.ask(&mut send, "POST", &path, Some(&message)).await?;
    }
    let inserted = newest(&harness.aws.engine, "chat_events").await?;
    let now = jiff::Timestamp::now();
    let recipient = |number: usize| {
        json!({
            "connection_id": format!("listener{number}="), "user_id": "bench", "connected_at": format!("{now:.3}"),
            "expires_at": format!("{:.3}", now + jiff::SignedDuration::from_hours(1)),
        })
    };
    let recipients: Vec<Value> = (0..SOCKETS).map(recipient).collect();
    let frame = json!({ "type": "events", "channel_id": CHANNEL, "events": [] }).to_string();
    // The channel key, as in the stream.
    let record: Value = serde_json::from_slice(&inserted)?;
    let channel = &record["Records"][0]["dynamodb"]["NewImage"]["channel_id"]["S"];
    let broadcast = json!({ "channel": channel, "frames": [frame], "recipients": recipients });
    let rest = async |method, path: &str, body: Option<&Value>| events::rest(stack, method, path, body).await;
    let of_socket = life.of("passer-by=");
    let (connect, disconnect) = (text(&of_socket.connect), text(&of_socket.disconnect));
    let same = |event: Bytes| -> Box<dyn Fn(usize) -> Bytes> { Box::new(move |_| event.clone()) };
    let case = |binary, what: &str, event| Case { binary, what: what.to_owned(), event: same(event), before: None };
    // Each socket has a rate limit of pings, so each ping comes from another socket.
    let ping = move |number| text(&life.of(&format!("pinger{number}=")).message);
    Ok(vec![
        case(EMPTY, "nothing", rest("POST", &path, Some(&message)).await?),
        case(SDK, "one GetItem", rest("POST", &path, Some(&message)).await?),
        case("send-channel-messages", "POST a message", rest("POST", &path, Some(&message)).await?),
        case("get-channel-messages", "GET 50 messages", rest("GET", &path, None).await?),
        case("channels", "GET a channel", rest("GET", &format!("/channels/{CHANNEL}"), None).await?),
        case("health", "GET /health", rest("GET", "/health", None).await?),
        case("on-connect", "$connect", connect.clone()),
        Case {
            binary: "on-disconnect",
            what: "$disconnect".to_owned(),
            event: same(disconnect),
            before: Some(("on-connect", connect)),
        },
        Case { binary: "answer-frame", what: "a ping".to_owned(), event: Box::new(ping), before: None },
        case("send-message", &format!("a frame to {SOCKETS} sockets"), text(&broadcast)),
        case("chat-delivery-worker", &format!("a message to {SOCKETS} sockets"), inserted.clone()),
        case("chat-agent-worker", "a message that needs no reply", inserted),
        case("maintenance", "nothing to maintain", events::schedule()),
    ])
}

/// Connects a socket.
pub(crate) async fn connect(on_connect: &mut Function, life: &SocketEvents, id: &str) -> Result<()> {
    let answer = on_connect.invoke(text(&life.of(id).connect)).await?.answer;
    worked(&answer).map_err(|status| format!("$connect returned {status}").into())
}

fn text(event: &Value) -> Bytes {
    event.to_string().into()
}

async fn measure(harness: &Harness, case: Case, options: &Options) -> Result<Warm> {
    let Case { binary, what, event, before } = case;
    let mut function = harness.function(binary).await?;
    let mut before = match before {
        Some((binary, event)) => Some((harness.function(binary).await?, event)),
        None => None,
    };
    let mut took: Vec<(Duration, Waited, Duration)> = Vec::with_capacity(options.events);
    let mut allocations_before = 0;
    for number in 0..options.warm_up + options.events {
        if let Some((function, event)) = &mut before {
            function.invoke(event.clone()).await?;
        }
        let (invocation, waited) = harness.invoke(&mut function, event(number)).await?;
        worked(&invocation.answer).map_err(|status| format!("{binary}: {what} returned {status}"))?;
        if number < options.warm_up {
            allocations_before = function.allocations();
        } else {
            took.push((invocation.answered, waited, invocation.cpu));
        }
    }
    // Before each invocation, the function prints the allocations so far.
    let allocations = function.allocations().checked_sub(allocations_before).filter(|&count| count > 0);
    let count = real(took.len());
    let calls: usize = took.iter().map(|(_, waited, _)| waited.calls).sum();
    let round_trips: usize = took.iter().map(|(_, waited, _)| waited.round_trips).sum();
    let cpu: Duration = took.iter().map(|(_, _, cpu)| *cpu).sum();
    Ok(Warm {
        function: binary,
        what,
        answered_us: Sample::microseconds(took.iter().map(|(answered, ..)| *answered)).summary(),
        waited_us: Sample::microseconds(took.iter().map(|(_, waited, _)| waited.time)).summary(),
        rest_us: Sample::microseconds(took.iter().map(|(answered, waited, _)| answered.saturating_sub(waited.time)))
            .summary(),
        calls: real(calls) / count,
        round_trips: real(round_trips) / count,
        cpu_us: microseconds(cpu) / count,
        times_empty: f64::NAN,
        own_us: f64::NAN,
        times_empty_without_sdk: f64::NAN,
        allocations: allocations.and_then(|all| Some(real(usize::try_from(all).ok()?) / count)),
        peak_mb: function.peak_memory(),
    })
}

/// Compares each result with the empty function, and with the one that makes one call.
fn compare(warm: &mut [Warm]) {
    let of = |name: &str| warm.iter().find(|one| one.function == name).map_or(f64::NAN, |one| one.rest_us.p50);
    let (empty, call) = (of(EMPTY), of(SDK) - of(EMPTY));
    for one in warm {
        one.times_empty = one.rest_us.p50 / empty;
        one.own_us = one.rest_us.p50 - one.calls * call;
        one.times_empty_without_sdk = one.own_us / empty;
    }
}

/// Starts all functions in turns, so that other load of the machine affects all of them equally.
async fn starts(harness: &Harness, options: &Options) -> Result<Vec<Start>> {
    let mut names: Vec<&str> = vec![EMPTY, SDK];
    names.extend(harness.stack.functions.iter().map(|function| function.binary.as_str()));
    names.retain(|name| options.covers(name));
    let mut took: Vec<(Vec<Duration>, f64)> = names.iter().map(|_| (Vec::new(), 0.0)).collect();
    for round in 0..=options.starts {
        for (name, (took, peak_mb)) in names.iter().zip(&mut took) {
            let function = harness.function(name).await?;
            *peak_mb = function.peak_memory().max(*peak_mb);
            // The first start reads the binary from the disk.
            if round > 0 {
                took.push(function.start_up);
            }
        }
    }
    let mut starts = Vec::new();
    for (name, (took, peak_mb)) in names.into_iter().zip(took) {
        let size = std::fs::metadata(&harness.binaries[name])?.len();
        let size_mb = real(usize::try_from(size / 1024)?) / 1024.0;
        let took_ms = Sample::milliseconds(took).summary();
        let unknown = f64::NAN;
        let function = name.to_owned();
        starts.push(Start {
            function,
            took_ms,
            times_empty: unknown,
            times_sdk: unknown,
            own_ms: unknown,
            peak_mb,
            size_mb,
        });
    }
    let of = |name: &str| starts.iter().find(|one| one.function == name).map_or(f64::NAN, |one| one.took_ms.p50);
    let (empty, sdk) = (of(EMPTY), of(SDK));
    for start in &mut starts {
        start.times_empty = start.took_ms.p50 / empty;
        start.times_sdk = start.took_ms.p50 / sdk;
        start.own_ms = start.took_ms.p50 - empty;
    }
    Ok(starts)
}

fn warm_table(warm: &[Warm]) -> String {
    let mut table = Table::new(&[
        "function",
        "event",
        "p50 µs",
        "p99 µs",
        "calls",
        "round trips",
        "waited p50 µs",
        "rest p50 µs",
        "× empty",
        "own µs",
        "own × empty",
        "CPU µs",
        "allocations",
        "peak MB",
    ]);
    for one in warm {
        table.row([
            one.function.to_owned(),
            one.what.clone(),
            short(one.answered_us.p50),
            short(one.answered_us.p99),
            short(one.calls),
            short(one.round_trips),
            short(one.waited_us.p50),
            short(one.rest_us.p50),
            short(one.times_empty),
            short(one.own_us),
            short(one.times_empty_without_sdk),
            short(one.cpu_us),
            one.allocations.map_or_else(|| "-".to_owned(), short),
            short(one.peak_mb),
        ]);
    }
    table.text()
}

fn start_table(starts: &[Start]) -> String {
    let header = ["function", "start p50 ms", "p99 ms", "own ms", "× empty", "× with SDK only", "peak MB", "binary MB"];
    let mut table = Table::new(&header);
    for start in starts {
        table.row([
            start.function.clone(),
            short(start.took_ms.p50),
            short(start.took_ms.p99),
            short(start.own_ms),
            short(start.times_empty),
            short(start.times_sdk),
            short(start.peak_mb),
            short(start.size_mb),
        ]);
    }
    table.text()
}
