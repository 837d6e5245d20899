//! Crashes of processes: no accepted message is lost or stored twice, and delivery continues.

use futures::{StreamExt, stream};
use rustix::process::{Signal, kill_process, test_kill_process};

use crate::stack::{Stack, seqs, until};

const MESSAGES: u64 = 40;

/// Sends one message under one key until it is accepted.
async fn send_until_answered(stack: &Stack, channel: &str, number: u64) {
    until("the message is accepted", async || {
        let (content, key) = (format!("message {number}"), format!("key-{number}"));
        let answer = stack.post("alice", channel, &content, Some(&key)).await;
        answer.is_ok_and(|answer| answer.status().is_success())
    })
    .await;
}

async fn insist_on(stack: &Stack, channel: &str, numbers: std::ops::Range<u64>) {
    stream::iter(numbers).for_each_concurrent(8, |number| send_until_answered(stack, channel, number)).await;
}

/// Checks for `MESSAGES` messages and as many replies, numbered without a gap, each once.
async fn assert_whole(stack: &Stack, channel: &str) {
    until("every message is answered", async || stack.history("alice", channel).await.len() as u64 >= 2 * MESSAGES)
        .await;
    let history = stack.history("alice", channel).await;
    assert_eq!(seqs(&history), (1..=2 * MESSAGES).collect::<Vec<_>>());
    for (role, name) in [("user", "content"), ("agent", "reply_to")] {
        let mut of_role: Vec<String> =
            history.iter().filter(|message| message["role"] == role).map(|message| message[name].to_string()).collect();
        of_role.sort_unstable();
        of_role.dedup();
        assert_eq!(of_role.len() as u64, MESSAGES, "{role}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn functions_may_die_at_any_time() {
    let stack = Stack::in_memory();
    let mut socket = stack.socket("alice", "lobby").await;
    for round in 0..4 {
        let (from, to) = (round * MESSAGES / 4, (round + 1) * MESSAGES / 4);
        let kill_all = async {
            for (function, _) in stack.functions() {
                // It may have ended by itself.
                let _ = kill_process(function, Signal::KILL);
            }
        };
        tokio::join!(insist_on(&stack, "lobby", from..to), kill_all);
    }
    assert_whole(&stack, "lobby").await;
    // At least once: a message may arrive twice, but none is missing.
    let mut heard = std::collections::BTreeSet::new();
    while heard.len() as u64 != 2 * MESSAGES {
        heard.extend(seqs(&socket.messages(1).await));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_runner_leaves_no_orphans_and_the_next_one_carries_on() {
    let directory = tempfile::tempdir().unwrap();
    let stack = Stack::on(directory.path());
    insist_on(&stack, "lobby", 0..MESSAGES / 2).await;
    let functions = stack.functions();
    assert!(!functions.is_empty());
    stack.kill();
    until("the functions are gone", async || functions.iter().all(|(pid, _)| test_kill_process(*pid).is_err())).await;

    let stack = Stack::on(directory.path());
    let mut socket = stack.socket("alice", "lobby").await;
    insist_on(&stack, "lobby", 0..MESSAGES).await;
    assert_whole(&stack, "lobby").await;
    let new = stack.send("bob", "lobby", "after all that").await;
    loop {
        if socket.messages(1).await.contains(&new) {
            break;
        }
    }
    stack.stop();
}
