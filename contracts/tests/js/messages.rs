//! Messages, their history, replies, and users of a channel.

use super::*;

#[test]
fn a_message_gets_reactions_and_is_edited_and_deleted() {
    let reaction = "/channels/general/messages/1/reactions/%F0%9F%91%8D";
    let react = exchange("the client reacts", &[stored(1)], |i| {
        i.request.put().path(reaction);
        i.response.status(204);
    });
    let reacted = ("a user reacted to the message", json!({ "user_id": "alice" }));
    let take_back = exchange("the client takes a reaction back", &[stored(1), reacted], |i| {
        i.request.delete().path(reaction);
        i.response.status(204);
    });
    let delete = exchange("the client deletes a message", &[stored(1)], |i| {
        i.request.delete().path(MESSAGE);
        i.response.status(204);
    });
    let read = || {
        exchange("the client reads one message", &[stored(1)], |i| {
            i.request.get().path(MESSAGE);
            answers(i, 200, message(1, "message 1"));
        })
    };
    let edit = exchange("the client edits a message", &[stored(1)], |i| {
        i.request.method("PATCH").path(MESSAGE).header("if-match", "\"1\"");
        i.request.content_type("application/merge-patch+json").json_body(json_pattern!({ "content": "edited" }));
        answers(i, 200, json_pattern!({ "seq": 1, "version": 2, "content": "edited" }));
    });
    let steps = json!([
        ["channel", "react", 1, "👍"],
        ["channel", "unreact", 1, "👍"],
        ["channel", "edit", 1, "edited"],
        ["channel", "delete", 1],
    ]);
    // Without a connection, the client reads the message after a change.
    let output = converse(&[react, take_back, read(), edit, delete], &steps, None);
    assert_eq!(output["results"][2]["value"]["content"], "edited");
    let changed = ("the message was edited", none());
    let conflict = exchange("the client edits what has changed", &[stored(1), changed], |i| {
        i.request.method("PATCH").path(MESSAGE).header("if-match", "\"1\"");
        i.request.content_type("application/merge-patch+json").json_body(json_pattern!({ "content": "edited" }));
        refuses(i, 412, "version_mismatch");
    });
    let output = converse(&[read(), conflict], &json!([["channel", "edit", 1, "edited"]]), None);
    assert_eq!(output["results"][0]["error"]["code"], "version_mismatch");
}

#[test]
fn history_is_opened_and_read_backwards() {
    let three = ["message 1", "message 2", "message 3"];
    let newest = opening("the client opens a channel", &[stored(3)], 0, &three);
    let one = exchange(
        "the client reads a message that it has not",
        &[("the channel has messages", json!({ "count": 9 }))],
        |i| {
            i.request.get().path("/channels/general/messages/9");
            answers(i, 200, message(9, "message 9"));
        },
    );
    let later = newer("the client reads whether there is more", &[stored(3)], 3, 0, &[]);
    let steps = json!([["channel", "open"], ["client", "request", "GET", "/channels/general/messages/9"]]);
    let output = converse(&[newest, one, later], &steps, Some(&json!([])));
    assert_eq!(seqs(&output), [1, 2, 3]);
    assert_eq!(output["results"][1]["value"]["content"], "message 9");

    let full = |seq: u64, has_more: bool| {
        let messages = each_like!(message(seq, "message"));
        json_pattern!({ "messages": messages, "has_more": (has_more), "rev": like!(0) })
    };
    // One user may not send so many messages at once.
    let long = [stored(40), ("the channel has messages", json!({ "count": 11, "sender_id": "bob" }))];
    let newest = exchange("the client opens a long channel", &long, |i| {
        i.request.get().path(MESSAGES).query_param("limit", "50");
        answers(i, 200, full(2, true));
    });
    let earlier = exchange("the client reads earlier messages", &long, |i| {
        i.request.get().path(MESSAGES).query_param("before", "2").query_param("limit", "50");
        answers(i, 200, full(1, false));
    });
    let output = converse(&[newest, earlier], &json!([["channel", "open"], ["channel", "loadEarlier"]]), None);
    assert_eq!(seqs(&output), [1, 2]);
}

#[test]
fn a_thread_is_read() {
    let states = [stored(1), ("the message has replies", json!({ "count": 1 }))];
    let thread = exchange("the client reads a thread", &states, |i| {
        i.request.get().path("/channels/general/messages/1/replies");
        i.request.query_param("after", "1").query_param("limit", "100");
        let reply = json_pattern!({ "seq": 2, "sender_id": "bob", "thread_seq": 1, "version": like!(1) });
        answers(i, 200, page(0, vec![reply]));
    });
    let output = converse(&[thread], &json!([["threads", "list", 1]]), None);
    assert_eq!(output["results"][0]["value"][0]["thread_seq"], 1);
}

#[test]
fn a_wait_beyond_the_maximum_of_the_deployment_is_refused() {
    let wait = exchange("the client waits too long", &[("a channel exists", none())], |i| {
        i.request.get().path(MESSAGES).query_param("after", "0").query_param("wait", "20");
        i.response.status(400).content_type("application/problem+json").json_body(json_pattern!({
            "status": 400, "code": "invalid_request", "detail": like!("wait"),
            "errors": each_like!(json_pattern!({ "field": "wait", "code": "out_of_range" })),
        }));
    });
    let query = json!({ "query": { "after": 0, "wait": 20 } });
    let output = converse(&[wait], &json!([["client", "request", "GET", MESSAGES, query]]), None);
    assert_eq!(output["results"][0]["error"]["fields"], json!(["wait"]));
}

#[test]
fn a_reply_is_stopped() {
    let stop = exchange("the client stops a reply", &[("the agent is replying", none())], |i| {
        i.request.post().path("/channels/general/messages/1/reply/cancel");
        i.response.status(202);
    });
    let output = converse(&[stop], &json!([["channel", "stopReply", 1]]), None);
    assert!(output["results"][0].get("error").is_none(), "{output}");
}

#[test]
fn users_type_and_are_present() {
    let typing = exchange("the client's user types", &[("a channel exists", none())], |i| {
        i.request.post().path("/channels/general/typing");
        i.response.status(202);
    });
    let states = [("a user is connected", json!({ "user_id": "bob" }))];
    let present = exchange("the client reads who is present", &states, |i| {
        i.request.get().path("/channels/general/presence").query_param("limit", "100");
        answers(i, 200, json_pattern!({ "users": [{ "user_id": "bob" }], "has_more": false }));
    });
    let steps = json!([["channel", "sendTyping"], ["channel", "loadPresence"]]);
    let output = converse(&[typing, present], &steps, None);
    assert_eq!(output["present"], json!(["bob"]));
}
