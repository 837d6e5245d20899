//! Access of members, and its beginning and end.

use serde_json::{Value, json};
use switchboard_client::{Method, StatusCode};

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
    assert!(bob.hear_but_presence().await.is_err(), "the socket is closed, without another frame");
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
    let ids = |pages: &[&Value]| -> Vec<String> {
        let channels = pages.iter().flat_map(|page| page["channels"].as_array().unwrap());
        let mut ids: Vec<String> = channels.map(|channel| channel["channel_id"].as_str().unwrap().to_owned()).collect();
        ids.sort_unstable();
        ids
    };
    let first = list("?limit=2").await;
    assert_eq!((ids(&[&first]).len(), &first["has_more"]), (2, &json!(true)));
    let rest = list(&format!("?limit=2&cursor={}", first["next"]["cursor"].as_str().unwrap())).await;
    assert_eq!((ids(&[&first, &rest]), rest.get("next")), (vec!["a".into(), "b".into(), "c".into()], None));
    assert_eq!(status(&stack, "bob", Method::DELETE, "/channels/b/members/bob").await, StatusCode::NO_CONTENT);
    assert_eq!(status(&stack, "bob", Method::DELETE, "/channels/b/members/bob").await, StatusCode::NOT_FOUND);
    assert_eq!(ids(&[&list("").await]), ["a", "c"]);
    assert_eq!(status(&stack, "alice", Method::DELETE, "/channels/a/members/alice").await, StatusCode::CONFLICT);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_that_names_no_channels_follows_its_user() {
    let stack = Stack::in_memory();
    stack.create_channel("alice", "secret", "private", "off").await;
    let url = stack.address("websocket").to_owned();
    let token = crate::stack::token_of("bob");
    let (mut bob, _) = stack.handshake(&url, &[("authorization", &format!("Bearer {token}"))]).await.unwrap();
    let mut alice = stack.socket("alice", "secret").await;
    stack.send("alice", "secret", "before").await;
    alice.messages(1).await;
    assert_eq!(status(&stack, "alice", Method::PUT, "/channels/secret/members/bob").await, StatusCode::CREATED);
    stack.send("alice", "secret", "after").await;
    assert_eq!(bob.messages(1).await[0]["content"], "after");
    assert_eq!(status(&stack, "bob", Method::DELETE, "/channels/secret/members/bob").await, StatusCode::NO_CONTENT);
    stack.send("alice", "secret", "without bob").await;
    assert!(bob.hear_but_presence().await.is_err(), "the socket is closed, without another frame");
}

