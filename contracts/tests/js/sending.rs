//! Sends, and their refusals.

use super::*;

type States<'a> = Vec<(&'a str, Value)>;

const KEY: &str = "5c1f7a9e-6d0b-4a6e-9a53-5d2b0a9e7f11";

/// Describes the request that sends `content`.
fn sending(i: &mut InteractionBuilder, content: &str) {
    i.request.post().path(MESSAGES).header("idempotency-key", KEY);
    i.request.json_body(json_pattern!({ "content": (content), "metadata": { "client_key": KEY } }));
}

#[test]
fn a_message_is_sent() {
    let send = exchange("the client sends", &[("a channel exists", none())], |i| {
        sending(i, "hi");
        let body = json_pattern!({
            "channel_id": "general", "seq": 1, "version": 1, "sender_id": like!("alice"), "content": "hi",
            "metadata": { "client_key": KEY }, "created_at": term!(TIME, "2026-05-01T12:00:00.000Z"), "rev": like!(0),
        });
        answers(i, 201, body);
    });
    let output = converse(&[send], &json!([["channel", "send", "hi"]]), None);
    assert_eq!(output["results"][0]["value"]["seq"], 1);
    assert_eq!(output["outbox"], json!([]), "it has arrived");
}

/// Returns the steps of a send on an open socket: without one, the client repeats a transient failure for ever.
fn live_send(content: &str) -> Value {
    json!([["client", "subscribe", ["general"]], ["channel", "send", content]])
}

/// A refused message stays in the outbox with the reason. Transient errors were retried before.
#[test]
fn a_refusal_is_shown_and_may_be_retried() {
    let channel = ("a channel exists", none());
    let before = json!({ "key": KEY, "body": { "content": "something else" } });
    let silent = ("the keys of the token's issuer cannot be had", none());
    let too_often = |action| vec![channel.clone(), ("the caller does this too often", action)];
    let cases: [(&str, States<'_>, u16, &str, Option<u16>); 8] = [
        (
            "the client's token has expired",
            vec![channel.clone(), ("the token has expired", none())],
            401,
            "token_expired",
            None,
        ),
        (
            "the client may not send",
            vec![channel.clone(), ("the token has the scopes", none())],
            403,
            "missing_scope",
            None,
        ),
        ("the client sends to what is not there", vec![("nothing exists", none())], 404, "channel_not_found", None),
        (
            "the client sends to an archived channel",
            vec![("the channel is archived", none())],
            409,
            "channel_archived",
            None,
        ),
        (
            "the client's key was used",
            vec![channel.clone(), ("the request was sent before", before)],
            422,
            "idempotency_key_reused",
            None,
        ),
        ("the client sends too often", too_often(none()), 429, "rate_limited", Some(1)),
        (
            "the client sends one message too many",
            too_often(json!({ "action": "send" })),
            429,
            "rate_limited",
            Some(30),
        ),
        ("the client's token cannot be verified", vec![silent], 503, "keys_unavailable", Some(1)),
    ];
    for (description, states, status, code, wait) in cases {
        let send = exchange(description, &states, |i| {
            sending(i, "hi");
            refuses(i, status, code);
            if let Some(seconds) = wait {
                i.response.header("retry-after", term!("^[1-9][0-9]*$", seconds.to_string()));
            }
        });
        let output = converse(&[send], &live_send("hi"), None);
        let entry = &output["outbox"][0];
        assert_eq!((&entry["state"], &entry["error"]["status"]), (&json!("failed"), &json!(status)), "{description}");
        assert_eq!(
            (&entry["error"]["code"], &entry["error"]["retryAfter"]),
            (&json!(code), &json!(wait)),
            "{description}"
        );
        assert_eq!(output["tokens"], if status == 401 { 2 } else { 1 }, "a fresh token is tried once");
    }
    let wrong = exchange("the client sends too much", &[("a channel exists", none())], |i| {
        sending(i, "");
        i.response.status(400).content_type("application/problem+json").json_body(json_pattern!({
            "code": "invalid_request", "detail": like!("What is wrong."),
            "errors": each_like!(json_pattern!({ "field": "content", "message": like!("must not be empty") })),
        }));
    });
    let output = converse(&[wrong], &live_send(""), None);
    assert_eq!(output["outbox"][0]["error"]["fields"], json!(["content"]));
}
