//! Measures one message to a crowd, with requests beside it, within the quotas of an account.
//!
//! The functions, tables, streams and the REST API are those of the local run. Simulated are the sockets and
//! `@connections`: a server that accepts each post for a known connection id, counts it, and throttles as AWS does. Its
//! bucket holds the account's rate and burst, of which the requests to the REST API take their share too ("API Gateway
//! quotas"). The subscriptions are written directly into the table, in the parts that `$connect` would choose.
//!
//! | file | content |
//! | --- | --- |
//! | `crowd.rs` | one message to a crowd |
//! | `crowd/scenarios.rs` | a reply, typing and arrivals before a crowd |
//! | `crowd/gateway.rs` | the simulated account and `@connections` |
//! | `crowd/tally.rs` | counts of posts |
//! | `crowd/model.rs` | a simulated language model |

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use aws_config::{BehaviorVersion, Region};
use aws_sdk_dynamodb::{
    Client,
    config::Credentials,
    types::{AttributeValue, ReturnConsumedCapacity},
};
use chat::model::parts::Parts;
use clap::Args;
use serde::Serialize;
use tokio::{task::JoinSet, time::MissedTickBehavior};

use self::gateway::Gateway;
use crate::{
    Result,
    growth::{Item, key_of, write},
    report::Report,
    stats::{Sample, Summary},
    system::{NO_PRESENCE, System},
    table::{Table, short},
};

mod gateway;
mod model;
mod scenarios;
mod tally;

/// Channel of the crowd, and channel of the requests beside it.
const CROWD: &str = "crowd";
const BESIDE: &str = "beside";

/// Maximum time until a message has reached all sockets.
const PATIENCE: Duration = Duration::from_mins(3);

/// Interval between two readings of the functions' memory.
const LOOK: Duration = Duration::from_millis(100);

/// Number of subscriptions in a part, as the store divides them.
const PART: usize = 5_000;

/// Options of `crowd`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Runs a small crowd and few messages
    #[arg(long)]
    quick: bool,
    /// Number of subscriptions
    #[arg(long, default_value_t = 100_000)]
    subscriptions: usize,
    /// Messages to the crowd, one after another
    #[arg(long, default_value_t = 3)]
    messages: usize,
    /// Requests a second to the REST API, half of which send a message to another channel
    #[arg(long, default_value_t = 50)]
    requests: u32,
    /// Duration of the requests without a crowd, in seconds
    #[arg(long, default_value_t = 15)]
    idle_seconds: u64,
    /// Requests a second of the simulated account
    #[arg(long, default_value_t = 10_000)]
    account_rate: u32,
    /// Burst of the simulated account
    #[arg(long, default_value_t = 5_000)]
    account_burst: u32,
    /// Duration of one simulated post, in milliseconds
    #[arg(long, default_value_t = 5)]
    post_ms: u64,
    /// Quotas of the local run, such as aws; by default none beside the simulated account
    #[arg(long)]
    quotas: Option<String>,
    /// Parameter of the template, such as DeliveryRate=5000; repeatable
    #[arg(long = "parameter")]
    parameters: Vec<String>,
    /// Folder of built binaries, to use instead of building them
    #[arg(long)]
    bin_dir: Option<PathBuf>,
    /// Template to run, which fits to older binaries; by default that of the workspace
    #[arg(long, value_name = "FILE")]
    template: Option<PathBuf>,
    /// Writes all subscriptions of a channel into one part, for functions that know no parts
    #[arg(long)]
    undivided: bool,
    /// Runs only the scenarios: a reply, typing and arrivals before a crowd
    #[arg(long)]
    scenarios_alone: bool,
    /// Duration of the reply of a scenario, in seconds
    #[arg(long, default_value_t = 30)]
    reply_seconds: u64,
}

impl Options {
    /// Returns the options of the local run.
    fn quotas(&self) -> Vec<&str> {
        self.quotas.iter().flat_map(|profile| ["--quotas", profile.as_str()]).collect()
    }

    /// Starts a simulated gateway for this number of sockets, or for each connection id.
    async fn gateway(&self, sockets: Option<usize>) -> Result<Gateway> {
        let account = gateway::Account::new(self.account_rate, self.account_burst);
        Gateway::start(account, sockets, Duration::from_millis(self.post_ms)).await
    }

    /// Starts the local run, whose functions post to a simulated gateway. `folder` is for the template.
    async fn system(&self, gateway: &Gateway, folder: &Path, parameters: &[&str]) -> Result<System> {
        let template = gateway.template(self.template.as_deref(), folder)?;
        let mut parameters = parameters.to_vec();
        parameters.extend(self.parameters.iter().map(String::as_str));
        System::local(self.bin_dir.as_deref(), &parameters, &template, &self.quotas()).await
    }

