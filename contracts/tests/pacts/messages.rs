//! Requests about messages that succeed.

use switchboard_client::{DraftStatus, NewMessage};

use super::*;

fn sending(i: &mut InteractionBuilder, status: u16) {
    i.request.post().path("/channels/general/messages").header("idempotency-key", KEY);
    i.request.json_body(json_pattern!({ "content": "hi" }));
    let address = "https://example.com/prod/channels/general/messages/1";
    i.response.header("location", term!("^https?://.+/channels/general/messages/1$", address));
    i.response.header("etag", "\"1\"");
    answers(i, status, with(message(1, "alice", "hi"), vec![("rev", json_pattern!(0))]));
}

/// Returns the pattern of a page of messages in a channel without changes.
fn page_of(messages: Vec<JsonPattern>, has_more: bool) -> JsonPattern {
    json_pattern!({ "messages": (JsonPattern::Array(messages)), "has_more": (has_more), "rev": 0 })
}

#[tokio::test]
async fn a_message_is_sent_once() {
    let send = async |api: Api| {
        let sent = api.send("general", &"hi".into(), KEY).await.unwrap();
        assert_eq!((sent.message.seq, sent.message.content.as_str(), sent.rev), (1, "hi", 0));
    };
    let first = |i: &mut InteractionBuilder| {
        sending(i, 201);
        i.response.header("ratelimit", term!("^\"send\";r=[0-9]+;t=[0-9]+$", "\"send\";r=49;t=1"));
    };
    exchange("a message is sent", &[("a channel exists", none())], first, send).await;
    let again = |i: &mut InteractionBuilder| {
        sending(i, 200);
        i.response.header("idempotency-replayed", "true");
    };
    let before = ("the request was sent before", json!({ "key": KEY }));
    exchange("a message is sent again", &[("a channel exists", none()), before], again, send).await;
}

#[tokio::test]
async fn history() {
    let after = |i: &mut InteractionBuilder| {
        i.request.get().path("/channels/general/messages").query_param("after", "1");
        let found = vec![message(2, "alice", "message 2"), message(3, "alice", "message 3")];
        answers(i, 200, page_of(found, false));
    };
    exchange("what was missed, oldest first", &[messages(3)], after, async |api| {
        let page = api.messages_after("general", 1).await.unwrap();
        assert_eq!(page.messages.iter().map(|message| message.seq).collect::<Vec<_>>(), [2, 3]);
        assert_eq!(page.rev, 0);
    })
    .await;
    let newest = |i: &mut InteractionBuilder| {
        i.request.get().path("/channels/general/messages").query_param("limit", "1");
        let found = vec![message(3, "alice", "message 3")];
        answers(i, 200, with(page_of(found, true), vec![("next", json_pattern!({ "before": 3 }))]));
    };
    exchange("the newest message", &[messages(3)], newest, async |api| {
        let page = api.newest("general", 1).await.unwrap();
        assert!(page.has_more && page.messages[0].seq == 3);
    })
    .await;
    let around = |i: &mut InteractionBuilder| {
        i.request.get().path("/channels/general/messages").query_param("around", "3").query_param("limit", "2");
        let found = vec![message(3, "alice", "message 3"), message(4, "alice", "message 4")];
        let links = vec![("next", json_pattern!({ "after": 4 })), ("previous", json_pattern!({ "before": 3 }))];
        answers(i, 200, with(page_of(found, true), links));
    };
    exchange("the messages around one", &[messages(5)], around, async |api| {
        let page = api.messages_around("general", 3, 2).await.unwrap();
        assert_eq!(page.next.unwrap().after, Some(4));
        assert_eq!(page.previous.unwrap().before, Some(3));
    })
    .await;
    let replying = |i: &mut InteractionBuilder| {
        i.request.get().path("/channels/general/messages").query_param("limit", "10");
        let found = each_like!(message(1, "alice", "hi"));
        answers(i, 200, json_pattern!({ "messages": found, "has_more": false, "replying_to": [1], "rev": 0 }));
    };
    let states = [("the agent is replying", none())];
    exchange("a history with a reply that is being written", &states, replying, async |api| {
        assert_eq!(api.newest("general", 10).await.unwrap().replying_to, [1]);
    })
    .await;
}

