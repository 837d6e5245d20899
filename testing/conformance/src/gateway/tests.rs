//! The model against the shapes of `contracts/`.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    Gateway, SOCKET_MS,
    answer::Answer,
    channel::{Append, events_frame},
    message::Message,
    token::Claims,
};
use crate::protocol::{Handshake, Request};

const NOW: u64 = 1_777_636_800_000;

fn gateway() -> Gateway {
    let mut gateway = Gateway::new("me", &["a".to_owned(), "b".to_owned()]);
    let channel = gateway.channels.get_mut("a").unwrap();
    for number in 1..=120 {
        let content = format!("message {number}");
        channel.append(Append { sender_id: "bob".to_owned(), content, ..Append::default() }, NOW);
    }
    gateway
}

fn token() -> String {
    Claims { issued_at: NOW / 1000, expires_at: NOW / 1000 + 3600 }.token("me", 1)
}

fn request(method: &str, path: &str, body: Value) -> Request {
    let headers = BTreeMap::from([
        ("authorization".to_owned(), format!("Bearer {}", token())),
        ("Idempotency-Key".to_owned(), "key".to_owned()),
    ]);
    Request { method: method.to_owned(), path: path.to_owned(), headers, body, ..Request::default() }
}

fn answer(gateway: &mut Gateway, method: &str, path: &str) -> Answer {
    gateway.answer(&request(method, path, Value::Null), NOW).0
}

/// Checks the required fields and the names of a schema of `contracts/openapi.yaml`.
fn assert_shape(value: &Value, schema: &str) {
    let document = include_str!("../../../../contracts/openapi.yaml");
    let start = document.find(&format!("\n    {schema}:\n")).expect("the schema exists") + 1;
    let lines: Vec<&str> = document[start..].lines().skip(1).take_while(|line| line.starts_with("      ")).collect();
    let required = lines.iter().find_map(|line| line.strip_prefix("      required: [")).expect("a list of fields");
    for field in required.trim_end_matches(']').split(", ") {
        assert!(value.get(field).is_some(), "{schema} requires {field}: {value}");
    }
    for field in value.as_object().unwrap().keys() {
        assert!(lines.iter().any(|line| line.starts_with(&format!("        {field}:"))), "{schema} has no {field}");
    }
}

#[test]
fn pages_of_the_history_have_the_shape_of_the_contract() {
    let mut gateway = gateway();
    let channel = gateway.channels.get_mut("a").unwrap();
    channel.edit(120, "edited", NOW);
    channel.react(120, "👍", "me", true);
    let newest = answer(&mut gateway, "GET", "/channels/a/messages").body;
    assert_shape(&newest, "MessageList");
    assert_shape(&newest["messages"][0], "Message");
    assert_shape(&newest["messages"][0]["reactions"][0], "ReactionSummary");
    assert_eq!((&newest["messages"][0]["seq"], &newest["next"]), (&json!(120), &json!({"before": 71})));
    assert_eq!(newest["rev"], 2);
    let after = answer(&mut gateway, "GET", "/channels/a/messages?after=110&limit=5").body;
    assert_eq!((&after["messages"][0]["seq"], &after["next"]), (&json!(111), &json!({"after": 115})));
    let last = answer(&mut gateway, "GET", "/channels/a/messages?after=120").body;
    assert_eq!((&last["messages"], &last["has_more"]), (&json!([]), &json!(false)));
    assert_eq!(answer(&mut gateway, "GET", "/channels/a/messages?after=1&before=2").status, 400);
}

#[test]
fn pages_of_changes_list_each_message_at_its_last_change() {
    let mut gateway = gateway();
    let channel = gateway.channels.get_mut("a").unwrap();
    channel.edit(3, "edited", NOW);
    channel.react(5, "👍", "me", true);
    channel.delete(3, NOW);
    let page = answer(&mut gateway, "GET", "/channels/a/changes?after=0&limit=1").body;
    assert_shape(&page, "ChangeList");
    assert_shape(&page["changes"][0], "MessageChange");
    assert_eq!((&page["changes"][0]["rev"], &page["next"], &page["rev"]), (&json!(2), &json!({"after": 2}), &json!(3)));
    let next = answer(&mut gateway, "GET", "/channels/a/changes?after=2").body;
    assert_eq!((&next["changes"][0]["message"]["content"], &next["has_more"]), (&json!(""), &json!(false)));
    gateway.channels.get_mut("a").unwrap().floor = 3;
    let gone = answer(&mut gateway, "GET", "/channels/a/changes?after=2");
    assert_eq!((gone.status, &gone.body["code"]), (410, &json!("changes_expired")));
    assert_shape(&gone.body, "Problem");
    assert_eq!(answer(&mut gateway, "GET", "/channels/a/changes?after=9").status, 410);
}

#[test]
fn a_send_is_stored_once_for_its_key() {
    let mut gateway = gateway();
    let send = request("POST", "/channels/b/messages", json!({"content": "hi"}));
    let (sent, events) = gateway.answer(&send, NOW);
    assert_eq!((sent.status, &sent.body["seq"], &sent.body["rev"]), (201, &json!(1), &json!(0)));
    assert_eq!(events.unwrap().1[0]["message"]["content"], "hi");
    let (again, events) = gateway.answer(&send, NOW);
    assert_eq!((again.status, events), (200, None));
    assert_eq!(again.headers["idempotency-replayed"], "true");
    let other = request("POST", "/channels/b/messages", json!({"content": "other"}));
    assert_eq!(gateway.answer(&other, NOW).0.status, 422);
    assert_eq!(gateway.channels["b"].messages.values().map(Message::version).collect::<Vec<_>>(), [1]);
}

