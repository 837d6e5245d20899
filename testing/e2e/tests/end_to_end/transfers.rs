//! The program `switchboard` against the local run: exports, imports, and its other commands.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use serde_json::{Value, json};
use switchboard_client::Method;

use crate::{
    programs::{number_of, switchboard},
    stack::{Stack, until},
};

/// Number of messages of the interrupted transfers. More show the speed of a transfer.
const MESSAGES: (&str, usize) = ("SWITCHBOARD_TEST_TRANSFERRED_MESSAGES", 2_000);

/// Result of a command.
#[derive(Debug)]
struct Ran {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Ran {
    #[track_caller]
    fn succeeded(&self) {
        assert_eq!(self.code, Some(0), "{self:?}");
    }
}

/// Returns a command of `channels` for a stack.
fn channels(stack: &Stack, arguments: &[&str]) -> Command {
    let mut command = switchboard();
    command.arg("channels").args(arguments).arg("--ready-file").arg(stack.ready_file());
    command
}

fn run(mut command: Command) -> Ran {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

fn export(stack: &Stack, file: &Path, more: &[&str]) -> String {
    run(channels(stack, &[&["export", "--output", file.to_str().unwrap()], more].concat())).succeeded();
    fs::read_to_string(file).unwrap()
}

fn import(stack: &Stack, file: &Path, more: &[&str]) -> Ran {
    run(channels(stack, &[&["import", file.to_str().unwrap()], more].concat()))
}

fn sample(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tools/switchboard/tests/samples").join(name)
}

/// Kills a command when `check` holds for the file that it writes.
async fn kill_when(mut child: Child, what: &str, file: &Path, check: impl Fn(&str) -> bool) {
    until(what, async || fs::read_to_string(file).is_ok_and(|text| check(&text))).await;
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Returns a channel with edited, deleted and threaded messages, and with reactions.
async fn talk(stack: &Stack) {
    stack.create_channel("olga", "room", "public", "off").await;
    stack.create_channel("olga", "attic", "private", "mention").await;
    let told = json!({ "agent": { "instructions": "be brief" } });
    assert_eq!(stack.ask("olga", Method::PATCH, "/channels/room", told).await.0, 200);
    for user in ["bob", "carol"] {
        let path = format!("/channels/room/members/{user}");
        assert!(stack.ask(user, Method::PUT, &path, Value::Null).await.0 < 300);
    }
    for number in 1..=8 {
        stack.send("olga", "room", &format!("message {number} with ✓ and \"quotes\"")).await;
    }
    let messages = "/channels/room/messages";
    let reply = json!({ "content": "a reply", "thread_seq": 2, "metadata": { "z": 1.5, "a": [null, true] } });
    assert_eq!(stack.ask("bob", Method::POST, messages, reply).await.0, 201);
    let edit = json!({ "content": "edited" });
    assert_eq!(stack.ask("olga", Method::PATCH, &format!("{messages}/3"), edit).await.0, 200);
    assert_eq!(stack.ask("olga", Method::DELETE, &format!("{messages}/4"), Value::Null).await.0, 204);
    for user in ["olga", "bob"] {
        let path = format!("{messages}/5/reactions/%F0%9F%91%8D");
        assert_eq!(stack.ask(user, Method::PUT, &path, Value::Null).await.0, 204);
    }
    assert!(stack.ask("bob", Method::PUT, "/channels/room/read", json!({ "seq": 6 })).await.0 < 300);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_of_an_import_is_the_same_byte_by_byte() {
    let (first, second) = (Stack::in_memory(), Stack::in_memory());
    talk(&first).await;
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (folder.path().join("one.jsonl"), folder.path().join("two.jsonl"));
    let exported = export(&first, &one, &["room", "attic"]);
    let ran = import(&second, &one, &[]);
    ran.succeeded();
    assert!(ran.stdout.contains("2 channels") && ran.stdout.contains("9 messages"), "{ran:?}");
    assert_eq!(export(&second, &two, &["attic", "room"]), exported, "also with the channels in another order");
    assert_eq!(second.history("bob", "room").await, first.history("bob", "room").await);
    for path in ["/channels/room/threads", "/channels/room/messages/2/replies", "/channels/room/members"] {
        let (found, wanted) = (
            second.ask("bob", Method::GET, path, Value::Null).await,
            first.ask("bob", Method::GET, path, Value::Null).await,
        );
        assert_eq!(found, wanted, "{path}");
    }
    let room = second.ask("olga", Method::GET, "/channels/room", Value::Null).await.1;
    assert_eq!(room["agent"]["instructions"], "be brief");
    // The channel goes on with the next numbers, and private ones stay private.
    assert_eq!(second.send("bob", "room", "after").await["seq"], 10);
    assert_eq!(second.ask("bob", Method::GET, "/channels/attic", Value::Null).await.0, 404);
    let changes = second.ask("bob", Method::PATCH, "/channels/room/messages/9", json!({ "content": "again" })).await;
    assert_eq!(changes.0, 200);
    // All channels, with the lobby of the stack.
    let everything = export(&second, &folder.path().join("all.jsonl"), &[]);
    assert_eq!(everything.matches(r#"{"type":"channel""#).count(), 3);
}

/// Writes an export with this number of messages, which a user sent to an agent that is on.
fn write_export(file: &Path, messages: usize) -> String {
    let mut text = String::from(
        "{\"type\":\"export\",\"format\":\"switchboard\",\"version\":1}\n\
         {\"type\":\"channel\",\"channel_id\":\"archive\",\"name\":\"Archive\",\"visibility\":\"public\",\
         \"agent\":{\"mode\":\"always\"},\"read_receipts\":false,\"created_by\":\"olga\",\
         \"created_at\":\"2026-01-02T03:04:05.678Z\",\"version\":1,",
    );
    let at = "2026-02-02T03:04:05.678Z";
    writeln!(text, "\"last_seq\":{messages},\"last_message_at\":\"{at}\",\"last_rev\":{messages}}}").unwrap();
    text += "{\"type\":\"member\",\"user_id\":\"olga\",\"role\":\"owner\",\"joined_at\":\"2026-01-02T03:04:05.678Z\",\
             \"read_seq\":0}\n";
    for seq in 1..=messages {
        let more = match seq % 4 {
            1 => format!(
                ",\"thread\":{{\"reply_count\":1,\"last_reply_seq\":{},\"last_reply_at\":\"{at}\"}}",
                (seq + 1).min(messages)
            ),
            2 => format!(",\"thread_seq\":{}", seq - 1),
            3 => format!(",\"edited_at\":\"{at}\""),
            _ => ",\"reactions\":[{\"emoji\":\"👍\",\"user_ids\":[\"bob\",\"olga\"]}]".to_owned(),
        };
        let (version, rev) = if matches!(seq % 4, 3 | 0) { (2, format!("\"rev\":{seq},")) } else { (1, String::new()) };
        writeln!(
            text,
            "{{\"type\":\"message\",\"seq\":{seq},\"message_id\":\"01ARZ3NDEKTSV4RRF{seq:09}\",\"version\":{version},{rev}\
             \"sender_id\":\"olga\",\"role\":\"user\",\"content\":\"message {seq}\",\"content_type\":\"text/plain\",\
             \"created_at\":\"{at}\"{more}}}"
        )
        .unwrap();
    }
    writeln!(text, "{{\"type\":\"end\",\"channels\":1,\"members\":1,\"messages\":{messages}}}").unwrap();
    fs::write(file, &text).unwrap();
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_transfers_go_on_where_they_were() {
    let stack = Stack::in_memory();
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (folder.path().join("one.jsonl"), folder.path().join("two.jsonl"));
    let messages = number_of(MESSAGES.0, MESSAGES.1);
    let text = write_export(&one, messages);
    // Slow enough to be killed in the middle.
    let slow = channels(&stack, &["import", one.to_str().unwrap(), "--write-units", "500"]).spawn().unwrap();
    let progress = folder.path().join("one.jsonl.progress");
    kill_when(slow, "some messages are imported", &progress, |text| {
        let content: Value = serde_json::from_str(text).unwrap_or_default();
        content["state"]["records"].as_u64().is_some_and(|records| records > 250)
    })
    .await;
    assert_eq!(stack.ask("olga", Method::GET, "/channels/archive", Value::Null).await.0, 404, "nothing is visible yet");
    let ran = import(&stack, &one, &[]);
    ran.succeeded();
    assert!(ran.stderr.contains("Going on after record") && !progress.exists(), "{ran:?}");

    let arguments = ["export", "archive", "--output", two.to_str().unwrap(), "--read-units", "40"];
    let slow = channels(&stack, &arguments).spawn().unwrap();
    let part = folder.path().join("two.jsonl.part");
    kill_when(slow, "some messages are exported", &part, |text| text.lines().count() > 300).await;
    assert!(!two.exists());
    let ran = run(channels(&stack, &["export", "archive", "--output", two.to_str().unwrap(), "--json"]));
    ran.succeeded();
    let result: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(result["messages"], messages);
    assert!(fs::read_to_string(&two).unwrap() == text && !part.exists(), "the export differs from the import");
    // The agent replies to new messages only.
    let (_, channel) = stack.ask("olga", Method::GET, "/channels/archive", Value::Null).await;
    assert_eq!(channel["last_seq"], messages);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_import_can_be_discarded() {
    let stack = Stack::in_memory();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("one.jsonl");
    let text = write_export(&file, 600);
    // The last record is missing.
    let cut = text.rfind("{\"type\":\"end\"").unwrap();
    fs::write(&file, &text[..cut]).unwrap();
    let ran = import(&stack, &file, &[]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("not complete") && ran.stderr.contains("--discard"), "{ran:?}");
    assert_eq!(import(&stack, &file, &["--discard"]).code, Some(4), "without a terminal, only --yes means yes");
    import(&stack, &file, &["--discard", "--yes"]).succeeded();
    let left = stack.dynamodb().await.scan().table_name("chat_events").send().await.unwrap();
    assert_eq!(left.count, 0);
    fs::write(&file, &text).unwrap();
    import(&stack, &file, &[]).succeeded();
    let again = import(&stack, &file, &[]);
    assert!(again.code == Some(1) && again.stderr.contains("archive exists already"), "{again:?}");
    import(&stack, &file, &["--discard", "--yes"]).succeeded();
    let skipped = import(&stack, &file, &["--skip-existing", "--json"]);
    skipped.succeeded();
    assert_eq!(serde_json::from_str::<Value>(&skipped.stdout).unwrap()["skipped_channels"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn channels_of_slack_and_mattermost_are_read_over_rest() {
    let stack = Stack::in_memory();
    let folder = tempfile::tempdir().unwrap();
    let progress = folder.path().join("progress");
    let progress = ["--progress-file", progress.to_str().unwrap()];
    for (format, source) in [("slack", "slack"), ("mattermost", "mattermost.jsonl")] {
        let ran = import(&stack, &sample(source), &[&["--format", format], &progress[..]].concat());
        ran.succeeded();
        assert!(ran.stderr.contains("1 reactions with a custom emoji"), "{ran:?}");
    }
    let alice = "alice@example.com";
    let history = stack.history(alice, "general").await;
    assert_eq!((history.len(), &history[1]["content"]), (8, &json!("Will do")));
    assert_eq!(history[0]["reactions"][0]["count"], 2);
    let (_, replies) = stack.ask(alice, Method::GET, "/channels/general/messages/1/replies", Value::Null).await;
    assert_eq!(replies["messages"].as_array().unwrap().len(), 2);
    assert_eq!(stack.history(alice, "acme.town-square").await.len(), 4);
    assert_eq!(stack.ask("eve", Method::GET, "/channels/acme.plans", Value::Null).await.0, 404);
    assert_eq!(stack.send(alice, "general", "and on").await["seq"], 9);
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_tables_or_json_and_exit_codes_tell_the_reason() {
    let stack = Stack::in_memory();
    stack.create_channel("olga", "room", "private", "off").await;
    let table = run(channels(&stack, &["list"]));
    table.succeeded();
    let heading = table.stdout.lines().next().unwrap();
    assert!(
        heading.contains("CHANNEL") && table.stdout.contains("lobby") && table.stdout.contains("room"),
        "{table:?}"
    );
    let lines = run(channels(&stack, &["list", "--json"]));
    let ids: Vec<Value> =
        lines.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["channel_id"].take()).collect();
    assert_eq!(ids, ["lobby", "room"]);
    let missing = run(channels(&stack, &["export", "nowhere"]));
    assert!(missing.code == Some(3) && missing.stderr.contains("nowhere"), "{missing:?}");
    let mut without_target = switchboard();
    without_target.args(["channels", "list"]).env_remove("SWITCHBOARD_STACK");
    let without_target = run(without_target);
    assert!(without_target.code == Some(2) && without_target.stderr.contains("--ready-file"), "{without_target:?}");
    let mut unknown = switchboard();
    unknown.arg("dance");
    assert_eq!(run(unknown).code, Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_has_the_commands_of_the_other_programs() {
    let stack = Stack::in_memory();
    let ready_file = stack.ready_file();
    let ready_file = ready_file.to_str().unwrap();
    let token = |user: &str| {
        let mut command = switchboard();
        command.args(["token", "--user", user, "--ready-file", ready_file]);
        let ran = run(command);
        ran.succeeded();
        ran.stdout.trim_end().to_owned()
    };
    let tokens = [token("one"), token("two")].join(",");
    let mut smoke = switchboard();
    smoke.args(["smoke", "--rest", stack.address("rest"), "--websocket", stack.address("websocket")]);
    smoke.env("SMOKE_TOKENS", tokens);
    run(smoke).succeeded();
    for (arguments, part) in [
        (&["local", "--help"][..], "--bin-dir"),
        (&["local", "token", "--help"], "--ttl"),
        (&["replay", "--help"], "--queue-url"),
        (&["completions", "bash"], "channels"),
    ] {
        let mut command = switchboard();
        command.args(arguments);
        let ran = run(command);
        ran.succeeded();
        assert!(ran.stdout.contains(part), "{arguments:?}");
    }
}
