//! Cost of an operation as a history, an audience and the number of senders grow.

use std::{collections::HashMap, path::PathBuf, time::Duration};

use aws_config::{BehaviorVersion, Region};
use aws_sdk_dynamodb::{
    Client,
    config::Credentials,
    types::{AttributeValue, PutRequest, WriteRequest},
};
use bytes::Bytes;
use clap::Args;
use futures::{StreamExt, TryStreamExt};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    Result,
    load::Audience,
    overhead::{Function, Harness, SocketEvents, connect, events, newest, socket, worked},
    report::Report,
    stats::{Sample, Summary, microseconds, rate, real},
    system::{NO_PACE, Quotas, System},
    table::{Table, short},
};

/// Maximum items of one `BatchWriteItem`.
const BATCH: usize = 25;

/// Concurrent batches.
const BATCHES: usize = 4;

/// Wait before items are written again that the table has throttled.
const THROTTLED: Duration = Duration::from_millis(100);

/// Number of unmeasured operations before the measurement.
const WARM_UP: usize = 20;

pub(crate) type Item = HashMap<String, AttributeValue>;

/// Options of `growth`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Runs small sizes and few operations
    #[arg(long)]
    quick: bool,
    /// Includes a history of a million messages
    #[arg(long, conflicts_with = "quick")]
    full: bool,
    /// Operations of each kind at each size
    #[arg(long, default_value_t = 300)]
    operations: usize,
    /// Duration of sending for each number of senders, in seconds
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Folder of built binaries, to use instead of building them
    #[arg(long)]
    bin_dir: Option<PathBuf>,
    #[command(flatten)]
    quotas: Quotas,
}

/// One operation at one size.
#[derive(Debug, Serialize)]
struct Cost {
    operation: &'static str,
    size: usize,
    /// Time from sending the event to receiving the response, in microseconds.
    took_us: Summary,
    /// Number of calls of AWS.
    calls: f64,
    /// The median as a multiple of the same operation's at the smallest size.
    times_smallest: f64,
    /// Microseconds per element of the size, if the operation reads each element.
    #[serde(skip_serializing_if = "Option::is_none")]
    each_us: Option<f64>,
}

/// One channel with several senders.
#[derive(Debug, Serialize)]
struct Hot {
    senders: usize,
    /// Messages per second that reached the socket.
    rate: f64,
    post_ms: Summary,
    failures: usize,
    /// Messages per second as a multiple of one sender's.
    times_one: f64,
}

#[derive(Debug, Serialize)]
struct Lists {
    history: Vec<Cost>,
    subscriptions: Vec<Cost>,
    hot_channel: Vec<Hot>,
}

pub(crate) async fn run(options: Options) -> Result<Report> {
    let (mut histories, mut audiences) = (vec![10, 1000, 100_000], vec![10, 100, 1000, 10_000, 100_000]);
    let mut crowds = vec![1, 2, 4, 8, 16, 32, 64];
    let (mut operations, mut seconds) = (options.operations, options.seconds);
    if options.full {
        histories.push(1_000_000);
    }
    if options.quick {
        (histories, audiences, crowds) = (vec![10, 1000], vec![10, 1000], vec![1, 8]);
        (operations, seconds) = (operations.min(50), seconds.min(1.0));
    }
    let harness = Harness::start(options.bin_dir.as_deref(), &[NO_PACE]).await?;
    let client = client(&harness);
    let history = histories_of(&harness, &client, &histories, operations).await?;
    let subscriptions = audiences_of(&harness, &client, &audiences, operations).await?;
    drop(harness);
    let hot_channel =
        crowds_of(options.bin_dir, &crowds, Duration::try_from_secs_f64(seconds)?, &options.quotas).await?;
    let lists = Lists { history, subscriptions, hot_channel };
    Report::with("growth", table(&lists), &lists)
}

fn client(harness: &Harness) -> Client {
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static("us-east-1"))
        .credentials_provider(Credentials::new("bench", "bench", None, None, "bench"))
        .endpoint_url(&harness.aws.dynamodb);
    Client::from_conf(config.build())
}

