//! Finding channels.

use reqwest::Method;
use serde_json::{Value, json};

use crate::stack::Stack;

async fn found(stack: &Stack, user: &str, query: &str) -> (Vec<String>, Value) {
    let (status, list) = stack.ask(user, Method::GET, &format!("/channels?{query}"), Value::Null).await;
    assert_eq!(status, 200, "{list}");
    let ids = list["channels"].as_array().unwrap().iter();
    (ids.map(|channel| channel["channel_id"].as_str().unwrap().to_owned()).collect(), list["next"]["after"].clone())
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