    /// Returns the number of parts for this number of subscriptions.
    fn parts(&self, subscriptions: usize) -> Parts {
        if self.undivided { Parts::ONE } else { Parts::for_subscriptions(subscriptions, PART) }
    }
}

/// Requests of one phase.
#[derive(Debug, Serialize)]
struct Requests {
    phase: &'static str,
    took_ms: Summary,
    /// Requests that the account's quota refused.
    refused: usize,
    /// Requests that failed in another way.
    failed: usize,
}

#[derive(Debug, Serialize)]
struct Outcome {
    subscriptions: usize,
    parts: u32,
    /// Time from the request to the last first frame of a socket, in milliseconds.
    reached_ms: Summary,
    /// Posts that reached a socket twice.
    duplicates: usize,
    /// Posts that the account's quota refused, which are retried.
    throttled: usize,
    /// Maximum number of posts in one second.
    posts_in_a_second: usize,
    requests: Vec<Requests>,
    /// p99 of the requests beside the crowd as a multiple of the idle ones'.
    p99_of_idle: f64,
    /// Read units of one reading of all subscriptions, and of the part with the most.
    read_units: f64,
    read_units_of_a_part: f64,
    /// Maximum resident set of one environment of each function, in MB (`VmHWM`).
    memory_mb: BTreeMap<String, f64>,
}

#[derive(Debug, Serialize)]
struct Lists {
    rows: Vec<Outcome>,
    scenarios: Vec<scenarios::Outcome>,
}

pub(crate) async fn run(mut options: Options) -> Result<Report> {
    if options.quick {
        options.subscriptions = options.subscriptions.min(2_000);
        (options.messages, options.idle_seconds) = (1, 2);
        options.reply_seconds = options.reply_seconds.min(2);
    }
    let mut rows = Vec::new();
    if !options.scenarios_alone {
        rows.push(Box::pin(one_message(&options)).await?);
    }
    let scenarios = Box::pin(scenarios::run(&options)).await?;
    let tables: Vec<String> = rows.iter().map(table).chain([scenarios::table(&scenarios)]).collect();
    Report::with("crowd", tables.join("\n"), &Lists { rows, scenarios })
}

/// Measures messages to the crowd, with requests beside it.
async fn one_message(options: &Options) -> Result<Outcome> {
    let gateway = options.gateway(Some(options.subscriptions)).await?;
    let folder = tempfile::tempdir()?;
    let system = options.system(&gateway, folder.path(), &[NO_PRESENCE]).await?;
    let memory = Memory::watch(system.process());
    system.open_channel(CROWD).await?;
    system.open_channel(BESIDE).await?;
    eprintln!("{} subscriptions", options.subscriptions);
    let client = client(&system.dynamodb);
    let key = key_of(&client, CROWD).await?;
    let parts = options.parts(options.subscriptions);
    write_crowd(&client, &key, options.subscriptions, parts).await?;
    system.come_to_rest().await;
    // The first requests and the first message start functions.
    beside(&system, &gateway, options.requests, Some(Duration::from_secs(2)), &AtomicBool::new(false)).await;
    reach(&system, &gateway, 0).await?;
    system.come_to_rest().await;

    let idle_for = Duration::from_secs(options.idle_seconds);
    let idle = beside(&system, &gateway, options.requests, Some(idle_for), &AtomicBool::new(false)).await;
    gateway.forget();
    let done = AtomicBool::new(false);
    let messages = async {
        let mut reached = Vec::new();
        for number in 1..=options.messages {
            match reach(&system, &gateway, number).await {
                Ok(took) => reached.push(took),
                Err(error) => {
                    done.store(true, Ordering::Release);
                    return Err(error);
                }
            }
        }
        done.store(true, Ordering::Release);
        Ok(reached)
    };
    let (reached, crowded) =
        futures::future::join(messages, beside(&system, &gateway, options.requests, None, &done)).await;
    let reached = reached?;
    let (read_units, read_units_of_a_part) = read_units(&client, &key, parts).await?;
    let requests = vec![idle.requests("idle"), crowded.requests("beside a crowd")];
    Ok(Outcome {
        subscriptions: options.subscriptions,
        parts: parts.count(),
        reached_ms: Sample::milliseconds(reached).summary(),
        duplicates: gateway.duplicates(),
        throttled: gateway.throttled(),
        posts_in_a_second: gateway.tally().counts().posts_in_a_second(),
        p99_of_idle: requests[1].took_ms.p99 / requests[0].took_ms.p99,
        requests,
        read_units,
        read_units_of_a_part,
        memory_mb: memory.most(),
    })
}

