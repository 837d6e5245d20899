//! A trace from the request to the socket, and unavailable collectors, which must not affect messages.

use std::{path::Path, time::Duration};

use axum::{Router, http::StatusCode as Status, routing::post};
use serde_json::{Value, json};
use switchboard_client::{Method, StatusCode};
use tokio::net::TcpListener;

use crate::{
    collector::{Collector, Seen},
    stack::{Stack, until},
};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";
const SERVER: i32 = 2;
const CLIENT: i32 = 3;
const CONSUMER: i32 = 5;

fn traceparent() -> String {
    format!("00-{TRACE}-{PARENT}-01")
}

/// Returns the name of a function in its spans.
fn service(function: &str) -> String {
    format!("switchboard-{function}Function")
}

struct Spans(Vec<Seen>);

impl Spans {
    /// Returns the only span of a function with a name and a parent.
    fn one(&self, function: &str, name: &str, parent: &str) -> Option<Seen> {
        let is_it = |span: &&Seen| span.service == service(function) && span.name == name && span.parent == parent;
        let found: Vec<&Seen> = self.0.iter().filter(is_it).collect();
        assert!(found.len() < 2, "{function} has {} spans {name} below {parent}", found.len());
        found.first().copied().cloned()
    }

    /// Returns a span with this name below another span.
    fn below(&self, name: &str, ancestor: &Seen) -> Option<Seen> {
        let parent_of = |span: &Seen| self.0.iter().find(|other| other.id == span.parent);
        let is_below = |span: &&Seen| {
            let mut next = parent_of(span);
            while let Some(span) = next {
                if span.id == ancestor.id {
                    return true;
                }
                next = parent_of(span);
            }
            false
        };
        self.0.iter().filter(|span| span.name == name).find(is_below).cloned()
    }
}

/// All spans of a message with its reply.
struct Journey {
    request: Seen,
    transaction: Seen,
    agent: Seen,
    chat: Seen,
    reply: Seen,
    delivery: Seen,
    query: Seen,
    push: Seen,
    delivery_of_reply: Seen,
    push_of_reply: Seen,
}

fn journey(spans: &[Seen]) -> Option<Journey> {
    let spans = Spans(spans.iter().filter(|span| span.trace == TRACE).cloned().collect());
    let request = spans.one("SendChannelMessages", "POST /channels/{channel_id}/messages", PARENT)?;
    let agent = spans.one("ChatAgentWorker", "process chat_events", &request.id)?;
    let delivery = spans.one("ChatDeliveryWorker", "process chat_events", &request.id)?;
    let deliver = spans.one("ChatDeliveryWorker", "deliver", &delivery.id)?;
    let delivery_of_reply = spans.one("ChatDeliveryWorker", "process chat_events", &agent.id)?;
    Some(Journey {
        transaction: spans.one("SendChannelMessages", "DynamoDB.TransactWriteItems", &request.id)?,
        chat: spans.below("chat built-in", &agent)?,
        reply: spans.one("ChatAgentWorker", "DynamoDB.TransactWriteItems", &agent.id)?,
        query: spans.one("ChatDeliveryWorker", "DynamoDB.Query", &deliver.id)?,
        push: spans.one("ChatDeliveryWorker", "push", &deliver.id)?,
        push_of_reply: spans.below("push", &delivery_of_reply)?,
        request,
        agent,
        delivery,
        delivery_of_reply,
    })
}

