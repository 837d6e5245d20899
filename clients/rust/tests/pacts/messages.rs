//! Requests about messages that succeed.

use switchboard_mobile::NewMessage;

use super::*;

fn sending(i: &mut InteractionBuilder, status: u16) {
    i.request.post().path("/channels/general/messages").header("idempotency-key", KEY);
    i.request.json_body(json_pattern!({ "content": "hi" }));
    let address = "https://example.com/prod/channels/general/messages/1";
    i.response.header("location", term!("^https?://.+/channels/general/messages/1$", address));
    i.response.header("etag", "\"1\"");
    answers(i, status, message(1, "alice", "hi"));
}

#[tokio::test]
async fn a_message_is_sent_once() {
    let send = async |api: Api| {
        let sent = api.send("general", &"hi".into(), KEY).await.unwrap();
        assert_eq!((sent.seq, sent.content.as_str()), (1, "hi"));
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
        answers(i, 200, json_pattern!({ "messages": (JsonPattern::Array(found)), "has_more": false }));
    };
    exchange("what was missed, oldest first", &[messages(3)], after, async |api| {
        let page = api.messages_after("general", 1).await.unwrap();
        assert_eq!(page.messages.iter().map(|message| message.seq).collect::<Vec<_>>(), [2, 3]);
    })
    .await;
    let newest = |i: &mut InteractionBuilder| {
        i.request.get().path("/channels/general/messages").query_param("limit", "1");
        let found = vec![message(3, "alice", "message 3")];
        let body =
            json_pattern!({ "messages": (JsonPattern::Array(found)), "has_more": true, "next": { "before": 3 } });
        answers(i, 200, body);
    };
    exchange("the newest message", &[messages(3)], newest, async |api| {
        let page = api.newest("general", 1).await.unwrap();
        assert!(page.has_more && page.messages[0].seq == 3);
    })
    .await;
    let around = |i: &mut InteractionBuilder| {
        i.request.get().path("/channels/general/messages").query_param("around", "3").query_param("limit", "2");
        let found = vec![message(3, "alice", "message 3"), message(4, "alice", "message 4")];
        let body = json_pattern!({
            "messages": (JsonPattern::Array(found)), "has_more": true, "next": { "after": 4 }, "previous": { "before": 3 },
        });
        answers(i, 200, body);
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
        answers(i, 200, json_pattern!({ "messages": found, "has_more": false, "replying_to": [1] }));
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
        let fields = vec![("reply_to", json_pattern!(1)), ("thread_seq", json_pattern!(1))];
        answers(i, 201, with(message(2, "alice", "hi"), fields));
    };
    exchange("a message is sent into a thread", &[messages(1)], start, async |api| {
        let reply = NewMessage { content: "hi".to_owned(), reply_to: Some(1), thread_seq: Some(1) };
        assert_eq!(api.send("general", &reply, KEY).await.unwrap().thread_seq, Some(1));
    })
    .await;
    let states = [messages(1), ("the message has replies", json!({ "count": 1 }))];
    let thread = |i: &mut InteractionBuilder| {
        i.request.get().path("/channels/general/messages/1/replies");
        let reply = with(message(2, "bob", "reply 1"), vec![("thread_seq", json_pattern!(1))]);
        answers(i, 200, json_pattern!({ "messages": (JsonPattern::Array(vec![reply])), "has_more": false }));
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
        answers(i, 200, json_pattern!({ "messages": (JsonPattern::Array(vec![root()])), "has_more": false }));
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
