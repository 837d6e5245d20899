//! Measures from `POST` to the frame on the socket: Switchboard's local run, the floor, and the same chat on
//! serverless-offline.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use serde::Serialize;

use crate::{
    Result,
    load::{Audience, Run},
    promises,
    report::Report,
    stats::{Sample, Summary, rate, real},
    system::{BARE, FLOOR, Quotas, SERVERLESS_OFFLINE, SWITCHBOARD, System},
    table::{Table, short},
};

/// Duration of unmeasured load at the start of each system's turn.
const WARM_UP: Duration = Duration::from_secs(1);

/// Maximum senders, and maximum sockets, for serverless-offline. With a hundred times as many it has not finished the
/// first messages after minutes.
const ALTERNATIVE_MOST: usize = 10;

/// Options of `end-to-end`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Runs only the smallest load: one sender and ten sockets
    #[arg(long)]
    quick: bool,
    /// Numbers of senders; each user sends one message after another
    #[arg(long, value_delimiter = ',', default_values_t = [1, 10, 100])]
    senders: Vec<usize>,
    /// Numbers of listening sockets
    #[arg(long, value_delimiter = ',', default_values_t = [1, 10, 1000])]
    sockets: Vec<usize>,
    /// Numbers of senders of the hot channel, which has one socket and only Switchboard
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 64])]
    hot: Vec<usize>,
    /// Duration of sending in each round, in seconds
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Number of rounds; the systems take turns
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Skips serverless-offline, which needs Node and npm
    #[arg(long)]
    without_serverless_offline: bool,
    /// Skips all systems except Switchboard
    #[arg(long)]
    alone: bool,
    /// Folder of built binaries, to use instead of building them
    #[arg(long)]
    bin_dir: Option<PathBuf>,
    #[command(flatten)]
    quotas: Quotas,
}

/// One system under one load.
#[derive(Debug, Serialize)]
struct Cell {
    system: &'static str,
    senders: usize,
    sockets: usize,
    /// Messages per second that reached every socket: the median of the rounds.
    rate: f64,
    rates: Vec<f64>,
    /// Time from the start of a request to the frame on a socket, in milliseconds: the median of the rounds'
    /// quantiles.
    push_ms: Summary,
    /// Time from the start of a request to its response, in milliseconds: the median of the rounds' quantiles.
    post_ms: Summary,
    /// Number of messages that did not reach every socket within a minute.
    missing: usize,
    /// Number of failed requests.
    failures: usize,
    /// Messages per second, as a multiple of serverless-offline's.
    #[serde(skip_serializing_if = "Option::is_none")]
    times_serverless_offline: Option<f64>,
    /// Messages per second, as a fraction of the floor's.
    #[serde(skip_serializing_if = "Option::is_none")]
    of_floor: Option<f64>,
}

/// One channel with several senders.
#[derive(Debug, Serialize)]
struct Hot {
    #[serde(flatten)]
    cell: Cell,
    /// Messages per second, as a multiple of the first number of senders.
    times_first: f64,
    /// `POST` p99, as a multiple of its p50.
    p99_of_p50: f64,
}

#[derive(Debug, Serialize)]
struct Lists {
    rows: Vec<Cell>,
    hot_channel: Vec<Hot>,
}

pub(crate) async fn run(mut options: Options) -> Result<Report> {
    if options.quick {
        (options.senders, options.sockets) = (vec![1], vec![10]);
        options.hot = vec![1, 16];
        (options.seconds, options.rounds) = (options.seconds.min(3.0), 1);
    }
    let duration = Duration::try_from_secs_f64(options.seconds)?;
    let mut systems = vec![System::switchboard(options.bin_dir.as_deref(), &[], &options.quotas).await?];
    if !options.alone {
        systems.push(System::floor().await?);
    }
    if !options.alone && !options.without_serverless_offline {
        systems.push(System::serverless_offline().await?);
        systems.push(System::bare().await?);
    }
    for system in systems.iter().filter(|system| [SWITCHBOARD, SERVERLESS_OFFLINE].contains(&system.name)) {
        promises::kept(system).await?;
        system.come_to_rest().await;
    }
    let mut cells = Vec::new();
    for &sockets in &options.sockets {
        for &senders in &options.senders {
            cells.extend(compare(&systems, "bench", (senders, sockets), options.rounds, duration).await?);
        }
    }
    let hot_channel = hot(&systems, &options.hot, options.rounds, duration).await?;
    let text = format!("{}\n{}", table(&cells), hot_table(&hot_channel));
    Report::with("end-to-end", text, &Lists { rows: cells, hot_channel })
}

/// Measures Switchboard alone, with several senders of one channel.
async fn hot(all: &[System], crowds: &[usize], rounds: usize, duration: Duration) -> Result<Vec<Hot>> {
    let (ours, others) = all.split_at(1);
    for other in others {
        other.set_running(false)?;
    }
    let mut hot: Vec<Hot> = Vec::new();
    for &senders in crowds {
        for cell in compare(ours, "hot", (senders, 1), rounds, duration).await? {
            let first = hot.first().map_or(cell.rate, |first| first.cell.rate);
            let (times_first, p99_of_p50) = (cell.rate / first, cell.post_ms.p99 / cell.post_ms.p50);
            hot.push(Hot { cell, times_first, p99_of_p50 });
        }
    }
    Ok(hot)
}