#[tokio::test(flavor = "multi_thread")]
async fn owners_change_settings_and_nobody_overwrites_what_they_have_not_read() {
    let stack = Stack::in_memory();
    stack.create_channel("alice", "room", "public", "off").await;
    status(&stack, "bob", Method::PUT, "/channels/room/members/bob").await;
    let patch = async |user: &str, tag: Option<&str>, body: Value| {
        let mut request = stack.request(user, Method::PATCH, "/channels/room").json(&body);
        if let Some(tag) = tag {
            request = request.header("if-match", tag);
        }
        request.send().await.unwrap()
    };
    let read = stack.request("bob", Method::GET, "/channels/room").send().await.unwrap();
    let tag = read.headers()["etag"].to_str().unwrap().to_owned();
    assert_eq!(patch("bob", None, json!({ "name": "Mine" })).await.status(), StatusCode::FORBIDDEN);
    assert_eq!(patch("mallory", None, json!({ "name": "Mine" })).await.status(), StatusCode::FORBIDDEN);

    let changed = patch("alice", Some(&tag), json!({ "name": "Renamed", "retention_days": 7 })).await;
    assert_eq!(changed.status(), StatusCode::OK);
    assert_ne!(changed.headers()["etag"].to_str().unwrap(), tag);
    let changed: Value = changed.json().await.unwrap();
    assert_eq!((&changed["name"], &changed["retention_days"]), (&json!("Renamed"), &json!(7)));
    assert_eq!(patch("alice", Some(&tag), json!({ "name": "Stale" })).await.status(), StatusCode::PRECONDITION_FAILED);
    assert_eq!(patch("alice", Some("garbage"), json!({})).await.status(), StatusCode::PRECONDITION_FAILED);
    let forever: Value = patch("alice", Some("*"), json!({ "retention_days": null })).await.json().await.unwrap();
    assert_eq!(forever.get("retention_days"), None);
    for wrong in [
        json!({ "name": "" }),
        json!({ "name": 1 }),
        json!({ "retention_days": 0 }),
        json!({ "retention_days": "7" }),
        json!({ "visibility": "secret" }),
        json!({ "archived": "yes" }),
        json!({ "owner": "bob" }),
        json!([]),
    ] {
        let refused = patch("alice", None, wrong.clone()).await;
        assert_eq!(refused.status(), StatusCode::BAD_REQUEST, "{wrong}");
        assert_eq!(refused.headers()["content-type"], "application/problem+json");
    }

    assert_eq!(patch("alice", None, json!({ "archived": true })).await.status(), StatusCode::OK);
    assert_eq!(status(&stack, "bob", Method::POST, "/channels/room/messages").await, StatusCode::CONFLICT);
    assert_eq!(status(&stack, "bob", Method::GET, "/channels/room/messages").await, StatusCode::OK);
    assert_eq!(patch("alice", None, json!({ "name": "Late" })).await.status(), StatusCode::CONFLICT);
    assert_eq!(patch("alice", None, json!({ "archived": true })).await.status(), StatusCode::OK);
    assert_eq!(patch("alice", None, json!({ "archived": true, "name": "Late" })).await.status(), StatusCode::CONFLICT);
    let restored: Value =
        patch("alice", None, json!({ "archived": false, "name": "Back" })).await.json().await.unwrap();
    assert_eq!((&restored["name"], restored.get("archived_at")), (&json!("Back"), None));
    assert_eq!(status(&stack, "bob", Method::POST, "/channels/room/messages").await, StatusCode::CREATED);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_made_private_is_silent_for_strangers() {
    let stack = Stack::in_memory();
    stack.create_channel("alice", "room", "public", "off").await;
    status(&stack, "bob", Method::PUT, "/channels/room/members/bob").await;
    let (mut bob, mut mallory) = (stack.socket("bob", "room").await, stack.socket("mallory", "room").await);
    let private = stack.request("alice", Method::PATCH, "/channels/room").json(&json!({ "visibility": "private" }));
    assert_eq!(private.send().await.unwrap().status(), StatusCode::OK);
    stack.send("alice", "room", "among us").await;
    assert_eq!(bob.messages(1).await[0]["content"], "among us");
    assert!(mallory.hear_but_presence().await.is_err(), "the socket is closed, without a frame");
    assert_eq!(status(&stack, "mallory", Method::GET, "/channels/room").await, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_can_be_handed_over_and_its_members_listed() {
    let stack = Stack::in_memory();
    stack.create_channel("alice", "room", "private", "off").await;
    let put = async |caller: &str, user: &str, role: Value| {
        let path = format!("/channels/room/members/{user}");
        let body = json!({ "role": role });
        stack.request(caller, Method::PUT, &path).json(&body).send().await.unwrap().status()
    };
    assert_eq!(put("alice", "bob", json!("moderator")).await, StatusCode::CREATED);
    assert_eq!(put("bob", "carol", json!("member")).await, StatusCode::CREATED);
    assert_eq!(put("bob", "carol", json!("moderator")).await, StatusCode::FORBIDDEN);
    assert_eq!(put("carol", "dave", Value::Null).await, StatusCode::FORBIDDEN);
    assert_eq!(put("alice", "carol", json!("king")).await, StatusCode::BAD_REQUEST);
    assert_eq!(put("alice", "alice", json!("member")).await, StatusCode::CONFLICT);
    assert_eq!(status(&stack, "bob", Method::DELETE, "/channels/room/members/alice").await, StatusCode::FORBIDDEN);

    assert_eq!(put("alice", "bob", json!("owner")).await, StatusCode::OK);
    assert_eq!(status(&stack, "alice", Method::DELETE, "/channels/room/members/alice").await, StatusCode::NO_CONTENT);
    let list = async |query: &str| -> Value {
        let path = format!("/channels/room/members{query}");
        stack.request("carol", Method::GET, &path).send().await.unwrap().json().await.unwrap()
    };
    let all = list("").await;
    let roles: Vec<_> = all["members"]
        .as_array()
        .unwrap()
        .iter()
        .map(|member| (member["user_id"].as_str().unwrap(), member["role"].as_str().unwrap()))
        .collect();
    assert_eq!(roles, [("bob", "owner"), ("carol", "member")]);
    let first = list("?limit=1").await;
    assert_eq!((&first["has_more"], &first["members"][0]["user_id"]), (&json!(true), &json!("bob")));
    let cursor = first["next"]["cursor"].as_str().unwrap();
    assert_eq!(list(&format!("?limit=1&cursor={cursor}")).await["members"][0]["user_id"], "carol");
    let (refused, problem) = stack.ask("carol", Method::GET, "/channels/room/members?cursor=bob", Value::Null).await;
    assert_eq!((refused, &problem["errors"][0]["field"]), (400, &json!("cursor")));
    let of_presence = format!("/channels/room/presence?cursor={cursor}");
    let answer = stack.ask("carol", Method::GET, &of_presence, Value::Null).await;
    assert_eq!(answer.0, 400, "the cursor of another list");
    assert_eq!(status(&stack, "alice", Method::GET, "/channels/room/members").await, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_member_is_read_and_its_mark_if_the_channel_has_read_receipts() {
    let stack = Stack::in_memory();
    stack.create_channel("alice", "room", "private", "off").await;
    assert_eq!(status(&stack, "alice", Method::PUT, "/channels/room/members/bob").await, StatusCode::CREATED);
    stack.send("alice", "room", "x").await;
    assert_eq!(stack.ask("bob", Method::PUT, "/channels/room/read", json!({ "seq": 1 })).await.0, 200);
    let member = async |caller: &str, user: &str| {
        stack.ask(caller, Method::GET, &format!("/channels/room/members/{user}"), Value::Null).await
    };
    let (found, bob) = member("alice", "bob").await;
    assert_eq!(
        (found, &bob["role"], &bob["added_by"], bob.get("read_seq")),
        (200, &json!("member"), &json!("alice"), None)
    );
    assert_eq!(member("alice", "carol").await.0, 404, "no member");
    assert_eq!(member("carol", "alice").await.0, 404, "a channel that does not exist for the caller");
    assert_eq!(stack.ask("alice", Method::PATCH, "/channels/room", json!({ "read_receipts": true })).await.0, 200);
    assert_eq!(member("alice", "bob").await.1["read_seq"], 1);
    let list = stack.ask("bob", Method::GET, "/channels/room/members", Value::Null).await.1;
    let marks: Vec<_> = list["members"].as_array().unwrap().iter().map(|one| &one["read_seq"]).collect();
    assert_eq!(marks, [0, 1], "of alice and bob");
}
