//! Requests by which the client reads what frames did not bring.

use super::*;

const CHANGES: &str = "/channels/general/changes";

/// Describes the request for the changes after the number `after`, and its refusal because they are no longer stored.
fn expired<'a>(description: &'a str, states: &[(&'a str, Value)], after: u64) -> Exchange<'a> {
    exchange(description, states, move |i| {
        i.request.get().path(CHANGES).query_param("after", after.to_string()).query_param("limit", "100");
        refuses(i, 410, "changes_expired");
    })
}

/// Returns the state in which `general` has messages `news 1`, `news 2` and so on.
fn news(count: u64) -> (&'static str, Value) {
    ("the channel has messages", json!({ "count": count, "content": "news" }))
}

/// Opens the channel with `exchanges`, and then a socket, which passes `frames`.
fn recover(exchanges: &[Exchange<'_>], frames: &Value) -> Value {
    let output = converse(exchanges, &json!([["channel", "open"]]), Some(frames));
    assert_no_problem(&output);
    output
}

#[test]
fn what_was_missed_is_read_when_a_socket_opens() {
    let open = opening("the client opens an empty channel", &[("a channel exists", none())], 0, &[]);
    let three = ["message 1", "message 2", "message 3"];
    let missed = newer("the client reads what it missed", &[stored(3)], 0, 0, &three);
    let push = json!([{ "type": "events", "channel_id": "general", "events": [
        {
            "type": "message.created", "seq": 3, "version": 1,
            "message": { "channel_id": "general", "seq": 3, "version": 1, "content": "message 3" },
        },
    ] }]);
    assert_eq!(seqs(&recover(&[open, missed], &push)), [1, 2, 3]);
    let open = opening("the client opens a channel with news", &[news(2)], 0, &["news 1", "news 2"]);
    let missed = newer("the client reads what came after the messages that it has", &[news(3)], 2, 0, &["news 3"]);
    assert_eq!(seqs(&recover(&[open, missed], &json!([]))), [1, 2, 3]);
}

#[test]
fn missed_changes_are_read_when_a_page_shows_them() {
    let edited = [stored(1), ("the message was edited", none())];
    let later = newer("the client reads that only changes are newer", &edited, 1, 1, &[]);
    let changes = exchange("the client reads the changes that it missed", &edited, |i| {
        i.request.get().path(CHANGES).query_param("after", "0").query_param("limit", "100");
        let message = json_pattern!({ "seq": 1, "version": 2, "content": "edited" });
        answers(i, 200, json_pattern!({ "changes": [{ "rev": 1, "message": message }], "has_more": false, "rev": 1 }));
    });
    let open = opening("the client opens a channel without changes", &[stored(1)], 0, &["message 1"]);
    let output = recover(&[open, later, changes], &json!([]));
    assert_eq!((&output["messages"][0]["content"], &output["rev"]), (&json!("edited"), &json!(1)));
}

#[test]
fn a_missed_edit_and_a_missed_deletion_are_read_together() {
    let states = [
        news(2),
        ("the message was edited", json!({ "seq": 1, "content": "better" })),
        ("the message was deleted", json!({ "seq": 2 })),
    ];
    let later = newer("the client reads that an edit and a deletion are newer", &states, 2, 2, &[]);
    let changes = exchange("the client reads an edit and a deletion", &states, |i| {
        i.request.get().path(CHANGES).query_param("after", "0").query_param("limit", "100");
        let changed = |seq: u64, content: &str| {
            json_pattern!({
                "channel_id": "general", "seq": (seq), "version": 2, "sender_id": like!("alice"),
                "content": (content), "created_at": term!(TIME, "2026-05-01T12:00:00.000Z"),
            })
        };
        let (edited, deleted) = (changed(1, "better"), changed(2, ""));
        let body = json_pattern!({
            "changes": [{ "rev": 1, "message": edited }, { "rev": 2, "message": deleted }], "has_more": false, "rev": 2,
        });
        answers(i, 200, body);
    });
    let open = opening("the client opens a channel with news", &[news(2)], 0, &["news 1", "news 2"]);
    let output = recover(&[open, later, changes], &json!([]));
    assert_eq!((&output["messages"][0]["content"], &output["messages"][1]["content"]), (&json!("better"), &json!("")));
    assert_eq!(output["rev"], 2);
}

#[test]
fn the_history_is_loaded_again_when_the_changes_are_no_longer_stored() {
    let later = newer("the client reads that many changes are newer", &[stored(1)], 1, 10, &[]);
    let gone = expired("the client reads changes that are no longer stored", &[stored(1)], 9);
    let open = opening("the client opens a channel with changes", &[stored(1)], 9, &["message 1"]);
    let output = recover(&[open, later, gone], &json!([]));
    assert_eq!((seqs(&output), &output["rev"]), (vec![1], &json!(9)));

    let states = [("records of changes have expired", none())];
    let later = newer("the client reads that changes without records are newer", &states, 1, 1, &[]);
    let gone = expired("the client reads changes whose records have expired", &states, 0);
    let open = opening("the client opens a channel without changes", &[stored(1)], 0, &["message 1"]);
    let output = recover(&[open, later, gone], &json!([]));
    assert_eq!((seqs(&output), &output["rev"]), (vec![1], &json!(0)));
}

/// Opens a channel whose only message is being answered.
fn opening_a_question() -> Exchange<'static> {
    exchange("the client opens a channel in the middle of a reply", &[("the agent is replying", none())], |i| {
        i.request.get().path(MESSAGES).query_param("limit", "50");
        let question = json_pattern!({ "seq": 1, "version": 1, "sender_id": "alice", "content": like!("question") });
        let body = json_pattern!({ "messages": [question], "has_more": false, "rev": like!(0), "replying_to": [1] });
        answers(i, 200, body);
    })
}

#[test]
fn a_reply_that_is_being_written_is_read() {
    let open = json!([["channel", "open"]]);
    let reply = exchange("the client reads a reply", &[("the agent is replying", none())], |i| {
        i.request.get().path(REPLY);
        answers(i, 200, json_pattern!({ "status": "thinking", "position": 0, "text": "" }));
    });
    let output = converse(&[opening_a_question(), reply], &open, None);
    assert_eq!(output["drafts"][0]["status"], "thinking");
    let ended = exchange("the client reads a reply that is not being written", &[stored(1)], |i| {
        i.request.get().path(REPLY);
        refuses(i, 404, "reply_not_found");
    });
    let output = converse(&[opening_a_question(), ended], &open, None);
    assert_eq!(output["drafts"], json!([]));
}

#[test]
fn a_stored_text_of_a_reply_is_continued_by_frames() {
    let states = [("the agent is writing", json!({ "text": "Some words" }))];
    let later = newer("the client reads what came after a question", &states, 1, 0, &[]);
    let reply = exchange("the client reads a reply so far", &states, |i| {
        i.request.get().path(REPLY);
        let body = json_pattern!({
            "status": "writing", "draft_id": term!(ULID, ID), "position": 10, "text": "Some words",
        });
        answers(i, 200, body);
    });
    let more = json!([{
        "type": "message.delta", "channel_id": "general", "draft_id": ID, "reply_to": 1, "status": "writing",
        "position": 10, "text": " more",
    }]);
    let output = recover(&[opening_a_question(), later, reply], &more);
    assert_eq!(output["drafts"][0]["text"], "Some words more");
}