/// Sends one message and waits until each socket has it.
async fn reach(system: &System, gateway: &Gateway, number: usize) -> Result<Duration> {
    gateway.expect(number);
    let began = Instant::now();
    system.post(CROWD, 0, &gateway::content(number)).await?;
    let reached = tokio::time::timeout(PATIENCE, gateway.reached()).await;
    reached.map_err(|_| format!("a message reached {} sockets in time", gateway.count()))?;
    Ok(began.elapsed())
}

/// Durations and failures of requests.
#[derive(Debug, Default)]
struct Asked {
    took: Vec<Duration>,
    refused: usize,
    failed: usize,
}

impl Asked {
    fn requests(self, phase: &'static str) -> Requests {
        let Self { took, refused, failed } = self;
        Requests { phase, took_ms: Sample::milliseconds(took).summary(), refused, failed }
    }
}

/// Sends requests at a fixed rate, whether or not the earlier ones have ended, for a duration or until `done`. Each
/// duration begins at the time that the rate gives.
async fn beside(system: &System, gateway: &Gateway, rate: u32, lasts: Option<Duration>, done: &AtomicBool) -> Asked {
    let mut asked = Asked::default();
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / rate.max(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let began = Instant::now();
    let mut under_way = JoinSet::new();
    let mut number = 0_usize;
    while lasts.map_or_else(|| !done.load(Ordering::Acquire), |lasts| began.elapsed() < lasts) {
        let due = ticks.tick().await.into_std();
        number += 1;
        if !gateway.takes() {
            asked.refused += 1;
            continue;
        }
        let request = system.beside(BESIDE, number);
        under_way.spawn(async move {
            let status = request.await;
            (status, due.elapsed())
        });
        while let Some(Ok(ended)) = under_way.try_join_next() {
            asked.count(ended);
        }
    }
    while let Some(ended) = under_way.join_next().await {
        if let Ok(ended) = ended {
            asked.count(ended);
        }
    }
    asked
}

impl Asked {
    fn count(&mut self, (status, took): (Result<u16>, Duration)) {
        match status {
            Ok(200..=299) => self.took.push(took),
            Ok(429) => self.refused += 1,
            _ => self.failed += 1,
        }
    }
}

fn client(url: &str) -> Client {
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static("us-east-1"))
        .credentials_provider(Credentials::new("bench", "bench", None, None, "bench"))
        .endpoint_url(url);
    Client::from_conf(config.build())
}

fn text(value: &str) -> AttributeValue {
    AttributeValue::S(value.to_owned())
}

/// Returns the partition of a part.
fn partition(key: &str, part: u32) -> String {
    if part == 0 { format!("chan#{key}") } else { format!("chan#{key}#{part}") }
}

/// Writes the subscriptions into their parts, and the number of parts.
async fn write_crowd(client: &Client, key: &str, subscriptions: usize, parts: Parts) -> Result<()> {
    let now = jiff::Timestamp::now();
    let connected_at =
        jiff::Timestamp::from_second(now.as_second() - 120)?.strftime("%Y-%m-%dT%H:%M:%S.000Z").to_string();
    let number = |value: i64| AttributeValue::N(value.to_string());
    let expires_at = number(now.as_second() + 3 * 3_600);
    let items = (0..subscriptions).map(|one| {
        let id = gateway::connection(one);
        let part = id.parse().map_or(0, |id| parts.part_of(&id));
        Item::from([
            ("pk".to_owned(), text(&partition(key, part))),
            ("sk".to_owned(), text(&format!("conn#{id}"))),
            ("user_id".to_owned(), text(&format!("listener-{one}"))),
            ("connected_at".to_owned(), text(&connected_at)),
            ("expires_at".to_owned(), expires_at.clone()),
        ])
    });
    write(client, "chat_connections", items).await?;
    if parts > Parts::ONE {
        let places = [(partition(key, 0), "a-parts".to_owned()), ("divided#".to_owned(), key.to_owned())];
        let items = places.into_iter().map(|(pk, sk)| {
            Item::from([
                ("pk".to_owned(), text(&pk)),
                ("sk".to_owned(), text(&sk)),
                ("parts".to_owned(), number(i64::from(parts.count()))),
                ("expires_at".to_owned(), number(253_402_300_799)),
            ])
        });
        write(client, "chat_connections", items).await?;
    }
    Ok(())
}