/// Returns the first message of a thread with one reply.
fn root() -> JsonPattern {
    let summary = json_pattern!({
        "reply_count": 1, "last_reply_seq": 2, "last_reply_at": term!(TIME, "2026-05-01T12:00:30.000Z"),
    });
    with(message(1, "alice", "message 1"), vec![("thread", summary)])
}

#[tokio::test]
async fn threads() {
    let start = |i: &mut InteractionBuilder| {
        i.request.post().path("/channels/general/messages").header("idempotency-key", KEY);
        i.request.json_body(json_pattern!({ "content": "hi", "reply_to": 1, "thread_seq": 1 }));
        let fields =
            vec![("reply_to", json_pattern!(1)), ("thread_seq", json_pattern!(1)), ("rev", json_pattern!(like!(0)))];
        answers(i, 201, with(message(2, "alice", "hi"), fields));
    };
    exchange("a message is sent into a thread", &[messages(1)], start, async |api| {
        let reply = NewMessage { content: "hi".to_owned(), reply_to: Some(1), thread_seq: Some(1), metadata: None };
        assert_eq!(api.send("general", &reply, KEY).await.unwrap().message.thread_seq, Some(1));
    })
    .await;
    let states = [messages(1), ("the message has replies", json!({ "count": 1 }))];
    let thread = |i: &mut InteractionBuilder| {
        i.request.get().path("/channels/general/messages/1/replies");
        let reply = with(message(2, "bob", "reply 1"), vec![("thread_seq", json_pattern!(1))]);
        answers(i, 200, page_of(vec![reply], false));
    };
    exchange("a thread", &states, thread, async |api| {
        assert_eq!(api.replies("general", 1).await.unwrap().messages[0].thread_seq, Some(1));
    })
    .await;
    let all = |i: &mut InteractionBuilder| {
        i.request.get().path("/channels/general/threads");
        answers(i, 200, json_pattern!({ "threads": (JsonPattern::Array(vec![root()])), "has_more": false }));
    };
    exchange("the threads of a channel", &states, all, async |api| {
        let found = api.threads("general").await.unwrap();
        assert_eq!(found.threads[0].thread.as_ref().unwrap().reply_count, 1);
    })
    .await;
    let outside = |i: &mut InteractionBuilder| {
        i.request.get().path("/channels/general/messages").query_param("replies", "false");
        answers(i, 200, page_of(vec![root()], false));
    };
    exchange("a history without threads", &states, outside, async |api| {
        assert_eq!(api.newest_outside_threads("general").await.unwrap().messages.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn one_message_and_what_may_become_of_it() {
    let states = [messages(1)];
    let path = "/channels/general/messages/1";
    let edit = |i: &mut InteractionBuilder| {
        i.request.method("PATCH").path(path).header("if-match", "\"1\"").content_type(MERGE_PATCH);
        i.request.json_body(json_pattern!({ "content": "better" }));
        i.response.header("etag", "\"2\"");
        let fields =
            vec![("edited_at", json_pattern!(term!(TIME, "2026-05-01T12:00:30.000Z"))), ("version", json_pattern!(2))];
        answers(i, 200, with(message(1, "alice", "better"), fields));
    };
    exchange("a message is edited", &states, edit, async |api| {
        let edited = api.edit("general", 1, "\"1\"", "better").await.unwrap();
        assert!(edited.edited_at.is_some() && edited.version == 2);
    })
    .await;
    let delete = |i: &mut InteractionBuilder| {
        i.request.delete().path(path);
        i.response.no_content();
    };
    exchange("a message is deleted", &states, delete, async |api| api.delete("general", 1).await.unwrap()).await;
    let read = |i: &mut InteractionBuilder| {
        i.request.get().path(path);
        i.response.header("etag", "\"2\"");
        let fields =
            vec![("deleted_at", json_pattern!(term!(TIME, "2026-05-01T12:01:00.000Z"))), ("version", json_pattern!(2))];
        answers(i, 200, with(message(1, "alice", ""), fields));
    };
    let deleted = [messages(1), ("the message was deleted", none())];
    exchange("a message that was deleted", &deleted, read, async |api| {
        let (message, tag) = api.message("general", 1).await.unwrap();
        assert!(message.deleted_at.is_some() && message.content.is_empty());
        assert_eq!(tag, "\"2\"");
    })
    .await;
}

#[tokio::test]
async fn reactions() {
    let path = "/channels/general/messages/1/reactions/%F0%9F%91%8D";
    for (description, method, add) in [("a reaction", "PUT", true), ("a reaction is taken back", "DELETE", false)] {
        let describe = |i: &mut InteractionBuilder| {
            i.request.method(method).path(path);
            i.response.no_content();
        };
        exchange(description, &[messages(1)], describe, async |api| {
            api.react("general", 1, "👍", add).await.unwrap();
        })
        .await;
    }
    let reacted = [
        messages(1),
        ("a user reacted to the message", none()),
        ("a user reacted to the message", json!({ "user_id": "alice" })),
    ];
    let read = |i: &mut InteractionBuilder| {
        i.request.get().path("/channels/general/messages/1");
        let reactions = json_pattern!([{ "emoji": "👍", "count": 2, "user_ids": ["alice", "bob"], "reacted": true }]);
        answers(i, 200, with(message(1, "alice", "message 1"), vec![("reactions", reactions)]));
    };
    exchange("a message with reactions", &reacted, read, async |api| {
        let (message, _) = api.message("general", 1).await.unwrap();
        assert_eq!((message.reactions[0].count, message.reactions[0].reacted), (2, Some(true)));
    })
    .await;
    let list = |i: &mut InteractionBuilder| {
        i.request.get().path("/channels/general/messages/1/reactions");
        let found = json_pattern!([{ "emoji": "👍", "user_id": "alice" }, { "emoji": "👍", "user_id": "bob" }]);
        answers(i, 200, json_pattern!({ "reactions": found, "has_more": false }));
    };
    exchange("the users who reacted", &reacted, list, async |api| {
        assert_eq!(api.reactors("general", 1).await.unwrap(), ["alice", "bob"]);
    })
    .await;
}

/// Returns the states of two messages of alice with changes 1 to 3: an edit, a reaction, a deletion of the edited one.
fn changed() -> Vec<(&'static str, Value)> {
    vec![
        messages(2),
        ("the message was edited", json!({ "seq": 1 })),
        ("a user reacted to the message", json!({ "seq": 2 })),
        ("the message was deleted", json!({ "seq": 1 })),
    ]
}

/// Returns message 2 of the states with its reaction.
fn reacted() -> JsonPattern {
    let reactions = json_pattern!([{ "emoji": "👍", "count": 1, "user_ids": ["bob"], "reacted": false }]);
    with(message(2, "alice", "message 2"), vec![("reactions", reactions)])
}

/// Returns message 1 of the states, which was deleted.
fn deleted() -> JsonPattern {
    with(message(1, "alice", ""), vec![("deleted_at", json_pattern!(term!(TIME, "2026-05-01T12:01:00.000Z")))])
}

#[tokio::test]
async fn missed_changes() {
    let path = "/channels/general/changes";
    let all = |i: &mut InteractionBuilder| {
        i.request.get().path(path).query_param("after", "1").query_param("limit", "50");
        let changes = json_pattern!([{ "rev": 2, "message": (reacted()) }, { "rev": 3, "message": (deleted()) }]);
        answers(i, 200, json_pattern!({ "changes": changes, "has_more": false, "rev": 3 }));
    };
    exchange("missed changes", &changed(), all, async |api| {
        let page = api.changes_after("general", 1, 50).await.unwrap();
        let found: Vec<_> = page.changes.iter().map(|change| (change.rev, change.message.seq)).collect();
        assert_eq!((found.as_slice(), page.rev), (&[(2, 2), (3, 1)][..], 3));
    })
    .await;
    // The edit is at the number of the later deletion.
    let first = |i: &mut InteractionBuilder| {
        i.request.get().path(path).query_param("after", "0").query_param("limit", "2");
        let changes = json_pattern!([{ "rev": 2, "message": (reacted()) }]);
        let body = json_pattern!({ "changes": changes, "has_more": true, "next": { "after": 2 }, "rev": 3 });
        answers(i, 200, body);
    };
    exchange("the first page of missed changes", &changed(), first, async |api| {
        let page = api.changes_after("general", 0, 2).await.unwrap();
        assert!(page.has_more && page.changes[0].message.seq == 2);
        assert_eq!(page.next.unwrap().after, Some(2));
    })
    .await;
    let none_left = |i: &mut InteractionBuilder| {
        i.request.get().path(path).query_param("after", "3").query_param("limit", "50");
        let changes = JsonPattern::Array(Vec::new());
        answers(i, 200, json_pattern!({ "changes": changes, "has_more": false, "rev": 3 }));
    };
    exchange("no missed changes", &changed(), none_left, async |api| {
        assert!(api.changes_after("general", 3, 50).await.unwrap().changes.is_empty());
    })
    .await;
    let history = |i: &mut InteractionBuilder| {
        i.request.get().path("/channels/general/messages").query_param("after", "1");
        let body = json_pattern!({ "messages": [(reacted())], "has_more": false, "rev": 3 });
        answers(i, 200, body);
    };
    exchange("a history with changes", &changed(), history, async |api| {
        assert_eq!(api.messages_after("general", 1).await.unwrap().rev, 3);
    })
    .await;
}

#[tokio::test]
async fn a_client_without_a_socket() {
    let wait = |i: &mut InteractionBuilder| {
        i.request.get().path("/channels/general/messages").query_param("after", "1").query_param("wait", "1");
        answers(i, 200, page_of(vec![message(2, "alice", "message 2")], false));
    };
    exchange("a message that is awaited", &[messages(2)], wait, async |api| {
        assert_eq!(api.wait_for_messages("general", 1, 1).await.unwrap().messages[0].seq, 2);
    })
    .await;
    let idle = |i: &mut InteractionBuilder| {
        i.request.get().path("/channels/general/messages").query_param("after", "2").query_param("wait", "1");
        answers(i, 200, page_of(Vec::new(), false));
    };
    exchange("a message that does not come", &[messages(2)], idle, async |api| {
        assert!(api.wait_for_messages("general", 2, 1).await.unwrap().messages.is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_reply_so_far() {
    let path = "/channels/general/messages/1/reply";
    for (description, state, status, expected, seq) in [
        ("a reply that is being written", "the agent is writing", "writing", DraftStatus::Writing, None),
        ("a reply that is stored", "the agent has answered", "done", DraftStatus::Done, Some(2_u64)),
    ] {
        let text = if seq.is_some() { "An answer." } else { "Some words" };
        let describe = |i: &mut InteractionBuilder| {
            i.request.get().path(path);
            let body = json_pattern!({ "status": (status), "position": 10, "text": (text) });
            let more = match seq {
                Some(seq) => ("seq", json_pattern!((seq))),
                None => ("draft_id", json_pattern!(term!(ULID, "01JTYQ4X9M8Z4QY7V6A1B2C3D4"))),
            };
            answers(i, 200, with(body, vec![more]));
        };
        exchange(description, &[(state, none())], describe, async |api| {
            let reply = api.reply("general", 1).await.unwrap();
            assert_eq!((reply.status, reply.seq, reply.text.chars().count()), (expected, seq, reply.position));
        })
        .await;
    }
    let begun = |i: &mut InteractionBuilder| {
        i.request.get().path(path);
        answers(i, 200, json_pattern!({ "status": "thinking", "position": 0, "text": "" }));
    };
    exchange("a reply without text", &[("the agent is replying", none())], begun, async |api| {
        assert_eq!(api.reply("general", 1).await.unwrap().status, DraftStatus::Thinking);
    })
    .await;
}
