//! The guarantees of delivery when each event source mapping reads its stream on its own clock, as on AWS: late, several
//! records at once, and one mapping before another.

use std::collections::BTreeSet;

use futures::{StreamExt, stream};
use serde_json::{Value, json};
use switchboard_client::Method;

use crate::{
    smoke::walk,
    stack::{PATIENCE, Socket, Stack, token_of},
};

/// Seeds of the runs. Each makes another mapping late, and other batches.
const SEEDS: std::ops::RangeInclusive<u64> = 1..=4;

/// Number of questions in a conversation.
const QUESTIONS: u64 = 10;

/// Returns the messages of a socket by `seq`, until it has `last`. A push may be repeated.
async fn heard(socket: &mut Socket, last: u64) -> Vec<Value> {
    let (mut seqs, mut all) = (BTreeSet::new(), Vec::new());
    while seqs.len() < usize::try_from(last).unwrap() {
        for message in socket.messages(1).await {
            if seqs.insert(message["seq"].as_u64().unwrap()) {
                all.push(message);
            }
        }
    }
    all
}

async fn conversation(seed: u64) {
    let stack = Stack::out_of_phase(seed);
    stack.create_channel("alice", "room", "public", "always").await;
    let mut sockets = Vec::new();
    for user in ["alice", "bob"] {
        sockets.push(stack.connect(&token_of(user), "?channels=room").await.unwrap());
    }
    for number in 0..QUESTIONS {
        let body = json!({ "content": format!("question {number}") });
        let (status, answer) = stack.ask("alice", Method::POST, "/channels/room/messages", body).await;
        assert_eq!(status, 201, "{answer}");
    }
    for mut socket in sockets {
        let messages = heard(&mut socket, 2 * QUESTIONS).await;
        let seqs: Vec<u64> = messages.iter().map(|message| message["seq"].as_u64().unwrap()).collect();
        let expected: Vec<u64> = (1..=2 * QUESTIONS).collect();
        assert_eq!(seqs, expected, "a socket receives a channel in its order, with seed {seed}");
        let answered: BTreeSet<u64> = messages.iter().filter_map(|message| message["reply_to"].as_u64()).collect();
        assert_eq!(answered.len(), usize::try_from(QUESTIONS).unwrap(), "each question once, with seed {seed}");
    }
    assert_eq!(stack.history("bob", "room").await.len(), usize::try_from(2 * QUESTIONS).unwrap());
    stack.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_reaches_every_socket_once_and_in_order() {
    stream::iter(SEEDS).map(conversation).buffer_unordered(2).collect::<Vec<()>>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_smoke_test_passes_out_of_phase() {
    let walks = stream::iter(SEEDS).map(async |seed| {
        let stack = Stack::out_of_phase(seed);
        let (done, outcome) = walk(&stack, PATIENCE).await;
        outcome.unwrap_or_else(|failure| panic!("with seed {seed}: {failure} after {done:?}"));
        stack.stop();
    });
    walks.buffer_unordered(2).collect::<Vec<()>>().await;
}