/// Measures operations on channels with a history.
async fn histories_of(harness: &Harness, client: &Client, sizes: &[usize], operations: usize) -> Result<Vec<Cost>> {
    let mut channels = harness.function("channels").await?;
    let mut send = harness.function("send-channel-messages").await?;
    let mut get = harness.function("get-channel-messages").await?;
    let message = json!({ "content": "Shall we meet at the station at half past six?" });
    let mut costs = Vec::new();
    for &size in sizes {
        eprintln!("a history of {size} messages");
        let channel = format!("history-{size}");
        harness.open_channel(&mut channels, &channel).await?;
        let messages = format!("/channels/{channel}/messages");
        harness.ask(&mut send, "POST", &messages, Some(&message)).await?;
        write_history(client, &channel, size).await?;
        // The function above caches the old head. A new function reads the new one.
        let mut send = harness.function("send-channel-messages").await?;
        let middle = size / 2;
        let asked: [(&'static str, &str, String, Option<&Value>); 5] = [
            ("GET the newest 50", "GET", messages.clone(), None),
            ("GET 50 after the middle", "GET", format!("{messages}?after={middle}"), None),
            ("GET the one in the middle", "GET", format!("{messages}/{middle}"), None),
            ("PATCH the one in the middle", "PATCH", format!("{messages}/{middle}"), Some(&message)),
            ("POST a message", "POST", messages.clone(), Some(&message)),
        ];
        for (operation, method, path, body) in asked {
            let function = if method == "GET" { &mut get } else { &mut send };
            let event = events::rest(&harness.stack, method, &path, body).await?;
            costs.push(measure(harness, function, operation, size, operations, |_| event.clone()).await?);
        }
    }
    compare(&mut costs, &[]);
    Ok(costs)
}

/// Measures operations on channels with subscriptions.
async fn audiences_of(harness: &Harness, client: &Client, sizes: &[usize], operations: usize) -> Result<Vec<Cost>> {
    let mut channels = harness.function("channels").await?;
    let mut send = harness.function("send-channel-messages").await?;
    let mut on_connect = harness.function("on-connect").await?;
    let mut delivery = harness.function("chat-delivery-worker").await?;
    let message = json!({ "content": "Shall we meet at the station at half past six?" });
    let mut costs = Vec::new();
    for &size in sizes {
        eprintln!("{size} subscriptions");
        let channel = format!("audience-{size}");
        harness.open_channel(&mut channels, &channel).await?;
        let life = socket(&harness.stack, &channel).await?;
        connect(&mut on_connect, &life, "first=").await?;
        write_audience(client, &channel, size).await?;
        harness.ask(&mut send, "POST", &format!("/channels/{channel}/messages"), Some(&message)).await?;
        let inserted = newest(&harness.aws.engine, "chat_events").await?;
        let few = operations.min((1_000_000 / size).max(5));
        let deliver = measure(harness, &mut delivery, DELIVER, size, few, |_| inserted.clone());
        costs.push(deliver.await?);
        let joins = |number: usize| connect_event(&life, number);
        costs.push(measure(harness, &mut on_connect, "$connect", size, operations, joins).await?);
        let path = format!("/channels/{channel}/messages");
        let post = events::rest(&harness.stack, "POST", &path, Some(&message)).await?;
        costs.push(measure(harness, &mut send, "POST a message", size, operations, |_| post.clone()).await?);
    }
    compare(&mut costs, &[DELIVER]);
    Ok(costs)
}

/// Operation that reads every subscription, so it may grow.
const DELIVER: &str = "deliver a message";

fn connect_event(life: &SocketEvents, number: usize) -> Bytes {
    life.of(&format!("joins{number}=")).connect.to_string().into()
}

/// Measures one channel with a growing number of senders, through the whole local run.
async fn crowds_of(folder: Option<PathBuf>, crowds: &[usize], duration: Duration, quotas: &Quotas) -> Result<Vec<Hot>> {
    let system = System::switchboard(folder.as_deref(), &[], quotas).await?;
    let mut hot = Vec::new();
    for &senders in crowds {
        eprintln!("{senders} senders");
        Audience::gather(&system, &format!("warm-{senders}"), 1).await?.run(senders, duration.min(WARM)).await?;
        let run = Audience::gather(&system, &format!("hot-{senders}"), 1).await?.run(senders, duration).await?;
        hot.push(Hot {
            senders,
            rate: rate(run.messages, run.elapsed),
            post_ms: Sample::milliseconds(run.posts).summary(),
            failures: run.failures + run.missing,
            times_one: f64::NAN,
        });
    }
    let one = hot.first().map_or(f64::NAN, |one| one.rate);
    for hot in &mut hot {
        hot.times_one = hot.rate / one;
    }
    Ok(hot)
}

/// Duration of unmeasured sending for each number of senders.
const WARM: Duration = Duration::from_secs(1);

async fn measure(
    harness: &Harness,
    function: &mut Function,
    operation: &'static str,
    size: usize,
    operations: usize,
    event: impl Fn(usize) -> Bytes,
) -> Result<Cost> {
    let (mut took, mut calls) = (Vec::with_capacity(operations), 0);
    for number in 0..WARM_UP.min(operations) + operations {
        let (invocation, waited) = harness.invoke(function, event(number)).await?;
        worked(&invocation.answer).map_err(|status| format!("{operation} returned {status}"))?;
        if number >= WARM_UP.min(operations) {
            took.push(invocation.answered);
            calls += waited.calls;
        }
    }
    let took_us = Sample::of(took.into_iter().map(microseconds)).summary();
    Ok(Cost {
        operation,
        size,
        took_us,
        calls: real(calls) / real(operations),
        times_smallest: f64::NAN,
        each_us: None,
    })
}

/// Compares each cost with the smallest size. Operations in `each` also get the cost per element.
fn compare(costs: &mut [Cost], each: &[&str]) {
    let smallest: HashMap<&str, f64> = costs.iter().rev().map(|cost| (cost.operation, cost.took_us.p50)).collect();
    for cost in costs {
        cost.times_smallest = cost.took_us.p50 / smallest[cost.operation];
        cost.each_us = each.contains(&cost.operation).then(|| cost.took_us.p50 / real(cost.size));
    }
}

/// Returns the channel key.
pub(crate) async fn key_of(client: &Client, channel: &str) -> Result<String> {
    let text = |value: &str| AttributeValue::S(value.to_owned());
    let get = client.get_item().table_name("chat_channels").key("channel_id", text(channel)).key("sk", text("meta"));
    let meta = get.send().await?.item.ok_or("the channel is not there")?;
    let incarnation = meta.get("incarnation").and_then(|value| value.as_s().ok());
    Ok(format!("{channel}@{}", incarnation.ok_or("the channel has no incarnation")?))
}

/// Fills a channel that has one message up to `size`, with copies written directly into the tables.
async fn write_history(client: &Client, channel: &str, size: usize) -> Result<()> {
    let text = |value: &str| AttributeValue::S(value.to_owned());
    let number = |value: usize| AttributeValue::N(value.to_string());
    let key = key_of(client, channel).await?;
    let get = client.get_item().table_name("chat_events").key("channel_id", text(&key)).key("seq", number(1));
    let first = get.send().await?.item.ok_or("the first message is not there")?;
    let copies = (2..=size).map(|seq| {
        let mut copy = first.clone();
        copy.insert("seq".to_owned(), number(seq));
        // The agent does not reply to these, and each has its own id.
        copy.insert("role".to_owned(), text("system"));
        copy.insert("message_id".to_owned(), text(&format!("01BENCH{seq:019}")));
        copy
    });
    write(client, "chat_events", copies).await?;
    let update = client
        .update_item()
        .table_name("chat_channels")
        .key("channel_id", text(channel))
        .key("sk", text("meta"))
        .update_expression("SET last_seq = :size")
        .expression_attribute_values(":size", number(size));
    update.send().await?;
    Ok(())
}

/// Fills a channel that has one subscription up to `size`, with copies of it.
async fn write_audience(client: &Client, channel: &str, size: usize) -> Result<()> {
    let text = |value: &str| AttributeValue::S(value.to_owned());
    let key = key_of(client, channel).await?;
    let get = client
        .get_item()
        .table_name("chat_connections")
        .key("pk", text(&format!("chan#{key}")))
        .key("sk", text("conn#first="));
    let first = get.send().await?.item.ok_or("the first subscription is not there")?;
    let copies = (2..=size).map(|number| {
        let mut copy = first.clone();
        copy.insert("sk".to_owned(), text(&format!("conn#copy{number}=")));
        copy
    });
    write(client, "chat_connections", copies).await
}

/// Writes items. Throttled ones are written later.
pub(crate) async fn write(client: &Client, table: &str, items: impl Iterator<Item = Item>) -> Result<()> {
    futures::stream::iter(items)
        .chunks(BATCH)
        .map(async |items| {
            let puts = items.into_iter().map(|item| {
                let put = PutRequest::builder().set_item(Some(item)).build()?;
                Ok::<_, aws_sdk_dynamodb::error::BuildError>(WriteRequest::builder().put_request(put).build())
            });
            let puts: Vec<WriteRequest> = puts.collect::<std::result::Result<_, _>>()?;
            let mut left = HashMap::from([(table.to_owned(), puts)]);
            while !left.is_empty() {
                let written = client.batch_write_item().set_request_items(Some(left)).send().await?;
                left = written.unprocessed_items.unwrap_or_default();
                // A run with quotas throttles the partition by the second.
                if !left.is_empty() {
                    tokio::time::sleep(THROTTLED).await;
                }
            }
            Ok::<_, crate::Error>(())
        })
        .buffer_unordered(BATCHES)
        .try_collect()
        .await
}

fn table(lists: &Lists) -> String {
    let mut text = String::new();
    for (title, costs) in [("messages in the history", &lists.history), ("subscriptions", &lists.subscriptions)] {
        let mut table = Table::new(&["operation", title, "p50 µs", "p99 µs", "calls", "× smallest", "µs each"]);
        for cost in costs {
            table.row([
                cost.operation.to_owned(),
                cost.size.to_string(),
                short(cost.took_us.p50),
                short(cost.took_us.p99),
                short(cost.calls),
                short(cost.times_smallest),
                cost.each_us.map_or_else(String::new, short),
            ]);
        }
        text.push_str(&table.text());
        text.push('\n');
    }
    let mut table = Table::new(&["hot channel", "messages/s", "× one sender", "POST p50 ms", "p99 ms", "failures"]);
    for hot in &lists.hot_channel {
        table.row([
            format!("{} senders", hot.senders),
            short(hot.rate),
            short(hot.times_one),
            short(hot.post_ms.p50),
            short(hot.post_ms.p99),
            hot.failures.to_string(),
        ]);
    }
    text.push_str(&table.text());
    text
}
