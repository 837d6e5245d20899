//! The program for operators against a local run: erasing and exporting a user, connections, messages, and the audit log.

use std::{collections::BTreeSet, path::Path};

use serde_json::{Value, json};
use switchboard_client::Method;

use crate::{
    programs::switchboard,
    stack::{Stack, until},
};

/// User who is erased. No other text in the tables contains the name.
const ERASED: &str = "quentin-tarpaulin";

/// Text that only messages of the erased user, and replies to them, have.
const SECRET: &str = "4711-secret-of-quentin";

/// Runs a command, and returns its exit code and its standard output.
async fn run(stack: &Stack, folder: &Path, arguments: &[&str]) -> (i32, String) {
    let mut command = switchboard();
    command.args(arguments).arg("--ready-file").arg(stack.ready_file()).current_dir(folder);
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    println!("{arguments:?}: {} {errors}", output.status);
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}

fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Returns all items of all tables, each as text.
async fn dump(stack: &Stack) -> Vec<String> {
    let mut items = Vec::new();
    for table in ["chat_events", "chat_channels", "chat_connections"] {
        let pages =
            stack.dynamodb().await.scan().table_name(table).consistent_read(true).into_paginator().items().send();
        let found = pages.collect::<Result<Vec<_>, _>>().await.unwrap();
        items.extend(found.iter().map(|item| format!("{table} {item:?}")));
    }
    items
}

