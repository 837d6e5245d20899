//! Records of the streams, read and grouped.

use serde_json::{Value, json};

use super::*;

const KEY: &str = "general@01arz3ndektsv4rrffq69g5fav";
const OTHER: &str = "general@01arz3ndektsv4rrffq69g5fa0";

fn event(records: &[Value]) -> Event {
    serde_json::from_value(json!({ "Records": records })).unwrap()
}

fn record(number: usize, keys: &Value, image: &Value) -> Value {
    json!({
        "eventID": number.to_string(), "eventName": "INSERT", "awsRegion": "us-east-1",
        "dynamodb": {
            "ApproximateCreationDateTime": 1_800_000_000, "SequenceNumber": number.to_string(),
            "Keys": keys, "NewImage": image, "SizeBytes": 1,
        },
    })
}

#[test]
fn a_partial_batch_response_has_the_form_that_lambda_reads() {
    let response = serde_json::to_value(partial_batch_response(vec!["7".to_owned(), "9".to_owned()])).unwrap();
    assert_eq!(response, json!({"batchItemFailures": [{"itemIdentifier": "7"}, {"itemIdentifier": "9"}]}));
}

fn message(number: usize, channel: &str) -> Value {
    let image = json!({
        "channel_id": { "S": channel }, "seq": { "N": number.to_string() },
        "message_id": { "S": "01ARZ3NDEKTSV4RRFFQ69G5FAV" }, "version": { "N": "1" }, "sender_id": { "S": "alice" },
        "role": { "S": "user" }, "content": { "S": "hi" }, "content_type": { "S": "text/plain" },
        "created_at": { "S": "2027-01-15T08:00:00.000Z" },
    });
    record(number, &json!({ "channel_id": image["channel_id"], "seq": image["seq"] }), &image)
}

#[test]
fn messages_of_each_life_of_a_channel_are_a_batch_of_their_own() {
    let tenants = format!("acme~{KEY}");
    let records: Vec<Value> =
        [KEY, OTHER, &tenants, KEY].iter().enumerate().map(|(number, key)| message(number, key)).collect();
    let batch = group_by_channel(event(&records));
    let found: Vec<_> = batch
        .channels
        .iter()
        .map(|one| {
            let seqs: Vec<u64> = one.messages.iter().map(|message| message.event.stored.message.seq.get()).collect();
            assert!(one.messages.iter().all(|message| message.event.stored.channel() == one.channel));
            (one.tenant.as_ref().map(ToString::to_string), one.channel.to_string(), seqs)
        })
        .collect();
    let expected = [
        (None, KEY.to_owned(), vec![0, 3]),
        (None, OTHER.to_owned(), vec![1]),
        (Some("acme".to_owned()), KEY.to_owned(), vec![2]),
    ];
    assert_eq!(found, expected);
    assert!(batch.unreadable.is_empty());
}

#[test]
fn a_message_without_the_key_of_a_channel_is_none() {
    let records = ["general", "general@x", "~", ""].map(|key| message(7, key));
    let batch = group_by_channel(event(&records));
    assert_eq!((batch.channels.len(), batch.unreadable.len()), (0, 4));
}

/// Returns the image of a connection of bob.
fn connection(connected_at: &str, left_out: usize) -> Value {
    json!({
        "user_id": { "S": "bob" }, "follows": { "BOOL": true }, "left_out": { "N": left_out.to_string() },
        "connected_at": { "S": connected_at }, "token_expires_at": { "S": "2027-01-15T10:00:00.000Z" },
        "expires_at": { "N": "1800014400" }, "channels": { "SS": [KEY] },
    })
}

fn of_connection(number: usize, id: &str, old: Option<&Value>, new: &Value) -> Value {
    let keys = json!({ "pk": { "S": id }, "sk": { "S": "meta" } });
    let mut record = record(number, &keys, new);
    if let Some(old) = old {
        record["eventName"] = "MODIFY".into();
        record["dynamodb"]["OldImage"] = old.clone();
    }
    record
}

