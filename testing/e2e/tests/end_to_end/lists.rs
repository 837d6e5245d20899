//! Lists of channels.

use reqwest::Method;
use serde_json::{Value, json};

use crate::stack::{Stack, answered};

async fn found(stack: &Stack, user: &str, query: &str) -> (Vec<String>, Value) {
    let (status, list) = stack.ask(user, Method::GET, &format!("/channels?{query}"), Value::Null).await;
    assert_eq!(status, 200, "{list}");
    let ids = list["channels"].as_array().unwrap().iter();
    (ids.map(|channel| channel["channel_id"].as_str().unwrap().to_owned()).collect(), list["next"]["after"].clone())
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
    let (first, after) = found(&stack, "bob", "visibility=public&name_prefix=team&limit=1").await;
    assert_eq!(first, ["b"]);
    let after = after.as_str().unwrap().replace(' ', "%20").replace('#', "%23");
    let (second, end) =
        found(&stack, "bob", &format!("visibility=public&name_prefix=team&limit=1&after={after}")).await;
    assert_eq!((second, end), (vec!["a".to_owned()], Value::Null));
    assert_eq!(found(&stack, "alice", "name_prefix=team").await.0, ["a", "b", "c"]);
    assert!(found(&stack, "bob", "name_prefix=team").await.0.is_empty());

    assert_eq!(stack.ask("alice", Method::PATCH, "/channels/a", json!({ "visibility": "private" })).await.0, 200);
    assert_eq!(stack.ask("alice", Method::PATCH, "/channels/b", json!({ "name": "Crew" })).await.0, 200);
    assert!(found(&stack, "bob", "visibility=public&name_prefix=team").await.0.is_empty());
    assert_eq!(found(&stack, "bob", "visibility=public&name_prefix=crew").await.0, ["b"]);
    for wrong in ["visibility=private", "visibility=", "after=a%20b", "name_prefix=a&name_prefix=b", "x=1"] {
        let (status, _) = stack.ask("bob", Method::GET, &format!("/channels?{wrong}"), Value::Null).await;
        assert_eq!(status, 400, "{wrong}");
    }
}
