//! Numbered changes of messages, as a client reads them: pages, numbers in frames and answers, ends of records.

use std::collections::BTreeSet;

use aws_sdk_dynamodb::types::AttributeValue;
use local::token::DEVELOPMENT_SECRET;
use serde_json::{Value, json};
use switchboard_client::Method;

use crate::stack::{Stack, answered, claims_of, signed};

pub(crate) const THUMB: &str = "%F0%9F%91%8D";

/// Requests a page of changes. Returns its status and its JSON.
pub(crate) async fn changes(stack: &Stack, user: &str, channel: &str, query: &str) -> (u16, Value) {
    stack.ask(user, Method::GET, &format!("/channels/{channel}/changes?{query}"), Value::Null).await
}

/// Returns the number of a channel's newest change.
pub(crate) async fn newest(stack: &Stack, user: &str, channel: &str) -> u64 {
    let path = format!("/channels/{channel}/messages?limit=1");
    let (status, page) = stack.ask(user, Method::GET, &path, Value::Null).await;
    assert_eq!(status, 200, "{page}");
    page["rev"].as_u64().expect("each page of the history has the number")
}

/// Reads the changes one by one, and requires that each number exists once. Returns the newest one.
pub(crate) async fn require_unbroken(stack: &Stack, user: &str, channel: &str) -> u64 {
    let mut after = 0;
    loop {
        let (status, page) = changes(stack, user, channel, &format!("after={after}&limit=1")).await;
        assert_eq!(status, 200, "{channel} after {after}: {page}");
        let newest = page["rev"].as_u64().unwrap();
        let shown = page["changes"].as_array().unwrap();
        assert!(shown.iter().all(|change| change["rev"] == after + 1), "{channel} after {after}: {page}");
        if page["has_more"] == false {
            assert!(newest == after || newest == after + 1, "{channel} after {after}: {page}");
            return newest;
        }
        assert_eq!(page["next"], json!({ "after": after + 1 }), "{channel} after {after}: {page}");
        after += 1;
    }
}

/// Adds the numbers that an event covers. A new message has none.
pub(crate) fn cover(covered: &mut BTreeSet<u64>, event: &Value) {
    let number = |name: &str| event.get(name).map(|number| number.as_u64().unwrap());
    let Some(rev) = number("rev") else {
        assert_eq!(event["type"], "message.created", "a change has its number: {event}");
        return;
    };
    let from = number("rev_from").unwrap_or(rev);
    assert!(number("rev_from").is_none_or(|from| from < rev), "{event}");
    covered.extend(from..=rev);
}

/// Returns each change of a page: its number, and the number of its message.
fn listed(page: &Value) -> Vec<(u64, u64)> {
    let changes = page["changes"].as_array().unwrap().iter();
    changes
        .map(|change| {
            assert_eq!(change.as_object().unwrap().len(), 2, "{change}");
            assert_eq!(change["message"].get("rev"), None, "the number stands beside the message: {change}");
            (change["rev"].as_u64().unwrap(), change["message"]["seq"].as_u64().unwrap())
        })
        .collect()
}

fn message(seq: u64) -> String {
    format!("/channels/room/messages/{seq}")
}

async fn edit(stack: &Stack, user: &str, seq: u64, content: &str) -> u16 {
    stack.ask(user, Method::PATCH, &message(seq), json!({ "content": content })).await.0
}

async fn react(stack: &Stack, user: &str, seq: u64, method: Method) -> u16 {
    stack.ask(user, method, &format!("{}/reactions/{THUMB}", message(seq)), Value::Null).await.0
}

async fn delete(stack: &Stack, user: &str, seq: u64) -> u16 {
    stack.ask(user, Method::DELETE, &message(seq), Value::Null).await.0
}