fn hot_table(hot: &[Hot]) -> String {
    let mut table =
        Table::new(&["hot channel", "messages/s", "× first", "POST p50 ms", "POST p99 ms", "p99 / p50", "refused"]);
    for Hot { cell, times_first, p99_of_p50 } in hot {
        table.row([
            format!("{} senders", cell.senders),
            short(cell.rate),
            short(*times_first),
            short(cell.post_ms.p50),
            short(cell.post_ms.p99),
            short(*p99_of_p50),
            cell.failures.to_string(),
        ]);
    }
    table.text()
}

/// Measures all systems under one load, in turns: while one is measured, the others are stopped. `name` begins the names
/// of the channels.
async fn compare(
    all: &[System],
    name: &str,
    (senders, sockets): (usize, usize),
    rounds: usize,
    duration: Duration,
) -> Result<Vec<Cell>> {
    let is_in_reach = senders.max(sockets) <= ALTERNATIVE_MOST;
    let systems: Vec<&System> =
        all.iter().filter(|system| is_in_reach || ![SERVERLESS_OFFLINE, BARE].contains(&system.name)).collect();
    let mut runs: Vec<Vec<Run>> = systems.iter().map(|_| Vec::new()).collect();
    for round in 0..rounds {
        for (system, runs) in systems.iter().zip(&mut runs) {
            eprintln!("{}: {senders} senders, {sockets} sockets, round {}", system.name, round + 1);
            for one in all {
                one.set_running(one.name == system.name)?;
            }
            let channel = format!("{name}-{senders}-{sockets}-{round}");
            let warming = Audience::gather(system, &format!("{channel}-warm-up"), sockets).await?;
            warming.run(senders, WARM_UP.min(duration)).await?;
            runs.push(Audience::gather(system, &channel, sockets).await?.run(senders, duration).await?);
            system.come_to_rest().await;
        }
    }
    let mut cells: Vec<Cell> =
        systems.iter().zip(runs).map(|(system, runs)| cell(system.name, senders, sockets, &runs)).collect();
    let rate_of = |name: &str| cells.iter().find(|cell| cell.system == name).map(|cell| cell.rate);
    let (floor, alternative) = (rate_of(FLOOR), rate_of(SERVERLESS_OFFLINE));
    for cell in &mut cells {
        cell.of_floor = floor.map(|floor| cell.rate / floor);
        cell.times_serverless_offline = alternative.map(|alternative| cell.rate / alternative);
    }
    Ok(cells)
}

fn cell(system: &'static str, senders: usize, sockets: usize, runs: &[Run]) -> Cell {
    let rates: Vec<f64> = runs.iter().map(|run| rate(run.messages, run.elapsed)).collect();
    let missing = runs.iter().map(|run| run.missing).sum();
    let failures = runs.iter().map(|run| run.failures).sum();
    let took = |which: fn(&Run) -> &[Duration]| {
        let rounds = runs.iter().map(|run| Sample::milliseconds(which(run).iter().copied()).summary());
        Summary::median_of(&rounds.collect::<Vec<_>>())
    };
    Cell {
        system,
        senders,
        sockets,
        rate: Sample::of(rates.iter().copied()).summary().p50,
        rates,
        push_ms: took(|run| &run.pushes),
        post_ms: took(|run| &run.posts),
        missing,
        failures,
        times_serverless_offline: None,
        of_floor: None,
    }
}

fn table(cells: &[Cell]) -> String {
    let mut table = Table::new(&[
        "system",
        "senders",
        "sockets",
        "messages/s",
        "× serverless-offline",
        "% of floor",
        "push p50 ms",
        "push p99 ms",
        "POST p50 ms",
        "POST p99 ms",
        "missing",
        "refused",
    ]);
    for cell in cells {
        table.row([
            cell.system.to_owned(),
            cell.senders.to_string(),
            cell.sockets.to_string(),
            short(cell.rate),
            cell.times_serverless_offline.map_or_else(String::new, short),
            cell.of_floor.map_or_else(String::new, |part| short(part * 100.0)),
            short(cell.push_ms.p50),
            short(cell.push_ms.p99),
            short(cell.post_ms.p50),
            short(cell.post_ms.p99),
            cell.missing.to_string(),
            cell.failures.to_string(),
        ]);
    }
    let compared = cells.iter().filter(|cell| cell.system == SWITCHBOARD).filter_map(|ours| {
        let same = |cell: &&Cell| (cell.senders, cell.sockets) == (ours.senders, ours.sockets);
        let theirs = cells.iter().filter(same).find(|cell| cell.system == SERVERLESS_OFFLINE)?;
        Some(format!(
            "{} senders, {} sockets: {} times serverless-offline's messages per second; p99 {} ms to its p50 {} ms\n",
            ours.senders,
            ours.sockets,
            short(ours.times_serverless_offline?),
            short(ours.push_ms.p99),
            short(theirs.push_ms.p50),
        ))
    });
    let frames: f64 = cells.iter().map(|cell| real(cell.push_ms.count)).sum();
    let compared: String = compared.collect();
    format!("{}\n{compared}{} frames were received in all\n", table.text(), short(frames))
}
