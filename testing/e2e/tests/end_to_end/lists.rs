//! Lists of channels.

use serde_json::{Value, json};
use switchboard_client::Method;

use crate::stack::{Stack, answered};

async fn found(stack: &Stack, user: &str, query: &str) -> (Vec<String>, Value) {
    let (status, list) = stack.ask(user, Method::GET, &format!("/channels?{query}"), Value::Null).await;
    assert_eq!(status, 200, "{list}");
    let ids = list["channels"].as_array().unwrap().iter();
    assert_eq!(list["has_more"], json!(list.get("next").is_some()), "{list}");
    (ids.map(|channel| channel["channel_id"].as_str().unwrap().to_owned()).collect(), list["next"]["cursor"].clone())
}

fn sorted(mut ids: Vec<String>) -> Vec<String> {
    ids.sort_unstable();
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_is_created_once_however_often_it_is_asked_for() {
    let stack = Stack::in_memory();
    let create = async |user: &str, key: &str, body: Value| {
        let request = stack.request(user, Method::POST, "/channels").header("idempotency-key", key).json(&body);
        answered(request).await
    };
    let unnamed = json!({ "name": "Room", "visibility": "private" });
    let tries = (0..8).map(|_| create("alice", "k", unnamed.clone()));
    let answers = futures::future::join_all(tries).await;
    assert_eq!(answers.iter().filter(|(status, _)| *status == 201).count(), 1, "{answers:?}");
    // Any of them may be the one that created the channel, or one that failed against the others.
    let created = &answers.iter().find(|(status, _)| *status == 201).unwrap().1["channel_id"];
    for (_, answer) in answers.iter().filter(|(status, _)| *status != 503) {
        assert_eq!(answer["channel_id"], *created);
    }
    assert_eq!(create("alice", "k", unnamed.clone()).await.0, 200);
    assert_eq!(create("alice", "k", json!({ "name": "Other", "visibility": "private" })).await.0, 422);
    let (status, other) = create("bob", "k", unnamed.clone()).await;
    assert_eq!(status, 201, "another creator's key is another key");
    assert_ne!(other["channel_id"], *created);
    let named = json!({ "channel_id": "room", "name": "Room", "visibility": "private" });
    assert_eq!(create("alice", "k2", named.clone()).await.0, 201);
    assert_eq!(create("alice", "k2", named.clone()).await.0, 200);
    assert_eq!(create("alice", "k3", named.clone()).await.0, 409);
    assert_eq!(create("bob", "k2", named).await.0, 409);
    assert_eq!(create("alice", "a b", unnamed).await.0, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn channels_are_found_by_who_may_see_them_and_by_name() {
    let stack = Stack::in_memory();
    for (id, name, visibility) in [
        ("a", "Team Red", "public"),
        ("b", "team blue #1", "public"),
        ("c", "Team secrets", "private"),
        ("d", "Ärzte & Köche", "public"),
    ] {
        let body = json!({ "channel_id": id, "name": name, "visibility": visibility });
        assert_eq!(stack.ask("alice", Method::POST, "/channels", body).await.0, 201);
    }
    assert_eq!(found(&stack, "bob", "visibility=public").await.0, ["lobby", "b", "a", "d"]);
    assert_eq!(found(&stack, "bob", "visibility=public&name_prefix=TEAM").await.0, ["b", "a"]);
    assert_eq!(found(&stack, "bob", "visibility=public&name_prefix=%C3%A4rzte%20%26").await.0, ["d"]);
    let (first, cursor) = found(&stack, "bob", "visibility=public&name_prefix=team&limit=1").await;
    assert_eq!(first, ["b"]);
    let cursor = cursor.as_str().unwrap();
    let (second, end) =
        found(&stack, "bob", &format!("visibility=public&name_prefix=team&limit=1&cursor={cursor}")).await;
    assert_eq!((second, end), (vec!["a".to_owned()], Value::Null));
    assert_eq!(sorted(found(&stack, "alice", "name_prefix=team").await.0), ["a", "b", "c"]);
    assert!(found(&stack, "bob", "name_prefix=team").await.0.is_empty());

    assert_eq!(stack.ask("alice", Method::PATCH, "/channels/a", json!({ "visibility": "private" })).await.0, 200);
    assert_eq!(stack.ask("alice", Method::PATCH, "/channels/b", json!({ "name": "Crew" })).await.0, 200);
    assert!(found(&stack, "bob", "visibility=public&name_prefix=team").await.0.is_empty());
    assert_eq!(found(&stack, "bob", "visibility=public&name_prefix=crew").await.0, ["b"]);
    let of_other_list = format!("cursor={cursor}");
    for wrong in [
        "visibility=private",
        "visibility=",
        "archived=yes",
        "membership=invited",
        "after=a",
        "cursor=a",
        "cursor=",
        &of_other_list,
        "name_prefix=a&name_prefix=b",
        "x=1",
    ] {
        let (status, _) = stack.ask("bob", Method::GET, &format!("/channels?{wrong}"), Value::Null).await;
        assert_eq!(status, 400, "{wrong}");
    }
}

/// Returns a page of the user's channels: ids, numbers of unread messages, and contents of the last messages.
async fn screen(stack: &Stack, user: &str, query: &str) -> Vec<(String, u64, Value)> {
    let (status, list) = stack.ask(user, Method::GET, &format!("/channels?{query}"), Value::Null).await;
    assert_eq!(status, 200, "{list}");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let row = |one: &Value| {
        let unread = one["membership"]["unread_count"].as_u64().unwrap();
        (text(&one["channel_id"]), unread, one["last_message"]["content"].clone())
    };
    list["channels"].as_array().unwrap().iter().map(row).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_list_has_all_that_a_screen_of_channels_shows() {
    let stack = Stack::in_memory();
    for id in ["a", "b", "c"] {
        stack.create_channel("alice", id, "private", "off").await;
        assert_eq!(stack.ask("alice", Method::PUT, &format!("/channels/{id}/members/bob"), Value::Null).await.0, 201);
    }
    // Channels whose last messages have the same time are in the order of their ids.
    for (id, content) in [("c", "1"), ("b", "2"), ("b", "3"), ("a", "4")] {
        stack.send("alice", id, content).await;
    }
    let row = |id: &str, unread: u64, content: &str| (id.to_owned(), unread, json!(content));
    let own = async |query: &str| screen(&stack, "bob", query).await;
    assert_eq!(own("").await, [row("a", 1, "4"), row("b", 2, "3"), row("c", 1, "1")]);
    assert_eq!(screen(&stack, "alice", "").await[0], row("a", 0, "4"), "own messages are not unread");
    // Sending moves what counts as read, and a deleted message is not unread.
    stack.send("bob", "c", "mine").await;
    assert_eq!(stack.ask("alice", Method::DELETE, "/channels/b/messages/1", Value::Null).await.0, 204);
    assert_eq!(own("").await, [row("c", 0, "mine"), row("a", 1, "4"), row("b", 1, "3")]);
    stack.send("alice", "c", &"x".repeat(201)).await;
    assert_eq!(own("limit=1").await, [row("c", 1, &format!("{}…", "x".repeat(200)))]);

    // Each channel is on one page. An archived one is shown on request.
    assert_eq!(stack.ask("alice", Method::PATCH, "/channels/a", json!({ "archived": true })).await.0, 200);
    for (archived, expected) in [("false", vec!["c", "b"]), ("true", vec!["c", "a", "b"])] {
        let (mut ids, mut query) = (Vec::new(), format!("limit=1&archived={archived}"));
        loop {
            let (page, cursor) = found(&stack, "bob", &query).await;
            ids.extend(page);
            let Some(cursor) = cursor.as_str() else { break };
            query = format!("limit=1&archived={archived}&cursor={cursor}");
        }
        assert_eq!(ids, expected, "archived={archived}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_has_one_shape_wherever_it_is_read() {
    let stack = Stack::in_memory();
    let body = json!({ "channel_id": "room", "name": "Room", "visibility": "public", "agent": { "mode": "off" } });
    let request = stack.request("alice", Method::POST, "/channels").header("idempotency-key", "k").json(&body);
    let (status, created) = answered(request).await;
    assert_eq!((status, &created["read_receipts"], created.get("last_message")), (201, &json!(false), None));
    let membership = &created["membership"];
    assert_eq!(
        (&membership["role"], &membership["read_seq"], &membership["unread_count"]),
        (&json!("owner"), &json!(0), &json!(0))
    );
    let same = async |path: &str| stack.ask("alice", Method::GET, path, Value::Null).await.1;
    assert_eq!(same("/channels/room").await, created);
    assert_eq!(same("/channels").await["channels"][0], created);
    let public = same("/channels?visibility=public&name_prefix=room").await;
    assert_eq!(public["channels"][0], created);
    let again = stack.request("alice", Method::POST, "/channels").header("idempotency-key", "k").json(&body);
    assert_eq!(answered(again).await, (200, created.clone()));
    assert_eq!(stack.ask("alice", Method::PATCH, "/channels/room", json!({})).await, (200, created));

    // A user who is no member sees the last message of a public channel, and no membership.
    stack.send("alice", "room", "hello").await;
    let (_, seen) = stack.ask("bob", Method::GET, "/channels/room", Value::Null).await;
    assert_eq!((seen.get("membership"), &seen["last_message"]["content"]), (None, &json!("hello")));
    let message = &seen["last_message"];
    assert_eq!(
        (&message["seq"], &message["sender_id"], &message["role"]),
        (&json!(1), &json!("alice"), &json!("user"))
    );
    assert_eq!(message["version"], 1);
    assert_eq!(stack.ask("alice", Method::PATCH, "/channels/room/messages/1", json!({ "content": "hi" })).await.0, 200);
    let (_, seen) = stack.ask("bob", Method::GET, "/channels/room", Value::Null).await;
    assert_eq!((&seen["last_message"]["version"], &seen["last_message"]["content"]), (&json!(2), &json!("hi")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merge_patch_changes_what_it_names() {
    let stack = Stack::in_memory();
    let agent = json!({ "mode": "off", "instructions": "be brief", "model": "m" });
    let body = json!({ "channel_id": "room", "name": "Room", "visibility": "private", "agent": agent });
    assert_eq!(stack.ask("alice", Method::POST, "/channels", body).await.0, 201);
    let patch = async |body: Value| stack.ask("alice", Method::PATCH, "/channels/room", body).await;
    for (body, agent) in [
        // An agent that is off stays off, and keeps its instructions.
        (
            json!({ "agent": { "instructions": "rhyme" } }),
            json!({ "mode": "off", "instructions": "rhyme", "model": "m" }),
        ),
        (
            json!({ "agent": { "mode": "mention" } }),
            json!({ "mode": "mention", "instructions": "rhyme", "model": "m" }),
        ),
        (json!({ "agent": { "model": null } }), json!({ "mode": "mention", "instructions": "rhyme" })),
        (json!({ "agent": { "mode": "off", "instructions": null } }), json!({ "mode": "off" })),
        (json!({ "agent": {} }), json!({ "mode": "off" })),
        (json!({}), json!({ "mode": "off" })),
    ] {
        let (status, changed) = patch(body.clone()).await;
        assert_eq!((status, &changed["agent"]), (200, &agent), "{body}");
    }
    for (body, field) in [
        (json!({ "name": null }), "name"),
        (json!({ "visibility": null }), "visibility"),
        (json!({ "agent": null }), "agent"),
        (json!({ "agent": { "mode": null } }), "agent.mode"),
        (json!({ "archived": null }), "archived"),
        (json!({ "read_receipts": null }), "read_receipts"),
    ] {
        let (status, problem) = patch(body.clone()).await;
        let error = &problem["errors"][0];
        assert_eq!((status, &error["field"], &error["code"]), (400, &json!(field), &json!("not_nullable")), "{body}");
    }
    for (body, receipts, days) in [
        (json!({ "read_receipts": true, "retention_days": 7 }), true, json!(7)),
        (json!({ "name": "Other" }), true, json!(7)),
        (json!({ "read_receipts": false, "retention_days": null }), false, Value::Null),
    ] {
        let (status, changed) = patch(body.clone()).await;
        assert_eq!(
            (status, &changed["read_receipts"], &changed["retention_days"]),
            (200, &json!(receipts), &days),
            "{body}"
        );
    }
}
