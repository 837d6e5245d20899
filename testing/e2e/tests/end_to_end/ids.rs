//! Every character of an id, in the paths and queries of `reqwest` and of a `WebSocket` client. The ids are those of
//! `testing/ids`, which tests other HTTP clients.

use chat::model::id::{ChannelId, UserId};
use futures::{StreamExt, stream};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use switchboard_client::Method;

use crate::stack::{Stack, token_of};

/// Valid ids, and invalid texts.
struct Ids {
    good: Vec<String>,
    bad: Vec<String>,
}

fn ids() -> Ids {
    let file: Value = serde_json::from_str(include_str!("../../../../testing/ids/ids.json")).unwrap();
    let list = |name: &str| serde_json::from_value(file[name].clone()).unwrap();
    Ids { good: list("good"), bad: list("bad") }
}

/// Returns the text unchanged, encoded as a URL's component, and with each byte encoded.
fn spellings(id: &str) -> [String; 3] {
    let encoded = utf8_percent_encode(id, NON_ALPHANUMERIC).to_string();
    let bytes: Vec<String> = id.bytes().map(|byte| format!("%{byte:02X}")).collect();
    [id.to_owned(), encoded, bytes.concat()]
}

#[test]
fn the_list_has_each_character_and_each_mark_in_each_place() {
    let Ids { good, bad } = ids();
    for id in &good {
        assert!(id.parse::<ChannelId>().is_ok() && id.parse::<UserId>().is_ok(), "{id:?}");
    }
    for text in &bad {
        assert!(text.parse::<ChannelId>().is_err() && text.parse::<UserId>().is_err(), "{text:?}");
    }
    for character in (0..=u8::MAX).map(char::from) {
        if format!("a{character}").parse::<ChannelId>().is_err() {
            continue;
        }
        assert!(good.iter().any(|id| id.contains(character)), "{character:?}");
        if !character.is_ascii_alphanumeric() {
            let alone = character.to_string();
            assert!(good.contains(&alone) || bad.contains(&alone), "{character:?}");
            for wanted in [format!("{character}a"), format!("a{character}"), format!("a{character}a")] {
                assert!(good.contains(&wanted), "{wanted:?}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_id_arrives_as_the_one_that_was_meant() {
    let stack = &Stack::in_memory();
    let Ids { good, bad } = &ids();
    stack.create_channel("alice", "members", "public", "off").await;
    let checks = stream::iter(good).for_each_concurrent(8, async |id| {
        // The user with the id creates a channel with the same id, and joins another one by its name.
        let channel = json!({ "channel_id": id, "name": "x", "visibility": "public", "agent": { "mode": "off" } });
        let created = stack.ask(id, Method::POST, "/channels", channel).await;
        assert_eq!((created.0, &created.1["channel_id"]), (201, &json!(id)));
        for (number, spelling) in spellings(id).iter().enumerate() {
            let channel = stack.ask("alice", Method::GET, &format!("/channels/{spelling}"), Value::Null).await;
            assert_eq!((channel.0, &channel.1["channel_id"]), (200, &json!(id)), "{spelling}");
            let path = format!("/channels/members/members/{spelling}");
            let member = stack.ask(id, Method::PUT, &path, Value::Null).await;
            let status = if number == 0 { 201 } else { 200 };
            assert_eq!((member.0, &member.1["user_id"]), (status, &json!(id)), "{spelling}");
            let found = stack.ask("alice", Method::GET, &path, Value::Null).await;
            assert_eq!((found.0, &found.1["user_id"]), (200, &json!(id)), "{spelling}");
        }
    });
    checks.await;
    let mut sockets = Vec::new();
    for spell in [0, 1, 2] {
        let spelled: Vec<String> = good.iter().map(|id| spellings(id)[spell].clone()).collect();
        let query = format!("?channels={}", spelled.join(","));
        sockets.push(stack.connect(&token_of("alice"), &query).await.unwrap());
    }
    for id in good {
        stack.send("bob", id, id).await;
    }
    let mut wanted = good.clone();
    wanted.sort_unstable();
    for socket in &mut sockets {
        let messages = socket.messages(good.len()).await;
        assert!(messages.iter().all(|message| message["channel_id"] == message["content"]));
        let ids = messages.iter().map(|message| message["channel_id"].as_str().unwrap().to_owned());
        let mut heard: Vec<String> = ids.collect();
        heard.sort_unstable();
        assert_eq!(heard, wanted);
    }
    for text in bad {
        let body = json!({ "channel_id": text, "name": "x", "visibility": "public" });
        assert_eq!(stack.ask("alice", Method::POST, "/channels", body).await.0, 400, "{text:?}");
        // A client that resolves the path requests another resource, which is never a channel of that name.
        let channel = stack.ask("alice", Method::GET, &format!("/channels/{text}"), Value::Null).await;
        assert_ne!(channel.1["channel_id"], json!(text));
    }
}
