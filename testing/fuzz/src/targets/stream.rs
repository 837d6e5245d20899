//! A batch of a table's stream as JSON, to the delivery worker. It reports the records that it cannot decode as batch
//! item failures, and only those. All others reach the socket in order.

use std::collections::BTreeSet;

use aws_lambda_events::dynamodb::Event;
use chat::{model::message::Change, ports::socket_gateway::FRAME_BYTES};
use chat_aws::lambda::stream::{StreamedMessage, group_by_channel, is_connections_stream, presence_changes};
use lambda_runtime::Context;
use serde_json::Value;

use crate::functions::{block_on, with_world};

pub fn run(data: &[u8]) {
    let Ok(event) = serde_json::from_slice::<Event>(data) else { return };
    let numbers: BTreeSet<String> =
        event.records.iter().filter_map(|record| record.change.sequence_number.clone()).collect();
    let of_connections = is_connections_stream(&event);
    // An empty batch item failure, or one without a number, would fail the whole batch. Lambda gives each record a
    // number.
    if event.records.iter().any(|record| record.change.sequence_number.as_deref().unwrap_or_default().is_empty()) {
        return;
    }
    let changes = presence_changes(event.clone());
    assert!(changes.iter().all(|change| numbers.contains(&change.sequence_number) && !change.users.is_empty()));
    let batch = group_by_channel(event.clone());
    let read: usize = batch.channels.iter().map(|channel| channel.messages.len()).sum();
    assert!(read + batch.unreadable.len() <= event.records.len());
    let expected: Vec<u64> = batch
        .channels
        .iter()
        .filter(|channel| channel.tenant.is_none() && channel.channel.channel_id.as_str() == "general")
        .flat_map(|channel| channel.messages.iter().flat_map(seqs))
        .collect();
    with_world(|world| {
        let mut context = Context::default();
        context.deadline = u64::MAX / 4;
        let answer = block_on(world.functions.delivery.handle(event, &context));
        let failed: Vec<String> =
            answer.batch_item_failures.into_iter().map(|failure| failure.item_identifier.expect("a number")).collect();
        assert!(failed.iter().all(|number| numbers.contains(number)), "{failed:?}");
        let posted = world.aws.take_posted();
        let frames: Vec<Value> = posted.iter().map(|one| serde_json::from_str(&one.frame).expect("JSON")).collect();
        assert!(posted.iter().all(|one| one.frame.len() <= FRAME_BYTES));
        // A record of the connections may be of any connection, which is greeted.
        assert!(of_connections || posted.iter().all(|one| one.connection == "c1%3D"));
        if of_connections {
            assert_eq!(failed, Vec::<String>::new());
            return;
        }
        let unreadable: Vec<String> = batch.unreadable;
        assert_eq!(failed, unreadable);
        let seen = frames.iter().flat_map(|frame| frame["events"].as_array().cloned().unwrap_or_default());
        let seen: Vec<u64> = seen.map(|event| event["seq"].as_u64().expect("a number")).collect();
        assert_eq!(seen, expected);
    });
}

/// Returns the `seq` of each event of a record: one, or one for each changed reaction.
fn seqs(message: &StreamedMessage) -> Vec<u64> {
    let events = match &message.event.change {
        Change::Reacted(changes) => changes.len(),
        Change::Created | Change::Updated | Change::Deleted => 1,
    };
    vec![message.event.stored.message.seq.get(); events]
}
