//! Exports of Slack and Mattermost, as records.

use std::path::Path;

use chat::{
    app::transfer::{ChannelRecord, ExportProgress, MessageRecord, Record},
    model::{
        channel::{MemberRole, Visibility},
        id::UserId,
        message::ContentType,
        seq::Seq,
    },
};
use futures::executor::block_on;
use switchboard::formats::{Losses, UserOptions, Workspace, mattermost::Mattermost, pass_records, slack::Slack};

fn sample(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples").join(name)
}

/// Returns the records of a workspace, which must be a complete export, and the parts that are left out.
fn records(workspace: &impl Workspace) -> (Vec<Record>, Vec<(&'static str, u64)>) {
    let (mut records, mut losses) = (Vec::new(), Losses::default());
    let mut pass = async |record: Record| -> anyhow::Result<()> {
        records.push(record);
        Ok(())
    };
    block_on(pass_records(workspace, &UserOptions::default(), &mut losses, &mut pass)).unwrap();
    let mut progress = ExportProgress::default();
    for record in &records {
        progress.add(record.clone()).unwrap();
    }
    assert!(progress.is_complete);
    (records, losses.counts().collect())
}

/// Returns a channel, its members, and its messages.
fn channel<'a>(records: &'a [Record], id: &str) -> (&'a ChannelRecord, Vec<(&'a str, bool)>, Vec<&'a MessageRecord>) {
    let is_of = |record: &Record| matches!(record, Record::Channel(channel) if channel.channel_id.as_str() == id);
    let at = records.iter().position(is_of).unwrap();
    let Record::Channel(channel) = &records[at] else { panic!("{id}") };
    let (mut members, mut messages) = (Vec::new(), Vec::new());
    for record in &records[at + 1..] {
        match record {
            Record::Member(member) => {
                members.push((member.user_id.as_str(), member.role == MemberRole::Owner));
            }
            Record::Message(message) => messages.push(message.as_ref()),
            _ => break,
        }
    }
    (channel, members, messages)
}

fn contents<'a>(messages: &[&'a MessageRecord]) -> Vec<&'a str> {
    messages.iter().map(|message| message.content.as_str()).collect()
}

fn threads(messages: &[&MessageRecord]) -> Vec<Option<u64>> {
    messages.iter().map(|message| message.thread_seq.map(Seq::get)).collect()
}

#[test]
fn a_workspace_of_slack_is_imported_with_its_threads_and_reactions() {
    let (records, losses) = records(&Slack::open(&sample("slack"), &UserOptions::default()).unwrap());
    assert_eq!(losses, [("reactions with a custom emoji", 1)]);
    let (general, members, messages) = channel(&records, "general");
    assert_eq!((general.visibility, general.last_seq), (Visibility::Public, Seq::new(8)));
    assert_eq!(general.created_at.to_string(), "2013-02-13T19:13:24.000Z");
    let expected = [("U025CAROL", false), ("alice=40example.com", true), ("bob=40example.com", false)];
    assert_eq!(members, expected);
    let expected = [
        "Hello @bob=40example.com, read the rules (https://example.com/rules) & #empty",
        "Will do",
        "Lunch?",
        "Deployed",
        "Done",
        "[file: plan.pdf]",
        "",
        "What was it?",
    ];
    assert_eq!(contents(&messages), expected);
    assert_eq!(threads(&messages), [None, Some(1), None, None, Some(1), None, None, Some(7)]);
    let root = messages[0];
    assert_eq!(root.created_at.to_string(), "2013-02-13T19:13:40.000Z");
    assert_eq!(root.thread.map(|thread| (thread.reply_count, thread.last_reply_seq)), Some((2, Seq::new(5))));
    assert_eq!((root.reactions[0].emoji.as_str(), root.reactions[0].user_ids.len()), ("👍", 2));
    assert_eq!(messages[4].reactions[0].emoji.as_str(), "👍🏽");
    assert_eq!(messages[2].edited_at.unwrap().to_string(), "2013-02-13T19:15:00.000Z");
    assert_eq!(messages[3].sender_id.as_str(), "B01");
    assert!(messages[6].deleted_at.is_some());
}

