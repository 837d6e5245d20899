//! Replay of on-failure queues with the command of docs/guides/operate.md.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output},
};

use aws_sdk_dynamodb::types::AttributeValue;
use local::binaries;
use replay::Clients;

use crate::{
    programs::{functions, workspace},
    stack::{Stack, until},
};

const AGENT: &str = "AgentFailuresQueue";
const DELIVERY: &str = "DeliveryFailuresQueue";
const WORKERS: [&str; 2] = ["chat-agent-worker", "chat-delivery-worker"];
const OTHERS: [&str; 9] = [
    "on-connect",
    "on-disconnect",
    "answer-frame",
    "send-message",
    "send-channel-messages",
    "get-channel-messages",
    "channels",
    "health",
    "maintenance",
];

/// Installs all functions in `folder`, with working or broken workers.
fn install(folder: &Path, broken: bool) {
    let names: BTreeSet<String> = WORKERS.into_iter().chain(OTHERS).map(str::to_owned).collect();
    for (name, path) in binaries::locate(functions(), &names).unwrap() {
        let does =
            if broken && WORKERS.contains(&name.as_str()) { "exit 1" } else { &format!("exec {}", path.display()) };
        // A concurrent start of the function finds either version.
        let draft = folder.join(format!("{name}.new"));
        fs::write(&draft, format!("#!/bin/sh\n{does}\n")).unwrap();
        fs::set_permissions(&draft, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(&draft, folder.join(name)).unwrap();
    }
}

struct Replayed {
    output: Output,
}

impl Replayed {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.output.stdout).into_owned()
    }

    #[track_caller]
    fn assert(&self, last_line: &str, code: i32) {
        let errors = String::from_utf8_lossy(&self.output.stderr);
        assert_eq!(self.text().lines().last(), Some(last_line), "{}{errors}", self.text());
        assert_eq!(self.output.status.code(), Some(code));
    }
}

/// Runs `cargo replay` on a queue of the stack.
async fn replay(stack: &Stack, queue: &str, options: &[&str]) -> Replayed {
    let mut command = Command::new(env!("CARGO"));
    command.args([
        "run",
        "--quiet",
        "--locked",
        "--bin",
        "switchboard",
        "--",
        "replay",
        "--queue-url",
        url(stack, queue),
    ]);
    command.arg("--ready-file").arg(stack.ready_file()).args(options).current_dir(workspace());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    Replayed { output }
}

fn url<'a>(stack: &'a Stack, queue: &str) -> &'a str {
    stack.addresses["queues"][queue].as_str().unwrap()
}

async fn waiting(stack: &Stack, queue: &str) -> usize {
    let clients = Clients::of_local_run(&stack.ready_file()).await.unwrap();
    let name = aws_sdk_sqs::types::QueueAttributeName::ApproximateNumberOfMessages;
    let ask = clients.sqs.get_queue_attributes().queue_url(url(stack, queue)).attribute_names(name.clone());
    ask.send().await.unwrap().attributes.unwrap()[&name].parse().unwrap()
}

/// Puts an invalid item into the table of messages.
async fn poison(stack: &Stack, channel: &str) {
    let put = stack.dynamodb().await.put_item().table_name("chat_events");
    let key = format!("{channel}@01arz3ndektsv4rrffq69g5fav");
    let put = put.item("channel_id", AttributeValue::S(key)).item("seq", AttributeValue::N("1".into()));
    put.item("role", AttributeValue::S("user".into())).send().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_broken_workers_gave_up_is_replayed_when_they_are_mended() {
    let (data, functions) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    install(functions.path(), true);
    let stack = Stack::on_with(data.path(), functions.path());
    stack.create_channel("alice", "questions", "public", "always").await;
    let mut socket = stack.socket("alice", "questions").await;
    let question = stack.send("alice", "questions", "/help").await;
    // The connection and its subscription are events that fail too. The workers are replaced after that.
    until("the question has failed, and the connection with its subscription", async || {
        waiting(&stack, AGENT).await == 1 && waiting(&stack, DELIVERY).await == 3
    })
    .await;

    // The functions are still broken, and no record is lost.
    replay(&stack, AGENT, &[]).await.assert("0 replayed, 0 forgotten, 1 left", 1);
    let seen = replay(&stack, AGENT, &["--dry-run"]).await;
    seen.assert("0 replayed, 0 forgotten, 1 left", 1);
    assert!(seen.text().contains("1 to replay"), "{}", seen.text());
    assert_eq!(waiting(&stack, AGENT).await, 1);

    install(functions.path(), false);
    replay(&stack, DELIVERY, &[]).await.assert("3 replayed, 0 forgotten, 0 left", 0);
    assert_eq!(socket.messages(1).await, std::slice::from_ref(&question));
    replay(&stack, AGENT, &[]).await.assert("1 replayed, 0 forgotten, 0 left", 0);
    let reply = socket.messages(1).await.remove(0);
    assert_eq!(reply["reply_to"], question["seq"]);
    assert_eq!(stack.history("alice", "questions").await, [question, reply]);
    assert_eq!((waiting(&stack, AGENT).await, waiting(&stack, DELIVERY).await), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_can_read_stays_in_the_queue_and_what_the_stream_has_lost_can_be_forgotten() {
    let (data, functions) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    install(functions.path(), false);
    let stack = Stack::on_with(data.path(), functions.path());
    poison(&stack, "first").await;
    poison(&stack, "second").await;
    until("both have failed", async || waiting(&stack, AGENT).await == 2).await;
    let failed = replay(&stack, AGENT, &[]).await;
    failed.assert("0 replayed, 0 forgotten, 2 left", 1);
    assert!(failed.text().contains("1 failed again"), "{}", failed.text());

    // The records of the stream expire after a day.
    let database = rusqlite::Connection::open(data.path().join("dynamodb.sqlite")).unwrap();
    database.busy_timeout(crate::stack::PATIENCE).unwrap();
    database
        .execute("DELETE FROM _stream_records WHERE table_name = 'chat_events' AND keys_json LIKE '%first%'", [])
        .unwrap();
    let expired = replay(&stack, AGENT, &[]).await;
    expired.assert("0 replayed, 0 forgotten, 2 left", 1);
    assert!(expired.text().contains("no longer in the stream"), "{}", expired.text());
    replay(&stack, AGENT, &["--forget-expired"]).await.assert("0 replayed, 1 forgotten, 1 left", 1);
    assert_eq!(waiting(&stack, AGENT).await, 1);
}