#[test]
fn replies_channels_tickets_and_the_caller_have_the_shapes_of_the_contract() {
    let mut gateway = gateway();
    let channel = gateway.channels.get_mut("a").unwrap();
    channel.begin_draft(120, NOW);
    let frame = channel.extend_draft(120, "Hello").unwrap();
    assert_eq!(frame["position"], 0);
    assert_eq!(answer(&mut gateway, "GET", "/channels/a/messages").body["replying_to"], json!([120]));
    let reply = answer(&mut gateway, "GET", "/channels/a/messages/120/reply").body;
    assert_shape(&reply, "Reply");
    assert_eq!(reply["position"], 5);
    assert_eq!(answer(&mut gateway, "GET", "/channels/a/messages/1/reply").body["code"], "reply_not_found");
    assert_shape(&answer(&mut gateway, "GET", "/channels/a").body, "Channel");
    assert_shape(&answer(&mut gateway, "GET", "/channels").body, "ChannelList");
    assert_shape(&answer(&mut gateway, "GET", "/me").body, "Me");
    assert_shape(&answer(&mut gateway, "GET", "/channels/a/members").body["members"][0], "Member");
    let ticket = answer(&mut gateway, "POST", "/connections/tickets").body;
    assert_shape(&ticket, "Ticket");
    assert_eq!(ticket["ticket"].as_str().unwrap().len(), 43);
    assert_eq!(answer(&mut gateway, "GET", "/nothing").body["code"], "no_such_route");
}

#[test]
fn a_handshake_needs_a_valid_token_and_at_most_100_channels() {
    let mut gateway = gateway();
    let handshake = |query: &str, token: &str| Handshake {
        id: 1,
        url: format!("wss://kit.test/{query}"),
        protocols: vec!["bearer".to_owned(), token.to_owned()],
        headers: BTreeMap::new(),
    };
    let connection = gateway.open(&handshake("?channels=a", &token()), NOW).unwrap();
    assert_eq!((connection.channels.clone(), connection.expires_at), (vec!["a".to_owned()], NOW + 3_600_000));
    assert_eq!(gateway.hello(&connection, NOW)["server_time"], "2026-05-01T12:00:00.000Z");
    assert_eq!(gateway.receive(1, "{\"action\":\"ping\"}", NOW).unwrap()["type"], "pong");
    assert_eq!(gateway.receive(1, "hi", NOW).unwrap()["code"], "receive_only");
    assert_eq!(gateway.open(&handshake("", &token()), NOW).unwrap().channels.len(), 2);
    assert_eq!(gateway.open(&handshake("", &token()), NOW + 3_600_000), Err(401));
    assert_eq!(gateway.open(&handshake("?channels=c", &token()), NOW), Err(403));
    let many = vec!["a"; 101].join(",");
    assert_eq!(gateway.open(&handshake(&format!("?channels={many}"), &token()), NOW), Err(400));
    gateway.revoked_before = NOW / 1000 + 1;
    assert_eq!(gateway.open(&handshake("", &token()), NOW), Err(401));
    assert_eq!(answer(&mut gateway, "GET", "/me").body["code"], "invalid_token");
}

#[test]
fn a_renewal_moves_the_end_of_a_socket_to_its_2_hours_at_most() {
    let mut gateway = gateway();
    let ticket = answer(&mut gateway, "POST", "/connections/tickets").body["ticket"].as_str().unwrap().to_owned();
    let url = format!("wss://kit.test/?ticket={ticket}");
    let handshake = Handshake { id: 1, url, protocols: vec![], headers: BTreeMap::new() };
    let connection = gateway.open(&handshake, NOW).unwrap();
    assert_eq!(gateway.open(&handshake, NOW), Err(401), "a ticket opens one socket");
    let later = Claims { issued_at: NOW / 1000, expires_at: NOW / 1000 + 86_400 }.token("me", 2);
    let mut renewal = request("POST", &format!("/connections/{}/token", connection.id), Value::Null);
    renewal.headers.insert("authorization".to_owned(), format!("Bearer {later}"));
    let renewed = gateway.answer(&renewal, NOW).0.body;
    assert_shape(&renewed, "RenewedConnection");
    assert_eq!(gateway.connections[&1].expires_at, NOW + SOCKET_MS);
}

#[test]
fn frames_have_the_fields_of_the_contract() {
    let mut gateway = gateway();
    let channel = gateway.channels.get_mut("a").unwrap();
    let event = channel.edit(1, "edited", NOW).unwrap();
    let frame = events_frame("a", &[event]);
    let document = include_str!("../../../../contracts/asyncapi.yaml");
    let fields = |title: &str| {
        let start = document.find(&format!("      title: {title}\n")).expect("the schema exists");
        let rest = &document[start..];
        let required = rest.find("required: [").expect("a list of fields") + "required: [".len();
        rest[required..].split(']').next().unwrap().split(", ").map(str::to_owned).collect::<Vec<_>>()
    };
    for field in fields("EventsFrame") {
        assert!(frame.get(&field).is_some(), "{field}");
    }
    for field in fields("MessageUpdatedEvent") {
        assert!(frame["events"][0].get(&field).is_some(), "{field}");
    }
    let reaction = channel.react(1, "👍", "me", true).unwrap();
    for field in fields("ReactionAddedEvent") {
        assert!(reaction.get(&field).is_some(), "{field}");
    }
    channel.begin_draft(1, NOW);
    let delta = channel.extend_draft(1, "a").unwrap();
    for field in fields("MessageDeltaFrame") {
        assert!(delta.get(&field).is_some(), "{field}");
    }
    assert_shape(&frame["events"][0]["message"], "Message");
}
