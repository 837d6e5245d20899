//! Ends of sockets: clients that disappear, connections whose items are missing, and sockets that follow their users.

use std::{collections::BTreeMap, time::Instant};

use aws_sdk_dynamodb::types::AttributeValue;
use local::token::DEVELOPMENT_SECRET;
use serde_json::{Value, json};
use switchboard_client::Method;

use crate::{
    socket_tokens::lifetime,
    stack::{Stack, answered, claims_of, signed, token_of},
};

fn s(text: impl Into<String>) -> AttributeValue {
    AttributeValue::S(text.into())
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_that_vanished_do_not_lock_their_user_out() {
    let stack = Stack::with(&[("ConnectionsPerUser", "20".to_owned())]);
    let dynamodb = stack.dynamodb().await;
    // The items that remain if `$disconnect` did not run.
    for number in 0..20 {
        let id = format!("conn#ghost{number}=");
        for (pk, sk) in [("user#alice".to_owned(), id.clone()), (id, "meta".to_owned())] {
            let put = dynamodb.put_item().table_name("chat_connections").item("pk", s(pk)).item("sk", s(sk));
            put.item("user_id", s("alice"))
                .item("follows", AttributeValue::Bool(false))
                .item("connected_at", s("2026-11-24T00:00:00.000Z"))
                .item("token_expires_at", s("2126-11-24T00:00:00.000Z"))
                .item("expires_at", AttributeValue::N("4900000000".to_owned()))
                .send()
                .await
                .unwrap();
        }
    }
    let mut sockets = Vec::new();
    for number in 0..20 {
        sockets.push(stack.connect(&token_of("alice"), "?channels=lobby").await.unwrap_or_else(|status| {
            panic!("socket {number} was refused with {status}");
        }));
    }
    let refused = stack.connect(&token_of("alice"), "?channels=lobby").await.err();
    assert_eq!(refused.map(|status| status.as_u16()), Some(429), "twenty open sockets are the maximum");
    let rows = dynamodb.scan().table_name("chat_connections").send().await.unwrap();
    let ghosts = rows
        .items()
        .iter()
        .filter(|item| item.values().any(|value| value.as_s().is_ok_and(|text| text.contains("ghost"))));
    assert_eq!(ghosts.count(), 0, "their rows are gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_whose_row_went_first_is_closed_when_its_token_ends() {
    let stack = Stack::in_memory();
    let began = Instant::now();
    drop(stack.connect(&token_of("alice"), "?channels=lobby").await.unwrap());
    let token = signed(&claims_of("alice", lifetime(began.elapsed())), DEVELOPMENT_SECRET);
    let mut socket = stack.connect(&token, "?channels=lobby").await.unwrap();
    let id = socket.id().await;
    let dynamodb = stack.dynamodb().await;
    for (pk, sk) in [(format!("conn#{id}"), "meta".to_owned()), ("user#alice".to_owned(), format!("conn#{id}"))] {
        let delete = dynamodb.delete_item().table_name("chat_connections").key("pk", s(pk)).key("sk", s(sk));
        delete.send().await.unwrap();
    }
    assert!(socket.hear_but_presence().await.is_err(), "closed, without another frame");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_following_socket_receives_a_channel_that_its_user_creates() {
    let stack = Stack::in_memory();
    let mut socket = stack.connect(&token_of("alice"), "").await.unwrap();
    for number in 0..5 {
        let channel = format!("made-{number}");
        stack.create_channel("alice", &channel, "private", "off").await;
        stack.send("alice", &channel, "hello").await;
        assert_eq!(socket.messages(1).await[0]["channel_id"], channel.as_str());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_following_socket_has_after_each_renewal_what_its_token_reaches() {
    let stack = Stack::in_memory();
    for channel in ["one", "two"] {
        stack.create_channel("alice", channel, "private", "off").await;
    }
    // It hears every message, and after that no delivery of the message begins.
    let mut witness = stack.connect(&token_of("alice"), "").await.unwrap();
    let mut socket = stack.connect(&token_of("alice"), "").await.unwrap();
    let path = format!("/connections/{}/token", socket.id().await.replace('=', "%3D"));
    let renew = async |channels: Option<Value>| {
        let mut claims = claims_of("alice", 600);
        if let Some(channels) = channels {
            claims["channels"] = channels;
        }
        let token = signed(&claims, DEVELOPMENT_SECRET);
        assert_eq!(answered(stack.bearing(&token, Method::POST, &path)).await.0, 200);
    };
    let mut sent = BTreeMap::from([("one", 0), ("two", 0)]);
    for (channels, reached) in [
        (Some(json!(["one"])), vec!["one"]),
        (None, vec!["one", "two"]),
        (Some(json!(["two"])), vec!["two"]),
        (Some(json!(["one", "two"])), vec!["one", "two"]),
        (Some(json!([])), vec![]),
        (None, vec!["one", "two"]),
    ] {
        renew(channels).await;
        for channel in ["two", "one"] {
            stack.send("alice", channel, "hello").await;
            *sent.get_mut(channel).unwrap() += 1;
        }
        let mut heard = Vec::new();
        for message in socket.messages(reached.len()).await {
            let channel = message["channel_id"].as_str().unwrap().to_owned();
            assert_eq!(message["seq"], sent[channel.as_str()], "{reached:?}");
            heard.push(channel);
        }
        heard.sort();
        assert_eq!(heard, reached);
        witness.messages(2).await;
    }
}