/// Sends messages of the erased user and of bob, with replies of the agent, and one reaction.
async fn fill(stack: &Stack) {
    stack.create_channel("olga", "open", "public", "always").await;
    stack.create_channel(ERASED, "closed", "private", "off").await;
    let member = json!({ "role": "member" });
    assert_eq!(stack.ask(ERASED, Method::PUT, "/channels/closed/members/bob", member).await.0, 201);
    for number in 0..3 {
        stack.send(ERASED, "open", &format!("{SECRET} {number}")).await;
        stack.send(ERASED, "closed", &format!("{SECRET} {number}")).await;
    }
    stack.send("bob", "closed", &format!("ask @{ERASED}")).await;
    let (status, _) =
        stack.ask(ERASED, Method::PUT, "/channels/closed/messages/4/reactions/%F0%9F%91%8D", Value::Null).await;
    assert_eq!(status, 204);
    until("the replies", async || stack.history("olga", "open").await.len() == 6).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erased_user_leaves_no_byte_and_live_clients_receive_the_tombstones() {
    let (stack, folder) = (Stack::in_memory(), tempfile::tempdir().unwrap());
    fill(&stack).await;
    let mut own = stack.socket(ERASED, "closed").await;
    let mut bob = stack.socket("bob", "closed").await;
    own.id().await;
    bob.id().await;

    let (code, exported) = run(&stack, folder.path(), &["users", "export", ERASED]).await;
    let kinds: Vec<String> =
        json_lines(&exported).iter().map(|line| line["type"].as_str().unwrap().to_owned()).collect();
    let count = |kind: &str| kinds.iter().filter(|one| *one == kind).count();
    assert_eq!((code, count("user"), count("message"), count("reaction"), count("membership")), (0, 1, 6, 1, 1));

    let refused = run(&stack, folder.path(), &["users", "erase", ERASED]).await;
    assert_eq!(refused.0, 4, "without a terminal and without --yes");
    assert!(dump(&stack).await.iter().any(|item| item.contains(SECRET)));
    let (code, report) = run(&stack, folder.path(), &["users", "erase", ERASED, "--with-id", "--yes", "--json"]).await;
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!((code, &report["is_clean"]), (0, &json!(true)), "{report}");
    assert_eq!((&report["erased"]["messages"], &report["erased"]["replies"]), (&json!(6), &json!(3)), "{report}");
    for item in dump(&stack).await {
        assert!(!item.contains(SECRET) && !item.contains(ERASED), "{item}");
    }
    assert!(std::fs::read_dir(folder.path()).unwrap().next().is_none(), "the progress is removed");

    // Three tombstones, the reaction and the mention: five changes without a gap.
    let (mut revs, mut deleted) = (BTreeSet::new(), 0);
    while revs.len() < 5 {
        let event = &bob.events(1).await[0];
        // A created message has no number of a change.
        if let Some(last) = event["rev"].as_u64() {
            let first = event["rev_from"].as_u64().unwrap_or(last);
            deleted += usize::from(event["type"] == "message.deleted");
            revs.extend(first..=last);
        }
    }
    assert_eq!(revs.first().zip(revs.last()).map(|(first, last)| last - first), Some(4), "{revs:?}");
    assert!(deleted >= 1);
    let history = stack.history("bob", "closed").await;
    let seqs: Vec<u64> = history.iter().map(|message| message["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, [1, 2, 3, 4]);
    assert!(history[..3].iter().all(|message| message["content"] == "" && message["deleted_at"].is_string()));
    while own.hear().await.is_ok() {}

    let members = stack.ask("bob", Method::GET, "/channels/closed/members", Value::Null).await.1;
    assert_eq!(members["members"].as_array().unwrap().len(), 1);
    assert_eq!(members["members"][0]["role"], "owner", "bob takes over");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_log_has_the_changes_of_users_and_of_operators() {
    let (stack, folder) = (Stack::in_memory(), tempfile::tempdir().unwrap());
    stack.create_channel("olga", "c", "private", "off").await;
    let role = |role: &str| json!({ "role": role });
    let members = |user: &str| format!("/channels/c/members/{user}");
    assert_eq!(stack.ask("olga", Method::PUT, &members("bob"), role("member")).await.0, 201);
    assert_eq!(stack.ask("olga", Method::PUT, &members("bob"), role("moderator")).await.0, 200);
    assert_eq!(stack.ask("olga", Method::PATCH, "/channels/c", json!({ "name": "another" })).await.0, 200);
    stack.send("olga", "c", "mine").await;
    assert_eq!(
        stack.ask("bob", Method::PATCH, "/channels/c/messages/1", json!({ "content": "moderated" })).await.0,
        200
    );
    assert_eq!(stack.ask("bob", Method::DELETE, "/channels/c/messages/1", Value::Null).await.0, 204);
    assert_eq!(stack.ask("bob", Method::DELETE, &members("bob"), Value::Null).await.0, 204);
    assert_eq!(stack.ask("mallory", Method::DELETE, &members("olga"), Value::Null).await.0, 404);

    let mut socket = stack.socket("olga", "c").await;
    let id = socket.id().await;
    let (_, listed) = run(&stack, folder.path(), &["connections", "list", "--user", "olga", "--json"]).await;
    assert_eq!(json_lines(&listed)[0]["connection_id"], id.as_str());
    let (_, of_channel) = run(&stack, folder.path(), &["connections", "list", "--channel", "c", "--json"]).await;
    assert_eq!(json_lines(&of_channel).len(), 1);
    let close = ["connections", "close", id.as_str(), "--yes", "--operator", "otto"];
    assert_eq!(run(&stack, folder.path(), &close).await.0, 0);
    while socket.hear().await.is_ok() {}
    assert_eq!(run(&stack, folder.path(), &close).await.0, 3, "it is gone");

    let expected = [
        ("olga", "channel_created"),
        ("olga", "member_added"),
        ("olga", "role_changed"),
        ("olga", "channel_changed"),
        ("bob", "message_edited"),
        ("bob", "message_deleted"),
        ("bob", "member_removed"),
        ("otto", "connection_closed"),
    ];
    // Functions store their entries after they have responded.
    until("all entries are stored", async || {
        let (code, log) = run(&stack, folder.path(), &["audit", "--json"]).await;
        assert_eq!(code, 0);
        let found = json_lines(&log);
        let of_test = found.iter().filter(|entry| entry["channel_id"] == "c" || entry["actor_kind"] == "operator");
        let found: BTreeSet<(String, String)> = of_test
            .map(|entry| {
                let text = |field: &str| entry[field].as_str().unwrap().to_owned();
                (text("actor"), text("action"))
            })
            .collect();
        found == BTreeSet::from(expected.map(|(actor, action)| (actor.to_owned(), action.to_owned())))
    })
    .await;
    let (_, of_bob) =
        run(&stack, folder.path(), &["audit", "--json", "--user", "bob", "--action", "role_changed"]).await;
    let entry = &json_lines(&of_bob)[0];
    assert_eq!(
        (&entry["from"], &entry["to"], &entry["user_id"]),
        (&json!("member"), &json!("moderator"), &json!("bob"))
    );
    assert!(entry["request_id"].is_string() && entry["trace_id"].is_string(), "{entry}");
    let (_, table) = run(&stack, folder.path(), &["audit", "--channel", "c"]).await;
    assert!(table.starts_with("TIME") && !table.contains("moderated") && !table.contains("another"), "{table}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_shown_with_what_happened_to_it() {
    let (stack, folder) = (Stack::in_memory(), tempfile::tempdir().unwrap());
    stack.create_channel("olga", "c", "private", "always").await;
    let sent = stack.send("olga", "c", "hello").await;
    until("the reply", async || stack.history("olga", "c").await.len() == 2).await;
    let (code, shown) = run(&stack, folder.path(), &["messages", "get", "c", "1", "--json"]).await;
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((code, &shown["message_id"], &shown["rev"]), (0, &sent["message_id"], &json!(0)));
    let (code, steps) = run(&stack, folder.path(), &["messages", "trace", "c", "1", "--json"]).await;
    let steps: Vec<String> = json_lines(&steps).iter().map(|step| step["step"].as_str().unwrap().to_owned()).collect();
    assert_eq!(code, 0);
    for step in ["stored", "trace", "answered", "audience"] {
        assert!(steps.iter().any(|one| one == step), "{step}: {steps:?}");
    }
    for arguments in [["messages", "get", "c", "9"], ["messages", "get", "none", "1"]] {
        assert_eq!(run(&stack, folder.path(), &arguments).await.0, 3, "{arguments:?}");
    }
}