#[test]
fn private_channels_and_conversations_of_slack_stay_private() {
    let (records, _) = records(&Slack::open(&sample("slack"), &UserOptions::default()).unwrap());
    for (id, name, content) in [
        ("secret-plans", "secret-plans", "The plan is secret"),
        ("D024BE91L", "alice=40example.com, bob=40example.com", "psst"),
        ("G0MPIM001", "U025CAROL, alice=40example.com, bob=40example.com", "We three"),
    ] {
        let (channel, members, messages) = channel(&records, id);
        assert_eq!((channel.visibility, channel.name.as_str()), (Visibility::Private, name));
        assert_eq!(contents(&messages), [content]);
        assert_eq!(members.iter().all(|(_, is_owner)| *is_owner), id != "secret-plans", "{id}");
    }
    let (empty, _, messages) = channel(&records, "empty");
    assert!(empty.archived_at.is_some() && messages.is_empty() && empty.last_seq == Seq::ZERO);
}

#[test]
fn a_bulk_export_of_mattermost_is_imported_in_the_order_of_its_times() {
    let (records, losses) = records(&Mattermost::open(&sample("mattermost.jsonl"), &UserOptions::default()).unwrap());
    assert_eq!(losses, [("reactions with a custom emoji", 1)]);
    let (square, members, messages) = channel(&records, "acme.town-square");
    assert_eq!((square.name.as_str(), square.visibility), ("Town Square", Visibility::Public));
    assert_eq!(members, [("alice=40example.com", true), ("bob=40example.com", false)]);
    let expected = ["**Welcome**", "Thanks", "Between the replies\n[file: plan.pdf]", "Sure"];
    assert_eq!(contents(&messages), expected);
    assert_eq!(threads(&messages), [None, Some(1), None, Some(1)]);
    assert!(messages.iter().all(|message| message.content_type == ContentType::Markdown));
    assert_eq!(messages[0].thread.map(|thread| (thread.reply_count, thread.last_reply_seq)), Some((2, Seq::new(4))));
    assert_eq!(messages[1].reactions[0].emoji.as_str(), "❤️");
    assert!(messages[2].edited_at.is_some());
    let (plans, _, messages) = channel(&records, "acme.plans");
    assert_eq!((plans.visibility, contents(&messages)), (Visibility::Private, vec!["The plan"]));
    let is_direct = |record: &&Record| matches!(record, Record::Channel(channel) if channel.channel_id.as_str().starts_with("direct."));
    assert_eq!(records.iter().filter(is_direct).count(), 1, "members in another order are the same channel");
}

#[test]
fn records_are_the_same_each_time() {
    let open = || Slack::open(&sample("slack"), &UserOptions::default()).unwrap();
    assert_eq!(records(&open()), records(&open()));
    let open = || Mattermost::open(&sample("mattermost.jsonl"), &UserOptions::default()).unwrap();
    assert_eq!(records(&open()), records(&open()));
}

#[test]
fn a_channel_without_an_owner_needs_one_by_name() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("users.json"), "[]").unwrap();
    std::fs::write(folder.path().join("channels.json"), r#"[{ "id": "C1", "name": "lost" }]"#).unwrap();
    let passed = |options: &UserOptions| {
        let workspace = Slack::open(folder.path(), options).unwrap();
        let mut pass = async |_: Record| -> anyhow::Result<()> { Ok(()) };
        block_on(pass_records(&workspace, options, &mut Losses::default(), &mut pass))
    };
    let error = passed(&UserOptions::default()).unwrap_err().to_string();
    assert!(error.contains("lost") && error.contains("--owner"), "{error}");
    let owner: Option<UserId> = Some("olga".parse().unwrap());
    passed(&UserOptions { owner, ..UserOptions::default() }).unwrap();
}

#[test]
fn a_folder_or_a_file_of_another_kind_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let error = Slack::open(folder.path(), &UserOptions::default()).unwrap_err().to_string();
    assert!(error.contains("users.json"), "{error}");
    let file = folder.path().join("data.jsonl");
    for content in ["{\"type\":\"version\",\"version\":2}\n", "{\"type\":\"team\"}\n"] {
        std::fs::write(&file, content).unwrap();
        assert!(Mattermost::open(&file, &UserOptions::default()).is_err(), "{content}");
    }
}
