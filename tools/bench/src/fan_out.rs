//! Measures one message to many sockets through delivery and `SendMessageFunction`. The baseline is a bare HTTP client
//! that posts the same requests to `@connections`.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use clap::Args;
use futures::{StreamExt, TryStreamExt};
use serde::Serialize;
use switchboard_client::{Frame, Socket};
use tokio::{sync::Notify, task::JoinSet, time::timeout};

use crate::{
    Result,
    program::raise_file_limit,
    report::Report,
    stats::{Sample, Summary, real},
    system::{NO_PACE, NO_PRESENCE, Quotas, System},
    table::{Table, short},
};

/// Concurrent posts of the bare client: as many as one invocation of a function has.
const POSTS_AT_ONCE: usize = chat::model::limits::PUSH_CONCURRENCY;

/// Concurrent handshakes.
const HANDSHAKES: usize = 32;

/// Maximum time until all frames of one message have arrived.
const PATIENCE: Duration = Duration::from_mins(2);

/// Not a valid signature, but distinct from a request without one.
const SIGNED: &str =
    "AWS4-HMAC-SHA256 Credential=bench/20260101/us-east-1/execute-api/aws4_request, SignedHeaders=host, Signature=0";

/// Options of `fan-out`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Runs few sockets and few messages
    #[arg(long)]
    quick: bool,
    /// Numbers of listening sockets
    #[arg(long, value_delimiter = ',', default_values_t = [100, 1000, 10_000])]
    sockets: Vec<usize>,
    /// Messages to each audience, by each method
    #[arg(long, default_value_t = 15)]
    messages: usize,
    /// Parameter of the template, such as FanoutThreshold=50; repeatable
    #[arg(long = "parameter")]
    parameters: Vec<String>,
    /// Folder of built binaries, to use instead of building them
    #[arg(long)]
    bin_dir: Option<PathBuf>,
    #[command(flatten)]
    quotas: Quotas,
}

/// One method with one audience.
#[derive(Debug, Serialize)]
struct Cell {
    sockets: usize,
    way: &'static str,
    /// Time from the request to the last frame, in milliseconds.
    whole_ms: Summary,
    /// Time from the first frame to the last, in milliseconds.
    spread_ms: Summary,
    /// Sockets per second, from the request to the last frame: of the median.
    whole_rate: f64,
    /// Sockets per second, from the first frame to the last: of the median.
    rate: f64,
    /// Both rates, as fractions of the bare client's.
    whole_of_bare: f64,
    of_bare: f64,
}

pub(crate) async fn run(mut options: Options) -> Result<Report> {
    if options.quick {
        (options.sockets, options.messages) = (vec![100, 500], options.messages.min(5));
    }
    let files = raise_file_limit();
    let most = options.sockets.iter().copied().max().unwrap_or_default();
    if files < u64::try_from(most)?.saturating_add(500) {
        return Err(
            format!("{most} sockets do not fit in {files} open files: raise the hard limit (ulimit -Hn)").into()
        );
    }
    let mut parameters: Vec<&str> = vec![NO_PRESENCE, NO_PACE];
    parameters.extend(options.parameters.iter().map(String::as_str));
    let mut cells = Vec::new();
    for &sockets in &options.sockets {
        // A new system for each size, so that the previous sockets do not interfere.
        let system = System::switchboard(options.bin_dir.as_deref(), &parameters, &options.quotas).await?;
        cells.extend(measure(&system, sockets, options.messages).await?);
    }
    Report::new("fan-out", table(&cells), &cells)
}

/// Times at which the sockets received each message, in nanoseconds from the epoch.
struct Heard {
    epoch: Instant,
    first: Vec<AtomicU64>,
    last: Vec<AtomicU64>,
    count: Vec<AtomicUsize>,
    came: Notify,
}