/// Reads all subscriptions as a delivery does. Returns the consumed read units, and those of the part with the most.
async fn read_units(client: &Client, key: &str, parts: Parts) -> Result<(f64, f64)> {
    let (mut all, mut most) = (0.0, 0.0_f64);
    for part in 0..parts.count() {
        let (mut of_part, mut start) = (0.0, None::<HashMap<String, AttributeValue>>);
        loop {
            let query = client
                .query()
                .table_name("chat_connections")
                .key_condition_expression("pk = :pk")
                .expression_attribute_values(":pk", text(&partition(key, part)))
                .consistent_read(true)
                .limit(1_000)
                .return_consumed_capacity(ReturnConsumedCapacity::Total)
                .set_exclusive_start_key(start.take());
            let page = query.send().await?;
            of_part += page.consumed_capacity.and_then(|consumed| consumed.capacity_units).unwrap_or(f64::NAN);
            start = page.last_evaluated_key;
            if start.is_none() {
                break;
            }
        }
        all += of_part;
        most = most.max(of_part);
    }
    Ok((all, most))
}

/// Maximum resident sets of the descendants of a process, by the name of their program (`VmHWM` in proc(5)).
struct Memory {
    most: Arc<Mutex<BTreeMap<String, f64>>>,
    watch: tokio::task::JoinHandle<()>,
}

impl Memory {
    fn watch(root: u32) -> Self {
        let most: Arc<Mutex<BTreeMap<String, f64>>> = Arc::default();
        let found = Arc::clone(&most);
        let watch = tokio::spawn(async move {
            loop {
                for (name, size) in resident_sets(root) {
                    let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
                    let most = found.entry(name).or_insert(0.0);
                    *most = size.max(*most);
                }
                tokio::time::sleep(LOOK).await;
            }
        });
        Self { most, watch }
    }

    fn most(self) -> BTreeMap<String, f64> {
        self.watch.abort();
        self.most.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Returns the program and the maximum resident set in MB of each descendant of a process.
fn resident_sets(root: u32) -> Vec<(String, f64)> {
    let mut processes: HashMap<u32, (u32, String, f64)> = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let Ok(status) = fs::read_to_string(entry.path().join("status")) else { continue };
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            line.split_whitespace().next()
        };
        let Some(parent) = field("PPid").and_then(|parent| parent.parse().ok()) else { continue };
        let size = field("VmHWM").and_then(|size| size.parse::<u32>().ok()).unwrap_or_default();
        // The name in `status` has at most 15 characters.
        let program = fs::read_link(entry.path().join("exe")).ok();
        let name = program.as_deref().and_then(|program| program.file_name()).map(|name| name.to_string_lossy());
        processes.insert(id, (parent, name.unwrap_or_default().into_owned(), f64::from(size) / 1_024.0));
    }
    let descends = |id: &u32| {
        let mut ancestors = std::iter::successors(processes.get(id), |(parent, ..)| processes.get(parent));
        ancestors.any(|(parent, ..)| *parent == root)
    };
    processes.iter().filter(|(id, _)| descends(id)).map(|(_, (_, name, size))| (name.clone(), *size)).collect()
}

fn table(outcome: &Outcome) -> String {
    let mut table = Table::new(&["crowd", "value"]);
    let mut row = |name: &str, value: String| table.row([name.to_owned(), value]);
    row("subscriptions (simulated sockets)", outcome.subscriptions.to_string());
    row("parts", outcome.parts.to_string());
    row("messages", outcome.reached_ms.count.to_string());
    row("time to all p50 ms", short(outcome.reached_ms.p50));
    row("time to all max ms", short(outcome.reached_ms.max));
    row("posts in the fullest second", outcome.posts_in_a_second.to_string());
    row("throttled posts", outcome.throttled.to_string());
    row("repeated posts", outcome.duplicates.to_string());
    row("read units of a message", short(outcome.read_units));
    row("read units of the largest part", short(outcome.read_units_of_a_part));
    row("p99 of requests, × idle", short(outcome.p99_of_idle));
    let mut text = table.text();
    let mut table = Table::new(&["requests", "count", "p50 ms", "p99 ms", "refused", "failed"]);
    for requests in &outcome.requests {
        table.row([
            requests.phase.to_owned(),
            requests.took_ms.count.to_string(),
            short(requests.took_ms.p50),
            short(requests.took_ms.p99),
            requests.refused.to_string(),
            requests.failed.to_string(),
        ]);
    }
    text.push('\n');
    text.push_str(&table.text());
    let mut table = Table::new(&["function", "maximum resident set MB"]);
    for (name, size) in &outcome.memory_mb {
        table.row([name.clone(), short(*size)]);
    }
    text.push('\n');
    text.push_str(&table.text());
    text
}
