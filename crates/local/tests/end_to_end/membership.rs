//! Who may see what, and from when to when.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::stack::Stack;

async fn status(stack: &Stack, user: &str, method: Method, path: &str) -> StatusCode {
    let body = (method == Method::POST).then(|| json!({ "content": "x" }));
    let request = stack.request(user, method, path);
    let request = match body {
        Some(body) => request.json(&body),
        None => request,
    };
    request.send().await.unwrap().status()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_channel_does_not_exist_for_strangers() {
    let stack = Stack::in_memory();
    stack.create_channel("alice", "secret", "private", "off").await;
    let routes = [
        (Method::GET, "/channels/secret"),
        (Method::GET, "/channels/secret/messages"),
        (Method::POST, "/channels/secret/messages"),
        (Method::PUT, "/channels/secret/members/mallory"),
        (Method::DELETE, "/channels/secret/members/alice"),
    ];
    for (method, path) in routes {
        assert_eq!(status(&stack, "mallory", method.clone(), path).await, StatusCode::NOT_FOUND, "{method} {path}");
    }
    assert_eq!(status(&stack, "alice", Method::PUT, "/channels/secret/members/bob").await, StatusCode::CREATED);
    assert_eq!(status(&stack, "alice", Method::PUT, "/channels/secret/members/bob").await, StatusCode::OK);
    assert_eq!(status(&stack, "bob", Method::GET, "/channels/secret/messages").await, StatusCode::OK);
    assert_eq!(status(&stack, "bob", Method::PUT, "/channels/secret/members/carol").await, StatusCode::FORBIDDEN);
    assert_eq!(stack.send("bob", "secret", "hello").await["seq"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_removed_hears_nothing_more() {
    let stack = Stack::in_memory();
    stack.create_channel("alice", "secret", "private", "off").await;
    status(&stack, "alice", Method::PUT, "/channels/secret/members/bob").await;
    let (mut alice, mut bob) = (stack.socket("alice", "secret").await, stack.socket("bob", "secret").await);
    stack.send("alice", "secret", "for both").await;
    assert_eq!(bob.messages(1).await[0]["content"], "for both");
    assert_eq!(status(&stack, "alice", Method::DELETE, "/channels/secret/members/bob").await, StatusCode::NO_CONTENT);
    stack.send("alice", "secret", "for alice").await;
    assert_eq!(alice.messages(2).await[1]["content"], "for alice");
    assert!(bob.hear().await.is_err(), "the socket is closed, without another frame");
    assert_eq!(status(&stack, "bob", Method::POST, "/channels/secret/messages").await, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn users_join_public_channels_list_theirs_and_leave() {
    let stack = Stack::in_memory();
    for channel in ["a", "b", "c"] {
        stack.create_channel("alice", channel, "public", "off").await;
        assert_eq!(
            status(&stack, "bob", Method::PUT, &format!("/channels/{channel}/members/bob")).await,
            StatusCode::CREATED
        );
    }
    let list = async |query: &str| -> Value {
        let path = format!("/channels{query}");
        stack.request("bob", Method::GET, &path).send().await.unwrap().json().await.unwrap()
    };
    let ids = |page: &Value| -> Vec<String> {
        let channels = page["channels"].as_array().unwrap();
        channels.iter().map(|channel| channel["channel_id"].as_str().unwrap().to_owned()).collect()
    };
    let first = list("?limit=2").await;
    assert_eq!((ids(&first), &first["next"]), (vec!["a".into(), "b".into()], &json!({ "after": "b" })));
    assert_eq!(ids(&list("?limit=2&after=b").await), ["c"]);
    assert_eq!(status(&stack, "bob", Method::DELETE, "/channels/b/members/bob").await, StatusCode::NO_CONTENT);
    assert_eq!(status(&stack, "bob", Method::DELETE, "/channels/b/members/bob").await, StatusCode::NOT_FOUND);
    assert_eq!(ids(&list("").await), ["a", "c"]);
    assert_eq!(status(&stack, "alice", Method::DELETE, "/channels/a/members/alice").await, StatusCode::CONFLICT);
}
