//! The smoke test of a deployment, run against the local stack: complete, and with each function broken.

use std::{
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    time::{Duration, Instant},
};

use futures::{StreamExt, stream};
use rustix::process::{Signal, kill_process};
use smoke::{Failure, Target, Tokens};

use crate::{
    programs::functions,
    stack::{PATIENCE, Stack, token_of},
};

/// Step that fails without a function. The maintenance function has no effect that clients see within a minute.
const BROKEN: [(&str, &str); 9] = [
    ("health", "health"),
    ("channels", "create channel"),
    ("on-connect", "connect"),
    ("answer-frame", "ping"),
    ("send-channel-messages", "send"),
    ("chat-delivery-worker", "push"),
    ("chat-agent-worker", "reply"),
    ("get-channel-messages", "history"),
    ("on-disconnect", "disconnect"),
];

/// Functions that no step needs: one pushes to many or slow sockets, the other is the maintenance function.
const UNNEEDED: [&str; 2] = ["send-message", "maintenance"];

pub(crate) async fn walk(stack: &Stack, patience: Duration) -> (Vec<&'static str>, Result<(), Failure>) {
    let target = Target {
        rest: stack.address("rest").to_owned(),
        websocket: format!("{}/", stack.address("websocket")),
        tokens: Tokens(["alice", "bob"].map(token_of)),
        patience,
        stream_patience: patience,
    };
    let mut done = Vec::new();
    let outcome = Box::pin(smoke::run(&target, |step, _| done.push(step))).await;
    (done, outcome)
}

/// Fills a folder with the functions' binaries, one of which can be broken.
fn binaries(folder: &Path) {
    for function in BROKEN.map(|(function, _)| function).into_iter().chain(UNNEEDED) {
        symlink(functions().join(function), folder.join(function)).unwrap();
    }
}

/// Starts a stack whose `function` exits at its start.
fn with_broken(function: &str, folder: &Path) -> Stack {
    let binary = folder.join(function);
    let real = binary.canonicalize().unwrap();
    std::fs::remove_file(&binary).unwrap();
    // The runner creates a channel at its start, so the function must work until then.
    std::fs::hard_link(&real, &binary).or_else(|_| std::fs::copy(&real, &binary).map(drop)).unwrap();
    let stack = Stack::from_binaries(folder);
    let broken = folder.join("broken");
    std::fs::write(&broken, "#!/bin/sh\nexit 1\n").unwrap();
    std::fs::set_permissions(&broken, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::rename(&broken, &binary).unwrap();
    for (process, name) in stack.functions() {
        // Linux keeps the first 15 characters of a process name.
        if function.starts_with(&name) {
            let _ = kill_process(process, Signal::KILL);
        }
    }
    stack
}

#[tokio::test(flavor = "multi_thread")]
async fn the_smoke_test_passes_and_names_the_step_of_a_broken_function() {
    let began = Instant::now();
    let (done, outcome) = walk(&Stack::in_memory(), PATIENCE).await;
    // A step that works takes less than all steps of this walk, also beside two others.
    let patience = Duration::from_secs(10) + 3 * began.elapsed();
    outcome.unwrap();
    assert!(BROKEN.iter().all(|(_, step)| done.contains(step)), "{done:?}");
    let failures = stream::iter(BROKEN).map(async |(function, step)| {
        let folder = tempfile::tempdir().unwrap();
        binaries(folder.path());
        let stack = with_broken(function, folder.path());
        let (done, outcome) = walk(&stack, patience).await;
        let failure = outcome.expect_err(function);
        assert_eq!(failure.step, step, "without {function}: {failure} after {done:?}");
    });
    failures.buffer_unordered(3).collect::<Vec<()>>().await;
}