async fn measure(system: &System, sockets: usize, messages: usize) -> Result<[Cell; 2]> {
    eprintln!("{sockets} sockets");
    let channel = format!("crowd-{sockets}");
    system.open_channel(&channel).await?;
    let open: Vec<(String, Socket)> = futures::stream::iter(0..sockets)
        .map(async |number| known(system.listen(&channel, number).await?).await)
        .buffer_unordered(HANDSHAKES)
        .try_collect()
        .await?;
    let total = 2 * messages + 2;
    let zeroes = |value| (0..total).map(|_| AtomicU64::new(value)).collect();
    let heard = Arc::new(Heard {
        epoch: Instant::now(),
        first: zeroes(u64::MAX),
        last: zeroes(0),
        count: (0..total).map(|_| AtomicUsize::new(0)).collect(),
        came: Notify::new(),
    });
    let frame: Arc<std::sync::OnceLock<String>> = Arc::default();
    let mut listeners = JoinSet::new();
    let (ids, open): (Vec<String>, Vec<Socket>) = open.into_iter().unzip();
    for socket in open {
        listeners.spawn(hear(socket, Arc::clone(&heard), Arc::clone(&frame)));
    }
    let client = reqwest::Client::builder().tcp_nodelay(true).build()?;
    let (mut product, mut bare) = (Vec::new(), Vec::new());
    for round in 0..=messages {
        let number = 2 * round;
        let began = heard.epoch.elapsed();
        system.post(&channel, 0, &content(number)).await?;
        let through = heard.all(number, sockets, began).await?;
        let Some(frame) = frame.get() else { return Err("no frame was received".into()) };
        let text = frame.replace(&content(0), &content(number + 1));
        let began = heard.epoch.elapsed();
        futures::stream::iter(&ids)
            .map(|id| post(&client, &system.management, id, &text))
            .buffer_unordered(POSTS_AT_ONCE)
            .try_for_each(async |()| Ok(()))
            .await?;
        let posted = heard.all(number + 1, sockets, began).await?;
        // The first message opens connections and starts functions.
        if round > 0 {
            product.push(through);
            bare.push(posted);
        }
    }
    listeners.shutdown().await;
    let (mut ours, theirs) = (cell(sockets, "switchboard", &product), cell(sockets, "bare client", &bare));
    ours.of_bare = ours.rate / theirs.rate;
    ours.whole_of_bare = ours.whole_rate / theirs.whole_rate;
    Ok([ours, theirs])
}

/// Returns a socket and its connection id.
async fn known(mut socket: Socket) -> Result<(String, Socket)> {
    socket.say(r#"{"action":"ping"}"#).await?;
    loop {
        if let Frame::Pong { connection_id } = Frame::parse(&socket.hear().await?)? {
            return Ok((connection_id, socket));
        }
    }
}

async fn post(client: &reqwest::Client, management: &str, id: &str, frame: &str) -> Result<()> {
    let request = client.post(format!("{management}/@connections/{id}")).header("authorization", SIGNED);
    request.body(frame.to_owned()).send().await?.error_for_status()?.bytes().await?;
    Ok(())
}

fn content(number: usize) -> String {
    format!("frame-{number}-{}", "x".repeat(90))
}

async fn hear(mut socket: Socket, heard: Arc<Heard>, frame: Arc<std::sync::OnceLock<String>>) {
    while let Ok(text) = socket.hear().await {
        let now = u64::try_from(heard.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let number: Option<usize> = text.split("\"frame-").nth(1).and_then(|rest| rest.split_once('-')?.0.parse().ok());
        let Some(number) = number else { continue };
        let _ = frame.get_or_init(|| text.clone());
        let (Some(first), Some(last), Some(count)) =
            (heard.first.get(number), heard.last.get(number), heard.count.get(number))
        else {
            continue;
        };
        first.fetch_min(now, Ordering::AcqRel);
        last.fetch_max(now, Ordering::AcqRel);
        count.fetch_add(1, Ordering::AcqRel);
        heard.came.notify_one();
    }
}

/// Times of one message: from the request to the last frame, and from the first frame to the last.
type Spread = (Duration, Duration);

impl Heard {
    async fn all(&self, number: usize, sockets: usize, began: Duration) -> Result<Spread> {
        let complete = async {
            while self.count[number].load(Ordering::Acquire) < sockets {
                let _ = timeout(Duration::from_millis(50), self.came.notified()).await;
            }
        };
        timeout(PATIENCE, complete).await.map_err(|_| "a message did not reach every socket in time")?;
        let (first, last) = (self.first[number].load(Ordering::Acquire), self.last[number].load(Ordering::Acquire));
        Ok((Duration::from_nanos(last).saturating_sub(began), Duration::from_nanos(last.saturating_sub(first))))
    }
}

fn cell(sockets: usize, way: &'static str, spreads: &[Spread]) -> Cell {
    let whole_ms = Sample::milliseconds(spreads.iter().map(|(whole, _)| *whole)).summary();
    let spread_ms = Sample::milliseconds(spreads.iter().map(|(_, spread)| *spread)).summary();
    let (whole_rate, rate) = (real(sockets) * 1e3 / whole_ms.p50, real(sockets) * 1e3 / spread_ms.p50);
    Cell { sockets, way, whole_ms, spread_ms, whole_rate, rate, whole_of_bare: 1.0, of_bare: 1.0 }
}

fn table(cells: &[Cell]) -> String {
    let mut table = Table::new(&[
        "way",
        "sockets",
        "first to last frame p50 ms",
        "p99 ms",
        "sockets/s",
        "% of bare",
        "request to last frame p50 ms",
        "p99 ms",
        "sockets/s",
        "% of bare",
    ]);
    for cell in cells {
        table.row([
            cell.way.to_owned(),
            cell.sockets.to_string(),
            short(cell.spread_ms.p50),
            short(cell.spread_ms.p99),
            short(cell.rate),
            short(cell.of_bare * 100.0),
            short(cell.whole_ms.p50),
            short(cell.whole_ms.p99),
            short(cell.whole_rate),
            short(cell.whole_of_bare * 100.0),
        ]);
    }
    table.text()
}