#[test]
fn a_client_is_told_of_its_opened_connection_and_of_each_number_of_channels_left_out() {
    let (first, later) = ("2027-01-15T08:00:00.000Z", "2027-01-15T09:00:00.000Z");
    let mut of_tenant = connection(first, 3);
    of_tenant["tenant"] = json!({ "S": "acme" });
    let mut pending = connection(first, 0);
    pending["opening"] = json!({ "BOOL": true });
    let mut renewed = connection(first, 0);
    renewed["token_expires_at"] = json!({ "S": "2027-01-15T11:00:00.000Z" });
    let records = [
        of_connection(1, "conn#a=", None, &connection(first, 0)),
        of_connection(2, "conn#b=", None, &of_tenant),
        // A renewal, another number, and none.
        of_connection(3, "conn#a=", Some(&connection(first, 0)), &renewed),
        of_connection(4, "conn#a=", Some(&renewed), &connection(first, 7)),
        of_connection(5, "conn#a=", Some(&connection(first, 7)), &connection(first, 7)),
        of_connection(6, "conn#a=", Some(&connection(first, 7)), &connection(first, 0)),
        // The id is used again, while the item of the first connection exists.
        of_connection(7, "conn#b=", Some(&of_tenant), &connection(later, 0)),
        // A connection that is pending, gets a channel and is opened.
        of_connection(10, "conn#d=", None, &pending),
        of_connection(11, "conn#d=", Some(&pending), &pending),
        of_connection(12, "conn#d=", Some(&pending), &connection(first, 2)),
        // No connection.
        of_connection(8, "user#bob", None, &connection(first, 0)),
        of_connection(9, "conn#c=", None, &json!({ "connected_at": { "S": "yesterday" } })),
    ];
    let told = connection_changes(&event(&records));
    let of_change = |change: &ConnectionChange| {
        let (tenant, connection) = (change.tenant.as_ref().map(ToString::to_string), &change.connection);
        let id = connection.key.id.to_string();
        (change.sequence_number.clone(), id, tenant, change.is_new, connection.left_out)
    };
    let facts: Vec<Vec<_>> = told.iter().map(|changes| changes.iter().map(of_change).collect()).collect();
    let fact = |number: &str, id: &str, tenant: Option<&str>, is_new, left_out| {
        (number.to_owned(), id.to_owned(), tenant.map(str::to_owned), is_new, left_out)
    };
    let expected = [
        vec![fact("1", "a=", None, true, 0), fact("4", "a=", None, false, 7)],
        vec![fact("2", "b=", Some("acme"), true, 3), fact("7", "b=", None, true, 0)],
        vec![fact("12", "d=", None, true, 2)],
    ];
    assert_eq!(facts, expected);
    let opened = &told[0][0].connection;
    assert_eq!((opened.user_id.as_str(), opened.channels.as_slice()), ("bob", &[KEY.parse().unwrap()][..]));
    // An hour before the time at which the store may delete the item.
    assert_eq!(opened.expires_at.to_string(), "2027-01-15T11:00:00.000Z");
}

#[test]
fn only_subscriptions_are_changes_of_presence() {
    let row = |number, pk: &str, sk: &str| {
        let keys = json!({ "pk": { "S": pk }, "sk": { "S": sk } });
        let image = json!({ "pk": { "S": pk }, "sk": { "S": sk }, "user_id": { "S": format!("u{number}") } });
        record(number, &keys, &image)
    };
    let (one, other) = (format!("chan#{KEY}"), format!("chan#acme~{OTHER}"));
    let records = [
        row(1, &one, "conn#a="),
        row(2, &one, "a-gate"),
        row(3, &one, "blocked#bob"),
        row(4, &format!("present#{KEY}"), "user#bob"),
        row(5, "chan#general", "conn#a="),
        row(6, "user#bob", "conn#a="),
        row(7, &other, "conn#b="),
        row(8, &one, "conn#c="),
    ];
    let changes = presence_changes(event(&records));
    let users = |numbers: &[usize]| numbers.iter().map(|number| format!("u{number}").parse().unwrap()).collect();
    let expected = [(None, KEY, users(&[1, 8]), "1"), (Some("acme"), OTHER, users(&[7]), "7")];
    let expected = expected.map(|(tenant, channel, users, number): (Option<&str>, _, _, _)| PresenceChange {
        tenant: tenant.map(|tenant| tenant.parse().unwrap()),
        channel: channel.parse().unwrap(),
        users,
        sequence_number: number.to_owned(),
    });
    assert_eq!(changes, expected);
}