/// Creates a public channel with three messages of alice, and makes five changes: of the messages 1, 2, 1, 3 and 2.
async fn changed_room(stack: &Stack) {
    stack.create_channel("alice", "room", "public", "off").await;
    for content in ["one", "two", "three"] {
        stack.send("alice", "room", content).await;
    }
    assert_eq!(edit(stack, "alice", 1, "first").await, 200);
    assert_eq!(react(stack, "bob", 2, Method::PUT).await, 204);
    assert_eq!(edit(stack, "alice", 1, "the first").await, 200);
    assert_eq!(delete(stack, "alice", 3).await, 204);
    assert_eq!(react(stack, "carol", 2, Method::PUT).await, 204);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_have_each_changed_message_once_in_the_order_of_the_numbers() {
    let stack = Stack::in_memory();
    changed_room(&stack).await;
    let page = async |query: &str| {
        let (status, page) = changes(&stack, "bob", "room", query).await;
        assert_eq!(status, 200, "{query}: {page}");
        assert_eq!(page["rev"], 5, "{query}: {page}");
        assert_eq!(page["has_more"], json!(page.get("next").is_some()), "{query}: {page}");
        page
    };
    let all = page("after=0").await;
    assert_eq!((listed(&all), all.get("next")), (vec![(3, 1), (4, 3), (5, 2)], None));
    for change in all["changes"].as_array().unwrap() {
        let path = message(change["message"]["seq"].as_u64().unwrap());
        let found = stack.ask("bob", Method::GET, &path, Value::Null).await;
        assert_eq!(found, (200, change["message"].clone()), "a change has the message as its reader sees it");
    }
    let tombstone = &all["changes"][1]["message"];
    assert!(tombstone["deleted_at"].is_string() && tombstone["content"] == "", "{tombstone}");
    let reacted = |page: &Value| page["changes"][2]["message"]["reactions"][0]["reacted"].clone();
    assert_eq!(reacted(&all), true);
    assert_eq!(reacted(&changes(&stack, "dave", "room", "after=0").await.1), false);

    // A message that was changed again is on the page of its last change.
    let mut walked = Vec::new();
    for (query, expected, next) in [
        ("after=0&limit=2", vec![], Some(2)),
        ("after=2&limit=2", vec![(3, 1), (4, 3)], Some(4)),
        ("after=4&limit=2", vec![(5, 2)], None),
    ] {
        let page = page(query).await;
        assert_eq!((listed(&page), page["next"]["after"].as_u64()), (expected, next), "{query}");
        walked.extend(listed(&page));
    }
    assert_eq!(walked, listed(&all));
    assert_eq!(listed(&page("after=3").await), [(4, 3), (5, 2)]);
    let nothing = page("after=5").await;
    assert_eq!(nothing, json!({ "changes": [], "has_more": false, "rev": 5 }));
    assert_eq!(require_unbroken(&stack, "bob", "room").await, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_cover_each_number_and_what_changes_nothing_takes_none() {
    let stack = Stack::in_memory();
    stack.create_channel("alice", "room", "public", "off").await;
    let mut socket = stack.socket("bob", "room").await;
    stack.send("alice", "room", "one").await;
    stack.send("alice", "room", "two").await;
    for event in socket.events(2).await {
        assert_eq!((&event["type"], event.get("rev"), event.get("rev_from")), (&json!("message.created"), None, None));
    }
    let mut expected = 0;
    for (status, takes_a_number) in [
        (edit(&stack, "alice", 1, "first").await == 200, true),
        (edit(&stack, "alice", 1, "first").await == 200, false),
        (react(&stack, "bob", 1, Method::PUT).await == 204, true),
        (react(&stack, "bob", 1, Method::PUT).await == 204, false),
        (react(&stack, "bob", 1, Method::DELETE).await == 204, true),
        (react(&stack, "bob", 1, Method::DELETE).await == 204, false),
        (delete(&stack, "alice", 2).await == 204, true),
        (delete(&stack, "alice", 2).await == 204, false),
        (edit(&stack, "alice", 2, "again").await == 404, false),
        (edit(&stack, "mallory", 1, "mine").await == 403, false),
        (react(&stack, "bob", 9, Method::PUT).await == 404, false),
    ] {
        assert!(status, "after {expected} changes");
        expected += u64::from(takes_a_number);
    }
    let stale = stack.request("alice", Method::PATCH, &message(1)).header("if-match", "\"1\"");
    assert_eq!(answered(stale.json(&json!({ "content": "late" }))).await.0, 412);
    // Neither a reply in a thread nor a setting is a change of a message.
    let reply = json!({ "content": "re", "thread_seq": 1 });
    assert_eq!(stack.ask("bob", Method::POST, "/channels/room/messages", reply).await.0, 201);
    assert_eq!(stack.ask("alice", Method::PATCH, "/channels/room", json!({ "name": "Room" })).await.0, 200);
    assert_eq!((newest(&stack, "bob", "room").await, expected), (4, 4));

    let mut covered = BTreeSet::new();
    let mut kinds = Vec::new();
    while covered.len() < 4 {
        let event = socket.events(1).await.remove(0);
        cover(&mut covered, &event);
        kinds.extend(event.get("rev").map(|_| event["type"].as_str().unwrap().to_owned()));
    }
    assert!(covered.iter().copied().eq(1..=4), "{covered:?}");
    assert!(kinds.iter().any(|kind| kind == "message.deleted"), "{kinds:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_to_sends_and_pages_of_messages_have_the_number() {
    let stack = Stack::in_memory();
    stack.create_channel("alice", "room", "public", "off").await;
    let rev = async |path: &str| stack.ask("bob", Method::GET, path, Value::Null).await.1.get("rev").cloned();
    let first: Value = stack.post("alice", "room", "one", Some("k")).await.unwrap().json().await.unwrap();
    assert_eq!(first["rev"], 0, "no message was ever changed");
    assert_eq!(rev("/channels/room/messages").await, Some(json!(0)));
    for count in 1..=3 {
        assert_eq!(edit(&stack, "alice", 1, &format!("edit {count}")).await, 200);
        for path in ["/channels/room/messages", "/channels/room/messages?after=0", "/channels/room/messages/1/replies"]
        {
            assert_eq!(rev(path).await, Some(json!(count)), "{path}");
        }
        let sent: Value = stack.post("alice", "room", "more", None).await.unwrap().json().await.unwrap();
        // The number of a send may be from before, but never from after it.
        assert!(sent["rev"].as_u64().is_some_and(|rev| rev <= count), "{count}: {sent}");
    }
    assert_eq!((rev("/channels/room/threads").await, rev(&message(1)).await), (None, None));
    let again: Value = stack.post("alice", "room", "one", Some("k")).await.unwrap().json().await.unwrap();
    assert!(again["seq"] == 1 && again["rev"].as_u64().is_some_and(|rev| rev <= 3), "{again}");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_requests_for_changes_are_explained() {
    let stack = Stack::in_memory();
    changed_room(&stack).await;
    for (query, field, code) in [
        ("", "after", "required"),
        ("limit=5", "after", "required"),
        ("after=", "after", "malformed"),
        ("after=-1", "after", "malformed"),
        ("after=01", "after", "malformed"),
        ("after=1.0", "after", "malformed"),
        ("after=one", "after", "malformed"),
        ("after=1&after=2", "after", "malformed"),
        ("after=9007199254740992", "after", "out_of_range"),
        ("after=0&limit=0", "limit", "out_of_range"),
        ("after=0&limit=101", "limit", "out_of_range"),
        ("after=0&limit=x", "limit", "malformed"),
        ("after=0&before=3", "before", "unknown_parameter"),
        ("after=0&cursor=x", "cursor", "unknown_parameter"),
        ("after=0&wait=1", "wait", "out_of_range"),
    ] {
        let (status, problem) = changes(&stack, "bob", "room", query).await;
        let error = &problem["errors"][0];
        assert_eq!((status, &error["field"], &error["code"]), (400, &json!(field), &json!(code)), "{query}: {problem}");
        assert_eq!(problem["errors"].as_array().unwrap().len(), 1, "{query}: {problem}");
    }
    for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
        let (status, problem) = stack.ask("bob", method.clone(), "/channels/room/changes?after=0", Value::Null).await;
        assert_eq!((status, &problem["code"]), (405, &json!("method_not_allowed")), "{method}");
    }
}

/// Requires that the changes after a number are no longer stored.
async fn require_gone(stack: &Stack, after: u64) {
    let response =
        stack.request("bob", Method::GET, &format!("/channels/room/changes?after={after}")).send().await.unwrap();
    assert_eq!(response.status(), 410, "after {after}");
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let problem: Value = response.json().await.unwrap();
    assert_eq!((&problem["code"], &problem["status"]), (&json!("changes_expired"), &json!(410)), "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("read the messages again"), "{problem}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_whose_next_record_is_gone_says_so() {
    let stack = Stack::in_memory();
    changed_room(&stack).await;
    require_gone(&stack, 6).await;
    require_gone(&stack, 9_007_199_254_740_991).await;

    let s = |text: &str| AttributeValue::S(text.to_owned());
    let (tables, partition) = (stack.dynamodb().await, format!("changes#{}", stack.channel_key("room").await));
    // The first record is removed. The second one has expired, whether it is removed yet or not.
    let delete = tables.delete_item().table_name("chat_channels").key("channel_id", s(&partition));
    delete.key("sk", s("0000000000000001")).send().await.unwrap();
    let expire = tables.update_item().table_name("chat_channels").key("channel_id", s(&partition));
    let expire = expire.key("sk", s("0000000000000002")).update_expression("SET expires_at = :past");
    expire.expression_attribute_values(":past", AttributeValue::N("1".to_owned())).send().await.unwrap();
    for after in [0, 1] {
        require_gone(&stack, after).await;
    }
    let (status, rest) = changes(&stack, "bob", "room", "after=2").await;
    assert_eq!((status, listed(&rest)), (200, vec![(3, 1), (4, 3), (5, 2)]));
    assert_eq!(changes(&stack, "bob", "room", "after=5").await.0, 200, "who has all needs no record");

    // The next change goes on from there.
    assert_eq!(edit(&stack, "alice", 2, "second").await, 200);
    let (_, rest) = changes(&stack, "bob", "room", "after=4").await;
    assert_eq!((listed(&rest), &rest["rev"]), (vec![(6, 2)], &json!(6)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_has_expired_is_left_out_and_its_numbers_stay() {
    let stack = Stack::in_memory();
    changed_room(&stack).await;
    let key = AttributeValue::S(stack.channel_key("room").await);
    let expire = stack.dynamodb().await.update_item().table_name("chat_events").key("channel_id", key);
    let expire = expire.key("seq", AttributeValue::N("1".to_owned())).update_expression("SET expires_at = :past");
    expire.expression_attribute_values(":past", AttributeValue::N("1".to_owned())).send().await.unwrap();

    let (status, page) = changes(&stack, "bob", "room", "after=0").await;
    assert_eq!((status, listed(&page), &page["rev"]), (200, vec![(4, 3), (5, 2)], &json!(5)));
    assert_eq!(edit(&stack, "alice", 1, "too late").await, 404);
    assert_eq!(react(&stack, "bob", 1, Method::PUT).await, 404);
    assert_eq!(require_unbroken(&stack, "bob", "room").await, 5, "an expiry takes no number");
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_and_replies_are_for_readers_of_the_channel() {
    let stack = Stack::in_memory();
    stack.create_channel("alice", "room", "private", "off").await;
    for user in ["bob", "carol"] {
        let path = format!("/channels/room/members/{user}");
        assert_eq!(stack.ask("alice", Method::PUT, &path, Value::Null).await.0, 201);
    }
    stack.send("alice", "room", "one").await;
    assert_eq!(edit(&stack, "alice", 1, "first").await, 200);
    assert_eq!(stack.ask("alice", Method::DELETE, "/channels/room/members/carol", Value::Null).await.0, 204);
    let mut limited = claims_of("bob", 600);
    limited["channels"] = json!(["other"]);
    let limited = signed(&limited, DEVELOPMENT_SECRET);
    // A member may read both; the agent is off, so there is no reply.
    for (path, of_member) in [("/channels/room/changes?after=0", 200), ("/channels/room/messages/1/reply", 404)] {
        for stranger in ["mallory", "carol"] {
            let (status, problem) = stack.ask(stranger, Method::GET, path, Value::Null).await;
            assert_eq!((status, &problem["code"]), (404, &json!("channel_not_found")), "{stranger} {path}");
        }
        let (status, problem) = answered(stack.bearing(&limited, Method::GET, path)).await;
        assert_eq!((status, &problem["code"]), (404, &json!("channel_not_found")), "{path}");
        assert_eq!(answered(stack.anonymous(Method::GET, path)).await.0, 401, "{path}");
        let (status, found) = stack.ask("bob", Method::GET, path, Value::Null).await;
        assert_eq!(status, of_member, "{path}: {found}");
        assert!(status == 200 || found["code"] == "reply_not_found", "{path}: {found}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_takes_an_id_counts_from_zero() {
    let stack = Stack::in_memory();
    changed_room(&stack).await;
    assert_eq!(stack.ask("alice", Method::DELETE, "/channels/room", Value::Null).await.0, 204);
    stack.create_channel("carol", "room", "public", "off").await;
    assert_eq!(newest(&stack, "bob", "room").await, 0);
    assert_eq!(
        changes(&stack, "bob", "room", "after=0").await.1,
        json!({ "changes": [], "has_more": false, "rev": 0 })
    );
    for old in [1, 5] {
        require_gone(&stack, old).await;
    }
    stack.send("carol", "room", "new").await;
    assert_eq!(edit(&stack, "carol", 1, "newer").await, 200);
    let (_, page) = changes(&stack, "bob", "room", "after=0").await;
    assert_eq!((listed(&page), &page["rev"]), (vec![(1, 1)], &json!(1)));
    assert_eq!(page["changes"][0]["message"]["content"], "newer");
    require_gone(&stack, 5).await;
}