fn has(span: &Seen, name: &str, value: &str) {
    assert_eq!(span.attributes.get(name).map(String::as_str), Some(value), "{name} of {span:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_asks_the_agent_about_what_was_sent_while_it_was_off() {
    let collector = Collector::start().await;
    let stack = Stack::with(&[("OtlpEndpoint", collector.address.clone())]);
    stack.create_channel("alice", "quiet", "public", "off").await;
    let mut socket = stack.socket("alice", "quiet").await;
    stack.send("alice", "quiet", "to nobody").await;
    let on = json!({ "agent": { "mode": "always" } });
    assert_eq!(stack.ask("alice", Method::PATCH, "/channels/quiet", on).await.0, 200);
    stack.send("alice", "quiet", "to the agent").await;
    let heard = socket.messages(3).await;
    assert_eq!(
        heard.iter().map(|message| &message["reply_to"]).collect::<Vec<_>>(),
        [&Value::Null, &Value::Null, &json!(2)]
    );

    // One lane of the mapping processes both messages, the earlier one first.
    let asked = |spans: &[Seen]| {
        let agent = service("ChatAgentWorker");
        let processed = spans.iter().filter(|span| span.service == agent && span.name == "process chat_events");
        let seqs: Vec<String> = processed.map(|span| span.attributes["switchboard.seq"].clone()).collect();
        (!seqs.is_empty()).then_some(seqs)
    };
    assert_eq!(collector.wait("the question", asked).await, ["2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_trace_from_the_request_to_the_socket_and_to_the_reply() {
    let collector = Collector::start().await;
    let stack = Stack::with(&[("OtlpEndpoint", collector.address.clone())]);
    let mut socket = stack.socket("alice", "lobby").await;
    let request = stack.request("alice", Method::POST, "/channels/lobby/messages");
    let request = request.header("traceparent", traceparent()).header("tracestate", "congo=t61rcWkgMzE");
    let response = request.json(&json!({ "content": "a secret nobody exports" })).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::CREATED);
    for event in socket.events(2).await {
        let traceparent = event["traceparent"].as_str().unwrap();
        assert!(traceparent.starts_with(&format!("00-{TRACE}-")) && traceparent.ends_with("-01"), "{traceparent}");
    }

    let all = collector.wait("the whole journey", journey).await;
    assert_eq!((all.request.kind, all.transaction.kind, all.push.kind), (SERVER, CLIENT, CLIENT));
    assert_eq!((all.agent.kind, all.delivery.kind), (CONSUMER, CONSUMER));
    for (name, value) in [
        ("http.request.method", "POST"),
        ("http.route", "/channels/{channel_id}/messages"),
        ("http.response.status_code", "201"),
        ("faas.trigger", "http"),
        ("switchboard.channel_id", "lobby"),
        ("switchboard.seq", "1"),
    ] {
        has(&all.request, name, value);
    }
    for (name, value) in [
        ("rpc.system", "aws-api"),
        ("rpc.service", "DynamoDB"),
        ("rpc.method", "TransactWriteItems"),
        ("db.system.name", "aws.dynamodb"),
        ("http.response.status_code", "200"),
    ] {
        has(&all.transaction, name, value);
    }
    assert_eq!(all.transaction.attributes["aws.dynamodb.table_names"].split(',').count(), 2);
    has(&all.delivery, "messaging.destination.name", "chat_events");
    has(&all.delivery, "switchboard.seq", "1");
    has(&all.delivery_of_reply, "switchboard.seq", "2");
    assert!(all.delivery.attributes["switchboard.stream.lag_ms"].parse::<u64>().is_ok());
    for push in [&all.push, &all.push_of_reply] {
        has(push, "switchboard.connections", "1");
        has(push, "switchboard.pushes.delivered", "1");
    }
    has(&all.chat, "gen_ai.operation.name", "chat");
    assert!(all.query.nanos.0 >= all.delivery.nanos.0 && all.query.nanos.1 <= all.delivery.nanos.1);
    assert!(all.reply.nanos.0 >= all.chat.nanos.0, "the reply is stored after the call");

    // The workers' own spans belong to other traces, and link to the processed messages.
    for (function, parent) in
        [("ChatDeliveryWorker", &all.request), ("ChatAgentWorker", &all.request), ("ChatDeliveryWorker", &all.agent)]
    {
        let link = (TRACE.to_owned(), parent.id.clone());
        let invocation = collector
            .wait("the invocation", |spans| {
                spans.iter().find(|span| span.links.contains(&link) && span.service == service(function)).cloned()
            })
            .await;
        assert_ne!(invocation.trace, TRACE);
        assert_eq!((invocation.parent.as_str(), invocation.kind), ("", CONSUMER));
        has(&invocation, "faas.trigger", "datasource");
        assert!(invocation.attributes.contains_key("faas.invocation_id"));
    }

    // Vendor data of a trace is stored with the message.
    let dynamodb = stack.dynamodb().await;
    let tables = dynamodb.list_tables().send().await.unwrap();
    let events = tables.table_names().iter().find(|name| name.ends_with("chat_events")).unwrap();
    let items = dynamodb.scan().table_name(events).send().await.unwrap();
    assert_eq!(items.items().len(), 2);
    for item in items.items() {
        assert_eq!(item["tracestate"].as_s().unwrap(), "congo=t61rcWkgMzE");
    }

    until("metrics have arrived", async || {
        let metrics = collector.metrics();
        [
            "switchboard.messages.accepted",
            "switchboard.pushes.delivered",
            "switchboard.push.latency",
            "gen_ai.client.operation.duration",
        ]
        .iter()
        .all(|name| metrics.iter().any(|metric| metric == name))
    })
    .await;
    stack.stop();
    let secret = b"nobody exports";
    let leak = collector.bodies().iter().any(|body| body.windows(secret.len()).any(|window| window == secret));
    assert!(!leak, "no span contains the content of messages");
}

/// Returns a record of the stream of `chat_events`, in Lambda's format.
fn record(number: usize, channel: &str) -> Value {
    json!({
        "eventID": format!("{number}"), "eventName": "INSERT", "eventSource": "aws:dynamodb", "eventVersion": "1.1",
        "awsRegion": "us-east-1",
        "eventSourceARN": "arn:aws:dynamodb:us-east-1:123456789012:table/chat_events/stream/2026-11-24T00:00:00.000",
        "dynamodb": {
            "ApproximateCreationDateTime": 1_795_600_000, "StreamViewType": "NEW_AND_OLD_IMAGES", "SizeBytes": 1,
            "SequenceNumber": format!("{number:021}"),
            "Keys": { "channel_id": { "S": channel }, "seq": { "N": "1" } },
            "NewImage": {
                "channel_id": { "S": channel }, "seq": { "N": format!("{number}") },
                "message_id": { "S": "01ARZ3NDEKTSV4RRFFQ69G5FAV" }, "version": { "N": "1" }, "sender_id": { "S": "alice" },
                "role": { "S": "user" }, "content": { "S": "hi" }, "content_type": { "S": "text/plain" },
                "created_at": { "S": "2026-11-24T00:00:00.000Z" }, "reactions": { "M": {} },
                "traceparent": { "S": format!("00-{number:032x}-{number:016x}-01") },
            },
        },
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_with_records_of_five_traces_is_in_all_five_and_linked_to_them() {
    let collector = Collector::start().await;
    let stack = Stack::with(&[("OtlpEndpoint", collector.address.clone())]);
    // Two records of one channel, so that they share work.
    let channels = ["a", "b", "c", "d", "d"].map(|id| format!("{id}@01arz3ndektsv4rrffq69g5fav"));
    let records: Vec<Value> = channels.iter().zip(1..).map(|(channel, number)| record(number, channel)).collect();
    let answer = stack.invoke("ChatDeliveryWorker", &json!({ "Records": records })).await.1;
    assert_eq!(answer, json!({ "batchItemFailures": [] }));

    let traces: Vec<(String, String)> = (1..=5).map(|n| (format!("{n:032x}"), format!("{n:016x}"))).collect();
    let invocation =
        collector.wait("the invocation", |spans| spans.iter().find(|span| span.links.len() == 5).cloned()).await;
    let mut links = invocation.links.clone();
    links.sort();
    assert_eq!(links, traces);
    has(&invocation, "messaging.batch.message_count", "5");
    let spans = collector.spans();
    let mut processed = Vec::new();
    for (trace, parent) in &traces {
        let of_trace: Vec<&Seen> = spans.iter().filter(|span| span.trace == *trace).collect();
        let process = of_trace.iter().find(|span| span.name == "process chat_events").unwrap();
        assert_eq!(process.parent, *parent);
        processed.push((*process).clone());
    }
    for (number, span) in processed.iter().enumerate() {
        let queries = spans.iter().filter(|other| other.trace == span.trace && other.name == "DynamoDB.Query").count();
        // The second message of a channel is delivered with the first.
        assert_eq!(queries, usize::from(number < 4), "of record {number}");
    }
    assert_eq!(processed[4].links, [(processed[3].trace.clone(), processed[3].id.clone())]);
    stack.stop();
}

/// Starts a collector that rejects all requests.
async fn refusing() -> String {
    serve(Router::new().fallback(post(async || Status::INTERNAL_SERVER_ERROR))).await
}

/// Starts a collector that responds too late.
async fn slow() -> String {
    let answer = async || {
        tokio::time::sleep(Duration::from_secs(10)).await;
        Status::OK
    };
    serve(Router::new().fallback(post(answer))).await
}

/// Returns a port without a listener.
async fn dead() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

async fn serve(router: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    address
}

/// Returns `true` if the log has counts of lost spans of all functions that a message with a reply needs.
fn is_counted(log: &Path) -> bool {
    let said = std::fs::read_to_string(log).unwrap();
    let counts = said.lines().filter(|line| line.contains("\"switchboard.telemetry.spans_dropped\":"));
    let has = |function: &str| counts.clone().any(|line| line.contains(function));
    ["SendChannelMessages", "ChatDeliveryWorker", "ChatAgentWorker"].into_iter().all(has)
}

/// Returns `true` if the log has the end of every invocation that has begun.
fn is_idle(log: &Path) -> bool {
    let said = std::fs::read_to_string(log).unwrap();
    said.matches("START RequestId").count() == said.matches("END RequestId").count()
}

/// Maximum number of messages until every function has counted what it lost.
const MOST_MESSAGES: usize = 20;

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_none_loses_spans_and_nothing_else() {
    for (what, endpoint) in [("dead", dead().await), ("refusing", refusing().await), ("slow", slow().await)] {
        let files = tempfile::tempdir().unwrap();
        let log = files.path().join("log");
        let stack = Stack::logging(&[("OtlpEndpoint", endpoint.as_str())], &log);
        let mut socket = stack.socket("alice", "lobby").await;
        // A function logs what an invocation lost at the end of the next one in the same environment, which is free when it
        // has waited for the collector. A slow machine starts another environment meanwhile.
        for number in 1..=MOST_MESSAGES {
            until("the environments are free", async || is_idle(&log)).await;
            if is_counted(&log) {
                break;
            }
            assert_eq!(stack.send("alice", "lobby", "hi").await["seq"].as_u64().unwrap() % 2, 1, "{number}");
            socket.messages(2).await;
        }
        until(&format!("{what}: every function counts what it lost"), async || is_counted(&log)).await;
        stack.stop();
        let said = std::fs::read_to_string(&log).unwrap();
        assert!(said.contains("spans were dropped"), "{what}: it is said");
    }
}
